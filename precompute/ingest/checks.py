"""What looks wrong in a reading, as questions; each names the option that answers it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

import pandas as pd

from aigi_core.commands import PLACEHOLDER
from aigi_core.manifest import FAKE, REAL, RESERVED
from aigi_core.splits import SPLIT_OF
from aigi_core.statements import counted
from precompute.ingest.answers import Answers
from precompute.ingest.families import VIDEO, family_of, is_collection, is_generator
from precompute.ingest.layouts.base import OBJECTS
from precompute.ingest.polarity import class_of_word
from precompute.ingest.walk import quoted, shown, some

_PART = re.compile(r"([a-z]*[-_ ]?)?\d+([-_]\d+)*")
"""Names of folders that only divide many files: 000, part-1, images_02."""
_VERSION = re.compile(
    r"raw|c0|c23|c40|[hl]q|jpe?g[-_ ]?\d*|q\d+|compressed|uncompressed|originals?|resized|cropped"
    r"|transfer(red)?|re[-_ ]?digital|(re)?digitali[sz]ed"
)
"""Names of folders that hold the same pictures in another form."""
NETWORKS = frozenset(
    {
        "facebook",
        "instagram",
        "linkedin",
        "pinterest",
        "presocial",
        "reddit",
        "snapchat",
        "telegram",
        "tiktok",
        "twitter",
        "wechat",
        "weibo",
        "whatsapp",
    }
)
"""Names of networks that images are shared on."""
_DERIVED = re.compile(
    r"masks?|recons?|reconstructed|reconstructions?|dire|residuals?|noise([-_ ]maps?)?|latents?"
    r"|depth([-_ ]maps?)?|edges|landmarks|heat[-_ ]?maps?|segmentations?"
)
"""Names of folders that hold what was made from other images."""
_FROM_FOLDERS = (
    *("folders", "cnndetection", "genimage", "truefake", "drct", "artbench", "numbered"),
    "siblings",
)
"""Layouts in which folders alone tell the class."""
_NO_NAME = re.compile(
    r"(part|shard|chunk|batch|fold|folder|dir|set|data|data[-_ ]?set|image|img|picture|photo"
    r"|train(ing)?|val|valid(ation)?|test(ing)?|dev|class|label)?s?[-_ ]*\d*([-_ ]of[-_ ]\d+)?"
)
"""Names of what any data set is divided into, or of the set itself."""


def questions_of(table: pd.DataFrame, layout: str, answers: Answers) -> list[str]:
    """Questions on any reading: one generator for folders that differ, names that mean all
    generators together, generators named like things, pools without real images.
    """
    kept = table[table["left_out"] == ""]
    fakes, reals = kept[kept["label"] == FAKE], kept[kept["label"] == REAL]
    questions = []
    if layout in (*_FROM_FOLDERS, "imagefolder", "path-lists"):
        questions += _one_generator(fakes, reals, answers)
    questions += [
        f"A generator is called {name!r}, which means all detectors together wherever detectors are"
        f" named. Say --rename '{name}=NAME' with another name."
        for name in RESERVED
        if (fakes["generator"] == name).any()
    ]
    if fakes.empty or reals.empty:
        return questions
    by_name = sorted(Counter(fakes["generator"]).items())
    questions += [
        f"A generator is called {quoted(name)}, which is {what}. Which generator made these"
        f" {counted(n, 'image')}? Say --rename {told(name)}=GENERATOR, or --rename"
        f" {told(name)}={told(name)} if it is right."
        for name, n in by_name
        if (what := _no_generator(name)) and not answers.decides(name)
    ]
    questions += _named_by_folder(fakes, reals, layout, answers)
    questions += _shards(fakes, answers)
    questions += _alike([name for name, _ in by_name if not answers.decides(name)])
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


def derived(table: pd.DataFrame, layout: str) -> list[str]:
    """A doubt about images that were probably made from others, such as masks."""
    if layout not in _FROM_FOLDERS:
        return []
    used = Counter(folders_of(table.loc[table["left_out"] == "", "path"]))
    named = {f: {p for p in f.split("/") if _DERIVED.fullmatch(p.lower())} for f in used}
    if not any(named.values()):
        return []
    images = sum(used[folder] for folder, parts in named.items() if parts)
    return [
        f"{counted(images, 'image', 'lie')} in folders called"
        f" {some(shown(part) for part in set().union(*named.values()))}, which usually hold what"
        " was made"
        " from other images. Name a folder without these by --images, or say --layout"
        f" {layout} if they are to be read as the others."
    ]


def lacking(table: pd.DataFrame) -> list[str]:
    """A question where all images that can be used are of one class."""
    labels = table.loc[table["left_out"] == "", "label"]
    return [
        f"No image is called {what}, {counted(len(labels), 'other', 'are')}: {advice}"
        for label, what, advice in (
            (REAL, "real", "name photographs with --real DIR, beside --fake NAME=DIR."),
            (FAKE, "fake", "name a generator's images with --fake NAME=DIR, beside --real DIR."),
        )
        if not (labels == label).any()
    ]


def _no_generator(name: str) -> str:
    """What else a name is that is probably no generator's; empty for all others."""
    plain = name.lower()
    if name == PLACEHOLDER:
        return "what stands for a name"
    if {plain, plain.removesuffix("s")} & OBJECTS:
        return "the name of a thing"
    if is_collection(plain):
        return "the name of a collection of photographs"
    if VIDEO.fullmatch(plain):
        return "called as frames of a video are"
    if class_of_word(plain) is not None or ("real" in plain and "fake" in plain):
        return "a word for the class"
    if plain in NETWORKS:
        return "the name of a network that images are shared on"
    if _VERSION.fullmatch(plain):
        return "a name for a version of the same images"
    part = _NO_NAME.fullmatch(plain) or "dataset" in re.sub(r"[-_ ]", "", plain)
    return "a name for a part of any data set" if part else ""


def _named_by_folder(
    fakes: pd.DataFrame, reals: pd.DataFrame, layout: str, answers: Answers
) -> list[str]:
    """A question on folders that hold both classes and are called like no known generator, where
    none beside them is: they may as well say what the pictures show."""
    if layout not in _FROM_FOLDERS:
        return []
    above = {place for folder in set(folders_of(reals["path"])) for place in _above(folder)}
    asked: defaultdict[str, set[str]] = defaultdict(set)
    known: set[str] = set()
    for name, folder in set(zip(fakes["generator"], folders_of(fakes["path"]), strict=True)):
        place = next((one for one in _above(folder) if one.rpartition("/")[2] == name), None)
        if place not in above or place is None:
            continue
        beside = place.rpartition("/")[0]
        if is_generator(name) or answers.decides(name):
            known.add(beside)
        elif not _no_generator(name):
            asked[beside].add(name)
    names = sorted(set().union(*(of for beside, of in asked.items() if beside not in known)))
    if not names:
        return []
    each = " ".join(f"--rename {told(name)}={told(name)}" for name in names[:3])
    one = len(names) == 1
    holds = "holds" if one else "each hold"
    asked_of = "is this the name of a generator" if one else "are these generators"
    more = " and so on" if len(names) > 3 else ""
    return [
        f"{counted(len(names), 'folder')} ({some(map(shown, names))}) {holds} real and fake images:"
        f" {asked_of}? If so, say {each}{more}; if not, say --rename '*=GENERATOR' with the"
        " generator that made the fakes."
    ]


def _shards(fakes: pd.DataFrame, answers: Answers) -> list[str]:
    """A question on generators that are called as numbered archives, of which only the number
    differs: parts of one data set."""
    by_stem: defaultdict[str, set[str]] = defaultdict(set)
    archives = fakes.loc[fakes["archive"] != "", ["generator", "archive"]].drop_duplicates()
    for name, archive in zip(archives["generator"], archives["archive"], strict=True):
        numbered = re.fullmatch(r"(.*?)[-_. ]?\d{3,}", name)
        if numbered and PurePosixPath(archive).stem == name and not answers.decides(name):
            by_stem[numbered[1]].add(name)
    return [
        f"The fakes of {counted(len(names), 'archive')} were read as a generator each"
        f" ({some(map(shown, names))}): if these are parts of one generator's images, name it,"
        f" --fake NAME=DIR, or say --rename '*={shown(stem) or 'NAME'}'; if not, confirm each,"
        f" --rename {told(min(names))}={told(min(names))}."
        for stem, names in sorted(by_stem.items())
        if len(names) > 1 and any(re.search(r"(^|\D)0\d+$", name) for name in names)
    ]


def folders_of(paths: Iterable[str]) -> list[str]:
    """What stands before the last part of each path."""
    return [path.rpartition("/")[0] for path in paths]


def _above(folder: str) -> list[str]:
    """A folder and those above it, each with all that is above it, the outermost first."""
    parts = folder.split("/")
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _alike(names: list[str]) -> list[str]:
    """Questions on names that differ in capital letters only."""
    by_lower: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        by_lower[name.lower()].append(name)
    return [
        f"The generators {some(map(shown, same))} differ in capital letters only. Say --rename"
        f" {told(same[0])}={told(same[1])} if they are one, or --rename {told(same[0])}="
        f"{told(same[0])} --rename {told(same[1])}={told(same[1])} if not."
        for same in by_lower.values()
        if len(same) > 1
    ]


def told(name: str) -> str:
    """A name as it may be typed in a command."""
    return shown(name) if re.fullmatch(r"[\w.+-]+", name) else f"'{shown(name)}'"


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
        f"All {counted(len(fakes), 'fake', 'were')} read as one generator, {quoted(name)}, but"
        " they"
        " lie in"
        f" folders that differ ({some(map(shown, inside))}). If these are generators, lay them out"
        f" as fake/<generator>/ or list them in a table; if not, say --rename {name}={new}."
    ]


def _folders(paths: pd.Series, generator: str) -> set[str]:
    """Names of folders that say something: no class, no split, no mere number; ``dalle3`` does."""
    parts = {part for folder in set(folders_of(paths)) for part in folder.split("/") if part}
    return {
        part
        for part in parts
        if class_of_word(part) is None
        and part.lower() not in SPLIT_OF
        and part != generator
        and not (_PART.fullmatch(part.lower()) and family_of(part) == "other")
    }
