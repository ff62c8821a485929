"""Names, files and shapes of the features that an encoding keeps."""

import numpy as np
import pytest

from aigi_core import stored_features
from aigi_core.capabilities import Capabilities
from aigi_core.errors import AigiError, NotGivenError

ALL = ("embedding", "heads", "pre", "layers", "norm2", "patches:4")


def test_lists_are_read_in_one_order() -> None:
    assert stored_features.parse(" patches:4,norm2,layers , pre,heads,embedding,heads") == ALL


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("embedding,depth", "no feature 'depth': choose among embedding, heads, pre"),
        ("embedding,patches:0", "no feature 'patches:0'"),
        ("embedding,patches:../x", "no feature"),
        ("heads,pre", "always kept: say --features embedding,heads,pre"),
        ("embedding,patches:4,patches:8", "One number of patch tokens is kept"),
    ],
)
def test_other_lists_are_refused(text: str, message: str) -> None:
    with pytest.raises(AigiError, match=message):
        stored_features.parse(text)


def test_files_and_features_name_each_other() -> None:
    files = stored_features.files(ALL)
    assert len(set(files)) == len(files) == 8
    assert "features/patches-4.npy" in files
    assert stored_features.stored(files) == ALL
    without = [name for name in files if name != "decomposition.npz"]
    assert "heads" not in stored_features.stored(without)


def test_the_axis_over_images_is_that_of_the_shapes() -> None:
    shapes = stored_features.shapes(
        ALL, 7, embedding_width=2, layers=3, heads=4, head_width=5, width=6
    )
    axes = stored_features.array_axes(stored_features.files(ALL))
    assert {f"{name}.npy" for name in shapes} == set(axes)
    for name, (shape, _) in shapes.items():
        assert shape[axes[f"{name}.npy"]] == 7 and shape.count(7) == 1
    assert shapes["features/patches-4"] == ((7, 4, 6), np.float16)


def test_what_an_encoder_cannot_give_is_refused_in_its_own_sentence() -> None:
    gives = Capabilities("", {"layers": "its image tower is a ResNet"})
    with pytest.raises(NotGivenError, match="'rn50' has no token of each layer .*: its image tow"):
        stored_features.require(["embedding", "norm2"], gives, "rn50")
    stored_features.require(["embedding", "pre"], gives, "rn50")
    assert stored_features.default(gives) == ("embedding",)
