"""``python -m precompute import-detector``: a linear layer that others trained, as a detector."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from aigi_core.detectors.published import SEEN, published_detector
from aigi_core.transfer.imported import OWN, import_scores
from aigi_core.workspace import Workspace, exclusive
from precompute.import_scores import add_naming, where_shown
from precompute.options import add_shared, file_to_write


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``import-detector``."""
    add = add_shared(parser, "workspace")
    add("file", type=Path, metavar="FILE", help=".pth, .pt, .safetensors or .npz with one layer")
    add(
        "--encoder",
        required=True,
        metavar="MODEL",
        help="the encoder it was trained on, as the workspace names its own",
    )
    add(
        "--feature",
        choices=list(SEEN),
        required=True,
        help="what it was trained on: 'embedding' as it is, 'unit-embedding' of unit length (what"
        " the app calls Embedding); 'pre', the vector before the projection, as it is, 'unit-pre'"
        " of unit length",
    )
    add(
        "--out",
        type=file_to_write,
        metavar="FILE",
        help="also save it, as FILE.json and FILE.safetensors (without a suffix of FILE that is"
        " one of these), for 'aigi score --detector FILE'",
    )
    add_naming(parser)


def run(args: argparse.Namespace) -> int:
    """Read, check, score and store."""
    workspace = Workspace.open(args.workspace)
    name = args.name if args.name is not None else args.file.stem
    detector = published_detector(
        workspace, args.file, name=name, feature=args.feature, encoder=args.encoder
    )
    scores = detector.decision_function(workspace)
    with exclusive(workspace.path, "methods"):
        sentence = import_scores(
            workspace,
            name,
            scores,
            threshold=detector.threshold,
            trained_on=args.trained_on,
            reading=args.reading,
            origin="import-detector",
            threshold_from=OWN,
        )
    sentence += where_shown(workspace)
    if args.out:
        if args.reading == "reversed":
            detector = replace(detector, weights=-detector.weights, bias=-detector.bias)
        written = detector.save(args.out)
        arrays = written.with_suffix(".safetensors")
        sentence += f" Saved as {written} and {arrays}, for 'aigi score --detector {written}'."
    print(sentence)
    return 0
