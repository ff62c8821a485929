"""Inspect: one image, brought or of the workspace, before all its detectors: verdict, reasons, what if, would it last."""

from functools import partial

import streamlit as st

import ui
from aigi_core import figures
from aigi_core.explain.neighbours import nearest
from aigi_core.inspection.novelty import nearest_sources, novelty
from aigi_core.inspection.parts import Removal
from aigi_core.inspection.survival import survival
from ui import attention, inspection

PRIORS = {"1 in 2": 0.5, "1 in 10": 0.1, "1 in 100": 0.01, "1 in 1,000": 0.001}
SAID = {"fake": "**called generated**", "real": "**called real**", "uncertain": "**in the band of doubt: no call**",
        "no verdict": "**no call can be made**"}  # fmt: skip

with ui.page(__file__) as page:
    workspace = page.workspace
    with st.spinner("Training and calibrating one detector a generator …"):
        panel = inspection.panel(workspace)
    subject = inspection.choose(page)
    with page.controls():
        judge = page.select("detector", "Detector", list(panel.names), help="Whose logit is explained below.")
        rates = {f"{rate:.0%}": rate for rate in panel.rates} or {"none possible": 0.2}
        rate = page.select("rate", "False alarms allowed", rates, "5%", help="Of real validation images, how many may be "
                           "called generated; as many fakes may be missed. Between the two limits no call is made.")  # fmt: skip
        prior = page.select("prior", "Generated among such images", PRIORS, help="Your expectation before looking.")
    j, logits = panel.index(judge), panel.logits(subject.images, subject.rows)[:, 0]
    verdicts = panel.verdicts(logits, rate, prior)
    mine, alone = verdicts.iloc[j], verdicts.iloc[1:]
    far = novelty(workspace, subject.embedding, inspection.distances(workspace), subject.row)
    calls = alone["verdict"].value_counts()
    page.answer(
        f"{judge.capitalize() if j == 0 else f'The detector of {ui.name(judge)}'} give{'' if j == 0 else 's'} "
        f"{ui.name(subject.name)} a probability of **{mine['probability']:.2f}** of being generated; at a false-alarm rate of "
        f"{rate:.0%} it is {SAID[str(mine['verdict'])]}. Of {len(alone)} detectors alone, {calls.get('fake', 0)} call it "
        f"generated and {calls.get('real', 0)} real."
        + (f" In truth it is {ui.inert(inspection.origin(workspace, subject.row))}." if subject.row is not None else "")
        + (" **It lies farther from anything here than nearly all held-out images: read all of this with reserve.**"
           if far.farther_than > 0.95 else "")
    )  # fmt: skip
    page.stats(
        [
            ui.Stat("Probability of being generated", f"{mine['probability']:.3f}", f"{len(panel.labels)} validation images",
                    (mine["low"], mine["high"]), "Calibrated on validation images of every generator and pool."),
            ui.Stat("Logit", f"{mine['logit']:+.2f}", f"called real up to {mine['real_below']:+.2f}, generated above "
                    f"{mine['fake_above']:+.2f}" if panel.rates else "too few validation images for limits", help="The detector's own log-odds, which is explained below."),
            ui.Stat("Farther than", f"{far.farther_than:.1%}", f"of {far.n} held-out images; 1 - cosine {far.distance:.3f}",
                    (far.low, far.high), "Distance to the nearest image known, beside that of the workspace's test images."),
        ]
    )  # fmt: skip
    page.protocol(
        detectors="Logistic regression on the normalised embedding, one a generator, classes weighing alike, C chosen on "
        "validation, refitted on train plus validation.",
        probability="Platt scaling on the validation images of the whole workspace, scored by twins trained without them; "
        "classes weigh alike, restated for the expectation chosen. Interval: 95 %, bootstrap of groups of those images.",
        together="Mean of the detectors' calibrated log-odds, calibrated again on the same images.",
        evidence="Exact: the logit is a sum over heads and the tokens that the class token attends to, MLPs, biases and the "
        "start of the stream, each divided by the embedding's length (Gandelsman et al. 2024, extended by layer norm and biases).",
        taking_away="A part's direct evidence is taken out of that sum; length, attention and all other parts stay.",
        uploads="Held in this session's memory; not written to disk; a link opens images of the workspace only.",
    )

    left, right = st.columns([2, 3], gap="large")
    with left, page.section("The image"):
        if subject.picture is not None:
            st.image(subject.picture, output_format="PNG", alt=f"{subject.name}: {subject.about}"[:300])
        elif subject.row is not None:
            page.images([ui.Tile(subject.row, [subject.name])], width=300)
        st.caption(ui.inert(subject.about))
        if subject.row is not None:
            split = workspace.domains.split[subject.row]
            seen = (
                "no detector has seen it"
                if split == "test"
                else "**detectors of its generator or pool were trained on it**"
            )
            st.caption(f"An image of this workspace, {split} split: {seen}.")
    with right, page.section("What every detector says", "A click chooses the detector explained below."):
        by_detector = partial(figures.judges, verdicts, selected=judge)
        page.figure(
            "judges",
            lambda theme: by_detector(styles=page.styles(theme), theme=theme),
            table=verdicts,
            clicks=("detector",),
        )
    if len(subject.among) > 1:
        with page.section("All files", "All detectors together, one line a file."):
            page.table("files", inspection.all_files(workspace, subject, rate, prior))

    reading, names = panel.readings[j], list[str]()  # no names: the sum could not be made, nor what rests on it
    with page.section(
        "Why", f"The logit of {mine['logit']:+.2f} as a sum, term by term. Positive speaks for generated."
    ):
        wanted = subject.pixels is not None and (
            bool(subject.among) or page.toggle("map", "Where in the image (runs the encoder)")
        )
        parts = inspection.parts(workspace, subject, wanted)
        evidence = parts.evidence(reading)
        terms, grid = evidence.table(), parts.grid
        heads = terms[terms["layer"] >= 0]
        names = [f"{layer}.{index}" for layer, index in heads[["layer", "head"]].to_numpy()]
        left, right = st.columns(2, gap="large")
        with right:
            page.figure("heads", partial(figures.evidence_bars, terms), table=terms)
        with left:
            st.markdown(
                "**In short:** "
                + "; ".join(f"{k['term']} {k['evidence']:+.2f}" for k in evidence.kinds().to_dict("records"))
            )
            if grid is None:
                st.caption("Where in the image: " + ("switch it on above." if subject.pixels is not None else
                           "needs the picture itself; only its features are at hand."))  # fmt: skip
            region: tuple = ()
            if grid is not None and subject.pixels is not None:
                with page.controls("Region"):
                    shown = page.select(
                        "by", "Evidence of", ["all heads", *names], help="One head: what it took from each patch."
                    )
                    offered = ["none", *(f"{r}.{c}" for r in range(grid[0]) for c in range(grid[1]))]
                    patch = page.select("patch", "Patch taken away", offered, help="row.column; or click the map.")
                    side = int(page.slider("side", "Patches across", 1, min(grid), 3))
                    region = inspection.region(patch, side, grid) if patch != "none" else ()
                over = evidence.patches if shown == "all heads" else evidence.head_patches(attention.parse_head(shown))
                draw = partial(figures.patch_map, subject.pixels, over, what=shown, selected=region)
                page.figure("map", draw, clicks=("patch",))
    if names:
        with page.section(
            "The strongest heads in words", "Texts nearest to a head's fakes less reals; p by permutation, one head."
        ):
            page.table("words", inspection.head_words(workspace, judge, [attention.parse_head(n) for n in names[:5]]))
            page.link("heads", "Open the strongest head", head=names[0], **({} if j == 0 else {"train": judge}))

        with page.section("What if", "Parts taken away together: their direct evidence leaves the sum."):
            with page.controls("Taken away"):
                without = page.multiselect("without", "Heads", names, [], placeholder="None; strongest first")
                line = page.text("components", "Components", placeholder="such as 3, 10-20")
            components = inspection.parse_components(line, len(subject.embedding))
            removal = Removal(tuple(map(attention.parse_head, without)), region, components)
            after = parts.evidence(reading, removal).logit
            before, then = panel.probability(j, evidence.logit, prior), panel.probability(j, after, prior)
            said = (
                f"Without {inspection.in_words(removal)}: logit **{evidence.logit:+.3f} → {after:+.3f}**, probability **{before[0]:.3f} → {then[0]:.3f}** "
                f"({then[1]:.3f} to {then[2]:.3f})."
            )
            if removal:
                page.finding(said)
            else:
                st.caption("Choose heads, components or, in the map, a patch.")

    with page.section(
        "Would it survive?", "The same image compressed, resized, blurred, with noise, cropped, as a screenshot."
    ):
        if subject.source is None:
            st.caption("This needs the picture itself; only its features are at hand.")
        elif page.toggle("survive", "Change the image and ask again (27 passes of the encoder)"):
            lasted = survival(inspection.copies(workspace, subject), panel, j, rate, prior)
            page.figure("survival", partial(figures.survival_curves, lasted), table=lasted)

    with page.section(
        "What lies nearest", "By cosine of embeddings, over all splits; a click on an image opens its source."
    ):
        near = nearest(workspace, subject.embedding, 13)
        near = near[near["row"] != subject.row].head(12)
        page.images(
            [
                ui.Tile(n["row"], [n["generator"], f"cosine {n['cosine']:.3f}", n["split"]])
                for n in near.to_dict("records")
            ],
            width=110,
        )
        page.table("sources", nearest_sources(workspace, subject.embedding, subject.row))
    with page.section(
        "May its probabilities be trusted?", f"{ui.name(judge)} on test images, which it has never seen."
    ):
        bins, error = inspection.reliability(workspace, judge)
        page.finding(
            f"Expected calibration error **{error.ece:.3f}** ({error.low:.3f} to {error.high:.3f}, {error.n} images; "
            f"{error.null_mean:.3f} if calibrated perfectly, p = {error.p_value:.2g})."
        )
        page.figure("reliability", partial(figures.reliability_curve, bins, error), table=bins)
