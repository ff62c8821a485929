"""Changed copies of a workspace through ``verify``, opening, a detector's scores and every page."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from streamlit.components.v2 import manifest_scanner
from streamlit.components.v2.manifest_scanner import scan_component_manifests

from aigi_core.detectors import score_detectors, train
from aigi_core.errors import AigiError
from aigi_core.soundness import rows_record
from aigi_core.workspace import Workspace, describe_file, read_manifest, write_manifest
from precompute.__main__ import main as precompute
from ui.toolkit.router import PAGES, ROOT

Change = Callable[[Path, np.random.Generator], None]

HOSTILE_VALUES: tuple[Any, ...] = (
    None,
    -1,
    1.5,
    float("nan"),
    10**30,
    True,
    "x",
    "",
    "../x",
    "y" * 100_000,
    "\ud800",
    "<script>alert(1)</script>",
    [],
    {},
    [[{"a": [None]}]],
)
"""Of each type that JSON has, in the place of any entry of the record."""


def _array(name: str, change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Change:
    def mutate(path: Path, rng: np.random.Generator) -> None:
        np.save(path / name, change(np.load(path / name), rng), allow_pickle=False)

    return mutate


def _poke(value: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    def change(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        array.reshape(-1)[rng.integers(array.size)] = value
        return array

    return change


def _column(path: Path, rng: np.random.Generator) -> None:
    table = pd.read_parquet(path / "images.parquet")
    name = str(rng.choice(list(table.columns)))
    how = int(rng.integers(4))
    if how == 0:
        table = table.drop(columns=name)
    elif how == 1:
        table[name] = None
    elif how == 2:
        table[name] = "neither"
    else:
        table = table.iloc[: int(rng.integers(len(table)))]
    table.to_parquet(path / "images.parquet", index=False)


def _in_another_order(path: Path, rng: np.random.Generator) -> None:
    table = pd.read_parquet(path / "images.parquet")
    table.iloc[rng.permutation(len(table))].to_parquet(path / "images.parquet", index=False)


def _other_labels(path: Path, rng: np.random.Generator) -> None:
    table = pd.read_parquet(path / "images.parquet")
    order = rng.permutation(len(table))
    for name in ("label", "generator"):
        table[name] = table[name].to_numpy()[order]
    table.to_parquet(path / "images.parquet", index=False)


def _manifest(path: Path, rng: np.random.Generator) -> None:
    manifest = json.loads((path / "workspace.json").read_text("utf-8"))
    place: Any = manifest
    while True:
        key = (
            str(rng.choice(sorted(place)))
            if isinstance(place, dict)
            else int(rng.integers(len(place)))
        )
        inside = place[key]
        if isinstance(inside, dict | list) and inside and rng.integers(3):
            place = inside
            continue
        if rng.integers(4) == 0 and isinstance(place, dict):
            del place[key]
        else:
            place[key] = HOSTILE_VALUES[int(rng.integers(len(HOSTILE_VALUES)))]
        break
    (path / "workspace.json").write_text(json.dumps(manifest), "utf-8")


def _bytes(path: Path, rng: np.random.Generator) -> None:
    files = sorted(f for f in path.rglob("*") if f.is_file() and f.name[0] != ".")
    file = files[int(rng.integers(len(files)))]
    content = bytearray(file.read_bytes())
    if rng.integers(2):
        content = content[: int(rng.integers(len(content)))]
    else:
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    file.write_bytes(bytes(content))


def _one_column(name: str, value: Callable[[pd.Series, np.random.Generator], Any]) -> Change:
    def mutate(path: Path, rng: np.random.Generator) -> None:
        table = pd.read_parquet(path / "images.parquet")
        table[name] = value(table[name], rng)
        table.to_parquet(path / "images.parquet", index=False)

    return mutate


def _renamed(column: pd.Series, rng: np.random.Generator) -> pd.Series:
    odd = ("=1+1", "<b>bold</b>", "../../etc", "a\nb", "\u202etxt", "x" * 3000, "all", "$x$ | `y`")
    names = [one for one in column.unique() if one]
    return column.replace({str(rng.choice(names)): odd[int(rng.integers(len(odd)))]})


def _somewhere(value: Any) -> Callable[[pd.Series, np.random.Generator], pd.Series]:
    return lambda column, rng: column.mask(rng.random(len(column)) < 0.3, value)


def _all_or_few(value: Any) -> Callable[[pd.Series, np.random.Generator], pd.Series]:
    return lambda column, rng: column.mask(
        rng.random(len(column)) < rng.choice([0.5, 0.99, 1]), value
    )


CONSISTENT: dict[str, Change] = {
    "odd generators": _one_column("generator", _renamed),
    "odd pools": _one_column("pool", _renamed),
    "odd families": _one_column("family", _renamed),
    "few or no images of a split": _one_column("split", _all_or_few("train")),
    "one group": _one_column("group", _all_or_few("one")),
    "no group": _one_column("group", _somewhere("")),
    "odd sizes": _one_column("width", _somewhere(-5)),
    "no height": _one_column("height", _somewhere(0)),
    "odd bytes": _one_column("bytes", _somewhere(-(2**40))),
    "odd qualities": _one_column("jpeg_quality", _all_or_few(1e30)),
    "one content": _one_column("content_hash", _all_or_few("0" * 64)),
    "odd captions": _one_column("caption", _somewhere("<img src=x onerror=alert(1)>")),
    "odd previews": _one_column("preview_hash", _somewhere("no preview")),
    "odd addresses": _one_column("source_url", _somewhere("javascript:alert(1)")),
    "equal embeddings": _array("embeddings.npy", lambda a, _: a * 0 + 1),
    "no embeddings": _array("embeddings.npy", lambda a, _: a * 0),
    "huge embeddings": _array("embeddings.npy", lambda a, _: a * np.float32(1e30)),
    "tiny embeddings": _array("embeddings.npy", lambda a, _: a * np.float32(1e-38)),
    "a huge value": _array("embeddings.npy", _poke(3e38)),
    "huge heads": _array("heads.npy", lambda a, _: a * 0 + np.float16(6e4)),
    "tiny deviation": _array("ln_post.npy", lambda a, _: a * np.float32(1e-30)),
    "equal texts": _array("text/phrases.npy", lambda a, _: a * 0 + np.float16(0.2)),
    "no texts": _array("text/phrases.npy", lambda a, _: a * 0),
}
"""Workspaces that lie consistently: every hash, and the order of rows, is made to fit. What they
say is theirs to say; a page must say it, or why it cannot."""

MUTATIONS: dict[str, tuple[Change, bool]] = {
    "a byte, or the end": (_bytes, False),
    "the record": (_manifest, False),
    "a column": (_column, True),
    "NaN": (_array("embeddings.npy", _poke(np.nan)), True),
    "infinity in ln_post": (_array("ln_post.npy", _poke(np.inf)), True),
    "int8 embeddings": (_array("embeddings.npy", lambda a, _: a.astype(np.int8)), True),
    "fewer rows": (_array("embeddings.npy", lambda a, _: a[:-1]), True),
    "transposed": (_array("heads.npy", lambda a, _: a.T), True),
    "objects": (_array("text/phrases.npy", lambda a, _: a.astype("U4")), True),
    "rows in another order": (_in_another_order, True),
    "labels in another order": (_other_labels, True),
    "embeddings reversed": (_array("embeddings.npy", lambda a, _: a[::-1].copy()), True),
    "heads in another order": (
        _array("heads.npy", lambda a, r: a[:, :, r.permutation(a.shape[2])]),
        True,
    ),
    "zero deviation": (_array("ln_post.npy", lambda a, _: a * 0), True),
}
"""What is changed -> how, and whether the record's hashes are made to fit afterwards."""


@dataclass
class Tried:
    """What became of mutated workspaces.

    Attributes:
        failures: a traceback; verified but not usable, by the library or on a page.
        wrong: verified, and other numbers.
        verified, pages: workspaces that ``verify`` passed, and pages opened on some of these.
        what: what the failures were.
    """

    failures: int = 0
    wrong: int = 0
    verified: int = 0
    pages: int = 0
    what: list[str] = field(default_factory=list)

    def failed(self, sentence: str) -> None:
        self.failures += 1
        self.what.append(sentence)
        print(sentence, file=sys.stderr, flush=True)


def try_workspaces(count: int, seed: int, source: Path, folder: Path, shown: int = 0) -> Tried:
    """Change copies of a workspace, verify, open and use them; open every page on the first
    ``shown`` of those that ``verify`` passes."""
    rng = np.random.default_rng(seed)
    tried, opened = Tried(), 0
    right = _scores(Workspace.open(source))
    names = list(MUTATIONS)
    for i in range(count):
        name = names[i % len(names)]
        _progress(i, tried)
        change, rehash = MUTATIONS[name]
        path = _changed(source, folder, i, change, rng)
        if rehash:
            _hash_again(path, rows=False)
        try:
            verified = _verified(path)
            try:
                scores = _scores(Workspace.open(path))
            except AigiError:
                if verified and "not encoded" not in _sentence(path):
                    raise
                continue
            same = scores.shape == right.shape and bool((scores == right).all())
            tried.verified += verified
            if verified and not same:
                tried.wrong += 1
                tried.what.append(f"{name}: other numbers, and verified")
            if verified and opened < shown:
                opened += 1
                _open_pages(path, name, tried)
        except Exception as error:
            tried.failed(f"{name}: {type(error).__name__}: {error}")
    return tried


def try_consistent(count: int, seed: int, source: Path, folder: Path) -> Tried:
    """Open every page on workspaces that say something odd, all hashes made to fit."""
    rng = np.random.default_rng(seed)
    tried = Tried()
    names = list(CONSISTENT)
    for i in range(count):
        name = names[i % len(names)]
        path = _changed(source, folder, i, CONSISTENT[name], rng)
        _hash_again(path, rows=True)
        try:
            if _verified(path):
                tried.verified += 1
                _open_pages(path, name, tried)
        except Exception as error:
            tried.failed(f"{name}: {type(error).__name__}: {error}")
        _progress(i, tried, every=1)
    return tried


def _progress(i: int, tried: Tried, every: int = 50) -> None:
    if i % every == 0:
        bad = tried.failures + tried.wrong
        print(f"{i} workspaces, {bad} failures", file=sys.stderr, flush=True)


def _changed(source: Path, folder: Path, i: int, change: Change, rng: np.random.Generator) -> Path:
    """A changed copy, under a name of its own: a page keeps what it knows of a path."""
    path = folder / f"{source.name} mutated {i}"
    shutil.rmtree(folder / f"{source.name} mutated {i - 1}", ignore_errors=True)
    shutil.copytree(source, path)
    change(path, rng)
    return path


def _hash_again(path: Path, *, rows: bool) -> None:
    manifest = read_manifest(path)
    manifest["files"] = {file: describe_file(path, file) for file in manifest["files"]}
    if rows:
        images = pd.read_parquet(path / "images.parquet")
        manifest["rows"] = rows_record(images, manifest["files"])
    write_manifest(path, manifest)


def _verified(path: Path) -> bool:
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        return precompute(["verify", str(path)]) == 0


def _open_pages(path: Path, name: str, tried: Tried) -> None:
    tried.pages += len(PAGES)
    for failure in page_failures(path):
        tried.failed(f"{name}: {failure}")


@cache
def _components() -> list[Any]:
    return scan_component_manifests()


def page_failures(path: Path) -> list[str]:
    """Pages that end in a traceback on a workspace, run without a browser: a page shows one
    sentence then, and logs the error."""
    from streamlit.testing.v1 import AppTest

    failures: list[str] = []
    log, seen = logging.getLogger("aigi.ui"), logging.Handler(logging.ERROR)
    with (
        # the test runner looks through all installed packages at each run, a third of a second
        patch.object(manifest_scanner, "scan_component_manifests", _components),
        patch.dict(os.environ, {"AIGI_WORKSPACE": str(path), "AIGI_IMAGES": ""}),
        patch.object(log, "handlers", [*log.handlers, seen]),
    ):
        for stem in PAGES:
            app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=600)
            logged = partial(_note, failures, stem)
            with patch.object(seen, "emit", logged):
                app.switch_page(f"pages/{stem}.py").run()
            failures += [f"page {stem}: {one.value}" for one in app.exception]
    return failures


def _note(failures: list[str], stem: str, record: logging.LogRecord) -> None:
    error = record.exc_info[1] if record.exc_info else record.getMessage()
    failures.append(f"page {stem}: {error!r}")


def _sentence(path: Path) -> str:
    try:
        Workspace.open(path)
    except AigiError as error:
        return str(error)
    return ""


def _scores(workspace: Workspace) -> np.ndarray:
    detectors = train(workspace, workspace.domains.generators[:1])
    return np.asarray(score_detectors(detectors, workspace))
