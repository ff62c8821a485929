"""Train: which generators to train on in order to catch chosen ones; one training set opened; how
many images it needs.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

import ui
from aigi_core import figures
from aigi_core.detectors.detector import LinearDetector, no_direction
from aigi_core.errors import AigiError
from aigi_core.metrics import intervals_in_words
from aigi_core.statements import counted, estimated
from aigi_core.transfer import (
    DEFAULT_METRIC,
    METRICS,
    TargetRanking,
    few_shot_curves,
    standings,
)
from ui import results
from ui.bodies import choices
from ui.bodies.training import against_others, offer_alike, penalty
from ui.toolkit.costly import CostlyError, lasting
from ui.toolkit.jobs import job, steps

SAVED = "_saved_detectors"


SHOWN = 12
"""Training sets drawn; all stand in the table."""


def ranked(page: ui.Page, asked: tuple[results.Setting, str, tuple[str, ...], int, bool]) -> Any:
    """Every training set ranked; of a large workspace, or by a method that takes long, only where
    it is asked for."""

    def compute(_: object = None) -> TargetRanking:
        return results.ranked_sets(page.workspace, *asked)

    if not results.large(page.workspace):
        results.ask_for_sets(page.workspace, asked[0], asked[3])
        with steps("Training and testing every set"):
            return compute()
    sets, seconds = results.cost_of_sets(page.workspace, asked[0], asked[3])
    about = (
        f"Trains {counted(sets, 'set')} on {counted(len(page.domains), 'image')}: "
        f"{lasting(seconds)} of one core, once for all sessions."
    )
    return job(page, "rank", "Rank all training sets", compute, about=about, asked=asked)


with ui.page(__file__) as page:
    domains = page.domains
    with page.controls():
        first = list(domains.generators[-2:])
        tested = page.generators(
            "tests",
            "Generators to catch",
            first,
            help="Type a part of a name: all generators that hold it are listed.",
        )
        if tested != first:
            offer_alike(tested, domains.generators, "tests")
        most = min(3, len(domains.generators) - 1)
        k = int(page.slider("k", "Train on at most", 1, max(1, most), min(2, max(1, most))))
        unseen = page.toggle(
            "unseen",
            "Without the targets",
            len(tested) < len(domains.generators),
            help=(
                "On: training sets do not include the generators to catch. Off: sets that"
                " include them are ranked, too."
            ),
        )
        metric = page.select(
            "metric",
            "Metric",
            {m.title: m.name for m in METRICS.values()},
            METRICS[DEFAULT_METRIC].title,
        )
        how = choices.choose_setting(page, ())
    about, ranking = METRICS[metric], None
    try:
        ranking = ranked(page, (how, metric, tuple(tested), k, unseen))
    except CostlyError as error:
        with page.section():
            raise error
    except AigiError as error:  # a view of its own for each detector, or a split that is missing
        page.notice(ui.inert(f"Training sets cannot be ranked here. {error}"))
    with page.controls():
        trained = page.generators(
            "trained",
            "Opened training set",
            ranking.best if ranking else domains.generators[:1],
            follows="train",
            empty="The recommended set" if ranking else "The first generator",
        )
    setting = replace(how, sets=(tuple(trained),))
    whole = results.matrix(page.workspace, setting, metric)
    matrix = whole.on(tested)
    page.python(results.trained_code(page.workspace, setting, metric, tested))
    detector = results.detectors(page.workspace, setting)[0]
    opens = results.link_to(setting, trained)
    inside, ood = matrix.mean(metric, matrix.in_domain), matrix.mean(metric, ~matrix.in_domain)
    hardest, names = matrix.hardest(metric), " + ".join(trained)
    reached = (
        [f"{estimated(inside, 'generator')} on generators it was trained on"] if inside.n else []
    )
    if ood.n:
        reached.append(f"{estimated(ood, 'generator')} on generators it has never seen")
    opened = (
        f"Trained on {ui.name(names)}, a detector reaches {about.in_words} {' and '.join(reached)}."
        + (f" Lowest is {ui.name(hardest.name)}: {hardest.numbers()}." if hardest else "")
    )
    if ranking is None:
        page.answer(opened)
    else:
        best, sets = ranking.table.iloc[0], len(ranking.table)
        of_how_many = (
            f"the best of {sets} sets on validation images" if sets > 1 else "the only possible set"
        )
        page.answer(
            f"To catch {', '.join(map(ui.name, tested))}, train on **{ui.name(best['train'])}**:"
            f" {about.in_words} **{best['test_mean']:.3f}** (95% interval"
            f" {best['test_mean_low']:.3f} to {best['test_mean_high']:.3f},"
            f" {counted(len(tested), 'generator')}), {of_how_many}.{against_others(ranking)}"
            + (
                ""
                if set(trained) == set(ranking.best)
                else f" The opened set is another one. {opened}"
            )
        )
    page.stats(
        [
            ui.Stat(
                title,
                f"{mean.value:.3f}",
                counted(mean.n, "generator"),
                (mean.low, mean.high),
            )
            for title, mean in (("In-domain", inside), ("Out of domain", ood))
            if mean.n
        ]
        + [
            ui.Stat(
                "Training images",
                f"{detector.provenance['n_train'] + detector.provenance['n_val']:,}",
                f"{detector.provenance['n_train']:,} train, {detector.provenance['n_val']:,}"
                " validation",
            ),
        ]
        + penalty(detector)
    )
    page.protocol(
        metric=f"{about.title}: {about.description}.",
        training=results.training_in_words(setting),
        ranking=(
            "Every set of up to the chosen number of generators, ranked by its mean on the targets'"
            " validation images; values are of test images, which took no part in the choice."
        ),
        testing=(
            "Each generator's fakes of the test split against the real images of its own pools."
        ),
        intervals=intervals_in_words(metric, "difference", "winner"),
    )

    if ranking is not None:
        row = [set(names_of) == set(trained) for names_of in ranking.test.train]
        by_name = dict(zip(ranking.table["train"], ranking.test.train, strict=True))
        shown = pd.concat([ranking.table.head(SHOWN), ranking.table[row]]).drop_duplicates("rank")
        with page.picture(
            "Training sets for these targets, best on validation images first (open diamonds; they"
            " choose and have no interval). Test images, which took no part in the choice, can"
            " order the sets otherwise. Click one to open it; bold: the opened one."
        ):
            draw = partial(
                figures.intervals,
                shown.rename(
                    columns={
                        "train": "name",
                        "test_mean": "value",
                        "test_mean_low": "low",
                        "test_mean_high": "high",
                        "val_mean": "second",
                    }
                ),
                marks=("Test images, 95% interval", "Validation images"),
                value_title=f"{about.title} on the targets",
                selected=next(iter(ranking.table["train"][row]), None),
                alt=(
                    f"{about.title} on {', '.join(tested)} of the {len(shown)} training sets that"
                    " do best on validation images, with 95% intervals. First:"
                    f" {ranking.table['train'].iloc[0]}."
                ),
            )
            page.figure(
                "sets",
                draw,
                table=ranking.table,
                clicks=lambda name: ui.set_control("trained", list(by_name[name])),
            )
    with page.section(
        "The opened training set on every generator",
        f"A detector trained on {ui.name(names)}. Click a generator to choose whose images the link"
        " below opens.",
    ):
        test = page.generator("test", "Generator", hardest.name if hardest else tested[0])
        everywhere = partial(figures.detector_intervals, whole, metric, selected=test)
        page.figure(
            "generators",
            page.styled(everywhere),
            table=whole.to_frame(),
            clicks=("test",),
        )
        page.link("gallery", "Its images, right and wrong", tests=[test], **opens)

    with page.section(
        "What it looks at, and where it fails",
        f"The detector trained on {ui.name(names)}, opened on other pages.",
    ):
        with st.container(horizontal=True):
            if isinstance(detector, LinearDetector) and detector.has_direction:
                page.link("words", "What it looks at, in words", **opens)
            page.link("gallery", "Its mistakes", tests=tested, verdict="all mistakes", **opens)
        if not isinstance(detector, LinearDetector) or not detector.has_direction:
            st.caption(ui.inert(no_direction(detector)))
        choices.link_heads(page, trained, "Its generators' attention heads")

    with page.section(
        "Compare and keep",
        "Kept detectors stay in this session. A download holds weights and protocol.",
    ):
        saved: dict[str, results.Setting] = st.session_state.setdefault(SAVED, {})
        with page.controls("Keep"):
            own = ", ".join([names, *setting.differences])
            title = st.text_input("Name", own, max_chars=80, key=f"name-{own}")
            if st.button(
                "Keep this detector", icon=":material/bookmark_add:", key="keep", on_click=ui.acted
            ):
                saved[title or own] = setting
                st.toast(f"Kept as {ui.name(title or own)}.", icon=":material/bookmark_added:")
            st.download_button(
                "Download it",
                lambda: results.archive(detector),
                f"detector-{page.workspace.digest}.zip",
                mime="application/zip",
                key="download",
                on_click="ignore",
                icon=":material/download:",
                help="safetensors and JSON; load it with Detector.load.",
            )
        if saved:
            page.unlinked("Kept detectors")
        others = {
            n: results.matrix(page.workspace, s, metric) for n, s in saved.items() if s != setting
        }
        if others:
            page.table("standings", standings({"this one": whole} | others, "this one", metric))
            st.caption(
                "Change: difference of the OOD mean from this detector's, paired, over generators"
                " that neither was trained on."
            )
            if st.button(
                "Forget the kept ones", key="forget", icon=":material/delete:", on_click=ui.acted
            ):
                saved.clear()
                st.toast("Removed all kept detectors.")
                st.rerun()

    with page.section(
        "How many images does it need?",
        "Trained on random samples of its training images, five samples of each size.",
    ):
        curves = job(
            page,
            "few-shot",
            "Draw the few-shot curve",
            lambda progress: few_shot_curves(
                page.workspace,
                setting.sets,
                view=results.regression_view(setting),
                metric=metric,
                progress=progress,
                protocol=results.protocol(setting),
            ),
            about="A few seconds.",
            setting=setting,
            metric=metric,
        )
        if curves:
            page.figure("few-shot", partial(figures.few_shot, curves), table=curves.table)
