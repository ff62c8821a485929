"""New files that show an image of the workspace again."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aigi_core.clip.preprocessing import Preprocessing
from aigi_core.inspection import copies
from aigi_core.inspection.copies import likely_copies
from aigi_core.inspection.intake import open_image
from aigi_core.vectors import unit_rows
from aigi_core.workspace import Workspace

DEMO = Path(__file__).parents[2] / "assets" / "demo"


@pytest.fixture(scope="module")
def demo() -> Workspace:
    return Workspace.open(DEMO)


def test_the_same_picture_with_other_bytes_is_found(demo: Workspace) -> None:
    """The same embedding, and one that a recompression moved by a tenth of the way to another."""
    rows = np.random.default_rng(0).choice(len(demo.embeddings), 60, replace=False)
    same = np.asarray(demo.embeddings)[rows]
    other = np.asarray(demo.embeddings)[np.roll(rows, 1)]
    found = likely_copies(demo, 3.0 * same)
    assert [(copy.row, copy.p) if copy else None for copy in found] == [(row, 0) for row in rows]
    moved = likely_copies(demo, unit_rows(same) + 0.1 * unit_rows(other))
    right = [copy.row == row for copy, row in zip(moved, rows, strict=True) if copy]
    assert len(right) >= 55 and all(right)


def test_other_images_are_none(demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images halfway between two pairs of others lie in the same cloud and show none of them. An
    answer of blocks is that of one pass.
    """
    rng, E = np.random.default_rng(1), unit_rows(np.asarray(demo.embeddings))
    mixed = E[rng.choice(len(E), (200, 4))].mean(axis=1)
    whole = likely_copies(demo, mixed)
    assert sum(copy is not None for copy in whole) <= 1
    monkeypatch.setattr("aigi_core.heads.BLOCK", 301)
    some = np.concatenate([mixed[:20], E[:5]])
    in_blocks = likely_copies(demo, some)
    assert [copy.row for copy in in_blocks[20:] if copy] == [0, 1, 2, 3, 4]
    assert in_blocks[:20] == likely_copies(demo, some)[:20]


def test_the_rule_keeps_its_rate() -> None:
    """Points drawn evenly in a ball of eight dimensions: p is below .05 about one time in 20."""
    rng = np.random.default_rng(2)
    points = rng.normal(size=(4000, 8))
    ps = []
    for asked in rng.normal(size=(1000, 8)) * 0.5:
        near = np.sort(np.linalg.norm(points - asked, axis=1))[: copies.AROUND + 1]
        ps.append(copies._p(near[0], near[1:]))
    assert (np.array(ps) < 0.05).mean() < 0.075 and (np.array(ps) < 0.001).mean() < 0.005


def test_a_picture_of_one_colour_says_so(demo: Workspace) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (300, 200), "white").save(stream, "PNG")
    preprocessing = Preprocessing.from_description(demo.encoder["preprocessing"])
    opened = open_image("white.png", stream.getvalue(), preprocessing)
    assert (
        opened.pixels is not None and "same colour" in opened.note and opened.note in opened.about
    )
