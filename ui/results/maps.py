"""Maps of a workspace's images, read where a job has computed them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from aigi_core.errors import NotMadeError, WorkspaceError
from aigi_core.geometry import projection
from aigi_core.geometry.projection import CELLED, ImageMap, MapSettings, Method
from aigi_core.manifest import FAKE
from aigi_core.statements import counted
from aigi_core.workspace import Workspace
from ui import results
from ui.toolkit.apart import apart
from ui.toolkit.costly import lasting
from ui.toolkit.jobs import job, step, steps
from ui.toolkit.kept import cached
from ui.toolkit.page import Page

stored = cached(projection.load_map)


def offered(workspace: Workspace) -> list[Method]:
    """Projections at hand: what a job has computed first, and the principal components always."""
    try:
        stored(workspace)
    except WorkspaceError:
        return ["pca"]
    return ["tsne", "pca"]


@cached
def _kept(workspace: Workspace, settings: MapSettings) -> ImageMap | None:
    """The map as a job has kept it; principal components need not be."""
    try:
        return projection.load_map(workspace, settings)
    except NotMadeError:
        if settings.method == "tsne":
            raise
        return None


@cached
def image_map(workspace: Workspace, settings: MapSettings) -> ImageMap:
    """The map by one method, read where a job has kept it."""
    if kept := _kept(workspace, settings):
        return kept
    if results.large(workspace):  # with its progress
        return projection.image_map(workspace, settings, step)
    return apart(projection.image_map, workspace, settings)


def asked(page: Page, settings: MapSettings) -> ImageMap | None:
    """The map by one method; of a large workspace where no job has kept it, None until somebody
    asks for it."""
    workspace = page.workspace
    if not results.large(workspace) or _kept(workspace, settings):
        with steps("Images read"):
            return image_map(workspace, settings)
    n = len(workspace.images)
    about = (
        f"Reads {counted(n, 'image')} twice: {lasting(n * projection.SECONDS)} of one core,"
        f" once for all sessions. '{workspace.command('detectors')}' stores it."
    )

    def compute(_: object) -> ImageMap:
        return image_map(workspace, settings)

    return job(page, "map", "Compute the map", compute, about=about, settings=settings)


@cached
def points(
    workspace: Workspace, map_settings: MapSettings, setting: results.Setting, row: int
) -> pd.DataFrame:
    """Every image on the map with the score and the verdict of one detector."""
    table = projection.points_table(workspace, image_map(workspace, map_settings))
    scores = results.scores(workspace, setting)[row]
    called = scores > results.detectors(workspace, setting)[row].threshold
    right = called == (workspace.domains.labels == FAKE)
    return table.assign(score=scores, verdict=np.where(right, "right", "wrong"))


@cached
def cells(
    workspace: Workspace, map_settings: MapSettings, setting: results.Setting, row: int, by: str
) -> pd.DataFrame:
    """The same counted in cells, for many images."""
    return projection.cells_table(points(workspace, map_settings, setting, row), by)


def picked(table: pd.DataFrame) -> pd.DataFrame:
    """The images of a table of points that the user has drawn around, alone or by their cells."""
    state = st.session_state.get("figure-map")
    points = state["selection"]["points"] if state else []
    chosen = [point["customdata"][0] for point in points if point.get("customdata")]
    if len(table) > CELLED and chosen:
        return table[np.isin(projection.cells_of(table), [int(cell) for cell in chosen])]
    return table[table["path"].isin([str(path) for path in chosen])]
