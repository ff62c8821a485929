"""The stress page without a browser: its numbers are the library's; empty states name the command
that fills them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from aigi_core import stress as s
from aigi_core.stress import AUGMENTED, CLEAN
from aigi_core.workspace import Workspace, read_manifest, write_manifest
from tests.factory import make_workspace, put_images
from tests.pages.reading import noted, stats, text_of
from tests.stress.factory import EVERY, add_copies

Open = Callable[..., AppTest]


@pytest.fixture(scope="module")
def perturbed(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """JPEG at two strengths on all images, a blur of the test images with their heads."""
    path = make_workspace(tmp_path_factory.mktemp("stressed") / "w", per_class=80)
    opened, rng = Workspace.open(path), np.random.default_rng(0)
    X, z = np.array(opened.embeddings), np.array(opened.heads, np.float32)
    for op, size in (("jpeg:70", 0.5), ("jpeg:30", 8.0)):
        add_copies(path, op, X + size * rng.standard_normal(X.shape), EVERY)
    add_copies(
        path,
        "blur:2",
        X + rng.standard_normal(X.shape),
        ("test",),
        z + rng.standard_normal(z.shape),
    )
    return Workspace.open(path)


def test_numbers_are_the_librarys(open_app: Open, perturbed: Workspace) -> None:
    app = open_app(perturbed.path, "stress")
    assert not app.exception and not app.error and not app.warning
    result = s.stress(perturbed, metrics=("balanced_accuracy",), trained_on=(CLEAN, AUGMENTED))
    table = (
        result.summary()
        .query("trained == 'clean' and side == 'both' and cells == 'in-domain'")
        .set_index("op")
    )
    worst = table.drop(CLEAN).sort_values("change").iloc[0]
    losing = ((table["change"] < 0) & (table["q_value"] < 0.05)).sum()
    assert f"{losing} of 3 operations {'costs' if losing == 1 else 'cost'} accuracy" in text_of(
        app
    ) and f"**{worst['value']:.3f}**" in text_of(app)
    change, low = (100 * worst[column] for column in ("change", "change_low"))
    assert f"{change:+.1f} points (95% interval {low:+.1f}" in text_of(app)
    assert f"<b>{table.loc[CLEAN, 'value']:.3f}</b>" in stats(
        app
    ) and f"<b>{worst['value']:.3f}</b>" in stats(app)
    assert (
        app.session_state["op"]
        == {"jpeg:30": "JPEG 30", "jpeg:70": "JPEG 70", "blur:2": "blur 2 px"}[str(worst.name)]
    )


@pytest.mark.parametrize("side", ["Fakes only", "Real images only"])
def test_every_setting_by_link(open_app: Open, perturbed: Workspace, side: str) -> None:
    def opened(part: str, **own: str | list[str]) -> AppTest:
        setting = {"op": "JPEG 70", "side": side, "cells": "Out of domain", "part": part}
        app = open_app(perturbed.path, "stress", **setting, **own)
        assert not app.exception and not app.error and not app.warning
        return app

    app = opened("By generator", kind="JPEG", tests=["beta-diff"])
    assert app.multiselect(key="tests").value == ["beta-diff"]
    app = opened("Training on copies", copies="copies only: JPEG 30")
    assert "copies only: JPEG 30" in app.query_params["copies"]
    opened("Before and after")
    app = opened("Components")
    stability = s.component_stability(perturbed, "jpeg:70")
    weakest = stability.sort_values("correlation").iloc[0]
    assert (
        f"Lowest is component {int(weakest['component'])}: {weakest['correlation']:.2f}"
        in text_of(app)
    )
    shown = text_of(opened("Heads"))
    command = shown[shown.index("without heads") :].split("`")[1]
    assert "--ops jpeg:70" in command and command.endswith("--heads")


def test_heads_are_tested_by_a_button(open_app: Open, perturbed: Workspace) -> None:
    app = open_app(perturbed.path, "stress", op="blur 2 px", part="Heads", train="gamma-diff")
    charts = len(app.get("plotly_chart"))
    [button] = [button for button in app.button if button.label == "Test every head"]
    button.click().run()
    assert not app.exception and not app.error and len(app.get("plotly_chart")) == charts + 1
    heads = s.robust_heads(perturbed, "blur:2", "gamma-diff")
    lost = ((heads["q_value"] < 0.05) & (heads["change"] < 0)).sum()
    assert any(
        f"{lost} lose accuracy at a false discovery" in chart.proto.alt
        for chart in app.get("plotly_chart")
    )


def test_without_copies_it_says_which_command_makes_them(
    open_app: Open, synthetic: Workspace
) -> None:
    app = open_app(synthetic.path, "stress")
    assert not app.exception and not app.error and "no perturbed copies" in text_of(app)
    assert f"precompute perturb --workspace {synthetic.path} --ops jpeg:90" in app.info[0].value


def test_without_training_copies_the_rest_stands(
    open_app: Open, perturbed: Workspace, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(perturbed.path, tmp_path / "w"))
    manifest = read_manifest(path)
    manifest["perturbed"] = {"blur-2": manifest["perturbed"]["blur-2"]}
    write_manifest(path, manifest)
    app = open_app(
        path, "stress", part="Training on copies"
    )  # same digest, other copies: nothing of the first is shown
    assert not app.exception and not app.error and "of 1 operation" in text_of(app)
    assert "--splits train val test" in text_of(app)


def test_copies_of_an_earlier_state_are_one_sentence(
    open_app: Open, perturbed: Workspace, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(perturbed.path, tmp_path / "w"))
    manifest = read_manifest(path)
    manifest["perturbed"]["jpeg-30"]["workspace_digest"] = "0" * 12
    write_manifest(path, manifest)
    app = open_app(path, "stress")
    assert noted(app, "earlier state")


def test_one_generator_has_no_cell_out_of_domain(open_app: Open, tmp_path: Path) -> None:
    path = make_workspace(tmp_path / "w")
    images = Workspace.open(path).images.assign(left_out="")
    images.loc[images["label"] == 1, ["generator", "family", "pool"]] = ["only", "gan", "general"]
    put_images(path, images)
    opened = Workspace.open(path)
    add_copies(path, "jpeg:50", np.array(opened.embeddings) + 1, ("test",))
    app = open_app(path, "stress")
    assert not app.exception and not app.error
    app = open_app(path, "stress", cells="Out of domain")
    assert (
        not app.exception and not app.error and len(app.warning) == 1
    )  # it does not exist here: the default is shown


def test_broken_query_shows_the_default_and_says_so(open_app: Open, perturbed: Workspace) -> None:
    app = open_app(
        perturbed.path,
        "stress",
        op="<b>",
        side="left",
        cells="none",
        kind="smell",
        tests="x",
    )
    assert not app.exception and not app.error and len(app.warning) == 5
    app = open_app(perturbed.path, "stress", part="Training on copies", copies="nothing")
    assert not app.exception and not app.error and len(app.warning) == 1
