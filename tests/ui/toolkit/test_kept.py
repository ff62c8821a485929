"""Results that sessions share: how much of them is kept, and who computes them."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import numpy as np
import pandas as pd
import pytest

from aigi_core.workspace import Workspace
from ui.toolkit import kept
from ui.toolkit.kept import BYTES_AN_IMAGE, Kept, Store, bytes_of

KILO = 1000


def of(size: int) -> Kept:
    return Kept(np.zeros(size, np.uint8), {})


def test_those_not_asked_for_longest_go() -> None:
    store = Store(most=3 * KILO)
    for name in "abc":
        store.put(name, of(KILO))
    assert store.find("a") and store.bytes == 3 * KILO
    store.put("d", of(KILO))
    assert [bool(store.find(name)) for name in "abcd"] == [True, False, True, True]
    store.put("d", of(2 * KILO))
    assert not store.find("a") and store.bytes == 3 * KILO


def test_the_last_is_kept_however_large_it_is() -> None:
    store = Store(most=KILO)
    store.put("small", of(10))
    store.put("large", of(50 * KILO))
    assert store.find("large") and not store.find("small") and len(store) == 1
    store.put("small", of(10))
    assert store.find("small") and store.bytes == 10


def test_a_large_workspace_has_more_room() -> None:
    store = Store(most=0)
    store.put("a", of(KILO), images=2)
    store.put("b", of(KILO), images=1)
    assert len(store) == 2 and 2 * BYTES_AN_IMAGE >= 2 * KILO
    store.put("c", of(KILO))
    assert len(store) == 1, "what is about the two images has gone, and its room with it"


def test_counted_are_arrays_tables_and_texts_once_and_no_files(synthetic: Workspace) -> None:
    array = np.zeros(5 * KILO)
    table = pd.DataFrame({"a": np.zeros(5 * KILO), "b": ["x" * KILO] * 2 + ["y"] * (5 * KILO - 2)})
    assert bytes_of((array, array[:10], [array.T])) == pytest.approx(40 * KILO, rel=0.05)
    assert bytes_of(table) > 80 * KILO
    assert bytes_of(synthetic) == 0 and bytes_of(synthetic.embeddings) < KILO
    assert bytes_of({"key": "x" * KILO}) > KILO


def test_who_asks_meanwhile_waits_and_computes_where_the_first_failed() -> None:
    asked, made = Barrier(2), list[int]()

    @kept.cached
    def fails_once(number: int) -> int:
        made.append(number)
        if len(made) == 1:
            asked.wait(5)
            raise ValueError
        return number

    def first() -> None:
        with pytest.raises(ValueError):
            fails_once(3)

    def second() -> int:
        asked.wait(5)
        return fails_once(3)

    with ThreadPoolExecutor(2) as pool:
        failing, waiting = pool.submit(first), pool.submit(second)
        failing.result(10)
        assert waiting.result(10) == 3 and made == [3, 3]


def test_other_results_do_not_wait() -> None:
    begun, go = Event(), Event()

    @kept.cached
    def slow(number: int) -> int:
        if number == 1:
            begun.set()
            go.wait(10)
        return number

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(slow, 1)
        assert begun.wait(5) and slow(2) == 2 and not waiting.done()
        go.set()
        assert waiting.result(5) == 1


def test_true_is_not_one() -> None:
    made: list[object] = []

    @kept.cached
    def kind(value: object) -> str:
        made.append(value)
        return type(value).__name__

    assert [kind(1), kind(True), kind(1.0), kind(1)] == ["int", "bool", "float", "int"]
    assert len(made) == 3
