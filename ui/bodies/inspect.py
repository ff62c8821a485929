"""What the page Inspect says of one image: its answer and numbers, why, what if, would it survive,
may it be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from aigi_core import figures
from aigi_core.attribution.task import REAL_SOURCE
from aigi_core.detectors.methods.neighbours import NeighbourDetector
from aigi_core.errors import AigiError
from aigi_core.explain.neighbours import nearest
from aigi_core.inspection import copies
from aigi_core.inspection.intake import NO_VERDICT, is_blank
from aigi_core.inspection.known import Sides
from aigi_core.inspection.novelty import NEIGHBOURHOOD, Novelty, nearest_sources
from aigi_core.inspection.panel import RATES, Panel
from aigi_core.inspection.parts import Parts, Removal
from aigi_core.inspection.rules import DEFAULT_RULE
from aigi_core.inspection.survival import survival
from aigi_core.inspection.unseen import Trust
from aigi_core.manifest import TOGETHER
from aigi_core.perturb import ladder
from aigi_core.statements import (
    DEFAULT_RATE,
    Finding,
    agreeing,
    counted,
    estimated,
    p_text,
    signed_score,
)
from aigi_core.workspace import Workspace
from ui import results
from ui.bodies import attribution
from ui.bodies.audit import gallery_link
from ui.bodies.neighbours import show_evidence as show_neighbours
from ui.results import attention, inspection
from ui.results.inspection import Subject
from ui.toolkit.images import Tile
from ui.toolkit.page import Page, inert, name
from ui.toolkit.report import Stat
from ui.toolkit.waiting import saying

PRIORS = {"1 in 2": 0.5, "1 in 10": 0.1, "1 in 100": 0.01, "1 in 1,000": 0.001}
CALLS_IN_WORDS = {
    "fake": "it is **called generated**",
    "real": "it is **called real**",
    "uncertain": "it is **undecided: too close to call**",
    NO_VERDICT: "**no call can be made, because all of it is one colour**",
}
POOLS_NAMED = 3
"""Pools named in a sentence; all stand in the table."""
Region = tuple[tuple[int, int], ...]
NOWHERE: Region = ()


@dataclass(frozen=True, eq=False)
class Judged:
    """One image before all detectors.

    Attributes:
        at: the place of the chosen one in the panel.
        verdicts: one row a detector (:meth:`aigi_core.inspection.panel.Panel.verdicts`).
        far: how unlike anything in the workspace the image is.
    """

    workspace: Workspace
    panel: Panel
    subject: Subject
    at: int
    rate: float
    prior: float
    verdicts: pd.DataFrame
    far: Novelty

    @property
    def judge(self) -> str:
        return self.panel.names[self.at]

    @property
    def mine(self) -> Any:
        """The chosen detector's verdict."""
        return self.verdicts.iloc[self.at]

    @property
    def calls(self) -> list[dict[Any, Any]]:
        """How often the chosen detector abstains on test images, and is right; empty where that
        cannot be measured.
        """
        calls = inspection.calls(self.workspace, self.rate)
        mine = calls[calls["detector"] == self.judge] if not calls.empty else calls
        return mine.to_dict("records")


def judge(page: Page, panel: Panel, subject: Subject) -> Judged:
    """The controls ``detector``, ``rate`` and ``prior``, and what they make of the image."""
    with page.controls():
        detector = page.select(
            "detector",
            "Detector",
            list(panel.names),
            help="Whose logit is explained below.",
            follows="train",
        )
        rate = page.select(
            "rate",
            "False alarms allowed",
            {f"{rate:.0%}": rate for rate in RATES},
            f"{DEFAULT_RATE:.0%}",
            help=(
                "The share of real validation images that may be called generated, and the"
                " share of fakes that may be called real. They set two limits; between the"
                " limits an image is undecided."
            ),
        )
        prior = page.select(
            "prior",
            "Generated among such images",
            PRIORS,
            help="How many of such images you expect to be generated, before you look at this one.",
        )
    band = panel.band(panel.index(detector), rate)
    if band.note:
        page.notice(f"False alarms: {band.note}.")
    if band.no_band:
        st.caption(f"No abstention: {band.no_band}.")
    verdicts = panel.verdicts(panel.logits(subject.images, subject.rows)[:, 0], rate, prior)
    if is_blank(subject.pixels):
        verdicts = verdicts.assign(verdict=NO_VERDICT)
    far = inspection.far(page.workspace, subject)
    return Judged(page.workspace, panel, subject, panel.index(detector), rate, prior, verdicts, far)


def answer(judged: Judged) -> str:
    """The page's answer: the chosen detector's call, the truth where it is known, whether the
    classifier of sources contradicts the call, and whether the image is unlike all others.
    """
    mine, subject = judged.mine, judged.subject
    who = (
        "All detectors together give"
        if judged.at == 0
        else f"The detector of {name(judged.judge)} gives"
    )
    truth = (
        f", in truth {inert(inspection.origin(judged.workspace, subject.row))},"
        if subject.row is not None
        else ""
    )
    reserve = (
        " **It is farther from every image of this workspace than 95% of held-out images are: the"
        " rates below were measured on more similar images, and may not hold for it.**"
    )
    return (
        f"{who} {name(subject.name)}{truth} a probability of **{mine['probability']:.3f}** (95%"
        f" interval {mine['low']:.3f} to {mine['high']:.3f},"
        f" {counted(len(judged.panel.labels), 'validation image')}) of being generated; at a"
        f" false-alarm rate of {percent(mine['rate'])} {CALLS_IN_WORDS[str(mine['verdict'])]}"
        f"{_no_calls(judged)}.{contradiction(judged)}"
        + (reserve if judged.far.farther_than > 0.95 else "")
    )


def others(judged: Judged) -> str:
    """What the detectors of single generators say, in one sentence; empty where no call can be
    made.
    """
    if str(judged.mine["verdict"]) == NO_VERDICT:
        return ""
    calls = judged.verdicts.iloc[1:]["verdict"]
    fake, real = (int((calls == verdict).sum()) for verdict in ("fake", "real"))
    left = len(calls) - fake - real
    return (
        f"Of {counted(len(calls), 'detector')} alone, {fake} {agreeing(fake, 'call')} it"
        f" generated, {real} {agreeing(real, 'call')} it real and {left}"
        f" {agreeing(left, 'leave')} it undecided."
    )


def contradiction(judged: Judged) -> str:
    """Beside a call that the classifier of sources contradicts: that it does, and which of the two
    was right more often; nothing else, and nothing where that classifier was trained on the image.
    """
    try:
        table = attribution.stored(judged.workspace).likely_sources(judged.subject.embedding)
        seen = judged.subject.row is not None and (
            judged.workspace.domains.split[judged.subject.row] != "test"
        )
        if seen or contradicts(judged, table) is not True:
            return ""
        gap = inspection.sides(judged.workspace, judged.judge).gap.finding("paired image")
    except AigiError:
        return ""  # sources were not learned
    claim = gap.claim(
        "the verdict is right more often",
        "that classifier is right more often",
        "neither is shown to be right more often",
    )
    return (
        " **“Which generator” contradicts this** (it names"
        f" {name(str(table['source'].iloc[0]))}, {float(table['probability'].iloc[0]):.3f}); on"
        f" test images {claim}: the verdict minus that classifier, {gap.points()}."
    )


def _no_calls(judged: Judged) -> str:
    """Beside a call that is not made: how often that is so, where it has been measured."""
    if str(judged.mine["verdict"]) != "uncertain":
        return ""
    return "".join(
        f", as {one['undecided']:.0%} of {counted(one['n'], 'test image')} are (95% interval"
        f" {one['undecided_low']:.0%} to {one['undecided_high']:.0%})"
        for one in judged.calls
    )


def stats(judged: Judged) -> list[Stat]:
    """The chosen detector's probability and logit, and how unlike anything known the image is."""
    mine, far, panel = judged.mine, judged.far, judged.panel
    ends = (signed_score(mine[end]) for end in ("real_below", "fake_above"))
    limits = "called real up to {}, generated above {}".format(*ends)
    return [
        Stat(
            "Probability of being generated",
            f"{mine['probability']:.3f}",
            counted(len(panel.labels), "validation image"),
            (mine["low"], mine["high"]),
            "Calibrated on validation images of every generator and pool. The interval covers the"
            " uncertainty of this calibration; it does not cover generators that the workspace does"
            " not hold (see the last section).",
        ),
        Stat(
            "Logit, not calibrated",
            signed_score(mine["logit"]),
            limits,
            help="The detector's own log-odds, which is explained below.",
        ),
        Stat(
            "Novelty",
            f"{far.farther_than:.1%}",
            f"of {counted(far.n, 'held-out image')} lie nearer; distance {far.distance:.3f}",
            (far.low, far.high),
            "Distance (1 − cosine of embeddings) to the nearest image of the workspace, compared"
            " with the same distance of its held-out (test) images.",
            ".1%",
        ),
    ]


def how_often_right(page: Page, judged: Judged) -> None:
    """First what all detectors together are worth on generators that they do not know; then, on
    those they know, how often the chosen one makes no call, how often its calls are right, and the
    rates that its limits give, pool by pool.
    """
    try:
        with saying("Leaving each generator out"):
            page.finding(unseen_in_words(inspection.unseen(judged.workspace, judged.rate)))
    except AigiError as too_few:
        st.caption(inert(str(too_few)))
    for one in judged.calls:
        page.finding(
            f"On test images of known generators, {name(judged.judge)} left undecided"
            f" **{one['undecided']:.0%}** of {counted(one['n'], 'image')}"
            f" ({one['undecided_low']:.0%} to {one['undecided_high']:.0%}); of"
            f" {counted(one['calls'], 'call')} **{one['right']:.0%}** were right"
            f" ({one['right_low']:.0%} to {one['right_high']:.0%}, 95% intervals)."
        )
    rates = inspection.pool_rates(judged.workspace, judged.judge, judged.rate)
    if rates.empty:
        return
    page.finding(rates_in_words(rates))


def unseen_in_words(unseen: Trust) -> str:
    """What a panel is worth on generators left out, with the pools where it alarms most."""

    def mean(figure: str, form: str) -> str:
        value, low, high = unseen.mean(figure)
        return f"**{value:{form}}** ({low:{form}} to {high:{form}})"

    pools = unseen.pools.sort_values("false_alarms", ascending=False).to_dict("records")
    by_pool = ", ".join(
        f"{name(str(pool['pool'])) + ' ' if len(pools) > 1 else ''}{pool['false_alarms']:.0%}"
        f" ({pool['false_alarms_low']:.0%} to"
        f" {pool['false_alarms_high']:.0%}, n = {pool['n']})"
        for pool in pools[:POOLS_NAMED]
    )
    more = (
        f", {len(pools) - POOLS_NAMED} more under *Can it be trusted*"
        if len(pools) > POOLS_NAMED
        else ""
    )
    return (
        f"**A generator that it does not know** (each of {len(unseen.generators)} left out in turn,"
        f" all detectors together): AUC {mean('auc', '.2f')}; {mean('detected', '.0%')} of its"
        f" fakes are called generated and {mean('missed', '.0%')} real. False alarms, with"
        f" limits set for {percent(unseen.rate)}: {by_pool}{more}. Intervals: 95%, over generators;"
        f" of {'a pool' if len(pools) > 1 else 'false alarms'}, over photographs."
    )


def rules_in_words(unseen: Trust) -> str:
    """Which way of joining the detectors was chosen by generators left out, and by how much."""
    others = unseen.rules[unseen.rules["rule"] != DEFAULT_RULE]
    best: Any = others.sort_values("auc").iloc[-1]
    compared = Finding.of_row(
        best,
        "change",
        p_value=best["p_value"],
        q_value=best["q_value"],
        n=len(unseen.generators),
        what="generator",
        corrected_over=f"{len(others)} other ways",
    ).points()
    if unseen.rule == DEFAULT_RULE:
        return (
            f"The detectors' log-odds are averaged: none of {len(others)} other ways to"
            " combine them is shown to have a higher AUC; the highest is that of"
            f" {best['rule']}, {compared} compared with the mean."
        )
    return (
        f"The detectors are combined by {unseen.rule} instead of their mean: AUC {compared}."
        " Each generator's numbers above use the way that was chosen on the other"
        " generators."
    )


def rates_in_words(rates: pd.DataFrame) -> str:
    """What limits set for one rate give on each pool, and where they fail.

    Args:
        rates: of :func:`aigi_core.inspection.known.rates_by_pool`.
    """
    pools = rates[rates["pool"] != ""]

    def of(row: Any, error: str) -> str:
        n, images = (
            (row["n_real"], "photograph") if error == "false_alarms" else (row["n_fake"], "fake")
        )
        return (
            f"**{row[error]:.0%}** ({row[f'{error}_low']:.0%} to {row[f'{error}_high']:.0%},"
            f" {counted(n, images)})"
        )

    together = rates.iloc[0]
    several = len(pools) > 1
    limits = (
        f"The limits are set for {percent(together['set'])} false alarms and as many misses"
        f"{' over all pools together' if several else ''}; on test images they give"
        f" {of(together, 'false_alarms')} and {of(together, 'missed')}. "
    )
    if not several:
        above = str(together["fails"])
        return limits + (
            f"**They do not hold:** {above} lie above it (95% intervals)."
            if above
            else "Neither is shown to lie above it (95% intervals)."
        )
    failing = [
        f"{words} on {name(str(row['pool']))} {of(row, error)}"
        for error, words in (("false_alarms", "false alarms"), ("missed", "misses"))
        for _, row in pools.iterrows()
        if words in row["fails"]
    ]
    if failing:
        return (
            f"{limits}**They do not hold everywhere:** {'; '.join(failing)} (95% intervals, not"
            " corrected over pools)."
        )
    highest: Any = pools.sort_values("false_alarms").iloc[-1]
    return (
        f"{limits}Of {counted(len(pools), 'pool')} none is shown to lie above it; most false alarms"
        f" on {name(str(highest['pool']))}: {of(highest, 'false_alarms')}."
    )


def show_picture(page: Page, judged: Judged) -> None:
    """The image, what it is, and whether detectors were trained on it."""
    subject = judged.subject
    if subject.picture is not None:
        st.image(subject.picture, output_format="PNG", alt=f"{subject.name}: {subject.about}"[:300])
    elif subject.row is not None:
        page.images([Tile(subject.row, [subject.name])], width=300)
    st.caption(inert(subject.about))
    if subject.row is None:
        _show_copy(page, judged)
        return
    split = judged.workspace.domains.split[subject.row]
    st.caption(f"An image of this workspace, {split} split: {_seen(split)}.")
    page.source(subject.row)
    gallery_link(page, subject.row, "Where the Gallery shows it")


def _show_copy(page: Page, judged: Judged) -> None:
    """The image of the workspace that a new file is likely to show again."""
    subject = judged.subject
    copy = inspection.copies_of(judged.workspace, {subject.key: subject.embedding})[subject.key]
    if copy is None:
        return
    image = judged.workspace.images.iloc[copy.row]
    origin, split = inspection.origin(judged.workspace, copy.row), str(image["split"])
    page.notice(
        f"Likely the same picture as {name(str(image['path']))} of this workspace, saved anew"
        f" ({origin}, {split} split): {_seen(split)}. Cosine {copy.cosine:z.3f}; different"
        f" images are as similar in fewer than 1 of {round(1 / copies.ALPHA):,} cases.",
        "info" if split == "test" else "warning",
    )
    page.source(copy.row)
    gallery_link(page, copy.row, "Where the Gallery shows it")


def _seen(split: str) -> str:
    if split == "test":
        return "no detector has seen it"
    return "**detectors of its generator or pool were trained on it**"


def why(page: Page, judged: Judged) -> tuple[Parts, list[str], Region]:
    """What sets the image apart from the average real one, by head and, where the encoder has run,
    by patch: (parts, heads by strength, region chosen).
    """
    subject = judged.subject
    if subject.pixels is None:
        st.caption(
            "To see where in the image the evidence lies, upload the image file: only its features"
            " are stored here."
        )
    wanted = subject.pixels is not None and (
        bool(subject.among) or page.toggle("map", "Where in the image (runs the encoder)")
    )
    parts = inspection.parts(judged.workspace, subject, wanted)
    evidence = parts.evidence(judged.panel.reading(judged.at))
    average = inspection.average_real(judged.workspace, judged.judge)
    compared = evidence.compared_with(average)
    terms = compared.table()
    heads = terms[terms["layer"] >= 0]
    names = attention.named(
        [(int(layer), int(index)) for layer, index in heads[["layer", "head"]].to_numpy()]
    )
    page.finding(
        f"Its logit is {signed_score(evidence.logit)}, that of the average real test image"
        f" {signed_score(average.logit.mean())} (n = {len(average.rows)}). Of the difference of"
        f" **{compared.logit[0]:+z.2f}**, **{compared.heads.sum():+z.2f}** comes from the heads and"
        f" **{compared.remainder[0]:+z.2f}** from everything else (MLPs, biases, position)."
    )
    left, right = st.columns(2, gap="large") if parts.grid else (None, st.container())
    with right:
        page.figure("heads", partial(figures.evidence_bars, terms), table=terms)
    region = NOWHERE
    if left is not None and parts.grid is not None and subject.pixels is not None:
        with left:
            shown, region = choose_region(page, names, parts.grid)
            over = (
                evidence.patches
                if shown == "all heads"
                else evidence.head_patches(attention.parse_head(shown))
            )
            draw = partial(figures.patch_map, subject.pixels, over, what=shown, selected=region)
            page.figure("map", draw, table=patch_table(over), clicks=("patch",))
    return parts, names, region


def patch_table(evidence: np.ndarray) -> pd.DataFrame:
    """One row a patch: ``row, column, evidence``."""
    rows, columns = np.indices(evidence.shape).reshape(2, -1)
    return pd.DataFrame({"row": rows, "column": columns, "evidence": evidence.ravel()})


def choose_region(page: Page, names: list[str], grid: tuple[int, int]) -> tuple[str, Region]:
    """The controls of the map: whose evidence is shown, and the square of patches taken away."""
    with page.controls("Region"):
        shown = page.select(
            "by",
            "Evidence of",
            ["all heads", *names],
            help="One head: what it took from each patch.",
        )
        offered = ["none", *(f"{r}.{c}" for r in range(grid[0]) for c in range(grid[1]))]
        patch = page.select(
            "patch", "Patch to remove", offered, help="row.column; or click the map."
        )
        side = int(page.slider("side", "Patches across", 1, min(grid), 3))
    return shown, inspection.region(patch, side, grid) if patch != "none" else ()


def what_if(page: Page, judged: Judged, parts: Parts, names: list[str], region: Region) -> None:
    """The controls ``without`` and ``components``, and what becomes of logit and probability."""
    with page.controls("Remove"):
        without = page.multiselect(
            "without", "Heads", names, [], placeholder="none (strongest first)"
        )
        line = page.text("components", "Components", placeholder="such as 3, 10-20")
    components = inspection.parse_components(line, len(judged.subject.embedding))
    removal = Removal(tuple(map(attention.parse_head, without)), region, components)
    if not removal:
        st.caption("Choose heads, components or, in the map, a patch.")
        return
    reading = judged.panel.reading(judged.at)
    logits = parts.evidence(reading).logit, parts.evidence(reading, removal).logit
    before, then = (judged.panel.probability(judged.at, logit, judged.prior) for logit in logits)
    told = [signed_score(float(logit), 3) for logit in logits]
    page.finding(
        f"Without {inspection.in_words(removal)}: logit **{told[0]} → {told[1]}**,"
        f" probability **{before[0]:.3f} → {then[0]:.3f}** (95% interval {then[1]:.3f} to"
        f" {then[2]:.3f})."
    )


def survives(page: Page, judged: Judged) -> None:
    """The image changed in many ways, on demand."""
    if judged.subject.source is None:
        st.caption("This needs the image file: upload it. Only its features are stored here.")
    elif page.toggle(
        "survive",
        f"Change the image and score it again ({len(ladder()) + 1} passes of the encoder)",
    ):
        copies = inspection.copies(judged.workspace, judged.subject)
        lasted = survival(copies, judged.panel, judged.at, judged.rate, judged.prior)
        page.figure("survival", partial(figures.survival_curves, lasted), table=lasted)


def show_nearest(page: Page, judged: Judged) -> None:
    """The nearest images, and whose images they are."""
    subject = judged.subject
    near = nearest(judged.workspace, subject.embedding, 13)
    shown = near[near["row"] != subject.row].head(12).to_dict("records")
    page.images(
        [Tile(n["row"], [n["generator"], f"cosine {n['cosine']:z.3f}", n["split"]]) for n in shown],
        width=110,
    )
    st.markdown(
        f"Sources of the {NEIGHBOURHOOD} nearest images. *among*: how many of these; *expected*:"
        " the share by chance, from the source's *n* images in the workspace; *nearest*: the"
        " highest cosine."
    )
    page.table("sources", nearest_sources(judged.workspace, subject.embedding, subject.row))


def by_neighbours(page: Page, judged: Judged) -> None:
    """What nearest neighbours say, trained on the chosen detector's generator or on all of them,
    and the images that decide it."""
    generators = judged.workspace.domains.generators
    names = generators if judged.judge == TOGETHER else (judged.judge,)
    if not set(names) <= set(generators):
        names = generators
    [detector] = results.detectors(judged.workspace, results.Setting((names,), method="knn"))
    assert isinstance(detector, NeighbourDetector)
    subject = judged.subject
    features = detector.view.matrix(subject.images, subject.rows)[0]
    trained = "all generators together" if len(names) > 1 else name(names[0])
    st.caption(f"Trained on {trained}; a score above zero means generated.")
    show_neighbours(page, "neighbours", detector, features, subject.row)


def beside_the_name(page: Page, judged: Judged) -> None:
    """Before the classifier names a source: that this is another question, whether its answer
    agrees with the verdict, and which of the two to trust. Nothing where sources were not learned.
    """
    try:
        table = attribution.stored(judged.workspace).likely_sources(judged.subject.embedding)
        sides = inspection.sides(judged.workspace, judged.judge)
    except AigiError:
        return  # the part itself says what to run
    _, error = inspection.reliability(judged.workspace, judged.judge)
    page.finding(agreement(judged, table))
    page.finding(
        "The verdict says whether the image is generated; this part asks who made it, by another"
        " model: one classifier of all sources. As judges of real or generated, on test images of"
        f" known generators, the verdict's detector reaches {estimated(sides.judge, 'test image')}"
        f" and this classifier {estimated(sides.named, 'test image')}: balanced accuracy, where any"
        " generator's name counts as generated and the verdict is taken at a probability of 0.5."
        f" {_trusted(sides)} The verdict's probability was calibrated (calibration error"
        f" {error.ece:.3f}, 95% interval {error.low:.3f} to {error.high:.3f}); those below were"
        " not."
    )


def _trusted(sides: Sides) -> str:
    gap = sides.gap.finding("paired image")
    told = gap.claim(
        "**On real or generated, trust the verdict.**",
        "**On real or generated, trust this classifier rather than the verdict, if the image may be"
        " by a generator that it knows**; on others they were not compared.",
        "**Neither is shown to be right more often; the verdict alone has a calibrated"
        " probability.**",
    )
    return f"The verdict minus this classifier: {gap.points()}. {told}"


def contradicts(judged: Judged, table: pd.DataFrame) -> bool | None:
    """Whether the likeliest source is of the other class than the call; None where no call is made
    or no source is named.

    Args:
        table: of :meth:`aigi_core.attribution.Attribution.likely_sources`.
    """
    call = str(judged.mine["verdict"])
    if call not in ("fake", "real") or table.attrs["unknown"]:
        return None
    return (call == "real") != (str(table["source"].iloc[0]) == REAL_SOURCE)


def agreement(judged: Judged, table: pd.DataFrame) -> str:
    """Whether the verdict and the likeliest source say the same of real or generated.

    Args:
        table: of :meth:`aigi_core.attribution.Attribution.likely_sources`.
    """
    mine, source = judged.mine, str(table["source"].iloc[0])
    who = name(judged.judge) if judged.at else TOGETHER
    call = str(mine["verdict"])
    verdict = (
        f"the verdict of {who} above is {CALLS_IN_WORDS[call]} (probability of being"
        f" generated {mine['probability']:.3f})"
    )
    real = float(table.loc[table["source"] == REAL_SOURCE, "probability"].iloc[0])
    named = (
        f"this classifier names {name(source)} ({float(table['probability'].iloc[0]):.3f};"
        f" {REAL_SOURCE} {real:.3f})"
    )
    if call not in ("fake", "real"):
        return f"Neither agreement nor contradiction: {verdict}; {named}."
    if table.attrs["unknown"]:
        return f"Neither agreement nor contradiction: {verdict}; this classifier names no source."
    if not contradicts(judged, table):
        return f"The two agree: {verdict}, and {named}."
    return f"**The two contradict each other:** {verdict}, but {named}."


def trust(page: Page, judged: Judged) -> None:
    """What the panel is worth: first on generators that it does not know, then the chosen
    detector's probabilities on those it does.
    """
    st.markdown("**On generators it does not know** (each left out in turn)")
    try:
        unseen = inspection.unseen(judged.workspace, judged.rate)
    except AigiError as too_few:
        st.caption(inert(str(too_few)))
    else:
        page.finding(
            f"Calibration error of its probabilities there: **{unseen.error.ece:.3f}**"
            f" (95% interval {unseen.error.low:.3f} to {unseen.error.high:.3f},"
            f" {counted(unseen.error.n, 'judgement')})."
            f" {rules_in_words(unseen)}"
        )
        st.markdown("False alarms by pool of photographs")
        page.table("unseen-pools", unseen.pools)
        st.markdown("Each generator, left out")
        page.table("unseen", unseen.generators)
        st.markdown("Ways to combine the detectors, on the same left-out generators")
        page.table("unseen-rules", unseen.rules)
    st.markdown("**On generators it knows** (test images)")
    bins, error = inspection.reliability(judged.workspace, judged.judge)
    page.finding(
        f"Expected calibration error **{error.ece:.3f}** (95% interval {error.low:.3f} to"
        f" {error.high:.3f}, {counted(error.n, 'image')}; {error.null_mean:.3f} if calibrated"
        " perfectly,"
        f" {p_text(error.p_value)})."
    )
    page.figure("reliability", partial(figures.reliability_curve, bins, error), table=bins)
    if not (calls := inspection.calls(judged.workspace, judged.rate)).empty:
        st.markdown("How often each detector makes a call, and is right")
        page.table("calls", calls)
    rates = inspection.pool_rates(judged.workspace, judged.judge, judged.rate)
    if not rates.empty:
        st.markdown("False alarms and misses by pool")
        page.table("rates", rates.replace({"pool": {"": "all together"}}))


def percent(share: float) -> str:
    """A rate as a percentage, with a decimal only where it has one.

    >>> percent(0.05), percent(1 / 13)
    ('5%', '7.7%')
    """
    return f"{share:.0%}" if round(share * 100, 9) == round(share * 100) else f"{share:.1%}"
