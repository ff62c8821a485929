"""Training by passes over the memory map chooses and fits what training in memory does."""

import numpy as np
import pytest

from aigi_core.detectors import memory_mapped
from aigi_core.detectors.features import EmbeddingView
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.training import train, train_with_twins, training_seconds
from aigi_core.workspace import Workspace


@pytest.mark.parametrize(
    ("protocol", "view"),
    [
        (Protocol(), EmbeddingView()),
        (Protocol(refit=False), EmbeddingView()),
        (Protocol(C=(0.5,), fit_intercept=False), EmbeddingView(normalise=False)),
        (Protocol(C=(0.5,), refit=False, class_weight=None), EmbeddingView()),
    ],
)
def test_the_same_detectors(
    synthetic: Workspace,
    protocol: Protocol,
    view: EmbeddingView,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sets = [*synthetic.domains.generators, synthetic.domains.generators[:2]]
    expected = train(synthetic, sets, view, protocol)
    for name in ("IN_MEMORY", "ANY_LENGTH"):
        monkeypatch.setattr(memory_mapped, name, 0)
    asked: list[int] = []
    original = memory_mapped.fit_blocked
    monkeypatch.setattr(
        memory_mapped,
        "fit_blocked",
        lambda *args, **options: (asked.append(1), original(*args, **options))[1],
    )
    result = train(synthetic, sets, view, protocol)
    assert asked
    for a, b in zip(result, expected, strict=True):
        assert (a.C, a.training_set, a.provenance["n_val"]) == (
            b.C,
            b.training_set,
            b.provenance["n_val"],
        )
        np.testing.assert_allclose(a.weights, b.weights, atol=1e-5 * np.abs(b.weights).max())
        assert a.bias == pytest.approx(b.bias, abs=1e-5)
        np.testing.assert_allclose(
            a.provenance["validation"].get("accuracy", []),
            b.provenance["validation"].get("accuracy", []),
        )
        np.testing.assert_allclose(
            a.decision_function(synthetic), b.decision_function(synthetic), atol=1e-4
        )


@pytest.mark.parametrize("C", [(0.01, 1.0), (0.5,)])
def test_twins_share_the_passes(
    synthetic: Workspace, C: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_mapped, "IN_MEMORY", 0)
    sets = synthetic.domains.generators
    pairs = train_with_twins(synthetic, sets, protocol=Protocol(C=C))
    for refit, made in zip((True, False), zip(*pairs, strict=True), strict=True):
        expected = train(synthetic, sets, protocol=Protocol(C=C, refit=refit))
        for one, other in zip(made, expected, strict=True):
            np.testing.assert_allclose(one.weights, other.weights, atol=1e-5)
            assert (one.C, dict(one.provenance)) == (other.C, dict(other.provenance))
    assert np.abs(pairs[0][0].weights - pairs[0][1].weights).max() > 1e-3


def test_only_whole_embeddings_take_passes() -> None:
    assert memory_mapped.takes_passes(EmbeddingView(), Protocol(), 1_000_000, 768)
    assert memory_mapped.takes_passes(EmbeddingView(), Protocol(), 100_000, 768)
    assert not memory_mapped.takes_passes(EmbeddingView(), Protocol(), 50_000, 768)
    kept = EmbeddingView(normalise=False)
    assert not memory_mapped.takes_passes(kept, Protocol(), 100_000, 768)
    assert memory_mapped.takes_passes(kept, Protocol(), 1_000_000, 768)
    assert not memory_mapped.takes_passes(EmbeddingView(without=(1,)), Protocol(), 1_000_000, 768)
    assert not memory_mapped.takes_passes(EmbeddingView(), Protocol(grid="paper"), 1_000_000, 768)


def test_the_time_announced_is_that_of_the_way_taken(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = len(synthetic.domains)
    in_memory = [training_seconds(synthetic, 8, twins=twins) for twins in (False, True)]
    assert in_memory == pytest.approx([2.5e-5 * n * 8, 5e-5 * n * 8])
    monkeypatch.setattr(memory_mapped, "IN_MEMORY", 0)
    # measured on a million images and 8 sets: 68 s, with twins 88, and 12 s on few
    by_passes = [training_seconds(synthetic, 8, twins=twins) for twins in (False, True)]
    assert (np.array(by_passes) - 12) / n * 1e6 == pytest.approx([68, 88])
    # what is trained in memory at any size
    for view in ("residual", EmbeddingView(without=(0,))):
        assert training_seconds(synthetic, 8, view) == in_memory[0]
    assert training_seconds(synthetic, 8, protocol=Protocol(grid="paper")) == in_memory[0]
