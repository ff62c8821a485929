"""Images brought to the app, in this session's memory only, and the panel of detectors that judges
them.

What is computed of a workspace is cached for all sessions; what is computed of an upload stays in
the session's own state and goes when the upload is taken away. Nothing brought is written to disk.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

from aigi_core.attribution.report import INSPECTED, load_attribution
from aigi_core.clip.consent import ConsentNeeded
from aigi_core.clip.preprocessing import Preprocessing
from aigi_core.clip.workspace_encoder import VARIABLE
from aigi_core.detectors.detector import Detector
from aigi_core.errors import AigiError, NotGivenError
from aigi_core.explain.evidence import Evidence, evidence
from aigi_core.heads import Encoded, EncodedImages, Head
from aigi_core.inspection.copies import ALPHA as ALPHA_OF_COPIES
from aigi_core.inspection.copies import Copy, likely_copies
from aigi_core.inspection.intake import (
    BATCH,
    NO_VERDICT,
    Opened,
    encode,
    find_files,
    is_blank,
    open_images,
)
from aigi_core.inspection.known import (
    Sides,
    calls_on_test,
    rates_by_pool,
    reliability_on_test,
    sides_on_test,
)
from aigi_core.inspection.novelty import Novelty, novelty, row_of
from aigi_core.inspection.panel import Panel, build_panel
from aigi_core.inspection.parts import Parts, Removal
from aigi_core.inspection.stored import load_held_out, load_panel, load_trust
from aigi_core.inspection.survival import Copies, perturbed_copies
from aigi_core.inspection.unseen import HeldOut, LeftOut, Trust, choose_rule
from aigi_core.manifest import FAKE, REAL, TOGETHER
from aigi_core.remote import as_path
from aigi_core.significance import holm
from aigi_core.statements import ALPHA, DEFAULT_RATE, counted, part_counted
from aigi_core.workspace import Workspace
from ui import results
from ui.results import attention, encoders, explanations
from ui.toolkit import access
from ui.toolkit.apart import apart
from ui.toolkit.controls import OFFERED, acted, distinct, offered
from ui.toolkit.images import image_files, image_roots
from ui.toolkit.kept import cached
from ui.toolkit.page import Page, inert, name, show_error
from ui.toolkit.uploads import upload_field
from ui.toolkit.waiting import saying

MOST = 100
"""Files looked at together."""
_BROUGHT, _FAILED, _TOKENS, _COPIES, _LIKELY = (
    "_inspected",
    "_inspect_failed",
    "_inspected_tokens",
    "_inspected_copies",
    "_inspected_likely_copies",
)


Sources = dict[Hashable, tuple[str, Callable[[], bytes | Path]]]
"""What was brought: its key -> (its name on the page, its bytes or file)."""


@dataclass(frozen=True, eq=False)
class Subject:
    """The image that the page is about.

    Attributes:
        key: SHA-256 of its bytes.
        row: its row in the workspace, or None where it is new.
        images, rows: where its features are.
        source: its bytes or file; None where only features are at hand.
        pixels, picture: what the encoder sees, and a small copy of the whole; None without a
            source.
        among: all files brought that could be read, this one among them; empty for an image of the
            workspace.
    """

    name: str
    about: str
    key: str
    row: int | None
    images: Encoded
    rows: np.ndarray
    source: Callable[[], bytes | Path] | None
    pixels: np.ndarray | None
    picture: Image.Image | None
    among: tuple[tuple[Opened, EncodedImages], ...] = ()

    @property
    def embedding(self) -> np.ndarray:
        return np.asarray(self.images.embeddings[self.rows[0]])

    def parts(self) -> Parts:
        """Heads without patches, from features alone."""
        at = int(self.rows[0])
        images = self.images
        return Parts.of_encoded(
            images.embeddings[at], images.heads[:, :, at], images.ln_post[at], images.decomposition
        )


# Of the workspace, for all sessions


@cached
def panel(workspace: Workspace) -> Panel:
    """One calibrated detector a generator, and all of them together, joined by the rule that does
    best on generators left out; read where a job has kept it."""
    if results.large(workspace) and (
        kept := load_panel(workspace, _members(workspace), _scores(workspace))
    ):
        return kept
    by_mean = _panel_by_mean(workspace)
    rule = choose_rule(workspace, by_mean, lambda known, _: unseen(known, DEFAULT_RATE))
    return by_mean.joined_by(rule)


def _each(workspace: Workspace) -> results.Setting:
    generators = workspace.domains.generators
    if not generators:
        raise NotGivenError(
            "This workspace holds no fake images: add images of at least one generator and build it"
            " again."
        )
    return results.Setting(tuple((name,) for name in generators))


def _members(workspace: Workspace) -> tuple[Detector, ...]:
    """One detector a generator, which has not seen validation images."""
    return results.twins(workspace, _each(workspace))


def _scores(workspace: Workspace) -> np.ndarray | None:
    """Their scores of all images; of many a job keeps them, and other pages ask for them, too."""
    return results.held_out(workspace, _each(workspace)) if results.large(workspace) else None


@cached
def _panel_by_mean(workspace: Workspace) -> Panel:
    members, scores = _members(workspace), _scores(workspace)
    if scores is not None:  # of many images, too much to be handed over
        return build_panel(workspace, members, scores=scores)
    return apart(build_panel, workspace, members)


@cached
def _held_out(workspace: Workspace) -> HeldOut:
    """What the detectors say of held-out images, and what these lie near to; read where a job has
    kept it."""
    detectors = _members(workspace)
    kept = load_held_out(workspace, detectors) if results.large(workspace) else None
    return kept or apart(HeldOut.of, workspace, detectors)


def distances(workspace: Workspace) -> np.ndarray:
    """Of held-out images to the nearest image outside their own group, ascending."""
    return _held_out(workspace).nearest.distances


def far(workspace: Workspace, subject: Subject) -> Novelty:
    """How unlike anything in the workspace the image is; of the workspace's own it is kept."""
    if subject.row is None:
        return novelty(workspace, subject.embedding, distances(workspace))
    return _far_of_row(workspace, subject.row)


@cached
def _far_of_row(workspace: Workspace, row: int) -> Novelty:
    # looks at every embedding: a second for a million
    return novelty(workspace, workspace.embeddings[row], distances(workspace), row)


@cached
def calls(workspace: Workspace, rate: float) -> pd.DataFrame:
    """How often every judge abstains on test images, and how often its calls are right."""
    return calls_on_test(workspace, panel(workspace), rate)


@cached
def pool_rates(workspace: Workspace, judge: str, rate: float) -> pd.DataFrame:
    """False alarms and misses of one judge's limits on test images, by pool."""
    judges = panel(workspace)
    return rates_by_pool(workspace, judges, judges.index(judge), rate)


@cached
def sides(workspace: Workspace, judge: str) -> Sides:
    """Real or generated: one judge beside the classifier that names sources, on test images.

    Raises:
        WorkspaceError: sources have not been learned.
    """
    judges, named = panel(workspace), load_attribution(workspace).named[INSPECTED]
    return sides_on_test(workspace, judges, judges.index(judge), named)


@cached
def average_real(workspace: Workspace, judge: str) -> Evidence:
    """One judge's logits on all real test images, head by head: what an image is compared with."""
    judges, domains = panel(workspace), workspace.domains
    rows = np.flatnonzero((domains.labels == REAL) & (domains.split == "test"))
    return evidence(workspace, judges.reading(judges.index(judge)), rows)


@cached
def reliability(workspace: Workspace, judge: str) -> Any:
    """Reliability diagram and calibration error of one judge on test images."""
    judges = panel(workspace)
    return reliability_on_test(workspace, judges, judges.index(judge))


@cached
def unseen(workspace: Workspace, rate: float) -> Trust:
    """What the panel is worth on generators it does not know, each left out in turn; read where a
    job has kept it."""
    if results.large(workspace) and (kept := load_trust(workspace, _members(workspace), rate)):
        return kept
    return _left_out(workspace).trust(workspace, rate)


@cached
def _left_out(workspace: Workspace) -> LeftOut:
    """What :func:`unseen` is at every rate."""
    return apart(LeftOut.of, workspace, _members(workspace), _held_out(workspace))


def head_words(
    workspace: Workspace, judge: str, heads: Sequence[Head], count: int = 3
) -> pd.DataFrame:
    """What some heads say on the training images of a judge: ``head, nearest texts, p_value`` (of
    the nearest, one head), ``corrected`` (Holm over these heads) and whether that is below .05.
    """
    on = workspace.domains.generators if judge == TOGETHER else (judge,)
    texts = explanations.Texts(workspace.default_bank)
    rows = []
    for head in heads:
        listed = attention.words_of_head(workspace, head, on, "difference", texts)
        nearest = "; ".join(str(text) for text in listed.nearest["text"].head(count))
        rows.append(
            {
                "head": f"{head[0]}.{head[1]}",
                "nearest texts": nearest,
                "p_value": listed.p_value,
            }
        )
    corrected = holm(np.array([row["p_value"] for row in rows]))
    beyond = np.where(corrected < ALPHA, "yes", "no")
    return pd.DataFrame(rows).assign(**{"corrected": corrected, "beyond chance": beyond})


# Of what a user brings, for this session


def choose(page: Page) -> tuple[Subject, Any]:
    """Uploads, files on this machine, or an image of the workspace; draws the controls and says
    what was left out. With it the container for all that is said of the image, which is empty
    while a new image is encoded.
    """
    top = st.container()
    with top:
        sources, image = _choose_sources(page)
    # An element where the container stood takes away what it held: nothing of the image before
    # stays beside the new one.
    waits = any(key not in _known(page.workspace) for key in sources)
    below = st.empty() if waits else st.container()
    if waits:
        page.unanswered()
    with top:
        subject = _open(page, sources, image)
    return subject, below.container() if waits else below


def _choose_sources(page: Page) -> tuple[Sources, str]:
    """The controls: what was brought, and the image of the workspace for where nothing was."""
    left, right = st.columns(2, gap="large")
    with left:
        uploads = upload_field("Your images", "uploads")
    with right, page.controls("Image"):
        path = _path_field() if access.on_this_machine() or access.roots() else ""
        image = choose_image(page)
    sources: Sources = {("upload", one.file_id): (one.name, one.getvalue) for one in uploads}
    try:
        named = access.typed_path(path) if path else None
        if named is not None and not access.may_see(named):
            raise AigiError(
                "Only files below the folders that this server's operator declared can be named:"
                f" {', '.join(map(str, access.roots()))}."
            )
        for file in find_files([named], MOST + 1) if named is not None else ():
            if access.may_see(file):
                sources[_stamp(file)] = (str(file), partial(Path, file))
    except AigiError as error:
        st.error(inert(str(error)), icon=":material/error:")
    if len(sources) > MOST:
        page.notice(
            f"There are more than {MOST} files: {MOST} of them are used; the command line"
            " takes any number.",
            "warning",
        )
        sources = dict(list(sources.items())[:MOST])
    names = distinct(label for label, _ in sources.values())
    return {
        key: (label, read) for (key, (_, read)), label in zip(sources.items(), names, strict=True)
    }, image


def _open(page: Page, sources: Sources, image: str) -> Subject:
    """Decode and encode what was brought, say what was left out, and open one of the files."""
    before = set(_known(page.workspace))
    try:
        brought = bring(page.workspace, sources)
    except AigiError as error:
        show_error(error)
        brought = {}
    good = {
        key: (one, features) for key, (one, features) in brought.items() if features is not None
    }
    if bad := [one for one, _ in brought.values() if one.reason]:
        listed = "\n".join(f"- {name(one.name)}: {inert(one.reason)}" for one in bad)
        st.warning(
            f"{part_counted(len(bad), len(brought), 'file')} cannot be used:\n{listed}",
            icon=":material/block:",
        )
    if not good:
        return _of_workspace(page.workspace, image)
    page.unlinked("Your images")
    by_name = {one.name: key for key, (one, _) in good.items()}
    if new := [one.name for key, (one, _) in good.items() if key not in before]:
        st.session_state["opened"] = new[0]
    elif st.session_state.get("opened") not in by_name:
        st.session_state["opened"] = next(iter(by_name))
    opened = by_name[_one_of(list(by_name))]
    file, features = good[opened]
    row = row_of(page.workspace, file.key)
    assert features is not None
    return Subject(
        file.name,
        file.about,
        file.key,
        row,
        features,
        np.array([0]),
        sources[opened][1],
        file.pixels,
        file.picture,
        tuple(good.values()),
    )


def _one_of(names: Sequence[str]) -> str:
    """Which of the files is open; says where the others are."""
    if len(names) == 1:
        return names[0]
    chosen = st.selectbox("Opened file", names, key="opened", on_change=acted)
    st.caption(
        f"{counted(len(names), 'file')} can be judged; of new ones, the first opens. Choose another"
        " here, or compare all in the part *All files* below."
    )
    return str(chosen)


def bring(
    workspace: Workspace, sources: Sources
) -> dict[Hashable, tuple[Opened, EncodedImages | None]]:
    """Decode and encode what is new among the files given; forget what is no longer given."""
    state, known = _state(workspace), _known(workspace)
    known = {key: known[key] for key in sources if key in known}
    st.session_state[_BROUGHT] = (state, known)
    missing = [key for key in sources if key not in known]
    if not missing:
        return known
    failed = st.session_state.get(_FAILED)
    if failed and failed[0] == (state, missing):
        raise AigiError(
            failed[1]
        )  # until other files are given: to look for weights can take a while
    preprocessing = Preprocessing.from_description(workspace.encoder["preprocessing"])
    bar = st.progress(0.0, "Reading …")
    for start in range(0, len(missing), BATCH):
        part = missing[start : start + BATCH]
        opened = open_images([(sources[key][0], sources[key][1]()) for key in part], preprocessing)
        pixels = [one.pixels for one in opened if one.pixels is not None]
        features: Iterator[EncodedImages] = iter(())
        if pixels:
            bar.progress(start / len(missing), "Loading the encoder, once for all sessions …")
            try:
                encoder = load_encoder(workspace)
            except ConsentNeeded:
                bar.empty()
                raise
            except AigiError as error:
                st.session_state[_FAILED] = ((state, missing), str(error))
                bar.empty()
                raise
            bar.progress(start / len(missing), f"Encoding: {start} of {len(missing)}")
            encoded = encode(encoder, pixels, workspace)
            features = iter([encoded.taken([at]) for at in range(len(pixels))])
        for key, one in zip(part, opened, strict=True):
            known[key] = (one, next(features) if one.pixels is not None else None)
    bar.empty()
    return {key: known[key] for key in sources}


def _state(workspace: Workspace) -> tuple[str, Path]:
    return str(workspace.encoder), workspace.path


def _known(workspace: Workspace) -> dict[Hashable, tuple[Opened, EncodedImages | None]]:
    """What was brought and is decoded and encoded already, for this workspace."""
    kept = st.session_state.get(_BROUGHT)
    return kept[1] if kept and kept[0] == _state(workspace) else {}


def load_encoder(workspace: Workspace) -> Any:
    """The workspace's encoder; AigiError, in one sentence that says how to get it, where it cannot
    be had.
    """
    try:
        return encoders.load(workspace)
    except ConsentNeeded:
        raise
    except AigiError as error:
        raise AigiError(
            f"New images need this workspace's encoder, which cannot be loaded here: {error}"
            f" ({VARIABLE} can name a file or folder with the weights. The workspace's own"
            " images need no encoder.)"
        ) from error


def parts(workspace: Workspace, subject: Subject, with_patches: bool) -> Parts:
    """The image's embedding taken apart; heads without patches, and a sentence, where the encoder
    cannot be loaded.
    """
    if with_patches:
        try:
            return token_parts(workspace, subject)
        except AigiError as error:
            show_error(error)
    return subject.parts()


def token_parts(workspace: Workspace, subject: Subject) -> Parts:
    """Heads by patches, from a full forward pass; kept for the image opened last."""
    key = (workspace.encoder["weights_sha256"], subject.key)
    kept = st.session_state.get(_TOKENS)
    if not kept or kept[0] != key:
        assert subject.pixels is not None
        with saying("Running the encoder over the image"):
            encoder = load_encoder(workspace)
            kept = (key, Parts.of_pixels(encoder, subject.pixels, workspace.decomposition))
        st.session_state[_TOKENS] = kept
    parts: Parts = kept[1]
    return parts


def copies(workspace: Workspace, subject: Subject) -> Copies:
    """Perturbed copies of the image, encoded; kept for the image opened last."""
    key = (workspace.encoder["weights_sha256"], subject.key)
    kept = st.session_state.get(_COPIES)
    if not kept or kept[0] != key:
        bar = st.progress(0.0, "Loading the encoder, once for all sessions …")
        encoder = load_encoder(workspace)
        assert subject.source is not None

        def show(done: int, of: int) -> None:
            bar.progress(done / of, f"Changing and encoding: {part_counted(done, of, 'copy')}")

        made = perturbed_copies(workspace, encoder, subject.source(), subject.key, progress=show)
        kept = (key, made)
        st.session_state[_COPIES] = kept
        bar.empty()
    perturbed: Copies = kept[1]
    return perturbed


def parse_components(line: str, d: int) -> tuple[int, ...]:
    """Components of ``"3, 10-20"``; AigiError for anything else."""
    numbers: list[int] = []
    for part in filter(None, (part.strip() for part in line.replace(";", ",").split(","))):
        first, _, last = part.partition("-")
        try:
            low, high = int(first), int(last or first)
        except ValueError as error:
            raise AigiError(
                f"{part!r} is no component: write numbers and ranges, such as 3, 10-20."
            ) from error
        if not 0 <= low <= high < d:
            raise AigiError(f"There is no component {part}: they are 0 to {d - 1}.")
        numbers += range(low, high + 1)
    return tuple(dict.fromkeys(numbers))


def in_words(removal: Removal) -> str:
    """What is taken away: heads by name, patches and components by number."""
    heads = [f"head {layer}.{index}" for layer, index in removal.heads]
    counts = {"patch": len(removal.patches), "component": len(removal.components)}
    others = [counted(n, what) for what, n in counts.items() if n]
    return ", ".join([*heads, *others])


def region(patch: str, side: int, grid: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """The square of patches of this side around a patch ``"row.column"``, cut at the image's
    edge.
    """
    row, column = attention.parse_head(patch)
    start, top = column - (side - 1) // 2, row - (side - 1) // 2
    rows = range(max(0, top), min(grid[0], top + side))
    columns = range(max(0, start), min(grid[1], start + side))
    return tuple((r, c) for r in rows for c in columns)


def _path_field() -> str:
    """Never part of a link: a link must not make this machine read its files."""
    return str(
        st.text_input(
            "A file or folder on this machine",
            key="_inspect_path",
            on_change=acted,
            placeholder="/path/to/images",
        )
        or ""
    ).strip()


def _stamp(file: Path) -> Hashable:
    try:
        status = file.stat()
        return ("file", str(file), status.st_mtime_ns, status.st_size)
    except OSError:
        return ("file", str(file))


@cached
def _in_order(workspace: Workspace) -> pd.Series:
    """Paths of test images, by source, then the others."""
    domains, paths = workspace.domains, workspace.images["path"]
    number, names = domains.numbered("generator")
    by_name = np.argsort(np.argsort(names))[number]
    order = np.lexsort((by_name, domains.labels != FAKE, domains.split != "test"))
    return paths.iloc[order]


def choose_image(page: Page) -> str:
    """The control ``image`` among the workspace's images; where these are many, with a search."""
    paths = _in_order(page.workspace)
    if len(paths) > OFFERED:
        words = page.text("find", "Search the images", placeholder="part of a path")
        matching = paths[paths.str.contains(words, case=False, regex=False)] if words else paths
        if matching.empty:
            page.notice(f"No path contains {inert(words)!r}, so all images are listed.")
        paths = paths if matching.empty else matching
    return page.select(
        "image", "Or an image of the workspace", offered(paths, page.workspace.images["path"])
    )


def origin(workspace: Workspace, row: int) -> str:
    """What an image of the workspace truly is."""
    domains = workspace.domains
    return f"a fake by {domains.generator[row]}" if domains.labels[row] == FAKE else "a real image"


def _of_workspace(workspace: Workspace, path: str) -> Subject:
    row = int(np.flatnonzero((workspace.images["path"] == path).to_numpy())[0])
    image = workspace.images.iloc[row]
    about = (
        f"{origin(workspace, row)}, pool {image['pool']}, {image['split']} split; {image['width']}"
        f" × {image['height']} px, {image['format']}"
    )
    opened, reads, why = None, None, ""
    for source in image_files({"path": path}, image_roots(workspace)):
        preprocessing = Preprocessing.from_description(workspace.encoder["preprocessing"])
        first = open_images([(path, as_path(source.value))], preprocessing)[0]
        if first.key == str(image["content_hash"]):
            opened, why = first, ""
            reads = partial(as_path, source.value)
            break
        why = f"; not shown: {first.reason or 'the file has changed since ingest'}"
    about += why
    return Subject(
        path,
        about,
        str(image["content_hash"]),
        row,
        workspace,
        np.array([row]),
        reads,
        opened.pixels if opened else None,
        opened.picture if opened else None,
    )


def copies_of(workspace: Workspace, embeddings: Mapping[str, np.ndarray]) -> dict[str, Copy | None]:
    """For new files, by their SHA-256, the image of the workspace that each by itself is likely to
    show again; looked for once a session, by one pass over the workspace.
    """
    kept: dict[tuple[str, str], Copy | None] = st.session_state.setdefault(_LIKELY, {})
    if new := [key for key in embeddings if (workspace.digest, key) not in kept]:
        found = likely_copies(
            workspace, np.stack([embeddings[key] for key in new]), ALPHA_OF_COPIES * len(new)
        )
        kept |= {(workspace.digest, key): copy for key, copy in zip(new, found, strict=True)}
    return {key: kept[workspace.digest, key] for key in embeddings}


def all_files(workspace: Workspace, subject: Subject, rate: float, prior: float) -> pd.DataFrame:
    """Every file brought: what all detectors together say, and how far each lies from anything
    known.
    """
    judges, known = panel(workspace), distances(workspace)
    rows = []
    own = {one.key: row_of(workspace, one.key) for one, _ in subject.among}
    copies = copies_of(
        workspace, {one.key: f.embeddings[0] for one, f in subject.among if own[one.key] is None}
    )
    for one, features in subject.among:
        verdict = judges.verdicts(judges.logits(features)[:, 0], rate, prior).iloc[0].copy()
        if is_blank(one.pixels):
            verdict["verdict"] = NO_VERDICT
        row = own[one.key]
        far = novelty(workspace, features.embeddings[0], known, row)
        if likely := copies.get(one.key):
            row = likely.row
        rows.append(
            {
                "file": one.name,
                **verdict[["probability", "low", "high", "verdict"]],
                "farther_than": far.farther_than,
                "in_workspace": "" if row is None else str(workspace.domains.split[row]),
                "about": one.about,
            }
        )
    return pd.DataFrame(rows)
