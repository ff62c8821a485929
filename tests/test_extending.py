"""The examples of docs/extending.md: each runs, with those before it, in a process of its own; and
each, put into a copy of the tree, is one file and at most one line of registration.
"""

import filecmp
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import ROOT

DOCUMENT = (ROOT / "docs" / "extending.md").read_text("utf-8")
SECTIONS = {
    section.partition("\n")[0]: re.findall(r"^```python\n(.*?)^```", section, re.M | re.S)
    for section in re.split(r"^## ", DOCUMENT, flags=re.M)
}
"""Heading -> its blocks of code."""
CODE = ("aigi_core", "precompute", "ui", "pages")


def run(script: str, where: Path) -> None:
    """In a process of its own, on the code of a folder; it must come to its end."""
    done = subprocess.run(
        [sys.executable, "-c", script + "\nprint('done')\n"],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(where)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["done"], done.stderr


def test_every_example_runs(tmp_path: Path) -> None:
    blocks = [block for section in SECTIONS.values() for block in section]
    assert len(blocks) > len(SECTIONS)
    run(f"TEMPORARY = {str(tmp_path)!r}\n" + "\n".join(blocks), ROOT)


@dataclass(frozen=True)
class Addition:
    """What one who extends the project does.

    Attributes:
        file: the new file, or the one that the example is written into.
        section: heading of the example, whose first block of code is what is written.
        cut: what the example says only because it registers at run time -> what the file says.
        registry: the one other file that is edited, if any; ``lines``: what is put before what.
        until: where the definition ends in the block, and its use begins.
        used: that it is there, asked of the copy.
    """

    file: str
    section: str
    used: str
    cut: Mapping[str, str] = field(default_factory=dict)
    registry: str = ""
    lines: Mapping[str, str] = field(default_factory=dict)
    until: str = ""


METHODS_INIT = "aigi_core/detectors/methods/__init__.py"
LAYOUTS_INIT = "precompute/ingest/layouts/__init__.py"
ADDITIONS = {
    "method": Addition(
        "aigi_core/detectors/methods/shrunken.py",
        "A method",
        "from aigi_core.detectors.methods import METHODS; METHODS['shrunken-means'].grid(None)",
        {"from aigi_core": "import numpy as np\nfrom aigi_core"},
        METHODS_INIT,
        {"    zero_shot,\n": "    shrunken,\n"},
    ),
    "metric": Addition(
        "aigi_core/metrics/few_false_alarms.py",
        "A metric",
        "from aigi_core.transfer import METRICS; METRICS['few_false_alarms'].title",
        {
            "from aigi_core.metrics.registry import METRICS\n": "",
            'METRICS["few_false_alarms"] =': "METRIC =",
        },
        "aigi_core/metrics/registry.py",
        {
            "from aigi_core.metrics.ranking": "from aigi_core.metrics import few_false_alarms\n",
            "        AUC,\n": "        few_false_alarms.METRIC,\n",
        },
    ),
    "perturbation": Addition(
        "aigi_core/perturb.py",
        "A perturbation",
        "from aigi_core.perturb import parse_ops; parse_ops(['posterize:2'])",
        {
            "from aigi_core.perturb import PERTURBATIONS, Perturbation, parse_ops\n": "",
            "from PIL import Image, ImageOps\n": "from PIL import ImageOps\n",
        },
        until="[op] =",
    ),
    "layout": Addition(
        "precompute/ingest/layouts/photos.py",
        "A layout of a data set",
        "from precompute.ingest.layouts import LAYOUTS; LAYOUTS['photos'].shape",
        {
            "from precompute.ingest.layouts import LAYOUTS\n": "",
            'LAYOUTS["photos"] =': "LAYOUT =",
        },
        LAYOUTS_INIT,
        {"    roots,\n": "    photos,\n", "        roots,\n": "        photos,\n"},
    ),
    "encoder": Addition(
        "aigi_core/clip/untrained_models.py",
        "An encoder",
        "from importlib import import_module; from aigi_core.clip.encoder import NAMED;"
        " import_module(NAMED['untrained:']).load",
        {
            "import types\n": "",
            "from aigi_core.clip import encoder as encoders\n": "",
        },
        "aigi_core/clip/encoder.py",
        {'    "timm:":': '    "untrained:": "aigi_core.clip.untrained_models",\n'},
        until='sys.modules["untrained_models"]',
    ),
    "page": Addition(
        "pages/size.py",
        "A page",
        "from ui.toolkit.router import PAGES; PAGES['size'].question",
        {"PAGE = '''\n": "", "'''\n": ""},
        "ui/toolkit/router.py",
        {
            '    PageInfo("methods"': '    PageInfo("size", "Size", "How many?", "tag"),\n',
        },
    ),
}


def extend(tree: Path, addition: Addition) -> None:
    """Write the example's file and its registration into a tree."""
    block = SECTIONS[addition.section][0]
    for text, instead in addition.cut.items():
        assert text in block
        block = block.replace(text, instead, 1)
    if addition.until:
        block = block[: block.index(addition.until)]
    file = tree / addition.file
    file.write_text((file.read_text("utf-8") if file.is_file() else "") + block, "utf-8")
    for place, line in addition.lines.items():
        registry = tree / addition.registry
        text = registry.read_text("utf-8")
        assert place in text
        registry.write_text(text.replace(place, line + place, 1), "utf-8")


def edited(tree: Path) -> set[str]:
    """Files of the copy that the project does not have, or that differ from its own."""
    names = {str(file.relative_to(tree)) for room in CODE for file in (tree / room).rglob("*.py")}
    return {
        name
        for name in names
        if not (ROOT / name).is_file() or not filecmp.cmp(ROOT / name, tree / name, shallow=False)
    }


@pytest.mark.parametrize("kind", ADDITIONS)
def test_a_new_one_is_one_file_and_at_most_one_registration(kind: str, tmp_path: Path) -> None:
    for room in CODE:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    assert edited(tmp_path) == set()
    addition = ADDITIONS[kind]
    extend(tmp_path, addition)
    assert edited(tmp_path) == {addition.file} | ({addition.registry} - {""})
    run(addition.used, tmp_path)
