"""Texts made ready for search: unit rows, centred, near-duplicates tied together.

Images and texts live in two cones of the joint space, apart from each other (the modality gap:
Liang et al. 2022). All texts share a large common part, and a direction that happens to point along
it looks close to every text. A detector's w is a difference between images, so by default texts are
compared as differences too: the mean of the workspace's own banks is subtracted and rows are scaled
to unit length again. ``centred=False`` gives the plain cosine of the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Int

from aigi_core.clip.phrases import fold
from aigi_core.commands import build_anew
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.heads import blocks
from aigi_core.nearest import nearest_rows
from aigi_core.reprs import ShortRepr
from aigi_core.statements import counted
from aigi_core.vectors import unit_rows
from aigi_core.workspace import TextBank, Workspace

NEAR = 0.9
"""Texts whose cosine (uncentred) reaches this say the same."""
COMPARE_UP_TO = 12_000
"""Larger lexicons tie texts by their letters alone: comparing all pairs would take minutes."""
REFERENCE_BANKS = ("phrases", "vocabulary")


@dataclass(frozen=True, eq=False, repr=False)
class Lexicon(ShortRepr):
    """T texts of one or several banks.

    Attributes:
        table: columns ``text, category, bank``.
        vectors: [T, d] unit rows as they are compared (centred or not).
        cluster: [T] texts with the same number say the same and share one row of every list.
        centre: [d] what was subtracted from texts; zeros where uncentred. Images are centred by
            their own mean.
    """

    table: pd.DataFrame
    vectors: Float32[np.ndarray, "T d"]
    cluster: Int[np.ndarray, " T"]
    centre: Float32[np.ndarray, " d"]

    @classmethod
    def of(
        cls,
        workspace: Workspace,
        banks: str | TextBank | Sequence[str | TextBank] = "phrases",
        *,
        centred: bool = True,
        categories: Sequence[str] | None = None,
    ) -> Lexicon:
        """Texts of the workspace's banks, or of banks embedded on the spot by the same encoder.

        Args:
            categories: keep only these.

        Raises:
            AigiError: no bank, another encoder's bank, an empty one, an unknown category, texts
                that are not finite.
        """
        wanted = [banks] if isinstance(banks, str | TextBank) else list(banks)
        if not wanted:
            raise AigiError("No text bank was chosen: name at least one, such as 'phrases'.")
        result = [workspace.text_bank(bank) if isinstance(bank, str) else bank for bank in wanted]
        tables, vectors = [], []
        for bank in result:
            tables.append(_table(bank))
            vectors.append(_unit(bank, workspace))
        table, raw = pd.concat(tables, ignore_index=True), np.concatenate(vectors)
        cluster = _clusters(table["text"].tolist(), raw)
        centre = _centre(workspace, raw) if centred else np.zeros(raw.shape[1], np.float32)
        lexicon = cls(table, _scaled(raw - centre), cluster, centre)
        return lexicon if categories is None else lexicon.only(categories)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories at hand, in the order of the banks; empty names left out."""
        return tuple(name for name in self.table["category"].unique() if name)

    def only(self, categories: Sequence[str]) -> Lexicon:
        """The texts of some categories; raises AigiError for a category that is not there."""
        unknown = [name for name in categories if name not in self.categories]
        if unknown or not categories:
            what = f"There is no category {unknown[0]!r}" if unknown else "No category was chosen"
            raise AigiError(
                f"{what}: these texts have {', '.join(self.categories) or 'no categories'}."
            )
        keep = self.table["category"].isin(list(categories)).to_numpy()
        return Lexicon(
            self.table[keep].reset_index(drop=True),
            self.vectors[keep],
            self.cluster[keep],
            self.centre,
        )

    def row(self, text: str) -> int:
        """Position of a text (case and white space do not matter); raises AigiError where it is not
        among them.
        """
        hits = np.flatnonzero(self.table["text"].map(fold) == fold(text))
        if not len(hits):
            raise AigiError(
                f"The text {text!r} is not in the chosen banks: choose one of their"
                " texts, or add it to a bank of your own."
            )
        return int(hits[0])

    def search(
        self, directions: Float[np.ndarray, "B d"], k: int = 10
    ) -> tuple[Float[np.ndarray, "B k"], Int[np.ndarray, "B k"]]:
        """The k nearest texts of each direction that say different things: cosines, descending, and
        rows.

        Of texts that say the same only the nearest counts. Farthest texts are the nearest of the
        opposite direction. Fewer columns come back where there are fewer than k different texts.
        """
        queries = unit_directions(directions, self.vectors.shape[1]).astype(np.float32)
        k = min(k, len(np.unique(self.cluster)))
        depth = min(len(self), 2 * k + 8)
        while True:
            cosines, rows = nearest_rows(queries, self.vectors, depth)
            take = _first_of_each(self.cluster[rows], k)
            if take is not None:
                return np.take_along_axis(cosines, take, 1), np.take_along_axis(rows, take, 1)
            depth = min(len(self), 4 * depth)


def unit_directions(directions: Float[np.ndarray, "B d"], d: int) -> Float[np.ndarray, "B d"]:
    """Rows scaled to unit length in float64; raises AigiError for a direction of length zero or of
    another width.
    """
    directions = np.atleast_2d(np.asarray(directions, np.float64))
    if directions.ndim != 2 or directions.shape[1] != d:
        raise AigiError(
            f"A direction of this workspace has {counted(d, 'dimension')}, got"
            f" {directions.shape[-1]}: give a direction of this workspace's encoder."
        )
    return unit_rows(
        directions,
        "A direction of length zero (or not finite) has no nearest texts: choose another"
        " direction.",
    )


def _table(bank: TextBank) -> pd.DataFrame:
    category = bank.table["category"] if "category" in bank.table.columns else ""
    return pd.DataFrame(
        {"text": bank.table["text"].astype(str), "category": category, "bank": bank.name}
    ).fillna("")


def _unit(bank: TextBank, workspace: Workspace) -> Float32[np.ndarray, "T d"]:
    d, anew = workspace.embeddings.shape[1], build_anew(workspace.path, workspace.manifest)
    if not len(bank.table):
        raise AigiError(f"The text bank {bank.name!r} is empty: add at least one text.")
    if bank.embeddings.shape != (len(bank.table), d):
        raise WorkspaceError(
            f"The text bank {bank.name!r} has embeddings of shape {bank.embeddings.shape}, expected"
            f" ({len(bank.table)}, {d}): it belongs to another encoder; {anew}."
        )
    vectors = np.asarray(bank.embeddings, np.float32)
    if not np.isfinite(vectors).all():
        raise WorkspaceError(f"The text bank {bank.name!r} holds NaN or infinity: {anew}.")
    return _scaled(vectors)


def _scaled(vectors: Float32[np.ndarray, "T d"]) -> Float32[np.ndarray, "T d"]:
    return np.ascontiguousarray(unit_rows(vectors, keep_zeros=True), np.float32)


def _centre(workspace: Workspace, raw: Float32[np.ndarray, "T d"]) -> Float32[np.ndarray, " d"]:
    """Mean of the workspace's reference banks, so that a user's bank of three texts is centred like
    all others.
    """
    at_hand = [name for name in REFERENCE_BANKS if name in workspace.text_banks][:1]
    vectors = _unit(workspace.text_bank(at_hand[0]), workspace) if at_hand else raw
    mean: np.ndarray = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def _clusters(texts: list[str], raw: Float32[np.ndarray, "T d"]) -> Int[np.ndarray, " T"]:
    """Number of the leader that each text says the same as: same letters, or a cosine of NEAR with
    an earlier leader.
    """
    keys: dict[str, int] = {}
    lexical = np.array([keys.setdefault(_stem(text), row) for row, text in enumerate(texts)])
    leaders = np.flatnonzero(lexical == np.arange(len(texts)))
    if len(leaders) <= COMPARE_UP_TO:
        parent = np.arange(len(texts))
        for block in blocks(len(leaders), 1024):
            mine = leaders[block]
            near = raw[mine] @ raw[leaders[: block.stop]].T >= NEAR
            for i, row in enumerate(mine):
                earlier = leaders[: block.start + i][near[i, : block.start + i]]
                heads = earlier[parent[earlier] == earlier]
                if len(heads):
                    parent[row] = heads[0]
        lexical = parent[lexical]
    return lexical


def _stem(text: str) -> str:
    """Letters that carry the meaning: no case, no article, no plural."""
    words = [
        word for word in fold(text).replace("-", " ").split() if word not in ("a", "an", "the")
    ]
    return " ".join(
        w[:-1] if len(w) > 3 and w.endswith("s") and not w.endswith("ss") else w for w in words
    )


def _first_of_each(clusters: Int[np.ndarray, "B depth"], k: int) -> Int[np.ndarray, "B k"] | None:
    """Where the first k different numbers of each row stand; None where a row has fewer."""
    order = np.argsort(clusters, axis=1, kind="stable")
    ordered = np.take_along_axis(clusters, order, 1)
    first = np.ones(clusters.shape, bool)
    np.put_along_axis(first, order[:, 1:], ordered[:, 1:] > ordered[:, :-1], 1)
    first &= np.cumsum(first, axis=1) <= k
    places: np.ndarray = np.nonzero(first)[1]
    return places.reshape(-1, k) if len(places) == k * len(clusters) else None
