"""Products in bfloat16: no pair above a floor is missed, and padding names none."""

from __future__ import annotations

import numpy as np
import pytest

from aigi_core import _halves as halves


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("q", "n", "d"), [(5, 3, 16), (64, 128, 768), (130, 77, 512)])
def test_every_pair_above_the_floor_is_named(seed: int, q: int, n: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal(d)
    queries, rows = (
        (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
        for x in (shared + rng.standard_normal((size, d)) for size in (q, n))
    )
    rows[0] = queries[0]
    exact = queries.astype(float) @ rows.T.astype(float)
    floor = rng.choice(exact.ravel(), q).astype(np.float32)
    floor[:3] = 1.0, -np.inf, -0.5
    query, row = halves.pairs_above(halves.rounded(queries), halves.rounded(rows), floor, n)
    named = np.zeros((q, n), bool)
    named[query, row] = True
    assert named[exact > floor[:, None]].all() and named[0, 0] and named[1:3].all()
    assert (np.diff(query) >= 0).all()
    unnecessary = named & (exact < floor[:, None] - 2 * halves.ERROR)
    assert not unnecessary[floor > 2 * halves.ERROR].any()


def test_products_are_off_by_no_more_than_is_stated() -> None:
    """The worst rows: every number lies half way between two of bfloat16."""
    half_way = np.float32(1 + 2**-8)
    row = np.full((1, 64), half_way / np.linalg.norm(np.full(64, half_way)), np.float32)
    import torch

    left = torch.from_numpy(halves.rounded(row)).view(torch.bfloat16)
    assert abs(float((left @ left.T)[0, 0]) - 1) < halves.ERROR


def test_threads_are_as_before() -> None:
    import torch

    before = torch.get_num_threads()
    with halves.one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before and isinstance(halves.pay(), bool)
