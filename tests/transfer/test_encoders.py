"""Encoders side by side: paired on the same images, and their errors compared."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aigi_core.encodings import add_encoding, encodings, home_of, open_encodings
from aigi_core.errors import AigiError, NotMadeError, WorkspaceError
from aigi_core.explain.concept import concept_alignment
from aigi_core.transfer import encoders
from aigi_core.transfer.board import measure_method
from aigi_core.transfer.board_by_encoder import board_by_encoder
from aigi_core.transfer.encoders import agreement, by_generator, compare, measure
from aigi_core.workspace import Workspace, describe_file, read_manifest, write_manifest
from precompute.detectors import keep_detectors
from precompute.methods import by_encoder
from tests.factory import edit_images, make_workspace


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two further encodings: pure noise, and its own features turned round."""
    path = make_workspace(tmp_path_factory.mktemp("w") / "w")
    rng = np.random.default_rng(3)
    X = np.load(path / "embeddings.npy")
    turned, _ = np.linalg.qr(rng.standard_normal((24, 24)))
    for name, values in (("noise", rng.standard_normal(X.shape)), ("turned", X @ turned)):
        folder = add_encoding(path, name)
        np.save(folder / "embeddings.npy", values.astype(np.float32))
        manifest = read_manifest(folder)
        manifest["files"]["embeddings.npy"] = describe_file(folder, "embeddings.npy")
        encoder = read_manifest(path)["encoder"] | {
            "model": name,
            "weights_sha256": name,
            "gives": {"heads": "", "lacks": {"heads": "none", "texts": "none"}},
        }
        write_manifest(folder, manifest | {"encoder": encoder})
    return path


def test_encodings_are_workspaces_that_know_their_home(home: Path) -> None:
    result = encodings(home)
    assert list(result) == ["synthetic", "noise", "turned"]
    assert home_of(result["noise"]) == home == home_of(home)
    assert encodings(result["noise"]) == result
    opened = open_encodings(home)
    assert len({w.digest for w in opened.values()}) == 3
    assert all(w.images.equals(opened["synthetic"].images) for w in opened.values())


def test_bad_names_and_changed_images(home: Path, tmp_path: Path) -> None:
    for name in ("", "../x", "a b", ".x"):
        with pytest.raises(AigiError, match="cannot name an encoding"):
            add_encoding(home, name)
    with pytest.raises(AigiError, match="the workspace's own name"):
        add_encoding(home, "synthetic")
    copy = Path(shutil.copytree(home, tmp_path / "w"))

    def change(table) -> None:
        table.loc[0, "caption"] = "new"

    edit_images(copy, change)
    with pytest.raises(WorkspaceError, match="have changed since"):
        add_encoding(copy, "noise")
    assert list(open_encodings(copy)) == ["synthetic"]


def test_detectors_that_a_job_kept_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_workspace(tmp_path / "w")
    computed = measure("first", Workspace.open(path))
    keep_detectors(path)
    monkeypatch.setattr(encoders, "train", lambda *_: pytest.fail("trained once more"))
    read = measure("first", Workspace.open(path))
    np.testing.assert_array_equal(read.scores, computed.scores)


def test_comparison_is_paired(home: Path) -> None:
    opened = open_encodings(home)
    measured = {name: measure(name, workspace) for name, workspace in opened.items()}
    table = compare(measured).set_index("name")
    # A rotation changes nothing that a detector sees; noise is chance.
    assert abs(table.loc["turned", "change"]) < 0.02
    assert table.loc["noise", "value"] < table.loc["synthetic", "value"]
    low, high = table.loc["noise", ["change_low", "change_high"]]
    assert low < table.loc["noise", "change"] < high < 0
    assert table.loc["noise", "q_value"] < 0.05
    assert np.isnan(table.loc["synthetic", "p_value"])
    beside = by_generator(measured)
    generators = opened["synthetic"].domains.generators
    assert beside["name"].tolist() == [name for name in generators for _ in opened]
    assert beside["encoder"].tolist() == list(opened) * len(generators)

    domains = opened["synthetic"].domains
    same = agreement(measured["synthetic"], measured["turned"], domains)
    other = agreement(measured["synthetic"], measured["noise"], domains)
    assert same["ratio"] > 1.5 > other["ratio"] > 0.5
    assert other["ratio_low"] < other["ratio"] < other["ratio_high"]
    assert abs(same["gain"]) < 0.02


def test_detectors_that_miss_most_fakes_do_not_err_together_for_that(home: Path) -> None:
    workspace = Workspace.open(home)
    domains, rng = workspace.domains, np.random.default_rng(0)
    lean = np.where(domains.labels == 1, -0.8, -1.5)  # both call nearly every image real
    scores = rng.standard_normal((2, len(domains.generators), len(lean))) + lean
    blind = [replace(measure("w", workspace), scores=own) for own in scores]
    found = agreement(*blind, domains)
    assert found["ratio_low"] < 1 < found["ratio_high"] < 1.2


def test_the_concept_against_other_texts(home: Path, tmp_path: Path) -> None:
    path = make_workspace(tmp_path / "w", seed=5)
    workspace = Workspace.open(path)
    with pytest.raises(AigiError, match="holds none of"):
        concept_alignment(workspace)
    fake = workspace.domains.labels == 1
    X = np.array(workspace.embeddings) / np.linalg.norm(workspace.embeddings, axis=1)[:, None]
    direction = np.linalg.lstsq(X, fake.astype(float) * 2 - 1, rcond=None)[0]
    table = concept_alignment(workspace, concepts=["phrases 3"])
    assert (table["p_value"] > 0.001).all() and len(table) == 4
    vectors = np.load(path / "text" / "phrases.npy")
    vectors[3] = direction / np.linalg.norm(direction)
    np.save(path / "text" / "phrases.npy", vectors)
    manifest = read_manifest(path)
    manifest["files"]["text/phrases.npy"] = describe_file(path, "text/phrases.npy")
    write_manifest(path, manifest)
    planted = concept_alignment(Workspace.open(path), concepts=["phrases 3"])
    assert planted["value"].mean() > table["value"].mean() + 0.1
    assert (planted["value"] > planted["null_high"]).sum() >= 2
    assert (planted["low"] < planted["value"]).all() and (planted["n"] > 0).all()


def test_methods_by_encoder_are_paired_with_the_first(home: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(home, tmp_path / "w"))
    with pytest.raises(NotMadeError, match="precompute methods"):
        board_by_encoder(open_encodings(path))
    for one in open_encodings(path).values():
        measure_method(one, "logistic")
    measure_method(Workspace.open(path), "mean-difference")
    table = board_by_encoder(open_encodings(path)).set_index("encoder")
    assert list(table.index) == ["synthetic", "noise", "turned"]
    assert set(table["method"]) == {"Logistic regression"}, "measured on two encoders"
    assert np.isnan(table.loc["synthetic", "difference"])
    assert table.loc["noise", "difference_high"] < 0 and table.loc["noise", "q_value"] < 0.05
    assert abs(table.loc["turned", "difference"]) < 0.02
    values = table["ood"]
    assert table.loc["noise", "difference"] == pytest.approx(values["noise"] - values["synthetic"])
    assert "| Logistic regression | noise |" in by_encoder(path)
    assert by_encoder(home) == ""
