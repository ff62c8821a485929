"""One attention head opened: its words, its extreme images, where it helps and where it misleads,
the matrix without it.
"""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from aigi_core import figures
from aigi_core.explain.heads import Definition
from aigi_core.explain.nulls import SIGNS
from aigi_core.heads import Head
from aigi_core.metrics import Metric
from aigi_core.statements import counted, number, p_text
from ui.bodies import words as body
from ui.results import Setting, attention, explanations
from ui.toolkit.images import Tile
from ui.toolkit.jobs import steps
from ui.toolkit.page import Page, name

DEFINITIONS: dict[str, Definition] = {
    "fakes minus real": "difference",
    "weights": "weights",
    "mean": "mean",
}

ENDS = {"most": "Most towards fake", "least": "Most towards real"}
"""Sides of :func:`aigi_core.explain.heads.extreme_images` along the direction that separates
fakes, in words."""
SCALE = (
    "sd: distance from the average real image, in standard deviations of real test images; two in"
    " three real images lie within 1 sd, most within 2."
)
"""Of how strongly a head responds to an image."""


def show_summary(page: Page, head: str, table: pd.DataFrame, train: str, metric: Metric) -> None:
    """One head beside the map: its values, the images on which it is extreme, what is left without
    it.
    """
    mine = table[table["head"] == head].iloc[0]
    place = int(table["head"].tolist().index(head)) + 1
    page.finding(
        f"**Head {head}** alone: {metric.in_words} {mine['accuracy']:.3f} on validation images"
        f" (95% interval {mine['low']:.3f} to {mine['high']:.3f}, not corrected for the choice"
        f" among heads), rank {place} of {len(table)}"
        + (
            f"; out of domain {mine['ood']:.3f} ({mine['ood_low']:.3f} to {mine['ood_high']:.3f})."
            if pd.notna(mine["ood"])
            else "."
        )
    )
    images = attention.extremes(page.workspace, attention.parse_head(head), train, "difference")
    st.caption(SCALE)
    for end, title in ENDS.items():
        st.markdown(f"**{title}**")
        part = images[images["side"] == end].head(4)
        page.images(_tiles(page, part), width=84, name=f"summary-{end}", lightbox=True)


def show_images(page: Page, head: str, train: str) -> None:
    """Images on which a head, ``"layer.index"``, is extreme."""
    opened = attention.parse_head(head)
    with page.section(
        f"Images with extreme values of head {head}",
        "Test images with the highest and the lowest values of the head; high values"
        f" speak for fake. {SCALE} Click to enlarge.",
    ):
        images = attention.extremes(page.workspace, opened, train, "difference")
        for column, (end, title) in zip(st.columns(2, gap="medium"), ENDS.items(), strict=True):
            with column:
                st.markdown(f"**{title}**")
                part = images[images["side"] == end]
                page.images(_tiles(page, part), width=100, name=f"extreme-{end}", lightbox=True)
        page.table(
            "extremes",
            images.replace({"side": ENDS}),
            formats={"value": "%.4g"},  # ranked by it: told apart
            shown=("side", "rank", "path", "label", "generator", "deviation"),
        )


def show_words(page: Page, head: str, train: str, heads: list[str]) -> None:
    """Texts of one of all heads."""
    with page.section(f"Head {head} in words"):
        with page.controls("Words"):
            definition = page.select(
                "says",
                "Direction",
                DEFINITIONS,
                help=(
                    "Its mean contribution to fakes minus that to "
                    "real images; the weights of its own detector; or its mean over all images."
                ),
            )
            texts = explanations.choose_texts(page)
            every = page.toggle(
                "every",
                "All heads",
                help=(
                    "Find the nearest text of every head and correct p for the number of heads."
                    " Takes some seconds."
                ),
            )
        _words(page, head, train, definition, texts, len(heads))
        if every:
            with steps(f"Reading {counted(len(heads), 'head')}"):
                read = attention.words_of_all_heads(page.workspace, train, definition, texts)
            page.finding(attention.among_all(read, head))
            page.table("every-head", read)


def show_roles(page: Page, head: str, train: str) -> None:
    """What a head adds to each detector's verdicts."""
    with page.section(
        f"Where head {head} helps and where it misleads",
        f"In the detector trained on {name(train)}: how much more this head says 'fake' on fakes"
        " than on matching real images. Right of zero it helps; left of zero it misleads. The scale"
        " is in standard deviations (sd) of the whole detector's score on real test images.",
    ):
        _roles(page, attention.parse_head(head), *_setting(page, train))


def show_ablation(page: Page, train: str, heads: list[str]) -> None:
    """All detectors without some of the heads."""
    with page.section(
        "Without some heads",
        "Each replaced by its mean over the training images, in every detector.",
    ):
        ablate = page.multiselect(
            "ablate",
            "Ablated heads",
            heads,
            [],
            placeholder="Choose heads, or press 'Ablate it' above",
        )
        if ablate:
            with steps("Measuring again, also without as many other heads, twenty random choices"):
                effect = attention.ablation(
                    page.workspace,
                    _setting(page, train)[0],
                    tuple(map(attention.parse_head, ablate)),
                )
            body.effect(page, "ablation", effect, train)


def _setting(page: Page, train: str) -> tuple[Setting, int]:
    """Detectors of one generator each, and which of them is ``train``'s."""
    generators = page.domains.generators
    return Setting(tuple((generator,) for generator in generators)), generators.index(train)


def _words(
    page: Page, head: str, train: str, definition: Definition, texts: explanations.Texts, of: int
) -> None:
    opened = attention.parse_head(head)
    words = attention.words_of_head(page.workspace, opened, train, definition, texts)
    page.finding(
        f"Nearest to its direction: {name(str(words.nearest['text'][0]))}, "
        + (
            "nearer than expected by chance"
            if words.nameable
            else "**but not nearer than expected by chance, so its words are hidden**"
        )
        + f" ({p_text(words.p_value)} for this head alone, one of {of} that could be opened;"
        f" {counted(words.draws, 'draw')})."
    )
    place = st.container() if words.nameable else st.expander("Show the words anyway")
    left, middle, right = place.columns(3, gap="medium")
    for column, side in zip((left, middle), SIGNS, strict=True):
        with column:
            st.markdown(f"**{side.capitalize()} texts**")
            page.figure(
                f"head-{side}", partial(figures.listed_words, words, side), table=words.listed(side)
            )
    with right:
        span = attention.head_span(page.workspace, opened)
        st.markdown(
            "**TextSpan**: texts that together describe its output",
            help=(
                "Gandelsman et al. 2024: texts chosen one by one, each taking the most of the"
                " head's remaining variance over all training images."
            ),
        )
        alt = f"TextSpan of head {head}: {', '.join(span['text'].head(5))}."
        page.figure("span", partial(figures.span_bars, span, alt=alt), table=span)


def _tiles(page: Page, images: pd.DataFrame) -> list[Tile]:
    paths = page.workspace.images["path"]
    return [
        Tile(
            i["row"],
            [i["generator"] or "real", f"{number(i['deviation'], 1, signed=True)} sd"],
            key=str(paths.iloc[i["row"]]),
        )
        for i in images.to_dict("records")
    ]


def _roles(page: Page, head: Head, setting: Setting, row: int) -> None:
    roles = attention.roles(page.workspace, setting, row)
    mine = roles[(roles["layer"] == head[0]) & (roles["head"] == head[1])]
    [train], [named] = setting.sets[row], attention.named([head])
    draw = partial(figures.role_intervals, mine, named, selected=train)
    own = roles[roles["generator"] == train]
    total, spread = float(own["gap"].sum()), float(own["spread"].iloc[0])
    share = float(mine.loc[mine["generator"] == train, "gap"].sum()) / total
    page.finding(
        f"1 sd is {number(spread, 2)} log-odds. On {name(train)} the whole detector scores fakes"
        f" {number(total / spread, 2, signed=True)} sd above real images"
        + (f"; head {named} contributes {share:z.0%} of this." if total > 0 else ".")
    )
    page.figure("roles", page.styled(draw), table=mine)
