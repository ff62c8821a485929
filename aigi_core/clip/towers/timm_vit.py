"""timm's vision transformers (``VisionTransformer`` and ``Eva``), alone or as open_clip's tower:
SigLIP, SigLIP 2, Perception Encoder, MobileCLIP-B, EVA-CLIP, DINOv2, DINOv3.

timm computes attention in plain modules, so the library's own forward pass is run unchanged and
hooks read, on the way, each layer's contexts (the input of the norm or of the projection inside its
attention) and what the norms after them were given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from aigi_core.capabilities import AVERAGE, CLASS_TOKEN, POOLED, Capabilities
from aigi_core.clip._open_clip import timm
from aigi_core.clip.towers import (
    UNRELATED,
    Adapter,
    EncodedBatch,
    VisionTower,
    array,
    statistics,
)
from aigi_core.clip.towers.pooling import centred, pool_maps, token_weights, weighted_contexts
from aigi_core.clip.towers.tokens import TokenFeatures
from aigi_core.stored_features import image_axis

eva, vision_transformer = timm.models.eva, timm.models.vision_transformer
ATTENTIONS = (
    timm.layers.attention.Attention,
    timm.layers.attention.AttentionRope,
    eva.EvaAttention,
)
BLOCKS = (vision_transformer.Block, eva.EvaBlock, eva.EvaBlockPostNorm)
HELD_VALUES = 1 << 26
"""Context values held until the pool's attention is known, on a CPU: 256 MiB, whatever the
batch."""
NO_EVIDENCE = "the attention of this family's layers to single patches is not read"


class TimmVit(Adapter):
    """A timm trunk whose blocks are plain attention and MLP, pooled by class token, average or
    attention.
    """

    family = "timm vision transformer"

    def __init__(self, tower: VisionTower, embedding_width: int) -> None:
        super().__init__(tower, embedding_width)
        self.trunk: Any = getattr(tower, "trunk", tower)
        trunk: Any = self.trunk
        attention = trunk.blocks[0].attn
        self.layers = len(trunk.blocks)
        self.heads = int(attention.num_heads)
        self.width = int(trunk.embed_dim)
        self.pool = trunk.attn_pool
        pooled = 1 if self.pool is None else int(self.pool.num_heads)
        self.head_width = pooled * int(attention.proj.in_features) // self.heads
        kind = POOLED if self.pool is not None else AVERAGE
        if self.pool is None and trunk.global_pool == "token":
            kind = CLASS_TOKEN
        self.gives = Capabilities(kind, {"evidence": NO_EVIDENCE})

    @classmethod
    def not_covered(cls, tower: VisionTower) -> str:
        trunk: Any = getattr(tower, "trunk", tower)
        kinds = (vision_transformer.VisionTransformer, eva.Eva)
        if type(trunk) not in kinds:
            return f"{UNRELATED} plain vision transformer of timm"
        head = (
            [type(m) for m in getattr(tower, "head", nn.Sequential())] if trunk is not tower else []
        )
        if set(head) - {nn.Dropout, nn.Linear}:
            return "what follows its pooled vector is not linear"
        if not isinstance(trunk.head, (nn.Linear, nn.Identity)):
            return f"its head is a {type(trunk.head).__name__}, which is not linear"
        reason = cls._pool_not_covered(trunk)
        if reason:
            return reason
        for block in trunk.blocks:
            if type(block) not in BLOCKS:
                return f"its blocks are of type {type(block).__name__}"
            attention = block.attn
            if not isinstance(attention, ATTENTIONS):
                return f"its attention is of type {type(attention).__name__}"
            if getattr(attention, "gate", None) is not None:
                return "its attention's output is gated by the image"
            norms = [attention.norm] if not isinstance(attention.norm, nn.Identity) else []
            if type(block) is eva.EvaBlockPostNorm:
                norms.append(block.norm1)
            if not all(_affine(norm) for norm in norms):
                return "a norm after its attention is not an affine layer norm"
        return ""

    @staticmethod
    def _pool_not_covered(trunk: Any) -> str:
        pool = trunk.attn_pool
        norm_after = not isinstance(trunk.fc_norm, nn.Identity)
        if not _affine(trunk.fc_norm if norm_after else trunk.norm):
            return "its final norm is not an affine layer norm"
        if norm_after and not isinstance(trunk.norm, nn.Identity):
            return "it has a norm before its pool and another after it"
        if pool is None:
            known = trunk.global_pool in ("token", "avg")
            return "" if known else f"its pool is {trunk.global_pool!r}"
        if type(pool) is not timm.layers.attention_pool.AttentionPoolLatent:
            return f"its attention pooling is a {type(pool).__name__}"
        if pool.latent_len != 1 or pool.pos_embed is not None or norm_after:
            return "its attention pooling has several queries, positions, or a norm after it"
        return ""

    @property
    def _norm(self) -> tuple[nn.LayerNorm, bool]:
        """The final norm, and whether it comes after the pool."""
        after = not isinstance(self.trunk.fc_norm, nn.Identity)
        norm: nn.LayerNorm = self.trunk.fc_norm if after else self.trunk.norm
        return norm, after

    def encode(
        self, images: Float[Tensor, "B 3 size size"], features: Sequence[str] = ()
    ) -> EncodedBatch:
        """See :meth:`Adapter.encode`."""
        step = len(images)  # elsewhere than on a CPU, the batch was chosen so that it fits
        if images.device.type == "cpu":
            tokens = 1 if self.gives.heads == CLASS_TOKEN else self._tokens
            step = max(1, HELD_VALUES // (self.layers * tokens * self.width))
        with torch.inference_mode():
            groups = [images[i : i + step] for i in range(0, len(images), step)]
            parts = [self._encode(group, features) for group in groups]
        if len(parts) == 1:
            return parts[0]
        return EncodedBatch(
            torch.cat([part.embedding for part in parts]),
            torch.cat([part.heads for part in parts], dim=2),
            torch.cat([part.ln_post for part in parts]),
            {
                name: torch.cat([part.extras[name] for part in parts], dim=image_axis(name))
                for name in parts[0].extras
            },
        )

    @property
    def _tokens(self) -> int:
        rows, columns = self.trunk.patch_embed.grid_size
        return int(rows * columns + self.trunk.num_prefix_tokens)

    def _encode(self, images: Tensor, features: Sequence[str]) -> EncodedBatch:
        trunk, class_token = self.trunk, self.gives.heads == CLASS_TOKEN
        contexts: list[Tensor] = []
        seen: dict[str, Tensor] = {}
        wanted = TokenFeatures(features, int(trunk.num_prefix_tokens))
        normed: list[Tensor] = []

        def context(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            contexts.append(inputs[0][:, :1] if class_token else inputs[0])

        def scale_last(norm: nn.LayerNorm, inputs: tuple[Tensor, ...]) -> None:
            tokens = inputs[0][:, :1] if class_token else inputs[0]
            contexts[-1] = contexts[-1] / statistics(tokens, norm.eps)[..., 1:]

        def keep(name: str) -> Any:
            def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                seen[name] = inputs[0].float()

            return hook

        def before_mlp(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            normed.append(inputs[0])

        def after_block(_: nn.Module, __: Any, output: Tensor) -> None:
            wanted.after_block(normed.pop(), output)
            seen["stream"] = output

        hooks: list[tuple[Any, Any, bool]] = []
        for block in trunk.blocks:
            hooks.append((block.attn.norm, context, False))
            if not isinstance(block.attn.norm, nn.Identity):
                hooks.append((block.attn.norm, scale_last, False))
            if type(block) is eva.EvaBlockPostNorm:
                hooks.append((block.norm1, scale_last, False))
            if features:
                hooks += [(block.mlp, before_mlp, False), (block, after_block, True)]
        norm, _ = self._norm
        hooks.append((norm, keep("norm"), False))
        hooks.append((trunk.head, keep("pre"), False))
        if self.pool is not None:
            hooks.append((self.pool, keep("pool"), False))
        with _hooked(hooks):
            embedding = self.tower(images).float()
        with torch.autocast(images.device.type, enabled=False):
            heads, ln_post = self._weighted(contexts, seen)
            if features:
                wanted.after_blocks(seen["stream"])
                wanted.before_projection(seen["pre"])
        return EncodedBatch(embedding, heads, ln_post, wanted.features)

    def _weighted(
        self, contexts: list[Float[Tensor, "B T attention_width"]], seen: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Heads' contexts weighted by what each token weighs in the embedding."""
        norm, after_pool = self._norm
        if self.gives.heads == CLASS_TOKEN:
            vector = seen["norm"] if after_pool else seen["norm"][:, 0]
            first = torch.stack([layer[:, 0].float() for layer in contexts])
            by_head = first.view(*first.shape[:2], self.heads, -1)
            return by_head.transpose(1, 2), statistics(vector, norm.eps)
        include = getattr(self.trunk, "pool_include_prefix", False)
        skipped = 0 if include else int(self.trunk.num_prefix_tokens)
        if self.pool is not None:
            skipped = contexts[0].shape[1] - seen["pool"].shape[1]
        pooled = [layer[:, skipped:] for layer in contexts]
        if self.pool is None and after_pool:
            even = pooled[0].new_full(
                (len(pooled[0]), 1, pooled[0].shape[1]), 1 / pooled[0].shape[1], dtype=torch.float32
            )
            return weighted_contexts(pooled, even, self.heads), statistics(seen["norm"], norm.eps)
        std = statistics(seen["norm"], norm.eps)[:, skipped:, 1]
        if self.pool is not None:
            weights = self._pool_attention(seen["pool"]) / std[:, None]
        else:
            weights = 1 / (std[:, None] * std.shape[1])
        neutral = torch.tensor([0.0, 1.0], device=std.device).repeat(len(std), 1)
        return weighted_contexts(pooled, weights, self.heads), neutral

    def _pool_attention(self, tokens: Float[Tensor, "B T width"]) -> Float[Tensor, "B g T"]:
        pool = self.pool
        if isinstance(pool.q_norm, nn.Identity) and isinstance(pool.q, nn.Linear):
            half = len(pool.kv.weight) // 2
            bias = pool.kv.bias
            return token_weights(
                tokens,
                pool.latent[0].float(),
                query_weight=pool.q.weight.float(),
                query_bias=None if pool.q.bias is None else pool.q.bias.float(),
                key_weight=pool.kv.weight[:half].float(),
                key_bias=None if bias is None else bias[:half].float(),
                pool_heads=pool.num_heads,
            )
        batch, count = tokens.shape[:2]
        shape = (pool.num_heads, pool.head_dim)
        q = pool.q(pool.latent).reshape(1, *shape)
        k = pool.kv(tokens)[..., : len(pool.kv.weight) // 2].reshape(batch, count, *shape)
        q, k = pool.q_norm(q).float(), pool.k_norm(k).float()
        return torch.softmax(torch.einsum("xgk,btgk->bgt", q, k) * pool.scale, dim=-1)

    def maps(self) -> dict[str, np.ndarray]:
        """See :meth:`aigi_core.clip.towers.open_clip_vit.OpenClipVit.maps`."""
        norm, _ = self._norm
        linear, bias = self._linear()
        gain, shift = array(norm.weight), array(norm.bias)
        outs = [self._out(block) for block in self.trunk.blocks]
        if self.pool is not None:
            half = len(self.pool.kv.weight) // 2
            out = (
                np.eye(half)
                if isinstance(self.pool.proj, nn.Identity)
                else array(self.pool.proj.weight)
            )
            factors = pool_maps(
                outs,
                self.heads,
                gain=gain,
                values=array(self.pool.kv.weight)[half:],
                out=out,
                pool_heads=self.pool.num_heads,
                after=linear,
            )
            return factors | {"beta": bias.astype(np.float32)}
        after = centred(gain[:, None] * linear, axis=0)
        maps = np.stack([(out @ after).reshape(self.heads, -1, after.shape[1]) for out in outs])
        return {
            "head_maps": maps.astype(np.float32),
            "beta": (shift @ linear + bias).astype(np.float32),
        }

    def _linear(self) -> tuple[np.ndarray, np.ndarray]:
        """What follows the pooled vector: its linear map [width, d] and constant [d]."""
        last = (
            [m for m in getattr(self.tower, "head", ()) if isinstance(m, nn.Linear)]
            if (self.trunk is not self.tower)
            else []
        )
        linear, bias = np.eye(self.width), np.zeros(self.width)
        for layer in [self.trunk.head, *last]:
            if isinstance(layer, nn.Linear):
                weight = array(layer.weight).T
                linear, bias = linear @ weight, bias @ weight
                if layer.bias is not None:
                    bias = bias + array(layer.bias)
        return linear, bias

    def _out(self, block: Any) -> Float[np.ndarray, "attention_width width"]:
        """From a layer's contexts, side by side, to what it adds to the stream."""
        attention = block.attn
        out = array(attention.proj.weight).T
        if not isinstance(attention.norm, nn.Identity):
            # The inner norm subtracts the mean over all heads: each head's share of it is its own.
            out = centred(array(attention.norm.weight)[:, None] * out, axis=0)
        if type(block) is eva.EvaBlockPostNorm:
            out = centred(out, axis=1) * array(block.norm1.weight)
        scale = getattr(block, "gamma_1", None)
        if scale is None and isinstance(
            getattr(block, "ls1", None), timm.layers.layer_scale.LayerScale
        ):
            scale = block.ls1.gamma
        return out if scale is None else out * array(scale)


def _affine(norm: nn.Module) -> bool:
    return isinstance(norm, nn.LayerNorm) and norm.elementwise_affine and norm.bias is not None


@contextmanager
def _hooked(hooks: Sequence[tuple[nn.Module, Any, bool]]) -> Iterator[None]:
    """Run with hooks before (or, where the third says so, after) modules."""
    handles = [
        module.register_forward_hook(hook) if after else module.register_forward_pre_hook(hook)
        for module, hook, after in hooks
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
