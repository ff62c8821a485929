"""Which workspaces and encodings a session sees."""

import os
from pathlib import Path

import pytest

from aigi_core import encodings
from aigi_core.workspace import MANIFEST, Workspace
from tests.factory import make_workspace
from ui.toolkit import workspaces


def test_encodings_are_read_again_only_where_a_manifest_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_workspace(tmp_path / "w", per_class=4)
    second = make_workspace(tmp_path / "w" / "encoders" / "second", per_class=4)
    workspace = Workspace.open(path)
    assert list(workspaces.current_encodings(workspace).values()) == [path, second]
    looks = []
    read = encodings.read_manifest
    monkeypatch.setattr(encodings, "read_manifest", lambda at: looks.append(at) or read(at))
    for _ in range(3):  # three runs of pages
        assert len(workspaces.current_encodings(workspace)) == 2
    assert not looks
    os.utime(second / MANIFEST, ns=(1, 1))
    assert len(workspaces.current_encodings(workspace)) == 2 and looks
    (second / MANIFEST).write_text("{")
    assert list(workspaces.current_encodings(workspace).values()) == [path]
