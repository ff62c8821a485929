"""The same search by two local processes and by two of Ray's workers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from shutil import copytree
from time import perf_counter
from typing import Any

from aigi_core.transfer.atlas import AtlasKey
from aigi_core.workspace import Workspace
from benchmarks._small_workspace import make_workspace
from precompute.engine import Engine, LocalEngine
from precompute.search.job import search

WORKERS = 2


def compare_engines(folder: Path, *, images: int, draws: int) -> dict[str, Any]:
    """All six pairs of four generators searched twice, Ray running before the clock starts.

    Args:
        folder: where both workspaces are written.
        images: of each class; 0 compares nothing.
        draws: random removals that each pair is held against.

    Returns:
        ``ray_identical`` (1 where all arrays are equal to the byte) and ``ray_overhead_ratio``;
        null where Ray is not installed or no images are wanted.
    """
    if not images or find_spec("ray") is None:
        return {"ray_identical": None, "ray_overhead_ratio": None}
    import ray

    from precompute.on_ray import RayEngine

    key = AtlasKey(draws=draws, controls=draws)
    searched = make_workspace(folder / "local", per_class=images, d=96)
    copytree(searched, folder / "ray")
    try:
        list(RayEngine(WORKERS).map(abs, [(number,) for number in range(WORKERS)]))
        seconds = {
            name: _search(folder / name, key, engine)
            for name, engine in (("local", LocalEngine(WORKERS)), ("ray", RayEngine(WORKERS)))
        }
    finally:
        ray.shutdown()
    local, other = (key.folder(Workspace.open(folder / name)) for name in ("local", "ray"))
    arrays = sorted(file.name for file in local.glob("*.np*"))
    same = [(local / name).read_bytes() == (other / name).read_bytes() for name in arrays]
    return {
        "ray_identical": int(bool(same) and all(same)),
        "ray_overhead_ratio": round(seconds["ray"] / seconds["local"], 2),
        "search_local_seconds": round(seconds["local"], 1),
        "search_ray_seconds": round(seconds["ray"], 1),
    }


def _search(workspace: Path, key: AtlasKey, engine: Engine) -> float:
    start = perf_counter()
    search(workspace, key=key, engine=engine)
    return perf_counter() - start
