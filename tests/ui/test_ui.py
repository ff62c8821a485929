"""Shared page code: router guard, controls and URL, workspace choice, escaping, reports."""

import base64
import os
import re
import shutil
import tomllib
from collections.abc import Callable
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from PIL import Image
from streamlit.testing.v1 import AppTest

from aigi_core import figures
from aigi_core.figures import DARK, LIGHT
from aigi_core.previews import preview_hash
from aigi_core.transfer import DEFAULT_METRIC
from aigi_core.workspace import Workspace, read_manifest, write_manifest
from tests.conftest import ROOT
from tests.factory import with_images
from tests.pages.reading import tables
from ui import results
from ui.bodies import transfer
from ui.toolkit import images, report
from ui.toolkit.page import inert, name, plain, without_clicks
from ui.toolkit.router import PAGES
from ui.toolkit.tables import readable

Open = Callable[..., AppTest]


@pytest.mark.parametrize("stem", PAGES)
def test_deep_link_is_the_first_visit_to_a_fresh_server(
    open_app: Open, synthetic_path: Path, stem: str
) -> None:
    app = open_app(synthetic_path, stem)
    assert not app.exception
    # This workspace has no results: a page that reads some says which job makes them.
    jobs = ("precompute search", "precompute methods", "precompute attribution")
    text = [error.value.replace("\\", "") for error in app.error]
    assert all(any(job in sentence for job in jobs) for sentence in text), text
    assert app.title[0].value == PAGES[stem].question


@pytest.mark.parametrize("stem", PAGES)
def test_no_workspace_is_one_sentence(open_app: Open, tmp_path: Path, stem: str) -> None:
    app = open_app(tmp_path / "none", stem)
    assert not app.exception and len(app.error) == 1
    assert "There is no workspace at" in app.error[0].value.replace("\\", "")


@pytest.mark.parametrize("stem", PAGES)
def test_damaged_workspace_is_one_sentence(
    open_app: Open, synthetic_path: Path, tmp_path: Path, stem: str
) -> None:
    broken = Path(shutil.copytree(synthetic_path, tmp_path / "w"))
    (broken / "embeddings.npy").write_bytes(b"short")
    app = open_app(broken, stem)
    assert not app.exception and [("is damaged" in e.value) for e in app.error] == [True]


def test_unknown_workspace_in_a_link_says_what_to_do(open_app: Open, synthetic_path: Path) -> None:
    app = open_app(synthetic_path, "overview", workspace="0123456789ab")
    assert len(app.error) == 1 and "0123456789ab" in app.error[0].value
    assert not app.exception


def test_link_names_the_workspace_by_digest(
    open_app: Open, synthetic_path: Path, tmp_path: Path
) -> None:
    other = with_images(
        synthetic_path, tmp_path / "other", lambda t: t.__setitem__("caption", "another")
    )
    digest = Workspace.open(other).digest
    app = open_app(f"{synthetic_path}:{other}", "overview", workspace=digest)
    assert not app.error and app.query_params["workspace"] == digest
    assert str(other) in app.sidebar.selectbox[0].value


def changed(path: Path, before: dict[str, str]) -> str:
    """Change an image's caption, so that the workspace is another one; its new digest."""
    other = with_images(path, path.parent / "next", lambda t: t.__setitem__("caption", "another"))
    write_manifest(other, read_manifest(other) | {"before": before})
    shutil.rmtree(path)
    other.rename(path)
    return Workspace.open(path).digest


def told(app: AppTest) -> list[str]:
    assert not app.exception and not app.error
    return [warning.value.replace("\\", "") for warning in app.warning]


def test_a_link_to_a_workspace_that_has_changed_says_so_beside_the_answer(
    open_app: Open, synthetic_path: Path, tmp_path: Path
) -> None:
    """A grey caption at the foot of the sidebar said so."""
    path, old = Path(shutil.copytree(synthetic_path, tmp_path / "w")), "0123456789ab"
    new = changed(path, {old: ""})
    app = open_app(path, "overview", workspace=old)
    [said] = told(app)
    assert "This link was made before the workspace was changed" in said
    assert f"digest {old} then, {new} now" in said and app.query_params["workspace"] == new
    assert not app.sidebar.caption
    assert told(app.run()) == [said], "a run that nobody asked for"
    app.session_state["_user_acted"] = True
    assert told(app.run()) == []
    assert told(open_app(path, "overview", workspace=new)) == []


@pytest.mark.parametrize("recorded", [True, False])
def test_a_session_is_told_that_its_workspace_was_changed(
    open_app: Open, synthetic_path: Path, tmp_path: Path, recorded: bool
) -> None:
    path = Path(shutil.copytree(synthetic_path, tmp_path / "w"))
    old = Workspace.open(path).digest
    app = open_app(path, "overview")
    assert told(app) == []
    new = changed(path, {old: ""} if recorded else {})
    app.run()
    [said] = told(app)
    assert f"changed while it was open here (digest {old} before, {new} now)" in said
    assert app.query_params["workspace"] == new
    app.session_state["_user_acted"] = True
    assert told(app.run()) == []


def test_what_lies_under_a_figure_is_made_when_it_is_opened(
    open_app: Open, synthetic_path: Path
) -> None:
    app = open_app(synthetic_path, "overview")
    assert tables(app) == []
    app.session_state["figure-generators-more"] = True
    app.run()
    assert not app.exception and not app.error
    [shown] = tables(app)
    matrix = results.default_matrix(Workspace.open(synthetic_path))
    numbers = matrix.by_test(DEFAULT_METRIC)
    pd.testing.assert_frame_equal(shown, readable(numbers))


def _drive(body: str, tmp_path: Path, query: dict[str, str | list[str]] | None = None) -> AppTest:
    script = tmp_path / "script.py"
    script.write_text(
        "import streamlit as st\nfrom ui.toolkit.controls import Controls\ncontrols ="
        f" Controls('p')\n{body}\ncontrols.write_url({{}})\n"
    )
    app = AppTest.from_file(str(script), default_timeout=60)
    for key, value in (query or {}).items():
        app.query_params[key] = value
    return app.run()


CONTROLS = """
st.write(repr((
    controls.select('pick', 'Pick', ['a', 'b <i>', 'c']),
    controls.multiselect('many', 'Many', ['x', 'y', 'z']),
    controls.slider('number', 'Number', 0, 10, 3),
    controls.toggle('on', 'On'),
    controls.text('words', 'Words'))))
st.write(' '.join(controls.complaints) or 'fine')
"""


def test_controls_read_the_url_and_write_it(tmp_path: Path) -> None:
    app = _drive(
        CONTROLS,
        tmp_path,
        {"pick": "b <i>", "many": ["z", "x"], "number": "7", "on": "1", "words": "& so"},
    )
    assert (
        app.markdown[0].value == repr(("b <i>", ["x", "z"], 7, True, "& so"))
        and app.markdown[1].value == "fine"
    )
    app.selectbox[0].set_value("c").run()
    assert app.query_params["pick"] == "c" and app.query_params["number"] == "7"
    app.selectbox[0].set_value("a")
    app.slider[0].set_value(3).run()
    assert (
        "pick" not in app.query_params and "number" not in app.query_params
    )  # defaults stay out of the URL


@pytest.mark.parametrize(
    "query",
    [
        {"pick": "nothing"},
        {"many": ["w"]},
        {"number": "eleven"},
        {"number": "99"},
        {"on": "perhaps"},
    ],
)
def test_a_broken_query_is_reported_and_the_default_shown(
    tmp_path: Path, query: dict[str, str | list[str]]
) -> None:
    app = _drive(CONTROLS, tmp_path, query)
    assert app.markdown[0].value == repr(("a", ["x", "y", "z"], 3, False, ""))
    said = app.markdown[1].value
    assert f"asks for {next(iter(query))}" in said and " can be " in said
    assert not set(query) & set(app.query_params)


def test_what_a_link_asks_for_rightly_is_shown_beside_what_it_asks_for_wrongly(
    tmp_path: Path,
) -> None:
    app = _drive(CONTROLS, tmp_path, {"many": ["x", "w"]})
    assert "['x']" in app.markdown[0].value
    said = app.markdown[1].value
    assert "many = w" in said and "can be x, y, z" in said and "others are shown" in said


def test_an_empty_choice_is_told_as_what_it_means(tmp_path: Path) -> None:
    """The line of settings said "none" where no category chosen means all of them."""
    app = _drive(
        "controls.multiselect('a', 'Only these', ['x', 'y'], [], placeholder='All', empty='all')\n"
        "controls.multiselect('b', 'Without', ['x', 'y'], [])\n"
        "st.markdown(repr(controls.settings))",
        tmp_path,
    )
    assert app.markdown[0].value == repr({"a": ("Only these", "all"), "b": ("Without", "none")})


def test_a_setting_that_a_link_gives_twice_is_announced(tmp_path: Path) -> None:
    app = _drive(CONTROLS, tmp_path, {"pick": ["b", "c"], "many": ["x", "y"]})
    assert app.markdown[1].value == "The link sets pick 2 times: the last, c, is shown."
    assert _drive(CONTROLS, tmp_path, {"pick": ["c", "c"]}).markdown[1].value == "fine"


def test_a_link_with_names_of_no_control_says_so(tmp_path: Path) -> None:
    body = "controls.complain_of_names(['workspace'])\n" + CONTROLS.splitlines()[-1]
    query: dict[str, str | list[str]] = {"pick": "c", "picks": "a", "workspace": "w", "train": "t"}
    drawn = "\n".join(CONTROLS.splitlines()[:-1])
    app = _drive(f"{drawn}\n{body}", tmp_path, query)
    said = app.markdown[1].value
    has = " Settings here: many, number, on, pick, words."
    assert said == f"This page has no setting 'picks': it is ignored.{has}"
    query["kind"] = "a"
    app = _drive(f"{drawn}\n{body}", tmp_path, query)
    ignored = "This page has no settings 'picks', 'kind': they are ignored."
    assert app.markdown[1].value == ignored + has
    app = _drive(f"{drawn}\n{body}", tmp_path, {"pick": "c", "workspace": "w", "train": "t"})
    assert app.markdown[1].value == "fine"


def test_a_default_that_nobody_chose_follows_while_a_run_ends_before_its_control(
    tmp_path: Path,
) -> None:
    """As the page Train, whose opened set follows the targets, after 'Clear all'."""
    app = _drive(
        """
targets = controls.multiselect('targets', 'Targets', ['x', 'y', 'z'], ['x'])
if targets:
    st.write(repr(controls.multiselect('opened', 'Opened', ['x', 'y', 'z'], targets)))
""",
        tmp_path,
    )
    assert app.markdown[0].value == "['x']"
    app.multiselect[0].set_value([]).run()
    app.multiselect[0].set_value(["y", "z"]).run()
    assert app.markdown[0].value == "['y', 'z']" and "opened" not in app.query_params
    app.multiselect[1].set_value(["x"]).run()
    app.multiselect[0].set_value([]).run()
    app.multiselect[0].set_value(["z"]).run()
    assert app.markdown[0].value == "['x']", "the user opened it"


def test_the_address_says_what_the_controls_say_though_the_page_ends_in_a_message(
    open_app: Open, synthetic_path: Path
) -> None:
    app = open_app(synthetic_path, "train", tests="gamma-diff", trained="delta-ar")
    app.multiselect(key="tests").set_value([]).run()
    assert not app.exception and "Nothing is chosen" in app.info[0].value
    assert app.query_params["tests"] == "" and app.query_params["trained"] == "delta-ar"
    again = open_app(synthetic_path, "train", tests="", trained="delta-ar")
    assert "Nothing is chosen" in again.info[0].value
    again.multiselect(key="tests").set_value(["beta-diff"]).run()
    assert again.multiselect(key="trained").value == ["delta-ar"]
    assert again.query_params["tests"] == "beta-diff"


def test_a_link_is_followed_to_controls_that_its_first_run_did_not_reach(tmp_path: Path) -> None:
    app = _drive(
        """
if controls.toggle('on', 'On', True):
    st.write(controls.select('pick', 'Pick', ['a', 'b', 'c']))
    controls.write_url({})
else:
    controls.write_url({}, whole=False)
st.stop()
""",
        tmp_path,
        {"pick": "b"},
    )
    app.query_params["on"], app.query_params["pick"] = "0", "c"
    app.run()
    assert not app.markdown and app.query_params == {"on": "0", "pick": "c"}
    app.toggle[0].set_value(True).run()
    assert app.markdown[0].value == "c" and app.query_params == {"pick": "c"}


def test_a_changed_url_wins_over_a_control_that_did_not_move(tmp_path: Path) -> None:
    """The Back button, or a link to the same page."""
    app = _drive(CONTROLS, tmp_path, {"pick": "c"})
    app.query_params["pick"] = "b <i>"
    app.run()
    assert "'b <i>'" in app.markdown[0].value
    del app.query_params["pick"]
    app.run()
    assert app.markdown[0].value.startswith("('a'")


def test_a_url_that_lags_behind_a_click_does_not_win(tmp_path: Path) -> None:
    """Two quick clicks: the second carries the URL from before the first."""
    app = _drive(CONTROLS, tmp_path, {"pick": "c"})
    app.slider[0].set_value(7).run()
    assert app.query_params == {"pick": "c", "number": "7"}
    app.query_params.clear()
    app.toggle[0].set_value(True).run()
    assert app.markdown[0].value == repr(("c", ["x", "y", "z"], 7, True, ""))
    assert app.query_params == {"pick": "c", "number": "7", "on": "1"}


@pytest.mark.parametrize("text", ["plain", "`tick`", "``two``", "$a$ :smile: <b>", "a\nb", "`"])
def test_names_are_code_spans_in_markdown(text: str) -> None:
    span = name(text)
    fence = span[: len(span) - len(span.lstrip("`"))]
    inside = span[len(fence) : -len(fence)]
    assert span.endswith(fence) and fence not in inside and "\n" not in span
    assert inside.strip() == " ".join(text.split())


def test_messages_are_inert_markdown() -> None:
    assert inert("a <b> [x](y) :red[z] $q$").count("\\") == 11


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


EVIL = '"><img src=x onerror=alert(1)><script>alert(1)</script>'


@pytest.fixture
def pictured(synthetic_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Row 0 has a file, row 1 a source, row 2 a preview, row 3 nothing, row 4 points outside, row 5
    a bad source.
    """
    root = tmp_path / "images"
    root.mkdir()
    Image.new("RGB", (40, 30), (200, 30, 30)).save(root / "0.png")
    Image.new("RGB", (40, 30), (0, 0, 0)).save(tmp_path / "secret.png")
    monkeypatch.setenv("AIGI_IMAGES", str(root))
    preview = preview_hash(Image.new("RGB", (40, 30), (128, 60, 200)))

    def change(table: pd.DataFrame) -> None:
        content_hash = sha256((root / "0.png").read_bytes()).hexdigest()
        table.loc[0, ["path", "content_hash"]] = ["0.png", content_hash]
        table.loc[1, ["source_url", "preview_hash", "caption"]] = [
            "https://example.org/a.png?x=1&y=2",
            preview,
            EVIL,
        ]
        table.loc[2, "preview_hash"] = preview
        table.loc[4, "path"] = "../secret.png"
        table.loc[5, ["source_url", "preview_hash"]] = ["javascript:alert(1)", "not base64!"]

    return Workspace.open(with_images(synthetic_path, tmp_path / "w", change))


def test_images_come_from_file_then_source_then_preview(pictured: Workspace) -> None:
    html = images.tiles_html(pictured, [images.Tile(row, [EVIL]) for row in range(6)])
    assert 'src="data:image/png' in html[0] and "background-image" not in html[0]
    assert (
        'src="https://example.org/a.png?x=1&amp;y=2"' in html[1]
        and "background-image:url(data:image/png" in html[1]
    )
    assert "<img" not in html[2] and "background-image:url(data:image/png" in html[2]
    assert "no preview" in html[3]
    assert "data:" not in html[4], "a path outside the image root must not be read"
    assert "javascript" not in html[5] and "data:" not in html[5]
    for one in html:
        tags = Tags(one)
        assert {tag for tag, _ in tags.found} <= {"figure", "span", "img", "a", "figcaption"}
        assert not any(key.startswith("on") for _, attributes in tags.found for key in attributes)
        assert EVIL in tags.words


def test_another_file_in_the_place_of_an_image_is_not_shown(
    pictured: Workspace, tmp_path: Path
) -> None:
    Image.new("RGB", (40, 30), (30, 200, 30)).save(tmp_path / "images" / "0.png")
    (html,) = images.tiles_html(pictured, [images.Tile(0, ["a"])])
    assert "<img" not in html and "not shown: damaged: the file has changed since ingest" in html


def test_a_named_folder_is_looked_at_first_then_that_of_the_build(
    pictured: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The named folder may hold none of the images, or another file of that name."""
    built, named = tmp_path / "images", tmp_path / "named"
    named.mkdir()
    manifest = read_manifest(pictured.path) | {"image_root": str(built)}
    write_manifest(pictured.path, manifest)
    workspace = Workspace.open(pictured.path)

    def shown() -> bool:
        return 'src="data:image/png' in images.tiles_html(workspace, [images.Tile(0)])[0]

    monkeypatch.setenv("AIGI_IMAGES", str(named))
    assert images.image_roots(workspace)[:2] == [named, built] and shown()
    Image.new("RGB", (40, 30), (30, 200, 30)).save(named / "0.png")
    assert shown()
    monkeypatch.setenv("AIGI_IMAGES", f"{tmp_path / 'none'}{os.pathsep}{named}")
    assert images.image_roots(workspace)[:2] == [named, built]
    monkeypatch.setenv("AIGI_IMAGES", "")
    assert images.image_roots(workspace) == [] and not shown()
    monkeypatch.setenv("AIGI_IMAGES", str(named))
    monkeypatch.setattr(images.access, "on_this_machine", lambda: False)
    assert images.image_roots(workspace) == [named] and not shown()  # the other is not declared


def test_report_is_self_contained_and_escaped(synthetic: Workspace) -> None:
    table = pd.DataFrame({"generator": [EVIL], "value": [0.5]})
    matrix = pd.DataFrame([[0.5]], [EVIL], [EVIL])
    made = report.Report(
        "Why?", EVIL, [report.Stat(EVIL, "1", n=EVIL, interval=(0, 1), help=EVIL)], {"Splits": EVIL}
    )
    made.parts = [
        ("matrix", lambda theme: figures.heatmap(matrix, alt=EVIL, theme=theme)),
        (EVIL, table),
    ]
    html = report.render(made, synthetic, "http://127.0.0.1/transfer?x=1&y=2")
    assert synthetic.digest in html and report.versions()["numpy"] in html
    tags = Tags(html)
    assert not any("onerror" in attributes for _, attributes in tags.found)
    assert not any(a.get("src", "") or tag == "link" for tag, a in tags.found), (
        "nothing is loaded from elsewhere"
    )
    assert html.count("alert(1)</script>") == 0


def test_themes_of_app_and_figures_are_the_same() -> None:
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"]
    for theme in (LIGHT, DARK):
        colours = config[theme.name]
        assert (
            colours["backgroundColor"],
            colours["secondaryBackgroundColor"],
            colours["textColor"],
        ) == (
            theme.paper,
            theme.panel,
            theme.ink,
        )
        assert (colours["primaryColor"], colours["borderColor"]) == (theme.accent, theme.grid)


def test_preview_of_a_damaged_hash_is_none() -> None:
    for bad in (
        "",
        "AAAA",
        "!!!",
        base64.b64encode(np.arange(3, dtype=np.uint8).tobytes()).decode(),
    ):
        assert images._preview(bad) is None


def test_the_report_holds_every_part_and_leaves_the_session_as_it_is(
    open_app: Open, synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered: dict[str, Any] = {}
    plain_button = st.download_button

    def button(label: str, data: Any, **options: Any) -> Any:
        offered[label] = data
        return plain_button(label, data, **options)

    monkeypatch.setattr(st, "download_button", button)
    app = open_app(synthetic.path, "transfer", part="Mistakes", train="beta-diff")
    assert not app.exception and not app.error and not offered
    app.session_state["share"] = True
    app.run()
    before = {key: repr(app.session_state[key]) for key in app.session_state}
    html = offered["Findings as HTML report"]()
    assert {key: repr(app.session_state[key]) for key in app.session_state} == before
    found = re.findall(r"<h2>(.*?)</h2>", html)
    assert found[-1 - len(transfer.PARTS) : -1] == list(transfer.PARTS)
    assert html.count("<figure aria-label") == 6 and "Expected calibration error" in html
    assert "could not be computed" not in re.sub("<script.*?</script>", "", html, flags=re.DOTALL)


def test_what_a_component_has_reported_does_not_stop_a_page() -> None:
    def script() -> None:
        import streamlit as st

        from ui.toolkit.unseen import Unseen

        class Reported(dict):  # type: ignore[type-arg]
            """As Streamlit's: its items are its attributes, and it cannot be copied."""

            def __reduce_ex__(self, protocol: object) -> str:
                raise KeyError("no copy")

        st.session_state["grid"] = Reported(opened="a")
        said = []
        Unseen().run(lambda: said.append(st.session_state["grid"]["opened"]))
        st.write(said[0])

    app = AppTest.from_function(script).run()
    assert not app.exception and app.markdown[0].value == "a"


def test_a_report_does_not_speak_of_clicks() -> None:
    text = "By cosine, 0.9 at most. Click one to open it; bold: the opened one."
    assert without_clicks(text) == "By cosine, 0.9 at most."
    assert without_clicks("Click to enlarge. Two of 3 are wrong.") == "Two of 3 are wrong."


def test_a_finding_reads_plainly_in_the_report() -> None:
    text = "Its files (p = .003): *x* 91% [85, 94]; C:\\dir - a_b"
    assert plain(f"- **{inert(text)}**") == text
