"""Tables of an audit for ``python -m reports``: what gives the label away without a look
at the images.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from aigi_core.audit import content
from aigi_core.audit.cached import load_audit
from aigi_core.audit.leaks import CROSSED
from aigi_core.audit.report import Audit
from aigi_core.errors import AigiError
from aigi_core.explain.lexicon import Lexicon
from aigi_core.intervals import count_interval
from aigi_core.manifest import FAKE, REAL
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.statements import ALPHA, counted, span
from aigi_core.transfer import PairedDifference, TransferMatrix, difference
from aigi_core.workspace import Workspace
from reports.tables import Rows, columns

CELLS = {"in-domain": "in-domain", "ood": "out-of-domain"}


class AuditTables:
    """The tables of one audited workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self.domains = workspace, workspace.domains

    def tables(self) -> dict[str, Callable[[], Rows]]:
        """Name -> rows, the header first."""
        return {
            "audit-confounds": self.confounds,
            "audit-verdicts": self.verdicts,
            "audit-sentences": self.sentences,
            "audit-within": self.within,
            "audit-matched": self.matched,
            "audit-content": self.content,
            "audit-subjects": self.subjects,
            "audit-marks": self.marks,
            "audit-leaks": self.leaks,
        }

    @cached_property
    def audit(self) -> Audit:
        return load_audit(self.workspace)

    # What gives the label away

    def confounds(self) -> Rows:
        """The confounds that the collection's README expects, each with the audit's number."""
        images, stored, original = (
            self.workspace.images,
            *(self.audit.associations[v] for v in ("stored", "original")),
        )
        fake, real = (images[images["label"] == label] for label in (FAKE, REAL))

        def of(generator: str) -> pd.DataFrame:
            return fake[fake["generator"] == generator]

        style = {
            name: table[table["text"] == "medium and style"]
            for name, table in self.audit.categories.items()
        }
        drawn = [
            name
            for name, rows in style.items()
            if len(rows) and rows["p_value"].iloc[0] < ALPHA and rows["difference"].iloc[0] > 0
        ]
        styled = "; ".join(f"{name} {_signed(style[name].iloc[0])} sd" for name in drawn)
        bar = _row(self.workspace, self.audit.overlays, "dalle-2")
        header = ["expected by the collection's README", "what the audit finds"]
        return [
            header,
            [
                "four in ten fakes are PNG",
                f"{_share(fake, 'format', 'PNG')} fakes;"
                f" {_share(real, 'format', 'PNG')} photographs",
            ],
            [
                "nine in ten photographs are JPEG",
                (
                    f"{_share(real, 'format', 'JPEG')} photographs; dalle-mini: format"
                    f" {_association(stored, 'dalle-mini', 'format')}"
                ),
            ],
            [
                "SD and large fakes are JPEG of another quality",
                (
                    "not in the stored files: sd-1.4 quality"
                    f" {_typical(stored, 'sd-1.4', 'jpeg_quality')},"
                    f" {_association(stored, 'sd-1.4', 'jpeg_quality')}; their shape is: width /"
                    f" height {_association(stored, 'sd-1.4', 'aspect')}. midjourney-shoes:"
                    f" {_typical(stored, 'midjourney-shoes', 'jpeg_quality')},"
                    f" {_association(stored, 'midjourney-shoes', 'jpeg_quality')}"
                ),
            ],
            [
                "large files were scaled to 256 px",
                (
                    f"{_share(fake, 'resized', 1)} fakes; {_share(real, 'resized', 1)} photographs;"
                    f" before that, dalle-2's width {_association(original, 'dalle-2', 'width')}"
                ),
            ],
            [
                "sdxl is 256-colour palette PNG",
                (
                    f"{_share(of('sdxl'), 'mode', 'P')} fakes have a palette,"
                    f" {_association(stored, 'sdxl', 'mode')}"
                ),
            ],
            [
                "stylegan2-pizza is all food",
                (
                    f"{self._shows('stylegan2-pizza')}; content separates with"
                    f" {self._separable('stylegan2-pizza')}; {self._differ('stylegan2-pizza')}"
                ),
            ],
            [
                "stylegan2-ffhq is all faces",
                (
                    f"{self._shows('stylegan2-ffhq')}: no imbalance against its own photographs,"
                    " one against all others"
                ),
            ],
            [
                "midjourney-shoes is all shoes",
                (
                    f"{self._shows('midjourney-shoes')}; content separates with"
                    f" {self._separable('midjourney-shoes')}; {self._differ('midjourney-shoes')}"
                ),
            ],
            [
                "many diffusion images are illustrations",
                f"more medium and style than the photographs, p < .05: {styled or 'none'}",
            ],
            [
                "dalle-2 has a colour bar at the bottom right",
                (
                    f"a mark at {bar['left']:.0%} to {bar['right']:.0%} from the left,"
                    f" {bar['top']:.0%} to {bar['bottom']:.0%} from the top, {bar['ratio']:.2f} of"
                    f" the usual spread, p = {bar['adjusted']:.3f}"
                ),
            ],
        ]

    def _shows(self, generator: str) -> str:
        row = self._subjects.set_index("generator").loc[generator]
        return (
            f"{row['share']:.0%} [{row['low']:.0%}, {row['high']:.0%}] of {row['n']} are"
            f" nearest to {row['category']}; {row['real_share']:.0%} of its real images are"
        )

    def _differ(self, generator: str) -> str:
        """Its texts that differ most from its real images'."""
        return ", ".join(
            f"{r.text} ({r.difference:+.1f} sd [{r.low:+.1f}, {r.high:+.1f}])"
            for r in self.audit.words[generator].head(1).itertuples()
        )

    def _separable(self, generator: str) -> str:
        row = _row(self.workspace, self.audit.content, generator)
        return f"{row['separable']:.2f} [{row['separable_low']:.2f}, {row['separable_high']:.2f}]"

    def verdicts(self) -> Rows:
        header = columns(
            "generator | detector | facts, stored files | facts, original files | "
            "detector less stored facts | verdict"
        )
        rows = [
            [
                verdict.generator,
                *(
                    str(part)
                    for part in (
                        verdict.detector,
                        verdict.facts["stored"],
                        verdict.facts["original"],
                    )
                ),
                paired(verdict.difference["stored"]),
                verdict.level,
            ]
            for verdict in self.audit.verdicts
        ]
        matrices = [
            self.audit.detector,
            *(self.audit.facts[view] for view in ("stored", "original")),
        ]
        for name, mask in masks_of(self.audit.detector).items():
            gap = difference(self.audit.detector, self.audit.facts["stored"], DEFAULT_METRIC).mean(
                mask
            )
            rows.append(
                [
                    f"**mean, {CELLS[name]}**",
                    *(str(m.mean(DEFAULT_METRIC, mask)) for m in matrices),
                    paired(gap),
                    "",
                ]
            )
        return [header, *rows]

    def sentences(self) -> Rows:
        return [
            ["generator", "in words"],
            *([v.generator, " ".join(v.sentences)] for v in self.audit.verdicts),
        ]

    def within(self) -> Rows:
        own = self.audit.within[self.audit.within["train"] == self.audit.within["test"]]
        header = columns(
            "generator | all test images | among images alike in file facts | "
            "fakes with a real image like them | n fake, real"
        )
        rows = [
            [
                str(r["test"]),
                with_interval(r, "accuracy"),
                "–" if np.isnan(r["within"]) else with_interval(r, "within"),
                f"{r['covered']:.0%}",
                f"{r['n_fake']}, {r['n_real']}",
            ]
            for r in own.to_dict("records")
        ]
        return [header, *rows]

    def matched(self) -> Rows:
        if self.audit.matched.empty:
            raise AigiError(self.audit.matched_note)
        own = self.audit.matched[self.audit.matched["in_domain"]].to_dict("records")
        header = columns(
            "cells | all images | as few, unmatched | matched | matched less unmatched | n"
        )
        rows = [
            [
                str(r["train"]),
                *(f"{r[name]:.2f}" for name in ("full", "control", "matched")),
                span(r["change"], r["low"], r["high"], 2, signed=True),
                counted(r["n_fake"], "fake"),
            ]
            for r in own
        ]
        rows += [
            [
                f"**mean, {CELLS[str(r['cells'])]}**",
                *(with_interval(r, name) for name in ("full", "control", "matched")),
                span(r["change"], r["change_low"], r["change_high"], 2, signed=True),
                counted(r["n"], "cell"),
            ]
            for r in self.audit.means.to_dict("records")
        ]
        return [header, *rows]

    def content(self) -> Rows:
        table = self.audit.content
        if table is None:
            raise AigiError(
                "The workspace has no phrases: run"
                f" '{self.workspace.command('text')}' and audit it again."
            )
        header = columns(
            "generator | content separates | fakes that show what real images show | "
            "real images that show what fakes show | fakes more like | real images more like"
        )
        rows = []
        for r in table.to_dict("records"):
            words = self.audit.words[str(r["generator"])]
            sure = words[words["p_value"] < ALPHA]
            sides = [
                sure[sure["difference"] > 0].head(3),
                sure[sure["difference"] < 0].iloc[::-1].head(3),
            ]
            rows.append(
                [
                    str(r["generator"]),
                    with_interval(r, "separable"),
                    with_interval(r, "matched"),
                    with_interval(r, "mirrored"),
                    *(
                        ", ".join(f"{w.text} ({w.difference:+.1f})" for w in side.itertuples())
                        or "–"
                        for side in sides
                    ),
                ]
            )
        return [header, *rows]

    @cached_property
    def _subjects(self) -> pd.DataFrame:
        lexicon = Lexicon.of(self.workspace, "phrases")
        named = [name for name in content.CONTENT_CATEGORIES if name in lexicon.categories]
        return content.subjects(
            content.concepts(self.workspace.embeddings, lexicon.only(named)), self.domains
        )

    def subjects(self) -> Rows:
        header = ["images", "nearest to", "share", "of its real images", "n"]
        return [
            header,
            *(
                [
                    r["generator"] or f"real, {r['pool']}",
                    r["category"],
                    f"{r['share']:.0%} [{r['low']:.0%}, {r['high']:.0%}]",
                    f"{r['real_share']:.0%}" if r["generator"] else "",
                    str(r["n"]),
                ]
                for r in self._subjects.to_dict("records")
            ),
        ]

    def marks(self) -> Rows:
        table = self.audit.overlays
        if table is None:
            raise AigiError(f"The audit looked at no images: run '{_with_images(self.workspace)}'.")
        header = columns(
            "generator | spread there, of the usual | from the left | from the top | "
            "median colour | p (Holm) | n"
        )
        return [
            header,
            *(
                [
                    r["generator"],
                    f"{r['ratio']:.2f}",
                    f"{r['left']:.0%} to {r['right']:.0%}",
                    f"{r['top']:.0%} to {r['bottom']:.0%}",
                    f"`{r['colour']}`",
                    f"{r['adjusted']:.3f}",
                    str(r["n_fake"]),
                ]
                for r in table.sort_values("adjusted", kind="stable").head(6).to_dict("records")
            ),
        ]

    def leaks(self) -> Rows:
        header = ["pairs", "found", "in one group", "images", "share of images"]
        table = self.audit.duplicates.summary(self.domains).to_dict("records")
        names = {f"across {side}": f"across {side}s" for side in CROSSED}
        return [
            header,
            *(
                [
                    names.get(r["crossing"], r["crossing"]),
                    str(r["pairs"]),
                    str(r["known"]),
                    str(r["images"]),
                    f"{r['share']:.2%} [{r['low']:.2%}, {r['high']:.2%}]",
                ]
                for r in table
            ),
        ]


def masks_of(matrix: TransferMatrix) -> dict[str, np.ndarray]:
    """Cells on and off the diagonal."""
    return {"in-domain": matrix.in_domain, "ood": ~matrix.in_domain}


def _with_images(workspace: Workspace) -> str:
    return workspace.command("audit", images="DIR", force=True)


def _row(workspace: Workspace, table: pd.DataFrame | None, generator: str) -> pd.Series:
    if table is None:
        raise AigiError(
            f"The audit has no text bank or looked at no images: run '{_with_images(workspace)}'."
        )
    row: pd.Series = table[table["generator"] == generator].iloc[0]
    return row


def with_interval(row: Any, name: str, digits: int = 2) -> str:
    """A value of a table's row with its interval, whose columns end in ``_low`` and ``_high``."""
    value, low, high = (
        row[f"{name}{end}" if name != "value" else (end.removeprefix("_") or name)]
        for end in ("", "_low", "_high")
    )
    return span(value, low, high, digits)


def _signed(row: pd.Series) -> str:
    return span(row["difference"], row["low"], row["high"], 1, signed=True)


def paired(part: PairedDifference) -> str:
    """A paired difference with its interval."""
    return span(part.value, part.low, part.high, signed=True)


def _fact(table: pd.DataFrame, generator: str, fact: str) -> pd.Series:
    return table[(table["generator"] == generator) & (table["fact"] == fact)].iloc[0]


def _association(table: pd.DataFrame, generator: str, fact: str) -> str:
    row = _fact(table, generator, fact)
    return f"V {row['cramers_v']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def _typical(table: pd.DataFrame, generator: str, fact: str) -> str:
    row = _fact(table, generator, fact)
    return f"{row['fake_value']} against {row['real_value']}"


def _share(rows: pd.DataFrame, column: str, value: object) -> str:
    hits = int((rows[column] == value).sum())
    low, high = count_interval(hits, len(rows))
    return f"{hits / len(rows):.0%} [{low:.0%}, {high:.0%}] of {len(rows):,}"
