"""docs/audit.md is what the demo says, and what the demo's audit says are the confounds that its
collection lists.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aigi_core.audit.report import Audit
from aigi_core.errors import AigiError
from aigi_core.workspace import Workspace
from reports.audit import AuditTables
from reports.stress import StressTables
from reports.tables import markdown

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "audit.md").read_text("utf-8")


@pytest.fixture(scope="module")
def demo() -> Workspace:
    return Workspace.open(ROOT / "assets" / "demo")


@pytest.fixture(scope="module")
def tables(demo: Workspace) -> AuditTables:
    return AuditTables(demo)


@pytest.fixture(scope="module")
def audit(tables: AuditTables) -> Audit:
    return tables.audit


def shown(name: str) -> str:
    return PAGE.split(f"<!-- results {name} -->\n", 1)[1].split("<!-- /results -->", 1)[0].strip()


def test_every_table_of_the_audit_is_the_demos(tables: AuditTables) -> None:
    for name, rows in tables.tables().items():
        assert shown(name) == markdown(rows()), name


def test_every_table_of_stress_and_thresholds_is_the_demos(demo: Workspace) -> None:
    for name, rows in StressTables(demo).tables().items():
        if not name.startswith("canonicalised"):  # needs all images encoded a second time
            assert shown(name) == markdown(rows()), name


def test_encodings_are_compared_with_a_second_workspace_of_the_same_images(
    demo: Workspace, synthetic: Workspace
) -> None:
    with pytest.raises(AigiError, match="name that workspace with --beside"):
        StressTables(demo).canonicalised()
    with pytest.raises(AigiError, match="does not hold the same images"):
        StressTables(demo, synthetic).canonicalised()
    twice = StressTables(synthetic, synthetic)
    # no image changes sides, and the interval still says how few they are
    zero = re.compile(r"^0\.000 \[-0\.\d+, \+0\.\d+\]")
    assert all(zero.search(row[3]) for row in twice.canonicalised()[1:])
    assert (
        "jpeg:90, short:256" in shown("canonicalised")
        and shown("canonicalised-generators").count("\n") == 16
    )


def test_each_expected_confound_has_its_number(tables: AuditTables) -> None:
    _, *rows = tables.confounds()
    assert len(rows) == 10 and all(any(c.isdigit() for c in result) for _, result in rows)


def value(audit: Audit, generator: str, fact: str, view: str = "stored") -> tuple[float, float]:
    """Ends of the interval of Cramér's V."""
    table = audit.associations[view]
    row = table[(table["generator"] == generator) & (table["fact"] == fact)].iloc[0]
    return float(row["low"]), float(row["high"])


def test_formats_and_palettes_are_recognised(audit: Audit) -> None:
    for generator in ("dalle-mini", "glid-3-xl", "ldm-laion", "stylegan2-pizza"):
        assert value(audit, generator, "format")[0] > 0.95
    assert value(audit, "sdxl", "mode")[0] > 0.9
    for generator in (
        "cyclegan-horse2zebra",
        "pix2pix",
        "stylegan2-ffhq",
    ):  # saved as their real images are
        assert value(audit, generator, "format")[1] < 0.1


def test_qualities_and_sizes_are_detected_where_they_are(audit: Audit) -> None:
    assert value(audit, "midjourney-shoes", "jpeg_quality")[0] > 0.95
    assert (
        value(audit, "sd-1.4", "jpeg_quality")[1] < 0.1
        and value(audit, "sd-1.4", "aspect")[0] > 0.7
    )
    for generator in ("dalle-2", "sd-1.4", "sd-2.1", "sd-beta"):
        assert value(audit, generator, "width", "original")[0] > 0.8


def test_subjects_are_recognised(tables: AuditTables, audit: Audit) -> None:
    assert audit.content is not None
    content, subjects = (
        audit.content.set_index("generator"),
        tables._subjects.set_index("generator"),
    )
    assert subjects.loc["stylegan2-pizza", "category"] == "food and drink"
    assert (
        subjects.loc["stylegan2-pizza", "low"]
        > 0.8
        > 0.3
        > subjects.loc["stylegan2-pizza", "real_share"]
    )
    assert (
        subjects.loc["stylegan2-ffhq", "category"] == "people and body"
        and subjects.loc["stylegan2-ffhq", "low"] > 0.9
    )
    assert content.loc["stylegan2-pizza", "separable_low"] > 0.9
    for generator in (
        "stylegan2-pizza",
        "midjourney-shoes",
    ):  # what the photographs show, these fakes do not
        assert content.loc[generator, "mirrored_high"] < 0.8
    assert content.loc["stylegan2-ffhq", "mirrored_high"] > 0.95  # faces on both sides


def test_illustrations_are_recognised(audit: Audit) -> None:
    for generator in ("sd-2.1", "sdxl"):
        [row] = audit.categories[generator].query("text == 'medium and style'").to_dict("records")
        assert row["p_value"] < 0.01 and row["low"] > 0.5


def test_the_colour_bar_and_the_shared_layout_are_detected(audit: Audit) -> None:
    assert audit.overlays is not None
    marks = audit.overlays.set_index("generator")
    bar = marks.loc["dalle-2"]
    assert (
        bar["adjusted"] < 0.05
        and bar["left"] > 0.9
        and bar["top"] > 0.95
        and bar["right"] == bar["bottom"] == 1
    )
    for generator in ("sd-1.4", "sd-2.1"):
        assert (
            marks.loc[generator, "adjusted"] < 0.05
            and marks.loc[generator, "ratio"] < 0.1
            and marks.loc[generator, "left"] == 0
        )
    assert (
        marks.loc[["cyclegan-horse2zebra", "pix2pix", "dalle-mini", "sdxl"], "adjusted"] > 0.5
    ).all()


def test_what_is_clean_is_called_clean(audit: Audit) -> None:
    levels = {verdict.generator: verdict.level for verdict in audit.verdicts}
    assert levels["cyclegan-horse2zebra"] == "clear" and levels["pix2pix"] == "partly"
    assert sum(level == "explained" for level in levels.values()) == 13
