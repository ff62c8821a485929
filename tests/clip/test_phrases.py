"""Lists of phrases: the project's own, and whatever a user may hand in."""

from pathlib import Path

import pytest

from aigi_core.clip import phrases
from aigi_core.clip.phrases import fold, parse_phrases, read_phrases
from aigi_core.errors import AigiError

CATEGORIES = (
    "photographic process and camera",
    "light",
    "colour",
    "blur, noise and compression",
    "texture",
    "composition",
    "medium and style",
    "scene",
    "object",
    "people and body",
    "emotion and mood",
    "text and symbols",
    "what generation looks like",
)


def test_own_list_is_large_distinct_and_categorised() -> None:
    table = read_phrases()
    lines = [
        line
        for line in phrases.OWN_PHRASES.read_text("utf-8").splitlines()
        if line and not line.startswith("# ")
    ]
    assert len(lines) == len(table) >= 3000, (
        "a phrase of the file is doubled, or the list is too short"
    )
    assert table["text"].map(fold).is_unique
    sizes = table["category"].value_counts()
    assert set(CATEGORIES) <= set(sizes.index) and "" not in sizes.index
    assert sizes.min() >= 100
    assert table["text"].str.len().between(3, 70).all()
    assert table["text"].str.split().str.len().max() <= 12


def test_own_list_names_what_the_issue_asks_for() -> None:
    texts = set(read_phrases()["text"])
    assert {
        "GAN-generated image",
        "smooth plastic skin",
        "repeating pattern",
        "garbled lettering",
        "checkerboard artefacts",
    } <= texts
    assert any("extra fingers" in text for text in texts)


def test_categories_blank_lines_doubles_and_line_ends() -> None:
    text = (
        "\ufefffree  phrase\r\n\r\n# light\r\nCandle\tlight\rcandle light\n#tag\n#\nＦｒｅｅ"
        " phrase\nlast"
    )
    table = parse_phrases(text)
    assert table.values.tolist() == [
        ["free phrase", ""],
        ["Candle light", "light"],
        ["#tag", "light"],
        ["last", ""],
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_with_byte_order_marks(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "mine.txt"
    file.write_bytes("größe\n人".encode(encoding))
    assert read_phrases(file)["text"].tolist() == ["größe", "人"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "holds no phrase"),
        (b"# only a category\n\n", "holds no phrase"),
        (b"ok\n" + b"long " * 100, r"Line 2 .* has 499 characters"),
        ("gr\xf6sse".encode("latin-1"), "not UTF-8"),
        (b"a\x00b", "control characters"),
        (
            b"\n".join(b"phrase %d" % i for i in range(phrases.MAX_PHRASES + 1)),
            "more than 100,000 phrases",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "mine.txt"
    file.write_bytes(content)
    with pytest.raises(AigiError, match=says):
        read_phrases(file)
    with pytest.raises(AigiError, match=says):
        parse_phrases(content)


def test_missing_folder_and_huge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AigiError, match="no list of phrases"):
        read_phrases(tmp_path / "none.txt")
    with pytest.raises(AigiError, match="not a file"):
        read_phrases(tmp_path)
    monkeypatch.setattr(phrases, "MAX_BYTES", 4)
    (tmp_path / "big.txt").write_text("too large")
    with pytest.raises(AigiError, match="may have 4"):
        read_phrases(tmp_path / "big.txt")
