"""Context vectors learnt before the words of each class, on a frozen text tower (CoOp: Zhou et al.
2022, arXiv 2109.01134).

Images enter by their stored embeddings, so that one step costs a pass of two short texts. CoOp
takes mini-batches and stochastic gradient descent; here every step sees all images, by Adam.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from aigi_core.errors import AigiError

PLACEHOLDER = "x"
"""One token of every tokenizer met so far; context vectors take the place of its embeddings."""
TEMPERATURE = 100.0
"""Of the softmax over cosines: where CLIP's own training ends."""
LEARNING_RATE = 0.01
SPREAD = 0.02
"""Standard deviation of the first context vectors (CoOp's)."""


@dataclass(frozen=True, eq=False)
class TextTower:
    """A frozen text tower that passes gradients on to the embeddings of its tokens.

    Attributes:
        embedding: the module that turns ids of tokens [T, length] into vectors [T, length, width].
        forward: texts to rows of the joint space [T, d], not normalised, with gradients.
    """

    embedding: nn.Module
    forward: Callable[[Sequence[str]], Float[Tensor, "T d"]]

    @property
    def width(self) -> int:
        """Of the embedding of a token."""
        return int(next(self.embedding.parameters()).shape[1])

    def after(
        self, context: Float[Tensor, "m width"], texts: Sequence[str]
    ) -> Float[Tensor, "T d"]:
        """Unit rows of texts that begin with the context vectors.

        Raises:
            AigiError: the tokenizer does not keep placeholders apart, one token each.
        """
        mine = threading.get_ident()  # other sessions may read texts with the same tower meanwhile

        def put(_: nn.Module, inputs: tuple[Tensor, ...], vectors: Tensor) -> Tensor | None:
            if threading.get_ident() != mine:
                return None
            start = _placeholders(inputs[0], len(context))
            stop = start + len(context)
            own = context.to(vectors.dtype).expand(len(vectors), -1, -1)
            return torch.cat([vectors[:, :start], own, vectors[:, stop:]], dim=1)

        handle = self.embedding.register_forward_hook(put)
        try:
            before = " ".join([PLACEHOLDER] * len(context))
            rows = self.forward([f"{before} {text}" for text in texts])
        finally:
            handle.remove()
        return functional.normalize(rows.float(), dim=-1)


def _placeholders(ids: Int[Tensor, "T length"], count: int) -> int:
    """Where the placeholders begin: at the first token, or after a token that starts each text."""
    for start in (0, 1):
        some = ids[:, start : start + count]
        if some.shape[1] == count and bool((some == some[0, -1]).all()):
            return start
    raise AigiError(
        "Prompts cannot be learnt with this text tower: its tokenizer does not read"
        f" {' '.join([PLACEHOLDER] * count)!r} as {count} equal tokens."
    )


def learn_prompts(
    tower: TextTower,
    classes: tuple[str, str],
    embeddings: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    class_weight: Float[np.ndarray, " n"],
    *,
    vectors: int,
    steps: Sequence[int],
    fit_intercept: bool,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Learn one context for both classes, and a bias beside it.

    Minimises the mean of s_i log(1 + exp(-y_i f_i)) with the class weights s, where
    f = TEMPERATURE * e . (t_fake - t_real) + b for unit embeddings e and unit texts t: the
    cross-entropy of CoOp's softmax over the cosines with two texts, and a bias.

    Args:
        classes: words for real and for generated images, which follow the context.
        embeddings: unit rows.
        vectors: how many the context has.
        steps: numbers of steps after which what is learnt is given, ascending.

    Returns:
        One dictionary a number of steps: ``weights`` [d] and ``bias`` of f.
    """
    device = next(tower.embedding.parameters()).device
    X, sign, share = (
        torch.from_numpy(np.ascontiguousarray(part, np.float32)).to(device)
        for part in (
            embeddings,
            np.where(np.asarray(labels) > 0, 1.0, -1.0),
            class_weight / class_weight.sum(),
        )
    )
    first = SPREAD * np.random.default_rng(seed).standard_normal((vectors, tower.width))
    context = torch.tensor(first, dtype=torch.float32, device=device, requires_grad=True)
    bias = torch.zeros((), device=device, requires_grad=fit_intercept)
    changes = [context, bias] if fit_intercept else [context]
    optimizer = torch.optim.Adam(changes, lr=LEARNING_RATE)

    def weights() -> Float[Tensor, " d"]:
        texts = tower.after(context, classes)
        return TEMPERATURE * (texts[1] - texts[0])

    learnt = []
    for step in range(1, max(steps) + 1):
        margin = sign * (X @ weights() + bias)
        loss = (share * functional.softplus(-margin)).sum()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss, inputs=changes)
        optimizer.step()
        if step in steps:
            with torch.no_grad():
                w = weights().cpu().numpy().astype(np.float64)
            learnt.append({"weights": w, "bias": float(bias.detach())})
    return learnt
