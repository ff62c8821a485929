"""The torchvision shim, in fresh processes: with the torchvision at hand, and with one that loads
natively.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python(code: str, *first_on_path: Path) -> str:
    path = os.pathsep.join(map(str, (*first_on_path, ROOT)))
    process = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        check=False,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return process.stdout


def test_imports_in_a_fresh_process() -> None:
    code = (
        "from aigi_core.clip._open_clip import open_clip; import torchvision, timm;"
        " print(open_clip.__version__)"
    )
    assert python(code).strip()


def test_does_nothing_where_torchvision_loads(tmp_path: Path) -> None:
    (tmp_path / "torchvision.py").write_text("native = True")
    for name in ("open_clip", "timm"):
        (tmp_path / f"{name}.py").write_text("")
    code = (
        "import torchvision; from aigi_core.clip import _open_clip as shim; import"
        " torch;print(shim._DECLARED, hasattr(torch.ops.torchvision, 'nms'), torchvision is"
        " __import__('torchvision'))"
    )
    assert python(code, tmp_path).strip() == "[] False True"


def test_other_failures_of_torchvision_are_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('no CUDA driver')")
    code = (
        "try:\n    import aigi_core.clip._open_clip\n"
        "except RuntimeError as error:\n    print(error)\nelse:\n    print('hidden')"
    )
    assert python(code, tmp_path).strip() == "no CUDA driver"
