"""Every file of a workspace and of a saved detector, changed anywhere: refused in one sentence by
what opens or verifies it, or read as it was.
"""

import csv
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigi_core.archives import members
from aigi_core.detectors import score_detectors, train
from aigi_core.detectors.detector import Detector, LinearDetector
from aigi_core.detectors.published import read_layer
from aigi_core.detectors.stored import load_detectors
from aigi_core.errors import AigiError
from aigi_core.images import ImageError, read_bytes
from aigi_core.inspection.stored import KIND, load_held_out, save_held_out
from aigi_core.inspection.unseen import HeldOut
from aigi_core.soundness import read_parquet
from aigi_core.workspace import Workspace, describe_file, read_manifest, write_manifest
from precompute.__main__ import main
from precompute.ingest.tables import read_scores, read_table
from tests.factory import make_workspace

FILES = (
    "workspace.json",
    "images.parquet",
    "embeddings.npy",
    "heads.npy",
    "ln_post.npy",
    "decomposition.npz",
)
Looked = tuple[Path, list[LinearDetector], HeldOut]
FEW = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def changes(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Bytes taken out, put in or overwritten at some place, or the end cut off."""
    at, length = draw(st.floats(0, 1)), draw(st.integers(0, 12))
    new, cut = draw(st.binary(max_size=12)), draw(st.booleans())

    def change(content: bytes) -> bytes:
        start = int(at * len(content))
        return content[:start] + new + (b"" if cut else content[start + length :])

    return change


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("readers") / "w", per_class=12)


def changed(file: Path, change: Callable[[bytes], bytes]) -> Iterator[bool]:
    """The file with the change, whether it has changed; then as it was."""
    before = file.read_bytes()
    after = change(before)
    file.write_bytes(after)
    try:
        yield after != before
    finally:
        file.write_bytes(before)


@pytest.mark.parametrize("name", FILES)
@FEW
@given(change=changes())
def test_a_changed_workspace_is_refused_or_right(
    path: Path, name: str, change: Callable[[bytes], bytes]
) -> None:
    right = np.array(Workspace.open(path).embeddings)
    said = StringIO()
    for differs in changed(path / name, change):
        try:
            embeddings = np.array(Workspace.open(path).embeddings)
        except AigiError as error:
            assert str(error)
            embeddings = right
        with redirect_stdout(said), redirect_stderr(said):
            verified = main(["verify", str(path)]) == 0
        assert "Traceback" not in said.getvalue()
        if verified:
            assert np.array_equal(embeddings, right), said.getvalue()
            assert not differs or name == "workspace.json"


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@FEW
@given(change=changes())
def test_a_changed_detector_is_refused_or_loads(
    path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    suffix: str,
    change: Callable[[bytes], bytes],
) -> None:
    stem = path.parent / "detector"
    if not stem.with_suffix(".json").exists():
        workspace = Workspace.open(path)
        train(workspace, workspace.domains.generators[:1])[0].save(stem)
    for _ in changed(stem.with_suffix(suffix), change):
        try:
            Detector.load(stem)
        except AigiError as error:
            assert str(error)


# Tables of strangers: of images (ingest), of scores (import-scores), of prompts (generate)

CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
NESTED = CELLS | st.lists(CELLS, max_size=2) | st.dictionaries(st.text(max_size=3), CELLS)
ODD = ("1" * 100_000 + "x", "9" * 30, "1e400", "-", "\r=1", "ﬁ", "\u202e")


@st.composite
def table_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """A suffix, and a file of that kind with columns that jobs look for and any values, whole or
    changed."""
    names = draw(st.permutations(["path", "score", "label", "other"]))
    rows = draw(st.lists(st.fixed_dictionaries(dict.fromkeys(names, NESTED)), max_size=4))
    suffix = draw(st.sampled_from([".csv", ".tsv", ".json", ".jsonl", ".parquet"]))
    if suffix in (".csv", ".tsv"):
        cells = [[str(value) for value in row.values()] for row in rows]
        cells += [[draw(st.sampled_from(ODD)) for _ in names]]
        stream = StringIO()
        csv.writer(stream, delimiter="," if suffix == ".csv" else "\t").writerows([names, *cells])
        content = stream.getvalue().encode("utf-8", "replace")
    elif suffix == ".parquet":
        kinds = st.sampled_from([pa.int64(), pa.float32(), pa.string(), pa.timestamp("ns")])
        kinds |= st.sampled_from([pa.decimal128(38, 5), pa.list_(pa.int8()), pa.date32()])
        columns = {name: pa.nulls(len(rows), draw(kinds)) for name in names}
        columns["score"] = pa.array([float("inf")] * len(rows))
        columns["label"] = pa.array(draw(st.sampled_from(ODD)) for _ in rows)
        told = {"info": {"features": {"label": {"_type": "ClassLabel", "names": draw(NESTED)}}}}
        held = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps(told)})
        sink = pa.BufferOutputStream()
        pq.write_table(held, sink)
        content = sink.getvalue().to_pybytes()
    else:
        made = [json.dumps(row) for row in rows]
        content = ("\n".join(made) if suffix == ".jsonl" else f"[{','.join(made)}]").encode()
    return suffix, draw(changes())(content) if draw(st.booleans()) else content


@settings(FEW, max_examples=150)
@given(file=table_files())
def test_a_table_is_refused_in_a_sentence_or_read(
    tmp_path_factory: pytest.TempPathFactory, file: tuple[str, bytes]
) -> None:
    suffix, content = file
    path = tmp_path_factory.getbasetemp() / f"table{suffix}"
    path.write_bytes(content)
    try:
        table = read_table(path)
        read = [(table.text(name), table.typed(name)) for name in table.names]
        assert all(len(text) == len(typed) == len(table) for text, typed in read)
        by, keys, scores = read_scores(path)
        assert by == "path" and len(keys) == len(scores) and scores.dtype == float
    except AigiError as error:
        assert "\n" not in str(error)


def test_a_table_of_many_columns_or_digits_is_read_at_once(tmp_path: Path) -> None:
    """What was quadratic took hours; the test would not end."""
    wide = tmp_path / "wide.csv"
    wide.write_text(",".join(f"c{i}" for i in range(50_000)) + "\n" + "1," * 49_999 + "1\n")
    assert len(read_table(wide).names) == 50_000
    long = tmp_path / "long.json"
    long.write_text(json.dumps([{"a": "1" * 2_000_000 + "x", "b": "9" * 30}]))
    table = read_table(long)
    assert table.typed("a").tolist() == ["1" * 2_000_000 + "x"]
    assert table.typed("b").tolist() == [1e30]


def small_file_of_many_rows(file: Path) -> None:
    """A few kilobytes that would take hundreds of megabytes: equal values are told once."""
    rows = pa.table({"path": ["one"] * 2**20, "score": [0.5] * 2**20})
    with pq.ParquetWriter(file, rows.schema) as writer:
        for _ in range(10):
            writer.write_table(rows)


def test_a_small_table_of_many_rows_is_refused_unread(path: Path, tmp_path: Path) -> None:
    small_file_of_many_rows(file := tmp_path / "scores.parquet")
    assert file.stat().st_size < 100_000
    said = "it names 10,485,760 rows, of 10,000,000 that its size allows"
    with pytest.raises(AigiError, match=said):
        read_table(file)
    workspace = shutil.copytree(path, tmp_path / "w")
    shutil.copy(file, workspace / "images.parquet")
    manifest = read_manifest(workspace)
    manifest["files"]["images.parquet"] = describe_file(workspace, "images.parquet")
    write_manifest(workspace, manifest)
    with pytest.raises(AigiError, match=said):
        Workspace.open(workspace)


def test_a_small_table_of_one_long_text_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    long = pa.array(["a" * 2**20] * 300)
    pq.write_table(pa.table({"path": long}), file, compression="zstd", use_dictionary=False)
    with pytest.raises(ValueError, match=r"it names 314,57.* bytes, of 268,435,456"):
        read_parquet(file)


# Stored results: detectors, and matrices of file facts and of kept scores


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_workspace(tmp_path_factory.mktemp("kept") / "w", per_class=20)
    assert main(["detectors", "--workspace", str(path)]) == 0
    return path


@FEW
@given(change=changes(), at=st.integers(0, 99))
def test_a_changed_stored_result_is_refused_or_right(
    kept: Path, change: Callable[[bytes], bytes], at: int
) -> None:
    workspace, said = Workspace.open(kept), StringIO()
    sets = [(name,) for name in workspace.domains.generators]
    right = score_detectors(load_detectors(workspace, sets), workspace)
    files = sorted(file for file in (kept / "results").rglob("*") if file.is_file())
    for differs in changed(files[at % len(files)], change):
        try:
            read = load_detectors(workspace, sets)
        except AigiError as error:
            assert str(error)
        else:
            assert not read or np.array_equal(score_detectors(read, workspace), right)
        with redirect_stdout(said), redirect_stderr(said):
            verified = main(["verify", str(kept)]) == 0
        assert "Traceback" not in said.getvalue()
        assert not (verified and differs) or files[at % len(files)].suffix == ".json"


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Looked:
    path = make_workspace(tmp_path_factory.mktemp("looked") / "w", per_class=20)
    workspace = Workspace.open(path)
    detectors = train(workspace, workspace.domains.generators)
    save_held_out(workspace, detectors, right := HeldOut.of(workspace, detectors))
    return path, detectors, right


@FEW
@given(change=changes(), at=st.integers(0, 9))
def test_a_changed_look_at_held_out_images_is_refused_or_right(
    looked: Looked, change: Callable[[bytes], bytes], at: int
) -> None:
    """What new images and generators are compared with."""
    path, detectors, right = looked
    workspace = Workspace.open(path)
    files = sorted(file for file in (path / "results" / KIND.name).rglob("*") if file.is_file())
    for _ in changed(files[at % len(files)], change):
        try:
            read = load_held_out(workspace, detectors)
        except AigiError as error:
            assert str(error)
            continue
        if read is not None:
            for name in ("rows", "scores", "nearness"):
                assert np.array_equal(getattr(read, name), getattr(right, name))
            assert np.array_equal(read.nearest.cosines, right.nearest.cosines)


# Layers that others trained


def layer_file(suffix: str) -> bytes:
    arrays = {"fc.weight": np.linspace(-1, 1, 24, dtype=np.float32)[None], "fc.bias": np.ones(1)}
    stream = BytesIO()
    if suffix == ".safetensors":
        return safetensors.numpy.save(arrays)
    if suffix == ".npz":
        np.savez_compressed(stream, allow_pickle=False, **arrays)
    else:
        torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, stream)
    return stream.getvalue()


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
@FEW
@given(change=changes())
def test_a_changed_layer_is_refused_or_is_one(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, change: Callable[[bytes], bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / f"layer{suffix}"
    path.write_bytes(change(layer_file(suffix)))
    try:
        weights, bias = read_layer(path)
    except AigiError as error:
        assert "\n" not in str(error)
    else:
        assert weights.ndim == 1 and np.isfinite([*weights, bias]).all()


# Archives of images


@pytest.mark.parametrize("kind", ["tar", "zip", "zip of lzma"])
@settings(FEW, max_examples=80)
@given(change=changes())
def test_a_changed_archive_is_refused_or_right(
    tmp_path_factory: pytest.TempPathFactory, kind: str, change: Callable[[bytes], bytes]
) -> None:
    image = np.random.default_rng(0).bytes(300) + bytes(300)
    stream = BytesIO()
    if kind == "tar":
        with tarfile.open(fileobj=stream, mode="w") as tar:
            about = tarfile.TarInfo("a.png")
            about.size = len(image)
            tar.addfile(about, BytesIO(image))
    else:
        method = zipfile.ZIP_LZMA if "lzma" in kind else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(stream, "w", method) as packed:
            packed.writestr("a.png", image)
    path = tmp_path_factory.mktemp("archives") / f"a.{kind[:3]}"
    path.write_bytes(change(stream.getvalue()))
    try:
        names = [member.name for member in members(path)]
        content = read_bytes(path / "a.png")
    except (AigiError, ImageError) as error:
        assert str(error)
    else:
        # a tar holds no checksum of its members
        assert "a.png" in names and (content == image or kind == "tar")


def test_a_tar_that_tells_a_size_below_nothing_is_damaged(tmp_path: Path) -> None:
    """Its members are found by an offset that a stranger's workspace may hold: reading to the end
    of the archive would pass every limit."""
    header = bytearray(tarfile.TarInfo("a.png").tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"-0000000001\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + b"x" * 5000)
    with pytest.raises(ImageError, match="damaged"):
        read_bytes(tmp_path / "a.tar" / "a.png", 0)
