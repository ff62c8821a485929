"""The unit of work of ingest: some hundred files, opened once; an idempotent function from their
names to one file of facts.

A unit is done where its file is there; its name covers paths, sizes and times of change, so that a
run that was stopped goes on, and several machines may each read a share.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from aigi_core.record import read_json
from aigi_core.remote import as_path
from aigi_core.terminal import progress_options
from aigi_core.workspace import digest_of, write_atomic
from precompute.engine import Engine, InlineEngine
from precompute.ingest.decode import Facts, Place, close_processes, facts_of_all
from precompute.shares import Share

UNIT = 512
"""Files that an interruption loses at most, and after which progress is told."""
FOLDER = ".facts"
"""Where units lie in a workspace until it is published."""


@dataclass(frozen=True)
class Reading:
    """Where and by whom files are opened.

    Attributes:
        folder: of the units' files; None keeps none.
        engine: by default this process, which has others open the files (``workers``).
        share: open this share of the units only.
    """

    folder: Path | None = None
    engine: Engine = field(default_factory=InlineEngine)
    share: Share | None = None
    workers: int | None = None


def read_files(
    root: Path, files: Sequence[Place], reading: Reading, *, progress: bool = True
) -> list[Facts]:
    """Facts of all files (path below the root, and offset) in their order; of a share's files where
    there is one."""
    if reading.folder is None:
        return facts_of_all(root, files, reading.workers, progress=progress)
    reading.folder.mkdir(parents=True, exist_ok=True)
    cut = [files[start : start + UNIT] for start in range(0, len(files), UNIT)]
    units = [(list(part), _file(root, part, reading.folder)) for part in cut]
    mine = reading.share.of(units) if reading.share else units
    todo = [unit for unit in mine if _load(*unit) is None]
    tasks = [(str(root), part, str(file), reading.workers) for part, file in todo]
    with tqdm(
        total=sum(len(part) for part, _ in mine),
        initial=sum(len(part) for part, _ in mine) - sum(len(part) for part, _ in todo),
        unit="image",
        desc="Reading",
        disable=not progress,
        **progress_options(),
    ) as bar:
        try:
            for number, _ in reading.engine.map(_read_unit, tasks):
                bar.update(len(todo[number][0]))
        finally:
            close_processes()
            with suppress(OSError):  # nothing is left where no unit was finished
                reading.folder.rmdir()
    return [fact for unit in mine for fact in _load(*unit) or ()]


def _read_unit(root: str, files: list[Place], file: str, workers: int | None) -> None:
    facts = facts_of_all(as_path(root), files, workers, progress=False)
    write_atomic(Path(file), json.dumps(facts).encode())


def _file(root: Path, files: Sequence[Place], folder: Path) -> Path:
    """The file of a unit, named by all that its facts depend on."""
    places = [[ascii(place[0]), place[1], *_state(root, place)] for place in files]
    return folder / f"{digest_of([ascii(str(root)), places])}.json"


def _state(root: Path, place: Place) -> tuple[int, int]:
    try:
        about = (root / place[0]).stat()
    except (OSError, ValueError):
        return -1, -1
    return about.st_size, about.st_mtime_ns


def _load(files: Sequence[Place], file: Path) -> list[Facts] | None:
    """The facts of a finished unit; None where it is not done, or damaged."""
    try:
        facts = read_json(file)
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, list) and len(facts) == len(files) else None
