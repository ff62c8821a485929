"""The atlas: component and head searches for all pairs of generators with what they are worth on
D_eval, stored.

Written by ``python -m precompute search``; read here without training anything.
``results/atlas/<key>/`` holds ``atlas.json`` (what was computed, from what), ``arrays.npz`` and
three tables. While a search runs, each finished pair is one file under ``pairs/``; merging puts
them into the arrays and tables.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.transfer.matrix import TrainSet
from aigi_core.transfer.metrics import DEFAULT_METRIC
from aigi_core.transfer.pairs import Pair
from aigi_core.transfer.random_removal import RandomRemoval
from aigi_core.workspace import Workspace, digest_of, write_atomic

FORMAT = 1
METRICS_KEPT = ("balanced_accuracy", "accuracy", "auc")
"""Metrics whose whole matrices are kept."""
TABLES = ("summary", "geometry", "words")


@dataclass(frozen=True)
class AtlasKey:
    """What an atlas depends on besides the workspace; two searches with the same key give the same
    atlas.
    """

    top_heads: int = 3
    draws: int = 1000
    controls: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if self.top_heads < 1 or self.draws < 2 or self.controls < 1 or self.seed < 0:
            raise AigiError(
                "A search takes at least one head, two draws, one control and a seed of 0 or more;"
                f" got {self.top_heads}, {self.draws}, {self.controls} and {self.seed}."
            )

    def of(self, workspace: Workspace) -> str:
        """Name of the atlas's directory; the phrases count, because an atlas says how nameable
        detectors are.
        """
        phrases = workspace.text_bank("phrases").digest if "phrases" in workspace.text_banks else ""
        return digest_of(
            {"format": FORMAT, "workspace": workspace.digest, "phrases": phrases, **vars(self)}
        )


@dataclass(frozen=True, eq=False)
class StoredElimination:
    """One direction of a component search, as stored: "train on ``train``, score on ``val``".

    Attributes:
        removed: [r] components in order of removal.
        accuracy, log_loss: [r + 1] balanced over the classes, on the validation images of ``val``
            after each number of removals.
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


@dataclass(frozen=True, eq=False)
class Atlas:
    """An opened atlas. Pairs are unordered, in the order of the generators; heads are searched both
    ways.

    Attributes:
        about: ``key``, ``parameters``, ``generators``, ``families``, ``pairs``, ``components``,
            ``heads`` (layers, heads), ``versions``, ``seconds``.
    """

    path: Path
    about: dict[str, Any] = field(repr=False)

    @classmethod
    def open(cls, workspace: Workspace, key: AtlasKey | None = None) -> Atlas:
        """The atlas of a workspace, read at once: a search that goes on replaces its files.

        Raises:
            WorkspaceError: it has not been searched, or what is there is damaged; says what to run.
        """
        path = workspace.result_path("atlas", (key or AtlasKey()).of(workspace))
        if not (path / "atlas.json").is_file():
            raise WorkspaceError(
                f"The pairs of generators of {workspace.path} have not been searched yet: run"
                f" 'python -m precompute search --workspace {workspace.path}'."
            )
        try:
            about = json.loads((path / "atlas.json").read_text("utf-8"))
            missing = [name for name in file_names() if not (path / name).is_file()]
            if about["format"] != FORMAT or missing:
                raise ValueError(
                    f"format {about['format']}, missing {', '.join(missing) or 'nothing'}"
                )
        except (ValueError, KeyError, TypeError) as error:
            raise WorkspaceError(
                f"The atlas {path} is damaged ({error}): remove that directory and run 'python -m"
                f" precompute search --workspace {workspace.path}' again."
            ) from error
        atlas = cls(path, about)
        if (
            not len(atlas._arrays["cut"])
            == len(atlas.summary.drop_duplicates(["a", "b"]))
            == len(atlas.pairs)
        ):
            raise WorkspaceError(
                f"The atlas {path} holds other pairs than it says, because a search is writing it"
                f" or was stopped: run 'python -m precompute search --workspace {workspace.path}'"
                " and open it again."
            )
        return atlas

    @property
    def generators(self) -> tuple[str, ...]:
        return tuple(self.about["generators"])

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Pairs searched."""
        return tuple((str(a), str(b)) for a, b in self.about["pairs"])

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a pair, view, metric and set of cells.

        Columns: ``a, b`` (D_search), ``view`` (``components``, ``heads a>b``: trained on a,
            validated on b, or ``heads b>a``), ``metric, cells`` (``D_eval``, ``D_eval, ood``),
            ``n`` (cells), ``before, before_low, before_high`` (the embedding), ``after, after_low,
            after_high``, ``change, change_low, change_high, p_value`` (paired), ``q_value``
            (Benjamini-Hochberg over pairs), for components in balanced accuracy ``random,
            random_low, random_high`` (as many random components kept), and ``kept`` (components, or
            heads).
        """
        return self._table("summary")

    @cached_property
    def geometry(self) -> pd.DataFrame:
        """One row a pair and measure: ``a, b`` and the columns of
        ``geometry.GeometryComparison.table``.

        Measured on the test images of D_eval.
        """
        return self._table("geometry")

    @cached_property
    def words(self) -> pd.DataFrame:
        """Nameability of every detector: ``a, b`` (empty: before removal), ``detector, bank, text,
        cosine, p_value, ood`` (mean balanced accuracy over the detector's OOD generators in D_eval;
        all of them before removal)."""
        return self._table("words")

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        try:
            return read_arrays(self.path / "arrays.npz")[0]
        except (OSError, ValueError) as error:
            raise self._damaged(error) from error

    def matrix(
        self, view: str = "embedding", metric: str = DEFAULT_METRIC, pair: Iterable[str] = ()
    ) -> pd.DataFrame:
        """Transfer matrix (rows train, columns test) of a view: ``embedding`` and ``residual``
        without a pair; ``components``, ``heads a>b`` or ``heads b>a`` after the search on a
        pair."""
        if metric not in self.about["metrics"]:
            raise AigiError(f"The atlas keeps {', '.join(self.about['metrics'])}, not {metric!r}.")
        names = (
            ("embedding", "residual")
            if not (pair := tuple(pair))
            else ("components", "heads a>b", "heads b>a")
        )
        if view not in names:
            raise AigiError(f"The atlas has no matrix {view!r} here; it has {', '.join(names)}.")
        stored = self._arrays[f"matrix {view}"]
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
        found = []
        for way, (train, val) in enumerate(((a, b), (b, a))):
            removed = self._arrays["removed"][at, way]
            r = int((removed >= 0).sum())
            accuracy, log_loss = (
                self._arrays[name][at, way, : r + 1].astype(float)
                for name in ("accuracy", "log_loss")
            )
            found.append(
                StoredElimination(
                    train,
                    val,
                    removed[:r].astype(int),
                    accuracy,
                    log_loss,
                    self._arrays["tied"][at, way, :r].astype(int),
                    int(self._arrays["cut"][at, way]),
                    float(self._arrays["C"][at, way]),
                )
            )
        return found[0], found[1]

    def kept(self, pair: Iterable[str]) -> Bool[np.ndarray, " d"]:
        """Components that remain: a component is removed only where the cut lists of both
        directions remove it.
        """
        return np.unpackbits(
            self._arrays["kept"][self._at(pair)], count=self.about["components"]
        ).astype(bool)

    def removed(self, pair: Iterable[str], depth: int | None = None) -> tuple[int, ...]:
        """Components that both lists remove, each cut at its best score, or both after ``depth``
        removals.
        """
        a, b = (
            d.removed[: d.cut if depth is None else depth].tolist() for d in self.components(pair)
        )
        return tuple(sorted(set(a) & set(b)))

    def removals(self, metric: str = DEFAULT_METRIC) -> pd.DataFrame:
        """Rows of :attr:`summary` on component removal: one a pair, measured on the OOD cells of
        D_eval.
        """
        table = self.summary
        chosen = (
            (table["view"] == "components")
            & (table["metric"] == metric)
            & (table["cells"] == "D_eval, ood")
        )
        return table[chosen].reset_index(drop=True)

    def best_pair(self, metric: str = DEFAULT_METRIC) -> Pair:
        """The pair whose removal of components raises the metric on D_eval most; chosen on test
        images, it flatters.
        """
        table = self.removals(metric)
        best = table.iloc[int(table["change"].to_numpy(float).argmax())]
        return str(best["a"]), str(best["b"])

    def random_band(self, pair: Iterable[str], kept: int) -> tuple[float, float, float]:
        """Mean and 95 % band of the OOD mean on the pair's D_eval when ``kept`` random components
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
        scores: np.ndarray = self._arrays["head_scores"][i, :, :, j].astype(np.float64)
        return scores

    def top_heads(self, train: str, val: str) -> tuple[tuple[int, int], ...]:
        """The best heads for (train, validation), best first."""
        at = self._at((train, val))
        way = 0 if self.pairs[at] == (train, val) else 1
        return tuple((int(layer), int(head)) for layer, head in self._arrays["top_heads"][at, way])

    @cached_property
    def random_removal(self) -> RandomRemoval:
        """The whole matrix on random subsets of components."""
        train: tuple[TrainSet, ...] = tuple((name,) for name in self.generators)
        values = self._arrays["random_values"].astype(np.float64)
        return RandomRemoval(
            self._arrays["random_kept"], values, DEFAULT_METRIC, train, self.generators
        )

    def _at(self, pair: Iterable[str]) -> int:
        names = tuple(pair)
        for at, known in enumerate(self.pairs):
            if set(known) == set(names) and len(names) == 2:
                return at
        raise AigiError(
            f"The pair {' and '.join(names)} has not been searched: run 'python -m precompute"
            f" search --workspace {self.path.parents[2]} --pairs {':'.join(names)}'."
        )

    def _number(self, generator: str) -> int:
        if generator not in self.generators:
            raise AigiError(
                f"There is no generator {generator!r} in this atlas; it has"
                f" {', '.join(self.generators)}."
            )
        return self.generators.index(generator)

    def _table(self, name: str) -> pd.DataFrame:
        try:
            return pd.read_parquet(self.path / f"{name}.parquet")
        except (OSError, ValueError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> WorkspaceError:
        return WorkspaceError(
            f"The atlas {self.path} is damaged ({error}): remove that directory and search again."
        )


def file_names() -> tuple[str, ...]:
    """Files of a merged atlas besides ``atlas.json``."""
    return ("arrays.npz", *(f"{table}.parquet" for table in TABLES))


def write_arrays(
    file: Path, arrays: Mapping[str, np.ndarray], tables: Mapping[str, Sequence[dict[str, Any]]]
) -> None:
    """Arrays and tables of rows as one compressed .npz, published atomically."""
    buffer = io.BytesIO()
    packed = {
        f"table {name}": np.frombuffer(json.dumps(rows).encode(), np.uint8)
        for name, rows in tables.items()
    }
    np.savez_compressed(buffer, **arrays, **packed)  # type: ignore[arg-type]
    write_atomic(file, buffer.getvalue())


def read_arrays(file: Path) -> tuple[dict[str, np.ndarray], dict[str, list[dict[str, Any]]]]:
    """What :func:`write_arrays` wrote; raises OSError or ValueError where it is missing or
    damaged.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (BadZipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{file.name} is damaged: {error}") from error
    tables = {
        name: json.loads(arrays.pop(name).tobytes())
        for name in [n for n in arrays if n.startswith("table ")]
    }
    return arrays, {name.removeprefix("table "): rows for name, rows in tables.items()}
