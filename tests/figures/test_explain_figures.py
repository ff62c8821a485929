"""Figures of explanations: what is drawn is what was found, and the alternative text says it."""

import numpy as np
import pandas as pd
import pytest

from aigi_core import figures
from aigi_core.detectors.training import train
from aigi_core.explain.effect import concept_effect
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.nameability import nameability
from aigi_core.explain.nulls import word_null
from aigi_core.explain.reading import read
from aigi_core.explain.words import words
from aigi_core.workspace import Workspace


def test_word_list_counts_what_is_beyond_chance(synthetic: Workspace) -> None:
    lexicon = Lexicon.of(synthetic, centred=False)
    null = word_null(lexicon, np.random.default_rng(0).standard_normal((99, 24)), "random")
    text = words(lexicon, lexicon.vectors[4], null=null, name="planted")
    figure = figures.listed_words(text, "nearest", 5)
    assert "planted" in figures.alt_text(figure) and "phrases 4 (1.00)" in figures.alt_text(figure)
    assert len(figure.data[-1].x) == 5 and figure.layout.yaxis.ticktext[0] == "<b>phrases 4</b>"
    assert (
        text.listed("nearest")["similar"].dtype.kind == "i"
        and text.opened("phrases 4")["text"][0] == "phrases 4"
    )
    assert text.chance[0] <= text.chance[1] <= text.chance[2] < text.top_cosine


def test_nameability_says_its_correlation() -> None:
    table = pd.DataFrame(
        {
            "detector": list("abcde"),
            "family": ["gan"] * 5,
            "nearest": list("vwxyz"),
            "nameable": [0.1, 0.2, 0.3, 0.4, 0.5],
            "ood": [0.9, 0.8, 0.7, 0.6, 0.5],
            "p_value": [0.2, 0.2, 0.2, 0.2, np.nan],
        }
    )
    table = table.assign(ood_low=table["ood"] - 0.1, ood_high=table["ood"] + 0.1, n_ood=4)
    result = nameability(table, draws=200)
    assert "do worse" in result.in_words() and "-1.00" in result.in_words()
    figure = figures.nameability_scatter(result, {}, x_title="cosine", selected="b")
    assert "-1.00" in figures.alt_text(figure) and figure.data[0].x[0] == 0.1
    assert figure.data[0].hovertext[0].split("<br>") == [
        "a",
        "nearest: v",
        "cosine: 0.100",
        "p = .200",
        "Balanced accuracy out of domain: 0.900",
        "95% interval: 0.800 to 1.000",
        "4 generators",
    ]
    assert "gan -1.00" in figures.alt_text(figures.nameability_intervals(result))


def test_effect_draws_each_detector_before_its_controls(synthetic: Workspace) -> None:
    generators = synthetic.domains.generators
    readings = [read(synthetic, detector) for detector in train(synthetic, generators)]
    effect = concept_effect(
        synthetic, readings, generators, Lexicon.of(synthetic), ["phrases 2"], controls=5, draws=50
    )
    figure = figures.effect_intervals(effect, "ood")
    table = effect.table[effect.table["cells"] == "ood"]
    band = figure.data[0]
    assert np.asarray(band.base) == pytest.approx(100 * table["control_low"].to_numpy())
    assert list(figure.data[1].x) == pytest.approx((100 * table["change"]).to_list())
    words = effect.in_words("beta-diff")
    row = table[table["detector"] == "beta-diff"].iloc[0]
    assert f"from {row['before']:.3f} to {row['after']:.3f}" in words and "5 controls" in words


def test_head_map_reports_heads_and_outlines_the_chosen() -> None:
    rows = [
        {"head": f"{i}.{j}", "layer": i, "index": j, "accuracy": (3 * i + j) / 10}
        for i in range(2)
        for j in range(3)
    ]
    table = pd.DataFrame(rows).sample(frac=1, random_state=0)
    table = table.assign(low=table["accuracy"] - 0.01, high=table["accuracy"] + 0.01)
    figure = figures.head_map(
        table,
        "accuracy",
        ends=("low", "high"),
        value_title="accuracy",
        measured_on="7 images",
        selected="1.0",
        chosen=["0.2", "1.2"],
    )
    tip = figure.data[1].hovertext[5].split("<br>")
    assert tip[-3:] == ["accuracy: 0.500", "95% interval: 0.490 to 0.510", "7 images"]
    assert [row[0] for row in figure.data[1].customdata] == [
        "0.0",
        "0.1",
        "0.2",
        "1.0",
        "1.1",
        "1.2",
    ]
    assert figure.data[0].z.ravel() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert "is head 1.2 with 0.500" in figures.alt_text(figure)
    assert [shape.path for shape in figure.layout.shapes] == [
        # chosen: row 0 and row 1 of column 2
        "M1.55,-0.45H2.45V0.45H1.55ZM1.55,0.55H2.45V1.45H1.55Z",
        "M-0.5,0.5H2.5V1.5H-0.5ZM-0.5,-0.5V1.5H0.5V-0.5Z",  # its row and its column
        "M-0.45,0.55H0.45V1.45H-0.45Z",  # selected: row 1 of column 0
    ]


def test_roles_say_where_a_head_carries_and_misleads() -> None:
    roles = pd.DataFrame(
        {
            "generator": ["a", "b"],
            "gap": [0.5, -0.2],
            "low": [0.4, -0.3],
            "high": [0.6, -0.1],
            "role": ["carries", "misleads"],
            "n_fake": [3, 4],
            "n_real": [5, 6],
            "spread": [0.5, 0.5],
        }
    )
    figure = figures.role_intervals(roles, "1.2", {})
    assert "It helps the detector on 1 generator and misleads it on 1" in figures.alt_text(figure)
    assert list(figure.data[0].x) == [1.0, -0.4] and "n = 8" in figure.layout.yaxis.ticktext[0]
