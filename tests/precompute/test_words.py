"""The job that computes words once, and what reads them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.explain.cached import CONTENT, WordSettings, load_words
from aigi_core.explain.detector_words import content_words, detector_words
from aigi_core.explain.lexicon import Lexicon
from aigi_core.results import NOTE
from aigi_core.transfer import DEFAULT_METRIC, transfer_matrix
from aigi_core.workspace import Workspace, describe_file, read_manifest, write_manifest
from precompute.__main__ import main
from tests.factory import make_workspace

SMALL = ["--draws", "19", "--texts", "4", "--spans", "3"]
SETTINGS = WordSettings(draws=19, texts=4, spans=3)


@pytest.fixture(scope="module")
def path(synthetic_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("words") / "workspace"
    shutil.copytree(synthetic_path, copy)
    assert main(["words", "--workspace", str(copy), *SMALL]) == 0
    return copy


def test_what_is_read_equals_what_is_computed_on_the_spot(path: Path) -> None:
    workspace = Workspace.open(path)
    atlas = load_words(workspace, SETTINGS)
    generators = workspace.domains.generators
    assert len(atlas.rows) == 3 * 2 * len(generators) * 2 * 4
    assert len(atlas.detectors) == 3 * 2 * len(generators)
    [detector] = train(workspace, ["gamma-diff"])
    words = detector_words(workspace, Lexicon.of(workspace, "vocabulary"), detector, 4, draws=19)
    mine = atlas.rows.query(
        "kind == 'logistic' and bank == 'vocabulary' and detector == 'gamma-diff' and side =="
        " 'farthest'"
    )
    assert mine["text"].tolist() == words.farthest["text"].tolist()
    assert mine["cosine"].to_numpy() == pytest.approx(words.farthest["cosine"])
    assert mine["p_value"].tolist() == words.farthest["p_value"].tolist()
    assert all(isinstance(json.loads(similar), list) for similar in atlas.rows["similar"])
    assert atlas.spans.groupby(["layer", "head"]).size().tolist() == [3] * 6
    assert np.isfinite(atlas.spans["explained"]).all() and set(atlas.spans["text"]) <= {
        f"phrases {i}" for i in range(60)
    }
    counts = atlas.categories.query(
        "kind == 'residual' and bank == 'phrases' and detector == 'delta-ar'"
    )
    assert set(counts["side"]) == {"nearest", "farthest"} and counts["p_value"].between(0, 1).all()


def test_words_of_a_bank_without_categories_are_read_and_shown(
    tmp_path: Path, open_app: Callable[..., AppTest]
) -> None:
    path = make_workspace(tmp_path / "w", per_class=20)
    manifest = read_manifest(path)
    for bank in manifest["text"]:
        file = f"text/{bank}.parquet"
        pd.read_parquet(path / file).drop(columns="category").to_parquet(path / file, index=False)
        manifest["files"][file] = describe_file(path, file)
    write_manifest(path, manifest)
    assert main(["words", "--workspace", str(path), *SMALL]) == 0
    workspace = Workspace.open(path)
    atlas, lexicon = load_words(workspace, SETTINGS), Lexicon.of(workspace, "phrases")
    [detector] = train(workspace, ["gamma-diff"])
    stored = atlas.words("logistic", "phrases", "gamma-diff")
    fresh = detector_words(workspace, lexicon, detector, 4, draws=19)
    assert stored.categories.empty and list(stored.categories) == list(fresh.categories)
    assert stored.nearest["text"].tolist() == fresh.nearest["text"].tolist()
    app = open_app(path, "words")
    assert not app.exception and not app.error


def test_stored_words_are_the_values_computed_on_the_spot(path: Path) -> None:
    workspace = Workspace.open(path)
    atlas, lexicon = load_words(workspace, SETTINGS), Lexicon.of(workspace, "vocabulary")
    [detector] = train(workspace, ["gamma-diff"])
    for kind, fresh in (
        ("logistic", detector_words(workspace, lexicon, detector, 4, draws=19)),
        (CONTENT, content_words(workspace, lexicon, "gamma-diff", 4, draws=19)),
    ):
        stored = atlas.words(kind, "vocabulary", "gamma-diff")
        for name in ("nearest", "farthest", "categories"):
            pd.testing.assert_frame_equal(
                getattr(stored, name), getattr(fresh, name), check_dtype=False
            )
        assert (
            stored.chance == pytest.approx(fresh.chance)
            and stored.name == fresh.name == "gamma-diff"
        )
        assert (stored.draws, stored.p_value, stored.nameable) == (
            fresh.draws,
            fresh.p_value,
            fresh.nameable,
        )
        assert stored.opened(fresh.nearest["text"][0]).equals(
            fresh.opened(fresh.nearest["text"][0])
        )
    for wrong in (
        ("forest", "phrases", "gamma-diff"),
        ("logistic", "own", "gamma-diff"),
        ("logistic", "phrases", "x"),
    ):
        with pytest.raises(AigiError, match="no stored words"):
            atlas.words(*wrong)


def test_metrics_are_the_app_s(path: Path) -> None:
    workspace = Workspace.open(path)
    result = load_words(workspace, SETTINGS).detectors.query(
        "kind == 'logistic' and bank == 'phrases'"
    )
    names = workspace.domains.generators
    matrix = transfer_matrix(
        score_detectors(train(workspace, names), workspace),
        workspace.domains,
        names,
        metrics=(DEFAULT_METRIC,),
        draws=1,
    )
    assert result["in_domain"].to_numpy() == pytest.approx(np.diag(matrix.values[DEFAULT_METRIC]))


def test_a_second_run_does_nothing_and_force_writes_the_same(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [folder] = (path / "results" / "words").iterdir()
    before = {file.name: file.read_bytes() for file in folder.glob("*.parquet")}
    stamp = (folder / NOTE).stat().st_mtime_ns
    assert main(["words", "--workspace", str(path), *SMALL]) == 0
    assert "already there" in capsys.readouterr().out
    assert (folder / NOTE).stat().st_mtime_ns == stamp
    assert main(["words", "--workspace", str(path), *SMALL, "--force"]) == 0
    assert {file.name: file.read_bytes() for file in folder.glob("*.parquet")} == before


def test_missing_and_damaged_results_say_what_to_do(path: Path) -> None:
    workspace = Workspace.open(path)
    with pytest.raises(
        WorkspaceError, match="no stored words yet: run 'python -m precompute words"
    ):
        load_words(workspace, WordSettings())
    [file] = workspace.path.glob("results/words/*/rows-*.parquet")
    content = file.read_bytes()
    file.write_bytes(content[:100])
    with pytest.raises(WorkspaceError, match="damaged"):
        load_words(workspace, SETTINGS)
    file.write_bytes(content)


def test_pages_find_words_of_other_settings(path: Path) -> None:
    workspace = Workspace.open(path)
    assert load_words(workspace).settings == SETTINGS


def test_a_workspace_whose_only_bank_has_another_name_has_words(path: Path) -> None:
    opened = Workspace.open(path)
    text = {"own": opened.manifest["text"]["phrases"]}
    workspace = Workspace(opened.path, opened.manifest | {"text": text})
    settings = WordSettings().for_workspace(workspace)
    assert settings.banks == ("own",) and settings.span_bank == "own"


def test_bad_input_is_one_sentence(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["words", "--workspace", str(path), "--draws", "0"]) == 2
    assert "--draws: expected a whole number of at least 1" in capsys.readouterr().err
    bare = tmp_path / "bare"
    shutil.copytree(path, bare)
    write_manifest(bare, read_manifest(bare) | {"text": {}})
    assert main(["words", "--workspace", str(bare)]) == 2
    assert capsys.readouterr().err.count("run 'python -m precompute text") == 1
    with pytest.raises(AigiError, match="no text bank 'phrases'"):
        load_words(Workspace.open(bare))


def test_words_of_the_only_generator(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = tmp_path / "alone"
    keep = ["--generators", "alpha-gan", "--out", str(alone)]
    assert main(["subset", "--workspace", str(path), *keep]) == 0
    assert main(["words", "--workspace", str(alone), *SMALL]) == 0
    atlas = load_words(Workspace.open(alone), SETTINGS)
    assert set(atlas.detectors["kind"]) == {"logistic", "residual"}
    with pytest.raises(AigiError, match="no stored words"):
        atlas.words(CONTENT, "phrases", "alpha-gan")
