"""What the page Attribution says, and what Inspect says of the source of one image."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from aigi_core import attribution, figures
from aigi_core.attribution import Attribution, Named
from aigi_core.attribution.namers import NAMERS
from aigi_core.attribution.unknown import OUTCOMES, mean_over_generators
from aigi_core.errors import WorkspaceError
from aigi_core.statements import Finding, counted, p_text, part_counted
from aigi_core.winner import winner
from ui.toolkit.images import Tile
from ui.toolkit.kept import cached
from ui.toolkit.page import Page, inert, name
from ui.toolkit.report import Stat

MOST_IMAGES = 36
BESIDE = 6
"""Images of a cell beside the matrix; a part below shows more."""

stored = cached(attribution.load_attribution)


def answer(made: Attribution, way: str) -> str:
    """How well sources are named, and what becomes of those that were never seen."""
    own, table = made.named[way], made.unknown[way]
    recall, sources = own.mean_recall(), len(own.names)
    text = (
        f"On average **{recall.value:.0%}** of a source's images are named correctly"
        f" (95% interval {recall.low:.0%} to {recall.high:.0%}; {sources} sources, guessing"
        f" {1 / sources:.0%})."
    )
    if table.empty:
        return text
    shares = [mean_over_generators(table, outcome) for outcome in OUTCOMES]
    unknown, real, false = (
        f"**{one.value:.0%}** ({one.low:.0%} to {one.high:.0%})" for one in shares
    )
    return (
        f"{text} Of the images of a generator that the classifier has never seen, {unknown} come"
        f" out as unknown, {real} are called real, and {false} are named as another generator"
        f" ({counted(shares[0].n, 'generator')} left out in turn)."
    )


def stats(made: Attribution, way: str) -> list[Stat]:
    """Recall, recall within the pool, and the open set's AUC."""
    own, table = made.named[way], made.unknown[way]
    cells = []
    for title, in_pool, help in (
        (
            "Mean recall",
            False,
            "The share of each source's test images that get its name, averaged over sources.",
        ),
        (
            "Mean recall within the pool",
            True,
            "Only sources with training images in the image's own pool can be named, so that the"
            " image's content cannot reveal the source.",
        ),
    ):
        recall = own.mean_recall(in_pool=in_pool)
        n = counted(recall.n, "test image")
        cells.append(Stat(title, f"{recall.value:.0%}", n, (recall.low, recall.high), help, ".0%"))
    if not table.empty:
        auc = mean_over_generators(table, "auc")
        cells.append(
            Stat(
                "AUC, known against unknown",
                f"{auc.value:.3f}",
                f"{counted(auc.n, 'generator')} left out in turn",
                (auc.low, auc.high),
                "Is its confidence higher on images of known sources than on those of a generator"
                " left out? 0.5: no better than chance.",
            )
        )
    return cells


def protocol(made: Attribution, way: str) -> dict[str, str]:
    """How the numbers came about."""
    method, chosen = NAMERS[way], made.parameters[way]
    facts = {
        "naming": (
            f"{method.title} ({method.source}) on the normalised embedding, trained on the training"
            " split alone; sources weighted equally;"
            f" {'C' if way == 'regression' else 'k'} ="
            f" {chosen['C' if way == 'regression' else 'k']:g} by mean recall on validation."
        ),
        "confidence": f"{method.confidence_is}; limit {chosen['limit']:.3f}.",
        "testing": (
            "Test images of all sources; intervals count groups of images. All sources have equal"
            " weight in means; the interval holds for other images of these generators, not for"
            " other generators."
        ),
    }
    if made.left_out:
        facts["left_out"] = "; ".join(f"{g}: {why}" for g, why in made.left_out.items())
    if len(made.named) > 1:
        other = next(each for each in made.named if each != way)
        gap = made.named[way].less(made.named[other])
        facts["compared"] = (
            f"Mean recall minus that of {NAMERS[other].title.lower()}:"
            f" {gap.finding('paired image').points()}."
        )
    return facts


def most_confused(own: Named) -> tuple[str, str]:
    """The cell of the confusion matrix with the largest share of wrong names."""
    rate = own.confusion()[0].copy()
    np.fill_diagonal(rate, -1)
    truth, named = np.unravel_index(int(rate.argmax()), rate.shape)
    return own.names[truth], own.names[named]


def cell(page: Page, own: Named, truth: str, named: str) -> None:
    """One cell beside the confusion matrix: its share, and the first of its images."""
    share, (low, high), n = own.confusion()
    at = own.names.index(truth), own.names.index(named)
    k = round(share[at] * n[at[0]])
    page.finding(
        f"**Made by {name(truth)}, named as {name(named)}:** **{share[at]:.0%}** (95% interval"
        f" {low[at]:.0%} to {high[at]:.0%}), {part_counted(k, int(n[at[0]]), 'image')}."
    )
    images(page, own, truth, named, BESIDE)


def images(page: Page, own: Named, truth: str, named: str, most: int = MOST_IMAGES) -> None:
    """The test images of one cell of the confusion matrix."""
    at = own.names.index(truth), own.names.index(named)
    rows = own.rows[(own.truth == at[0]) & (own.named == at[1])]
    shown = [Tile(int(row), [truth, f"named {named}"], _tone(at)) for row in rows[:most]]
    if len(rows) > most:
        st.caption(f"{part_counted(most, len(rows), 'image')}.")
    page.images(
        shown, width=110, empty="No test image of this source gets this name: choose another cell."
    )


def _tone(at: tuple[int, int]) -> str:
    return "right" if at[0] == at[1] else "wrong"


def open_set(page: Page, table: pd.DataFrame) -> None:
    """What becomes of the images of generators that were left out."""
    if table.empty:
        st.caption("Leaving out a generator needs at least two: add images of another.")
        return
    known = mean_over_generators(table, "known_recall")
    row = table.iloc[int(table["false_attribution"].to_numpy(float).argmax())]
    figure = "false_attribution"
    renamed = {figure: "value", f"{figure}_low": "low", f"{figure}_high": "high"}
    rates = table.rename(columns=renamed | {"generator": "name"})
    most = winner(rates, limits=(0, 1)).times(100)
    page.finding(
        f"**{known.value:.0%}** of the test images of known sources are above the limit, so"
        f" that they get a name. Of {counted(len(table), 'generator')} left out,"
        f" {name(str(row['generator']))} is named as another generator most often:"
        f" {most.numbers(0, unit='%')} of {counted(row['n'], 'image')}."
        f" {row['taken_share']:.0%} of them are named {name(str(row['taken_for']))}."
    )
    page.figure("unknown", partial(figures.unknown_outcomes, table), table=table)


def tree(page: Page, made: Attribution, way: str) -> None:
    """The tree by residuals or by confusions, and whether families and pools explain it."""
    if not made.trees:
        st.caption("A tree needs at least three generators: add images of others.")
        return
    with page.controls("Tree"):
        by = page.select(
            "by",
            "Distance of two generators",
            {"residuals": "residuals", "confusions": f"confusions, {way}"},
            help="Residuals: 1 − cosine of their residual directions. Confusions: 1 − the share of"
            " their test images that are named as the other.",
        )
    own = made.trees[by]
    domains = page.domains
    families = [domains.family_of.get(g, "") for g in own.names]
    pools = ["+".join(domains.pools_of(g)) if g in domains.family_of else g for g in own.names]
    sentences = [
        f"Cophenetic correlation **{own.cophenetic:.2f}** (the same distances shuffled:"
        f" {own.chance[0]:.2f}, 95% of them below {own.chance[1]:.2f}; {p_text(own.p_value)})."
    ]
    for kinds, what in ((families, "family"), (pools, "pool")):
        gap, p = own.nearer_within(kinds)
        if np.isfinite(gap):
            verdict = Finding(gap, gap, gap, p_value=p).claim(
                "lie nearer to each other",
                "lie farther from each other",
                "are not shown to lie nearer",
            )
            sentences.append(
                f"Generators of one {what} {verdict} than other pairs (by {gap:+z.3f}, {p_text(p)},"
                f" shuffled, one-sided, {counted(len(own.names), 'generator')})."
            )
    page.finding(" ".join(sentences))
    page.figure("tree", partial(figures.generator_tree, own, families), table=own.table())


def likely_source(page: Page, embedding: np.ndarray, row: int | None) -> None:
    """The likely source of one image, "unknown" included; the command where nothing is stored."""
    try:
        made = stored(page.workspace)
    except WorkspaceError as missing:
        st.caption(inert(str(missing)))
        return
    table, limit = made.likely_sources(embedding), made.regression.limit
    source, probability = str(table["source"][0]), float(table["probability"][0])
    if row is not None and page.domains.split[row] != "test":
        page.finding(
            "**It was trained on this very image, so its answer says nothing about new ones.**"
        )
    if table.attrs["unknown"]:
        page.finding(
            f"Likely source: **unknown**. The likeliest, {name(source)}, has a probability of"
            f" {probability:.3f}, less than the {limit:.3f} that 95% of known images reach."
        )
    else:
        about = made.named["regression"].by_source().set_index("source").loc[source]
        page.finding(
            f"Likely source: **{name(source)}**. Of {counted(about['named'], 'test image')}"
            f" with this name, {about['precision']:.0%} were really from it"
            f" ({about['precision_low']:.0%} to {about['precision_high']:.0%}). The"
            f" probabilities below ({probability:.3f} for it) are the classifier's own, not"
            " calibrated."
        )
    unknown = made.unknown["regression"]
    if not unknown.empty:
        right = mean_over_generators(unknown, "unknown")
        st.caption(
            f"This is no proof: of a generator that the classifier has never seen, only"
            f" {right.value:.0%} of the images come out as unknown ({right.low:.0%} to"
            f" {right.high:.0%}, {counted(right.n, 'generator')} left out in turn)."
        )
    page.table("likely-sources", table.head(5))
    page.link("attribution", "How far to trust it: Attribution")
