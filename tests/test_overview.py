"""What a workspace holds, counted."""

import numpy as np

from aigi_core.overview import describe, examples
from aigi_core.workspace import Workspace


def test_describe_counts_every_image_once(synthetic: Workspace) -> None:
    table = describe(synthetic)
    assert table["source"].tolist() == [*synthetic.domains.generators, "real: faces", "real: general"]
    assert table[["train", "val", "test"]].to_numpy().sum() == len(synthetic.images)
    assert table["train"].tolist() == [22] * 6 and set(table["format"]) == {"PNG 100%"}
    assert table["jpeg_quality"].isna().all()


def test_examples_are_steady_and_of_their_source(synthetic: Workspace) -> None:
    rows = examples(synthetic, "beta-diff", 3)
    assert len(rows) == 3 and (synthetic.domains.generator[rows] == "beta-diff").all()
    assert np.array_equal(rows, examples(synthetic, "beta-diff", 3))
    assert (synthetic.domains.labels[examples(synthetic, None, 4)] == 0).all()
