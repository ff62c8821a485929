"""The gallery: every image in its verdict, ordered, with its facts."""

import numpy as np
import pytest

from aigi_core.errors import AigiError
from aigi_core.transfer import VERDICTS, arrange, gallery, verdict_shares
from aigi_core.workspace import Workspace


def scores(synthetic: Workspace) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(len(synthetic.domains))


def test_verdicts_one_by_one(synthetic: Workspace) -> None:
    values = scores(synthetic)
    images = gallery(synthetic, values, ["beta-diff", "gamma-diff"], threshold=0.2)
    assert (
        sorted(images["row"])
        == synthetic.domains.rows(["beta-diff", "gamma-diff"], "test").tolist()
    )
    for image in images.itertuples():
        is_fake, flagged = synthetic.domains.labels[image.row] == 1, values[image.row] > 0.2
        assert (
            image.verdict == f"{'fake' if is_fake else 'real'} as {'fake' if flagged else 'real'}"
        )
        assert image.right == (is_fake == flagged)
        assert image.certainty == pytest.approx(abs(values[image.row] - 0.2))
        assert image.path == synthetic.images["path"][image.row]
        assert image.generator == (synthetic.domains.generator[image.row] if is_fake else "real")
    assert images["certainty"].is_monotonic_decreasing


def test_shares_add_up_within_their_class(synthetic: Workspace) -> None:
    shares = verdict_shares(gallery(synthetic, scores(synthetic), "beta-diff"))
    assert tuple(shares["verdict"]) == VERDICTS
    assert shares["share"].iloc[:2].sum() == pytest.approx(1) and shares["share"].iloc[
        2:
    ].sum() == pytest.approx(1)
    assert (shares["low"] <= shares["share"]).all() and (shares["share"] <= shares["high"]).all()


def test_orders_and_formats(synthetic: Workspace) -> None:
    images = gallery(synthetic, scores(synthetic), "beta-diff")
    assert arrange(images, "Least certain")["certainty"].is_monotonic_increasing
    assert arrange(images, "Largest")["pixels"].is_monotonic_decreasing
    assert len(arrange(images, formats=("JPEG",))) == 0 and len(
        arrange(images, formats=("PNG",))
    ) == len(images)
    with pytest.raises(AigiError, match="no order"):
        arrange(images, "Prettiest")


def test_scores_must_fit(synthetic: Workspace) -> None:
    with pytest.raises(AigiError, match="a score for each"):
        gallery(synthetic, np.zeros(3), "beta-diff")
