"""How pages get detectors: those that a job keeps are read, slow methods say how far they are."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aigi_core.detectors.methods import METHODS
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.stored import save_detectors
from aigi_core.detectors.training import train
from aigi_core.errors import NotGivenError
from aigi_core.workspace import Workspace
from tests.factory import make_workspace
from ui import results
from ui.results import explanations, trained


@pytest.fixture
def workspace(synthetic_path: Path, tmp_path: Path) -> Workspace:
    return Workspace.open(Path(shutil.copytree(synthetic_path, tmp_path / "w")))


def test_an_ensemble_reports_each_detector(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[tuple[int, int]] = []
    monkeypatch.setattr(trained, "step", lambda done, of: reports.append((done, of)))
    sets = tuple((name,) for name in workspace.domains.generators[:2])
    setting = results.Setting(sets, method="ensemble-mean")
    made = results.detectors.__wrapped__(workspace, setting)  # type: ignore[attr-defined]
    assert reports == [(1, 2), (2, 2)] and [one.training_set for one in made] == list(sets)
    together = METHODS["ensemble-mean"].train(workspace, sets)
    for one, other in zip(made, together, strict=True):
        np.testing.assert_allclose(
            one.decision_function(workspace), other.decision_function(workspace), atol=1e-9
        )


def test_what_a_job_keeps_is_read_and_not_trained(workspace: Workspace) -> None:
    """No text tower is at hand here, so that training learned prompts would fail."""
    sets = tuple((name,) for name in workspace.domains.generators)
    for refit in (True, False):
        made = train(workspace, sets, protocol=Protocol(refit=refit))
        named = [replace(d, provenance={**d.provenance, "method": "prompts"}) for d in made]
        save_detectors(workspace, named, Protocol(refit=refit))
    setting = results.Setting(sets, method="prompts")
    read = results.detectors.__wrapped__(workspace, setting)  # type: ignore[attr-defined]
    assert [one.method for one in read] == ["prompts"] * len(sets)
    one = results.Setting(sets[1:2], method="prompts")  # among those of each generator
    [alone] = results.detectors.__wrapped__(workspace, one)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(alone.weights, read[1].weights)
    twins = results.held_out.__wrapped__(workspace, setting)  # type: ignore[attr-defined]
    wanted = [one.decision_function(workspace) for one in named]
    np.testing.assert_allclose(twins, np.stack(wanted), atol=1e-9)


def test_words_of_what_has_no_weights_are_refused_before_it_is_trained(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifteen ensembles took 22 s of a core to say so."""
    monkeypatch.setattr(METHODS["ensemble-stacked"], "train", None)
    setting = results.Setting((workspace.domains.generators,), method="ensemble-stacked")
    with pytest.raises(NotGivenError, match="'ensemble-stacked'.* has no weights"):
        explanations.words(workspace, setting, 0)


def test_facts_of_files_are_judged_once_for_all_encoders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They know no encoder: each further one trained the same detectors for seconds."""
    path = make_workspace(tmp_path / "w", seed=31, per_class=20)
    same = make_workspace(path / "encoders" / "same", seed=31, per_class=20)
    other = make_workspace(path / "encoders" / "other", seed=31, per_class=24)
    asked, train = list[Path](), trained.apart

    def noted(function: Callable[..., object], workspace: Workspace, **more: object) -> object:
        asked.append(workspace.path)
        return train(function, workspace, **more)

    monkeypatch.setattr(trained, "apart", noted)
    first, second, third = (results.fact_matrix(Workspace.open(p)) for p in (path, same, other))
    assert asked == [path, other] and second is first and third.test == first.test
