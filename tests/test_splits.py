"""Splits: groups whole, strata balanced, the same for a seed whatever the order."""

import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigi_core.splits import assign, components

SHARES = {"train": 0.55, "val": 0.15, "test": 0.3}


def test_components_are_transitive_over_groups_and_hashes():
    paths = ["a", "b", "c", "d", "e", "f"]
    groups = ["g", "g", "", "h", "", ""]
    hashes = ["1", "2", "2", "3", "4", ""]
    assert components(paths, groups, hashes) == ["a", "a", "a", "d", "e", "f"]


names = st.text("abc", min_size=0, max_size=2)


@given(st.lists(st.tuples(names, names), min_size=1, max_size=30), st.randoms())
def test_components_never_part_what_shares_a_key(ties, random):
    rows = [(f"path{i:02d}", *tie) for i, tie in enumerate(ties)]
    result = dict(zip([row[0] for row in rows], components(*zip(*rows, strict=True)), strict=True))
    for column in (1, 2):
        by_key = defaultdict(set)
        for row in rows:
            by_key[row[column]].add(result[row[0]])
        assert all(len(names) == 1 for key, names in by_key.items() if key)
    shuffled = random.sample(rows, len(rows))
    assert (
        dict(zip([r[0] for r in shuffled], components(*zip(*shuffled, strict=True)), strict=True))
        == result
    )


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from("RABC")), min_size=1, max_size=120),
    st.integers(0, 3),
    st.randoms(),
)
def test_assignment_is_whole_complete_and_independent_of_order(rows, seed, random):
    components_, strata = [f"c{i}" for i, _ in rows], [s for _, s in rows]
    chosen = assign(components_, strata, SHARES, seed)
    assert set(chosen) == set(components_) and set(chosen.values()) <= set(SHARES)
    order = random.sample(range(len(rows)), len(rows))
    assert (
        assign([components_[i] for i in order], [strata[i] for i in order], SHARES, seed) == chosen
    )


@pytest.mark.parametrize("n", [20, 50, 150, 1000])
def test_single_images_fill_each_stratum_exactly(n):
    strata = [("pool", 1, g) for g in ("x", "y") for _ in range(n)]
    chosen = assign([f"i{i}" for i in range(2 * n)], strata, SHARES, 0)
    for offset in (0, n):
        counts = Counter(chosen[f"i{i}"] for i in range(offset, offset + n))
        assert counts == {
            "val": round(n * 0.15),
            "test": round(n * 0.3),
            "train": n - round(n * 0.15) - round(n * 0.3),
        }


def test_groups_across_strata_stay_close_to_the_shares():
    draw = random.Random(1)
    rows = [
        (f"prompt{i}", g) for i in range(200) for g in "ABCD" for _ in range(draw.randint(0, 3))
    ]
    chosen = assign([r[0] for r in rows], [r[1] for r in rows], SHARES, 0)
    for generator in "ABCD":
        counts = Counter(chosen[name] for name, g in rows if g == generator)
        for split, share in SHARES.items():
            assert counts[split] / counts.total() == pytest.approx(share, abs=0.04)


def test_one_group_that_overfills_a_split_is_paid_for_by_the_fullest_of_the_others():
    rows = [("big", "A")] * 60 + [(f"i{i}", "A") for i in range(40)]
    chosen = assign([r[0] for r in rows], [r[1] for r in rows], SHARES, 0)
    counts = Counter(chosen[name] for name, _ in rows)
    assert counts[chosen["big"]] >= 60 and set(counts) == set(SHARES)


def test_seeds_differ_and_a_share_of_nothing_gets_nothing():
    names_, strata = [f"i{i}" for i in range(100)], ["A"] * 100
    assert assign(names_, strata, SHARES, 0) != assign(names_, strata, SHARES, 1)
    assert set(assign(names_, strata, {"train": 0.7, "val": 0.0, "test": 0.3}, 0).values()) == {
        "train",
        "test",
    }


def test_the_smallest_stratum_reaches_every_split():
    assert Counter(assign(list("abc"), ["A"] * 3, SHARES, 0).values()) == {
        "train": 1,
        "val": 1,
        "test": 1,
    }
