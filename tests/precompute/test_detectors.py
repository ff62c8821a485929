"""The job that trains what pages begin with, and the pages' side of it."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigi_core import heads
from aigi_core.audit import cached, facts
from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.methods import METHODS
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.stored import KIND, SCORES, load_detectors, load_scores
from aigi_core.detectors.training import train
from aigi_core.geometry import projection
from aigi_core.inspection import panel, stored
from aigi_core.inspection.rules import RULES
from aigi_core.inspection.stored import KIND as HELD_OUT
from aigi_core.inspection.stored import PANEL, load_held_out, load_panel
from aigi_core.inspection.unseen import HeldOut, Trust, choose_rule, trust_of_detectors
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.workspace import Workspace
from precompute import detectors as detectors_job
from precompute.__main__ import main
from tests.factory import edit_images, make_workspace
from ui import results
from ui.results import inspection, maps, trained


def test_trained_once(
    synthetic_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(shutil.copytree(synthetic_path, tmp_path / "w"))
    assert main(["detectors", "--workspace", str(path)]) == 0
    assert "Trained 4 detectors" in capsys.readouterr().out
    notes = sorted((path / "results" / KIND.name).glob("*/result.json"))
    before = [note.stat().st_mtime_ns for note in notes]
    assert len(before) == 2  # trained with and without validation images
    assert main(["detectors", "--workspace", str(path)]) == 0
    assert (
        "already there" in capsys.readouterr().out
        and [note.stat().st_mtime_ns for note in notes] == before
    )
    assert main(["detectors", "--workspace", str(path), "--force"]) == 0
    assert all(note.stat().st_mtime_ns not in before for note in notes)
    shutil.rmtree(notes[0].parent)
    assert main(["detectors", "--workspace", str(path)]) == 0
    assert notes[0].is_file() and "Trained 4 detectors" in capsys.readouterr().out


def test_pages_read_what_the_job_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_workspace(
        tmp_path / "w", seed=13
    )  # one that no other test has put into the pages' caches
    trained = []
    kind = type(METHODS["logistic"])
    original = kind.train

    def counting(self: object, *args: object) -> object:
        trained.append(args)
        return original(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(kind, "train", counting)
    shown = [results.default_matrix(Workspace.open(path))]
    assert len(trained) == 1
    with monkeypatch.context() as plain:
        plain.setattr(kind, "train", original)
        assert main(["detectors", "--workspace", str(path)]) == 0
    shown.append(results.default_matrix(Workspace.open(path)))
    assert (
        len(trained) == 1
        and (shown[0].values["balanced_accuracy"] == shown[1].values["balanced_accuracy"]).all()
    )
    workspace = Workspace.open(path)
    setting = results.Setting(shown[1].train)
    twins = results.held_out(workspace, setting)
    assert len(trained) == 1 and twins.shape == (len(setting.sets), len(workspace.domains))
    kept = load_detectors(Workspace.open(path), [(name,) for name in shown[0].test])
    assert kept is not None and (shown[1].thresholds == [d.threshold for d in kept]).all()


def test_scores_of_many_images_are_kept(
    synthetic_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copytree(synthetic_path, tmp_path / "w"))
    for module, name in ((detectors_job, "SCORED"), (trained, "LARGE")):
        monkeypatch.setattr(module, name, 10)
    assert main(["detectors", "--workspace", str(path)]) == 0
    workspace = Workspace.open(path)
    setting = results.Setting(tuple((name,) for name in workspace.domains.generators))
    kept = results.detectors(workspace, setting), results.twins(workspace, setting)
    expected = [score_detectors(one, workspace) for one in kept]
    monkeypatch.setattr(trained, "score_detectors", lambda *_: pytest.fail("scored once more"))
    shown = results.scores(workspace, setting), results.held_out(workspace, setting)
    for one, other in zip(expected, shown, strict=True):
        np.testing.assert_array_equal(one, other)
    looked, lengths = HeldOut.of(workspace, kept[1]), heads._lengths(workspace.embeddings, None)
    made = panel.build_panel(workspace, kept[1])
    made = made.joined_by(choose_rule(workspace, made))
    trusts = [trust_of_detectors(workspace, kept[1], rate, looked) for rate in panel.RATES]
    for module, name in (
        (panel, "score_detectors"),
        (panel, "calibration_draws"),
        (inspection, "apart"),
        (heads, "_lengths"),
    ):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("computed once more"))
    own, scored = inspection.panel(workspace), inspection.panel(workspace).on_test[1]
    reopened = Workspace.open(path)
    np.testing.assert_array_equal(heads.embedding_norms(reopened), lengths)
    for rate, trust in zip(panel.RATES, trusts, strict=True):
        assert same(inspection.unseen(workspace, rate), trust)
    monkeypatch.undo()
    assert own.names == made.names and own.calibrations == made.calibrations
    assert own.rule == made.rule
    plain = panel.build_panel(workspace, kept[1], rule=own.rule)
    np.testing.assert_allclose(own.held_out, plain.held_out, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(scored, plain.on_test[1], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(own.draws, plain.draws, rtol=1e-9, atol=1e-9)
    for module, name in ((detectors_job, "SCORED"), (trained, "LARGE")):
        monkeypatch.setattr(module, name, 10)
    assert inspection.distances(workspace).tolist() == looked.nearest.distances.tolist()
    computed = projection.image_map(workspace, detectors_job.COMPONENTS)
    monkeypatch.setattr(projection, "image_map", lambda *_: pytest.fail("computed once more"))
    mapped = maps.image_map(workspace, detectors_job.COMPONENTS)
    np.testing.assert_array_equal(mapped.points, computed.points)
    assert mapped.explained_variance == computed.explained_variance
    for kind, suffix in ((SCORES, "safetensors"), (HELD_OUT, "npz"), (PANEL, "npz")):
        for file in (path / "results" / kind.name).rglob(f"*.{suffix}"):
            file.unlink()
    assert load_scores(workspace, kept[0]) is load_held_out(workspace, kept[1]) is None
    assert load_panel(workspace, kept[1]) is None
    assert main(["detectors", "--workspace", str(path)]) == 0
    np.testing.assert_array_equal(load_scores(workspace, kept[0]), expected[0])
    assert load_held_out(workspace, kept[1]) is not None
    assert load_panel(workspace, kept[1]) is not None


def same(one: Trust, other: Trust) -> bool:
    """To the last digit."""
    return all(
        value.equals(getattr(other, name))
        if isinstance(value, pd.DataFrame)
        else value == getattr(other, name)
        for name, value in vars(one).items()
    )


@pytest.mark.parametrize("rule", RULES)
def test_a_panel_joined_by_any_rule_is_kept(
    synthetic_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    workspace = Workspace.open(shutil.copytree(synthetic_path, tmp_path / "w"))
    protocol = replace(Protocol(), refit=False)
    twins = train(workspace, workspace.domains.generators, protocol=protocol)
    monkeypatch.setattr(stored, "choose_rule", lambda *_: rule)
    stored.save_panel(workspace, twins)
    made, kept = panel.build_panel(workspace, twins, rule=rule), load_panel(workspace, twins)
    assert kept is not None and kept.rule == rule
    for image in (np.arange(3), np.arange(30, 50)):
        np.testing.assert_array_equal(kept.logits(workspace, image), made.logits(workspace, image))
    monkeypatch.setattr(panel, "nearness", lambda *_: pytest.fail("asks for no neighbours"))
    np.testing.assert_array_equal(kept.held_out, made.held_out)
    assert np.isfinite(kept.on_test[1]).all()


def test_one_detector_alone_is_kept_without_generators_left_out(
    synthetic_path: Path, tmp_path: Path
) -> None:
    workspace = Workspace.open(shutil.copytree(synthetic_path, tmp_path / "w"))
    twins = panel.build_panel(workspace, train(workspace, [workspace.domains.generators])).detectors
    stored.save_panel(workspace, twins)
    kept = load_panel(workspace, twins)
    assert kept is not None and len(kept.names) == 1
    np.testing.assert_array_equal(kept.on_test[1], panel.build_panel(workspace, twins).on_test[1])
    assert stored.load_trust(workspace, twins, 0.05) is None


def test_nothing_to_train_on_is_one_sentence(
    synthetic_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(shutil.copytree(synthetic_path, tmp_path / "w"))
    edit_images(path, lambda table: table.__setitem__("split", "test"))
    assert main(["detectors", "--workspace", str(path)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (path / "results").exists()


def test_what_the_first_page_says_of_files_is_kept(
    synthetic_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copytree(synthetic_path, tmp_path / "w"))
    computed = results.fact_matrix(Workspace.open(path))
    against = results.facts_against_detectors(Workspace.open(path))
    assert main(["detectors", "--workspace", str(path)]) == 0
    monkeypatch.setattr(facts, "fact_detector", lambda *_: pytest.fail("trained once more"))
    monkeypatch.setattr(cached, "difference", lambda *_: pytest.fail("compared once more"))
    kept = results.fact_matrix(Workspace.open(path))
    assert against == results.facts_against_detectors(Workspace.open(path)) and against.n == 4
    assert kept.summary().equals(computed.summary())
    assert kept.values[DEFAULT_METRIC].tolist() == computed.values[DEFAULT_METRIC].tolist()
