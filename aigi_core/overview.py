"""What a workspace holds, as tables: generators with their numbers and file facts, real pools,
examples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int

from aigi_core.errors import AigiError
from aigi_core.manifest import REAL, SPLITS
from aigi_core.statements import counted
from aigi_core.workspace import Workspace


def describe(workspace: Workspace) -> pd.DataFrame:
    """One row a source of images: each generator in the workspace's order, then each pool's real
    images.

    Columns: ``source`` (generator, or ``real: pool``), ``family`` (``real`` for photographs),
    ``pools``, ``train``, ``val``, ``test`` (images), ``format`` (shares of the file formats),
    ``size`` (median width x height, px), ``jpeg_quality`` (median estimate; NaN without JPEG
    files).
    """
    domains = workspace.domains
    real = domains.labels == REAL
    maker, makers = domains.numbered("generator")
    pool, pools = domains.numbered("pool")
    parts = [
        (name, domains.family_of[name], ~real & (maker == makers.tolist().index(name)))
        for name in domains.generators
    ]
    reals = [
        (f"real: {name}", "real", real & (pool == at))
        for at, name in sorted(enumerate(pools), key=lambda one: one[1])
    ]
    parts += [part for part in reals if part[2].any()]
    if not parts:
        raise AigiError(
            "This workspace holds no images: build it again from a folder that has some."
        )
    facts = _facts(workspace)
    return pd.DataFrame(
        [
            {"source": name, "family": family, **facts(np.flatnonzero(mine))}
            for name, family, mine in parts
        ]
    )


def _facts(workspace: Workspace) -> Callable[[Int[np.ndarray, " n"]], dict[str, object]]:
    """What the files of some rows are like. Texts are told apart by their numbers: those of a
    million images take a second to compare."""
    images, domains = workspace.images, workspace.domains
    width, height, quality = (
        images[name].to_numpy() for name in ("width", "height", "jpeg_quality")
    )
    form, names = pd.factorize(images["format"])
    forms = names.tolist()
    split, splits = domains.numbered("split")
    pool, pools = domains.numbered("pool")

    def facts(rows: Int[np.ndarray, " n"]) -> dict[str, object]:
        shares = pd.Series(form[rows]).value_counts(normalize=True)
        known = quality[rows][~np.isnan(quality[rows])]
        counts = dict(zip(splits, np.bincount(split[rows], minlength=len(splits)), strict=True))
        return {
            "pools": ", ".join(sorted(pools[np.unique(pool[rows])])),
            **{name: int(counts.get(name, 0)) for name in SPLITS},
            "format": ", ".join(
                f"{forms[at]} {share:.0%}" for at, share in zip(shares.index, shares, strict=True)
            ),
            "size": f"{np.median(width[rows]):.0f} × {np.median(height[rows]):.0f}",
            "jpeg_quality": float(np.median(known)) if len(known) else np.nan,
        }

    return facts


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
    domains = workspace.domains
    maker, makers = domains.numbered("generator")
    mine = maker == makers.tolist().index(generator) if generator else domains.labels == REAL
    # The content hash is as good as random and does not change when images are added or split anew.
    hashes = pa.array(workspace.images["content_hash"]).filter(pa.array(mine))
    least = pc.select_k_unstable(hashes, count, [("", "ascending")])
    rows: np.ndarray = np.flatnonzero(mine)[least.to_numpy()]
    return rows
