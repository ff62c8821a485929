"""Figures of audits: what they draw is in the tables, lines can be clicked, names stay inert."""

from __future__ import annotations

import numpy as np
import pandas as pd

from aigi_core import figures
from aigi_core.audit.facts import association, distribution, file_facts
from aigi_core.audit.verdict import Verdict
from aigi_core.manifest import Domains
from aigi_core.transfer import Estimate
from tests.audit.factory import CONFOUNDED, SIZED, planted_images

IMAGES = planted_images()
DOMAINS = Domains.from_images(IMAGES)
FACTS = file_facts(IMAGES)


def test_interval_groups_place_every_series_beside_its_line() -> None:
    table = pd.DataFrame(
        {
            "name": ["a", "a", "<b>", "<b>"],
            "series": ["one", "two"] * 2,
            "value": [0.5, 0.6, 0.7, np.nan],
            "low": [0.4, 0.5, 0.6, np.nan],
            "high": [0.6, 0.8, 0.9, np.nan],
            "n": [3, 4, 5, 0],
        }
    )
    drawn = figures.interval_groups(
        table, alt="groups", value_title="value", selected="<b>", reference=0.5
    )
    one, two = drawn.data
    assert list(one.x) == [0.5, 0.7] and list(two.x) == [0.6]  # an empty place stays empty
    np.testing.assert_allclose([*one.y, *two.y], [-0.18, 0.82, 0.18])
    np.testing.assert_allclose(
        [one.error_x.array, one.error_x.arrayminus], [[0.1, 0.2], [0.1, 0.1]]
    )
    assert (
        [list(c) for c in one.customdata]
        == [
            ["a"],
            ["<b>"],
        ]
        and one.text[1].startswith("&lt;b&gt;<br>one<br>value: 0.700")
        and one.text[1].endswith("n = 5")
    )
    assert (
        list(drawn.layout.yaxis.ticktext) == ["a", "<b>&lt;b&gt;</b>"]
        and figures.alt_text(drawn) == "groups"
    )


def test_detectors_stand_beside_file_facts() -> None:
    own, facts = (
        Estimate(0.8, 0.7, 0.9, 40),
        {"stored": Estimate(0.9, 0.8, 1.0, 40), "original": Estimate(1, 0.9, 1, 40)},
    )
    verdicts = [
        Verdict("g", own, facts, {}, "explained", 5, 5, ("stored",), content=False, overlay=False),
        Verdict("h", own, facts, {}, "clear", 5, 5, (), content=False, overlay=False),
    ]
    drawn = figures.verdict_intervals(verdicts, selected="h")
    assert [trace.name for trace in drawn.data] == [
        "detector",
        "facts, stored files",
        "facts, original files",
    ]
    assert [list(trace.x) for trace in drawn.data] == [[0.8, 0.8], [0.9, 0.9], [1, 1]]
    assert "File facts do as well: 1 of 2 (g)." in figures.alt_text(drawn)
    chips = [str(note.text) for note in drawn.layout.annotations]
    assert [chip for chip in chips if "▲" in chip or "●" in chip] == [
        "▲ File facts do as well",
        "<b>● No confound found</b>",
    ]


def test_shares_of_a_fact_are_those_of_its_distribution() -> None:
    table = distribution(FACTS, DOMAINS, "format")
    drawn = figures.fact_shares(table, "format")
    heat = drawn.data[0]
    rows, columns = list(drawn.layout.yaxis.ticktext), list(drawn.layout.xaxis.ticktext)
    assert rows == [*DOMAINS.generators, "real, faces", "real, general"] and set(columns) == {
        "PNG",
        "JPEG",
    }
    assert heat.z[rows.index(CONFOUNDED)][columns.index("PNG")] == 1
    np.testing.assert_allclose(np.sum(heat.z, axis=1), 1)
    numbers = figures.fact_shares(distribution(FACTS, DOMAINS, "width"), "width")
    assert numbers.layout.xaxis.title.text == "Width, px" and numbers.data[0].z.shape[1] > 3


def test_facts_are_ordered_by_how_much_they_tell() -> None:
    table = association(FACTS, DOMAINS, [SIZED], draws=20)
    drawn = figures.association_intervals(table, SIZED)
    values = [trace.x[0] for trace in drawn.data]
    assert values == sorted(values, reverse=True) and "width" in drawn.layout.yaxis.ticktext[0]
    assert f"for {SIZED}" in figures.alt_text(drawn)


def test_matching_and_content() -> None:
    within = pd.DataFrame(
        {
            "train": ["a", "a", "b"],
            "test": ["a", "b", "b"],
            "accuracy": [0.9, 0.5, 0.8],
            "accuracy_low": [0.8, 0.4, 0.7],
            "accuracy_high": [1, 0.6, 0.9],
            "within": [0.7, 0.5, np.nan],
            "within_low": [0.6, 0.4, np.nan],
            "within_high": [0.8, 0.6, np.nan],
        }
    )
    drawn = figures.within_intervals(within)
    assert [list(trace.x) for trace in drawn.data] == [
        [0.9, 0.8],
        [0.7],
    ] and "for 1 generator" in figures.alt_text(drawn)
    matched = pd.DataFrame(
        {
            "train": ["a", "a"],
            "test": ["a", "b"],
            "in_domain": [True, False],
            "change": [-0.2, 0.1],
            "low": [-0.3, 0],
            "high": [-0.1, 0.2],
            "n_fake": [9, 9],
        }
    )
    assert [list(trace.x) for trace in figures.matched_intervals(matched).data] == [[-20.0]]
    content = pd.DataFrame(
        {
            "generator": ["a", "b"],
            "separable": [0.6, 0.9],
            "separable_low": [0.5, 0.8],
            "separable_high": [0.7, 1.0],
        }
    )
    assert "highest for b, 0.90" in figures.alt_text(figures.content_intervals(content))
    words = pd.DataFrame(
        {
            "text": ["pizza", "street"],
            "difference": [1.5, -1.0],
            "low": [1, -2],
            "high": [2, -0.5],
        }
    )
    drawn = figures.word_differences(words, "a", theme=figures.DARK)
    assert list(drawn.layout.yaxis.ticktext) == [
        "pizza",
        "street",
    ] and "pizza (+1.5)" in figures.alt_text(drawn)


def test_cells_of_other_splits_have_the_fields_name() -> None:
    one = {"mean": 0.6, "sd": 0.02, "least": 0.55, "most": 0.65, "n": 5}
    summary = pd.DataFrame([{"cells": name, **one} for name in ("in-domain", "ood", "gap")])
    figure = figures.split_ranges(summary)
    assert "out-of-domain" in str(figure.to_dict()) and "'ood" not in str(figure.to_dict())
