"""``python -m aigi_core score``: what a workspace's detectors say of images, from the command
line.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from aigi_core.arguments import Arguments
from aigi_core.clip.consent import add_weights_options, archives_allowed
from aigi_core.errors import AigiError
from aigi_core.statements import DEFAULT_RATE
from aigi_core.terminal import printable, progress_options

if TYPE_CHECKING:
    from aigi_core.clip.encoder import Encoder
    from aigi_core.inspection.panel import Panel
    from aigi_core.workspace import Workspace

PROGRAM = "python -m aigi_core score"
EXIT_CODES = (
    "Exit code: 0 if at least one file was scored, 1 if none was, 2 for a mistake in the command."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns the exit code (see :data:`EXIT_CODES`)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] in (["-h"], ["--help"]):
        arguments = ["score", "--help"]
    parser = Arguments(
        prog=PROGRAM,
        description="Probabilities of being generated, for image files.",
        epilog=EXIT_CODES,
    )
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE", help="image files, or folders of them")
    add("--workspace", type=Path, required=True, metavar="W", help="an encoded workspace")
    add(
        "--detector",
        default="all",
        metavar="D",
        help="a generator of the workspace, a file written by Detector.save, or "
        "'all' for all detectors together (default)",
    )
    add(
        "--rate",
        type=float,
        default=DEFAULT_RATE,
        help="false alarms allowed before it abstains (default .05); the nearest that can be had,"
        " which is said, where validation images are too few for it",
    )
    add(
        "--prior",
        type=float,
        default=0.5,
        help="share of fakes among images like these (default .5)",
    )
    add(
        "--json",
        action="store_true",
        help="JSON lines: what holds for all files, then one object a file as it is scored",
    )
    add_weights_options(parser)
    add("--device", default="auto", help="auto, cpu, cuda or mps (default auto)")
    try:
        if arguments[:1] != ["score"]:
            came = f", got {arguments[0]!r}" if arguments else ""
            raise AigiError(f"Expected '{PROGRAM} IMAGES...'{came}: '{PROGRAM} --help' says more.")
        args = parser.parse_args(arguments[1:])
        with archives_allowed(args.allow_torchscript):
            return run(args)
    except AigiError as error:
        print(printable(str(error)), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def run(args: argparse.Namespace) -> int:
    """Score and print."""
    from aigi_core.inspection.intake import find_files
    from aigi_core.inspection.score import choose_panel, score_files
    from aigi_core.workspace import Workspace

    if not 0 < args.prior < 1:
        raise AigiError(
            f"The prior share of fakes lies between 0 and 1 (both excluded), got {args.prior:g}."
        )
    workspace = Workspace.open(args.workspace)
    panel = choose_panel(workspace, args.detector)
    band = panel.band(0, args.rate)
    if band.note:
        print(f"False alarms: {band.note}.", file=sys.stderr)
    if band.no_band:
        print(f"No abstention: {band.no_band}.", file=sys.stderr)
    if args.json:
        print(json.dumps(_about(workspace, panel, args)), flush=True)
    files: list[Path] = []
    scored = False

    def show(outcome: dict) -> None:
        # ASCII: file names may hold anything
        print(json.dumps(outcome) if args.json else _line(outcome), flush=True)

    for path in args.images:
        try:
            files += find_files([path])
        except AigiError as error:
            show({"path": path, "outcome": "left out", "reason": f"missing: {error}"})
    progress = tqdm(
        score_files(
            workspace,
            panel,
            list(dict.fromkeys(files)),
            lambda: _load(workspace, args),
            rate=args.rate,
            prior=args.prior,
        ),
        total=len(files),
        unit="image",
        desc="Scoring",
        disable=sys.stderr.isatty() and sys.stdout.isatty(),  # there the lines are the progress
        **progress_options(),
    )
    for outcome in progress:
        scored |= outcome["outcome"] == "scored"
        show(outcome)
    return 0 if scored else 1


def _about(workspace: Workspace, panel: Panel, args: argparse.Namespace) -> dict:
    """What holds for all files: the first line of ``--json``."""
    calibration, band = panel.calibrations[0], panel.band(0, args.rate)
    return {
        "workspace": workspace.name,
        "workspace_digest": workspace.digest,
        "detector": panel.names[0],
        "trained_on": [list(detector.training_set) for detector in panel.detectors],
        "encoder": {
            name: workspace.encoder[name] for name in ("model", "pretrained", "weights_sha256")
        },
        "prior": args.prior,
        "rate": band.rate,
        "rate_asked": args.rate,
        "rate_note": band.note,
        "calibration": {
            "slope": calibration.slope,
            "intercept": calibration.intercept,
            "n_real": calibration.n_real,
            "n_fake": calibration.n_fake,
        },
        "real_below": band.low,
        "fake_above": band.high,
        "abstains": not band.no_band,
    }


def _load(workspace: Workspace, args: argparse.Namespace) -> Encoder:
    from aigi_core.clip.workspace_encoder import encoder_from

    return encoder_from(workspace, args)


def _line(outcome: dict) -> str:
    if outcome["outcome"] != "scored":
        return f"left out   {printable(outcome['path'])}: {printable(outcome['reason'])}"
    low, high = outcome["probability_interval"]
    summary = (
        f"{outcome['verdict']:<10} {outcome['probability']:.3f} (95%: {low:.3f} to {high:.3f})"
    )
    split = outcome["split_in_workspace"]
    known = f"  (in the workspace's {split} split)" if split else ""
    if copy := outcome["copy_of"]:
        known = f"  (likely a copy of {printable(copy['path'])}, {copy['split']} split)"
    known += f"  ({printable(outcome['note'])})" if outcome["note"] else ""
    far = f"farther than {outcome['farther_than']:.0%} of held-out images"
    return f"{summary}  {far}  {printable(outcome['path'])}{known}"


if __name__ == "__main__":
    sys.exit(main())
