"""docs/encoders.md is what the code finds: its counts, and one configuration of each kind built
again (all of them: ``python -m benchmarks encoders``).
"""

import re
from pathlib import Path

import pytest

from benchmarks.encoders import WRITTEN, further_features, line, of_open_clip, of_timm

DOCUMENT = (Path(__file__).parents[2] / "docs" / "encoders.md").read_text("utf-8")


@pytest.mark.parametrize(
    "name", ["ViT-B-32", "ViT-B-16-SigLIP", "EVA02-B-16", "coca_ViT-B-32", "convnext_tiny", "RN50"]
)
def test_rows_of_open_clip(name: str) -> None:
    assert line(of_open_clip(name)) in DOCUMENT


@pytest.mark.parametrize("name", ["vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3"])
def test_rows_of_timm(name: str) -> None:
    assert line(of_timm(name)) in DOCUMENT


def test_counts_are_those_of_the_rows() -> None:
    part = DOCUMENT.partition("## open_clip")[2].partition("## timm")[0]
    heads = re.findall(r"^\| [^|]+ \| ([^|]+) \|", part, flags=re.M)[1:]
    given = [kind for kind in heads if not kind.startswith("none")]
    assert f"Of the {len(heads)} configurations" in DOCUMENT
    assert f"{len(given)} have attention heads" in DOCUMENT
    assert len(heads) >= 140 and len(given) >= 100


def test_what_further_features_cost() -> None:
    assert "\n".join([*further_features(), "", *WRITTEN.splitlines()]) in DOCUMENT
