"""Maps from attention heads to the residual stream, which the paper's protocol needs: computed once
from a workspace's own encoder and stored beside its features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from aigi_core.errors import AigiError
from aigi_core.workspace import (
    STREAM_MAPS,
    Workspace,
    describe_file,
    exclusive,
    read_manifest,
    write_manifest,
)


def keep_stream_maps(
    path: Path, model: str | None = None, pretrained: str | None = None, *, agreed: bool = False
) -> Workspace:
    """The opened workspace with its stream maps, computed where they are not stored yet.

    Raises:
        AigiError: the encoder's weights are not at hand, or are others.
    """
    workspace = Workspace.open(path)
    name = f"{STREAM_MAPS}.npy"
    if name in workspace.manifest["files"]:
        return workspace
    from aigi_core.clip.workspace_encoder import workspace_encoder

    encoder = workspace_encoder(workspace, model, pretrained, "cpu", agreed=agreed)
    try:
        maps = stream_maps(encoder.tower)
    except AttributeError as error:
        raise AigiError(
            f"The heads of {workspace.encoder['model']} do not write into one residual stream that"
            " is known here: the paper's protocol for heads cannot be followed."
        ) from error
    with exclusive(workspace.path, "stream maps"):
        temporary = workspace.path / f".{name}.tmp"
        with temporary.open("wb") as stream:
            np.save(stream, maps)
        temporary.replace(workspace.path / name)
        manifest = read_manifest(path)
        manifest["files"][name] = describe_file(workspace.path, name)
        write_manifest(workspace.path, manifest)
    return Workspace.open(path)


def stream_maps(tower: Any) -> np.ndarray:
    """What takes each head's contexts to its output in the residual stream, up to a rotation.

    Args:
        tower: open_clip's vision transformer.

    Returns:
        [layers, heads, head_width, head_width] triangles R of the QR decomposition of each head's
        slice of the output projection (LayerScale included): ``z @ R.T`` has the inner products of
        ``z @ slice``. float32.
    """
    triangles = []
    for block in tower.transformer.resblocks:
        out = block.attn.out_proj.weight.detach().cpu().double().numpy()
        if hasattr(block.ls_1, "gamma"):
            out = block.ls_1.gamma.detach().cpu().double().numpy()[:, None] * out
        slices = np.split(out, block.attn.num_heads, axis=1)
        triangles.append(np.stack([np.linalg.qr(part, mode="r") for part in slices]))
    return np.stack(triangles).astype(np.float32)
