"""``python -m precompute merge``: one workspace from two of one encoder."""

from __future__ import annotations

import argparse
from pathlib import Path

from aigi_core.commands import command
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.manifest import FAKE
from aigi_core.remote import as_path, common_folder
from aigi_core.statements import counted
from aigi_core.workspace import Workspace, exclusive
from precompute.growth.add import prefixed, stacked
from precompute.growth.rewrite import copy_texts, keep_common, rewrite, take_texts, without_outdated
from precompute.growth.subset import refuse_used

SAME = ("weights_sha256", "preprocessing_sha256", "precision", "device", "settings")
"""What must be equal for features to be interchangeable."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``merge``."""
    parser.add_argument("--workspaces", type=Path, nargs=2, required=True, metavar=("A", "B"))
    parser.add_argument("--out", type=Path, required=True, metavar="NEW")
    parser.add_argument(
        "--old-images",
        type=Path,
        nargs=2,
        metavar=("A_DIR", "B_DIR"),
        help="folders of the images of A and of B (default: as recorded)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the new workspace: A's splits stay; what B shares with it follows them or is left
    out.
    """
    from precompute.ingest.answers import MIN_IMAGES
    from precompute.ingest.pipeline import Making, complete_table
    from precompute.ingest.summary import summary

    one, two = (Workspace.open(path) for path in args.workspaces)
    different = [name for name in SAME if one.encoder.get(name) != two.encoder.get(name)]
    if different:
        raise WorkspaceError(
            f"{one.path} and {two.path} were encoded differently ({', '.join(different)}): their"
            " features cannot be compared; encode one of them again."
        )
    folders, recorded = _folders(args, one, two)
    root = common_folder(folders)
    inside = [folder.relative_to(root).as_posix() for folder in folders]
    prefixes = ["" if below == "." else f"{below}/" for below in inside]
    first, second = (
        prefixed(workspace.all_images, prefix)
        for workspace, prefix in zip((one, two), prefixes, strict=True)
    )
    own = second.set_index("path")["split"]
    second = second[~second["path"].isin(list(first["path"]))]
    both, finished = stacked(first, second)
    # A pool that no generator of its own workspace used was left out before it was divided.
    usable = both[(both["label"] == FAKE) & (both["left_out"] == "")]
    record = one.manifest.get("ingest", {})
    made = Making(
        layout=record.get("layout", ""),
        why=f"merged from {one.name} and {two.name}",
        notes=(),
        val=record.get("val", 0.15),
        test=record.get("test", 0.3),
        seed=record.get("seed", 0),
        min_images=record.get("min_images", MIN_IMAGES),
    )
    wanted = usable[["generator", "pool"]].drop_duplicates()
    result = complete_table(both, both["split"].copy(), wanted, made, finished)
    with exclusive(args.out, "merge"):
        refuse_used(args.out)
        manifest = without_outdated(one.manifest)
        manifest |= {
            "name": args.out.resolve().name,
            "ingest": result.record,
            # `ingest --no-image-root` says that this should not be known.
            "image_root": str(root) if recorded else None,
            "image_root_hint": root.name,
        }
        left_out = keep_common(manifest, two)
        left_out += take_texts(manifest, two)
        of_one = one.manifest["files"]
        taken = {name: about for name, about in manifest["files"].items() if name not in of_one}
        copy_texts(one.path, args.out, one.manifest)
        copy_texts(two.path, args.out, {"files": taken})
        again = rewrite(args.out, result.images, manifest, [one, two], prefixes=prefixes)
    print(summary(result.images, result.record))
    kept = int((result.images["left_out"] == "").sum())
    merged = result.images.set_index("path")
    own = own[own.index.isin(merged.index[merged["left_out"] == ""]) & (own != "")]
    moved = int((merged.loc[own.index, "split"] != own).sum())
    if moved:
        left_out = (
            f"{counted(moved, 'image')} of {two.path} went to the split of {one.path}, which both"
            f" must share. {left_out}"
        )
    said = " ".join(filter(None, (left_out.strip(), again)))
    print(f"Wrote {args.out}: {counted(kept, 'image')}. {said}")
    return 0


def _folders(args: argparse.Namespace, *both: Workspace) -> tuple[list[Path], bool]:
    """Where the images of both workspaces lie, as told or as recorded; and whether both record it.

    Raises:
        AigiError: a folder is not there, or one is neither told nor recorded.
    """
    recorded = [workspace.manifest.get("image_root") for workspace in both]
    if args.old_images:
        for folder in args.old_images:
            if not folder.is_dir():
                raise AigiError(f"The folder {folder} is not there: check --old-images.")
        return [folder.resolve() for folder in args.old_images], all(recorded)
    if not all(recorded):
        lacking = next(w for w, root in zip(both, recorded, strict=True) if not root)
        told = command(
            "merge",
            workspaces=args.workspaces,
            out=args.out,
            old_images=[root or "DIR" for root in recorded],
        )
        raise AigiError(
            f"{lacking.path} does not record where its images lie (image_root), and all images are"
            f" named from one folder: run '{told}', where DIR is that place; features of both are"
            " kept."
        )
    return [as_path(str(root)).resolve() for root in recorded], True
