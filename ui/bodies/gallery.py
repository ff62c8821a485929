"""The four certain groups of a detector's images (the page Gallery): found, said, laid out, and one
of them opened.
"""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from aigi_core import figures
from aigi_core.explain.neighbours import neighbours
from aigi_core.transfer import gallery, verdict_shares
from aigi_core.workspace import Workspace
from ui import results
from ui.toolkit.images import Tile
from ui.toolkit.page import Page, name
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


def answer(images: pd.DataFrame, train: str) -> str:
    """The page's answer: how many images of each class are taken for the other, and the surest
    mistake.
    """
    shares = {share["verdict"]: share for share in verdict_shares(images).to_dict("records")}
    missed, alarms = shares["fake as real"], shares["real as fake"]
    surest = images[~images["right"]].head(1).to_dict("records")
    return (
        f"Trained on {name(train)}, the detector takes **{missed['images']} of {missed['of']}"
        f" fakes** for real and **{alarms['images']} of {alarms['of']} real images** for fakes."
        + "".join(f" Its surest mistake: {name(m['path'])}, {m['verdict']}." for m in surest)
    )


def stats(images: pd.DataFrame) -> list[Stat]:
    """The share of each group within its true class."""
    return [
        Stat(
            s["verdict"].capitalize(),
            f"{s['share']:.3f}",
            f"{s['images']} of {s['of']} images",
            (s["low"], s["high"]),
            "Share within the true class, at the detector's own threshold.",
        )
        for s in verdict_shares(images).to_dict("records")
    ]


def tiles(
    workspace: Workspace, images: pd.DataFrame, setting: results.Setting, row: int
) -> list[Tile]:
    """One tile an image, with its score, its strongest head and its file; a click opens it."""
    evidence = results.strongest_heads(workspace, setting, row, tuple(images["row"].tolist()))
    return [
        Tile(
            i["row"],
            [
                i["generator"],
                f"score {i['score']:+.2f}",
                *filter(None, [evidence.get(i["row"])]),
                f"{i['width']} × {i['height']} {i['format']}",
            ],
            "right" if i["right"] else "wrong",
            key=i["path"],
        )
        for i in images.to_dict("records")
    ]


def show_image(
    page: Page, image: pd.Series, setting: results.Setting, row: int, train: str
) -> None:
    """One image opened: the picture, its facts, and what each head adds to its score."""
    left, right = st.columns([1, 2], gap="large")
    with left:
        lines = [image["generator"], f"{image['verdict']}, score {image['score']:+.2f}"]
        page.images(
            [Tile(int(image["row"]), lines, "right" if image["right"] else "wrong")], width=300
        )
        st.caption(
            f"{image['width']} × {image['height']} px, {image['format']}, {image['bytes']:,} bytes;"
            f" pool {name(image['pool'])}."
        )
        page.source(int(image["row"]))
        page.link(
            "inspect",
            "Inspect it: all detectors, where in the image, would it survive?",
            image=str(image["path"]),
        )
    with right:
        terms = results.explained(page.workspace, setting, row, int(image["row"])).table()
        st.markdown(
            "**Why:** what each attention head adds to the score. The bars add up to it. A click"
            " opens a head."
        )
        page.figure(
            "evidence", partial(figures.evidence_bars, terms), table=terms, clicks=("head",)
        )
        strongest = terms[terms["layer"] >= 0].iloc[0]
        page.link(
            "heads",
            "Open the strongest head",
            head=f"{strongest['layer']}.{strongest['head']}",
            train=train,
        )


def show_nearest(page: Page, row: int) -> None:
    """The images nearest to one, over all splits."""
    near = nearest(page.workspace, row)
    page.images(
        [
            Tile(n["row"], [n["generator"], f"cosine {n['cosine']:.3f}", n["split"]])
            for n in near.to_dict("records")
        ],
        width=120,
    )
    page.table("nearest", near)
