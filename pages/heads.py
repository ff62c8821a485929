"""Heads: every attention head alone, several together, and one opened: words, images, evidence, ablation."""

from functools import partial

import streamlit as st

import ui
from aigi_core import figures
from aigi_core.errors import AigiError
from aigi_core.explain.heads import Definition
from aigi_core.transfer import METRICS
from ui import attention, explained, results, wording

SHOWN = {
    "Validation": ("accuracy", "Balanced accuracy on the validation generator"),
    "Out of domain": ("ood", "Balanced accuracy out of domain"),
    "In-domain": ("in_domain", "Balanced accuracy in-domain"),
}
DEFINITIONS: dict[str, Definition] = {"fakes less reals": "difference", "weights": "weights", "mean": "mean"}
with ui.page(__file__) as page:
    workspace, generators = page.workspace, page.domains.generators
    with page.controls():
        train = page.generator("train", "Trained on")
        others = [name for name in generators if name != train]
        if not others:
            raise AigiError("Heads are trained on one generator and scored on another: add images of a second one.")
        validation = page.generator("validate", "Validated on", attention.surest(page.domains, others), among=others)
        shown, title = page.select("shows", "Map shows", SHOWN)
        k = int(page.slider("k", "Heads together", 1, attention.MOST, 3))
        way = page.select("way", "Chosen", attention.WAYS, help="The best k alone, as in the paper; or one by one, each adding "
                          "most to those already chosen.")  # fmt: skip
    with st.spinner("Training a detector on every head …"):
        table, scores = (
            attention.heads_table(workspace, train, validation),
            attention.head_scores(workspace, train, validation),
        )
        ways = attention.ways(workspace, train, validation)
        chosen = ways[way][:k]
        gain = attention.heads_against_embedding(workspace, train, validation, chosen)
    best, chosen_names = table.iloc[0], attention.named(chosen)
    page.answer(
        f"Trained on {ui.name(train)} and judged on {ui.name(validation)}, head **{best['head']}** does best alone "
        f"({best['accuracy']:.3f}). Heads **{', '.join(chosen_names)}** together are **{gain.verdict}** the whole embedding on "
        f"generators that neither saw ({gain.gain.value:+.3f})."
    )
    page.stats(attention.stats(scores, gain, len(chosen)))
    page.protocol(
        heads="Logistic regression on each head's direct contribution to the embedding, in its exact low-dimensional form; C "
        "chosen on the training generator's validation split.",
        choice=f"By balanced accuracy on the validation split of the validation generator; joint selection among the {attention.OFFERED} "
        "best alone. No test image takes part.",
        out_of_domain="Test images of all generators but the two, each against the real images of its own pools.",
        intervals="95 %, bootstrap of groups of test images; Wilson where a single head is scored on validation images.",
    )

    with page.section(
        "Layers × heads", "Outlined: the heads chosen. Click a head, or choose it here, to open it below."
    ):
        with page.controls("Head"):
            head = page.select("head", "Opened head", sorted(table["head"], key=attention.parse_head), best["head"],
                               help="layer.index, both counted from 0.")  # fmt: skip
            st.button("Ablate it", on_click=ui.set_control, args=("ablate", [head]), icon=":material/content_cut:",
                      help="Replace it by its mean and measure all detectors again, below.")  # fmt: skip
        draw = partial(figures.head_map, table, shown, value_title=title, selected=head, chosen=chosen_names)
        page.figure("map", draw, table=table, clicks=("head",))
    with page.section("Several together", "How far the first heads of each list get on generators that neither saw."):
        grown = {name: attention.grown(workspace, train, validation, first) for name, first in ways.items()}
        page.figure("curves", partial(figures.head_curves, grown, whole=gain.embedding.value, chosen=k,
                                      about=METRICS[attention.METRIC].title))  # fmt: skip

    opened, setting = attention.parse_head(head), results.Setting(tuple((name,) for name in generators))
    row = generators.index(train)
    with page.section(f"Head {head} in words"):
        with page.controls("Words"):
            definition = page.select("says", "Direction", DEFINITIONS, help="Its mean contribution to fakes less that to "
                                     "reals; the weights of its own detector; or its mean over all images.")  # fmt: skip
            texts = explained.choose_texts(page)
            every = page.toggle("every", "All heads", help="Correct for the number of heads that could have been opened: the "
                                "nearest text of each of them, some seconds.")  # fmt: skip
        said = attention.head_said(workspace, opened, train, definition, texts)
        page.finding(
            f"Nearest to its direction: {ui.name(str(said.nearest['text'][0]))}, "
            + ("beyond chance" if said.nameable else "**but chance does as well: read nothing into the words**")
            + f" (p = {said.p_value:.2g} for this head alone, one of {len(table)} that could be opened; {said.draws} draws)."
        )
        left, middle, right = st.columns(3, gap="medium")
        for column, side in zip((left, middle), explained.SIDES, strict=True):
            with column:
                st.markdown(f"**{side.capitalize()} texts**")
                page.figure(f"head-{side}", partial(figures.said_list, said, side), table=said.listed(side))
        with right:
            span = attention.head_span(workspace, opened)
            st.markdown("**TextSpan**: texts that span what it writes")
            alt = f"TextSpan of head {head}: {', '.join(span['text'].head(5))}."
            page.figure("span", partial(figures.span_bars, span, alt=alt), table=span)
        if every:
            with st.spinner(f"Reading {len(table)} heads …"):
                read = attention.all_said(workspace, train, definition, texts)
            page.finding(attention.among_all(read, head))
            page.table("every-head", read)
    with page.section(
        f"Images on which head {head} is extreme",
        "Test images whose contribution points most, and least, along its direction.",
    ):
        images = attention.extremes(workspace, opened, train, definition)
        for column, end in zip(st.columns(2, gap="medium"), ("most", "least"), strict=True):
            with column:
                st.markdown(f"**{end.capitalize()}**")
                found = images[images["side"] == end].to_dict("records")
                page.images(
                    [ui.Tile(i["row"], [i["generator"] or "real", f"{i['value']:+.3f}"]) for i in found], width=100
                )
    with page.section(
        f"Where head {head} helps and where it misleads",
        f"Its evidence in the detector trained on {ui.name(train)}, on each generator's fakes less that on their real "
        "counterparts. Right of zero it helps; left of zero it misleads.",
    ):
        roles = attention.roles(workspace, setting, row)
        mine = roles[(roles["layer"] == opened[0]) & (roles["head"] == opened[1])]
        page.figure("roles", lambda theme: figures.role_intervals(mine, head, page.styles(theme), selected=train, theme=theme),
                    table=mine)  # fmt: skip

    with page.section("Without some heads", "Each replaced by its mean over the training images, in every detector."):
        ablate = page.multiselect("ablate", "Ablated heads", sorted(table["head"], key=attention.parse_head), [],
                                  placeholder="Choose heads, or press 'Ablate it' above")  # fmt: skip
        if ablate:
            with st.spinner("Measuring again, with twenty random choices of as many other heads beside …"):
                effect = attention.ablation(workspace, setting, tuple(map(attention.parse_head, ablate)))
            wording.effect(page, "ablation", effect, train)
    page.link("words", "What its detector says", train=train)
