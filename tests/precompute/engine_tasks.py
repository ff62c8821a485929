"""Tasks that the tests of engines hand to other processes."""

import os
from importlib.util import find_spec
from pathlib import Path
from threading import Event

import pytest

from aigi_core.errors import AigiError

HAS_RAY = find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="needs Ray: pip install -r requirements-ray.txt")
ENGINES = ["local", pytest.param("ray", marks=needs_ray)]
by_ray = pytest.mark.slow(
    "tests/precompute/test_engine.py::test_a_search_by_ray_stores_what_a_local_one_does"
)
"""One job by Ray is enough to see that Ray does what a local engine does; others start it anew."""
JOB_ENGINES = ["local", pytest.param("ray", marks=[needs_ray, by_ray])]
_added = 0


def stop_ray() -> None:
    """End the Ray that a command has started; nothing where it has started none."""
    if HAS_RAY:
        import ray

        ray.shutdown()


def start(added: int) -> None:
    global _added
    _added = added


def square(n: int, done: str) -> int:
    with Path(done).open("a") as file:
        file.write(f"{n}\n")
    return n * n + _added


def refuse(n: int) -> None:
    raise AigiError(f"no {n} here")


def never_ends(mark: str) -> None:
    """Say which process it is, and wait."""
    Path(mark).write_text(str(os.getpid()))
    Event().wait()


def killed_once(n: int, mark: str) -> int:
    """Twice n; the first attempt at 1 ends its process."""
    if n == 1 and not Path(mark).exists():
        Path(mark).write_text("killed")
        os.kill(os.getpid(), 9)
    return 2 * n
