"""The gallery without a browser: its counts are the library's; links choose group, page and
image.
"""

import re
from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.training import train
from aigi_core.transfer import VERDICTS, gallery
from aigi_core.workspace import Workspace
from tests.pages.reading import headline, noted, stats, tables, text_of, with_how
from ui.results import maps, trained

Open = Callable[..., AppTest]


def captions(app: AppTest) -> str:
    return " ".join(str(text.value) for text in (*app.caption, *app.markdown))


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
    assert "Trained on `beta-diff` and tested on `delta-ar` and `gamma-diff`, the" in text_of(app)
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


def test_a_filter_that_no_image_matches_is_said_once_and_cleared(
    open_app: Open, synthetic: Workspace
) -> None:
    app = open_app(
        synthetic.path, "gallery", train="beta-diff", tests="beta-diff", subject="qqqqqq"
    )
    assert not app.exception and not app.error and not app.warning
    assert text_of(app).count("No image matches Subject `qqqqqq`") == 1
    assert "Fake as real" not in stats(app)
    assert "The opened image" not in [head.value for head in app.subheader]
    app.button(key="all-images").click().run()
    assert not app.exception and app.text_input(key="subject").value == ""
    assert "No image matches" not in text_of(app) and stats(app)


def test_counts_and_the_opened_image_are_the_filters(open_app: Open, synthetic: Workspace) -> None:
    link = {"train": "beta-diff", "tests": "beta-diff"}
    app = open_app(synthetic.path, "gallery", **link, image="general/beta-diff/0017.png")
    app.text_input(key="subject").set_value("general/real").run()
    assert not app.exception and not app.error and not app.warning
    images = gallery(
        synthetic, score_detectors(train(synthetic, ["beta-diff"]), synthetic)[0], "beta-diff"
    )
    real = images[images["path"].str.contains("general/real")]
    assert f"{len(real)} of {len(images)} images" in text_of(app)
    alarms = (real["verdict"] == "real as fake").sum()
    assert f"{alarms} of {len(real)} images" in stats(app)
    assert "Fake as real" not in stats(app), "no fake matches, so there is no share of fakes"
    assert app.selectbox(key="image").value in set(real["path"])
    assert set(app.selectbox(key="image").options) == set(real["path"])


def test_tiles_are_explained_and_their_control_is_no_group(
    open_app: Open, synthetic: Workspace
) -> None:
    app = open_app(synthetic.path, "gallery", train="beta-diff", tests="beta-diff")
    assert app.selectbox(key="verdict").label == "Verdict"
    [legend] = [text.value for text in app.caption if "Under each image" in text.value]
    for what in ("log-odds", "head", "average real test image", "solid blue", "dashed red"):
        assert what in legend
    bare = open_app(
        synthetic.path, "gallery", train="beta-diff", method="Nearest neighbours, k = 3"
    )
    [legend] = [text.value for text in bare.caption if "Under each image" in text.value]
    assert "head" not in legend


def test_unknown_image_and_no_test_set(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "gallery", image="<script>.png")
    assert not app.exception and "default is shown" in app.warning[0].value
    app = open_app(synthetic.path, "gallery", tests="")
    assert noted(app, "choose at least one generator")


def test_of_many_images_some_are_offered_and_all_are_searched(
    open_app: Open, synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("ui.toolkit.controls", "ui.results.inspection"):
        monkeypatch.setattr(f"{module}.OFFERED", 5)
    path = "general/beta-diff/0017.png"
    app = open_app(synthetic.path, "inspect", image=path)
    assert not app.exception and not app.warning
    assert len(app.selectbox(key="image").options) == 6 and app.selectbox(key="image").value == path
    app = open_app(synthetic.path, "inspect", find="Beta-Diff/0017")
    assert app.selectbox(key="image").options == [path]
    app = open_app(synthetic.path, "inspect", find="nowhere")
    assert noted(app, "No path contains")


def test_long_tables_are_shown_in_part_and_a_map_of_many_as_cells(
    open_app: Open, synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.toolkit.tables.SHOWN", 7)
    link = {"train": "beta-diff", "tests": "beta-diff", "part": "All as a table"}
    app = open_app(synthetic.path, "gallery", **link)
    assert len(tables(app)[-1]) == 7
    assert "The first 7 rows; the downloads hold all" in captions(app) and not app.exception
    monkeypatch.setattr("ui.results.maps.CELLED", 100)
    monkeypatch.setattr("aigi_core.geometry.projection.CELLED", 100)
    app = open_app(synthetic.path, "map")
    assert not app.exception and not app.error
    assert "Each square is a cell" in captions(app)
    app = open_app(synthetic.path, "map", colour="score")
    assert not app.exception and "mean score" in captions(app)


def test_images_of_the_map_are_chosen_without_a_mouse(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "map")
    assert "are judged wrongly" not in text_of(app)
    app = app.selectbox(key="source").select("beta-diff").run()
    assert "Of an image's 12 nearest points on this map" in headline(app)
    assert "The 12 nearest of the" in text_of(with_how(app))
    many = int((synthetic.images["generator"] == "beta-diff").sum())
    assert f"{many} images: `beta-diff` {many}." in text_of(app) and not app.exception


def test_a_map_of_many_images_is_computed_where_it_is_asked_for(
    open_app: Open, synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained, "LARGE", 10)
    made: list[int] = []
    compute = maps.image_map
    monkeypatch.setattr(maps, "image_map", lambda *asked: made.append(1) or compute(*asked))
    app = open_app(synthetic.path, "map")
    assert not app.exception and not made and "start it below" in text_of(app)
    assert "about 1 second of one core" in captions(app) and "precompute detectors" in captions(app)
    app.button(key="start-map").click().run()
    assert not app.exception and made and "are of its own source" in text_of(app)


def test_nearest_neighbours_show_the_images_that_decide(
    open_app: Open, synthetic: Workspace
) -> None:
    setting = {"train": "beta-diff", "method": "Nearest neighbours, k = 3"}
    for page, more in (
        ("gallery", {"tests": "delta-ar"}),
        ("transfer", {"test": "delta-ar", "part": "Mistakes"}),
    ):
        app = open_app(synthetic.path, page, **setting, **more)
        assert not app.exception
        text = text_of(app)
        assert "3 nearest fakes" in text and "3 nearest real images" in text
        assert "Nearest real images" in text
        assert "of the images that it was trained on (splits train and val)" in text


def test_neighbours_in_inspect_come_from_the_splits_that_it_names(
    open_app: Open, synthetic: Workspace
) -> None:
    path = "general/beta-diff/0017.png"
    app = open_app(synthetic.path, "inspect", image=path, part="Like what")
    assert not app.exception and not app.error
    [splits] = re.findall(r"trained on \(splits (.+?)\)", text_of(app))
    [table] = [one for one in tables(app) if "bank" in one.columns]
    assert set(table["split"]) <= set(splits.split(" and "))
    assert "among the training images" not in captions(app)
