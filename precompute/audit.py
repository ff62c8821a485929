"""Audit a workspace and keep what was found: ``python -m precompute audit --workspace W``.

Common marks (a colour bar, a logo) are looked for in the images themselves, where they can be read;
everything else needs the workspace alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from PIL import Image
from threadpoolctl import threadpool_limits

from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.images import ImageError, load_rgb, read_bytes
from aigi_core.processes import read_images
from aigi_core.statements import counted
from aigi_core.terminal import progress_line
from aigi_core.workspace import Workspace, exclusive, tool_versions
from precompute.options import add_shared

SIDE = 64
"""Side, px, of the squares in which common marks are looked for."""
CHUNK = 64
"""Images handed over at once."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``audit``."""
    add_shared(parser, "workspace", "images", "draws", "force")


def run(args: argparse.Namespace) -> int:
    """Compute and publish; does nothing where the result is already there."""
    print(keep_audit(args.workspace, args.images, draws=args.draws, force=args.force))
    return 0


def keep_audit(
    path: Path, images: Path | None = None, *, draws: int = 1000, force: bool = False
) -> str:
    """Audit a workspace and keep the result; returns a sentence.

    Raises:
        AigiError: what the audit raises.
    """
    from aigi_core.audit.cached import AuditSettings, load_audit, save_audit
    from aigi_core.audit.report import audit

    workspace, settings = Workspace.open(path), AuditSettings(draws=draws)
    if not force:
        try:
            load_audit(workspace, settings)
            return "This workspace has been audited already (--force does it again)."
        except WorkspaceError:
            pass  # not yet, or damaged
    start = time.perf_counter()
    with (
        exclusive(workspace.path, "audit"),
        threadpool_limits(1),
        tempfile.TemporaryDirectory() as scratch,
        progress_line() as show,
    ):
        show("Audit: reading images ...")
        pixels, note = squares(workspace, images, Path(scratch) / "squares.npy")
        result = audit(
            workspace,
            bank=settings.bank,
            pixels=pixels,
            draws=settings.draws,
            seed=settings.seed,
            tell=lambda step: show(f"Audit: {step} ..."),
        )
        seconds = round(time.perf_counter() - start, 1)
        folder = save_audit(
            workspace,
            result,
            settings,
            {"marks": note, "seconds": seconds, "tools": tool_versions()},
        )
    return (
        f"Audited {counted(len(result.verdicts), 'generator')} in {seconds:.0f} s ({note}):"
        f" {folder}"
    )


def squares(
    workspace: Workspace, images: Path | None, scratch: Path
) -> tuple[UInt8[np.ndarray, "n s s 3"] | None, str]:
    """Every image whose marks are looked at (:func:`~aigi_core.audit.report.looked_at`) squeezed to
    one small square, and a note on it; None where the images are not at hand.

    Args:
        scratch: file that holds the squares while they are looked at, so that they need not fit in
            memory.

    Raises:
        AigiError: a folder that was named and is not there, or an image in it that cannot be read.
    """
    from aigi_core.audit.report import looked_at
    from precompute.encode.pipeline import image_root

    try:
        root = image_root(workspace.path, workspace.manifest, images)
    except AigiError:
        if images is not None:
            raise
        return None, "without common marks: the images are not at hand"
    seen = workspace.images.iloc[looked_at(workspace.domains)]
    paths = seen["path"].tolist()
    thumbnails = np.lib.format.open_memmap(
        scratch, mode="w+", dtype=np.uint8, shape=(len(paths), SIDE, SIDE, 3)
    )
    offsets = seen.get("offset", pd.Series(-1, range(len(paths)))).tolist()
    for start in range(0, len(paths), CHUNK):
        part = range(start, min(start + CHUNK, len(paths)))
        read = read_images(_square, [(root / paths[row], offsets[row]) for row in part])
        for row, square in zip(part, read, strict=True):
            if isinstance(square, ImageError):
                raise AigiError(
                    f"The image {paths[row]!r} below {root} cannot be read ({square}): put it"
                    " right."
                ) from square
            thumbnails[row] = square
    all_ = len(workspace.images)
    of = "" if len(paths) == all_ else f" of {all_:,}"
    return thumbnails, f"common marks looked for in {counted(len(paths), 'image')}{of}"


def _square(file: Path, offset: int) -> UInt8[np.ndarray, "s s 3"]:
    picture = load_rgb(read_bytes(file, offset)).image
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX))
