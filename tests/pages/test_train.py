"""The train page without a browser: several generators to train on, some to test on, kept
detectors, long work.
"""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.detectors.detector import Detector, LinearDetector, score_detectors
from aigi_core.detectors.features import EmbeddingView
from aigi_core.detectors.methods.base import penalty_in_words, tied_in_words
from aigi_core.detectors.protocol import PAPER_C, Protocol
from aigi_core.detectors.training import train
from aigi_core.explain.detector_words import detector_words
from aigi_core.explain.lexicon import Lexicon
from aigi_core.statements import estimated
from aigi_core.transfer import rank_for_targets, trainer, transfer_matrix
from aigi_core.workspace import Workspace
from tests.pages.reading import headline, links_of, noted, stats, tables, text_of
from ui import results
from ui.bodies.training import against_others
from ui.results import archive, trained
from ui.toolkit import costly

Open = Callable[..., AppTest]


def test_numbers_are_the_librarys(open_app: Open, synthetic: Workspace) -> None:
    pair, tests = ("delta-ar", "beta-diff"), ("alpha-gan", "beta-diff", "gamma-diff")
    app = open_app(synthetic.path, "train", trained=list(pair), tests=list(tests), metric="AUC")
    assert not app.exception and not app.error and not app.warning
    scores = score_detectors(train(synthetic, [pair]), synthetic)
    matrix = transfer_matrix(scores, synthetic.domains, [pair], tests, metrics=("auc",))
    inside, ood = (matrix.mean("auc", cells) for cells in (matrix.in_domain, ~matrix.in_domain))
    assert f"{estimated(inside, 'generator')} on generators it was trained on" in text_of(app)
    assert f"{estimated(ood, 'generator')} on generators it has never seen" in text_of(app)


def test_a_ranking_by_a_method_that_takes_long_waits_for_a_yes(
    open_app: Open, synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is the method's own, not that of logistic regression, and the opened set is there
    without it."""
    monkeypatch.setattr(costly, "ASKED", 0.0)
    ranked: list[object] = []
    rank = trained.score_twice
    monkeypatch.setattr(
        trained, "apart", lambda f, *a, **k: (f is rank and ranked.append(f)) or f(*a)
    )
    monkeypatch.setattr(trained, "_ask", lambda *_: None)
    app = open_app(synthetic.path, "train", method="Linear SVM (hinge)", trained="beta-diff")
    assert not app.exception and not app.error and not ranked
    (note,) = {one.value for one in app.info if "Training" in one.value}
    assert "sets by this method takes about 1 second of one core" in note
    assert "Trained on `beta-diff`, a detector reaches" in text_of(app)
    app.button(key="begin-costly").click().run()
    assert not app.exception and not app.error and ranked
    assert "To catch" in text_of(app)


def test_keep_and_compare(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "train", trained="beta-diff")
    app.button(key="keep").click().run()
    app.multiselect(key="trained").set_value(["gamma-diff"]).run()
    assert not app.exception and not app.error
    kept = [table for table in tables(app) if "change, points" in table.columns]
    assert [table["name"].tolist() for table in kept] == [["this one", "beta-diff"]]
    assert kept[0]["n common"].tolist() == ["–", "2"]


def test_the_same_generators_in_another_view_are_kept_under_another_name(
    open_app: Open, synthetic: Workspace
) -> None:
    app = open_app(synthetic.path, "train", trained="beta-diff")
    app.button(key="keep").click().run()
    app.selectbox(key="view").set_value("Residual").run()
    app.toggle(key="bias").set_value(False).run()
    app.button(key="keep").click().run()
    assert set(app.session_state["_saved_detectors"]) == {
        "beta-diff",
        "beta-diff, residual, no bias",
    }


def test_the_recommended_set_is_chosen_on_validation_images_of_the_targets(
    open_app: Open, synthetic: Workspace
) -> None:
    how = (synthetic, EmbeddingView(), Protocol(class_weight="balanced"))
    learn = trainer(*how), trainer(*how, held_out=True)
    ranking = rank_for_targets(*learn, synthetic.domains, ["gamma-diff"], k_max=2)
    best = ranking.table.iloc[0]
    app = open_app(synthetic.path, "train", tests="gamma-diff", k="2")
    assert not app.exception and not app.error
    assert f"train on **`{best['train']}`**" in text_of(app)
    assert f"**{best['test_mean']:.3f}** (95% interval {best['test_mean_low']:.3f}" in text_of(app)
    assert app.multiselect(key="trained").value == list(ranking.best)
    assert "gamma-diff" not in ranking.best
    # the order is that of validation images, which are drawn, too
    specs = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    [marks] = [one for spec in specs for one in spec["data"] if one["name"] == "Validation images"]
    assert marks["hovertext"][0].endswith(f"Validation images: {best['val_mean']:.3f}")
    assert "open diamonds" in text_of(app)
    other = open_app(synthetic.path, "train", tests="gamma-diff", trained="delta-ar")
    assert "The opened set is another" in text_of(other)


def test_residuals_are_not_ranked_and_the_page_stands(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "train", view="Residual")
    assert not app.exception and not app.error and "cannot be ranked" in app.info[0].value


def test_many_images_are_ranked_where_it_is_asked_for(
    open_app: Open, synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained, "LARGE", 10)
    ranked: list[int] = []
    rank = results.ranked_sets
    monkeypatch.setattr(results, "ranked_sets", lambda *asked: ranked.append(1) or rank(*asked))
    app = open_app(synthetic.path, "train")
    assert not app.exception and not app.error and not ranked
    [cost] = [one.value for one in app.caption if "of one core" in one.value]
    assert cost.startswith(f"Trains 10 sets on {len(synthetic.domains)} images: about 1 second ")
    app.button(key="start-rank").click().run()
    assert not app.exception and ranked == [1]
    assert not any("of one core" in one.value for one in app.caption)


def test_no_targets_chosen(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "train", tests="")
    assert noted(app, "choose at least one generator")


def test_no_opened_set_is_the_recommended_one(open_app: Open, synthetic: Workspace) -> None:
    plain, linked = (open_app(synthetic.path, "train", **how) for how in ({}, {"trained": ""}))
    cleared = open_app(synthetic.path, "train", trained="delta-ar")
    assert "opened set is another one" in text_of(cleared)
    cleared.multiselect(key="trained").set_value([]).run()
    for app in (linked, cleared):
        assert not app.exception and not app.error and not app.info and not app.warning
        assert headline(app) == headline(plain) and text_of(app) == text_of(plain)
        assert app.multiselect(key="trained").placeholder == "The recommended set"
        assert app.query_params["trained"] == ""


def test_an_automatic_choice_follows_targets_that_were_cleared(
    open_app: Open, synthetic: Workspace
) -> None:
    app = open_app(synthetic.path, "train")
    before = app.multiselect(key="trained").value
    app.multiselect(key="tests").set_value([]).run()
    app.multiselect(key="tests").set_value([before[0]]).run()
    assert not app.exception and not app.error
    assert "opened set is another one" not in text_of(app)
    assert f"train on **`{' + '.join(app.multiselect(key='trained').value)}`**" in text_of(app)


def test_the_headline_names_what_the_recommended_set_is_compared_with(
    open_app: Open, synthetic: Workspace
) -> None:
    learn = trainer(synthetic), trainer(synthetic, held_out=True)
    same = 0
    for target in synthetic.domains.generators:
        for unseen in (True, False):
            ranking = rank_for_targets(*learn, synthetic.domains, [target], k_max=2, unseen=unseen)
            said = against_others(ranking)
            following, fewer = ranking.test.train[1], ranking.smaller()
            assert f"minus `{' + '.join(following)}` is" in said
            if fewer:
                assert f"minus `{' + '.join(fewer[0])}` is" in said
            once = fewer is None or fewer[0] == following
            same += bool(fewer and once)
            assert said.count(" minus ") == (1 if once else 2)
            assert said.count("1 paired generator") == said.count(" minus ")
    assert same, "the two comparisons are one for some target"


def test_the_only_possible_set_is_no_best_one(open_app: Open, synthetic: Workspace) -> None:
    targets = list(synthetic.domains.generators)[1:]
    app = open_app(synthetic.path, "train", tests=targets, k="1")
    assert not app.exception and "the only possible set." in headline(app)
    assert "best of" not in headline(app)


def test_a_penalty_at_the_edge_of_the_grid_says_what_to_do(synthetic: Workspace) -> None:
    detector = replace(train(synthetic, ["beta-diff"])[0], C=PAPER_C[0])
    assert isinstance(detector, LinearDetector)
    about = penalty_in_words(detector)
    assert f"among {len(PAPER_C)} values from {min(PAPER_C):g} to {max(PAPER_C):g}" in about
    assert "smallest" in about and "Protocol(C=" in about
    assert "Protocol" not in penalty_in_words(replace(detector, C=PAPER_C[1]))
    assert "largest" in penalty_in_words(replace(detector, C=PAPER_C[-1]))


@pytest.mark.parametrize("page", ["train", "words"])
def test_values_of_c_that_do_equally_well_are_counted_beside_the_one_taken(
    open_app: Open, synthetic: Workspace, page: str
) -> None:
    [detector] = train(synthetic, ["beta-diff"], protocol=Protocol(class_weight="balanced"))
    accuracy = detector.provenance["validation"]["accuracy"]
    tied, n = accuracy.count(max(accuracy)), detector.provenance["n_val"]
    assert tied > 1, "this workspace has few validation images"
    app = open_app(synthetic.path, page, train="beta-diff", trained="beta-diff")
    told = f"{tied} of {len(accuracy)} candidates do equally well on {n} validation images"
    assert not app.exception and told in stats(app)
    alone = [*range(len(accuracy))]
    about = {**detector.provenance, "validation": {"accuracy": alone}}
    assert tied_in_words(replace(detector, provenance=about)) == ""
    assert tied_in_words(replace(detector, provenance={})) == ""


def test_residuals_have_no_few_shot_curve_and_say_so(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "train", view="Residual")
    app.button(key="start-few-shot").click().run()
    assert noted(app, "another feature view")


def test_a_downloaded_detector_scores_alike(synthetic: Workspace, tmp_path: Path) -> None:
    detector = train(synthetic, ["beta-diff"])[0]
    zipfile.ZipFile(io.BytesIO(archive(detector))).extractall(tmp_path)
    again = Detector.load(tmp_path / "detector")
    np.testing.assert_array_equal(
        again.decision_function(synthetic), detector.decision_function(synthetic)
    )


@pytest.mark.parametrize("trained", [["beta-diff"], ["delta-ar", "beta-diff"]])
def test_links_lead_on_to_the_same_detector(
    open_app: Open, synthetic: Workspace, trained: list[str]
) -> None:
    app = open_app(synthetic.path, "train", trained=trained, bias="0")
    assert not app.exception and not app.error
    onward = [link for link in links_of(app) if link[0] in ("words", "gallery")]
    assert [page for page, *_ in onward] == ["gallery", "words", "gallery"]
    names = [name for name in synthetic.domains.generators if name in trained]
    own = train(synthetic, [names], protocol=Protocol(fit_intercept=False, class_weight="balanced"))
    for page, _, controls in onward:
        del controls["workspace"]  # by its digest
        opened = open_app(synthetic.path, page, **controls)
        said = [one.value for one in (*opened.error, *opened.warning, *opened.info)]
        assert not (opened.exception or said), page
        assert f"rained on `{' + '.join(names)}`" in text_of(opened)
        if page == "words":
            words = detector_words(synthetic, Lexicon.of(synthetic, "phrases"), own[0])
            assert f"<b>{words.top_cosine:.3f}</b>" in stats(opened)
    alone = [controls["train"] for page, _, controls in links_of(app) if page == "heads"]
    assert alone == [[name] for name in names]
