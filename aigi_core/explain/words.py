"""Nearest and farthest texts of a direction, each list beside what chance would put there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from aigi_core.explain.lexicon import Lexicon, unit_directions
from aigi_core.explain.nulls import COUNTED, SIGNS, Side, WordNull, category_counts
from aigi_core.reprs import ShortRepr
from aigi_core.statements import ALPHA


@dataclass(frozen=True, eq=False, repr=False)
class Words(ShortRepr):
    """What a direction says.

    Attributes:
        nearest, farthest: one row a meaning, most extreme first. Columns ``rank, text, category,
            bank, cosine``, ``similar`` (list of (text, cosine): near-duplicates folded into the
            row) and, with a null, ``p_value`` (family-wise), ``threshold`` (the cosine beyond
            which that is at most .05), ``null_low, null_high`` (95% band of the null at this
            rank).
        categories: what the nearest and the farthest rows are about: ``side, category, count,
            expected`` (by the category's share of all rows) and, with a null, ``null_mean,
            p_value`` (of a count so large, one category).
        chance: low end, median and high end of the nearest text's cosine under the null, at 95%;
            NaN without a null.
        draws: how many directions the null holds; 0 without a null.
    """

    name: str
    nearest: pd.DataFrame = field(repr=False)
    farthest: pd.DataFrame = field(repr=False)
    categories: pd.DataFrame = field(repr=False)
    chance: tuple[float, float, float] = (float("nan"),) * 3
    draws: int = 0

    @property
    def top_cosine(self) -> float:
        """The largest cosine: the paper's measure of how nameable a direction is."""
        return float(self.nearest["cosine"].iloc[0])

    @property
    def p_value(self) -> float:
        """Family-wise p-value of the nearest text (NaN without a null)."""
        return float(self.nearest["p_value"].iloc[0]) if self.draws else float("nan")

    @property
    def nameable(self) -> bool:
        """Whether the nearest text is nearer than chance would put any text, at 5%."""
        return self.p_value <= ALPHA

    @property
    def counted(self) -> int:
        """How many rows a side are counted by category."""
        return COUNTED

    def listed(self, side: Side) -> pd.DataFrame:
        """One side as a flat table: ``similar`` as the number of texts folded into the row."""
        table: pd.DataFrame = getattr(self, side)
        return table.assign(similar=table["similar"].map(len))

    def opened(self, text: str) -> pd.DataFrame:
        """The texts that one row stands for, itself first: ``text, cosine``; empty where no row has
        this text.
        """
        rows = pd.concat([self.nearest, self.farthest])
        rows = rows[rows["text"] == text].head(1)
        result = [(row.text, row.cosine) for row in rows.itertuples()]
        return pd.DataFrame(
            result + [pair for similar in rows["similar"] for pair in similar],
            columns=["text", "cosine"],
        )


def words(
    lexicon: Lexicon,
    direction: Float[np.ndarray, " d"],
    k: int = 20,
    *,
    null: WordNull | None = None,
    name: str = "",
) -> Words:
    """The k nearest and farthest texts of a direction.

    Raises:
        AigiError: a direction of length zero, not finite, or of another width.
    """
    unit = unit_directions(direction, lexicon.vectors.shape[1])[0]
    cosines = (lexicon.vectors @ unit.astype(np.float32)).astype(np.float64)
    names = lexicon.categories
    code = pd.Index(names).get_indexer(pd.Index(lexicon.table["category"]))
    sides: dict[Side, pd.DataFrame] = {}
    counted = []
    for side, sign in SIGNS.items():
        _, result = lexicon.search(sign * unit[None], max(k, COUNTED))
        sides[side] = _rows(lexicon, cosines, result[0, :k], side, null)
        counted.append(_categories(names, code, code[result[:, :COUNTED]], side, null))
    word_lists = Words(
        name, sides["nearest"], sides["farthest"], pd.concat(counted, ignore_index=True)
    )
    if null is None:
        return word_lists
    low, median, high = np.quantile(null.nearest[:, 0], [0.025, 0.5, 0.975])
    return replace(word_lists, chance=(float(low), float(median), float(high)), draws=null.draws)


def _rows(
    lexicon: Lexicon,
    cosines: Float[np.ndarray, " T"],
    result: Int[np.ndarray, " k"],
    side: Side,
    null: WordNull | None,
) -> pd.DataFrame:
    table = lexicon.table.iloc[result].reset_index(drop=True)
    table.insert(0, "rank", np.arange(1, len(result) + 1))
    table["cosine"] = cosines[result]
    table["similar"] = pd.Series(
        [_similar(lexicon, cosines, row, side) for row in result], dtype=object
    )
    if null:
        table["p_value"] = null.p_value(cosines[result], side)
        table["threshold"] = null.threshold(side)
        low, high = null.band(side)
        pad = np.full(max(0, len(table) - len(low)), np.nan)
        table["null_low"], table["null_high"] = (
            np.append(x, pad)[: len(table)] for x in (low, high)
        )
    return table


def _similar(
    lexicon: Lexicon, cosines: Float[np.ndarray, " T"], row: int, side: Side
) -> list[tuple[str, float]]:
    members = np.flatnonzero(lexicon.cluster == lexicon.cluster[row])
    members = members[members != row]
    order = members[np.argsort(-cosines[members] if side == "nearest" else cosines[members])]
    return [(str(lexicon.table["text"].iloc[m]), float(cosines[m])) for m in order]


def _categories(
    names: tuple[str, ...], code: np.ndarray, result: np.ndarray, side: Side, null: WordNull | None
) -> pd.DataFrame:
    count = category_counts(result, len(names))[0]
    share = category_counts(code[None], len(names))[0] / len(code)
    table = pd.DataFrame(
        {"side": side, "category": list(names), "count": count, "expected": share * result.shape[1]}
    ).astype({"category": "str"})
    if null and null.categories == names:
        drawn = null.counts[side]
        table["null_mean"] = drawn.mean(axis=0)
        table["p_value"] = (1 + (drawn >= count).sum(axis=0)) / (1 + len(drawn))
    return table.sort_values("count", ascending=False, kind="stable", ignore_index=True)


def combined(parts: Mapping[str, tuple[float, Float[np.ndarray, " d"]]]) -> Float[np.ndarray, " d"]:
    """A sum of unit directions with factors: differences of detectors, sums of texts and images.

    Example:
        >>> combined({"a": (1, w_a), "b": (-1, w_b)})  # doctest: +SKIP
    """
    total = sum(
        factor * unit_directions(vector, len(vector))[0] for factor, vector in parts.values()
    )
    unit: np.ndarray = unit_directions(np.asarray(total), len(next(iter(parts.values()))[1]))[0]
    return unit
