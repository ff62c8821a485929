"""The benchmark of methods runs, prints its figures, and refuses to compare what differs."""

import json

import pytest

from benchmarks import methods
from benchmarks.__main__ import main

TINY = ["--generators", "2", "--images", "60", "--width", "16", "--tuned", "4", "--repeats", "1"]


def test_prints_figures_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", *TINY]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"svm_ratio", "knn_ratio", "finetune_overhead"} <= set(figures)
    assert min(figures["svm_decisions_alike"], figures["knn_decisions_alike"]) > 0.999


def test_it_refuses_to_compare_what_differs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = methods.loop_of_svms
    monkeypatch.setattr(methods, "loop_of_svms", lambda *given: -plain(*given))
    assert main(["methods", *TINY]) == 2
    assert "decide differently" in capsys.readouterr().err
