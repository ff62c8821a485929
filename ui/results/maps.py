"""Maps of a workspace's images, read where a job has computed them."""

from __future__ import annotations

import streamlit as st

from aigi_core.errors import WorkspaceError
from aigi_core.geometry import projection
from aigi_core.geometry.projection import ImageMap, MapSettings, Method
from aigi_core.workspace import Workspace
from ui.toolkit.page import Page
from ui.toolkit.workspaces import cached

stored = cached(projection.load_map)


def offered(workspace: Workspace) -> list[Method]:
    """Projections at hand: what a job has computed first, and the principal components always."""
    try:
        stored(workspace)
    except WorkspaceError:
        return ["pca"]
    return ["tsne", "pca"]


@cached
def image_map(workspace: Workspace, settings: MapSettings) -> ImageMap:
    """The map by one method."""
    if settings.method == "tsne":
        return projection.load_map(workspace, settings)
    return projection.image_map(workspace, settings)


def picked(page: Page) -> list[str]:
    """Paths of the images that the user has drawn around."""
    del page
    state = st.session_state.get("figure-map")
    points = state["selection"]["points"] if state else []
    return [str(point["customdata"][0]) for point in points if point.get("customdata")]
