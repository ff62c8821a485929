"""Closed forms against the published algorithms written out, and controls that see through
mechanical effects.
"""

import numpy as np
import pytest

from aigi_core.errors import AigiError
from aigi_core.geometry import (
    compare_geometry,
    isoscore,
    isoscore_star,
    mean_cosine,
    participation_ratio,
)
from aigi_core.geometry import measures as geometry


def published(spectrum: np.ndarray) -> float:
    """Steps 4 to 7 of algorithm 1 in arXiv 2108.07344, from the variances along the principal
    components.
    """
    n = len(spectrum)
    normalised = spectrum * np.sqrt(n) / np.linalg.norm(spectrum)
    defect = np.linalg.norm(normalised - np.ones(n)) / np.sqrt(2 * (n - np.sqrt(n)))
    return float(((n - defect**2 * (n - np.sqrt(n))) ** 2 - n) / (n * (n - 1)))


def cloud(n: int, d: int, decay: float = 0.5, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    turned = np.linalg.qr(rng.standard_normal((d, d)))[0]
    return 0.3 + (rng.standard_normal((n, d)) * np.arange(1.0, d + 1) ** -decay) @ turned


@pytest.mark.parametrize(("n", "d"), [(200, 5), (60, 30), (20, 50)])
def test_isoscore_is_the_published_algorithm(n: int, d: int) -> None:
    X = cloud(n, d)
    spectrum = np.linalg.svd(np.cov(X.T), compute_uv=False)
    assert isoscore(X) == pytest.approx(published(spectrum), abs=1e-12)
    assert participation_ratio(X) == pytest.approx(1 + (d - 1) * published(spectrum), rel=1e-10)


@pytest.mark.parametrize("zeta", [0.0, 0.2, 0.9, 1.0])
def test_isoscore_star_is_the_score_of_the_shrunk_covariance(zeta: float) -> None:
    X, reference = cloud(40, 12), np.cov(cloud(500, 12, decay=1, seed=1).T)
    C = np.cov(X.T)
    for given, target in ((reference, reference), (None, np.eye(12) * np.trace(C) / 12)):
        spectrum = np.linalg.svd((1 - zeta) * C + zeta * target, compute_uv=False)
        assert isoscore_star(X, zeta, given) == pytest.approx(published(spectrum), abs=1e-12)


def test_known_answers() -> None:
    line = np.outer(np.linspace(-1, 1, 50), [1.0, 2.0, 3.0])
    assert isoscore(line) == pytest.approx(0, abs=1e-12)
    cross = np.concatenate([np.eye(4), -np.eye(4)])
    assert isoscore(cross) == pytest.approx(1) and participation_ratio(cross) == pytest.approx(4)
    assert mean_cosine(np.array([[1.0, 0], [2, 0], [0, 3]])) == pytest.approx(1 / 3)


def test_mean_cosine_is_the_mean_over_pairs() -> None:
    X = cloud(30, 6)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    assert mean_cosine(X) == pytest.approx((unit @ unit.T)[np.triu_indices(30, 1)].mean())


@pytest.mark.parametrize(("n", "d"), [(50, 40), (1200, 6)])
def test_draws_equal_repeated_images(n: int, d: int) -> None:
    """Both ways of computing a draw (through images, through components) give the covariance of
    repeated rows.
    """
    X = cloud(n, d)
    counts = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=3)
    S = np.cov(cloud(100, d, seed=5).T)
    trace, square, reference = geometry._moments(X, counts, S)
    assert reference is not None
    for draw, count in enumerate(counts):
        C = np.cov(np.repeat(X, count, axis=0).T)
        np.testing.assert_allclose(
            [trace[draw], square[draw]], [np.trace(C), (C * C).sum()], rtol=1e-9
        )
        assert reference[0][draw] == pytest.approx((C * S).sum(), rel=1e-9)


def test_before_and_after_are_plain_scores_and_controls_are_random_removals() -> None:
    X, kept = cloud(80, 20), np.arange(20) < 7
    result = compare_geometry(X, kept, controls=300)
    table = result.table.set_index("measure")
    for name, function in (
        ("isoscore", isoscore),
        ("isoscore_star", isoscore_star),
        ("participation_ratio", participation_ratio),
        ("mean_cosine", mean_cosine),
    ):
        assert table.loc[name, "before"] == pytest.approx(function(X))
        assert table.loc[name, "after"] == pytest.approx(function(X[:, kept]))
    rng = np.random.default_rng(9)
    random = [isoscore(X[:, rng.permutation(20)[:7]]) for _ in range(300)]
    assert table.loc["isoscore", "random"] == pytest.approx(
        np.mean(random), abs=4 * np.std(random) / np.sqrt(300)
    )
    assert (table["before_low"] < table["before"]).all() and (
        table["before"] < table["before_high"]
    ).all()
    assert (result.images, result.components, result.kept) == (80, 20, 7)


def test_controls_expose_the_mechanical_rise() -> None:
    """Dropping arbitrary components of an isotropic cloud raises IsoScore; beside the controls it
    is nothing.
    """
    X = np.random.default_rng(0).standard_normal((60, 200))
    row = compare_geometry(X, np.arange(200) < 20).table.set_index("measure").loc["isoscore"]
    assert row.change_low > 0.2 and row.p_value > 0.05
    assert row.isotropic_after == pytest.approx(row.after, abs=0.06)
    stretched = X * np.where(np.arange(200) < 20, 1, 6.0 * (np.arange(200) % 9 == 0) + 1)
    assert (
        compare_geometry(stretched, np.arange(200) < 20)
        .table.set_index("measure")
        .loc["isoscore", "p_value"]
        < 0.05
    )


def test_removing_nothing_is_what_chance_does() -> None:
    """Rounding between two ways to compute the same number is no evidence."""
    table = compare_geometry(cloud(40, 8), np.ones(8, bool), controls=99).table
    assert (table["p_value"] == 1).all()


def test_intervals_cover() -> None:
    """The population's participation ratio at fixed n, from 150 samples: 90% of the intervals
    and more hold its mean.
    """
    scale = np.arange(1.0, 31) ** -0.5
    samples = np.random.default_rng(1).standard_normal((150, 60, 30)) * scale
    truth = np.mean([participation_ratio(X) for X in samples])
    inside = [
        row.before_low <= truth <= row.before_high
        for row in (
            compare_geometry(X, np.arange(30) < 10, controls=1).table.iloc[2] for X in samples
        )
    ]
    assert 0.9 < np.mean(inside) <= 1


def test_bad_input_is_named() -> None:
    X = cloud(10, 4)
    with pytest.raises(AigiError, match="two kept components out of 4"):
        compare_geometry(X, np.array([True, False, False, False]))
    with pytest.raises(AigiError, match="Image 3 of these has a feature that is NaN"):
        isoscore(np.where(np.arange(10)[:, None] == 3, np.nan, X))
    with pytest.raises(AigiError, match="Image 2 of these is zero"):
        mean_cosine(np.where(np.arange(10)[:, None] == 2, 0, X))
    with pytest.raises(AigiError, match="same features"):
        isoscore(np.ones((5, 3)))
    with pytest.raises(AigiError, match="two images"):
        isoscore(np.ones((1, 3)))
    with pytest.raises(AigiError, match="between 0 and 1"):
        isoscore_star(X, 1.5)
    with pytest.raises(AigiError, match="must be 4 x 4"):
        isoscore_star(X, 0.2, np.eye(3))
    with pytest.raises(AigiError, match="at least one random removal"):
        compare_geometry(X, np.arange(4) < 2, controls=0)
    with pytest.raises(AigiError, match="draws of all 10 images"):
        compare_geometry(X, np.arange(4) < 2, counts=np.ones((3, 9), int))
    with pytest.raises(AigiError, match="two components, got 1"):
        isoscore(X[:, :1])
