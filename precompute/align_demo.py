"""Fit and measure the demo encoder's text alignment: ``python -m precompute demo --align``.

Fitted on captioned photographs only: the pool set aside for it, and train-split photographs of the
demo. Measured on classes without a single photograph in the fit, by cross-validation and on the
demo's val and test photographs, which no choice was made on.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from tqdm import tqdm

from aigi_core.clip.demo.alignment import Alignment, fit, ranks, unit
from aigi_core.clip.demo.encoder import ALIGNMENT, UNALIGNED
from aigi_core.clip.encoder import Encoder, load_encoder
from aigi_core.clip.text_map import chances_of_own
from aigi_core.errors import AigiError
from aigi_core.inspection.intake import open_images
from aigi_core.manifest import REAL
from aigi_core.resampling import percentile_interval
from aigi_core.terminal import progress_options
from aigi_core.workspace import sha256_of, write_atomic

CARD = ALIGNMENT.with_suffix(".json")
ALIGNMENT_POOL = "alignment"
WAYS = 100
A_CAPTION = 5
"""Most photographs with one caption: 137 faces would otherwise outweigh every class that has one
photograph.
"""
BATCH = 16


@dataclass(frozen=True, eq=False)
class Captioned:
    """Captioned photographs: features [n, w], caption embeddings by wording, and what each is.

    ``table`` has the columns path, caption, synset (empty where the caption is no ImageNet class)
    and role (``fit`` or ``held out``).
    """

    table: pd.DataFrame
    images: Float[np.ndarray, "n w"]
    wordings: list[Float[np.ndarray, "n t"]]

    def at(self, rows: np.ndarray) -> Captioned:
        return Captioned(
            self.table.iloc[rows], self.images[rows], [wording[rows] for wording in self.wordings]
        )


def choose(images: pd.DataFrame) -> pd.DataFrame:
    """The captioned photographs of a demo's ``images.parquet``, and whether each serves to fit or
    to measure.
    """
    real = images[(images["label"] == REAL) & (images["caption"] != "")].sort_values("path")
    spare = real["pool"] == ALIGNMENT_POOL
    synset = real["source_path"].fillna("").str.extract(r"(n\d{8})_", expand=False).fillna("")
    table = real.assign(synset=synset.where(spare | (real["pool"] == "imagenet"), ""))
    table["role"] = np.where(spare | (table["split"] == "train"), "fit", "held out")
    table = table[(table["role"] == "fit") | (table["synset"] != "")]
    table = table[table.groupby(["caption", "synset", "role"]).cumcount() < A_CAPTION]
    seen = set(table.loc[(table["role"] == "fit") & (table["synset"] != ""), "synset"])
    table = table[(table["role"] == "fit") | ~table["synset"].isin(seen)]
    return table[["path", "caption", "synset", "role"]].reset_index(drop=True)


def wordings(table: pd.DataFrame) -> list[list[str]]:
    """Four wordings of every caption; for ImageNet classes with all their names and WordNet's
    definition.
    """
    spec = importlib.util.find_spec(
        "timm"
    )  # its lists of classes are plain text; importing it would load torchvision
    assert spec is not None and spec.submodule_search_locations
    info = Path(spec.submodule_search_locations[0]) / "data" / "_info"
    names, meanings = (
        dict(
            line.split("\t", 1)
            for line in (info / f"imagenet_synset_to_{kind}.txt").read_text("utf-8").splitlines()
        )
        for kind in ("lemma", "definition")
    )
    rows = []
    for caption, synset in zip(table["caption"], table["synset"], strict=True):
        if synset:
            first, meaning = names[synset].split(", ")[0], meanings[synset]
            rows.append([caption, first, f"{names[synset]}: {meaning}", f"{caption}, {meaning}"])
        else:
            rows.append([caption] * 4)
    return [list(wording) for wording in zip(*rows, strict=True)]


def encode(encoder: Encoder, table: pd.DataFrame, root: Path) -> Captioned:
    """Run the unaligned encoder over photographs and captions."""
    features = []
    for start in tqdm(
        range(0, len(table), BATCH),
        desc="captioned photographs",
        unit="batch",
        **progress_options(),
    ):
        paths = [root / path for path in table["path"].iloc[start : start + BATCH]]
        opened = open_images([(str(path), path) for path in paths], encoder.preprocessing)
        if failed := [one for one in opened if one.pixels is None]:
            raise AigiError(f"The photograph {failed[0].name} cannot be read: {failed[0].reason}.")
        pixels = np.stack([one.pixels for one in opened if one.pixels is not None])
        features.append(encoder.encode_images(pixels).embedding.cpu().numpy())
    return Captioned(
        table, np.concatenate(features), [encoder.encode_texts(texts) for texts in wordings(table)]
    )


def measure(data: Captioned, seed: int = 0) -> dict[str, Any]:
    """Image-to-text retrieval among 100 unseen classes: cross-validated, and on the held-out
    photographs.
    """
    used = np.flatnonzero(data.table["role"] == "fit")
    classes = used[data.table["synset"].to_numpy()[used] != ""]
    shuffled = np.random.default_rng(seed).permutation(classes)
    folds = [shuffled[start : start + WAYS] for start in range(0, len(shuffled) - WAYS + 1, WAYS)]
    held = np.flatnonzero(data.table["role"] == "held out")
    if not folds or len(held) < WAYS:
        raise AigiError(
            f"Measuring the alignment needs {WAYS} captioned classes to fit and {WAYS} held out."
        )
    return {
        "protocol": (
            f"an image's own caption 'a photo of a ...' among those of {WAYS} classes, none of"
            " which has a photograph in the fit, ranked by cosine; chance is 1% for the first and"
            " 5% for the first five; intervals are 95%, by bootstrap over images"
        ),
        "cross_validation": _compare(data, [(np.setdiff1d(used, fold), fold) for fold in folds]),
        "held_out": _compare(data, [(used, held)]),
    }


def ridge(images: np.ndarray, texts: np.ndarray) -> Alignment:
    """The baseline: ridge regression from standardised image features to centred caption
    embeddings.
    """
    mean = images.mean(axis=0)
    scale = images.std(axis=0) + 1e-6
    centre = texts.mean(axis=0)
    a = (images - mean) / scale
    weights = a.T @ np.linalg.solve(a @ a.T + len(a) * np.eye(len(a)), texts - centre)
    return Alignment(
        mean, weights / scale[:, None], centre, np.eye(texts.shape[1], dtype=np.float32)
    )


def align(images: pd.DataFrame, root: Path, device: str = "auto") -> Path:
    """Fit, measure and write ``assets/alignment.safetensors`` with its card; returns the card's
    path.

    Raises:
        AigiError: the photographs lack the captions or the columns needed.
    """
    if "source_path" not in images.columns or not (images["pool"] == ALIGNMENT_POOL).any():
        raise AigiError(
            "Fitting the alignment needs the columns caption and source_path and photographs of"
            f" the pool {ALIGNMENT_POOL!r}: use the demo's own image collection."
        )
    encoder = load_encoder("demo", UNALIGNED, device)
    data = encode(encoder, choose(images), root)
    used = data.at(np.flatnonzero(data.table["role"] == "fit"))
    fitted = fit(used.images, used.wordings)
    card = {
        "method": (
            "image features whitened with shrinkage; singular directions of their cross-covariance"
            " with MiniLM caption embeddings, weighted by powers of the singular values"
            " (aigi_core/clip/alignment.py); linear on both sides, the image map square and folded"
            " into the tower's end"
        ),
        "fitted_on": {
            "photographs": len(used.table),
            "captions": int(used.table["caption"].nunique()),
            "paths_sha256": _digest(used.table["path"]),
        },
        "unaligned_weights_sha256": encoder.weights_sha256,
        **measure(data),
    }
    fitted.save(ALIGNMENT)
    card["sha256"] = sha256_of(ALIGNMENT)
    write_atomic(CARD, (json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode())
    return CARD


def _compare(data: Captioned, folds: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    ours, baseline, defined = [], [], []
    for used, unseen in folds:
        train, test = data.at(used), data.at(unseen)
        aligned, plain = fit(train.images, train.wordings), ridge(train.images, train.wordings[0])
        images, captions = aligned.images(test.images), aligned.texts(test.wordings[0])
        ours.append(chances_of_own(ranks(images, captions), WAYS))
        both = unit(captions) + unit(aligned.texts(test.wordings[2]))
        defined.append(chances_of_own(ranks(images, both), WAYS))
        linear = ranks(plain.images(test.images), plain.texts(test.wordings[0]))
        baseline.append(chances_of_own(linear, WAYS))
    hits = np.concatenate(ours)
    base = np.concatenate(baseline)
    meaning = np.concatenate(defined)
    return {
        "n": len(hits),
        "fitted_on": len(folds[0][0]),
        "ways": WAYS,
        "first": _mean(hits[:, 0]),
        "first_five": _mean(hits[:, 1]),
        "with_definitions_first_five": _mean(meaning[:, 1]),
        "ridge_first": _mean(base[:, 0]),
        "ridge_first_five": _mean(base[:, 1]),
        "first_minus_ridge": _mean(hits[:, 0] - base[:, 0]),
        "first_five_minus_ridge": _mean(hits[:, 1] - base[:, 1]),
    }


def _mean(values: Float[np.ndarray, " n"]) -> dict[str, float]:
    """Mean over images with its 95% bootstrap interval."""
    drawn = np.random.default_rng(0).choice(values, (4000, len(values))).mean(axis=1)
    low, high = percentile_interval(drawn)
    return {
        "mean": round(float(values.mean()), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }


def _digest(paths: pd.Series) -> str:
    return sha256("\n".join(sorted(paths)).encode()).hexdigest()
