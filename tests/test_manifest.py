"""The table of images and the index of who is trained and tested on what."""

import pytest

from aigi_core.errors import AigiError
from aigi_core.manifest import Domains, validate_images
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
