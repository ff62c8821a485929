"""Maps: held against scikit-learn; controls near chance; stored and read again."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn import manifold
from sklearn.decomposition import PCA

from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.geometry import projection
from aigi_core.geometry.projection import (
    NEIGHBOURS,
    MapSettings,
    _neighbours,
    cells_of,
    cells_table,
    image_map,
    load_map,
    points_table,
    save_map,
    trustworthiness,
)
from aigi_core.workspace import Workspace


def test_principal_components_and_trustworthiness_are_scikit_learns(synthetic: Workspace) -> None:
    made = image_map(synthetic, MapSettings("pca"))
    X = np.asarray(synthetic.embeddings, float)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    other = PCA(2).fit(X)
    np.testing.assert_allclose(np.abs(made.points), np.abs(other.transform(X)), atol=1e-4)
    assert made.explained_variance == pytest.approx(
        tuple(other.explained_variance_ratio_), abs=1e-6
    )
    points = made.points.astype(float)
    wanted = manifold.trustworthiness(X, points, n_neighbors=NEIGHBOURS)
    assert trustworthiness(X, _neighbours(points)) == pytest.approx(wanted, abs=1e-3)
    assert abs(made.shuffled - 0.5) < 0.05 < made.trustworthiness - made.shuffled


def test_chance_is_the_share_of_pairs_of_one_source(synthetic: Workspace) -> None:
    made = image_map(synthetic, MapSettings("pca"))
    share = points_table(synthetic, made)["source"].value_counts(normalize=True)
    mean, low, high = made.agreement_chance
    assert low < (share**2).sum() < high and low < mean < high < made.agreement


def test_a_stored_map_is_read_again(synthetic_path: Path, tmp_path: Path) -> None:
    pytest.importorskip("openTSNE", reason="needs requirements-map.txt")
    workspace = Workspace.open(Path(shutil.copytree(synthetic_path, tmp_path / "w")))
    with pytest.raises(WorkspaceError, match="precompute map"):
        load_map(workspace)
    made = image_map(workspace)
    save_map(workspace, made, MapSettings(), {})
    again = load_map(workspace)
    np.testing.assert_array_equal(again.points, made.points)
    assert (
        replace(again, points=made.points).agreement == made.agreement
        and again.explained_variance is None
    )


def test_many_images_are_measured_on_some_and_drawn_as_cells(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = image_map(synthetic, MapSettings("pca"))
    monkeypatch.setattr(projection, "MEASURED", 150)
    some = image_map(synthetic, MapSettings("pca"))
    np.testing.assert_array_equal(some.points, whole.points)
    assert (whole.measured, some.measured, some.n) == (whole.n, 150, whole.n)
    assert abs(some.trustworthiness - whole.trustworthiness) < 0.1
    points = points_table(synthetic, whole)
    points["score"] = np.arange(len(points), dtype=float)
    cell = cells_of(points)
    for by in ("source", "score"):
        cells = cells_table(points, by).set_index("cell")
        assert cells["images"].sum() == len(points)  # every image is in one cell
        for number, own in points.groupby(cell):
            assert cells.loc[number, "images"] == len(own)
            if by == "score":
                assert cells.loc[number, by] == pytest.approx(own[by].mean())
            else:
                count = own[by].value_counts()
                assert count[cells.loc[number, by]] == count.max()
                assert cells.loc[number, "share"] == pytest.approx(count.max() / len(own))


def test_the_map_of_the_demo_is_read() -> None:
    workspace = Workspace.open(Path(__file__).parents[2] / "assets" / "demo")
    assert len(load_map(workspace).points) == len(workspace.images)


def test_a_map_with_other_names_says_what_to_run(synthetic_path: Path, tmp_path: Path) -> None:
    workspace = Workspace.open(Path(shutil.copytree(synthetic_path, tmp_path / "w")))
    settings = MapSettings("pca")
    save_map(workspace, image_map(workspace, settings), settings, {})
    (record,) = (workspace.path / "results" / "map").glob("*/result.json")
    record.write_text(record.read_text("utf-8").replace("explained_variance", "explained"), "utf-8")
    with pytest.raises(WorkspaceError, match="damaged"):
        load_map(workspace, settings)


def test_too_few_images_and_unknown_methods(synthetic: Workspace) -> None:
    with pytest.raises(AigiError, match="methods pca, tsne"):
        image_map(synthetic, MapSettings("umap"))  # type: ignore[arg-type]
