"""Folders and tables as they come from other machines and programs."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from aigi_core.errors import AigiError
from precompute.ingest.layouts import find_candidates
from precompute.ingest.listing import read_listing
from precompute.ingest.walk import walk
from tests.precompute.corpus import encoded, fill, picture, write


def test_what_network_drives_put_beside_files_is_skipped(tmp_path: Path) -> None:
    """Synology's thumbnails would be photographs, and so would deleted files."""
    fill(tmp_path, "real", 3)
    fill(tmp_path, "fake/sdxl", 3)
    for folder in ("@eaDir/000.png", "$RECYCLE.BIN", "#recycle", "lost+found"):
        write(tmp_path, f"real/{folder}/thumb.jpg")
    files, notes = walk(tmp_path)
    assert len(files) == 6 and notes == ("4 hidden entries were skipped.",)
    assert not find_candidates(tmp_path).questions


def test_a_data_set_saved_to_disk_says_how_to_write_it_as_parquet(tmp_path: Path) -> None:
    table = pa.table({"image": [encoded(picture(1))], "label": ["real"]})
    (tmp_path / "train").mkdir()
    with (
        pa.OSFile(str(tmp_path / "train" / "data-00000-of-00001.arrow"), "wb") as stream,
        pa.ipc.new_stream(stream, table.schema) as writer,
    ):
        writer.write_table(table)
    (tmp_path / "train" / "state.json").write_text("{}")
    with pytest.raises(AigiError, match=r"1 Arrow file is not read.*load_from_disk.*to_parquet"):
        find_candidates(tmp_path)


@pytest.mark.parametrize("start", ["/home/alice/data/", "D:\\alice\\data\\", "C:/data/"])
def test_absolute_paths_of_another_machine_are_found_below_the_root(
    tmp_path: Path, start: str
) -> None:
    rows = []
    for name, label in (("a", "real"), ("b", "fake")):
        fill(tmp_path, f"imgs/{name}", 2)
        rows += [f"{start}imgs/{name}/00{i}.png,{label}" for i in range(2)]
    table = tmp_path / "list.csv"
    table.write_text("\n".join(["path,label", *rows]) + "\n")
    listed = read_listing(tmp_path, table)
    assert listed.table["path"].iloc[0] == "imgs/a/000.png"
    assert (listed.table["left_out"] == "").all()
    assert any(f"begin with {start}, which is not here" in note for note in listed.notes)


def test_paths_of_which_some_are_missing_are_not_moved(tmp_path: Path) -> None:
    fill(tmp_path, "a", 1)
    table = tmp_path / "list.csv"
    table.write_text("path,label\n/x/a/000.png,real\n/x/b/000.png,fake\n")
    with pytest.raises(AigiError, match="no path below the image root"):
        read_listing(tmp_path, table)
