"""Perturbed copies of a workspace whose images change: a copy holds as long as its image's content,
the operation and the encoder are the same, so only copies of new images are encoded.

``perturbed/OP/`` holds the copies of all images of some splits, which pages read. Where images
move between splits, copies that are not among these lie in ``held/OP/``, from which ``perturb`` and
later changes take them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aigi_core.errors import AigiError
from aigi_core.perturb import parse_ops
from aigi_core.workspace import Workspace
from precompute.growth.gather import Source

FOLDER = "perturbed"
HELD = "held"
ROWS = "rows.npy"
"""Of which rows of the images' table the copies in a folder of :data:`HELD` were made."""
DECIDES = ("op", "splits", "heads", "half", "preprocessing_sha256")
"""What must be equal for copies of two workspaces to be one operation's."""


@dataclass(frozen=True, eq=False)
class Copies:
    """Copies by one operation, wherever they lie.

    Attributes:
        entry: what the manifest records of them.
        sources: folders with arrays of copies, and whose copies their rows are.
    """

    entry: dict[str, Any]
    sources: list[Source]

    @property
    def files(self) -> list[str]:
        """The arrays kept."""
        return names(self.entry["heads"])

    def wanted(self, images: pd.DataFrame) -> list[str]:
        """Content hashes of the images of a table whose copies are kept, in its order."""
        kept = (images["left_out"] == "") & images["split"].isin(self.entry["splits"])
        return [str(content) for content in images.loc[kept, "content_hash"]]

    def there(self, images: pd.DataFrame) -> list[str]:
        """Content hashes of the images of a table that some source has a copy of, in its order."""
        held = {content for source in self.sources for content in source.hashes}
        kept = images.loc[images["left_out"] == "", "content_hash"]
        return [str(content) for content in kept if content in held]

    def missing(self, images: pd.DataFrame) -> list[str]:
        """Those that no source holds."""
        held = {content for source in self.sources for content in source.hashes}
        return [content for content in self.wanted(images) if content not in held]


def copies_of(workspaces: Iterable[Workspace]) -> dict[str, Copies]:
    """Copies of one operation, by its folder's name, in several workspaces of one encoder; what the
    first has decides.
    """
    held: dict[str, Copies] = {}
    for number, workspace in enumerate(workspaces):
        for where in (FOLDER, HELD):
            for slug, entry in workspace.manifest.get(where, {}).items():
                one = held.get(slug)
                if entry["workspace_digest"] != workspace.digest:
                    continue
                if one is None:
                    if number:
                        continue
                    one = held[slug] = Copies(entry, [])
                elif any(one.entry[name] != entry[name] for name in DECIDES):
                    continue
                folder = workspace.path / where / slug
                hashes = one.wanted(workspace.images)
                if where == HELD:
                    try:
                        rows = np.load(folder / ROWS, allow_pickle=False)
                    except (OSError, ValueError):  # verify names it; the copies are made again
                        continue
                    hashes = workspace.images["content_hash"].iloc[rows].tolist()
                one.sources.append(Source(folder, hashes))
    return held


def complete(
    held: Mapping[str, Copies],
    images: pd.DataFrame,
    new: pd.DataFrame,
    encoder: Any,
    *,
    root: Path,
    working: Path,
    workers: int | None,
    plan: dict[str, int],
) -> int:
    """Encode the copies of new images that are missing; returns how many.

    Args:
        images: the table as it will be; new: its rows that no workspace has features of.
        plan: images a shard and a forward pass.
    """
    from precompute.encode.pipeline import compute
    from precompute.encode.shards import cut

    made = 0
    for slug, copies in held.items():
        [op] = parse_ops([copies.entry["op"]])
        missing = copies.missing(images)
        part = new[new["content_hash"].isin(missing)].reset_index(drop=True)
        after = replace(encoder, preprocessing=encoder.preprocessing.after([str(op)]))
        same = after.preprocessing.sha256 == copies.entry["preprocessing_sha256"]
        if part.empty or not same or len(part) < len(missing):
            continue
        shards = cut(part, plan["shard_size"], plan["batch_size"], after)
        (working / slug).mkdir(parents=True, exist_ok=True)
        compute(shards, after, root, working / slug, workers, what=str(op))
        merged = working / slug / "merged"
        if copies.entry["half"]:
            halve(merged / "embeddings.npy")
        copies.sources.append(Source(merged, part["content_hash"].tolist()))
        made += len(part)
    return made


def names(heads: bool) -> list[str]:
    """The arrays kept of one operation."""
    return ["embeddings.npy", "heads.npy", "ln_post.npy"] if heads else ["embeddings.npy"]


def halve(file: Path) -> None:
    """Rewrite an array as float16.

    Raises:
        AigiError: values beyond its range of 65,504.
    """
    with np.errstate(over="ignore"):
        halved = np.load(file, allow_pickle=False).astype(np.float16)
    if not np.isfinite(halved).all():
        raise AigiError(
            "The embeddings hold values beyond the range of half precision: run without --half."
        )
    np.save(file, halved)
