"""Products of unit rows in bfloat16, where the processor is quicker at them (AMX, AVX512-BF16): six
times on a Xeon of 2023. They are off by a known amount, so they tell which pairs need the exact
one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int, Int16

ERROR = 0.006
"""No product of unit rows is off by more: rounding changes a number by 2^-9 of itself at most, so
two rows by .0039 in all, their product by .002 once more, and its sum in float32 by .00005."""
STEP = 64
PAYS_FROM = 2.0
"""Times as quick as float32 from which on they are used."""


def rounded(rows: Float[np.ndarray, "n d"]) -> Int16[np.ndarray, "padded d"]:
    """The bits of rows in bfloat16, and rows of zeros up to a multiple of :data:`STEP`: a product
    is compiled for each shape of its arguments, which takes longer than it then does.
    """
    padded = torch.zeros((-(-len(rows) // STEP) * STEP, rows.shape[1]), dtype=torch.bfloat16)
    padded[: len(rows)] = torch.from_numpy(rows)
    bits: np.ndarray = padded.view(torch.int16).numpy()
    return bits


def pairs_above(
    queries: Int16[np.ndarray, "padded d"],
    rows: Int16[np.ndarray, "padded_rows d"],
    floor: Float[np.ndarray, " q"],
    count: int,
) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
    """Every pair of rounded unit rows whose exact product is above the query's floor, and others
    that may be: numbers of the queries, in order, and of the rows.

    Args:
        floor: of the first q queries; those beyond are not asked for.
        count: how many of the rows are asked for, too.
    """
    left, right = (torch.from_numpy(bits).view(torch.bfloat16) for bits in (queries, rows))
    products = torch.mm(left, right.T).view(torch.int16).numpy()[: len(floor), :count]
    # As whole numbers, those of bfloat16 that are not negative are in the order of their values;
    # the higher half of a float32 is the bfloat16 below it.
    lowest = np.maximum(floor - ERROR, 0).astype(np.float32).view(np.int32) >> 16
    lowest = np.where(floor > ERROR, lowest, np.iinfo(np.int16).min).astype(np.int16)
    query, row = np.divmod(np.flatnonzero(products >= lowest[:, None]), count)
    return query, row


@contextmanager
def one_thread() -> Iterator[None]:
    """Each product on the thread that asks for it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def pay() -> bool:
    """Whether this processor is quicker at them by :data:`PAYS_FROM`; what is found is the same."""
    values = np.random.default_rng(0).standard_normal((1024, 768)).astype(np.float32)
    with one_thread():
        whole = torch.from_numpy(values)
        half = whole.bfloat16()
        return PAYS_FROM * _seconds(lambda: half @ half.T) < _seconds(lambda: whole @ whole.T)


def _seconds(work: Callable[[], object]) -> float:
    """Of this thread, at least of four."""
    spent = []
    for _ in range(4):
        start = time.thread_time()
        work()
        spent.append(time.thread_time() - start)
    return min(spent)
