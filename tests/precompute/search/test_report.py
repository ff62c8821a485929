"""The tables of a results page."""

from pathlib import Path

import numpy as np
import pytest

from aigi_core.errors import AigiError
from aigi_core.transfer.difference import difference
from aigi_core.workspace import Workspace
from precompute.__main__ import main
from precompute.report import Report, block_masks, fill
from tests.precompute.search.conftest import KEY


@pytest.fixture(scope="module")
def report(path: Path) -> Report:
    return Report(Workspace.open(path), KEY)


def test_every_table_is_filled(report: Report) -> None:
    for name, table in report.tables().items():
        lines = table().split("\n\n")[0].splitlines()
        assert len(lines) >= 3 and len({line.count("|") for line in lines}) == 1, name
        assert "nan" not in table(), name


def test_means_over_searches_are_paired_and_keep_d_search_out(report: Report) -> None:
    before, after, change = report.over_pairs("components", "ood")
    values = []
    for each in report.searched["components"]:
        mask = each.test.without(each.pair) & ~each.test.in_domain
        assert mask.sum() == 2
        single = difference(each.test, report.plain["embedding"], "balanced_accuracy").mean(mask)
        values.append((each.test.values["balanced_accuracy"][mask].mean(), single.value))
    assert (after.value, change.value) == pytest.approx(tuple(np.mean(values, axis=0)))
    assert change.value == pytest.approx(after.value - before.value) and change.n == 2
    assert change.low <= change.value <= change.high


def test_blocks_are_out_of_domain(report: Report) -> None:
    masks = block_masks(report.plain["embedding"])
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {
        "all": 16, "ood": 12, "in-domain": 4, "D→D": 2, "D→G": 2, "G→D": 2, "G→G": 0,
    }  # fmt: skip


def test_marked_tables_are_replaced_and_words_stay() -> None:
    text = "# Results\n\n<!-- results a -->\nold\n<!-- /results -->\nWords.\n"
    filled = fill(text, {"a": lambda: "| new |"})
    assert filled == "# Results\n\n<!-- results a -->\n\n| new |\n\n<!-- /results -->\nWords.\n"
    assert fill(filled, {"a": lambda: "| new |"}) == filled
    with pytest.raises(AigiError, match="no table 'a'"):
        fill(text, {"b": lambda: ""})
    with pytest.raises(AigiError, match="marks no table"):
        fill("nothing", {"b": lambda: ""})


def test_an_unsearched_workspace_says_what_to_run(
    synthetic_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- results search -->\n<!-- /results -->")
    assert main(["report", "--workspace", str(synthetic_path), "--out", str(page)]) == 2
    assert "run 'python -m precompute search" in capsys.readouterr().err
