"""What a workspace holds, as tables: generators with their numbers and file facts, real pools,
examples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from aigi_core.errors import AigiError
from aigi_core.manifest import FAKE, REAL, SPLITS
from aigi_core.statements import counted
from aigi_core.workspace import Workspace

DESCRIBED = [
    "label",
    "generator",
    "pool",
    "split",
    "format",
    "width",
    "height",
    "jpeg_quality",
]
"""Columns of images that :func:`describe` looks at."""


def describe(workspace: Workspace) -> pd.DataFrame:
    """One row a source of images: each generator in the workspace's order, then each pool's real
    images.

    Columns: ``source`` (generator, or ``real: pool``), ``family`` (``real`` for photographs),
    ``pools``, ``train``, ``val``, ``test`` (images), ``format`` (shares of the file formats),
    ``size`` (median width x height, px), ``jpeg_quality`` (median estimate; NaN without JPEG
    files).
    """
    # these columns alone: taking rows of a million costs a second with all of them
    images, domains = workspace.images[DESCRIBED], workspace.domains
    fakes = images[images["label"] == FAKE]
    parts = [
        (name, domains.family_of[name], fakes[fakes["generator"] == name])
        for name in domains.generators
    ]
    reals = images[images["label"] == REAL]
    parts += [(f"real: {pool}", "real", part) for pool, part in reals.groupby("pool")]
    if not parts:
        raise AigiError(
            "This workspace holds no images: build it again from a folder that has some."
        )
    return pd.DataFrame(
        [{"source": name, "family": family, **_facts(part)} for name, family, part in parts]
    )


def _facts(part: pd.DataFrame) -> dict[str, object]:
    shares = part["format"].value_counts(normalize=True)
    quality = part["jpeg_quality"].dropna()
    return {
        "pools": ", ".join(sorted(part["pool"].unique())),
        **{split: int((part["split"] == split).sum()) for split in SPLITS},
        "format": ", ".join(f"{name} {share:.0%}" for name, share in shares.items()),
        "size": f"{part['width'].median():.0f} × {part['height'].median():.0f}",
        "jpeg_quality": float(quality.median()) if len(quality) else np.nan,
    }


def card(workspace: Workspace) -> dict[str, list[str]]:
    """What the makers of a workspace want its readers to know, as headed lists of plain sentences;
    empty without a card.

    Reads ``card`` of ``workspace.json``: ``encoder`` (a sentence), ``confounds``, ``licences``
    (sentences) and ``alignment`` (how well texts and images match, measured on classes that its fit
    had not seen).
    """
    result = workspace.manifest.get("card")
    if not isinstance(result, dict):
        return {}
    alignment = result.get("alignment")
    listed = {
        "Encoder": [
            result.get("encoder"),
            alignment_in_words(alignment if isinstance(alignment, dict) else {}),
        ],
        "Confounds": result.get("confounds"),
        "Licences": result.get("licences"),
    }
    lines = {
        head: [str(line) for line in texts if line]
        for head, texts in listed.items()
        if isinstance(texts, list)
    }
    return {head: texts for head, texts in lines.items() if texts}


def alignment_in_words(result: dict[str, Any]) -> str:
    """How well texts and images match, where it was measured; else nothing."""
    try:
        ways, held_out = (
            result["ways"] if "ways" in result else result["held_out"]["ways"],
            result["held_out"],
        )
        shares = [
            f"{held_out[key]['mean']:.0%} [{held_out[key]['low']:.0%}, {held_out[key]['high']:.0%}]"
            for key in ("first", "first_five")
        ]
    except (KeyError, TypeError, ValueError):
        return ""
    return (
        f"Text alignment: among the captions of {counted(ways, 'class')} unseen in the fit, the"
        " right one"
        f" comes first for {shares[0]} of {counted(held_out['n'], 'image')} and among the first"
        " five for"
        f" {shares[1]}."
    )


def examples(workspace: Workspace, generator: str | None, count: int = 2) -> Int[np.ndarray, " n"]:
    """Rows of a few images of a generator (of real images for None): always the same ones, in an
    order that says nothing.
    """
    images = workspace.images
    mine = images["generator"] == generator if generator else images["label"] == REAL
    # The content hash is as good as random and does not change when images are added or split anew.
    rows: np.ndarray = images["content_hash"][mine].sort_values().index.to_numpy()[:count]
    return rows
