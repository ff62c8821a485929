"""Trust on generators left out: nothing of them takes part, and the figures are the library's."""

import numpy as np
import pytest

from aigi_core.calibration import abstention_band, fit_ensemble, nearest_rate
from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.protocol import train
from aigi_core.errors import AigiError
from aigi_core.inspection.panel import Panel, build_panel
from aigi_core.inspection.unseen import RULES, Trust, trust_on_unseen
from aigi_core.manifest import FAKE
from aigi_core.workspace import Workspace


@pytest.fixture(scope="module")
def panel(synthetic: Workspace) -> Panel:
    return build_panel(synthetic)


@pytest.fixture(scope="module")
def trust(synthetic: Workspace, panel: Panel) -> Trust:
    return trust_on_unseen(synthetic, panel, 0.2)


def test_one_generator_left_out_by_hand(synthetic: Workspace, panel: Panel, trust: Trust) -> None:
    domains, name = synthetic.domains, "beta-diff"
    members = [one for one in panel.detectors if name not in one.training_set]
    assert len(members) == len(panel.detectors) - 1
    fit = np.flatnonzero((domains.split == "val") & (domains.generator != name))
    labels = domains.labels[fit].astype(int)
    scores = score_detectors(members, synthetic)
    ensemble = fit_ensemble(scores[:, fit], labels)
    fewest = min(np.bincount(labels))
    band = abstention_band(
        ensemble.mean_logit(scores[:, fit]), labels, nearest_rate(0.2, int(fewest))
    )
    rows = domains.rows(name, "test")
    verdict = band.verdict(ensemble.mean_logit(scores[:, rows]))
    fake = domains.labels[rows] == FAKE
    mine = trust.generators.set_index("generator").loc[name]
    assert mine["detected"] == pytest.approx((verdict[fake] == "fake").mean())
    assert mine["missed"] == pytest.approx((verdict[fake] == "real").mean())
    assert mine["false_alarms"] == pytest.approx((verdict[~fake] == "fake").mean())
    assert (mine["n_fake"], mine["n_real"]) == (fake.sum(), (~fake).sum())


def test_every_generator_pool_and_rule_is_there(synthetic: Workspace, trust: Trust) -> None:
    domains = synthetic.domains
    assert trust.generators["generator"].tolist() == list(domains.generators)
    assert set(trust.pools["pool"]) == set(domains.pool)
    assert trust.rules["rule"].tolist() == list(RULES)
    assert trust.generators["auc"].mean() == pytest.approx(
        trust.rules.set_index("rule").loc["mean", "auc"]
    )
    for name in ("detected", "missed", "false_alarms", "auc"):
        table = trust.generators
        assert (table[f"{name}_low"] <= table[name]).all()
        assert (table[name] <= table[f"{name}_high"]).all()
    assert trust.error.n == trust.reliability["n"].sum()


def test_one_detector_alone_has_no_unknown_generator(synthetic: Workspace) -> None:
    everything = train(synthetic, [synthetic.domains.generators])
    with pytest.raises(AigiError, match="at least two generators"):
        trust_on_unseen(synthetic, build_panel(synthetic, everything))
