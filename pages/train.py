"""Train: a detector of chosen generators, tested at once; how many images it needs; which
generators to choose.
"""

from dataclasses import replace
from functools import partial

import pandas as pd
import streamlit as st

import ui
from aigi_core import figures
from aigi_core.errors import AigiError
from aigi_core.transfer import (
    DEFAULT_METRIC,
    METRICS,
    few_shot_curves,
    rank_training_sets,
    standings,
    trainer,
)
from aigi_core.workspace import Workspace
from ui import results
from ui.toolkit.jobs import job

SAVED = "_saved_detectors"


@ui.cached
def alone(workspace: Workspace, how: results.Setting, metric: str) -> pd.Series | None:
    """The single generator to train on, chosen on validation images; None where that cannot be
    told.
    """
    try:
        learn = trainer(workspace, results.feature_view(how), results.protocol(how))
        return rank_training_sets(learn, workspace.domains, k_max=1, metric=metric).best(1)
    except (
        AigiError
    ):  # residuals, or a generator that lacks a split: the chosen detector can be had all the same
        return None


with ui.page(__file__) as page:
    domains = page.domains
    with page.controls():
        trained = page.generators("trained", "Trained on", domains.generators[:1], follows="train")
        tested = page.generators("tests", "Tested on")
    with page.controls():
        metric = page.select(
            "metric",
            "Metric",
            {m.title: m.name for m in METRICS.values()},
            METRICS[DEFAULT_METRIC].title,
        )
        setting = results.choose_setting(page, (tuple(trained),))
    about = METRICS[metric]
    matrix = results.matrix(page.workspace, setting, metric).on(tested)
    detector = results.detectors(page.workspace, setting)[0]
    inside, ood = matrix.mean(metric, matrix.in_domain), matrix.mean(metric, ~matrix.in_domain)
    hardest, names = matrix.hardest(metric), " + ".join(trained)
    said = [f"{about.in_words} **{inside.value:.3f}** on what it knows"] if inside.n else []
    said += [f"**{ood.value:.3f}** on {ood.n} generators it has never seen"] if ood.n else []
    reaches = f"Trained on {ui.name(names)}, a detector reaches {' and '.join(said)}." + (
        f" It finds {ui.name(hardest[0])} least ({hardest[1]:.3f})." if hardest else ""
    )
    single = alone(page.workspace, replace(setting, sets=()), metric)
    page.answer(
        reaches
        if single is None
        else (
            f"To train on one alone, {ui.name(single['train'])} serves best:"
            f" **{single['test_mean']:.3f}** on {single['n_ood']} others"
            f" ({single['test_mean_low']:.3f} to {single['test_mean_high']:.3f}; chosen on"
            f" validation images). {reaches}"
        )
    )
    page.stats(
        [
            ui.Stat(
                title,
                f"{mean.value:.3f}",
                f"{mean.n} generator{'s' if mean.n > 1 else ''}",
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
            ui.Stat(
                "C",
                f"{detector.C:g}",
                "chosen on validation",
                help="Inverse of the penalty on the weights.",
            ),
        ]
    )
    page.protocol(
        metric=f"{about.title}: {about.description}.",
        training=(
            "Logistic regression; C chosen on validation, then refitted on train plus validation."
        ),
        testing=(
            "Each generator's fakes of the test split against the real images of its own pools."
        ),
        intervals=(
            "95 %, bootstrap of groups of test images (1,000 draws); the training images stay"
            " fixed."
        ),
    )

    table = matrix.to_frame()
    with page.controls():
        test = page.generator("test", "Generator", (hardest or (tested[0],))[0], among=tested)
        if len(trained) == 1:
            page.link("gallery", "Its surest verdicts there", tests=[test], train=trained[0])
    with page.picture():
        draw = partial(figures.detector_intervals, matrix, metric, selected=test)
        page.figure(
            "generators",
            lambda theme: draw(page.styles(theme), theme=theme),
            table=table,
            clicks=("test",),
        )

    with page.section(
        "Compare and keep",
        "Kept detectors stay in this session and can be downloaded, weights and protocol.",
    ):
        saved: dict[str, results.Setting] = st.session_state.setdefault(SAVED, {})
        with page.controls("Keep"):
            own = ", ".join([names, *setting.apart])
            title = st.text_input("Name", own, max_chars=80, key=f"name-{own}")
            if st.button(
                "Keep this detector", icon=":material/bookmark_add:", key="keep", on_click=ui.acted
            ):
                saved[title or own] = setting
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
        others = {
            n: results.matrix(page.workspace, s, metric).on(tested)
            for n, s in saved.items()
            if s != setting
        }
        if others:
            page.table("standings", standings({"this one": matrix} | others, "this one", metric))
            st.caption(
                "Change: OOD mean against this detector, paired, over generators that neither was"
                " trained on."
            )
            if st.button(
                "Forget the kept ones", key="forget", icon=":material/delete:", on_click=ui.acted
            ):
                saved.clear()
                st.rerun()

    with page.section(
        "How many images does it need?", "Random samples of its training images, five times each."
    ):
        curves = job(
            page,
            "few-shot",
            "Draw the few-shot curve",
            lambda progress: few_shot_curves(
                page.workspace,
                setting.sets,
                view=results.feature_view(setting),
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

    with page.section(
        "Which k generators should one train on?",
        "Every set of up to that size, ranked on validation images and reported on test images of"
        " generators it does not hold.",
    ):
        k = int(
            page.slider(
                "k", "Generators to train on, at most", 1, min(3, len(domains.generators) - 1), 2
            )
        )
        ranking = job(
            page,
            "ranking",
            f"Try every set of up to {k}",
            lambda progress: rank_training_sets(
                trainer(page.workspace, results.feature_view(setting), results.protocol(setting)),
                domains,
                k_max=k,
                metric=metric,
                progress=progress,
            ),
            about="On the demo some seconds for two generators, ten for three.",
            k=k,
            metric=metric,
            how=replace(setting, sets=()),
        )
        if ranking:
            best, safest = ranking.best(k), ranking.best(k, "worst")
            st.markdown(
                f"Best on average: {ui.name(best['train'])}, OOD {about.in_words}"
                f" **{best['test_mean']:.3f}** ({best['test_mean_low']:.3f} to"
                f" {best['test_mean_high']:.3f}, {best['n_ood']} generators). Best in the worst"
                f" case: {ui.name(safest['train'])}, **{safest['test_worst']:.3f}**"
                f" ({safest['test_worst_low']:.3f} to {safest['test_worst_high']:.3f}, on"
                f" {ui.name(safest['test_worst_on'])}). Both were chosen on validation images."
            )
            page.table("ranking", pd.DataFrame(ranking.table))
