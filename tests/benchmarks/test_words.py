"""The benchmark of words runs and prints its figures; its two sides agree."""

import json

import pytest

from benchmarks import words
from benchmarks.__main__ import main


def test_prints_figures_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (
        ("IMAGES", 200),
        ("WIDTH", 96),
        ("PHRASES", 300),
        ("TOKENS", 500),
        ("NULLS", 5),
        ("CHOSEN", 6),
    ):
        monkeypatch.setattr(words, name, value)
    assert main(["words", "--repeats", "1"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"textspan_ratio", "search_ms"} <= set(figures) and figures["images"] == 200


def test_it_refuses_to_compare_what_differs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (
        ("IMAGES", 100),
        ("WIDTH", 70),
        ("PHRASES", 50),
        ("TOKENS", 200),
        ("CHOSEN", 3),
    ):
        monkeypatch.setattr(words, name, value)
    monkeypatch.setattr(words, "plain_text_span", lambda outputs, texts, m: [0] * m)
    assert main(["words", "--repeats", "1"]) == 2
    assert "different texts" in capsys.readouterr().err
