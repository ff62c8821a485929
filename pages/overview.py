"""Overview: what the workspace holds, what stands out, where to go next."""

from functools import partial

import streamlit as st

import ui
from aigi_core import figures
from aigi_core.commands import command
from aigi_core.errors import NotMadeError
from aigi_core.metrics import intervals_in_words
from aigi_core.overview import card
from aigi_core.results import commands_again, outdated_jobs
from aigi_core.statements import counted, estimated
from aigi_core.transfer import DEFAULT_METRIC, PairedDifference, TransferMatrix
from ui import results
from ui.bodies import generation, transfer
from ui.toolkit.waiting import saying

TASKS = (
    (
        "Build or test a detector",
        "What must it be trained on to catch a generator, such as SDXL? Does it work on others?",
        {"train": "What to train on", "transfer": "Every pair of generators"},
    ),
    (
        "Understand a detector",
        "What does it look at, and could file facts explain it?",
        {"words": "In words", "gallery": "Its mistakes", "audit": "File facts alone"},
    ),
    (
        "Check an image",
        "Is it generated, and why do the detectors say so?",
        {"inspect": "Bring your own image"},
    ),
)
"""What a visitor may have come for: title, text, pages."""
OPENED = {"gallery": {"verdict": "all mistakes"}}
"""What a task's page shows at first, where that is not what the page itself begins with."""
OPEN_THE_BEST = {"words", "gallery"}
"""Pages of one detector: they open the best one, which this page names."""


def facts_in_words(facts: TransferMatrix, against: PairedDifference) -> str:
    """What file facts alone reach, and how much more than the detectors on the same images."""
    blind = facts.mean(DEFAULT_METRIC, facts.in_domain)
    sentence = (
        "the detectors may partly rely on these facts"
        if blind.low > 0.5
        else "not shown to be better than guessing"
    )
    return (
        "A classifier of file facts alone (format, size, compression; no pixels) reaches"
        f" {estimated(blind, 'generator')}: {sentence}. File facts"
        " minus detectors, on the same images:"
        f" {against.finding('paired generator').points()}."
    )


with ui.page(__file__) as page:
    workspace, domains, encoder = page.workspace, page.domains, page.workspace.encoder
    table = results.contents(workspace)
    real, images = table["family"] == "real", table[["train", "val", "test"]].sum(axis=1)
    with page.introduction:
        st.markdown(
            "**AIGI Explorer** shows what detectors of AI-generated images look at, and whether"
            " they work on generators that they have never seen. It implements [Gaintseva et al."
            " 2024](https://arxiv.org/abs/2406.15035) and goes beyond it: every number has its n"
            " and its interval."
        )
        places = {}
        for column, (title, text, stems) in zip(st.columns(3), TASKS, strict=True):
            with column.container(border=True, height="stretch"):
                st.markdown(f"**{title}**  \n{text}")
                for stem, label in stems.items():
                    if stem in OPEN_THE_BEST:  # once it is known
                        places[stem, label] = st.container()
                    else:
                        page.link(stem, label, **OPENED.get(stem, {}))
    page.answer(
        f"{ui.name(workspace.name)} holds **{counted(len(domains.generators), 'generator')}** of"
        f" {counted(len(set(domains.families)), 'family')} and real images of"
        f" {counted(int(real.sum()), 'pool')}, as"
        f" seen by the image encoder {ui.name(encoder['model'])}."
    )
    page.stats(
        [
            ui.Stat(
                "Fakes",
                f"{images[~real].sum():,}",
                counted(len(domains.generators), "generator"),
            ),
            ui.Stat(
                "Real images",
                f"{images[real].sum():,}",
                counted(int(real.sum()), "pool"),
                help="A generator is trained and tested against the real images of its own pool.",
            ),
            ui.Stat(
                "Embedding",
                f"{encoder['embedding_width']}",
                "components of the joint space",
                help=(
                    "What detectors see of an image: the encoder's own final output, in the space"
                    " that it shares with texts."
                ),
            ),
            ui.Stat(
                "Attention heads",
                f"{encoder['layers'] * encoder['heads'] or 'none'}",
                f"{counted(encoder['layers'], 'layer')} × {encoder['heads']}"
                if workspace.gives.heads
                else "only the embedding is read",
                help=(
                    "Parts of the encoder whose direct contributions to the embedding can be"
                    " separated from each other."
                ),
            ),
        ]
    )
    page.protocol(
        encoder=(
            f"{encoder['library']} {encoder['model']} ({encoder['pretrained']}), weights SHA-256 "
            f"{encoder['weights_sha256'][:16]}…"
        ),
        splits=(
            "By group (same prompt, same scene); the same real images serve every generator of a"
            " pool."
        ),
        detectors=(
            "Logistic regression on the embedding, one per generator, classes weighted equally;"
            " balanced accuracy on the test split."
        ),
        intervals=intervals_in_words(DEFAULT_METRIC, "gap", "winner"),
        file_facts=(
            "Boosted trees on format, size, compression and metadata alone, trained and tested on"
            " the same splits as the detectors."
        ),
    )
    if stale := outdated_jobs(workspace):
        page.notice(
            f"The images have changed since these jobs ran: {', '.join(stale)}. Their old results"
            " are not shown. Pages compute again what takes only seconds, such as everything on"
            " this page. For the rest, run:"
        )
        page.command("\n".join(commands_again(workspace, stale)))
    best = None
    with (
        page.section("What stands out"),
        saying("Training one detector per generator"),
    ):
        matrix = results.default_matrix(workspace)
        inside = matrix.mean(DEFAULT_METRIC, matrix.in_domain)
        ood = matrix.mean(DEFAULT_METRIC, ~matrix.in_domain)
        gap = matrix.gap(DEFAULT_METRIC)
        hardest, best = matrix.hardest(DEFAULT_METRIC), matrix.best_detector(DEFAULT_METRIC)
        page.finding(
            "On the generator that they were trained on, detectors reach a mean balanced accuracy"
            f" of {estimated(inside, 'cell' if matrix.models_of else 'generator')}"
            + (
                f", on other generators {estimated(ood, 'cell')}: the difference is"
                f" {gap.finding('cell').points()}."
                if ood.n
                else "; there is no other generator to test them on."
            )
        )
        transfer.say_settings(page)
        page.link("transfer", "See every pair of generators")
        if hardest and best:
            page.finding(
                "The hardest generator for detectors that were not trained on it is"
                f" {ui.name(hardest.name)}: {hardest.numbers()}, mean of"
                f" {counted(hardest.n, 'detector')}. {hardest.rivals_in_words('generator')}"
                f" On other generators, the detector of {ui.name(best.name)}"
                f" {'works best' if best.clear else 'has the highest mean'}:"
                f" {best.numbers()}, {counted(best.n, 'generator')}."
                f" {best.rivals_in_words('detector')} Both were chosen for their results on"
                " these images: expect smaller differences on new images."
            )
        try:
            facts = results.fact_matrix(workspace)
            against = results.facts_against_detectors(workspace)
        except NotMadeError as missing:
            page.notice(str(missing))
        else:
            page.finding(facts_in_words(facts, against))
        page.link("audit", "Which facts give which generator away")
        if ood.n:
            page.figure(
                "generators",
                page.styled(partial(figures.generator_intervals, matrix, DEFAULT_METRIC)),
                table=matrix.by_test(DEFAULT_METRIC),
            )

    for (stem, label), place in places.items():
        with place:
            page.link(stem, label, **({"train": best.name} if best else {}), **OPENED.get(stem, {}))

    def sources() -> None:
        with page.section(
            text="Number of images in each split, and facts of their files. A fact that differs"
            " between fakes and real images can reveal the label.",
        ):
            page.table("sources", table, formats={"jpeg_quality": "%.0f"})

    def examples() -> None:
        with page.section(
            text="Two of each generator and six real images, chosen by file hash, not by hand."
            " Click one to open it in Inspect.",
        ):
            page.images(results.example_tiles(workspace), width=results.EXAMPLE_WIDTH)

    def generated() -> None:
        with page.section(
            text="Are images of more sampling steps harder to detect? Do several images of one"
            " prompt get the same verdict?",
        ):
            generation.show(page)

    def change() -> None:
        with page.section():
            st.markdown(
                "These commands run in a terminal and encode nothing again: remove generators, make"
                " a workspace of some, merge two, or split the images again. Each command lists the"
                " results that must be computed again."
            )
            page.command(
                "\n".join(
                    [
                        workspace.command("remove", generators="NAME"),
                        workspace.command("subset", generators="NAME", out="NEW"),
                        command("merge", workspaces=[str(workspace.path), "OTHER"], out="NEW"),
                        workspace.command("splits", seed="1"),
                    ]
                )
            )
            page.link("new_generator", "Add images of a new generator")
            page.link("audit", "How much results change over five random splits")

    def what_to_know() -> None:
        for head, lines in about.items():
            with page.section(head):
                for line in lines:
                    page.finding(f"- {ui.inert(line)}")

    about = card(workspace)
    parts = {"Examples": examples, "Sources": sources, "How images were made": generated}
    page.part(parts | ({"What to know": what_to_know} if about else {}) | {"Change it": change})
