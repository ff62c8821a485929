"""What a layout is: a name, its shape in words, and a function that reads a tree of files.

Most layouts only look at folders; :func:`by_folder` turns what they say of each folder into rows.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

import pandas as pd

from aigi_core.archives import SUFFIXES
from aigi_core.images import read_bytes
from aigi_core.splits import SPLIT_OF
from aigi_core.statements import counted, part_counted
from precompute.ingest.answers import MIN_IMAGES, OUR_COLUMNS, Answers
from precompute.ingest.families import is_generator
from precompute.ingest.tables import Table, read_table
from precompute.ingest.walk import (
    FileEntry,
    escaped,
    is_undecodable,
    looks_like_image,
    shown,
    some,
)

UNKNOWN = -1
"""Label of a file about which the layout says nothing; such rows are always left out."""

Folder = tuple[str, ...]
BESIDE = (".json", ".txt", ".cls", ".caption")
"""Files that describe the image of the same name; ``000017.model.txt`` holds its field ``model``.
"""


def key_of(path: str) -> str:
    """The key of a file's sample: its path up to the first dot of its name."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/{name.partition('.')[0]}"


def stem_of(path: str) -> str:
    """A file's path up to the last dot of its name."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/{name.rpartition('.')[0] or name}"


def folder_and_name(paths: pd.Series) -> tuple[pd.Series, pd.Series]:
    """The last folder of each path, empty for none, and its file's name up to the first dot.

    Example:
        >>> [list(part) for part in folder_and_name(pd.Series(["a/b/c.x.png", "d.png"]))]
        [['b', ''], ['c', 'd']]
    """
    parts = ("/" + paths).str.rsplit("/", n=2)
    return parts.str[-2], parts.str[-1].str.partition(".")[0]


def split_of(path: str) -> str:
    """The split that a path names by a folder, an archive or a table (``train-0003.tar``), in the
    data set's own word; empty for none."""
    *folders, _ = path.lower().split("/")
    names = (part for part in folders if part in SPLIT_OF)
    files = (
        own[0]
        for part in folders
        if part.endswith(SUFFIXES)
        for own in [re.match(r"[a-z]+", part)]
        if own and own[0] in SPLIT_OF
    )
    return next(names, "") or next(files, "")


@dataclass(frozen=True)
class Place:
    """What a folder says of the files in it.

    Attributes:
        split: empty where the data set has none of its own.
        group: names the twins of one picture, with the file's own name appended; empty for none.
    """

    label: int
    generator: str
    pool: str
    split: str
    group: str = ""


@dataclass(frozen=True, eq=False)
class Tree:
    """The files of a data set, and what the user said of it.

    Attributes:
        files: sorted by path.
        answers: see :class:`precompute.ingest.answers.Answers`.
        sidecars: path of an image without its suffix, or up to the first dot of its name -> what
            stands beside it, by suffix (:data:`BESIDE`).
    """

    root: Path
    files: tuple[FileEntry, ...] = field(repr=False)
    answers: Answers = field(default_factory=Answers)
    sidecars: Mapping[str, dict[str, FileEntry]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, root: Path, files: Iterable[FileEntry], answers: Answers) -> Tree:
        """Sort out what stands beside an image: texts and numbers of the same name."""
        files = list(files)
        if not any(f.path.lower().endswith(BESIDE) for f in files):
            return cls(root, tuple(files), answers)
        images = [f.path for f in files if not f.path.lower().endswith(BESIDE)]
        # The whole name goes before the part up to its first dot: v1.5_01.txt is of v1.5_01.png.
        stems, keys = set(map(stem_of, images)), set(map(key_of, images))
        sidecars: defaultdict[str, dict[str, FileEntry]] = defaultdict(dict)
        for file in files:
            stem, key = stem_of(file.path), key_of(file.path)
            if file.path.lower().endswith(BESIDE) and (stem in stems or key in keys):
                own = stem if stem in stems else key
                sidecars[own][file.path[len(own) :].lower()] = file
        aside = {file.path for beside in sidecars.values() for file in beside.values()}
        return cls(root, tuple(f for f in files if f.path not in aside), answers, dict(sidecars))

    def beside(self, path: str) -> dict[str, FileEntry]:
        """What stands beside an image, by suffix."""
        return self.sidecars.get(stem_of(path)) or self.sidecars.get(key_of(path)) or {}

    @property
    def name(self) -> str:
        """What the root folder is called."""
        return self.root.resolve().name

    @cached_property
    def folders(self) -> Counter[Folder]:
        """Every folder that holds files (see :meth:`folder_of`), with their number."""
        return Counter(self.folder_of(file) for file in self.files)

    def folders_in(self, top: Folder) -> set[str]:
        """Names of the folders in one of the tree."""
        n = len(top)
        return {path[n] for path in self.folders if path[:n] == top and path != top}

    def folder_of(self, file: FileEntry) -> Folder:
        """The folders above a file; an archive counts as one of its name without suffix, and not at
        all where everything lies in it.
        """
        above = file.path.rpartition("/")[0]
        known = self._known_folders.get((above, file.archive))
        if known is None:
            known = self._known_folders[above, file.archive] = self._folder(above, file.archive)
        return known

    @cached_property
    def _known_folders(self) -> dict[tuple[str, str], Folder]:
        """What :meth:`folder_of` gave before: files are many, folders few."""
        return {}

    def _folder(self, above: str, archive: str) -> Folder:
        parts = tuple(above.split("/")) if above else ()
        if not archive:
            return parts
        at = archive.count("/")
        name = str(PurePosixPath(archive).stem)
        keep = () if self._only_archive else (name,)
        return (*parts[:at], *keep, *parts[at + 1 :])

    @cached_property
    def _only_archive(self) -> bool:
        archives = {file.archive for file in self.files if file.archive}
        plain = [f for f in self.files if not f.archive and "/" in f.path]
        return len(archives) == 1 and not plain

    def images_in(self, folder: Folder) -> int:
        """How many files of a folder are images by their names."""
        return sum(looks_like_image(f.path) for f in self.files if self.folder_of(f) == folder)

    def unlisted(self, listed: Iterable[str], tables: Iterable[tuple[str, object]]) -> list[str]:
        """A sentence on the files that no row of the tables (by path) names; none where there are
        none."""
        known = {*listed, *(path for path, _ in tables)}
        others = [f.path for f in self.files if f.path not in known]
        if not others:
            return []
        return [
            f"{counted(len(others), 'file', 'are')} not listed and left out:"
            f" {some(map(shown, others))}."
        ]

    def named(self, *names: str) -> list[FileEntry]:
        """Files of these names (in lower case), wherever they lie, inside archives too."""
        return [f for f in self.files if f.path.rsplit("/", 1)[-1].lower() in names]

    def table(self, file: FileEntry) -> Table:
        """A table of the tree; AigiError as :func:`read_table`."""
        inside = read_bytes(self.root / file.path, file.offset) if file.archive else None
        return read_table(self.root / file.path, inside)


@dataclass(frozen=True, eq=False)
class Reading:
    """What a layout makes of a tree.

    Attributes:
        table: one row a file, with the columns of :data:`OUR_COLUMNS`, ``archive``, ``offset``, and
            further ones that the data set tells.
        why: what was matched, for "Layout: x, because ...".
        notes: sentences on what was decided or passed over.
        questions: sentences that must be answered before the reading can be trusted; each names the
            option that answers it.
        doubts: such sentences that --layout answers by naming this layout.
        gone: paths of rows whose file is not there.
    """

    table: pd.DataFrame = field(repr=False)
    why: str
    notes: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """One way in which data sets are laid out.

    Attributes:
        name: for ``--layout``.
        shape: in words, for messages and the documentation.
        parse: reads a tree; None where it is not laid out so.
        over: layouts that read the same trees less well and give way to this one.
        last: whether it is read only where no other fits.
        source: whose layout it is.
        tabled: labels stand in a table, whose columns and values the user may name.
    """

    name: str
    shape: str
    parse: Callable[[Tree], Reading | None]
    over: tuple[str, ...] = ()
    last: bool = False
    source: str = ""
    tabled: bool = False


def by_folder(
    tree: Tree,
    places: Mapping[Folder, Place],
    shape: str,
    notes: tuple[str, ...] = (),
    questions: tuple[str, ...] = (),
) -> Reading | None:
    """Rows from what each folder says; files in other folders are left out. None without places."""
    if not places:
        return None
    nowhere = Place(UNKNOWN, "", "", "")
    found = [places.get(tree.folder_of(file), nowhere) for file in tree.files]
    outside = f"outside the layout: not under {shape}"
    told: dict[str, list[object]] = {
        "path": [file.path for file in tree.files],
        "label": [place.label for place in found],
        "generator": [place.generator.strip() for place in found],
        "pool": [place.pool.strip() for place in found],
        "split": [place.split for place in found],
        "left_out": [outside if place is nowhere else "" for place in found],
    }
    for i, file in enumerate(tree.files):
        if is_undecodable(file.path):
            told["left_out"][i] = "unreadable: its name is not valid Unicode"
            for name in ("path", "generator", "pool"):
                told[name][i] = escaped(str(told[name][i]))
    told["group"] = [
        f"{place.group}{PurePosixPath(str(path)).stem}" if place.group else ""
        for place, path in zip(found, told["path"], strict=True)
    ]
    table = candidates(tree.files, told)
    placed = sum(place is not nowhere for place in found)
    why = f"{part_counted(placed, len(tree.files), 'file', 'match')} {shape}"
    others = [
        file
        for file, place in zip(tree.files, found, strict=True)
        if place is nowhere and looks_like_image(file.path)
    ]
    doubts = []
    if len(others) >= MIN_IMAGES:
        where = {"/".join(tree.folder_of(f)) or "." for f in others}
        doubts = [
            f"{counted(len(others), 'image', 'lie')} outside the layout, in"
            f" {some(map(shown, where))}: lay them out as the others, name all folders with --real"
            " DIR --fake NAME=DIR, or say --layout and the name in the first line to leave them."
        ]
    return Reading(table, why, notes, questions, tuple(doubts))


def named_after_root(tree: Tree, places: Mapping[Folder, Place]) -> tuple[str, ...]:
    """A note where fakes are called as the folder that was named, because none below it names a
    generator, and that is no known one's name."""
    above = [place for folder, place in places.items() if tree.name not in folder]
    if is_generator(tree.name) or not any(place.generator == tree.name for place in above):
        return ()
    return (
        f"No folder names the generator of some fakes: they are called as {shown(tree.name)}/;"
        f" --rename {shown(tree.name)}=NAME names it.",
    )


def candidates(files: Sequence[FileEntry], told: Mapping[str, object]) -> pd.DataFrame:
    """One row a file, with the columns that are told (one value, or one a file); what is not told
    is empty."""
    columns: dict[str, object] = dict.fromkeys(OUR_COLUMNS, "")
    columns["path"] = [file.path for file in files]
    columns.update(told)
    columns["archive"] = [file.archive for file in files]
    columns["offset"] = [file.offset for file in files]
    return pd.DataFrame(columns, index=range(len(files)))


@dataclass(frozen=True)
class Marked:
    """A folder on whose path one part names the class.

    Attributes:
        marker: that part, as it is called.
        before, after: the parts above and below it, without those that name splits.
    """

    label: int
    marker: str
    before: Folder
    after: Folder
    split: str


def find_markers(
    folders: Iterable[Folder],
    class_of: Callable[[str], int | None],
    *,
    last: bool = False,
) -> dict[Folder, Marked]:
    """Find the part of each path that names the class, and split folders: those whose siblings all
    are called after splits.

    The second condition matters: ``train`` is also one of the twenty LSUN classes of CNNDetection.

    Args:
        class_of: 1, 0 or None for a folder's name in lower case.
        last: of several such parts the last counts, else the first.
    """
    marked: dict[Folder, int] = {}
    for folder in folders:
        places = [i for i, name in enumerate(folder) if class_of(_plain(name)) is not None]
        if places:
            marked[folder] = places[-1] if last else places[0]
    siblings: defaultdict[Folder, set[str]] = defaultdict(set)
    for folder in marked:
        for i, name in enumerate(folder):
            if class_of(_plain(name)) is None:
                siblings[folder[:i]].add(_plain(name))
    result = {}
    for folder, at in marked.items():
        named = [
            i
            for i, name in enumerate(folder)
            if _plain(name) in SPLIT_OF and siblings[folder[:i]] <= SPLIT_OF.keys() and i != at
        ]
        plain = [i for i in range(len(folder)) if i not in named and i != at]
        label = class_of(_plain(folder[at]))
        assert label is not None
        result[folder] = Marked(
            label=label,
            marker=folder[at],
            before=tuple(folder[i] for i in plain if i < at),
            after=tuple(folder[i] for i in plain if i > at),
            split=SPLIT_OF[_plain(folder[named[0]])] if named else "",
        )
    return result


def _plain(name: str) -> str:
    return name.strip().lower()


LSUN = frozenset(
    [
        "airplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    ]
)
"""Classes on which CNNDetection trains ProGAN; its training folders name them and not the
generator.
"""
OBJECTS = LSUN | {
    "automobile",
    "deer",
    "frog",
    "ship",
    "truck",
    "face",
    "faces",
    "people",
    "human",
    "animal",
    "animals",
    "food",
    "building",
    "buildings",
    "landscape",
    "landscapes",
    "nature",
    "scene",
    "scenes",
    "church",
    "bedroom",
    "kitchen",
    "flower",
    "flowers",
    "tree",
    "trees",
}
"""Names of things, which are rarely those of generators: the classes of LSUN and CIFAR-10, and what
such folders are often called.
"""
