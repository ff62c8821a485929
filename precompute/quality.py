"""``python -m precompute quality``: quality of images, and whether detectors merely read it."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from aigi_core.audit.quality import ANTONYMS, antonym_quality, learnt_quality, store_quality
from aigi_core.clip.consent import add_weights_options
from aigi_core.detectors.features import EmbeddingView
from aigi_core.errors import AigiError
from aigi_core.terminal import progress_line
from aigi_core.workspace import Workspace, exclusive
from precompute.ingest.tables import read_scores
from precompute.options import add_shared


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``quality``."""
    add = add_shared(parser, "workspace", "device")
    add(
        "--scores",
        type=Path,
        metavar="FILE",
        help="opinion scores to learn from: a table of path (or content_hash) and score",
    )
    add_weights_options(parser)


def run(args: argparse.Namespace) -> int:
    """Embed the prompts or learn, then store."""
    workspace = Workspace.open(args.workspace)
    learnt = None
    opinions = opinion_scores(workspace, args.scores) if args.scores else None
    if opinions is not None and not workspace.gives.has("texts"):
        learnt = learnt_quality(workspace, opinions)
        quality, source = {"quality": learnt.quality}, f"opinion scores in {args.scores.name}"
    else:
        from aigi_core.clip.text import embed
        from aigi_core.clip.workspace_encoder import encoder_from

        encoder = encoder_from(workspace, args)
        if opinions is not None:
            with progress_line() as show:
                learnt = learnt_quality(workspace, opinions, encoder.text_tower, show)
            prompts = " and learned prompts" if encoder.text_tower else ""
            quality = {"quality": learnt.quality}
            source = f"opinion scores in {args.scores.name}{prompts}"
        else:
            rows = EmbeddingView().matrix(workspace)
            quality = {
                name: antonym_quality(rows, *embed(encoder, pair).astype(np.float64))
                for name, pair in ANTONYMS.items()
            }
            source = "antonym prompts"
    with exclusive(workspace.path, "quality"):
        print(store_quality(workspace, quality, source=source, learnt=learnt))
    return 0


def opinion_scores(workspace: Workspace, file: Path) -> np.ndarray:
    """[N] scores of the kept images, NaN where the table has none.

    Raises:
        AigiError: other columns, a score that is no finite number, an image that stands twice or
            that the workspace does not have.
    """
    by, keys, scores = read_scores(file)
    given = pd.Series(scores, index=keys)
    known = given.index.isin(workspace.all_images[by])
    for wrong, why in (
        (~np.isfinite(given.to_numpy()), "has no finite score"),
        (given.index.duplicated(), "stands twice"),
        (~known, "is not in the workspace"),
    ):
        if np.any(wrong):
            raise AigiError(f"{file}: {given.index[wrong][0]!r} {why}. Nothing was stored.")
    matched: np.ndarray = given.reindex(workspace.images[by]).to_numpy(float)
    return matched
