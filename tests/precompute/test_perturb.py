"""Perturbed copies: the operation comes before the workspace's preprocessing, runs resume, nothing
stale is read.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aigi_core import stress as s
from aigi_core.clip.encoder import Encoder, load_encoder
from aigi_core.detectors.features import EmbeddingView, HeadsView
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.images import load_rgb
from aigi_core.perturb import Op
from aigi_core.workspace import Workspace, read_manifest, verify, write_manifest
from precompute.__main__ import main
from precompute.encode import pipeline
from precompute.growth.copies import halve
from precompute.perturb import perturb
from tests.tiny_clip import make_tiny_clip

PER_KIND = 20
MODEL: list[str] = []
"""Where the tiny CLIP lies; a workspace records the folder's name only."""


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of 60 smooth pictures of a real and two fake kinds, encoded by a tiny CLIP."""
    folder = tmp_path_factory.mktemp("perturb")
    model = make_tiny_clip(folder / "tiny")
    MODEL.append(model)
    rng = np.random.default_rng(0)
    for k, kind in enumerate(("real", "fake/one", "fake/two")):
        (folder / "images" / kind).mkdir(parents=True)
        for i in range(PER_KIND):
            coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
            picture = np.asarray(
                Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC)
            ).astype(int)
            picture[:: k + 1, :, 0] += 20 * k
            Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(
                folder / "images" / kind / f"{i}.png"
            )
    out = folder / "w"
    assert (
        main(["ingest", "--images", str(folder / "images"), "--out", str(out), "--workers", "1"])
        == 0
    )
    encode = [
        "encode",
        "--workspace",
        str(out),
        "--model",
        model,
        "--device",
        "cpu",
        "--workers",
        "0",
    ]
    assert main([*encode, "--batch-size", "8"]) == 0
    return out


@pytest.fixture
def workspace(encoded: Path, tmp_path: Path) -> Path:
    shutil.copytree(encoded, tmp_path / "w")
    return tmp_path / "w"


def run(path: Path, *options: str) -> int:
    return main(
        [
            "perturb",
            "--workspace",
            str(path),
            "--model",
            MODEL[0],
            "--device",
            "cpu",
            "--workers",
            "0",
            *options,
        ]
    )


def encoder_for() -> Encoder:
    return load_encoder(MODEL[0], None, device="cpu")


def test_copies_are_what_the_encoder_sees_of_perturbed_files(workspace: Path) -> None:
    assert run(workspace, "--ops", "jpeg:30", "noise:.05", "--heads") == 0
    opened = Workspace.open(workspace)
    assert verify(workspace) == []
    assert not (workspace / ".perturb").exists()
    assert s.perturbed_ops(opened) == (Op("jpeg", 30), Op("noise", 0.05))
    encoder, images = encoder_for(), opened.images
    root = Path(opened.manifest["image_root"])
    for op in (Op("jpeg", 30), Op("noise", 0.05)):
        copies = s.open_perturbed(opened, op)
        assert (images["split"].to_numpy()[copies.rows] == "test").all()
        assert len(copies.rows) == (images["split"] == "test").sum() == len(copies.embeddings)
        row = copies.rows[1]
        seen = op(
            load_rgb((root / images["path"][row]).read_bytes()).image, images["content_hash"][row]
        )
        by_hand = encoder.encode_images(encoder.preprocessing.pixels(seen)[None])
        np.testing.assert_allclose(copies.embeddings[1], by_hand.embedding[0].numpy(), atol=2e-5)
        assert np.abs(copies.embeddings[1] - opened.embeddings[row]).max() > 1e-3
        assert HeadsView(((0, 0),)).matrix(copies).shape == (
            len(copies.rows),
            opened.encoder["head_width"],
        )


def test_a_second_run_has_nothing_to_do_and_more_splits_or_heads_are_added(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(workspace, "--ops", "blur:2") == 0
    capsys.readouterr()
    assert run(workspace, "--ops", "blur:2") == 0
    assert "nothing to do" in capsys.readouterr().out
    with pytest.raises(AigiError, match="without heads"):
        _ = s.open_perturbed(Workspace.open(workspace), "blur:2").heads
    assert run(workspace, "--ops", "blur:2", "--splits", "test", "train", "val", "--heads") == 0
    copies = s.open_perturbed(Workspace.open(workspace), "blur:2")
    assert len(copies.embeddings) == 3 * PER_KIND and copies.heads.shape[2] == 3 * PER_KIND
    assert run(workspace, "--ops", "blur:2") == 0
    assert not (workspace / "perturbed" / "blur-2" / "heads.npy").exists()
    assert verify(workspace) == []


def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(
    workspace: Path,
    encoded: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--ops", "crop:.8", "--splits", "train", "--batch-size", "4", "--shard-size", "8"]
    shutil.copytree(encoded, tmp_path / "whole")
    assert run(tmp_path / "whole", *options) == 0
    original, shards = pipeline.encode_shard, []

    def interrupted(shard, *args):  # type: ignore[no-untyped-def]
        if shards:
            raise KeyboardInterrupt
        shards.append(shard)
        return original(shard, *args)

    monkeypatch.setattr(pipeline, "encode_shard", interrupted)
    assert run(workspace, *options) == 130
    assert "goes on from there" in capsys.readouterr().err
    assert "perturbed" not in read_manifest(workspace)
    monkeypatch.setattr(pipeline, "encode_shard", original)
    assert run(workspace, *options) == 0
    assert "(8 of them by an earlier run)" in capsys.readouterr().out
    name = "perturbed/crop-0.8/embeddings.npy"
    assert (workspace / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_half_precision_halves_the_bytes_and_hardly_moves_a_logit(workspace: Path) -> None:
    assert run(workspace, "--ops", "jpeg:50") == 0
    opened = Workspace.open(workspace)
    whole = np.array(s.open_perturbed(opened, "jpeg:50").embeddings)
    assert run(workspace, "--ops", "jpeg:50", "--half") == 0
    opened = Workspace.open(workspace)
    copies = s.open_perturbed(opened, "jpeg:50")
    assert copies.embeddings.dtype == np.float16 and whole.dtype == np.float32
    np.testing.assert_array_equal(copies.embeddings, whole.astype(np.float16))
    assert EmbeddingView().matrix(copies).dtype == np.float64
    assert verify(workspace) == []
    assert run(workspace, "--ops", "jpeg:50") == 0  # other precision: encoded again
    assert s.open_perturbed(Workspace.open(workspace), "jpeg:50").embeddings.dtype == np.float32


def test_half_precision_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    np.save(tmp_path / "embeddings.npy", np.array([[1.0, 7e4]], np.float32))
    with pytest.raises(AigiError, match="beyond the range of half precision: run without --half"):
        halve(tmp_path / "embeddings.npy")


def test_copies_of_an_earlier_state_are_refused(workspace: Path) -> None:
    assert run(workspace, "--ops", "jpeg:50") == 0
    manifest = read_manifest(workspace)
    manifest["perturbed"]["jpeg-50"]["workspace_digest"] = "0" * 12
    write_manifest(workspace, manifest)
    with pytest.raises(WorkspaceError, match="earlier state"):
        s.open_perturbed(Workspace.open(workspace), "jpeg:50")
    with pytest.raises(WorkspaceError, match=r"no perturbed copies of blur:1 \(it has jpeg:50\)"):
        s.open_perturbed(Workspace.open(workspace), "blur:1")


def test_bad_options(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(workspace, "--ops", "jpg:50") == 2
    assert "no operation 'jpg'" in capsys.readouterr().err
    assert run(workspace, "--ops", "jpeg:50", "--images", str(workspace / "nowhere")) == 2
    assert "is not there" in capsys.readouterr().err


def test_canonicalized_workspaces_remember_and_their_copies_follow(
    encoded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "w"
    images = read_manifest(encoded)["image_root"]
    assert main(["ingest", "--images", images, "--out", str(path), "--workers", "1"]) == 0
    encode = [
        "encode",
        "--workspace",
        str(path),
        "--model",
        MODEL[0],
        "--device",
        "cpu",
        "--workers",
        "0",
    ]
    assert main([*encode, "--canonicalize", "noise:.1"]) == 2
    assert "random part" in capsys.readouterr().err
    assert main([*encode, "--canonicalize", "jpeg:90,short:36"]) == 0
    opened = Workspace.open(path)
    assert opened.encoder["preprocessing"]["steps"] == ["jpeg:90", "short:36"]
    assert np.abs(opened.embeddings - Workspace.open(encoded).embeddings).max() > 1e-3
    assert main(encode) == 2
    assert "preprocessing.steps" in capsys.readouterr().err
    assert run(path, "--ops", "blur:2") == 0
    copies, encoder = s.open_perturbed(Workspace.open(path), "blur:2"), encoder_for()
    row = copies.rows[0]
    image = load_rgb((Path(images) / opened.images["path"][row]).read_bytes()).image
    for op in (Op("blur", 2), Op("jpeg", 90), Op("short", 36)):
        image = op(image)
    by_hand = encoder.encode_images(encoder.preprocessing.pixels(image)[None]).embedding[0].numpy()
    np.testing.assert_allclose(copies.embeddings[0], by_hand, atol=2e-5)


def test_an_empty_split_is_an_error(workspace: Path) -> None:
    encoder = encoder_for()
    with pytest.raises(AigiError, match="no images in the split nowhere"):
        perturb(workspace, encoder, Op("blur", 1), ["nowhere"])


def test_shares_of_a_copy_end_in_the_bytes_of_one_run(
    encoded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [Path(shutil.copytree(encoded, tmp_path / name)) for name in ("one", "many")]
    for path, shards in zip(paths, ([[]], [["2/2"], ["1/2"], []]), strict=True):
        for shard in shards:
            options = ["--ops", "blur:2", "--model", MODEL[0], "--shard-size", "8"]
            given = [*options, "--workers", "0", *(("--shard", *shard) if shard else ())]
            assert main(["perturb", "--workspace", str(path), *given]) == 0
    assert "Share 2/2: encoded" in capsys.readouterr().out
    one, many = (path / "perturbed" / "blur-2" / "embeddings.npy" for path in paths)
    assert one.read_bytes() == many.read_bytes()
    assert not (paths[1] / ".perturb").exists()
