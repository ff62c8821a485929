"""Figures of transfer results show the results' own numbers."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from aigi_core import figures
from aigi_core.figures.curves import ROC_STEPS, Roc, roc
from aigi_core.manifest import Domains
from aigi_core.transfer import difference, make_training_sets, open_cell, transfer_matrix
from tests.factory import make_images

DOMAINS = Domains.from_images(make_images())
RNG = np.random.default_rng(0)


def matrix(how: str = "each generator", noise: float = 1.0):
    sets = make_training_sets(DOMAINS, how)
    scores = (
        noise * np.random.default_rng(1).standard_normal((len(sets), len(DOMAINS))) + DOMAINS.labels
    )
    return transfer_matrix(
        scores, DOMAINS, list(sets.values()), metrics=("accuracy", "eer", "tpr_at_fpr1"), draws=50
    )


def test_heatmap_shows_the_matrix() -> None:
    result = matrix()
    figure = figures.transfer_heatmap(result, "accuracy", selected=("alpha-gan", "gamma-diff"))
    np.testing.assert_array_equal(figure.data[0].z, result.values["accuracy"])
    assert f"{result.mean('accuracy', ~result.in_domain).value:.3f}" in figures.alt_text(figure)
    low, high = result.interval("accuracy")
    assert (
        f"<br>95% interval: {low[0, 1]:.3f} to {high[0, 1]:.3f}"
        f"<br>{result.n_fake[1] + result.n_real[1]} images" in figure.data[1].hovertext[1]
    )
    own, other = figure.data[1].hovertext[:2]
    assert "in-domain" in own and "in-domain" not in other


@pytest.mark.parametrize(
    ("how", "outlines"), [("each generator", 4), ("each family", 4), ("all but one", 4)]
)
def test_the_rarer_of_known_and_unknown_cells_is_outlined(how: str, outlines: int) -> None:
    sets = list(make_training_sets(DOMAINS, how))
    figure = figures.transfer_heatmap(matrix(how), "accuracy", rows=sets)
    thin = [s.path for s in figure.layout.shapes if s.line.width == 1]
    assert [path.count("Z") for path in thin] == [outlines]
    assert figure.data[1].customdata[0][0] == sets[0]


def test_error_rates_turn_the_scale_and_low_chances_drop_it() -> None:
    result = matrix()
    assert (
        figures.transfer_heatmap(result, "eer").data[0].colorscale[0][1]
        == figures.LIGHT.diverging[-1][1]
    )
    assert figures.transfer_heatmap(result, "tpr_at_fpr1").data[0].colorscale == tuple(
        map(tuple, figures.LIGHT.sequential)
    )


def test_difference_fades_what_is_not_significant() -> None:
    many = Domains.from_images(make_images(per_class=200))
    scores = [
        noise * np.random.default_rng(1).standard_normal((4, len(many))) + many.labels
        for noise in (0.3, 3)
    ]
    change = difference(
        *(
            transfer_matrix(s, many, many.generators, metrics=("accuracy",), draws=50)
            for s in scores
        ),
        "accuracy",
    )
    figure = figures.difference_heatmap(change, (DOMAINS.families, DOMAINS.families))
    texts = np.array(figure.data[1].text)
    assert (change.q_value < 0.05).sum() > 0
    assert all(
        t.startswith("<i>") == (q >= 0.05)
        for t, q in zip(texts.ravel(), change.q_value.ravel(), strict=True)
    )
    at = np.array([2, 0, 3, 1]), np.array([1, 0, 2, 3])
    moved = figures.difference_heatmap(change, (DOMAINS.families, DOMAINS.families), at=at)
    place = np.ix_(*at)
    assert np.array_equal(np.array(moved.data[0].z), np.array(figure.data[0].z)[place])
    assert np.array_equal(np.array(moved.data[1].text), texts.reshape(4, 4)[place].ravel())
    names = figure.layout.yaxis.ticktext
    assert list(moved.layout.yaxis.ticktext) == [names[i] for i in at[0]]


def test_summaries_and_cell() -> None:
    result = matrix()
    blocks = result.blocks("accuracy")
    figure = figures.block_intervals(blocks, "accuracy")
    assert len(figure.data[0].x) == (blocks["n"] > 0).sum() and "gan → gan" not in figures.alt_text(
        figure
    )
    styles = figures.generator_styles(DOMAINS.generators, DOMAINS.families)
    figure = figures.generator_intervals(result, "accuracy", styles)
    assert list(figure.data[0].x) == result.by_test("accuracy")["value"].tolist()
    assert (
        len(figure.data) == 1
    )  # one trace for all: fifteen would take several times as long to build and to draw
    assert result.hardest("accuracy").name in figures.alt_text(figure)  # type: ignore[union-attr]
    cell = open_cell(RNG.standard_normal(len(DOMAINS)), DOMAINS, "beta-diff")
    assert "beta-diff" in figures.alt_text(figures.cell_roc(cell, "alpha-gan", "beta-diff"))
    bars = figures.cell_histogram(cell, "alpha-gan", "beta-diff").data[:2]
    assert sum(sum(bar.y) for bar in bars) == len(cell.rows)


def test_a_roc_of_many_images_is_drawn_in_steps_from_all_of_them() -> None:
    scores = np.sort(RNG.standard_normal(200_000))
    fake = RNG.random(len(scores)) < 1 / (1 + np.exp(-2 * scores))
    rates = [np.append(0, np.cumsum(mine[::-1]) / mine.sum()) for mine in (~fake, fake)]
    drawn = roc([Roc("ROC", *rates, {}, 9, 9)], alt="ROC").data[1]
    assert len(drawn.x) <= 2 * ROC_STEPS + 2
    assert (drawn.x[0], drawn.y[0], drawn.x[-1], drawn.y[-1]) == (0, 0, 1, 1)
    all_points, points = np.stack(rates, axis=1), np.stack([drawn.x, drawn.y], axis=1)
    assert cKDTree(points).query(all_points, p=np.inf)[0].max() < 1 / ROC_STEPS
    few = Roc("ROC", rates[0][:50], rates[1][:50], {}, 9, 9)
    assert len(roc([few], alt="ROC").data[1].x) == 50
