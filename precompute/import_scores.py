"""``python -m precompute import-scores``: scores of another detector, as a row of the board."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from aigi_core.calibration import nearest_false_alarm_threshold
from aigi_core.errors import AigiError
from aigi_core.manifest import REAL
from aigi_core.statements import counted, part_counted
from aigi_core.transfer.board import REFERENCE, measured_methods
from aigi_core.transfer.imported import (
    CHOSEN,
    GIVEN,
    KEYS,
    import_scores,
    matched_scores,
)
from aigi_core.workspace import Workspace, exclusive
from precompute.ingest.answers import parse_columns
from precompute.ingest.tables import read_scores
from precompute.options import add_shared, number


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``import-scores``."""
    add = add_shared(parser, "workspace")
    add("file", type=Path, metavar="FILE", help="a table with path or content_hash, and score")
    add(
        "--columns",
        default="",
        metavar="path=filename,score=prob",
        help="which columns of the table are meant (path or content_hash, and score)",
    )
    add(
        "--threshold",
        type=number,
        help="scores above it mean fake (reversed: below it), such as 0.5 for probabilities; by"
        " default one that 5%% of the real validation images exceed",
    )
    add(
        "--ignore-unknown",
        action="store_true",
        help="leave out rows of images that the workspace does not have, as after 'remove', and say"
        " how many",
    )
    add_naming(parser)


def add_naming(parser: argparse.ArgumentParser) -> None:
    """The options that say what a detector is called, what it has seen and which way its scores
    are read.
    """
    parser.add_argument("--name", help="what the board calls it; by default the file's name")
    parser.add_argument(
        "--trained-on",
        type=_names,
        metavar="G1,G2",
        help="generators of the workspace that it has seen, or 'none'; without it they are not"
        " known, and no cell is called out of domain",
    )
    reading = parser.add_mutually_exclusive_group()
    for option, meaning in (("reversed", "real"), ("as-is", "fake, whatever the labels say")):
        reading.add_argument(
            f"--{option}",
            dest="reading",
            action="store_const",
            const=option.replace("-", " "),
            default="check",
            help=f"high scores mean {meaning}",
        )


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    return [] if names == ["none"] else names


def run(args: argparse.Namespace) -> int:
    """Read, match, check and store."""
    workspace = Workspace.open(args.workspace)
    if not args.file.is_file():
        raise AigiError(f"There is no file of scores {args.file}: check the path.")
    by, keys, scores = read_scores(args.file, parse_columns(args.columns, (*KEYS, "score")))
    matched, mistakes, left_out = matched_scores(
        workspace, keys, scores, by, ignore_unknown=args.ignore_unknown
    )
    threshold = args.threshold
    source, how = GIVEN, ""
    if threshold is None:
        try:
            threshold, source, how = threshold_on_real_images(
                workspace, matched, args.reading == "reversed"
            )
        except AigiError as error:  # said with the other mistakes
            threshold = 0.0
            mistakes.append(str(error))
    with exclusive(workspace.path, "methods"):
        print(
            import_scores(
                workspace,
                args.name if args.name is not None else args.file.stem,
                matched,
                threshold=threshold,
                trained_on=args.trained_on,
                reading=args.reading,
                mistakes=mistakes,
                threshold_from=source,
            )
            + how
            + left_out
            + where_shown(workspace)
        )
    return 0


def where_shown(workspace: Workspace) -> str:
    """Where stored scores are seen, and what compares them where that is missing."""
    shown = " The page Methods shows it"
    if REFERENCE in measured_methods(workspace):
        return f"{shown}."
    compare = workspace.command("methods", methods=REFERENCE)
    return f"{shown}; '{compare}' compares it with logistic regression."


def threshold_on_real_images(
    workspace: Workspace, scores: np.ndarray, reverse: bool
) -> tuple[float, str, str]:
    """A threshold that no fake took part in, where it comes from, and the sentence that says so.

    Args:
        scores: [N], NaN where an image has none.

    Raises:
        AigiError: a real validation image without a score, or no image above the threshold.
    """
    domains = workspace.domains
    own = scores[(domains.labels == REAL) & (domains.split == "val")]
    if lacking := int(np.isnan(own).sum()):
        raise AigiError(
            "Without --threshold, it is set on the real validation images, and"
            f" {part_counted(lacking, len(own), 'image', 'lack')} a score: give --threshold, or"
            " score them too."
        )
    sign = -1.0 if reverse else 1.0
    limit = nearest_false_alarm_threshold(sign * own)
    threshold, n = sign * limit.threshold, counted(limit.n, "real validation image")
    above, tied = (int(np.sum(of(sign * own, limit.threshold))) for of in (np.greater, np.equal))
    if not (sign * scores[np.isfinite(scores)] > limit.threshold).any():
        raise AigiError(
            f"Without --threshold, it is set so that {limit.rate:.0%} of {n} lie beyond it, but"
            f" {part_counted(tied, limit.n, '', 'score')} {threshold:g}, beyond which no image"
            " lies: give --threshold."
        )
    expected = f"{limit.rate:.1%} false alarms are expected, by {n}"
    if tied > 1:  # so many are not beyond it that the rate is not reached
        expected = f"at most {expected}: {above:,} lie beyond it, {tied:,} have exactly this score"
    source = f"{CHOSEN} {limit.rate:.1%} false alarms on {n}"
    return threshold, source, f" Threshold {threshold:g}: {expected}."
