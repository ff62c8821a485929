"""The overview without a browser: how images were generated, where the table says it."""

import argparse
import shlex
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from precompute.__main__ import JOBS
from tests.factory import edit_images
from tests.pages.reading import links_of, noted, text_of
from ui.toolkit import workspaces

Open = Callable[..., AppTest]
MISSING = "does not record how its images were generated"
MADE, CHANGE = "How images were made", "Change it"
"""Parts of the page."""


def generated(path: Path) -> Path:
    def change(table: pd.DataFrame) -> None:
        diffusion = table["generator"].isin(["beta-diff", "gamma-diff"])
        table["model"] = table["generator"].where(~diffusion, "sd")
        table["steps"] = table["generator"].map({"beta-diff": "20", "gamma-diff": "100"}).fillna("")
        number = table.groupby(["generator", "pool"]).cumcount() // 2
        table["group"] = table["pool"] + table["generator"] + number.astype(str)
        table["split"] = number.map(lambda n: "test" if n % 2 else "val" if n % 4 else "train")

    return edit_images(path, change)


def test_steps_and_prompts_are_shown_where_the_table_has_them(
    open_app: Open, synthetic_path: Path, tmp_path: Path
) -> None:
    path = generated(Path(shutil.copytree(synthetic_path, tmp_path / "w")))
    app = open_app(path, "overview", part=MADE)
    assert not app.exception and not app.error and not noted(app, MISSING)
    text = text_of(app).replace("\\", "").replace("`", "")
    assert "sd at 100 steps is detected" in text and "against 20 steps" in text
    assert "2 detectors of other models, 20 images" in text
    assert "Two images of one prompt get the same verdict" in text and "of 4 generators" in text
    assert "(5% FDR; 10 prompts each)" in text  # not their sum: generators may share them


def test_commands_that_change_a_workspace_are_those_of_the_jobs(
    open_app: Open, synthetic_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_app(synthetic_path, "overview", part=CHANGE)
    warning = "It names the embedded demo"
    assert not any(warning in caption.value for caption in app.caption)
    monkeypatch.setattr(workspaces, "DEMO", synthetic_path)
    shown_for_demo = open_app(synthetic_path, "overview", part=CHANGE).caption
    assert any(warning in caption.value for caption in shown_for_demo)
    shown = "\n".join(code.value for code in app.code)
    jobs = [shlex.split(line)[3:] for line in shown.splitlines() if "-m precompute" in line]
    assert {job[0] for job in jobs} == {"remove", "subset", "merge", "splits"}
    for job in jobs:
        parser = argparse.ArgumentParser()
        import_module(JOBS[job[0]][0]).add_options(parser)
        assert parser.parse_args(job[1:])


def test_without_them_one_sentence_says_what_to_bring(open_app: Open, synthetic_path: Path) -> None:
    assert noted(open_app(synthetic_path, "overview", part=MADE), MISSING)


def test_steps_of_one_model_alone_say_that_another_is_needed(
    open_app: Open, synthetic_path: Path, tmp_path: Path
) -> None:
    path = generated(Path(shutil.copytree(synthetic_path, tmp_path / "w")))
    edit_images(path, lambda table: table.__setitem__("model", "sd"))
    app = open_app(path, "overview", part=MADE)
    assert not noted(app, MISSING) and noted(app, "add images of a second model")


def test_links_to_a_detector_open_the_best_one_that_the_page_names(
    open_app: Open, synthetic_path: Path
) -> None:
    app = open_app(synthetic_path, "overview")
    [found] = [one.value for one in app.markdown if "the detector of `" in one.value]
    best = found.split("the detector of `")[1].split("`")[0]
    opened = {page: controls["train"] for page, _, controls in links_of(app) if "train" in controls}
    assert opened == {"words": [best], "gallery": [best]}
