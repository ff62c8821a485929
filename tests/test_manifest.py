"""The table of images and the index of who is trained and tested on what."""

import numpy as np
import pytest

from aigi_core.errors import AigiError
from aigi_core.manifest import Domains, validate_images
from aigi_core.resampling import group_numbers
from tests.factory import make_images


def test_order_is_by_family() -> None:
    domains = Domains.from_images(make_images())
    assert domains.generators == ("alpha-gan", "delta-ar", "beta-diff", "gamma-diff")
    assert domains.families == ("gan", "autoregressive", "diffusion", "diffusion")


def test_rows_share_the_pools_reals() -> None:
    domains = Domains.from_images(make_images())
    both, beta = (
        domains.rows(["beta-diff", "gamma-diff"], "test"),
        domains.rows("beta-diff", "test"),
    )
    assert set(beta) < set(both)
    assert (domains.labels[both] == 0).sum() == (domains.labels[beta] == 0).sum() == 12
    assert (domains.labels[both] == 1).sum() == 24
    assert len(set(domains.rows("alpha-gan", ("train", "val"))) & set(beta)) == 0


@pytest.mark.parametrize("column", ["split", "pool", "label", "generator"])
def test_bad_values_are_named(column: str) -> None:
    images = make_images()
    images[column] = images[column].astype(object)
    images.loc[3, column] = {"split": "holdout", "pool": "", "label": 7, "generator": ""}[column]
    with pytest.raises(AigiError, match=f"'{column}'"):
        validate_images(images)


def test_missing_side_and_unknown_generator() -> None:
    images = make_images()
    domains = Domains.from_images(images[~((images["label"] == 0) & (images["pool"] == "faces"))])
    with pytest.raises(AigiError, match="'alpha-gan' has no real images"):
        domains.rows("alpha-gan")
    with pytest.raises(AigiError, match="no generator 'omega'"):
        domains.rows("omega")
    with pytest.raises(AigiError, match="name at least one"):
        domains.rows([])


def test_domains_that_were_asked_for_rows_do_not_change_unseen() -> None:
    domains = Domains.from_images(make_images())
    domains.rows(domains.generators[0])
    with pytest.raises(ValueError, match="read-only"):
        domains.split[:] = "test"


@pytest.mark.parametrize("named", [0, 0.6, 1])
def test_numbers_of_groups_are_in_the_order_of_their_names(named: float) -> None:
    rng, images = np.random.default_rng(1), make_images()
    groups = np.array([f"scene {i}" for i in rng.integers(0, 40, len(images))])
    images["group"] = np.where(rng.random(len(images)) < named, groups, "")
    domains = Domains.from_images(images)
    for rows in (np.arange(len(images)), rng.integers(0, len(images), 50)):
        expected = group_numbers(domains.group, rows)
        assert np.array_equal(domains.group_numbers(rows), expected)
    assert np.array_equal(domains.groups, group_numbers(domains.group, np.arange(len(images))))
