"""Inspect: one image, brought or of the workspace, before all its detectors: verdict, reasons, what
if, would it last.
"""

from collections.abc import Callable
from functools import partial

import streamlit as st

import ui
from aigi_core import figures
from aigi_core.inspection.novelty import FEWEST_HELD_OUT, MOST_HELD_OUT
from aigi_core.inspection.panel import Panel
from aigi_core.inspection.rules import KNOWN
from aigi_core.inspection.unseen import JUDGED
from aigi_core.metrics import intervals_in_words
from aigi_core.statements import counted
from ui.bodies import attribution, finetuned
from ui.bodies import inspect as body
from ui.results import attention, inspection
from ui.toolkit.waiting import saying

WHY = "Why"
"""The part that explains the score."""


def protocol(page: ui.Page, panel: Panel) -> None:
    page.protocol(
        detectors=(
            "Logistic regression on the normalised embedding, one per generator, classes"
            " weighted equally, C chosen on validation, trained on the training split alone."
            " Calibration and limits belong to these same detectors."
        ),
        probability=(
            "Platt scaling on the validation images of the whole workspace, which no detector has"
            " seen; classes weighted equally, then adjusted to the chosen share of generated"
            " images."
        ),
        intervals=intervals_in_words("auc", "probability", "share", "largest"),
        together=(
            f"{panel.rule.capitalize()} of the detectors' calibrated log-odds. The result is"
            " calibrated again on the same images."
        ),
        evidence=(
            "Exact: the logit is a sum over heads and the tokens that the class token attends to,"
            " MLPs, biases and the start of the stream, each divided by the embedding's length"
            " (Gandelsman et al. 2024, extended by layer norm and biases)."
        ),
        taking_away=(
            "A part's direct evidence is subtracted from that sum; length, attention and all other"
            " parts stay as they are."
        ),
        samples=(
            f"Large sets are replaced by random samples: at most {MOST_HELD_OUT:,} test"
            f" images whose distances are compared ({FEWEST_HELD_OUT} in a workspace of a"
            f" million), {JUDGED:,} of each source and split where a generator is left out,"
            f" and {KNOWN:,} training fakes of each generator to compare with. All pairs"
            " would take hours; each figure has its n."
        ),
        uploads=(
            "Files are held in this session's memory and are not written to disk. A link can"
            " open images of the workspace only."
        ),
    )


def show(page: ui.Page, panel: Panel, subject: inspection.Subject) -> None:
    workspace = page.workspace
    judged = body.judge(page, panel, subject)
    page.answer(body.answer(judged))
    page.stats(body.stats(judged))
    protocol(page, panel)

    left, right = st.columns([2, 3], gap="large")
    with left, page.section("The image"):
        body.show_picture(page, judged)
    with (
        right,
        page.section(
            "What every detector says",
            f"Probabilities calibrated on {counted(len(panel.labels), 'validation image')}. Click a"
            " detector to have it explained below.",
        ),
    ):
        if said := body.others(judged):
            page.finding(said)
        draw = partial(figures.judges, judged.verdicts, selected=judged.judge)
        page.figure(
            "judges",
            page.styled(draw),
            table=judged.verdicts,
            clicks=("detector",),
        )
        body.how_often_right(page, judged)
    parts: dict[str, Callable[[], None]] = {
        WHY: partial(why, page, panel, judged),
        "Which generator": partial(which_generator, page, judged),
        "After changes": partial(after_changes, page, judged),
        "Like what": partial(like_what, page, judged),
        "Can it be trusted": partial(trusted, page, judged),
    }
    if finetuned.names(workspace):
        parts["Fine-tuned"] = partial(finetuned.on_image, page, subject)
    if len(subject.among) > 1:
        parts["All files"] = partial(all_files, page, subject, judged)
    holds = dict.fromkeys(("map", "by", "patch", "side", "without", "components"), WHY)
    page.part(parts, holds=holds | {"survive": "After changes"})


def why(page: ui.Page, panel: Panel, judged: body.Judged) -> None:
    # none: the sum could not be made, nor what rests on it
    parts = None
    names = list[str]()
    region = body.NOWHERE
    with page.section(
        "Why",
        "How this image differs from the average real image. Positive values speak for generated;"
        " the bars add up to the difference in logit.",
    ):
        parts, names, region = body.why(page, judged)
    if parts is None or not names:
        return
    with page.section(
        "The strongest heads in words",
        "Texts nearest to each head's mean difference of fakes and real images. p by permutation;"
        " *corrected* for the number of heads in this table (Holm), *beyond chance* below .05.",
    ):
        heads = [attention.parse_head(name) for name in names[:5]]
        page.table("words", inspection.head_words(page.workspace, judged.judge, heads))
        page.link(
            "heads",
            "Open the strongest head",
            head=names[0],
            **({"train": judged.judge} if judged.at else {}),
        )
    with page.section(
        "What if parts were removed?",
        "The direct evidence of the chosen parts is subtracted from the score.",
    ):
        body.what_if(page, judged, parts, names, region)


def which_generator(page: ui.Page, judged: body.Judged) -> None:
    with page.section(
        "Which generator made it?",
        "By multinomial regression on the embedding, with all sources taken as equally frequent.",
    ):
        body.beside_the_name(page, judged)
        attribution.likely_source(page, judged.subject.embedding, judged.subject.row)


def all_files(page: ui.Page, subject: inspection.Subject, judged: body.Judged) -> None:
    with page.section("All files", "All detectors together, one line per file."):
        files = inspection.all_files(page.workspace, subject, judged.rate, judged.prior)
        page.table("files", files)


def after_changes(page: ui.Page, judged: body.Judged) -> None:
    with page.section(
        "Does the verdict survive changes of the image?",
        "The same image after compression, resizing, blur, noise, cropping, and as a screenshot.",
    ):
        body.survives(page, judged)


def like_what(page: ui.Page, judged: body.Judged) -> None:
    with page.section(
        "What nearest neighbours say",
        "A detector without weights: it compares the image with the nearest fakes and the nearest"
        " real images of those that it was trained on (Ojha et al. 2023).",
    ):
        body.by_neighbours(page, judged)
    with page.section(
        "The most similar images",
        "By cosine of embeddings, over all splits. Click an image to open it here, in a new tab.",
    ):
        body.show_nearest(page, judged)


def trusted(page: ui.Page, judged: body.Judged) -> None:
    with page.section(
        "Can its probabilities be trusted?",
        f"{ui.name(judged.judge)} on test images, which were not used in training.",
    ):
        body.trust(page, judged)


with ui.page(__file__) as page:
    with saying("Training and calibrating one detector per generator"):
        panel = inspection.panel(page.workspace)
    subject, below = inspection.choose(page)
    with below:
        show(page, panel, subject)
