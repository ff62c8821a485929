"""Texts lent to an encoding that has none: exact where the maps are linear, measured on captions
unseen in the fit, refused where nothing can be measured.
"""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigi_core.clip.text_map import LEAST_CAPTIONS, fit_text_map, measure_text_map
from aigi_core.encodings import add_encoding
from aigi_core.errors import AigiError
from aigi_core.overview import card
from aigi_core.vectors import unit_rows
from aigi_core.workspace import Workspace, describe_file, read_manifest, verify, write_manifest
from precompute.__main__ import main
from tests.factory import edit_images


def pairs(n: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    texts = unit_rows(rng.standard_normal((n, 12)))
    images = 3 + texts @ rng.standard_normal((12, 20)) + noise * rng.standard_normal((n, 20))
    return images, texts, [f"caption {i}" for i in range(n)]


def test_a_linear_relation_is_found_and_noise_is_chance() -> None:
    images, texts, captions = pairs(220, 0.05)
    good = measure_text_map(images, texts, captions)
    assert good["ways"] == 100 and good["held_out"]["n"] == 220
    assert good["held_out"]["first"]["mean"] > 0.9
    shuffled = np.random.default_rng(1).permutation(images)
    none = measure_text_map(shuffled, texts, captions)["held_out"]
    assert none["first_five"]["low"] <= 0.05 <= none["first_five"]["high"]
    mapped = fit_text_map(images, texts, captions)(texts)
    assert np.allclose(np.linalg.norm(mapped, axis=1), 1)
    assert (mapped * unit_rows(images)).sum(axis=1).min() > 0.99


def test_captions_weigh_alike_however_many_images_they_have() -> None:
    images, texts, captions = pairs(60, 0.3)
    again = [0] * 40 + list(range(60))
    once, often = (
        fit_text_map(images[rows], texts[rows], [captions[i] for i in rows])(texts)
        for rows in (list(range(60)), again)
    )
    assert np.allclose(once, often)


def test_too_few_captions_are_refused() -> None:
    images, texts, captions = pairs(LEAST_CAPTIONS - 1, 0.1)
    with pytest.raises(AigiError, match=f"{LEAST_CAPTIONS - 1} different ones"):
        measure_text_map(images, texts, captions)


def test_an_encoding_without_texts_borrows_them(
    tiny: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(shutil.copytree(tiny[0], tmp_path / "w"))

    def describe(images: pd.DataFrame) -> None:
        images["caption"] = [f"photo {i}" for i in range(len(images))]

    edit_images(path, describe)
    options = ["--device", "cpu", "--model", tiny[1], "--load-weights"]
    assert main(["text", "--workspace", str(path), "--words", "50", *options]) == 0
    folder = add_encoding(path, "turned")
    lent = Workspace.open(path)
    turned, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((24, 24)))
    np.save(folder / "embeddings.npy", (lent.embeddings @ turned).astype(np.float32))
    manifest = read_manifest(folder)
    manifest["files"]["embeddings.npy"] = describe_file(folder, "embeddings.npy")
    encoder = lent.encoder | {"gives": {"heads": "", "lacks": {"heads": "none", "texts": "none"}}}
    write_manifest(folder, manifest | {"encoder": encoder})
    assert main(["align", "--workspace", str(folder), *options]) == 0
    said = capsys.readouterr().out
    assert "Aligned 2 text banks" in said and "comes first for" in said
    aligned = Workspace.open(folder)
    assert verify(folder) == [] and set(aligned.text_banks) == {"vocabulary", "phrases"}
    bank = aligned.text_bank("phrases")
    assert bank.embeddings.shape[1] == 24 and np.isfinite(bank.embeddings).all()
    assert "aligned with" in aligned.manifest["text"]["phrases"]["source"]
    assert any("Text alignment" in line for line in card(aligned)["Encoder"])
    assert main(["align", "--workspace", str(path), *options]) == 2, "it has texts of its own"
    assert main(["align", "--workspace", str(folder), "--texts", "third", *options]) == 2
