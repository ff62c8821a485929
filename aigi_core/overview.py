"""What a workspace holds, as tables: generators with their numbers and file facts, real pools,
examples.
"""

from __future__ import annotations

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

MEASURED = ("width", "height", "jpeg_quality")


def describe(workspace: Workspace) -> pd.DataFrame:
    """One row a source of images: each generator in the workspace's order, then each pool's real
    images.

    Columns: ``source`` (generator, or ``real: pool``), ``family`` (``real`` for photographs),
    ``pools``, ``train``, ``val``, ``test`` (images), ``format`` (shares of the file formats),
    ``size`` (median width x height, px), ``jpeg_quality`` (median estimate; NaN without JPEG
    files).
    """
    # columns as arrays, names as numbers: taking rows of a million images costs seconds otherwise
    images, domains = workspace.images, workspace.domains
    numbers, formats = pd.factorize(images["format"])
    columns = {name: images[name].to_numpy() for name in MEASURED} | {"split": domains.split}
    parts = [
        (name, domains.family_of[name], domains.pools_of(name), domains.generator == name)
        for name in domains.generators
    ]
    real = domains.labels == REAL
    parts += [
        (f"real: {pool}", "real", (pool,), real & (domains.pool == pool))
        for pool in sorted(pd.unique(images.loc[real, "pool"]))
    ]
    if not parts:
        raise AigiError(
            "This workspace holds no images: build it again from a folder that has some."
        )
    rows = []
    for source, family, pools, mine in parts:
        shares = pd.Series(numbers[mine]).value_counts(normalize=True)
        own = {name: column[mine] for name, column in columns.items()}
        quality = own["jpeg_quality"][np.isfinite(own["jpeg_quality"])]
        rows.append(
            {
                "source": source,
                "family": family,
                "pools": ", ".join(pools),
                **{split: int((own["split"] == split).sum()) for split in SPLITS},
                "format": ", ".join(f"{formats[at]} {part:.0%}" for at, part in shares.items()),
                "size": f"{np.median(own['width']):.0f} × {np.median(own['height']):.0f}",
                "jpeg_quality": float(np.median(quality)) if len(quality) else np.nan,
            }
        )
    return pd.DataFrame(rows)


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
    images, domains = workspace.images, workspace.domains
    mine = domains.generator == generator if generator else domains.labels == REAL
    # The content hash is as good as random and does not change when images are added or split anew.
    table = pa.Table.from_pandas(images.loc[mine, ["content_hash"]], preserve_index=False)
    hashes = table["content_hash"].combine_chunks()
    first = pc.partition_nth_indices(hashes, min(count, len(hashes))).to_numpy()[:count]
    order = np.argsort(hashes.take(first).to_numpy(zero_copy_only=False), kind="stable")
    rows: np.ndarray = np.flatnonzero(mine)[first[order]]
    return rows
