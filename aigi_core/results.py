"""Expensive results, kept under a workspace's ``results/`` by jobs and read by pages.

A result lies in ``results/<kind>/<key>/``. The key is a digest of its *identity*: everything that
it rests on (content of the workspace, text banks, parameters, format). Its note, ``result.json``,
records that identity and the SHA-256 of every file; reading refuses a file that was changed. The
note names files by their content and is renamed into place last, so a reader, and a job that was
killed, see the whole result or the whole one before it.

A new kind is one :class:`ResultKind`.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.numpy
from safetensors import SafetensorError

from aigi_core.commands import command
from aigi_core.errors import NotMadeError, WorkspaceError
from aigi_core.record import read_json
from aigi_core.soundness import read_npz, read_parquet
from aigi_core.workspace import Workspace, digest_of, sha256_of, write_atomic

NOTE = "result.json"
IMPORTED, IMPORT = "imported", "import-scores"
"""The kind of the scores of others, and the job that brings most of them."""
JOBS = {
    "atlas": "search",
    "board": "methods",
    "combinations": "methods",
    "facts": "detectors",
    "finetuned": "finetune",
    "finetuned-weights": "finetune",
    "head-points": "search --protocol paper",
    "held-out": "detectors",
    IMPORTED: IMPORT,
    "lengths": "detectors",
    "matrix": "detectors",
    "nulls": "words",
    "panel": "detectors",
    "scores": "detectors",
}
"""Kind -> the job that makes it, where they differ in name."""
NEEDS = {"finetune": " --train each"}
"""Job -> what its command needs beside the workspace."""
Contents = bytes | pd.DataFrame | Mapping[str, np.ndarray]
"""What a file holds: a table (.parquet), named arrays (.npz, .safetensors), or bytes."""


@dataclass(frozen=True)
class OldResult:
    """How results of a kind lay on disk before they had a common note; they have no digests.

    Attributes:
        note: name of the note.
        key: the folder's name, from the workspace and the parameters that the note holds.
    """

    note: str
    key: Callable[[Workspace, Mapping[str, Any]], str]


@dataclass(frozen=True)
class ResultKind:
    """One kind of result.

    Attributes:
        name: folder under ``results/``.
        title: what a sentence calls it.
        job: the job of ``python -m precompute`` that computes it.
        format: raised when the files change, or when the same identity gives other numbers.
        old: how it lay on disk before format 2, where there was such a time.
    """

    name: str
    title: str
    job: str
    format: int
    old: OldResult | None = None

    def command(self, workspace: Workspace) -> str:
        """The command that computes it."""
        return f"'{command(self.job, workspace=workspace.path)}'"


@dataclass(frozen=True, eq=False)
class StoredResult:
    """A result whose note was read; its files are read, and held against the note, when asked for.

    Attributes:
        note: the file that names the others.
        parameters: what it was computed with.
        content: the part of it that is JSON.
        about: how it was made (seconds, versions of tools); nothing rests on it.
        files: name -> ``file`` (its name on disk), ``sha256``, ``bytes``; empty for a result of the
            time before digests were recorded.
    """

    kind: ResultKind
    note: Path
    parameters: dict[str, Any]
    content: dict[str, Any] = field(repr=False)
    about: dict[str, Any] = field(repr=False)
    files: dict[str, dict[str, Any]] = field(repr=False)

    @property
    def path(self) -> Path:
        """The result's folder."""
        return self.note.parent

    def bytes_of(self, name: str) -> bytes:
        """A file's content; raises WorkspaceError where it is missing or not what was recorded."""
        entry = self.files.get(name)
        if entry is None and self.files:
            raise self.damaged(f"its note names no {name}")
        try:
            content = (self.path / (entry["file"] if entry else name)).read_bytes()
        except OSError as error:
            raise self.damaged(f"{name} cannot be read: {error.strerror}") from error
        if entry and hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise self.damaged(f"{name} is not the file that was recorded")
        return content

    def table(self, name: str) -> pd.DataFrame:
        """A table, ``<name>.parquet``; raises WorkspaceError where it is damaged."""
        content = self.bytes_of(f"{name}.parquet")
        try:
            return read_parquet(io.BytesIO(content))
        except (OSError, ValueError) as error:
            raise self.damaged(f"{name}.parquet: {error}") from error

    def arrays(self, file: str) -> dict[str, np.ndarray]:
        """Named arrays of an ``.npz`` or ``.safetensors``; raises WorkspaceError for damage."""
        content = self.bytes_of(file)
        try:
            return decoded_arrays(file, content)
        except ValueError as error:
            raise self.damaged(f"{file}: {error}") from error

    def damaged(self, why: object) -> WorkspaceError:
        """The error to raise where this result does not hold what it should."""
        return _damaged(self.kind, self.path, why)

    def problems(self) -> list[str]:
        """One sentence for each file that is missing or was changed."""
        problems = []
        for name in self.files:
            try:
                self.bytes_of(name)
            except WorkspaceError as error:
                problems.append(str(error))
        return problems


def identity(
    workspace: Workspace, kind: ResultKind, parameters: Mapping[str, Any], banks: Sequence[str] = ()
) -> dict[str, Any]:
    """Everything that a result rests on, as JSON values.

    Args:
        parameters: JSON-serialisable.
        banks: names of the text banks that it is computed from, absent ones included.
    """
    return {
        "kind": kind.name,
        "format": kind.format,
        "workspace": workspace.digest,
        "banks": {name: workspace.text_digest(name) for name in sorted(set(banks))},
        "parameters": json.loads(json.dumps(parameters)),
    }


def result_folder(
    workspace: Workspace, kind: ResultKind, parameters: Mapping[str, Any], banks: Sequence[str] = ()
) -> Path:
    """Where a result lies, or will lie."""
    key = digest_of(identity(workspace, kind, parameters, banks))
    return workspace.result_path(kind.name, key)


def publish(
    workspace: Workspace,
    kind: ResultKind,
    parameters: Mapping[str, Any],
    files: Mapping[str, Contents],
    *,
    banks: Sequence[str] = (),
    content: Mapping[str, Any] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write a result, or replace it; returns its folder.

    Args:
        files: name with suffix -> what the file holds.
        content: the part of the result that is JSON.
        about: how it was made.
    """
    rests_on = identity(workspace, kind, parameters, banks)
    folder = workspace.result_path(kind.name, digest_of(rests_on))
    folder.mkdir(parents=True, exist_ok=True)
    entries = {}
    for name, value in files.items():
        data = encoded(name, value)
        sha256 = hashlib.sha256(data).hexdigest()
        stem, suffix = name.rsplit(".", 1)
        file = folder / f"{stem}-{sha256[:8]}.{suffix}"
        if not file.is_file() or sha256_of(file) != sha256:
            write_atomic(file, data)
        entries[name] = {"file": file.name, "sha256": sha256, "bytes": len(data)}
    note = {
        "identity": rests_on,
        "files": entries,
        "content": dict(content or {}),
        "about": dict(about or {}),
    }
    write_atomic(folder / NOTE, (json.dumps(note, indent=1, ensure_ascii=False) + "\n").encode())
    known = {NOTE, *(entry["file"] for entry in entries.values())}
    for file in folder.iterdir():  # those of the result before
        if file.is_file() and file.name not in known and not file.name.startswith("."):
            file.unlink()
    return folder


def load(
    workspace: Workspace, kind: ResultKind, parameters: Mapping[str, Any], banks: Sequence[str] = ()
) -> StoredResult:
    """The result of these parameters.

    Raises:
        NotMadeError: not computed, or only of another state of the workspace; says what to run.
        WorkspaceError: damaged; says what to do.
    """
    folder = result_folder(workspace, kind, parameters, banks)
    if (folder / NOTE).is_file():
        return _read(kind, folder)
    if kind.old is not None:
        parameters = json.loads(json.dumps(parameters))
        older = workspace.result_path(kind.name, kind.old.key(workspace, parameters))
        if (older / kind.old.note).is_file():
            return _read_old(kind, older, parameters)
    raise _missing(workspace, kind)


def find(
    workspace: Workspace,
    kind: ResultKind,
    usual: Mapping[str, Any],
    banks: Sequence[str] = (),
    same: Sequence[str] = (),
) -> StoredResult:
    """The result of the usual parameters, or else the newest of this kind with any others.

    Args:
        same: parameters in which the others must not differ.

    Raises:
        WorkspaceError: as :func:`load`.
    """
    try:
        return load(workspace, kind, usual, banks)
    except NotMadeError:
        for other in current(workspace, kind):
            if all(other.parameters.get(name, usual[name]) == usual[name] for name in same):
                return other
        raise


def current(workspace: Workspace, kind: ResultKind) -> list[StoredResult]:
    """All results of a kind that rest on the workspace as it is now, newest first."""
    candidates = []
    for folder in _folders(workspace, kind):
        try:
            result = _of_today(workspace, kind, folder)
        except WorkspaceError:
            continue
        if result is not None:
            candidates.append((result.note.stat().st_mtime_ns, result.path.name, result))
    return [result for _, _, result in sorted(candidates, key=lambda each: each[:2], reverse=True)]


def outdated_jobs(workspace: Workspace) -> list[str]:
    """Jobs whose stored results all rest on an earlier state of the workspace's images, sorted."""
    states: dict[str, set[str]] = {}
    for note in workspace.result_path("", "").glob(f"*/*/{NOTE}"):
        try:
            rests_on = read_json(note)["identity"]["workspace"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # damaged: verify says so
        states.setdefault(note.parents[1].name, set()).add(rests_on)
    jobs = {JOBS.get(kind, kind) for kind, known in states.items() if workspace.digest not in known}
    if IMPORT in jobs and not lost_imports(workspace, [workspace]):
        jobs.remove(IMPORT)
    return sorted(jobs)


def lost_imports(workspace: Workspace, of: Sequence[Workspace]) -> dict[str, dict[str, Any]]:
    """Name -> the options that import them again, of scores that others' detectors gave to the
    images of the workspaces ``of``, or of earlier states of them, and not to those of this one.

    Scores that a job computed itself, whose seconds it recorded, are that job's affair; those of a
    detector that has seen all generators of this workspace cannot be imported into it.
    """
    generators = set(workspace.domains.generators)
    names: dict[str, dict[str, Any]] = {}
    there = set()
    for path in dict.fromkeys(one.path for one in (*of, workspace)):
        notes = (path / "results" / IMPORTED).glob(f"*/{NOTE}")
        for note in sorted(notes, key=lambda file: (file.stat().st_mtime_ns, file)):
            try:
                record = read_json(note)
                name, content = record["identity"]["parameters"]["name"], record["content"]
                if record["identity"]["workspace"] == workspace.digest and path == workspace.path:
                    there.add(name)
                if not record["about"].get("seconds") and generators - set(content["trained_on"]):
                    names[name] = _import_options(name, content, generators)
            except (OSError, ValueError, KeyError, TypeError):
                continue  # damaged: verify says so
    return {name: options for name, options in sorted(names.items()) if name not in there}


def _import_options(
    name: str, content: Mapping[str, Any], held: AbstractSet[str]
) -> dict[str, Any]:
    """As ``import-scores`` was told, but for generators that are not ``held`` any more; a reversed
    detector's threshold is kept with its sign turned. One that a rule chose was not told.
    """
    reverse, threshold = bool(content["reversed"]), float(content["threshold"])
    by_rule = str(content.get("threshold_from", "")).startswith("chosen")
    seen = ",".join(name for name in content["trained_on"] if name in held)
    trained_on = seen or ("none" if content.get("told") else None)
    return {
        "name": name,
        # Without an exponent: argparse takes -1e-05 for an option.
        "threshold": None
        if by_rule
        else np.format_float_positional(-threshold if reverse else threshold, trim="-"),
        "trained_on": trained_on,
        "reversed": reverse,
    }


def commands_again(
    workspace: Workspace, jobs: Sequence[str], of: Sequence[Workspace] = ()
) -> list[str]:
    """The commands that compute results of these jobs again; FILE stands for a table of scores,
    which no workspace holds.

    Args:
        of: the workspaces that had the results, where others than this one.
    """
    commands = []
    for job in jobs:
        if job != IMPORT:
            commands.append(workspace.command(job) + NEEDS.get(job, ""))
            continue
        lost = lost_imports(workspace, of or [workspace])
        commands += [f"{workspace.command(job, **options)} FILE" for options in lost.values()]
    return commands


def verify_results(workspace: Workspace) -> list[str]:
    """One sentence for each stored result, or file of one, that is damaged."""
    problems = []
    for note in sorted(workspace.result_path("", "").glob(f"*/*/{NOTE}")):
        kind = ResultKind(note.parents[1].name, f"result of {note.parents[1].name}", "", 0)
        try:
            problems += _read(kind, note.parent).problems()
        except WorkspaceError as error:
            problems.append(str(error))
    return problems


def decoded_arrays(file: str, content: bytes) -> dict[str, np.ndarray]:
    """Arrays of an ``.npz`` or ``.safetensors``; raises ValueError where it is damaged."""
    try:
        if file.endswith(".safetensors"):
            return dict(safetensors.numpy.load(content))
        return read_npz(io.BytesIO(content))
    except (OSError, KeyError, SafetensorError) as error:
        raise ValueError(str(error)) from error


def encoded(name: str, value: Contents) -> bytes:
    """The bytes of a file of this name; the same for the same value."""
    if isinstance(value, bytes):
        return value
    stream = io.BytesIO()
    if isinstance(value, pd.DataFrame):
        value.to_parquet(stream, index=False, compression="zstd")
        return stream.getvalue()
    if name.endswith(".safetensors"):
        return bytes(safetensors.numpy.save(dict(value)))
    np.savez_compressed(stream, allow_pickle=False, **value)
    return stream.getvalue()


def _read(kind: ResultKind, folder: Path) -> StoredResult:
    try:
        note = read_json(folder / NOTE)
        rests_on, files = dict(note["identity"]), dict(note["files"])
        if not isinstance(rests_on.get("banks", {}), dict):
            raise ValueError("its banks are no table")
        if digest_of(rests_on) != folder.name:
            raise ValueError("its identity is not that of its folder's name")
        for name, entry in files.items():
            file = folder / entry["file"]
            if file.parent != folder or file.name in ("", ".."):
                raise ValueError(f"{name} lies outside it")
            size = file.stat().st_size if file.is_file() else None
            if size != entry["bytes"] or not isinstance(entry["sha256"], str):
                raise ValueError(f"{name} is missing" if size is None else f"{name} was changed")
        return StoredResult(
            kind,
            folder / NOTE,
            dict(rests_on["parameters"]),
            dict(note["content"]),
            dict(note["about"]),
            files,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(kind, folder, error) from error


def _read_old(kind: ResultKind, folder: Path, parameters: Mapping[str, Any]) -> StoredResult:
    assert kind.old is not None, "only kinds of that time are asked for"
    try:
        note = dict(read_json(folder / kind.old.note))
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(kind, folder, error) from error
    return StoredResult(kind, folder / kind.old.note, dict(parameters), note, {}, {})


def _of_today(workspace: Workspace, kind: ResultKind, folder: Path) -> StoredResult | None:
    """The result in a folder where it rests on the workspace as it is now; else None."""
    if (folder / NOTE).is_file():
        result = _read(kind, folder)
        rests_on = read_json(folder / NOTE)["identity"]
        now = identity(workspace, kind, result.parameters, tuple(rests_on.get("banks", ())))
        return result if now == rests_on else None
    if kind.old is None or not (folder / kind.old.note).is_file():
        return None
    old = _read_old(kind, folder, {})
    parameters = old.content.get("parameters") or old.content.get("settings")
    if not isinstance(parameters, dict):
        return None
    try:
        fits = kind.old.key(workspace, parameters) == folder.name
    except (KeyError, TypeError):
        return None
    return _read_old(kind, folder, parameters) if fits else None


def _folders(workspace: Workspace, kind: ResultKind) -> Iterator[Path]:
    root = workspace.result_path(kind.name, "")
    if root.is_dir():
        yield from sorted(path for path in root.iterdir() if path.is_dir())


def _missing(workspace: Workspace, kind: ResultKind) -> NotMadeError:
    outdated = any(_has_note(kind, folder) for folder in _folders(workspace, kind)) and not current(
        workspace, kind
    )
    state = (
        f"What {workspace.path} stores as {kind.title} is outdated: its text banks, its images or"
        " this program have changed since"
        if outdated
        else f"The workspace {workspace.path} has no stored {kind.title} yet"
    )
    return NotMadeError(f"{state}: run {kind.command(workspace)}.")


def _has_note(kind: ResultKind, folder: Path) -> bool:
    return any((folder / name).is_file() for name in (NOTE, *([kind.old.note] if kind.old else [])))


def _damaged(kind: ResultKind, folder: Path, why: object) -> WorkspaceError:
    again = f"run '{command(kind.job, workspace=folder.parents[2])}'"
    return WorkspaceError(
        f"The stored {kind.title} in {folder} is damaged ({why}): delete that folder and"
        f" {again if kind.job else 'compute it again'}."
    )
