"""What gives fakes away besides the signs of generation: subjects in words, facts of files, and
whether detectors mind.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigi_core.audit.exposure import Exposure, exposure, imitation_shifts, operation_words
from aigi_core.audit.facts import association, fact_scores, file_facts
from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.explain.detector_words import content_words, detector_words
from aigi_core.explain.lexicon import Lexicon
from aigi_core.transfer import DEFAULT_METRIC, transfer_matrix
from aigi_core.workspace import Workspace, describe_file, read_manifest, write_manifest
from tests.factory import put_images

NAME = "beta-diff"
TEXT = 5


@pytest.fixture(scope="module")
def workspace(synthetic_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Nine in ten of one generator's files are palette images; copies of the test images with a
    palette move along a text.
    """
    path = Path(shutil.copytree(synthetic_path, tmp_path_factory.mktemp("exposed") / "w"))
    images = pd.read_parquet(path / "images.parquet")
    fakes = np.flatnonzero(images["generator"] == NAME)
    images.loc[fakes[np.arange(len(fakes)) % 10 > 0], "mode"] = "P"
    put_images(path, images)
    result = Workspace.open(path)
    rows = np.flatnonzero(result.domains.split == "test")
    E = np.asarray(result.embeddings[rows], np.float64)
    moved = (
        E
        + 0.5
        * np.linalg.norm(E, axis=1, keepdims=True)
        * Lexicon.of(result, centred=False).vectors[TEXT]
    )
    folder = path / "perturbed" / "palette-256"
    folder.mkdir(parents=True)
    np.save(folder / "embeddings.npy", moved.astype(np.float32))
    manifest = read_manifest(path)
    manifest["files"]["perturbed/palette-256/embeddings.npy"] = describe_file(
        path, "perturbed/palette-256/embeddings.npy"
    )
    manifest["perturbed"] = {
        "palette-256": {
            "op": "palette:256",
            "splits": ["test"],
            "images": len(rows),
            "heads": False,
            "workspace_digest": result.digest,
        }
    }
    write_manifest(path, json.loads(json.dumps(manifest)))
    return Workspace.open(path)


def explain(workspace: Workspace, name: str) -> Exposure:
    names, lexicon = workspace.domains.generators, Lexicon.of(workspace)
    trained = train(workspace, names)
    facts = fact_scores(file_facts(workspace.images), workspace.domains)
    matrices = [
        transfer_matrix(scores, workspace.domains, names, metrics=(DEFAULT_METRIC,), draws=50)
        for scores in (score_detectors(trained, workspace), facts.scores)
    ]
    detector = trained[names.index(name)]
    words = (
        detector_words(workspace, lexicon, detector, draws=19),
        content_words(workspace, lexicon, name, draws=19),
    )
    return exposure(workspace, detector, *words, *matrices, draws=100)


def test_a_palette_is_named_with_its_share_and_what_it_is_worth(workspace: Workspace) -> None:
    result = explain(workspace, NAME)
    assert result.facts["fact"].tolist() == ["mode"]
    files, facts = result.sentences[2:4]
    assert (
        "File facts reveal the label" in files
        and str(result.blind) in files
        and str(result.detector) in files
    )
    assert "a palette of at most 256 colours) in 90% [77%, 97%] of the fakes" in facts
    assert (
        result.blind.value > 0.9 and result.blind.n == 24
    )  # 12 fakes and 12 real images in the test split
    fakes = workspace.images.query("split == 'test' and generator == @NAME")
    assert (result.test_fakes, result.test_groups) == (12, fakes["group"].nunique())
    assert f"n = 24 test images, of which 12 fakes in {result.test_groups} groups;" in files


def test_a_shift_is_measured_on_real_images_of_the_detector_s_pool(workspace: Workspace) -> None:
    result = explain(workspace, NAME)
    [detector] = train(workspace, [NAME])
    domains = workspace.domains
    rows = np.flatnonzero(domains.split == "test")
    moved = np.load(workspace.path / "perturbed" / "palette-256" / "embeddings.npy").astype(float)
    real = (domains.labels[rows] == 0) & (domains.pool[rows] == "general")
    fake = domains.generator[rows] == NAME
    before = detector.decision_function(workspace, rows)
    after = (
        moved / np.linalg.norm(moved, axis=1, keepdims=True)
    ) @ detector.weights + detector.bias
    [row] = result.shifts.to_dict("records")
    shift = (after - before)[real].mean()
    assert (
        row["shift"] == pytest.approx(shift)
        and row["low"] <= shift <= row["high"]
        and row["n"] == real.sum() == 12
    )
    assert row["way"] == pytest.approx(shift / (before[fake].mean() - before[real].mean()))
    assert row["flagged_after"] == pytest.approx((after[real] > detector.threshold).mean())
    assert (
        f"{row['way']:.1%}" in result.sentences[-1]
        and "palette of 256 colours" in result.sentences[-1]
    )


def test_without_the_trait_or_without_copies_nothing_is_reported_of_it(
    workspace: Workspace, synthetic: Workspace
) -> None:
    other = explain(workspace, "gamma-diff")
    assert other.facts.empty and other.shifts.empty
    assert "No file fact is strongly associated with the label" in other.sentences[-1]
    [detector] = train(synthetic, [NAME])
    facts = association(file_facts(workspace.images), workspace.domains, [NAME], draws=20)
    assert imitation_shifts(synthetic, detector, facts).empty


def test_words_of_an_operation_are_those_it_was_given(workspace: Workspace) -> None:
    words = operation_words(
        workspace, Lexicon.of(workspace, centred=False), "palette:256", draws=99
    )
    assert words.nearest["text"][0] == f"phrases {TEXT}" and words.p_value <= 0.05
    with pytest.raises(WorkspaceError, match="no perturbed copies of blur:2"):
        operation_words(workspace, Lexicon.of(workspace), "blur:2")


def test_what_cannot_be_explained_is_one_sentence(workspace: Workspace) -> None:
    [both] = train(workspace, [(NAME, "gamma-diff")])
    matrix = transfer_matrix(
        score_detectors([both], workspace),
        workspace.domains,
        [both.training_set],
        metrics=(DEFAULT_METRIC,),
        draws=5,
    )
    words = detector_words(workspace, Lexicon.of(workspace), both, draws=5)
    with pytest.raises(AigiError, match="trained on 2"):
        exposure(workspace, both, words, words, matrix, matrix)
    [single] = train(workspace, [NAME])
    with pytest.raises(AigiError, match="holds no detector of 'beta-diff' alone"):
        exposure(workspace, single, words, words, matrix, matrix)


def test_without_other_images_the_rest_is_reported_all_the_same(workspace: Workspace) -> None:
    whole = explain(workspace, NAME)
    result = replace(whole, content=None)
    assert "the workspace holds no other images" in result.sentences[1]
    assert result.sentences[:1] + result.sentences[2:] == whole.sentences[:1] + whole.sentences[2:]
