"""What becomes of the terms of an image tower, without running the code under test: hooks on
open_clip's own modules.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def recording(tower: torch.nn.Module) -> Iterator[dict[str, torch.Tensor]]:
    """Outputs of every module of the tower, by name, and the inputs of blocks as NAME.in."""
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str):
        def hook(_: torch.nn.Module, inputs: tuple, output: object) -> None:
            seen[name] = output[0] if isinstance(output, tuple) else output
            if isinstance(inputs[0], torch.Tensor):
                seen[f"{name}.in"] = inputs[0]

        return hook

    handles = [
        module.register_forward_hook(keep(name)) for name, module in tower.named_modules() if name
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def through_ln_post(tower, term: torch.Tensor, final: torch.Tensor) -> np.ndarray:
    """What a term of the final class token's sum becomes in the joint space, but for ln_post's
    bias.
    """
    std = torch.sqrt(final.var(-1, keepdim=True, correction=0) + tower.ln_post.eps)
    return (
        (((term - term.mean(-1, keepdim=True)) / std * tower.ln_post.weight) @ tower.proj)
        .double()
        .numpy()
    )


def all_but_heads(tower, seen: dict[str, torch.Tensor]) -> np.ndarray:
    """[B, d] MLPs, output biases, patch and position embedding, and ln_post's bias, in the joint
    space.
    """
    blocks = tower.transformer.resblocks
    names = [f"transformer.resblocks.{i}" for i in range(len(blocks))]
    final, start = seen[names[-1]][:, 0], seen[f"{names[0]}.in"][:, 0]
    mlps = sum(seen[f"{name}.ls_2"][:, 0] for name in names)
    biases = sum(block.ls_1(block.attn.out_proj.bias) for block in blocks).expand_as(start)
    rest = sum(through_ln_post(tower, term, final) for term in (start, mlps, biases))
    return rest + (tower.ln_post.bias @ tower.proj).double().numpy()
