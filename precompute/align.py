"""Texts for an encoding without a text tower: ``python -m precompute align``.

Another encoding of the same images lends its text banks: its texts are mapped into the space of the
image embeddings (:mod:`aigi_core.clip.text_map`), by captions of real training images. How well
they fit is measured on captions that the fit has not seen, and stands on the page Overview.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from aigi_core.clip.consent import add_weights_options
from aigi_core.clip.text_map import TextMap, fit_text_map, measure_text_map
from aigi_core.clip.workspace_encoder import encoder_from
from aigi_core.encodings import encodings, home_of
from aigi_core.errors import AigiError, NotMadeError
from aigi_core.manifest import REAL
from aigi_core.overview import alignment_in_words
from aigi_core.statements import counted
from aigi_core.workspace import (
    Workspace,
    describe_file,
    digest_of,
    exclusive,
    read_manifest,
    write_manifest,
)
from precompute.options import add_shared


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``align``."""
    add = add_shared(parser, "device")
    add("--workspace", type=Path, required=True, metavar="W/encoders/NAME", help="without texts")
    add(
        "--texts",
        metavar="NAME",
        help="the encoding that lends its texts (default: the workspace's first)",
    )
    add_weights_options(parser)


def run(args: argparse.Namespace) -> int:
    """Fit, measure and publish; prints what was done and how good it is."""
    workspace = Workspace.open(args.workspace)
    if workspace.gives.has("texts"):
        raise AigiError(
            f"{workspace.path} has a text tower of its own: run '{workspace.command('text')}'."
        )
    lender = _lender(workspace, args.texts)
    images = workspace.images
    usable = (images["label"] == REAL) & (images["split"] == "train") & (images["caption"] != "")
    rows = np.flatnonzero(usable.to_numpy())
    captions = images["caption"].to_numpy(str)[rows]
    encoder = encoder_from(lender, args)
    names, number = np.unique(captions, return_inverse=True)
    texts = encoder.encode_texts(names.tolist())[number]
    seen = np.asarray(workspace.embeddings[rows])
    quality = measure_text_map(seen, texts, captions)
    mapped = fit_text_map(seen, texts, captions)
    quality["fitted_on"] = {"images": len(rows), "captions": len(names)}
    quality["texts_of"] = f"{lender.encoder['model']} ({lender.encoder['pretrained']})"
    publish(workspace, lender, mapped, quality)
    print(
        f"Aligned {counted(len(lender.text_banks), 'text bank')} of {quality['texts_of']} with"
        f" {workspace.encoder['model']} by {counted(len(rows), 'image')} with"
        f" {counted(len(names), 'different caption')}. {alignment_in_words(quality)}"
    )
    return 0


def _lender(workspace: Workspace, name: str | None) -> Workspace:
    """The encoding that lends its texts; AigiError where there is none of that name, or it has no
    bank.
    """
    home = home_of(workspace.path)
    folders = encodings(home)
    if name is not None and name not in folders:
        raise AigiError(f"There is no encoding {name!r} here; there are {', '.join(folders)}.")
    lender = Workspace.open(folders[name] if name else home)
    if lender.path == workspace.path:
        raise AigiError(
            f"{workspace.path} cannot lend itself texts: name another encoding of the same images"
            " with --texts, one that has a text tower."
        )
    lender.need("texts")
    if not lender.text_banks:
        raise NotMadeError(f"{lender.path} has no text bank yet: run '{lender.command('text')}'.")
    return lender


def publish(
    workspace: Workspace, lender: Workspace, mapped: TextMap, quality: dict[str, Any]
) -> None:
    """Write the lender's banks, mapped, and how well they fit."""
    path = workspace.path
    with exclusive(path, "align"):
        manifest = read_manifest(path)
        (path / "text").mkdir(exist_ok=True)
        banks: dict[str, Any] = {}
        for name in lender.text_banks:
            bank = lender.text_bank(name)
            files = [f"text/{name}.npy", f"text/{name}.parquet"]
            np.save(path / files[0], mapped(np.asarray(bank.embeddings)).astype(np.float32))
            bank.table.to_parquet(path / files[1], index=False)
            manifest["files"] |= {file: describe_file(path, file) for file in files}
            about = lender.manifest["text"][name]
            banks[name] = about | {
                "source": f"{about.get('source', name)}, aligned with {quality['texts_of']}",
                "key": digest_of([about.get("key"), manifest["files"][files[0]]["sha256"]]),
            }
        card = manifest["card"] if isinstance(manifest.get("card"), dict) else {}
        write_manifest(path, manifest | {"text": banks, "card": card | {"alignment": quality}})
