"""Decoding, JPEG quality, previews, and where a picture is shown from."""

import base64
import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aigi_core.errors import AigiError
from aigi_core.images import (
    ImageError,
    ImageSource,
    image_source,
    jpeg_quality,
    load_rgb,
    preview_data_uri,
    preview_hash,
    read_bytes,
)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 48, height: int = 32) -> Image.Image:
    """Red rises to the right, green downwards, blue is constant."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 90)], axis=-1).astype(np.uint8))


@pytest.mark.parametrize("quality", range(1, 101))
def test_jpeg_quality_is_exact_on_libjpeg_tables(quality):
    with Image.open(io.BytesIO(encoded(gradient(16, 16), "JPEG", quality=quality))) as image:
        assert jpeg_quality(image.quantization) == (quality, True)


def test_jpeg_quality_of_other_tables_is_the_nearest_and_said_so():
    with Image.open(io.BytesIO(encoded(gradient(), "JPEG", quality=80))) as image:
        tables = {index: list(table) for index, table in image.quantization.items()}
    tables[0][5] += 2
    tables[1][7] -= 1
    assert jpeg_quality(tables) == (80, False)
    loaded = load_rgb(encoded(gradient(), "JPEG", qtables=tables))
    assert loaded.jpeg_quality == 80 and "not the standard ones" in loaded.note


def test_only_jpeg_has_a_quality():
    assert math.isnan(load_rgb(encoded(gradient())).jpeg_quality)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(kind, orientation):
    upright = Image.new("RGB", (40, 24), "black")
    upright.paste(
        (255, 0, 0), (0, 0, 20, 12)
    )  # the red quarter is at the top left of the upright picture
    turns = {1: [], 2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}[orientation]
    stored = upright
    for turn in turns:  # each inverse of what the orientation asks a viewer to do
        stored = stored.transpose(Image.Transpose(turn))
    exif = Image.Exif()
    exif[0x0112] = orientation
    loaded = load_rgb(encoded(stored, kind, exif=exif, quality=95))
    assert (loaded.width, loaded.height) == loaded.image.size == (40, 24)
    assert ("turned upright" in loaded.note) == (orientation != 1)
    close = np.abs(np.asarray(loaded.image, float) - np.asarray(upright, float)).mean()
    assert close < 8


def test_transparency_is_laid_on_white():
    clear = load_rgb(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0))))
    assert (
        clear.image.getpixel((0, 0)) == (255, 255, 255)
        and clear.note == "transparency laid on white"
    )
    opaque = load_rgb(encoded(Image.new("RGBA", (4, 4), (9, 8, 7, 255))))
    assert (
        opaque.image.getpixel((0, 0)) == (9, 8, 7) and opaque.note == "" and opaque.mode == "RGBA"
    )


@pytest.mark.parametrize(("kind", "stored"), [("PNG", "I;16"), ("TIFF", "I;16"), ("PPM", "I")])
def test_16_bit_greyscale_is_scaled_not_clipped(kind, stored):
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    loaded = load_rgb(encoded(Image.fromarray(values), kind))
    assert loaded.mode == stored and "16-bit" in loaded.note
    assert [loaded.image.getpixel((x, 0))[0] for x in range(4)] == [0, 1, 128, 255]


def test_bytes_and_path_give_the_same_picture(tmp_path):
    content = encoded(gradient(), "JPEG", quality=70)
    (tmp_path / "no extension").write_bytes(content)
    from_file, from_bytes = load_rgb(tmp_path / "no extension"), load_rgb(content)
    assert from_file.image.tobytes() == from_bytes.image.tobytes() and from_file.format == "JPEG"


def test_the_limit_on_pixels_is_checked_before_decoding():
    with pytest.raises(ImageError, match="too large: 48 x 32 pixels, at most 1,000") as error:
        load_rgb(
            encoded(gradient())[:60], max_pixels=1000
        )  # decoding these bytes would say truncated
    assert error.value.reason == "too large"


@pytest.mark.parametrize("size", [(48, 32), (32, 48), (40, 40), (200, 3), (3, 200), (1, 1)])
def test_preview_resembles_the_picture(size):
    picture = gradient(*size)
    code = preview_hash(picture)
    assert len(code) <= 36
    uri = preview_data_uri(code)
    assert uri.startswith("data:image/png;base64,")
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as preview:
        assert max(preview.size) == 32
        shown, meant = np.asarray(preview, float), np.asarray(picture.resize(preview.size), float)
    assert np.abs(shown - meant).mean() < 20
    if min(size) > 16:
        assert np.corrcoef(shown.ravel(), meant.ravel())[0, 1] > 0.95


@pytest.mark.parametrize(
    "code",
    ["", "!!", "AAAA", "AAAAAAA=", "////////", base64.b64encode(b"\x01\x02\x03\x07\x00").decode()],
)
def test_no_preview_from_what_is_no_hash(code):
    with pytest.raises(AigiError, match="Expected a ThumbHash"):
        preview_data_uri(code)


def test_reading_refuses_what_is_no_regular_file(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="^not a regular file"):
        read_bytes(tmp_path / "pipe")
    with pytest.raises(ImageError, match="^not a regular file"):
        read_bytes(tmp_path)
    with pytest.raises(ImageError, match="^missing: no such file"):
        read_bytes(tmp_path / "none")
    with pytest.raises(ImageError, match="^unreadable"):
        read_bytes(tmp_path / ("long" * 100))


def test_source_order(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(gradient()))
    row = {
        "path": "a.png",
        "source_url": "https://example.org/a.png",
        "preview_hash": preview_hash(gradient()),
    }
    assert image_source(row, tmp_path) == ImageSource("file", str(tmp_path / "a.png"))
    assert image_source(row, None) == ImageSource("url", "https://example.org/a.png")
    assert image_source(row | {"path": "gone.png"}, tmp_path).kind == "url"
    assert image_source(row | {"source_url": ""}, None).kind == "preview"
    assert image_source(
        {"path": "x", "source_url": "", "preview_hash": ""}, tmp_path
    ) == ImageSource("none", "")


@pytest.mark.parametrize(
    "path", ["../secret", "a/../../secret", "/etc/hostname", "nul\0byte", "x" * 5000]
)
def test_a_strangers_paths_and_addresses_are_passed_over(tmp_path, path):
    (tmp_path / "root").mkdir()
    (tmp_path / "secret").write_text("s")
    row = {"path": path, "source_url": "javascript:alert(1)", "preview_hash": ""}
    assert image_source(row, tmp_path / "root") == ImageSource("none", "")


def test_images_needs_no_torch():
    import subprocess
    import sys

    code = (
        "import aigi_core.images, sys; assert not {'torch', 'pandas', 'streamlit'} &"
        " set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)
