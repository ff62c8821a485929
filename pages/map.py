"""Map: the images in two dimensions, coloured by source, verdict, score or file; some of them
picked with a lasso.
"""

from functools import partial

import numpy as np
import streamlit as st

import ui
from aigi_core import figures
from aigi_core.errors import WorkspaceError
from aigi_core.geometry.projection import TITLES, ImageMap, MapSettings, points_table
from aigi_core.statements import counted
from ui import results
from ui.results import maps
from ui.toolkit.images import Tile

SHOWN = 36


def limits(made: ImageMap) -> str:
    """What this map cannot show, in numbers."""
    mean, low, high = made.agreement_chance
    axes = (
        f"Its two axes hold {sum(made.explained_variance):.0%} of the variance. "
        if made.explained_variance
        else "Distances between groups, and sizes of groups, mean nothing in t-SNE. "
    )
    return (
        f"{axes}Trustworthiness {made.trustworthiness:.3f} (1 is best; points in random order:"
        f" {made.shuffled:.3f}; n = {counted(made.n, 'image')}). Of an image's nearest points"
        f" {made.agreement:.0%} are of its own source; in the embedding itself"
        f" {made.agreement_embedding:.0%}, with shuffled sources {mean:.0%} ({low:.0%} to"
        f" {high:.0%})."
    )


with ui.page(__file__) as page:
    workspace = page.workspace
    offered = maps.offered(workspace)
    with page.controls():
        method = page.select("projection", "Projection", {TITLES[m]: m for m in offered})
        by = page.select(
            "colour", "Colour", ["source", "family", "verdict", "score", "split", "format"]
        )
        setting, rows, row = results.choose_detector(page)
    made = maps.image_map(workspace, MapSettings(method=method))
    table = points_table(workspace, made)
    scores = results.scores(workspace, setting)[row]
    called = scores > results.detectors(workspace, setting)[row].threshold
    right = called == (workspace.domains.labels == 1)
    table = table.assign(score=scores, verdict=np.where(right, "right", "wrong"))
    page.answer(
        f"Images of one source lie {made.agreement / made.agreement_chance[0]:.1f} times as often"
        f" beside each other as by chance on this map ({made.agreement:.0%} of the nearest points;"
        f" chance {made.agreement_chance[0]:.0%}); in the full embedding"
        f" {made.agreement_embedding:.0%}."
    )
    page.protocol(
        projection=(
            f"{TITLES[method]} of the normalised embeddings of all {counted(made.n, 'image')};"
            " t-SNE:"
            " openTSNE, perplexity 30, started from the principal components."
        ),
        limits=limits(made),
        verdicts=(
            f"Of the detector trained on {ui.name(rows[row])}; it has seen images of the train and"
            " validation splits."
        ),
    )
    with page.picture(f"Draw around points to see their images below. {limits(made)}"):
        picked = maps.picked(page)
        draw = partial(
            figures.image_points,
            table,
            by,
            titles=("first axis", "second axis"),
            alt=(
                f"Map of {counted(made.n, 'image')} by {TITLES[method]}, coloured by {by}."
                f" {limits(made)}"
            ),
        )
        page.figure(
            "map",
            page.styled(draw) if by == "source" else partial(draw, styles={}),
            table=table,
            picks=True,
        )
    with page.section("The picked images"):
        if not picked:
            st.caption("None yet: draw around points of the map with the mouse.")
        else:
            mine = table[table["path"].isin(picked)]
            counts = mine["source"].value_counts()
            page.finding(
                f"{counted(len(mine), 'image')}: "
                + ", ".join(f"{ui.name(str(name))} {n}" for name, n in counts.head(8).items())
                + f". {int((mine['verdict'] == 'wrong').sum())} are judged wrongly."
            )
            page.images(
                [
                    Tile(
                        int(i["row"]),
                        [str(i["source"]), f"score {i['score']:+.2f}", str(i["split"])],
                        str(i["verdict"]),
                        key=str(i["path"]),
                    )
                    for i in mine.head(SHOWN).to_dict("records")
                ],
                name="picked",
                lightbox=True,
            )
            fakes = [str(name) for name in counts.index if name != "real"]
            if fakes:
                page.link("train", "Train on their generators", trained=fakes[:3])
                page.link("gallery", "Test on their generators", tests=fakes)
            page.unlinked("Picked images")
            page.table("picked", mine)
    if "tsne" not in offered:
        try:
            maps.stored(workspace)
        except WorkspaceError as error:
            page.notice(f"{ui.inert(str(error))} It adds t-SNE to the projections.")
