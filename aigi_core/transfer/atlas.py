"""The atlas: component and head searches for all pairs of generators with what they are worth on
D_eval, stored.

Written by ``python -m precompute search``; read here without training anything. While a search
runs, each finished pair is one file under ``pairs/`` beside the result; merging puts them into its
arrays and tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from aigi_core import results
from aigi_core.commands import command
from aigi_core.detectors.presets import preset
from aigi_core.detectors.solvers.elimination import Cut, cut_at
from aigi_core.errors import AigiError, NotGivenError
from aigi_core.intervals import rate_of_draws
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.reprs import ShortRepr
from aigi_core.resampling import pair_weights
from aigi_core.results import ResultKind, StoredResult
from aigi_core.statements import Finding, counted
from aigi_core.transfer.matrix import TrainSet
from aigi_core.transfer.pairs import Pair
from aigi_core.transfer.random_removal import RandomRemoval
from aigi_core.winner import Winner, winner
from aigi_core.workspace import Workspace

METRICS_KEPT = ("balanced_accuracy", "accuracy", "auc")
"""Metrics whose whole matrices are kept."""
TABLES = ("summary", "geometry", "words")
BANK = "phrases"
"""An atlas says how nameable detectors are by this bank."""


KIND = ResultKind("atlas", "search of pairs of generators", job="search", format=3)


@dataclass(frozen=True)
class AtlasKey:
    """What an atlas depends on besides the workspace; two searches with the same key give the same
    atlas.
    """

    top_heads: int = 3
    draws: int = 1000
    controls: int = 200
    seed: int = 0
    protocol: str = "ours"

    def __post_init__(self) -> None:
        preset(self.protocol)
        if self.top_heads < 1 or self.draws < 2 or self.controls < 1 or self.seed < 0:
            raise AigiError(
                "A search needs at least one head, two draws, one control and a seed of 0 or"
                f" more; got {self.top_heads} (heads), {self.draws} (draws), {self.controls}"
                f" (controls) and {self.seed} (seed)."
            )

    def folder(self, workspace: Workspace) -> Path:
        """Where the atlas lies, or will lie."""
        return results.result_folder(workspace, KIND, asdict(self), (BANK,))


@dataclass(frozen=True, eq=False)
class StoredElimination:
    """One direction of a component search, as stored: "train on ``train``, score on ``val``".

    Attributes:
        removed: [r] components in order of removal.
        accuracy, log_loss: [r + 1] (balanced over the classes where the protocol is), on the
            validation images of ``val`` after each number of removals.
        tied: [r] candidates that shared the chosen one's accuracy.
        cut: removals at the best score.
    """

    train: str
    val: str
    removed: Int[np.ndarray, " r"] = field(repr=False)
    accuracy: Float[np.ndarray, " r+1"] = field(repr=False)
    log_loss: Float[np.ndarray, " r+1"] = field(repr=False)
    tied: Int[np.ndarray, " r"] = field(repr=False)
    cut: int
    C: float

    def cut_at(self, rule: Cut) -> int:
        """Removals at the best accuracy by another rule for ties; the log-loss is stored in half
        precision, so that its rule's cut is the one that the search took."""
        if rule == "log-loss":
            return self.cut
        return cut_at(self.accuracy, self.log_loss, rule)


def search_curves(directions: Iterable[StoredElimination]) -> pd.DataFrame:
    """Both lists as one table: ``train, val, removed`` (how many), ``component`` (the last of them;
    -1 for none), ``balanced_accuracy, log_loss``."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "train": d.train,
                    "val": d.val,
                    "removed": np.arange(len(d.accuracy)),
                    "component": np.append(-1, d.removed),
                    "balanced_accuracy": d.accuracy,
                    "log_loss": d.log_loss,
                }
            )
            for d in directions
        ],
        ignore_index=True,
    )


@dataclass(frozen=True, eq=False, repr=False)
class Atlas(ShortRepr):
    """An opened atlas. Pairs are unordered, in the order of the generators; heads are searched both
    ways.

    Attributes:
        stored: what it was read from.
        tables: ``summary``, ``geometry`` and ``words``: see the properties of these names.
        arrays: matrices, lists and cuts of all pairs; read them through the methods.
    """

    stored: StoredResult = field(repr=False)
    tables: dict[str, pd.DataFrame] = field(repr=False)
    arrays: dict[str, np.ndarray] = field(repr=False)

    @classmethod
    def open(
        cls, workspace: Workspace, key: AtlasKey | None = None, protocol: str = "ours"
    ) -> Atlas:
        """The atlas of a workspace, read at once: a search that goes on replaces its files.

        Args:
            key: None for the usual parameters, or whichever search by this protocol there is.
            protocol: a name of ``detectors.presets.PRESETS``; with a key, the key's counts.

        Raises:
            NotGivenError: fewer than three generators, which no search can do with.
            WorkspaceError: it has not been searched, or what is there is outdated or damaged; says
                what to run.
        """
        if (count := len(workspace.domains.generators)) < 3:
            more = workspace.command("add", images="DIR", generator="NAME")
            raise NotGivenError(
                "A search needs at least three generators (it trains on one, chooses on a"
                f" second, and is tested on the rest), but this workspace has {count}; add"
                f" images of others: '{more}'."
            )
        used = protocol if key is None else key.protocol
        kind = KIND if used == "ours" else replace(KIND, job=f"search --protocol {used}")
        if key is None:
            usual = asdict(AtlasKey(protocol=protocol))
            stored = results.find(workspace, kind, usual, (BANK,), same=("protocol",))
        else:
            stored = results.load(workspace, kind, asdict(key), (BANK,))
        atlas = cls(
            stored, {name: stored.table(name) for name in TABLES}, stored.arrays("arrays.npz")
        )
        try:
            sizes = {len(atlas.arrays["cut"]), len(atlas.pairs)}
            sizes.add(len(atlas.summary.drop_duplicates(["a", "b"])))
        except (KeyError, TypeError, ValueError) as error:
            raise stored.damaged(error) from error
        if len(sizes) != 1:
            raise stored.damaged("its arrays and its list of pairs differ in length")
        return atlas

    @property
    def about(self) -> dict[str, Any]:
        """``generators, families, pairs, metrics, components`` (how many), ``heads`` (of how many
        layers, how many a layer)."""
        return self.stored.content

    @property
    def protocol(self) -> str:
        """Name of the preset that it was searched by."""
        return str(self.stored.parameters.get("protocol", "ours"))

    @property
    def seconds(self) -> float:
        """What all its searches took."""
        # an atlas from before results had a common note keeps it among its content
        return float(self.stored.about.get("seconds", self.about.get("seconds", 0.0)))

    @property
    def generators(self) -> tuple[str, ...]:
        return tuple(self.about["generators"])

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Pairs searched."""
        return tuple((str(a), str(b)) for a, b in self.about["pairs"])

    @property
    def summary(self) -> pd.DataFrame:
        """One row a pair, view, metric and set of cells.

        Columns: ``a, b`` (D_search), ``view`` (``components``, ``heads a>b``: trained on a,
            validated on b, or ``heads b>a``), ``metric, cells`` (``D_eval``, ``D_eval, ood``),
            ``n`` (cells), ``before, before_low, before_high`` (the embedding), ``after, after_low,
            after_high``, ``change, change_low, change_high, p_value`` (paired), ``q_value``
            (Benjamini-Hochberg over pairs), for components in the protocol's own metric ``random,
            random_low, random_high`` (as many random components kept), and ``kept`` (components, or
            heads).
        """
        return self.tables["summary"]

    @property
    def geometry(self) -> pd.DataFrame:
        """One row a pair and measure: ``a, b`` and the columns of
        ``geometry.GeometryComparison.table``.

        Measured on the test images of D_eval.
        """
        return self.tables["geometry"]

    @property
    def words(self) -> pd.DataFrame:
        """Nameability of every detector: ``a, b`` (empty: before removal), ``detector, bank, text,
        cosine, p_value, ood`` (mean balanced accuracy over the detector's OOD generators in D_eval;
        all of them before removal)."""
        return self.tables["words"]

    def matrix(
        self, view: str = "embedding", metric: str = DEFAULT_METRIC, pair: Iterable[str] = ()
    ) -> pd.DataFrame:
        """Transfer matrix (rows train, columns test) of a view: ``embedding`` and ``residual``
        without a pair; ``components``, ``heads a>b`` or ``heads b>a`` after the search on a
        pair."""
        if metric not in self.about["metrics"]:
            raise AigiError(
                f"The atlas has no metric {metric!r}: choose among"
                f" {', '.join(self.about['metrics'])}."
            )
        names = (
            ("embedding", "residual")
            if not (pair := tuple(pair))
            else ("components", "heads a>b", "heads b>a")
        )
        if view not in names:
            raise AigiError(f"The atlas has no matrix {view!r}: choose among {', '.join(names)}.")
        stored = self.arrays[f"matrix {view}"]
        values = (
            stored[self.about["metrics"].index(metric)]
            if not pair
            else stored[self._at(pair)][self.about["metrics"].index(metric)]
        )
        return pd.DataFrame(
            values.astype(np.float64), index=self.generators, columns=self.generators
        )

    def components(self, pair: Iterable[str]) -> tuple[StoredElimination, StoredElimination]:
        """Both directions of the component search on a pair: a -> b and b -> a."""
        at = self._at(pair)
        a, b = self.pairs[at]
        detectors = []
        for way, (train, val) in enumerate(((a, b), (b, a))):
            removed = self.arrays["removed"][at, way]
            r = int((removed >= 0).sum())
            accuracy, log_loss = (
                self.arrays[name][at, way, : r + 1].astype(float)
                for name in ("accuracy", "log_loss")
            )
            detectors.append(
                StoredElimination(
                    train,
                    val,
                    removed[:r].astype(int),
                    accuracy,
                    log_loss,
                    self.arrays["tied"][at, way, :r].astype(int),
                    int(self.arrays["cut"][at, way]),
                    float(self.arrays["C"][at, way]),
                )
            )
        return detectors[0], detectors[1]

    def kept(self, pair: Iterable[str]) -> Bool[np.ndarray, " d"]:
        """Components that remain: a component is removed only where the cut lists of both
        directions remove it.
        """
        return np.unpackbits(
            self.arrays["kept"][self._at(pair)], count=self.about["components"]
        ).astype(bool)

    def removed(
        self, pair: Iterable[str], depth: int | None = None, cut: Cut | None = None
    ) -> tuple[int, ...]:
        """Components that both lists remove.

        Args:
            depth: both after this many removals; by default each cut at its best score.
            cut: which of equally good scores; by default as the search's protocol says.
        """
        rule = cut or preset(self.protocol).cut
        a, b = (
            d.removed[: d.cut_at(rule) if depth is None else depth].tolist()
            for d in self.components(pair)
        )
        return tuple(sorted(set(a) & set(b)))

    def removals(self, metric: str = "", cells: str = "D_eval, ood") -> pd.DataFrame:
        """Rows of :attr:`summary` on component removal: one a pair, measured on the OOD cells of
        D_eval, or on all of them (``D_eval``).
        """
        table, metric = self.summary, metric or preset(self.protocol).metric
        chosen = (
            (table["view"] == "components")
            & (table["metric"] == metric)
            & (table["cells"] == cells)
        )
        return table[chosen].reset_index(drop=True)

    def best_pair(self, metric: str = "") -> Pair:
        """The pair whose removal of components raises the metric on D_eval most; chosen on the
        test images that it is judged on.
        """
        table = self.removals(metric)
        best = table.iloc[int(table["change"].fillna(-np.inf).to_numpy(float).argmax())]
        return str(best["a"]), str(best["b"])

    def random_band(self, pair: Iterable[str], kept: int) -> tuple[float, float, float]:
        """Mean and 95% band of the OOD mean on the pair's D_eval when ``kept`` random components
        stay.
        """
        search = set(pair)
        names = np.array(self.generators)
        outside = np.array([name not in search for name in names])
        return self.random_removal.band(
            kept, outside[:, None] & outside & (names[:, None] != names)
        )

    @property
    def random_repeats(self) -> int:
        """Random removals of each size."""
        return int(self.random_removal.values.shape[1])

    def head_scores(self, train: str, val: str) -> Float[np.ndarray, "layers heads"]:
        """Balanced accuracy of every single head's detector trained on one generator, on the
        validation images of another.
        """
        i, j = self._number(train), self._number(val)
        scores: np.ndarray = self.arrays["head_scores"][i, :, :, j].astype(np.float64)
        return scores

    def top_heads(self, train: str, val: str) -> tuple[tuple[int, int], ...]:
        """The best heads for (train, validation), best first."""
        at = self._at((train, val))
        way = 0 if self.pairs[at] == (train, val) else 1
        return tuple((int(layer), int(head)) for layer, head in self.arrays["top_heads"][at, way])

    def head_census(self, draws: int = 2000) -> pd.DataFrame:
        """How often each head is among the best, over all searched pairs in both directions.

        Returns:
            One row a head that was chosen, the most frequent first: ``head`` ("layer.index"),
                ``times``, ``share`` of ``n`` pairs, ``low, high`` (95%; generators are drawn, which
                pairs share). Empty where no pair was searched.
        """
        pairs = [way for a, b in self.pairs for way in ((a, b), (b, a))]
        if not pairs:
            return pd.DataFrame()
        chosen = pd.DataFrame(
            [{f"{layer}.{head}": 1.0 for layer, head in self.top_heads(*pair)} for pair in pairs]
        ).fillna(0.0)
        weights = pair_weights(pairs, draws)
        weights = weights[weights.any(axis=1)]
        drawn = weights @ chosen.to_numpy() / weights.sum(axis=1, keepdims=True)
        share = chosen.mean().to_numpy()
        low, high = rate_of_draws(share, drawn, len(pairs))
        times = chosen.sum().astype(int).to_numpy()
        columns = dict(head=chosen.columns, times=times, share=share, low=low, high=high)
        return (
            pd.DataFrame(columns)
            .assign(n=len(pairs))
            .sort_values("times", ascending=False, kind="stable", ignore_index=True)
        )

    @cached_property
    def random_removal(self) -> RandomRemoval:
        """The whole matrix on random subsets of components."""
        train: tuple[TrainSet, ...] = tuple((name,) for name in self.generators)
        values = self.arrays["random_values"].astype(np.float64)
        return RandomRemoval(
            self.arrays["random_kept"], values, preset(self.protocol).metric, train, self.generators
        )

    def partners(self, generator: str) -> list[str]:
        """Generators that it was searched with."""
        searched = {name for pair in self.pairs if generator in pair for name in pair}
        return [name for name in self.generators if name in searched and name != generator]

    def _at(self, pair: Iterable[str]) -> int:
        names = tuple(pair)
        for at, known in enumerate(self.pairs):
            if set(known) == set(names) and len(names) == 2:
                return at
        again = command(
            self.stored.kind.job,
            workspace=self.stored.path.parents[2],
            pairs=":".join(names),
        )
        raise AigiError(f"The pair {' and '.join(names)} has not been searched: run '{again}'.")

    def _number(self, generator: str) -> int:
        if generator not in self.generators:
            raise AigiError(
                f"There is no generator {generator!r} in this atlas; it has"
                f" {', '.join(self.generators)}."
            )
        return self.generators.index(generator)


def highest_pair(pairs: pd.DataFrame) -> tuple[pd.Series, Finding] | None:
    """The row with the highest change of several pairs, as :func:`highest_change`, and that change
    as it is counted: the pair's own interval and its q-value over all pairs. Neither allows for
    the choice. None where no pair could be judged.
    """
    if not pairs["change"].notna().any():
        return None
    row = pairs.iloc[int(pairs["change"].fillna(-np.inf).to_numpy(float).argmax())]
    return row, Finding.of_row(
        row,
        "change",
        q_value=float(row["q_value"]),
        n=int(row["n"]),
        what="paired cell",
        corrected_over=counted(len(pairs), "pair") if len(pairs) > 1 else "",
    )


def highest_change(pairs: pd.DataFrame) -> Winner | None:
    """The highest change of several pairs of one view, metric and set of cells (rows of
    :attr:`Atlas.summary`), named ``a with b``; None where no pair could be judged."""
    if not pairs["change"].notna().any():
        return None
    table = pairs.rename(
        columns={"change": "value", "change_low": "low", "change_high": "high"}
    ).assign(name=pairs["a"] + " with " + pairs["b"])
    return winner(table[["name", "value", "low", "high", "n"]])
