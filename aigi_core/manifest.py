"""One row an image, validated, and the index of who is trained and tested on which rows.

Labels: fake = 1, real = 0. ``pool`` ties fakes to the real images they are compared with; ``group``
ties images that must stay on one side of a split.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from aigi_core.errors import AigiError
from aigi_core.reprs import ShortRepr
from aigi_core.statements import counted

REAL, FAKE = 0, 1
STEPS, MODEL = "steps", "model"
"""Columns that a data set may have beside :data:`COLUMNS`: sampling steps, and the model that took
them, of which several generators may be settings."""
TEXTS = ("generator", "pool", "split", "group")
"""Columns that :class:`Domains` holds as texts."""
SPLITS = ("train", "val", "test")
FAMILIES = ("gan", "autoregressive", "diffusion", "other")
"""Families in the order in which matrices show them; a family not named here is shown after
these.
"""

ALL, TOGETHER = "all", "all detectors together"
RESERVED = (ALL, TOGETHER)
"""What ``score --detector`` and Inspect call all detectors together: names of no generator."""

COLUMNS: dict[str, str] = {
    "path": "str",  # relative to the image root, POSIX separators
    "source_url": "str",
    "label": "int8",
    "generator": "str",  # empty for real images
    "family": "str",
    "pool": "str",
    "group": "str",
    "split": "str",
    "width": "int32",
    "height": "int32",
    "format": "str",  # as decoded, not as named: "JPEG", "PNG", ...
    "mode": "str",  # Pillow's mode as stored: "RGB", "P", "CMYK", "I;16", ...
    "bytes": "int64",
    "jpeg_quality": "float32",  # NaN where the file is not a JPEG
    "has_metadata": "bool",  # EXIF, XMP, ICC profile or PNG text present
    "content_hash": "str",  # SHA-256 of the file's bytes
    "preview_hash": "str",  # ThumbHash, base64
    "caption": "str",
    # how an unusual file was handled: first frame of an animation, palette, EXIF-rotated, ...
    "note": "str",
    "left_out": "str",  # why the image was left out; empty where it is kept
}
"""Columns of ``images.parquet`` and their dtypes; further columns of a user's manifest are kept as
they are.
"""


def validate_images(images: pd.DataFrame) -> pd.DataFrame:
    """Check a table of images against :data:`COLUMNS` and return it with exactly those dtypes
    first.

    Raises:
        AigiError: a column is missing, or a label, split, path or generator is not what the format
            allows.
    """
    missing = [name for name in COLUMNS if name not in images.columns]
    if missing:
        raise AigiError(f"The table of images lacks the columns {', '.join(missing)}: rebuild it.")
    if images.columns.duplicated().any():
        raise AigiError("The table of images has two columns of one name: rebuild it.")
    texts = [name for name, kind in COLUMNS.items() if kind == "str"]
    if gaps := [name for name in texts if images[name].isna().any()]:
        raise AigiError(
            f"The columns {', '.join(gaps)} of the table of images have gaps: rebuild it."
        )
    try:
        table = images.astype(COLUMNS)
    except (ValueError, TypeError, OverflowError) as error:
        raise AigiError(
            f"A column of the table of images is not of its type ({error}): rebuild it."
        ) from error
    kept = table.loc[table["left_out"] == "", ["path", "label", "split", "generator", "pool"]]
    _require(kept["label"].isin([REAL, FAKE]), kept, "label", "0 (real) or 1 (fake)")
    _require(kept["split"].isin(SPLITS), kept, "split", "train, val or test")
    _require(
        (kept["generator"] != "") == (kept["label"] == FAKE),
        kept,
        "generator",
        "named for every fake and only for fakes",
    )
    _require(kept["pool"] != "", kept, "pool", "a name")
    if kept["path"].duplicated().any():
        twice = kept.loc[kept["path"].duplicated(), "path"].iloc[0]
        raise AigiError(
            f"The path {twice!r} stands in the table more than once: paths must be unique."
        )
    return table[[*COLUMNS, *(name for name in table.columns if name not in COLUMNS)]].reset_index(
        drop=True
    )


def folders_above(there: Set[str], names: Collection[str]) -> str:
    """What stands before each of these names in its name there, as after ``add`` has named all
    images from a folder further up; empty where no folders do, or several could.

    >>> folders_above({"b/x/1.png", "b/x/2.png", "c/3.png"}, ["x/1.png", "x/2.png"])
    'b/'
    """
    first = min(names, default="")
    above = [name.removesuffix(first) for name in there if name.endswith(f"/{first}")]
    fitting = [folders for folders in above if all(folders + name in there for name in names)]
    return fitting[0] if len(fitting) == 1 else ""


def _require(holds: pd.Series, table: pd.DataFrame, column: str, expected: str) -> None:
    if not holds.all():
        row = table[~holds].iloc[0]
        raise AigiError(
            f"Column {column!r}: expected {expected}, got {row[column]!r} for {row['path']!r} "
            f"({counted(int((~holds).sum()), 'such row')})."
        )


def models(images: pd.DataFrame) -> np.ndarray:
    """[N] the model that made each image: the column ``model`` where the table has ``steps``, too
    (as ``generate`` writes it); the generator where there is none, or it is empty."""
    generator = images["generator"].to_numpy(object)
    if not {MODEL, STEPS} <= set(images.columns):
        return generator  # what a column of that name means alone is not known
    named = images[MODEL].fillna("").astype(str).to_numpy(object)
    model: np.ndarray = np.where(named == "", generator, named)
    return model


def _models_of(images: pd.DataFrame) -> dict[str, str]:
    """See :class:`Domains`; a generator whose images name several models is none of them."""
    if not {MODEL, STEPS} <= set(images.columns):
        return {}
    made = pd.DataFrame({"generator": images["generator"], "model": models(images)})
    made = made[images["label"] == FAKE].drop_duplicates()
    one = made[~made["generator"].duplicated(keep=False)]
    shared = one[one["model"].duplicated(keep=False)]
    return {str(g): str(m) for g, m in zip(shared["generator"], shared["model"], strict=True)}


Numbered = tuple[Int[np.ndarray, " N"], np.ndarray]
"""The number of each row's text, and the texts."""


def _numbered(texts: pd.Series) -> Numbered:
    numbers, names = pd.factorize(texts, use_na_sentinel=False)
    return numbers.astype(np.int32), np.asarray(names, dtype=object).astype(str)


@dataclass(frozen=True, eq=False, repr=False)
class Domains(ShortRepr):
    """Which rows each generator is trained and tested on: its fakes, and the real images of its own
    pools.

    Built from the kept rows of a table of images; row numbers are positions in the workspace's
    arrays.

    Attributes:
        labels: [N], fake = 1, real = 0.
        generator, pool, split, group: [N] strings; ``generator`` is empty for real images.
        family_of: generator -> family.
        models_of: generator -> model, of those that are settings of one with others
            (:func:`models`); a detector of one has seen the model of the others.
    """

    labels: Int[np.ndarray, " N"]
    generator: np.ndarray
    pool: np.ndarray
    split: np.ndarray
    group: np.ndarray
    family_of: dict[str, str] = field(repr=False)
    models_of: dict[str, str] = field(repr=False, default_factory=dict)

    @classmethod
    def from_images(cls, images: pd.DataFrame) -> Domains:
        """Index the kept rows of a table of images (columns as in :data:`COLUMNS`)."""
        if "left_out" in images.columns:
            images = images[images["left_out"] == ""]
        named = images.loc[images["label"] == FAKE, ["generator", "family"]].drop_duplicates()
        family_of = {
            str(g): str(f) for g, f in zip(named["generator"], named["family"], strict=True)
        }
        numbers = {name: _numbered(images[name]) for name in TEXTS}
        # each name is made a text once, not once an image: a million take seconds
        text = {name: names[of] for name, (of, names) in numbers.items()}
        domains = cls(
            labels=images["label"].to_numpy(np.int8),
            family_of=family_of,
            models_of=_models_of(images),
            **text,
        )
        domains._know(numbers)
        return domains

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def generators(self) -> tuple[str, ...]:
        """All generators, by family (in the order of :data:`FAMILIES`) and then by name."""

        def order(name: str) -> tuple[int, str, str]:
            family = self.family_of[name]
            return (
                FAMILIES.index(family) if family in FAMILIES else len(FAMILIES),
                family,
                name.casefold(),
            )

        return tuple(sorted(self.family_of, key=order))

    @property
    def families(self) -> tuple[str, ...]:
        """The family of each of :attr:`generators`, in the same order."""
        return tuple(self.family_of[name] for name in self.generators)

    def model_of(self, generator: str) -> str:
        """The model that a generator is a setting of, which by default is the generator."""
        return self.models_of.get(generator, generator)

    def pools_of(self, generator: str) -> tuple[str, ...]:
        """The pools in which a generator has fakes; raises AigiError for an unknown generator."""
        if generator not in self.family_of:
            raise AigiError(
                f"There is no generator {generator!r} here; there are {', '.join(self.generators)}."
            )
        return self._pools.get(generator, ())

    @cached_property
    def _numbers(self) -> dict[str, Numbered]:
        """Of each column the number of every image's name, and the names: texts of a million images
        take a hundred times as long to compare."""
        found = {name: _numbered(pd.Series(getattr(self, name))) for name in TEXTS}
        self._know(found)
        return found

    def _know(self, numbers: dict[str, Numbered]) -> None:
        for name in numbers:
            getattr(self, name).flags.writeable = False  # a change would not be seen from now on
        self.__dict__["_numbers"] = numbers

    def numbered(self, column: str) -> Numbered:
        """The number of each image's name in one of :data:`TEXTS`, and the names."""
        return self._numbers[column]

    def sources(self) -> Iterator[tuple[str, Bool[np.ndarray, " N"]]]:
        """Every generator and each pool's real images (``real: POOL``), by name, with its
        images."""
        named = {name: self._named("generator", (name,)) for name in self.family_of}
        real = self.labels == REAL
        for pool in self._numbers["pool"][1]:
            if (mine := real & self._named("pool", (pool,))).any():
                named[f"real: {pool}"] = mine
        yield from sorted(named.items(), key=lambda item: item[0])

    def some_of_each_source(self, most: int, splits: Sequence[str]) -> Int[np.ndarray, " n"]:
        """Rows of these splits, ascending; where a source (a generator, or a pool's real images)
        has more than three times ``most`` in one, as many as that, drawn at random, the same every
        time."""
        rng, chosen = np.random.default_rng(0), [np.zeros(0, int)]
        sources = [mine for _, mine in self.sources()]
        for split in splits:
            here = self._named("split", (split,))
            for mine in sources:
                rows = np.flatnonzero(here & mine)
                few = len(rows) <= 3 * most
                chosen.append(rows if few else rng.choice(rows, most, replace=False))
        return np.sort(np.concatenate(chosen))

    @cached_property
    def groups(self) -> Int[np.ndarray, " N"]:
        """A number, from 0, for each image's group, in the order of the groups' names; an image
        without a group is one of its own, and stands before those."""
        of, names = self._numbers["group"]
        ordered = np.argsort(names, kind="stable")
        place = np.empty(len(names), np.int64)
        place[ordered] = np.arange(len(names))
        numbers = place[of]
        alone = np.flatnonzero(names[of] == "")
        if len(alone):
            # "" is the first name: the others follow those without one, which are in the order of
            # their rows as texts
            numbers += len(alone) - 1
            numbers[alone[np.argsort(alone.astype(str), kind="stable")]] = np.arange(len(alone))
        numbers.flags.writeable = False
        return numbers

    def group_numbers(self, rows: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """A number, from 0, for the group of each of these rows, in the order of
        :attr:`groups`."""
        return np.asarray(pd.factorize(self.groups[rows], sort=True)[0])

    @cached_property
    def _pools(self) -> dict[str, tuple[str, ...]]:
        """Generator -> pools in which it has fakes."""
        maker, makers = self._numbers["generator"]
        pool, pools = self._numbers["pool"]
        held = np.bincount(maker * len(pools) + pool, minlength=len(makers) * len(pools))
        table = held.reshape(len(makers), len(pools)) > 0
        return {
            str(name): tuple(sorted(pools[own].tolist()))
            for name, own in zip(makers, table, strict=True)
        }

    def _named(self, column: str, names: Iterable[str]) -> Bool[np.ndarray, " N"]:
        """Which images have one of these names in a column."""
        of, known = self._numbers[column]
        wanted = set(names)
        chosen: np.ndarray = np.array([name in wanted for name in known], bool)[of]
        return chosen

    def rows(
        self, generators: str | Iterable[str], splits: str | Sequence[str] = "train"
    ) -> Int[np.ndarray, " n"]:
        """Rows of one or several generators' fakes and of their pools' real images in the given
        splits, ascending.

        Real images shared by several of the generators appear once.

        Raises:
            AigiError: unknown generator, or one whose fakes or real images are missing in these
                splits.
        """
        names = (generators,) if isinstance(generators, str) else tuple(generators)
        if not names:
            raise AigiError("No generator was chosen: name at least one.")
        wanted = (splits,) if isinstance(splits, str) else tuple(splits)
        in_split = self._named("split", wanted)
        chosen = np.zeros(len(self), bool)
        for name in names:
            fake = in_split & self._named("generator", (name,))
            if not fake.any():
                raise self._missing(name, "fake", wanted)
            chosen |= fake
            chosen[self.real_rows(name, wanted)] = True
        return np.flatnonzero(chosen)

    def real_rows(self, generator: str, splits: str | Sequence[str]) -> Int[np.ndarray, " n"]:
        """Rows of the real images of a generator's pools in the given splits, whether or not it has
        fakes there.

        Raises:
            AigiError: unknown generator, or one whose pools have none.
        """
        wanted = (splits,) if isinstance(splits, str) else tuple(splits)
        real = (
            self._named("split", wanted)
            & (self.labels == REAL)
            & self._named("pool", self.pools_of(generator))
        )
        if not real.any():
            raise self._missing(generator, "real", wanted)
        return np.flatnonzero(real)

    def _missing(self, generator: str, what: str, splits: tuple[str, ...]) -> AigiError:
        return AigiError(
            f"Generator {generator!r} has no {what} images in the split {' + '.join(splits)} (pool"
            f" {', '.join(self.pools_of(generator))}): add images to that pool, or leave the"
            " generator out."
        )
