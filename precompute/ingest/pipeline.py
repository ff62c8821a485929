"""List, open, compare, divide: from a folder to a validated table of images and a record of what
was decided.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from aigi_core.errors import AigiError
from aigi_core.manifest import COLUMNS, FAKE, REAL, SPLITS, validate_images
from aigi_core.splits import assign, components
from aigi_core.statements import counted
from precompute.ingest import reasons
from precompute.ingest.answers import MIN_IMAGES, Answers
from precompute.ingest.decode import UNREAD, Place
from precompute.ingest.families import family_of
from precompute.ingest.layouts import Candidates, find_candidates
from precompute.ingest.twins import pictures, shown_again
from precompute.ingest.units import Reading, read_files
from precompute.ingest.walk import is_no_image, quoted

STRATUM = reasons.STRATUM


@dataclass(frozen=True, eq=False)
class Ingested:
    """A validated table of images, those left out included, and what ``workspace.json`` records of
    its making.
    """

    images: pd.DataFrame
    record: dict[str, Any]


def refuse_numbers(val: float, test: float, min_images: int) -> None:
    """Raise AigiError for numbers that no ingest can have."""
    if not (0 <= val < 1 and 0 < test < 1 and val + test < 1):
        raise AigiError(
            f"Expected shares with 0 <= val, 0 < test and val + test < 1, got val {val} and test"
            f" {test}."
        )
    refuse_fewest(min_images)


def refuse_fewest(min_images: int) -> None:
    """Raise AigiError for a fewest number of images that cannot fill the splits."""
    if min_images < 3:
        raise AigiError(f"Expected --min-images of at least 3 (one a split), got {min_images}.")


def ingest(
    root: Path,
    *,
    layout: str = "auto",
    manifest: Path | None = None,
    answers: Answers = Answers(),  # noqa: B008
    candidates: Candidates | None = None,
    val: float = 0.15,
    test: float = 0.3,
    seed: int = 0,
    min_images: int = MIN_IMAGES,
    workers: int | None = None,
    reading: Reading | None = None,
    progress: bool = True,
) -> Ingested:
    """Read a folder of images into a table whose rows and splits depend on content, names and seed
    only.

    Args:
        candidates: what :func:`find_candidates` made of the folder, where that was asked before.
        workers: processes that open the files.
        reading: how the files are opened, where these workers alone do not say it.

    Raises:
        AigiError: no layout fits, the reading leaves a question open, no usable image, a class
            missing, a generator with too few images.
    """
    reading = reading or Reading(workers=workers)
    refuse_numbers(val, test, min_images)
    if candidates is None:
        candidates = find_candidates(root, layout, manifest, answers)
    if candidates.questions:
        raise AigiError("\n".join(candidates.questions))
    table = opened(candidates.table, root, reading, progress)
    kept = table["left_out"] == ""
    if not kept.any():
        reasons = _counted(table.loc[~kept, "left_out"])
        raise AigiError(
            f"None of the {counted(len(table), 'file')} in {root} can be used ({_joined(reasons)}):"
            " check"
            " --images."
        )
    unnamed = (table["label"] == FAKE) & (table["family"] == "")
    table["family"] = table["family"].mask(unnamed, table["generator"].map(family_of))
    offered = candidates.table[_usable_fakes(candidates.table)]
    wanted = offered[["generator", "pool"]].drop_duplicates()

    own, own_notes = own_splits(table, candidates.layout)
    made = Making(
        candidates.layout,
        candidates.why,
        (*candidates.notes, *own_notes),
        val,
        test,
        seed,
        min_images,
    )
    return complete_table(table, own, wanted, made)


def refuse_counts(
    candidates: Candidates, *, val: float, test: float, seed: int, min_images: int
) -> None:
    """Raise AigiError where :func:`complete_table` would: opening files only lowers the numbers of
    images and of their groups.
    """
    table = refuse_few_offered(candidates.table, min_images)
    own, _ = own_splits(table, candidates.layout)
    if (own != "").any() or (table["group"] == "").all():
        return
    shares = {"train": 1 - val - test, "val": val, "test": test}
    splits = [name for name, share in shares.items() if share]
    tied = pd.Series(components(table["path"].tolist(), table["group"].tolist()), dtype=str)
    table["group"] = tied.set_axis(table.index)
    groups = table[table["left_out"] == ""].groupby(STRATUM)["group"].nunique()
    if (groups < len(splits)).any():
        table["split"] = _divide(table, table["group"], own, shares, seed)
        _require_every_split(table, splits)


def refuse_few_offered(table: pd.DataFrame, least: int) -> pd.DataFrame:
    """As :func:`refuse_few`, before files are opened; returns the table without what is no image
    by its name.
    """
    wanted = table.loc[_usable_fakes(table), ["generator", "pool"]].drop_duplicates()
    table = table.copy()
    others = (table["left_out"] == "") & table["path"].map(is_no_image).astype(bool)
    table.loc[others, "left_out"] = "no image by its name"
    refuse_few(table, wanted, least)
    return table


def refuse_few(table: pd.DataFrame, wanted: pd.DataFrame, least: int) -> None:
    """Raise AigiError for a class, a generator or a pool with too few images that are not left out;
    pools that no generator uses are left out.
    """
    _require_both_classes(table)
    _leave_out_unused_pools(table, set(wanted["pool"]))
    _require_enough(table, wanted, least)


def too_few_so_far(candidates: Candidates, least: int) -> str:
    """What :func:`refuse_few_offered` would say beside the questions that are open, so that both
    are known at once; empty where the classes are what is asked about.
    """
    if set(candidates.table["label"]) != {REAL, FAKE}:
        return ""
    try:
        refuse_few_offered(candidates.table, least)
    except AigiError as error:
        return f"As it is read so far: {error}"
    return ""


def _usable_fakes(table: pd.DataFrame) -> pd.Series:
    return (table["label"] == FAKE) & (table["left_out"] == "")


@dataclass(frozen=True)
class Making:
    """How a table is made: the layout and what it decided, shares of the splits, their seed, the
    fewest images of a generator.
    """

    layout: str
    why: str
    notes: tuple[str, ...]
    val: float
    test: float
    seed: int
    min_images: int


def complete_table(
    table: pd.DataFrame,
    own: pd.Series,
    wanted: pd.DataFrame,
    made: Making,
    finished: pd.Series | None = None,
) -> Ingested:
    """From opened files to a valid table: duplicates, unused pools, groups, splits.

    Args:
        own: the splits that rows already have, "" where they are to be drawn.
        wanted: columns generator and pool of all fakes that were offered, usable or not.
        finished: rows of a finished workspace: their splits stay, and a copy of one of them is what
            is left out.

    Raises:
        AigiError: a class is missing, or a generator or pool has too few images.
    """
    notes = list(made.notes)
    if finished is None:
        finished = pd.Series(False, index=table.index)
    duplicates = reasons.find_duplicates(table)
    reasons.leave_out_duplicates(table, own, finished)
    refuse_few(table, wanted, made.min_images)
    content = table["content_hash"].where(table["format"] != "", "")  # two empty files are no tie
    paths, previews = table["path"].tolist(), table["preview_hash"].tolist()
    given, twins = table["group"].tolist(), pictures(paths, previews)
    tied = pd.Series(
        components(paths, given, content.tolist(), *twins), index=table.index, dtype=str
    )
    if again := shown_again(paths, content.tolist(), *twins):
        notes.append(
            f"{counted(again, 'file', 'show')} a picture that another shows in other bytes (saved"
            " anew, by its preview): each such picture stays on one side of a split."
        )
    tied = _leave_out_bridges(table, tied, own, finished)
    table["group"] = _group_names(tied, table["group"])
    shares = {"train": 1 - made.val - made.test, "val": made.val, "test": made.test}
    table["split"] = _divide(table, tied, own, shares, made.seed)
    duplicates["leaks"] = int(table["left_out"].str.startswith("leak").sum())
    if not (own != "").any():
        _require_every_split(table, [name for name, share in shares.items() if share])
    else:
        notes += _gaps(table)
    table.loc[table["left_out"] != "", "split"] = ""
    if (table["archive"] == "").all():
        table = table.drop(columns=["archive", "offset"])
    images = validate_images(table)
    return Ingested(images, _record(images, made, notes, duplicates))


def _leave_out_bridges(
    table: pd.DataFrame, tied: pd.Series, own: pd.Series, finished: pd.Series
) -> pd.Series:
    """Leave out new images that tie finished ones of different splits; returns what is tied without
    them.
    """
    if not finished.any():
        return tied
    held = own[finished & (table["left_out"] == "") & (own != "")]
    splits = held.groupby(tied[held.index]).nunique()
    torn = tied.isin(splits.index[splits > 1])
    new = torn & ~finished & (table["left_out"] == "")
    table.loc[new, "left_out"] = reasons.TORN
    untied = pd.Series(table["path"].where(torn, tied), dtype=str)
    return pd.Series(table["group"].where(torn & finished, untied), dtype=str)


def files_to_open(table: pd.DataFrame) -> list[Place]:
    """The files that candidates name and nothing speaks against."""
    wanted = table.loc[table["left_out"] == "", ["path", "offset"]]
    return list(wanted.itertuples(index=False, name=None))


def opened(table: pd.DataFrame, root: Path, reading: Reading, progress: bool) -> pd.DataFrame:
    """Candidates with the measured columns; a note or reason of the manifest stays in front of the
    measured one.
    """
    to_open = table["left_out"] == ""
    facts = pd.DataFrame([UNREAD] * len(table), index=table.index, columns=list(UNREAD))
    read = read_files(root, files_to_open(table), reading, progress=progress)
    facts.loc[to_open] = pd.DataFrame(read, index=table.index[to_open], columns=list(UNREAD))
    facts["note"] = [
        "; ".join(filter(None, pair))
        for pair in zip(table["note"], facts["note"].astype(str), strict=True)
    ]
    facts["left_out"] = table["left_out"].where(~to_open, facts["left_out"])
    joined = pd.concat([table.drop(columns=["note", "left_out"]), facts], axis=1)
    return joined.astype({name: kind for name, kind in COLUMNS.items() if name != "split"})


def own_splits(table: pd.DataFrame, layout: str) -> tuple[pd.Series, list[str]]:
    """The data set's own splits as they are used here ("" where it has none), and what was made of
    them.
    """
    own = table["split"].copy()
    present = set(own[table["left_out"] == ""]) - {""}
    if layout != "manifest" and len(present) == 1:
        return own.mask(own != "", ""), [
            f"The only split folder is {present.pop()!r}: it divides nothing, so the images were"
            " divided anew."
        ]
    if present == {"train", "val"}:
        return own.replace({"val": "test"}), [
            "The data set has train and val but no test: its val is used as test, and val is drawn"
            " from its train."
        ]
    if present:
        return own, [
            f"The data set's own split was kept ({', '.join(s for s in SPLITS if s in present)})."
        ]
    return own, []


def _require_both_classes(table: pd.DataFrame) -> None:
    labels = table.loc[table["left_out"] == "", "label"]
    for label, what, more in (
        (FAKE, "fake", "images of a generator"),
        (REAL, "real", "photographs"),
    ):
        if not (labels == label).any():
            raise AigiError(
                f"There are no usable {what} images, only {len(labels):,} others: add {more} to"
                " compare with."
            )


def _leave_out_unused_pools(table: pd.DataFrame, used: set[str]) -> None:
    unused = (table["left_out"] == "") & ~table["pool"].isin(used)
    table.loc[unused, "left_out"] = (
        "unused: no generator has fakes in the pool " + table.loc[unused, "pool"]
    )


def _require_enough(table: pd.DataFrame, wanted: pd.DataFrame, least: int) -> None:
    """Raise where a generator's images, or a pool's real images, are too few."""
    kept = table[table["left_out"] == ""]
    fake, real = kept[kept["label"] == FAKE], kept[kept["label"] == REAL]
    reals = Counter(real["pool"])
    fakes = Counter(zip(fake["generator"], fake["pool"], strict=True))
    short = [
        f"{generator} ({fakes[generator, pool]} in the pool {pool})"
        for generator, pool in sorted(wanted.itertuples(index=False, name=None))
        if fakes[generator, pool] < least
    ]
    short += [
        f"the real images of the pool {pool} ({reals[pool]})"
        for pool in sorted(set(wanted["pool"]))
        if reals[pool] < least
    ]
    if short:
        dropped = _joined(_counted(table.loc[table["left_out"] != "", "left_out"]))
        raise AigiError(
            f"Too few usable images, at least {least} are needed: {'; '.join(short)}. Add images,"
            " take these out, or lower --min-images"
            + (f" (left out so far: {dropped})." if dropped else ".")
        )


def _group_names(component: pd.Series, given: pd.Series) -> pd.Series:
    """One name a component: the least group name it was given, else its least path."""
    named = given[given != ""].groupby(component).min().to_dict()
    return pd.Series(
        [named.get(name, name) for name in component], index=component.index, dtype=str
    )


def _divide(
    table: pd.DataFrame,
    component: pd.Series,
    own: pd.Series,
    fractions: dict[str, float],
    seed: int,
) -> pd.Series:
    """Splits of all kept rows; rows that would let a component straddle the data set's own splits
    are left out.

    Where the data set has a train and a test split but no val, val is drawn from its train.
    """
    kept = table["left_out"] == ""
    latest = own[kept & (own != "")].map(SPLITS.index).groupby(component).max()
    held = {str(name): SPLITS[index] for name, index in latest.items()}
    split = pd.Series([held.get(name, "") for name in component], index=table.index, dtype=str)
    leak = kept & (own != "") & (own != split)
    reasons.leave_out_leaks(table, leak, component, split.where(kept & (own != "") & ~leak, ""))
    kept &= ~leak
    strata = pd.Series(
        list(table[STRATUM].itertuples(index=False, name=None)),
        index=table.index,
        dtype=object,
    )

    def draw(rows: pd.Series, shares: dict[str, float]) -> None:
        chosen = assign(list(component[rows]), list(strata[rows]), shares, seed)
        split[rows] = component[rows].map(chosen)

    if len(held) and "val" not in held.values() and fractions["val"]:
        draw(
            kept & (split == "train"),
            {
                "train": 1 - fractions["val"] / (1 - fractions["test"]),
                "val": fractions["val"] / (1 - fractions["test"]),
            },
        )
    draw(kept & ~component.isin(list(held)), fractions)
    return split


def _require_every_split(table: pd.DataFrame, splits: list[str]) -> None:
    for name, part, group in _missing(table, splits):
        raise AigiError(
            f"{name} has no images in the split {part}: its images form only"
            f" {counted(group, 'group')} that"
            " must not be divided; add images of other groups, or take it out."
        )


def _gaps(table: pd.DataFrame) -> list[str]:
    gaps = [f"{name} ({part})" for name, part, _ in _missing(table, list(SPLITS))]
    return [f"The data set's own split leaves without images: {', '.join(gaps)}."] if gaps else []


def _missing(table: pd.DataFrame, splits: list[str]) -> list[tuple[str, str, int]]:
    """Generators, and pools' real images, that have no images in a split; with their number of
    groups.
    """
    kept = table[table["left_out"] == ""]
    result = []
    for (pool, label, generator), part in kept.groupby(STRATUM):
        name = (
            f"Generator {quoted(str(generator))} in the pool {quoted(str(pool))}"
            if label == FAKE
            else f"The real part of the pool {quoted(str(pool))}"
        )
        result += [
            (name, split, part["group"].nunique())
            for split in splits
            if split not in set(part["split"])
        ]
    return result


def _record(
    images: pd.DataFrame, made: Making, notes: list[str], duplicates: dict[str, Any]
) -> dict[str, Any]:
    kept = images[images["left_out"] == ""]
    counts = kept.groupby(["label", "generator", "pool", "split"]).size()

    def row(label: int, generator: str, pool: str) -> dict[str, int]:
        return {split: int(counts.get((label, generator, pool, split), 0)) for split in SPLITS}

    fakes = (
        kept.loc[kept["label"] == FAKE, ["generator", "family", "pool"]]
        .drop_duplicates()
        .sort_values(["generator", "pool"])
    )
    return {
        "layout": made.layout,
        "why": made.why,
        "val": made.val,
        "test": made.test,
        "seed": made.seed,
        "min_images": made.min_images,
        "files": len(images),
        "kept": len(kept),
        "left_out": _counted(images.loc[images["left_out"] != "", "left_out"]),
        "generators": [
            {"generator": g, "family": f, "pool": p, **row(FAKE, g, p)}
            for g, f, p in fakes.itertuples(index=False)
        ],
        "pools": [{"pool": pool, **row(REAL, "", pool)} for pool in sorted(set(kept["pool"]))],
        "duplicates": duplicates,
        "notes": notes,
    }


def _counted(reasons: pd.Series) -> dict[str, int]:
    """Reasons up to their colon, the most frequent first."""
    counts = Counter(reasons.str.split(":").str[0])
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _joined(counts: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {reason}" for reason, n in counts.items())
