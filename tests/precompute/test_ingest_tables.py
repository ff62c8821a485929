"""The strict reader of tables: each kind of damage that public reports show, refused or read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from aigi_core.errors import AigiError
from precompute.ingest.answers import Answers
from precompute.ingest.layouts import find_candidates
from precompute.ingest.listing import Listed, read_listing
from precompute.ingest.tables import read_table
from tests.precompute.corpus import write

N = 14
PATHS = [f"{kind}/{i:03d}.png" for kind in ("real", "fake") for i in range(N)]
LABELS = [0] * N + [1] * N


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path in PATHS:
        write(tmp_path, path, b"x")
    return tmp_path


def lines(root: Path, header: str, row: str, name: str = "m.csv") -> Path:
    """A text table; in `row` p is the path, w the class in words, n in numbers, x the reverse."""
    rows = [
        row.format(p=path, w="fake" if label else "real", n=label, x=1 - label)
        for path, label in zip(PATHS, LABELS, strict=True)
    ]
    (root / name).write_text("\n".join([header, *rows]) + "\n")
    return root / name


def parquet(root: Path, name: str = "m.parquet", **columns: object) -> Path:
    pq.write_table(pa.table({"path": PATHS, **columns}), root / name)
    return root / name


def asked(listed: Listed) -> str:
    assert len(listed.questions) == 1
    return listed.questions[0]


def test_integers_with_gaps_keep_their_digits(root: Path) -> None:
    """pandas turns them into floats: "14.0", and 27 groups become 15."""
    groups = [2**53 + i if i != 5 else None for i in range(2 * N)]
    generator = pa.array([None] * N + [14] * N, pa.int64())
    file = parquet(root, label=LABELS, generator=generator, group=pa.array(groups, pa.int64()))
    table = read_listing(root, file).table
    assert set(table["generator"]) == {"", "14"}
    assert table["group"].nunique() == 28
    assert str(2**53 + 1) in set(table["group"])


def test_floats_that_pandas_made_of_integers_lose_their_fraction(root: Path) -> None:
    file = parquet(root, label=LABELS, generator=[float("nan")] * N + [14.0] * N)
    assert set(read_listing(root, file).table["generator"]) == {"", "14"}


def test_further_integer_columns_keep_their_digits_and_gaps(root: Path) -> None:
    big = pa.array([None, *range(2**53 + 1, 2**53 + 2 * N)], pa.int64())
    column = read_table(parquet(root, label=LABELS, seed=big)).typed("seed")
    assert str(column.dtype) == "Int64"
    assert column[1] == 2**53 + 1


def test_booleans_are_read_by_their_type_and_checked(root: Path) -> None:
    generator = [""] * N + ["sd"] * N
    right = parquet(root, label=[bool(v) for v in LABELS], generator=generator)
    listed = read_listing(root, right)
    assert listed.table.set_index("path").loc["fake/000.png", "label"] == 1
    assert listed.questions == ()
    wrong = parquet(root, label=[not v for v in LABELS], generator=generator)
    assert "--fake-label" in asked(read_listing(root, wrong))


def test_an_unquoted_comma_is_refused_with_its_line_and_cause(root: Path) -> None:
    file = lines(root, "path,label,caption", "{p},{w},a horse, brown")
    with pytest.raises(AigiError, match=r"Line 2 .* 4 values, more than the header's 3 .*commas"):
        read_listing(root, file)


def test_rows_longer_than_the_header_are_refused_though_the_surplus_is_empty(root: Path) -> None:
    """pandas makes the first column an index and builds the workspace on the thumbnails."""
    file = lines(root, "path,thumbnail,label,label_str", "{p},thumbs/{p},{n},{w},")
    with pytest.raises(AigiError, match=r"Line 2 .* has 5 values, more than the header's 4"):
        read_listing(root, file)


def test_shorter_rows_are_refused(root: Path) -> None:
    with pytest.raises(AigiError, match=r"Line 2 .* has 2 values, fewer than the header's 3"):
        read_listing(root, lines(root, "path,label,generator", "{p},{w}"))


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_doubled_columns_are_refused_alike(root: Path, kind: str) -> None:
    if kind == "csv":
        file = lines(root, "path,label, label", "{p},{w},{w}")
    elif kind == "jsonl":
        file = root / "m.jsonl"
        file.write_text('{"path": "real/000.png", "label": "real", "label": "fake"}\n')
    else:
        words = ["real"] * N + ["fake"] * N
        table = pa.Table.from_arrays(
            [pa.array(PATHS), pa.array(words), pa.array(["real"] * 2 * N)],
            names=["path", "label", "label"],
        )
        file = root / "m.parquet"
        pq.write_table(table, file)
    with pytest.raises(AigiError, match="has the column 'label' more than once"):
        read_listing(root, file)


def test_header_cells_are_stripped_as_values_are(root: Path) -> None:
    table = read_listing(root, lines(root, "path, label, generator ", "{p}, {w}, {n}")).table
    assert table["label"].sum() == N
    assert set(table["generator"]) == {"", "1"}


# Polarity.
@pytest.mark.parametrize(
    ("header", "row", "sign"),
    [
        ("path,label,label_str", "{p},{x},{w}", "the folders"),
        ("path,label", "{p},{x}", "the folders"),
    ],
)
def test_numbers_against_words_and_folders_stop_and_ask(
    root: Path, header: str, row: str, sign: str
) -> None:
    file = lines(root, header, row)
    question = asked(read_listing(root, file))
    assert f"contrary of {sign} in 28 of 28 rows" in question
    answered = read_listing(root, file, Answers(fake_labels=("0",)))
    assert answered.questions == ()
    assert answered.table.set_index("path").loc["fake/000.png", "label"] == 1


def test_numbers_against_the_generator_column_stop_and_ask(tmp_path: Path) -> None:
    rows = "".join(f"{i}.png,{int(i < 5)},{'' if i < 5 else 'sd'}\n" for i in range(10))
    (tmp_path / "m.csv").write_text("path,label,generator\n" + rows)
    assert "the column 'generator'" in asked(read_listing(tmp_path, tmp_path / "m.csv"))


def test_numbers_alone_are_accepted_with_a_loud_sentence(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,label\na.png,0\nb.png,1\n")
    listed = read_listing(tmp_path, tmp_path / "m.csv")
    assert listed.questions == ()
    assert any("holds numbers only: 1 was read as fake" in note for note in listed.notes)


def test_names_of_hugging_faces_class_labels_decide(root: Path) -> None:
    """They are alphabetical: 0 is fake, 1 is real."""
    features = {"label": {"names": ["Fake", "Real"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"path": PATHS, "label": [1 - v for v in LABELS]})
    pq.write_table(table.replace_schema_metadata(metadata), root / "m.parquet")
    listed = read_listing(root, root / "m.parquet")
    assert listed.questions == ()
    assert listed.table.set_index("path").loc["fake/000.png", "label"] == 1


def test_one_class_named_decides_the_other_and_generators(tmp_path: Path) -> None:
    """The list of grip-unina: ``typ`` is real, or the generator."""
    (tmp_path / "m.csv").write_text("filename,typ\na.png,real\nb.png,dalle2\nc.png,sdxl\n")
    columns = {"path": "filename", "label": "typ"}
    with pytest.raises(AigiError, match=r"say --real-label real"):
        read_listing(tmp_path, tmp_path / "m.csv", Answers(columns=columns))
    answers = Answers(columns=columns, real_labels=("real",))
    table = read_listing(tmp_path, tmp_path / "m.csv", answers).table
    assert table["label"].tolist() == [0, 1, 1]
    assert table["generator"].tolist() == ["", "dalle2", "sdxl"]


def test_a_label_that_was_named_and_never_occurs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,label\na.png,x\nb.png,y\n")
    with pytest.raises(AigiError, match=r"never holds 'fake': it holds 'x', 'y'"):
        read_listing(tmp_path, tmp_path / "m.csv", Answers(fake_labels=("fake",)))


# Kinds of files.
@pytest.mark.parametrize(
    ("name", "delimiter", "stated"),
    [("m.tsv", "\t", "tabs"), ("m.csv", ";", "semicolons"), ("m.csv", "|", "vertical bars")],
)
def test_the_dialect_is_detected_and_stated(
    root: Path, name: str, delimiter: str, stated: str
) -> None:
    file = lines(root, f"path{delimiter}label", "{p}" + delimiter + "{w}", name)
    listed = read_listing(root, file)
    assert stated in listed.notes[0]
    assert listed.table["label"].sum() == N


def test_two_delimiters_that_both_fit_are_asked_about(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path;a,label;b\nx.png;1,real;2\n")
    with pytest.raises(AigiError, match="commas or semicolons"):
        read_table(tmp_path / "m.csv")


@pytest.mark.parametrize("name", ["m.json", "m.jsonl"])
def test_lists_of_objects(root: Path, name: str) -> None:
    records = [
        {"path": path, "label": label, "extra": {"a": 1}, "seed": 7 if label else None}
        for path, label in zip(PATHS, LABELS, strict=True)
    ]
    text = json.dumps(records) if name == "m.json" else "\n".join(map(json.dumps, records))
    (root / name).write_text(text)
    table = read_listing(root, root / name).table
    assert table["label"].sum() == N
    assert str(table["seed"].dtype) == "Int64"
    assert table["extra"].iloc[0] == '{"a": 1}'


def test_damage_in_json_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"path": "a.png", "label": 0}\n{"path": \n')
    with pytest.raises(AigiError, match="line 2"):
        read_table(tmp_path / "m.jsonl")
    (tmp_path / "m.json").write_text('{"path": ["a.png"]}')
    with pytest.raises(AigiError, match="Expected a list of objects"):
        read_table(tmp_path / "m.json")


def test_an_index_that_pandas_stored_is_a_column(root: Path) -> None:
    frame = pd.DataFrame({"label": ["real"] * N + ["fake"] * N}, index=pd.Index(PATHS, name="path"))
    frame.to_parquet(root / "m.parquet")
    assert read_listing(root, root / "m.parquet").table["path"].tolist() == sorted(PATHS)


def test_paths_outside_the_root_leave_out_those_rows_only(root: Path) -> None:
    (root / "m.csv").write_text("path,label\nreal/000.png,real\n../secret.png,fake\n")
    listed = read_listing(root, root / "m.csv")
    reasons = listed.table.set_index("path")["left_out"]
    assert reasons["real/000.png"] == ""
    assert reasons["../secret.png"].startswith("outside the image root")
    assert any("1 row" in note for note in listed.notes)


CASES = Path(__file__).parents[3] / "shared" / "cases" / "manifests"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("arrow.parquet", {"generators": ["14"], "groups": 27}),
        ("bool.parquet", {"generators": ["sd"], "groups": 0}),
        ("spaces.csv", {"generators": ["sd"], "groups": 0}),
        ("caption.csv", "Line 2 of .* has 4 values, more than the header's 3 .*put quotes"),
        ("shift.csv", "Line 2 of .* has 5 values, more than the header's 4"),
        ("dupcol.parquet", "has the column 'label' more than once"),
        ("duphead.csv", "has the column 'label' more than once"),
        ("polarity.csv", "says the contrary of the folders in 28 of 28 rows.*--fake-label VALUE"),
    ],
)
def test_the_small_tables_that_were_misread(
    tmp_path: Path, name: str, expected: str | dict[str, object]
) -> None:
    """Each stands in the list of cases with what is right."""
    if not CASES.is_dir():
        pytest.skip(f"needs the small inputs at {CASES}")
    for kind in ("real", "fake"):
        (tmp_path / kind).mkdir()
        for number in range(14):
            Image.new("RGB", (8, 8)).save(tmp_path / kind / f"{number:03}.png")
    file = Path(shutil.copy(CASES / name, tmp_path))
    if isinstance(expected, str):
        with pytest.raises(AigiError, match=expected):
            listed = find_candidates(tmp_path, manifest_file=file)
            raise AigiError(" ".join(listed.questions))
        return
    table = find_candidates(tmp_path, manifest_file=file).table
    fakes = table["path"].str.startswith("fake/")
    assert (table["label"] == fakes).all() and len(table) == 28
    assert sorted(set(table.loc[fakes, "generator"])) == expected["generators"]
    assert table.loc[table["group"] != "", "group"].nunique() == expected["groups"]
