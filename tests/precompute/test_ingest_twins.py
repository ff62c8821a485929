"""A picture that stands in several files, saved anew, never lies on both sides of a split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from precompute.ingest.pipeline import ingest
from tests.precompute.corpus import encoded, picture, write

SAVED: dict[str, Callable[[Image.Image], tuple[str, bytes]]] = {
    "JPEG": lambda image: ("jpg", encoded(image, "JPEG", quality=60)),
    "half": lambda image: ("png", encoded(image.resize((48, 32), Image.Resampling.BICUBIC))),
    "WebP": lambda image: ("webp", encoded(image, "WEBP", lossless=True)),
}


def scene(name: str) -> Image.Image:
    return picture(name, (96, 64))


@pytest.mark.parametrize("saved", SAVED)
def test_pictures_of_one_name_saved_anew_share_a_group(tmp_path: Path, saved: str) -> None:
    """The same photographs beside two generators, and fakes made out of them."""
    for i in range(12):
        write(tmp_path, f"adm/0_real/{i:03d}.png", encoded(scene(f"scene {i}")))
        suffix, content = SAVED[saved](scene(f"scene {i}"))
        write(tmp_path, f"sdxl/0_real/{i:03d}.{suffix}", content)
        for folder in ("adm", "sdxl"):
            write(tmp_path, f"{folder}/1_fake/{i:03d}.png")
    result = ingest(tmp_path, progress=False)
    images = result.images
    real = images[images["label"] == 0]
    number = real["path"].str.extract(r"(\d+)\.")[0]
    assert real.groupby(number)["group"].nunique().eq(1).all()
    assert real["group"].nunique() == 12
    assert images[images["label"] == 1]["group"].nunique() == 24  # one name, other pictures
    assert any("24 files show a picture that another shows" in n for n in result.record["notes"])


def test_equal_pixels_share_a_group_under_any_name(tmp_path: Path) -> None:
    for i in range(12):
        write(tmp_path, f"real/{i}.png", encoded(scene(f"scene {i}")))
        write(tmp_path, f"fake/x/{i}.png")
        write(tmp_path, f"fake/y/copy-{i}.png", encoded(scene(f"{tmp_path.name}/fake/{i}")))
        content = encoded(scene(f"{tmp_path.name}/fake/{i}"), "WEBP", lossless=True)
        write(tmp_path, f"fake/x/{i}.png", content)
    images = ingest(tmp_path, progress=False).images
    fakes = images[images["label"] == 1]
    assert fakes["group"].nunique() == 12
    assert fakes.groupby("group")["split"].nunique().eq(1).all()


def test_plain_grounds_of_one_colour_are_no_twins(tmp_path: Path) -> None:
    """They look alike and are not the same picture."""
    for i in range(12):
        for folder, more in (("real", 0), ("fake/x", 30)):
            ground = Image.new("RGB", (96, 64), "white")
            ground.putpixel((i, more), (250, 250, 250))
            write(tmp_path, f"{folder}/{more}-{i}.png", encoded(ground))
    assert ingest(tmp_path, progress=False).images["group"].nunique() == 24
