"""Components and Geometry without a browser: numbers of the atlas and the library; a workspace that
was not searched.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
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
from tests.pages.reading import noted, text_of

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


@pytest.mark.parametrize("page", ["components", "geometry"])
def test_not_searched_yet_names_the_command(open_app: Open, tmp_path: Path, page: str) -> None:
    app = open_app(make_workspace(tmp_path / "w", seed=1), page)
    assert noted(app, "precompute search")


def test_a_pair_of_one_generator_is_said_to_be_none(open_app: Open, searched: Workspace) -> None:
    app = open_app(searched.path, "components", d1="alpha-gan", d2="alpha-gan")
    [warning] = [block.value.replace("\\", "") for block in app.warning]
    assert "a search needs two different generators" in warning and not app.exception
    assert app.selectbox(key="d1").value != app.selectbox(key="d2").value
