"""Units of work computed by Ray: on this machine or on a cluster (``--engine ray``).

The only module that knows Ray. Workers are actors: each starts once (opens the workspace, loads
the encoder) and then takes one task after the other. A worker that is lost (killed, preempted, its
node gone) is started again elsewhere and its task is done again: tasks are idempotent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aigi_core.errors import AigiError

RETRIES = 3
"""How many times a task is done again after its worker was lost."""


@dataclass(frozen=True)
class RayEngine:
    """Ray actors, each with one processor and, where ``gpus`` says so, a share of a GPU.

    Attributes:
        address: None starts Ray on this machine, bound to loopback; "auto" or an address joins a
            running cluster.
        gpus: GPUs that each worker claims; 0.5 lets two workers share one.

    Raises:
        AigiError: Ray is not installed, or there is no cluster at the address.
    """

    workers: int
    address: str | None = None
    gpus: float = 0.0

    def map(
        self,
        function: Callable[..., Any],
        tasks: Sequence[tuple[Any, ...]],
        *,
        start: Callable[..., None] | None = None,
        args: tuple[Any, ...] = (),
    ) -> Iterator[tuple[int, Any]]:
        if not tasks:
            return
        ray = self._connected()
        worker = ray.remote(_Worker).options(
            num_cpus=1, num_gpus=self.gpus, max_restarts=-1, max_task_retries=RETRIES
        )
        shared = ray.put((start, args))
        actors = [worker.remote(shared) for _ in range(min(self.workers, len(tasks)))]
        waiting = list(enumerate(tasks))[::-1]
        running: dict[Any, tuple[int, Any]] = {}
        try:
            for actor in actors:
                number, task = waiting.pop()
                running[actor.run.remote(function, task)] = number, actor
            while running:
                [ended], _ = ray.wait(list(running), num_returns=1)
                number, actor = running.pop(ended)
                if waiting:
                    following, task = waiting.pop()
                    running[actor.run.remote(function, task)] = following, actor
                try:
                    result = ray.get(ended)
                except ray.exceptions.RayTaskError as error:
                    cause = error.cause
                    if isinstance(cause, AigiError):
                        raise AigiError(str(cause)) from error
                    raise
                except ray.exceptions.RayActorError as error:
                    raise AigiError(
                        f"A Ray worker was lost {RETRIES + 1} times at the same task: run the same"
                        " command again, it goes on where it stopped; fewer --workers need less"
                        " memory."
                    ) from error
                yield number, result
        finally:
            for actor in actors:
                ray.kill(actor)

    def _connected(self) -> Any:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
        try:
            import ray
        except ImportError as error:
            raise AigiError(
                "--engine ray needs Ray, which is not installed: run 'pip install -r"
                " requirements-ray.txt', or leave --engine out."
            ) from error
        if ray.is_initialized():
            return ray
        where = {"PYTHONPATH": os.pathsep.join((str(_ROOT), os.environ.get("PYTHONPATH", "")))}
        threads = {name: os.environ[name] for name in os.environ if name.endswith("_NUM_THREADS")}
        runtime = {"env_vars": where | threads}
        try:
            if self.address:
                ray.init(address=self.address, runtime_env=runtime, log_to_driver=False)
            else:
                ray.init(
                    num_cpus=self.workers,
                    include_dashboard=False,
                    _node_ip_address="127.0.0.1",
                    runtime_env=runtime,
                    log_to_driver=False,
                )
        except ConnectionError as error:
            raise AigiError(
                f"There is no Ray cluster at {self.address!r} ({error}): start one with 'ray start"
                " --head', or leave --ray-address out to start Ray on this machine."
            ) from error
        return ray


class _Worker:
    """Runs in a process of Ray's: starts once, then does tasks."""

    def __init__(self, shared: tuple[Callable[..., None] | None, tuple[Any, ...]]) -> None:
        start, args = shared
        if start is not None:
            start(*args)

    def run(self, function: Callable[..., Any], task: tuple[Any, ...]) -> Any:
        """One task."""
        return function(*task)


_ROOT = Path(__file__).resolve().parent.parent
