"""How far an image lies: against scikit-learn's distances, groups left out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import pairwise_distances

from aigi_core.errors import AigiError
from aigi_core.inspection.novelty import held_out_distances, nearest_sources, novelty, row_of
from aigi_core.workspace import Workspace
from tests.factory import with_images


@pytest.fixture(scope="module")
def grouped(synthetic: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Every two images in a row are one group; the last ten have none."""

    def change(table: pd.DataFrame) -> None:
        table["group"] = [f"g{i // 2}" for i in range(len(table))]
        table.loc[len(table) - 10 :, "group"] = ""

    return Workspace.open(
        with_images(synthetic.path, tmp_path_factory.mktemp("grouped") / "w", change)
    )


def plain(workspace: Workspace) -> np.ndarray:
    distance = pairwise_distances(np.asarray(workspace.embeddings, np.float64), metric="cosine")
    group = workspace.domains.group
    own = (group[:, None] == group) & (group[:, None] != "")
    distance[own | np.eye(len(group), dtype=bool)] = np.inf
    return distance


def test_distances_leave_the_own_group_out(
    grouped: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = np.sort(plain(grouped)[grouped.domains.split == "test"].min(axis=1))
    np.testing.assert_allclose(held_out_distances(grouped), expected, atol=1e-5)
    monkeypatch.setattr("aigi_core.heads.BLOCK", 37)
    np.testing.assert_allclose(held_out_distances(grouped), expected, atol=1e-5)
    few = held_out_distances(grouped, most=20)
    assert len(few) == 20 and np.isin(few.round(5), expected.round(5)).all()


def test_an_images_place_among_them(grouped: Workspace) -> None:
    held_out = held_out_distances(grouped)
    for row in (0, 33, len(grouped.images) - 1):
        result = novelty(grouped, grouped.embeddings[row], held_out, row)
        distance = plain(grouped)[row].min()
        assert result.distance == pytest.approx(distance, abs=1e-5)
        assert result.farther_than == pytest.approx(
            (held_out < distance - 1e-6).mean(), abs=1 / len(held_out)
        )
        assert result.low <= result.farther_than <= result.high and result.n == len(held_out)
    assert novelty(grouped, grouped.embeddings[0], held_out).distance == pytest.approx(0, abs=1e-6)
    away = -np.asarray(grouped.embeddings).mean(axis=0)
    assert novelty(grouped, away, held_out).farther_than == 1.0


def test_sources_of_the_nearest_images(grouped: Workspace) -> None:
    distance = plain(grouped)[11]
    table = nearest_sources(grouped, grouped.embeddings[11], 11, k=30)
    near = np.argsort(distance)[:30]
    domains = grouped.domains
    for line in table.to_dict("records"):
        fake = not line["source"].startswith("real: ")
        mine = (
            (domains.generator == line["source"])
            if fake
            else ((domains.labels == 0) & (domains.pool == line["source"].removeprefix("real: ")))
        )
        assert line["among"] == mine[near].sum() and line["n"] == mine.sum()
        assert line["nearest"] == pytest.approx(1 - distance[mine].min(), abs=1e-5)
        assert line["low"] <= line["share"] <= line["high"]
    assert table["among"].sum() == 30 and table["expected"].sum() == pytest.approx(1)


def test_own_files_are_known_by_their_bytes(grouped: Workspace) -> None:
    assert row_of(grouped, str(grouped.images["content_hash"][12])) == 12
    assert row_of(grouped, "0" * 64) is None


def test_nothing_to_compare_with(synthetic: Workspace, tmp_path: Path) -> None:
    def no_test(table: pd.DataFrame) -> None:
        table.loc[table["split"] == "test", "split"] = "val"

    with pytest.raises(AigiError, match="no test images"):
        held_out_distances(Workspace.open(with_images(synthetic.path, tmp_path / "w", no_test)))
