"""Every page on workspaces that lack something, and by broken links: one sentence that says what to
do, and no trace.
"""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.workspace import Workspace, write_manifest
from precompute.__main__ import main
from tests.factory import edit_images, without_heads
from tests.pages.reading import bare_statistics, notes, text_of
from ui.toolkit.router import PAGES

Open = Callable[..., AppTest]
UNFORESEEN = "could not be computed"


def errors(app: AppTest) -> list[str]:
    """The page's messages; fails where one was not foreseen or is no sentence."""
    assert not app.exception
    result = [error.value.replace("\\", "") for error in app.error]
    assert not [
        message for message in result if UNFORESEEN in message or not message.endswith(".")
    ], result
    return result


def no_banks(path: Path) -> Path:
    write_manifest(path, json.loads((path / "workspace.json").read_text()) | {"text": {}})
    return path


def no_fakes(path: Path) -> Path:
    def change(table: pd.DataFrame) -> None:
        table.loc[table["label"] == 1, ["label", "generator", "family"]] = [0, "", ""]

    return edit_images(path, change)


def one_generator(path: Path) -> Path:
    def change(table: pd.DataFrame) -> None:
        others = (table["label"] == 1) & (table["generator"] != "beta-diff")
        table.loc[others, ["label", "generator", "family"]] = [0, "", ""]

    return edit_images(path, change)


def no_test_reals(path: Path) -> Path:
    def change(table: pd.DataFrame) -> None:
        table.loc[(table["label"] == 0) & (table["pool"] == "faces"), "split"] = "train"

    return edit_images(path, change)


def no_training_fakes(path: Path) -> Path:
    def change(table: pd.DataFrame) -> None:
        table.loc[table["generator"] == "gamma-diff", "split"] = "test"

    return edit_images(path, change)


STATES = {
    "no text banks": no_banks,
    "no heads": without_heads,
    "no fakes": no_fakes,
    "one generator": one_generator,
    "no real test images": no_test_reals,
    "no training fakes": no_training_fakes,
}
SENTENCES = {
    "no text banks": ("precompute text", {"words"}),
    "no heads": ("precompute encode", {"heads", "gallery"}),
    "no fakes": ("no fake images", {"overview", "transfer", "train", "heads", "words", "gallery"}),
    "no real test images": ("no real images", {"overview", "transfer", "train", "words"}),
    "one generator": ("there is no other generator to test them on", {"overview"}),
    "no training fakes": ("gamma-diff", {"overview", "transfer", "words"}),
}
"""State -> what these pages say there, at least."""


@pytest.fixture(scope="module")
def lacking(
    synthetic_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The workspace of a state, one for all pages; read only."""

    @cache
    def make(state: str) -> Path:
        path = tmp_path_factory.mktemp("lacking") / "w"
        return STATES[state](Path(shutil.copytree(synthetic_path, path)))

    return make


@pytest.mark.parametrize("stem", PAGES)
@pytest.mark.parametrize("state", STATES)
def test_what_is_missing_is_reported(
    open_app: Open, lacking: Callable[[str], Path], stem: str, state: str
) -> None:
    app = open_app(lacking(state), stem)
    result = [*errors(app), *notes(app), text_of(app)]
    says, pages = SENTENCES.get(state, ("", set()))
    assert stem not in pages or any(says in message for message in result), result


@pytest.mark.parametrize("stem", PAGES)
def test_numbers_have_intervals_and_a_broken_link_shows_the_defaults(
    open_app: Open, searched: Workspace, stem: str
) -> None:
    whole = open_app(searched.path, stem)
    assert errors(whole) == []
    assert bare_statistics(whole) == []
    free = {field.key for field in whole.text_input}
    known = "_control_names" in whole.session_state and whole.session_state["_control_names"]
    controls = sorted(set(known or ()) - free)
    broken = open_app(searched.path, stem, **dict.fromkeys(controls, "<b>nothing</b>"))
    assert errors(broken) == [] and len(broken.warning) - len(whole.warning) == len(controls)
    assert all("<b>" not in warning.value for warning in broken.warning)
    assert [b.value for b in broken.markdown][:1] == [b.value for b in whole.markdown][:1]


@pytest.mark.parametrize("stem", PAGES)
def test_an_empty_selection_asks_for_one(open_app: Open, searched: Workspace, stem: str) -> None:
    for field in open_app(searched.path, stem).multiselect:
        errors(open_app(searched.path, stem, **{str(field.key): ""}))


def test_words_of_one_generator_tell_all_but_what_needs_others(
    open_app: Open, synthetic_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "w"
    subset = ["subset", "--workspace", str(synthetic_path), "--generators", "beta-diff"]
    assert main([*subset, "--out", str(path)]) == 0
    app = open_app(path, "words")
    text = " ".join(str(m.value) for m in app.markdown)
    assert "the workspace holds no other images" in text
    assert "a detector of file facts alone" in text
    assert not errors(app)
