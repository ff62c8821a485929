"""The words page without a browser: its numbers are the library's, and its empty and error states say what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.detectors.protocol import train
from aigi_core.explain.cached import WordSettings, compute_words, save_words
from aigi_core.explain.detector_words import detector_words
from aigi_core.explain.effect import concept_effect
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.reading import read
from aigi_core.transfer.metrics import DEFAULT_METRIC
from aigi_core.workspace import Workspace, write_manifest
from tests.pages.test_transfer import said, stats

Open = Callable[..., AppTest]


def test_numbers_are_the_librarys(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "words", train="beta-diff")
    assert not app.exception and not app.error
    detector = train(synthetic, ["beta-diff"])[0]
    found = detector_words(synthetic, Lexicon.of(synthetic, "phrases"), detector)
    assert f"<b>{found.top_cosine:.3f}</b>" in stats(app) and f"<b>{found.p_value:.2g}</b>" in stats(app)
    assert str(found.nearest["text"][0]) in said(app)
    assert ("Nothing that words can tell" in said(app)) is not found.nameable


@pytest.mark.parametrize("how", ["each family", "all but one"])
@pytest.mark.parametrize("view", ["Residual", "Embedding, unnormalised"])
def test_every_setting_by_link(open_app: Open, synthetic: Workspace, how: str, view: str) -> None:
    app = open_app(
        synthetic.path, "words", sets=how, view=view, bias="0", bank="vocabulary", categories=["kind 1", "kind 3"],
        centred="0", shown="5", all="1",
    )  # fmt: skip
    assert not app.exception and not app.warning
    errors = [error.value for error in app.error]  # three families are too few for a correlation, and the page says so
    assert len(errors) == (how == "each family") and all("at least 4" in error for error in errors)


def test_a_concept_taken_away_is_the_librarys(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "words", remove="phrases 3; Vocabulary 7", train="gamma-diff")
    assert not app.exception and not app.error
    sets = [(name,) for name in synthetic.domains.generators]
    readings = [read(synthetic, detector) for detector in train(synthetic, synthetic.domains.generators)]
    lexicon = Lexicon.of(synthetic, ["phrases", "vocabulary"])
    effect = concept_effect(synthetic, readings, sets, lexicon, ["phrases 3", "vocabulary 7"], metric=DEFAULT_METRIC)
    assert effect.in_words("gamma-diff") in said(app)


def test_own_phrases_without_the_text_tower(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "words", own="phrases 1; phrases 2")
    assert not app.error and "The nearest of your phrases" in said(app)
    app = open_app(synthetic.path, "words", own="a phrase nobody wrote", remove="phrases 1")
    assert not app.exception and len(app.error) == 1
    assert "text tower cannot be loaded here" in app.error[0].value.replace("\\", "")
    assert "out of domain" in said(app)  # the rest of the page goes on


def test_precomputed_words_are_read(open_app: Open, synthetic: Workspace, tmp_path: Path) -> None:
    path = Path(shutil.copytree(synthetic.path, tmp_path / "w"))
    before = open_app(path, "words")
    assert any("precompute words" in caption.value for caption in before.caption)
    workspace, wanted = Workspace.open(path), WordSettings()
    key = save_words(workspace, compute_words(workspace, WordSettings(draws=20, spans=3)))
    folder = workspace.result_path("words", key)
    folder.rename(workspace.result_path("words", wanted.for_workspace(workspace).key(workspace)))
    after = open_app(path, "words")
    assert not after.exception and not after.error
    assert not any("precompute words" in caption.value for caption in after.caption)
    assert "Spearman" in said(after) and "Spearman" not in said(before)


def test_the_same_detector_twice_is_one_sentence(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "words", train="beta-diff", train_b="beta-diff", view_b="Embedding")
    assert not app.exception and len(app.error) == 1 and "length zero" in app.error[0].value


def test_without_text_banks_one_sentence(open_app: Open, synthetic: Workspace, tmp_path: Path) -> None:
    path = Path(shutil.copytree(synthetic.path, tmp_path / "w"))
    write_manifest(path, json.loads((path / "workspace.json").read_text()) | {"text": {}})
    app = open_app(path, "words")
    assert not app.exception and len(app.error) == 1 and "precompute text" in app.error[0].value


def test_broken_query_shows_the_default_and_says_so(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "words", bank="<b>none</b>", text="nothing", shown="900", categories="kind 99")
    assert not app.exception and not app.error and len(app.warning) == 4
