"""Context vectors learnt before the words of each class, on a frozen text tower (CoOp: Zhou et al.
2022, arXiv 2109.01134).

Images enter by their stored embeddings, so that one step costs a pass of two short texts. CoOp
takes mini-batches and stochastic gradient descent; here every step sees all images, by Adam.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
        self, contexts: Float[Tensor, "B m width"], texts: Sequence[str]
    ) -> Float[Tensor, "B T d"]:
        """Unit rows of texts that begin with the vectors of each context.

        Raises:
            AigiError: the tokenizer does not keep placeholders apart, one token each.
        """
        length = contexts.shape[1]
        mine = threading.get_ident()  # other sessions may read texts with the same tower meanwhile

        def put(_: nn.Module, inputs: tuple[Tensor, ...], vectors: Tensor) -> Tensor | None:
            if threading.get_ident() != mine:
                return None
            start = _placeholders(inputs[0], length)
            own = contexts.to(vectors.dtype).repeat_interleave(len(texts), dim=0)
            return torch.cat([vectors[:, :start], own, vectors[:, start + length :]], dim=1)

        handle = self.embedding.register_forward_hook(put)
        try:
            before = " ".join([PLACEHOLDER] * length)
            rows = self.forward([f"{before} {text}" for text in texts] * len(contexts))
        finally:
            handle.remove()
        return functional.normalize(rows.float(), dim=-1).view(len(contexts), len(texts), -1)


@dataclass(frozen=True, eq=False)
class Learnt:
    """``weights`` and ``bias`` of f in :func:`learn_prompts`, for each set of labels."""

    weights: Float[np.ndarray, "B d"]
    bias: Float[np.ndarray, " B"]


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
    labels: Int[np.ndarray, "B n"],
    class_weight: Float[np.ndarray, "B n"],
    *,
    vectors: int,
    steps: Sequence[int],
    fit_intercept: bool,
    seed: int = 0,
) -> list[Learnt]:
    """Learn, for each of B sets of labels of the same images, one context for both classes and a
    bias beside it. The sets share passes of the text tower and nothing else.

    Minimises the mean of s_i log(1 + exp(-y_i f_i)) with the class weights s, where
    f = TEMPERATURE * e . (t_fake - t_real) + b for unit embeddings e and unit texts t: the
    cross-entropy of CoOp's softmax over the cosines with two texts, and a bias.

    Args:
        classes: words for real and for generated images, which follow the context.
        embeddings: unit rows.
        vectors: how many the context has.
        steps: numbers of steps after which what is learnt is given, ascending.

    Returns:
        What is learnt after each number of steps.
    """
    device = next(tower.embedding.parameters()).device
    X, sign, share = (
        torch.from_numpy(np.ascontiguousarray(part, np.float32)).to(device)
        for part in (
            embeddings,
            np.where(np.asarray(labels) > 0, 1.0, -1.0),
            class_weight / class_weight.sum(axis=1, keepdims=True),
        )
    )
    first = SPREAD * np.random.default_rng(seed).standard_normal((vectors, tower.width))
    every = np.tile(first, (len(labels), 1, 1))
    contexts = torch.tensor(every, dtype=torch.float32, device=device, requires_grad=True)
    bias = torch.zeros((len(labels), 1), device=device, requires_grad=fit_intercept)
    changes = [contexts, bias] if fit_intercept else [contexts]
    optimizer = torch.optim.Adam(changes, lr=LEARNING_RATE)

    def weights() -> Float[Tensor, "B d"]:
        texts = tower.after(contexts, classes)
        return TEMPERATURE * (texts[:, 1] - texts[:, 0])

    learnt = []
    for step in range(1, max(steps) + 1):
        margin = sign * (weights() @ X.T + bias)
        loss = (share * functional.softplus(-margin)).sum()  # Adam goes by each set's gradient
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss, inputs=changes)
        optimizer.step()
        if step in steps:
            with torch.no_grad():
                w = weights().cpu().numpy().astype(np.float64)
            learnt.append(Learnt(w, bias.detach()[:, 0].cpu().numpy().astype(np.float64)))
    return learnt
