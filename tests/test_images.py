"""Decoding, JPEG quality, previews, and where a picture is shown from."""

import base64
import io
import math
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aigi_core.errors import AigiError
from aigi_core.image_files import jpeg_structure
from aigi_core.images import (
    ImageError,
    ImageSource,
    image_source,
    jpeg_quality,
    load_rgb,
    read_bytes,
)
from aigi_core.previews import preview_data_uri, preview_hash


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


def test_jpeg_quality_of_other_tables_is_the_nearest_and_marked_so():
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


# What a file holds beside its pixels never decides whether they are read.


def png_chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    result = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", result)


def with_chunks(content: bytes, *chunks: bytes) -> bytes:
    """A PNG with chunks after its header."""
    return content[:33] + b"".join(chunks) + content[33:]


BOMB = zlib.compress(bytes(3_000_000))


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"iCCP", b"profile\0\0" + BOMB),
        png_chunk(b"zTXt", b"Comment\0\0" + BOMB),
        png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + BOMB),
        png_chunk(b"tEXt", b"Comment\0hello", crc=1),
        png_chunk(b"pHYs", b"\0"),
        png_chunk(b"eXIf", b"no exif at all"),
        png_chunk(b"gAMA", b""),
    ],
    ids=["profile", "zTXt", "iTXt", "bad checksum", "short pHYs", "no EXIF", "empty gamma"],
)
def test_a_png_is_read_whatever_its_metadata(chunk):
    sound = encoded(gradient())
    loaded = load_rgb(with_chunks(sound, chunk))
    assert loaded.image.tobytes() == load_rgb(sound).image.tobytes()
    unread = chunk[4:8] not in (b"eXIf",)
    assert ("metadata that cannot be read passed over" in loaded.note) == unread
    assert loaded.has_metadata or not unread


def test_what_changes_pixels_survives_when_metadata_is_passed_over():
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = gradient().convert("P")
    sound = encoded(picture, exif=exif, transparency=picture.getpixel((0, 0)))
    loaded = load_rgb(with_chunks(sound, png_chunk(b"zTXt", b"Comment\0\0" + BOMB)))
    assert loaded.image.tobytes() == load_rgb(sound).image.tobytes()
    assert "turned upright" in loaded.note and "transparency laid on white" in loaded.note


@pytest.mark.parametrize("marker", range(0xE1, 0xF0))
def test_a_jpeg_is_read_whatever_its_segments(marker):
    sound = encoded(gradient(), "JPEG")
    for body in (
        b"",
        b"Exif\0\0MM\0*\xff\xff\xff\xff",
        b"MPF\0II*\0",
        b"ICC_PROFILE\0\1",
        b"Adobe",
    ):
        segment = bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body
        loaded = load_rgb(sound[:2] + segment + sound[2:])
        assert loaded.image.tobytes() == load_rgb(sound).image.tobytes()


def jpeg(**options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    return encoded(Image.fromarray(noise), "JPEG", **options)


KINDS_OF_JPEG = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 2},
    "subsampled": {"subsampling": 2},
    "one colour each": {"subsampling": 0, "quality": 95},
}


@pytest.mark.parametrize("options", KINDS_OF_JPEG.values(), ids=KINDS_OF_JPEG)
def test_a_jpeg_without_its_end_marker_is_kept_where_all_pixels_decode(options):
    content = jpeg(**options)
    assert content.endswith(b"\xff\xd9")
    loaded = load_rgb(content[:-2])
    assert loaded.image.tobytes() == load_rgb(content).image.tobytes()
    assert loaded.note == "no end marker" and load_rgb(content).note == ""


@pytest.mark.parametrize("options", KINDS_OF_JPEG.values(), ids=KINDS_OF_JPEG)
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"], ids=["cut", "cut, with an end marker"])
def test_a_jpeg_that_lacks_rows_is_left_out(options, end):
    content = jpeg(**options)
    start = content.find(b"\xff\xda") + 20
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(ImageError) as error:
            load_rgb(content[: start + int(share * (len(content) - start))] + end)
        assert error.value.reason in ("truncated", "damaged")


@pytest.mark.parametrize("options", KINDS_OF_JPEG.values(), ids=KINDS_OF_JPEG)
def test_a_jpeg_whose_header_promises_more_rows_is_left_out(options):
    content = jpeg(**options)
    at = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2")) + 5
    with pytest.raises(ImageError, match="truncated"):
        load_rgb(content[:at] + struct.pack(">H", 4000) + content[at + 2 :])


@pytest.mark.parametrize("options", KINDS_OF_JPEG.values(), ids=KINDS_OF_JPEG)
def test_a_grey_picture_is_not_taken_for_a_cut_one(options):
    grey = encoded(Image.new("RGB", (40, 40), (128, 128, 128)), "JPEG", **options)
    assert load_rgb(grey).note == ""
    assert load_rgb(grey + b"trailing bytes").note == ""
    assert load_rgb(grey[:-2]).note == "no end marker"


def test_a_jpeg_of_very_many_scans_is_refused():
    content = jpeg(progressive=True)
    scan = content.rfind(b"\xff\xda")
    with pytest.raises(ImageError, match="too large: more than the 500 scans"):
        load_rgb(content[:-2] + content[scan:-2] * 600 + b"\xff\xd9")


@pytest.mark.parametrize("colour", [0, 2, 6])
@pytest.mark.parametrize("rows", [0, 1, 31])
def test_a_png_that_lacks_rows_is_left_out_though_it_is_well_formed(colour, rows):
    channels = {0: 1, 2: 3, 6: 4}[colour]
    pixels = np.random.default_rng(0).integers(0, 256, (32, 1 + 32 * channels), dtype=np.uint8)
    pixels[:, 0] = 0

    def made(rows: int) -> bytes:
        header = struct.pack(">IIBBBBB", 32, 32, 8, colour, 0, 0, 0)
        data = png_chunk(b"IDAT", zlib.compress(pixels[:rows].tobytes()))
        end = png_chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + data + end

    assert load_rgb(made(32)).width == 32
    with pytest.raises(ImageError, match="truncated"):
        load_rgb(made(rows))


@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
def test_frames_are_counted_as_pillow_does_and_up_to_a_limit(kind):
    pages = [Image.new("L", (2, 2), value) for value in (1, 2, 3)]
    content = encoded(pages[0], kind, save_all=True, append_images=pages[1:])
    assert re.search("first of 3 (frames|pictures)", load_rgb(content).note)
    if kind == "TIFF":  # a chain of directories as long as the file allows
        first = struct.unpack_from("<I", content, 4)[0]
        size = 2 + 12 * struct.unpack_from("<H", content, first)[0]
        page = content[first : first + size]
        start = len(content) + len(content) % 2
        chain = b"".join(
            page + struct.pack("<I", start + (i + 1) * (size + 4)) for i in range(5000)
        )
        content = content[:4] + struct.pack("<I", start) + content[8:].ljust(start - 8, b"\0")
        began = load_rgb(content + chain + bytes(64))
        assert "first of more than 1000 pictures" in began.note


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it is HEIC; .*heif-convert"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a video"),
        (b"<?xml version='1.0'?>\n<svg xmlns='x'/>", "SVG"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"%PDF-1.7", "PDF"),
    ],
)
def test_a_kind_that_is_not_read_is_named_with_what_to_do(content, text):
    with pytest.raises(ImageError, match=f"(unsupported|not an image): .*{text}") as error:
        load_rgb(content + bytes(64))
    assert (error.value.reason == "unsupported") == ("HEIC" in text)


def test_transparency_of_16_bit_grey_is_laid_on_white():
    header = struct.pack(">IIBBBBB", 3, 1, 16, 0, 0, 0, 0)
    row = b"\0" + struct.pack(">HHH", 7, 8, 40000)
    content = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)
    content += png_chunk(b"tRNS", struct.pack(">H", 7)) + png_chunk(b"IDAT", zlib.compress(row))
    loaded = load_rgb(content + png_chunk(b"IEND", b""))
    assert [loaded.image.getpixel((x, 0))[0] for x in range(3)] == [255, 0, 156]
    assert loaded.note == "16-bit greyscale, scaled to 8; transparency laid on white"


def test_the_small_inputs_that_failed() -> None:
    folder = Path(__file__).parents[2] / "shared" / "cases" / "images"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    profile = load_rgb(folder / "icc-big.png")
    assert profile.has_metadata and "metadata that cannot be read" in profile.note
    assert load_rgb(folder / "cropped-last-bytes.jpg").note == "no end marker"
    for name, reason in (
        ("cropped-last-20.jpg", "truncated"),
        ("heic.jpg", "unsupported: it is HEIC"),
        ("screen-huge.gif", "too large"),
    ):
        with pytest.raises(ImageError, match=reason):
            load_rgb(folder / name)


@pytest.mark.parametrize("size", [(32, 32), (200, 90), (40, 300), (8, 8), (1000, 12)])
@pytest.mark.parametrize("kind", ["noise", "smooth", "flat"])
def test_previews_are_those_of_the_reference_encoder(size: tuple[int, int], kind: str) -> None:
    reference = pytest.importorskip("thumbhash")
    rng = np.random.default_rng(size[0])
    if kind == "noise":
        image = Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    elif kind == "smooth":
        image = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)).resize(size)
    else:
        image = Image.new("RGB", size, (200, 30, 77))
    scale = 32 / max(size)
    width, height = (max(8, round(side * scale)) for side in size)
    small = image.resize((4 * width, 4 * height), Image.Resampling.NEAREST).reduce(4)
    pixels = list(small.convert("RGBA").tobytes())
    expected = bytes(reference.rgba_to_thumb_hash(width, height, pixels))
    code = base64.b64decode(preview_hash(image))
    assert code[:5] == expected[:5]
    if kind != "flat":  # whose waves are rounding errors there, of no height
        assert code == expected


@pytest.mark.parametrize("fill", [0, 1, 3])
def test_the_end_of_a_scan_is_its_marker_behind_stuffing_restarts_and_fill(fill: int) -> None:
    head = b"\xff\xd8\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    scan = b"\x12\xff\x00\x34" + b"\xff" * fill + b"\xff\xd0\x56\xff\x00"
    structure = jpeg_structure(head + scan + b"\xff" * fill + b"\xff\xd9")
    assert structure is not None and structure.ended
    assert structure.end == len(head + scan) + fill
    cut = jpeg_structure(head + scan)
    assert cut is not None and not cut.ended and cut.end == len(head + scan)


def test_an_rgb_picture_is_not_copied_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")

    def copied(*_: object, **__: object) -> None:
        raise AssertionError("the pixels were copied")

    monkeypatch.setattr(Image.Image, "copy", copied)
    monkeypatch.setattr(Image.Image, "convert", copied)
    loaded = load_rgb(buffer.getvalue()).image
    assert type(loaded) is Image.Image  # nothing of the file is held with it
    np.testing.assert_array_equal(np.asarray(loaded), pixels)
