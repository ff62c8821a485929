"""Transfer: the matrix of detectors by generators, its summaries, a second setting beside it, one
cell opened.
"""

from functools import partial

import streamlit as st

import ui
from aigi_core import figures
from aigi_core.metrics import intervals_in_words
from aigi_core.statements import counted, estimated
from aigi_core.transfer import TRAINING, matrix_order
from ui import results
from ui.bodies import choices, compared
from ui.bodies import transfer as body
from ui.toolkit.jobs import steps

with ui.page(__file__) as page:
    with page.controls():
        used = choices.choose_protocol(page)
        about = choices.choose_metric(page, used)
        how = page.select(
            "sets",
            "Training sets",
            list(TRAINING),
            help="; ".join(f"{k}: {v}" for k, v in TRAINING.items()),
        )
        chosen = choices.choose_setting(page, (), searched=True, used=used)
        compare = page.toggle("compare", "Compare")
    sets, (setting,), names = choices.judged(page, how, chosen)
    rows, metric = list(sets), about.name
    with steps("Detectors trained", "Training and measuring the detectors"):
        matrix = results.matrix(page.workspace, setting, metric).on(names)
    inside, ood, every = (
        matrix.mean(metric, cells) for cells in (matrix.in_domain, ~matrix.in_domain, None)
    )
    hardest = matrix.hardest(metric)
    reached = [
        f"{estimated(mean, 'cell')} {where}"
        for mean, where in (
            (inside, "on generators that they were trained on"),
            (ood, "on generators that they have never seen"),
        )
        if mean.n
    ]
    loss = matrix.gap(metric).finding("cell")
    page.answer(
        f"Detectors reach {about.in_words} {' and '.join(reached)}"
        + (
            f": a difference of {loss.points()}."
            if len(reached) == 2
            else "; there is no other generator to test them on."
            if inside.n
            else "."
        )
        + (
            f" The hardest generator for detectors that were not trained on it is"
            f" {ui.name(hardest.name)}: {hardest.numbers()}."
            if hardest
            else ""
        )
    )
    page.stats(
        [
            ui.Stat(
                title,
                f"{mean.value:.3f}",
                counted(mean.n, "cell"),
                (mean.low, mean.high),
                help,
            )
            for title, mean, help in (
                ("In-domain", inside, "Tested on a generator that the detector was trained on."),
                (
                    "Out of domain",
                    ood,
                    "OOD: tested on a generator that the detector has never seen.",
                ),
                ("All cells", every, ""),
            )
            if mean.n
        ]
    )
    with st.container():  # there without remarks, too: what follows keeps its place in the browser
        if metric == "accuracy":
            page.notice(
                "Plain accuracy depends on the numbers of real and of fake images: a"
                " detector that always answers with the larger class reaches up to"
                f" {matrix.majority_accuracy.max():.3f} here. Balanced accuracy does not"
                " depend on them."
            )
        body.say_rates(page, about, names)
        body.say_settings(page)
        if warning := results.best_pair_warning(page.workspace, setting.d_search, used):
            st.caption(warning)
    page.protocol(
        metric=f"{about.title}: {about.description}.",
        features=results.view_in_words(setting),
        training=(
            f"{TRAINING[how]}. {results.training_in_words(setting)} Classes"
            f" {'are weighted equally' if setting.balance else 'weigh by their numbers'}."
            f"{results.edges_in_words(page.workspace, setting)}"
        ),
        testing=(
            "Each generator's fakes of the test split against the real images of its own pools."
        ),
        intervals=intervals_in_words(metric, "difference", "winner"),
    )

    page.python(results.transfer_code(page.workspace, how, setting, metric, chosen.d_search))
    with page.controls():
        first_row, first_column = body.opening_cell(matrix, metric)
        train = page.select("train", "Detector trained on", rows, rows[first_row])
        test = page.generator("test", "Tested on", names[first_column], among=names)
        look = body.choose_look(page)
    draw = partial(
        figures.transfer_heatmap, metric=metric, rows=rows, selected=(train, test), **look
    )
    compared_with = None
    with st.container():  # there without B, too: what follows keeps its place
        if compare:
            with page.section(
                "A second setting beside it",
                "A is the setting chosen first, B the one under it, which begins as a detector of"
                " the residual (of the embedding, if A is one of the residual). Below: A's matrix,"
                " B's, and A minus B.",
            ):
                with page.controls():
                    other = choices.choose_setting(
                        page, (), "B", beside=chosen, searched=True, used=used
                    )
                common, pair, tested = choices.judged(page, how, chosen, other)
                seen_by_b = body.seen_by_b(page, other)
                first, second, change = results.changed(
                    (page.workspace, pair[0]), (seen_by_b, pair[1]), metric, tuple(tested)
                )
                searched = chosen.d_search + other.d_search
                code_a, code_b = (
                    results.transfer_code(where, how, one, metric, searched)
                    for where, one in zip((page.workspace, seen_by_b), pair, strict=True)
                )
                page.python(results.compared_code(code_a, code_b, metric))
                gap = change.mean(~first.in_domain)
                out = ~first.in_domain
                claim = gap.finding("paired cell").claim(
                    "A is significantly higher",
                    "B is significantly higher",
                    "The difference is not significant",
                )
                mean_a, mean_b = first.mean(metric, out), second.mean(metric, out)
                said = (
                    f"Out of domain, A reaches {estimated(mean_a, 'cell')} and B"
                    f" {estimated(mean_b, 'cell')}: a difference of"
                    f" {gap.finding('paired cell').points()}."
                    f" {claim}. A: {results.method(pair[0]).title}."
                    f" {results.view_in_words(pair[0])} B:"
                    f" {results.method(pair[1]).title}. {results.view_in_words(pair[1])}"
                    + (
                        f" B's images are encoded by {ui.name(str(seen_by_b.encoder['model']))}."
                        if seen_by_b.path != page.workspace.path
                        else ""
                    )
                )
                page.link(
                    "methods",
                    "Compare two detectors by name, imported and fine-tuned ones included",
                    part=compared.PART,
                )
                compared_with = first, second, change, common, said
    with page.picture():
        if compared_with:
            page.finding(compared_with[-1])
        left, right = st.columns([5, 2], gap="medium")
        with left:
            st.markdown(
                "A row is a detector, a column the generator that it is tested on. Thin outline: it"
                " was trained on that generator. Click a cell to open it."
            )
            page.figure(
                "matrix",
                partial(draw, matrix, margins=True),
                table=matrix.to_frame(),
                clicks=("train", "test"),
            )
        with right:
            body.show_summary(
                page, setting, matrix, metric, row=rows.index(train), train=train, test=test
            )

    if compared_with:
        first, second, change, common, _ = compared_with
        with page.section():
            st.markdown("**B**")
            page.figure(
                "matrix-B",
                partial(draw, second, rows=list(common), like=first, compact=True),
                table=second.to_frame(),
                clicks=("train", "test"),
            )
            families, order = (first.train_families, first.test_families), look["order"]
            st.markdown(
                "**A minus B**, in percentage points. Faded: not statistically significant (5% FDR"
                " over all cells)."
            )
            page.figure(
                "difference",
                partial(
                    figures.difference_heatmap,
                    change,
                    families,
                    rows=list(common),
                    selected=(train, test),
                    at=None if order == "family" else matrix_order(first, metric, order),
                ),
                table=change.to_frame(),
                formats=ui.DIFFERENCE,
                clicks=("train", "test"),
            )

    opened = body.Opened(setting, matrix, metric, rows.index(train), train, test)
    page.part(body.PARTS, page, opened, holds={"calibrated": "Threshold and probabilities"})
