"""What each head says for or against "fake", exactly: logit = bias + sum over heads + remainder.

The remainder is what attention does not write directly: MLPs, output biases, patch and position
embedding, beta. The normalisation of the embedding is inside: each term is the head's contribution,
divided by the length of its image's own embedding, times the detector's weights, so that terms add
up whatever the image. Contexts are cached in fp16; what that rounds off (at most 2**-11 of each
context's value) lands in the remainder, so that the sum stays exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from aigi_core.explain.reading import Reading, scores
from aigi_core.heads import all_heads, blocks, contexts, head_map
from aigi_core.manifest import FAKE, Domains
from aigi_core.reprs import ShortRepr
from aigi_core.workspace import Workspace

Z95 = 1.959964
NO_HEAD = "everything outside the heads"
"""What the remainder is called in tables: MLPs, biases, position."""


@dataclass(frozen=True, eq=False, repr=False)
class Evidence(ShortRepr):
    """A detector's logits on n images, split among the heads. Positive speaks for fake.

    Attributes:
        rows: [n] images, as rows of the workspace.
        heads: [n, layers, heads] logit that each head adds.
        remainder: [n] logit that everything else adds.
        bias: the detector's intercept.
        logit: [n]; ``bias + heads.sum((1, 2)) + remainder``.
    """

    rows: Int[np.ndarray, " n"]
    heads: Float[np.ndarray, "n layers heads"]
    remainder: Float[np.ndarray, " n"]
    bias: float
    logit: Float[np.ndarray, " n"]

    @property
    def layers(self) -> Float[np.ndarray, "n layers"]:
        """Logit that the heads of each layer add together."""
        total: np.ndarray = self.heads.sum(axis=2)
        return total

    def strongest_towards(self, fake: Bool[np.ndarray, " n"]) -> list[tuple[int, int, float]]:
        """For each image the head that says most for fake where ``fake``, else for real: (layer,
        head, evidence).
        """
        flat = self.heads.reshape(len(self.heads), -1)
        at = (np.where(fake, 1, -1)[:, None] * flat).argmax(axis=1)
        layer, head = np.unravel_index(at, self.heads.shape[1:])
        values = np.take_along_axis(flat, at[:, None], axis=1)[:, 0]
        return list(zip(layer.tolist(), head.tolist(), values.tolist(), strict=True))

    def relative_to(self, others: Evidence) -> Evidence:
        """The same as differences from the mean of other images: what sets these apart from them.
        The bias, which all share, drops out.
        """
        return Evidence(
            self.rows,
            self.heads - others.heads.mean(axis=0),
            self.remainder - others.remainder.mean(),
            0.0,
            self.logit - others.logit.mean(),
        )

    def table(self, image: int = 0) -> pd.DataFrame:
        """The image-th image's terms, largest first: ``term, layer, head, evidence`` (-1 where none
        applies).
        """
        layer, head = _terms(self)
        names = [f"head {a}.{b}" if a >= 0 else NO_HEAD for a, b in zip(layer, head, strict=True)]
        table = pd.DataFrame(
            {
                "term": [*names, "bias"],
                "layer": np.append(layer, -1),
                "head": np.append(head, -1),
                "evidence": [*self.heads[image].ravel(), self.remainder[image], self.bias],
            }
        )
        if not self.bias:
            table = table[table["term"] != "bias"]
        return table.sort_values(
            "evidence", key=abs, ascending=False, kind="stable", ignore_index=True
        )


def evidence(
    workspace: Workspace, reading: Reading, rows: Int[np.ndarray, " n"] | None = None
) -> Evidence:
    """Split a linear detector's logit on each image among the heads; reads the cache in blocks.

    Raises:
        AigiError: an embedding of length zero.
    """
    rows = np.arange(len(workspace.embeddings)) if rows is None else np.asarray(rows)
    logit = scores(workspace, [reading], rows)[0]
    scale = 1.0 / np.asarray(workspace.ln_post[rows, 1], np.float64)
    for block in blocks(len(rows)):
        scale[block] /= reading.lengths(np.asarray(workspace.embeddings[rows[block]], np.float64))
    heads = np.zeros((len(rows), *workspace.heads.shape[:2]))
    for layer, head in all_heads(workspace):
        weights = reading.head_weights(layer, head)
        if weights.any():
            on_context = head_map(workspace, (layer, head)) @ weights
            for block, part in contexts(workspace, (layer, head), rows, scale):
                heads[block, layer, head] = part @ on_context
    remainder = logit - reading.bias - heads.sum(axis=(1, 2))
    return Evidence(rows, heads, remainder, float(reading.bias), logit)


def mean_evidence(result: Evidence, domains: Domains) -> pd.DataFrame:
    """Mean evidence of each head on each generator's fakes and on each pool's real images, with 95
    % intervals.

    Intervals are normal; images of one group count as one draw (cluster-robust).

    Returns:
        Columns ``set`` (a generator, or "real: <pool>"), ``label, layer, head, mean, low, high,
        n``; layer and head are
        -1 for the remainder.
    """
    values, (layer, head) = _values(result), _terms(result)
    label, group = domains.labels[result.rows], domains.group_numbers(result.rows)
    reals = np.char.add("real: ", domains.pool[result.rows].astype(str))
    names = np.where(label == FAKE, domains.generator[result.rows], reals)
    order = [*domains.generators, *np.unique(reals[label != FAKE])]
    tables = []
    for name in (name for name in order if (names == name).any()):
        chosen = names == name
        mean = values[chosen].mean(axis=0)
        error = _cluster_error((values[chosen] - mean) / chosen.sum(), group[chosen])
        tables.append(
            pd.DataFrame(
                {
                    "set": name,
                    "label": int(label[chosen][0]),
                    "layer": layer,
                    "head": head,
                    "mean": mean,
                    "low": mean - Z95 * error,
                    "high": mean + Z95 * error,
                    "n": int(chosen.sum()),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def spread_of_real(result: Evidence, domains: Domains) -> float:
    """The standard deviation of the detector's logit on the real images: what says whether a head's
    evidence is much or little. NaN with fewer than two.
    """
    real = result.logit[domains.labels[result.rows] != FAKE]
    return float(real.std(ddof=1)) if len(real) > 1 else float("nan")


def head_roles(result: Evidence, domains: Domains) -> pd.DataFrame:
    """How much each head widens the gap between a generator's fakes and the real images of its
    pools.

    ``gap`` is the head's mean evidence on the fakes less that on the reals, with a 95% interval
    (groups count as one draw). A head ``carries`` the detector on a generator where its interval
    lies above zero, ``misleads`` it where below, and is ``undecided`` otherwise. Of 72 heads
    without effect, about two lie above by chance and two below.

    Returns:
        Columns ``generator, layer, head, gap, low, high, role, n_fake, n_real, spread`` (layer and
        head -1: the remainder); spread is :func:`spread_of_real`.
    """
    values, (layer, head) = _values(result), _terms(result)
    label = domains.labels[result.rows]
    pool = domains.pool[result.rows]
    group = domains.group_numbers(result.rows)
    tables, spread = [], spread_of_real(result, domains)
    for name in domains.generators:
        fake = domains.generator[result.rows] == name
        real = (label != FAKE) & np.isin(pool, domains.pools_of(name))
        if not (fake.any() and real.any()):
            continue
        gap = values[fake].mean(axis=0) - values[real].mean(axis=0)
        centred = np.zeros_like(values)
        for sign, chosen in ((1, fake), (-1, real)):
            centred[chosen] = sign * (values[chosen] - values[chosen].mean(axis=0)) / chosen.sum()
        error = _cluster_error(centred[fake | real], group[fake | real])
        low, high = gap - Z95 * error, gap + Z95 * error
        tables.append(
            pd.DataFrame(
                {
                    "generator": name,
                    "layer": layer,
                    "head": head,
                    "gap": gap,
                    "low": low,
                    "high": high,
                    "role": np.where(
                        low > 0, "carries", np.where(high < 0, "misleads", "undecided")
                    ),
                    "n_fake": int(fake.sum()),
                    "n_real": int(real.sum()),
                    "spread": spread,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def _values(result: Evidence) -> Float[np.ndarray, "n t"]:
    return np.concatenate(
        [result.heads.reshape(len(result.rows), -1), result.remainder[:, None]], axis=1
    )


def _terms(result: Evidence) -> tuple[Int[np.ndarray, " t"], Int[np.ndarray, " t"]]:
    layers, heads = result.heads.shape[1:]
    return np.append(np.repeat(np.arange(layers), heads), -1), np.append(
        np.tile(np.arange(heads), layers), -1
    )


def _cluster_error(
    centred: Float[np.ndarray, "n t"], group: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " t"]:
    """Cluster-robust standard error of the sum of weighted, centred rows; NaN from a single
    group.
    """
    names, index = np.unique(group, return_inverse=True)
    if len(names) < 2:
        return np.full(centred.shape[1], np.nan)
    sums = np.zeros((len(names), centred.shape[1]))
    np.add.at(sums, index, centred)
    error: np.ndarray = np.sqrt((sums**2).sum(axis=0) * len(names) / (len(names) - 1))
    return error
