"""Gallery: the images that a detector is most certain of, right and wrong, and one of them
opened.
"""

import pandas as pd
import streamlit as st

import ui
from aigi_core.metrics import intervals_in_words
from aigi_core.statements import counted
from aigi_core.transfer import ORDERS, SIZES, VERDICTS, arrange
from ui import results
from ui.bodies import gallery as body
from ui.toolkit.controls import OFFERED, offered

EACH, PAGE = 8, 32
FOUR, MISTAKES = "all four", "all mistakes"


def in_group(images: pd.DataFrame, group: str) -> pd.DataFrame:
    """The images of one group; all of them for all four."""
    if group == MISTAKES:
        return images[~images["right"]]
    return images if group == FOUR else images[images["verdict"] == group]


with ui.page(__file__) as page:
    with page.controls():
        setting, rows, row = results.choose_detector(page)
        tests = page.generators("tests", "Tested on", page.domains.generators[-1:])
        images = body.images_of(page.workspace, setting, row, tuple(tests))
        verdict = page.select("verdict", "Group", [FOUR, MISTAKES, *VERDICTS])
        order = page.select("order", "Order", list(ORDERS))
        formats = page.multiselect("format", "File formats", sorted(images["format"].unique()))
        size = page.select("size", "Shorter side", list(SIZES))
        subject = page.text("subject", "Subject", placeholder="word of caption or path")
        shown = arrange(images, order, formats=formats, size=size, subject=subject)
        few, chosen_group = len(images) <= OFFERED, in_group(shown, verdict)
        path = page.select(
            "image",
            "Image",
            offered((images if few else shown)["path"], images["path"]),
            body.first_image(chosen_group if len(chosen_group) else images),
            help=""
            if few
            else f"The first {OFFERED:,} in this order are on offer; 'Subject' searches all.",
        )
    page.answer(body.answer(images, rows[row]))
    page.stats(body.stats(images))
    page.protocol(
        detector=results.training_in_words(setting),
        images=(
            "Test split: the fakes of the chosen generators and the real images of their pools,"
            " once each."
        ),
        certainty="Distance of the score (log-odds of fake) to the detector's own threshold.",
        evidence=(
            "Each head's share of the score, minus its mean over all real test images; a tile"
            " names the head with the most evidence for the verdict."
        ),
        intervals=intervals_in_words(None, "share"),
    )

    groups = list(VERDICTS) if verdict == FOUR else [verdict]
    columns = (
        [*st.columns(2, gap="large"), *st.columns(2, gap="large")]
        if verdict == FOUR
        else [st.container()]
    )
    for group, column in zip(groups, columns, strict=True):
        mine = in_group(shown, group)
        with (
            column,
            page.section(
                group.capitalize(),
                f"{counted(len(mine), 'image')}, {order.lower()} first. Click to enlarge.",
            ),
        ):
            if verdict == FOUR:
                part = mine.head(EACH)
            else:
                at = int(
                    page.slider("page", f"Page of {PAGE}", 1, max(1, -(-len(mine) // PAGE)), 1)
                )
                part = mine.iloc[PAGE * (at - 1) : PAGE * at]
            page.images(
                body.tiles(page.workspace, part, setting, row, path),
                opens="image",
                name=group,
                width=84,
                empty="No image of this test set is in this group.",
                lightbox=body.details(page, setting, row),
            )
    with page.section("The opened image"):
        chosen = images[images["path"] == path].iloc[0]
        body.show_image(page, chosen, setting, row)
    with page.section(
        "Its nearest images", "By cosine of embeddings, over all splits. Click to enlarge."
    ):
        body.show_nearest(page, int(chosen["row"]))
    with page.section("All of them as a table"):
        page.table(
            "images",
            shown.drop(columns="row"),
            formats={"bytes_per_pixel": "%.2f", "jpeg_quality": "%.0f"},
            shown=("verdict", "score", "generator", "pool", "path", "width", "height", "format"),
        )
