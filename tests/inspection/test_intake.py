"""What users bring: every hostile file is one line, and the others go on."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigi_core.clip.encoder import load_encoder
from aigi_core.clip.preprocessing import Preprocessing
from aigi_core.errors import AigiError
from aigi_core.inspection.intake import SMALL, encode, find_files, open_image
from aigi_core.workspace import Workspace
from precompute.__main__ import main
from tests.precompute.corpus import encoded, picture
from tests.precompute.hostile import CASES, write_hostile

SEEN = Preprocessing(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_hostile_files_are_one_line_each(tmp_path: Path) -> None:
    write_hostile(tmp_path)
    for case in CASES:
        result = open_image(case.name, tmp_path / case.name, SEEN)
        expected = (
            case.left_out
            if case.left_out not in ("duplicate",) and "not valid Unicode" not in case.left_out
            else ""
        )
        assert result.reason.startswith(expected) and bool(result.reason) == bool(expected), (
            case.name,
            result.reason,
        )
        assert "\n" not in result.reason and result.name == case.name
        if not expected:
            assert result.pixels is not None and result.pixels.shape == (32, 32, 3)
            assert result.picture is not None and max(result.picture.size) <= SMALL
            assert case.note in result.about


def test_bytes_and_files_are_the_same() -> None:
    content = encoded(picture("x", (90, 70)), "JPEG")
    result = open_image("<script>.jpg", content, SEEN)
    assert result.name == "<script>.jpg" and result.key == hashlib.sha256(content).hexdigest()
    assert result.about.startswith("90 × 70 px, JPEG, quality about 75")
    assert np.array_equal(result.pixels, SEEN.pixels(picture_of(content)))


ODD_NAMES = {
    "a.jfif": "JPEG",
    "a.jpe": "JPEG",
    "none": "PNG",
    "a.apng": "PNG",
    "a.pgm": "PPM",
    "a.j2k": "JPEG2000",
}


def test_what_a_file_holds_decides_and_not_its_name(tmp_path: Path) -> None:
    """For uploads, for files that ``score`` finds, and for a build."""
    images, out = tmp_path / "images", tmp_path / "w"
    for folder in ("real", "fake/g"):
        (images / folder).mkdir(parents=True)
        for name, kind in ODD_NAMES.items():
            image = picture(folder + name, (90, 70))
            content = encoded(image.convert("L") if kind == "PPM" else image, kind)
            (images / folder / name).write_bytes(content)
            result = open_image(name, content, SEEN)
            assert not result.reason and result.pixels is not None
    assert len(find_files([images])) == 2 * len(ODD_NAMES)
    assert main(["ingest", "--images", str(images), "--out", str(out), "--min-images", "3"]) == 0
    table = pd.read_parquet(out / "images.parquet")
    assert set(table["left_out"]) == {""} and len(table) == 2 * len(ODD_NAMES)


def picture_of(content: bytes):  # type: ignore[no-untyped-def]
    from aigi_core.images import load_rgb

    return load_rgb(content).image


def test_files_are_listed_in_order_and_once(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.png", "a.png", "b/.hidden.png", ".cache/x.png", "c/d/e"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"x")
    result = find_files([tmp_path / "b/2.png", tmp_path])
    assert [str(file.relative_to(tmp_path)) for file in result] == [
        "b/2.png",
        "a.png",
        "b/1.png",
        "c/d/e",
    ]
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    assert len(find_files([tmp_path])) <= 6
    assert len(find_files([tmp_path], most=2)) == 2
    (tmp_path / "empty").mkdir()
    for path, says in (
        (tmp_path / "none", "no file or folder"),
        (tmp_path / "empty", "holds no files"),
    ):
        with pytest.raises(AigiError, match=says):
            find_files([path])
    with pytest.raises(AigiError, match="no file or folder"):
        find_files(["nul\0byte"])


def test_features_are_those_of_the_workspace(tiny: tuple[Path, str]) -> None:
    """A file of the workspace, brought anew, has the features that the workspace has of it."""
    workspace, encoder = Workspace.open(tiny[0]), load_encoder(tiny[1], None, device="cpu")
    rows = np.arange(0, len(workspace.images), 9)
    root = Path(workspace.manifest["image_root"])
    preprocessing = Preprocessing.from_description(workspace.encoder["preprocessing"])
    opened = [
        open_image(str(path), root / path, preprocessing) for path in workspace.images["path"][rows]
    ]
    result = encode(encoder, [one.pixels for one in opened if one.pixels is not None], workspace)
    np.testing.assert_allclose(result.embeddings, workspace.embeddings[rows], atol=1e-5)
    np.testing.assert_allclose(
        result.heads, workspace.heads[:, :, rows].astype(np.float32), atol=2e-3
    )
    one = result.taken([2])
    np.testing.assert_array_equal(one.embeddings[0], result.embeddings[2])
    assert one.heads.shape[2] == len(one.ln_post) == 1
    with pytest.raises(AigiError, match="no image"):
        encode(encoder, [], workspace)


@pytest.mark.parametrize(
    ("size", "mode", "notes"),
    [
        ((8, 8), "shortest", ["8 × 8 pixels are enlarged to 32"]),
        ((9, 9), "shortest", []),
        (
            (3000, 20),
            "shortest",
            ["only the middle 20 × 20 of 3,000 × 20 pixels is seen"],
        ),
        ((3000, 20), "squash", ["a square is made of all 3,000 × 20 pixels"]),
        ((59, 20), "shortest", []),
    ],
)
def test_unusual_sizes_say_what_the_encoder_sees(
    size: tuple[int, int], mode: str, notes: list[str]
) -> None:
    opened = open_image("x.png", encoded(picture("x", size)), replace(SEEN, resize_mode=mode))
    assert opened.note == "; ".join(notes) and opened.about.endswith(opened.note)
