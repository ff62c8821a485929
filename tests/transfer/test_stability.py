"""Searches repeated on draws of a small workspace."""

import numpy as np
import pytest

from aigi_core.detectors.components import search_components
from aigi_core.errors import AigiError
from aigi_core.transfer.stability import SelectionStability, selection_stability
from aigi_core.workspace import Workspace

PAIR = ("beta-diff", "gamma-diff")


@pytest.mark.parametrize("kind", ["bootstrap", "jitter"])
def test_the_reference_is_the_search_itself(synthetic: Workspace, kind: str) -> None:
    done: list[int] = []
    result = selection_stability(
        synthetic, PAIR, repeats=4, kind=kind, progress=lambda k, n: done.append(k)
    )  # type: ignore[arg-type]
    np.testing.assert_array_equal(
        np.flatnonzero(result.reference), search_components(synthetic, PAIR).kept
    )
    assert result.kept.shape == (4, 24) and done == [0, 1, 2, 3, 4]
    assert len({mask.tobytes() for mask in result.kept}) > 1 or kind == "jitter"
    assert 0 < result.overlap <= 1


def test_overlap_is_the_mean_jaccard_index() -> None:
    kept = np.array([[1, 1, 0, 0], [1, 0, 1, 1]], bool)
    result = SelectionStability(PAIR, "bootstrap", kept, np.array([1, 1, 0, 0], bool))
    assert result.overlap == pytest.approx((1 + 1 / 4) / 2)
    assert result.frequency.tolist() == [1, 0.5, 0.5, 0.5] and result.sizes.tolist() == [2, 3]
    table = result.to_frame()
    assert table["component"].tolist() == [0, 1, 2, 3] and table["kept"].tolist() == [
        True,
        True,
        False,
        False,
    ]
    # Of the six pairs of four components one is the reference, four share one of three, one shares
    # none; of the four triples two hold both (2/3) and two hold one (1/4).
    chance = ((1 + 4 / 3 + 0) / 6 + (2 * 2 / 3 + 2 / 4) / 4) / 2
    assert result.chance_overlap(2000) == pytest.approx(chance, abs=0.02)


def test_bad_input_is_named(synthetic: Workspace) -> None:
    with pytest.raises(AigiError, match="'beta-diff' twice"):
        selection_stability(synthetic, ("beta-diff", "beta-diff"))
    with pytest.raises(AigiError, match="at least one repeat"):
        selection_stability(synthetic, PAIR, repeats=0)
