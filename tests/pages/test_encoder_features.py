"""Further features and further encoders on the pages: views, a second encoder beside the first,
transfer by layer.
"""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.detectors import score_detectors, train
from aigi_core.detectors.features import FeatureView
from aigi_core.detectors.methods import METHODS
from aigi_core.detectors.token_views import AllLayersView, LayerView, PreView
from aigi_core.encodings import open_encodings, update_commands
from aigi_core.statements import number
from aigi_core.transfer import difference, transfer_matrix
from aigi_core.transfer.depth import by_layer
from aigi_core.workspace import Workspace
from precompute.__main__ import main
from tests.pages.reading import noted

Open = Callable[..., AppTest]
FEATURES = "embedding,heads,pre,layers,norm2"


@pytest.fixture(scope="module")
def workspace(tiny: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two encoders; the first with further features, the second with random weights."""
    from tests.tiny_clip import make_tiny_clip

    folder = tmp_path_factory.mktemp("two")
    path = Path(shutil.copytree(tiny[0], folder / "w"))
    options = ["encode", "--workspace", str(path), "--device", "cpu", "--workers", "0"]
    assert main([*options, "--model", tiny[1], "--features", FEATURES]) == 0
    other = make_tiny_clip(folder / "other", seed=5)
    assert main([*options, "--model", other, "--as", "other"]) == 0
    return Workspace.open(path)


def said(app: AppTest) -> str:
    return "\n".join(block.value for block in app.markdown)


def query(app: AppTest) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else value[-1]
        for name, value in dict(app.query_params).items()
    }


@pytest.mark.parametrize(
    ("options", "view"),
    [
        ({"view": "Before the projection"}, PreView()),
        ({"view": "One layer", "layer": "1"}, LayerView(1)),
        ({"method": "Layers, weighted"}, AllLayersView()),
    ],
)
def test_views_of_stored_features(
    open_app: Open, workspace: Workspace, options: dict[str, str], view: FeatureView
) -> None:
    app = open_app(workspace.path, "transfer", part="Words", **options)
    assert not app.exception and not app.error
    assert noted(app, "no weights in the joint space")
    names = workspace.domains.generators
    how = METHODS["layers" if isinstance(view, AllLayersView) else "logistic"]
    detectors = how.train(workspace, names, view)
    thresholds = np.array([detector.threshold for detector in detectors])
    scores = score_detectors(detectors, workspace)
    matrix = transfer_matrix(scores, workspace.domains, names, thresholds=thresholds)
    value = matrix.mean("balanced_accuracy", ~matrix.in_domain).value
    assert f" and **{value:.3f}** (95% interval" in said(app)


def test_they_are_offered_only_where_they_are(open_app: Open, tiny: tuple[Path, str]) -> None:
    app = open_app(tiny[0], "transfer")
    [view] = [box for box in app.selectbox if box.label == "Feature view"]
    assert "Before the projection" not in view.options


def test_another_encoder_stands_beside_the_first(open_app: Open, workspace: Workspace) -> None:
    app = open_app(workspace.path, "transfer", compare="1", encoder_b="other", view_b="Embedding")
    assert not app.exception and not app.error, [e.value for e in app.error]
    names, matrices = workspace.domains.generators, []
    for one in open_encodings(workspace.path).values():
        detectors = train(one, names)
        thresholds = np.array([detector.threshold for detector in detectors])
        scores = score_detectors(detectors, one)
        matrices.append(transfer_matrix(scores, one.domains, names, thresholds=thresholds))
    gap = difference(*matrices, "balanced_accuracy").mean(~matrices[0].in_domain)
    assert f"a difference of {number(100 * gap.value, 1, signed=True)} points" in said(app)
    assert "B's images are encoded by" in said(app)


def test_one_control_chooses_the_encoder_of_every_page(
    open_app: Open, workspace: Workspace
) -> None:
    other = open_encodings(workspace.path)["other"]
    app = open_app(workspace.path, "transfer", encoder="other")
    assert not app.exception and not app.warning
    assert app.selectbox[0].label == "Encoder" and app.selectbox[0].value == "other"
    names = workspace.domains.generators
    detectors = train(other, names)
    thresholds = np.array([detector.threshold for detector in detectors])
    scores = score_detectors(detectors, other)
    matrix = transfer_matrix(scores, other.domains, names, thresholds=thresholds)
    value = matrix.mean("balanced_accuracy", ~matrix.in_domain).value
    assert f" and **{value:.3f}** (95% interval" in said(app)
    # It stays chosen on the way over a page that compares all; the workspace's name stays, too.
    assert query(app) == {"encoder": "other", "workspace": workspace.digest}
    app.switch_page("pages/encoders.py").run()
    assert "All encoders are compared here." in [c.value for c in app.caption]
    assert "encoder" not in app.query_params
    app.switch_page("pages/overview.py").run()
    assert query(app) == {"encoder": "other", "workspace": workspace.digest}
    assert f"`{other.encoder['model']}`" in said(app)


def test_a_link_to_an_encoder_that_is_not_here_says_so(
    open_app: Open, workspace: Workspace, tiny: tuple[Path, str]
) -> None:
    for path in (workspace.path, tiny[0]):
        app = open_app(path, "overview", encoder="third")
        assert not app.exception and "third" in app.warning[0].value


def test_transfer_by_layer(open_app: Open, workspace: Workspace) -> None:
    table = by_layer(workspace, draws=50)
    assert table["layer"].tolist() == [0, 1, 2] and (table["n"] == 2).all()
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    names, domains = workspace.domains.generators, workspace.domains
    detectors = train(workspace, names, LayerView(2))
    scores = score_detectors(detectors, workspace)
    cell = [
        np.mean(
            [
                ((scores[k] > detectors[k].threshold) == (domains.labels == 1))[
                    domains.rows(names[1 - k], "test")
                ][domains.labels[domains.rows(names[1 - k], "test")] == label].mean()
                for label in (0, 1)
            ]
        )
        for k in (0, 1)
    ]
    assert table["value"][2] == pytest.approx(np.mean(cell), abs=1e-6)
    app = open_app(workspace.path, "encoders", depth="1")
    assert not app.exception and not app.error, [e.value for e in app.error]
    assert "the highest of 3 layers is" in said(app)


def test_an_encoding_is_verified_and_not_dropped_in_silence(
    open_app: Open, workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(shutil.copytree(workspace.path, tmp_path / "w"))
    one = workspace.domains.generators[-1]
    assert main(["verify", str(path)]) == 0 and "encoders/other: all" in capsys.readouterr().out
    assert main(["remove", "--workspace", str(path), "--generators", one]) == 0
    line = update_commands(path)["other"]
    assert line in capsys.readouterr().out
    app = open_app(path, "encoders")
    assert any("`other`" in warning.value for warning in app.warning)
    assert line in [code.value for code in app.code]
    # The command brings it up to date, with its folder named where the record cannot.
    given = [*shlex.split(line)[3:], "--device", "cpu", "--workers", "0"]
    given[given.index("--model") + 1] = f"local-dir:{workspace.path.parent / 'other'}"
    assert main(given) == 0 and update_commands(path) == {}
    kept = len(Workspace.open(path).images)
    assert Workspace.open(path / "encoders" / "other").embeddings.shape[0] == kept
    assert main(["verify", str(path)]) == 0
    values = path / "encoders" / "other" / "embeddings.npy"
    changed = bytearray(values.read_bytes())
    changed[-2] ^= 1
    values.write_bytes(changed)
    capsys.readouterr()
    assert main(["verify", str(path)]) == 1
    *problems, last = capsys.readouterr().out.splitlines()
    assert all(line.startswith("encoders/other: ") for line in problems)
    assert last.endswith(f": {len(problems)} problem{'s' if len(problems) > 1 else ''}.")
