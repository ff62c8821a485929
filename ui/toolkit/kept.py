"""Results that all sessions share: computed once, and again once what they rest on has changed."""

from __future__ import annotations

import gc
import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial, wraps
from inspect import signature
from pathlib import Path
from threading import Lock
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, TypeVar, cast
from weakref import WeakValueDictionary

import numpy as np

from aigi_core.workspace import LOOKED_FOR, Workspace, digest_of, results_state

_SEEN: ContextVar[dict[Path, dict[str, str]] | None] = ContextVar("seen", default=None)
"""State of each kind of results of the workspaces of a page that runs."""
Rests = dict[tuple[Path, str], str]
"""What a computation rests on beside its arguments: a workspace's kind of results -> its state."""
_RESTS: ContextVar[Rests | None] = ContextVar("rests", default=None)
"""Of the computation that is under way."""

MOST_BYTES = 128 * 2**20
"""Of results that are kept. Thousands of settings may be asked for while a server lives, each a
megabyte and more."""
BYTES_AN_IMAGE = 1024
"""More for each image of the largest workspace that a result is about: scores by a dozen detectors
are as much."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, eq=False)
class Kept:
    """A result, and the state of what it rests on."""

    result: Any
    rests: Rests

    @classmethod
    def of(cls, compute: Callable[[], Any]) -> Kept:
        """What a computation gives, and what it looked for meanwhile."""
        with _noted() as rests:
            return cls(compute(), rests)

    def holds(self) -> bool:
        """Whether all of that is as it was."""
        return all(state(*on) == before for on, before in self.rests.items())

    def given(self) -> Any:
        """The result, on which whoever asks for it rests as well."""
        for on in self.rests:
            note(*on)
        return self.result


class Store:
    """Results of all sessions, each under its key. Where they take too much memory, those not asked
    for longest go, but for the last one.

    Attributes:
        most: bytes that they may take, beside those for each image.
        bytes: that they take.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.most, self.bytes = most, 0
        self._lock = Lock()
        self._held: OrderedDict[Hashable, tuple[Kept, int, int]] = OrderedDict()
        self._turns: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._held)

    def find(self, key: Hashable) -> Kept | None:
        """What is kept, where it still holds."""
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            kept = self._held[key][0]
        return kept if kept.holds() else None

    def put(self, key: Hashable, kept: Kept, images: int = 0) -> None:
        """Keep a result, which is about so many images."""
        size = bytes_of(kept.result)
        with self._lock:
            self._forget(key)
            self._held[key] = kept, size, images
            self.bytes += size
            while len(self._held) > 1 and self.bytes > self._limit():
                self._forget(next(iter(self._held)))

    def find_or_make(self, key: Hashable, make: Callable[[], Kept], images: int) -> Kept:
        """What is kept and holds, else what ``make`` gives. Whoever else asks for it meanwhile
        waits for it, and makes it if that fails.
        """
        if kept := self.find(key):
            return kept
        with self._lock:
            turn = self._turns.setdefault(key, Lock())
        with turn:
            if not (kept := self.find(key)):  # not made by whoever had the turn before
                kept = make()
                self.put(key, kept, images)
            return kept

    def _limit(self) -> int:
        images = max(images for *_, images in self._held.values())
        return self.most + BYTES_AN_IMAGE * images

    def _forget(self, key: Hashable) -> None:
        if key in self._held:
            self.bytes -= self._held.pop(key)[1]


STORE = Store()
"""Of this server."""


def cached(function: F) -> F:
    """Compute once a workspace (its images, text banks and perturbed copies) and parameters, for
    all sessions of the server; and again once a kind of stored results has changed that was looked
    for meanwhile, there or not, or where others were asked for since that left no room.

    Arguments are workspaces and plain hashable values, never arrays. The result is shared, not
    copied: do not change it. Sessions that ask for the same result wait for it; others go on. A
    default that is given counts as one that is not.
    """
    parameters = signature(function)
    # Streamlit runs the module of a page anew each time, but its code is the same
    named = function.__module__, function.__qualname__, function.__code__

    @wraps(function)
    def kept(*args: Any, **kwargs: Any) -> Any:
        given = parameters.bind(*args, **kwargs)
        given.apply_defaults()
        values = tuple(given.arguments.values())
        images = max((len(one.images) for one in workspaces_among(values)), default=0)
        key = named, tuple(map(type, values)), _key(values)
        make = partial(Kept.of, partial(function, *given.args, **given.kwargs))
        return STORE.find_or_make(key, make, images).given()

    return cast(F, kept)


def workspaces_among(values: Iterable[Any]) -> Iterator[Workspace]:
    """The workspaces among some values, those in lists and tables of them too."""
    for value in values:
        if isinstance(value, Workspace):
            yield value
        elif isinstance(value, Mapping):
            yield from workspaces_among(value.values())
        elif isinstance(value, tuple | list):
            yield from workspaces_among(value)


def _key(value: Any) -> Hashable:
    """Equal for arguments that are the same."""
    if isinstance(value, Workspace):
        return Workspace, str(value.path), value.identity
    if isinstance(value, tuple):
        return tuple(map(_key, value))
    return cast(Hashable, value)


_NOT_COUNTED = (Workspace, type, ModuleType, FunctionType, BuiltinFunctionType, CodeType)
"""What results share with all others."""


def bytes_of(value: Any) -> int:
    """Of memory that a value holds; no files that are mapped.

    >>> bytes_of([np.zeros(1000), np.zeros(1000)[:10]]) // 1000
    16
    """
    total = 0
    waiting, seen = [value], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, _NOT_COUNTED):
            continue
        seen.add(id(one))
        if isinstance(one, np.ndarray):
            if isinstance(one.base, np.ndarray):  # a view
                waiting.append(one.base)
            elif not isinstance(one, np.memmap):
                total += one.nbytes
            continue
        total += sys.getsizeof(one, 0)
        waiting += gc.get_referents(one)
    return total


@contextmanager
def _noted() -> Iterator[Rests]:
    """What is looked for inside, which also whoever asked for this computation rests on."""
    outer, rests = _RESTS.get(), Rests()
    tokens = _RESTS.set(rests), LOOKED_FOR.set(note)
    try:
        with nullcontext() if _SEEN.get() is not None else one_look():
            yield rests
    finally:
        _RESTS.reset(tokens[0])
        LOOKED_FOR.reset(tokens[1])
        if outer is not None:
            outer |= rests


def note(path: Path, kind: str) -> None:
    """The computation that is under way rests on a kind of a workspace's results; on all of them
    where it is empty."""
    if (rests := _RESTS.get()) is not None:
        rests[path, kind] = state(path, kind)


def state(path: Path, kind: str = "") -> str:
    """Digest of what there is of a kind of results; looked at once while a page runs, so that what
    changes meanwhile counts as changed afterwards."""
    looks = _SEEN.get()
    if looks is None:
        looks = {}
    if path not in looks:
        found = results_state(path)
        looks[path] = {one: digest_of(files) for one, files in found.items()}
        looks[path][""] = digest_of(sorted(looks[path].items()))
    return looks[path].get(kind, "")


@contextmanager
def one_look() -> Iterator[None]:
    """For the run of a page, which asks for many results: all rest on the same state of the files,
    which takes a hundred looks at the disk.
    """
    token = _SEEN.set({})
    try:
        yield
    finally:
        _SEEN.reset(token)
