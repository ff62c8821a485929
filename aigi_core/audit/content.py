"""Do fakes and real images show the same things? If not, a detector may tell pizzas from streets.

Content is what images have in common with phrases about things (scenes, objects, food, people ...).
These scores come from the same embedding as everything else, so traces of generation can colour
them: read a high number as an upper bound on what content alone gives away, a low one as an
all-clear. To keep the bound tight, separability is measured in the few broadest directions of
content only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from aigi_core.errors import AigiError
from aigi_core.explain.lexicon import Lexicon
from aigi_core.intervals import Interval, count_interval, interval_of_draws, rate_of_draws
from aigi_core.manifest import FAKE, REAL, Domains
from aigi_core.nearest import nearest_neighbours
from aigi_core.resampling import group_numbers
from aigi_core.transfer import Resample, TrainSet, transfer_matrix
from aigi_core.transfer.bootstrap import AT_A_TIME
from aigi_core.transfer.matrix import as_train_sets
from aigi_core.vectors import unit_rows

CONTENT_CATEGORIES = (
    "scene",
    "object",
    "clothing and shoes",
    "food and drink",
    "animal",
    "nature and plant",
    "vehicle and machine",
    "people and body",
)
"""Categories of phrases that name what an image shows, not how it was made."""
EVERY_SPLIT = ("train", "val", "test")
BLOCK = 8192
MOST_OF_A_SOURCE = 2500
"""Images of each generator and each pool's real ones in a split on which an audit looks at content,
where there are more than three times as many: the difference of two means is then known to .03
standard deviations, and the scores of all texts for a million images would take 6 GB."""
COVERAGE = 0.95
"""Share of real images that have another one as near as a matched fake has one."""


@dataclass(frozen=True, eq=False)
class Concepts:
    """How much each image looks like each text.

    Attributes:
        scores: [N, C] cosine of the image (centred by the mean image) and the text (centred by the
            mean text).
        table: [C rows] ``text``, ``category``.
    """

    scores: Float[np.ndarray, "N C"] = field(repr=False)
    table: pd.DataFrame = field(repr=False)

    def by_category(self) -> Concepts:
        """Mean score over the texts of each category; ``text`` then names the category."""
        names = self.table["category"].to_numpy()
        categories = [name for name in pd.unique(names) if name]
        if not categories:
            raise AigiError("These texts have no categories: choose a text bank that has.")
        scores = np.stack(
            [self.scores[:, names == name].mean(axis=1) for name in categories], axis=1
        )
        return Concepts(scores, pd.DataFrame({"text": categories, "category": categories}))

    def directions(self, components: int = 16) -> Float[np.ndarray, "N k"]:
        """Each image's place along the broadest directions of content (principal components,
        variances kept).
        """
        centred = self.scores - self.scores.mean(axis=0)
        values, vectors = np.linalg.eigh(centred.T @ centred)
        k = min(components, int((values > 1e-10 * values[-1]).sum()))
        if k == 0:
            raise AigiError("All images have equal scores on every text: choose other texts.")
        place: np.ndarray = centred @ vectors[:, ::-1][:, :k]
        return place


def concepts(
    embeddings: Float[np.ndarray, "N d"], lexicon: Lexicon, *, by_category: bool = False
) -> Concepts:
    """Score every image against the texts of a lexicon (its content categories:
    :data:`CONTENT_CATEGORIES`).

    Args:
        by_category: :meth:`Concepts.by_category` of these, without the scores of all texts in
            memory.
    """

    def unit(start: int) -> np.ndarray:
        rows = np.asarray(embeddings[start : start + BLOCK], np.float64)
        return unit_rows(rows, keep_zeros=True)

    mean = np.zeros(embeddings.shape[1])
    for start in range(0, len(embeddings), BLOCK):
        mean += unit(start).sum(axis=0)
    mean /= len(embeddings)
    table = lexicon.table[["text", "category"]].reset_index(drop=True)
    found: list[np.ndarray] = []
    for start in range(0, len(embeddings), BLOCK):
        scores = unit_rows(unit(start) - mean, keep_zeros=True) @ lexicon.vectors.T
        part = Concepts(scores.astype(np.float32), table)
        if by_category:
            part = part.by_category()
        if not found:  # the whole at once: joining the parts would hold all of them twice
            found.append(np.empty((len(embeddings), len(part.table)), part.scores.dtype))
        found[0][start : start + BLOCK] = part.scores
    return Concepts(found[0], part.table)


def content_scores(
    shown: Concepts,
    domains: Domains,
    train: Sequence[str | TrainSet] | None = None,
    *,
    components: int = 16,
    splits: Sequence[str] = ("train", "val"),
) -> tuple[Float[np.ndarray, "K N"], tuple[TrainSet, ...]]:
    """Detectors that see only the broadest directions of content: logistic regression, classes
    weigh alike.

    Their accuracy on held-out images is a classifier two-sample test (Lopez-Paz and Oquab 2017) of
    whether fakes and real images show the same.

    Returns:
        [K, N] log-odds of being fake (threshold 0) and the training sets, for the transfer matrix.
    """
    from sklearn.linear_model import (
        LogisticRegression,
    )  # here: readers of stored audits would pay a second for it
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    sets = as_train_sets(domains.generators if train is None else train, domains)
    X = shown.directions(components)
    scores = np.empty((len(sets), len(domains)))
    for row, names in zip(scores, sets, strict=True):
        fit = domains.rows(names, tuple(splits))
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000)
        )
        row[:] = model.fit(X[fit], domains.labels[fit]).decision_function(X)
    return scores, sets


def content_imbalance(
    shown: Concepts,
    domains: Domains,
    *,
    components: int = 16,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """For each generator: how many fakes show something that its pools' real images show, and how
    separable they are.

    ``matched`` is the share of fakes whose nearest real image is as near as :data:`COVERAGE` of the
    real images are to their own nearest one (all splits): about that share where both show the
    same, 0 where no real image shows what the fakes show. ``separable`` is the held-out balanced
    accuracy of :func:`content_scores`, 0.5 where content tells nothing.

    Returns:
        One row a generator: ``generator, matched, matched_low, matched_high, mirrored,
            mirrored_low, mirrored_high, expected, separable, separable_low, separable_high, n_fake,
            n_real`` (all splits), ``n_fake_test, n_real_test``.
    """
    names = domains.generators
    scores, sets = content_scores(shown, domains, names, components=components)
    matrix = transfer_matrix(
        scores, domains, sets, names, metrics=("balanced_accuracy",), draws=draws, seed=seed
    )
    low, high = matrix.interval("balanced_accuracy")
    X = shown.directions(components)
    rows_out = []
    for i, generator in enumerate(names):
        rows = domains.rows(generator, EVERY_SPLIT)
        fake, real = rows[domains.labels[rows] == FAKE], rows[domains.labels[rows] == REAL]
        to_real = nearest_neighbours(X[fake], X[real], 1)[0][:, 0]
        among = nearest_neighbours(X[real], X[real], 2)[0][:, 1]
        of_fakes, of_reals = (domains.labels[rows] == label for label in (FAKE, REAL))
        share = np.concatenate(
            [
                _covered(to_real, among, weights[:, of_fakes], weights[:, of_reals])
                for weights in Resample.of(domains, rows, draws, seed).weights()
            ]
        )
        matched_low, matched_high = _share_interval(share, domains.group[fake])
        mirrored, mirrored_low, mirrored_high = _mirrored(
            X, domains, fake, real=real, draws=draws, seed=seed
        )
        rows_out.append(
            dict(
                generator=generator,
                matched=float(share[0]),
                matched_low=float(matched_low),
                matched_high=float(matched_high),
                mirrored=mirrored,
                mirrored_low=mirrored_low,
                mirrored_high=mirrored_high,
                expected=COVERAGE,
                separable=float(matrix.values["balanced_accuracy"][i, i]),
                separable_low=float(low[i, i]),
                separable_high=float(high[i, i]),
                n_fake=len(fake),
                n_real=len(real),
                n_fake_test=int(matrix.n_fake[i]),
                n_real_test=int(matrix.n_real[i]),
            )
        )
    return pd.DataFrame(rows_out)


def content_differences(
    shown: Concepts,
    domains: Domains,
    generator: str,
    *,
    k: int = 10,
    draws: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """The texts on which a generator's fakes and its pools' real images differ most, over all
    splits.

    Args:
        shown: scores of texts, or of categories (:meth:`Concepts.by_category`).
        k: texts for each side.
        draws: label permutations (within pools) and bootstrap draws. Images of one group and class
            are one case, by their mean: several images of a prompt do not count as independent.

    Returns:
        ``text, category, difference`` (fake minus real, in pooled standard deviations), ``low,
        high`` (group bootstrap), ``p_value`` (family-wise over all texts, two-sided: how often a
        shuffled labelling shows a larger difference anywhere), ``n_fake, n_real`` (cases); the
        texts of fakes first, then those of real images.
    """
    rows, S = _cases(shown, domains, domains.rows(generator, EVERY_SPLIT))
    labels = domains.labels[rows]
    once = np.ones((1, len(rows)))
    observed = _standardised(S, once, labels[None])[0]
    rng = np.random.default_rng(seed)
    shuffled = np.tile(labels, (draws, 1))
    for pool in np.unique(domains.pool[rows]):
        inside = domains.pool[rows] == pool
        shuffled[:, inside] = rng.permuted(shuffled[:, inside], axis=1)
    null = np.concatenate(
        [
            np.abs(_standardised(S, once, some)).max(axis=1)
            for some in np.array_split(shuffled, -(-shuffled.size // AT_A_TIME))
        ]
    )
    order = np.argsort(-observed, kind="stable")
    k = min(k, len(order) // 2) if len(order) > 1 else 1
    chosen = np.concatenate([order[:k], order[::-1][:k]]) if len(order) > 1 else order
    resampled = np.concatenate(
        [
            _standardised(S[:, chosen], weights, labels[None])
            for weights in Resample.of(domains, rows, draws, seed).weights()
        ]
    )[1:]
    low, high = interval_of_draws(observed[chosen], resampled, len(rows) - 1)
    beyond = 1 + (null[:, None] >= np.abs(observed[chosen]) - 1e-12).sum(axis=0)
    return (
        shown.table.iloc[chosen]
        .assign(
            difference=observed[chosen],
            low=low,
            high=high,
            p_value=beyond / (1 + len(null)),
            n_fake=int((labels == FAKE).sum()),
            n_real=int((labels == REAL).sum()),
        )
        .reset_index(drop=True)
    )


def subjects(shown: Concepts, domains: Domains) -> pd.DataFrame:
    """What each generator's fakes and each pool's real images show most: the category that most of
    them are nearest to.

    Returns:
        One row a set: ``generator`` (empty for reals), ``pool``, ``category, share, low, high``
            (Wilson), ``n``, and ``real_share``: the share of its pools' real images that are
            nearest to the same category.
    """
    categories = shown.by_category()
    nearest = categories.scores.argmax(axis=1)
    sets = [
        (name, domains.generator == name, domains.pools_of(name)) for name in domains.generators
    ]
    real = domains.labels == REAL
    sets += [
        ("", real & (domains.pool == pool), (str(pool),)) for pool in np.unique(domains.pool[real])
    ]
    rows = []
    for generator, mask, pools in sets:
        counts = np.bincount(nearest[mask], minlength=len(categories.table))
        top = int(counts.argmax())
        low, high = count_interval(counts[top], counts.sum())
        beside = nearest[real & np.isin(domains.pool, pools)]
        rows.append(
            dict(
                generator=generator,
                pool=" + ".join(pools),
                category=categories.table["category"].iloc[top],
                share=counts[top] / counts.sum(),
                low=float(low),
                high=float(high),
                n=int(counts.sum()),
                real_share=float((beside == top).mean()) if len(beside) else np.nan,
            )
        )
    return pd.DataFrame(rows)


def _cases(
    shown: Concepts, domains: Domains, rows: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " u"], Float[np.ndarray, "u C"]]:
    """One case for each group and class: the row of its first image, and its mean scores."""
    group = np.where(domains.group[rows] == "", rows.astype(str), domains.group[rows])
    names = np.char.add(np.char.add(group, "\0"), domains.labels[rows].astype(str))
    _, first, case, size = np.unique(
        names, return_index=True, return_inverse=True, return_counts=True
    )
    sums = np.zeros((len(first), shown.scores.shape[1]))
    np.add.at(sums, case, shown.scores[rows])
    return rows[first], sums / size[:, None]


def _standardised(
    S: Float[np.ndarray, "n C"], counts: Float[np.ndarray, "B n"], labels: Float[np.ndarray, "B n"]
) -> Float[np.ndarray, "B C"]:
    """Fake mean minus real mean over the pooled standard deviation, for each draw of counts or
    labels.
    """
    sides = []
    for mask in (labels, 1 - labels):
        weights = counts * mask.astype(np.float64)
        total = weights.sum(axis=1, keepdims=True)
        mean = weights @ S / total
        sides.append((mean, np.maximum(weights @ S**2 / total - mean**2, 0), total))
    (fake, fake_var, n_fake), (real, real_var, n_real) = sides
    pooled = np.sqrt((n_fake * fake_var + n_real * real_var) / (n_fake + n_real))
    difference: np.ndarray = (fake - real) / np.maximum(pooled, 1e-12)
    return difference


def _covered(
    to_real: Float[np.ndarray, " F"],
    among: Float[np.ndarray, " R"],
    fake_counts: Float[np.ndarray, "B F"],
    real_counts: Float[np.ndarray, "B R"],
) -> Float[np.ndarray, " B"]:
    """Share of fakes at least as near to a real image as the given share of real images are to each
    other.
    """
    order = np.argsort(-among, kind="stable")
    passed = np.cumsum(real_counts[:, order], axis=1, dtype=np.float64)
    at = (passed >= COVERAGE * passed[:, -1:] - 1e-9).argmax(axis=1)
    near = to_real[None] >= among[order][at][:, None]
    share: np.ndarray = (near * fake_counts).sum(axis=1) / fake_counts.sum(axis=1)
    return share


def _mirrored(
    X: Float[np.ndarray, "N k"],
    domains: Domains,
    fake: Int[np.ndarray, " F"],
    *,
    real: Int[np.ndarray, " R"],
    draws: int,
    seed: int,
) -> tuple[float, float, float]:
    """Share of real images near a fake as ``COVERAGE`` of them are near one of equally many other
    real images.
    """
    rng = np.random.default_rng(seed)
    size = min(len(fake), len(real) // 2)
    if size < 2:
        return np.nan, np.nan, np.nan
    shuffled = rng.permutation(real)
    others, asked = shuffled[:size], np.sort(shuffled[size:])
    to_fake = nearest_neighbours(X[asked], X[rng.permutation(fake)[:size]], 1)[0][:, 0]
    to_real = nearest_neighbours(X[asked], X[others], 1)[0][:, 0]
    share = np.concatenate(
        [
            _covered(to_fake, to_real, weights, weights)
            for weights in Resample.of(domains, asked, draws, seed).weights()
        ]
    )
    low, high = _share_interval(share, domains.group[asked])
    return float(share[0]), float(low), float(high)


def _share_interval(share: Float[np.ndarray, " B"], groups: np.ndarray) -> Interval:
    """Interval of a share from its draws, the share itself first, among no more images than there
    are groups."""
    most = len(np.unique(group_numbers(groups, np.arange(len(groups)))))
    return rate_of_draws(float(share[0]), share[1:], most)
