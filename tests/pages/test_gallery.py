"""The gallery without a browser: its counts are the library's; links choose group, page and
image.
"""

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.protocol import train
from aigi_core.transfer import VERDICTS, gallery
from aigi_core.workspace import Workspace
from tests.pages.reading import noted, text_of

Open = Callable[..., AppTest]


def test_counts_are_the_librarys(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "gallery", train="beta-diff", tests=["delta-ar", "gamma-diff"])
    assert not app.exception and not app.error and not app.warning
    detectors = train(synthetic, ["beta-diff"])
    images = gallery(
        synthetic, score_detectors(detectors, synthetic)[0], ["delta-ar", "gamma-diff"]
    )
    missed, fakes = (
        (images["verdict"] == "fake as real").sum(),
        (images["verdict"].str.startswith("fake")).sum(),
    )
    assert f"**{missed} of {fakes} fakes**" in text_of(app)
    for verdict in VERDICTS:
        assert f"{(images['verdict'] == verdict).sum()} images, most certain first" in text_of(app)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_one_group_and_one_image_by_link(
    open_app: Open, synthetic: Workspace, verdict: str
) -> None:
    path = "general/beta-diff/0017.png"
    app = open_app(
        synthetic.path, "gallery", train="beta-diff", tests="beta-diff", verdict=verdict, image=path
    )
    assert not app.exception and not app.error and not app.warning
    assert app.selectbox(key="image").value == path


def test_unknown_image_and_no_test_set(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "gallery", image="<script>.png")
    assert not app.exception and "default is shown" in app.warning[0].value
    app = open_app(synthetic.path, "gallery", tests="")
    assert noted(app, "choose at least one generator")
