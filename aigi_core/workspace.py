"""A workspace: a directory written once and then only read, through memory maps, without torch.

``workspace.json`` names every file with shape, dtype and SHA-256. Nothing is ever unpickled.
Publishing writes to a temporary name and renames, so a reader sees either the old state or the new
one.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from jaxtyping import Float, Float16, Float32
from pyarrow import parquet

from aigi_core import SCHEMA_VERSION
from aigi_core.capabilities import Capabilities
from aigi_core.commands import (
    LOADS_ENCODER,
    USUAL_ENCODER,
    WITHOUT_HUB,
    build_anew,
    build_command,
    command,
    encoder_options,
    encoder_source,
)
from aigi_core.errors import AigiError, NotGivenError, NotMadeError, WorkspaceError
from aigi_core.head_maps import complete
from aigi_core.manifest import Domains, validate_images
from aigi_core.record import check_record, read_json
from aigi_core.reprs import ShortRepr
from aigi_core.soundness import check_opened, read_npz, read_parquet
from aigi_core.statements import counted
from aigi_core.stored_features import EMBEDDING, HEADS, kind, stored
from aigi_core.stored_features import files as feature_files

MANIFEST = "workspace.json"
LOCK = ".lock"
STREAM_MAPS = "stream_maps"
"""Maps from heads to the residual stream, for the paper's protocol: an optional file."""
FEATURES = feature_files((EMBEDDING, HEADS))
"""What an encoding computes unless told otherwise."""
CORE_FILES = ("images.parquet", *FEATURES)
"""Files whose content defines the workspace's digest; text banks and results come and go beside
them.
"""


LOOKED_FOR: ContextVar[Callable[[Path, str], None]] = ContextVar(
    "looked for", default=lambda path, kind: None
)
"""Told of a workspace's folder and a kind of results ("" for all) before one is looked for, so that
a cache can know what a computation rests on."""
T = TypeVar("T")


def with_looked_for(
    function: Callable[..., T], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[T | AigiError, set[tuple[Path, str]]]:
    """What a function returns, or the AigiError that it raises, as a value; and the kinds of
    results that it looked for."""
    kinds: set[tuple[Path, str]] = set()
    token = LOOKED_FOR.set(lambda path, kind: kinds.add((path, kind)))
    try:
        return function(*args, **kwargs), kinds
    except AigiError as error:
        return error, kinds
    finally:
        LOOKED_FOR.reset(token)


@dataclass(frozen=True, repr=False)
class TextBank(ShortRepr):
    """Texts with their embeddings in the joint space.

    Attributes:
        table: one row a text; columns ``text`` and, where known, ``category``.
        embeddings: [T, d], unit rows; a memory map.
    """

    name: str
    table: pd.DataFrame
    embeddings: Float[np.ndarray, "T d"]
    digest: str


@dataclass(frozen=True, eq=False)
class Workspace:
    """An opened workspace. Arrays are memory maps; opening reads ``workspace.json``, file sizes and
    the table of images, and looks at what the arrays are (:mod:`aigi_core.soundness`).

    Example:
        >>> workspace = Workspace.open("assets/demo")            # doctest: +SKIP
        >>> X = workspace.embeddings[workspace.domains.rows("sd-1.4", "train")]   # doctest: +SKIP
    """

    path: Path
    manifest: dict[str, Any] = field(repr=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Workspace:
        """Open a workspace that has been ingested and encoded.

        Raises:
            WorkspaceError: missing, damaged, half-built or of another schema version; says what to
                do.
        """
        workspace = cls(Path(path), read_manifest(path))
        if workspace.manifest.get("unfinished"):
            raise WorkspaceError(
                f"A change of the workspace {path} was interrupted:"
                f" '{command('add', workspace=path)}' finishes it."
            )
        if not workspace.manifest.get("encoder"):
            raise WorkspaceError(
                f"The workspace {path} has been ingested but not encoded: run"
                f" {_encode_again(path, workspace.manifest)}."
            )
        for name, entry in workspace.manifest["files"].items():
            check_size(workspace.path, name, entry, workspace.manifest)
        check_opened(workspace)
        return workspace

    def __reduce__(self) -> tuple[Any, ...]:
        # as its path: another process opens it itself, and maps its arrays
        return _reopened, (self.path, self.digest)

    def command(self, job: str, **options: Any) -> str:
        """A command on this workspace, as :func:`aigi_core.commands.command` writes it; a job that
        loads the encoder is told where to look, if the record cannot name it.
        """
        source = encoder_source(self.encoder) if job in LOADS_ENCODER else {}
        lacking = {name: word for name, word in source.items() if options.get(name) is None}
        return command(job, workspace=self.path, **(options | lacking))

    @property
    def encoder(self) -> dict[str, Any]:
        """What computed the features: library, model, pretrained tag, digests of weights and
        preprocessing, sizes.

        Keys: ``library, model, pretrained, weights_sha256, preprocessing, preprocessing_sha256,
            layers, heads, head_width, width, embedding_width, precision`` and, in records written
            since encoders say it, ``settings`` (activation and the like) and ``gives``.
        """
        encoder: dict[str, Any] = self.manifest["encoder"]
        return encoder

    @cached_property
    def gives(self) -> Capabilities:
        """What the encoder gives and the workspace may hold; :meth:`need` asks for one thing.

        Heads that were left out by ``encode --features`` count as not given.
        """
        gives = Capabilities.of_record(self.encoder)
        chosen = self.encoder.get("features")
        if gives.has("heads") and chosen is not None and HEADS not in chosen:
            return gives.without("heads", self._not_kept(HEADS))
        return gives

    @cached_property
    def stored_features(self) -> tuple[str, ...]:
        """Names of the features that are here (:mod:`aigi_core.stored_features`)."""
        return stored(self.manifest["files"])

    def feature(self, name: str) -> np.ndarray:
        """A further feature, such as ``pre`` [N, width] or ``layers`` [layers, N, width]; a memory
        map.

        Raises:
            NotGivenError: the encoder cannot give it, or it was not asked for when the workspace
                was encoded; says how to add it.
        """
        about = kind(name)
        if name not in self.stored_features:
            self.need(about.thing)
            raise NotGivenError(
                f"The workspace {self.path} holds no {about.title} ({name}):"
                f" {self._not_kept(name)}."
            )
        return self._map(f"{next(iter(about.arrays))}.npy")

    def _not_kept(self, name: str) -> str:
        """Why a feature that the encoder can give is not here, and what adds it, as a clause."""
        adds = command(
            "encode",
            workspace=self.path,
            **encoder_options(self.encoder),
            features=f"{EMBEDDING},{name}",
        )
        return f"it was not kept when the images were encoded; '{adds}' adds it"

    def need(self, thing: str) -> None:
        """Raise NotGivenError, in one sentence, where the encoder has no such thing (a key of
        :data:`aigi_core.capabilities.THINGS`).
        """
        try:
            self.gives.require(thing, self.encoder["model"])
        except NotGivenError as error:
            if thing != "texts":
                raise
            lend = self.command("align")
            raise NotGivenError(
                f"{error} '{lend}' lends it the texts of another encoding of the same images."
            ) from error

    @property
    def name(self) -> str:
        return str(self.manifest.get("name") or self.path.name)

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits that name the content of images, embeddings and heads: the key of every
        cache.
        """
        core = {
            name: self.manifest["files"][name]["sha256"]
            for name in CORE_FILES
            if name in self.manifest["files"]
        }
        return digest_of(core)

    @cached_property
    def all_images(self) -> pd.DataFrame:
        """Every image met at ingest, those left out included, with the reason."""
        return validate_images(read_parquet(self.path / "images.parquet"))

    @cached_property
    def images(self) -> pd.DataFrame:
        """[N rows] the images kept, in the order of the arrays."""
        table = self.all_images
        kept = table["left_out"] == ""
        # of a million images a copy would be a quarter of a gigabyte
        return table if kept.all() else table[kept].reset_index(drop=True)

    def with_splits(self, split: pd.Series) -> Workspace:
        """The same images divided otherwise, in memory; its digest says so, hence no stored result
        is taken for its own.

        Args:
            split: one a row of :attr:`all_images`, as :mod:`aigi_core.splits` draws them.
        """
        manifest = json.loads(json.dumps(self.manifest))
        entry = manifest["files"]["images.parquet"]
        entry["sha256"] = digest_of([entry["sha256"], split.tolist()])
        other = Workspace(self.path, manifest)
        other.__dict__["all_images"] = self.all_images.assign(split=split)
        return other

    @cached_property
    def domains(self) -> Domains:
        return Domains.from_images(self.images)

    @cached_property
    def embeddings(self) -> Float32[np.ndarray, "N d"]:
        return self._map("embeddings.npy")

    @cached_property
    def heads(self) -> Float16[np.ndarray, "layers heads N head_width"]:
        """Contexts of the attention heads; NotGivenError where the encoder has none."""
        self.need("heads")
        return self._map("heads.npy")

    @cached_property
    def ln_post(self) -> Float32[np.ndarray, "N 2"]:
        """Mean and standard deviation that the final layer norm used for each image."""
        self.need("heads")
        return self._map("ln_post.npy")

    @cached_property
    def decomposition(self) -> dict[str, Any]:
        """The fixed maps of ``decomposition.npz`` (see :func:`aigi_core.head_maps.complete`); those
        of no head where the encoder has none.
        """
        d = int(self.encoder["embedding_width"])
        if not self.gives.has("heads"):
            return complete({}, d)
        maps = complete(read_npz(self.path / "decomposition.npz"), d)
        if f"{STREAM_MAPS}.npy" in self.manifest["files"]:
            maps[STREAM_MAPS] = self._map(f"{STREAM_MAPS}.npy")
        return maps

    @property
    def text_banks(self) -> tuple[str, ...]:
        """Names of the text banks at hand."""
        return tuple(self.manifest.get("text", {}))

    @property
    def default_bank(self) -> str:
        """The bank that is searched where none is chosen: ``phrases``, or the first at hand."""
        return next(
            (name for name in ("phrases", *self.text_banks) if name in self.text_banks), "phrases"
        )

    def text_bank(self, name: str) -> TextBank:
        """One bank of texts (``vocabulary``, ``phrases`` or a user's own); NotGivenError where the
        encoder has no text tower.
        """
        if name not in self.text_banks:
            self.need("texts")
            have = ", ".join(self.text_banks) or "none"
            raise NotMadeError(
                f"The workspace {self.path} has no text bank {name!r} (it has {have}): run"
                f" '{self.command('text')}'."
            )
        table = read_parquet(self.path / "text" / f"{name}.parquet")
        embeddings = self._map(f"text/{name}.npy")
        return TextBank(name, table, embeddings, self.text_digest(name))

    def text_digest(self, name: str) -> str:
        """Twelve hex digits that name a bank's texts, their categories and their embeddings; empty
        where the workspace has no such bank.
        """
        if name not in self.text_banks:
            return ""
        files = self.manifest["files"]
        return digest_of(
            [files[f"text/{name}{suffix}"]["sha256"] for suffix in (".npy", ".parquet")]
        )

    @cached_property
    def identity(self) -> str:
        """Twelve hex digits that name the content of everything but results, and the encoder that
        made it: what a computation on this workspace can rest on.
        """
        beside = {
            name: entry["sha256"]
            for name, entry in self.manifest["files"].items()
            if name not in CORE_FILES
        }
        about = [self.manifest.get(name) for name in ("encoder", "text", "perturbed")]
        return digest_of([self.digest, beside, about])

    def _map(self, name: str) -> np.ndarray:
        if name not in self.manifest["files"]:
            raise NotMadeError(
                f"The workspace {self.path} lacks {name}: run"
                f" {_encode_again(self.path, self.manifest)}."
            )
        array: np.ndarray = np.load(self.path / name, mmap_mode="r", allow_pickle=False)
        return array

    # Results: expensive searches, each under its own digest, written by the precompute jobs.
    def result_path(self, kind: str, key: str) -> Path:
        """Where the result of this kind (``atlas``, ``textspan``, ...) and parameter digest
        lives; the folder of all results where both are empty. Whoever looks for a result asks here.
        """
        LOOKED_FOR.get()(self.path, kind)
        return self.path / "results" / kind / key


def results_state(path: Path) -> dict[str, list[list[Any]]]:
    """Which files of results a workspace's folder holds, by kind (locks and unfinished ones aside),
    each with what changes when it is published again; nothing is read."""
    states = {}
    for results in _folders(path / "results"):
        found = []
        for folder in _folders(results.path):
            with suppress(OSError), os.scandir(folder.path) as files:  # a job may clear it away
                stats = [
                    (file.path, file.stat())
                    for file in files
                    if file.is_file() and file.name[0] != "."
                ]
                found += [
                    [path, about.st_ino, about.st_mtime_ns, about.st_size] for path, about in stats
                ]
        states[results.name] = sorted(found)
    return states


def _folders(path: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if entry.is_dir()]
    except OSError:
        return []


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """``workspace.json`` of a workspace, encoded or not; raises WorkspaceError in one clear
    sentence.
    """
    file = Path(path) / MANIFEST
    try:
        is_there = Path(path).is_dir()
    except (OSError, ValueError) as error:  # a name too long, or NUL in it
        why = getattr(error, "strerror", None) or str(error)
        raise WorkspaceError(f"{str(path)[:80]!r} cannot name a workspace: {why}.") from error
    if not is_there:
        raise WorkspaceError(
            f"There is no workspace at {path}: make one with '{build_command(path)}'"
            f" ({WITHOUT_HUB})."
        )
    if not file.is_file():
        raise WorkspaceError(
            f"{path} is not a finished workspace (it has no {MANIFEST}): run"
            f" '{build_command(path)}' ({WITHOUT_HUB}); an interrupted build goes on where it"
            " stopped."
        )
    try:
        manifest = read_json(file)
        version, files = manifest["schema_version"], manifest["files"]
        if type(version) is not int:
            raise ValueError("its schema_version is no whole number")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkspaceError(f"{file} is damaged ({error}): {build_anew(path)}.") from error
    if version != SCHEMA_VERSION:
        newer = (
            "newer: update AIGI Explorer"
            if version > SCHEMA_VERSION
            else f"older: {build_anew(path, manifest)}"
        )
        raise WorkspaceError(
            f"The workspace {path} has format version {version}, this program reads"
            f" {SCHEMA_VERSION}; it is {newer}."
        )
    if not isinstance(files, dict) or any(
        ".." in Path(name).parts or Path(name).is_absolute() for name in files
    ):
        raise WorkspaceError(
            f"{file} is damaged (file names outside the workspace): {build_anew(path)}."
        )
    try:
        check_record(manifest)
    except ValueError as error:
        raise WorkspaceError(f"{file} is damaged ({error}): {build_anew(path)}.") from error
    return dict(manifest)


def write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Publish ``workspace.json`` atomically."""
    write_atomic(
        path / MANIFEST,
        (json.dumps(manifest, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode(),
    )


def write_atomic(file: Path, content: bytes) -> None:
    """Write to a temporary name in the same directory, flush to disk, rename.

    The name is drawn: on a disk that several machines share, processes may have one number.
    """
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def describe_file(root: Path, name: str) -> dict[str, Any]:
    """Manifest entry of one file: SHA-256, bytes and, for .npy, shape and dtype."""
    file = root / name
    entry: dict[str, Any] = {"sha256": sha256_of(file), "bytes": file.stat().st_size}
    if file.suffix == ".npy":
        array = np.load(file, mmap_mode="r", allow_pickle=False)
        entry |= {"shape": list(array.shape), "dtype": str(array.dtype)}
    elif file.suffix == ".parquet":
        entry |= {"rows": parquet.read_metadata(file).num_rows}
    return entry


def _encode_again(path: str | os.PathLike[str], manifest: Mapping[str, Any]) -> str:
    """The command that computes the features; the encoder is the workspace's, or the one that an
    interrupted encoding was asked for.
    """
    record = manifest.get("encoder")
    options = encoder_options(record) if record else manifest.get("encoding")
    run = f"'{command('encode', workspace=str(path), **(options or USUAL_ENCODER))}'"
    return run if options else f"{run} ({WITHOUT_HUB})"


def check_size(root: Path, name: str, entry: dict[str, Any], manifest: Mapping[str, Any]) -> None:
    """Raise WorkspaceError where a file is missing or its size is not the recorded one (cheap; no
    hashing).
    """
    file = root / name
    size = file.stat().st_size if file.is_file() else None
    if size != entry["bytes"]:
        observed = "it is missing" if size is None else f"it has {counted(size, 'byte')}"
        raise WorkspaceError(
            f"The workspace {root} is damaged: {name} should have"
            f" {counted(entry['bytes'], 'byte')},"
            f" {observed}; "
            + (
                f"copy it again, or run {_encode_again(root, manifest)}"
                if name in FEATURES or name.startswith("features/")
                else build_anew(root, manifest)
            )
            + "."
        )


def verify(path: str | os.PathLike[str]) -> list[str]:
    """Check every file's hash and shape; returns one sentence a problem, an empty list where all is
    well.
    """
    root, problems = Path(path), []
    manifest = read_manifest(path)
    for name, entry in manifest["files"].items():
        try:
            check_size(root, name, entry, manifest)
            measured = describe_file(root, name)
        except Exception as error:  # whatever a damaged file makes its reader raise
            what = str(error) if isinstance(error, WorkspaceError) else f"{name}: {error}"
            problems.append(" ".join(what.split()))
            continue
        problems += [
            f"{name}: {what} is {measured.get(what)}, recorded was {value}."
            for what, value in entry.items()
            if measured.get(what) != value
        ]
    return problems


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """Twelve hex digits that name a JSON-serialisable value: the key of a cache or result."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, ensure_ascii=False).encode()
    ).hexdigest()[:12]


def make_folder(path: Path) -> None:
    """Make a folder that is to be written, and those above it; one that is there stays.

    Raises:
        WorkspaceError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceError(
            f"The folder {path} cannot be made ({error.strerror}): choose another place."
        ) from error


@contextmanager
def exclusive(path: Path, purpose: str) -> Iterator[None]:
    """Hold a workspace for writing; a second holder is refused and told who holds it.

    The lock is the operating system's, so a killed process releases it.
    """
    make_folder(path)
    note = path / f"{LOCK}.json"
    lock = FileLock(path / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        try:
            holder = read_json(note)
            who = (
                f"process {holder['pid']} on {holder['host']} ({holder['purpose']}, since"
                f" {holder['since']})"
            )
        except (OSError, ValueError, KeyError):
            who = "another process"
        raise WorkspaceError(
            f"The workspace {path} is being written by {who}: wait for it to end, or stop it."
        ) from error
    try:
        about = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "purpose": purpose,
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        write_atomic(note, json.dumps(about).encode())
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


@lru_cache(maxsize=4)
def _reopened(path: Path, digest: str) -> Workspace:
    workspace = Workspace.open(path)
    if workspace.digest != digest:
        raise WorkspaceError(f"The workspace {path} has changed meanwhile: open it again.")
    return workspace


def tool_versions() -> dict[str, str]:
    """Versions of the tools that shape what a workspace holds, without importing them."""
    return dict(_tool_versions())  # each detector remembers them: looked up once


@cache
def _tool_versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in ("numpy", "pillow", "torch", "open_clip_torch", "pyarrow"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
