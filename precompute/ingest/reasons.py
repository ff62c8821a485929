"""Why an image is left out for another one: the same bytes, or a tie to another split.

The sentences are made of the table alone and made anew whenever it changes, so that they name the
other image as it is called then.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from aigi_core.manifest import FAKE, REAL
from precompute.ingest.walk import quoted

STRATUM = ["pool", "label", "generator"]
CONTRADICTED, DUPLICATE, TIED = "contradicting labels:", "duplicate:", "leak: tied to "
"""How the reasons begin of files that were left out for another one."""
TORN = f"{TIED}images of several splits"


def find_duplicates(table: pd.DataFrame) -> dict[str, Any]:
    """How many usable files share their bytes with another, and what they then differ in; with
    examples. Those that were left out as such before are among them.
    """
    kept = table[(table["left_out"] == "") | _copies(table)]
    twins = kept[kept["content_hash"].duplicated(keep=False)]
    by_hash = twins.groupby("content_hash")
    differs = {
        name: int(by_hash[name].transform("nunique").gt(1).sum())
        for name in ("label", "pool", "generator")
    }
    examples = [
        group["path"].tolist()[:3]
        for _, group in sorted(by_hash, key=lambda pair: pair[1]["path"].min())
    ]
    return {
        "files": len(twins),
        "across_labels": differs["label"],
        "across_pools": differs["pool"],
        "across_generators": differs["generator"],
        "examples": examples[:5],
    }


def leave_out_duplicates(table: pd.DataFrame, own: pd.Series, finished: pd.Series) -> None:
    """Leave out all copies of a file whose label is contradicted, and all but one within a pool and
    generator.

    A finished copy is the one that stays, then the one in the data set's test split, otherwise the
    first by path. What was left out as a copy before stays so, and contradicts as it did.
    """
    before = _copies(table)
    rank = own.map({"test": 0, "val": 1}).fillna(2).where(~finished, -1).where(~before, 3)
    kept = table[(table["left_out"] == "") | before].assign(rank=rank)
    twins = kept[kept["content_hash"].duplicated(keep=False)].sort_values(["rank", "path"])
    contradicted = twins.groupby("content_hash")["label"].transform("nunique") > 1
    for label, called, other in ((REAL, "real", FAKE), (FAKE, "fake", REAL)):
        first = twins[twins["label"] == label].groupby("content_hash")["path"].min()
        rows = twins[contradicted & (twins["label"] == other)]
        table.loc[rows.index, "left_out"] = [
            f"{CONTRADICTED} same bytes as {quoted(path)}, which is called {called}"
            for path in rows["content_hash"].map(first)
        ]
    alike = twins[~contradicted].groupby(["content_hash", *STRATUM])
    usable = alike["rank"].transform("min") < 3
    copies = usable & (
        twins.loc[~contradicted, "path"] != (stays := alike["path"].transform("first"))
    )
    table.loc[copies.index[copies], "left_out"] = [
        f"{DUPLICATE} same bytes as {quoted(path)}" for path in stays[copies]
    ]


def leave_out_leaks(
    table: pd.DataFrame, leak: pd.Series, tied: pd.Series, split: pd.Series
) -> None:
    """Leave out rows that would let what is tied straddle splits, and name anew who holds those
    that were left out so before.

    Args:
        leak: which rows; ``tied``: what each is tied to others by.
        split: of the rows that stay, "" for others.
    """
    holders = table.assign(tied=tied, split=split)[split != ""].sort_values("path")
    first = holders.groupby("tied")[["path", "split"]].first()
    rows = leak | (_tied(table) & tied.isin(first.index))
    held_by = first.reindex(tied[rows])
    table.loc[rows, "left_out"] = [
        f"{TIED}{quoted(path)}, which is in the {where} split"
        for path, where in held_by.itertuples(index=False)
    ]


def without_lost(table: pd.DataFrame) -> pd.DataFrame:
    """A part of a table without the rows that were left out for an image that is not in it: nothing
    speaks against them any more, and ``add`` takes them as new ones.
    """
    copies = _copies(table)
    labels = table[(table["left_out"] == "") | copies].groupby("content_hash")["label"].nunique()
    alone = copies & (table["content_hash"].map(labels) < 2)
    twins = table.groupby(["content_hash", *STRATUM])["path"].transform("size")
    alone &= table["left_out"].str.startswith(CONTRADICTED) | (twins < 2)
    held = set(table.loc[table["split"] != "", "group"])
    alone |= _tied(table) & ~table["group"].isin(held)
    part = table[~alone].reset_index(drop=True)
    every = pd.Series(True, index=part.index)
    leave_out_duplicates(part, part["split"], every)
    leave_out_leaks(part, ~every, part["group"], part["split"])
    return part


def _copies(table: pd.DataFrame) -> pd.Series:
    """Rows that were opened and left out for another of the same bytes."""
    there: pd.Series = table["left_out"].str.startswith((CONTRADICTED, DUPLICATE))
    return there & (table["content_hash"] != "")


def _tied(table: pd.DataFrame) -> pd.Series:
    return table["left_out"].str.startswith(TIED) & (table["left_out"] != TORN)
