"""What each attention head put into an image's embedding, from cached features: NumPy, no torch.

The direct contribution of head (l, h) to the joint embedding of image i is

    heads[l, h, i] @ head_maps[l, h] / ln_post[i, 1]

(Gandelsman et al. 2024; docs/method.md, decision 10). All heads together and the remainder (MLPs,
output biases, patch and position embedding, final bias) are the model's own embedding exactly, up
to the cache's fp16.

A contribution has at most head_width dimensions: with ``head_maps[l, h].T = Q R`` (Q orthonormal)
its coordinates ``heads[l, h, i] @ R.T / std_i`` keep every length, angle and variance, at a sixth
to a twelfth of the cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from jaxtyping import Float, Float32, Int

from aigi_core import results, stored_features
from aigi_core.commands import command
from aigi_core.errors import AigiError, NotGivenError, WorkspaceError
from aigi_core.head_maps import FactoredMaps
from aigi_core.reprs import ShortRepr
from aigi_core.statements import counted
from aigi_core.workspace import STREAM_MAPS, Workspace

Head: TypeAlias = tuple[int, int]
"""(layer, index), both counted from 0."""
Rows: TypeAlias = "Int[np.ndarray, ' n'] | slice | None"
"""Rows of the workspace's arrays; None stands for all of them."""
BLOCK = 16_384
"""Images read at once: what one pass keeps in memory does not depend on the number of images."""
LENGTHS = 256
"""Images whose lengths are computed at once: they stay in the processor's cache, which takes a
third of the time."""
KEPT = results.ResultKind("lengths", "lengths of embeddings", job="detectors", format=1)
FILE = "lengths.npz"
BLOCK_VALUES = 1 << 23
"""Context values held in float32 at once while all heads are summed: 32 MiB, whatever the number of
images.
"""


class Encoded(Protocol):
    """Features of images. A :class:`~aigi_core.workspace.Workspace` has them; so does
    :class:`EncodedImages`.
    """

    @property
    def embeddings(self) -> np.ndarray: ...
    @property
    def heads(self) -> np.ndarray: ...
    @property
    def ln_post(self) -> np.ndarray: ...
    @property
    def decomposition(self) -> dict[str, Any]: ...
    def feature(self, name: str) -> np.ndarray: ...


@dataclass(frozen=True, eq=False, repr=False)
class EncodedImages(ShortRepr):
    """Images encoded just now, outside any workspace; shapes as in a workspace's files.

    Attributes:
        features: further features by name (:mod:`aigi_core.stored_features`).
    """

    embeddings: Float[np.ndarray, "n d"]
    heads: Float[np.ndarray, "layers heads n head_width"]
    ln_post: Float[np.ndarray, "n 2"]
    decomposition: dict[str, Any]
    features: Mapping[str, np.ndarray] = field(default_factory=dict)

    def feature(self, name: str) -> np.ndarray:
        """One of :attr:`features`; NotGivenError where the images were encoded without it."""
        if name not in self.features:
            raise NotGivenError(
                f"These images were encoded without {stored_features.kind(name).title} ({name})."
            )
        return self.features[name]

    @classmethod
    def joined(cls, parts: Sequence[EncodedImages]) -> EncodedImages:
        """Several as one, in their order; at least one, all encoded alike."""
        return cls(
            np.concatenate([part.embeddings for part in parts]),
            np.concatenate([part.heads for part in parts], axis=2),
            np.concatenate([part.ln_post for part in parts]),
            parts[0].decomposition,
            {
                name: np.concatenate(
                    [part.features[name] for part in parts], axis=stored_features.image_axis(name)
                )
                for name in parts[0].features
            },
        )

    def taken(self, at: Sequence[int]) -> EncodedImages:
        """Some of the images, without holding on to the others."""
        rows = np.asarray(at, int)
        return EncodedImages(
            self.embeddings[rows],
            self.heads[:, :, rows],
            self.ln_post[rows],
            self.decomposition,
            {
                name: array.take(rows, axis=stored_features.image_axis(name))
                for name, array in self.features.items()
            },
        )


def all_heads(images: Encoded) -> tuple[Head, ...]:
    """Every (layer, index), layer by layer."""
    layers, per_layer = images.heads.shape[:2]
    return tuple((layer, index) for layer in range(layers) for index in range(per_layer))


def check_head(contexts: np.ndarray, head: Head) -> Head:
    """The head as plain whole numbers.

    Args:
        contexts: [layers, heads, ...].

    Raises:
        AigiError: there is no such head.
    """
    layers, per_layer = contexts.shape[:2]
    layer, index = head
    if not (0 <= layer < layers and 0 <= index < per_layer):
        raise AigiError(
            f"There is no head {index} in layer {layer}: layers are 0 to {layers - 1}, heads 0 to"
            f" {per_layer - 1}."
        )
    return int(layer), int(index)


def head_map(images: Encoded, head: Head) -> Float[np.ndarray, "head_width d"]:
    """What takes a head's contexts to the joint space, in float64; AigiError for an unknown
    head.
    """
    maps = images.decomposition["head_maps"]
    mapped: np.ndarray = maps[check_head(images.heads, head)].astype(np.float64)
    return mapped


def head_basis(
    images: Encoded, head: Head
) -> tuple[Float[np.ndarray, "d k"], Float[np.ndarray, "hw k"]]:
    """Orthonormal basis Q of what the head can write, and the map from its context to coordinates
    in that basis.
    """
    Q, R = np.linalg.qr(head_map(images, head).T)
    return Q, np.ascontiguousarray(R.T)


def context_scales(
    images: Encoded, rows: Int[np.ndarray, " n"] | None = None, normalised: bool = True
) -> Float[np.ndarray, " n"]:
    """What a head's mapped context is multiplied by: 1 / ln_post's standard deviation, and 1 / the
    embedding's length if normalised.
    """
    rows = np.arange(len(images.embeddings)) if rows is None else rows
    scale = 1.0 / np.asarray(images.ln_post[rows, 1], np.float64)
    return scale / embedding_norms(images, rows) if normalised else scale


def contexts(
    images: Encoded, head: Head, rows: Int[np.ndarray, " n"], scale: Float[np.ndarray, " n"]
) -> Iterator[tuple[slice, Float[np.ndarray, "b hw"]]]:
    """A head's scaled contexts, block by block: (slice of rows, float64 [block, head_width])."""
    cache = images.heads[check_head(images.heads, head)]
    for block in blocks(len(rows)):
        yield block, cache[rows[block]].astype(np.float64) * scale[block, None]


def head_features(
    images: Encoded,
    head: Head,
    rows: Int[np.ndarray, " n"] | None = None,
    norms: Float[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, "n head_width"]:
    """One head's contribution relative to the embedding, as coordinates in :func:`head_basis`.

    Args:
        norms: lengths of the rows' embeddings, where they are known.

    Raises:
        AigiError: an unknown head, features that do not belong together, or values that are not
            finite.
    """
    layer, index = check_head(images.heads, head)
    if norms is None:
        norms = embedding_norms(images, rows)
    z = take(images.heads[layer, index], rows).astype(np.float64)
    ln_post = take(images.ln_post, rows)
    maps = images.decomposition.get("head_maps", np.empty((0, 0, 0, 0)))
    shapes = {
        "head contexts": z.shape,
        "statistics of the layer norm": ln_post.shape,
        "maps of heads": maps.shape,
    }
    n = len(norms)
    if (
        z.shape != (n, maps.shape[2])
        or ln_post.shape != (n, 2)
        or maps.shape[:2] != images.heads.shape[:2]
    ):
        raise AigiError(
            f"The features of the heads of {counted(n, 'image')} do not belong together ({shapes}):"
            " encode the"
            " images again with one model."
        )
    std = ln_post[:, 1].astype(np.float64)
    R: Any = np.linalg.qr(maps[layer, index].astype(np.float64).T, mode="r")
    features: np.ndarray = (z @ R.T) / (std * norms)[:, None]
    require_finite(features, images, rows)
    return features


def stream_features(
    images: Encoded, head: Head, rows: Int[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, "n head_width"]:
    """One head's output in the residual stream, before the final norm and the projection, as
    coordinates that keep every inner product (Gandelsman et al. 2024 leave the norm out, too).

    Raises:
        AigiError: an unknown head, or an encoder whose output maps are not stored.
    """
    maps = images.decomposition.get(STREAM_MAPS)
    if maps is None:
        path = images.path if isinstance(images, Workspace) else "WORKSPACE"
        raise AigiError(
            "The maps from heads to the residual stream are not stored, which the paper's protocol"
            " needs: run"
            f" '{command('search', workspace=path, protocol='paper')}'."
        )
    head = check_head(images.heads, head)
    features: np.ndarray = take(images.heads[head], rows).astype(np.float64) @ maps[head].T
    require_finite(features, images, rows)
    return features


def embedding_norms(
    images: Encoded, rows: Int[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, " n"]:
    """Lengths of the embeddings of these rows (all by default), in float64.

    Raises:
        AigiError: a length of zero or no number; names the image.
    """
    if isinstance(images, Workspace) and (rows is None or 8 * len(rows) > len(images.embeddings)):
        lengths = _all_lengths(images)[slice(None) if rows is None else rows]
    else:
        lengths = _lengths(images.embeddings, rows)
    require_lengths(lengths, images, rows)
    return lengths


def _all_lengths(workspace: Workspace) -> Float[np.ndarray, " N"]:
    """Computed once: work on every head asks for them at each of them; read where a job has kept
    them."""
    kept = vars(workspace)
    if "_lengths" not in kept:
        stored = load_lengths(workspace)
        lengths = _lengths(workspace.embeddings, None) if stored is None else stored
        lengths.flags.writeable = False
        kept["_lengths"] = lengths
    result: np.ndarray = kept["_lengths"]
    return result


def save_lengths(workspace: Workspace) -> None:
    """Publish the lengths of all embeddings: of a million they take a second of a core."""
    results.publish(workspace, KEPT, {}, {FILE: {"lengths": embedding_norms(workspace)}})


def load_lengths(workspace: Workspace) -> Float[np.ndarray, " N"] | None:
    """What was kept; None where nothing whole is."""
    try:
        lengths = results.load(workspace, KEPT, {}).arrays(FILE)["lengths"]
    except (WorkspaceError, KeyError):
        return None
    whole = lengths.shape == (len(workspace.embeddings),) and lengths.dtype == np.float64
    return lengths if whole else None


def _lengths(embeddings: np.ndarray, rows: Int[np.ndarray, " n"] | None) -> Float[np.ndarray, " n"]:
    n = len(embeddings) if rows is None else len(rows)
    lengths = np.empty(n)
    for block in blocks(n, LENGTHS):
        part = np.asarray(embeddings[block if rows is None else rows[block]], np.float64)
        lengths[block] = np.sqrt(np.einsum("ij,ij->i", part, part))  # norm makes a copy of squares
    return lengths


def require_lengths(
    lengths: Float[np.ndarray, " n"], images: Encoded, rows: np.ndarray | None
) -> None:
    """Raise AigiError, naming the image, where an embedding has no direction."""
    good = np.isfinite(lengths) & (lengths > 0)
    if not good.all():
        _blame(~good, images, rows, "all zeros" if lengths[~good][0] == 0 else "NaN or infinity")


def require_finite(X: np.ndarray, images: Encoded, rows: np.ndarray | None) -> None:
    """Raise AigiError, naming the image, where features are not finite."""
    bad = ~np.isfinite(X).all(axis=1)
    if bad.any():
        _blame(bad, images, rows, "NaN or infinity")


def _blame(bad: np.ndarray, images: Encoded, rows: np.ndarray | None, what: str) -> None:
    position = int(np.flatnonzero(bad)[0])
    row = position if rows is None else int(rows[position])
    where = f"row {row}"
    if isinstance(images, Workspace):
        image = images.images.iloc[row]
        where = f"{image['path']!r} ({image['generator'] or 'real, pool ' + image['pool']})"
    raise AigiError(
        f"The features of image {where} are {what} ({counted(int(bad.sum()), 'such image')}):"
        " encode it again,"
        " or leave it out."
    )


def take(array: np.ndarray, rows: Int[np.ndarray, " n"] | None) -> np.ndarray:
    """These rows (all by default), in memory."""
    return np.asarray(array if rows is None else array[rows])


def blocks(n: int, size: int | None = None) -> Iterator[slice]:
    """Consecutive slices that cover range(n)."""
    step = size or BLOCK
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


@dataclass(frozen=True, eq=False, repr=False)
class Decomposition(ShortRepr):
    """The cached contexts of N images with the maps that take them to the joint space.

    Attributes:
        heads: class-token contexts before the output projection; usually a memory map, read in
            blocks.
        ln_post: mean and standard deviation of the final layer norm's input.
        embeddings: the model's own embeddings, not normalised.
        head_maps: [layers, heads, head_width, d], an array or
            :class:`aigi_core.head_maps.FactoredMaps`.
        beta: what the final norm's bias adds; part of the remainder.

    Example:
        >>> decomposition = Decomposition.of(Workspace.open("assets/demo"))  # doctest: +SKIP
        >>> decomposition.contribution(9, 3, rows)  # doctest: +SKIP
    """

    heads: Float[np.ndarray, "layers heads N head_width"]
    ln_post: Float32[np.ndarray, "N 2"]
    embeddings: Float32[np.ndarray, "N d"]
    head_maps: Any
    beta: Float32[np.ndarray, " d"]

    @classmethod
    def of(cls, workspace: Workspace) -> Decomposition:
        """Of an opened workspace; arrays stay memory maps."""
        maps = workspace.decomposition
        return cls(
            workspace.heads,
            workspace.ln_post,
            workspace.embeddings,
            maps["head_maps"],
            maps["beta"],
        )

    def context(
        self, layer: int, head: int, rows: Rows = None
    ) -> Float32[np.ndarray, "n head_width"]:
        """A head's contexts, divided by each image's standard deviation: linear coordinates of its
        contribution.

        Raises:
            AigiError: there is no such head.
        """
        layer, head = check_head(self.heads, (layer, head))
        chosen = slice(None) if rows is None else rows
        scale: np.ndarray = (
            self.heads[layer, head, chosen].astype(np.float32) / self.ln_post[chosen, 1:]
        )
        return scale

    def contribution(self, layer: int, head: int, rows: Rows = None) -> Float32[np.ndarray, "n d"]:
        """One head's direct contribution to the joint embeddings of these images; AigiError for an
        unknown head.
        """
        product: np.ndarray = self.context(layer, head, rows) @ self.head_maps[layer, head]
        return product

    def contributions(
        self, which: Iterable[Head], rows: Rows = None
    ) -> Iterator[Float32[np.ndarray, "n d"]]:
        """The contributions of several (layer, head), one at a time."""
        return (self.contribution(layer, head, rows) for layer, head in which)

    def sum_of_heads(self, rows: Rows = None) -> Float32[np.ndarray, "n d"]:
        """All heads' contributions, summed; memory beyond the result does not grow with the number
        of images.
        """
        index = np.arange(len(self.embeddings))[slice(None) if rows is None else rows]
        layers, heads, head_width, d = self.head_maps.shape
        total = np.empty((len(index), d), np.float32)
        step = max(1, BLOCK_VALUES // max(1, layers * heads * head_width))
        for start in range(0, len(index), step):
            block = index[start : start + step]
            contexts = self.heads[:, :, block].astype(np.float32)
            if isinstance(self.head_maps, FactoredMaps):
                product = self.head_maps.sums(contexts)
            else:
                rows_first = contexts.transpose(2, 0, 1, 3).reshape(len(block), -1)
                product = rows_first @ self.head_maps.reshape(-1, d)
            total[start : start + step] = product / self.ln_post[block, 1:]
        return total

    def remainder(self, rows: Rows = None) -> Float32[np.ndarray, "n d"]:
        """What no head contributed directly: MLPs, output biases, patch and position embedding,
        final bias.
        """
        rest: np.ndarray = self.embeddings[
            slice(None) if rows is None else rows
        ] - self.sum_of_heads(rows)
        return rest
