"""Encoders: the same detectors on the same images as several encoders see them, and whether each
knows the concept of a generated image.
"""

from functools import partial

import streamlit as st

import ui
from aigi_core import figures
from aigi_core.commands import command
from aigi_core.transfer.encoders import by_generator, compare
from ui.results import encodings as results

with ui.page(__file__) as page:
    workspace = page.workspace
    measured = results.measured(workspace)
    table = compare(measured)
    best, first = table.iloc[int(table["value"].to_numpy().argmax())], table.iloc[0]
    if len(table) == 1:
        page.answer(
            f"One encoder is here, {ui.name(first['model'])}: out of domain it reaches balanced"
            f" accuracy **{first['value']:.3f}**. To compare it with another, encode the same"
            " images by that one (the command is below)."
        )
    else:
        page.answer(
            f"Out of domain, {ui.name(best['name'])} does best: balanced accuracy"
            f" **{best['value']:.3f}**, the first encoder **{first['value']:.3f}** (the best was"
            f" chosen among {len(table)} on these images)."
        )
    shown = zip(*(table[c] for c in ("name", "value", "n", "low", "high")), strict=True)
    page.stats(
        [
            ui.Stat(name, f"{value:.3f}", f"{n} cells", (low, high))
            for name, value, n, low, high in shown
        ]
    )
    page.protocol(
        detectors=(
            "Logistic regression on each encoder's embedding, one a generator, C chosen on"
            " validation images; the same images, splits and bootstrap draws for all encoders."
        ),
        differences="Paired image by image, sign flips by group, Benjamini-Hochberg over encoders.",
    )
    with page.picture("Balanced accuracy out of domain, by encoder, with 95 % intervals."):
        draw = partial(
            figures.intervals,
            table,
            alt="Balanced accuracy out of domain of each encoder, with 95 % intervals.",
            value_title="Balanced accuracy out of domain",
            reference=0.5,
        )
        page.figure("encoders", draw, table=table)
    with page.section("Where each fails", "Mean out of domain, by generator tested on."):
        page.table("generators", by_generator(measured))
    with page.section(
        "Do they err on the same images?",
        "Shares of verdicts out of domain; were errors independent, the ratio would be 1. The"
        " ensemble averages both encoders' scores; its gain is over the better of the two.",
    ):
        if len(measured) > 1:
            page.table("agreement", results.agreements(workspace))
        else:
            page.finding(
                "This needs a second encoder. NAME is what the pages call it; MODEL and TAG are"
                " open_clip's names of a model and of its weights:"
            )
            st.code(
                command(
                    "encode",
                    workspace="WORKSPACE",
                    **{"as": "NAME"},
                    model="MODEL",
                    pretrained="TAG",
                ),
                language="bash",
                wrap_lines=True,
            )
    with page.section(
        "Does the encoder know the concept?",
        "AUC of the cosine with texts such as 'synthetic image', fakes against real images, nothing"
        " trained; beside it, the range of 95 % of other words.",
    ):
        page.table("concept", results.concepts(workspace))
