"""Components and Geometry without a browser: numbers of the atlas and the library; a workspace that
was not searched.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.features import EmbeddingView
from aigi_core.detectors.training import train
from aigi_core.geometry.isotropy import pair_changes, rank_correlation_of_pairs
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.statements import number
from aigi_core.transfer import Atlas, TransferMatrix, d_eval, difference, transfer_matrix
from aigi_core.workspace import Workspace
from tests.factory import make_workspace
from tests.pages.reading import headline, noted, text_of, with_how

Open = Callable[..., AppTest]


def measured(workspace: Workspace, names: tuple[str, ...], view: EmbeddingView) -> TransferMatrix:
    scores = score_detectors(train(workspace, names, view), workspace)
    return transfer_matrix(scores, workspace.domains, names, names, metrics=(DEFAULT_METRIC,))


@pytest.mark.parametrize("depth", [None, 7])
def test_the_change_is_that_of_detectors_trained_anew(
    open_app: Open, searched: Workspace, depth: int | None
) -> None:
    pair = ("delta-ar", "gamma-diff")
    query = {"d1": pair[0], "d2": pair[1]} | (
        {} if depth is None else {"cut": "0", "removed": str(depth)}
    )
    app = open_app(searched.path, "components", **query)
    assert not app.exception and not app.error and not app.warning
    removed = Atlas.open(searched).removed(pair, depth)
    lists = Atlas.open(searched).components(pair)
    ends = [d.cut if depth is None else depth for d in lists]
    assert set(removed) == set(lists[0].removed[: ends[0]]) & set(lists[1].removed[: ends[1]])
    names = d_eval(searched.domains, pair)
    before, after = (
        measured(searched, names, view)
        for view in (EmbeddingView(), EmbeddingView(without=removed))
    )
    gap = difference(after, before, DEFAULT_METRIC).mean(~before.in_domain)
    assert f"**{len(removed)} of 24 components**" in text_of(app)
    assert gap.finding("paired cell").times(100).numbers(1, " points") in text_of(app)


def test_stability_on_demand(open_app: Open, searched: Workspace) -> None:
    app = open_app(searched.path, "components", part="Stability")
    assert "Jaccard" not in text_of(app)
    app.button(key="start-stability").click().run()
    assert not app.exception and not app.error and "Jaccard" in text_of(app)


def test_geometry_says_the_correlation(open_app: Open, searched: Workspace) -> None:
    app = open_app(searched.path, "geometry", measure="IsoScore*", beyond="0")
    assert not app.exception and not app.error and not app.warning
    atlas = Atlas.open(searched)
    link = rank_correlation_of_pairs(
        pair_changes(
            atlas.summary, atlas.geometry, "isoscore_star", DEFAULT_METRIC, beyond_random=False
        )
    )
    assert f"out of domain: {number(link['rho'], 2, signed=True)}" in text_of(app) and np.isfinite(
        link["rho"]
    )


@pytest.mark.parametrize("low", [1, 10])
def test_the_highest_change_has_the_interval_that_it_is_counted_by(
    open_app: Open, searched: Workspace, low: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pair was counted as improved by its q-value beside an interval that held 0."""

    def one_gains(self: Atlas, *asked: str, **named: str) -> pd.DataFrame:
        table = removals(self, *asked, **named)
        table.loc[1, ["change", "change_low", "change_high"]] = [0.2, low / 1000, 0.4]
        return table.assign(q_value=[0.5, 0.009, *[0.5] * (len(table) - 2)])

    removals = Atlas.removals
    monkeypatch.setattr(Atlas, "removals", one_gains)
    said = headline(open_app(searched.path, "components"))
    assert "for **1 of 6 pairs** and worsens it for **0** (5% FDR)" in said
    told = f"+20.0 points (95% interval +{low / 10:.1f} to +40.0, q = .009 over 6 pairs"
    assert told in said and "corrected for the choice" not in said and "although" not in said


def test_geometry_counts_by_the_false_discovery_rate(
    open_app: Open, searched: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each pair at p < .05 alone counted 18 of 105 where the correction leaves none."""
    geometry = Atlas.open(searched).geometry
    mine = geometry["measure"] == "isoscore"

    def said(p_values: list[float]) -> tuple[str, str]:
        table = geometry.assign(random=-1.0)
        table.loc[mine, "p_value"] = p_values
        monkeypatch.setattr(Atlas, "geometry", table)
        app = with_how(open_app(searched.path, "geometry", measure="IsoScore"))
        assert not app.exception and not app.error
        return headline(app), text_of(app)

    answer, how = said([0.04, *[0.5] * 5])
    assert "for **none** of them this is shown to go beyond what random removals do (5% FDR)" in (
        answer
    )
    assert "Benjamini-Hochberg" in how
    answer, _ = said([0.005, 0.006, 0.04, *[0.5] * 3])
    assert "for **2** of them" in answer


@pytest.mark.parametrize("page", ["components", "geometry"])
def test_not_searched_yet_names_the_command(open_app: Open, tmp_path: Path, page: str) -> None:
    app = open_app(make_workspace(tmp_path / "w", seed=1), page)
    assert noted(app, "precompute search")


def test_of_few_searched_pairs_nothing_general_is_said(open_app: Open, searched: Workspace) -> None:
    app = open_app(searched.path, "components", protocol="Paper")
    assert not app.exception and not app.error
    said = headline(app)
    assert "Only 1 of 6 pairs was searched" in said and "in the paper, removing" not in said
    assert "Highest change on these images" in said and "0 of the first" not in said
    whole = headline(open_app(searched.path, "components"))
    assert "in the paper, removing components" in whole and "Only" not in whole


@pytest.mark.parametrize("protocol", ["Ours", "Paper"])
def test_the_papers_numbers_stand_beside_the_same_cells(
    open_app: Open, searched: Workspace, protocol: str
) -> None:
    atlas = Atlas.open(searched, protocol=protocol.lower())
    app = open_app(searched.path, "components", protocol=protocol)
    table = atlas.summary.query(
        "view == 'components' and metric == 'accuracy' and cells == 'D_eval'"
    ).set_index(["a", "b"])
    one = table.loc[atlas.best_pair()]
    [here] = [part for part in text_of(app).split("\n") if part.startswith("**Here")]
    assert f"{one['before']:.3f}" in here and f"**{one['after']:.3f}**" in here
    assert f"{100 * one['change']:+.1f} points" in here and f"{int(one['n'])} cells" in here
    app = open_app(searched.path, "components", protocol=protocol, cut="0")
    [here] = [part for part in text_of(app).split("\n") if part.startswith("**Here")]
    assert "no number can be compared" in here


@pytest.mark.parametrize("sign", [-1, 1])
def test_only_a_gain_is_said_to_be_overestimated(
    open_app: Open, searched: Workspace, sign: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shifted(self: Atlas, *asked: str, **named: str) -> pd.DataFrame:
        table = removals(self, *asked, **named)
        moved = table[["change", "change_low", "change_high"]].add(sign)
        return table.assign(**moved)

    removals = Atlas.removals
    monkeypatch.setattr(Atlas, "removals", shifted)
    app = open_app(searched.path, "components")
    assert not app.exception and ("overestimated" in text_of(app)) == (sign > 0)


def test_a_pair_of_one_generator_is_said_to_be_none(open_app: Open, searched: Workspace) -> None:
    app = open_app(searched.path, "components", d1="alpha-gan", d2="alpha-gan")
    [warning] = [block.value.replace("\\", "") for block in app.warning]
    assert "a search needs two different generators" in warning and not app.exception
    assert app.selectbox(key="d1").value != app.selectbox(key="d2").value
