"""Gallery: the images that a detector is most certain of, right and wrong, and one of them
opened.
"""

from collections.abc import Callable
from functools import partial

import pandas as pd
import streamlit as st

import ui
from aigi_core.metrics import intervals_in_words
from aigi_core.statements import counted
from aigi_core.transfer import ORDERS, VERDICTS, arrange
from ui import results
from ui.bodies import choices
from ui.bodies import gallery as body
from ui.toolkit.controls import OFFERED, offered

EACH, PAGE = 8, 32
FOUR, MISTAKES = "all four", "all mistakes"
Detector = tuple[results.Setting, int, str]
"""Its setting, its row there, and what it was trained on."""


def with_verdict(images: pd.DataFrame, verdict: str) -> pd.DataFrame:
    """The images of one verdict; all of them for all four."""
    if verdict == MISTAKES:
        return images[~images["right"]]
    return images if verdict == FOUR else images[images["verdict"] == verdict]


def describe(
    page: ui.Page, matching: pd.DataFrame, detector: Detector, tests: list[str], beginning: str
) -> None:
    """Answer, numbers and protocol."""
    setting, _, train = detector
    page.answer(body.answer(matching, train, tests, beginning))
    page.stats(body.stats(matching))
    page.protocol(
        detector=results.training_in_words(setting),
        images=(
            "Test split: the fakes of the chosen generators and the real images of their pools,"
            " once each."
        ),
        certainty="Distance of the score (log-odds of fake) to the detector's own threshold.",
        evidence=(
            "Each head's share of the score, minus the mean of that share over all real test"
            " images. A tile names the head with the most evidence for the verdict."
        ),
        intervals=intervals_in_words(None, "share"),
    )


def show(
    page: ui.Page, shown: pd.DataFrame, detector: Detector, *, verdict: str, order: str, path: str
) -> None:
    """The images that match, by verdict, and one of them opened."""
    setting, row, _ = detector
    verdicts = list(VERDICTS) if verdict == FOUR else [verdict]
    columns = (
        [*st.columns(2, gap="large"), *st.columns(2, gap="large")]
        if verdict == FOUR
        else [st.container()]
    )
    for each, column in zip(verdicts, columns, strict=True):
        mine = with_verdict(shown, each)
        with (
            column,
            page.section(
                each.capitalize(),
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
                name=each,
                width=84,
                empty="No such image has this verdict.",
                lightbox=body.details(page, setting, row),
            )
    st.caption(body.legend(page.workspace, setting, row, int(shown["row"].iloc[0])))
    chosen = shown[shown["path"] == path].iloc[0]
    parts: dict[str, Callable[[], None]] = {
        "The opened image": partial(opened, page, chosen, setting, row),
        "Its nearest images": partial(nearest, page, int(chosen["row"])),
        "All as a table": partial(as_table, page, shown),
    }
    page.part(parts)


def opened(page: ui.Page, chosen: pd.Series, setting: results.Setting, row: int) -> None:
    with page.section("The opened image"):
        body.show_image(page, chosen, setting, row)


def nearest(page: ui.Page, image: int) -> None:
    with page.section(
        "Its nearest images", "By cosine of embeddings, over all splits. Click to enlarge."
    ):
        body.show_nearest(page, image)


def as_table(page: ui.Page, shown: pd.DataFrame) -> None:
    with page.section("All of them as a table"):
        page.table(
            "images",
            shown.drop(columns="row"),
            formats={"bytes_per_pixel": "%.2f", "jpeg_quality": "%.0f"},
            shown=("verdict", "score", "generator", "pool", "path", "width", "height", "format"),
        )


with ui.page(__file__) as page:
    with page.controls():
        setting, rows, row = choices.choose_detector(page)
        detector = setting, row, rows[row]
        tests = page.generators("tests", "Tested on", page.domains.generators[-1:])
        images = body.images_of(page.workspace, setting, row, tuple(tests))
        verdict = page.select("verdict", "Verdict", [FOUR, MISTAKES, *VERDICTS])
        order = page.select("order", "Order", list(ORDERS))
        asked = body.choose_filter(page, images)
        matching = asked.of(images)
        shown = arrange(matching, order)
        if not shown.empty:
            few, judged_so = len(matching) <= OFFERED, with_verdict(shown, verdict)
            path = page.select(
                "image",
                "Image",
                offered((matching if few else shown)["path"], matching["path"]),
                body.first_image(judged_so if len(judged_so) else matching),
                help=""
                if few
                else f"The first {OFFERED:,} in this order can be chosen; 'Subject' searches all.",
            )
    if shown.empty:
        body.none_matches(page, asked)
    else:
        describe(page, matching, detector, tests, asked.beginning(len(matching), len(images)))
        show(page, shown, detector, verdict=verdict, order=order, path=path)
