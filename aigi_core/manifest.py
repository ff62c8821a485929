"""One row an image, validated, and the index of who is trained and tested on which rows.

Labels: fake = 1, real = 0. ``pool`` ties fakes to the real images they are compared with; ``group``
ties images that must stay on one side of a split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from aigi_core.errors import AigiError
from aigi_core.reprs import ShortRepr
from aigi_core.statements import counted

REAL, FAKE = 0, 1
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
    kept = table[table["left_out"] == ""]
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


def _require(holds: pd.Series, table: pd.DataFrame, column: str, expected: str) -> None:
    if not holds.all():
        row = table[~holds].iloc[0]
        raise AigiError(
            f"Column {column!r}: expected {expected}, got {row[column]!r} for {row['path']!r} "
            f"({counted(int((~holds).sum()), 'such row')})."
        )


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
    """

    labels: Int[np.ndarray, " N"]
    generator: np.ndarray
    pool: np.ndarray
    split: np.ndarray
    group: np.ndarray
    family_of: dict[str, str] = field(repr=False)

    @classmethod
    def from_images(cls, images: pd.DataFrame) -> Domains:
        """Index the kept rows of a table of images (columns as in :data:`COLUMNS`)."""
        if "left_out" in images.columns:
            images = images[images["left_out"] == ""]
        fakes = images[images["label"] == FAKE]
        named = fakes[["generator", "family"]].drop_duplicates()
        family_of = {
            str(g): str(f) for g, f in zip(named["generator"], named["family"], strict=True)
        }
        text = {
            name: images[name].to_numpy(dtype=object).astype(str)
            for name in ("generator", "pool", "split", "group")
        }
        return cls(labels=images["label"].to_numpy(np.int8), family_of=family_of, **text)

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

    def pools_of(self, generator: str) -> tuple[str, ...]:
        """The pools in which a generator has fakes; raises AigiError for an unknown generator."""
        if generator not in self.family_of:
            raise AigiError(
                f"There is no generator {generator!r} here; there are {', '.join(self.generators)}."
            )
        return self._pools.get(generator, ())

    @cached_property
    def _numbers(self) -> dict[str, tuple[Int[np.ndarray, " N"], list[str]]]:
        """Of each column the number of every image's name, and the names: texts of a million images
        take a hundred times as long to compare."""
        columns = ("generator", "pool", "split")
        for name in columns:
            getattr(self, name).flags.writeable = False  # a change would not be seen from now on
        found = {name: pd.factorize(getattr(self, name).astype(object)) for name in columns}
        return {name: (of.astype(np.int32), list(names)) for name, (of, names) in found.items()}

    @cached_property
    def _pools(self) -> dict[str, tuple[str, ...]]:
        """Generator -> pools in which it has fakes."""
        (maker, makers), (pool, pools) = self._numbers["generator"], self._numbers["pool"]
        held = np.bincount(maker * len(pools) + pool, minlength=len(makers) * len(pools))
        table = held.reshape(len(makers), len(pools)) > 0
        return {
            name: tuple(sorted(pools[at] for at in np.flatnonzero(own)))
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
