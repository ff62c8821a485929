"""The notebooks of docs run from top to bottom on the demo, as a reader would run them; rooms give
the names that they use, and results say in a line what they are.
"""

import importlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from aigi_core.assets import asset
from aigi_core.audit import load_audit
from aigi_core.transfer import Atlas
from aigi_core.workspace import Workspace
from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
ROOMS = ("audit", "calibration", "detectors", "explain", "geometry", "inspection", "stress")


def cells(notebook: Path) -> list[str]:
    content = json.loads(notebook.read_text("utf-8"))
    assert content["nbformat"] == 4
    assert not any(cell.get("outputs") for cell in content["cells"]), "kept without outputs"
    return ["".join(c["source"]) for c in content["cells"] if c["cell_type"] == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    *before, last = cells(notebook)
    for code in before:
        exec(compile(code, notebook.name, "exec"), names)
    exec(compile(last, notebook.name, "exec"), names)
    results = [value for value in names.values() if isinstance(value, pd.DataFrame)]
    assert all(len(table) for table in results)


def test_there_is_one_for_each_job() -> None:
    assert len(NOTEBOOKS) == 8


@pytest.mark.parametrize("room", [*ROOMS, "metrics", "transfer", "figures"])
def test_a_room_gives_its_public_names(room: str) -> None:
    module = importlib.import_module(f"aigi_core.{room}")
    names = module.__all__ if hasattr(module, "__all__") else list(module._MODULES)
    assert len(names) == len(set(names)) > 3
    for name in names:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no attribute"):
        _ = module.no_such_name


def test_results_say_in_a_line_what_they_are() -> None:
    demo = Workspace.open(asset("demo"))
    audit = load_audit(demo)
    for result in (audit, audit.detector, audit.duplicates, Atlas.open(demo), demo.domains):
        text = repr(result)
        assert text.startswith(f"{type(result).__name__}(") and len(text) < 900 and "\n" not in text
    assert "thresholds=<15 float64>, confusion=<15 × 15" in repr(audit.detector)
