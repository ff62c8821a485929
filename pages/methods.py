"""Methods: every way of detecting on the same images, and the difference to logistic regression."""

from collections.abc import Callable
from functools import partial

import pandas as pd
import streamlit as st

import ui
from aigi_core import figures
from aigi_core.errors import NotMadeError
from aigi_core.metrics import DEFAULT_METRIC, intervals_in_words
from aigi_core.statements import counted
from aigi_core.transfer import board as boards
from aigi_core.transfer import board_by_encoder as boards_by_encoder
from aigi_core.transfer.imported import NOT_TOLD
from aigi_core.winner import estimates
from aigi_core.workspace import Workspace
from ui import results
from ui.bodies import compared, finetuned, imported, zero_shot
from ui.toolkit.apart import apart
from ui.toolkit.jobs import step, steps
from ui.toolkit.kept import cached
from ui.toolkit.workspaces import open_encoding


@cached
def board_by_encoder(names: tuple[str, ...], encodings: tuple[Workspace, ...]) -> pd.DataFrame:
    named = dict(zip(names, encodings, strict=True))
    shared = boards_by_encoder.shared_methods(named)

    def rows(first: object, method: str, *of: object) -> list[dict[str, object]]:
        made = apart(boards_by_encoder.rows_of_method, first, method, *of)
        step(shared.index(method) + 1, len(shared))
        return made

    return boards_by_encoder.board_by_encoder(named, rows)


READ = (
    "title",
    "measured_on",
    "threshold_from",
    "ood",
    "all_generators",
    "difference",
    "q_value",
    "auc",
    "real",
    "fake",
    "worst_on",
    "worst",
)
"""Columns of the board that are shown beside each other."""
OTHER_CELLS = " The last rows were measured on other generators: do not rank them with the rest."


def thresholds_in_words(table: pd.DataFrame) -> dict[str, str]:
    """What the protocol says of thresholds, where a row's is not that of a method."""
    if not (words := boards.thresholds_in_words(table, ui.name)):
        return {}
    return {"thresholds": f"Of methods: their own. {words}"}


def show(page: ui.Page, table: pd.DataFrame) -> None:
    """The board: what is shown of it, its numbers, its picture, and its parts."""
    best = boards.highest(table)
    other_cells = len(boards.on_the_same_cells(table)) < len(table)
    reference = table[table["method"] == boards.REFERENCE].iloc[0]
    page.answer(
        f"{boards.verdict(table, ui.name)} Balanced accuracy there: logistic regression"
        f" **{reference['ood']:.3f}** (95% interval {reference['ood_low']:.3f} to"
        f" {reference['ood_high']:.3f}, {counted(int(reference['cells']), 'cell')}); the highest of"
        f" {counted(best.of, 'method')}, {ui.name(best.name)}: {best.numbers()}."
        f"{boards.lead_in_words(table)}"
    )
    page.stats(
        [
            ui.Stat(
                row["title"],
                f"{row['ood']:.3f}",
                f"{counted(row['cells'], 'cell')}, uncorrected",
                (row["ood_low"], row["ood_high"]),
                "The interval of this method alone. The interval in the sentence above is"
                " wider, because it corrects for choosing the highest of all methods.",
            )
            for _, row in boards.on_the_same_cells(table).head(3).iterrows()
        ]
    )
    page.protocol(
        methods=(
            "One detector per generator; hyperparameters chosen on validation images, refitted on"
            " train plus validation; classes weighted equally."
        ),
        testing=(
            "Each generator's test fakes against the real test images of its own pools; out of"
            " domain: the detector never saw the generator."
        ),
        differences=(
            "From logistic regression, paired image by image; q by Benjamini-Hochberg over"
            " all methods, and apart from these over imported and fine-tuned detectors. The first"
            " of the list was chosen on these images, so expect a lower value on new ones."
        ),
        **thresholds_in_words(table),
        intervals=intervals_in_words(DEFAULT_METRIC, "difference", "largest"),
        blocks=(
            "Out of domain, by whether the tested generator is of the training generator's family"
            " (GAN, diffusion, autoregressive) or of another."
        ),
        calibration=(
            "Expected calibration error in ten bins, all detectors together, classes weighted"
            " equally. Scores become probabilities on validation images of the detector's own"
            " generator, by its twin, which was not trained on them (Platt scaling)."
        ),
        seconds=(
            "Processor time to train all detectors, and to score all images with all of them; for"
            " fine-tuned detectors time by the clock."
        ),
    )
    where = boards.where_measured(table)
    with page.controls():
        title = page.select("which", "Opened method", table["title"].tolist())
    with page.picture():
        left, right = st.columns([5, 3], gap="medium")
        with left:
            st.markdown(
                f"Balanced accuracy {where}, by method, with 95% intervals. Click a method to open"
                f" it.{OTHER_CELLS if other_cells else ''}"
            )
            drawn = estimates(table, "ood", table["title"], n=table["cells"])
            draw = partial(figures.out_of_domain_intervals, drawn, "method", where, selected=title)
            page.figure("methods", draw, table=drawn, clicks=("which",))
        with right:
            one_method(page, table, title)
    parts_of(page, table)


def one_method(page: ui.Page, table: pd.DataFrame, title: str) -> None:
    """A method beside the board: what it is, and its numbers."""
    chosen = table[table["title"] == title].iloc[0]
    row = boards.rows_of_methods().get(str(chosen["method"]))
    if row:
        one, view = row.method, row.view or results.EMBEDDING
        setting = results.Setting((), view, method=one.name)
        if one.name == results.RESIDUAL:
            setting = results.Setting((), results.RESIDUAL)
        sees = results.view_in_words(setting) if row.view else ui.inert(one.sees)
        about = (
            f"**{row.title}.** Source: {ui.inert(one.source)}. Input: {sees}"
            f" Hyperparameters: {ui.inert(one.chosen)} Cost: {ui.inert(one.cost)}"
        )
    else:
        about = (
            f"**{ui.name(chosen['title'])}.** {imported.origin(page.workspace, chosen['method'])}"
            f" {boards.threshold_of_row(chosen)} A single detector is compared with logistic"
            " regression trained on the same generator (on each other generator in turn, if it has"
            " seen several or none). Scores of one detector per generator are compared as those of"
            " methods are."
        )
    where = "Out of domain"
    if boards.unknown(table)[table["title"] == title].any():
        where = f"{NOT_TOLD}. Of all cells"
    page.finding(about)
    page.finding(
        f"{where} its lowest balanced accuracy is on {ui.name(chosen['worst_on'])}:"
        f" {chosen['worst']:.3f} (95% interval {chosen['worst_low']:.3f} to"
        f" {chosen['worst_high']:.3f}, corrected for the choice of the lowest)."
        f" {boards.blocks_in_words(chosen)}"
    )
    if calibrated := boards.calibration_in_words(chosen):
        page.finding(calibrated)
    if row:
        page.link("transfer", "Its matrix, in Transfer", **results.link_to(setting))


def parts_of(page: ui.Page, table: pd.DataFrame) -> None:
    """All numbers, two methods compared, encoders, own texts, fine-tuning."""

    def all_numbers() -> None:
        split = boards.by_what_is_measured(table)
        with page.section(text=boards.comparison(table, ui.name)):
            named = bool(boards.thresholds_in_words(table))
            read = [one for one in READ if one != "threshold_from" or named]
            page.table("board", split.drop(columns="method"), shown=read)

    def by_encoder() -> None:
        with page.section(
            text="The same methods and images with each encoder: balanced accuracy out of"
            " domain, and the difference to the workspace's first encoder, paired image"
            " by image. q is over all differences.",
        ):
            if page.toggle("encoders", "Compare encoders"):
                opened = tuple(map(open_encoding, page.encodings.values()))
                with steps(f"Methods measured by {counted(len(opened), 'encoder')}"):
                    beside = board_by_encoder(tuple(page.encodings), opened)
                page.table("by-encoder", beside)

    parts: dict[str, Callable[[], None]] = {
        "All numbers": all_numbers,
        compared.PART: partial(compared.show, page, table),
    }
    if len(page.encodings) > 1:
        parts["By encoder"] = by_encoder
    parts["Your own texts"] = partial(zero_shot.show, page)
    if finetuned.names(page.workspace):
        parts["Fine-tuning"] = partial(finetuned.by_epoch, page)
    holds = {"encoders": "By encoder", "finetuned": "Fine-tuning"}
    holds |= dict.fromkeys(("detector_a", "detector_b"), compared.PART)
    holds |= dict.fromkeys(("real_texts", "generated_texts", "way"), "Your own texts")
    page.part(parts, holds=holds)


with ui.page(__file__) as page:
    try:
        with steps("Methods measured", "Reading what is stored of each method"):
            table = compared.board(page.workspace)
    except NotMadeError as missing:
        imported.show(page, missing)
    else:
        show(page, table)
