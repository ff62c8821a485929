"""Images that lie at an address are listed, ingested, encoded and shown like those in a folder."""

import pickle
import tarfile
import zipfile
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest

from aigi_core.clip.preprocessing import Preprocessing
from aigi_core.errors import AigiError
from aigi_core.images import ImageError, image_source, read_bytes, thumbnail
from aigi_core.remote import RemotePath, as_path, common_folder
from aigi_core.workspace import read_manifest
from precompute.__main__ import main
from precompute.encode.pipeline import image_root
from precompute.encode.reader import Wanted, read
from precompute.ingest.pipeline import ingest
from tests.precompute.corpus import folders, write
from ui.toolkit.access import may_see

SEEN = Preprocessing(16, (0.5,) * 3, (0.5,) * 3)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two generators and real images: plain files, a tar, a zip, and one file that is no image."""
    root = folders(tmp_path_factory.mktemp("far") / "images")
    loose = write(root, "more.png")
    for generator, kind in (("stylegan2", "tar"), ("sd-1.4", "zip")):
        archive = root / "fake" / generator / f"more.{kind}"
        if kind == "tar":
            with tarfile.open(archive, "w") as tar:
                tar.add(write(root, f"{kind}.png"), "in tar.png")
        else:
            with zipfile.ZipFile(archive, "w") as packed:
                packed.write(write(root, f"{kind}.png"), "in zip.png")
        (root / f"{kind}.png").unlink()
    loose.unlink()
    write(root, "real/broken.png", b"no image")
    return root


@pytest.fixture
def address(images: Path) -> Path:
    """The same folder: of all of fsspec's file systems, this one needs no server."""
    return as_path(f"file://{images}")


def test_images_at_an_address_are_ingested_as_those_of_a_folder(
    address: Path, images: Path
) -> None:
    here, there = (ingest(root, workers=1, progress=False).images for root in (images, address))
    pd.testing.assert_frame_equal(here, there)
    assert {"fake/stylegan2/more.tar/in tar.png", "fake/sd-1.4/more.zip/in zip.png"} <= set(
        here.loc[here["left_out"] == "", "path"]
    )


def test_images_at_an_address_are_read_for_encoding_and_shown(
    address: Path, images: Path, tmp_path: Path
) -> None:
    wanted = ingest(images, workers=1, progress=False).images.query("left_out == ''")
    batch = [Wanted(*row) for row in wanted[["path", "content_hash", "offset"]].to_numpy()]
    here, there = (read(root, batch, SEEN) for root in (images, address))
    np.testing.assert_array_equal(here.pixels, there.pixels)
    assert there.failures == []
    row = wanted.iloc[0].to_dict()
    shown = image_source(row, str(address))
    assert shown.kind == "file" and shown.value == f"{address}/{row['path']}"
    assert thumbnail(shown.value, -1, 64, row["content_hash"]) == thumbnail(
        images / row["path"], -1, 64, row["content_hash"]
    )
    assert image_source(row | {"path": "../real/000.png"}, str(address)).kind != "file"


def test_a_workspace_remembers_the_address(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "w"
    assert main(["ingest", "--images", f"file://{images}", "--out", str(out)]) == 0
    assert read_manifest(out)["image_root"] == f"file://{images}"
    assert main(["ingest", "--images", f"file://{images}", "--out", f"file://{out}"]) == 2


def test_an_address_that_a_workspace_records_is_asked_only_where_it_is_given(
    images: Path, tmp_path: Path
) -> None:
    out, address = tmp_path / "w", f"file://{images}"
    assert main(["ingest", "--images", address, "--out", str(out)]) == 0
    manifest = read_manifest(out)
    with pytest.raises(AigiError, match=f"give --images {address} if"):
        image_root(out, manifest, None)
    assert image_root(out, manifest, as_path(address)) == as_path(address)


@pytest.mark.parametrize("up", ["..", "%2e%2e", ".%2E"])
def test_what_leaves_a_folder_is_not_below_it(
    up: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert str(as_path(f"https://host/seen/{up}/{up}/{up}/x").resolve()) == "https://host/x"
    monkeypatch.setenv("AIGI_IMAGES", "https://host/seen")
    assert may_see(as_path("https://host/seen/deep"))
    assert not may_see(as_path(f"https://host/seen/{up}/kept"))
    write(tmp_path, "kept/a.png")
    (tmp_path / "seen").mkdir()
    root = f"file://{tmp_path}/seen"
    row = {"path": f"{up}/kept/a.png", "source_url": "", "preview_hash": ""}
    assert image_source(row, root).kind == "none"


def test_a_link_out_of_a_folder_is_not_shown_at_an_address_either(tmp_path: Path) -> None:
    write(tmp_path, "kept/a.png")
    write(tmp_path, "seen/b.png")
    (tmp_path / "seen" / "link.png").symlink_to(tmp_path / "kept" / "a.png")
    root, facts = f"file://{tmp_path}/seen", {"source_url": "", "preview_hash": ""}
    assert image_source(facts | {"path": "b.png"}, root).kind == "file"
    assert image_source(facts | {"path": "link.png"}, root).kind == "none"


def test_an_address_is_a_path() -> None:
    one = as_path("file:///data/a") / "b.tar" / "c.png"
    assert str(one) == "file:///data/a/b.tar/c.png" and one.name == "c.png"
    assert as_path(str(one)) == one == pickle.loads(pickle.dumps(one))  # noqa: S301
    assert one.relative_to(as_path("file:///data/a")).as_posix() == "b.tar/c.png"
    assert common_folder([one, as_path("file:///data/d")]) == as_path("file:///data")
    assert as_path("a:b/c") == Path("a:b/c") and not isinstance(as_path("/a"), RemotePath)
    with pytest.raises(AigiError, match="no common folder"):
        common_folder([one, Path("/data/a")])


def test_what_an_address_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AigiError, match="nowhere:// cannot be read .*Protocol not known"):
        as_path("nowhere://images")
    with pytest.raises(AigiError, match="cannot be read"):  # it needs an owner and a repository
        as_path("github://owner:repository@main/a")
    with pytest.raises(ImageError, match="missing"):
        read_bytes("memory://nothing/here.png")

    def absent(_: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "filesystem", absent)
    with pytest.raises(AigiError, match=r"s3:// cannot .*pip install -r requirements-remote\.txt"):
        as_path("s3://bucket/images")


def test_an_error_of_a_store_costs_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoCredentials(Exception):
        """As botocore's: no OSError."""

    def refuse(*_: object) -> None:
        raise NoCredentials("Unable to locate credentials")

    monkeypatch.setattr(fsspec.filesystem("memory"), "info", refuse)
    with pytest.raises(ImageError, match="unreadable: NoCredentials: Unable to locate"):
        read_bytes("memory://bucket/a.png")
