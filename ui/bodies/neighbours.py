"""The evidence of a detector of nearest neighbours: the images that it decides on."""

from __future__ import annotations

import numpy as np
import streamlit as st

from aigi_core.detectors.methods.base import protocol_of
from aigi_core.detectors.methods.neighbours import NeighbourDetector
from aigi_core.detectors.protocol import splits_needed
from aigi_core.explain.neighbours import deciding_neighbours
from aigi_core.statements import counted, signed_score
from ui.toolkit.images import Tile
from ui.toolkit.page import Page

WIDTH = 96


def show_evidence(
    page: Page, key: str, detector: NeighbourDetector, features: np.ndarray, row: int | None
) -> None:
    """The nearest fakes and real images of one image beside each other, and what they add up to.

    Args:
        features: of the image, as the detector's view gives them.
        row: the image's own, where it is one of the workspace.
    """
    near = deciding_neighbours(page.workspace, detector, features)
    means = near.groupby("bank")["cosine"].mean()
    score = float(means["fake"] - means["real"] - detector.offset)
    st.markdown(
        f"**Why:** of the images that it was trained on ({trained_on(detector)}), the"
        f" {counted(detector.k, 'nearest fake', 'have')} a mean cosine of {means['fake']:z.3f}, the"
        f" {counted(detector.k, 'nearest real image')} of {means['real']:z.3f}."
        " The difference, minus an offset set on validation images"
        f" ({signed_score(detector.offset, 3)}), is its score: {signed_score(score, 3)}, nearer to"
        f" {'fakes' if score > detector.threshold else 'real images'}."
    )
    if row is not None and (near["row"] == row).any():
        st.caption(
            "The detector was trained on this image, so the image is one of its own neighbours."
        )
    for column, (bank, title) in zip(
        st.columns(2, gap="medium"),
        (("fake", "Nearest fakes"), ("real", "Nearest real images")),
        strict=True,
    ):
        with column:
            st.markdown(f"**{title}**")
            page.images(
                [
                    Tile(n["row"], [n["generator"], f"cosine {n['cosine']:z.3f}", n["split"]])
                    for n in near[near["bank"] == bank].to_dict("records")
                ],
                width=WIDTH,
            )
    page.table(key, near.drop(columns="row"))


def trained_on(detector: NeighbourDetector) -> str:
    """Splits whose images are its banks: after validation has chosen k, it is trained again on
    both."""
    splits = splits_needed(protocol_of(detector))
    return f"{'splits' if len(splits) > 1 else 'split'} {' and '.join(splits)}"
