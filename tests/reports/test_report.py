"""The tables of a results page."""

from pathlib import Path

import pytest

from aigi_core.detectors.presets import preset
from aigi_core.detectors.residual import train_residual
from aigi_core.errors import AigiError
from aigi_core.transfer.atlas import AtlasKey
from aigi_core.workspace import Workspace
from reports.__main__ import Report, block_masks, fill, main
from reports.tables import columns, markdown
from tests.searched import KEY

PAIR = ("alpha-gan", "beta-diff")


@pytest.fixture(scope="module")
def report(path: Path) -> Report:
    return Report(Workspace.open(path), KEY)


def test_every_table_is_filled(report: Report) -> None:
    for name, table in report.tables().items():
        header, *rows = table()
        assert rows and {len(row) for row in rows} == {len(header)}, name
        assert "nan" not in markdown([header, *rows]), name


def test_spreads_over_searches_keep_d_search_out(report: Report) -> None:
    """Each search counts once, on the cells that it has not seen; components come from the atlas's
    own matrices.
    """
    _, after, change = report.over_searches("components", "ood")
    rows = report.outcomes("components", "D_eval, ood")
    assert after.n == len(rows) == 2 and (rows["n"] == 2).all()
    assert after.mean == pytest.approx(rows["after"].mean(), abs=1e-6)
    assert change.mean == pytest.approx(rows["change"].mean(), abs=1e-6)
    assert change.low <= change.mean <= change.high
    assert report.over_searches("heads", "ood")[0].n == 4
    assert report.over_searches("heads", "G→G")[0].n == 0


def test_a_searchs_own_score_is_what_it_searched_with(report: Report) -> None:
    forward, backward = report.atlas.components(PAIR)
    assert report.own_score("components", PAIR) == pytest.approx(
        (forward.accuracy.max() + backward.accuracy.max()) / 2
    )
    best = report.atlas.top_heads("beta-diff", "alpha-gan")[0]
    assert (
        report.own_score("heads b>a", PAIR)
        == report.atlas.head_scores("beta-diff", "alpha-gan")[best]
    )


def test_blocks_are_out_of_domain(report: Report) -> None:
    masks = block_masks(report.plain["embedding"])
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {
        "all": 16,
        "ood": 12,
        "in-domain": 4,
        "D→D": 2,
        "D→G": 2,
        "G→D": 2,
        "G→G": 0,
    }


def test_marked_tables_are_replaced_and_words_stay() -> None:
    text = "# Results\n\n<!-- results a -->\nold\n<!-- /results -->\nWords.\n"
    filled = fill(text, tables := {"a": lambda: [columns("a | b"), ["1", "2"]]})
    made = "| a | b |\n| --- | --- |\n| 1 | 2 |"
    assert filled == f"# Results\n\n<!-- results a -->\n\n{made}\n\n<!-- /results -->\nWords.\n"
    assert fill(filled, tables) == filled
    with pytest.raises(AigiError, match="no table 'a'"):
        fill(text, {"b": list})
    with pytest.raises(AigiError, match="marks no table"):
        fill("nothing", {"b": list})


def test_the_papers_protocol_trains_the_matrices(synthetic: Workspace) -> None:
    used = preset("paper")
    report = Report(synthetic, AtlasKey(draws=10, protocol="paper"))
    raw = train_residual(synthetic, report.names, used.training, means=used.residual)
    wanted = report.measure(raw).values["accuracy"]
    assert (report.plain["residual"].values["accuracy"] == wanted).all()
    ours = Report(synthetic, AtlasKey(draws=10)).plain["residual"].values["accuracy"]
    assert (ours != wanted).any()


def test_an_unsearched_workspace_says_what_to_run(
    synthetic_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- results search -->\n<!-- /results -->")
    assert main(["--workspace", str(synthetic_path), "--out", str(page)]) == 2
    assert "run 'python -m precompute search" in capsys.readouterr().err
