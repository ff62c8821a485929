"""Tables as people read them: one cell for a value and its interval, "–" for none, nothing raw."""

import io
import re
from csv import reader

import pandas as pd
import pytest

from aigi_core.statements import Finding
from tests.pages.reading import tables_in
from ui.toolkit import tables

TABLE = pd.DataFrame(
    {
        "row": [3, 4],
        "name_of_it": ["a_b & 50%", ""],
        "value": [0.51234567, float("nan")],
        "low": [0.4, float("nan")],
        "high": [0.61, float("nan")],
        "test_mean": [0.5, 0.25],
        "test_mean_low": [0.1, 0.2],
        "test_mean_high": [0.9, float("nan")],
        "n": [1, 2],
    }
)


def test_a_value_stands_with_its_interval() -> None:
    shown = tables.readable(TABLE)
    assert list(shown.columns) == ["name of it", "value", "test mean", "n"]
    assert shown["value"].tolist() == ["0.512 [0.400, 0.610]", "–"]
    assert shown["test mean"].tolist() == ["0.500 [0.100, 0.900]", "0.250 [0.200, –]"]
    assert shown["name of it"].tolist()[1] == "–"


def test_names_of_the_library_are_said_in_words() -> None:
    table = pd.DataFrame(
        {"metric": ["balanced_accuracy"], "cells": ["ood"], "label": [1], "generator": ["auc"]}
    )
    said = ["Balanced accuracy", "out of domain", "fake", "auc"]
    assert tables.readable(table).to_numpy().tolist() == [said]
    assert "balanced_accuracy" in tables.csv(table)


def test_a_score_that_rounds_to_zero_keeps_its_sign_and_a_difference_has_none() -> None:
    table = pd.DataFrame({"score": [-0.00021, 0.1234], "change": [-0.00021, 0.1234]})
    assert tables.readable(table).to_numpy().tolist() == [["-0.0002", "0.0"], ["+0.123", "+12.3"]]


def test_a_page_shows_texts_escaped_and_numbers_to_the_right() -> None:
    html = tables.html(TABLE.assign(name_of_it="<b>x</b>"), alt='"a"')
    assert 'aria-label="&quot;a&quot;"' in html and "<b>" not in html
    [shown] = tables_in(html)
    assert shown.equals(tables.readable(TABLE.assign(name_of_it="<b>x</b>")))
    assert html.count('<th scope="col" class="aigi-number">') == 3
    assert "<bdi>0.512</bdi> <bdi>[0.400, 0.610]</bdi>" in html
    assert "What the columns mean" in html and "How many were counted." in html
    assert "<button" not in tables.html(TABLE, alt="a", sorts=False)


def test_a_small_probability_is_not_rounded_to_nothing() -> None:
    assert tables.readable(pd.DataFrame({"p_value": [0.00012]}))["p"].tolist() == ["< .001"]


def test_differences_stand_in_points_and_their_files_hold_shares() -> None:
    table = pd.DataFrame(
        {
            "train": ["a", "a"],
            "test": ["a", "b"],
            "value": [0.0214, float("nan")],
            "low": [-0.003, 0.0],
        }
    ).assign(high=[0.0458, 0.1], change=[0.1, -0.0004])
    shown = tables.readable(table, tables.DIFFERENCE)
    assert shown["value, points"].tolist() == ["+2.1 [-0.3, +4.6]", "–"]
    assert shown["change, points"].tolist() == ["+10.0", "0.0"]
    assert tables.readable(table, tables.OWN_UNITS)["change"].tolist() == ["0.100", "0.000"]
    html = tables.html(table, tables.DIFFERENCE, alt="a")
    assert html.count(", points</button>") == 2 and tables.IN_POINTS in html
    assert "points" not in tables.html(table[["train", "value"]], alt="a")
    paper = tables.matrix_form(table, tables.DIFFERENCE)
    assert paper is not None and paper.to_numpy().tolist() == [["a", "+2.1", "–"]]
    assert tables.matrix_in_words(table, tables.DIFFERENCE) == [
        "in percentage points",
        "95% intervals at most 10.0 points wide",
    ]
    assert "0.0214" in tables.csv(table)


def test_some_columns_keep_their_intervals() -> None:
    seen = tables.some(TABLE, ("name_of_it", "test_mean"))
    assert list(seen) == ["name_of_it", "test_mean", "test_mean_low", "test_mean_high"]
    assert tables.some(TABLE, ()) is TABLE


def test_low_and_high_of_nothing_stay() -> None:
    texts = pd.DataFrame({"name": ["a"], "low": [0.1], "high": [0.2]})
    assert list(tables.readable(texts).columns) == ["name", "low", "high"]


def test_latex_and_markdown_are_escaped() -> None:
    readable = tables.readable(TABLE.assign(name_of_it=["a_b & 50%|x", "\\input{y}"]))
    tex = tables.latex(readable, caption="50% of $x$")
    assert r"a\_b \& 50\%|x & 0.512 [0.400, 0.610]" in tex and r"\toprule" in tex
    assert r"\textbackslash{}input\{y\}" in tex and r"\caption{50\% of \$x\$}" in tex
    lines = tables.markdown(readable).splitlines()
    assert len(lines) == 4 and r"50%\|x" in lines[2]


def test_no_name_breaks_out_of_its_cell() -> None:
    hostile = "a\n\n\r| b_c <img src=x> [link](javascript:x) $y$ `z`\u202e\x1b[2J"
    table = pd.DataFrame({hostile: [hostile], "value": ["0.5 [0.4, 0.6]"]})
    tex, md = tables.latex(table, hostile), tables.markdown(table)
    for text in (tex, md):
        assert all(line.isprintable() for line in text.splitlines())
    assert len(md.splitlines()) == 3 and len(tex.splitlines()) == 12
    assert r"\<img" in md and r"[link]\(" in md and r"a \| b\_c" in md and "0.5 [0.4, 0.6]" in md


def test_a_matrix_is_one_on_paper() -> None:
    cells = {
        "train": ["b", "b", "a"],
        "test": ["a_1", "b", "b"],
        "value": [0.25, 0.5, float("nan")],
    }
    wide = tables.matrix_form(pd.DataFrame(cells).assign(low=0.1, metric="auc"))
    assert wide is not None
    assert wide.to_numpy().tolist() == [["b", "0.25", "0.50"], ["a", "–", "–"]]
    tex = tables.latex(wide, "AUC", "tab:x", upright=False)
    assert r"trained on & \rotatebox{90}{a\_1} & \rotatebox{90}{b} \\" in tex
    assert r"\label{tab:x}" in tex and "booktabs,graphicx" in tex
    assert tables.matrix_form(TABLE) is None


def test_no_cell_of_a_csv_is_a_formula_and_texts_come_back() -> None:
    texts = ["=1+1", "+1", "-1", "@x", "\t=1", "\n=1", "＝1", "'quoted", "plain", "a=b", None]
    texts += ["x\r=1+1", "y\n=1", "z\r\n=1"]
    table = pd.DataFrame({"=name": texts, "number": [-1.5] * len(texts)})
    made = tables.csv(table)
    read = pd.read_csv(io.StringIO(made), keep_default_na=False)
    assert len(list(reader(io.StringIO(made, newline="")))) == len(texts) + 1
    cells = [*read.columns, *read.iloc[:, 0]]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
    outside = re.sub('"[^"]*"', "", made)
    assert not re.search(r"[\r\n][=+@]", outside) and "\r=" not in outside.replace("\r\n", "")
    back = [cell[1:] if cell.startswith("'") else cell for cell in read.iloc[:, 0]]
    assert back == [text or "" for text in texts]
    assert (read["number"] == -1.5).all()


@pytest.mark.parametrize("column", ["p_value", "next_p"])
def test_a_p_beside_an_interval_says_that_both_must_agree(column: str) -> None:
    said = tables.column_help(column)
    assert said and "two methods" in said and "no difference is claimed" in said
    assert Finding(0.092, 0.002, 0.183, 0.065).direction == "undecided"
