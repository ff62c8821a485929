"""Tables of words for ``python -m reports``: what detectors and heads say, and where they
say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property

import numpy as np
import pandas as pd

from aigi_core.audit.exposure import Exposure, exposure, operation_words
from aigi_core.audit.facts import fact_scores, file_facts
from aigi_core.detectors.detector import LinearDetector, score_detectors
from aigi_core.detectors.features import HeadsView
from aigi_core.detectors.residual import train_residual
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.explain.cached import CONTENT, KINDS, WordAtlas, load_words
from aigi_core.explain.detector_words import content_words, detector_words
from aigi_core.explain.effect import ablation_effect, concept_effect
from aigi_core.explain.evidence import evidence, head_roles
from aigi_core.explain.heads import Definition, head_words, heads_words
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.nameability import nameability
from aigi_core.explain.reading import Reading, read
from aigi_core.explain.words import Words
from aigi_core.heads import Head
from aigi_core.significance import q_values
from aigi_core.statements import ALPHA, number, span
from aigi_core.stress import perturbed_ops
from aigi_core.transfer import DEFAULT_METRIC, transfer_matrix
from aigi_core.workspace import Workspace
from reports.tables import Rows, columns

PALETTE = (
    "256-colour palette",
    "dithered colours",
    "GIF dithering",
    "palette quantisation",
    "limited palette of sixteen colours",
    "dithered palette of a generator",
    "Floyd-Steinberg dithering",
    "ordered dithering",
    "pixel art",
    "pixel art edges",
    "pixel grid",
    "posterised colour areas",
    "posterisation",
    "colour banding in the sky",
    "banded gradient",
    "limited colours of a saved sample",
)
"""What the project's list says about few colours and dithering."""
SAYS = {
    "palette": re.compile("|".join(f"^{re.escape(text)}$" for text in PALETTE)),
    "jpeg": re.compile("jpeg|compress|block", re.IGNORECASE),
    "blur": re.compile("blur", re.IGNORECASE),
    "noise": re.compile("noise|noisy|grain", re.IGNORECASE),
    "resize": re.compile("upscal|enlarg|low resolution|pixelat", re.IGNORECASE),
}
"""What a phrase that names an operation would hold."""
CONFOUNDED = ("stylegan2-pizza", "stylegan2-ffhq", "midjourney-shoes", "sdxl")
PALETTE_CATEGORIES = ("blur, noise and compression", "colour")
DEFINITIONS: tuple[Definition, ...] = ("difference", "weights")


class WordTables:
    """The tables of one workspace; what several of them need is computed once."""

    def __init__(self, workspace: Workspace, draws: int = 999, head_count: int = 5) -> None:
        self.workspace, self.draws, self.head_count = workspace, draws, head_count
        self.names = workspace.domains.generators

    def tables(self) -> dict[str, Callable[[], Rows]]:
        """Name -> rows, the header first."""
        return {
            "words-detectors": lambda: self.nearest_words("logistic", "phrases"),
            "words-tokens": lambda: self.nearest_words("logistic", "vocabulary"),
            "words-residuals": lambda: self.nearest_words("residual", "phrases"),
            "words-residual-tokens": lambda: self.nearest_words("residual", "vocabulary"),
            "words-content": self.content,
            "words-exposed": self.exposed,
            "words-confounds": self.confounds,
            "words-control": self.control,
            "words-all-heads": self.all_heads,
            "words-nothing": self.nothing,
            "words-nameability": self.nameability,
            "words-heads": self.heads,
            "words-head-phrases": self.head_phrases,
            "words-evidence": self.roles,
            "words-concepts": self.concepts,
            "words-palette": self.palette,
        }

    @cached_property
    def atlas(self) -> WordAtlas:
        return load_words(self.workspace)

    @property
    def of_detectors(self) -> pd.DataFrame:
        """One row a detector, without what training sets show."""
        return self.atlas.detectors[self.atlas.detectors["kind"].isin(KINDS)]

    @cached_property
    def lexicon(self) -> Lexicon:
        return Lexicon.of(self.workspace)

    @cached_property
    def detectors(self) -> list[LinearDetector]:
        return train(self.workspace, self.names)

    @cached_property
    def readings(self) -> list[Reading]:
        return [read(self.workspace, detector) for detector in self.detectors]

    def roles_on(self, split: str) -> pd.DataFrame:
        """Roles of every head of every detector on one split's images of every generator."""
        rows = np.flatnonzero(self.workspace.domains.split == split)
        tables = [
            head_roles(evidence(self.workspace, reading, rows), self.workspace.domains).assign(
                detector=name
            )
            for name, reading in zip(self.names, self.readings, strict=True)
        ]
        return pd.concat(tables, ignore_index=True)

    @cached_property
    def all_roles(self) -> pd.DataFrame:
        return self.roles_on("test")

    @cached_property
    def widening_heads(self) -> list[Head]:
        """The heads that widen the gap most on the detectors' own generators, on average.

        Chosen on validation images, so that what is then measured on test images is not
        made too high by the choice.
        """
        own = self.roles_on("val").query("detector == generator and layer >= 0")
        mean = own.groupby(["layer", "head"])["gap"].mean().sort_values(ascending=False)
        return [(int(layer), int(head)) for layer, head in mean.index[: self.head_count]]

    def nearest_words(self, kind: str, bank: str) -> Rows:
        rows = [
            columns(
                "detector | nearest | cosine | chance | p | q | farthest | p | in-domain | "
                "out-of-domain"
            )
        ]
        lists = self.atlas.rows.query("kind == @kind and bank == @bank")
        for one in self.atlas.detectors.query("kind == @kind and bank == @bank").to_dict("records"):
            mine = lists[lists["detector"] == one["detector"]]
            near, far = (
                mine[mine["side"] == side]["text"].head(n)
                for side, n in (("nearest", 4), ("farthest", 2))
            )
            rows.append(
                [
                    one["detector"],
                    _strong("; ".join(near), one["p_value"]),
                    f"{one['nameable']:.2f}",
                    f"{one['null']:.2f}",
                    _p(one["p_value"]),
                    _p(one["q_value"]),
                    _strong("; ".join(far), one["farthest_p_value"]),
                    _p(one["farthest_p_value"]),
                    f"{one['in_domain']:.3f}",
                    f"{one['ood']:.3f}",
                ]
            )
        return rows

    def content(self) -> Rows:
        lists = [self.atlas.words(CONTENT, "phrases", name) for name in self.names]
        plain = [
            content_words(self.workspace, self.lexicon, name, draws=self.draws, extent=False)
            for name in self.names
        ]
        header, *rows = self._named("training set", list(self.names), lists)
        at = header.index("farthest")
        rows = [
            [*row[:at], _p(each.p_value), *row[at:]] for row, each in zip(rows, plain, strict=True)
        ]
        return [[*header[:at], "p, direction alone", *header[at:]], *rows]

    @cached_property
    def exposures(self) -> list[Exposure]:
        """What gives each generator's fakes away."""
        domains = self.workspace.domains
        facts = fact_scores(file_facts(self.workspace.images), domains)
        matrices = [
            transfer_matrix(scores, domains, self.names, metrics=(DEFAULT_METRIC,))
            for scores in (score_detectors(self.detectors, self.workspace), facts.scores)
        ]
        return [
            exposure(
                self.workspace,
                detector,
                self.atlas.words("logistic", "phrases", detector.name),
                self._content(detector.name),
                *matrices,
            )
            for detector in self.detectors
        ]

    def _content(self, name: str) -> Words | None:
        """What a training set shows; None where the workspace holds no other images."""
        return self.atlas.words(CONTENT, "phrases", name) if len(self.names) > 1 else None

    def exposed(self) -> Rows:
        q = [
            q_values(np.array([words.p_value if words else np.nan for words in part]))
            for part in zip(*((each.weights, each.content) for each in self.exposures), strict=True)
        ]
        rows = [
            columns(
                "training set | its weights | q | its images, real and fake alike | q | "
                "facts of its files (Cramér's V) | facts alone | detector"
            )
        ]
        for each, weights, content in zip(self.exposures, *q, strict=True):
            facts = "; ".join(
                f"{f['fact'].replace('_', ' ')} {f['cramers_v']:.2f}"
                for f in each.facts.to_dict("records")
            )
            rows.append(
                [
                    each.generator,
                    _strong("; ".join(each.weights.nearest["text"].head(2)), weights),
                    _p(weights),
                    _strong("; ".join(each.content.nearest["text"].head(2)), content)
                    if each.content
                    else "no other images",
                    _p(content),
                    facts or "none",
                    str(each.blind),
                    str(each.detector),
                ]
            )
        return rows

    def confounds(self) -> Rows:
        """The explanations of the generators whose confounds are known, as the app shows them."""
        known = [each for each in self.exposures if each.generator in CONFOUNDED]
        if not known:
            raise AigiError(
                f"The table of confounds is about {', '.join(CONFOUNDED)}, none of which this"
                " workspace has: leave it out."
            )
        return [
            ["generator", "its explanation"],
            *([each.generator, " ".join(each.sentences)] for each in known),
        ]

    def control(self) -> Rows:
        """Whether words can name what an operation does, where nothing else differs."""
        rows = [
            columns(
                "operation | nearest phrases of the change | cosine | p | "
                "best phrase that says it | its rank"
            )
        ]
        for op in perturbed_ops(self.workspace):
            words = operation_words(
                self.workspace, self.lexicon, str(op), len(self.lexicon), draws=self.draws
            )
            own = words.nearest[
                words.nearest["text"].map(SAYS.get(op.kind, re.compile("$^")).search).notna()
            ].head(1)
            ranks = [f"{row.rank} of {len(words.nearest)}" for row in own.itertuples()]
            rows.append(
                [
                    str(op),
                    _strong("; ".join(words.nearest["text"].head(4)), words.p_value),
                    f"{words.top_cosine:.2f}",
                    _p(words.p_value),
                    "; ".join(own["text"]) or "none",
                    "; ".join(ranks) or "–",
                ]
            )
        return rows

    def all_heads(self) -> Rows:
        """The five heads that words fit best, under each definition, corrected for all texts and
        all heads.
        """
        rows = [
            ["definition", "head", "nearest", "category", "cosine", "p, this head", "p, all heads"]
        ]
        for definition in DEFINITIONS:
            by_head = heads_words(self.workspace, self.lexicon, self.names, definition)
            for one in by_head.head(5).to_dict("records"):
                rows.append(
                    [
                        definition,
                        one["head"],
                        _strong(one["nearest"], one["p_all_heads"]),
                        one["category"],
                        f"{one['cosine']:.2f}",
                        _p(one["p_value"]),
                        _p(one["p_all_heads"]),
                    ]
                )
        return rows

    def nothing(self) -> Rows:
        rows = [
            columns(
                "weights | bank | "
                "detectors whose nearest text is no nearer than chance (p > .05) | of"
            )
        ]
        for (kind, bank), part in self.of_detectors.groupby(["kind", "bank"], sort=False):
            silent = part[part["p_value"] > ALPHA]
            named = "; ".join(
                f"{d} ({_p(p)})" for d, p in zip(silent["detector"], silent["p_value"], strict=True)
            )
            rows.append([str(kind), str(bank), named or "none", str(len(part))])
        return rows

    def nameability(self) -> Rows:
        rows = [
            columns(
                "weights | bank | measure | family | Spearman with the out-of-domain mean | p | "
                "detectors"
            )
        ]
        for (kind, bank), part in self.of_detectors.groupby(["kind", "bank"], sort=False):
            for measure, column in (
                ("top cosine", "nameable"),
                ("top cosine less chance", "excess"),
            ):
                table = part.assign(nameable=part[column])
                for one in nameability(table).correlations.to_dict("records"):
                    value = (
                        span(one["spearman"], one["low"], one["high"], 2, signed=True)
                        if np.isfinite(one["spearman"])
                        else "too few"
                    )
                    rows.append(
                        [
                            str(kind),
                            str(bank),
                            measure,
                            one["family"],
                            value,
                            _p(one["p_value"]),
                            str(one["n"]),
                        ]
                    )
        return rows

    def heads(self) -> Rows:
        rows = [
            columns(
                "head | mean gap (own generator) | carries | misleads | in-domain alone | "
                "out-of-domain alone | TextSpan | variance explained | "
                "ablated: in-domain change | as many other heads"
            )
        ]
        for layer, head in self.widening_heads:
            roles = self.all_roles.query("layer == @layer and head == @head")
            own, others = (
                roles[(roles["detector"] == roles["generator"]) == same] for same in (True, False)
            )
            alone = train(self.workspace, self.names, HeadsView(((layer, head),)))
            matrix = transfer_matrix(
                score_detectors(alone, self.workspace),
                self.workspace.domains,
                self.names,
                metrics=(DEFAULT_METRIC,),
                draws=200,
            )
            texts = self.atlas.spans.query("layer == @layer and head == @head").head(5)
            change = ablation_effect(
                self.workspace, self.readings, self.names, [(layer, head)], draws=200
            ).table
            lost = change.query("detector == 'all' and cells == 'in-domain'").iloc[0]
            inside, outside = (
                matrix.mean(DEFAULT_METRIC, m) for m in (matrix.in_domain, ~matrix.in_domain)
            )
            rows.append(
                [
                    f"{layer}.{head}",
                    f"{own['gap'].mean():+.2f}",
                    (
                        f"{(own['role'] == 'carries').sum()} of {len(own)} own,"
                        f" {(others['role'] == 'carries').sum()} of {len(others)} other"
                    ),
                    (
                        f"{(own['role'] == 'misleads').sum()} own,"
                        f" {(others['role'] == 'misleads').sum()} other"
                    ),
                    str(inside),
                    str(outside),
                    "; ".join(texts["text"]),
                    f"{texts['explained'].sum():.0%} by 5",
                    span(lost["change"], lost["low"], lost["high"], signed=True),
                    (
                        f"{number(lost['control_low'], signed=True)} to"
                        f" {number(lost['control_high'], signed=True)}, p = {_p(lost['p_control'])}"
                    ),
                ]
            )
        return rows

    def head_phrases(self) -> Rows:
        words, labels = [], []
        for layer, head in self.widening_heads:
            for definition in DEFINITIONS:
                labels.append(f"{layer}.{head}, {definition}")
                words.append(
                    head_words(
                        self.workspace,
                        self.lexicon,
                        layer,
                        head,
                        generators=self.names,
                        definition=definition,
                        draws=self.draws,
                    )
                )
        return self._named("head", labels, words)

    def roles(self) -> Rows:
        rows = [
            ["detector", "carries it most (own generator)", "misleads it most (another generator)"]
        ]
        heads = self.all_roles.query("layer >= 0")
        for name in self.names:
            mine = heads[heads["detector"] == name]
            own, others = (mine[(mine["generator"] == name) == same] for same in (True, False))
            best, worst = own.nlargest(1, "gap").iloc[0], others.nsmallest(1, "gap").iloc[0]
            rows.append([name, _gap(best), f"{_gap(worst)} on {worst['generator']}"])
        return rows

    def concepts(self) -> Rows:
        """The nearest three phrases of each nameable detector projected out of every embedding."""
        rows = [
            columns(
                "detector | projected out | in-domain before | change | "
                "as many random directions | p against these"
            )
        ]
        lists = self.atlas.rows.query(
            "kind == 'logistic' and bank == 'phrases' and side == 'nearest'"
        )
        for name, reading in zip(self.names, self.readings, strict=True):
            mine = lists[lists["detector"] == name].head(3)
            if mine["p_value"].iloc[0] > ALPHA:
                continue
            texts = mine["text"].tolist()
            effect = concept_effect(
                self.workspace, [reading], [name], self.lexicon, texts, controls=99, draws=200
            ).table
            one = effect.query("detector == @name and cells == 'in-domain'").iloc[0]
            rows.append(
                [
                    name,
                    "; ".join(texts),
                    f"{one['before']:.3f}",
                    span(one["change"], one["low"], one["high"], signed=True),
                    f"{number(one['control_low'], signed=True)} to"
                    f" {number(one['control_high'], signed=True)}",
                    _p(one["p_control"]),
                ]
            )
        return rows

    def palette(self) -> Rows:
        """Every place where the palette of sdxl was looked for with the project's phrases, found or
        not.
        """
        rows = [["where", "nearest phrase", "p", "best palette phrase", "its rank", "its p"]]
        name = "sdxl"
        if name not in self.names:
            raise AigiError(
                f"The palette table is about {name!r}, which this workspace does not have: leave"
                " the table out."
            )
        detector = self.detectors[self.names.index(name)]
        [residual] = train_residual(self.workspace, [name])
        plain, narrow = (
            Lexicon.of(self.workspace, centred=False),
            self.lexicon.only(PALETTE_CATEGORIES),
        )
        for what, lexicon, which in (
            ("weights", self.lexicon, detector),
            ("weights, uncentred", plain, detector),
            ("residual", self.lexicon, residual),
            ("weights, two categories only", narrow, detector),
            ("residual, two categories only", narrow, residual),
        ):
            rows.append(
                [
                    what,
                    *_palette_row(
                        detector_words(
                            self.workspace, lexicon, which, len(lexicon), draws=self.draws
                        )
                    ),
                ]
            )
        content = content_words(
            self.workspace, self.lexicon, name, len(self.lexicon), draws=self.draws, extent=False
        )
        rows.append(["training set (direction alone)", *_palette_row(content)])
        for definition in DEFINITIONS:
            by_head = heads_words(self.workspace, self.lexicon, name, definition)
            hits = [
                f"{one['head']}: {one['nearest']} (p = {_p(one['p_value'])}; all heads"
                f" {_p(one['p_all_heads'])})"
                for one in by_head[by_head["nearest"].isin(PALETTE)].to_dict("records")
            ]
            rows.append(
                [
                    f"heads, {definition}: palette phrase on top",
                    "; ".join(hits) or "none",
                    f"smallest over all heads: {_p(float(by_head['p_all_heads'].min()))}",
                    "",
                    "",
                    "",
                ]
            )
        return rows

    def _named(self, what: str, labels: list[str], lists: list[Words]) -> Rows:
        q = q_values(np.array([words.p_value for words in lists]))
        rows = [
            [
                what,
                "nearest",
                "cosine",
                "p",
                "q",
                "farthest",
                "p",
                "most frequent category of the nearest 50 (p)",
            ]
        ]
        for label, words, corrected in zip(labels, lists, q, strict=True):
            kind = words.categories.query("side == 'nearest'").iloc[0]
            far = float(words.farthest["p_value"].iloc[0])
            rows.append(
                [
                    label,
                    _strong("; ".join(words.nearest["text"].head(4)), words.p_value),
                    f"{words.top_cosine:.2f}",
                    _p(words.p_value),
                    _p(float(corrected)),
                    _strong("; ".join(words.farthest["text"].head(2)), far),
                    _p(far),
                    f"{kind['category']}: {kind['count']} ({_p(kind['p_value'])})",
                ]
            )
        return rows


def _palette_row(words: Words) -> list[str]:
    best = words.nearest[words.nearest["text"].isin(PALETTE)].iloc[0]
    return [
        words.nearest["text"].iloc[0],
        _p(words.p_value),
        best["text"],
        f"{best['rank']} of {len(words.nearest)}",
        _p(best["p_value"]),
    ]


def _gap(one: pd.Series) -> str:
    return (
        f"{one['layer']}.{one['head']}: {span(one['gap'], one['low'], one['high'], 2, signed=True)}"
    )


def _strong(texts: str, p: float) -> str:
    return f"**{texts}**" if p <= ALPHA else texts


def _p(p: float) -> str:
    return "–" if not np.isfinite(p) else f"{p:.3f}".replace("0.", ".")
