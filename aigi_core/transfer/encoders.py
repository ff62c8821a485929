"""Which encoder? The same detectors on the same images and splits, as several encoders see them.

Everything is paired image by image: the encodings share one table of images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from aigi_core.detectors import score_detectors, train
from aigi_core.detectors.stored import load_detectors, load_scores
from aigi_core.encodings import speed_of
from aigi_core.errors import AigiError
from aigi_core.manifest import FAKE, Domains
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.resampling import percentile_interval
from aigi_core.significance import q_values
from aigi_core.statements import Finding, counted
from aigi_core.stored_features import array_axes
from aigi_core.transfer.difference import difference
from aigi_core.transfer.matrix import TransferMatrix, transfer_matrix
from aigi_core.winner import Winner, winner
from aigi_core.workspace import Workspace

DRAWS = 1000


@dataclass(frozen=True, eq=False)
class Encoding:
    """Detectors of every generator on one encoder's embeddings.

    Attributes:
        scores: [K, N] log-odds less each detector's threshold, over the standard deviation of its
            scores on training images: a scale on which encoders can be averaged.
        matrix: measured at the detectors' own thresholds.
    """

    name: str
    model: str
    scores: Float[np.ndarray, "K N"] = field(repr=False)
    matrix: TransferMatrix = field(repr=False)


def measure(name: str, workspace: Workspace, metric: str = DEFAULT_METRIC) -> Encoding:
    """Train and measure one detector a generator on a workspace's embeddings; detectors and scores
    that a job has kept are read."""
    domains = workspace.domains
    sets = [(name,) for name in domains.generators]
    detectors = load_detectors(workspace, sets) or train(workspace, domains.generators)
    scores = load_scores(workspace, detectors)
    if scores is None:
        scores = score_detectors(detectors, workspace)
    thresholds = np.array([detector.threshold for detector in detectors])
    known = scores[:, domains.split == "train"]
    scaled = (scores - thresholds[:, None]) / known.std(axis=1, keepdims=True)
    return Encoding(
        name,
        str(workspace.encoder["model"]),
        scaled,
        _matrix(scaled, domains, metric),
    )


def _matrix(scores: np.ndarray, domains: Domains, metric: str) -> TransferMatrix:
    return transfer_matrix(
        scores, domains, domains.generators, thresholds=0.0, metrics=(metric,), draws=DRAWS
    )


def compare(encodings: Mapping[str, Encoding], metric: str = DEFAULT_METRIC) -> pd.DataFrame:
    """Encoders beside the first of them.

    Returns:
        ``name, model, value, low, high, n`` (the mean of the out-of-domain cells), ``in_domain,
        hardest, hardest_value, hardest_value_low, hardest_value_high`` (the generator found least,
        with an interval that allows for the choice) and, against the first
        encoder, ``change, change_low, change_high, p_value, q_value`` (Benjamini-Hochberg over the
        encoders compared).
    """
    first, rows = next(iter(encodings.values())), []
    for name, encoding in encodings.items():
        matrix = encoding.matrix
        ood, inside = (matrix.mean(metric, c) for c in (~matrix.in_domain, matrix.in_domain))
        hardest = matrix.hardest(metric)
        change = dict.fromkeys(("change", "change_low", "change_high", "p_value"), np.nan)
        if encoding is not first:  # with itself it would look at every image for nothing
            gap = difference(matrix, first.matrix, metric).mean(~matrix.in_domain)
            change = dict(zip(change, (gap.value, gap.low, gap.high, gap.p_value), strict=True))
        rows.append(
            {
                "name": name,
                "model": encoding.model,
                "value": ood.value,
                "low": ood.low,
                "high": ood.high,
                "n": ood.n,
                "in_domain": inside.value,
                "hardest": hardest.name if hardest else "",
                "hardest_value": hardest.value if hardest else np.nan,
                "hardest_value_low": hardest.low if hardest else np.nan,
                "hardest_value_high": hardest.high if hardest else np.nan,
                **change,
            }
        )
    table = pd.DataFrame(rows)
    compared = table["p_value"].notna()
    table.loc[compared, "q_value"] = q_values(table.loc[compared, "p_value"].to_numpy())
    return table


def differences_in_words(table: pd.DataFrame, show: Callable[[str], str] = str) -> str:
    """What :func:`compare` says of each encoder against the first, a sentence each, of at most
    four; empty for one alone."""
    first, *others = table.to_dict("records")
    over = counted(len(others), "encoder")
    sentences = []
    for row in others[:4]:
        gap = Finding.of_row(
            row,
            "change",
            q_value=row["q_value"],
            n=int(row["n"]),
            what="paired cell",
            corrected_over=over if len(others) > 1 else "",
        )
        sentences.append(f" {show(row['name'])} minus {show(first['name'])}: {gap.points()}.")
    return "".join(sentences)


def costs(encodings: Mapping[str, Workspace]) -> pd.DataFrame:
    """What an image costs by each encoder: ``name, model, width, bytes`` (of all that is kept),
    ``seconds, core_seconds, measured`` (:func:`aigi_core.encodings.speed_of`).
    """
    return pd.DataFrame(
        [
            {
                "name": name,
                "model": str(one.encoder["model"]),
                "width": int(one.encoder["embedding_width"]),
                "bytes": bytes_an_image(one),
                **speed_of(one.path),
            }
            for name, one in encodings.items()
        ]
    )


def bytes_an_image(workspace: Workspace) -> int:
    """Bytes that a workspace's features take of each image."""
    files = workspace.manifest["files"]
    held = sum(int(files[name]["bytes"]) for name in array_axes(files))
    return round(held / len(workspace.domains))


def highest_encoder(encodings: Mapping[str, Encoding], metric: str = DEFAULT_METRIC) -> Winner:
    """The encoder with the highest mean out of domain, on images and draws that all share."""
    means = [
        {"name": name, **vars(e.matrix.mean(metric, ~e.matrix.in_domain))}
        for name, e in encodings.items()
    ]
    draws = [e.matrix.mean_draws(metric, ~e.matrix.in_domain) for e in encodings.values()]
    return winner(pd.DataFrame(means), np.stack(draws, axis=1), limits=(0, 1))


def by_generator(encodings: Mapping[str, Encoding], metric: str = DEFAULT_METRIC) -> pd.DataFrame:
    """How well each encoder finds each generator that its detectors have not seen: one row a
    generator and encoder, those of a generator together: ``name, encoder`` and the other columns of
    :meth:`~.matrix.TransferMatrix.by_test`.
    """
    tables = [e.matrix.by_test(metric) for e in encodings.values()]
    for name, table in zip(encodings, tables, strict=True):
        table.insert(1, "encoder", name)
    return pd.concat(tables).sort_index(kind="stable").reset_index(drop=True)


def agreement(
    a: Encoding, b: Encoding, domains: Domains, metric: str = DEFAULT_METRIC, seed: int = 0
) -> dict[str, float]:
    """How alike two encoders' errors are, out of domain, and whether their mean helps.

    Returns:
        ``both_wrong`` and ``expected_both_wrong`` (were errors independent within each detector and
        class: most errors are missed fakes, for any two detectors), shares of all (detector, image)
        pairs out of domain; ``ratio`` of the two with ``ratio_low,
        ratio_high`` (95%, bootstrap of groups of images) and ``n`` images; ``ensemble`` (OOD of
        the mean of both scaled scores) and ``gain, gain_low, gain_high, p_value`` over the one of
        the two that does better on these images, which makes the gain too small, if anything.

    Raises:
        AigiError: no detector can be tested out of domain.
    """
    wrong, used = _errors((a, b), domains)
    if not used.any():
        raise AigiError("Errors are compared out of domain: add images of a second generator.")
    rows = np.flatnonzero(used.any(axis=0))
    groups, cells = domains.group_numbers(rows), used[:, rows]
    first, second = (part[:, rows] & cells for part in wrong)

    fake = domains.labels[rows] == FAKE
    of, one, other, both = (  # a row for each detector and class
        np.concatenate([part & fake, part & ~fake]).astype(float)
        for part in (cells, first, second, first & second)
    )

    def ratio(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = np.maximum(of @ weights, 1e-12)
        alone = (one @ weights) * (other @ weights) / n
        return (both @ weights).sum(axis=0) / n.sum(axis=0), alone.sum(axis=0) / n.sum(axis=0)

    (share,), (alone,) = ratio(np.ones((cells.shape[1], 1)))
    rng, count = np.random.default_rng(seed), int(groups.max()) + 1
    drawn = np.stack(
        [np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(DRAWS)]
    )
    together, apart = ratio(drawn[:, groups].T.astype(float))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = together / apart
    low, high = percentile_interval(ratios[np.isfinite(ratios)])
    joint = _matrix((a.scores + b.scores) / 2, domains, metric)
    means = [e.matrix.mean(metric, ~e.matrix.in_domain).value for e in (a, b)]
    better = (a, b)[int(np.argmax(means))]
    gain = difference(joint, better.matrix, metric).mean(~joint.in_domain)
    return {
        "both_wrong": float(share),
        "expected_both_wrong": float(alone),
        "ratio": float(share / alone) if alone else np.nan,
        "ratio_low": float(low),
        "ratio_high": float(high),
        "n": int(cells.shape[1]),
        "ensemble": joint.mean(metric, ~joint.in_domain).value,
        "gain": gain.value,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "p_value": gain.p_value,
    }


def _errors(
    pair: tuple[Encoding, Encoding], domains: Domains
) -> tuple[list[Bool[np.ndarray, "K N"]], Bool[np.ndarray, "K N"]]:
    """Wrong verdicts of each, and which (detector, image) pairs are out of domain on test."""
    used = np.zeros(pair[0].scores.shape, bool)
    for k, trained in enumerate(domains.generators):
        for tested in domains.generators:
            if tested != trained:
                used[k, domains.rows(tested, "test")] = True
    wrong = [(encoding.scores > 0) != (domains.labels == 1) for encoding in pair]
    return wrong, used
