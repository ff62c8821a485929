"""A kept matrix is the measured one, and looks at images only where it must."""

from pathlib import Path
from shutil import copytree

import numpy as np
import pandas as pd
import pytest

from aigi_core.detectors import score_detectors, train
from aigi_core.metrics import DEFAULT_METRIC, Column
from aigi_core.transfer import transfer_matrix
from aigi_core.transfer.kept import KIND, load_matrix, save_matrix
from aigi_core.transfer.matrix import TransferMatrix
from aigi_core.workspace import Workspace
from precompute.detectors import keep_detectors

OF = {"detectors": "these"}
METRICS = (DEFAULT_METRIC,)


@pytest.fixture
def measured(synthetic_path: Path, tmp_path: Path) -> tuple[Workspace, TransferMatrix]:
    copytree(synthetic_path, tmp_path / "w")
    workspace = Workspace.open(tmp_path / "w")
    names = workspace.domains.generators
    scores = score_detectors(train(workspace, names), workspace)
    return workspace, transfer_matrix(scores, workspace.domains, names, metrics=METRICS)


def test_what_was_kept_is_what_was_measured(measured: tuple[Workspace, TransferMatrix]) -> None:
    workspace, matrix = measured
    asked = list[int]()

    def columns() -> tuple[Column, ...]:
        asked.append(1)
        return tuple(matrix.columns)

    assert load_matrix(workspace, OF, METRICS, columns) is None
    save_matrix(workspace, matrix, OF)
    kept = load_matrix(workspace, OF, METRICS, columns)
    assert kept is not None and kept.protocol == matrix.protocol
    for ask in ("hardest", "best_detector", "worst_detector", "gap", "mean"):
        assert getattr(kept, ask)(DEFAULT_METRIC) == getattr(matrix, ask)(DEFAULT_METRIC), ask
    pd.testing.assert_frame_equal(kept.to_frame(), matrix.to_frame())
    pd.testing.assert_frame_equal(kept.by_test(DEFAULT_METRIC), matrix.by_test(DEFAULT_METRIC))
    np.testing.assert_array_equal(kept.confusion, matrix.confusion)
    assert not asked, "all of this was kept"
    some = np.zeros(matrix.in_domain.shape, bool)
    some[0, :2] = True
    assert kept.mean(DEFAULT_METRIC, some) == matrix.mean(DEFAULT_METRIC, some) and asked
    pd.testing.assert_frame_equal(
        kept.on(matrix.test[1:3]).to_frame(), matrix.on(matrix.test[1:3]).to_frame()
    )
    assert load_matrix(workspace, {"detectors": "others"}, METRICS, columns) is None


def test_a_damaged_matrix_is_measured_again(measured: tuple[Workspace, TransferMatrix]) -> None:
    workspace, matrix = measured
    folder = save_matrix(workspace, matrix, OF)
    [file] = folder.glob("*.npz")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    assert load_matrix(workspace, OF, METRICS, tuple) is None


def test_the_job_keeps_the_matrix_that_pages_begin_with(
    synthetic_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ui import results
    from ui.results import trained

    copytree(synthetic_path, tmp_path / "w")
    fresh = results.default_matrix(Workspace.open(tmp_path / "w"))
    keep_detectors(tmp_path / "w")
    workspace = Workspace.open(tmp_path / "w")
    assert workspace.result_path(KIND.name, "").is_dir()
    monkeypatch.setattr(trained, "scores", lambda *_: pytest.fail("nothing is scored"))
    monkeypatch.setattr(trained, "transfer_matrix", lambda *_, **__: pytest.fail("nor measured"))
    kept = results.default_matrix(workspace)
    pd.testing.assert_frame_equal(kept.to_frame(), fresh.to_frame())
    assert kept.hardest(DEFAULT_METRIC) == fresh.hardest(DEFAULT_METRIC)
