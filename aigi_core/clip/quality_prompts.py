"""Quality learnt from opinion scores with learned prompts of several categories (CLIP-AGIQA: Tang
et al. 2024): the features of an image and of six texts, joined, through two layers to a score.

A context is learnt before the words of the categories, as :mod:`aigi_core.clip.prompts` does for
detectors. Their training takes stochastic gradient descent for 100 epochs; here Adam, until images
held out of training are no better predicted.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from aigi_core.clip.prompts import SPREAD, TextTower

CATEGORIES = ("terrible.", "bad.", "poor.", "average.", "good.", "perfect.")
VECTORS = 16
HIDDEN = 512
BATCH = 128
EPOCHS = 100
PATIENCE = 10
RATE = 1e-3
HELD = 0.1
"""Share of the groups of images that say when to stop."""


class QualityNetwork(nn.Module):
    """Scores of images from their unit embeddings; the text tower is frozen."""

    def __init__(self, tower: TextTower, width: int, seed: int = 0) -> None:
        super().__init__()
        first = SPREAD * np.random.default_rng(seed).standard_normal((VECTORS, tower.width))
        self.tower = tower
        self.context = nn.Parameter(torch.tensor(first, dtype=torch.float32))
        self.first = nn.Linear(width * (1 + len(CATEGORIES)), HIDDEN)
        self.second = nn.Linear(HIDDEN, 1)
        self.dropout = nn.Dropout()

    def forward(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        texts = self.tower.after(self.context[None], CATEGORIES)[0].flatten()
        joined = torch.cat([embeddings, texts.expand(len(embeddings), -1)], dim=1)
        joined = joined * embeddings.shape[1] ** 0.5  # of unit variance, not of unit length
        hidden = torch.relu(self.first(self.dropout(joined)))
        scores: Tensor = self.second(self.dropout(hidden))[:, 0]
        return scores


def learn_quality(
    tower: TextTower,
    embeddings: Float[np.ndarray, "n d"],
    scores: Float[np.ndarray, " n"],
    groups: Int[np.ndarray, " n"],
    *,
    seed: int = 0,
    show: Callable[[str], None] = lambda line: None,
) -> QualityNetwork:
    """Train by the squared error; the epoch with the lowest error on the groups held out is kept.

    Args:
        embeddings: unit rows.
        scores: of mean 0 and variance 1.
        groups: images of a group are held out together.
    """
    device = next(tower.embedding.parameters()).device
    rng = np.random.default_rng(seed)
    known = rng.permutation(np.unique(groups))
    held = np.isin(groups, known[: max(1, round(HELD * len(known)))])
    X, y = (
        torch.from_numpy(np.ascontiguousarray(part, np.float32)).to(device)
        for part in (embeddings, scores)
    )
    own, rest = (torch.from_numpy(np.flatnonzero(part)).to(device) for part in (~held, held))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = QualityNetwork(tower, X.shape[1], seed).to(device)
        optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
        best = copy.deepcopy(network.state_dict())
        lowest = float("inf")
        at = 0
        for epoch in range(1, EPOCHS + 1):
            network.train()
            order = own[torch.randperm(len(own), device=device)]
            for start in range(0, len(order), BATCH):
                some = order[start : start + BATCH]
                loss = functional.mse_loss(network(X[some]), y[some])
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss, inputs=list(network.parameters()))
                optimizer.step()
            network.eval()
            with torch.no_grad():
                error = float(functional.mse_loss(network(X[rest]), y[rest]))
            if error < lowest:
                best = copy.deepcopy(network.state_dict())
                lowest = error
                at = epoch
            show(f"epoch {epoch} of {EPOCHS} at most · error {error:.3f} (lowest {lowest:.3f})")
            if epoch - at >= PATIENCE:
                break
    network.load_state_dict(best)
    return network


def quality_of(
    network: QualityNetwork, embeddings: Float[np.ndarray, "N d"]
) -> Float[np.ndarray, " N"]:
    """Scores of images, in the units that the network was trained on."""
    device = network.context.device
    network.eval()
    with torch.no_grad():
        rows = torch.from_numpy(np.ascontiguousarray(embeddings, np.float32)).to(device)
        scores: np.ndarray = network(rows).cpu().numpy().astype(np.float64)
    return scores
