"""Splits by group, stratified, the same on every machine: a pure function of names, strata,
fractions and a seed.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence

import pandas as pd

from aigi_core.errors import AigiError
from aigi_core.manifest import SPLITS

_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
SPLIT_OF = _WORDS | {
    f"{word}{between}{part}": split
    for word, split in _WORDS.items()
    for between in ("_", "-", " ", "")
    for part in ("set", "images", "imgs", "data", "split", "subset")
}
"""What data sets call their splits (in lower case: ``train``, ``testing``, ``val_images``), and
what they are called here."""


def components(*keys: Sequence[str]) -> list[str]:
    """Rows that share any key, directly or through others, and one name for each such component.

    Args:
        keys: one or more columns of N strings (paths, groups, hashes); an empty string ties to
            nothing. The first column must be filled.

    Returns:
        For each row the least name of its component's first column, so that the result does not
        depend on order.
    """
    parent: dict[str, str] = {}

    def find(node: str) -> str:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for first, *others in zip(*keys, strict=True):
        for key in (first, *filter(None, others)):
            low, high = sorted((find(first), find(key)))
            parent[high] = low
    roots = [find(first) for first in keys[0]]
    least: dict[str, str] = {}
    for root, first in zip(roots, keys[0], strict=True):
        least[root] = min(first, least.get(root, first))
    return [least[root] for root in roots]


def assign(
    names: Sequence[str], strata: Sequence[Hashable], fractions: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Give each component one split, each stratum close to the wanted fractions.

    Components of several rows go, in an order drawn from the seed, where their strata are
    relatively emptiest; single rows then fill each stratum's quotas exactly. Depends on names,
    strata and seed only, not on row order.

    Args:
        names: [N] component of each row. strata: [N] what to balance (pool, label, generator).
        fractions: split -> share, summing to 1; splits with share 0 get nothing.
    """
    members: defaultdict[str, Counter[Hashable]] = defaultdict(Counter)
    for name, stratum in zip(names, strata, strict=True):
        members[name][stratum] += 1
    quota = {stratum: _quotas(n, fractions) for stratum, n in Counter(strata).items()}
    wanted = {stratum: dict(quotas) for stratum, quotas in quota.items()}

    def key(name: str) -> bytes:
        return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogatepass")).digest()

    chosen: dict[str, str] = {}
    singles: defaultdict[Hashable, list[str]] = defaultdict(list)
    for name in sorted(members, key=key):
        counts = members[name]
        if counts.total() == 1:
            singles[next(iter(counts))].append(name)
            continue

        def emptiness(split: str, counts: Counter[Hashable] = counts) -> float:
            return sum(
                n * quota[s][split] / max(wanted[s][split], 1)
                for s, n in sorted(counts.items(), key=repr)
            )

        split = max((split for split in SPLITS if fractions.get(split, 0) > 0), key=emptiness)
        chosen[name] = split
        for stratum, n in counts.items():
            quota[stratum][split] -= n
    for stratum, single in singles.items():
        # Groups may have overfilled a split: what it has too much, the fullest of the others go
        # without.
        free = {split: max(0, left) for split, left in quota[stratum].items()}
        while sum(free.values()) > len(single):
            free[max(free, key=free.__getitem__)] -= 1
        order = [split for split in SPLITS for _ in range(free[split])]
        chosen |= dict(zip(single, order, strict=True))
    return chosen


def _quotas(n: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers near the fractions that sum to n; a split that is wanted gets at least one
    where n allows it.
    """
    quotas = {}
    for split in SPLITS[1:]:
        share = fractions.get(split, 0.0)
        quotas[split] = (
            max(round(n * share), 1) if share > 0 and n >= len(SPLITS) else round(n * share)
        )
    return {SPLITS[0]: n - sum(quotas.values()), **quotas}


def redraw(
    images: pd.DataFrame, *, seed: int = 0, val: float = 0.15, test: float = 0.3
) -> pd.Series:
    """New splits of a table's kept rows, by group and stratified; those left out stay without.

    Args:
        images: columns as in :data:`aigi_core.manifest.COLUMNS`.
        seed: draws are the same for the same seed on every machine.
        val, test: shares; the rest is train.
    """
    shares = {"train": 1 - val - test, "val": val, "test": test}
    return _assigned(images, shares, seed)


def fold(
    images: pd.DataFrame, number: int, of: int, *, seed: int = 0, val: float = 0.15
) -> pd.Series:
    """Splits whose test part is one of `of` folds: every image is a test image in exactly one.

    Args:
        number: 1 to `of`. val: share of what is not the test part.

    Raises:
        AigiError: no such fold, or fewer than two.
    """
    if of < 2:
        raise AigiError(f"Expected at least 2 folds, got {of}.")
    if not 1 <= number <= of:
        raise AigiError(f"Expected a fold from 1 to {of}, got {number}.")
    kept = images["left_out"] == ""
    folds = pd.Series("", index=images.index, dtype=str)
    left = kept.copy()
    for k in range(1, of + 1):
        share = 1 / (of - k + 1)
        chosen = _assigned(
            images.assign(left_out=(~left).map({True: "x", False: ""})),
            {"train": 1 - share, "val": 0.0, "test": share},
            seed + k,
        )
        mine = left & (chosen == "test") if k < of else left
        folds[mine] = str(k)
        left &= ~mine
    rest = images.assign(left_out=(~(kept & (folds != str(number)))).map({True: "x", False: ""}))
    split = _assigned(rest, {"train": 1 - val, "val": val, "test": 0.0}, seed)
    return split.mask(folds == str(number), "test")


def _assigned(images: pd.DataFrame, shares: Mapping[str, float], seed: int) -> pd.Series:
    kept = images["left_out"] == ""
    part = images[kept]
    strata = list(zip(part["pool"], part["label"], part["generator"], strict=True))
    chosen = assign(list(part["group"]), strata, shares, seed)
    split = pd.Series("", index=images.index, dtype=str)
    split[kept] = part["group"].map(chosen)
    return split
