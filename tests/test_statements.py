"""The table of cases: what each combination of estimate, interval, p, q and n lets one say."""

import ast
import itertools
import re

import numpy as np
import pytest

from aigi_core.statements import DISAGREE, Finding, best_of, counted, number, p_text, span
from tests.conftest import ROOT
from tests.source_files import files

NAN = float("nan")
CASES = [
    # value, low, high, p, q -> what may be claimed
    (0.1, 0.02, 0.18, 0.01, None, "higher"),
    (-0.1, -0.18, -0.02, 0.01, None, "lower"),
    (0.1, 0.02, 0.18, 0.17, None, "undecided"),  # the interval alone says more
    (0.1, -0.02, 0.22, 0.01, None, "undecided"),  # p alone says more
    (-0.025, -0.048, -0.001, 0.04, 0.2, "undecided"),  # corrected for its number
    (-0.025, -0.048, -0.001, 0.01, 0.03, "lower"),
    (0.0, 0.0, 0.0, 1.0, None, "undecided"),
    (0.1, 0.02, 0.18, NAN, None, "undecided"),
    (0.1, 0.02, 0.18, None, None, "higher"),
    (NAN, NAN, NAN, NAN, None, "unknown"),
    (0.1, NAN, NAN, 0.01, None, "unknown"),
]


@pytest.mark.parametrize(("value", "low", "high", "p", "q", "expected"), CASES)
def test_what_may_be_claimed(
    value: float, low: float, high: float, p: float | None, q: float | None, expected: str
) -> None:
    finding = Finding(value, low, high, p, q, n=0, what="generator", needed=1)
    assert finding.direction == expected
    text = finding.claim("up", "down", "cannot be told")
    words = {"higher": "up", "lower": "down", "undecided": "cannot be told"}
    assert text == words.get(
        expected, "cannot be estimated from 0 generators, at least 1 generator is needed"
    )
    assert "nan" not in finding.numbers() and "-0.00 " not in finding.numbers(2)


def test_numbers_have_no_negative_zero_and_no_nan() -> None:
    assert number(-0.001, 2) == "0.00" and number(-0.001, 2, signed=True) == "0.00"
    assert number(NAN) == "unknown" and number(-0.25, 2) == "-0.25"
    assert p_text(0.5) == "p = .500" and p_text(NAN) == "p unknown" and p_text(1.0) == "p = 1.000"
    assert np.isfinite(float(number(1e-9)))


def test_an_interval_and_a_p_that_disagree_say_so() -> None:
    for low, p, disagree in ((-0.1, 0.015, True), (0.1, 0.2, True), (0.1, 0.01, False)):
        assert (DISAGREE in Finding(0.8, low, 1.6, p).numbers()) is disagree
    assert DISAGREE not in Finding(0.8, -0.1, 1.6, 0.4).numbers()
    assert DISAGREE not in Finding(0.8, 0.1, 1.6, NAN).numbers()
    assert DISAGREE not in Finding(0.8, 0.1, 1.6, 0.01, 0.2).numbers()  # corrected for its number


def signed_formats(source: str) -> list[str]:
    """Formats with a sign that let a small negative number be "-0.00": ``+.2f``, not ``+z.2f``."""
    specs = [
        "".join(part.value for part in node.format_spec.values if isinstance(part, ast.Constant))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FormattedValue) and isinstance(node.format_spec, ast.JoinedStr)
    ]
    # those of str.format; behind "%" it is a format of plotly's
    specs += re.findall(r"(?<!%)\{:(\+[^{}]*)\}", source)
    return [spec for spec in specs if spec.startswith("+") and "z" not in spec and spec != "+d"]


def test_no_format_writes_a_negative_zero() -> None:
    assert signed_formats('f"{x:+.2f} {x:+z.2f} {x:.3f}" + "%{x:+.1f}{:+.0%}"') == ["+.2f", "+.0%"]
    for file in files("aigi_core", "ui", "pages"):
        assert not signed_formats(file.read_text("utf-8")), file


def test_a_winner_is_called_one() -> None:
    assert "best of 72 heads" in best_of(72, "head")


ROOMS = ("aigi_core", "precompute", "ui", "pages", "reports")
DESCRIBED = "real|fake|test|training|validation|held-out|other|such|nearest|new|different|usable"
THINGS = (
    "archive|bank|byte|call|cell|character|class|column|component|copie|detector|dimension|division"
    "|draw|embedding|entrie|fake|file|fold|folder|generator|group|head|image|layer|link|losse|method"
    "|operation|pair|photograph|phrase|pool|prompt|removal|repeat|row|sample|score|search|seed"
    "|setting|text|token|value|word"
)
COUNTED = re.compile(rf" (?:(?:{DESCRIBED}) )*(?:{THINGS})e?s\b")
WORDS = {
    "comparison",
    "name",
    "other",
    "side",
    "side.capitalize()",
    "view",
    "what",
    "metric.in_words",
}
"""Expressions that are no numbers: "the {view} files"."""


VERBS = "are|were|have|lie|lack|name|need|stand|share|cost|differ|match"


def part_without_its_verb(source: str) -> list[str]:
    """Texts that would read "1 of 5 images are": ``part_counted`` says "1 of 5 images is"."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        values = node.values if isinstance(node, ast.JoinedStr) else []
        for at, (part, of) in enumerate(itertools.pairwise(values)):
            if not isinstance(part, ast.FormattedValue) or ast.unparse(of) != "' of '":
                continue
            whole, then = values[at + 2], (*values[at + 3 :], None)[0]
            rest = str(then.value) if isinstance(then, ast.Constant) else ""
            shown, of_what = ast.unparse(part.value), ast.unparse(whole).strip("f'\"{}")
            share = "%" in ast.unparse(part)  # a percentage
            if share or re.match(r"counted\(|_percent\(|shares\[|alpha$", shown):
                continue
            if of_what.startswith("counted(") or re.match(rf"( [a-z]+)? ({VERBS})\b", rest):
                faults.append(f"line {part.lineno}: {{{shown}}} of {{{of_what}}}{rest[:20]!r}")
    return faults


def uncounted(source: str) -> list[str]:
    """Numbers before a plural that would read "1 images": ``counted`` says "1 image"."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, then in itertools.pairwise(node.values):
            if not isinstance(value, ast.FormattedValue) or not isinstance(then, ast.Constant):
                continue
            shown = ast.unparse(value.value)
            spec = ast.unparse(value.format_spec) if value.format_spec else ""
            number = value.conversion == -1 and ("," in spec or not spec) and shown not in WORDS
            constant = re.fullmatch(r"(\d \* )?[\w.]*\b[A-Z_]{2,}( \+ \d)?", shown)
            of_a_share = shown.startswith(
                ("share(", "_share(", "counted(", "_percent(", "name(", "ui.name(")
            )
            if number and not constant and not of_a_share and COUNTED.match(str(then.value)):
                faults.append(f"line {value.lineno}: {{{shown}}}{str(then.value)[:30]!r}")
    return faults


def test_what_is_counted_is_given_in_the_singular() -> None:
    plural = re.compile(r"(?:counted|best_of)\([^'\"]*, ['\"](\w*[^s]s)['\"]")
    faults = [
        f"{file.relative_to(ROOT)}: {one}"
        for room in ROOMS
        for file in sorted((ROOT / room).rglob("*.py"))
        for one in plural.findall(file.read_text("utf-8"))
        if one not in ("axis", "class", "basis")
    ]
    assert not faults


def test_one_thing_is_never_called_by_its_plural() -> None:
    faults = [
        f"{file.relative_to(ROOT)}, {one}"
        for room in ROOMS
        for file in sorted((ROOT / room).rglob("*.py"))
        for one in uncounted(file.read_text("utf-8"))
    ]
    assert not faults, "say it with statements.counted:\n" + "\n".join(faults)


def test_a_part_of_several_things_has_the_verb_of_its_number() -> None:
    faults = [
        f"{file.relative_to(ROOT)}, {one}"
        for room in ROOMS
        for file in sorted((ROOT / room).rglob("*.py"))
        for one in part_without_its_verb(file.read_text("utf-8"))
    ]
    assert not faults, "say it with statements.part_counted:\n" + "\n".join(faults)
    assert len(part_without_its_verb("f'{k} of {n} images are left out'")) == 1
    assert len(part_without_its_verb("f'{k} of {counted(n, \"image\")} lack a score'")) == 1
    assert not part_without_its_verb("f'{k:.0%} of {n} images are left out'")


@pytest.mark.parametrize(
    ("source", "faults"),
    [
        ("f'{n} images'", 1),
        ("f'{len(x):,} real images were read'", 1),
        ("f'{counted(n, \"image\")} and {n:.2f} images'", 0),
        ("f'{MOST} files'", 0),
        ("f'the {view} files'", 0),
        ("f'{name!r} files'", 0),
    ],
)
def test_the_search_for_plurals_finds_them(source: str, faults: int) -> None:
    assert len(uncounted(source)) == faults


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (counted(1, "fake", "name"), "1 fake names"),
        (counted(0, "copy", "are"), "0 copies are"),
        (counted(2, "key"), "2 keys"),
        (counted(2, "class"), "2 classes"),
        (counted(1, "search"), "1 search"),
        (counted(12345, "search"), "12,345 searches"),
    ],
)
def test_counted(said: str, expected: str) -> None:
    assert said == expected


def test_a_span_and_points_have_no_negative_zero_and_no_nan() -> None:
    assert span(-0.0004, -0.05, 0.04, 2, signed=True) == "0.00 [-0.05, +0.04]"
    assert span(NAN, NAN, NAN) == "unknown [unknown, unknown]"
    moved = Finding(-0.0004, -0.02, 0.02, 0.9, n=15, what="paired cell").times(100)
    expected = "0.0 points (95% interval -2.0 to +2.0, p = .900, 15 paired cells)"
    assert moved.numbers(1, " points") == expected
    largest = Finding(0.04, 0.01, 0.06, q_value=0.2, chosen_among=105)
    assert "corrected for the choice among 105" in largest.numbers()
