"""The results table of a workspace beside the paper's figures: ``python -m reports``.

Every number comes from here; the words around the tables are written by hand. In the file given,
whatever stands between ``<!-- results NAME -->`` and ``<!-- /results -->`` is replaced by the table
of that name.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from aigi_core.detectors.detector import Detector, score_detectors
from aigi_core.detectors.presets import PRESETS, preset
from aigi_core.detectors.residual import train_residual
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.explain.nameability import nameability
from aigi_core.geometry.isotropy import against_random
from aigi_core.intervals import mean_interval
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.statements import ALPHA, allows_for_choice, counted, number, p_text, span
from aigi_core.transfer.atlas import Atlas, AtlasKey
from aigi_core.transfer.bootstrap import Estimate
from aigi_core.transfer.few_shot import few_shot_curves
from aigi_core.transfer.matrix import TransferMatrix, transfer_matrix
from aigi_core.transfer.stability import Kind, selection_stability
from aigi_core.transfer.training_sets import Goal, rank_training_sets, trainer
from aigi_core.winner import winner
from aigi_core.workspace import Workspace
from reports.audit import AuditTables
from reports.decisions import DecisionTables
from reports.encoders import EncoderTables
from reports.protocol import ProtocolTables
from reports.sources import SourceTables
from reports.stress import StressTables
from reports.tables import Rows, columns, markdown
from reports.words import WordTables

METRICS = (DEFAULT_METRIC, "accuracy", "auc")
KINDS: tuple[Kind, ...] = ("bootstrap", "jitter")
GOALS: tuple[Goal, ...] = ("mean", "worst")

FAMILIES = {"diffusion": "D", "gan": "G"}
BLOCKS = ("D→D", "D→G", "G→D", "G→G")
PAPER_MEANS = {  # section on results: mean accuracy of the matrix, CLIP-L
    "embedding": ".783",
    "embedding, no bias": ".783",
    "residual": ".754",
    "components": ".804 (one pair)",
}
PAPER_BLOCKS = {  # block means, accuracy: CLIP-B, CLIP-L
    "embedding": ((".818", ".645", ".682", ".759"), (".849", ".749", ".622", ".920")),
    "heads": ((".778", ".721", ".688", ".778"), (".727", ".740", ".681", ".822")),
    "components": ((".763", ".667", ".707", ".768"), (".820", ".784", ".628", ".880")),
}
PAPER_BEST = {
    "components": "CLIP-L .812 (Kandinsky-20 / CycleGAN), CLIP-B .758",
    "heads": "CLIP-L .806 (validate Kandinsky-20, train CycleGAN), CLIP-B .785",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Compute the tables that a Markdown file asks for and write them into it; returns 0, or 2 for
    a mistake in the command.
    """
    parser = argparse.ArgumentParser(
        prog="python -m reports",
        description="Fill the tables of a document in docs/ from a searched workspace.",
    )
    parser.add_argument(
        "--workspace", type=Path, required=True, metavar="WORKSPACE", help="searched with 'search'"
    )
    parser.add_argument(
        "--beside",
        type=Path,
        metavar="WORKSPACE",
        help="the same images encoded after 'encode --canonicalize', for the tables that compare",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="Markdown file whose tables are filled",
    )
    parser.add_argument(
        "--protocol",
        choices=sorted(PRESETS),
        default="ours",
        help="whose detectors and searches the tables means, blocks, search, best and geometry"
        " show; 'protocols' and 'decisions' compare both (default ours)",
    )
    args = parser.parse_args(argv)
    try:
        workspace = Workspace.open(args.workspace)
        beside = Workspace.open(args.beside) if args.beside else None
        tables = Report(workspace, AtlasKey(protocol=args.protocol)).tables()
        tables |= WordTables(workspace).tables() | AuditTables(workspace).tables()
        tables |= StressTables(workspace, beside).tables() | ProtocolTables(workspace).tables()
        tables |= DecisionTables(workspace).tables() | EncoderTables(workspace).tables()
        tables |= SourceTables(workspace).tables()
        args.out.write_text(fill(args.out.read_text("utf-8"), tables), "utf-8")
    except AigiError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"The tables of {args.out} are those of {args.workspace}.")
    return 0


def fill(text: str, tables: dict[str, Callable[[], Rows]]) -> str:
    """The text with each marked table computed anew; raises AigiError for a table that is not
    known, or none marked.
    """
    marks = re.compile(r"(<!-- results (\S+) -->\n).*?(<!-- /results -->)", re.DOTALL)
    names = [match[2] for match in marks.finditer(text)]
    unknown = [name for name in names if name not in tables]
    if unknown or not names:
        what = f"There is no table {unknown[0]!r}" if unknown else "The file marks no table"
        raise AigiError(
            f"{what}: write '<!-- results NAME -->' and '<!-- /results -->' with one of"
            f" {', '.join(tables)}."
        )
    filled: dict[str, str] = {}
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        filled[name] = markdown(tables[name]())
    return marks.sub(lambda match: f"{match[1]}\n{filled[match[2]]}\n\n{match[3]}", text)


class Report:
    """The tables of one workspace; what several of them need is computed once."""

    def __init__(self, workspace: Workspace, key: AtlasKey | None = None) -> None:
        self.workspace = workspace
        self.domains = workspace.domains
        self.key = key or AtlasKey()
        self.names = workspace.domains.generators

    def tables(self) -> dict[str, Callable[[], Rows]]:
        return {
            "means": self.means,
            "blocks": self.blocks,
            "search": self.search,
            "best": self.best,
            "geometry": self.geometry,
            "words": self.words,
            "words-nearest": self.nearest,
            "stability": self.stability,
            "training-sets": self.training_sets,
            "few-shot": self.few_shot,
        }

    # Parts shared by tables
    def measure(
        self, detectors: Sequence[Detector], split: str = "test", draws: int | None = None
    ) -> TransferMatrix:
        scores = score_detectors(detectors, self.workspace)
        return transfer_matrix(
            scores,
            self.domains,
            self.names,
            metrics=METRICS,
            split=split,
            draws=draws or self.key.draws,
            seed=self.key.seed,
        )

    @cached_property
    def atlas(self) -> Atlas:
        return Atlas.open(self.workspace, self.key)

    @cached_property
    def plain(self) -> dict[str, TransferMatrix]:
        """The matrices that need no search."""
        used = preset(self.key.protocol)
        bare = replace(used.training, fit_intercept=False)
        residual = train_residual(self.workspace, self.names, used.training, means=used.residual)
        return {
            "embedding": self.measure(train(self.workspace, self.names, protocol=used.training)),
            "embedding, no bias": self.measure(train(self.workspace, self.names, protocol=bare)),
            "residual": self.measure(residual),
        }

    def over_searches(self, kind: str, cells: str) -> tuple[Spread, Spread, Spread]:
        """Before, after and change over all searches of a kind; each on the cells that its search
        has not seen.
        """
        before, rows = self.plain["embedding"], []
        for pair in self.atlas.pairs:
            mask = block_masks(before, pair)[cells]
            for view in ("components",) if kind == "components" else ("heads a>b", "heads b>a"):
                if mask.any():
                    after = self.atlas.matrix(view, DEFAULT_METRIC, pair).to_numpy()
                    rows.append((before.values[DEFAULT_METRIC][mask].mean(), after[mask].mean()))
        values = np.array(rows).reshape(-1, 2).T
        first, second, change = (
            Spread.of(each) for each in (values[0], values[1], values[1] - values[0])
        )
        return first, second, change

    # Tables
    def means(self) -> Rows:
        rows = []
        for name, matrix in self.plain.items():
            cells = block_masks(matrix)
            rows.append(
                [
                    name,
                    *(
                        show(matrix.mean(DEFAULT_METRIC, cells[c]))
                        for c in ("all", "ood", "in-domain")
                    ),
                    show(matrix.mean("auc", cells["ood"])),
                    show(matrix.mean("accuracy", cells["all"])),
                    PAPER_MEANS[name],
                ]
            )
        header = columns(
            "features | all cells | out-of-domain | in-domain | AUC, out-of-domain | "
            "accuracy, all cells | paper, CLIP-L, accuracy"
        )
        return [header, *rows]

    def blocks(self) -> Rows:
        rows = []
        for kind in ("embedding", "residual"):
            masks = block_masks(self.plain[kind])
            rows.append(
                [
                    kind,
                    *(
                        show(self.plain[kind].mean(DEFAULT_METRIC, masks[block]))
                        for block in BLOCKS
                    ),
                ]
            )
        for kind in ("components", "heads"):
            _, after, change = zip(
                *(self.over_searches(kind, block) for block in BLOCKS), strict=True
            )
            rows.append([f"{kind}, over {counted(after[0].n, 'search')}", *map(str, after)])
            rows.append([f"{kind}, change", *(f"{each:+}" for each in change)])
        for kind, figures in PAPER_BLOCKS.items():
            for encoder, values in zip(("CLIP-B", "CLIP-L"), figures, strict=True):
                rows.append([f"paper: {kind}, {encoder}", *values])
        return [["features", *BLOCKS], *rows]

    def search(self) -> Rows:
        rows = []
        for kind in ("components", "heads"):
            for cells, name in (("all", "D_eval"), ("ood", "D_eval, ood")):
                before, after, change = self.over_searches(kind, cells)
                mine = self.outcomes(kind, name)
                sure = mine[mine["q_value"] < ALPHA]
                verdict = (
                    f"{(sure['change'] > 0).sum()} better, {(sure['change'] < 0).sum()} worse of"
                    f" {len(mine)}"
                )
                chance = f"{mine['random'].mean():.3f}" if kind == "components" else "–"
                kept = f"{mine['kept'].median():.0f} ({mine['kept'].min()}–{mine['kept'].max()})"
                title = "with the diagonal" if cells == "all" else "out-of-domain"
                rows.append(
                    [
                        kind,
                        title,
                        kept,
                        f"{before.mean:.3f}",
                        str(after),
                        f"{change:+}",
                        chance,
                        verdict,
                    ]
                )
        header = columns(
            "search | cells of D_eval | kept: median (range) | before | after | change | "
            "as many random components | searches with q < .05"
        )
        return [header, *rows]

    def outcomes(self, kind: str, cells: str) -> pd.DataFrame:
        """The atlas's rows of one kind of search, in balanced accuracy."""
        table = self.atlas.summary
        return table[
            table["view"].str.startswith(kind)
            & (table["metric"] == DEFAULT_METRIC)
            & (table["cells"] == cells)
        ]

    def best(self) -> Rows:
        """The search that does best on the test images of D_eval (as the paper reports it), and
        that a user would take: the one with the best score on the validation images that it
        searched with. The first is a winner on the images that it is shown on: its interval allows
        for the choice, and its change is corrected over all searches."""
        rows = []
        for kind in ("components", "heads"):
            mine = self.outcomes(kind, "D_eval")
            names = {"after": "value", "after_low": "low", "after_high": "high"}
            on_top = winner(mine.rename(columns=names).assign(name=mine["view"]), limits=(0, 1))
            own = [
                self.own_score(str(row["view"]), (str(row["a"]), str(row["b"])))
                for row in mine.to_dict("records")
            ]
            tested = mine.iloc[int(mine["after"].argmax())]
            searched = mine.iloc[int(np.argmax(own))]
            over = f"over {counted(len(mine), 'search')}"
            for how, row, (low, high), p in (
                (
                    f"test images; its interval {allows_for_choice(on_top.of)[6:]}",
                    tested,
                    (on_top.low, on_top.high),
                    f"{p_text(tested['q_value'], 'q')} {over}",
                ),
                (
                    "its own score",
                    searched,
                    (searched["after_low"], searched["after_high"]),
                    p_text(searched["p_value"]),
                ),
            ):
                a, b = (row["b"], row["a"]) if row["view"] == "heads b>a" else (row["a"], row["b"])
                change = span(row["change"], row["change_low"], row["change_high"], signed=True)
                rows.append(
                    [
                        kind,
                        how,
                        f"{a} / {b}" if kind == "components" else f"train {a}, validate {b}",
                        span(row["after"], low, high),
                        f"{change}, {p}",
                        PAPER_BEST[kind],
                    ]
                )
        header = columns(
            "search | chosen by | search chosen | D_eval, test | change | paper's best, accuracy"
        )
        return [header, *rows]

    def own_score(self, view: str, pair: tuple[str, str]) -> float:
        """Balanced accuracy on the validation images that a search scored on."""
        if view == "components":
            return float(np.mean([way.accuracy[way.cut] for way in self.atlas.components(pair)]))
        way = pair if view == "heads a>b" else pair[::-1]
        return float(np.nanmax(self.atlas.head_scores(*way)))

    def geometry(self) -> Rows:
        table, rows = self.atlas.geometry, []
        change = self.atlas.summary.query(
            "view == 'components' and metric == @DEFAULT_METRIC and cells == 'D_eval, ood'"
        )
        gain = change.set_index(["a", "b"])["change"]
        for measure, part in table.groupby("measure", sort=False):
            shown = against_random(table, str(measure))
            rise = part.set_index(["a", "b"])
            both = spearmanr((rise["after"] - rise["before"]).loc[gain.index], gain)
            beyond = f"{shown['above'].sum()} above, {shown['below'].sum()} below"
            rows.append(
                [
                    str(measure),
                    *(f"{part[name].mean():.3f}" for name in ("before", "after", "random")),
                    f"{beyond} of {len(part)}",
                    f"{both.statistic:+.2f} (n = {len(gain)})",
                ]
            )
        header = columns(
            "measure | before | after | as many random components | "
            "pairs beyond random (q < .05) | "
            "Spearman of its change with the change in balanced accuracy, out-of-domain"
        )
        return [header, *rows]

    @cached_property
    def _nearest_phrases(self) -> pd.DataFrame:
        table = self.atlas.words.query("a == ''")
        if table.empty:
            raise AigiError(
                "The workspace has no phrases: run"
                f" '{self.workspace.command('text')}' and search again."
            )
        return table

    def words(self) -> Rows:
        nameable = nameability(self._nearest_phrases.rename(columns={"cosine": "nameable"}))
        rows = [
            [
                str(row["family"]),
                span(row["spearman"], row["low"], row["high"], 2, signed=True),
                f"{row['p_value']:.2f}",
                str(row["n"]),
            ]
            for row in nameable.correlations.to_dict("records")
            if np.isfinite(row["spearman"])
        ]
        return [
            columns("family | Spearman of top cosine and out-of-domain mean | p | detectors"),
            *rows,
        ]

    def nearest(self) -> Rows:
        header = columns(
            "most nameable detectors | nearest phrase | cosine | null's median | p | out-of-domain"
        )
        top = self._nearest_phrases.sort_values("cosine", ascending=False).iloc[:5]
        rows = [
            [
                str(row["detector"]),
                str(row["text"]),
                *(f"{row[name]:.3f}" for name in ("cosine", "null", "p_value", "ood")),
            ]
            for row in top.to_dict("records")
        ]
        return [header, *rows]

    def stability(self, pairs: int = 3, repeats: int = 5) -> Rows:
        rows = []
        at = np.linspace(0, len(self.atlas.pairs) - 1, pairs).round().astype(int)
        for pair in (self.atlas.pairs[i] for i in dict.fromkeys(at.tolist())):
            row = [" / ".join(pair), str(int(self.atlas.kept(pair).sum()))]
            for kind in KINDS:
                stability = selection_stability(self.workspace, pair, repeats=repeats, kind=kind)
                row += [
                    f"{stability.sizes.min()}–{stability.sizes.max()}",
                    f"{stability.overlap:.2f} ({stability.chance_overlap():.2f})",
                ]
            rows.append(row)
        header = columns(
            "D_search | kept | kept, bootstrap | overlap (chance) | kept, ±1% weights | "
            "overlap (chance)"
        )
        return [header, *rows]

    def training_sets(self) -> Rows:
        ranking = rank_training_sets(
            trainer(self.workspace),
            trainer(self.workspace, held_out=True),
            self.domains,
            draws=self.key.draws,
            seed=self.key.seed,
        )
        rows = []
        for k, goal in ((k, goal) for k in (1, 2, 3) for goal in GOALS):
            best = ranking.best(k, goal)
            mean = (
                f"{best['test_mean']:.3f} [{best['test_mean_low']:.3f},"
                f" {best['test_mean_high']:.3f}]"
            )
            worst = f"{best['test_worst']:.3f} on {best['test_worst_on']}"
            rows.append(
                [str(k), goal, str(best["train"]), mean, worst, f"{best['test_gain']:+.3f}"]
            )
        header = columns(
            "k | chosen by (validation) | training set | out-of-domain mean, test | worst | "
            "gain over sets of its size"
        )
        return [header, *rows]

    def few_shot(self) -> Rows:
        table = few_shot_curves(
            self.workspace, self.names, repeats=3, draws=50, seed=self.key.seed
        ).table
        rows = []
        for size, part in table.groupby(table["size"].replace(0, np.inf)):
            cells = part.pivot_table(index="train", columns="cells", values="value")
            rows.append(
                [
                    "all" if np.isinf(float(str(size))) else f"{size:.0f}",
                    str(len(cells)),
                    *(_mean(cells[name].to_numpy()) for name in ("in-domain", "ood", "worst ood")),
                ]
            )
        header = columns(
            "images per class | generators | in-domain | out-of-domain | worst out-of-domain"
        )
        return [header, *rows]


@dataclass(frozen=True)
class Spread:
    """Mean over n searches, and the range that 95% of them lie in."""

    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: np.ndarray) -> Spread:
        if not len(values):
            return cls(np.nan, np.nan, np.nan, 0)
        low, high = np.quantile(values, [0.025, 0.975])
        return cls(float(values.mean()), float(low), float(high), len(values))

    def __str__(self) -> str:
        return format(self, "")

    def __format__(self, sign: str) -> str:
        if not self.n:
            return "–"
        mean, low, high = (number(x, signed=bool(sign)) for x in (self.mean, self.low, self.high))
        return f"{mean} ({low} to {high})"


def block_masks(matrix: TransferMatrix, pair: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """Cells that a search on the pair has not seen: ``all``, ``ood``, ``in-domain``, and the OOD
    family blocks.
    """
    unseen = matrix.without(pair)
    masks = {
        "all": unseen,
        "ood": unseen & ~matrix.in_domain,
        "in-domain": unseen & matrix.in_domain,
    }
    rows, columns = (
        np.array([FAMILIES.get(f, "") for f in fs])
        for fs in (matrix.train_families, matrix.test_families)
    )
    for block in BLOCKS:
        masks[block] = masks["ood"] & (rows == block[0])[:, None] & (columns == block[-1])
    return masks


def _mean(values: np.ndarray) -> str:
    """The mean of one value a generator, with Student's interval."""
    low, high = mean_interval(values, (0.0, 1.0))
    return span(float(values.mean()), float(low), float(high))


def show(value: Estimate) -> str:
    return str(value) if value.n else "–"


if __name__ == "__main__":
    sys.exit(main())
