"""Scores for files: ``python -m aigi_core score``. Each file has its own outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aigi_core.clip.preprocessing import Preprocessing
from aigi_core.detectors.detector import Detector
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.stored import load_detectors, load_scores
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.inspection.copies import likely_copies
from aigi_core.inspection.intake import BATCH, NO_VERDICT, Opened, encode, is_blank, open_images
from aigi_core.inspection.novelty import held_out_distances, novelty, row_of
from aigi_core.inspection.panel import Panel, build_panel
from aigi_core.inspection.stored import load_panel
from aigi_core.inspection.unseen import choose_rule
from aigi_core.manifest import RESERVED
from aigi_core.statements import DEFAULT_RATE, counted
from aigi_core.workspace import Workspace

if TYPE_CHECKING:  # it needs torch, this module does not
    from aigi_core.clip.encoder import Encoder


def choose_panel(workspace: Workspace, name: str) -> Panel:
    """A panel whose first judge is the one asked for.

    Args:
        name: ``all`` for all detectors together, a generator (a detector trained on it by the
            default protocol), or where ``Detector.save`` wrote one: its file, with or without
            suffix, or the folder it lies in.

    Raises:
        AigiError: neither; says what there is.
    """
    generators = workspace.domains.generators
    if name in RESERVED and name in generators:
        other = next(one for one in RESERVED if one != name)
        raise AigiError(
            f"{name!r} is ambiguous, because it means all detectors together and is also a"
            f" generator of this workspace: give {other!r} for all detectors, or a file"
            " written by Detector.save for the detector of the generator."
        )
    if name in RESERVED:
        return _all_together(workspace)
    if name in generators:
        return build_panel(workspace, train(workspace, [name]))
    path = Path(name)
    if path.is_dir():
        files = sorted(
            file for file in path.glob("*.json") if file.with_suffix(".safetensors").is_file()
        )
        if len(files) != 1:
            raise AigiError(
                f"The folder {name!r} holds {counted(len(files), 'detector')}: name one of its"
                " files."
            )
        path = files[0]
    stem = path.with_suffix("") if path.suffix in (".json", ".safetensors") else path
    if not stem.with_name(f"{stem.name}.json").is_file():
        raise AigiError(
            f"There is no detector {name!r}: expected 'all', a generator of the workspace"
            f" ({', '.join(generators)}) or a file written by Detector.save."
        )
    return build_panel(workspace, [Detector.load(path)])


def _all_together(workspace: Workspace) -> Panel:
    """One detector a generator, joined by the rule that does best on generators left out; read
    where the job ``detectors`` has kept it."""
    not_refitted = replace(Protocol(), refit=False)
    sets = [(name,) for name in workspace.domains.generators]
    twins = load_detectors(workspace, sets, protocol=not_refitted) if sets else None
    if twins:
        scores = load_scores(workspace, twins, not_refitted)
        if kept := load_panel(workspace, twins, scores):
            return kept
    panel = build_panel(workspace, twins)
    return panel.joined_by(choose_rule(workspace, panel))


def score_files(
    workspace: Workspace,
    panel: Panel,
    files: Sequence[Path],
    load: Callable[[], Encoder],
    *,
    rate: float = DEFAULT_RATE,
    prior: float = 0.5,
) -> Iterator[dict[str, Any]]:
    """One JSON-serialisable outcome a file, in their order, by the panel's first judge.

    Args:
        load: gives the workspace's encoder; called once, and only if some file can be decoded.
        rate: false alarms allowed; where validation images are too few for it, the nearest is taken
            (:meth:`~aigi_core.inspection.panel.Panel.band`).

    Yields:
        ``path``, ``outcome`` ("scored" or "left out"), then ``reason``, or ``sha256, logit,
        probability, probability_interval, verdict`` ("no verdict" for an image of one colour)``,
        nearest_cosine, farther_than`` (see
        :class:`~aigi_core.inspection.novelty.Novelty`), ``note`` on an unusual file,
        ``split_in_workspace`` ("" for a file that is not byte for byte one of the workspace's own)
        and ``copy_of``: ``path, split, p`` of the image that a new file is likely to show again
        (:func:`~aigi_core.inspection.copies.likely_copies`), else None.
    """
    preprocessing = Preprocessing.from_description(workspace.encoder["preprocessing"])
    distances = held_out_distances(workspace)
    encoder: Encoder | None = None
    for start in range(0, len(files), BATCH):
        opened = open_images(
            [(str(file), file) for file in files[start : start + BATCH]], preprocessing
        )
        pixels = [one.pixels for one in opened if one.pixels is not None]
        if pixels and encoder is None:
            encoder = load()
        encoded = encode(encoder, pixels, workspace) if encoder and pixels else None
        logits = panel.logits(encoded)[0] if encoded else np.zeros(0)
        at = 0
        for one in opened:
            if one.pixels is None or encoded is None:
                yield {"path": one.name, "outcome": "left out", "reason": one.reason}
                continue
            yield _outcome(
                workspace,
                panel,
                one=one,
                logit=float(logits[at]),
                embedding=encoded.embeddings[at],
                distances=distances,
                rate=rate,
                prior=prior,
            )
            at += 1


def _outcome(
    workspace: Workspace,
    panel: Panel,
    *,
    one: Opened,
    logit: float,
    embedding: np.ndarray,
    distances: np.ndarray,
    rate: float,
    prior: float,
) -> dict[str, Any]:
    probability, low, high = panel.probability(0, logit, prior)
    row = row_of(workspace, one.key)
    far = novelty(workspace, embedding, distances, row)
    return {
        "path": one.name,
        "outcome": "scored",
        "sha256": one.key,
        "logit": logit,
        "probability": probability,
        "probability_interval": [low, high],
        "verdict": NO_VERDICT
        if is_blank(one.pixels)
        else str(panel.calls(0, np.array([logit]), rate)[0]),
        "nearest_cosine": 1 - far.distance,
        "farther_than": far.farther_than,
        "note": one.note,
        "split_in_workspace": "" if row is None else str(workspace.domains.split[row]),
        "copy_of": _copy_of(workspace, embedding) if row is None else None,
    }


def _copy_of(workspace: Workspace, embedding: np.ndarray) -> dict[str, Any] | None:
    copy = likely_copies(workspace, embedding[None])[0]
    if copy is None:
        return None
    image = workspace.images.iloc[copy.row]
    return {"path": str(image["path"]), "split": str(image["split"]), "p": copy.p}
