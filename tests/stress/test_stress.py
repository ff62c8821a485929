"""Planted operations: one erases the sign of generation, one looks fake itself, one does
nothing.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from aigi_core import stress as s
from aigi_core.detectors.protocol import Protocol
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.manifest import Domains
from aigi_core.perturb import Op
from aigi_core.workspace import Workspace
from tests.factory import make_workspace, put_features
from tests.stress.factory import EVERY, add_copies

ERASES, LOOKS_FAKE, HARMLESS = "jpeg:30", "blur:2", "crop:0.8"
SETS = ["beta-diff", "gamma-diff"]
FAST = Protocol(C=(1.0,))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Fakes of the pool 'general' differ along axis 0; the planted operations act on axes 0 and
    1.
    """
    path = make_workspace(tmp_path_factory.mktemp("stress") / "w", per_class=100)
    rng = np.random.default_rng(0)
    opened = Workspace.open(path)
    y = opened.domains.labels
    X = rng.standard_normal((len(y), 24)) * 0.5
    X[:, 0] += 2.0 * (2 * y - 1)
    put_features(path, "embeddings.npy", X.astype(np.float32))
    erased, fakish, same = X.copy(), X.copy(), X + 0.01 * rng.standard_normal(X.shape)
    erased[:, 0] = rng.standard_normal(len(y)) * 0.5
    erased[:, 1] += 2.0 * (2 * y - 1)  # another sign, which training on copies can learn
    fakish[:, 0] += 2.5
    z = np.asarray(Workspace.open(path).heads, np.float32).copy()
    z[0, 0] = rng.standard_normal(z[0, 0].shape)
    add_copies(path, ERASES, erased, EVERY)
    add_copies(path, LOOKS_FAKE, fakish, EVERY)
    add_copies(path, HARMLESS, same, ("test",), z)
    return Workspace.open(path)


@pytest.fixture(scope="module")
def result(workspace: Workspace) -> s.Stress:
    return s.stress(
        workspace,
        SETS,
        trained_on=(s.CLEAN, ERASES, s.AUGMENTED),
        test=SETS,
        protocol=FAST,
        draws=200,
    )


def test_what_is_planted_is_seen(result: s.Stress) -> None:
    table = result.summary().set_index(["trained", "op", "side", "cells"])
    assert table.loc[("clean", "clean", "both", "in-domain"), "value"] > 0.97
    erased = table.loc[("clean", ERASES, "both", "in-domain")]
    assert erased["value"] == pytest.approx(0.5, abs=0.08)
    assert erased["change_high"] < -0.35 and erased["p_value"] < 1e-4
    harmless = table.loc[("clean", HARMLESS, "both", "in-domain")]
    assert harmless["change_low"] <= 0 <= harmless["change_high"]
    assert (table["n"] == 2).all()


def test_bias_is_kept_apart_from_robustness(result: s.Stress) -> None:
    """An operation that looks fake ruins real images and leaves fakes alone."""
    curves = result.curves("accuracy_real").query("trained == 'clean' and train == test")
    real = curves[curves["op"] == LOOKS_FAKE].groupby("side")["value"].mean()
    assert real["both"] < 0.5 and real["real"] == real["both"] and real["fake"] > 0.95
    fakes = result.curves("accuracy_fake").query("trained == 'clean' and train == test")
    assert fakes[fakes["op"] == LOOKS_FAKE].groupby("side")["value"].mean().min() > 0.97


def test_training_on_copies_mends_what_can_be_mended(result: s.Stress) -> None:
    gain = result.gain(ERASES, trained=ERASES)
    assert gain.mean().low > 0.3
    assert result.gain(ERASES, trained=s.AUGMENTED).mean().low > 0.25
    kept = result.change("clean", trained=s.AUGMENTED)  # against itself: nothing changes
    assert kept.values.max() == 0
    clean = result.summary().set_index(["trained", "op", "cells"])["value"]
    assert clean[(s.AUGMENTED, "clean", "in-domain")].item() > 0.9
    assert clean[(ERASES, "clean", "in-domain")].item() < 0.75  # it has never seen the clean sign


def test_curves_hold_every_cell_once_with_its_interval(result: s.Stress) -> None:
    curves = result.curves()
    keys = ["trained", "op", "side", "train", "test"]
    assert not curves[keys].duplicated().any()
    assert len(curves) == 3 * (1 + 3 * 3) * 4
    assert ((curves["low"] <= curves["value"]) & (curves["value"] <= curves["high"])).all()
    jpeg = curves[curves["op"] == ERASES]
    assert set(jpeg["kind"]) == {"jpeg"} and set(jpeg["strength"]) == {30}


def test_generators_and_gains_agree_with_the_matrices(result: s.Stress) -> None:
    table = result.by_generator()
    row = table.query(
        "trained == 'clean' and op == @ERASES and side == 'fake' and cells == 'in-domain' and name"
        " == 'beta-diff'"
    )
    matrix, change = result.matrices[s.CLEAN, ERASES, "fake"], result.change(ERASES, "fake")
    low, high = matrix.interval("balanced_accuracy")
    assert row[["value", "low", "high", "change"]].iloc[0].tolist() == pytest.approx(
        [matrix.values["balanced_accuracy"][0, 0], low[0, 0], high[0, 0], change.values[0, 0]]
    )
    assert (
        len(table) == 3 * (1 + 3 * 3) * 2 * 2
        and (table["q_value"] >= table["p_value"] - 1e-12).all()
    )
    gains = result.gains(ERASES).set_index(["op", "cells"])
    wanted = result.gain(ERASES, ERASES).mean(result.matrices[s.CLEAN, s.CLEAN, "both"].in_domain)
    assert gains.loc[(ERASES, "in-domain"), "value"] == wanted.value and set(gains["n"]) == {2}
    with pytest.raises(AigiError, match="No detector was trained on blur:2"):
        result.gains("blur:2")


def test_parts_measured_apart_are_those_measured_together(
    workspace: Workspace, result: s.Stress
) -> None:
    options = dict(test=SETS, protocol=FAST, draws=200)
    clean = s.stress(workspace, SETS, **options)  # type: ignore[arg-type]
    copies = s.stress(workspace, SETS, trained_on=(s.AUGMENTED,), **options)  # type: ignore[arg-type]
    apart = s.Stress(clean.matrices | copies.matrices)
    np.testing.assert_array_equal(
        apart.gains(s.AUGMENTED)["value"], result.gains(s.AUGMENTED)["value"]
    )


def test_operations_are_corrected_for_their_number(result: s.Stress) -> None:
    table = result.summary()
    for _, group in table[table["op"] != s.CLEAN].groupby(["trained", "side", "cells"]):
        expected = false_discovery_control(group["p_value"], method="bh")
        np.testing.assert_allclose(group["q_value"], expected)
    assert (table.loc[table["op"] == s.CLEAN, "q_value"] == 1).all()


def test_what_can_be_trained_on(workspace: Workspace, synthetic: Workspace) -> None:
    assert (
        s.trainable(workspace) == (s.AUGMENTED, LOOKS_FAKE, ERASES) and s.trainable(synthetic) == ()
    )


def test_replaced_touches_only_the_side_asked_for() -> None:
    clean, labels = np.zeros((2, 6)), np.array([0, 1, 0, 1, 0, 1])
    rows, moved = np.array([1, 2, 5]), np.ones((2, 3))
    for side, expected in (("both", [1, 2, 5]), ("fake", [1, 5]), ("real", [2])):
        scores = s.replaced(clean, moved, rows, labels, side)  # type: ignore[arg-type]
        assert np.flatnonzero(scores[0]).tolist() == expected
    assert not clean.any()


def test_heads_that_hold_and_heads_that_do_not(workspace: Workspace) -> None:
    done: list[tuple[int, int]] = []
    table = s.robust_heads(
        workspace, HARMLESS, "beta-diff", draws=200, progress=lambda *step: done.append(step)
    )
    assert done == [(k + 1, len(table)) for k in range(len(table))]
    table = table.set_index(["layer", "head"])
    carrier = table.loc[(0, 0)]
    assert carrier["clean"] > 0.7 and carrier["change_high"] < 0
    others = table.drop((0, 0))
    assert (others["change"] == 0).all()
    assert (
        (table["perturbed_low"] <= table["perturbed"])
        & (table["perturbed"] <= table["perturbed_high"])
    ).all()
    with pytest.raises(AigiError, match="without heads"):
        s.robust_heads(workspace, ERASES, "beta-diff")


def test_components_that_come_through(workspace: Workspace) -> None:
    erased = s.component_stability(workspace, ERASES).set_index("component")
    assert erased["correlation"].drop([0, 1]).min() > 0.6
    assert erased.loc[0, "low"] < 0.4
    shifted = s.component_stability(workspace, LOOKS_FAKE).set_index("component")
    assert shifted["shift"].abs().idxmax() == 0
    assert (
        (erased["low"] <= erased["correlation"]) & (erased["correlation"] <= erased["high"])
    ).all()
    before, after = (
        rows / np.linalg.norm(rows, axis=1, keepdims=True)
        for rows in (workspace.embeddings, s.open_perturbed(workspace, ERASES).embeddings)
    )
    assert erased.loc[5, "correlation"] == pytest.approx(
        np.corrcoef(before[:, 5], after[:, 5])[0, 1], abs=1e-6
    )


def test_a_component_that_holds_nothing_has_no_correlation(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(workspace.path, tmp_path / "w"))
    for name in ("embeddings.npy", "perturbed/crop-0.8/embeddings.npy"):
        rows = np.load(path / name)
        rows[:, 3] = 0
        np.save(path / name, rows)
    table = s.component_stability(Workspace.open(path), HARMLESS).set_index("component")
    assert table.loc[3, ["correlation", "low", "high", "shift"]].isna().all()
    assert table["correlation"].drop(3).min() > 0.9


def test_copies_of_a_workspace(workspace: Workspace) -> None:
    assert s.perturbed_ops(workspace) == (Op("blur", 2), Op("crop", 0.8), Op("jpeg", 30))
    copies = s.open_perturbed(workspace, Op("crop", 0.8))
    domains: Domains = workspace.domains
    assert (domains.split[copies.rows] == "test").all() and copies.has_heads


def test_bad_input(workspace: Workspace, synthetic: Workspace, result: s.Stress) -> None:
    with pytest.raises(WorkspaceError, match="holds no perturbed copies"):
        s.stress(synthetic)
    with pytest.raises(WorkspaceError, match="no perturbed copies of noise:0.05"):
        s.stress(workspace, SETS, ["noise:.05"])
    with pytest.raises(AigiError, match="no training copies of crop:0.8"):
        s.stress(workspace, SETS, [HARMLESS], trained_on=["crop:0.8"], protocol=FAST)
    with pytest.raises(AigiError, match="no training copies of any operation"):
        s.stress(workspace, SETS, [HARMLESS], trained_on=[s.AUGMENTED], protocol=FAST)
    with pytest.raises(AigiError, match="no side 'left'"):
        s.stress(workspace, SETS, sides=["left"])  # type: ignore[list-item]
    with pytest.raises(AigiError, match="was not measured"):
        result.change("noise:.05")
