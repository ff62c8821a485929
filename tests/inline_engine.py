"""An engine that does every task at once in this process, so that tests can watch it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from precompute.engine import Engine


class InlineEngine(Engine):
    def __init__(self, workers: int = 1) -> None:
        self.workers = workers

    def map(
        self,
        function: Callable[..., Any],
        tasks: Sequence[tuple[Any, ...]],
        *,
        start: Callable[..., None] | None = None,
        args: tuple[Any, ...] = (),
    ) -> Iterator[tuple[int, Any]]:
        if tasks and start is not None:
            start(*args)
        for number, task in enumerate(tasks):
            yield number, function(*task)
