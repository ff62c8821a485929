"""``python -m precompute JOB``: the jobs that write a workspace, one module a job.

A job's module has ``add_options(parser)``, which adds its options, and ``run(args) -> int``, which
does the work and returns the exit code. Only the module of the job that was asked for
is imported, so that ``--help`` is quick and ``ingest`` never loads torch.
"""

from __future__ import annotations

import argparse
import errno
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path

from aigi_core.arguments import Arguments, did_you_mean
from aigi_core.clip.consent import archives_allowed
from aigi_core.errors import AigiError
from aigi_core.terminal import PrintableStream, printable
from precompute.options import folder

PROGRAM = "python -m precompute"
JOBS: dict[str, tuple[str, str]] = {
    "build": ("precompute.build", "ingest, encode, text and detectors in one go"),
    "ingest": ("precompute.ingest", "read a folder of images into a new workspace"),
    "encode": ("precompute.encode", "compute embeddings and head contexts of a workspace's images"),
    "detectors": (
        "precompute.detectors",
        "train one detector a generator, so that pages open at once",
    ),
    "methods": ("precompute.methods", "measure every method of detecting; a stopped run goes on"),
    "finetune": (
        "precompute.finetune",
        "train part of the encoder itself, on detection or on captions; a stopped run goes on",
    ),
    "attribution": (
        "precompute.attribution",
        "which generator made an image, unknown ones included, and a tree of generators",
    ),
    "import-detector": (
        "precompute.import_detector",
        "put a linear layer that others trained beside the methods",
    ),
    "import-scores": (
        "precompute.import_scores",
        "put the scores of any detector beside the methods",
    ),
    "search": (
        "precompute.search",
        "component and head search for pairs of generators, measured on the others",
    ),
    "words": (
        "precompute.words",
        "nearest texts of all detectors with their nulls, and TextSpan of all heads",
    ),
    "map": ("precompute.map", "the images in two dimensions, for the page Map"),
    "perturb": (
        "precompute.perturb",
        "encode perturbed copies of the test images: JPEG, resizing, blur, noise, ...",
    ),
    "audit": (
        "precompute.audit",
        "what gives the label away: file facts, leaks, content, common marks",
    ),
    "quality": (
        "precompute.quality",
        "quality of images by prompts or opinion scores, and the detectors at equal quality",
    ),
    "text": ("precompute.text", "embed words and phrases with a workspace's text tower"),
    "align": (
        "precompute.align",
        "lend an encoding without texts those of another, by a map fitted on captioned images",
    ),
    "generate": ("precompute.generate", "make images from prompts, with full provenance"),
    "add": (
        "precompute.growth.add",
        "add images to a workspace, or finish an interrupted change; nothing is computed twice",
    ),
    "remove": ("precompute.growth.remove", "take generators or pools out of a workspace"),
    "subset": ("precompute.growth.subset", "a new workspace of some generators or pools"),
    "merge": ("precompute.growth.merge", "a new workspace from two of one encoder"),
    "splits": ("precompute.growth.splits", "divide a workspace's images anew, by seed or folds"),
    "verify": ("precompute.verify", "check every hash and shape of a workspace and its results"),
    "demo": ("precompute.demo", "rebuild the embedded demo from its images"),
}
"""Job -> (module, one line of help). A new job is a module and a line here."""


def listed(others: Mapping[str, str] | None = None) -> str:
    """All commands with their line of help, in two columns: ``others``, then the jobs."""
    lines = dict(others or {}) | {name: line for name, (_, line) in JOBS.items()}
    width = max(map(len, lines))
    return "\n".join(f"  {name:<{width}}  {line}" for name, line in lines.items())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one job; returns 0, 2 for a mistake its reader can mend, 130 when interrupted, or the
    job's own code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    asked = bool({"-h", "--help"} & set(arguments[:1]))
    if asked or not arguments:
        usage = f"usage: {PROGRAM} JOB ...\n\njobs:\n{listed()}"
        print(usage, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    name, *options = arguments
    args: argparse.Namespace | None = None
    try:
        if name not in JOBS:
            meant = did_you_mean(name, JOBS)
            raise AigiError(f"There is no job {name!r}{meant} '{PROGRAM} --help' lists all jobs.")
        _check_places(arguments)
        module, line = JOBS[name]
        parser = Arguments(prog=f"{PROGRAM} {name}", description=f"{line[0].upper()}{line[1:]}.")
        job = import_module(module)
        job.add_options(parser)
        args = parser.parse_args(options)
        archives = archives_allowed(getattr(args, "allow_torchscript", False))
        with redirect_stdout(PrintableStream(sys.stdout)), archives:
            return int(job.run(args))
    except AigiError as error:
        return _say(str(error), 2)
    except KeyboardInterrupt:
        return _say(_interrupted(args), 130)
    except OSError as error:
        full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        if error.errno not in (*full, errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        return _say(f"Could not write {error.filename or 'the workspace'}: {error.strerror}.", 2)


def _interrupted(args: argparse.Namespace | None) -> str:
    out = getattr(args, "out", None)
    if args is None or (isinstance(out, Path) and not out.exists()):
        return "Interrupted; nothing was written."
    return "Interrupted; what was published before stays as it was."


def _check_places(arguments: Sequence[str]) -> None:
    """Refuse a workspace or a folder of images that is not there before the job's modules are
    loaded, which may take longer than all else that it does first. ``verify`` reports it itself.

    Raises:
        AigiError: what :func:`aigi_core.workspace.read_manifest` raises, or no such folder.
    """
    if arguments[0] == "verify" or {"-h", "--help"} & set(arguments):
        return
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--workspace", type=folder)
    parser.add_argument("--workspaces", type=folder, nargs=2, default=[])
    parser.add_argument("--images", type=folder)
    try:
        named, _ = parser.parse_known_args(arguments)
    except argparse.ArgumentError:
        return  # the job's own parser says what is wrong
    for workspace in [*named.workspaces, *([named.workspace] if named.workspace else [])]:
        from aigi_core.workspace import read_manifest  # not for --help

        read_manifest(workspace)
    if named.images and not named.images.is_dir():
        what = "is a file" if named.images.is_file() else "is not there"
        raise AigiError(f"Expected a folder of images, but {named.images} {what}: check --images.")


def _say(sentence: str, code: int) -> int:
    print(printable(sentence), file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    code = main()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # all is done: Ctrl-C while leaving needs no words
    sys.exit(code)
