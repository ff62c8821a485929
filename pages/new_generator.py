"""New generator: images of a generator that the workspace has never seen, in every detector's
column.
"""

from functools import partial

import ui
from aigi_core import figures
from aigi_core.errors import AigiError
from aigi_core.figures.words import word_list
from aigi_core.inspection.new_generator import LEAST
from aigi_core.metrics import DEFAULT_METRIC, intervals_in_words
from aigi_core.statements import counted
from ui.bodies import adding
from ui.bodies import new_generator as body


def show(page: ui.Page) -> None:
    pools = body.pools(page)
    with page.controls():
        pool = page.select(
            "pool",
            "Compared with the real images of",
            pools,
            help="Choose the pool whose photographs have the same content as the new images.",
        )
    brought, called = body.bring(page), body.called()
    if brought is None or body.came_back():
        adding.report(page)
    if brought is None:
        page.answer(
            f"**Bring at least {LEAST} images of one generator.** This page then shows how"
            " well each detector does on it, how many of its images are unlike all known"
            " ones, and how it differs in words. 200 images take about a minute."
        )
        return
    described = body.described(page, brought, called or body.UNNAMED, pool)
    page.answer(body.answer(described))
    page.stats(body.stats(described))
    page.protocol(
        detectors="One per generator, on the embedding, by the paper's protocol; none was trained"
        " on the new images.",
        compared=f"{counted(brought.count, 'new image')} with the real test images of the pool"
        f" {pool}.",
        intervals=intervals_in_words(DEFAULT_METRIC, "winner", "share", "largest"),
    )
    with page.section("How does each detector of the workspace do on it?"):
        column = body.column(described)
        draw = partial(figures.column_intervals, column, described.name)
        page.figure("column", draw, table=column)
    with page.section(
        "Which known generators is it like?",
        "For each new image, the generator of the nearest known fake (cosine of embeddings)."
        " Beside it stands the share expected by chance: that generator's share of all known"
        f" fakes. {body.AT_ONCE}",
    ):
        page.table("nearest", described.nearest)
    with page.section(
        "How does it differ, in words?",
        "Texts nearest to the difference between its mean direction and that of the pool's real"
        " training images, compared with shuffled labels.",
    ):
        try:
            words = body.words(page, brought, pool)
        except AigiError as error:
            page.notice(f"{error}")
        else:
            alt = "Texts nearest to the residual of the new generator, with their null."
            page.figure("words", partial(word_list, words.nearest, alt=alt), table=words.nearest)
    with page.section(
        "Keep it",
        "Your images stay in this session only, unless you add them to the workspace.",
    ):
        if not body.came_back():  # who pressed the button is here
            adding.report(page)
        adding.keep(page, brought.folder, called, pool, brought.sources)


with ui.page(__file__) as page:
    show(page)
