"""The four certain groups of a detector's images (the page Gallery): chosen, described, laid out,
and one of them opened.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from aigi_core import figures
from aigi_core.detectors.methods.neighbours import NeighbourDetector
from aigi_core.explain.neighbours import neighbours
from aigi_core.statements import counted, part_counted, signed_score
from aigi_core.transfer import SIZES, filter_gallery, gallery, verdict_shares
from aigi_core.workspace import Workspace
from ui import results
from ui.bodies import choices
from ui.bodies.neighbours import show_evidence as show_neighbours
from ui.toolkit.controls import set_controls
from ui.toolkit.images import Tile
from ui.toolkit.kept import cached
from ui.toolkit.page import Page, inert, name
from ui.toolkit.report import Stat

nearest = cached(neighbours)
NAMED = 3
"""Generators named in the answer."""


@cached
def images_of(
    workspace: Workspace, setting: results.Setting, row: int, tests: tuple[str, ...]
) -> pd.DataFrame:
    """Every test image of these generators, with the verdict of one detector of a setting."""
    detector = results.detectors(workspace, setting)[row]
    return gallery(
        workspace, results.scores(workspace, setting)[row], tests, threshold=detector.threshold
    )


def first_image(images: pd.DataFrame) -> str:
    """The image that is open at first: the most certain mistake, which the answer names."""
    mistakes = images[~images["right"]]
    return str((mistakes if len(mistakes) else images)["path"].iloc[0])


@dataclass(frozen=True)
class Filter:
    """What the page leaves of a test set.

    Attributes:
        formats: file formats chosen; all of them, or none, leave every image.
        offered: those on offer.
        size: one of :data:`aigi_core.transfer.SIZES`.
        subject: words of caption or path.
    """

    formats: tuple[str, ...]
    offered: tuple[str, ...]
    size: str
    subject: str

    def of(self, images: pd.DataFrame) -> pd.DataFrame:
        """The images that match, in their order."""
        return filter_gallery(images, formats=self.formats, size=self.size, subject=self.subject)

    def in_words(self) -> str:
        """The controls that leave something out, for a sentence of markdown; empty where none
        does."""
        parts = []
        if self.subject.strip():
            parts.append(f"Subject {name(self.subject)}")
        if self.formats and self.formats != self.offered:
            parts.append(f"File formats {', '.join(map(name, self.formats))}")
        if self.size != next(iter(SIZES)):
            parts.append(f"Shorter side {self.size}")
        return " and ".join(parts)

    def beginning(self, matching: int, n: int) -> str:
        """Before the answer: how many images match; empty where nothing is left out."""
        if not (asked := self.in_words()):
            return ""
        found = part_counted(matching, n, "image", "match")
        return f"{found} {asked}; these alone are counted here. "


def choose_filter(page: Page, images: pd.DataFrame) -> Filter:
    """The controls ``format``, ``size`` and ``subject``."""
    offered = sorted(images["format"].unique())
    formats = page.multiselect("format", "File formats", offered, placeholder="All", empty="all")
    size = page.select("size", "Shorter side", list(SIZES))
    subject = page.text("subject", "Subject", placeholder="word of caption or path")
    return Filter(tuple(formats), tuple(offered), size, subject)


def none_matches(page: Page, asked: Filter) -> None:
    """Says that no image is left, with a button that takes the filter away."""
    page.answer(f"No image matches {asked.in_words()}.")
    st.button(
        "Show all images",
        key="all-images",
        icon=":material/filter_alt_off:",
        on_click=set_controls,
        kwargs={"subject": "", "size": next(iter(SIZES)), "format": list(asked.offered)},
    )


def legend(workspace: Workspace, setting: results.Setting, row: int, image: int) -> str:
    """What stands under each thumbnail, such as that of the image in row ``image``."""
    scale = results.detectors(workspace, setting)[row].scale
    head = (
        "; the head (layer.head) that says most for the verdict, and by how much more it raises or"
        " lowers the score than on the average real test image"
        if results.strongest_heads(workspace, setting, row, (image,))
        else ""
    )
    return (
        "Under each image: its generator, or real; what it is, what the detector calls it,"
        f" and the detector's score ({scale}, higher means fake){head}; width, height and"
        " format of the file. A solid blue line: the verdict is right; a dashed red line: it"
        " is wrong."
    )


def answer(images: pd.DataFrame, train: str, tests: Sequence[str], beginning: str = "") -> str:
    """The page's answer: how many images of each class are taken for the other, and the most
    certain mistake.

    Args:
        tests: the generators whose fakes it is tested on.
        beginning: says which images these are, where a filter has left some out.
    """
    shares = {share["verdict"]: share for share in verdict_shares(images).to_dict("records")}
    wrong = [
        f"**{part_counted(one['images'], one['of'], what)}** {call} ({_share(one)})"
        for verdict, what, call in (
            ("fake as real", "fake", "real"),
            ("real as fake", "real image", "fake"),
        )
        if (one := shares.get(verdict))
    ]
    most_certain = images[~images["right"]].head(1).to_dict("records")
    return (
        f"{beginning}Trained on {name(train)} and tested on {_some_named(tests)}, the detector"
        f" calls {' and '.join(wrong)}."
        + "".join(
            f" Its most certain mistake: {name(m['path'])}, {m['verdict']}." for m in most_certain
        )
    )


def _some_named(tests: Sequence[str]) -> str:
    """Up to three generators by name, of more their number: the control names them all."""
    if len(tests) > NAMED:
        return counted(len(tests), "generator")
    return " and ".join(filter(None, [", ".join(map(name, tests[:-1])), name(tests[-1])]))


def _share(one: Mapping[Hashable, Any]) -> str:
    """A share of one class with its interval."""
    return f"{one['share']:.3f}, 95% interval {one['low']:.3f} to {one['high']:.3f}"


def stats(images: pd.DataFrame) -> list[Stat]:
    """The share of each group within its true class."""
    return [
        Stat(
            s["verdict"].capitalize(),
            f"{s['share']:.3f}",
            f"{part_counted(s['images'], s['of'], 'image')}",
            (s["low"], s["high"]),
            "Share within the true class, at the detector's own threshold.",
        )
        for s in verdict_shares(images).to_dict("records")
    ]


def tiles(
    workspace: Workspace, images: pd.DataFrame, setting: results.Setting, row: int, opened: str = ""
) -> list[Tile]:
    """One tile an image, with its score, the head that says most for the verdict, and its file."""
    evidence = results.strongest_heads(workspace, setting, row, tuple(images["row"].tolist()))
    return [
        Tile(
            i["row"],
            [
                i["generator"],
                f"{i['verdict']}, {signed_score(i['score'])}",
                *filter(None, [evidence.get(i["row"])]),
                f"{i['width']} × {i['height']} {i['format']}",
            ],
            "right" if i["right"] else "wrong",
            key=i["path"],
            chosen=i["path"] == opened,
        )
        for i in images.to_dict("records")
    ]


def details(page: Page, setting: results.Setting, row: int) -> Callable[[Tile], None]:
    """What the lightbox says under an image: its facts, and why the detector judges it so."""

    def show(tile: Tile) -> None:
        st.caption(facts(page.workspace, tile.row))
        if "heads.npy" in page.workspace.manifest["files"] or _by_neighbours(page, setting, row):
            show_evidence(page, "evidence-large", setting, row, tile.row)

    return show


def _by_neighbours(page: Page, setting: results.Setting, row: int) -> bool:
    return isinstance(results.detectors(page.workspace, setting)[row], NeighbourDetector)


def facts(workspace: Workspace, row: int) -> str:
    """An image's file in one line of markdown."""
    image = workspace.images.iloc[row]
    caption = f" {inert(str(image['caption']))}" if image["caption"] else ""
    return (
        f"{name(str(image['path']))}: {image['width']} × {image['height']} px, {image['format']},"
        f" {counted(image['bytes'], 'byte')}, pool {name(str(image['pool']))}.{caption}"
    )


def show_evidence(page: Page, key: str, setting: results.Setting, row: int, image: int) -> None:
    """Why: each head's evidence as a difference from the average real image; of a detector of
    nearest neighbours, these."""
    detector = results.detectors(page.workspace, setting)[row]
    if isinstance(detector, NeighbourDetector):
        features = detector.view.matrix(page.workspace, np.array([image]))[0]
        show_neighbours(page, key, detector, features, image)
        return
    evidence = results.compared_evidence(page.workspace, setting, row, image)
    terms = evidence.table()
    base = results.average_real(page.workspace, setting, row).logit
    score = float(evidence.logit[0] + base.mean())
    st.markdown(
        f"**Why:** its score is {signed_score(score)}, that of the average real test image"
        f" {signed_score(base.mean())} (n = {len(base)}). The bars show where the difference of"
        f" {evidence.logit[0]:+z.2f} comes from; they add up to it."
    )
    page.figure(key, partial(figures.evidence_bars, terms), table=terms, clicks=("head",))
    strongest = terms[terms["layer"] >= 0].iloc[0]
    head = f"{strongest['layer']}.{strongest['head']}"
    choices.link_heads(page, setting.sets[row], "Open the strongest head", head=head)


def show_image(page: Page, image: pd.Series, setting: results.Setting, row: int) -> None:
    """One image opened: the picture, its facts, and what each head adds to its score."""
    left, right = st.columns([1, 2], gap="large")
    with left:
        lines = [image["generator"], f"{image['verdict']}, score {signed_score(image['score'])}"]
        page.images(
            [Tile(int(image["row"]), lines, "right" if image["right"] else "wrong")], width=300
        )
        st.caption(facts(page.workspace, int(image["row"])))
        page.source(int(image["row"]))
        page.link(
            "inspect",
            "Inspect this image",
            image=str(image["path"]),
        )
    with right:
        show_evidence(page, "evidence", setting, row, int(image["row"]))


def show_nearest(page: Page, row: int) -> None:
    """The images nearest to one, over all splits."""
    near = nearest(page.workspace, row)
    page.images(
        [
            Tile(
                n["row"],
                [n["generator"], f"cosine {n['cosine']:z.3f}", n["split"]],
                key=str(page.workspace.images["path"].iloc[n["row"]]),
            )
            for n in near.to_dict("records")
        ],
        width=120,
        name="nearest",
        lightbox=True,
    )
    page.table("nearest", near)
