"""``python -m precompute detectors``: train the detectors that pages begin with, and keep them with
their transfer matrix.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from aigi_core.audit.cached import (
    keep_fact_matrix,
    keep_facts_against_detectors,
    load_fact_matrix,
    load_facts_against_detectors,
)
from aigi_core.detectors.detector import Detector, score_detectors
from aigi_core.detectors.presets import preset
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.stored import (
    SCORED,
    load_detectors,
    load_scores,
    parameters_of,
    save_detectors,
    save_scores,
)
from aigi_core.detectors.training import train_with_twins
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.geometry.projection import MapSettings, load_map
from aigi_core.heads import load_lengths, save_lengths
from aigi_core.inspection.stored import load_held_out, load_panel, save_held_out, save_panel
from aigi_core.inspection.unseen import HeldOut
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.statements import counted
from aigi_core.transfer import make_training_sets, transfer_matrix
from aigi_core.transfer.kept import load_matrix, save_matrix
from aigi_core.workspace import Workspace, exclusive
from precompute.map import keep_map
from precompute.options import add_shared

COMPONENTS = MapSettings("pca")
"""The map that pages begin with, kept where images are many."""
THERE = "The detectors of this workspace are already there."


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``detectors``."""
    add_shared(parser, "workspace", "protocol", "force")


def run(args: argparse.Namespace) -> int:
    """Train and publish; does nothing where they are already there."""
    sentence = keep_detectors(args.workspace, force=args.force, protocol=args.protocol)
    hint = " --force trains them again." if sentence == THERE else ""
    print(f"{sentence}{hint}")
    return 0


def keep_detectors(path: Path, *, force: bool = False, protocol: str = "ours") -> str:
    """Train one detector a generator on the embedding, and keep them, the same trained without
    validation images, their matrix, and that of detectors of file facts; of many images also what
    else pages would read all of them for. Returns a sentence.

    Raises:
        AigiError: no workspace, no generator, or one without images of a class in a split.
    """
    workspace = Workspace.open(path)
    with exclusive(workspace.path, "detectors"):
        return complete_detectors(workspace, force=force, protocol=protocol)


def complete_detectors(workspace: Workspace, *, force: bool = False, protocol: str = "ours") -> str:
    """As :func:`keep_detectors`, where the caller sees to it that nobody else writes."""
    sets = list(make_training_sets(workspace.domains, "each generator").values())
    used = preset(protocol).training
    of = parameters_of(sets, None, used, "logistic")
    # Validation images set the thresholds of detectors that have not seen them, and calibrate.
    protocols = (used, replace(used, refit=False))
    kept = [None if force else load_detectors(workspace, sets, protocol=one) for one in protocols]
    if (
        all(kept)
        and load_matrix(workspace, of, (DEFAULT_METRIC,), tuple)
        and load_fact_matrix(workspace)
        and load_facts_against_detectors(workspace, of)
        and (len(workspace.domains) < SCORED or _looked(workspace, kept, protocols))
    ):
        return THERE
    with threadpool_limits(1):
        pairs = () if all(kept) else train_with_twins(workspace, sets, protocol=used)
        made = [old or [pair[at] for pair in pairs] for at, old in enumerate(kept)]
        folder, _ = (
            save_detectors(workspace, own, one) for own, one in zip(made, protocols, strict=True)
        )
        detectors = made[0]
        if len(workspace.domains) < SCORED:
            scores = score_detectors(detectors, workspace)
        else:
            scores, of_twins = (
                save_scores(workspace, own, one) for own, one in zip(made, protocols, strict=True)
            )
            save_lengths(workspace)
            held_out = HeldOut.of(workspace, made[1])
            save_held_out(workspace, made[1], held_out)
            save_panel(workspace, made[1], held_out, of_twins)
            if not _mapped(workspace):
                keep_map(workspace, COMPONENTS)
        matrix = transfer_matrix(
            scores,
            workspace.domains,
            sets,
            thresholds=np.array([detector.threshold for detector in detectors]),
            metrics=(DEFAULT_METRIC,),
        )
        save_matrix(workspace, matrix, of)
        keep_facts_against_detectors(workspace, keep_fact_matrix(workspace), matrix, of)
    return f"Trained {counted(len(sets), 'detector')}, one a generator: {folder}"


def _looked(
    workspace: Workspace, kept: Sequence[Sequence[Detector] | None], protocols: Sequence[Protocol]
) -> bool:
    """Whether what is kept where images are many is there for these detectors."""
    scores = [
        load_scores(workspace, own or (), one) for own, one in zip(kept, protocols, strict=True)
    ]
    twins = kept[1] or ()
    looked = (
        *scores,
        load_held_out(workspace, twins),
        load_panel(workspace, twins, scores[1]),
        load_lengths(workspace),
    )
    return all(one is not None for one in looked) and _mapped(workspace)


def _mapped(workspace: Workspace) -> bool:
    try:
        return bool(load_map(workspace, COMPONENTS))
    except WorkspaceError:
        return False


def try_to_keep(path: Path) -> str:
    """As :func:`keep_detectors`, for the end of another job: where nothing can be trained, the
    sentence says why.
    """
    try:
        return keep_detectors(path)
    except AigiError as error:
        return f"No detectors were trained: {error}"
