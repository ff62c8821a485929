"""What a detector may have learned in place of the signs of generation: a subject, said in words,
or facts of files.

Words alone do not tell all. Weights cannot name what both classes show (faces only, shoes only):
the training images' own words can. And an encoder that hardly sees a trait of the files (a dithered
palette) has no word for it, while a look at the files finds it at once. So the explanation of a
detector puts the three side by side, and where copies of the images were encoded that share the
fakes' trait, says whether the detector minds it.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from aigi_core.audit.facts import FACTS, NONE, association, file_facts
from aigi_core.audit.verdict import STRONG
from aigi_core.detectors.detector import Detector
from aigi_core.detectors.features import EmbeddingView
from aigi_core.errors import AigiError
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.nulls import DRAWS, word_null
from aigi_core.explain.words import Words, words
from aigi_core.intervals import count_interval
from aigi_core.manifest import FAKE, REAL
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.resampling import percentile_interval
from aigi_core.statements import ALPHA, counted, p_text
from aigi_core.stress.copies import open_perturbed, perturbed_ops
from aigi_core.transfer import Estimate, Resample, TransferMatrix
from aigi_core.workspace import Workspace

IMITATES = {("mode", "P"): "palette"}
"""Fact and value of fakes -> the kind of operation that gives it to real images."""
NAMED = 4
"""How many facts a sentence names; the table has all."""
READABLE = {("mode", "P"): "P (a palette of at most 256 colours)"}


@dataclass(frozen=True, eq=False)
class Exposure:
    """What gives one generator's fakes away besides the signs of generation.

    Attributes:
        weights: what the detector's weights say; content: what its training images show, real and
            fake alike; None where the workspace holds no others to compare them with.
        facts: facts of the stored files that go with the label (Cramér's V at least
            :data:`~.verdict.STRONG`, with its whole interval), strongest first; columns of
            :func:`~.facts.association`.
        blind: in-domain balanced accuracy of a detector of file facts alone; ``detector``: of the
            one explained. ``n`` counts test images.
        test_fakes, test_groups: how many of these images are fakes, and groups of fakes that are
            drawn as one: what makes the intervals wide.
        shifts: what happens to real test images that are given a trait of the fakes, one row an
            operation: ``op, says, shift, low, high`` (mean change of the logit), ``way, way_low,
            way_high`` (the same over the gap between the mean logits of its fakes and of real
            images), ``flagged, flagged_after`` (shares called fake), ``n`` (real images); intervals
            by group bootstrap; empty where no such copies were encoded.
    """

    generator: str
    weights: Words = field(repr=False)
    content: Words | None = field(repr=False)
    facts: pd.DataFrame = field(repr=False)
    blind: Estimate
    detector: Estimate
    shifts: pd.DataFrame = field(repr=False)
    test_fakes: int
    test_groups: int

    @property
    def sentences(self) -> tuple[str, ...]:
        """The findings in plain words: weights, training images, files, and whether the detector
        minds them.
        """
        return (self._weights(), self._content(), *self._files(), *self._shifts())

    def _weights(self) -> str:
        if not self.weights.nameable:
            return (
                "Its weights are no nearer to any text than expected by chance: the nearest text is"
                f" '{_listed(self.weights, 1)}' ({p_text(self.weights.p_value)})."
            )
        return (
            f"Its weights point to {_listed(self.weights)}"
            f" ({p_text(self.weights.p_value)}){_about(self.weights)}."
        )

    def _content(self) -> str:
        if self.content is None:
            return (
                "The content of its training images has nothing to be compared with: the"
                " workspace holds no other images."
            )
        if self.content.p_value > ALPHA:
            return (
                "Its training images are not shown to differ in content from other images"
                f" ({p_text(self.content.p_value)})."
            )
        return (
            f"Its training images, real and fake alike, show {_listed(self.content)} more than all"
            f" other images do ({p_text(self.content.p_value)}){_about(self.content)}."
        )

    def _files(self) -> list[str]:
        alone = (
            f"a detector of file facts alone reaches a balanced accuracy of {self.blind},"
            f" this detector {self.detector} "
        )
        alone += (
            f"(in-domain, n = {counted(self.blind.n, 'test image')}, of which"
            f" {counted(self.test_fakes, 'fake')} in {counted(self.test_groups, 'group')}; few"
            " make intervals wide)."
        )
        if self.facts.empty:
            return [f"No file fact is strongly associated with the label: {alone}"]
        counts = self.facts.iloc[0]
        return [
            f"File facts reveal the label: {alone}",
            f"Facts that differ (n = {counted(counts['n_fake'], 'fake')},"
            f" {counted(counts['n_real'], 'real image')}): "
            + "; ".join(_fact(row) for row in self.facts.head(NAMED).to_dict("records"))
            + ".",
        ]

    def _shifts(self) -> list[str]:
        return [
            f"Real images, changed ({row['says']}), move {row['way']:z.1%} [{row['way_low']:z.1%},"
            f" {row['way_high']:z.1%}] of the way from the mean real to the mean fake logit"
            f" ({row['shift']:+z.2f} in logit): of {counted(row['n'], 'real test image')}"
            f" {row['flagged_after']:.1%} are called fake, compared with {row['flagged']:.1%}"
            " without the change."
            for row in self.shifts.to_dict("records")
        ]


def exposure(
    workspace: Workspace,
    detector: Detector,
    weights: Words,
    content: Words | None,
    trained: TransferMatrix,
    blind: TransferMatrix,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Exposure:
    """Put together what words and files say of a detector of one generator.

    Args:
        weights, content: of :func:`~aigi_core.explain.detector_words.detector_words` and
            ``content_words``; no content where no other images are left to compare with.
        trained, blind: matrices of balanced accuracy that hold a row and a
            column of this generator: detectors of the kind explained, and detectors of file facts
            (:func:`~.facts.fact_scores`).

    Raises:
        AigiError: a detector trained on several generators, or a matrix without this one.
    """
    if len(detector.training_set) != 1:
        raise AigiError(
            f"Expected a detector trained on one generator, but {detector.name!r} was trained"
            f" on {len(detector.training_set)}: choose a detector of a single generator."
        )
    [name] = detector.training_set
    associations = association(
        file_facts(workspace.images), workspace.domains, [name], draws=draws, seed=seed
    )
    strong = associations[associations["low"] >= STRONG].sort_values(
        "cramers_v", ascending=False, kind="stable", ignore_index=True
    )
    domains = workspace.domains
    tested = domains.rows([name], "test")
    groups = domains.group_numbers(tested)[domains.labels[tested] == FAKE]
    return Exposure(
        name,
        weights,
        content,
        strong,
        _own(blind, name),
        _own(trained, name),
        imitation_shifts(workspace, detector, strong, draws=draws, seed=seed),
        test_fakes=len(groups),
        test_groups=len(np.unique(groups)),
    )


def imitation_shifts(
    workspace: Workspace,
    detector: Detector,
    facts: pd.DataFrame,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """How a detector's logits move where real test images take on a trait of its fakes (see
    :class:`Exposure`).

    Only operations whose copies the workspace holds, and only for traits among the facts given.
    """
    wanted = {IMITATES.get((row["fact"], row["fake_value"])) for row in facts.to_dict("records")}
    domains = workspace.domains
    rows = domains.rows(detector.training_set, "test")
    real = domains.labels[rows] == REAL
    before = detector.decision_function(workspace, rows)
    drawn = Resample.of(domains, rows, draws, seed)

    def mean(values: np.ndarray, of: np.ndarray) -> np.ndarray:
        total, count = drawn.sums(np.stack([values, np.ones_like(values)], axis=1), of).T
        average: np.ndarray = total / count
        return average

    gap = mean(before, ~real) - mean(before, real)
    table = []
    for op in (op for op in perturbed_ops(workspace) if op.kind in wanted):
        copies = open_perturbed(workspace, op)
        if not np.isin(rows, copies.rows).all():
            continue  # copies of other splits
        after = detector.decision_function(copies, np.searchsorted(copies.rows, rows))
        shift = mean(after - before, real)
        way = shift / gap
        low, high = percentile_interval(np.stack([shift, way], axis=1)[1:])
        flagged = [float((scores[real] > detector.threshold).mean()) for scores in (before, after)]
        table.append(
            (
                str(op),
                op.description,
                shift[0],
                low[0],
                high[0],
                way[0],
                low[1],
                high[1],
                *flagged,
                int(real.sum()),
            )
        )
    columns = (
        "op",
        "says",
        "shift",
        "low",
        "high",
        "way",
        "way_low",
        "way_high",
        "flagged",
        "flagged_after",
        "n",
    )
    return pd.DataFrame(table, columns=list(columns))


def operation_words(
    workspace: Workspace,
    lexicon: Lexicon,
    op: str,
    k: int = 20,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Words:
    """What an operation does to real test images, in words: whether words can name a trait at all
    where nothing but it differs.

    The direction is the mean change of the unit embeddings; the null flips the sign of each group's
    change at random, and compares directions.

    Raises:
        WorkspaceError: the workspace holds no copies of this operation. AigiError: none of real
            test images.
    """
    copies, domains = open_perturbed(workspace, op), workspace.domains
    chosen = np.flatnonzero(
        (domains.labels[copies.rows] == REAL) & (domains.split[copies.rows] == "test")
    )
    if not len(chosen):
        raise AigiError(
            f"The copies of {op} hold no real test images: run"
            f" '{workspace.command('perturb', ops=op, splits='test')}'."
        )
    rows, view = copies.rows[chosen], EmbeddingView()
    change = view.matrix(copies, chosen) - view.matrix(workspace, rows)
    group = domains.group_numbers(rows)
    flips = np.random.default_rng(seed).choice((-1.0, 1.0), (draws, group.max() + 1))[:, group]
    null = word_null(lexicon, flips @ change, "permutation", k)
    return words(lexicon, change.mean(axis=0), k, null=null, name=op)


def _own(matrix: TransferMatrix, name: str) -> Estimate:
    """The cell of a generator's own detector on its own test images; ``n`` counts these."""
    if (name,) not in matrix.train or name not in matrix.test:
        raise AigiError(
            f"The matrix holds no detector of {name!r} alone tested on it: give one with that cell."
        )
    cell = matrix.train.index((name,)), matrix.test.index(name)
    low, high = matrix.interval(DEFAULT_METRIC)
    n = int(matrix.n_fake[cell[1]] + matrix.n_real[cell[1]])
    return Estimate(
        float(matrix.values[DEFAULT_METRIC][cell]), float(low[cell]), float(high[cell]), n
    )


def _listed(words: Words, count: int = 3) -> str:
    return "; ".join(words.nearest["text"].head(count))


def _about(words: Words) -> str:
    """The commonest category of the nearest texts, where it is commoner than chance makes it."""
    first = words.categories[words.categories["side"] == "nearest"].head(1).to_dict("records")
    if not first or not first[0].get("p_value", 1.0) <= ALPHA:
        return ""
    return (
        f"; of the {counted(words.counted, 'nearest text')} {first[0]['count']} are about"
        f" {first[0]['category']} ({p_text(first[0]['p_value'])})"
    )


def _fact(row: dict[Hashable, Any]) -> str:
    fact = FACTS[row["fact"]]
    sides = []
    for who, side in (("fakes", "fake"), ("real images", "real")):
        value = str(row[f"{side}_value"])
        share = row[f"{side}_share"]
        n = row[f"n_{side}"]
        shown = READABLE.get((row["fact"], value), value) + (
            f" {fact.unit}" if fact.unit and value != NONE else ""
        )
        low, high = (float(end) for end in count_interval(share * n, n))
        exact = f"{shown} in {share:.0%} [{low:.0%}, {high:.0%}] of the {who}"
        sides.append(
            exact if fact.category or share >= 0.5 else f"a median of {shown} among the {who}"
        )
    return (
        f"{fact.title} {', '.join(sides)} (Cramér's V {row['cramers_v']:.2f} [{row['low']:.2f},"
        f" {row['high']:.2f}])"
    )
