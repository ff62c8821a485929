"""A generator dropped in by its images: what is brought, what every detector makes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from aigi_core.clip.preprocessing import Preprocessing
from aigi_core.errors import AigiError
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.words import Words
from aigi_core.heads import EncodedImages
from aigi_core.inspection.copies import likely_copies
from aigi_core.inspection.intake import BATCH, encode, find_files, open_images
from aigi_core.inspection.new_generator import (
    NewGenerator,
    describe_generator,
    residual_words,
)
from aigi_core.manifest import REAL
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.statements import counted, part_counted
from aigi_core.transfer import make_training_sets
from aigi_core.workspace import Workspace
from ui import results
from ui.bodies import adding
from ui.results.inspection import Sources, load_encoder
from ui.toolkit import access
from ui.toolkit.controls import acted, listed
from ui.toolkit.page import Page, inert, name
from ui.toolkit.report import Stat
from ui.toolkit.uploads import upload_field

MOST = 1000
"""Images that are looked at in a session; the command line takes any number."""
UNNAMED = "new generator"
"""What the page calls a generator without a name."""
LISTED = 10
"""Most files that cannot be used that are named."""
_NAME = "new_name"
_KEPT = "_new_generator"
_RETURNED = "_new_generator_returned"
"""Whether somebody came back to the page, whose fields are then empty, and brought nothing new."""


@dataclass(frozen=True, eq=False)
class Brought:
    """Images of a new generator, encoded.

    Attributes:
        key: names them in caches. folder: where they lie on this machine; empty for uploads.
        left_out: files that cannot be used, and why.
    """

    key: tuple[Hashable, ...]
    images: EncodedImages
    count: int
    folder: str
    left_out: list[tuple[str, str]]

    @property
    def sources(self) -> tuple[Hashable, ...]:
        """Names the files that were brought."""
        _, sources = self.key
        assert isinstance(sources, tuple)
        return sources


def pools(page: Page) -> list[str]:
    """Pools of real images, the largest first: it shows most things, as most generators' do."""
    counts = Counter(page.domains.pool[page.domains.labels == REAL].tolist())
    return [pool for pool, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def called() -> str:
    """The name that was typed beside the images; empty without one."""
    return str(st.session_state.get(_NAME) or "").strip()


def bring(page: Page) -> Brought | None:
    """Uploads or a folder, decoded and encoded once a session, or what is kept of those of before;
    None as long as there is nothing.
    """
    if "new_uploads" not in st.session_state:
        st.session_state[_RETURNED] = True
    left, right = st.columns(2, gap="large")
    with left:
        uploads = upload_field(
            "Images of one new generator",
            "new_uploads",
            unless=" unless you name a folder to add them from",
        )
    folder = ""
    with right:
        if access.on_this_machine() or access.roots():
            # Never part of a link: a link must not make this machine read its files.
            asked = st.text_input(
                "Or a folder on this machine",
                key="_new_generator_path",
                on_change=acted,
                placeholder="/path/to/images",
            )
            folder = str(asked or "").strip()
        st.text_input("What the generator is called", key=_NAME, placeholder=UNNAMED)
    sources: Sources = {("upload", one.file_id): (one.name, one.getvalue) for one in uploads}
    if folder and not uploads:
        named = access.typed_path(folder)
        if not access.may_see(named):
            raise AigiError(
                "Only folders below those that this server's operator declared can be named:"
                f" {', '.join(map(str, access.roots()))}."
            )
        files = find_files([named], MOST + 1)
        sources = {
            ("file", str(file)): (str(file), partial(Path, file))
            for file in files
            if access.may_see(file)
        }
    if not sources:
        return _kept(page)
    st.session_state[_RETURNED] = False
    if len(sources) > MOST:
        page.notice(f"There are more than {MOST} files: {MOST} of them are used.", "warning")
        sources = dict(list(sources.items())[:MOST])
    key = (page.workspace.digest, tuple(sources))
    if adding.was_added(key[1]):
        st.session_state.pop(_KEPT, None)
        return None
    kept = st.session_state.get(_KEPT)
    if kept is None or kept.key != key:
        kept = _encoded(page.workspace, key, sources, "" if uploads else folder)
        st.session_state[_KEPT] = kept
    _say(page, kept)
    return kept


def came_back() -> bool:
    """Whether somebody has left the page since, and sees what is kept of before."""
    return bool(st.session_state.get(_RETURNED))


def _kept(page: Page) -> Brought | None:
    """What was brought before the page was left, of the same workspace; else it is forgotten."""
    kept: Brought | None = st.session_state.get(_KEPT)
    if kept is None or not st.session_state[_RETURNED] or kept.key[0] != page.workspace.digest:
        st.session_state.pop(_KEPT, None)
        return None
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"{counted(kept.count, 'image')} that you uploaded or named earlier in this session"
            + (f", from {name(kept.folder)}." if kept.folder else ".")
        )
        st.button("Forget them", on_click=st.session_state.pop, args=(_KEPT, None))
    _say(page, kept)
    return kept


def _say(page: Page, kept: Brought) -> None:
    page.unlinked("Your images")
    if kept.left_out:
        first = kept.left_out[:LISTED]
        listed = "\n".join(f"- {name(file)}: {inert(why)}" for file, why in first)
        if len(kept.left_out) > LISTED:
            listed += f"\n- and {len(kept.left_out) - LISTED:,} more"
        st.warning(
            f"{part_counted(len(kept.left_out), kept.count + len(kept.left_out), 'file')} cannot be"
            f" used:\n{listed}",
            icon=":material/block:",
        )


def _encoded(
    workspace: Workspace,
    key: tuple[Hashable, ...],
    sources: Sources,
    folder: str,
) -> Brought:
    preprocessing = Preprocessing.from_description(workspace.encoder["preprocessing"])
    bar = st.progress(0.0, "Loading the encoder, once for all sessions …")
    encoder = load_encoder(workspace)
    parts: list[EncodedImages] = []
    seen: set[str] = set()
    known, names = set(workspace.images["content_hash"]), []
    left_out: list[tuple[str, str]] = []
    files = list(sources.values())
    for start in range(0, len(files), BATCH):
        bar.progress(start / len(files), f"Encoding: {start} of {len(files)}")
        pixels = []
        part = [(label, read()) for label, read in files[start : start + BATCH]]
        for opened in open_images(part, preprocessing):
            label = opened.name
            if opened.pixels is None:
                left_out.append((label, opened.reason))
            elif opened.key in known:
                why = "it is in the workspace: detectors may have been trained on it"
                left_out.append((label, why))
            elif opened.key in seen:
                left_out.append((label, "the same bytes as another of the files"))
            else:
                seen.add(opened.key)
                names.append(label)
                pixels.append(opened.pixels)
        if pixels:
            parts.append(encode(encoder, pixels, workspace))
    bar.empty()
    images = EncodedImages.joined(parts) if parts else None
    copies = likely_copies(workspace, images.embeddings) if images else []
    for label, copy in zip(names, copies, strict=True):
        if copy:
            path = workspace.images["path"].iloc[copy.row]
            why = f"likely a copy of {path} of the workspace: detectors may have been trained on it"
            left_out.append((label, why))
    new = [at for at, copy in enumerate(copies) if copy is None]
    if images is None or not new:
        label, why = left_out[0]
        raise AigiError(
            f"None of {counted(len(files), 'file')} can be used, such as {label!r} ({why}): bring"
            " images of a generator that the workspace does not hold."
        )
    return Brought(key, images.taken(new), len(new), folder, left_out)


def described(page: Page, brought: Brought, called: str, pool: str) -> NewGenerator:
    """All that is measured of the new generator."""
    workspace = page.workspace
    sets = make_training_sets(workspace.domains, "each generator")
    detectors = results.detectors(workspace, results.Setting(tuple(sets.values())))
    return describe_generator(workspace, brought.images, detectors, name=called, pool=pool)


def words(page: Page, brought: Brought, pool: str) -> Words:
    """Its residual in words of the bank of phrases."""
    return residual_words(page.workspace, brought.images, pool, Lexicon.of(page.workspace))


def answer(described: NewGenerator) -> str:
    """How the detectors do, and how far the images lie, in words."""
    best = described.matrix.best_detector(DEFAULT_METRIC)
    worst = described.matrix.worst_detector(DEFAULT_METRIC)
    assert best and worst  # no detector was trained on the new generator
    return (
        f"Of {counted(best.of, 'detector')} **{name(best.name)}"
        f" {'does best' if best.clear else 'has the highest balanced accuracy'} on"
        f" {name(described.name)}**: {best.numbers()}. {best.rivals_in_words('detector')}"
        f" Lowest is {name(worst.name)}: {worst.numbers()}. {described.far['share']:.0%} of its"
        f" {counted(len(described), 'image')} lie far from everything known: farther from the"
        " nearest image of the workspace than 95% of held-out images do."
    )


AT_ONCE = "Intervals of these shares hold for all known generators at once (Bonferroni)."


def stats(described: NewGenerator) -> list[Stat]:
    """The numbers above the fold."""
    best, n = described.matrix.best_detector(DEFAULT_METRIC), int(column(described)["n"].iloc[0])
    assert best  # no detector was trained on the new generator
    known = described.nearest
    top, among = known.iloc[0], counted(len(known), "generator")
    first = known.loc[known["images"] == top["images"], "generator"].tolist()
    return [
        Stat(
            f"Highest of {counted(best.of, 'detector')}",
            f"{best.value:.3f}",
            f"{counted(n, 'image')}",
            (best.low, best.high),
            "Balanced accuracy on the new images and the pool's real test images. The highest of"
            " many values is too high by chance; its interval is corrected for the choice.",
        ),
        Stat(
            "Images far from all known",
            f"{described.far['share']:.0%}",
            counted(len(described), "image"),
            (float(described.far["low"]), float(described.far["high"])),
            "Farther from their nearest image than 95% of the held-out images are; 5% by chance.",
            ".0%",
        ),
        Stat(
            f"Nearest: {listed(first, 2)}",
            f"{top['share']:.0%}",
            f"{part_counted(top['images'], len(described), 'image')}"
            + (" each" if len(first) > 1 else ""),
            (top["low"], top["high"]),
            "Share of the new images whose nearest known fake is by this generator"
            f" ({top['expected']:.0%} of all known fakes are), the largest of {among}."
            + (f" {counted(len(first), 'generator')} have it." if len(first) > 1 else "")
            + f" {AT_ONCE}",
            ".0%",
        ),
    ]


def column(described: NewGenerator) -> pd.DataFrame:
    """Its column of the matrix, best first: ``train, value, low, high, n``."""
    table = described.matrix.to_frame([DEFAULT_METRIC])
    n = int(described.matrix.n_fake[0] + described.matrix.n_real[0])
    table = table.assign(n=n).sort_values("value", ascending=False, ignore_index=True)
    return table[["train", "value", "low", "high", "n"]]
