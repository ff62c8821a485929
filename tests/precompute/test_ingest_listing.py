"""A data set's own manifest, in order and out of it."""

from pathlib import Path

import pandas as pd
import pytest

from aigi_core.errors import AigiError
from precompute.ingest.listing import read_listing as read
from tests.precompute.corpus import write


def read_listing(root: Path, file: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The table, and the notes but the first, which states how the file was read."""
    listed = read(root, file)
    assert listed.questions == () and " was read " in listed.notes[0]
    return listed.table, listed.notes[1:]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "sub/c.png", "caf\u00e9.png"):
        write(tmp_path, name, b"x")
    return tmp_path


def listing(root: Path, text: str, name: str = "m.csv", encoding: str = "utf-8") -> Path:
    (root / name).write_bytes(text.encode(encoding))
    return root / name


def test_only_path_and_label_are_required(root):
    table, notes = read_listing(root, listing(root, "path,label\nsub/c.png,1\na.png,0\n"))
    assert table[["path", "label", "generator", "pool"]].to_numpy().tolist() == [
        ["a.png", 0, "", "all"],
        ["sub/c.png", 1, "unknown", "all"],
    ]
    assert notes[1:] == ("1 fake names no generator: they are called 'unknown'.",)
    assert "1 was read as fake" in notes[0]


@pytest.mark.parametrize(
    "values", [("fake", "real"), ("FAKE", " Real "), ("1", "0"), ("1.0", "0.0")]
)
def test_labels(root, values):
    table, _ = read_listing(
        root, listing(root, f"path,label\na.png,{values[0]}\nb.png,{values[1]}\n")
    )
    assert table["label"].tolist() == [1, 0]


def test_parquet_and_csv_say_the_same_and_further_columns_are_kept(root):
    table = pd.DataFrame(
        {
            "path": ["a.png", "b.png"],
            "label": [1, 0],
            "generator": ["sd-1.4", None],
            "split": ["train", None],
            "source_url": ["https://x/a", ""],
            "licence": ["MIT", None],
            "original_width": [640, 480],
            "score": [0.5, None],
            "width": [1, 2],
        }
    )
    table.to_parquet(root / "m.parquet")
    table.to_csv(root / "m.csv", index=False)
    (one, notes), (two, _) = (
        read_listing(root, root / "m.parquet"),
        read_listing(root, root / "m.csv"),
    )
    pd.testing.assert_frame_equal(one, two)
    assert one["licence"].tolist() == ["MIT", ""] and one["original_width"].tolist() == [640, 480]
    assert "width" not in one
    assert notes[0] == "The manifest's width were not used: they are measured from the files."
    assert one["split"].tolist() == ["train", ""]


def test_text_stays_text(root):
    """Names that look like numbers or missing values are names."""
    table, _ = read_listing(
        root,
        listing(
            root, "path,label,generator,group,caption\na.png,1,1.10,007,NA\nb.png,1,null,1e5,None\n"
        ),
    )
    assert table["generator"].tolist() == ["1.10", "null"] and table["group"].tolist() == [
        "007",
        "1e5",
    ]
    assert table["caption"].tolist() == ["NA", "None"]


def test_paths_are_spelled_one_way(root):
    text = f"path,label\n./a.png,0\n{root}/b.png,0\nsub//c.png,0\ncafe\u0301.png,1\n"
    table, _ = read_listing(root, listing(root, text))
    assert table["path"].tolist() == ["a.png", "b.png", "caf\u00e9.png", "sub/c.png"]
    table, _ = read_listing(root, listing(root, "path,label\nsub\\c.png,0\n", encoding="utf-8-sig"))
    assert table["path"].tolist() == ["sub/c.png"]


def test_missing_files_stay_and_fail_when_opened(root):
    table, _ = read_listing(root, listing(root, "path,label\nnone.png,0\n"))
    assert table["path"].tolist() == ["none.png"] and table["left_out"].tolist() == [""]


def test_the_manifests_own_reasons_and_families_are_kept(root):
    text = (
        "path,label,generator,family,left_out,note\na.png,1,x, GAN ,blurred,seen"
        " twice\nb.png,0,imagenet,gan,,\n"
    )
    table, notes = read_listing(root, listing(root, text))
    assert table["family"].tolist() == ["gan", ""] and table["generator"].tolist() == ["x", ""]
    assert table["left_out"].tolist() == ["blurred", ""] and table["note"].tolist() == [
        "seen twice",
        "",
    ]
    assert notes[-1] == "The generator of 1 real image was dropped: real images have none."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.png,0\n", "lacks the column path: it has file, label"),
        (
            "file;label\na.png;0\n",
            "it has file, label. .* --columns path=file",
        ),
        ("path,label\n", "has no rows"),
        ("", "could not be read"),
        ('path,label\n"a.png,0\n', "could not be read"),
        (
            "path,label\na.png,0\nb.png,maybe\n",
            "expected fake or real .* got 'maybe' in line 3 \\(1 such row\\)",
        ),
        ("path,label\na.png,\n", "expected fake or real .* got ''"),
        (
            "path,label,split\na.png,0,holdout\n",
            "expected train, val, test or nothing, got 'holdout'",
        ),
        (
            "path,label\na.png,0\n./a.png,1\n",
            "labels of 1 image in the manifest .* contradict: 'a.png' is real in line 2 and fake in"
            " line 3. Keep the row that is right",
        ),
        (
            "path,label\na.png,0\n./a.png,0\n",
            "'a.png' more than once, in line 2 and again in line 3 \\(1 such",
        ),
        (
            "path,label\na.png,0\na.png,0\na.png,1\n",
            "'a.png' is real in line 2 and fake in line 4",
        ),
        (
            'path,label\n"sub/O\'Brien ""GAN"".png",0\n"sub/O\'Brien ""GAN"".png",1\n',
            '«sub/O\'Brien "GAN".png» is real',
        ),
        ("file,class\na.png,0\n", "lacks the columns path and label"),
        ("path,label\n../secret.png,0\n", "no path below the image root"),
        ("path,label\nsub/../../secret.png,0\n", "no path below the image root"),
        ("path,label\n/etc/hostname,0\n", "no path below the image root"),
        ("path,label\n,0\n", "no path below the image root"),
        (
            "path,label,generator,family\na.png,1,x,gan\nb.png,1,x,diffusion\n",
            "'x' has the families diffusion, gan",
        ),
    ],
)
def test_what_does_not_hold_is_refused(root, text, message):
    with pytest.raises(AigiError, match=message):
        read_listing(root, listing(root, text))


def test_unreadable_manifests(root):
    with pytest.raises(AigiError, match="There is no table"):
        read_listing(root, root / "none.csv")
    with pytest.raises(AigiError, match=r"could not be read as \.parquet"):
        read_listing(root, listing(root, "path,label\n", "m.parquet"))
    with pytest.raises(AigiError, match="could not be read as .csv"):
        read_listing(root, listing(root, "path,label\ncaf\u00e9.png,0\n", encoding="latin-1"))
