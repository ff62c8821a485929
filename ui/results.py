"""Results that several pages show, computed once a workspace and setting for all sessions.

A setting is a value: training sets, feature view, bias. Pages pass it around and never hold arrays of their own.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aigi_core.detectors.detector import Detector, score_detectors
from aigi_core.detectors.features import EmbeddingView, FeatureView
from aigi_core.detectors.protocol import Protocol, train
from aigi_core.detectors.residual import train_residual
from aigi_core.errors import AigiError
from aigi_core.explain.evidence import Evidence, evidence
from aigi_core.explain.reading import read
from aigi_core.transfer import (
    DEFAULT_METRIC,
    METRICS,
    TRAINING,
    Atlas,
    Metric,
    TrainSet,
    TransferMatrix,
    make_training_sets,
    transfer_matrix,
)
from aigi_core.workspace import Workspace
from ui.page import Page
from ui.workspaces import cached

EMBEDDING = EmbeddingView()
RESIDUAL = "residual"
"""The feature view whose direction each training set computes for itself."""
VIEWS: dict[str, FeatureView | str] = {
    "Embedding": EMBEDDING,
    "Embedding, unnormalised": EmbeddingView(normalise=False),
    "Residual": RESIDUAL,
}
"""Feature views on offer, as they stand in controls and links."""


@dataclass(frozen=True)
class Setting:
    """How a set of detectors is trained.

    Attributes:
        sets: each detector's training generators.
        view: a feature view, or :data:`RESIDUAL`.
        balance: both classes weigh alike in training. A pool has several times as many real images as one generator
            has fakes: without it a detector learns to answer "real", and plain accuracy rewards it for that.
    """

    sets: tuple[TrainSet, ...]
    view: FeatureView | str = EMBEDDING
    bias: bool = True
    balance: bool = True


def choose_metric(page: Page) -> Metric:
    """The control ``metric``."""
    return page.select("metric", "Metric", {m.title: m for m in METRICS.values()}, METRICS[DEFAULT_METRIC].title)


def choose_setting(page: Page, sets: tuple[TrainSet, ...], of: str = "") -> Setting:
    """The controls ``view``, ``bias`` and ``balance``; ``of`` sets a second group apart (its names end in ``_b``)."""
    suffix, whose = ("_b", f" of {of}") if of else ("", "")
    view = page.select(
        f"view{suffix}", f"Feature view{whose}", VIEWS, "Residual" if of else None,
        help="What a detector sees: the image's embedding (of unit length by default), or only its cosine with the "
        "residual, the difference between the mean fake and the mean real image.",
    )  # fmt: skip
    bias = page.toggle(
        f"bias{suffix}", f"Bias{whose}", True,
        help="With a bias a detector sets its own threshold; without one it is a direction through the origin.",
    )  # fmt: skip
    balance = page.toggle(
        f"balance{suffix}", f"Balance{whose}", True,
        help="Real and fake images weigh alike in training. Without it the more frequent class, usually the real "
        "images, wins in doubt.",
    )  # fmt: skip
    return Setting(sets, view, bias, balance)


@cached
def detectors(workspace: Workspace, setting: Setting) -> tuple[Detector, ...]:
    """One detector a training set, by the paper's protocol: C chosen on validation, refitted on train plus validation."""
    if isinstance(setting.view, FeatureView):
        return tuple(train(workspace, setting.sets, setting.view, protocol(setting)))
    return tuple(train_residual(workspace, setting.sets, protocol(setting)))


def protocol(setting: Setting) -> Protocol:
    """The paper's protocol, with or without bias, with or without classes of equal weight."""
    return Protocol(fit_intercept=setting.bias, class_weight="balanced" if setting.balance else None)


def feature_view(setting: Setting) -> FeatureView:
    """The view of a setting, for what trains many detectors on one view; residuals are a view for each."""
    if isinstance(setting.view, FeatureView):
        return setting.view
    raise AigiError("Residual detectors see a direction of their own each: choose another feature view for this.")


def archive(detector: Detector) -> bytes:
    """A detector's two files as a ZIP archive."""
    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        detector.save(Path(folder) / "detector")
        for file in sorted(Path(folder).iterdir()):
            bundle.write(file, file.name)
    return buffer.getvalue()


@cached
def scores(workspace: Workspace, setting: Setting) -> np.ndarray:
    """[K, N] log-odds of every image of the workspace."""
    found = score_detectors(detectors(workspace, setting), workspace)
    found.flags.writeable = False
    return found


# A matrix carries its draws (15 x 15 cells, 1,000 draws, float32: 0.9 MB a metric), hence one metric at a time.
@cached
def matrix(workspace: Workspace, setting: Setting, metric: str) -> TransferMatrix:
    """The transfer matrix in one metric, on the test split, with 1,000 bootstrap draws."""
    thresholds = np.array([detector.threshold for detector in detectors(workspace, setting)])
    return transfer_matrix(
        scores(workspace, setting), workspace.domains, setting.sets, thresholds=thresholds, metrics=(metric,)
    )


@cached
def atlas(workspace: Workspace) -> Atlas:
    """The searches of all pairs; WorkspaceError, which names the command, where they were not run."""
    return Atlas.open(workspace)


@cached
def fact_matrix(workspace: Workspace, metric: str = DEFAULT_METRIC) -> TransferMatrix:
    """The matrix of detectors that see nothing but file facts (format, size, compression)."""
    from aigi_core.audit.facts import fact_scores, file_facts  # brings scikit-learn, two seconds that other pages spare

    found = fact_scores(file_facts(workspace.images), workspace.domains)
    return transfer_matrix(found.scores, workspace.domains, found.train, metrics=(metric,))


def choose_detector(page: Page) -> tuple[Setting, list[str], int]:
    """The controls ``sets``, ``train``, ``view``, ``bias`` and ``balance``: one detector, as (setting, names of its rows, row)."""
    how = page.select("sets", "Training sets", list(TRAINING), help="; ".join(f"{k}: {v}" for k, v in TRAINING.items()))
    sets = make_training_sets(page.domains, how)
    train = page.select("train", "Detector trained on", list(sets))
    return choose_setting(page, tuple(sets.values())), list(sets), list(sets).index(train)


@cached
def explained(workspace: Workspace, setting: Setting, row: int, image: int) -> Evidence:
    """One detector's logit on one image, head by head."""
    reading = read(workspace, detectors(workspace, setting)[row])
    return evidence(workspace, reading, np.array([image]))
