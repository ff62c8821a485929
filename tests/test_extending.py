"""The examples of docs/extending.md run, each with those before it, in a process of their own."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

DOCUMENT = (ROOT / "docs" / "extending.md").read_text("utf-8")


def test_every_example_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.M | re.S)
    sections = re.findall(r"^## (.*)$", DOCUMENT, re.M)
    assert len(blocks) > len(sections)
    script = tmp_path / "examples.py"
    script.write_text(f"TEMPORARY = {str(tmp_path)!r}\n" + "\n".join(blocks) + "\nprint('done')\n")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["done"], done.stderr
