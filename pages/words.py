"""Words: what a detector says, against chance; two detectors; names and generality; a concept taken
away.
"""

from functools import partial

import streamlit as st

import ui
from aigi_core import figures
from aigi_core.explain.nulls import SIGNS
from aigi_core.metrics import DEFAULT_METRIC, intervals_in_words
from aigi_core.statements import counted, p_text
from aigi_core.transfer import make_training_sets
from ui import results
from ui.bodies import choices
from ui.bodies import words as body
from ui.bodies.training import penalty
from ui.results import explanations
from ui.toolkit.waiting import saying

CONCEPT = "Without a concept"
"""The part that takes a text away from all images."""

with ui.page(__file__) as page:
    with page.controls():
        used = choices.choose_protocol(page)
        setting, names, row = choices.choose_detector(page, used)
    with page.controls():
        texts = explanations.choose_texts(page, used)
        shown = int(page.slider("shown", "Rows", 5, explanations.LISTED, 12))
    workspace, train = page.workspace, names[row]
    with saying(
        "Training the detector and, where its words are not stored, three hundred more on shuffled"
        " labels: some seconds"
    ):
        words = explanations.words(workspace, setting, row, texts)
        matrix = results.matrix(workspace, setting, DEFAULT_METRIC)
    page.answer(body.answer(words, train))
    page.stats(
        body.stats(
            words,
            len(explanations.lexicon(workspace, texts)),
            explanations.out_of_domain(workspace, setting, row),
        )
        + penalty(results.detectors(workspace, setting)[row])
    )
    page.protocol(
        training=results.protocol_in_words(used),
        direction="The detector's weights in the joint space of images and texts; towards fake.",
        chance=(
            f"The same training on labels shuffled within pools, groups kept together"
            f" ({counted(words.draws, 'time')}); p-values are family-wise over all texts searched"
            " (single-step max-T)."
        ),
        near_duplicates="Texts that say the same (cosine 0.9, or the same letters) share one row.",
        intervals=intervals_in_words(DEFAULT_METRIC, "difference", "detectors", "draws"),
    )

    with page.controls():
        text = page.select(
            "text",
            "Opened text",
            list(dict.fromkeys([*words.nearest["text"], *words.farthest["text"]])),
        )
        st.button(
            "Remove it",
            on_click=ui.open_part,
            args=(CONCEPT,),
            kwargs={"remove": text},
            icon=":material/content_cut:",
            help=(
                "Removes the direction of this text from every image and measures all detectors"
                " again, below."
            ),
        )
    with page.picture(
        "**Bold** with a filled marker: nearer than expected by chance. Grey band: for 95% of"
        " detectors trained on shuffled labels, all texts lie inside it. Click a text to open it,"
        " or choose it above."
    ):
        body.both_sides(
            page, "", words, ("Speaks for fake", "Speaks for real"), shown, clicks=("text",)
        )
    with page.section():
        body.opened(page, words, text)

    def what_else() -> None:
        with page.section(
            "What else may reveal its fakes",
            "Weights show only what separates the classes. Below: what both classes share,"
            " and what the files reveal.",
        ):
            if exposed := explanations.exposed(workspace, setting, row, texts):
                body.exposed(page, exposed)
            shows = explanations.content(workspace, setting.sets[row], texts)
            st.markdown(
                "**What its training images show**, real and fake, more than all other images"
            )
            page.figure(
                "content",
                partial(figures.listed_words, shows, "nearest", shown),
                table=shows.listed("nearest"),
            )

    def categories() -> None:
        with page.section(
            "What its texts are about",
            f"How many of the {counted(words.counted, 'nearest text')} (first table) and of"
            f" the {words.counted} farthest texts belong to each category. Expected: from the"
            " size of the category. Null mean: the mean over detectors trained on shuffled"
            " labels.",
        ):
            for column, side in zip(st.columns(2, gap="medium"), SIGNS, strict=True):
                with column:
                    about = words.categories.query("side == @side and count > 0").drop(
                        columns="side"
                    )
                    page.table(
                        f"about-{side}",
                        about.head(6),
                        formats={"expected": "%.1f", "null_mean": "%.1f"},
                    )

    others = dict(zip(names, setting.sets, strict=True))
    if len(others) == 1:  # one chosen set: beside each generator alone
        others |= make_training_sets(page.domains, "each generator")

    def another() -> None:
        with page.section(
            "Beside another detector",
            "A is the detector above. B begins as the residual of the same training set (as the"
            " embedding, if A is a residual); choose it here.",
        ):
            with page.controls("Another"):
                other = page.select("train_b", "Detector B", list(others), train)
                setting_b = choices.choose_setting(
                    page, tuple(others.values()), "B", beside=setting, used=used
                )
            comparison = explanations.comparison(
                workspace, (setting, row), (setting_b, list(others).index(other)), texts
            )
            page.finding(
                f"The two directions have a cosine of **{comparison.cosine:z.2f}**"
                f" ({p_text(comparison.p_value)}; 95% of pairs trained on shuffled labels:"
                f" {comparison.null_low:z.2f} to {comparison.null_high:z.2f}). Texts of their"
                " difference:"
            )
            titles = (
                f"More fake to A, trained on {ui.name(train)}",
                f"More fake to B, trained on {ui.name(other)}",
            )
            body.both_sides(page, "compare-", comparison.words, titles, shown)

    def own_phrases() -> None:
        with page.section("Your own phrases"):
            line = page.text(
                "own",
                "Phrases, separated by semicolons",
                placeholder="an oil painting; a human face; blurred edges",
            )
            if line.strip():
                mine = explanations.words(
                    workspace, setting, row, explanations.own_texts(line, texts)
                )
                st.markdown(
                    f"Is the nearest of your phrases nearer than by chance? {p_text(mine.p_value)},"
                    " compared with detectors trained on shuffled labels."
                )
                page.figure(
                    "own-list",
                    partial(figures.listed_words, mine, "nearest"),
                    table=mine.listed("nearest"),
                )
            else:
                st.caption(
                    "Phrases of the text banks need no computation; others need the encoder's text"
                    " tower."
                )

    def without() -> None:
        with page.section(
            "Without a concept",
            "Remove a concept from all images and measure the detectors again.",
        ):
            plain = setting == results.Setting(setting.sets)
            with page.controls("Concept"):
                line = page.text(
                    "remove",
                    "Remove (separate several by semicolons)",
                    placeholder=str(words.nearest["text"][0]),
                )
                again = page.toggle(
                    "again",
                    "Train again",
                    disabled=not plain,
                    help=(
                        "Train every detector again on what is left, with a new C. Only for the"
                        " embedding with bias and balance."
                    ),
                )
            if line.strip():
                with saying(
                    "Projecting out and measuring again; the same for twenty random directions"
                ):
                    effect = explanations.concept(
                        workspace, setting, explanations.own_texts(line, texts), again and plain
                    )
                body.effect(page, "concept", effect, matrix.train_names[row], names)
            else:
                st.caption("Type a text, or open one above and press 'Remove it'.")

    def generality() -> None:
        with page.section("Do detectors that words describe well generalise worse?"):
            body.nameability(page, setting, names, row, texts)

    parts = {
        "What else reveals fakes": what_else,
        "Categories": categories,
        "Another detector": another,
        "Your own phrases": own_phrases,
        CONCEPT: without,
    }
    if len(names) > 1:
        parts["Names and generality"] = generality
    holds = dict.fromkeys(("train_b", "method_b", "view_b"), "Another detector")
    holds |= {"own": "Your own phrases", "all": "Names and generality"}
    holds |= dict.fromkeys(("remove", "again"), CONCEPT)
    page.part(parts, holds=holds)
