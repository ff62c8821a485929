"""``python -m precompute add``: more images for a workspace; what is there is neither moved nor
computed again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from aigi_core.clip.consent import add_weights_options
from aigi_core.commands import PLACEHOLDER
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.manifest import COLUMNS, FAKE, REAL, RESERVED
from aigi_core.remote import as_path, common_folder
from aigi_core.statements import counted
from aigi_core.workspace import Workspace, exclusive, read_manifest
from precompute.growth.copies import FOLDER, complete, copies_of
from precompute.growth.gather import Source
from precompute.growth.rewrite import (
    WORKING,
    finish,
    rewrite,
    without_outdated,
)
from precompute.ingest import answers
from precompute.ingest.layouts import Candidates, find_candidates, roots
from precompute.ingest.pipeline import refuse_few_offered, refuse_fewest
from precompute.ingest.publish import lies_inside
from precompute.ingest.units import Reading
from precompute.ingest.walk import quoted, shown
from precompute.options import add_shared, from_zero


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``add``."""
    add = add_shared(parser, "workspace", "device")
    add("--images", type=Path, metavar="DIR", help="folder of the new images")
    add("--generator", metavar="NAME", help="all of them are fakes by this generator")
    add("--layout", default="auto", metavar="NAME", help="as in ingest (default: detect)")
    add("--manifest", type=Path, metavar="FILE", help="as in ingest")
    answers.add_answers(parser)
    add(
        "--old-images",
        type=Path,
        metavar="DIR",
        help="folder of the images that are there (default: as recorded)",
    )
    add_weights_options(parser)
    add("--workers", type=from_zero, help="processes that read images (default auto)")
    add(
        "--min-images",
        type=int,
        help="fewest images of a generator (default: as the workspace was built)",
    )
    add("--dry-run", action="store_true", help="print what was recognised, open and write nothing")


def run(args: argparse.Namespace) -> int:
    """Add and publish; prints what was decided and what has to be computed again."""
    read_manifest(args.workspace)
    if args.min_images is not None:
        refuse_fewest(args.min_images)
    if args.dry_run:
        if _images(args) is None:
            raise AigiError("--dry-run says what --images would add: name a folder.")
        return dry_run(args)
    with exclusive(args.workspace, "add"):
        if finish(args.workspace):
            print(f"An interrupted change of {args.workspace} was finished.")
        if _images(args) is None:
            return 0
        print(add_images(args))
    return 0


def _images(args: argparse.Namespace) -> Path | None:
    """The folder that the new images are named from, which is noted in ``args``; None where none
    are named.

    Raises:
        AigiError: folders that cannot be named so, or the workspace lies in one of them.
    """
    told = answers.parse_answers(args)
    if args.generator and told.folders:
        raise AigiError(
            "--generator says that all of --images are fakes: leave it out, or --real and --fake."
        )
    images = roots.common_root(told, args.images, both=False)
    folders = told.folders or ((images,) if images else ())
    if within := lies_inside(args.workspace, folders):
        raise WorkspaceError(
            f"The workspace {args.workspace} lies inside the new images {within}: name folders that"
            " hold images alone, with --images DIR, or with --real DIR and --fake NAME=DIR."
        )
    args.images = images
    return images


def add_images(args: argparse.Namespace) -> str:
    """Read, check, encode and publish new images; the caller holds the workspace. What was decided
    is printed before the images are opened, and what was left out before any is encoded.

    Returns:
        Sentences on what was done.

    Raises:
        AigiError: an open question, too few images of a new generator, or what encode raises.
    """
    from aigi_core.clip.workspace_encoder import encoder_from
    from precompute.encode.pipeline import compute, plan_sizes, resource_errors_explained
    from precompute.encode.shards import cut
    from precompute.ingest.summary import summary

    workspace = Workspace.open(args.workspace)
    root, old_prefix, new_prefix = common_root(workspace, args.old_images, args.images)
    added = _added(args, workspace, answers.parse_answers(args))
    print(planned(added, workspace), end="\n\n")
    if added.questions:
        raise AigiError("\n".join(added.questions))
    ingested = grown_table(args, workspace, added, old_prefix, new_prefix)
    if ingested is None:
        return f"Nothing to add: all images of {args.images} are in {workspace.path} already."
    images, record = ingested.images, ingested.record
    print(summary(images, record, added), end="\n\n")
    known = set(workspace.images["content_hash"])
    new = images[(images["left_out"] == "") & ~images["content_hash"].isin(known)]
    new = new.drop_duplicates("content_hash").reset_index(drop=True)
    new_features = None
    copies = copies_of([workspace])
    encoded = "no image had to be encoded"
    if len(new):
        encoder = encoder_from(workspace, args)
        encoder = replace(encoder, precision=workspace.encoder["precision"])
        working = workspace.path / WORKING
        plan = plan_sizes(working, encoder, workspace.encoder.get("batch_size"), None)
        features = workspace.stored_features
        shards = cut(new, plan["shard_size"], plan["batch_size"], encoder, features)
        with resource_errors_explained(working, plan["batch_size"]):
            compute(shards, encoder, root, working, args.workers)
            perturbed = complete(
                copies,
                images,
                new,
                encoder,
                root=root,
                working=working / FOLDER,
                workers=args.workers,
                plan=plan,
            )
        new_features = Source(working / "merged", new["content_hash"].tolist())
        encoded = f"{counted(len(new), 'image', 'were')} encoded"
        encoded += f", and {counted(perturbed, 'perturbed copy')}" if perturbed else ""
    manifest = without_outdated(workspace.manifest)
    manifest |= {"ingest": record, "image_root_hint": root.name}
    # `ingest --no-image-root` says that this should not be known.
    manifest["image_root"] = str(root) if manifest.get("image_root") else None
    again = rewrite(
        workspace.path,
        images,
        manifest,
        [workspace],
        encoded=new_features,
        copies=copies,
        prefixes=[old_prefix],
    )
    if old_prefix:
        again += (
            f"\nOld and new images are now named from one folder, {root}: the names of old ones"
            f" begin with {old_prefix}; tables of scores with the names of before are still read."
        )
    if not manifest["image_root"]:
        again += (
            "\nWhere the images lie is not recorded, as before; in images.parquet their names begin"
            f" below the folder {root.name or root}."
        )
    return f"{encoded}. {again}"


def common_root(workspace: Workspace, old: Path | None, new: Path) -> tuple[Path, str, str]:
    """The folder below which both old and new images lie, and what goes before the paths of each.

    Raises:
        AigiError: a folder is not there, or the workspace does not say where its images lie.
    """
    if not new.is_dir():
        raise AigiError(f"The folder {new} is not there: check --images.")
    recorded = workspace.manifest.get("image_root")
    before = old or (as_path(recorded) if recorded else None)
    if before is None:
        raise AigiError(
            f"The workspace {workspace.path} does not say where its images lie: give --old-images"
            " DIR, so that old and new ones can be named from one folder."
        )
    before, after = before.resolve(), new.resolve()
    root = common_folder([before, after])
    return root, _prefix(before, root), _prefix(after, root)


def _prefix(folder: Path, root: Path) -> str:
    inside = folder.relative_to(root).as_posix()
    return "" if inside == "." else f"{inside}/"


def grown_table(
    args: argparse.Namespace,
    workspace: Workspace,
    added: Candidates,
    old_prefix: str,
    new_prefix: str,
) -> Any:
    """The table of old images and of candidates; None where nothing is new."""
    from precompute.ingest.families import family_of
    from precompute.ingest.pipeline import Making, complete_table, opened, own_splits

    old = prefixed(workspace.all_images, old_prefix)
    candidates = _fresh(added.table, old, new_prefix)
    if candidates.empty:
        return None
    _refuse_counts(args, workspace, old, candidates)
    table = opened(candidates, args.images, Reading(workers=args.workers), True)
    table = prefixed(table, new_prefix)
    own_new, notes = own_splits(table, added.layout)
    families = dict(zip(old["generator"], old["family"], strict=True))
    unnamed = (table["label"] == FAKE) & (table["family"] == "")
    guess = table["generator"].map(lambda name: families.get(name) or family_of(name))
    table["family"] = table["family"].mask(unnamed, guess)
    for name, known in families.items():
        table.loc[table["generator"] == name, "family"] = known
    table["split"] = own_new
    both, finished = stacked(old, table)
    usable = both[(both["label"] == FAKE) & (both["left_out"] == "")]
    record = workspace.manifest.get("ingest", {})
    made = Making(
        layout=record.get("layout", added.layout),
        why=f"{record.get('why', '')}; added from {args.images.name}: {added.why}",
        notes=(*added.notes, *notes),
        val=record.get("val", 0.15),
        test=record.get("test", 0.3),
        seed=record.get("seed", 0),
        min_images=_fewest(args, workspace),
    )
    return complete_table(
        both, both["split"].copy(), usable[["generator", "pool"]].drop_duplicates(), made, finished
    )


def _fresh(offered: pd.DataFrame, old: pd.DataFrame, new_prefix: str) -> pd.DataFrame:
    """The candidates that the workspace does not hold, by their paths.

    Raises:
        AigiError: it holds some of the others as another class or generator.
    """
    paths = new_prefix + offered["path"]
    there = paths.isin(list(old["path"]))
    named = ["label", "generator"]
    kept = offered[offered["left_out"] == ""].set_index(paths[offered["left_out"] == ""])[named]
    used = old[old["left_out"] == ""].set_index("path")[named]
    both = used.join(kept.add_suffix("_offered"), how="inner")
    other = both[
        (both["label"] != both["label_offered"]) | (both["generator"] != both["generator_offered"])
    ]
    if len(other):
        held, given = (
            _called(*other[[f"label{of}", f"generator{of}"]].iloc[0]) for of in ("", "_offered")
        )
        raise AigiError(
            f"{counted(len(other), 'image', 'are')} in the workspace already, as another class or"
            f" generator: {shown(str(other.index[0]))} is {held} there, and here {given}. Give"
            " the folder of the new images alone, say --rename where a generator's name is meant,"
            " or take the old ones out first (remove)."
        )
    return offered[~there].reset_index(drop=True)


def _called(label: int, generator: str) -> str:
    return f"a fake of {shown(generator)}" if label == FAKE else "a real image"


def _fewest(args: argparse.Namespace, workspace: Workspace) -> int:
    """The fewest images of a generator: as told, else as the workspace was built."""
    recorded = workspace.manifest.get("ingest", {}).get("min_images", answers.MIN_IMAGES)
    return int(recorded if args.min_images is None else args.min_images)


def _refuse_counts(
    args: argparse.Namespace, workspace: Workspace, old: pd.DataFrame, fresh: pd.DataFrame
) -> None:
    """Raise AigiError, before any image is opened, for new fakes without real images to compare
    with, or for too few of them.
    """
    columns = ["path", "label", "generator", "pool", "left_out"]
    both = pd.concat([old[columns], fresh[columns]], ignore_index=True)
    usable = both[(both["label"] == FAKE) & (both["left_out"] == "")]
    lacking = set(usable["pool"]) - set(both.loc[both["label"] == REAL, "pool"])
    if lacking:
        pools = ", ".join(sorted(set(workspace.images["pool"])))
        name = usable.loc[usable["pool"].isin(lacking), "generator"].iloc[0]
        raise AigiError(
            f"The pool {quoted(sorted(lacking)[0])} of {shown(name)} has no real images: say"
            f" --pool {shown(name)}=POOL, where POOL is one of {pools}; or add real images."
        )
    refuse_few_offered(both, _fewest(args, workspace))


def _added(args: argparse.Namespace, workspace: Workspace, told: answers.Answers) -> Candidates:
    """The new images as candidates, by the layout or as told."""
    if args.generator:
        pool = told.pool(args.generator, _only_pool(workspace))
        return _fakes_of(args.images, args.generator, pool)
    added = find_candidates(args.images, args.layout, args.manifest, told)
    # Which pools have real images is asked of old and new ones together.
    asked = tuple(q for q in added.questions if "have no real images" not in q)
    return replace(added, questions=asked)


def dry_run(args: argparse.Namespace) -> int:
    """Print what would be added, before any image is opened."""
    workspace = Workspace.open(args.workspace)
    _, old_prefix, new_prefix = common_root(workspace, args.old_images, args.images)
    added = _added(args, workspace, answers.parse_answers(args))
    print(planned(added, workspace))
    if added.questions:
        return 2
    old = prefixed(workspace.all_images, old_prefix)
    fresh = _fresh(added.table, old, new_prefix)
    if fresh.empty:
        print(f"Nothing to add: all images of {args.images} are in {workspace.path} already.")
    else:
        _refuse_counts(args, workspace, old, fresh)
    return 0


def planned(added: Candidates, workspace: Workspace) -> str:
    """What the layout decided on new images, and which real ones they join."""
    from precompute.ingest.summary import plan

    there = workspace.images.loc[workspace.images["label"] == REAL, "pool"].value_counts()
    held = [f"{shown(str(pool))} ({n:,})" for pool, n in sorted(there.items())]
    return (
        f"{plan(added)}\nIn {workspace.path} are the real images of {', '.join(held)}, which new"
        " fakes of the same pool are compared with."
    )


def prefixed(table: pd.DataFrame, prefix: str) -> pd.DataFrame:
    """A table whose images are named from a folder further up; groups called after a path follow.

    Pools that were left out for want of a generator are looked at again.
    """
    table = table.copy()
    own = table["group"].isin(list(table["path"]))
    table["group"] = table["group"].where(~own, prefix + table["group"])
    table["path"] = prefix + table["path"]
    if "archive" not in table:
        table["archive"], table["offset"] = "", -1
    table["archive"] = table["archive"].where(table["archive"] == "", prefix + table["archive"])
    unused = table["left_out"].str.startswith("unused:")
    table["left_out"] = table["left_out"].mask(unused, "")
    return table


def stacked(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """Two tables as one, by path; and which rows are the first's. What one of them lacks is
    empty.
    """
    first, second = _of_one_type(first, second)
    both = pd.concat([first, second], ignore_index=True)
    for name in both.columns:
        if both[name].dtype == object or pd.api.types.is_string_dtype(both[name]):
            both[name] = both[name].fillna("")
    both["offset"] = both["offset"].fillna(-1).astype("int64")
    is_first = pd.Series([True] * len(first) + [False] * len(second))
    order = both.sort_values("path").index
    return both.loc[order].reset_index(drop=True), is_first[order].reset_index(drop=True)


def _of_one_type(*tables: pd.DataFrame) -> list[pd.DataFrame]:
    """The tables with each further column as one type: text where one has text, else numbers that
    may be missing; tables of several origins write ``steps`` as 20 or as "20".
    """
    changed = [table.copy() for table in tables]
    for name in dict.fromkeys(n for table in tables for n in table.columns if n not in COLUMNS):
        kinds = [table[name].dtype for table in tables if name in table]
        if len(kinds) == len(tables) and len({str(kind) for kind in kinds}) == 1:
            continue
        if all(pd.api.types.is_bool_dtype(kind) for kind in kinds):
            kind: Any = "boolean"
        elif all(pd.api.types.is_integer_dtype(kind) for kind in kinds):
            kind = "Int64"
        elif all(pd.api.types.is_float_dtype(kind) for kind in kinds):
            kind = "float64"
        else:
            kind = None
        for table in changed:
            if name in table:
                column = table[name]
                table[name] = column.map(_text).astype(str) if kind is None else column.astype(kind)
    return changed


def _text(value: Any) -> str:
    if pd.isna(value):
        return ""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)


def _only_pool(workspace: Workspace) -> str:
    pools = sorted(set(workspace.images["pool"]))
    return pools[0] if len(pools) == 1 else ""


def _fakes_of(folder: Path, generator: str, pool: str) -> Candidates:
    """All files of a folder as fakes by one generator."""
    from precompute.ingest.layouts.base import candidates
    from precompute.ingest.walk import is_no_image, walk

    if not pool:
        raise AigiError(
            f"Which real images is {generator} compared with? The workspace has several pools: say"
            f" --pool {generator}=POOL."
        )
    if generator == PLACEHOLDER:
        raise AigiError(
            f"{PLACEHOLDER} stands for the generator's name: write that in its place (--generator"
            " and --pool)."
        )
    if generator in RESERVED:
        raise AigiError(
            f"No generator can be called {generator!r}, which means all detectors together: say"
            " another --generator."
        )
    files, notes = walk(folder)
    if not files:
        raise WorkspaceError(f"The folder {folder} holds no files: check --images.")
    told = {"label": FAKE, "generator": generator, "pool": pool}
    images = sum(not is_no_image(file.path) for file in files)
    why = f"all {counted(images, 'file', 'are')} fakes by {generator}, as told"
    return Candidates(candidates(files, told), "folders", why, notes)
