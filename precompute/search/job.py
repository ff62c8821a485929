"""Runs the search over many pairs in processes, says how long it will take, and merges."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from aigi_core import results
from aigi_core.detectors.presets import preset
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.record import read_json
from aigi_core.significance import q_values
from aigi_core.statements import counted
from aigi_core.terminal import Show, progress_line
from aigi_core.transfer.atlas import BANK, KIND, METRICS_KEPT, TABLES, Atlas, AtlasKey
from aigi_core.transfer.pairs import Pair, parse_pairs
from aigi_core.workspace import Workspace, exclusive, tool_versions, write_atomic
from precompute.engine import Engine, LocalEngine, cores, seconds_left
from precompute.search.pair import Arrays, Searcher, Tables, compute_shared, head_grid
from precompute.search.points import keep_head_points
from precompute.shares import Share

SHARED = "shared.npz"


def search(
    workspace_path: str | os.PathLike[str],
    pairs: str = "all",
    *,
    key: AtlasKey | None = None,
    engine: Engine | None = None,
    share: Share | None = None,
) -> str:
    """Search what has not been searched yet and publish the atlas; returns a sentence saying where
    it lies.

    Args:
        share: search these of the pairs only, and publish nothing.

    Raises:
        AigiError: no workspace, unknown generators, a pair that cannot be judged, another search at
            work, or a process that was killed.
    """
    key = key or AtlasKey()
    workspace = Workspace.open(workspace_path)
    wanted = parse_pairs(pairs, workspace.domains)
    path = key.folder(workspace)
    with nullcontext() if share else exclusive(path, "search"), progress_line() as show:
        (path / "pairs").mkdir(parents=True, exist_ok=True)
        start = perf_counter()
        if not share:
            keep_head_points(workspace, preset(key.protocol), show)
        names = workspace.domains.generators
        merged = _merged(workspace, key)
        shared = _load(path / SHARED) or merged[0]
        if shared is None:
            shared = compute_shared(workspace, key, lambda step: show(f"Search: {step} ..."))
            _save(path / SHARED, *shared)
        mine = share.of(wanted) if share else wanted
        todo = [
            pair
            for pair in mine
            if pair not in merged[1] and _load(_file(path, names, pair)) is None
        ]
        before = len(mine) - len(todo)
        print(f"{counted(len(mine), 'pair')} wanted, {before} of them searched before.", flush=True)
        _search_all(workspace, key, path, todo, engine or LocalEngine(cores()), show)
        if share:
            return (
                f"Share {share} is searched. When all {share.count} are, the same command without"
                " --shard publishes the atlas."
            )
        outcome = dict(merged[1])
        for pair in combinations(names, 2):
            record = _load(_file(path, names, pair))
            if record is not None:
                outcome[pair] = record
        seconds = perf_counter() - start + merged[2]
        _publish(
            workspace,
            key,
            shared,
            {pair: outcome[pair] for pair in sorted(outcome, key=_order(names))},
            seconds,
        )
        (path / SHARED).unlink(missing_ok=True)
        shutil.rmtree(path / "pairs")  # with what a killed process may have left half written
    return f"The atlas of {counted(len(outcome), 'pair')} lies in {path}."


def _search_all(
    workspace: Workspace,
    key: AtlasKey,
    path: Path,
    todo: Sequence[Pair],
    engine: Engine,
    show: Show,
) -> None:
    names, start = workspace.domains.generators, perf_counter()
    tasks = [(pair, str(_file(path, names, pair))) for pair in todo]
    ended = engine.map(_one, tasks, start=_start_worker, args=(workspace.path, key, path))
    for done, (number, _) in enumerate(ended, 1):
        line = f"[{done}/{len(todo)}] {' : '.join(todo[number])}"
        show(line, seconds_left(start, done, len(todo)))


_searcher: Searcher | None = None


def _start_worker(path: Path, key: AtlasKey, atlas: Path) -> None:
    global _searcher
    workspace = Workspace.open(path)
    shared = _load(atlas / SHARED) or _merged(workspace, key)[0]
    assert shared is not None, "the shared part is written before the workers start"
    _searcher = Searcher(workspace, key, shared[0])


def _one(pair: Pair, file: str) -> None:
    assert _searcher is not None, "the worker has been started"
    try:
        record = _searcher.run(pair)
    except AigiError as error:
        raise AigiError(f"Searching {pair[0]} and {pair[1]}: {error}") from error
    _save(Path(file), *record)


def _file(path: Path, names: Sequence[str], pair: Pair) -> Path:
    return path / "pairs" / f"{names.index(pair[0]):03d}-{names.index(pair[1]):03d}.npz"


def _load(file: Path) -> tuple[Arrays, Tables] | None:
    """A finished file; None where it is missing or damaged (it is then computed again)."""
    try:
        arrays = results.decoded_arrays(file.name, file.read_bytes())
        tables = {name: arrays.pop(name) for name in list(arrays) if name.startswith("table ")}
        rows = {name: read_json(packed.tobytes()) for name, packed in tables.items()}
    except (OSError, ValueError):
        return None
    return arrays, {name.removeprefix("table "): table for name, table in rows.items()}


def _save(file: Path, arrays: Arrays, tables: Tables) -> None:
    """A finished file: arrays, and tables of rows packed as JSON."""
    packed = {
        f"table {name}": np.frombuffer(json.dumps(rows).encode(), np.uint8)
        for name, rows in tables.items()
    }
    write_atomic(file, results.encoded(file.name, arrays | packed))


SHARED_ARRAYS = (
    "matrix embedding",
    "matrix residual",
    "head_scores",
    "head_log_loss",
    "random_kept",
    "random_values",
)


def _merged(
    workspace: Workspace, key: AtlasKey
) -> tuple[tuple[Arrays, Tables] | None, dict[Pair, tuple[Arrays, Tables]], float]:
    """The parts of an atlas published before: what is shared, each pair, and the seconds it
    took.
    """
    try:
        atlas = Atlas.open(workspace, key)
    except WorkspaceError:
        return None, {}, 0.0
    arrays = dict(atlas.arrays)
    own = {name: arrays.pop(name) for name in SHARED_ARRAYS}
    rows = {name: _by_pair(table) for name, table in atlas.tables.items()}
    pairs: dict[Pair, tuple[Arrays, Tables]] = {}
    for at, (a, b) in enumerate(atlas.pairs):
        mine = {name: rows[name].get((a, b), []) for name in TABLES}
        pairs[(a, b)] = ({name: values[at] for name, values in arrays.items()}, mine)
    return (own, {"words": rows["words"].get(("", ""), [])}), pairs, atlas.seconds


def _by_pair(table: pd.DataFrame) -> dict[Pair, list[dict[str, Any]]]:
    rows: dict[Pair, list[dict[str, Any]]] = {}
    for row in table.to_dict("records"):
        rows.setdefault((str(row["a"]), str(row["b"])), []).append(
            {str(name): value for name, value in row.items()}
        )
    return rows


def _publish(
    workspace: Workspace,
    key: AtlasKey,
    shared: tuple[Arrays, Tables],
    pairs: dict[Pair, tuple[Arrays, Tables]],
    seconds: float,
) -> None:
    arrays = dict(shared[0])
    first = next(iter(pairs.values()))[0]
    for name in first:
        arrays[name] = np.stack([record[0][name] for record in pairs.values()])
    tables = {
        name: pd.DataFrame(
            [row for record in (shared, *pairs.values()) for row in record[1].get(name, [])]
        )
        for name in TABLES
    }
    summary = tables["summary"]
    same = summary.groupby(["view", "metric", "cells"])["p_value"]
    summary["q_value"] = same.transform(lambda p: q_values(p.to_numpy()))
    domains = workspace.domains
    results.publish(
        workspace,
        KIND,
        asdict(key),
        {"arrays.npz": arrays, **{f"{name}.parquet": table for name, table in tables.items()}},
        banks=(BANK,),
        content={
            "generators": list(domains.generators),
            "families": list(domains.families),
            "pairs": [list(pair) for pair in pairs],
            "metrics": list(METRICS_KEPT),
            "components": int(workspace.embeddings.shape[1]),
            "heads": list(head_grid(workspace)),
        },
        about={"versions": tool_versions(), "seconds": round(seconds, 1)},
    )


def _order(names: Sequence[str]) -> Any:
    return lambda pair: (names.index(pair[0]), names.index(pair[1]))
