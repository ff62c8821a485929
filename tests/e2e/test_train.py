"""The train page in a real browser: deep link, training sets by keyboard, kept detectors, looks."""

import pytest

from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.training import train
from aigi_core.transfer import transfer_matrix
from aigi_core.workspace import Workspace
from benchmarks._app_in_browser import App

pytestmark = pytest.mark.browser


def out_of_domain(workspace: Workspace, names: tuple[str, ...]) -> str:
    scores = score_detectors(
        train(workspace, [names], protocol=Protocol(class_weight="balanced")), workspace
    )
    matrix = transfer_matrix(scores, workspace.domains, [names], metrics=("balanced_accuracy",))
    return f"{matrix.mean('balanced_accuracy', ~matrix.in_domain).value:.3f}"


def test_deep_link_and_another_generator(app: App, synthetic: Workspace) -> None:
    app.open("train", trained="beta-diff", tests=list(synthetic.domains.generators))
    assert app.violations() == [] and app.fits
    assert app.errors == [] and app.stats["Out of domain"][0] == out_of_domain(
        synthetic, ("beta-diff",)
    )
    app.choose("Opened training set", "delta-ar")  # added to those chosen
    assert app.query["trained"] == ["delta-ar", "beta-diff"]
    assert app.stats["Out of domain"][0] == out_of_domain(synthetic, ("delta-ar", "beta-diff"))
    app.press("Keep this detector")
    app.choose("Feature view", "Residual")
    assert app.page.get_by_text("paired, over generators").is_visible() and app.errors == []
