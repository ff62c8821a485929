"""The search job on a small workspace: what it stores is what the library computes, and it goes on
where it stopped.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

from aigi_core import results
from aigi_core.detectors.components import search_components
from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.features import EmbeddingView, HeadsView
from aigi_core.detectors.heads import score_heads
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.transfer import transfer_matrix
from aigi_core.transfer.atlas import Atlas
from aigi_core.workspace import Workspace, describe_file, read_manifest, write_manifest
from precompute.__main__ import main
from precompute.engine import InlineEngine, LocalEngine
from precompute.search import job
from precompute.shares import Share
from tests.factory import put_features, with_images
from tests.searched import KEY

PAIR = ("alpha-gan", "beta-diff")


@pytest.fixture(scope="module")
def atlas(path: Path) -> Atlas:
    return Atlas.open(Workspace.open(path), KEY)


def test_stores_what_the_library_computes(path: Path, atlas: Atlas) -> None:
    workspace = Workspace.open(path)
    result = search_components(workspace, PAIR)
    for stored, direction in zip(
        atlas.components(PAIR), (result.forward, result.backward), strict=True
    ):
        np.testing.assert_array_equal(stored.removed, direction.removed)
        np.testing.assert_allclose(stored.accuracy, direction.accuracy, atol=1e-6)
        np.testing.assert_allclose(stored.log_loss, direction.log_loss, rtol=2e-3)
        assert (stored.cut, stored.C) == (direction.cut, pytest.approx(direction.C))
    kept = np.flatnonzero(atlas.kept(PAIR[::-1]))
    np.testing.assert_array_equal(kept, result.kept)
    views = {
        "embedding": EmbeddingView(),
        "components": EmbeddingView(without=tuple(np.setdiff1d(np.arange(24), kept).tolist())),
        "heads a>b": HeadsView(atlas.top_heads(*PAIR)),
        "heads b>a": HeadsView(atlas.top_heads(*PAIR[::-1])),
    }
    names = workspace.domains.generators
    for view, features in views.items():
        detectors = train(workspace, names, features)
        matrix = transfer_matrix(
            score_detectors(detectors, workspace), workspace.domains, names, draws=40
        )
        pair = () if view == "embedding" else PAIR
        for metric in ("accuracy", "auc"):
            np.testing.assert_allclose(
                atlas.matrix(view, metric, pair), matrix.values[metric], atol=1e-6
            )
        if pair:
            rows = atlas.summary.query(
                "a == @PAIR[0] and b == @PAIR[1] and view == @view and metric == 'auc'"
            )
            row = rows.set_index("cells").loc["D_eval, ood"]
            cells = matrix.without(PAIR) & ~matrix.in_domain
            assert row["after"] == pytest.approx(matrix.values["auc"][cells].mean())
            assert row["n"] == 2 and row["after_low"] <= row["after"] <= row["after_high"]
            assert row["change"] == pytest.approx(row["after"] - row["before"])


def test_single_heads_are_scored_on_the_other_generators_validation_images(
    path: Path, atlas: Atlas
) -> None:
    workspace = Workspace.open(path)
    scores = atlas.head_scores("beta-diff", "gamma-diff")
    rows = workspace.domains.rows("gamma-diff", "val")
    detector = train(workspace, ["beta-diff"], HeadsView(((1, 2),)), Protocol(refit=False))[0]
    flagged = detector.predict(workspace, rows)
    assert scores[1, 2] == pytest.approx(
        balanced_accuracy_score(workspace.domains.labels[rows], flagged)
    )
    assert np.isnan(atlas.head_scores("beta-diff", "beta-diff")).all()
    best = atlas.top_heads("alpha-gan", "beta-diff")
    assert best == score_heads(workspace, "alpha-gan", "beta-diff").top(3)
    assert len(best) == 3 and atlas.head_scores("alpha-gan", "beta-diff")[best[0]] == np.nanmax(
        atlas.head_scores("alpha-gan", "beta-diff")
    )


def test_tables_are_complete(atlas: Atlas) -> None:
    assert len(atlas.summary) == 2 * 3 * 3 * 2  # pairs, views, metrics, cells
    components = atlas.summary.query("view == 'components' and metric == 'balanced_accuracy'")
    assert components[["random", "random_low", "random_high"]].notna().all().all()
    assert (atlas.summary["q_value"] >= atlas.summary["p_value"] - 1e-12).all()
    assert set(atlas.geometry["measure"]) == {
        "isoscore",
        "isoscore_star",
        "participation_ratio",
        "mean_cosine",
    }
    before = atlas.words.query("a == ''")
    assert len(before) == 4 and len(atlas.words) == 12
    assert before["cosine"].between(0, 1).all() and before["p_value"].between(0, 1).all()
    band = atlas.random_removal.band(10, np.ones((4, 4), bool))
    assert band[1] <= band[0] <= band[2]


def test_goes_on_where_it_stopped(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A third pair is added to the published ones, whose arrays and rows stay as they were."""
    copy = tmp_path / "workspace"
    shutil.copytree(path, copy)
    path = copy
    workspace = Workspace.open(path)
    folder = KEY.folder(workspace)
    before = Atlas.open(workspace, KEY)
    kept, rows = before.kept(PAIR), before.summary.query("a == @PAIR[0] and b == @PAIR[1]")
    done: list[tuple[str, str]] = []
    original = job._one
    monkeypatch.setattr(job, "_one", lambda pair, file: (done.append(pair), original(pair, file)))
    monkeypatch.setattr(job, "LocalEngine", InlineEngine)
    job.search(path, "alpha-gan:beta-diff,delta-ar:beta-diff", key=KEY)
    assert done == [("delta-ar", "beta-diff")]
    assert "2 pairs wanted, 1 of them searched before" in capsys.readouterr().out
    after = Atlas.open(workspace, KEY)
    assert len(after.pairs) == 3 and not (folder / "pairs").exists()
    np.testing.assert_array_equal(after.kept(PAIR), kept)
    columns = [name for name in rows.columns if name != "q_value"]
    again = after.summary.query("a == @PAIR[0] and b == @PAIR[1]")[columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, rows[columns].reset_index(drop=True))


def test_an_interrupted_search_keeps_its_finished_pairs(
    synthetic_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "workspace"
    shutil.copytree(synthetic_path, copy)
    monkeypatch.setattr(job, "LocalEngine", InlineEngine)
    done: list[tuple[str, str]] = []
    original = job._one

    def stop_after_one(pair: tuple[str, str], file: str) -> None:
        if done:
            raise KeyboardInterrupt
        done.append(pair)
        original(pair, file)

    monkeypatch.setattr(job, "_one", stop_after_one)
    pairs = "alpha-gan:beta-diff,alpha-gan:gamma-diff"
    with pytest.raises(KeyboardInterrupt):
        job.search(copy, pairs, key=KEY)
    workspace = Workspace.open(copy)
    with pytest.raises(
        WorkspaceError,
        match="no stored search of pairs of generators yet: run 'python -m precompute search",
    ):
        Atlas.open(workspace, KEY)
    folder = KEY.folder(workspace)
    files = list((folder / "pairs").iterdir())
    assert len(files) == 1
    files[0].write_bytes(files[0].read_bytes()[:200])  # a damaged file is no finished pair
    (folder / "pairs" / ".000-002.npz.1.tmp").write_bytes(
        b"half"
    )  # nor what a killed process was writing
    monkeypatch.setattr(job, "_one", lambda pair, file: (done.append(pair), original(pair, file)))
    job.search(copy, pairs, key=KEY)
    assert len(done) == 3 and len(Atlas.open(workspace, KEY).pairs) == 2
    assert not (folder / "pairs").exists()


def test_shares_search_and_the_last_run_publishes(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "workspace"
    shutil.copytree(path, copy)
    engine, done = InlineEngine(), list[tuple[str, str]]()
    original = job._one
    monkeypatch.setattr(job, "_one", lambda pair, file: (done.append(pair), original(pair, file)))
    pairs = "alpha-gan:beta-diff,beta-diff:delta-ar"  # the first one is published already
    for share in (Share(2, 2), Share(1, 2)):
        said = job.search(copy, pairs, key=KEY, engine=engine, share=share)
        assert f"Share {share} is searched" in said
    assert len(done) == 1 and len(Atlas.open(Workspace.open(copy), KEY).pairs) == 2
    job.search(copy, pairs, key=KEY, engine=engine)
    assert len(done) == 1 and len(Atlas.open(Workspace.open(copy), KEY).pairs) == 3


def test_a_search_stopped_while_it_publishes_leaves_the_atlas_before(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "workspace"
    shutil.copytree(path, copy)
    workspace = Workspace.open(copy)
    kept = Atlas.open(workspace, KEY).kept(PAIR)
    monkeypatch.setattr(job, "LocalEngine", InlineEngine)
    original = results.write_atomic

    def stop(file: Path, content: bytes) -> None:
        if file.name == results.NOTE:
            raise KeyboardInterrupt
        original(file, content)

    monkeypatch.setattr(results, "write_atomic", stop)
    pairs = (
        "alpha-gan:beta-diff,alpha-gan:delta-ar"  # the new one sorts between the two published ones
    )
    with pytest.raises(KeyboardInterrupt):
        job.search(copy, pairs, key=KEY)
    between = Atlas.open(workspace, KEY)
    assert len(between.pairs) == 2 and len(between.summary) == 36
    monkeypatch.setattr(results, "write_atomic", original)
    job.search(copy, pairs, key=KEY)
    after = Atlas.open(workspace, KEY)
    assert PAIR in after.pairs and len(after.pairs) == 3
    np.testing.assert_array_equal(after.kept(PAIR), kept)


def test_three_generators_leave_one_to_judge_on(
    synthetic_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One generator has no out-of-domain cell: its rows say nothing, and the others stand."""
    copy = with_images(
        synthetic_path,
        tmp_path / "workspace",
        lambda images: images.__setitem__(
            "left_out", images["left_out"].where(images["generator"] != "delta-ar", "no")
        ),
    )
    keep = (pd.read_parquet(copy / "images.parquet")["left_out"] == "").to_numpy()
    for name, axis in (("embeddings.npy", 0), ("heads.npy", 2), ("ln_post.npy", 0)):
        put_features(copy, name, np.compress(keep, np.load(copy / name), axis=axis))
    monkeypatch.setattr(job, "LocalEngine", InlineEngine)
    job.search(copy, "beta-diff:gamma-diff", key=KEY)
    table = Atlas.open(Workspace.open(copy), KEY).summary
    assert (table.loc[table["cells"] == "D_eval", "n"] == 1).all()
    assert table.loc[table["cells"] == "D_eval", "q_value"].between(0, 1).all()
    assert table.loc[table["cells"] == "D_eval, ood", ["after", "q_value"]].isna().all(axis=None)


def test_other_phrases_are_another_atlas(path: Path, tmp_path: Path) -> None:
    """An atlas says how nameable detectors are."""
    copy = tmp_path / "workspace"
    shutil.copytree(path, copy)
    np.save(copy / "text" / "phrases.npy", -np.load(copy / "text" / "phrases.npy"))
    manifest = read_manifest(copy)
    manifest["files"]["text/phrases.npy"] = describe_file(copy, "text/phrases.npy")
    write_manifest(copy, manifest)
    with pytest.raises(WorkspaceError, match="search of pairs of generators is outdated"):
        Atlas.open(Workspace.open(copy), KEY)


def test_a_killed_process_is_named(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "workspace"
    shutil.copytree(path, copy)
    monkeypatch.setattr(job, "_one", _abort)
    with pytest.raises(AigiError, match="process was killed.*run the same command again"):
        job.search(copy, "delta-ar:beta-diff", key=KEY, engine=LocalEngine(1))


def _abort(*_: object) -> None:
    os.abort()


def test_bad_input_is_named(path: Path, atlas: Atlas, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--workspace", str(path), "--pairs", "alpha-gan:omega"]) == 2
    assert "'alpha-gan:omega' is not a pair of generators" in capsys.readouterr().err
    for wrong, words in (
        ("--workers=0", "at least 1"),
        ("--draws=1", "at least 20 draws"),
        ("--seed=-1", "at least 0"),
    ):
        assert main(["search", "--workspace", str(path), wrong]) == 2
        assert words in capsys.readouterr().err
    with pytest.raises(AigiError, match="has not been searched.*--pairs delta-ar:gamma-diff"):
        atlas.kept(("delta-ar", "gamma-diff"))
    with pytest.raises(AigiError, match="choose among balanced_accuracy"):
        atlas.matrix("embedding", "eer")
    with pytest.raises(AigiError, match="no matrix 'heads'"):
        atlas.matrix("heads", pair=PAIR)
    with pytest.raises(AigiError, match="no generator 'omega'"):
        atlas.head_scores("omega", "beta-diff")


def test_a_damaged_atlas_is_refused(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "workspace"
    shutil.copytree(path, copy)
    workspace = Workspace.open(copy)
    folder = KEY.folder(workspace)
    for pattern in ("arrays-*.npz", "words-*.parquet", results.NOTE):
        [file] = folder.glob(pattern)
        content = file.read_bytes()
        file.write_bytes(content[:-100])
        with pytest.raises(WorkspaceError, match="is damaged.*run 'python -m precompute search"):
            Atlas.open(workspace, KEY)
        file.write_bytes(content)
    stored = Atlas.open(workspace, KEY).stored
    changed = {**stored.arrays("arrays.npz"), "cut": np.zeros((7, 2))}
    tables = {f"{name}.parquet": stored.table(name) for name in ("summary", "geometry", "words")}
    results.publish(
        workspace,
        stored.kind,
        stored.parameters,
        {"arrays.npz": changed, **tables},
        banks=("phrases",),
        content=stored.content,
    )
    with pytest.raises(WorkspaceError, match="differ in length"):
        Atlas.open(workspace, KEY)
