"""The page Attribution, and what Inspect says of a source: numbers of the library."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.attribution import load_attribution
from aigi_core.attribution.unknown import mean_over_generators
from aigi_core.inspection import build_panel, sides_on_test
from aigi_core.workspace import Workspace
from precompute.__main__ import main
from tests.pages.reading import headline, noted, stats, text_of
from ui.bodies import inspect as inspect_body

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
    # beside the matrix, too, where a click on it is seen
    told = f"named as `{cell['named_as']}`:** **{cell['share']:.0%}** (95% interval"
    assert told in text_of(app)


def test_without_a_result_the_command_is_named(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "attribution")
    assert noted(app, "precompute attribution")


@pytest.mark.parametrize("call", ["real", "fake", "uncertain"])
def test_inspect_says_whether_verdict_and_name_agree(
    open_app: Open, attributed: Workspace, call: str
) -> None:
    made, panel = load_attribution(attributed), build_panel(attributed)
    rows = np.flatnonzero(attributed.domains.split == "test")
    verdicts = panel.calls(0, panel.logits(attributed, rows)[0], 0.2)
    seen = {}
    for row in rows[verdicts == call]:
        table = made.likely_sources(attributed.embeddings[row])
        same = (table["source"][0] == "real") == (call == "real")
        seen.setdefault(bool(table.attrs["unknown"]) or call == "uncertain" or same, row)
    sides = sides_on_test(attributed, panel, 0, made.named["regression"])
    assert seen
    for row in seen.values():
        path = str(attributed.images["path"][row])
        link = {"image": path, "part": "Which generator", "rate": "20%"}
        app = open_app(attributed.path, "inspect", **link)
        assert not app.exception and not app.error
        table, text = made.likely_sources(attributed.embeddings[row]), text_of(app)
        if call == "uncertain" or table.attrs["unknown"]:
            assert "Neither agreement nor contradiction" in text
            assert "contradicts this" not in headline(app)
        elif (table["source"][0] == "real") == (call == "real"):
            assert "The two agree" in text
            assert "contradicts this" not in headline(app)
        else:
            assert "**The two contradict each other:**" in text
            assert "contradicts this" in headline(app)
            said = headline(app)
            assert sides.gap.finding("paired image").points() in said
            # the verdict first; what others say of the image stands below
            assert said.startswith("All detectors together give")
            assert said.index("validation images)") < said.index("contradicts this")
            assert "detectors alone" not in said and "detectors alone" in text
        for one in (sides.judge, sides.named):
            assert f"**{one.value:.3f}** (95% interval {one.low:.3f}" in text
        assert "another model" in text and "was calibrated" in text
        assert sides.gap.finding("paired image").points() in text


def test_a_contradiction_is_said_first(attributed: Workspace) -> None:
    panel = build_panel(attributed)
    row = int(np.flatnonzero(attributed.domains.split == "test")[0])
    verdicts = panel.verdicts(panel.logits(attributed, np.array([row]))[:, 0], 0.05)
    verdicts["verdict"] = "real"
    judged = SimpleNamespace(at=0, mine=verdicts.iloc[0], judge=panel.names[0])
    table = pd.DataFrame({"source": ["beta-diff", "real"], "probability": [0.939, 0.001]})
    table.attrs["unknown"] = False
    said = inspect_body.agreement(judged, table)  # type: ignore[arg-type]
    assert said.startswith("**The two contradict each other:**")
    assert "0.939; real 0.001" in said and "called real" in said
    judged.mine["verdict"] = "fake"
    assert inspect_body.agreement(judged, table).startswith("The two agree")  # type: ignore[arg-type]


def test_sides_are_balanced_accuracies(attributed: Workspace) -> None:
    made, panel = load_attribution(attributed), build_panel(attributed)
    own = made.named["regression"]
    sides = sides_on_test(attributed, panel, 0, own)
    real = own.truth == 0
    by_hand = ((own.named[real] == 0).mean() + (own.named[~real] != 0).mean()) / 2
    assert sides.named.value == pytest.approx(by_hand)
    assert sides.gap.value == pytest.approx(sides.judge.value - sides.named.value)
    assert sides.gap.low <= sides.gap.value <= sides.gap.high and sides.gap.n == len(own.rows)


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
