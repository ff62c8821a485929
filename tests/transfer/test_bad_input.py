"""Hostile workspaces: whoever trains, transfers, ranks or searches on them gets one sentence with a
name and a remedy.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigi_core.detectors.components import search_components
from aigi_core.detectors.heads import score_heads, select_heads
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.transfer import few_shot_curves, rank_training_sets, trainer, transfer_matrix
from aigi_core.transfer.stability import selection_stability
from aigi_core.workspace import Workspace, describe_file, read_manifest, write_manifest
from tests.factory import make_workspace

ASK: dict[str, Callable[[Workspace], object]] = {
    "train": lambda w: train(w, w.domains.generators),
    "rank": lambda w: rank_training_sets(trainer(w), trainer(w), w.domains, k_max=1, draws=2),
    "few shot": lambda w: few_shot_curves(w, w.domains.generators, (5, None), repeats=1, draws=2),
    "components": lambda w: search_components(w, ("beta-diff", "alpha-gan")),
    "heads": lambda w: score_heads(w, "beta-diff", "alpha-gan"),
    "stability": lambda w: selection_stability(w, ("beta-diff", "alpha-gan"), repeats=1),
    "transfer": lambda w: transfer_matrix(
        np.asarray(w.embeddings[:, :4].T, float), w.domains, w.domains.generators
    ),
}
TRAINED = ("train", "rank", "few shot", "components", "heads", "stability")


def hostile(
    path: Path,
    images: Callable[[pd.DataFrame], None] | None = None,
    X: Callable[[np.ndarray, pd.DataFrame], None] | None = None,
) -> Workspace:
    """The synthetic workspace with its table or its embeddings changed."""
    make_workspace(path)
    table = pd.read_parquet(path / "images.parquet")
    if images is not None:
        images(table)
        table.to_parquet(path / "images.parquet", index=False)
    if X is not None:
        embeddings = np.load(path / "embeddings.npy")
        X(embeddings, table)
        np.save(path / "embeddings.npy", embeddings)
    manifest = read_manifest(path)
    manifest["files"] = {name: describe_file(path, name) for name in manifest["files"]}
    write_manifest(path, manifest)
    return Workspace(
        path, read_manifest(path)
    )  # opening it would refuse values that are no numbers


def set_row(value: float) -> Callable[[np.ndarray, pd.DataFrame], None]:
    def change(X: np.ndarray, table: pd.DataFrame) -> None:
        X[table.index[(table["generator"] == "beta-diff") & (table["split"] == "train")][0]] = value

    return change


def no_val_fakes(table: pd.DataFrame) -> None:
    table.loc[(table["generator"] == "beta-diff") & (table["split"] == "val"), "split"] = "train"


def no_reals(table: pd.DataFrame) -> None:
    table.loc[(table["label"] == 0) & (table["pool"] == "general"), "pool"] = "elsewhere"


@pytest.mark.parametrize("what", TRAINED)
@pytest.mark.parametrize(
    ("value", "text"),
    [(np.nan, "NaN or infinity"), (np.inf, "NaN or infinity"), (0.0, "all zeros")],
)
def test_features_that_are_no_numbers(tmp_path: Path, what: str, value: float, text: str) -> None:
    workspace = hostile(tmp_path / "w", X=set_row(value))
    with pytest.raises(
        AigiError,
        match=(
            rf"'general/beta-diff/0000.png' \(beta-diff\) are {text}.*encode it again, or leave it"
        ),
    ):
        ASK[what](workspace)


@pytest.mark.parametrize("what", ASK)
def test_a_generator_without_the_pools_real_images(tmp_path: Path, what: str) -> None:
    workspace = hostile(tmp_path / "w", images=no_reals)
    with pytest.raises(
        AigiError,
        match=r"'(beta-diff|delta-ar)' has no real images in the split .*pool general.*add images",
    ):
        ASK[what](workspace)


@pytest.mark.parametrize("what", TRAINED)
def test_a_split_of_one_class(tmp_path: Path, what: str) -> None:
    workspace = hostile(tmp_path / "w", images=no_val_fakes)
    with pytest.raises(
        AigiError,
        match="'beta-diff' has no fake images in the split val.*or leave the generator out",
    ):
        ASK[what](workspace)


@pytest.mark.parametrize("what", ["train", "rank", "components"])
def test_images_that_are_all_alike(tmp_path: Path, what: str) -> None:
    def alike(X: np.ndarray, table: pd.DataFrame) -> None:
        X[:] = X[0]

    with pytest.raises(AigiError, match="same features"):
        ASK[what](hostile(tmp_path / "w", X=alike))


def test_constant_and_duplicated_components_are_no_mistake(tmp_path: Path) -> None:
    def degrade(X: np.ndarray, table: pd.DataFrame) -> None:
        X[:, 3], X[:, 5] = 0.0, X[:, 4]

    workspace = hostile(tmp_path / "w", X=degrade)
    detectors = train(workspace, workspace.domains.generators)
    assert all(d.weights[3] == pytest.approx(0, abs=1e-9) for d in detectors)
    assert all(d.weights[4] == pytest.approx(d.weights[5], rel=1e-5, abs=1e-9) for d in detectors)
    result = search_components(workspace, ("beta-diff", "alpha-gan"))
    assert 1 <= len(result.kept) <= 24


@pytest.mark.parametrize("what", ["components", "stability"])
def test_a_pair_that_is_no_pair(synthetic: Workspace, what: str) -> None:
    ask = search_components if what == "components" else selection_stability
    with pytest.raises(AigiError, match="beta-diff"):
        ask(synthetic, ("beta-diff", "beta-diff"))
    with pytest.raises(AigiError, match="no generator 'omega'"):
        ask(synthetic, ("beta-diff", "omega"))


def test_questions_that_make_no_sense(synthetic: Workspace) -> None:
    with pytest.raises(AigiError, match="kind bootstrap or jitter"):
        selection_stability(synthetic, ("alpha-gan", "beta-diff"), repeats=1, kind="shuffle")  # type: ignore[arg-type]
    with pytest.raises(AigiError, match="two generators"):
        selection_stability(synthetic, synthetic.domains.generators[:3], repeats=1)  # type: ignore[arg-type]
    with pytest.raises(AigiError, match="no metric 'f1'"):
        rank_training_sets(
            trainer(synthetic), trainer(synthetic), synthetic.domains, k_max=1, metric="f1"
        )
    with pytest.raises(AigiError, match="goals mean and worst"):
        rank_training_sets(
            trainer(synthetic), trainer(synthetic), synthetic.domains, k_max=1, draws=2
        ).best(1, "median")  # type: ignore[arg-type]
    for options in ({"most": 0}, {"heads": []}):
        with pytest.raises(AigiError, match="No head can be chosen"):
            select_heads(synthetic, "alpha-gan", "beta-diff", **options)  # type: ignore[arg-type]
