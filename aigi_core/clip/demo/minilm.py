"""all-MiniLM-L6-v2 as a text tower: a six-layer BERT with mean pooling, read from safetensors.

Architecture: Devlin et al. 2019 (arXiv 1810.04805); pooling: Reimers and Gurevych 2019 (arXiv
1908.10084).
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

LAYERS = 6
WIDTH = 384
HEADS = 12
CONTEXT = 256


class Block(nn.Module):
    """One post-norm transformer block."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.norm_1 = nn.LayerNorm(WIDTH, eps=1e-12)
        self.up = nn.Linear(WIDTH, 4 * WIDTH)
        self.down = nn.Linear(4 * WIDTH, WIDTH)
        self.norm_2 = nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, x: Float[Tensor, "b t w"], mask: Tensor) -> Float[Tensor, "b t w"]:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        z = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = self.norm_1(x + self.out(z.transpose(1, 2).reshape(b, t, WIDTH)))
        y: Tensor = self.norm_2(x + self.down(functional.gelu(self.up(x))))
        return y


class MiniLM(nn.Module):
    """Token ids to unit sentence embeddings; padding has id 0."""

    def __init__(self, vocabulary: int = 30522, positions: int = 512) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, WIDTH)
        self.positions = nn.Embedding(positions, WIDTH)
        self.kind = nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))

    def forward(self, ids: Int[Tensor, "b t"]) -> Float[Tensor, "b w"]:
        real = ids != 0
        x = self.norm(
            self.tokens(ids) + self.positions.weight[: ids.shape[1]] + self.kind.weight[0]
        )
        for block in self.blocks:
            x = block(x, real[:, None, None, :])
        weight = real[..., None].to(x.dtype)
        return functional.normalize((x * weight).sum(1) / weight.sum(1), dim=-1)


def load_minilm(weights: Path) -> MiniLM:
    """The network with the weights of a Hugging Face ``BertModel`` file (safetensors)."""
    state = load_file(weights)
    renamed = {
        "tokens.weight": state["embeddings.word_embeddings.weight"],
        "positions.weight": state["embeddings.position_embeddings.weight"],
        "kind.weight": state["embeddings.token_type_embeddings.weight"],
        "norm.weight": state["embeddings.LayerNorm.weight"],
        "norm.bias": state["embeddings.LayerNorm.bias"],
    }
    parts = {
        "out": "attention.output.dense",
        "norm_1": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "norm_2": "output.LayerNorm",
    }
    for i in range(LAYERS):
        for kind in ("weight", "bias"):
            layer = f"encoder.layer.{i}"
            renamed[f"blocks.{i}.qkv.{kind}"] = torch.cat(
                [
                    state[f"{layer}.attention.self.{name}.{kind}"]
                    for name in ("query", "key", "value")
                ]
            )
            renamed |= {
                f"blocks.{i}.{ours}.{kind}": state[f"{layer}.{theirs}.{kind}"]
                for ours, theirs in parts.items()
            }
    model = MiniLM()
    model.load_state_dict(renamed)
    return model.eval().requires_grad_(False)


def load_tokenizer(file: Path) -> Tokenizer:
    """The WordPiece tokenizer, cutting at the model's context of 256 tokens and padding a batch
    with id 0.
    """
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.enable_truncation(CONTEXT)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    return tokenizer
