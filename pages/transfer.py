"""Transfer: the matrix of detectors by generators, its summaries, a second setting beside it, one cell opened."""

from functools import partial

import streamlit as st

import ui
from aigi_core import figures
from aigi_core.manifest import FAKE, REAL
from aigi_core.transfer import TRAINING, difference, make_training_sets, open_cell
from ui import explained, results

with ui.page(__file__) as page:
    with page.controls():
        about = results.choose_metric(page)
        how = page.select(
            "sets", "Trained on", list(TRAINING), help="; ".join(f"{k}: {v}" for k, v in TRAINING.items())
        )
        sets = make_training_sets(page.domains, how)
        setting = results.choose_setting(page, tuple(sets.values()))
        compare = page.toggle("compare", "Compare")
    rows, metric = list(sets), about.name
    with st.spinner("Training and measuring the detectors …"):
        matrix = results.matrix(page.workspace, setting, metric)
    inside, ood, every = (matrix.mean(metric, cells) for cells in (matrix.in_domain, ~matrix.in_domain, None))
    hardest = matrix.hardest(metric)
    page.answer(
        f"On generators they know, detectors reach {about.in_words} **{inside.value:.3f}**; on others **{ood.value:.3f}**."
        + (f" Hardest to find unseen is {ui.name(hardest[0])} ({hardest[1]:.3f})." if hardest else "")
    )
    page.stats(
        [
            ui.Stat("In-domain", f"{inside.value:.3f}", f"{inside.n} cells", (inside.low, inside.high),
                    "Tested on a generator that the detector was trained on."),
            ui.Stat("Out of domain", f"{ood.value:.3f}", f"{ood.n} cells", (ood.low, ood.high),
                    "OOD: tested on a generator that the detector has never seen."),
            ui.Stat("All cells", f"{every.value:.3f}", f"{every.n} cells", (every.low, every.high)),
        ]
    )  # fmt: skip
    if metric == "accuracy":
        page.notice(
            f"Plain accuracy depends on how many real images stand against a generator's fakes: always naming the "
            f"larger class reaches up to {matrix.majority_accuracy.max():.2f} here. Balanced accuracy does not."
        )
    page.protocol(
        metric=f"{about.title}: {about.description}.",
        training=f"{TRAINING[how]}; logistic regression, C chosen on validation, refitted on train plus validation; "
        f"classes {'weigh alike' if setting.balance else 'weigh by their numbers'}.",
        testing="Each generator's fakes of the test split against the real images of its own pools.",
        intervals="95 %, bootstrap of groups of test images (1,000 draws); the training images stay fixed.",
    )

    with page.section("Detectors by generators", "Click a cell, or choose it here, to open it below."):
        with page.controls("Cell"):
            train = page.select("train", "Detector trained on", rows)
            test = page.generator("test", "Tested on", page.domains.generators[-1])
        draw = partial(figures.transfer_heatmap, metric=metric, rows=rows, selected=(train, test))
        page.figure("matrix", partial(draw, matrix), table=matrix.to_frame(), clicks=("train", "test"))

    if compare:
        with page.section(
            "A second setting beside it", "In brackets: no difference at a false discovery rate of 5 % over all cells."
        ):
            with page.controls("B"):
                second = results.choose_setting(page, setting.sets, "B")
            other = results.matrix(page.workspace, second, metric)
            change = difference(matrix, other, metric)
            gap = change.mean(~matrix.in_domain)
            st.markdown(
                f"Out of domain, A is **{gap.value:+z.3f}** against B (95 % interval {gap.low:+.3f} to {gap.high:+.3f}, "
                f"p = {gap.p_value:.2g}, {gap.n} cells). A is the setting at the top."
            )
            for column, name, shown in zip(st.columns(2), "AB", (matrix, other), strict=True):
                with column:
                    st.markdown(f"**{name}**")
                    page.figure(f"matrix-{name}", partial(draw, shown, compact=True), clicks=("train", "test"))
            families = (matrix.train_families, matrix.test_families)
            page.figure(
                "difference",
                partial(figures.difference_heatmap, change, families, rows=rows, selected=(train, test)),
                table=change.to_frame(),
                clicks=("train", "test"),
            )

    row = rows.index(train)
    threshold = results.detectors(page.workspace, setting)[row].threshold
    cell = open_cell(results.scores(page.workspace, setting)[row], page.domains, test, threshold=threshold)
    size = {label: int((cell.labels == label).sum()) for label in (REAL, FAKE)}
    with page.section(
        "The chosen cell",
        f"Trained on {ui.name(train)}, tested on {ui.name(test)}: {size[REAL]} real images and {size[FAKE]} fakes.",
    ):
        page.table("verdicts", cell.verdicts())
        for column, name, chart in zip(
            st.columns(2), ("roc", "scores"), (figures.cell_roc, figures.cell_histogram), strict=True
        ):
            with column:
                page.figure(name, partial(chart, cell, train, test))
    mistakes = ((FAKE, "Fakes it is surest are real"), (REAL, "Real images it is surest are fake"))
    for column, (label, title) in zip(st.columns(2, gap="medium"), mistakes, strict=True):
        wrong = cell.mistakes(label)
        with column, page.section(title, f"{len(wrong)} of {size[label]} are judged wrongly; the most certain first."):
            page.images(
                [ui.Tile(int(r), [f"score {s:+.2f}"], "wrong") for r, s in wrong.head(8)[["row", "score"]].to_numpy()],
                width=100,
                empty="There is none: every one of them is judged rightly.",
            )
    with page.section("What this detector looks at, in words"):
        said = explained.words(page.workspace, setting, row)
        verdict = (
            "nearer than chance puts any" if said.nameable else "**but chance does as well: read nothing into them**"
        )
        st.markdown(f"Phrases nearest to its weights, {verdict} (label permutation, p = {said.p_value:.2g}).")
        page.table("words", said.nearest[["rank", "text", "category", "cosine", "p_value"]].head(6))
        page.link("words", "All its words", train=train)

    with page.section("By family and generator", "Means over cells out of domain, with 95 % intervals."):
        left, right = st.columns(2)
        with left:
            blocks = matrix.blocks(metric)
            page.figure("families", partial(figures.block_intervals, blocks, metric), table=blocks)
        with right:
            page.figure(
                "generators",
                lambda theme: figures.generator_intervals(
                    matrix, metric, page.styles(theme), selected=test, theme=theme
                ),
                table=matrix.by_test(metric),
                clicks=("test",),
            )
