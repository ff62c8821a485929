"""The matrix, its summaries and blocks, against plain loops."""

from dataclasses import replace

import numpy as np
import pytest

from aigi_core.errors import AigiError
from aigi_core.intervals import count_interval
from aigi_core.manifest import Domains
from aigi_core.transfer import (
    METRICS,
    TransferMatrix,
    draw_counts,
    evaluate,
    transfer_matrix,
)
from aigi_core.transfer import matrix as matrix_module
from aigi_core.workspace import Workspace
from tests.transfer.factory import make_domains, make_scores

TRAIN = ["g0", "g1", ("g0", "g2"), "g3"]


@pytest.fixture(scope="module")
def matrix() -> TransferMatrix:
    domains = make_domains()
    return transfer_matrix(
        make_scores(domains, 4), domains, TRAIN, draws=80, thresholds=np.array([0, 0.2, -0.2, 0])
    )


def test_cells_equal_a_loop_over_detectors_and_generators(matrix: TransferMatrix) -> None:
    domains = make_domains()
    scores = make_scores(domains, 4)
    in_test = np.flatnonzero(domains.split == "test")
    counts = draw_counts(domains, in_test, 80)
    for column, name in enumerate(matrix.test):
        rows = domains.rows(name, "test")
        drawn = counts[:, np.isin(in_test, rows)]
        for row in range(4):
            once = evaluate(scores[row, rows], domains.labels[rows], None, matrix.thresholds[row])
            many = evaluate(scores[row, rows], domains.labels[rows], drawn, matrix.thresholds[row])
            for metric, value in once.items():
                assert matrix.values[metric][row, column] == pytest.approx(value[0, 0], abs=1e-12)
                np.testing.assert_allclose(
                    matrix.draws[metric][:, row, column], many[metric][0], atol=1e-6
                )
            assert matrix.confusion[row, column].trace() / len(rows) == pytest.approx(
                once["accuracy"][0, 0]
            )
            assert matrix.confusion[row, column].sum(axis=1).tolist() == [30, 30]
    assert [*matrix.values, "accuracy_at_val_fpr5"] == list(METRICS)


def test_in_domain_is_any_generator_of_the_training_set(matrix: TransferMatrix) -> None:
    assert matrix.test == ("g0", "g2", "g1", "g3")  # by family, GANs first
    assert matrix.train_names == ("g0", "g1", "g0 + g2", "g3")
    assert matrix.train_families == ("gan", "diffusion", "gan", "diffusion")
    assert matrix.in_domain.tolist() == [
        [True, False, False, False],
        [False, False, True, False],
        [True, True, False, False],
        [False, False, False, True],
    ]


def test_a_setting_of_a_model_that_was_trained_on_is_in_domain() -> None:
    """As ``generate`` names its settings: g2 and g3 are one model at different steps."""
    domains = replace(make_domains(), models_of={"g2": "sd", "g3": "sd"})
    matrix = transfer_matrix(make_scores(domains, 4), domains, TRAIN, draws=5)
    assert matrix.test == ("g0", "g2", "g1", "g3")
    assert matrix.in_domain.tolist() == [
        [True, False, False, False],
        [False, False, True, False],
        [True, True, False, True],
        [False, True, False, True],
    ]
    assert matrix.without(["g3"]).tolist() == [
        [True, False, True, False],
        [True, False, True, False],
        [False] * 4,
        [False] * 4,
    ]


def test_threshold_of_validation_reals_sees_held_out_scores_alone() -> None:
    domains = make_domains()
    scores, twins = make_scores(domains, 2), make_scores(domains, 2, seed=7)
    metric = "accuracy_at_val_fpr5"
    matrix = transfer_matrix(
        scores, domains, ["g0", "g1"], held_out=twins, draws=5, metrics=[metric]
    )
    reals = (domains.labels == 0) & (domains.split == "val")
    assert reals.sum() == 6  # 5% needs 19: the nearest rate is 1 in 7, above the highest score
    threshold = twins[:, reals].max(axis=1)
    rows = domains.rows("g1", "test")
    accuracy = [((twins[k, rows] > threshold[k]) == domains.labels[rows]).mean() for k in range(2)]
    at = matrix.test.index("g1")
    np.testing.assert_allclose(matrix.values[metric][:, at], accuracy)
    low, high = matrix.interval(metric)
    assert (low < matrix.values[metric]).all() and (matrix.values[metric] < high).all()
    with pytest.raises(AigiError, match="have not been trained on validation"):
        transfer_matrix(scores, domains, ["g0", "g1"], draws=5, metrics=[metric])
    assert metric not in transfer_matrix(scores, domains, ["g0", "g1"], draws=5).values


def test_a_generator_that_is_only_tested_on_needs_no_validation_fakes() -> None:
    """The threshold on validation images is set on real ones alone."""
    domains = make_domains()
    split = np.where(domains.generator == "g1", "test", domains.split)
    domains = replace(domains, split=split)
    scores = make_scores(domains, 1)
    matrix = transfer_matrix(scores, domains, ["g0"], ["g1"], held_out=scores, draws=5)
    assert (
        matrix.n_fake.tolist() == [60] and np.isfinite(matrix.values["accuracy_at_val_fpr5"]).all()
    )
    real = (domains.labels == 0) & (split == "val")
    domains = replace(domains, split=np.where(real, "train", split))
    with pytest.raises(AigiError, match="'g1' has no real images in the split val"):
        transfer_matrix(scores, domains, ["g0"], ["g1"], held_out=scores, draws=5)


def test_summaries_are_means_over_the_cells_they_name(matrix: TransferMatrix) -> None:
    values = matrix.values["auc"]
    table = matrix.summary(["auc"], d_search=["g1"]).set_index("cells")
    ood = np.array([[k not in train for k in matrix.test] for train in matrix.train])
    d_eval = np.array(
        [[k != "g1" and "g1" not in train for k in matrix.test] for train in matrix.train]
    )
    for name, mask in {"all": ood | True, "ood": ood, "in-domain": ~ood, "D_eval": d_eval}.items():
        assert table.loc[name, "value"] == pytest.approx(values[mask].mean())
        assert table.loc[name, "n"] == mask.sum()
        assert table.loc[name, "low"] < table.loc[name, "value"] < table.loc[name, "high"]
    assert table.loc["D_eval, ood", "n"] == (d_eval & ood).sum() == 5


def test_blocks_are_by_family_and_leave_the_diagonal_out(matrix: TransferMatrix) -> None:
    blocks = matrix.blocks("accuracy").set_index(["train_family", "test_family"])
    assert blocks["n"].to_dict() == {
        ("gan", "gan"): 1,
        ("gan", "diffusion"): 4,
        ("diffusion", "gan"): 4,
        ("diffusion", "diffusion"): 2,
    }
    assert blocks.loc[("gan", "gan"), "value"] == matrix.values["accuracy"][0, 1]
    assert matrix.blocks("accuracy", diagonal=True)["n"].sum() == 16
    empty = matrix.blocks("accuracy", d_search=["g0"]).set_index(["train_family", "test_family"])
    assert empty["n"].sum() == 4 and ("gan", "gan") in empty.index


def test_many_images_are_measured_on_threads_with_the_same_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    domains = make_domains(3, group_size=2)
    scores, names = make_scores(domains, 3), ("g0", "g1", "g2")
    measured = []
    for most in (10**6, 0):
        monkeypatch.setattr(matrix_module, "DRAWN_SINGLY", most)
        one = transfer_matrix(scores, domains, names, draws=50)
        with monkeypatch.context() as patched:
            if most:
                patched.setattr(matrix_module, "ThreadPoolExecutor", None)
            measured.append((one.to_frame(), one.summary(), one.measured().means))
    (frame, summary, means), (same_frame, same_summary, same_means) = measured
    assert frame.equals(same_frame) and summary.equals(same_summary) and means == same_means


def test_frame_is_tidy(matrix: TransferMatrix) -> None:
    frame = matrix.to_frame(["auc", "eer"])
    assert len(frame) == 2 * 16
    row = frame[(frame.train == "g0 + g2") & (frame.test == "g1") & (frame.metric == "eer")].iloc[0]
    assert row["value"] == matrix.values["eer"][2, 2] and row.low <= row["value"] <= row.high
    assert (row.n_real, row.n_fake, row.in_domain) == (30, 30, False)
    assert (row.train_family, row.test_family) == ("gan", "diffusion")


def test_works_on_a_workspace_with_pools_of_their_own(synthetic: Workspace) -> None:
    domains = synthetic.domains
    scores = np.asarray(synthetic.embeddings[:, :2].T)
    matrix = transfer_matrix(scores, domains, domains.generators[:2], draws=10)
    assert (
        matrix.values["auc"].shape == (2, 4)
        and (matrix.n_real == 12).all()
        and (matrix.n_fake == 12).all()
    )


def test_an_interval_without_width_is_not_certainty() -> None:
    domains = make_domains()
    scores = np.broadcast_to(domains.labels - 0.5, (1, len(domains)))
    perfect = transfer_matrix(scores, domains, ["g0"], draws=20)
    for name, metric in METRICS.items():
        if metric.threshold == "held out":
            continue
        low, high = (bound[0, 0] for bound in perfect.interval(name))
        if metric.higher_is_better:
            assert perfect.values[name][0, 0] == 1 == pytest.approx(high), name
            assert low < 0.97, name
        else:
            assert perfect.values[name][0, 0] == 0 == pytest.approx(low) and high > 0.03, name
    low, _ = perfect.interval("accuracy_real")
    assert low[0, 0] == pytest.approx(float(count_interval(30, 30).low))


def test_intervals_cover_with_groups() -> None:
    """Images in threes that share most of their score: 95% intervals hold the expected value nine
    times in ten or more.

    Single images as units would give intervals of little more than half the width.
    """
    names = np.repeat(["", "g"], [90, 60])
    domains = Domains(
        labels=(names != "").astype(np.int8),
        generator=names,
        pool=np.full(150, "p"),
        split=np.full(150, "test"),
        group=np.array([f"{name} {i // 3}" for i, name in enumerate(names)]),
        family_of={"g": "gan"},
    )
    rng = np.random.default_rng(0)
    units = rng.standard_normal((150, 50))[:, np.arange(150) // 3]
    scores = 0.9 * units + 0.44 * rng.standard_normal((150, 150)) + domains.labels - 0.5
    metrics = ("balanced_accuracy", "auc", "tpr_at_fpr5")
    matrix = transfer_matrix(scores, domains, ["g"] * 150, metrics=metrics, draws=300)
    for metric in metrics:
        low, high = matrix.interval(metric)
        truth = matrix.values[metric].mean()
        assert 0.89 < ((low <= truth) & (truth <= high)).mean() < 0.99, metric


def test_bad_input_is_named() -> None:
    domains = make_domains()
    scores = make_scores(domains, 2)
    with pytest.raises(AigiError, match="2 detectors for 300 images, got 2 for 299"):
        transfer_matrix(scores[:, :-1], domains, ["g0", "g1"])
    with pytest.raises(AigiError, match="no generator 'g9'"):
        transfer_matrix(scores, domains, ["g0", "g9"])
    with pytest.raises(AigiError, match="g0 \\+ g0 names a generator twice"):
        transfer_matrix(scores, domains, ["g1", ("g0", "g0")])
    with pytest.raises(AigiError, match="no metric 'f1'"):
        transfer_matrix(scores, domains, ["g0", "g1"], metrics=["f1"])
    with pytest.raises(AigiError, match="No training set"):
        transfer_matrix(scores, domains, [])
    for test in ([], ["g0", "g0"]):
        with pytest.raises(AigiError, match="each test generator once"):
            transfer_matrix(scores, domains, ["g0", "g1"], test)
    assert transfer_matrix(scores[:1], domains, "g0", "g1", metrics=["auc"], draws=2).test == (
        "g1",
    )
    for thresholds in (np.zeros(3), np.array([0.0, np.nan])):
        with pytest.raises(AigiError, match="one finite threshold, or one for each of 2"):
            transfer_matrix(scores, domains, ["g0", "g1"], thresholds=thresholds)
    with pytest.raises(AigiError, match="seed of 0 or more"):
        transfer_matrix(scores, domains, ["g0", "g1"], seed=-1)
    with pytest.raises(AigiError, match="between 0 and 1"):
        transfer_matrix(scores, domains, ["g0", "g1"], confidence=95)
    domains = replace(domains, split=np.where(domains.labels == 0, "train", domains.split))
    with pytest.raises(AigiError, match="'g0' has no real images in the split test"):
        transfer_matrix(scores, domains, ["g0", "g1"])
