"""The closing summary of an ingest, as text."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pandas as pd

from aigi_core.manifest import FAKE, REAL, SPLITS
from aigi_core.statements import counted, part_counted
from precompute.ingest.layouts import UNKNOWN, Candidates
from precompute.ingest.walk import is_no_image, looks_like_image, shown, some

EXAMPLES = 10
UNOPENED = "No file was opened yet: damaged ones and copies are found, and left out, when they are."
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?= )")


def summary(images: pd.DataFrame, record: dict[str, Any], planned: Candidates | None = None) -> str:
    """What was decided, how many images each generator and pool has, and what was left out, with
    reasons.

    Args:
        planned: what :func:`plan` has said already, which is not said again.
    """
    left_out = images[images["left_out"] != ""]
    layout = f"Layout: {record['layout']}, because {shown(record['why'])}."
    known = planned.notes if planned else ()
    lines = [
        *([] if planned else [layout]),
        *(shown(note) for note in record["notes"] if note not in known),
        f"Kept {part_counted(record['kept'], record['files'], 'file')}; seed {record['seed']}.",
        "",
        *_table(record),
        "",
    ]
    if len(left_out):
        lines.append(f"Left out {len(left_out):,} (all with their reasons in images.parquet):")
        kinds = left_out["left_out"].str.split(":").str[0]
        for reason, n in record["left_out"].items():
            lines.append(f"  {n:,} {reason}")
            few = left_out[kinds == reason].head(max(1, EXAMPLES // len(record["left_out"])))
            lines += [
                f"    {shown(path)}: {shown(why.partition(': ')[2])}"
                for path, why in zip(few["path"], few["left_out"], strict=True)
            ]
    notes = images.loc[(images["left_out"] == "") & (images["note"] != ""), "note"]
    if len(notes):
        lines.append(f"Noted: {noted(notes)}.")
    same = record["duplicates"]
    if not same["files"] + same["leaks"]:
        return "\n".join([*lines, "No file shares its bytes with another."])
    lines.append(
        f"Exact duplicates: {counted(same['files'], 'file', 'share')} their bytes with another,"
        f" {same['across_labels']:,} of them across labels, {same['across_pools']:,} across pools,"
        f" {same['across_generators']:,} across generators; {counted(same['leaks'], 'file')} left"
        " out that"
        " leaked into another split."
    )
    lines += ["  " + " = ".join(map(shown, paths)) for paths in same["examples"]]
    return "\n".join(lines)


def _table(record: dict[str, Any]) -> list[str]:
    rows = [
        (row["generator"], row["family"], row["pool"], *(row[split] for split in SPLITS))
        for row in record["generators"]
    ]
    rows += [
        ("(real)", "", row["pool"], *(row[split] for split in SPLITS)) for row in record["pools"]
    ]
    return _aligned([("generator", "family", "pool", *SPLITS), *rows], texts=3)


def plan(candidates: Candidates) -> str:
    """What a layout decided, before any image is opened: one row a generator and pool, with its
    fakes, its real images, and the data set's own splits.
    """
    offered = candidates.table[
        (candidates.table["left_out"] == "")
        & (candidates.table["label"] != UNKNOWN)
        & ~candidates.table["path"].isin(candidates.gone)
    ]
    table = offered[~offered["path"].map(is_no_image).astype(bool)]
    fakes, reals = table[table["label"] == FAKE], table[table["label"] == REAL]
    real = reals.groupby("pool").size()
    rows = [
        (generator, pool, int(real.get(pool, 0)), len(part), _own_splits(part))
        for (generator, pool), part in fakes.groupby(["generator", "pool"])
    ]
    rows += [
        ("(none)", pool, int(n), 0, _own_splits(reals[reals["pool"] == pool]))
        for pool, n in real.items()
        if pool not in set(fakes["pool"])
    ]
    head = ("generator", "pool", "real", "fake", "split")
    others = len(candidates.table) - len(table)
    lines = [
        f"Layout: {candidates.layout}, because {shown(candidates.why)}.",
        *(shown(note) for note in candidates.notes),
        "",
        *_aligned([head, *rows], texts=2),
        "",
        f"{len(reals):,} real and {counted(len(fakes), 'fake image')}"
        + (f"; {counted(others, 'other file', 'are')} left out." if others else "."),
        UNOPENED + _no_images(offered["path"]),
    ]
    if len({pool for _, pool, *_ in rows}) < len(rows):
        lines[-2] += " Rows of one pool share its real images."
    for i, question in enumerate(candidates.questions, 1):
        lines.append(f"Question {i}: {shown(question)}")
    return "\n".join(lines)


def _no_images(paths: Iterable[str]) -> str:
    """A sentence on files that are no images by their names; a row of a table has a number."""
    names = [p for p in paths if not (looks_like_image(p) or p.rpartition("/")[2].isdecimal())]
    if not names:
        return ""
    return f" By {counted(len(names), 'name')}, no image: {some(map(shown, names))}."


def _own_splits(part: pd.DataFrame) -> str:
    names = [name for name in SPLITS if name in set(part["split"])]
    return "+".join(names) if names else "to be drawn"


def _aligned(rows: list[tuple[Any, ...]], texts: int) -> list[str]:
    """Rows as lines of equal columns; the first `texts` are set left, the others right."""
    cells = [[shown(f"{c:,}" if isinstance(c, int) else str(c)) for c in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return [
        "  ".join(
            cell.ljust(w) if i < texts else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]


def noted(notes: Iterable[str]) -> str:
    """How many images have which note; numbers in a note as the range that they have."""
    numbers: defaultdict[str, list[list[int]]] = defaultdict(list)
    for part in (part for note in notes for part in note.split("; ")):
        found = [int(one.replace(",", "")) for one in _NUMBER.findall(part)]
        numbers[_NUMBER.sub("{}", part.replace("{", "(").replace("}", ")"))].append(found)
    kinds = sorted(numbers.items(), key=lambda item: (-len(item[1]), item[0]))
    return "; ".join(
        f"{len(found):,} {shown(kind.format(*map(_range, zip(*found, strict=True))))}"
        for kind, found in kinds
    )


def _range(numbers: Iterable[int]) -> str:
    least, *_, most = sorted([*numbers] * 2)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
