"""Tests marked slow, which check on a large scale what a quicker test checks on a small one: how
many there are, passed, failed and were skipped.

All other tests are run by ``pytest`` alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from aigi_core.errors import AigiError

ROOT = Path(__file__).parents[1]


def main(argv: Sequence[str]) -> dict[str, Any]:
    """Run them in processes of pytest; ``failures`` names those that failed or were in error.

    Raises:
        AigiError: pytest could not run them, or there are none.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks slow-tests", description=__doc__)
    parser.add_argument("paths", nargs="*", default=["tests"], help="of tests; all by default")
    parser.add_argument("--processes", type=int, default=2, help="0: in pytest's own")
    args = parser.parse_args(argv)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-m", "slow", "-n", str(args.processes)]
        done = subprocess.run(
            [*command, f"--junit-xml={report}", *args.paths], cwd=ROOT, check=False
        )
        if done.returncode not in (0, 1):
            raise AigiError(
                f"pytest ended with {done.returncode} (5: none of these tests is marked slow):"
                " see its own lines above."
            )
        cases = list(ElementTree.parse(report).iter("testcase"))
    failed = [_name(case) for case in cases if case.find("failure") is not None]
    failed += [_name(case) for case in cases if case.find("error") is not None]
    skipped = sum(case.find("skipped") is not None for case in cases)
    return {
        "tests": len(cases),
        "passed": len(cases) - len(set(failed)) - skipped,
        "failed": len(set(failed)),
        "skipped": skipped,
        "failures": sorted(set(failed)),
        "seconds": round(time.perf_counter() - begin, 1),
    }


def _name(case: ElementTree.Element) -> str:
    return f"{case.get('classname')}::{case.get('name')}"
