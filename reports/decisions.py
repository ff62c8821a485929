"""What each decision of docs/method.md changes on a workspace, one switch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool

from aigi_core.detectors.detector import Detector, score_detectors
from aigi_core.detectors.features import EmbeddingView, FeatureView, HeadsView
from aigi_core.detectors.heads import score_heads
from aigi_core.detectors.presets import PenaltyFrom
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.residual import train_residual
from aigi_core.detectors.training import TrainingImages, train, train_detectors
from aigi_core.explain.cached import load_words
from aigi_core.explain.lexicon import Lexicon
from aigi_core.geometry.isotropy import against_random
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.statements import ALPHA, counted
from aigi_core.transfer.atlas import Atlas
from aigi_core.transfer.difference import PairedDifference, difference
from aigi_core.transfer.matrix import TransferMatrix, transfer_matrix
from aigi_core.transfer.pairs import Pair
from aigi_core.workspace import Workspace
from reports.tables import Rows, columns

HEADS, TEXTS = 3, 12


class DecisionTables:
    """Ours beside the other choice of one decision, everything else the same."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.domains = workspace.domains
        self.names = workspace.domains.generators

    def tables(self) -> dict[str, Callable[[], Rows]]:
        """Name of a table -> what makes its rows."""
        return {"decisions": self.decisions}

    def decisions(self) -> Rows:
        """One row a decision: balanced accuracy, or what else is named, ours and the other way."""
        header = columns(" | decision | measured | ours | the other choice | change | n")
        made: Sequence[tuple[str, Callable[[], Rows]]] = (
            ("2", self._normalised),
            ("3", self._diagonal),
            ("5", self._union),
            ("6", self._judged),
            ("7", self._split_by_image),
            ("8", self._grid),
            ("9", self._bias),
            ("11", self._null),
            ("12", self._isotropy),
            ("13", self._weights),
            ("15", self._residual),
            ("16", self._penalty),
            ("17", self._left_out),
            ("18", self._centred),
        )
        return [header, *([number, *row] for number, rows in made for row in rows())]

    # Detectors on all generators, one switch at a time

    @cached_property
    def _ours(self) -> TransferMatrix:
        return self._measure(train(self.workspace, self.names))

    @cached_property
    def _our_residual(self) -> TransferMatrix:
        return self._measure(train_residual(self.workspace, self.names))

    def _measure(self, detectors: Sequence[Detector]) -> TransferMatrix:
        scores = score_detectors(detectors, self.workspace)
        return transfer_matrix(scores, self.domains, self.names, metrics=(DEFAULT_METRIC,))

    def _switched(
        self, what: str, other: TransferMatrix, ours: TransferMatrix | None = None
    ) -> Rows:
        """The out-of-domain mean of both, and the paired change."""
        ours = ours or self._ours
        return [_compared(what, "out of domain", ours, other, ~ours.in_domain)]

    def _normalised(self) -> Rows:
        view = EmbeddingView(normalise=False)
        other = self._measure(train(self.workspace, self.names, view))
        return self._switched("embeddings as they are, not of unit length", other)

    def _diagonal(self) -> Rows:
        means = [self._ours.mean(DEFAULT_METRIC, cells) for cells in (~self._ours.in_domain, None)]
        change = f"{means[1].value - means[0].value:+.3f}"
        shown = [str(mean) for mean in means]
        return [["mean with the diagonal", "all cells", *shown, change, _cells(means[1].n)]]

    def _split_by_image(self) -> Rows:
        """The same sizes of splits, images of a group apart: other images are tested, so nothing is
        paired."""
        rng = np.random.default_rng(0)
        split = self.domains.split.copy()
        kind = np.char.add(self.domains.generator.astype(str), self.domains.pool.astype(str))
        for name in np.unique(kind):
            mine = np.flatnonzero(kind == name)
            split[mine] = rng.permutation(split[mine])
        domains = replace(self.domains, split=split)
        images = TrainingImages(EmbeddingView().matrix(self.workspace), domains)
        detectors = train_detectors(images, self.names)
        scores = score_detectors(detectors, self.workspace)
        other = transfer_matrix(scores, domains, self.names, metrics=(DEFAULT_METRIC,))
        rows = []
        for where, cells in (
            ("in-domain", self._ours.in_domain),
            ("out of domain", ~self._ours.in_domain),
        ):
            means = [one.mean(DEFAULT_METRIC, cells) for one in (self._ours, other)]
            change = f"{means[1].value - means[0].value:+.3f}, other test images"
            shown = [str(mean) for mean in means]
            rows.append(["splits by image", where, *shown, change, _cells(means[0].n)])
        return rows

    def _grid(self) -> Rows:
        other = train(self.workspace, self.names, protocol=Protocol(grid="paper"))
        return self._switched("the 96-point grid", self._measure(other))

    def _bias(self) -> Rows:
        bare = Protocol(fit_intercept=False)
        rows = self._switched(
            "no bias, embedding",
            self._measure(train(self.workspace, self.names, protocol=bare)),
        )
        without = self._measure(train_residual(self.workspace, self.names, bare))
        return rows + self._switched("no bias, residual", without, self._our_residual)

    def _weights(self) -> Rows:
        plain = Protocol(class_weight=None)
        other = self._measure(train(self.workspace, self.names, protocol=plain))
        return self._switched("classes by their numbers", other)

    def _residual(self) -> Rows:
        raw = train_residual(self.workspace, self.names, means="raw embeddings")
        return self._switched("residuals of raw embeddings", self._measure(raw), self._our_residual)

    # Searches: the pairs that both protocols hold

    @cached_property
    def _atlas(self) -> Atlas:
        return Atlas.open(self.workspace, protocol="ours")

    @cached_property
    def _pairs(self) -> tuple[Pair, ...]:
        return Atlas.open(self.workspace, protocol="paper").pairs

    def _on(self, view: FeatureView) -> TransferMatrix:
        return self._measure(train(self.workspace, self.names, view))

    def _union(self) -> Rows:
        rows = []
        for pair in self._pairs:
            first, second = (
                set(one.removed[: one.cut].tolist()) for one in self._atlas.components(pair)
            )
            either, both = sorted(first | second), sorted(first & second)
            if len(either) >= self.workspace.embeddings.shape[1]:
                continue
            matrices = [self._on(EmbeddingView(without=tuple(gone))) for gone in (both, either)]
            what = (
                f"removed where either list removes it: {' / '.join(pair)},"
                f" {len(either)} of {self.workspace.embeddings.shape[1]} instead of {len(both)}"
            )
            cells = matrices[0].without(pair)
            rows.append(_compared(what, "D_eval", matrices[0], matrices[1], cells))
        return rows

    def _judged(self) -> Rows:
        """What components change on the cells of the pair itself, beside D_eval."""
        before = self._ours
        means = []
        for pair in self._atlas.pairs:
            after = self._atlas.matrix("components", DEFAULT_METRIC, pair).to_numpy()
            change = after - before.values[DEFAULT_METRIC]
            judged = before.without(pair)
            means.append([change[judged].mean(), change[~judged].mean()])
        what = "the searched generators judge, too"
        return [_spread(what, "change by components, D_eval and other cells", means, "search")]

    def _directions(self) -> list[Pair]:
        return [way for pair in self._pairs for way in (pair, pair[::-1])]

    def _heads(self, way: Pair, penalty: PenaltyFrom) -> TransferMatrix:
        chosen = score_heads(self.workspace, way[0], way[1], penalty=penalty).top(HEADS)
        return self._on(HeadsView(chosen))

    @cached_property
    def _own_heads(self) -> list[TransferMatrix]:
        return [self._heads(way, "own") for way in self._directions()]

    def _penalty(self) -> Rows:
        means = []
        for way, ours in zip(self._directions(), self._own_heads, strict=True):
            pair = (ours, self._heads(way, "scored"))
            means.append([one.mean(DEFAULT_METRIC, one.without(way)).value for one in pair])
        return [_spread("penalty by the scoring generator's images", "heads, D_eval", means)]

    def _left_out(self) -> Rows:
        """The same detectors over more cells."""
        means = []
        for way, ours in zip(self._directions(), self._own_heads, strict=True):
            means.append(
                [
                    ours.mean(DEFAULT_METRIC, ours.without(without)).value
                    for without in (way, way[1:])
                ]
            )
        return [_spread("only the validating generator left out", "heads, D_eval", means)]

    # Words and geometry

    def _null(self) -> Rows:
        table = load_words(self.workspace).detectors
        mine = table[(table["kind"] == "logistic") & (table["bank"] == "phrases")]
        beyond = int((mine["q_value"] < ALPHA).sum())
        return [
            [
                "no null",
                "nearest phrases that may be read (q < .05)",
                f"{beyond} of {len(mine)}",
                f"{len(mine)} of {len(mine)}",
                f"{len(mine) - beyond:+d}",
                counted(len(mine), "detector"),
            ]
        ]

    def _isotropy(self) -> Rows:
        mine = against_random(self._atlas.geometry, "isoscore")
        rises, chance = (mine["change"], mine["after"] - mine["random"])
        beyond = int(mine["above"].sum())
        return [
            [
                "no random removals beside it",
                "IsoScore after the search, beyond as many random removals",
                f"{chance.mean():+.4f} on average, {beyond} of {len(mine)} above them (q < .05)",
                f"{rises.mean():+.4f} on average, {int((rises > 0).sum())} of {len(mine)} rise",
                f"{rises.mean() - chance.mean():+.4f}",
                counted(len(mine), "search"),
            ]
        ]

    def _centred(self) -> Rows:
        directions = np.stack(
            [one.joint_weights(self.workspace)[0] for one in train(self.workspace, self.names)]
        )
        nearest = []
        for centred in (True, False):
            lexicon = Lexicon.of(self.workspace, "phrases", centred=centred)
            cosines, places = lexicon.search(directions, TEXTS)
            nearest.append((cosines[:, 0], lexicon.table["text"].to_numpy()[places]))
        shared = [
            len(set(a) & set(b)) / TEXTS for a, b in zip(nearest[0][1], nearest[1][1], strict=True)
        ]
        (ours, _), (plain, _) = nearest
        return [
            [
                "plain cosines",
                f"highest cosine; nearest {TEXTS} phrases kept",
                f"{ours.mean():.3f}",
                f"{plain.mean():.3f}",
                f"{np.mean(shared):.0%} of the phrases stay",
                counted(len(directions), "detector"),
            ]
        ]


def _compared(
    what: str,
    where: str,
    ours: TransferMatrix,
    other: TransferMatrix,
    cells: Bool[np.ndarray, "K T"],
) -> list[str]:
    change: PairedDifference = difference(other, ours, DEFAULT_METRIC).mean(cells)
    means = [str(one.mean(DEFAULT_METRIC, cells)) for one in (ours, other)]
    return [what, where, *means, str(change), _cells(change.n)]


def _spread(
    what: str, where: str, means: Sequence[Sequence[float]], of: str = "direction"
) -> list[str]:
    """Means over searches of both choices, and of the change with its smallest and largest."""
    ours, other = np.array(means).T
    change = other - ours
    spread = f"{change.mean():+.3f} (from {change.min():+.3f} to {change.max():+.3f})"
    return [
        what,
        where,
        f"{ours.mean():.3f}",
        f"{other.mean():.3f}",
        spread,
        counted(len(means), of),
    ]


def _cells(n: int) -> str:
    return counted(n, "cell")
