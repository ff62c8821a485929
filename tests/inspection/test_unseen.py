"""Trust on generators left out: nothing of them takes part, and the figures are the library's."""

import numpy as np
import pandas as pd
import pytest

from aigi_core.calibration import abstention_band, fit_calibration, fit_ensemble, nearest_rate
from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.inspection import unseen
from aigi_core.inspection.panel import Panel, build_panel
from aigi_core.inspection.rules import DEFAULT_RULE, RULES, Members, nearness
from aigi_core.inspection.unseen import Trust, choose_rule, trust_on_unseen
from aigi_core.manifest import FAKE
from aigi_core.workspace import Workspace


@pytest.fixture(scope="module")
def panel(synthetic: Workspace) -> Panel:
    return build_panel(synthetic)


@pytest.fixture(scope="module")
def trust(synthetic: Workspace, panel: Panel) -> Trust:
    return trust_on_unseen(synthetic, panel, 0.2)


@pytest.mark.parametrize("rate", [0.1, 0.2])
@pytest.mark.parametrize("name", ["alpha-gan", "beta-diff", "gamma-diff", "delta-ar"])
def test_one_generator_left_out_by_hand(
    synthetic: Workspace, panel: Panel, trust: Trust, name: str, rate: float
) -> None:
    """Several, because rates of few images can agree although a generator was not left out."""
    domains = synthetic.domains
    trust = trust if rate == trust.rate else trust_on_unseen(synthetic, panel, rate)
    members = [one for one in panel.detectors if name not in one.training_set]
    assert len(members) == len(panel.detectors) - 1
    fit = np.flatnonzero((domains.split == "val") & (domains.generator != name))
    labels = domains.labels[fit].astype(int)
    scores = score_detectors(members, synthetic)
    ensemble = fit_ensemble(scores[:, fit], labels)
    fewest = min(np.bincount(labels))
    band = abstention_band(
        ensemble.mean_logit(scores[:, fit]), labels, nearest_rate(rate, int(fewest))
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


def test_the_rule_is_chosen_by_generators_left_out(
    synthetic: Workspace, panel: Panel, trust: Trust
) -> None:
    rules = trust.rules.set_index("rule")
    change = rules["auc"] - rules.loc[DEFAULT_RULE, "auc"]
    np.testing.assert_allclose(rules["change"], change, atol=1e-12)
    assert np.isnan(rules.loc[DEFAULT_RULE, "q_value"])
    better = rules[(rules["q_value"] < 0.05) & (change > 0)]
    assert trust.rule == (DEFAULT_RULE if better.empty else better["auc"].idxmax())
    assert choose_rule(synthetic, panel) == trust.rule
    mean, low, high = trust.mean("auc")
    assert mean == pytest.approx(trust.generators["auc"].mean()) and low < mean < high


def test_figures_are_those_of_the_rule_that_the_other_generators_choose(
    synthetic: Workspace, panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[set[str]] = []
    whole = unseen._compared

    def compared(rules: pd.DataFrame) -> pd.DataFrame:
        asked.append(set(rules["generator"]))
        return whole(rules)

    monkeypatch.setattr(unseen, "_compared", compared)
    monkeypatch.setattr(unseen, "_choice", lambda rules: "maximum")
    trust, names = trust_on_unseen(synthetic, panel, 0.2), synthetic.domains.generators
    assert asked == [set(names), *({*names} - {name} for name in names)]
    assert trust.rule == "maximum" and (trust.generators["rule"] == "maximum").all()
    assert trust.generators["auc"].mean() == pytest.approx(
        trust.rules.set_index("rule").loc["maximum", "auc"]
    )
    assert panel.joined_by(trust.rule).rule == "maximum"


@pytest.mark.parametrize("rule", [name for name in RULES if name != DEFAULT_RULE])
def test_a_panel_judges_by_its_rule(synthetic: Workspace, panel: Panel, rule: str) -> None:
    """Logits, calibration and band of all together are the rule's; single detectors stay."""
    own, domains = panel.joined_by(rule), synthetic.domains
    val, test = (np.flatnonzero(domains.split == split) for split in ("val", "test"))
    raw = score_detectors(panel.detectors, synthetic)
    logits = panel.ensemble.member_logits(raw)
    near = nearness(synthetic, panel.detectors, synthetic)
    knows = np.stack([domains.generator == one.training_set[0] for one in panel.detectors])
    labels = domains.labels.astype(int)
    join = RULES[rule](Members(logits[:, val], near[:, val], knows[:, val], labels[val]))
    expected = join(logits[:, test], near[:, test])
    np.testing.assert_allclose(own.logits(synthetic, test)[0], expected, atol=1e-9)
    np.testing.assert_allclose(own.logits(synthetic, test)[1:], raw[:, test], atol=1e-9)
    band = abstention_band(join(logits[:, val], near[:, val]), labels[val], 0.2)
    assert (own.band(0, 0.2).low, own.band(0, 0.2).high) == pytest.approx((band.low, band.high))
    fitted = fit_calibration(join(logits[:, val], near[:, val]), labels[val])
    assert own.probability(0, 0.3)[0] == pytest.approx(
        float(fitted.probability(np.asarray(0.3), 0.5))
    )
    assert own.readings[0] is None and own.readings[1] is not None
    with pytest.raises(AigiError, match=f"combined by {rule}, which has no weights"):
        own.reading(0)


def test_stacking_takes_no_weight_from_knowing_the_generator() -> None:
    """A member that is right on its own generator alone says nothing of others: stacked weights
    stay with the one that is right on all."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 200)
    own = np.zeros((3, 400), bool)
    own[0, 200:], own[1, :] = True, False
    logits = rng.standard_normal((3, 400))
    logits[0, 200:] += 6
    logits[1] += 2 * labels
    zero, one = np.zeros((3, 1)), np.eye(3)

    def highest(known: np.ndarray) -> int:
        join = RULES["stacking"](Members(logits, np.zeros_like(logits), known, labels))
        return int(np.argmax(join(one, one) - join(zero, zero)))

    assert highest(own) == 1 and highest(np.zeros_like(own)) == 0


def test_weights_by_novelty_follow_the_nearest_member() -> None:
    near = np.array([[0.9, 0.1], [0.1, 0.9]])
    members = Members(np.zeros((2, 2)), near, np.zeros((2, 2), bool), np.array([0, 1]))
    joined = RULES["weights by novelty"](members)(np.array([[1.0, 1.0], [0.0, 0.0]]), near)
    assert joined[0] > 0.7 > 0.3 > joined[1]
    far = RULES["weights by novelty"](members)(np.array([[1.0], [0.0]]), np.full((2, 1), 0.2))
    assert far[0] == pytest.approx(0.5), "an image far from all of them asks all alike"


def test_nearness_leaves_an_images_own_group_out(synthetic: Workspace, panel: Panel) -> None:
    domains = synthetic.domains
    rows = domains.rows("beta-diff", "train")
    row = int(rows[domains.labels[rows] == FAKE][-1])
    near = nearness(synthetic, panel.detectors, synthetic, np.array([row]))[:, 0]
    at = [one.training_set for one in panel.detectors].index(("beta-diff",))
    unit = synthetic.embeddings / np.linalg.norm(synthetic.embeddings, axis=1, keepdims=True)
    mine = (domains.split == "train") & (domains.generator == "beta-diff")
    mine &= (domains.labels == FAKE) & (domains.group != domains.group[row])
    assert near[at] == pytest.approx(float((unit[mine] @ unit[row]).max()), abs=1e-5)
