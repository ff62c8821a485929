"""Points and cells of a map."""

import pandas as pd
import pytest

from aigi_core.figures.map import image_cells, image_points


@pytest.mark.parametrize("kinds", [("right", "wrong"), ("PNG", "JPEG", "WebP")])
def test_groups_are_told_apart_by_their_marks(kinds: tuple[str, ...]) -> None:
    n = len(kinds)
    table = pd.DataFrame({"x": range(n), "y": range(n), "by": kinds, "cell": range(n)})
    table = table.assign(images=range(1, n + 1), share=1.0, source="real", split="test", path="a")
    for draw in (image_points, image_cells):
        figure = draw(table, "by", titles=("", ""), styles={}, alt="")
        assert len({trace.marker.symbol for trace in figure.data}) == n
