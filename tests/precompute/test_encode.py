"""Encoding a workspace: the same bytes whatever interrupts it, nothing mixed, nothing skipped,
memory bounded.
"""

import argparse
import dataclasses
import errno
import functools
import io
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from aigi_core.clip.encoder import Encoder, load_encoder
from aigi_core.encodings import SPEED, speed_of
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.heads import Decomposition
from aigi_core.workspace import Workspace, exclusive, read_manifest, verify
from precompute.__main__ import main
from precompute.encode import pipeline, publish, shards
from precompute.encode.pipeline import WORKING, Division, encode
from precompute.encode.reader import Wanted
from precompute.engine import LocalEngine
from precompute.shares import Share, parse_share
from tests.precompute.engine_tasks import JOB_ENGINES
from tests.tiny_clip import make_tiny_clip

ROOT = Path(__file__).parents[2]
SIZES = {"batch_size": 4, "shard_size": 12}
PER_KIND = 10


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.set_num_threads(1)  # forked children must not inherit a pool of threads
    return make_tiny_clip(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def encoder(model: str) -> Encoder:
    return load_encoder(model, None, device="cpu")


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of 30 noise images, ingested, not encoded."""
    folder = tmp_path_factory.mktemp("ingested")
    rng = np.random.default_rng(0)
    for kind in ("real", "fake/one", "fake/two"):
        (folder / "images" / kind).mkdir(parents=True)
        for i in range(PER_KIND):
            pixels = rng.integers(0, 256, (40 + i, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / kind / f"{i}.png")
    ingest = [
        "ingest",
        "--images",
        str(folder / "images"),
        "--out",
        str(folder / "w"),
        "--workers",
        "1",
    ]
    assert main(ingest) == 0
    return folder / "w"


@pytest.fixture(scope="module")
def uninterrupted(
    ingested: Path, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = copy(ingested, tmp_path_factory.mktemp("uninterrupted") / "w")
    assert "Encoded 30 images" in encode(path, encoder, workers=0, **SIZES)
    return path


@pytest.fixture
def workspace(ingested: Path, tmp_path: Path) -> Path:
    return copy(ingested, tmp_path / "w")


def copy(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target))


def contents(path: Path) -> dict[str, bytes]:
    """Every file of a workspace but the lock and the speed of the run, by name."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name not in (".lock", SPEED)
    }


def finished_shards(path: Path) -> int:
    return len(list((path / WORKING).glob("[0-9]*.json")))


def test_shares_in_any_order_end_in_the_bytes_of_one_run(
    workspace: Path, uninterrupted: Path, encoder: Encoder
) -> None:
    for i in (3, 1, 2):
        done = encode(workspace, encoder, workers=0, **SIZES, division=Division(Share(i, 3)))
        assert re.match(rf"Share {i}/3: encoded \d+ images.*without --shard publishes", done)
        assert not read_manifest(workspace).get("encoder"), "a share publishes nothing"
    assert finished_shards(workspace) == 3
    assert "30 of them by an earlier run" in encode(workspace, encoder, workers=0, **SIZES)
    assert contents(workspace) == contents(uninterrupted)


def test_the_speed_is_kept_beside_what_is_verified(
    uninterrupted: Path, ingested: Path, tmp_path: Path
) -> None:
    kept = json.loads((uninterrupted / SPEED).read_text())
    assert kept["images"] == 30 and kept["threads"] == torch.get_num_threads()
    assert kept["device"] == "cpu" and kept["machine"]
    shown = speed_of(uninterrupted)
    assert shown["seconds"] == kept["seconds"] / 30 > 0 and shown["core_seconds"] > 0
    assert kept["machine"] in shown["measured"] and "30 images, cpu" in shown["measured"]
    assert SPEED not in read_manifest(uninterrupted)["files"]
    assert speed_of(ingested)["measured"] == "not measured"
    for damaged in ("{", "[]", '{"images": 0}'):
        (tmp_path / SPEED).write_text(damaged)
        assert speed_of(tmp_path)["measured"] == "not measured"


def test_the_batch_is_halved_until_it_fits(encoder: Encoder) -> None:
    tried: list[int] = []

    class Small:
        preprocessing = encoder.preprocessing

        def __init__(self, room: int) -> None:
            self.room = room

        def encode_images(self, pixels: np.ndarray) -> None:
            tried.append(len(pixels))
            if len(pixels) > self.room:
                raise torch.OutOfMemoryError

    assert pipeline.largest_batch(Small(70), 256) == 64 and tried == [256, 128, 64, 64]
    with pytest.raises(torch.OutOfMemoryError):
        pipeline.largest_batch(Small(0), 4)


def test_a_share_is_named_by_two_whole_numbers() -> None:
    assert parse_share("3/8") == Share(3, 8)
    for wrong in ("0/3", "4/3", "3", "a/b", "-1/3", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="expected i/n"):
            parse_share(wrong)


@pytest.mark.parametrize("name", JOB_ENGINES)
def test_workers_of_an_engine_end_in_the_bytes_of_one_run(
    name: str, workspace: Path, uninterrupted: Path, encoder: Encoder, model: str
) -> None:
    load = functools.partial(load_encoder, model, None, device="cpu")
    if name == "local":
        encode(workspace, encoder, **SIZES, division=Division(None, LocalEngine(1), load))
    else:
        import ray

        from precompute.on_ray import RayEngine

        try:
            encode(workspace, encoder, **SIZES, division=Division(None, RayEngine(2), load))
        finally:
            ray.shutdown()
    assert contents(workspace) == contents(uninterrupted)


def test_features_are_the_encoder_s(uninterrupted: Path, ingested: Path, encoder: Encoder) -> None:
    workspace = Workspace.open(uninterrupted)
    assert verify(uninterrupted) == []
    assert not (uninterrupted / WORKING).exists()
    assert workspace.heads.shape == (3, 4, 30, 8)
    root = Path(workspace.manifest["image_root"])
    for row in (0, 13, 29):
        with Image.open(root / workspace.images["path"][row]) as image:
            batch = encoder.encode_images(encoder.preprocessing.pixels(image.convert("RGB"))[None])
        assert np.allclose(workspace.embeddings[row], batch.embedding[0], atol=1e-5)
        assert np.allclose(workspace.heads[:, :, row], batch.heads[:, :, 0], atol=2e-3)
        assert np.allclose(workspace.ln_post[row], batch.ln_post[0], atol=1e-5)
    assert workspace.encoder["weights_sha256"] == encoder.weights_sha256
    assert np.isfinite(Decomposition.of(workspace).remainder()).all()


# Interruptions. A crash point is a moment just before something durable happens: a flush to disk or
# a rename.


def crash_at(point: int, path: Path, encoder: Encoder) -> None:
    """In a child: encode, and be killed at the given crash point."""
    seen = 0

    def counted(function: Callable) -> Callable:
        def before(*args: object, **kwargs: object) -> object:
            nonlocal seen
            seen += 1
            if seen == point:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return before

    os.fsync = counted(os.fsync)
    Path.replace = counted(Path.replace)
    shutil.rmtree = counted(shutil.rmtree)
    encode(path, encoder, workers=0, **SIZES)
    os._exit(0)


def test_killed_at_every_crash_point_the_bytes_are_the_same(
    ingested: Path, uninterrupted: Path, encoder: Encoder, tmp_path: Path
) -> None:
    expected = contents(uninterrupted)
    context = multiprocessing.get_context("fork")
    point, most_kept = 0, 0
    while True:
        point += 1
        path = copy(ingested, tmp_path / f"w{point}")
        child = context.Process(target=crash_at, args=(point, path, encoder))
        child.start()
        child.join(60)
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        reader_sees_old_or_new(path)
        most_kept = max(most_kept, kept := finished_shards(path))
        text = encode(path, encoder, workers=0, **SIZES)
        if kept and "Encoded" in text:
            assert f"({min(30, 12 * kept)} of them by an earlier run)" in text
        assert contents(path) == expected, f"crash point {point}"
    assert point > 20
    assert most_kept == 3


def reader_sees_old_or_new(path: Path) -> None:
    try:
        opened = Workspace.open(path)
    except WorkspaceError as error:
        assert "has been ingested but not encoded" in str(error)
    else:
        assert verify(opened.path) == []


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_command_line_survives_signals(
    ingested: Path, uninterrupted: Path, model: str, tmp_path: Path
) -> None:
    """SIGINT, then SIGKILL, at random moments of real processes; the next run is never locked
    out.
    """
    path = copy(ingested, tmp_path / "w")
    command = [
        sys.executable,
        "-m",
        "precompute",
        "encode",
        "--workspace",
        str(path),
        "--model",
        model,
        "--device",
        "cpu",
    ]
    command += ["--batch-size", "4", "--shard-size", "12", "--workers", "1"]
    rng = np.random.default_rng()
    for sent in (signal.SIGINT, signal.SIGKILL):
        process = subprocess.Popen(
            command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        while process.poll() is None and not (path / WORKING / "plan.json").is_file():
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 1))
        process.send_signal(sent)
        _, errors = process.communicate(timeout=60)
        # Its own code where it was at work, the signal's where it was already leaving, 0 where it
        # had ended.
        assert process.returncode in (0, 130, -sent), errors
        assert "Traceback" not in errors
        if process.returncode == 130:
            assert "the same command goes on from there" in errors
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert contents(path) == contents(uninterrupted)


def test_full_disk(
    workspace: Path, uninterrupted: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up while the second shard is written: one sentence, the first shard is
    kept.
    """
    real, calls = np.savez, []

    def savez(stream: object, **arrays: np.ndarray) -> None:
        calls.append(stream)
        real(stream, **arrays)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", savez)
    with pytest.raises(
        AigiError, match="is full: free some space and run the same command again"
    ) as caught:
        encode(workspace, encoder, workers=0, **SIZES)
    assert "\n" not in str(caught.value)
    assert finished_shards(workspace) == 1
    assert not list((workspace / WORKING).glob("*.tmp"))
    encode(workspace, encoder, workers=0, **SIZES)
    assert contents(workspace) == contents(uninterrupted)


def test_too_small_a_disk_is_seen_at_once(
    workspace: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 1 << 40, 1000))
    with pytest.raises(AigiError, match=r"needs 0\.00 GiB more on its disk .* free"):
        encode(workspace, encoder, workers=0, **SIZES)


def test_keyboard_interrupt_keeps_finished_shards(
    workspace: Path, uninterrupted: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = pipeline.Progress.tick
    ticks: list[int] = []

    def tick(self: pipeline.Progress, images: int) -> None:
        ticks.append(images)
        if len(ticks) == 5:
            raise KeyboardInterrupt
        original(self, images)

    monkeypatch.setattr(pipeline.Progress, "tick", tick)
    with pytest.raises(KeyboardInterrupt):
        encode(workspace, encoder, workers=0, **SIZES)
    assert finished_shards(workspace) == 1
    assert "(12 of them by an earlier run)" in encode(
        workspace, encoder, workers=0
    )  # sizes of the interrupted run
    assert contents(workspace) == contents(uninterrupted)


def test_damaged_shard_is_computed_again(
    workspace: Path, uninterrupted: Path, encoder: Encoder
) -> None:
    interrupt_before_publishing(workspace, encoder)
    (workspace / WORKING / "000001.npz").write_bytes(b"damaged")
    assert "(18 of them by an earlier run)" in encode(workspace, encoder, workers=0)
    assert contents(workspace) == contents(uninterrupted)


def interrupt_before_publishing(path: Path, encoder: Encoder) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "merge", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            encode(path, encoder, workers=0, **SIZES)


# Images that fail.


def with_own_images(ingested: Path, path: Path) -> tuple[Path, Path]:
    """A copy of the workspace with a copy of its images, which may be damaged."""
    workspace = copy(ingested, path / "w")
    images = copy(Path(read_manifest(ingested)["image_root"]), path / "images")
    return workspace, images


@pytest.mark.parametrize("workers", [0, 1])
def test_failing_images_are_named_and_the_rest_is_kept(
    ingested: Path, uninterrupted: Path, encoder: Encoder, tmp_path: Path, workers: int
) -> None:
    workspace, images = with_own_images(ingested, tmp_path)
    gone, changed = images / "fake/one/3.png", images / "real/1.png"
    before = {file: file.read_bytes() for file in (gone, changed)}
    gone.unlink()
    Image.new("RGB", (40, 40)).save(changed)
    with pytest.raises(AigiError, match=r"^2 of the images") as caught:
        encode(workspace, encoder, images=images, workers=workers, **SIZES)
    assert "'fake/one/3.png': missing" in str(caught.value)
    assert "'real/1.png': damaged: the file has changed since ingest" in str(caught.value)
    assert finished_shards(workspace) == 1
    with pytest.raises(WorkspaceError, match="not encoded"):
        Workspace.open(workspace)
    for file, content in before.items():
        file.write_bytes(content)
    encode(workspace, encoder, images=images, workers=workers)
    assert contents(workspace) == contents(uninterrupted)


def test_overflowing_features_are_a_failure(workspace: Path, encoder: Encoder) -> None:
    tower_with_huge_values = load_encoder(
        f"local-dir:{make_overflowing(workspace.parent)}", None, device="cpu"
    )
    with pytest.raises(AigiError, match=r"of the images .*its features overflow"):
        encode(workspace, tower_with_huge_values, workers=0, **SIZES)


def make_overflowing(folder: Path) -> Path:
    from safetensors.torch import load_file, save_file

    model = folder / "overflowing"
    make_tiny_clip(model)
    state = load_file(model / "open_clip_model.safetensors")
    state["visual.transformer.resblocks.1.attn.in_proj_bias"][64:] = (
        1e6  # values: contexts beyond fp16
    )
    save_file(state, model / "open_clip_model.safetensors")
    return model


def test_a_path_cannot_leave_the_image_root(tmp_path: Path, encoder: Encoder) -> None:
    from precompute.encode.reader import read

    Image.new("RGB", (9, 9)).save(tmp_path / "secret.png")
    (tmp_path / "images").mkdir()
    for path in ("../secret.png", str(tmp_path / "secret.png")):
        batch = read(tmp_path / "images", [Wanted(path, "")], encoder.preprocessing)
        assert "leaves the image root" in batch.failures[0].reason


def test_no_image_root(workspace: Path, encoder: Encoder) -> None:
    manifest = read_manifest(workspace)
    manifest.pop("image_root")
    (workspace / "workspace.json").write_text(json.dumps(manifest))
    with pytest.raises(AigiError, match="give --images DIR"):
        encode(workspace, encoder, workers=0)
    with pytest.raises(AigiError, match="is not there: give --images the folder that was ingested"):
        encode(workspace, encoder, images=Path("/nowhere"), workers=0)


# Whose features these are.


def test_rerun_does_nothing_and_damage_is_repaired(
    workspace: Path, uninterrupted: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copy(uninterrupted, workspace.parent / "again")
    assert "Nothing to do" in encode(path, encoder, workers=0)
    (path / "heads.npy").write_bytes(b"\0" * (path / "heads.npy").stat().st_size)
    seen: list[bool] = []
    original = publish.describe_file

    def describe(root: Path, name: str) -> dict:
        seen.append(read_manifest(path)["encoder"] is not None)
        return original(root, name)

    monkeypatch.setattr(publish, "describe_file", describe)
    assert "Encoded 30 images" in encode(path, encoder, workers=0, **SIZES)
    assert seen
    assert contents(path) == contents(uninterrupted)


@pytest.mark.parametrize("half_built", [False, True])
def test_another_encoder_is_refused_with_the_difference(
    workspace: Path, uninterrupted: Path, encoder: Encoder, half_built: bool
) -> None:
    if half_built:
        interrupt_before_publishing(workspace, encoder)
    path = workspace if half_built else copy(uninterrupted, workspace.parent / "encoded")
    before = contents(path)
    other = load_encoder(make_tiny_clip(workspace.parent / "other", seed=9), None, device="cpu")
    smooth = dataclasses.replace(encoder.preprocessing, interpolation="bilinear")
    for changed, difference in (
        (
            other,
            f"weights_sha256 {encoder.weights_sha256[:12]} there, {other.weights_sha256[:12]} now",
        ),
        (other, f"model {encoder.model} there, local-dir:other now"),
        (
            dataclasses.replace(encoder, preprocessing=smooth),
            "preprocessing.interpolation bicubic there, bilinear now",
        ),
        (dataclasses.replace(encoder, precision="bf16"), "precision fp32 there, bf16 now"),
        (
            dataclasses.replace(
                encoder, settings={**encoder.settings, "activation": "QuickGELU()"}
            ),
            "activation GELU(approximate='none') there, QuickGELU() now",
        ),
    ):
        with pytest.raises(WorkspaceError, match="another encoder") as caught:
            encode(path, changed, workers=0)
        assert difference in str(caught.value)
        assert contents(path) == before


def test_other_sizes_or_device_over_an_interrupted_run_are_refused(
    workspace: Path, encoder: Encoder
) -> None:
    interrupt_before_publishing(workspace, encoder)
    with pytest.raises(
        WorkspaceError, match=r"ran with --batch-size 4, this one would with 5: run again with"
    ):
        encode(workspace, encoder, workers=0, batch_size=5)
    plan = workspace / WORKING / "plan.json"
    plan.write_text(plan.read_text().replace('"device": "cpu"', '"device": "cuda"'))
    with pytest.raises(WorkspaceError, match="ran with --device cuda, this one would with cpu"):
        encode(workspace, encoder, workers=0)


@pytest.mark.parametrize(
    "damage",
    [
        lambda plan: [],
        lambda plan: plan | {"encoder": []},
        lambda plan: plan | {"batch_size": "4"},
        lambda plan: plan | {"shard_size": 0},
        lambda plan: {"encoder": plan["encoder"]},
        lambda plan: plan | {"encoder": plan["encoder"] | {"device": None}},
        lambda plan: plan | {"encoder": plan["encoder"] | {"preprocessing": [1]}},
        lambda plan: plan | {"encoder": plan["encoder"] | {"settings": "x"}},
    ],
)
def test_a_damaged_plan_of_an_interrupted_run_is_made_anew(
    workspace: Path, encoder: Encoder, damage: Callable[[Any], Any]
) -> None:
    interrupt_before_publishing(workspace, encoder)
    plan = workspace / WORKING / "plan.json"
    plan.write_text(json.dumps(damage(json.loads(plan.read_text("utf-8")))), "utf-8")
    encode(workspace, encoder, workers=0)
    assert verify(workspace) == []


def test_second_run_is_told_who_holds_the_workspace(workspace: Path, encoder: Encoder) -> None:
    with (
        exclusive(workspace, "encode"),
        pytest.raises(WorkspaceError, match=rf"being written by process {os.getpid()} .*encode"),
    ):
        encode(workspace, encoder, workers=0)


def test_damaged_table_of_images(workspace: Path, encoder: Encoder) -> None:
    (workspace / "images.parquet").write_bytes(b"")
    with pytest.raises(
        WorkspaceError, match=r"no sound images\.parquet: run 'python -m precompute ingest"
    ):
        encode(workspace, encoder, workers=0)


# The command line.


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--workspace", "/nowhere", "--model", "ViT-L-14"], "There is no workspace at /nowhere"),
        (["--workspace", "{w}", "--model", "ViT-L-14"], "needs weights: give --pretrained"),
        (
            ["--workspace", "{w}", "--model", "ViT-L-15", "--pretrained", "openai"],
            "no model 'ViT-L-15'",
        ),
    ],
)
def test_mistakes_on_the_command_line(
    ingested: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["encode", *(argument.format(w=ingested) for argument in arguments)]) == 2
    printed = capsys.readouterr().err
    assert sentence in printed
    assert printed.count("\n") == 1


def test_recorded_precision_is_kept(
    workspace: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "encode",
        "--workspace",
        str(workspace),
        "--model",
        model,
        "--device",
        "cpu",
        "--workers",
        "0",
    ]
    assert main([*command, "--precision", "bf16"]) == 0
    assert main(command) == 0
    assert "Nothing to do" in capsys.readouterr().out


def test_verify_command(
    ingested: Path, uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(uninterrupted)]) == 0
    assert "all 5 files are as recorded." in capsys.readouterr().out
    assert main(["verify", "--workspace", str(ingested)]) == 0
    assert "ingested but not encoded" in capsys.readouterr().out
    path = copy(uninterrupted, tmp_path / "w")
    (path / "ln_post.npy").write_bytes(b"short")
    heads = bytearray((path / "heads.npy").read_bytes())
    heads[-1] ^= 1
    (path / "heads.npy").write_bytes(heads)
    assert main(["verify", str(path)]) == 1
    out = capsys.readouterr().out
    assert "ln_post.npy should have" in out
    assert "heads.npy: sha256 is" in out
    assert main(["verify", str(tmp_path / "none")]) == 2


def test_verify_finds_arrays_that_do_not_fit(uninterrupted: Path, tmp_path: Path, capsys) -> None:
    from aigi_core.workspace import describe_file, write_manifest

    path = copy(uninterrupted, tmp_path / "w")
    np.save(path / "embeddings.npy", np.zeros((29, 24), np.float32))
    manifest = read_manifest(path)
    manifest["files"]["embeddings.npy"] = describe_file(path, "embeddings.npy")
    write_manifest(path, manifest)
    assert main(["verify", str(path)]) == 1
    assert "embeddings.npy: shape (29, 24) contradicts" in capsys.readouterr().out


def test_progress_bar(workspace: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(pipeline, "progress_options", dict)
    monkeypatch.setattr(
        pipeline, "tqdm", functools.partial(pipeline.tqdm, file=screen, mininterval=0, ncols=200)
    )
    encode(workspace, encoder, workers=0, **SIZES)
    last = screen.getvalue().split("\r")[-1]
    assert re.search(r"30/30 \[.*image/s, cpu busy \d+%, processors \d+%", last), last


# Memory.


def test_merging_holds_one_shard_whatever_their_number(encoder: Encoder, tmp_path: Path) -> None:
    def peak(count: int) -> int:
        folder = tmp_path / str(count)
        size = 3000
        table = pd.DataFrame({"path": [str(i) for i in range(count * size)], "content_hash": ""})
        rng = np.random.default_rng(0)
        cut = shards.cut(table, size, size, encoder)
        for shard in cut:
            arrays = {
                "embeddings": rng.standard_normal((size, 24)).astype(np.float32),
                "heads": rng.standard_normal((3, 4, size, 8)).astype(np.float16),
                "ln_post": np.full((size, 2), shard.index, np.float32),
            }
            shards._write(shard, arrays, folder)
        tracemalloc.start()
        publish.merge(cut, folder, encoder, folder / "merged")
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        merged = np.load(folder / "merged" / "ln_post.npy")
        assert np.array_equal(merged[:, 0], np.repeat(np.arange(count), size))
        last = np.load(folder / "merged" / "heads.npy", mmap_mode="r")[:, :, -size:]
        assert np.array_equal(last, shards.read_shard(cut[-1], folder)["heads"])
        return highest

    one, eight = peak(1), peak(8)
    assert eight < 1.3 * one


def test_reading_stays_a_few_chunks_ahead(encoder: Encoder, tmp_path: Path) -> None:
    """The reader must not run ahead of a slow device: it asks for batches only as they are
    consumed.
    """
    from precompute.encode.reader import read_batches

    asked: list[int] = []

    def batches():
        for i in range(100):
            asked.append(i)
            yield [Wanted("missing.png", "")] * 4

    source = read_batches(tmp_path, batches(), encoder.preprocessing, workers=1)
    for _ in range(3):
        assert next(source).failures[0].reason.startswith("missing")
    assert len(asked) <= 3 + 3
    source.close()


def test_a_trunk_whose_last_layer_is_wider_than_its_positions_encodes(
    tiny: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(shutil.copytree(tiny[0], tmp_path / "w"))
    model = ["--model", "timm:mobilenetv3_small_050", "--pretrained", "untrained"]
    options = ["--as", "mob", "--workers", "0", "--device", "cpu"]
    assert main(["encode", "--workspace", str(path), *options, *model]) == 0
    printed = capsys.readouterr().out
    assert "embeddings of 1024" in printed
    assert f"Kept as mob in {path / 'encoders/mob'}" in printed
    assert Workspace.open(path / "encoders/mob").embeddings.shape[1] == 1024
    assert verify(path) == []
