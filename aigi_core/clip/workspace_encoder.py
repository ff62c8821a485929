"""The encoder that a workspace was encoded with, for whoever needs it again; torch is loaded only
when it is asked for.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from aigi_core.clip.consent import agree, require_weights_agreed, weights_named
from aigi_core.clip.preprocessing import Preprocessing
from aigi_core.commands import encoder_source
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.workspace import Workspace

if TYPE_CHECKING:
    from aigi_core.clip.encoder import Encoder


VARIABLE = "AIGI_WEIGHTS"
"""Environment variable that says where weights are that a workspace's record alone does not find: a
file, or ``local-dir:DIR``."""


def given_weights() -> tuple[str | None, str | None]:
    """Model and weights that :data:`VARIABLE` names."""
    place = os.environ.get(VARIABLE) or None
    return (place, None) if place and place.startswith("local-dir:") else (None, place)


def workspace_encoder(
    workspace: Workspace,
    model: str | None = None,
    pretrained: str | None = None,
    device: str = "auto",
    *,
    agreed: bool = False,
) -> Encoder:
    """Load a workspace's encoder, checked by the digest of its weights, with the workspace's own
    preprocessing.

    Args:
        model, pretrained: where the record is not enough to find the weights again (a file, a
            folder).
        agreed: the user agrees to fetch and load what the workspace names; remembered.

    Raises:
        ConsentNeeded: the workspace names weights of a hub that nobody agreed to.
        WorkspaceError: the weights are others than those that computed the workspace's features.
        AigiError: they cannot be loaded.
        ImportError: torch or open_clip is not installed.
    """
    from aigi_core.clip.encoder import load_encoder

    recorded = workspace.encoder
    untrained = re.fullmatch(r"untrained \(seed (\d+)\)", recorded["pretrained"])
    tag = pretrained or (None if untrained or model else recorded["pretrained"]) or None
    seed = int(untrained[1]) if untrained else 0
    activation = str(recorded.get("settings", {}).get("activation", "")).partition("(")[0]
    known = activation if activation in ("GELU", "QuickGELU") else ""
    lacking = encoder_source(recorded)
    if "model" in lacking and model is None:
        raise AigiError(
            f"{workspace.path} was encoded with the weights in a folder called"
            f" {recorded['model'].partition(':')[2]!r}: say where it lies with --model"
            " local-dir:DIR (for the app: AIGI_WEIGHTS)."
        )
    if "pretrained" in lacking and not (pretrained or model):
        raise AigiError(
            f"{workspace.path} was encoded with the weights file {recorded['pretrained']!r}: say"
            " where it lies with --pretrained FILE (for the app: AIGI_WEIGHTS)."
        )
    if agreed:
        agree(weights_named(recorded))
    elif not (model or pretrained):
        require_weights_agreed(recorded, str(workspace.path))
    encoder = load_encoder(model or recorded["model"], tag, device, "fp32", seed, known)
    if encoder.weights_sha256 != recorded["weights_sha256"]:
        raise WorkspaceError(
            f"{workspace.path} was encoded with {recorded['model']} ({recorded['pretrained']}),"
            f" weights {recorded['weights_sha256'][:12]}, but {tag or model or 'the model'} gives"
            f" weights {encoder.weights_sha256[:12]}: texts and images would not share a space;"
            " name the same weights with --pretrained or --model."
        )
    return replace(encoder, preprocessing=Preprocessing.from_description(recorded["preprocessing"]))


def encoder_from(workspace: Workspace, args: argparse.Namespace) -> Encoder:
    """The workspace's encoder by the options of
    :func:`aigi_core.clip.consent.add_weights_options`.
    """
    return workspace_encoder(
        workspace, args.model, args.pretrained, args.device, agreed=args.load_weights
    )


def embed_phrases(encoder: Encoder, phrases: Sequence[str]) -> Float[np.ndarray, "T d"]:
    """Phrases that somebody typed, as unit rows of the joint space.

    Raises:
        AigiError: a phrase longer than the text tower's context, of which it would see the
            beginning only.
    """
    from aigi_core.clip.text import count_cut, embed

    long = next((phrase for phrase in phrases if count_cut(encoder.tokenizer, [phrase])), None)
    if long is not None:
        raise AigiError(
            f"The phrase {long[:40]!r} … is longer than the encoder's text tower can read: shorten"
            " it, or split it in two."
        )
    return embed(encoder, phrases)
