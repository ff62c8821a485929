"""Further features of one pass: kept on request, added to what is there, grown with it."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aigi_core.capabilities import Capabilities
from aigi_core.clip.encoder import Encoder, load_encoder
from aigi_core.detectors import score_detectors, train
from aigi_core.detectors.token_views import LayerView, PreView
from aigi_core.errors import AigiError, NotGivenError, WorkspaceError
from aigi_core.inspection.intake import encode as encode_new
from aigi_core.workspace import Workspace, describe_file, read_manifest, verify, write_manifest
from precompute.__main__ import main
from precompute.encode import pipeline
from precompute.encode.pipeline import encode
from precompute.encode.publish import bytes_an_image
from precompute.encode.shards import cut

TOKENS = ("pre", "layers", "norm2", "patches:4")
ALL = ("embedding", "heads", *TOKENS)
SIZES = {"batch_size": 16, "workers": 0}


@pytest.fixture(scope="module")
def encoder(tiny: tuple[Path, str]) -> Encoder:
    return load_encoder(tiny[1], None, device="cpu")


@pytest.fixture(scope="module")
def full(
    tiny: tuple[Path, str], encoder: Encoder, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The tiny workspace with every feature added to what it had."""
    path = Path(shutil.copytree(tiny[0], tmp_path_factory.mktemp("full") / "w"))
    assert "after each layer (3 x 32)" in encode(path, encoder, features=ALL, **SIZES)
    return path


def ingested(tiny: tuple[Path, str], folder: Path) -> Path:
    """The same images, not encoded."""
    path = Path(shutil.copytree(tiny[0], folder / "w"))
    manifest = read_manifest(path)
    kept = {"images.parquet": manifest["files"]["images.parquet"]}
    write_manifest(path, manifest | {"encoder": None, "files": kept, "text": {}})
    return path


def test_added_features_are_the_towers_and_the_rest_stays(
    full: Path, tiny: tuple[Path, str], encoder: Encoder
) -> None:
    before, now = Workspace.open(tiny[0]), Workspace.open(full)
    assert verify(full) == [] and main(["verify", str(full)]) == 0
    assert now.digest == before.digest and now.identity != before.identity
    assert now.stored_features == ALL == tuple(now.encoder["features"])
    n = len(now.images)
    assert now.feature("pre").shape == (n, 32) and now.feature("pre").dtype == np.float32
    for name, shape in (("layers", (3, n, 32)), ("norm2", (3, n, 32)), ("patches:4", (n, 4, 32))):
        assert now.feature(name).shape == shape and now.feature(name).dtype == np.float16
    root, rows = Path(now.manifest["image_root"]), [0, 17, n - 1]
    pictures = [Image.open(root / now.images["path"][row]).convert("RGB") for row in rows]
    pixels = [encoder.preprocessing.pixels(picture) for picture in pictures]
    fresh = encode_new(encoder, pixels, now)
    np.testing.assert_allclose(fresh.feature("pre"), now.feature("pre")[rows], atol=1e-5)
    for name in ("layers", "norm2"):
        np.testing.assert_allclose(fresh.feature(name), now.feature(name)[:, rows], atol=5e-3)
    np.testing.assert_allclose(
        fresh.feature("patches:4"), now.feature("patches:4")[rows], atol=5e-3
    )
    # pre and the projection are the embedding
    projection = encoder.tower.proj.detach().numpy()
    np.testing.assert_allclose(now.feature("pre") @ projection, now.embeddings, atol=1e-4)
    assert bytes_an_image(encoder, TOKENS) == 32 * 4 + 2 * 3 * 32 * 2 + 4 * 32 * 2
    held = sum(now.manifest["files"][f"features/{name}.npy"]["bytes"] for name in ("pre", "layers"))
    assert held == pytest.approx(n * bytes_an_image(encoder, ("pre", "layers")), abs=300)


def test_in_one_pass_or_added_they_are_the_same_bytes(
    full: Path, tiny: tuple[Path, str], encoder: Encoder, tmp_path: Path
) -> None:
    path = ingested(tiny, tmp_path)
    encode(path, encoder, features=ALL, **SIZES)
    files = read_manifest(full)["files"]
    for name, entry in read_manifest(path)["files"].items():
        if name.startswith("features/"):
            assert entry == files[name], name
    again = encode(full, encoder, **SIZES)
    assert "Nothing to do" in again, "what is there stays without being asked for again"


def test_a_lost_feature_alone_is_computed_again(
    full: Path, tmp_path: Path, encoder: Encoder
) -> None:
    path = Path(shutil.copytree(full, tmp_path / "w"))
    before = read_manifest(path)["files"]
    (path / "features" / "layers.npy").write_bytes(b"damaged")
    with pytest.raises(WorkspaceError, match=r"features/layers\.npy should have"):
        Workspace.open(path)
    text = encode(path, encoder, **SIZES)
    assert "after each layer" in text and "embeddings" not in text
    after = read_manifest(path)["files"]
    changed = {name for name in before if before[name] != after.get(name)}
    assert set(after) == set(before) and changed <= {"features/layers.npy"}
    # without patches the last block runs on one token, which may round otherwise
    result, expected = (Workspace.open(one).feature("layers") for one in (path, full))
    np.testing.assert_allclose(result, expected, atol=5e-3)


def test_damage_is_named(full: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(full, tmp_path / "w"))
    manifest = json.loads((path / "workspace.json").read_text())
    entry = manifest["files"].pop("features/norm2.npy")
    write_manifest(path, manifest)
    with pytest.raises(WorkspaceError, match=r"lacks features/norm2\.npy"):
        Workspace.open(path)
    manifest["files"]["features/norm2.npy"] = entry
    manifest["encoder"]["width"] = 31
    write_manifest(path, manifest)
    with pytest.raises(WorkspaceError, match=r"features/pre\.npy: shape \(\d+, 32\) contradicts"):
        Workspace.open(path)


def test_heads_may_be_left_out_and_added(
    tiny: tuple[Path, str], encoder: Encoder, tmp_path: Path
) -> None:
    path = ingested(tiny, tmp_path)
    options = ["--model", tiny[1], "--device", "cpu", "--workers", "0"]
    command = ["encode", "--workspace", str(path), *options, "--features"]
    assert main([*command, "embedding,pre"]) == 0
    opened = Workspace.open(path)
    assert opened.stored_features == ("embedding", "pre") and not opened.gives.has("heads")
    with pytest.raises(NotGivenError, match="was not kept when .*embedding,heads"):
        _ = opened.heads
    with pytest.raises(NotGivenError, match="holds no token after each layer .layers.: .*adds it"):
        opened.feature("layers")
    assert main([*command, "embedding,heads"]) == 0
    opened = Workspace.open(path)
    assert opened.stored_features == ("embedding", "heads", "pre") and opened.gives.has("heads")
    np.testing.assert_allclose(opened.heads, Workspace.open(tiny[0]).heads, atol=2e-3)


def test_what_an_encoder_cannot_give_leaves_the_workspace_as_it_was(
    tiny: tuple[Path, str], encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ingested(tiny, tmp_path)
    before = read_manifest(path)
    monkeypatch.setattr(encoder.adapter, "gives", Capabilities("", {"pre": "it is a ResNet"}))
    with pytest.raises(NotGivenError, match="before the projection .*: it is a ResNet"):
        encode(path, encoder, features=("embedding", "pre"), **SIZES)
    monkeypatch.undo()
    with pytest.raises(AigiError, match="99 patch tokens were asked for, the encoder has 16"):
        encode(path, encoder, features=("embedding", "patches:99"), **SIZES)
    assert read_manifest(path) == before


def test_the_default_key_of_a_shard_is_what_it_was(
    tiny: tuple[Path, str], encoder: Encoder
) -> None:
    table = pipeline.kept_images(tiny[0], read_manifest(tiny[0]))
    usual = cut(table, 64, 16, encoder)[0]
    assert "features" not in usual.identity
    assert cut(table, 64, 16, encoder, ("embedding", "heads"))[0].key == usual.key
    assert cut(table, 64, 16, encoder, ALL)[0].key != usual.key


def test_tokens_beyond_half_precision_stop_the_encoding(
    tiny: tuple[Path, str], encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, own = ingested(tiny, tmp_path), encoder.adapter.encode

    def large(*args: object) -> object:
        batch = own(*args)
        scaled = {name: 1e6 * result for name, result in batch.extras.items()}
        return dataclasses.replace(batch, extras=scaled)

    monkeypatch.setattr(encoder.adapter, "encode", large)
    with pytest.raises(AigiError, match="beyond the range of half precision.*out of --features"):
        encode(path, encoder, features=("embedding", "layers"), **SIZES)


def test_nothing_is_added_beside_images_in_another_order(
    tiny: tuple[Path, str], encoder: Encoder, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(tiny[0], tmp_path / "w"))
    encode(path, encoder, features=(*ALL[:2], "pre"), **SIZES)
    manifest = read_manifest(path)
    images = pd.read_parquet(path / "images.parquet").iloc[::-1]
    images.to_parquet(path / "images.parquet", index=False)
    files = manifest["files"] | {"images.parquet": describe_file(path, "images.parquet")}
    write_manifest(path, manifest | {"files": files})
    with pytest.raises(WorkspaceError, match="another order"):
        encode(path, encoder, features=("layers",), **SIZES)


def test_growth_takes_them_along(
    full: Path, tiny: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(shutil.copytree(full, tmp_path / "w"))
    whole = Workspace.open(full)
    assert main(["remove", "--workspace", str(path), "--generators", "two"]) == 0
    small = Workspace.open(path)
    assert verify(path) == [] and small.stored_features == ALL
    rows = np.flatnonzero(whole.images["content_hash"].isin(set(small.images["content_hash"])))
    np.testing.assert_array_equal(small.feature("layers"), whole.feature("layers")[:, rows])
    np.testing.assert_array_equal(small.feature("patches:4"), whole.feature("patches:4")[rows])
    images = Path(whole.manifest["image_root"]) / "fake" / "two"
    options = ["--model", tiny[1], "--device", "cpu", "--workers", "1", "--generator", "two"]
    assert main(["add", "--workspace", str(path), "--images", str(images), *options]) == 0
    grown = Workspace.open(path)
    assert verify(path) == [] and grown.stored_features == ALL
    order = [whole.images["content_hash"].tolist().index(h) for h in grown.images["content_hash"]]
    np.testing.assert_array_equal(grown.feature("pre"), whole.feature("pre")[order])
    np.testing.assert_array_equal(grown.feature("norm2"), whole.feature("norm2")[:, order])
    capsys.readouterr()
    both = [str(tiny[0]), str(full)]
    assert main(["merge", "--workspaces", *both, "--out", str(tmp_path / "merged")]) == 0
    assert "left out: pre, layers, norm2, patches:4" in capsys.readouterr().out
    merged = Workspace.open(tmp_path / "merged")
    assert merged.stored_features == ("embedding", "heads")
    both.reverse()
    assert main(["merge", "--workspaces", *both, "--out", str(tmp_path / "other")]) == 0
    assert Workspace.open(tmp_path / "other").stored_features == ("embedding", "heads")


def test_detectors_on_them(full: Path, tiny: tuple[Path, str], encoder: Encoder) -> None:
    workspace = Workspace.open(full)
    for view, features in (
        (PreView(), workspace.feature("pre").astype(np.float64)),
        (LayerView(1), workspace.feature("layers")[1].astype(np.float64)),
        (LayerView(-1, "norm2"), workspace.feature("norm2")[2].astype(np.float64)),
    ):
        [detector] = train(workspace, ["one"], view)
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        [scores] = score_detectors([detector], workspace)
        np.testing.assert_allclose(scores, unit @ detector.weights + detector.bias, atol=1e-9)
        assert not detector.has_direction
    with pytest.raises(AigiError, match="no layer 3: this encoder has layers 0 to 2"):
        LayerView(3).matrix(workspace)
    with pytest.raises(NotGivenError, match="holds no vector before the projection .pre.: .*adds"):
        PreView().matrix(Workspace.open(tiny[0]))
