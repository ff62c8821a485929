"""``python -m benchmarks NAME [options]``: one side-by-side measurement, one JSON object on the
last line.

A benchmark is a module of this folder with ``main(argv) -> dict``; the first paragraph of its
docstring is its help. Threads are capped before any numerical library loads: three pools of threads
on one machine measure each other.
"""

from __future__ import annotations

import ast
import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

THREAD_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def names() -> dict[str, str]:
    """Benchmark -> first paragraph of its docstring, read without importing it."""
    files = sorted(
        path for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")
    )
    return {
        file.stem.replace("_", "-"): " ".join(
            (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").split("\n\n")[0].split()
        )
        for file in files
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run one benchmark and print its result; returns 0, or 2 for an unknown name or a mistake its
    reader can mend.
    """
    from aigi_core.errors import AigiError

    arguments = list(sys.argv[1:] if argv is None else argv)
    known = names()
    if not arguments or arguments[0] not in known:
        print(
            "usage: python -m benchmarks NAME [options]",
            *(f"  {n}: {line}" for n, line in known.items()),
            sep="\n",
        )
        return 0 if arguments[:1] in ([], ["-h"], ["--help"]) else 2
    for pool in THREAD_POOLS:
        os.environ.setdefault(pool, "1")
    try:
        module = import_module(f"benchmarks.{arguments[0].replace('-', '_')}")
        result = module.main(arguments[1:])
    except AigiError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps({"benchmark": arguments[0], **result}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
