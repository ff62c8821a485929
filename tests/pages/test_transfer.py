"""The transfer page without a browser: its numbers are the library's, and its empty and error
states say what to do.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.calibration.thresholds import calibration_table, threshold_table
from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.features import EmbeddingView, HeadsView
from aigi_core.detectors.protocol import PAPER_C, Protocol
from aigi_core.detectors.residual import train_residual
from aigi_core.detectors.training import train
from aigi_core.statements import number, p_text
from aigi_core.transfer import Atlas, d_eval, difference, transfer_matrix
from aigi_core.workspace import Workspace, write_manifest
from tests.factory import make_workspace, with_images
from tests.pages.reading import noted, stats, tables, text_of, with_how
from ui.toolkit import kept
from ui.toolkit.tables import readable

BALANCED = Protocol(class_weight="balanced")
Open = Callable[..., AppTest]


def test_numbers_are_the_librarys(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "transfer")
    assert not app.exception and not app.error
    detectors = train(synthetic, synthetic.domains.generators, protocol=BALANCED)
    scores = score_detectors(detectors, synthetic)
    edge = sum(one.C in (min(PAPER_C), max(PAPER_C)) for one in detectors)
    assert edge, "the sentence below is put to the test"
    assert f"edge of its grid for {edge} of {len(detectors)} detectors." in text_of(with_how(app))
    matrix = transfer_matrix(
        scores, synthetic.domains, synthetic.domains.generators, metrics=("balanced_accuracy",)
    )
    ood, inside = (
        matrix.mean("balanced_accuracy", ~matrix.in_domain),
        matrix.mean("balanced_accuracy", matrix.in_domain),
    )
    assert f"<b>{ood.value:.3f}</b>" in stats(app) and f"{ood.low:.3f} to {ood.high:.3f}" in stats(
        app
    )
    assert f"**{inside.value:.3f}**" in text_of(app)


@pytest.mark.parametrize("how", ["each family", "all but one"])
@pytest.mark.parametrize("view", ["Residual", "Embedding, unnormalised"])
def test_every_setting_by_link(open_app: Open, synthetic: Workspace, how: str, view: str) -> None:
    app = open_app(
        synthetic.path, "transfer", sets=how, view=view, bias="0", metric="AUC", compare="1"
    )
    assert not app.exception and not app.error and not app.warning
    assert "AUC" in text_of(app) and "and B **" in text_of(app)


def test_views_of_a_search_are_judged_on_what_it_has_not_seen(
    open_app: Open, searched: Workspace
) -> None:
    pair, query = ("alpha-gan", "gamma-diff"), {"d1": "alpha-gan", "d2": "gamma-diff"}
    names, atlas = d_eval(searched.domains, pair), Atlas.open(searched)
    matrices = {}
    for title, view in (
        ("Heads", HeadsView(atlas.top_heads(*pair))),
        ("Components removed", EmbeddingView(without=atlas.removed(pair))),
        ("Embedding", EmbeddingView()),
    ):
        scores = score_detectors(train(searched, names, view, BALANCED), searched)
        matrices[title] = transfer_matrix(
            scores, searched.domains, names, names, metrics=("balanced_accuracy",)
        )
        if title != "Embedding":
            app = open_app(searched.path, "transfer", view=title, **query)
            assert not app.exception and not app.error and not app.warning
            ood = matrices[title].mean("balanced_accuracy", ~matrices[title].in_domain)
            assert f"<b>{ood.value:.3f}</b>" in stats(app) and f"{ood.n} cells" in stats(app)
            assert (
                app.selectbox(key="train").options
                == list(names)
                == app.selectbox(key="test").options
            )
            assert "the other generators only (D_eval)" in text_of(with_how(app))
    for title in ("Heads", "Embedding"):  # A beside B, both on B's D_eval
        app = open_app(
            searched.path,
            "transfer",
            view=title,
            compare="1",
            view_b="Components removed",
            d1_b=pair[0],
            d2_b=pair[1],
            **(query if title == "Heads" else {}),
        )
        assert not app.exception and not app.error and not app.warning
        gap = difference(matrices[title], matrices["Components removed"], "balanced_accuracy").mean(
            ~matrices[title].in_domain
        )
        assert f"a difference of {number(100 * gap.value, 1, signed=True)} points" in text_of(
            app
        ) and f"{p_text(gap.p_value)}, {gap.n} paired cells" in text_of(app)


def test_another_method_is_compared_on_what_it_takes(open_app: Open, synthetic: Workspace) -> None:
    """B begins with the residual, which other methods do not take: then with A's own view."""
    app = open_app(synthetic.path, "transfer", compare="1")
    assert app.selectbox(key="view_b").value == "Residual"
    app = app.selectbox(key="method_b").select("Ridge regression").run()
    assert app.selectbox(key="view_b").value == app.selectbox(key="view").value
    assert not app.exception and not app.error and "and B **" in text_of(app)


def test_views_of_a_search_name_the_job_where_nothing_was_searched(
    open_app: Open, tmp_path: Path
) -> None:
    app = open_app(make_workspace(tmp_path / "w", seed=1), "transfer", view="Heads")
    assert noted(app, "precompute search")


def test_plain_accuracy_comes_with_what_the_larger_class_reaches(
    open_app: Open, synthetic: Workspace
) -> None:
    app = open_app(synthetic.path, "transfer", metric="Accuracy")
    assert [("larger class reaches up to 0.50" in i.value) for i in app.info] == [True]
    assert not open_app(synthetic.path, "transfer").info


def test_an_unreachable_rate_is_reported_with_what_it_needs(
    open_app: Open, synthetic: Workspace
) -> None:
    app = open_app(synthetic.path, "transfer", metric="Accuracy at 5% FPR on validation reals")
    reals = len(synthetic.domains.real_rows("alpha-gan", "val"))
    notes = [info.value for info in app.info]
    assert any(
        "alpha-gan" in note and f"5.0% needs 19 real images, there are {reals}" in note
        for note in notes
    )


def test_broken_query_shows_the_default_and_says_so(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "transfer", train="<b>nobody</b>", metric="Guess")
    assert not app.exception and not app.error
    assert len(app.warning) == 2 and "default is shown" in app.warning[0].value
    assert "nobody" in app.warning[1].value and "<b>" not in app.warning[1].value


def test_a_missing_side_names_the_generator(
    open_app: Open, synthetic: Workspace, tmp_path: Path
) -> None:
    def no_test_reals(table: pd.DataFrame) -> None:
        table.loc[(table["label"] == 0) & (table["pool"] == "faces"), "split"] = "train"

    app = open_app(with_images(synthetic.path, tmp_path / "w", no_test_reals), "transfer")
    assert not app.exception and len(app.error) == 1
    assert "alpha\\-gan" in app.error[0].value and "no real images" in app.error[0].value


def test_no_fakes_at_all(open_app: Open, synthetic: Workspace, tmp_path: Path) -> None:
    def only_reals(table: pd.DataFrame) -> None:
        table.loc[table["label"] == 1, ["label", "generator", "family"]] = [0, "", ""]

    app = open_app(with_images(synthetic.path, tmp_path / "w", only_reals), "transfer")
    assert not app.exception and [("holds no fake images" in e.value) for e in app.error] == [True]


def test_without_text_banks_only_the_words_are_missing(
    open_app: Open, synthetic: Workspace, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(synthetic.path, tmp_path / "w"))
    manifest = json.loads((path / "workspace.json").read_text()) | {"text": {}}
    write_manifest(path, manifest)
    app = open_app(path, "transfer", part="Words")
    assert noted(app, "precompute text") and len(app.get("plotly_chart")) == 1
    app = app.segmented_control(key="part").select("By family and generator").run()
    assert not noted(app, "precompute text") and len(app.get("plotly_chart")) == 3


@pytest.mark.parametrize("view", ["Embedding", "Residual"])
def test_a_cells_threshold_and_probabilities(
    open_app: Open, synthetic: Workspace, view: str
) -> None:
    app = open_app(
        synthetic.path,
        "transfer",
        train="beta-diff",
        test="gamma-diff",
        view=view,
        part="Threshold and probabilities",
        calibrated="temperature",
    )
    assert not app.exception and not app.error and not app.warning
    protocol = Protocol(refit=False)
    [detector] = (train if view == "Embedding" else train_residual)(
        synthetic, ["beta-diff"], protocol=protocol
    )
    scores = score_detectors([detector], synthetic)
    wanted = threshold_table(scores, synthetic.domains, ["beta-diff"], ["gamma-diff"]).drop(
        columns=["train", "test"]
    )
    shown = next(table for table in tables(app) if "false alarm rate" in table.columns)
    pd.testing.assert_frame_equal(shown, readable(wanted))
    [error] = calibration_table(
        scores, synthetic.domains, ["beta-diff"], ["gamma-diff"], methods=["temperature"]
    )["ece"]
    assert any(
        f"Expected calibration error {error:.3f}" in chart.proto.alt
        for chart in app.get("plotly_chart")
    )


def test_the_state_of_results_is_looked_at_once_a_run(
    open_app: Open, synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Path] = []
    look = kept.results_state

    def counted(path: Path) -> dict[str, list[list[Any]]]:
        looks.append(path)
        return look(path)

    monkeypatch.setattr(kept, "results_state", counted)
    open_app(synthetic.path, "transfer")
    inside = looks.count(synthetic.path)
    looks.clear()
    open_app(synthetic.path, "transfer")
    assert 0 < looks.count(synthetic.path) <= inside <= 2


def test_a_link_of_a_comparison_says_what_b_is(open_app: Open, synthetic: Workspace) -> None:
    """Another default of B may be chosen one day; links made before keep their meaning."""
    app = open_app(synthetic.path, "transfer", compare="1", bias_b="0")
    link = {name: str(app.query_params[name]).strip("[]'") for name in app.query_params}
    assert link["view_b"] == "Residual" and link["bias_b"] == "0"
    assert link["method_b"] == "Logistic regression" and "view" not in link
