"""Attribution: which generator made an image, generators never seen, and which are alike."""

from functools import partial

import streamlit as st

import ui
from aigi_core import figures
from aigi_core.attribution import namers
from aigi_core.winner import estimates
from ui.bodies import attribution as body

with ui.page(__file__) as page:
    made = body.stored(page.workspace)
    with page.controls():
        titles = {namers.NAMERS[name].title: name for name in made.named}
        way = page.select(
            "way", "Way of naming", titles, help="How the source of an image is found."
        )
        own, unknown = made.named[way], made.unknown[way]
        first = body.most_confused(own)
        truth = page.select("made_by", "Made by", list(made.names), first[0])
        named = page.select("named_as", "Named as", list(made.names), first[1])
    page.answer(body.answer(made, way))
    page.stats(body.stats(made, way))
    page.protocol(**body.protocol(made, way))
    with page.picture():
        left, right = st.columns([5, 2], gap="medium")
        with left:
            st.markdown(
                "Each row is one source: the shares of its images that are named as each source."
                " Outlined: the correct name. Click a cell to see its images."
            )
            draw = partial(
                figures.source_confusion, own, page.domains.family_of, selected=(truth, named)
            )
            page.figure(
                "confusion", draw, table=own.confusion_table(), clicks=("made_by", "named_as")
            )
        with right:
            body.cell(page, own, truth, named)

    def cells_images() -> None:
        with page.section(
            "The images of one cell", f"Made by {ui.name(truth)}, named as {ui.name(named)}."
        ):
            body.images(page, own, truth, named)

    def sources() -> None:
        with page.section(
            "Each source",
            "Recall: the share of a source's images that get its name. Recall in pool: the"
            " same if only sources of the image's own pool can be named, because an image's"
            " content can reveal its pool. The recall of guessing stands beside it."
            " Precision: of the images that get a source's name, the share that are really"
            " from this source. It depends on how many images each source has.",
        ):
            by_source = own.by_source()
            drawn = estimates(by_source, "recall", by_source["source"], n=by_source["n"])
            recalls = partial(
                figures.intervals,
                drawn,
                alt=f"Recall of each of {len(drawn)} sources with 95% intervals.",
                value_title="Recall",
                reference=1 / len(drawn),
                limits=(0, 1),
            )
            page.figure(
                "recall",
                page.styled(recalls),
                table=by_source,
                clicks=("made_by",),
            )

    def never_seen() -> None:
        with page.section(
            "A generator that was never seen",
            "Each generator is left out of training in turn. Its test images should then be"
            " named unknown. An image is named unknown if the confidence is below a limit"
            " that 95% of known validation images reach.",
        ):
            body.open_set(page, unknown)

    def alike() -> None:
        with page.section(
            "Which generators are alike",
            "Clustering by average linkage. The number at a join is the share of bootstrap draws"
            " of the images in which the same generators are joined. Dotted: fewer than 70%.",
        ):
            body.tree(page, made, way)

    parts = {
        "Images of one cell": cells_images,
        "Each source": sources,
        "Never seen": never_seen,
        "Which are alike": alike,
    }
    page.part(parts, holds={"by": "Which are alike"})
