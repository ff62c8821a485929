"""Encoders: the same detectors on the same images as several encoders see them, and whether each
knows the concept of a generated image.
"""

from functools import partial

import pandas as pd

import ui
from aigi_core import figures
from aigi_core.commands import encoder_options
from aigi_core.encodings import update_commands
from aigi_core.metrics import DEFAULT_METRIC, intervals_in_words
from aigi_core.statements import counted
from aigi_core.transfer.encoders import differences_in_words
from aigi_core.winner import winner
from ui.results import encodings as results
from ui.toolkit.waiting import saying

TITLES = {"name": "tested_on"} | {
    end: f"balanced_accuracy{of}" for end, of in (("value", ""), ("low", "_low"), ("high", "_high"))
}
"""Columns of the table by generator, as this page calls them."""


with ui.page(__file__, one_encoder="All encoders are compared here.") as page:
    workspace = page.workspace
    several = results.opened(workspace)
    table, best, by_generator = results.compared(several)
    first = table.iloc[0]
    chosen, model = table.loc[
        table["name"] == (best.name if best else first["name"]), ["name", "model"]
    ].iloc[0]
    # the name that tiles, the figure and tables have, and the model where that is called otherwise
    called = f"{ui.name(chosen)} (model {ui.name(model)})"
    if model.casefold() == chosen.casefold():
        called = ui.name(chosen)
    if best is None:
        page.answer(
            f"This workspace has one encoder, {called}: out of domain it"
            f" reaches balanced accuracy {first['value']:.3f} (95% interval"
            f" {first['low']:.3f} to {first['high']:.3f}, {counted(first['n'], 'cell')}). To"
            " compare it with another encoder, encode the same images with that one (the"
            " command is below)."
        )
    else:
        page.answer(
            f"Out of domain, {called}"
            f" {'does best' if best.clear else 'has the highest balanced accuracy'}:"
            f" {best.numbers()}. {best.rivals_in_words('encoder')}"
            f"{differences_in_words(table, ui.name)}"
        )
    if outdated := update_commands(workspace.path):
        page.notice(
            "Left out, because their images have changed since encoding:"
            f" {', '.join(map(ui.name, outdated))}. This command encodes the images again:",
            "warning",
        )
        page.command("\n".join(outdated.values()))
    shown = zip(*(table[c] for c in ("name", "value", "n", "low", "high")), strict=True)
    page.stats(
        [
            ui.Stat(name, f"{value:.3f}", counted(n, "cell"), (low, high))
            for name, value, n, low, high in shown
        ]
    )
    page.protocol(
        detectors=(
            "Logistic regression on each encoder's embedding, one per generator, C chosen on"
            " validation images; the same images, splits and bootstrap draws for all encoders."
        ),
        intervals=intervals_in_words(DEFAULT_METRIC, "difference", "winner", "largest"),
        differences="Paired image by image, sign flips by group, Benjamini-Hochberg over encoders.",
    )
    with page.picture("Balanced accuracy out of domain, by encoder, with 95% intervals."):
        draw = partial(figures.out_of_domain_intervals, table, "encoder")
        page.figure("encoders", draw, table=table)

    def costs() -> None:
        with page.section(
            "What does an image cost?",
            "Bytes of all stored features; wall-clock and CPU seconds, as `encode` measured them on"
            " the machine named, including reading and other load.",
        ):
            page.table("costs", results.costs_of(several))

    def where_each_fails() -> None:
        with page.section("Where each fails", "Mean out of domain, by generator tested on."):
            page.table("generators", by_generator.rename(columns=TITLES))

    def same_images() -> None:
        with page.section(
            "Do they err on the same images?",
            "Shares of out-of-domain verdicts: one for each detector and test image that it was not"
            " trained on. Ratio: how often both encoders are wrong, divided by how often they would"
            " be if their errors were independent among the fakes, and among the real images, of"
            " each detector. The ensemble averages both encoders' scores; its gain is over the"
            " better one on these images.",
        ):
            if len(several) > 1:
                page.table("agreement", results.agreements(several))
            else:
                page.finding(
                    "This needs a second encoder. NAME is what the pages call it; MODEL and TAG are"
                    " open_clip's names of a model and of its weights:"
                )
                options = {"as": "NAME", "model": "MODEL", "pretrained": "TAG"}
                page.command(workspace.command("encode", **options))

    def depth() -> None:
        with page.section(
            "How deep?",
            "Detectors on the token of each layer, out of domain, with 95% intervals. The"
            " highest layer is chosen on these test images, so expect a lower value on other"
            " images.",
        ):
            if not results.with_layers(several):
                page.finding("This needs the tokens of all layers, which the same encoder adds:")
                same = encoder_options(workspace.encoder)
                page.command(workspace.command("encode", **same, features="embedding,layers"))
            elif page.toggle("depth", "Train on every layer", False):
                with saying("Training detectors on every layer"):
                    depths = results.depths(several)
                for name, layers in depths.items():
                    top, last = winner(layers.assign(name=layers["layer"])), layers.iloc[-1]
                    page.finding(
                        f"{ui.name(name)}: the highest of {counted(top.of, 'layer')} is {top.name},"
                        f" {top.numbers()}; the last"
                        f" reaches {last['value']:.3f} ({last['low']:.3f} to {last['high']:.3f})."
                    )
                table = pd.concat([layers.assign(encoder=name) for name, layers in depths.items()])
                page.figure("depth", partial(figures.depth_curves, depths), table=table)

    def concept() -> None:
        with page.section(
            "Does the encoder know the concept?",
            "AUC (fakes against real images) of the cosine with texts such as 'synthetic image',"
            " without training; beside it, the range that holds 95% of other words.",
        ):
            page.table("concept", results.concepts(several))

    parts = {
        "Where each fails": where_each_fails,
        "Same mistakes": same_images,
        "How deep": depth,
        "The concept": concept,
        "Cost": costs,
    }
    page.part(parts, holds={"depth": "How deep"})
