"""The shipped demo and its card, and the rules by which its alignment is fitted and measured."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigi_core import overview
from aigi_core.clip.demo.alignment import Alignment, fit
from aigi_core.clip.demo.encoder import ALIGNMENT, UNALIGNED
from aigi_core.clip.encoder import load_encoder
from aigi_core.clip.text_map import chances_of_own
from aigi_core.errors import AigiError
from aigi_core.manifest import FAKE, REAL
from aigi_core.perturb import parse_ops
from aigi_core.stress.copies import perturbed_ops
from aigi_core.workspace import Workspace, read_manifest, sha256_of, verify
from precompute import text
from precompute.__main__ import main
from precompute.align_demo import (
    A_CAPTION,
    CARD,
    Captioned,
    align,
    choose,
    encode,
    measure,
    wordings,
)
from precompute.demo import MAX_BYTES, OP_TO_TRAIN_ON, OPS, OUT, card
from tests.factory import make_images


@pytest.fixture(scope="module")
def images() -> pd.DataFrame:
    return pd.read_parquet(OUT / "images.parquet")


def test_the_demo_is_whole_small_and_anonymous() -> None:
    demo = Workspace.open(OUT)
    assert verify(OUT) == []
    assert (
        len(demo.domains.generators) == 15
        and len(demo.images) == len(demo.embeddings) == demo.heads.shape[2] == 3187
    )
    assert sum(file.stat().st_size for file in OUT.rglob("*") if file.is_file()) <= MAX_BYTES
    assert (
        set(demo.text_banks) >= {"vocabulary", "phrases"}
        and len(demo.text_bank("vocabulary").table) >= 5000
    )
    assert set(perturbed_ops(demo)) == set(parse_ops([*OPS, OP_TO_TRAIN_ON]))
    assert "image_root" not in demo.manifest and not Path(demo.images["path"].iloc[0]).is_absolute()
    urls = demo.images["source_url"]
    assert (urls.str.startswith("https://") | (urls == "")).all() and (
        demo.images["preview_hash"] != ""
    ).all()


def test_its_card_is_what_the_files_say(images: pd.DataFrame) -> None:
    shown, alignment = read_manifest(OUT)["card"], json.loads(CARD.read_text("utf-8"))
    assert shown == card(images, alignment)
    assert alignment["sha256"] == sha256_of(ALIGNMENT)
    assert shown["summary"].startswith(
        "1,867 fakes of 15 generators and 1,320 photographs in 5 pools"
    )
    for part in ("cross_validation", "held_out"):
        figures = alignment[part]
        assert figures["n"] >= 100 and figures["ways"] == 100
        for share in (figures["first"], figures["first_five"]):
            assert 0 < share["low"] < share["mean"] < share["high"] < 1
        assert figures["first_five"]["low"] > 0.05  # better than chance


def test_the_app_says_how_well_the_demos_texts_fit() -> None:
    text = overview.card(Workspace.open(OUT))
    held_out = json.loads(CARD.read_text("utf-8"))["held_out"]
    figure = f"{held_out['first_five']['mean']:.0%} [{held_out['first_five']['low']:.0%}, "
    assert figure in text["Encoder"][1] and f"{held_out['n']} images" in text["Encoder"][1]
    assert len(text["Confounds"]) >= 8 and text["Licences"]


def test_the_cards_numbers_come_from_the_table() -> None:
    images = make_images(20)
    images.loc[images["generator"] == "alpha-gan", ["format", "mode"]] = ["PNG", "P"]
    images.loc[images["label"] == REAL, ["format", "jpeg_quality"]] = ["JPEG", 90.0]
    made = card(images, {})
    alpha = next(row for row in made["sources"] if row["generator"] == "alpha-gan")
    assert (alpha["fakes"], alpha["reals"], alpha["png_share_fake"], alpha["png_share_real"]) == (
        20,
        20,
        1,
        0,
    )
    assert alpha["jpeg_quality_fake"] is None and alpha["jpeg_quality_real"] == 90
    assert any("100% of alpha-gan are palette PNGs" in line for line in made["confounds"])
    assert made["summary"].startswith("80 fakes of 4 generators and 40 photographs in 2 pools")
    json.dumps(made, allow_nan=False)


def test_no_fake_and_no_test_photograph_is_fitted_on(images: pd.DataFrame) -> None:
    chosen = choose(images).merge(images[["path", "label", "split", "pool"]], on="path")
    assert (chosen["label"] == REAL).all() and not set(chosen["path"]) & set(
        images[images["label"] == FAKE]["path"]
    )
    used, held = chosen[chosen["role"] == "fit"], chosen[chosen["role"] == "held out"]
    assert set(used.loc[used["pool"] != "alignment", "split"]) == {"train"}
    assert set(held["split"]) == {"val", "test"} and set(held["pool"]) == {"imagenet"}
    assert (
        not set(held["synset"]) & set(used["synset"])
        and held["synset"].str.fullmatch(r"n\d{8}").all()
    )
    assert used.groupby(["caption", "synset"]).size().max() == A_CAPTION


def test_captions_are_worded_in_four_ways() -> None:
    table = pd.DataFrame(
        {
            "caption": ["a photo of a tench", "a photo of shoes"],
            "synset": ["n01440764", ""],
            "role": ["fit"] * 2,
        }
    )
    plain, name, meaning, both = wordings(table)
    assert plain == ["a photo of a tench", "a photo of shoes"] and name == [
        "tench",
        "a photo of shoes",
    ]
    assert meaning[0].startswith("tench, Tinca tinca: freshwater") and both[0].startswith(
        "a photo of a tench, freshwater"
    )


def test_the_chance_among_a_hundred_is_that_of_drawing() -> None:
    rank, n, rng = np.array([1.0, 3.0, 12.0, 90.0]), 150, np.random.default_rng(0)
    padded = np.concatenate([rank, np.full(n - 4, 150.0)])
    result = chances_of_own(padded, 100)[:4]
    for r, (first, five) in zip(rank, result, strict=True):
        better = np.arange(n - 1) < r - 1
        drawn = np.array([better[rng.permutation(n - 1)[:99]].sum() for _ in range(4000)])
        np.testing.assert_allclose(
            [first, five], [(drawn < 1).mean(), (drawn < 5).mean()], atol=0.04
        )
    every = chances_of_own(np.arange(1.0, 101), 100)
    assert every[:6].tolist() == [[1, 1]] + [[0, 1]] * 4 + [[0, 0]]


def test_measuring_tells_signal_from_noise() -> None:
    rng = np.random.default_rng(0)
    n, latent = 420, rng.standard_normal((420, 5))
    texts = latent @ rng.standard_normal((5, 12)) + 0.2 * rng.standard_normal((n, 12))
    table = pd.DataFrame(
        {"synset": [f"n{i:08d}" for i in range(n)], "role": ["fit"] * 300 + ["held out"] * 120}
    )
    signal = latent @ rng.standard_normal((5, 16)) + 0.2 * rng.standard_normal((n, 16))
    good = measure(Captioned(table, signal, [texts] * 4))
    none = measure(Captioned(table, rng.standard_normal((n, 16)), [texts] * 4))
    for part, size in (("cross_validation", 300), ("held_out", 120)):
        assert good[part]["n"] == size and good[part]["first_five"]["low"] > 0.5
        assert none[part]["first_five"]["low"] < 0.05 < none[part]["first_five"]["high"] < 0.12
    assert good == measure(Captioned(table, signal, [texts] * 4))


def test_the_shipped_map_is_square_and_finite() -> None:
    shipped = Alignment.load(ALIGNMENT)
    assert (
        shipped.image_map.shape == (384, 384)
        and np.linalg.matrix_rank(shipped.image_map.astype(float)) == 384
    )
    assert all(
        np.isfinite(part).all()
        for part in (shipped.text_map, shipped.image_mean, shipped.text_mean)
    )
    assert fit.__kwdefaults__ == {"shrinkage": 1.0, "image_power": 0.5, "text_power": 0.7}


def test_other_collections_cannot_be_aligned(tmp_path: Path) -> None:
    with pytest.raises(AigiError, match="use the demo's own image collection"):
        align(make_images(20), tmp_path)


def test_without_its_images_the_demo_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--images", str(tmp_path), "--out", str(tmp_path / "demo")]) == 2
    assert (
        "name the collection with --images DIR" in capsys.readouterr().err
        and not (tmp_path / "demo").exists()
    )


@pytest.mark.images
def test_what_is_fitted_on_are_the_demos_own_features(
    real_images: Path, images: pd.DataFrame
) -> None:
    table = choose(images)
    table = (
        table[table["path"].isin(images.loc[images["split"] == "train", "path"])]
        .iloc[::60]
        .reset_index(drop=True)
    )
    data = encode(load_encoder("demo", UNALIGNED, device="cpu"), table, real_images)
    assert len(table) >= 4 and [w.shape for w in data.wordings] == [(len(table), 384)] * 4
    demo = Workspace.open(OUT)
    rows = demo.images.reset_index().set_index("path").loc[table["path"], "index"].to_numpy()
    np.testing.assert_allclose(
        Alignment.load(ALIGNMENT).images(data.images), demo.embeddings[rows], atol=1e-4
    )


@pytest.mark.images
def test_the_demo_is_rebuilt_from_its_images(
    real_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole command on two generators and two perturbations: ingest, encode, text and card; a
    second run finds everything done.
    """
    monkeypatch.setattr("precompute.demo.OPS", OPS[:1])
    listing = pd.read_csv(real_images / "manifest.csv")
    groups = listing["generator"].fillna("real " + listing["pool"])
    few = listing[
        groups.isin(["cyclegan-horse2zebra", "midjourney-shoes", "real horses", "real shoes"])
    ]
    few = few.groupby(groups.loc[few.index]).head(10)
    (tmp_path / "images").mkdir()
    for path in few["path"]:
        (tmp_path / "images" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / path).write_bytes((real_images / path).read_bytes())
    few.to_csv(tmp_path / "images" / "manifest.csv", index=False)
    (tmp_path / "phrases.txt").write_text("a horse\na shoe\n", "utf-8")
    monkeypatch.setattr(text, "OWN_PHRASES", tmp_path / "phrases.txt")
    command = [
        "demo",
        "--images",
        str(tmp_path / "images"),
        "--out",
        str(tmp_path / "demo"),
        "--device",
        "cpu",
    ]
    assert main([*command, "--words", "50"]) == 0
    made, shipped = Workspace.open(tmp_path / "demo"), Workspace.open(OUT)
    assert verify(made.path) == [] and made.manifest["card"]["summary"].startswith(
        "20 fakes of 2 generators"
    )
    assert (
        made.encoder["weights_sha256"] == shipped.encoder["weights_sha256"]
        and "image_root" not in made.manifest
    )
    same = (
        shipped.images.reset_index().set_index("path").loc[made.images["path"], "index"].to_numpy()
    )
    np.testing.assert_allclose(made.embeddings, shipped.embeddings[same], atol=1e-4)
    before = (made.path / "workspace.json").read_bytes()
    assert (
        main([*command, "--words", "50"]) == 0
        and (made.path / "workspace.json").read_bytes() == before
    )
