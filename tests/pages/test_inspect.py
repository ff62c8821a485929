"""The inspect page without a browser: its numbers are the library's, uploads stay in the session,
bad files are one line.
"""

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from PIL import Image
from starlette.formparsers import MultiPartParser
from streamlit.testing.v1 import AppTest

from aigi_core.clip.consent import agree, weights_named
from aigi_core.clip.encoder import load_encoder
from aigi_core.clip.workspace_encoder import VARIABLE
from aigi_core.errors import AigiError
from aigi_core.explain.reading import read
from aigi_core.images import load_rgb
from aigi_core.inspection.intake import encode
from aigi_core.inspection.novelty import held_out_distances, novelty
from aigi_core.inspection.panel import Panel, build_panel
from aigi_core.inspection.parts import Parts, Removal
from aigi_core.statements import signed_score
from aigi_core.workspace import Workspace, write_manifest
from tests.conftest import ROOT
from tests.factory import with_images, without_heads
from tests.pages.reading import noted, stats, tables, text_of
from tests.precompute.corpus import encoded
from tests.tiny_workspace import make_picture
from ui.bodies import inspect as body
from ui.results import inspection
from ui.toolkit import access

Open = Callable[..., AppTest]
EVIL = "<script>alert(1)</script>.png"
PATH = "general/beta-diff/0017.png"


@pytest.fixture(scope="module")
def panel(synthetic: Workspace) -> Panel:
    return build_panel(synthetic)


@pytest.fixture
def at_hand(tiny: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace whose encoder can be loaded."""
    monkeypatch.setenv(VARIABLE, tiny[1])
    monkeypatch.delenv("AIGI_IMAGES", raising=False)
    return Workspace.open(tiny[0])


def upload(app: AppTest, *files: tuple[str, bytes]) -> AppTest:
    app.file_uploader(key="uploads").set_value(
        [(name, content, "image/png") for name, content in files]
    )
    return app.run()


def charts(app: AppTest) -> str:
    return " ".join(chart.proto.alt for chart in app.get("plotly_chart"))


def test_an_image_of_the_workspace_before_any_upload(
    open_app: Open, synthetic: Workspace, panel: Panel
) -> None:
    row = int(np.flatnonzero(synthetic.images["path"] == PATH)[0])
    app = open_app(synthetic.path, "inspect", image=PATH, rate="20%")
    assert not app.exception and not app.error and not app.warning
    logits = panel.logits(synthetic, np.array([row]))[:, 0]
    verdict = panel.verdicts(logits, 0.2).iloc[0]
    assert f"<b>{verdict['probability']:.3f}</b>" in stats(
        app
    ) and f"<b>{logits[0]:+.2f}</b>" in stats(app)
    assert f"{verdict['low']:.3f} to {verdict['high']:.3f}" in stats(app)
    far = novelty(synthetic, synthetic.embeddings[row], held_out_distances(synthetic), row)
    assert f"<b>{far.farther_than:.1%}</b>" in stats(app) and f"of {far.n} held-out" in stats(app)
    assert f"**{verdict['probability']:.3f}**" in text_of(app) and PATH in text_of(app)
    calls = panel.verdicts(logits, 0.2).iloc[1:]["verdict"]
    counts = {call: int((calls == call).sum()) for call in ("fake", "real")}
    assert f"Of {len(calls)} detectors alone, {counts['fake']} call" in text_of(app)
    assert f"and {len(calls) - sum(counts.values())} leave" in text_of(
        app
    ) and "in truth a fake by beta" in text_of(app)
    assert any("no detector has seen it" in caption.value for caption in app.caption)


def test_an_unreachable_rate_is_reported_with_what_it_needs(
    open_app: Open, synthetic: Workspace, panel: Panel
) -> None:
    app = open_app(synthetic.path, "inspect", image=PATH, rate="1%", part="Can it be trusted")
    band = panel.band(0, 0.01)
    assert [info.value for info in app.info if band.note in info.value]
    assert f"at a false-alarm rate of {band.rate:.1%} it is" in text_of(app)
    rates = next(table for table in tables(app) if "fails" in table.columns)
    assert set(rates["pool"]) == {"all together", *synthetic.domains.pool}


def test_a_training_image_is_labelled_as_one(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "inspect", image="general/real/0000.png")
    assert not app.exception and any(
        "were trained on it" in caption.value for caption in app.caption
    )


def test_what_if_is_the_librarys(open_app: Open, synthetic: Workspace) -> None:
    row = int(np.flatnonzero(synthetic.images["path"] == PATH)[0])
    app = open_app(
        synthetic.path,
        "inspect",
        image=PATH,
        detector="beta-diff",
        without=["0.0", "1.2"],
        components="3, 10-12",
        prior="1 in 100",
    )
    assert not app.exception and not app.error and not app.warning
    result = build_panel(synthetic)
    reading = read(synthetic, result.detectors[result.names.index("beta-diff") - 1])
    parts = Parts.of_row(synthetic, row)
    removal = Removal(((0, 0), (1, 2)), (), (3, 10, 11, 12))
    before, after = parts.evidence(reading).logit, parts.evidence(reading, removal).logit
    assert f"**{signed_score(before, 3)} → {signed_score(after, 3)}**" in text_of(app)
    assert "Without head 0.0, head 1.2, 4 components: logit" in text_of(app)
    probability = result.probability(result.index("beta-diff"), after, 0.01)[0]
    assert f"→ {probability:.3f}**" in text_of(app)
    assert app.query_params["components"] == "3, 10-12"


@pytest.mark.parametrize(
    ("line", "says"), [("x", "is no component"), ("9999", "no component 9999"), ("5-2", "5-2")]
)
def test_bad_components_are_one_sentence(
    open_app: Open, synthetic: Workspace, line: str, says: str
) -> None:
    app = open_app(synthetic.path, "inspect", components=line)
    assert (
        not app.exception and len(app.error) == 1 and says in app.error[0].value.replace("\\", "")
    )
    assert "What every detector says" in [header.value for header in app.subheader]


def test_a_broken_link_shows_the_default_and_says_so(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(
        synthetic.path, "inspect", image=EVIL, detector="nobody", rate="7%", prior="never"
    )
    assert not app.exception and not app.error and len(app.warning) == 4


def test_an_upload_is_judged_as_the_library_does(
    open_app: Open, at_hand: Workspace, tiny: tuple[Path, str]
) -> None:
    content = encoded(make_picture(2, 700))
    app = upload(open_app(at_hand.path, "inspect", rate="20%"), (EVIL, content))
    assert not app.exception and not app.error and not app.warning
    encoder, result = load_encoder(tiny[1], None, device="cpu"), build_panel(at_hand)
    images = encode(encoder, [encoder.preprocessing.pixels(load_rgb(content).image)], at_hand)
    logits = result.logits(images)[:, 0]
    assert f"<b>{result.probability(0, logits[0])[0]:.3f}</b>" in stats(
        app
    ) and f"<b>{logits[0]:+.2f}</b>" in stats(app)
    assert "map of 4 by 4 patches" in charts(app), "the heat map of an upload is drawn at once"
    assert "`<script>alert(1)</script>.png`" in text_of(app)
    why = text_of(app).split("Its logit is ")[1].split("\n")[0]
    own, base, _, change, heads, others = map(float, re.findall(r"[+-]?\d+\.\d+|\d+(?=\))", why))
    assert own == pytest.approx(logits[0], abs=0.005)
    assert own - base == pytest.approx(change, abs=0.02)
    assert heads + others == pytest.approx(change, abs=0.02)


def test_a_training_image_saved_anew_is_recognised(open_app: Open, at_hand: Workspace) -> None:
    row = int(np.flatnonzero(at_hand.domains.split == "train")[0])
    path, stream = at_hand.images["path"].iloc[row], io.BytesIO()
    with Image.open(Path(at_hand.manifest["image_root"]) / path) as picture:
        picture.save(stream, "PNG", compress_level=0)
    app = upload(open_app(at_hand.path, "inspect"), ("again.png", stream.getvalue()))
    [warning] = [one.value for one in app.warning if "Likely the same picture" in one.value]
    assert path in warning and "train split" in warning and "were trained on it" in warning


CASES = ROOT.parent / "shared" / "cases" / "same-name"


def test_uploads_of_one_name_are_told_apart(open_app: Open, at_hand: Workspace) -> None:
    if not CASES.is_dir():
        pytest.skip(f"needs the small inputs at {CASES}")
    first, second = (CASES / side / "image.png" for side in "ab")
    app = upload(open_app(at_hand.path, "inspect"), ("image.png", first.read_bytes()))
    app = upload(app, ("image.png", first.read_bytes()), ("image.png", second.read_bytes()))
    box = app.selectbox(key="opened")
    assert box.options == ["image.png", "image.png (2)"]
    assert box.value == "image.png", "of several that come together, the first is opened"
    app.session_state["part"] = "All files"
    table = next(table for table in tables(app.run()) if "file" in table.columns)
    assert table["file"].tolist() == box.options
    verdicts = {}
    for option in box.options:
        app.selectbox(key="opened").set_value(option).run()
        assert not app.exception and not app.error and f"`{option}`" in text_of(app)
        verdicts[option] = stats(app)
    assert verdicts["image.png"] != verdicts["image.png (2)"]


def test_uploads_are_declared_no_part_of_a_link(open_app: Open, at_hand: Workspace) -> None:
    app = open_app(at_hand.path, "inspect")
    app.session_state["share"] = True
    assert "not part of this link" not in text_of(app.run())
    app = upload(app, ("a.png", encoded(make_picture(1, 700))))
    assert "not part of this link" in text_of(app)


def test_an_upload_of_one_colour_gets_no_call(open_app: Open, at_hand: Workspace) -> None:
    dot = encoded(Image.new("RGB", (1, 1), "red"))
    app = upload(open_app(at_hand.path, "inspect"), ("dot.png", dot))
    assert not app.exception and not app.error
    assert "% **no call can be made, because all of it is one colour**" in text_of(app)
    assert not any(
        word in text_of(app) for word in ("called real", "it is no call", "call it real")
    )
    app = upload(app, ("dot.png", dot), ("good.png", encoded(make_picture(1, 701))))
    app.session_state["part"] = "All files"
    table = next(table for table in tables(app.run()) if "file" in table.columns)
    assert (table["verdict"] == "no verdict").tolist() == [True, False]


def test_hostile_uploads_are_one_line_each_and_the_others_go_on(
    open_app: Open, at_hand: Workspace
) -> None:
    good, other = encoded(make_picture(1, 701)), encoded(make_picture(0, 702), "JPEG")
    files = [
        ("cut.png", good[:200]),
        ("text.jpg", b"not a picture"),
        (EVIL, b""),
        ("good.png", good),
        ("other.jpg", other),
    ]
    app = upload(open_app(at_hand.path, "inspect"), *files)
    assert not app.exception and not app.error and len(app.warning) == 1
    lines = app.warning[0].value.replace("\\", "").splitlines()
    assert lines[0].startswith("3 of 5 files") and len(lines) == 4
    assert (
        "`cut.png`: truncated" in lines[1]
        and "`text.jpg`: not an image" in lines[2]
        and "empty" in lines[3]
    )
    assert app.selectbox(key="opened").options == ["good.png", "other.jpg"]
    app.session_state["part"] = "All files"
    files = [table for table in tables(app.run()) if "file" in table.columns]
    assert [table["file"].tolist() for table in files] == [["good.png", "other.jpg"]]
    app.selectbox(key="opened").select_index(1).run()
    assert "`other.jpg`" in text_of(app) and not app.exception


def test_of_several_uploads_the_first_opens_by_its_own_name(
    open_app: Open, at_hand: Workspace
) -> None:
    pictures = [encoded(make_picture(1, seed)) for seed in (711, 712, 713)]
    # as browsers send a quote, which no part of their message can hold
    files = list(zip(("a %22b%22.png", "c.png", "d%0Ae.png"), pictures, strict=True))
    app = upload(open_app(at_hand.path, "inspect"), *files)
    assert not app.exception and not app.error
    box = app.selectbox(key="opened")
    assert box.options == ['a "b".png', "c.png", "d\ne.png"] and box.value == box.options[0]
    assert any("3 files can be judged" in text.value for text in app.caption)
    box.select_index(1).run()
    assert not app.exception and "`c.png`" in text_of(app)


def test_nothing_of_an_upload_outlives_it(
    open_app: Open, at_hand: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    real_open = Path.open

    def watched(self: Path, mode: str = "r", *args: object, **options: object) -> object:
        if set(mode) & set("wax+"):
            written.append(str(self))
        return real_open(self, mode, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", watched)
    app = upload(open_app(at_hand.path, "inspect"), ("mine.png", encoded(make_picture(1, 703))))
    assert len(app.session_state["_inspected"][1]) == 1 and written == []
    app.file_uploader(key="uploads").set_value([])
    app.run()
    assert app.session_state["_inspected"][1] == {} and "mine.png" not in text_of(app)


def test_uploads_stay_in_memory_on_their_way() -> None:
    limit = int(st.get_option("server.maxUploadSize")) * 2**20
    assert MultiPartParser.spool_max_size > limit, (
        "the server would spool larger uploads to a temporary file"
    )


def test_a_path_on_this_machine(
    open_app: Open, at_hand: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for i in range(3):
        make_picture(1, 710 + i).save(tmp_path / "in" / f"{i}.png")
    app = open_app(at_hand.path, "inspect")
    app.text_input(key="_inspect_path").set_value(str(tmp_path / "in")).run()
    assert not app.exception and not app.error and len(app.selectbox(key="opened").options) == 3
    assert str(tmp_path) not in str(app.query_params), (
        "a link must not make a machine read its files"
    )
    monkeypatch.setattr(inspection, "MOST", 2)
    app.run()
    assert not app.exception and "more than 2 files" in app.warning[0].value
    assert len(app.selectbox(key="opened").options) == 2
    app.text_input(key="_inspect_path").set_value(str(tmp_path / "none")).run()
    assert not app.exception and len(app.error) == 1 and "no file or folder" in app.error[0].value
    assert app.get("plotly_chart"), "the workspace's own images go on"


def test_no_path_field_where_others_can_reach_the_server(
    open_app: Open, synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIGI_IMAGES", "")
    monkeypatch.setattr(access, "on_this_machine", lambda: False)
    app = open_app(synthetic.path, "inspect")
    assert not app.exception and "_inspect_path" not in [field.key for field in app.text_input]


def test_without_weights_one_sentence_and_the_workspace_goes_on(
    open_app: Open, synthetic: Workspace
) -> None:
    path = synthetic_with_preprocessing(synthetic)
    agree(weights_named(Workspace.open(path).encoder))
    app = upload(open_app(path, "inspect"), ("mine.png", encoded(make_picture(1, 3))))
    assert not app.exception and len(app.error) == 1
    assert (
        "cannot be loaded here" in app.error[0].value and "There is no model" in app.error[0].value
    )
    assert app.get("plotly_chart") and "alpha-gan" in text_of(app)


def synthetic_with_preprocessing(synthetic: Workspace) -> Path:
    """A copy that says how its images were preprocessed, by a model that does not exist."""
    path = synthetic.path.with_name("preprocessed")
    if not path.exists():
        shutil.copytree(synthetic.path, path)
        manifest = json.loads((path / "workspace.json").read_text())
        seen = {
            "size": 32,
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        }
        manifest["encoder"] |= {"preprocessing": seen}
        write_manifest(path, manifest)
    return path


def test_map_region_and_survival_of_a_workspace_image(open_app: Open, at_hand: Workspace) -> None:
    path = str(at_hand.images["path"][0])
    app = open_app(
        at_hand.path,
        "inspect",
        image=path,
        map="1",
        patch="1.1",
        side="2",
        by="1.0",
        rate="20%",
    )
    assert not app.exception and not app.error and not app.warning
    assert "evidence of 1.0" in charts(app) and "Without 4 patches: logit" in text_of(app)
    app = open_app(at_hand.path, "inspect", image=path, survive="1", rate="20%")
    assert not app.exception and not app.error and not app.warning
    assert "for 31 changed copies" in charts(app)


def test_a_map_without_weights_is_one_sentence_and_heads_go_on(
    open_app: Open, at_hand: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "local-dir:/nowhere")
    app = open_app(at_hand.path, "inspect", map="1", without="0.1")
    assert (
        not app.exception and len(app.error) == 1 and "cannot be loaded here" in app.error[0].value
    )
    assert "Without head 0.1: logit" in text_of(app)


def test_without_heads_the_rest_of_the_page_stands(
    open_app: Open, synthetic: Workspace, tmp_path: Path
) -> None:
    path = without_heads(Path(shutil.copytree(synthetic.path, tmp_path / "w")))
    assert noted(open_app(path, "inspect"), "precompute encode")
    app = open_app(path, "inspect", part="Can it be trusted")
    assert "Expected calibration error" in text_of(app)


def test_without_generators_one_sentence(
    open_app: Open, synthetic: Workspace, tmp_path: Path
) -> None:
    def all_real(table: pd.DataFrame) -> None:
        table.loc[:, ["label", "generator", "family"]] = [0, "", ""]

    app = open_app(with_images(synthetic.path, tmp_path / "w", all_real), "inspect")
    assert noted(app, "no fake images")


def test_regions_and_components() -> None:
    assert inspection.region("0.0", 3, (4, 4)) == ((0, 0), (0, 1), (1, 0), (1, 1))
    assert (
        inspection.region("2.2", 1, (4, 4)) == ((2, 2),)
        and len(inspection.region("1.1", 4, (4, 4))) == 16
    )
    assert (
        inspection.parse_components(" 3; 1-2,2 ", 5) == (3, 1, 2)
        and inspection.parse_components("", 5) == ()
    )
    with pytest.raises(AigiError, match="0 to 4"):
        inspection.parse_components("3-5", 5)


def test_patches_as_a_table() -> None:
    table = body.patch_table(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    assert table.iloc[4].tolist() == [1, 1, 5.0] and len(table) == 6


def test_what_is_taken_away_in_words() -> None:
    assert (
        inspection.in_words(Removal(((1, 2),), ((0, 0),), (4, 5)))
        == "head 1.2, 1 patch, 2 components"
    )
    assert inspection.in_words(Removal((), ((0, 0), (0, 1)), (4,))) == "2 patches, 1 component"
