"""What a page offers to copy runs, and gives the page's numbers."""

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.detectors.methods import METHODS
from aigi_core.workspace import Workspace
from tests.conftest import ROOT
from tests.pages.reading import stats, text_of
from ui.results import SEARCHED, VIEW_OPTIONS

Open = Callable[..., AppTest]


def copied(app: AppTest, holds: str) -> str:
    """What stands in Share, once that is opened."""
    assert not any(holds in block.value for block in app.code), "it is made before it is asked for"
    app.session_state["share"] = True
    [code] = [block.value for block in app.run().code if holds in block.value]
    app.session_state["share"] = False
    return str(code)


def run(app: AppTest) -> list[str]:
    """What the copied lines print."""
    code = copied(app, "transfer_matrix")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "copied", "exec"), {})
    return printed.getvalue().splitlines()


def same_as_the_page(app: AppTest) -> None:
    assert not app.exception and not app.error
    *_, inside, outside = run(app)
    assert inside.startswith("in-domain") and outside.startswith("out of domain")
    for line in (inside, outside):
        value, low, high, cells = re.findall(r"[\d.]+", line)
        assert f"<b>{value}</b>" in stats(app)
        assert f"{low} to {high}" in stats(app) and f"{cells} cells" in stats(app)


@pytest.mark.parametrize(
    "link",
    [
        *({"view": view, "bias": "0", "metric": "AUC"} for view in VIEW_OPTIONS),
        *({"method": one.title} for one in METHODS.values() if not (one.slow or one.banks)),
        {"metric": "Accuracy at 5% FPR on validation reals", "method": "Ridge regression"},
        {"protocol": "Paper"},
        {"sets": "all but one"},
    ],
    ids=str,
)
def test_copied_python_gives_the_numbers_of_the_page(
    open_app: Open, synthetic: Workspace, link: dict[str, str]
) -> None:
    same_as_the_page(open_app(synthetic.path, "transfer", **link))


def test_copied_python_trains_the_opened_set(open_app: Open, synthetic: Workspace) -> None:
    first, second, third, *_ = synthetic.domains.generators
    link = {"tests": [third], "trained": [first, second]}
    app = open_app(synthetic.path, "train", **link)
    assert not app.exception and not app.error
    *_, outside = run(app)
    value, low, high, n = re.findall(r"[\d.]+", outside)
    assert outside.startswith("out of domain") and n == "1"
    assert f"<b>{value}</b>" in stats(app) and f"{low} to {high}" in stats(app)


@pytest.mark.parametrize("view", SEARCHED)
def test_copied_python_judges_a_search_on_what_it_has_not_seen(
    open_app: Open, searched: Workspace, view: str
) -> None:
    app = open_app(searched.path, "transfer", view=view, d1="alpha-gan", d2="gamma-diff")
    same_as_the_page(app)
    app = app.toggle(key="compare").set_value(True).run()
    assert not app.error and run(app)[-1].startswith("A minus B")


def test_what_is_copied_runs_from_any_folder_as_its_first_lines_say(
    open_app: Open, synthetic: Workspace, tmp_path: Path
) -> None:
    app = open_app(synthetic.path, "transfer")
    code = copied(app, "transfer_matrix")
    assert "PYTHONPATH=FOLDER python script.py" in code.splitlines()[0]
    (tmp_path / "script.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_copied_python_compares_two_methods(open_app: Open, synthetic: Workspace) -> None:
    link = {"compare": "1", "method_b": "Ridge regression", "view_b": "Embedding"}
    app = open_app(synthetic.path, "transfer", **link)
    value, low, high = re.findall(r"[-+]?\d\.\d+", run(app)[-1])[:3]
    points = [f"{100 * float(one):+.1f}" for one in (value, low, high)]
    said = re.findall(r"a difference of (\S+) points \(95% interval (\S+) to (\S+),", text_of(app))
    wanted = pytest.approx([float(one) for one in points], abs=0.06)
    assert any([float(one) for one in numbers] == wanted for numbers in said), said
    assert "A: Logistic regression. The embedding. B: Ridge regression. The embedding" in text_of(
        app
    )


def test_the_citation_names_the_paper_and_the_workspace(
    open_app: Open, synthetic: Workspace
) -> None:
    app = open_app(synthetic.path, "overview")
    entry = copied(app, "@article")
    assert "2406.15035" in entry and synthetic.digest in entry


def test_another_workspace_that_fails_offers_the_demo(open_app: Open, tmp_path: object) -> None:
    app = open_app(f"{tmp_path}/none", "overview")
    [back] = [button for button in app.button if button.label == "Back to the demo"]
    back.click().run()
    assert not app.exception and not app.error
    assert "15 generators" in text_of(app)
