"""What looks wrong in a reading, as questions; each names the option that answers it."""

from __future__ import annotations

import re
from collections import Counter

import pandas as pd

from aigi_core.manifest import FAKE, REAL, RESERVED
from aigi_core.splits import SPLIT_OF
from aigi_core.statements import counted
from precompute.ingest.answers import Answers
from precompute.ingest.layouts.base import OBJECTS
from precompute.ingest.polarity import class_of_word
from precompute.ingest.walk import shown, some

_PART = re.compile(r"([a-z]*[-_ ]?)?\d+([-_]\d+)*")
"""Names of folders that only divide many files: 000, part-1, images_02."""


def questions_of(table: pd.DataFrame, layout: str, answers: Answers) -> list[str]:
    """Questions on any reading: one generator for folders that differ, names that mean all
    generators together, generators named like things, pools without real images.
    """
    kept = table[table["left_out"] == ""]
    fakes, reals = kept[kept["label"] == FAKE], kept[kept["label"] == REAL]
    questions = []
    if layout not in ("manifest", "parquet", "samples", "roots", "artifact"):
        questions += _one_generator(fakes, reals, answers)
    questions += [
        f"A generator is called {name!r}, which means all detectors together wherever detectors are"
        f" named. Say --rename '{name}=NAME' with another name."
        for name in RESERVED
        if (fakes["generator"] == name).any()
    ]
    if fakes.empty or reals.empty:
        return questions
    questions += [
        f"A generator is called {name!r}, which is the name of a thing. Which generator made these"
        f" {counted(n, 'image')}? Say --rename {name}=GENERATOR, or --rename {name}={name} if it is"
        " right."
        for name, n in sorted(Counter(fakes["generator"]).items())
        if name.lower() in OBJECTS and not answers.decides(name)
    ]
    pools = set(reals["pool"])
    counts = Counter(zip(fakes["generator"], fakes["pool"], strict=True))
    for (generator, pool), n in sorted(counts.items()):
        if pool not in pools:
            questions.append(
                f"The {counted(n, 'image')} of {shown(generator)} have no real images to be"
                " compared with"
                f" (pool {shown(pool)}). Say --pool {shown(generator)}=POOL, where POOL is"
                f" {some(map(shown, pools))}; or add real images."
            )
    return questions


def _one_generator(fakes: pd.DataFrame, reals: pd.DataFrame, answers: Answers) -> list[str]:
    names = set(fakes["generator"])
    if len(names) != 1 or reals.empty or answers.decides(next(iter(names))):
        return []
    name = names.pop()
    inside = _folders(fakes["path"], name) - _folders(reals["path"], "")
    if len(inside) < 2:
        return []
    new = "NAME" if name in RESERVED else name
    return [
        f"All {counted(len(fakes), 'fake', 'were')} read as one generator, {shown(name)!r}, but"
        " they"
        " lie in"
        f" folders that differ ({some(map(shown, inside))}). If these are generators, lay them out"
        f" as fake/<generator>/ or list them in a table; if not, say --rename {name}={new}."
    ]


def _folders(paths: pd.Series, generator: str) -> set[str]:
    """Names of folders that say something: no class, no split, no mere number."""
    parts = {part for path in paths for part in path.split("/")[:-1]}
    return {
        part
        for part in parts
        if class_of_word(part) is None
        and part.lower() not in SPLIT_OF
        and part != generator
        and not _PART.fullmatch(part.lower())
    }
