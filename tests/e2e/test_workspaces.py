"""The sidebar's workspace field: a path typed in, a wrong one, and back."""

from pathlib import Path

import pytest

from aigi_core.workspace import Workspace
from benchmarks._app_in_browser import App
from tests.factory import make_workspace

pytestmark = pytest.mark.browser


def test_type_a_path_and_a_wrong_one(app: App, synthetic: Workspace, tmp_path: Path) -> None:
    other = make_workspace(tmp_path / "other", per_class=20, seed=3)
    fakes = {
        w.path: str((w.images["label"] == 1).sum()) for w in (synthetic, Workspace.open(other))
    }
    app.open("overview")
    assert app.stats["Fakes"][0] == fakes[synthetic.path]
    assert app.query["workspace"] == [synthetic.digest], "links name the default workspace too"
    app.enter("Workspace", str(other))
    assert app.stats["Fakes"][0] == fakes[other] and app.errors == []
    assert app.query["workspace"] == [Workspace.open(other).digest]
    app.enter("Workspace", str(tmp_path / "nothing"))
    assert len(app.errors) == 1 and "There is no workspace at" in app.errors[0]
    app.navigate("Train")  # the way out stays open
    assert len(app.errors) == 1
    app.enter("Workspace", str(other))
    assert app.errors == [] and app.title.startswith("Which generators")
