"""Figures of attribution: what they say of their results."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from aigi_core.attribution.named import Named
from aigi_core.attribution.tree import GeneratorTree, confusion_tree
from aigi_core.attribution.unknown import OUTCOMES
from aigi_core.figures import DARK, alt_text, generator_tree, source_confusion, unknown_outcomes


def named() -> Named:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(5), 30)
    guess = np.where(rng.random(150) < 0.7, truth, rng.integers(0, 5, 150))
    rows = np.arange(150)
    names = ("real", "<b>one</b>", "two", "three", "four")
    return Named(names, rows, truth, guess, guess, np.full(150, 5), rows)


def test_the_confusion_reports_clicks_and_escapes_names() -> None:
    figure = source_confusion(named(), {"two": "gan"}, selected=("two", "three"), theme=DARK)
    [cells] = [trace for trace in figure.data if trace.name == "cells"]
    one = int((named().named[:30] == 1).sum())  # of the first source, named as the second
    assert f"{one} of 30 images" in str(figure.data)
    assert list(cells.customdata[1]) == ["real", "<b>one</b>"]
    assert "<b>one" not in "".join(figure.layout.yaxis.ticktext) and "mean of" in alt_text(figure)


def test_outcomes_add_up_and_differ_by_more_than_colour() -> None:
    table = pd.DataFrame({"generator": ["one", "two"], "n": [10, 20]})
    for outcome, shares in zip(OUTCOMES, ([0.2, 0.5], [0.3, 0.5], [0.5, 0.0]), strict=True):
        table[[outcome, f"{outcome}_low", f"{outcome}_high"]] = np.repeat([shares], 3, 0).T
    figure = unknown_outcomes(table)
    assert np.allclose(np.sum([bar.x for bar in figure.data], axis=0), 1)
    assert len({bar.marker.pattern.shape for bar in figure.data}) == 3
    assert {bar.marker.pattern.fillmode for bar in figure.data} == {"overlay"}
    assert "unknown (correct) 35%" in alt_text(figure)


def test_every_join_of_the_tree_carries_its_own_stability() -> None:
    made = confusion_tree(named(), draws=30)
    tree = GeneratorTree(**{**vars(made), "stability": np.array([0.9, 0.2, 0.7])})
    figure: go.Figure = generator_tree(tree, ["a", "b", "c", "d"])
    joins = [trace for trace in figure.data if trace.mode == "markers+text"]
    at = {round(float(trace.x[0]), 9): trace.text[0] for trace in joins}
    expected = zip(tree.linkage[:, 2], ("90%", "20%", "70%"), strict=True)
    assert at == {round(float(distance), 9): text for distance, text in expected}
    dashes = [trace.line.dash for trace in figure.data if trace.mode == "lines"]
    assert sorted(dashes) == ["dot", "solid", "solid"]
    assert "four (d)" in figure.layout.yaxis.ticktext
