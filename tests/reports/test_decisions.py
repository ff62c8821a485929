"""What a decision changes: its switch alone, paired; the document names every decision."""

import re
from pathlib import Path

import pytest

from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.training import train
from aigi_core.transfer.difference import difference
from aigi_core.transfer.matrix import transfer_matrix
from aigi_core.workspace import Workspace
from reports.decisions import DecisionTables

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tables(synthetic: Workspace) -> DecisionTables:
    return DecisionTables(synthetic)


def test_a_switch_alone_is_measured_in_pairs(synthetic: Workspace, tables: DecisionTables) -> None:
    names, domains = synthetic.domains.generators, synthetic.domains
    ours, plain = (
        transfer_matrix(
            score_detectors(train(synthetic, names, protocol=protocol), synthetic),
            domains,
            names,
            metrics=("balanced_accuracy",),
        )
        for protocol in (Protocol(), Protocol(fit_intercept=False))
    )
    cells = ~ours.in_domain
    row = tables._bias()[0]
    assert row[2].startswith(f"{ours.mean('balanced_accuracy', cells).value:.3f} [")
    assert row[3].startswith(f"{plain.mean('balanced_accuracy', cells).value:.3f} [")
    assert row[4] == str(difference(plain, ours, "balanced_accuracy").mean(cells))
    assert row[5] == f"{cells.sum()} cells"


def test_splits_by_image_keep_every_split_s_size(tables: DecisionTables) -> None:
    before = tables.domains.split.copy()
    rows = tables._split_by_image()
    assert [row[1] for row in rows] == ["in-domain", "out of domain"]
    assert (tables.domains.split == before).all(), "the workspace's own splits stay"


def test_the_document_measures_every_decision_that_can_be() -> None:
    page = (ROOT / "docs" / "method.md").read_text("utf-8")
    table = page.split("<!-- results decisions -->")[1].split("<!-- /results -->")[0]
    measured = set(re.findall(r"^\| (\d+) \|", table, re.MULTILINE))
    assert measured >= {"2", "3", "5", "6", "7", "8", "9", "11", "12", "13", "15", "16", "17", "18"}
    assert "nan" not in table
