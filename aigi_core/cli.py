"""``aigi COMMAND``: the app, scoring of images and all jobs under one name.

``aigi build ...`` is ``python -m precompute build ...``, ``aigi score ...`` is
``python -m aigi_core score ...``; ``aigi app`` starts the app with the settings that it is shipped
with.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.resources import files
from pathlib import Path

from aigi_core.arguments import did_you_mean
from aigi_core.commands import build_command
from aigi_core.terminal import printable

OWN = {
    "app": "start the app on workspaces, or on the embedded demo",
    "score": "probabilities of being generated, for image files",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code, 2 for a command that there is not."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    jobs = import_module("precompute.__main__")
    command = arguments[0] if arguments else ""
    if command == "app":
        return app(arguments[1:])
    if command == "score":
        return int(import_module("aigi_core.__main__").main(arguments))
    if command in jobs.JOBS:
        return int(jobs.main(arguments))
    asked = command in ("-h", "--help")
    if command and not asked:
        meant = did_you_mean(command, [*OWN, *jobs.JOBS])
        sentence = f"There is no command {command!r}{meant} 'aigi --help' lists all."
        print(printable(sentence), file=sys.stderr)
        return 2
    usage = f"usage: aigi COMMAND ...\n\ncommands:\n{jobs.listed(OWN)}"
    print(usage, file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


def app(argv: Sequence[str]) -> int:
    """Start the app in a process of its own and wait until it ends.

    Options that are not the app's own are Streamlit's (``--server.port=8502``). The app listens on
    this machine alone unless they say otherwise.
    """
    parser = argparse.ArgumentParser(
        prog="aigi app", description="Start the app.", epilog="Other options go to Streamlit."
    )
    parser.add_argument(
        "workspaces", nargs="*", type=Path, metavar="WORKSPACE", help="default: the embedded demo"
    )
    args, options = parser.parse_known_args(argv)
    for path in args.workspaces:
        if not (path / "workspace.json").is_file():
            what = "it holds no workspace.json" if path.is_dir() else "it is not a folder"
            sentence = f"{path} is no workspace: {what}. Make one with '{build_command(path)}'."
            print(printable(sentence), file=sys.stderr)
            return 2
    environment = dict(os.environ)
    if args.workspaces:
        paths = [str(path.resolve()) for path in args.workspaces]
        environment["AIGI_WORKSPACE"] = os.pathsep.join(paths)
    if not any(option.startswith("--server.address") for option in options):
        options.append("--server.address=127.0.0.1")
    script = app_folder() / "app.py"
    command = [sys.executable, "-P", "-m", "streamlit", "run", str(script), *options]
    try:
        return subprocess.run(command, env=environment, check=False).returncode
    except KeyboardInterrupt:
        return 130


def app_folder() -> Path:
    """Where ``app.py`` and its pages are: a package of their own where installed, else the
    checkout.
    """
    beside = Path(str(files("aigi_core"))).parent
    installed = beside / "aigi_explorer"
    return installed if installed.is_dir() else beside


if __name__ == "__main__":
    sys.exit(main())
