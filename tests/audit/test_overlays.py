"""A planted mark is found where it is; frames that real images share, and images without marks, are
not reported.
"""

from __future__ import annotations

import numpy as np
import pytest

from aigi_core.audit import overlays
from aigi_core.audit.overlays import find_overlays
from aigi_core.audit.separation import separation
from aigi_core.errors import AigiError
from aigi_core.manifest import Domains
from aigi_core.significance import holm
from tests.factory import make_images

IMAGES = make_images(per_class=60)
DOMAINS = Domains.from_images(IMAGES)
MARKED = (IMAGES["generator"] == "beta-diff").to_numpy()


def pictures(seed: int = 0) -> np.ndarray:
    """Smooth random pictures of 32 x 32; all of the pool 'faces' have the same black frame."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (len(IMAGES), 8, 8, 3))
    pixels = np.clip(
        np.kron(coarse, np.ones((1, 4, 4, 1))) + rng.normal(0, 8, (len(IMAGES), 32, 32, 3)), 0, 255
    )
    pixels[(IMAGES["pool"] == "faces").to_numpy(), :2] = 0
    return pixels.astype(np.uint8)


def test_a_mark_is_detected_with_place_and_colour() -> None:
    pixels = pictures()
    pixels[MARKED, 30:, 26:] = (72, 71, 225)
    pixels[np.flatnonzero(MARKED)[:9], 30:, 26:] = 200  # a few images without it do not hide it
    table = find_overlays(pixels, DOMAINS, draws=200).set_index("generator")
    mark = table.loc["beta-diff"]
    assert mark["adjusted"] < 0.05
    assert mark["ratio"] < 0.05
    assert mark[["left", "top", "right", "bottom"]].tolist() == [26 / 32, 30 / 32, 1, 1]
    assert mark["colour"] == "#4847e1"
    assert (table.drop("beta-diff")["adjusted"] > 0.05).all()


def test_no_effect_is_reported_where_there_is_none() -> None:
    alarms = [
        (find_overlays(pictures(seed), DOMAINS, draws=100, seed=seed)["adjusted"] < 0.05).any()
        for seed in range(8)
    ]
    assert sum(alarms) <= 1


def test_bad_input() -> None:
    with pytest.raises(AigiError, match="one small square"):
        find_overlays(pictures()[:5], DOMAINS)
    few = make_images(per_class=10)
    with pytest.raises(AigiError, match="at least 8 fakes"):
        find_overlays(pictures()[: len(few)], Domains.from_images(few))


def test_separation_and_holm() -> None:
    scores = np.random.default_rng(0).standard_normal((3, len(IMAGES)))
    scores[1] += 2 * IMAGES["label"].to_numpy()
    table = separation(scores, DOMAINS, ["alpha-gan", "beta-diff", "gamma-diff"]).set_index(
        "generator"
    )
    assert table.loc["beta-diff", "adjusted"] < 1e-4
    assert table.drop("beta-diff")["adjusted"].min() > 0.05
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


def test_images_of_a_group_count_once() -> None:
    """Twenty copies of one lucky pair are one case, not twenty."""
    images = IMAGES.copy()
    rows = DOMAINS.rows("beta-diff", "test")
    for label in (0, 1):
        images.loc[rows[DOMAINS.labels[rows] == label][1:], "group"] = f"copies {label}"
    scores = np.where(IMAGES["label"] == 1, 1.0, 0.0)[None]
    table = separation(scores, Domains.from_images(images), ["beta-diff"])
    assert table.loc[0, ["n_fake", "n_real"]].tolist() == [2, 2]
    assert table.loc[0, "p_value"] > 0.05


def test_spread_is_the_same_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, rows = pictures(), np.arange(40)
    whole = overlays._relative_spread(pixels, rows)
    monkeypatch.setattr(overlays, "AT_A_TIME", 40 * 32 * 3 * 5)
    np.testing.assert_array_equal(overlays._relative_spread(pixels, rows), whole)
