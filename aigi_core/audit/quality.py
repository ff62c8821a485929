"""Do detectors merely read quality? No-reference quality of every image, how scores go with it, and
the matrix where fakes and real images are of equal quality.

Quality by antonym prompts is CLIP-IQA (Wang et al. 2023, equation 2): the softmax of an image's
cosines with two opposite texts. Quality learnt from opinion scores follows CLIP-AGIQA (Tang et al.
2024): text features of learned prompts joined to those of the image, two layers and the squared
error. Once trained, the texts' are the same for every image and act as the first layer's bias: an
encoder without texts has the same two layers on the image alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.special import expit

from aigi_core import results
from aigi_core.audit.matching import (
    Strata,
    detector_scorer,
    matched_matrices,
    own_matrix,
    own_scores,
)
from aigi_core.audit.separation import separation
from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.features import EmbeddingView
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.manifest import SPLITS
from aigi_core.metrics import auc_of_images
from aigi_core.resampling import group_numbers, percentile_interval
from aigi_core.results import ResultKind, StoredResult
from aigi_core.statements import ALPHA, Finding, counted, part_counted
from aigi_core.workspace import Workspace, tool_versions

if TYPE_CHECKING:
    from aigi_core.clip.prompts import TextTower

KIND = ResultKind("quality", "quality of images", job="quality", format=2)
ANTONYMS = {
    "quality": ("Good photo.", "Bad photo."),
    "sharpness": ("Sharp photo.", "Blurry photo."),
    "noise": ("Clean photo.", "Noisy photo."),
}
"""Wang et al. 2023: the first pair is their quality; the others are two of their attributes."""
TEMPERATURE = 100.0
"""Of CLIP's own softmax."""
BINS = 5
DRAWS = 1000
HIDDEN = 512
SEED = 0
FEWEST = 50


def antonym_quality(
    embeddings: Float[np.ndarray, "N d"],
    good: Float[np.ndarray, " d"],
    bad: Float[np.ndarray, " d"],
) -> Float[np.ndarray, " N"]:
    """Share of the better of two texts, 0 to 1; all rows of unit length."""
    share: np.ndarray = expit(TEMPERATURE * (embeddings @ (np.asarray(good) - np.asarray(bad))))
    return share


@dataclass(frozen=True, eq=False)
class Learnt:
    """Quality learnt from opinion scores.

    Attributes:
        quality: [N] predicted opinion score of each image.
        correlation, low, high, n: rank correlation with the opinion scores of validation images,
            which training did not see, with its 95% interval (groups of images resampled).
    """

    quality: Float[np.ndarray, " N"]
    correlation: float
    low: float
    high: float
    n: int


def learnt_quality(
    workspace: Workspace,
    scores: Float[np.ndarray, " N"],
    tower: TextTower | None = None,
    show: Callable[[str], None] = lambda line: None,
) -> Learnt:
    """Train on the opinion scores of training images and predict all images' quality.

    Args:
        scores: NaN for an image without an opinion score.
        tower: on which prompts are learnt; None takes the image alone.

    Raises:
        AigiError: fewer than 50 scored training or validation images, or all scores alike.
    """
    domains = workspace.domains
    rated = {
        split: np.flatnonzero(np.isfinite(scores) & (domains.split == split)) for split in SPLITS
    }
    for split in ("train", "val"):
        if len(rated[split]) < FEWEST:
            raise AigiError(
                f"Expected opinion scores of at least {FEWEST} images in the split {split},"
                f" got {len(rated[split])}: rate more images."
            )
    own = scores[rated["train"]]
    if np.ptp(own) == 0:
        raise AigiError(
            "All opinion scores of training images are equal, so no quality can be learnt:"
            " give scores that differ."
        )
    X = EmbeddingView().matrix(workspace)
    rows, standard = rated["train"], (own - own.mean()) / own.std()
    if tower is not None:
        from aigi_core.clip.quality_prompts import learn_quality, quality_of

        groups = domains.group_numbers(rows)
        network = learn_quality(tower, X[rows], standard, groups, seed=SEED, show=show)
        predicted = quality_of(network, X)
    else:
        predicted = _by_image_alone(X, rows, standard)
    quality = predicted * own.std() + own.mean()
    val = rated["val"]
    value, low, high = rank_correlation_of_images(quality[val], scores[val], domains.group[val])
    return Learnt(quality, value, low, high, len(val))


def _by_image_alone(
    X: Float[np.ndarray, "N d"], rows: Int[np.ndarray, " n"], scores: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " N"]:
    from sklearn.neural_network import MLPRegressor  # seconds to load

    model = MLPRegressor(
        hidden_layer_sizes=(HIDDEN,), early_stopping=True, random_state=SEED, max_iter=500
    )
    scaled = X * np.sqrt(X.shape[1])
    predicted: np.ndarray = model.fit(scaled[rows], scores).predict(scaled)
    return predicted


def rank_correlation_of_images(
    a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"], group: np.ndarray, draws: int = DRAWS
) -> tuple[float, float, float]:
    """Spearman's, with its 95% percentile interval over draws of whole groups; NaN where a value
    does not vary.
    """
    from scipy.stats import rankdata

    numbers = group_numbers(group, np.arange(len(group)))
    members = [np.flatnonzero(numbers == g) for g in range(int(numbers.max()) + 1)]
    rng = np.random.default_rng(SEED)

    def one(rows: Int[np.ndarray, " m"]) -> float:
        x, y = (rankdata(values[rows]) for values in (a, b))
        x, y = x - x.mean(), y - y.mean()
        length = np.sqrt((x @ x) * (y @ y))
        return float(x @ y / length) if length > 0 else float("nan")

    drawn = [
        one(np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))]))
        for _ in range(draws)
    ]
    known = np.asarray(drawn)[np.isfinite(drawn)]
    if not len(known):
        return float("nan"), float("nan"), float("nan")
    low, high = percentile_interval(known)
    return one(np.arange(len(a))), float(low), float(high)


def quality_by_generator(workspace: Workspace, quality: Float[np.ndarray, " N"]) -> pd.DataFrame:
    """How much quality tells on its own, and how scores go with it.

    Returns:
        One row a generator: ``auc`` of low quality as a sign of fakes (test images; below one half
        where fakes are of higher quality) and the rank correlation of quality with the scores of
        the detector trained on this generator, among its test ``fakes`` and among ``reals`` of its
        pools, each with ``_low, _high`` (95%) and ``n_fake, n_real``; ``p_value`` and ``adjusted``
        (Holm over the generators) of :func:`~aigi_core.audit.separation.separation`, two-sided.
    """
    domains, rows = workspace.domains, []
    detectors = train(workspace, domains.generators)
    for generator, scores in zip(
        domains.generators, score_detectors(detectors, workspace), strict=True
    ):
        test = domains.rows(generator, "test")
        fake = domains.labels[test] > 0
        auc, auc_low, auc_high = auc_of_images(
            -quality[test], domains.labels[test], domains.group_numbers(test)
        )
        row: dict[str, object] = {
            "generator": generator,
            "auc": auc,
            "auc_low": auc_low,
            "auc_high": auc_high,
        }
        for name, inside in (("fakes", fake), ("reals", ~fake)):
            some = test[inside]
            value, low, high = rank_correlation_of_images(
                quality[some], scores[some], domains.group[some]
            )
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
        rows.append(row | {"n_fake": int(fake.sum()), "n_real": int((~fake).sum())})
    same = np.tile(quality, (len(domains.generators), 1))
    tests = separation(same, domains, domains.generators, "two-sided")
    return pd.DataFrame(rows).assign(p_value=tests["p_value"], adjusted=tests["adjusted"])


def quality_strata(
    workspace: Workspace, quality: Float[np.ndarray, " N"], bins: int = BINS
) -> Strata:
    """Images of like quality: bins with equally many fakes of a generator each."""
    domains, strata = workspace.domains, {}
    for generator in domains.generators:
        rows = domains.rows(generator, SPLITS)
        fakes = quality[rows][domains.labels[rows] > 0]
        edges = np.unique(np.quantile(fakes, np.arange(1, bins) / bins))
        strata[generator] = np.searchsorted(edges, quality[rows], side="right")
    return strata


def store_quality(
    workspace: Workspace,
    quality: Mapping[str, Float[np.ndarray, " N"]],
    *,
    source: str,
    learnt: Learnt | None = None,
) -> str:
    """Measure, match by the first quality named, and store; returns a sentence.

    Args:
        quality: name -> [N]; the first is the one that is asked about.
        source: how it was had, in words.
    """
    main = next(iter(quality))
    table = quality_by_generator(workspace, quality[main])
    note, parts = "", dict[str, pd.DataFrame]()
    try:
        matched = matched_matrices(
            detector_scorer(workspace),
            workspace.domains,
            quality_strata(workspace, quality[main]),
            own_matrix(own_scores(workspace), workspace.domains),
        )
        parts = {
            "change.parquet": matched.change,
            "means.parquet": matched.means(),
            "kept.parquet": matched.selection.to_frame(),
        }
    except AigiError as error:  # no overlap: quality tells everything, which the table says
        note = str(error)
    means = parts.get("means.parquet", pd.DataFrame())
    content: dict[str, object] = {"source": source, "main": main, "note": note}
    if learnt is not None:
        content["validation"] = {
            "correlation": learnt.correlation,
            "low": learnt.low,
            "high": learnt.high,
            "n": learnt.n,
        }
    results.publish(
        workspace,
        KIND,
        {},
        {
            "quality.parquet": pd.DataFrame(
                {k: np.asarray(v, np.float32) for k, v in quality.items()}
            ),
            "by-generator.parquet": table,
            **parts,
        },
        content=content,
        about={"versions": tool_versions()},
    )
    words = in_words(means, table)
    return f"Quality of {counted(len(workspace.images), 'image')} stored. {words} {note}".strip()


def stored_quality(workspace: Workspace) -> StoredResult:
    """What :func:`store_quality` stored; NotMadeError, with the command, where it did not."""
    return results.load(workspace, KIND, {})


def in_words(means: pd.DataFrame, table: pd.DataFrame) -> str:
    """What matching changes, and for how many generators quality alone separates the classes."""
    separating = int((table["adjusted"] < ALPHA).sum())
    sentences = [
        "Quality alone separates fakes from real images for"
        f" {part_counted(separating, len(table), 'generator')} (two-sided Mann-Whitney test,"
        f" p < .05 after Holm's correction for {counted(len(table), 'generator')})."
    ]
    for row in means.to_dict("records"):
        where = {"in-domain": "In domain", "ood": "Out of domain"}[str(row["cells"])]
        sentences.append(
            f"{where}, equal quality changes balanced accuracy by"
            f" {Finding.of_row(row, 'change', n=row['n'], what='cell').points()}, compared with"
            " equally many unmatched images."
        )
    return " ".join(sentences)
