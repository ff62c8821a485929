"""The benchmark of the engine runs end to end on small random features and reports what the issue
asks for.
"""

import json

import numpy as np
import pytest

from benchmarks import engine
from benchmarks.__main__ import main
from benchmarks._clip_like import clip_like


def test_random_features_are_like_clips():
    X, domains = clip_like(3, (30, 12, 12), d=40)
    assert X.shape == (4 * 54, 40) and np.linalg.norm(X, axis=1) == pytest.approx(1)
    assert np.linalg.norm(X.mean(axis=0)) > 0.4
    rows = domains.rows("generator 01", "train")
    assert len(rows) == 60 and domains.labels[rows].mean() == 0.5


def test_prints_figures_as_json(capsys):
    size = ["--d", "30", "--n", "140", "--generators", "3", "--repeats", "1"]
    assert main(["engine", *size, "--parts", "path", "selection"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["selection_score_gap"] == 0
    assert figures["transfer_path"]["same_C"]
    done, of = figures["selection"]["same_choice_as_brute_force"].split(" ")[0], "16"
    assert (
        figures["selection"]["same_choice_as_brute_force"] == f"{done} of {of} sampled steps"
        and done == of
    )
    assert {"transfer_path_ratio", "selection_seconds", "selection_ratio"} <= set(figures)


def test_heads_in_miniature():
    figures = engine.heads(1, 1, layers=1, per_layer=2, width=8, d=24)
    assert figures["heads"]["heads"] == 2 and figures["heads_ratio"] > 0
