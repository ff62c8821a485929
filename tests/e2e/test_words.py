"""The words page in a real browser: numbers, clicks, keyboard, looks."""

from typing import Any

import pytest

from aigi_core.detectors.training import train
from aigi_core.explain.detector_words import detector_words
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.words import Words
from aigi_core.workspace import Workspace
from benchmarks._app_in_browser import App

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def words(synthetic: Workspace) -> Words:
    return detector_words(synthetic, Lexicon.of(synthetic), train(synthetic, ["beta-diff"])[0])


def test_click_a_text_and_take_it_away(app: App, words: Words) -> None:
    app.open("words", train="beta-diff")
    assert app.stats["Nearest text's cosine"][0] == f"{words.top_cosine:.3f}"
    assert str(words.nearest["text"][0]) in app.alt("nearest")
    app.click_point("nearest", 2)
    app.wait_for_query("text", words.nearest["text"][2])
    assert app.selected("Opened text") == words.nearest["text"][2]
    app.press("Remove it")
    app.wait_for_query("remove", words.nearest["text"][2])
    assert app.errors == [] and "controls" in app.alt("concept")
    assert app.violations() == [] and app.fits


def test_keyboard_path_and_link(app: App, browser: Any, server: Any, words: Words) -> None:
    app.open("words", train="beta-diff")
    app.choose("Opened text", words.farthest["text"][1])
    app.wait_for_query("text", words.farthest["text"][1])
    app.choose("Text bank", "vocabulary")
    app.wait_for_query("bank", "vocabulary")
    app.show_part("Your own phrases")
    app.fill("Phrases, separated by semicolons", "phrases 4; vocabulary 9")
    app.wait_for_query("own", "phrases 4; vocabulary 9")
    other = App(browser, server.url)
    other.page.goto(app.share_link())
    other.settled()
    assert other.stats == app.stats and "phrases 4" in other.alt("own-list")
    assert other.violations() == [] and other.fits
    other.close()
