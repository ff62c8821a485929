"""From a workspace's table of images to its features: ``python -m precompute encode``.

``reader`` decodes images in processes without torch, ``shards`` is the unit of work (an idempotent
function from a shard's description to files), ``pipeline`` maps it over the images, ``publish``
merges the shards into the workspace. This module itself loads neither torch nor pandas, so that the
readers' processes start at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from aigi_core.clip.consent import add_archive_option, agree, weights_named
from aigi_core.clip.names import refuse_mistyped
from aigi_core.commands import USUAL_ENCODER, WITHOUT_HUB, command
from aigi_core.errors import AigiError, HubError
from precompute.engine import add_engine_options, engine_from
from precompute.options import add_shared, from_zero
from precompute.shares import add_share_option

UNTRAINED = "untrained"
"""What stands for random weights: a baseline, and a way to try the program out."""


def add_encoder_options(parser: argparse.ArgumentParser) -> None:
    """The options of encode that ``build`` has as well."""
    add = add_shared(parser, "device", "batch-size", "shard-size")
    add(
        "--model",
        default="ViT-L-14",
        help=(
            "open_clip's name of a model, 'demo', timm:NAME (or timm:NAME@STAGE), hf-hub:OWNER/REPO"
            " or local-dir:DIR (default ViT-L-14)"
        ),
    )
    add(
        "--pretrained",
        metavar="TAG|FILE",
        help="pretrained tag of the model (openai, ...), a weights file, or 'untrained'",
    )
    add_archive_option(parser)
    add("--precision", default="auto", help="auto (fp16 on CUDA, else fp32), fp32, fp16 or bf16")
    add(
        "--canonicalize",
        metavar="STEPS",
        help="re-encode every image alike first, such as short:256,jpeg:90",
    )
    add(
        "--features",
        metavar="LIST",
        help=(
            "what to keep of each image: embedding,heads (default), and pre, layers, norm2,"
            " patches:K; added to what an encoded workspace holds"
        ),
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``encode``."""
    add_encoder_options(parser)
    add_shared(parser, "workspace", "images")(
        "--as",
        dest="as_name",
        metavar="NAME",
        help=(
            "keep the features beside those the workspace has, as another encoder of the same"
            " images (in WORKSPACE/encoders/NAME)"
        ),
    )
    add_division(parser)


def add_division(parser: argparse.ArgumentParser) -> None:
    """The options of jobs that encode, on how the work is divided."""
    parser.add_argument(
        "--workers",
        type=from_zero,
        help=(
            "processes that read images; 0 reads in line (default auto); with --engine ray,"
            " workers that encode (default: one a core)"
        ),
    )
    add_engine_options(parser)
    add_share_option(parser)


def run(args: argparse.Namespace) -> int:
    """Encode and publish; prints what was computed."""
    from aigi_core.capabilities import Capabilities
    from aigi_core.encodings import add_encoding, encoding_folder
    from aigi_core.workspace import read_manifest

    # A mistaken path or name should not cost the seconds it takes to load a model.
    read_manifest(args.workspace)
    refuse_mistyped(args.model)
    path = encoding_folder(args.workspace, args.as_name) if args.as_name else args.workspace
    encoder = load(args, path)
    if args.as_name:  # an encoder that cannot be loaded leaves nothing behind
        add_encoding(args.workspace, args.as_name, encoder.weights_sha256)
    again = partial(load, args, path)
    print(encode_workspace(args, path, encoder, division=divided(args, encoder, again)))
    if args.shard:
        return 0
    if args.as_name:
        print(
            f"Kept as {args.as_name} in {path}: pages offer it under 'Encoder', and jobs take it as"
            f" --workspace {path}."
        )
    manifest = read_manifest(path)
    if Capabilities.of_record(manifest["encoder"]).has("texts") and not manifest.get("text"):
        print(f"Texts for it: {command('text', workspace=path)}")
    return 0


def load(args: argparse.Namespace, workspace: Path) -> Any:
    """The encoder that these options name, in the precision of an encoded workspace where none is
    asked for.

    Raises:
        AigiError: the options name no encoder that can be used, or no steps that can be done.
    """
    from aigi_core.clip.encoder import load_encoder
    from aigi_core.workspace import MANIFEST, read_manifest

    steps = check_options(args)  # refused before weights load
    precision = args.precision
    if precision == "auto" and (workspace / MANIFEST).is_file():
        precision = (read_manifest(workspace).get("encoder") or {}).get("precision", precision)
    try:
        encoder = load_encoder(args.model, _pretrained(args), args.device, precision)
    except HubError as error:
        raise HubError(f"{str(error).rstrip('.')}; or take --model demo alone.") from error
    agree(weights_named(encoder.describe()))  # who encodes with them named them
    return replace(encoder, preprocessing=encoder.preprocessing.after(steps)) if steps else encoder


def check_options(args: argparse.Namespace, *, planned: bool = False) -> list[str]:
    """What can be said of these options without weights; returns the steps of --canonicalize.

    Args:
        planned: the model is not chosen yet where none is named.

    Raises:
        AigiError: as :func:`load`, but for what only weights or the device tell.
    """
    from aigi_core.perturb import parse_steps

    features_of(args)
    steps = [str(op) for op in parse_steps(args.canonicalize)] if args.canonicalize else []
    if planned and args.pretrained is None and args.model == USUAL_ENCODER["model"]:
        return steps
    from aigi_core.clip.encoder import NAMED, refuse_unknown, refuse_unknown_precision

    refuse_unknown_precision(args.precision)
    refuse_unknown(args.model, _pretrained(args))
    brings_weights = args.model in NAMED or args.model.startswith(("hf-hub:", "local-dir:"))
    if args.pretrained is None and not brings_weights:
        raise AigiError(
            f"The model {args.model} needs weights: give --pretrained a tag (such as"
            f" {USUAL_ENCODER['pretrained']}) or a file ({WITHOUT_HUB})."
        )
    return steps


def _pretrained(args: argparse.Namespace) -> str | None:
    return None if args.pretrained == UNTRAINED else args.pretrained


def features_of(args: argparse.Namespace) -> tuple[str, ...] | None:
    """The features that the options name; None where they leave it to the default."""
    from aigi_core.stored_features import parse

    return parse(args.features) if args.features else None


def divided(args: argparse.Namespace, encoder: Any, load_again: Callable[[], Any]) -> Any:
    """How ``--engine`` and ``--shard`` divide an encoding
    (:class:`precompute.encode.pipeline.Division`); a worker of Ray on CUDA claims a GPU.

    Args:
        load_again: gives the encoder once more, in another process.

    Raises:
        AigiError: as :func:`precompute.engine.engine_from`.
    """
    from precompute.encode.pipeline import Division

    if args.engine == "local" and not args.ray_address:
        return Division(args.shard)
    gpus = 1.0 if encoder.device.type == "cuda" else 0.0
    return Division(args.shard, engine_from(args, gpus=gpus), load_again)


def encode_workspace(
    args: argparse.Namespace, workspace: Path, encoder: Any, **division: Any
) -> str:
    """Run the job's pipeline; returns the sentence on what was done."""
    from precompute.encode.pipeline import encode

    try:
        return encode(
            workspace,
            encoder,
            asked={name: getattr(args, name) for name in ("model", "pretrained", "canonicalize")},
            images=args.images,
            batch_size=args.batch_size,
            shard_size=args.shard_size,
            workers=args.workers,
            features=features_of(args),
            **division,
        )
    except KeyboardInterrupt:
        print("Finished shards are kept; the same command goes on from there.", file=sys.stderr)
        raise
