"""The random-removal band on a small workspace."""

import numpy as np
import pytest

from aigi_core.errors import AigiError
from aigi_core.transfer import trainer, transfer_matrix
from aigi_core.transfer.random_removal import RandomRemoval, random_removal
from aigi_core.workspace import Workspace


def test_band_narrows_towards_nothing_removed(synthetic: Workspace) -> None:
    names = synthetic.domains.generators
    result = random_removal(synthetic, kept=(3, 12), repeats=4)
    assert result.kept.tolist() == [3, 12, 24] and result.values.shape == (3, 4, 4, 4)
    plain = transfer_matrix(
        trainer(synthetic)(names), synthetic.domains, names, metrics=["balanced_accuracy"], draws=1
    )
    for repeat in range(4):
        np.testing.assert_array_equal(result.values[2, repeat], plain.values["balanced_accuracy"])
    inside = plain.in_domain
    mean, low, high = result.band(24, inside)
    assert (
        low
        == high
        == pytest.approx(mean)
        == pytest.approx(plain.mean("balanced_accuracy", inside).value)
    )
    few = result.band(3, inside)
    assert few[1] < few[0] < few[2] and few[0] < mean
    between = result.band(6, inside)
    assert few[0] < between[0] < result.band(12, inside)[0]


def test_bad_input_is_named(synthetic: Workspace) -> None:
    with pytest.raises(AigiError, match="Between 1 and 24 components"):
        random_removal(synthetic, kept=(30,))
    with pytest.raises(AigiError, match="at least once"):
        random_removal(synthetic, kept=(3,), repeats=0)
    with pytest.raises(AigiError, match="Between 1 and 24 components can be kept, not 0"):
        random_removal(synthetic, ["alpha-gan"], kept=(3,), repeats=1).band(
            0, np.ones((1, 4), bool)
        )


def test_a_search_that_keeps_less_than_was_drawn_has_a_band(synthetic: Workspace) -> None:
    result = random_removal(synthetic, kept=(3,), repeats=3)
    every = np.ones((4, 4), bool)
    assert result.band(1, every) == result.band(3, every)
    assert np.isnan(result.band(3, ~every)).all()


def test_the_band_covers_one_more_removal() -> None:
    """Nineteen in twenty further random removals fall into the band of ten; into their percentiles,
    four in five.
    """
    drawn = np.random.default_rng(0).standard_normal((2000, 11))
    inside = []
    for *ten, further in drawn:
        values = np.stack([ten, ten])[:, :, None, None]
        result = RandomRemoval(np.array([5, 9]), values, "auc", (("a",),), ("b",))
        _, low, high = result.band(5, np.ones((1, 1), bool))
        inside.append(low <= further <= high)
    assert 0.93 < np.mean(inside) < 0.97
