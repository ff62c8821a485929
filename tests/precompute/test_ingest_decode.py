"""Every hostile file has its own outcome, whatever the number of processes."""

import os
from pathlib import Path

import pandas as pd
import pytest

from aigi_core.images import ImageError
from precompute.ingest import decode
from precompute.ingest.decode import UNREAD, facts_of, facts_of_all
from precompute.ingest.pipeline import ingest
from precompute.ingest.summary import noted, summary
from precompute.ingest.walk import shown
from tests.precompute.corpus import crash, fail, fill, folders, write
from tests.precompute.hostile import CASES, Case, write_hostile


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = folders(tmp_path_factory.mktemp("hostile"))
    write_hostile(root / "real" / "odd")
    return root


@pytest.fixture(scope="module")
def result(hostile: Path):
    return ingest(hostile, workers=2, progress=False)


def test_there_are_at_least_forty_hostile_files():
    assert len(CASES) >= 40 and len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case.name)[1:-1])
def test_outcome(result, case: Case):
    name = os.fsencode(case.name).decode("utf-8", "backslashreplace")
    row = result.images.set_index("path").loc[f"real/odd/{name}"]
    if not case.left_out:
        assert row["left_out"] == "" and row["split"] in ("train", "val", "test")
        assert (
            row["width"] > 0
            and row["height"] > 0
            and row["preview_hash"]
            and len(row["content_hash"]) == 64
        )
    else:
        assert row["left_out"].startswith(case.left_out) and row["split"] == ""
        assert len(row["left_out"]) > len(case.left_out.partition(":")[0]) + 2, (
            "a reason without particulars"
        )
    assert case.note in row["note"]
    if not (case.note or case.left_out):
        assert row["note"] == ""
    assert row["format"] == (case.format or row["format"]) and row["mode"] == (
        case.mode or row["mode"]
    )


def test_metadata_and_quality_are_recorded(result):
    rows = result.images.set_index("path")
    assert (
        rows.loc["real/odd/prompt.png", "has_metadata"]
        and rows.loc["real/odd/turned.jpg", "has_metadata"]
    )
    assert not rows.loc["real/odd/ordinary.png", "has_metadata"]
    assert rows.loc["real/odd/tail.jpg", "jpeg_quality"] == 75
    assert pd.isna(rows.loc["real/odd/ordinary.png", "jpeg_quality"])
    assert tuple(rows.loc["real/odd/turned.jpg", ["width", "height"]]) == (
        16,
        24,
    )  # stored as 24 x 16


def test_no_hostile_name_reaches_the_terminal_raw(result):
    text = summary(result.images, result.record)
    assert "\x1b" not in text and "\t" not in text
    assert shown("a\x1b[31m\nü\udce9") == "a\\x1b[31m\\nü\\udce9"
    for reason, n in result.record["left_out"].items():
        assert f"{n:,} {reason}" in text
    assert sum(result.record["left_out"].values()) == (result.images["left_out"] != "").sum()


def test_one_process_or_several_give_the_same_table(hostile, result):
    pd.testing.assert_frame_equal(ingest(hostile, workers=1, progress=False).images, result.images)


def test_a_file_without_permission_is_left_out(tmp_path, monkeypatch):
    file = write(tmp_path, "secret.png")

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(
        Path, "read_bytes", refuse
    )  # tests may run as root, to whom nothing is forbidden
    assert facts_of(tmp_path, file.name) == UNREAD | {"left_out": "unreadable: Permission denied"}


def test_each_file_is_opened_once(tmp_path, monkeypatch):
    fill(tmp_path, "real", 5)
    opened: list[Path] = []
    read = decode.read_bytes
    monkeypatch.setattr(decode, "read_bytes", lambda path, *at: opened.append(path) or read(path))
    names = sorted(f"real/{file.name}" for file in (tmp_path / "real").iterdir())
    facts_of_all(tmp_path, [(name, -1) for name in names], workers=0, progress=False)
    assert opened == [tmp_path / name for name in names]


def test_a_file_that_kills_its_decoder_costs_only_itself():
    paths = [f"{'crash' if i == 7 else 'fine'}{i}" for i in range(40)]
    files = [(path, -1) for path in paths]
    facts = facts_of_all(Path(), files, workers=2, progress=False, read=crash)
    assert [fact["note"] for fact in facts] == [
        path if path.startswith("fine") else "" for path in paths
    ]
    assert [
        path
        for path, fact in zip(paths, facts, strict=True)
        if "reading it crashed" in fact["left_out"]
    ] == ["crash7"]


def test_an_error_in_a_worker_reaches_the_caller():
    with pytest.raises(ImageError, match="unreadable: x"):
        facts_of_all(Path(), [("x", -1)] * 40, workers=2, progress=False, read=fail)


def test_numbers_in_notes_are_told_as_their_range() -> None:
    notes = ["palette, 6 colours; greyscale", "palette, 1,256 colours", "first of 3 frames"]
    assert noted(notes) == "2 palette, 6 to 1,256 colours; 1 first of 3 frames; 1 greyscale"
