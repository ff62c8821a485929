"""The audit in plain words: for each generator, how much of its detector's accuracy needs no look
at the image.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from aigi_core.audit.facts import FACTS, NONE
from aigi_core.errors import AigiError
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.significance import q_values
from aigi_core.statements import ALPHA, Finding, counted, number, p_text, span
from aigi_core.transfer import (
    Estimate,
    MatrixDifference,
    PairedDifference,
    TransferMatrix,
    difference,
)
from aigi_core.winner import winner

Level = Literal["explained", "partly", "clear"]
"""``explained``: file facts alone do as well as the detector, or content or facts leave little to
add; ``partly``: facts or content alone beat chance; ``clear``: neither was shown to."""
STRONG = 0.3
"""Cramér's V from which a fact is named in the verdict (a medium association: Cohen 1988)."""


@dataclass(frozen=True)
class Verdict:
    """What an audit says of one generator: values, and sentences made from them and from the
    audit's tables (:func:`told`), which are not stored.

    Attributes:
        detector: in-domain balanced accuracy of the detector of features.
        facts: view -> the same from file facts alone.
        difference: view -> detector minus facts, paired.
        level: how far the accuracy is explained without looking.
        n_fake, n_real: test images.
        separated: views whose facts separate fakes from real images on held-out images.
        content, overlay: whether content alone does, and whether fakes share a mark.
        sentences: the verdict in words; every number has its interval and n.
    """

    generator: str
    detector: Estimate
    facts: dict[str, Estimate]
    difference: dict[str, PairedDifference]
    level: Level
    n_fake: int
    n_real: int
    separated: tuple[str, ...]
    content: bool
    overlay: bool
    sentences: tuple[str, ...] = field(default=(), repr=False)

    @property
    def headline(self) -> str:
        """The numbers that the level rests on, in one sentence."""
        alone = "; ".join(f"{_span(part)} ({view} files)" for view, part in self.facts.items())
        return (
            f"{self.generator}: the detector reaches balanced accuracy {_span(self.detector)}, file"
            f" facts alone {alone}; n = {counted(self.detector.n, 'image')}."
        )


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

    The difference of detector and facts is called one where its interval and its q-value
    (Benjamini-Hochberg over the generators) agree.

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
    cells = {
        generator: (detector.train.index((generator,)), column)
        for column, generator in enumerate(detector.test)
        if (generator,) in detector.train
    }
    results = []
    for generator, cell in cells.items():
        separated = tuple(v for v in facts if _separated(facts_separate[v], generator, level))
        results.append(
            Verdict(
                generator,
                _estimate(detector, cell),
                {view: _estimate(matrix, cell) for view, matrix in facts.items()},
                {view: _paired(change, cell) for view, change in paired.items()},
                "clear",
                n_fake=int(detector.n_fake[cell[1]]),
                n_real=int(detector.n_real[cell[1]]),
                separated=separated,
                content=_content_tells(content, content_separates, generator, level),
                overlay=overlays is not None and _separated(overlays, generator, level),
            )
        )
    found = findings(results)
    results = [replace(one, level=_level(one, found[one.generator])) for one in results]
    return told(
        results, associations, within=within, content=content, words=words, overlays=overlays
    )


def findings(verdicts: Sequence[Verdict]) -> dict[str, dict[str, Finding]]:
    """Generator -> view -> the difference of detector and facts on its own test images, corrected
    over the generators."""
    found: dict[str, dict[str, Finding]] = {verdict.generator: {} for verdict in verdicts}
    for view in verdicts[0].difference if verdicts else ():
        parts = [verdict.difference[view] for verdict in verdicts]
        q = q_values(np.array([part.p_value for part in parts]))
        for verdict, part, own in zip(verdicts, parts, q, strict=True):
            found[verdict.generator][view] = replace(
                part.finding("image"),
                q_value=float(own),
                n=verdict.n_fake + verdict.n_real,
                corrected_over=counted(len(verdicts), "generator"),
            )
    return found


def _level(verdict: Verdict, found: Mapping[str, Finding]) -> Level:
    if any(found[view].direction != "higher" for view in verdict.separated):
        return "explained"
    return "partly" if verdict.separated or verdict.content or verdict.overlay else "clear"


def told(
    verdicts: Sequence[Verdict],
    associations: Mapping[str, pd.DataFrame],
    *,
    within: pd.DataFrame | None,
    content: pd.DataFrame | None,
    words: Mapping[str, pd.DataFrame] | None,
    overlays: pd.DataFrame | None,
    level: float = ALPHA,
) -> list[Verdict]:
    """Verdicts with their sentences, from their values and the tables of the audit."""
    found, results = findings(verdicts), []
    for verdict in verdicts:
        about = _Sentences(verdict, level)
        sentences = about.facts(found[verdict.generator])
        sentences += about.associations(associations)
        sentences += about.within(within)
        if verdict.content and content is not None:
            sentences.append(about.content(content, words))
        if verdict.overlay and overlays is not None:
            sentences.append(about.overlay(overlays))
        results.append(replace(verdict, sentences=tuple(sentences)))
    return results


def _content_tells(
    content: pd.DataFrame | None, separates: pd.DataFrame | None, generator: str, level: float
) -> bool:
    if content is None or separates is None or not _separated(separates, generator, level):
        return False
    row = content[content["generator"] == generator].iloc[0]
    # Where each side finds its like on the other, that they separate is no sign of other content.
    return bool(min(row["matched_high"], row["mirrored_high"]) < row["expected"])


def _separated(table: pd.DataFrame, generator: str, level: float) -> bool:
    return bool(table.loc[table["generator"] == generator, "adjusted"].iloc[0] < level)


def _estimate(matrix: TransferMatrix, cell: tuple[int, int]) -> Estimate:
    low, high = matrix.interval(DEFAULT_METRIC)
    value = matrix.values[DEFAULT_METRIC][cell]
    n = int(matrix.n_fake[cell[1]] + matrix.n_real[cell[1]])
    return Estimate(float(value), float(low[cell]), float(high[cell]), n)


def _paired(change: MatrixDifference, cell: tuple[int, int]) -> PairedDifference:
    value, low, high, p = (
        float(part[cell]) for part in (change.values, change.low, change.high, change.p_value)
    )
    return PairedDifference(value, low, high, p, 1)


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
class _Sentences:
    """Sentences on one generator."""

    about: Verdict
    level: float

    def facts(self, found: Mapping[str, Finding]) -> list[str]:
        name, own, facts = self.about.generator, self.about.detector, self.about.facts
        n = f"n = {counted(self.about.n_fake, 'fake')}, {counted(self.about.n_real, 'real image')}"
        separating = {view: facts[view] for view in self.about.separated}
        if not separating:
            values = "; ".join(f"{view} files {_span(one)}" for view, one in facts.items())
            return [
                f"File facts alone do not separate {name}'s images from real ones"
                f" ({values}). Its detector does: {_span(own)} (balanced accuracy, {n})."
            ]
        view = max(separating, key=lambda name: separating[name].value)
        best, of = separating[view], len(separating)
        if of > 1:  # the higher of two lies too high
            table = pd.DataFrame([{"name": v, **vars(e)} for v, e in separating.items()])
            best = replace(best, low=winner(table, limits=(0, 1)).low)
        chosen = f"{view} files"
        chosen += f", the higher of {of}, interval corrected for this choice;" if of > 1 else ";"
        sentences = [
            f"{name}'s detector reaches balanced accuracy {_span(own)}. File facts alone"
            f" reach {_span(best)} ({chosen} {n})."
        ]
        sentences += [
            f"Facts of the {other} files: {_span(one)}"
            + ("." if other in separating else ", not above chance.")
            for other, one in facts.items()
            if other != view
        ]
        gain = found[view]
        compared = gain.claim(
            "does significantly better than",
            "does significantly worse than",
            "is not significantly different from",
        )
        sentences.append(f"The detector {compared} facts alone: {gain.points()}.")
        return sentences

    def associations(self, tables: Mapping[str, pd.DataFrame]) -> list[str]:
        sentences = []
        for view, table in tables.items():
            mine = table[(table["generator"] == self.about.generator) & (table["low"] >= STRONG)]
            if mine.empty or view not in self.about.separated:
                continue
            named = mine.sort_values("cramers_v", ascending=False, kind="stable").head(3)
            parts = [
                f"{_typical(row)} (Cramér's V {span(row['cramers_v'], row['low'], row['high'], 2)})"
                for row in named.to_dict("records")
            ]
            counts = named.iloc[0]
            sentences.append(
                f"In the {view} files, {'; '.join(parts)}; n = {counts['n_fake']:.0f} and"
                f" {counts['n_real']:.0f}, all splits."
            )
        return sentences

    def within(self, table: pd.DataFrame | None) -> list[str]:
        if table is None:
            return []
        name = self.about.generator
        row = table[(table["train"] == name) & (table["test"] == name)].iloc[0]
        if row["covered"] == 0:
            return [
                "No real test image has the same facts as its fakes, so matching cannot"
                " remove this difference."
            ]
        return [
            "Among images with the same facts the detector reaches balanced accuracy"
            f" {span(row['within'], row['within_low'], row['within_high'], 2)}"
            f" ({row['covered']:.0%} of the fakes have a matching real image; n ="
            f" {row['n_fake']} and {row['n_real']})."
        ]

    def content(self, table: pd.DataFrame, words: Mapping[str, pd.DataFrame] | None) -> str:
        row = table[table["generator"] == self.about.generator].iloc[0]
        sentence = (
            "Content alone separates fakes from real images with a balanced accuracy of up"
            f" to {row['separable']:.2f} [{row['separable_low']:.2f},"
            f" {row['separable_high']:.2f}]. {row['matched']:.0%} [{row['matched_low']:.0%},"
            f" {row['matched_high']:.0%}] of the fakes have a real image of similar content,"
            f" and {row['mirrored']:.0%} [{row['mirrored_low']:.0%},"
            f" {row['mirrored_high']:.0%}] of the real images have a fake of similar content"
            f" ({row['expected']:.0%} expected of both if contents do not differ; n ="
            f" {row['n_fake']} and {row['n_real']})"
        )
        mine = (words or {}).get(self.about.generator)
        if mine is not None:
            named = mine[(mine["p_value"] < self.level) & (mine["difference"] > 0)].head(3)
            if len(named):
                sentence += ". They show more than real images do: " + ", ".join(
                    f"{r['text']} ({_in_sd(r['difference'], r['low'], r['high'])})"
                    for r in named.to_dict("records")
                )
        return sentence + "."

    def overlay(self, table: pd.DataFrame) -> str:
        row = table[table["generator"] == self.about.generator].iloc[0]
        return (
            f"Its images share a mark or layout: at {row['left']:.0%} to {row['right']:.0%}"
            f" from the left and {row['top']:.0%} to {row['bottom']:.0%} from the top their"
            f" colours vary least, with {row['ratio']:.2f} of the usual spread (median colour"
            f" {row['colour']}, {p_text(row['adjusted'])} against real images, n ="
            f" {row['n_fake']})."
        )


def _span(estimate: Estimate) -> str:
    return span(estimate.value, estimate.low, estimate.high, 2)


def _in_sd(difference: float, low: float, high: float) -> str:
    value, *ends = (number(x, 1, signed=True) for x in (difference, low, high))
    return f"{value} sd [{', '.join(ends)}]"


def _typical(row: Mapping[Hashable, Any]) -> str:
    fact = FACTS[row["fact"]]

    def side(who: str, value: str, share: float) -> str:
        unit = f" {fact.unit}" if fact.unit and value != NONE else ""
        if fact.category or share >= 0.5:
            return f"{share:.0%} of the {who} have {value}{unit}"
        return f"the {who} have a median of {value}{unit}"

    sides = [
        side(who, row[f"{name}_value"], row[f"{name}_share"])
        for who, name in (("fakes", "fake"), ("real images", "real"))
    ]
    return f"{fact.title}: {sides[0]}, {sides[1]}"
