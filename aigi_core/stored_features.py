"""Features that an encoding may keep of each image: their names, files and shapes, in one place.

``embedding`` and ``heads`` are kept unless told otherwise; ``pre``, ``layers``, ``norm2`` and
``patches:K`` on request (:class:`aigi_core.clip.towers.tokens.TokenFeatures` says what each is).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from aigi_core.capabilities import Capabilities
from aigi_core.errors import AigiError
from aigi_core.statements import counted

EMBEDDING, HEADS, PATCHES = "embedding", "heads", "patches:"
FOLDER = "features"
DECOMPOSITION = "decomposition.npz"


@dataclass(frozen=True)
class Kind:
    """One kind of feature.

    Attributes:
        thing: what an encoder must give for it, a key of :data:`aigi_core.capabilities.THINGS`;
            empty for the embedding, which every encoder gives.
        arrays: name of an array file without suffix -> the axis that goes over images, and its
            type.
        title: what it is, in words.
    """

    thing: str
    arrays: dict[str, tuple[int, type]]
    title: str


KINDS: dict[str, Kind] = {
    EMBEDDING: Kind("", {"embeddings": (0, np.float32)}, "embedding in the joint space"),
    HEADS: Kind(
        "heads", {"heads": (2, np.float16), "ln_post": (0, np.float32)}, "attention heads' contexts"
    ),
    "pre": Kind("pre", {"features/pre": (0, np.float32)}, "vector before the projection"),
    "layers": Kind("layers", {"features/layers": (1, np.float16)}, "token after each layer"),
    "norm2": Kind(
        "layers", {"features/norm2": (1, np.float16)}, "token after each layer's second norm"
    ),
}
"""Name -> kind; ``patches:K`` stands beside them for every K."""
_PATCHES = re.compile(r"patches:([1-9]\d{0,4})")
_PATCHES_FILE = re.compile(r"features/patches-([1-9]\d{0,4})")


def kind(name: str) -> Kind:
    """The kind of a feature by its name; AigiError where there is none."""
    if name in KINDS:
        return KINDS[name]
    if match := _PATCHES.fullmatch(name):
        file = f"{FOLDER}/patches-{match[1]}"
        return Kind("patches", {file: (0, np.float16)}, f"{counted(int(match[1]), 'patch token')}")
    raise AigiError(
        f"There is no feature {name!r}: choose among {', '.join(KINDS)} and patches:K, K a number"
        " of patch tokens such as patches:16."
    )


def parse(text: str) -> tuple[str, ...]:
    """Names from a list with commas, in the order of :data:`KINDS`.

    Raises:
        AigiError: an unknown name, two numbers of patches, or a list without the embedding, on
            which everything else rests.

    Example:
        >>> parse("heads, embedding,patches:4")
        ('embedding', 'heads', 'patches:4')
    """
    names = [part.strip() for part in text.split(",") if part.strip()]
    for name in names:
        kind(name)
    if EMBEDDING not in names:
        raise AigiError(
            f"The embedding is always kept: say --features {','.join([EMBEDDING, *names])}."
        )
    return ordered(names)


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names in one order; AigiError for two numbers of patches."""
    distinct = dict.fromkeys(names)
    patches = [name for name in distinct if name.startswith(PATCHES)]
    if len(patches) > 1:
        raise AigiError(
            f"One number of patch tokens is kept, not {' and '.join(patches)}: choose one, and to"
            " change it encode beside with --as NAME."
        )
    return (*(name for name in KINDS if name in distinct), *patches)


def default(gives: Capabilities) -> tuple[str, ...]:
    """What is kept where nothing is asked for."""
    return (EMBEDDING, HEADS) if gives.has("heads") else (EMBEDDING,)


def require(names: Iterable[str], gives: Capabilities, model: str) -> None:
    """Raise NotGivenError, in one sentence, for a feature that the encoder cannot give."""
    for name in names:
        if thing := kind(name).thing:
            gives.require(thing, model)


def tokens(names: Iterable[str]) -> tuple[str, ...]:
    """Those that a tower computes beside embedding and heads."""
    return tuple(name for name in names if name not in (EMBEDDING, HEADS))


def files(names: Iterable[str]) -> tuple[str, ...]:
    """Files of a workspace that hold these features."""
    file_names = []
    for name in names:
        file_names += [f"{array}.npy" for array in kind(name).arrays]
        if name == HEADS:
            file_names.append(DECOMPOSITION)
    return tuple(file_names)


def stored(recorded: Collection[str]) -> tuple[str, ...]:
    """Features whose files are all among those that a manifest names."""
    names = [name for name in KINDS if set(files([name])) <= set(recorded)]
    for file in recorded:
        if match := _PATCHES_FILE.fullmatch(file.removesuffix(".npy")):
            names.append(f"{PATCHES}{match[1]}")
    return ordered(names)


def image_axis(name: str) -> int:
    """The axis over images of a feature with one array, such as ``layers``."""
    return next(iter(kind(name).arrays.values()))[0]


def array_axes(recorded: Collection[str]) -> dict[str, int]:
    """File -> axis over images, of every array of features that a manifest names."""
    names = [*KINDS, *(name for name in stored(recorded) if name.startswith(PATCHES))]
    axes = {f"{a}.npy": axis for n in names for a, (axis, _) in kind(n).arrays.items()}
    return {file: axis for file, axis in axes.items() if file in recorded}


def shapes(
    names: Iterable[str],
    rows: int,
    *,
    embedding_width: int,
    layers: int,
    heads: int,
    head_width: int,
    width: int,
) -> dict[str, tuple[tuple[int, ...], type]]:
    """Array -> shape and type, for an encoder of these sizes."""
    sizes: dict[str, tuple[int, ...]] = {
        "embeddings": (rows, embedding_width),
        "heads": (layers, heads, rows, head_width),
        "ln_post": (rows, 2),
        "features/pre": (rows, width),
        "features/layers": (layers, rows, width),
        "features/norm2": (layers, rows, width),
    }
    of_arrays: dict[str, tuple[tuple[int, ...], type]] = {}
    for name in names:
        for array, (_, dtype) in kind(name).arrays.items():
            patches = _PATCHES_FILE.fullmatch(array)
            shape = (rows, int(patches[1]), width) if patches else sizes[array]
            of_arrays[array] = (shape, dtype)
    return of_arrays
