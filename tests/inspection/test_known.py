"""Calls and rates on test images, pool by pool: counted plainly; failing where they lie above."""

import numpy as np
import pandas as pd
import pytest

from aigi_core.inspection.known import calls_on_test, rates_by_pool
from aigi_core.inspection.panel import Panel, build_panel
from aigi_core.manifest import FAKE
from aigi_core.workspace import Workspace
from ui.bodies.inspect import rates_in_words


@pytest.fixture(scope="module")
def panel(synthetic: Workspace) -> Panel:
    return build_panel(synthetic)


def test_calls_are_counted_image_by_image(synthetic: Workspace, panel: Panel) -> None:
    rate = 0.2
    table = calls_on_test(synthetic, panel, rate).set_index("detector")
    domains = synthetic.domains
    rows = np.flatnonzero(domains.split == "test")
    for judge, name in enumerate(panel.names):
        verdicts = [
            panel.verdicts(panel.logits(synthetic, np.array([row]))[:, 0], rate).iloc[judge]
            for row in rows[:40]
        ]
        band = panel.band(judge, rate)
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


def test_rates_are_counted_pool_by_pool(synthetic: Workspace, panel: Panel) -> None:
    table = rates_by_pool(synthetic, panel, 0, 0.2).set_index("pool")
    domains = synthetic.domains
    test = domains.split == "test"
    calls = panel.calls(0, panel.logits(synthetic, np.arange(len(domains)))[0], 0.2)
    assert list(table.index) == ["", *np.unique(domains.pool[test])]
    for pool, row in table.iterrows():
        mine = test & ((domains.pool == pool) | (pool == ""))
        fake = domains.labels == FAKE
        assert row["false_alarms"] == pytest.approx((calls[mine & ~fake] == "fake").mean())
        assert row["missed"] == pytest.approx((calls[mine & fake] == "real").mean())
        assert (row["n_real"], row["n_fake"]) == ((mine & ~fake).sum(), (mine & fake).sum())
        for error in ("false_alarms", "missed"):
            assert row[f"{error}_low"] <= row[error] <= row[f"{error}_high"]
            assert row[f"{error}_low"] < row[f"{error}_high"]
        assert ("false alarms" in row["fails"]) == (row["false_alarms_low"] > row["set"])


def test_where_limits_fail_is_reported() -> None:
    row = {
        "false_alarms": 0.13,
        "false_alarms_low": 0.07,
        "false_alarms_high": 0.22,
        "n_real": 75,
        "missed": 0.0,
        "missed_low": 0.0,
        "missed_high": 0.07,
        "n_fake": 45,
        "set": 0.05,
    }
    good = row | {"false_alarms": 0.05, "false_alarms_low": 0.01, "fails": ""}
    other = good | {"pool": "scenes"}
    rows = [good | {"pool": ""}, row | {"pool": "faces", "fails": "false alarms"}, other]
    said = rates_in_words(pd.DataFrame(rows))
    assert "false alarms on" in said and "faces" in said
    assert "**13%** (7% to 22%, 75 photographs)" in said and "not hold everywhere" in said
    said = rates_in_words(pd.DataFrame([good | {"pool": ""}, good | {"pool": "faces"}, other]))
    assert "none is shown to lie above" in said and "75 photographs" in said
    failing = row | {"fails": "false alarms"}  # one pool: its name, often "all", tells nothing
    for together, expected in ((good, "Neither is shown"), (failing, "false alarms lie above it")):
        said = rates_in_words(pd.DataFrame([together | {"pool": ""}, together | {"pool": "all"}]))
        assert expected in said and "pool" not in said and "all" not in said.replace("false al", "")
