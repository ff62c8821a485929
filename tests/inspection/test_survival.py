"""Copies are what the operations make of the whole picture; the verdicts are the panel's."""

from pathlib import Path

import numpy as np
import pytest

from aigi_core.clip.encoder import Encoder, load_encoder
from aigi_core.images import load_rgb
from aigi_core.inspection.panel import Panel, build_panel
from aigi_core.inspection.survival import perturbed_copies, survival
from aigi_core.perturb import ladder
from aigi_core.workspace import Workspace
from tests.precompute.corpus import encoded
from tests.tiny_workspace import make_picture


@pytest.fixture(scope="module")
def encoder(tiny: tuple[Path, str]) -> Encoder:
    return load_encoder(tiny[1], None, device="cpu")


@pytest.fixture(scope="module")
def panel(tiny: tuple[Path, str]) -> Panel:
    return build_panel(Workspace.open(tiny[0]))


def test_copies_and_verdicts(encoder: Encoder, panel: Panel, tiny: tuple[Path, str]) -> None:
    content, steps = encoded(make_picture(1, 500)), []
    workspace = Workspace.open(tiny[0])
    copies = perturbed_copies(
        workspace, encoder, content, "key", progress=lambda *at: steps.append(at)
    )
    assert len(copies.ops) == 1 + len(ladder()) == steps[-1][0] == steps[-1][1]
    for at in (0, 5, len(copies.ops) - 1):
        op, image = copies.ops[at], load_rgb(content).image
        seen = encoder.preprocessing.pixels(op(image, "key") if op else image)
        by_hand = encoder.encode_images(seen[None])
        np.testing.assert_allclose(copies.images.embeddings[at], by_hand.embedding[0], atol=1e-5)
    table = survival(copies, panel, 1, 0.2)
    logits = panel.logits(copies.images)[1]
    np.testing.assert_allclose(table["logit"], logits)
    band = panel.band(1, 0.2)
    assert table["verdict"].tolist() == band.verdict(logits).tolist()
    assert (
        table["description"][0] == "as it came" and table["description"][1] == "JPEG at quality 95"
    )
    assert (table["low"] <= table["probability"]).all() and (
        table["probability"] <= table["high"]
    ).all()
