"""Preprocessing against open_clip's own transform, bit for bit; its description and what it
refuses.
"""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from aigi_core.clip._open_clip import open_clip
from aigi_core.clip.encoder import load_encoder
from aigi_core.clip.preprocessing import Preprocessing
from aigi_core.errors import AigiError
from aigi_core.perturb import Op
from tests.tiny_clip import make_tiny_clip

MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
SIZES = [(640, 480), (301, 333), (32, 32), (31, 57), (57, 31), (5, 3), (500, 32), (32, 33), (97, 1)]


def noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * 7919 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
def test_equals_open_clip_bit_for_bit(interpolation: str, resize_mode: str, tmp_path) -> None:
    preprocessing = Preprocessing(32, MEAN, STD, interpolation, resize_mode)
    oracle = open_clip.image_transform(
        32, is_train=False, mean=MEAN, std=STD, interpolation=interpolation, resize_mode=resize_mode
    )
    encoder = load_encoder(make_tiny_clip(tmp_path), None, device="cpu")
    for width, height in SIZES:
        if resize_mode == "shortest" and max(width, height) > 32 * min(width, height):
            continue  # cut to the middle first, on purpose: see the next test
        image = noise(width, height)
        ours = encoder.normalise(preprocessing.pixels(image)[None])[0]
        assert torch.equal(ours, oracle(image)), (width, height)


def test_a_strip_costs_no_gigabytes() -> None:
    preprocessing = Preprocessing(224, MEAN, STD)
    for size in ((1, 60_000), (60_000, 1)):
        pixels = preprocessing.pixels(noise(*size))
        assert pixels.shape == (224, 224, 3)
    middle = preprocessing.pixels(noise(60_000, 1).crop((29_984, 0, 30_016, 1)))
    assert np.array_equal(pixels, middle)


def test_digest_follows_the_description() -> None:
    one = Preprocessing(224, MEAN, STD)
    assert one.sha256 == Preprocessing(224, tuple(MEAN), tuple(STD)).sha256
    assert one.sha256 != Preprocessing(224, MEAN, STD, "bilinear").sha256
    assert one.describe()["mean"] == list(MEAN)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": (224, 196)}, "must be a square"),
        ({"resize_mode": "longest"}, "'longest' is not covered"),
        ({"interpolation": "lanczos"}, "'lanczos' is not covered"),
    ],
)
def test_refuses_what_it_does_not_do(change: dict, message: str) -> None:
    settings = {
        "size": 224,
        "mean": MEAN,
        "std": STD,
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    } | change
    with pytest.raises(AigiError, match=message):
        Preprocessing.from_open_clip(settings)


def test_steps_come_first_enter_the_digest_and_leave_others_valid() -> None:
    plain = Preprocessing(32, MEAN, STD)
    assert "steps" not in plain.describe()
    stepped = plain.after(["short:64", "jpeg:30"])
    assert stepped.describe()["steps"] == ["short:64", "jpeg:30"]
    assert stepped.sha256 != plain.sha256 != plain.after(["jpeg:30", "short:64"]).sha256
    image = noise(120, 90)
    by_hand = Op("jpeg", 30)(Op("short", 64)(image))
    assert np.array_equal(stepped.pixels(image), plain.pixels(by_hand))
    assert not np.array_equal(stepped.pixels(image), plain.pixels(image))
    noisy = plain.after(["noise:.1"])
    assert np.array_equal(noisy.pixels(image, "a"), noisy.pixels(image, "a"))
    assert not np.array_equal(noisy.pixels(image, "a"), noisy.pixels(image, "b"))
    with pytest.raises(AigiError, match="no operation 'jpg'"):
        plain.after(["jpg:30"])


def test_a_description_gives_the_value_back() -> None:
    for preprocessing in (
        Preprocessing(32, MEAN, STD),
        Preprocessing(32, MEAN, STD).after(["crop:.8"]),
    ):
        assert (
            Preprocessing.from_description(json.loads(json.dumps(preprocessing.describe())))
            == preprocessing
        )
    with pytest.raises(AigiError, match="not one of this version"):
        Preprocessing.from_description({"size": 32})
