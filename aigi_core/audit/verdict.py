"""The audit in plain words: for each generator, how much of its detector's accuracy needs no look
at the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from aigi_core.audit.facts import FACTS, NONE
from aigi_core.errors import AigiError
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.statements import ALPHA, counted
from aigi_core.transfer import (
    Estimate,
    MatrixDifference,
    PairedDifference,
    TransferMatrix,
    difference,
)

Level = Literal["explained", "partly", "clear"]
"""``explained``: file facts alone do as well as the detector, or content or facts leave little to
add; ``partly``: facts or content alone beat chance; ``clear``: neither was shown to."""
STRONG = 0.3
"""Cramér's V from which a fact is named in the verdict (a medium association: Cohen 1988)."""


@dataclass(frozen=True)
class Verdict:
    """What an audit says of one generator.

    Attributes:
        detector: in-domain balanced accuracy of the detector of features.
        facts: view -> the same from file facts alone.
        difference: view -> detector minus facts, paired.
        level: how far the accuracy is explained without looking.
        sentences: the verdict in words, the headline first; every number has its interval and n.
    """

    generator: str
    detector: Estimate
    facts: dict[str, Estimate]
    difference: dict[str, PairedDifference]
    level: Level
    sentences: tuple[str, ...] = field(repr=False)

    @property
    def headline(self) -> str:
        return self.sentences[0]


def verdicts(
    detector: TransferMatrix,
    facts: dict[str, TransferMatrix],
    facts_separate: dict[str, pd.DataFrame],
    associations: dict[str, pd.DataFrame],
    *,
    within: pd.DataFrame | None = None,
    content: pd.DataFrame | None = None,
    content_separates: pd.DataFrame | None = None,
    words: dict[str, pd.DataFrame] | None = None,
    overlays: pd.DataFrame | None = None,
    level: float = ALPHA,
) -> list[Verdict]:
    """Put the results of an audit together, generator by generator.

    A confound is only reported where held-out images show it: ``adjusted`` p-value of the
    separation below ``level``.

    Args:
        detector: matrix of the detectors under audit; each generator trained alone, balanced
            accuracy measured.
        facts: view (``stored``, ``original``) -> matrix of the detectors of file facts, same rows,
            columns and draws. facts_separate, content_separates: of
            :func:`~.separation.separation`.
        associations: view -> of :func:`~.facts.association`.
        within: of :func:`~.matching.within_strata`; ``content``: of
            :func:`~.content.content_imbalance`;
        words: generator -> of :func:`~.content.content_differences`; ``overlays``: of
            :func:`~.overlays.find_overlays`.

    Raises:
        AigiError: matrices that do not hold the same generators.
    """
    for name, matrix in facts.items():
        if matrix.train != detector.train or matrix.test != detector.test:
            raise AigiError(
                f"The matrix of the facts' view {name!r} has other rows or columns than the"
                " detector's."
            )
    paired = {view: difference(detector, matrix, DEFAULT_METRIC) for view, matrix in facts.items()}
    results = []
    for column, generator in enumerate(detector.test):
        if (generator,) not in detector.train:
            continue
        cell = (detector.train.index((generator,)), column)
        about = _Generator(generator, cell, detector, level)
        sentences = about.facts(facts, facts_separate, paired)
        sentences += about.associations(associations, facts_separate)
        sentences += about.within(within)
        content_tells = about.content(content, content_separates, words, sentences)
        overlay_tells = about.overlay(overlays, sentences)
        separating = [view for view in facts if about.separated(facts_separate[view])]
        sufficient = any(paired[view].low[cell] <= 0 for view in separating)
        verdict: Level = (
            "explained"
            if sufficient
            else "partly"
            if separating or content_tells or overlay_tells
            else "clear"
        )
        results.append(
            Verdict(
                generator,
                about.estimate(detector),
                {view: about.estimate(m) for view, m in facts.items()},
                {view: about.paired(d) for view, d in paired.items()},
                verdict,
                tuple(sentences),
            )
        )
    return results


def to_frame(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One row a generator: ``generator, level, detector, detector_low, detector_high``, the same
    and the difference for each view of facts, ``n_fake_and_real``, ``verdict``."""
    rows = []
    for verdict in verdicts:
        row: dict[str, object] = {"generator": verdict.generator, "level": verdict.level}
        parts: dict[str, Estimate | PairedDifference] = {"detector": verdict.detector}
        parts |= {f"facts_{view}": estimate for view, estimate in verdict.facts.items()}
        parts |= {f"difference_{view}": paired for view, paired in verdict.difference.items()}
        for name, part in parts.items():
            row |= {name: part.value, f"{name}_low": part.low, f"{name}_high": part.high}
        rows.append(row | {"n": verdict.detector.n, "verdict": " ".join(verdict.sentences)})
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class _Generator:
    """Sentences on one generator."""

    name: str
    cell: tuple[int, int]
    matrix: TransferMatrix
    level: float

    def estimate(self, matrix: TransferMatrix) -> Estimate:
        low, high = matrix.interval(DEFAULT_METRIC)
        value = matrix.values[DEFAULT_METRIC][self.cell]
        n = int(matrix.n_fake[self.cell[1]] + matrix.n_real[self.cell[1]])
        return Estimate(float(value), float(low[self.cell]), float(high[self.cell]), n)

    def paired(self, change: MatrixDifference) -> PairedDifference:
        value, low, high, p = (
            float(part[self.cell])
            for part in (change.values, change.low, change.high, change.p_value)
        )
        return PairedDifference(value, low, high, p, 1)

    def separated(self, table: pd.DataFrame) -> bool:
        return bool(table.loc[table["generator"] == self.name, "adjusted"].iloc[0] < self.level)

    def facts(
        self,
        facts: dict[str, TransferMatrix],
        separate: dict[str, pd.DataFrame],
        paired: dict[str, MatrixDifference],
    ) -> list[str]:
        own, column = self.estimate(self.matrix), self.cell[1]
        n = (
            f"n = {counted(self.matrix.n_fake[column], 'fake')},"
            f" {counted(self.matrix.n_real[column], 'real image')}"
        )
        separating = {
            view: self.estimate(m) for view, m in facts.items() if self.separated(separate[view])
        }
        if not separating:
            values = "; ".join(
                f"{view} files {_span(self.estimate(m))}" for view, m in facts.items()
            )
            return [
                f"{self.name}'s {own.value:.2f} does not come from file facts: these alone give no"
                f" more than chance ({values}; detector {_span(own)}; balanced accuracy, {n})."
            ]
        view = max(separating, key=lambda name: separating[name].value)
        best = separating[view].value
        sentences = [
            (
                f"{self.name}'s {own.value:.2f} is {best:.2f} from file facts alone"
                if best <= own.value
                else f"{self.name}'s detector reaches {own.value:.2f}, file facts alone {best:.2f}"
            )
            + f" ({view} files {_span(separating[view])}; detector {_span(own)}; balanced accuracy,"
            f" {n})."
        ]
        sentences += [
            f"Facts of the {other} files: {_span(self.estimate(m))}"
            + ("." if other in separating else ", not above chance.")
            for other, m in facts.items()
            if other != view
        ]
        gain = self.paired(paired[view])
        comparison = (
            "does better than"
            if gain.low > 0
            else "does worse than"
            if gain.high < 0
            else "cannot be told apart from"
        )
        sentences.append(
            f"The detector {comparison} facts alone: {gain.value:+z.2f} [{gain.low:+z.2f},"
            f" {gain.high:+z.2f}], paired."
        )
        return sentences

    def associations(
        self, tables: dict[str, pd.DataFrame], separate: dict[str, pd.DataFrame]
    ) -> list[str]:
        sentences = []
        for view, table in tables.items():
            mine = table[(table["generator"] == self.name) & (table["low"] >= STRONG)]
            if mine.empty or not self.separated(separate[view]):
                continue
            named = mine.sort_values("cramers_v", ascending=False, kind="stable").head(3)
            parts = [
                f"{_typical(row)} (Cramér's V {row.cramers_v:.2f} [{row.low:.2f}, {row.high:.2f}])"
                for row in named.itertuples()
            ]
            counts = named.iloc[0]
            sentences.append(
                f"In the {view} files, {'; '.join(parts)}; n = {counts['n_fake']} and"
                f" {counts['n_real']}, all splits."
            )
        return sentences

    def within(self, table: pd.DataFrame | None) -> list[str]:
        if table is None:
            return []
        row = table[(table["train"] == self.name) & (table["test"] == self.name)].iloc[0]
        if row["covered"] == 0:
            return [
                "No real test image is like its fakes in these facts, so matching cannot remove"
                " them."
            ]
        return [
            f"Among images alike in these facts the detector has {row['within']:.2f}"
            f" [{row['within_low']:.2f}, {row['within_high']:.2f}] ({row['covered']:.0%} of the"
            f" fakes have a real image like them; n = {row['n_fake']} and {row['n_real']})."
        ]

    def content(
        self,
        table: pd.DataFrame | None,
        separates: pd.DataFrame | None,
        words: dict[str, pd.DataFrame] | None,
        sentences: list[str],
    ) -> bool:
        if table is None or separates is None or not self.separated(separates):
            return False
        row = table[table["generator"] == self.name].iloc[0]
        if min(row["matched_high"], row["mirrored_high"]) >= row["expected"]:
            # separable, yet each side finds its like on the other: no sign of other content
            return False
        sentence = (
            "What the images show separates fakes from real images with up to"
            f" {row['separable']:.2f} [{row['separable_low']:.2f}, {row['separable_high']:.2f}];"
            f" {row['matched']:.0%} [{row['matched_low']:.0%}, {row['matched_high']:.0%}] of the"
            f" fakes show something that the real images show, and {row['mirrored']:.0%}"
            f" [{row['mirrored_low']:.0%}, {row['mirrored_high']:.0%}] of the real images something"
            f" that the fakes show ({row['expected']:.0%} expected of both; n = {row['n_fake']} and"
            f" {row['n_real']})"
        )
        mine = (words or {}).get(self.name)
        if mine is not None:
            named = mine[(mine["p_value"] < self.level) & (mine["difference"] > 0)].head(3)
            if len(named):
                sentence += ", most of all " + ", ".join(
                    f"{r.text} ({r.difference:+.1f} sd [{r.low:+.1f}, {r.high:+.1f}])"
                    for r in named.itertuples()
                )
        sentences.append(sentence + ".")
        return True

    def overlay(self, table: pd.DataFrame | None, sentences: list[str]) -> bool:
        if table is None:
            return False
        row = table[table["generator"] == self.name].iloc[0]
        if row["adjusted"] >= self.level:
            return False
        sentences.append(
            f"Its images share a mark or layout: at {row['left']:.0%} to {row['right']:.0%} from"
            f" the left and {row['top']:.0%} to {row['bottom']:.0%} from the top they vary down to"
            f" {row['ratio']:.2f} of the usual spread (median colour {row['colour']}, p ="
            f" {row['adjusted']:.2g} against real images, n = {row['n_fake']})."
        )
        return True


def _span(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _typical(row: object) -> str:
    fact = FACTS[getattr(row, "fact")]  # noqa: B009

    def side(who: str, value: str, share: float) -> str:
        unit = f" {fact.unit}" if fact.unit and value != NONE else ""
        if fact.category or share >= 0.5:
            return f"{share:.0%} of the {who} have {value}{unit}"
        return f"the {who} have a median of {value}{unit}"

    sides = [
        side(who, getattr(row, f"{name}_value"), getattr(row, f"{name}_share"))
        for who, name in (("fakes", "fake"), ("real images", "real"))
    ]
    return f"{fact.title}: {sides[0]}, {sides[1]}"
