"""The control Protocol: the same on four pages, its numbers those of the library."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.features import HeadsView
from aigi_core.detectors.heads import score_heads
from aigi_core.detectors.presets import PRESETS
from aigi_core.detectors.training import train
from aigi_core.transfer import transfer_matrix
from aigi_core.transfer.atlas import Atlas, AtlasKey
from aigi_core.workspace import Workspace
from precompute.engine import InlineEngine
from precompute.search import job
from tests.pages.reading import noted, stats, text_of, with_how
from tests.searched import add_stream_maps

Open = Callable[..., AppTest]
PAPER = PRESETS["paper"]
PAIR = ("alpha-gan", "beta-diff")


@pytest.fixture(scope="module")
def searched(synthetic_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace searched by the paper's protocol, with made-up maps to the residual stream."""
    path = tmp_path_factory.mktemp("paper") / "w"
    shutil.copytree(synthetic_path, path)
    add_stream_maps(path)
    key = AtlasKey(draws=40, controls=20, protocol="paper")
    job.search(path, ":".join(PAIR), key=key, engine=InlineEngine())
    return path


def test_transfer(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "transfer", protocol="Paper")
    assert not app.exception and not app.error
    names = synthetic.domains.generators
    scores = score_detectors(train(synthetic, names, protocol=PAPER.training), synthetic)
    matrix = transfer_matrix(scores, synthetic.domains, names, metrics=("accuracy",), draws=20)
    expected = matrix.mean("accuracy", ~matrix.in_domain).value
    assert f"{expected:.3f}" in stats(app) and "96-point grid" in text_of(with_how(app))
    assert not [toggle for toggle in app.toggle if toggle.label == "Balance"]
    ours = open_app(synthetic.path, "transfer")
    assert [toggle for toggle in ours.toggle if toggle.label == "Balance"]


def test_components(open_app: Open, searched: Path) -> None:
    app = open_app(searched, "components", protocol="Paper")
    assert not app.exception and not app.error
    atlas = Atlas.open(Workspace.open(searched), protocol="paper")
    assert atlas.stored.parameters["draws"] == 40
    removed = {rule: len(atlas.removed(PAIR, cut=rule)) for rule in ("first", "last")}
    d = atlas.about["components"]
    assert f"**{removed['last']} of {d} components** are removed" in text_of(app)
    first = open_app(searched, "components", protocol="Paper", ties="First")
    assert f"**{removed['first']} of {d} components** are removed" in text_of(first)
    missing = open_app(searched, "components")  # not searched by our protocol
    assert noted(missing, "precompute search")


def test_heads(open_app: Open, searched: Path) -> None:
    workspace = Workspace.open(searched)
    names = {"train": PAIR[0], "validate": PAIR[1]}
    app = open_app(searched, "heads", protocol="Paper", **names)
    assert not app.exception and not app.error, [each.value for each in app.error]
    best = score_heads(
        workspace, *PAIR, PAPER.training, space="stream", penalty="scored"
    ).table.iloc[0]
    assert f"head **{best['layer']:.0f}.{best['index']:.0f}**" in text_of(app)
    assert f"accuracy {best['accuracy']:.3f} (95%" in text_of(app) and "residual stream" in text_of(
        with_how(app)
    )


def test_heads_without_the_maps_say_what_to_run(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "heads", protocol="Paper")
    shown = app.error[0].value.replace("\\", "")
    assert not app.exception and "precompute search --workspace" in shown
    assert "--protocol paper" in shown


def test_words(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "words", protocol="Paper")
    assert not app.exception and not app.error
    shown = " ".join(str(each.value) for each in [*app.info, *app.warning, *app.caption])
    assert "precompute text --workspace" in shown + text_of(app)
    assert "--tokens" in shown + text_of(app)
    assert not [toggle for toggle in app.toggle if toggle.label == "Centred"]


def test_the_atlas_by_each_protocol_is_its_own(searched: Path) -> None:
    workspace = Workspace.open(searched)
    atlas = Atlas.open(workspace, protocol="paper")
    assert atlas.protocol == "paper" and atlas.pairs == (PAIR,)
    top = atlas.top_heads(*PAIR)
    view = HeadsView(top, space="stream")
    names = workspace.domains.generators
    scores = score_detectors(train(workspace, names, view, PAPER.training), workspace)
    matrix = transfer_matrix(scores, workspace.domains, names, metrics=("accuracy",), draws=20)
    stored = atlas.matrix("heads a>b", "accuracy", PAIR).to_numpy()
    np.testing.assert_allclose(stored, matrix.values["accuracy"], atol=1e-6)
    cells = matrix.without(PAIR[1:]) & ~matrix.in_domain
    row = atlas.summary.query(
        "view == 'heads a>b' and metric == 'accuracy' and cells == 'D_eval, ood'"
    ).iloc[0]
    assert row["n"] == cells.sum() and row["after"] == pytest.approx(
        matrix.mean("accuracy", cells).value, abs=1e-6
    )
    best = score_heads(workspace, *PAIR, PAPER.training, space="stream", penalty="scored")
    assert best.top(3) == top
    removed = {cut: atlas.removed(PAIR, cut=cut) for cut in ("last", "log-loss")}
    assert len(removed["last"]) > len(removed["log-loss"])  # else the next lines could not fail
    components = atlas.summary[atlas.summary["view"] == "components"]
    d = workspace.embeddings.shape[1]
    assert set(components["kept"]) == {d - len(removed["last"])}
