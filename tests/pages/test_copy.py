"""What a page offers to copy runs, and gives the page's numbers."""

import contextlib
import io
import re
from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.workspace import Workspace
from tests.pages.reading import stats, text_of

Open = Callable[..., AppTest]


@pytest.mark.parametrize("view", ["Embedding", "Residual", "Embedding, unnormalised"])
def test_copied_python_gives_the_numbers_of_the_page(
    open_app: Open, synthetic: Workspace, view: str
) -> None:
    app = open_app(synthetic.path, "transfer", view=view, bias="0", metric="AUC")
    [code] = [block.value for block in app.code if "transfer_matrix" in block.value]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "copied", "exec"), {})
    *_, inside, outside = printed.getvalue().splitlines()
    assert inside.startswith("in-domain") and outside.startswith("out of domain")
    for line in (inside, outside):
        value, low, high, cells = re.findall(r"[\d.]+", line)
        assert f"<b>{value}</b>" in stats(app)
        assert f"{low} to {high}" in stats(app) and f"{cells} cells" in stats(app)


def test_copied_python_compares_two_methods(open_app: Open, synthetic: Workspace) -> None:
    link = {"compare": "1", "method_b": "Ridge regression", "view_b": "Embedding"}
    app = open_app(synthetic.path, "transfer", **link)
    [code] = [block.value for block in app.code if "transfer_matrix" in block.value]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "copied", "exec"), {})
    value, low, high = re.findall(r"[-+]?\d\.\d+", printed.getvalue().splitlines()[-1])[:3]
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
    [entry] = [block.value for block in app.code if "@article" in block.value]
    assert "2406.15035" in entry and synthetic.digest in entry


def test_another_workspace_that_fails_offers_the_demo(open_app: Open, tmp_path: object) -> None:
    app = open_app(f"{tmp_path}/none", "overview")
    [back] = [button for button in app.button if button.label == "Back to the demo"]
    back.click().run()
    assert not app.exception and not app.error
    assert "15 generators" in text_of(app)
