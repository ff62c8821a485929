"""What is kept of an audit is what was found; what is missing or damaged says what to run."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigi_core.audit.cached import KIND, AuditSettings, load_audit, load_fact_matrix, save_audit
from aigi_core.audit.report import Audit, audit
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.results import NOTE
from aigi_core.workspace import Workspace
from tests.audit.factory import planted_images, workspace

SETTINGS = AuditSettings(draws=100)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Audit]:
    made = workspace(tmp_path_factory.mktemp("cached") / "w", planted_images())
    pixels = np.random.default_rng(0).integers(0, 256, (len(made.images), 8, 8, 3), dtype=np.uint8)
    return made, audit(made, draws=SETTINGS.draws, pixels=pixels)


def same(a: object, b: object) -> None:
    if isinstance(a, dict) and isinstance(b, dict):
        assert list(a) == list(b)
        for name in a:
            same(a[name], b[name])
    elif isinstance(a, pd.DataFrame) and isinstance(b, pd.DataFrame):
        pd.testing.assert_frame_equal(
            a.reset_index(drop=True), b.reset_index(drop=True), check_dtype=False
        )
    elif isinstance(a, np.ndarray):
        np.testing.assert_array_equal(a, b)
    elif isinstance(a, tuple):  # or test images that are taken from scores when asked for
        for one, other in zip(a, b, strict=True):
            same(one, other)
    elif is_dataclass(a) and is_dataclass(b):
        assert type(a) is type(b)
        for part in fields(a):  # and not what is derived from them on first use
            same(getattr(a, part.name), getattr(b, part.name))
    else:
        assert a == b


def test_what_is_read_is_what_was_stored(planted: tuple[Workspace, Audit]) -> None:
    made, result = planted
    folder = save_audit(made, result, SETTINGS, {"seconds": 1})
    assert folder.parent == made.path / "results" / KIND.name
    read = load_audit(Workspace.open(made.path), SETTINGS)
    for name in vars(result):
        same(getattr(result, name), getattr(read, name))
    with pytest.raises(
        WorkspaceError, match="no stored audit yet: run 'python -m precompute audit"
    ):
        load_audit(made, AuditSettings(draws=101))
    facts = load_fact_matrix(made)
    assert facts is not None and facts.protocol == result.facts["stored"].protocol
    pd.testing.assert_frame_equal(facts.to_frame(), result.facts["stored"].to_frame())
    others = load_fact_matrix(made, "auc")
    assert others is not None and others.metrics == ("auc",)
    same(load_audit(made).verdicts, result.verdicts)  # pages take what there is


def test_sentences_are_made_when_an_audit_is_read(
    planted: tuple[Workspace, Audit], tmp_path: Path
) -> None:
    made, result = planted
    copy = Workspace.open(shutil.copytree(made.path, tmp_path / "w"))
    note = save_audit(copy, result, SETTINGS) / NOTE
    stored = json.loads(note.read_text("utf-8"))
    entries = stored["content"]["verdicts"]
    assert not any("sentences" in entry for entry in entries)
    for entry, verdict in zip(entries, result.verdicts, strict=True):  # as they once were
        for name in ("separated", "content", "overlay", "n_fake", "n_real"):
            del entry[name]
        entry["sentences"] = ["An old sentence.", *verdict.sentences[1:]]
    note.write_text(json.dumps(stored), "utf-8")
    same(load_audit(copy, SETTINGS).verdicts, result.verdicts)


def test_an_audit_without_texts_and_pixels_is_kept_too(planted: tuple[Workspace, Audit]) -> None:
    made, wanted = planted[0], AuditSettings(bank="none", draws=50)
    result = audit(made, bank="none", draws=50)
    assert result.content is None and result.overlays is None and result.words == {}
    save_audit(made, result, wanted)
    read = load_audit(made, wanted)
    assert (
        read.content is None
        and read.overlays is None
        and read.words == {}
        and read.verdicts == result.verdicts
    )


def test_damage_is_one_sentence(planted: tuple[Workspace, Audit], tmp_path: Path) -> None:
    made, result = planted
    opened = Workspace.open(Path(shutil.copytree(made.path, tmp_path / "w")))
    folder = save_audit(opened, result, SETTINGS)
    files = [next(folder.glob(f"{name}*")).name for name in ("arrays", "within", "result")]
    for name, content in zip(files, (b"PK", b"", b"{}"), strict=True):
        good = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        with pytest.raises(WorkspaceError, match="is damaged .*: delete that folder and run"):
            load_audit(opened, SETTINGS)
        (folder / name).write_bytes(good)
    assert load_audit(opened, SETTINGS).verdicts == result.verdicts


def test_no_fakes_no_audit(planted: tuple[Workspace, Audit], tmp_path: Path) -> None:
    images = planted_images()
    images.loc[:, ["label", "generator", "family"]] = [0, "", ""]
    with pytest.raises(AigiError, match="holds no fake images"):
        audit(workspace(tmp_path / "w", images))
