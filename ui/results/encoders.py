"""The encoder of a workspace, loaded once for all sessions on first need; torch comes with it."""

from __future__ import annotations

from typing import Any

import streamlit as st

from aigi_core.clip.downloads import downloads_reported
from aigi_core.clip.workspace_encoder import given_weights, workspace_encoder
from aigi_core.errors import AigiError
from aigi_core.workspace import Workspace
from ui.toolkit.jobs import steps

Encoder = Any
"""An ``aigi_core.clip.encoder.Encoder``; to name it would load torch."""


def load(workspace: Workspace) -> Encoder:
    """The workspace's own encoder, its weights checked; AigiError, in one sentence, where it cannot
    be had here.
    """
    model, pretrained = given_weights()
    try:
        with (
            steps("Downloading the encoder's weights, MB", "Loading the encoder") as tell,
            downloads_reported(tell),
        ):
            return _load(workspace, model, pretrained)
    except ImportError as error:
        raise AigiError(
            f"The encoder needs torch and open_clip_torch ({error}): install requirements.txt."
        ) from error


@st.cache_resource(
    show_spinner=False, max_entries=2, hash_funcs={Workspace: lambda w: str(w.encoder)}
)
def _load(workspace: Workspace, model: str | None, pretrained: str | None) -> Encoder:
    return workspace_encoder(workspace, model, pretrained)
