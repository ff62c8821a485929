"""The four certain groups of a detector's images (the page Gallery): chosen, described, laid out,
and one of them opened.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from aigi_core import figures
from aigi_core.detectors.methods.neighbours import NeighbourDetector
from aigi_core.explain.neighbours import neighbours
from aigi_core.statements import counted, part_counted
from aigi_core.transfer import gallery, verdict_shares
from aigi_core.workspace import Workspace
from ui import results
from ui.bodies.neighbours import show_evidence as show_neighbours
from ui.toolkit.images import Tile
from ui.toolkit.page import Page, inert, name
from ui.toolkit.report import Stat
from ui.toolkit.workspaces import cached

nearest = cached(neighbours)


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


def answer(images: pd.DataFrame, train: str) -> str:
    """The page's answer: how many images of each class are taken for the other, and the most
    certain mistake.
    """
    shares = {share["verdict"]: share for share in verdict_shares(images).to_dict("records")}
    missed, alarms = shares["fake as real"], shares["real as fake"]
    most_certain = images[~images["right"]].head(1).to_dict("records")
    return (
        f"Trained on {name(train)}, the detector takes"
        f" **{part_counted(missed['images'], missed['of'], 'fake')}** for real"
        f" ({_share(missed)}) and"
        f" **{part_counted(alarms['images'], alarms['of'], 'real image')}** for fakes"
        f" ({_share(alarms)})."
        + "".join(
            f" Its most certain mistake: {name(m['path'])}, {m['verdict']}." for m in most_certain
        )
    )


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
                f"{i['verdict']}, {i['score']:+.2f}",
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
        f"**Why:** its score is {score:+.2f}, that of the average real test image"
        f" {base.mean():+.2f} (n = {len(base)}). The bars show where the difference of"
        f" {evidence.logit[0]:+.2f} comes from; they add up to it."
    )
    page.figure(key, partial(figures.evidence_bars, terms), table=terms, clicks=("head",))
    strongest = terms[terms["layer"] >= 0].iloc[0]
    head = f"{strongest['layer']}.{strongest['head']}"
    results.link_heads(page, setting.sets[row], "Open the strongest head", head=head)


def show_image(page: Page, image: pd.Series, setting: results.Setting, row: int) -> None:
    """One image opened: the picture, its facts, and what each head adds to its score."""
    left, right = st.columns([1, 2], gap="large")
    with left:
        lines = [image["generator"], f"{image['verdict']}, score {image['score']:+.2f}"]
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
                [n["generator"], f"cosine {n['cosine']:.3f}", n["split"]],
                key=str(page.workspace.images["path"].iloc[n["row"]]),
            )
            for n in near.to_dict("records")
        ],
        width=120,
        name="nearest",
        lightbox=True,
    )
    page.table("nearest", near)
