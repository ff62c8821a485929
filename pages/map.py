"""Map: the images in two dimensions, coloured by source, verdict, score or file; some of them
picked with a lasso.
"""

from functools import partial

import ui
from aigi_core import figures
from aigi_core.errors import WorkspaceError
from aigi_core.geometry.projection import CELLED, DRAWS, NEIGHBOURS, TITLES, ImageMap, MapSettings
from aigi_core.statements import counted, signed_score
from ui import results
from ui.bodies import choices
from ui.results import maps
from ui.toolkit.images import Tile

SHOWN = 36
NO_SOURCE = "no source"


def limits(made: ImageMap) -> str:
    """What this map cannot show, in numbers."""
    axes = (
        f"The two axes explain {sum(made.explained_variance):.0%} of the variance. "
        if made.explained_variance
        else "Distances between groups, and sizes of groups, mean nothing in t-SNE. "
    )
    return (
        f"{axes}Trustworthiness {made.trustworthiness:.3f} (1 is best; points in random order:"
        f" {made.shuffled:.3f}; n = {counted(made.measured, 'image')}"
        f"{', drawn at random' if made.measured < made.n else ''})."
    )


def nearest_points(made: ImageMap) -> str:
    """What the shares of the answer count."""
    return (
        f"The {NEIGHBOURS} nearest of the {counted(made.measured, 'image')} measured; on the"
        " map by distance in it, in the full embedding by distance of normalised embeddings."
        " Own source: the same generator, or real like the image itself. By chance: the sources"
        f" shuffled {DRAWS} times."
    )


def show(
    page: ui.Page, made: ImageMap, by: str, shown: tuple[results.Setting, list[str], int]
) -> None:
    """The map, coloured, and the images that were drawn around on it."""
    workspace, (setting, rows, row) = page.workspace, shown
    settings = MapSettings(method=made.method)
    table = maps.points(workspace, settings, setting, row)
    celled = made.n > CELLED
    drawn = maps.cells(workspace, settings, setting, row, by) if celled else table
    page.answer(
        f"Of an image's {NEIGHBOURS} nearest points on this map, **{made.agreement:.0%}** are"
        f" of its own source; in the full embedding {made.agreement_embedding:.0%}, by chance"
        f" {made.agreement_chance[0]:.0%} (95% of shuffles: {made.agreement_chance[1]:.0%} to"
        f" {made.agreement_chance[2]:.0%}). These shares describe the"
        f" {counted(made.measured, 'image')} measured; they are counts, not estimates, so"
        " they have no interval."
    )
    page.protocol(
        projection=(
            f"{TITLES[made.method]} of the normalised embeddings of all {counted(made.n, 'image')};"
            " t-SNE:"
            " openTSNE, perplexity 30, started from the principal components."
        ),
        nearest_points=nearest_points(made),
        limits=limits(made),
        verdicts=(
            f"Of the detector trained on {ui.name(rows[row])}; it has seen images of the train and"
            " validation splits."
        ),
    )
    what = (
        f"Each square is a cell of the map; a larger square holds more images (in all"
        f" {counted(made.n, 'image')}). Its colour is that of the"
        f" {'mean' if by == 'score' else 'commonest'} {by} in it. Draw around squares"
        if celled
        else "Draw around points"
    )
    judging = (
        ""
        if by in ("verdict", "score")
        else f" The detector changes nothing in a picture coloured by {by}, only the verdicts and"
        " scores of the images that you choose."
    )
    with page.picture(f"{what} to see their images below.{judging} {limits(made)}"):
        mine, around = maps.picked(table), True
        draw = partial(
            figures.image_cells if celled else figures.image_points,
            drawn,
            by,
            titles=("first axis", "second axis"),
            alt=(
                f"Map of {counted(made.n, 'image')} by {TITLES[made.method]}, coloured by {by}."
                f" {limits(made)}"
            ),
        )
        page.figure(
            "map",
            page.styled(draw) if by == "source" else partial(draw, styles={}),
            table=drawn,
            picks=True,
        )
    with page.section("The chosen images"):
        if mine.empty:
            sources = table["source"].drop_duplicates().sort_values().tolist()
            source = page.select(
                "source",
                "Draw around points of the map, or take all images of",
                {NO_SOURCE: ""} | {s: s for s in sources},
            )
            mine, around = table[table["source"] == source], False
        if not mine.empty:
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
                        [str(i["source"]), f"score {signed_score(i['score'])}", str(i["split"])],
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
            if around:
                page.unlinked("Chosen images")
            page.table("picked", mine)


with ui.page(__file__) as page:
    workspace = page.workspace
    offered = maps.offered(workspace)
    with page.controls():
        method = page.select("projection", "Projection", {TITLES[m]: m for m in offered})
        by = page.select(
            "colour", "Colour", ["source", "family", "verdict", "score", "split", "format"]
        )
        shown = choices.choose_detector(page)
    settings = MapSettings(method=method)
    if (made := maps.asked(page, settings)) is None:
        page.answer(
            f"The map of {counted(len(workspace.images), 'image')} has not been computed yet: start"
            " it below."
        )
    else:
        show(page, made, by, shown)
    if "tsne" not in offered:
        try:
            maps.stored(workspace)
        except WorkspaceError as error:
            page.notice(f"{ui.inert(str(error))} It adds t-SNE to the projections.")
