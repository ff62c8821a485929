"""Why: a detector's logit on one image as an exact sum over heads, image patches and everything
else.

    logit = bias + sum over heads and tokens of contexts[l, h, t] @ head_maps[l, h] . u_lh / length
    + sum of rest . w / length

with w the weights on the whole embedding, u_lh those on a head's contribution (w, and the head's
own where the detector sees single heads) and length that of the image's embedding (Gandelsman et
al. 2024, extended by layer norm and biases).

Taking a part away takes its term out of this sum. The embedding's length, the other heads' contexts
and the attention stay as they were: what changes is the part's direct evidence, not what later
layers made of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, UInt8

from aigi_core.errors import AigiError
from aigi_core.explain.evidence import NO_HEAD, Evidence
from aigi_core.explain.reading import Reading
from aigi_core.heads import Decomposition, Head, check_head
from aigi_core.reprs import ShortRepr
from aigi_core.statements import counted
from aigi_core.workspace import Workspace

if TYPE_CHECKING:  # these need torch, this module does not
    from aigi_core.clip.encoder import Encoder
    from aigi_core.clip.tokens import TokenTerms

Patch = tuple[int, int]
"""(row, column) of the encoder's grid, from the top left."""


@dataclass(frozen=True)
class Removal:
    """Parts of one image's embedding that are taken away together.

    Attributes:
        heads: (layer, index); all that they took from any token.
        patches: all that any head took from them.
        components: of the embedding, in every contribution.
    """

    heads: tuple[Head, ...] = ()
    patches: tuple[Patch, ...] = ()
    components: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.heads or self.patches or self.components)


@dataclass(frozen=True, eq=False, repr=False)
class Parts(ShortRepr):
    """One image's embedding, taken apart.

    Attributes:
        contexts: divided by ln_post's standard deviation. One token where only the heads' totals
            are known (cached features), else token 0 is the class token and the others are patches.
            rest, names: all other terms, in the joint space.
        embedding: not normalised; the sum of all terms.
        head_maps: from contexts to the joint space.
        grid: rows and columns of patches; None where tokens are not known.
    """

    contexts: Float32[np.ndarray, "layers heads tokens head_width"]
    rest: Float[np.ndarray, "terms d"]
    names: tuple[str, ...]
    embedding: Float[np.ndarray, " d"]
    head_maps: Float32[np.ndarray, "layers heads head_width d"]
    grid: tuple[int, int] | None = None

    @classmethod
    def of_row(cls, workspace: Workspace, row: int) -> Parts:
        """From a workspace's cached features: heads without patches, and one remainder."""
        if not 0 <= row < len(workspace.embeddings):
            raise AigiError(
                f"There is no image in row {row}: the workspace has {len(workspace.embeddings)}."
            )
        has_heads = workspace.gives.has("heads")
        return cls.of_encoded(
            workspace.embeddings[row],
            workspace.heads[:, :, row] if has_heads else np.zeros((0, 0, 0), np.float16),
            workspace.ln_post[row] if has_heads else np.array([0, 1], np.float32),
            workspace.decomposition,
        )

    @classmethod
    def of_encoded(
        cls,
        embedding: Float[np.ndarray, " d"],
        heads: Float[np.ndarray, "layers heads head_width"],
        ln_post: Float[np.ndarray, " 2"],
        decomposition: dict[str, np.ndarray],
    ) -> Parts:
        """The same from the features of an image just encoded."""
        one = Decomposition(
            heads[:, :, None],
            np.asarray(ln_post)[None],
            np.asarray(embedding)[None],
            decomposition["head_maps"],
            decomposition["beta"],
        )
        contexts = heads[:, :, None].astype(np.float32) / np.float32(ln_post[1])
        names = (NO_HEAD,)
        return cls(
            contexts, one.remainder(), names, np.asarray(embedding), decomposition["head_maps"]
        )

    @classmethod
    def of_tokens(cls, terms: TokenTerms, decomposition: dict[str, np.ndarray]) -> Parts:
        """From a full forward pass: heads by patches, MLPs, biases."""
        contexts = terms.contexts / terms.ln_post[1]
        return cls(
            contexts,
            terms.rest,
            terms.names,
            terms.embedding,
            decomposition["head_maps"],
            terms.grid,
        )

    @classmethod
    def of_pixels(
        cls,
        encoder: Encoder,
        pixels: UInt8[np.ndarray, "size size 3"],
        decomposition: dict[str, np.ndarray],
    ) -> Parts:
        """The same, running the encoder over one preprocessed image."""
        from aigi_core.clip.tokens import token_terms

        return cls.of_tokens(token_terms(encoder, pixels), decomposition)

    def evidence(self, reading: Reading, removal: Removal | None = None) -> PartEvidence:
        """Every term of a detector's logit on this image; terms taken away are zero.

        Raises:
            AigiError: a head, patch or component that does not exist, or patches of an image known
                by its heads only.
        """
        removal = removal or Removal()
        d = len(self.embedding)
        self._check(removal)
        mask = np.ones(d)
        mask[list(removal.components)] = 0
        scale = 1 / float(reading.lengths(np.asarray(self.embedding, np.float64)[None])[0])
        weights = reading.embedding * mask * scale
        on_context = self.head_maps @ weights.astype(np.float32)
        for head, own in reading.heads.items():
            on_context[head] += self.head_maps[head] @ (own * mask * scale).astype(np.float32)
        heads = np.einsum("lhtk,lhk->lht", self.contexts, on_context).astype(np.float64)
        for head in removal.heads:
            heads[head] = 0
        if removal.patches and self.grid:
            heads[:, :, [1 + row * self.grid[1] + column for row, column in removal.patches]] = 0
        return PartEvidence(
            heads,
            np.asarray(self.rest, np.float64) @ weights,
            self.names,
            float(reading.bias),
            self.grid,
        )

    def components(self, reading: Reading) -> Float[np.ndarray, " d"]:
        """Evidence of each component of the embedding; with the bias it adds up to the logit."""
        scale = 1 / float(reading.lengths(np.asarray(self.embedding, np.float64)[None])[0])
        total = reading.embedding * self.embedding
        for (layer, head), own in reading.heads.items():
            total = total + own * (
                self.contexts[layer, head].sum(axis=0) @ self.head_maps[layer, head]
            )
        return np.asarray(total * scale, np.float64)

    def _check(self, removal: Removal) -> None:
        for head in removal.heads:
            check_head(self.contexts, head)
        for component in removal.components:
            if not 0 <= component < len(self.embedding):
                raise AigiError(
                    f"There is no component {component}: they are 0 to {len(self.embedding) - 1}."
                )
        if removal.patches and self.grid is None:
            raise AigiError(
                "Patches can be removed only after a full forward pass: load the encoder first."
            )
        for row, column in removal.patches:
            if self.grid and not (0 <= row < self.grid[0] and 0 <= column < self.grid[1]):
                raise AigiError(
                    f"There is no patch {row}.{column}: the grid has {self.grid[0]} x"
                    f" {self.grid[1]}."
                )


@dataclass(frozen=True, eq=False, repr=False)
class PartEvidence(ShortRepr):
    """A logit as a sum of terms; positive speaks for fake.

    Attributes:
        heads: what each head adds from each token.
        rest: what each other term adds.
    """

    heads: Float[np.ndarray, "layers heads tokens"]
    rest: Float[np.ndarray, " terms"]
    names: tuple[str, ...]
    bias: float
    grid: tuple[int, int] | None

    @property
    def logit(self) -> float:
        """The sum of all terms."""
        return float(self.bias + self.heads.sum() + self.rest.sum())

    def compared_with(self, average: Evidence) -> Evidence:
        """The same image's evidence, head by head, as differences from the mean of other images.

        What all images share, such as the bias, drops out; terms that no head wrote are one sum.

        Args:
            average: evidence of the other images for the same detector
                (:func:`aigi_core.explain.evidence.evidence`).
        """
        own = Evidence(
            np.array([0]),
            self.heads.sum(axis=2)[None],
            np.array([self.rest.sum()]),
            self.bias,
            np.array([self.logit]),
        )
        return own.relative_to(average)

    @property
    def patches(self) -> Float[np.ndarray, "rows columns"]:
        """What all heads together took from each patch; AigiError where patches are not known."""
        if self.grid is None:
            raise AigiError(
                "The evidence of patches needs a full forward pass: load the encoder first."
            )
        total: np.ndarray = self.heads[:, :, 1:].sum(axis=(0, 1)).reshape(self.grid)
        return total

    @property
    def class_token(self) -> float:
        """What heads took from the class token itself."""
        return float(self.heads[:, :, 0].sum()) if self.grid else float("nan")

    def head_patches(self, head: Head) -> Float[np.ndarray, "rows columns"]:
        """What one head took from each patch."""
        return PartEvidence(
            self.heads[None, head[0] : head[0] + 1, head[1]], self.rest, self.names, 0, self.grid
        ).patches

    def table(self) -> pd.DataFrame:
        """Terms, largest first: ``term, layer, head, evidence`` (-1 where none applies); heads with
        all their tokens.
        """
        layers, heads = self.heads.shape[:2]
        layer, head = np.divmod(np.arange(layers * heads), heads)
        names = [f"head {a}.{b}" for a, b in zip(layer, head, strict=True)]
        none = [-1] * (len(self.rest) + 1)
        table = pd.DataFrame(
            {
                "term": [*names, *self.names, "bias"],
                "layer": [*layer, *none],
                "head": [*head, *none],
                "evidence": [*self.heads.sum(axis=2).ravel(), *self.rest, self.bias],
            }
        )
        return table.sort_values(
            "evidence", key=abs, ascending=False, kind="stable", ignore_index=True
        )

    def kinds(self) -> pd.DataFrame:
        """The logit by kind of term: ``term, evidence``; adds up to the logit."""
        rows: list[tuple[str, float]]
        if self.grid:
            rows = [
                ("heads, from image patches", float(self.patches.sum())),
                ("heads, from the class token", self.class_token),
            ]
        else:
            rows = [("heads", float(self.heads.sum()))]
        mlps = [name.startswith("MLP") for name in self.names]
        if any(mlps):
            rows.append((f"MLPs of {counted(sum(mlps), 'layer')}", float(self.rest[mlps].sum())))
        rows += [
            (name, float(v))
            for name, v, mlp in zip(self.names, self.rest, mlps, strict=True)
            if not mlp
        ]
        return pd.DataFrame(
            [*rows, ("the detector's own bias", self.bias)], columns=["term", "evidence"]
        )
