"""The page Attribution, and what Inspect says of a source: numbers of the library."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.attribution import load_attribution
from aigi_core.attribution.unknown import mean_over_generators
from aigi_core.workspace import Workspace
from precompute.__main__ import main
from tests.pages.reading import noted, stats, text_of

Open = Callable[..., AppTest]


@pytest.fixture(scope="module")
def attributed(synthetic_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    path = Path(shutil.copytree(synthetic_path, tmp_path_factory.mktemp("attributed") / "w"))
    assert main(["attribution", "--workspace", str(path), "--draws", "20"]) == 0
    return Workspace.open(path)


@pytest.mark.parametrize("way", ["Multinomial regression", "Nearest neighbours"])
def test_the_page_says_what_the_library_says(
    open_app: Open, attributed: Workspace, way: str
) -> None:
    app = open_app(attributed.path, "attribution", way=way, by="confusions")
    assert not app.exception and not app.error and not app.warning
    name = "regression" if way.startswith("Multi") else "neighbours"
    own = load_attribution(attributed).named[name]
    recall = own.mean_recall()
    assert f"<b>{recall.value:.0%}</b>" in stats(app) and f"{recall.low:.0%}" in stats(app)
    assert f"**{recall.value:.0%}** of a source" in text_of(app)
    assert "come out as unknown" in text_of(app) and "Cophenetic correlation" in text_of(app)
    table = load_attribution(attributed).unknown[name]
    for outcome, words in (
        ("unknown", "come out as unknown"),
        ("called_real", "are called real"),
        ("false_attribution", "are named as another generator"),
    ):  # all three: what is not said would be guessed
        share = mean_over_generators(table, outcome)
        told = f"**{share.value:.0%}** ({share.low:.0%} to {share.high:.0%}) {words}"
        assert told in text_of(app)
    app = app.segmented_control(key="part").select("Never seen").run()
    assert not app.exception and "of the test images of known sources" in text_of(app)


def test_a_cell_by_link_shows_its_images(open_app: Open, attributed: Workspace) -> None:
    own = load_attribution(attributed).named["regression"]
    cell = own.confusion_table().iloc[0]
    link = {"made_by": cell["made_by"], "named_as": cell["named_as"]}
    app = open_app(attributed.path, "attribution", **link)
    assert not app.exception and not app.error
    assert stats(app).count(f"named {cell['named_as']}") >= int(cell["images"])


def test_without_a_result_the_command_is_named(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "attribution")
    assert noted(app, "precompute attribution")


def test_inspect_names_the_source_or_unknown(
    open_app: Open, attributed: Workspace, tmp_path: Path
) -> None:
    made = load_attribution(attributed)
    row = int(made.named["regression"].rows[0])
    path = str(attributed.images["path"][row])
    app = open_app(attributed.path, "inspect", image=path, part="Which generator")
    assert not app.exception
    sources = made.likely_sources(attributed.embeddings[row])
    wanted = "unknown" if sources.attrs["unknown"] else sources["source"][0]
    assert f"Likely source: **{wanted}**" in text_of(app).replace("`", "")
    assert f"{sources['probability'][0]:.3f}" in text_of(app)
    strict = Path(shutil.copytree(attributed.path, tmp_path / "w"))
    [note] = (strict / "results" / "attribution").glob("*/result.json")
    content = json.loads(note.read_text())
    content["content"]["parameters"]["regression"]["limit"] = 2.0
    note.write_text(json.dumps(content))
    app = open_app(strict, "inspect", image=path, part="Which generator")
    assert not app.exception and "Likely source: **unknown**" in text_of(app)
