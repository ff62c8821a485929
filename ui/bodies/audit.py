"""Audits and stress tests of a workspace for their pages, computed or read once for all
sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import get_args

import pandas as pd
import streamlit as st

from aigi_core import figures
from aigi_core.audit import facts as file_facts
from aigi_core.audit import quality
from aigi_core.audit.cached import AuditSettings, load_audit
from aigi_core.audit.paired import (
    find_pairs,
    generators_with_pairs,
    paired_heads,
    paired_scores,
    paired_words,
)
from aigi_core.audit.report import STEPS, Audit, audit
from aigi_core.audit.verdict import Level, Verdict
from aigi_core.encodings import canonical_command
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.figures.audit import LEVELS
from aigi_core.manifest import FAKE
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.statements import ALPHA, Finding, counted, number, part_counted
from aigi_core.transfer import difference, make_training_sets
from aigi_core.transfer.resplit import Resplit, resplit
from aigi_core.winner import estimates
from aigi_core.workspace import Workspace
from ui import results
from ui.toolkit.images import Tile
from ui.toolkit.jobs import Progress, job
from ui.toolkit.kept import cached
from ui.toolkit.page import Page, inert, name
from ui.toolkit.report import Stat
from ui.toolkit.tables import OWN_UNITS

FILES: dict[file_facts.View, str] = {"stored": "stored files", "original": "original files"}
CROSSINGS = {
    "all": "",
    "across splits": "across_split",
    "across labels": "across_label",
    "across pools": "across_pool",
    "across generators": "across_generator",
}
"""Kinds of duplicates on offer -> the column that marks them."""
NEXT: dict[Level, str] = {
    "explained": (
        "**What to do next.** This accuracy is no evidence that the detector finds traces of"
        " generation. Encode all images after one common re-encoding (`{canonical}`), or"
        " collect fakes and real images with the same file facts, and audit again."
    ),
    "partly": (
        "**What to do next.** *Which facts* and *What they show* below say what differs between"
        " fakes and real images; *Matched* says how much accuracy is left without it. Report the"
        " matched accuracy beside this one."
    ),
    "clear": (
        "**What to do next.** Nothing needs to be corrected. File facts that this audit does not"
        " read, such as resampling, can still differ: the page Stress shows whether the detector"
        " survives a common re-encoding."
    ),
}
"""Level of a verdict -> what its reader can do."""
SHOWN = 12
AGAINST_FACTS = ("do better than", "do worse than", "are not significantly different from")
"""Pairs of duplicates shown as images at once."""
stored = cached(load_audit)
quality_of = cached(quality.stored_quality)


def audited(page: Page) -> Audit | None:
    """The workspace's audit: as precomputed, else by a button; None as long as nobody has asked for
    it.
    """
    workspace = page.workspace
    try:
        return stored(workspace)
    except WorkspaceError as error:
        page.answer("**There is no audit of this workspace as it is now.**")
        page.notice(
            f"{error} Once that is done, this page opens at once; common marks need it, too."
        )

    def compute(progress: Progress) -> Audit:
        return audit(
            workspace,
            bank=AuditSettings().bank,
            tell=lambda step: progress(STEPS.index(step), len(STEPS)),
        )

    return job(
        page, "audit", "Audit it now", compute, about="Some ten seconds for three thousand images."
    )


@cached
def facts(workspace: Workspace, view: file_facts.View) -> pd.DataFrame:
    """File facts of every image."""
    return file_facts.file_facts(workspace.images, view)


@cached
def shares(workspace: Workspace, view: file_facts.View, fact: str) -> pd.DataFrame:
    """How one fact is distributed in each set of images."""
    return file_facts.distribution(facts(workspace, view), workspace.domains, fact)


def known_facts(workspace: Workspace, view: file_facts.View) -> dict[str, str]:
    """Titles of the facts that a view has -> their names."""
    return {file_facts.FACTS[name].title: name for name in facts(workspace, view).columns}


def first_generator(result: Audit) -> str:
    """The generator to begin with: the best detector of those whose file facts do as well."""
    sufficient = [
        verdict for verdict in result.verdicts if verdict.level == "explained"
    ] or result.verdicts
    return max(sufficient, key=lambda verdict: verdict.detector.value).generator


def answer(result: Audit, verdict: Verdict) -> str:
    """The page's answer: for how many generators file facts do as well, and the chosen generator's
    case.
    """
    sufficient = sum(v.level == "explained" for v in result.verdicts)
    either = ", of the stored or of the original files" if len(result.facts) > 1 else ""
    return (
        f"For **{part_counted(sufficient, len(result.verdicts), 'generator')}** the detector that"
        f" sees the images is not significantly better than file facts alone{either} (5% FDR)."
        f" {inert(verdict.headline)}"
    )


def stats(result: Audit) -> list[Stat]:
    """In-domain means of the detectors and of file facts, and the duplicates."""
    matrices = {"Detectors": result.detector}
    matrices |= {f"Facts of {FILES[view]}": matrix for view, matrix in result.facts.items()}  # type: ignore[index]
    means = {
        name: matrix.mean(DEFAULT_METRIC, matrix.in_domain) for name, matrix in matrices.items()
    }
    pairs = result.duplicates.pairs
    return [
        Stat(
            name,
            f"{mean.value:.3f}",
            counted(mean.n, "generator"),
            (mean.low, mean.high),
            "Mean in-domain balanced accuracy: each trained and tested on one generator.",
        )
        for name, mean in means.items()
    ] + [
        Stat(
            "Images that occur twice",
            f"{len(pairs):,}",
            f"pairs, {int(pairs['across_split'].sum())} across splits",
            help="Exact or near duplicates.",
        )
    ]


def level_in_words(verdict: Verdict) -> str:
    """A verdict in a few words, with its mark."""
    mark, words = LEVELS[verdict.level]
    return f"{mark} {words.lower()}"


def show_verdict(page: Page, result: Audit, verdict: Verdict) -> None:
    """One generator's verdict: what to do next, and on demand the evidence."""
    st.markdown(NEXT[verdict.level].replace("{canonical}", canonical_command(page.workspace)))
    pairs = result.duplicates.pairs
    mine = page.workspace.images["generator"].to_numpy(str) == verdict.generator
    leaks = pairs["across_split"] & (mine[pairs["a"]] | mine[pairs["b"]])
    if leaks.any():
        page.notice(
            f"{counted(leaks.sum(), 'pair')} of its images occur twice in different splits: see"
            " *Duplicates* below, and split the images again with groups that keep such pairs in"
            " one split.",
            "warning",
        )
    with st.expander("The evidence, with n and intervals"):
        for sentence in verdict.sentences:
            page.finding(f"- {inert(sentence)}")
    with st.container(horizontal=True):
        page.link(
            "gallery",
            "Its images, right and wrong",
            train=verdict.generator,
            tests=[verdict.generator],
        )
        page.link("words", "What its detector looks at, in words", train=verdict.generator)
        page.link(
            "stress",
            "Does it survive compression?",
            train=verdict.generator,
            test=verdict.generator,
        )


def show_within(page: Page, result: Audit, generator: str) -> None:
    """Detectors among images alike in file facts."""
    st.markdown(
        "Each detector on images with the same file facts: real images are reweighted to match the"
        " fakes' file facts; fakes without a match are dropped."
    )
    page.figure(
        "within",
        partial(figures.within_intervals, result.within, selected=generator),
        table=result.within[result.within["train"] == result.within["test"]],
        clicks=("test",),
    )


def show_content(page: Page, result: Audit, generator: str) -> None:
    """What fakes and real images show, by phrases, and marks that a generator's images share."""
    if result.content is None:
        st.markdown(
            f"This needs a bank of phrases: run `{page.workspace.command('text')}`, then"
            f" `{page.workspace.command('audit')}`."
        )
    else:
        st.markdown(
            "Do fakes and real images show the same things? Measured by how well phrases fit the"
            " images. This is an upper bound, because traces of generation change these scores,"
            " too."
        )
        left, right = st.columns(2, gap="large")
        with left:
            draw = partial(figures.content_intervals, result.content, selected=generator)
            page.figure("content", draw, table=result.content, clicks=("test",))
        with right:
            words = result.words[generator]
            page.figure(
                "words",
                partial(figures.word_differences, words, generator),
                table=words,
                formats=OWN_UNITS,
            )
    st.markdown("**Marks shared by all images of a generator**")
    if result.overlays is None:
        st.markdown(
            "This needs the image files: run"
            f" `{page.workspace.command('audit', images='DIR', force=True)}`."
        )
    else:
        page.table("marks", result.overlays.sort_values("adjusted"))


def show_matrices(page: Page, result: Audit, generator: str) -> None:
    """The matrix of the detectors beside that of file facts, and their paired difference."""
    st.markdown(
        "Transfer matrices of detectors of file facts alone, and of detectors that see"
        " the images. Click a cell to open it."
    )
    view = choose_files(page, result)
    titles = {"detector": "Sees the images", "facts": "Sees file facts only"}
    matrices = (result.detector, result.facts[view])
    for column, (stem, title), matrix in zip(st.columns(2), titles.items(), matrices, strict=True):
        with column:
            st.markdown(f"**{title}**")
            draw = partial(
                figures.transfer_heatmap,
                matrix,
                DEFAULT_METRIC,
                selected=(generator, generator),
                compact=True,
            )
            page.figure(
                f"matrix-{stem}",
                draw,
                table=matrix.to_frame([DEFAULT_METRIC]),
                clicks=("train", "test"),
            )
    gap, own = difference(*matrices, DEFAULT_METRIC), result.detector.in_domain
    for cells, where in ((own, "In-domain"), (~own, "Out of domain")):
        mean = gap.mean(cells)
        if mean.n:
            page.finding(
                f"{where}, detectors"
                f" {mean.finding('paired cell').claim(*AGAINST_FACTS)} file facts:"
                f" {mean.finding('paired cell').numbers()}."
            )
    page.link("transfer", "The matrix in full", train=generator, test=generator)


def choose_files(page: Page, result: Audit) -> file_facts.View:
    """The control ``files``: whose facts a part shows; the verdicts above rest on all."""
    with page.controls("Files"):
        return page.select(
            "files",
            "File facts of",
            {FILES[view]: view for view in get_args(file_facts.View) if view in result.facts},
            help=(
                "For these statistics. Stored: the files that were encoded. Original: before the"
                " collection was resized or saved anew, where its manifest says so."
            ),
        )


def show_facts(page: Page, result: Audit, generator: str) -> None:
    """Each fact's association with the label for one generator, and one fact's distribution in
    every set.
    """
    view = choose_files(page, result)
    left, right = st.columns([2, 3], gap="large")
    with left:
        st.markdown(f"How strongly each fact is associated with the label, for {name(generator)}")
        associations = result.associations[view]
        draw = partial(figures.association_intervals, associations, generator)
        page.figure("association", draw, table=associations[associations["generator"] == generator])
    with right:
        fact = page.select("fact", "Distribution of", known_facts(page.workspace, view))
        distribution = shares(page.workspace, view, fact)
        page.figure("shares", partial(figures.fact_shares, distribution, fact), table=distribution)


def show_matched(page: Page, result: Audit, generator: str) -> None:
    """What is left of the detectors where fakes and real images are matched in file facts."""
    st.markdown(
        "Detectors trained and tested again on as many fakes as real images of each kind of file."
    )
    if result.matched.empty:
        st.markdown(inert(result.matched_note))
    else:
        for row in result.means.to_dict("records"):
            what = {
                "in-domain": "On the generator they were trained on",
                "ood": "On other generators",
            }[str(row["cells"])]
            reached = [
                f"{row[name]:.3f} ({row[f'{name}_low']:.3f} to {row[f'{name}_high']:.3f}) {how}"
                for name, how in (
                    ("full", "on all images"),
                    ("control", "on equally few unmatched images"),
                    ("matched", "on matched images"),
                )
            ]
            st.markdown(
                f"{what} ({counted(row['n'], 'cell')}) detectors reach"
                f" {', '.join(reached)}: matching changes this"
                f" by {Finding.of_row(row, 'change', n=row['n'], what='cell').points()}."
            )
        page.figure(
            "matched", partial(figures.matched_intervals, result.matched), table=result.matched
        )
        page.table("matched-means", result.means.rename(columns=_called))
    page.table("matched-kept", result.kept)
    st.caption(
        "Another way is to resize and save every image alike before it is encoded, as a second"
        f" encoding beside this one: `{canonical_command(page.workspace)}`."
    )


def show_quality(page: Page, result: Audit, generator: str) -> None:
    """Whether detectors merely read quality."""
    try:
        measured = quality_of(page.workspace)
    except WorkspaceError as missing:
        st.info(inert(str(missing)))
        return
    table = measured.table("by-generator")
    held = "means.parquet" in measured.files
    means = measured.table("means") if held else pd.DataFrame()
    page.finding(f"{inert(quality.in_words(means, table))} {inert(measured.content['note'])}")
    st.markdown(
        f"Quality by {inert(measured.content['source'])}. The rank correlation (Spearman) is"
        " between quality and the score of the generator's own detector on test images: below"
        " zero, images of lower quality get higher scores. 95% intervals, groups of images"
        " resampled."
    )
    if "validation" in measured.content:
        own = measured.content["validation"]
        st.markdown(
            f"On {counted(own['n'], 'validation image')} the learnt quality has a rank correlation"
            f" of {own['correlation']:z.2f} ({own['low']:z.2f} to {own['high']:z.2f}) with opinion."
        )
    drawn = estimates(table, "auc", table["generator"], n=table["n_fake"] + table["n_real"])
    draw = partial(
        figures.intervals,
        drawn,
        alt="AUC of low quality, used alone as a score for 'fake', by generator.",
        value_title="AUC of low quality alone",
        reference=0.5,
    )
    page.figure("quality", draw, table=drawn)
    page.table("quality-by-generator", table)
    if held:
        change = measured.table("change")
        st.markdown("Accuracy where fakes and real images have equal quality")
        draw = partial(figures.matched_intervals, change, matched_in="quality")
        page.figure("equal-quality", draw, table=change)
        page.table("equal-quality-means", means)
        page.table("equal-quality-kept", measured.table("kept"))


def _called(column: str) -> str:
    for short, called in (
        ("full", "all images"),
        ("control", "fewer images"),
        ("matched", "matched images"),
    ):
        column = column.replace(short, called)
    return column


def show_pairs(page: Page, result: Audit, generator: str) -> None:
    """Duplicates: counts, the pairs as images, one of them opened."""
    st.markdown(inert(f"Images that occur twice: pairs {result.duplicates.rule}."))
    page.table("leaks", result.duplicates.summary(page.domains))
    column = page.select("pairs", "Show", CROSSINGS, kind="segmented")
    pairs, images = result.duplicates.pairs, page.workspace.images
    pairs = (pairs[pairs[column]] if column else pairs).reset_index(drop=True)
    names = pair_names(pairs, images)
    shown = pair_tiles(pairs.head(SHOWN), names[:SHOWN], images)
    page.images(shown, opens="pair", name="pairs", width=110, empty="There is no such pair.")
    if names:
        at = names.index(page.select("pair", "Opened pair", names))
        page.images(pair_tiles(pairs.iloc[[at]], [""], images, at + 1), width=280)
        for row in pairs.iloc[at][["a", "b"]]:
            gallery_link(page, int(row))
    if not result.straddling.empty:
        page.notice(
            f"{counted(len(result.straddling), 'group', 'have')} images on more than one side of a"
            " split.",
            "warning",
        )
        page.table("straddling", result.straddling)


@cached
def paired(
    workspace: Workspace, generator: str
) -> tuple[pd.DataFrame, pd.DataFrame | None, pd.DataFrame | str]:
    """Differences within test pairs: of detectors' log-odds, of what each head adds to those of the
    generator's own where the encoder has heads, and of texts (or why there are none)."""
    pairs = find_pairs(workspace.domains, generator)
    sets = make_training_sets(workspace.domains, "each generator")
    trained = results.detectors(workspace, results.Setting(tuple(sets.values())))
    scores = paired_scores(workspace, pairs, trained)
    heads = None
    if workspace.gives.has("heads"):
        heads = paired_heads(workspace, pairs, trained[list(sets.values()).index((generator,))])
    texts: pd.DataFrame | str
    try:
        texts = paired_words(workspace, pairs, workspace.text_bank(workspace.default_bank))
    except AigiError as missing:
        texts = str(missing)
    return scores, heads, texts


@cached
def with_pairs(workspace: Workspace) -> tuple[str, ...]:
    """Generators with enough test pairs."""
    return generators_with_pairs(workspace.domains)


def show_paired(page: Page, result: Audit, generator: str) -> None:
    """Paired differences of the chosen generator, else of the first that has pairs."""
    st.markdown(
        "The fake and the real image of a pair share a caption or a scene, or one is a translation"
        " of the other. Their content is the same, so that the difference shows how they were made."
    )
    among = with_pairs(page.workspace)
    if not among:
        st.markdown(
            "No generator's test images share groups with real images. A manifest's column `group`"
            " (or `pair`) names pairs."
        )
        return
    one = generator if generator in among else among[0]
    if one != generator:
        others = ", ".join(name(other) for other in among)
        st.markdown(f"{name(generator)} has no pairs; shown is {name(one)} (pairs: {others}).")
    scores, heads, texts = paired(page.workspace, one)
    own = scores[scores["name"] == one].iloc[0]
    page.finding(
        f"{name(one)}'s own detector gives the fake the higher log-odds in"
        f" {own['share']:.0%} of {counted(own['n'], 'pair')} (95% interval"
        f" {own['share_low']:.0%} to"
        f" {own['share_high']:.0%}); the mean difference is"
        f" {number(own['difference'], 2, signed=True)}"
        f" ({number(own['low'], 2, signed=True)} to {number(own['high'], 2, signed=True)})."
    )
    left, right = st.columns(2, gap="large")
    with left:
        draw = partial(figures.paired_intervals, scores, "log-odds of each detector")
        page.figure("paired-scores", draw, table=scores, formats=OWN_UNITS)
    for column, key, table, thing, what in (
        (right, "paired-words", texts, "text", "cosine with each text"),
        (left, "paired-heads", heads, "head", "log-odds that each head adds"),
    ):
        if isinstance(table, str):
            column.caption(inert(f"Words are not compared. {table}"))
        elif table is not None:
            with column:
                draw = partial(figures.paired_intervals, table, what)
                page.figure(key, draw, table=table, formats=OWN_UNITS)
                clear = int((table["q"] <= ALPHA).sum())
                st.caption(
                    f"{part_counted(clear, len(table), thing, 'differ')} within pairs (q ≤ .05,"
                    " Benjamini-Hochberg over all of them); the figure shows the clearest."
                )


def show_resplit(page: Page, result: Audit, generator: str) -> None:
    """How results move over five seeds of splits, on demand."""
    st.markdown(
        "The images are split again with five seeds; every detector is trained and tested on each."
    )
    workspace = page.workspace

    def compute(progress: Progress) -> Resplit:
        return resplit(workspace, tell=progress)

    about = "Trains every detector five times: seconds to minutes. Nothing is encoded."
    again = job(page, "resplit", "Split five times", compute, about=about)
    if again is None:
        return
    summary = again.summary()
    out = summary[summary["cells"] == "ood"]
    if len(out):
        row = out.iloc[0]
        page.finding(
            f"The mean out-of-domain balanced accuracy is {row['mean']:.3f} over"
            f" {counted(row['n'], 'seed')},"
            f" from {row['least']:.3f} to {row['most']:.3f} (standard deviation {row['sd']:.3f})."
        )
    page.figure("resplit", partial(figures.split_ranges, summary), table=summary)
    page.table("resplit-cells", again.cells().head(SHOWN))


def pair_names(pairs: pd.DataFrame, images: pd.DataFrame) -> list[str]:
    """Each pair of duplicates by its images' paths."""
    paths = images["path"].to_numpy()
    return [f"{paths[a]} | {paths[b]}" for a, b in pairs[["a", "b"]].to_numpy(int)]


def pair_tiles(
    pairs: pd.DataFrame, names: Sequence[str], images: pd.DataFrame, first: int = 1
) -> list[Tile]:
    """Two tiles a pair, beside each other; a click on one with a name opens the pair."""
    tiles = []
    for at, (key, pair) in enumerate(zip(names, pairs.to_dict("records"), strict=True), first):
        for row in (pair["a"], pair["b"]):
            image = images.iloc[row]
            who = image["generator"] if image["label"] == FAKE else f"real, {image['pool']}"
            lines = [
                f"Pair {at}: {who}",
                f"cosine {pair['similarity']:z.3f}",
                f"{image['split']} split",
            ]
            tiles.append(Tile(int(row), lines, "wrong" if pair["across_split"] else "", key=key))
    return tiles


def gallery_link(page: Page, row: int, text: str = "") -> None:
    """A link to where the Gallery shows an image, for images of the test split; by default it says
    the image's path.
    """
    image = page.workspace.images.iloc[row]
    if image["split"] != "test":
        return
    near = [
        name for name in page.domains.generators if image["pool"] in page.domains.pools_of(name)
    ]
    tests = [image["generator"]] if image["label"] == FAKE else near[:1]
    page.link(
        "gallery", text or f"{image['path']} in the Gallery", tests=tests, image=str(image["path"])
    )


PARTS: dict[str, Callable[[Page, Audit, str], None]] = {
    "Which facts": show_facts,
    "Same facts": show_within,
    "Matched": show_matched,
    "Quality": show_quality,
    "What they show": show_content,
    "Matrix": show_matrices,
    "Pairs": show_paired,
    "Other splits": show_resplit,
    "Duplicates": show_pairs,
}
"""Parts of the audit, one of which is shown at a time -> what draws it."""
