"""How often judges abstain on test images and are right where they do not, counted plainly."""

import numpy as np
import pytest

from aigi_core.inspection.panel import build_panel, calls_on_test
from aigi_core.manifest import FAKE
from aigi_core.workspace import Workspace


def test_calls_are_counted_image_by_image(synthetic: Workspace) -> None:
    panel, rate = build_panel(synthetic), 0.2
    table = calls_on_test(synthetic, panel, rate).set_index("detector")
    domains = synthetic.domains
    rows = np.flatnonzero(domains.split == "test")
    for judge, name in enumerate(panel.names):
        verdicts = [
            panel.verdicts(panel.logits(synthetic, np.array([row]))[:, 0], rate).iloc[judge]
            for row in rows[:40]
        ]
        band = panel.band(judge, rate)
        assert band is not None
        wanted = [v["verdict"] for v in verdicts]
        own = band.verdict(panel.logits(synthetic, rows[:40])[judge])
        assert [w for w in wanted if w != "no verdict"] == list(own)[: len(wanted)] or all(
            w == "no verdict" for w in wanted
        )
        calls = band.verdict(panel.logits(synthetic, rows)[judge])
        made = calls != "uncertain"
        truth = np.where(domains.labels[rows] == FAKE, "fake", "real")
        assert table.loc[name, "undecided"] == pytest.approx(1 - made.mean())
        assert table.loc[name, "right"] == pytest.approx((calls == truth)[made].mean())
        assert table.loc[name, "right_low"] < table.loc[name, "right"]
