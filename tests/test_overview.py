"""What a workspace holds, counted."""

from dataclasses import replace

import numpy as np
import pytest

from aigi_core.overview import card, describe, examples
from aigi_core.workspace import Workspace


def test_describe_counts_every_image_once(synthetic: Workspace) -> None:
    table = describe(synthetic)
    assert table["source"].tolist() == [
        *synthetic.domains.generators,
        "real: faces",
        "real: general",
    ]
    assert table[["train", "val", "test"]].to_numpy().sum() == len(synthetic.images)
    assert table["train"].tolist() == [22] * 6 and set(table["format"]) == {"PNG 100%"}
    assert table["jpeg_quality"].isna().all()


def test_examples_are_steady_and_of_their_source(synthetic: Workspace) -> None:
    rows = examples(synthetic, "beta-diff", 3)
    assert len(rows) == 3 and (synthetic.domains.generator[rows] == "beta-diff").all()
    assert np.array_equal(rows, examples(synthetic, "beta-diff", 3))
    assert (synthetic.domains.labels[examples(synthetic, None, 4)] == 0).all()


def test_card_says_what_its_makers_measured(synthetic: Workspace) -> None:
    share = {"mean": 0.27, "low": 0.19, "high": 0.36}
    about = {
        "encoder": "Not CLIP.",
        "confounds": ["PNG <b>"],
        "licences": [],
        "alignment": {"held_out": {"ways": 100, "n": 100, "first": share, "first_five": share}},
    }
    result = card(replace(synthetic, manifest=synthetic.manifest | {"card": about}))
    assert result["Confounds"] == ["PNG <b>"] and "Licences" not in result
    assert (
        result["Encoder"][0] == "Not CLIP."
        and "27% [19%, 36%] of 100 images" in result["Encoder"][1]
    )


@pytest.mark.parametrize(
    "broken",
    [None, [], "text", {"confounds": "no list", "alignment": 3}, {"alignment": {"held_out": {}}}],
)
def test_a_missing_or_broken_card_is_no_card(synthetic: Workspace, broken: object) -> None:
    assert card(replace(synthetic, manifest=synthetic.manifest | {"card": broken})) == {}
