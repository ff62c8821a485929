"""Tables as people read them: a value with its interval in one cell, "–" for none, titles in words.

What is computed stays as it is in the CSV file; this is for the page, the report, and papers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd

from aigi_core.manifest import FAKE, REAL
from aigi_core.metrics import METRICS
from aigi_core.statements import number, p_number, signed_score

NONE = "–"
SHOWN = 200
"""Rows of a table that are shown."""
PROBABILITIES = ("p", "q", "p_value", "q_value", "p_all_heads", "adjusted", "corrected", "next_p")
"""Columns of p- and q-values, which are written as in sentences."""
P_VALUE = "p"
"""The format of such a column."""
SCORES = ("score", "logit")
"""Columns of scores, whose sign decides a verdict and is never lost by rounding."""
SCORE = "score"
"""The format of such a column."""
DIFFERENCES = ("change", "difference", "difference_stored", "difference_original", "gain", "next")
"""Columns of differences of shares, which are written in percentage points, as in sentences; a
table where one is something else says so by its formats."""
POINTS = "points"
"""The format of such a column; files of it (CSV) hold shares, as all other columns."""
DIFFERENCE = {"value": POINTS}
"""Formats of a table whose values are differences of shares."""
OWN_UNITS = dict.fromkeys(DIFFERENCES, "%.3f")
"""Formats of a table whose differences are of something else: cosines, log-odds, measures."""
INDEX = ("row", "index", "level_0")
"""Columns that only number what they stand beside; they are not shown."""
BESIDE_INTERVAL = (
    "An interval and its p may come from two methods ('How these numbers are made' says which):"
    " where the interval excludes 0 and p is above .05, or the other way round, no difference is"
    " claimed."
)
IN_POINTS = (
    "Percentage points: a difference of shares times 100. The CSV file holds the shares themselves"
    " (0.021 for +2.1 points)."
)
TITLES: dict[str, tuple[str, str]] = {
    "n": ("n", "How many were counted."),
    "p_value": ("p", f"Probability of a value at least as extreme by chance. {BESIDE_INTERVAL}"),
    "next": (
        "minus the next set",
        "The mean on test images minus that of the set in the next rank, paired, with its"
        " interval; not corrected for the number of ranks.",
    ),
    "next_p": (
        "p of that difference",
        "Probability of a difference at least as large by chance, not corrected."
        f" {BESIDE_INTERVAL}",
    ),
    "q_value": (
        "q",
        "p corrected for the number of comparisons (false discovery rate). Neighbours often share"
        " one: a q is never above that of a larger p.",
    ),
    "auc": ("AUC", "Area under the ROC curve."),
    "ood": ("OOD", "Out of domain: on generators that the detector has never seen."),
    "all_generators": (
        "all generators",
        "Balanced accuracy over all generators, of detectors whose training set is not known.",
    ),
    "measured_on": (
        "measured on",
        "Generators that the detector has not seen (out of domain); all of them where it is not"
        " known what an imported detector was trained on: then no column is out of domain.",
    ),
    "threshold_from": (
        "threshold",
        "Scores above it mean fake, and where it comes from. Balanced accuracy compares operating"
        " points, AUC rankings.",
    ),
    "rho": ("Spearman's ρ", "Rank correlation."),
    "ece": ("ECE", "Expected calibration error."),
    "cramers_v": ("Cramér's V", "Strength of the association with the label: 0 none, 1 full."),
    "fake_value": ("of fakes", "The commonest value, or the median."),
    "fake_share": ("share of fakes", "That have the commonest value; none for a median."),
    "real_value": ("of real images", "The commonest value, or the median."),
    "real_share": ("share of real images", "That have the commonest value; none for a median."),
    "n_fake": ("fakes", "Number of fakes."),
    "n_real": ("real images", "Number of real images."),
    "n_ood": ("unseen generators", "Generators that the detector was not trained on."),
    "jpeg_quality": ("JPEG quality", "Estimated from the file's quantisation tables."),
    "bytes_per_pixel": ("bytes per pixel", "Size of the file over its number of pixels."),
    "cosine": ("cosine", "1 for the same direction, 0 for unrelated ones."),
    "deviation": (
        "from real images",
        "Distance from the mean of the real images, in their standard deviations.",
    ),
    "spread": ("sd of real images", "Standard deviation of the detector's score on real images."),
    "gap": ("gap", "Mean log-odds that it adds to fakes, minus those that it adds to real images."),
    "similar": ("folded", "How many texts that say the same share this row."),
    "in_workspace": ("in the workspace", "Split of the image of the workspace that it shows."),
    "farther_than": ("novelty", "Share of held-out images that lie nearer to known images."),
}
"""Column -> (title, help) where the name alone does not say it."""


VALUES: dict[str, dict[str, str]] = {
    "metric": {name: metric.title for name, metric in METRICS.items()},
    "cells": {"ood": "out of domain"},
    "label": {str(REAL): "real", str(FAKE): "fake"},
}
"""Column -> its values that are names of the library, and what they are called."""


def column_title(column: str) -> str:
    """A column's name in words."""
    known = TITLES.get(column)
    return known[0] if known else re.sub(r"\bood\b", "OOD", column.replace("_", " "))


def column_help(column: str) -> str | None:
    """What a column means, where its title alone does not say it."""
    known = TITLES.get(column)
    return known[1] if known else None


def format_of(table: pd.DataFrame, column: str, formats: Mapping[str, str] | None = None) -> str:
    """How a column's numbers are written: a format of Python, :data:`P_VALUE`, :data:`POINTS`,
    :data:`SCORE` or "" (as they are).
    """
    if formats and column in formats:
        return formats[column]
    if table[column].dtype.kind != "f":
        return ""
    forms = dict.fromkeys(PROBABILITIES, P_VALUE) | dict.fromkeys(DIFFERENCES, POINTS)
    return (forms | dict.fromkeys(SCORES, SCORE)).get(column, "%.3f")


def _titled(column: str, form: str) -> str:
    """A column's title with its unit."""
    return column_title(column) + (", points" if form == POINTS else "")


def intervals(table: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Value column -> its columns of the interval's ends.

    Either ``value_low`` and ``value_high``, or ``low`` and ``high`` right behind their value.
    """
    columns = [str(column) for column in table.columns]
    columns_of = {
        name: (f"{name}_low", f"{name}_high")
        for name in columns
        if f"{name}_low" in columns and f"{name}_high" in columns
    }
    for at, name in enumerate(columns[1:], 1):
        if name == "low" and columns[at + 1 : at + 2] == ["high"]:
            columns_of[columns[at - 1]] = ("low", "high")
    return {
        name: ends
        for name, ends in columns_of.items()
        if all(pd.api.types.is_numeric_dtype(table[column]) for column in (name, *ends))
    }


def some(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Some columns with the ends of their intervals, in the table's order; all for none."""
    if not columns:
        return table
    ends = {f"{column}_{end}" for column in columns for end in ("low", "high")}
    return table[[column for column in table if column in columns or column in ends]]


def readable(table: pd.DataFrame, formats: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The table as texts: rounded, intervals beside their values, titles in words with units.

    Example:
        >>> readable(pd.DataFrame({"value": [0.51234], "low": [0.4], "high": [float("nan")]}))
                          value
        0  0.512 [0.400, –]
        >>> readable(pd.DataFrame({"change": [0.0214], "low": [-0.003], "high": [0.0458]}))
              change, points
        0  +2.1 [-0.3, +4.6]
    """
    return pd.DataFrame({title: texts for _, title, texts in _columns(table, formats)})


def _columns(
    table: pd.DataFrame, formats: Mapping[str, str] | None
) -> list[tuple[str, str, list[str]]]:
    """Each column that is shown: its name, its title and its texts."""
    joined = intervals(table)
    ends = {column for pair in joined.values() for column in pair}
    made = []
    for column in map(str, table.columns):
        if column in ends or column in INDEX:
            continue
        form = format_of(table, column, formats)
        called = VALUES.get(column, {})
        texts = [_cell(called.get(str(value), value), form) for value in table[column]]
        if column in joined:
            low, high = ([_cell(v, form) for v in table[end]] for end in joined[column])
            texts = [
                text if text == NONE else f"{text} [{a}, {b}]"
                for text, a, b in zip(texts, low, high, strict=True)
            ]
        made.append((column, _titled(column, form), texts))
    return made


def html(
    table: pd.DataFrame, formats: Mapping[str, str] | None = None, *, alt: str, sorts: bool = True
) -> str:
    """The table as it is read on a page: texts in lines instead of cut off, intervals under their
    values where there is no room beside them, and under it what the columns mean.

    Args:
        alt: what it shows, for those who hear the page.
        sorts: titles are buttons, which :data:`SORT` makes sort the rows.
    """
    columns = _columns(table, formats)
    kinds = [
        ' class="aigi-number"' if table[name].dtype.kind in "if" and name not in VALUES else ""
        for name, _, _ in columns
    ]
    button = '<button type="button">{}</button>' if sorts else "{}"
    head = "".join(
        f'<th scope="col"{kind}>{button.format(escape(title))}</th>'
        for kind, (_, title, _) in zip(kinds, columns, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{_lines(t)}</td>" for kind, t in zip(kinds, row, strict=True))
        + "</tr>"
        for row in zip(*(texts for _, _, texts in columns), strict=True)
    )
    about = escape(alt, quote=True)
    return (
        f'<div class="aigi-table" role="region" tabindex="0" aria-label="{about}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f"{_legend(table, columns)}"
    )


def _lines(text: str) -> str:
    """A cell; a value and its interval are two parts that are not broken."""
    found = INTERVAL.fullmatch(text)
    if not found:
        return escape(text)
    return f"<bdi>{escape(found[1])}</bdi> <bdi>{escape(found[2])}</bdi>"


def _legend(table: pd.DataFrame, columns: Sequence[tuple[str, str, list[str]]]) -> str:
    """What the columns mean, as far as their titles do not say it."""
    entries = [(title, text) for name, title, _ in columns if (text := column_help(name))]
    if intervals(table):
        entries.append(("[ , ]", "95% interval of the value before it."))
    if any(title.endswith(_titled("", POINTS)) for _, title, _ in columns):
        entries.append(("points", IN_POINTS))
    about = "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in entries)
    if not about:
        return ""
    return (
        f'<details class="aigi-columns"><summary>What the columns mean</summary><dl>{about}</dl>'
        "</details>"
    )


INTERVAL = re.compile(r"(\S+) (\[[^\[\]]+, [^\[\]]+\])")
"""A value with its interval, as :func:`readable` writes them."""
SORT = """<script>
window.aigiSorts ||= !document.addEventListener('click', ({target}) => {
  const title = target.closest?.('.aigi-table th')
  if (!title || !target.closest('button')) return
  const body = title.closest('table').tBodies[0], at = title.cellIndex
  const number = title.classList.contains('aigi-number')
  const before = title.getAttribute('aria-sort')
  const down = before ? before === 'ascending' : number
  const key = (row) => {
    const text = row.cells[at].textContent
    return number ? parseFloat(text.replace(/^< /, '0')) : text
  }
  const rows = [...body.rows].map((row) => [key(row), row])
  rows.sort(([a], [b]) => {
    if (number && (isNaN(a) || isNaN(b))) return isNaN(a) - isNaN(b)
    return (number ? a - b : a.localeCompare(b)) * (down ? -1 : 1)
  })
  for (const other of title.parentElement.cells) other.removeAttribute('aria-sort')
  title.setAttribute('aria-sort', down ? 'descending' : 'ascending')
  body.append(...rows.map(([, row]) => row))
})
</script>"""
"""Makes the titles of all tables on the page sort their rows; empty cells stay last."""


def markdown(table: pd.DataFrame) -> str:
    """A readable table as Markdown."""
    lines = [list(map(str, table.columns)), ["---"] * len(table.columns), *table.to_numpy(str)]
    escaped = (" | ".join(map(_md, line)) for line in lines)
    return "".join(f"| {line} |\n" for line in escaped)


def matrix_form(
    table: pd.DataFrame, formats: Mapping[str, str] | None = None
) -> pd.DataFrame | None:
    """A table of pairs (``train, test, value``) as one reads it on paper: a row a training set, a
    column a tested generator, values alone; None for any other table.

    Example:
        >>> cells = {"train": ["a", "a"], "test": ["a", "b"], "value": [0.9, 0.51]}
        >>> matrix_form(pd.DataFrame(cells))
          trained on     a     b
        0          a  0.90  0.51
    """
    if not {"train", "test", "value"} <= set(table.columns):
        return None
    if table.duplicated(["train", "test"]).any() or table["test"].nunique() < 2:
        return None
    wide = table.pivot_table("value", "train", "test", dropna=False)
    wide = wide.loc[table["train"].unique(), table["test"].unique()]
    form = format_of(table, "value", formats)
    texts = wide.map(lambda v: _cell(v, form if form == POINTS else "%.2f"))
    return texts.rename_axis(index="trained on", columns=None).reset_index()


def matrix_in_words(table: pd.DataFrame, formats: Mapping[str, str] | None = None) -> list[str]:
    """What :func:`matrix_form` leaves out: how many images a cell is of, and how wide intervals
    are.

    Example:
        >>> cells = {"value": [0.9, 0.5], "low": [0.8, 0.4], "high": [0.95, 0.7]}
        >>> matrix_in_words(pd.DataFrame(cells | {"n_fake": [27, 27], "n_real": [100, 300]}))
        ['n = 27 fakes and 100 to 300 real images a cell', '95% intervals at most 0.30 wide']
    """
    said, counts = [], []
    for column in ("n_fake", "n_real", "n"):
        if column in table and table[column].notna().any():
            low, high = int(table[column].min()), int(table[column].max())
            unit = f" {column_title(column)}" if column != "n" else ""
            counts.append(f"{low:,}{f' to {high:,}' if high > low else ''}{unit}")
    if counts:
        said.append(f"n = {' and '.join(counts)} a cell")
    if {"low", "high"} <= set(table) and (widest := (table["high"] - table["low"]).max()) > 0:
        wide = f"{widest:.2f}"
        if format_of(table, "value", formats) == POINTS:
            said.append("in percentage points")
            wide = f"{100 * widest:.1f} points"
        said.append(f"95% intervals at most {wide} wide")
    return said


def latex(
    table: pd.DataFrame,
    caption: str = "",
    label: str = "",
    *,
    upright: bool = True,
    comment: str = "",
) -> str:
    """A readable table as LaTeX, for booktabs; everything in it is escaped.

    Args:
        upright: its titles are; otherwise, but for the first, they are turned by graphicx, so that
            many columns fit.
        comment: for the author alone; it is not printed.
    """
    rows = [" & ".join(_tex(cell) for cell in line) + r" \\" for line in table.to_numpy(str)]
    first, *others = (_tex(str(column)) for column in table.columns)
    if not upright:
        others = [rf"\rotatebox{{90}}{{{title}}}" for title in others]
    return "\n".join(
        [
            *([f"% {_line(comment)}"] if comment else []),
            f"% \\usepackage{{booktabs{'' if upright else ',graphicx'}}}",
            r"\begin{table}",
            r"\centering",
            *([] if upright else [r"\footnotesize\setlength{\tabcolsep}{3pt}"]),
            *([rf"\caption{{{_tex(caption)}}}"] if caption else []),
            *([rf"\label{{{label}}}"] if label else []),
            rf"\begin{{tabular}}{{l{('l' if upright else 'r') * len(others)}}}",
            r"\toprule",
            " & ".join([first, *others]) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _cell(value: object, form: str) -> str:
    if (
        value is None
        or value is pd.NA
        or value == ""
        or (isinstance(value, float) and value != value)
    ):
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if form == P_VALUE:
        return p_number(float(str(value)))
    if form == SCORE:
        return signed_score(float(str(value)), 3)
    if form == POINTS:
        return number(100 * float(str(value)), 1, signed=True)
    if form and isinstance(value, float | int):
        return re.sub(r"^-(?=[0.]+$)", "", form % value)
    return str(value)


_TEX = {c: rf"\{c}" for c in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "–": "--",
    "−": "$-$",
    "≤": r"$\le$",
    "ρ": r"$\rho$",
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in _line(text))


def _md(text: str) -> str:
    return re.sub(r"[\\`*_<>|$]|(?<=\])\(", r"\\\g<0>", _line(text))


def _line(text: str) -> str:
    """One line without control characters: names of strangers may hold any."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""Beginnings that a spreadsheet takes for a formula."""


def csv(table: pd.DataFrame) -> str:
    """The table as CSV; the one place where one is made.

    A text that a spreadsheet would take for a formula gets a leading apostrophe, and so does one
    that has one already, so that taking one apostrophe away gives the text back. Numbers stay.
    Rows end in CR and LF, as the standard has it: then a text that holds either is quoted, and
    begins no row of its own.
    """

    def inert(value: object) -> object:
        text = isinstance(value, str) and value.startswith((*FORMULA, "'"))
        return f"'{value}" if text else value

    safe = table.rename(columns=inert)
    for at, kind in enumerate(safe.dtypes):
        if kind.kind not in "biufc":
            safe.isetitem(at, safe.iloc[:, at].astype(object).map(inert).to_numpy())
    return safe.to_csv(index=False, lineterminator="\r\n")
