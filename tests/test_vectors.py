"""Rows as directions."""

import numpy as np
import pytest

from aigi_core.errors import AigiError
from aigi_core.vectors import unit_rows


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_row_without_length_is_refused_or_kept(bad: float) -> None:
    rows = np.array([[3.0, 4.0], [bad, bad]], np.float32)
    with pytest.raises(AigiError, match="choose another"):
        unit_rows(rows, "choose another")
    kept = unit_rows(rows, keep_zeros=True)
    assert kept.dtype == np.float32
    np.testing.assert_allclose(kept[0], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(kept[1], rows[1])
