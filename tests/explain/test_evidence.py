"""Evidence adds up exactly, and names the head that was planted to carry or mislead."""

from dataclasses import replace

import numpy as np
import pytest

from aigi_core.explain.evidence import evidence, head_roles, mean_evidence
from aigi_core.explain.reading import Reading, scores
from aigi_core.workspace import Workspace
from tests.explain.plain import all_contributions, some_readings


@pytest.mark.parametrize("kind", range(4))
def test_terms_equal_the_full_space_and_add_up(synthetic: Workspace, kind: int) -> None:
    reading = some_readings()[kind]
    E, C = np.asarray(synthetic.embeddings, float), all_contributions(synthetic)
    rows = synthetic.domains.rows("beta-diff", "test")
    result = evidence(synthetic, reading, rows)
    for at in (0, 7, len(rows) - 1):
        i = rows[at]
        length = np.linalg.norm(E[i]) if reading.normalised else 1
        for layer in range(2):
            for head in range(3):
                weights = reading.embedding + reading.heads.get((layer, head), 0)
                assert result.heads[at, layer, head] == pytest.approx(
                    C[layer, head, i] @ weights / length, abs=1e-9
                )
        rest = E[i] - C[:, :, i].sum(axis=(0, 1))  # MLPs, embeddings, biases: all but the heads
        assert result.remainder[at] == pytest.approx(rest @ reading.embedding / length, abs=1e-9)
    total = result.bias + result.layers.sum(axis=1) + result.remainder
    assert total == pytest.approx(result.logit, abs=1e-12)
    assert result.logit == pytest.approx(scores(synthetic, [reading], rows)[0], abs=1e-12)
    fake = result.logit > 0
    for image, (layer, head, value) in enumerate(result.strongest_towards(fake)):
        own = result.heads[image]
        assert value == own[layer, head] == (own.max() if fake[image] else own.min())
    apart = result.relative_to(result)
    assert apart.logit.mean() == pytest.approx(0, abs=1e-12) and apart.bias == 0
    assert apart.table(3)["evidence"].sum() == pytest.approx(result.logit[3] - result.logit.mean())
    table = result.table(3)
    assert table["evidence"].sum() == pytest.approx(result.logit[3]) and len(
        table
    ) == 2 * 3 + 1 + bool(result.bias)
    assert table["evidence"].abs().is_monotonic_decreasing


def test_means_are_the_images_means(synthetic: Workspace) -> None:
    result = evidence(synthetic, some_readings()[0])
    table = mean_evidence(result, synthetic.domains)
    chosen = synthetic.domains.generator == "alpha-gan"
    row = table[(table["set"] == "alpha-gan") & (table["layer"] == 1) & (table["head"] == 0)].iloc[
        0
    ]
    values = result.heads[chosen, 1, 0]
    assert (
        row["mean"] == pytest.approx(values.mean())
        and row["n"] == chosen.sum()
        and row["label"] == 1
    )
    error = values.std(ddof=1) / np.sqrt(len(values))  # every image is its own group here
    assert row["high"] - row["mean"] == pytest.approx(1.959964 * error)
    assert list(dict.fromkeys(table["set"])) == [
        *synthetic.domains.generators,
        "real: faces",
        "real: general",
    ]


def test_groups_widen_the_interval(synthetic: Workspace) -> None:
    result = evidence(synthetic, some_readings()[0])
    doubled = replace(
        synthetic.domains, group=np.array([f"g{i // 2}" for i in range(len(result.rows))])
    )
    values = np.repeat(result.heads[::2], 2, axis=0)  # both images of a group say the same
    twice = replace(result, heads=values)
    alone = mean_evidence(twice, synthetic.domains)
    tied = mean_evidence(twice, doubled)
    ratio = (tied["high"] - tied["mean"]) / (alone["high"] - alone["mean"])
    assert ratio[tied["layer"] >= 0].median() == pytest.approx(np.sqrt(2), rel=0.05)


def test_roles_name_the_planted_head(synthetic: Workspace) -> None:
    # The synthetic families differ from reals in head (0, 0) only: weights that separate one family
    # there carry it.
    z = np.asarray(synthetic.heads[0, 0], float)
    domains = synthetic.domains
    on_context = z[domains.generator == "beta-diff"].mean(axis=0) - z[domains.labels == 0].mean(
        axis=0
    )
    weights = np.linalg.pinv(synthetic.decomposition["head_maps"][0, 0].astype(float)) @ on_context
    roles = head_roles(evidence(synthetic, Reading(0.0, weights)), domains)
    real = evidence(synthetic, Reading(0.0, weights)).logit[domains.labels == 0]
    assert roles["spread"].to_numpy() == pytest.approx(real.std(ddof=1))
    mine = roles[roles["generator"] == "beta-diff"]
    assert mine.loc[mine["gap"].idxmax(), ["layer", "head", "role"]].tolist() == [0, 0, "carries"]
    against = head_roles(evidence(synthetic, Reading(0.0, -weights)), domains)
    worst = against[against["generator"] == "beta-diff"]
    assert worst.loc[worst["gap"].idxmin(), ["layer", "head", "role"]].tolist() == [
        0,
        0,
        "misleads",
    ]
    assert set(roles["n_real"]) == {40} and set(roles["n_fake"]) == {40}
