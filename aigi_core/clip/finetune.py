"""Training part of an image tower, and a head on it, to tell generated images from real ones.

A :class:`Cut` divides a tower into what stays as it is, whose output an image needs once, and what
is trained. With ``last`` the residual stream before the last block is that output; where only the
class token reaches the embedding, the block's queries and MLP are computed for that token alone, so
that an epoch costs little more than its keys and values.

The head begins where linear probing ends (Kumar et al. 2022, "Fine-tuning can distort pretrained
features"); with captions it begins with their texts (Moskowitz et al. 2024, image-caption matching;
here as a softmax over the captions, with the text tower frozen and its output trained on).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from aigi_core.clip.encoder import Encoder, exact_convolutions
from aigi_core.clip.towers.open_clip_vit import OpenClipVit, run_block
from aigi_core.errors import AigiError
from aigi_core.record import read_json
from aigi_core.workspace import digest_of, write_atomic

MODES = {
    "head": "the head alone",
    "last": "the last block, what follows it, and the head",
    "lora": "low-rank changes of every block (Hu et al. 2022), and the head",
    "full": "the whole image tower, and the head",
}
OBJECTIVES = ("binary", "captions")
LORA_TARGETS = ("attn", "c_fc", "c_proj", "qkv", "proj", "q_proj", "k_proj", "v_proj", "fc1", "fc2")
HEAD_FASTER = 10.0
"""The head's learning rate is so many times that of the tower."""


@dataclass(frozen=True)
class Settings:
    """How one detector is trained; all of it is part of a checkpoint's identity.

    Attributes:
        mode: a key of :data:`MODES`.
        objective: one of :data:`OBJECTIVES`.
        augment: operations of ``aigi_core.perturb``; each image of a batch is taken as it is or
            after one of them, all alike probable.
        epochs: at most.
        lr: of the tower (AdamW, cosine to zero over all epochs).
        patience: epochs without a lower validation loss after which training stops.
        rank: of the changes of ``lora``.
    """

    mode: str
    objective: str = "binary"
    augment: tuple[str, ...] = ()
    epochs: int = 10
    lr: float = 1e-4
    batch_size: int = 32
    seed: int = 0
    patience: int = 3
    weight_decay: float = 0.01
    rank: int = 8

    @property
    def cached(self) -> bool:
        """Whether what stays as it is is more than the pixels."""
        return self.mode in ("head", "last")

    def __post_init__(self) -> None:
        if self.mode not in MODES or self.objective not in OBJECTIVES:
            raise AigiError(
                f"Expected a mode of {', '.join(MODES)} and an objective of"
                f" {', '.join(OBJECTIVES)}, got {self.mode!r} and {self.objective!r}."
            )
        whole = (self.epochs, self.batch_size, self.patience, self.rank)
        if min(whole) < 1 or not 0 < self.lr < 1 or self.weight_decay < 0 or self.seed < 0:
            raise AigiError(
                "Expected one epoch, one image a batch, a patience and a rank of one at least, a"
                f" learning rate between 0 and 1 and a seed of 0 or more, got {asdict(self)}."
            )


class Cut(nn.Module):
    """An encoder's image tower (a copy), divided; ``forward`` is the part that is trained."""

    def __init__(self, encoder: Encoder, settings: Settings) -> None:
        super().__init__()
        self.mode, self._device = settings.mode, encoder.device
        self._size = encoder.preprocessing.size
        if self.mode == "head":
            self._encode = encoder.adapter.encode
            return
        adapter = copy.copy(encoder.adapter)
        self.tower: Any = copy.deepcopy(encoder.tower)
        self.tower.requires_grad_(False)
        if self.mode == "lora":
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(settings.seed)
                self.tower = low_rank(self.tower, settings.rank)
            self._own = (encoder.tower,)  # in a tuple: no part of this module
            return
        self._class_token = isinstance(adapter, OpenClipVit) and adapter._class_token
        for part in [self.tower] if self.mode == "full" else self._tail_of_tower(encoder.model):
            part.requires_grad_(True)

    @torch.no_grad()
    def restore(self) -> None:
        """Put back what stays as it is. In attention, peft adds low-rank changes to the weights at
        each pass and takes them away again, which rounds: an epoch that began with such weights
        could not be repeated after a stop.
        """
        if self.mode != "lora":
            return
        own = self._own[0].state_dict()
        for name, value in self.tower.state_dict().items():
            if "lora_" not in name:
                value.copy_(own[name.replace(".base_layer", "")])

    def _blocks(self) -> Any:
        trunk = getattr(self.tower, "trunk", self.tower)
        transformer = getattr(trunk, "transformer", None)
        blocks = getattr(transformer, "resblocks", None) if transformer is not None else None
        return blocks if blocks is not None else getattr(trunk, "blocks", None)

    def _tail_of_tower(self, model: str) -> list[Any]:
        """The last block and the modules and parameters after it."""
        blocks = self._blocks()
        if blocks is None or not isinstance(blocks, (nn.Sequential, nn.ModuleList)):
            raise AigiError(
                f"The image tower of {model} has no blocks in a row, so that its last cannot be"
                " trained alone: use --mode head or full."
            )
        trunk = getattr(self.tower, "trunk", self.tower)
        after = ("ln_post", "proj", "attn_pool", "norm", "fc_norm", "head")
        parts = [getattr(place, name, None) for place in (trunk, self.tower) for name in after]
        unique = {id(one): one for one in parts if isinstance(one, (nn.Module, nn.Parameter))}
        return [blocks[-1], *unique.values()]

    @torch.no_grad()
    def before(self, images: Float[Tensor, "B 3 size size"]) -> Tensor:
        """What stays as it is, of normalised images."""
        with exact_convolutions(images.device):
            return self._before(images)

    def _before(self, images: Float[Tensor, "B 3 size size"]) -> Tensor:
        if self.mode == "head":
            embedding: Tensor = self._encode(images).embedding.clone()
            return embedding
        if self.mode != "last":
            return images
        if self._class_token:
            stream: Tensor = self.tower._embeds(images)
            for block in self._blocks()[:-1]:
                stream = run_block(block, stream, stream).stream
            return stream
        seen: list[Tensor] = []

        def stop(module: nn.Module, given: tuple[Any, ...]) -> None:
            seen.append(given[0])
            raise _Reached

        handle = self._blocks()[-1].register_forward_pre_hook(stop)
        try:
            self.tower(images)
        except _Reached:
            return seen[0]
        finally:
            handle.remove()
        raise AssertionError("a tower runs its last block")

    def forward(self, kept: Tensor) -> Float[Tensor, "B d"]:
        """The embedding, from what :meth:`before` gave."""
        if self.mode == "head":
            return kept
        if self.mode != "last":
            return _first(self.tower(kept))
        if self._class_token:
            step = run_block(self._blocks()[-1], kept, kept[:, :1])
            vector: Tensor = self.tower.ln_post(step.stream[:, 0])
            return vector if self.tower.proj is None else vector @ self.tower.proj
        # Blocks before the last pass on what they are given, which the last replaces by `kept`:
        # all that the library does beside the blocks (positions, pooling) is its own.
        blank = torch.zeros((len(kept), 3, self._size, self._size), device=kept.device)
        with self._resumed(kept):
            return _first(self.tower(blank))

    @contextmanager
    def _resumed(self, kept: Tensor) -> Iterator[None]:
        blocks = self._blocks()
        own = list(blocks)
        handle = own[-1].register_forward_pre_hook(lambda module, given: (kept, *given[1:]))
        for number in range(len(own) - 1):
            blocks[number] = _PassOn()
        try:
            yield
        finally:
            for number, block in enumerate(own[:-1]):
                blocks[number] = block
            handle.remove()


def _first(given: Any) -> Tensor:
    """The embedding, of towers that give tokens beside it."""
    embedding: Tensor = given[0] if isinstance(given, tuple) else given
    return embedding


class _Reached(Exception):
    """The last block was reached."""


class _PassOn(nn.Module):
    def forward(self, stream: Tensor, *others: Any, **named: Any) -> Tensor:
        return stream


def low_rank(tower: Any, rank: int) -> Any:
    """A tower whose blocks have low-rank changes, the only parameters that are trained.

    Raises:
        AigiError: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise AigiError(
            "--mode lora needs peft: pip install -r requirements-finetune.txt."
        ) from error
    names = {name.rpartition(".")[2] for name, _ in tower.named_modules()}
    attention = [n for n, m in tower.named_modules() if isinstance(m, nn.MultiheadAttention)]
    targets = [n for n in LORA_TARGETS if n in names and (n != "attn" or attention)]
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=targets)
    return inject_adapter_in_model(config, tower)


class Head(nn.Module):
    """Logits of classes from unit embeddings; class 0 is real."""

    def __init__(self, anchors: Float[np.ndarray, "C d"], bias: Float[np.ndarray, " C"]) -> None:
        super().__init__()
        self.anchors = nn.Parameter(torch.tensor(anchors, dtype=torch.float32))
        self.bias = nn.Parameter(torch.tensor(bias, dtype=torch.float32))

    def forward(self, embedding: Float[Tensor, "B d"]) -> Float[Tensor, "B C"]:
        with torch.autocast(embedding.device.type, enabled=False):  # not in bfloat16: it is small
            return F.normalize(embedding.float(), dim=-1) @ self.anchors.T + self.bias


class Detector(nn.Module):
    """A cut tower with a head: classes are real, and generated by each of ``names``."""

    def __init__(self, cut: Cut, head: Head) -> None:
        super().__init__()
        self.cut, self.head = cut, head
        self.to(cut._device).eval()  # no dropout: towers for detection have none worth keeping

    def logits(self, kept: Tensor) -> Float[Tensor, "B C"]:
        """One a class, from what :meth:`Cut.before` gave."""
        with exact_convolutions(kept.device):
            logits: Tensor = self.head(self.cut(kept))
        return logits

    def trained(self) -> dict[str, Tensor]:
        """The tensors that are trained, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def take(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace trained tensors; AigiError where names or shapes are those of another model."""
        own = self.trained()
        if {n: t.shape for n, t in own.items()} != {n: t.shape for n, t in tensors.items()}:
            raise AigiError(
                "The checkpoint is of another model or mode: its tensors have other names or"
                " shapes. Delete it, or name the encoder and mode that it was made with."
            )
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def log_odds(logits: Float[Tensor, "n C"]) -> Float[Tensor, " n"]:
    """Of generated, by whatever generator, against real."""
    return torch.logsumexp(logits[:, 1:], dim=1) - logits[:, 0]


def logits_of(
    encoder: Encoder,
    settings: Settings,
    tensors: Mapping[str, np.ndarray],
    pixels: UInt8[np.ndarray, "B size size 3"],
) -> Float32[np.ndarray, "B C"]:
    """Logits of new images by a detector whose trained tensors were stored."""
    blank = np.zeros(tensors["head.anchors"].shape)
    detector = Detector(Cut(encoder, settings), Head(blank, blank[:, 0]))
    detector.take({name: torch.from_numpy(array) for name, array in tensors.items()})
    with torch.no_grad():
        logits = detector.logits(detector.cut.before(encoder.normalise(pixels)))
    values: np.ndarray = logits.float().cpu().numpy()
    return values


def log_odds_of(logits: Float32[np.ndarray, "n C"]) -> Float32[np.ndarray, " n"]:
    """:func:`log_odds` of arrays."""
    odds: np.ndarray = log_odds(torch.from_numpy(logits)).numpy()
    return odds


class Source(Protocol):
    """Where what stays as it is comes from."""

    def batch(self, rows: Int[np.ndarray, " B"], copies: Int[np.ndarray, " B"]) -> Tensor:
        """For these rows, each after operation ``copies - 1`` of the settings (0: as it is)."""
        ...


@torch.no_grad()
def class_logits(
    detector: Detector, source: Source, rows: Int[np.ndarray, " n"], batch_size: int = 64
) -> Float32[np.ndarray, "n C"]:
    """Logits of images as they are."""
    parts = []
    for start in range(0, len(rows), batch_size):
        some = rows[start : start + batch_size]
        parts.append(detector.logits(source.batch(some, np.zeros(len(some), int))).float().cpu())
    joined: np.ndarray = torch.cat(parts).numpy()
    return joined


@dataclass(frozen=True, eq=False)
class Images:
    """What one detector is trained on.

    Attributes:
        classes: [N] class of each image of the workspace: 0 real, 1 and up the generators.
        train, val: rows; those of ``val`` choose the epoch.
        watched: rows whose log-odds are kept of every epoch.
    """

    classes: Int[np.ndarray, " N"]
    train: Int[np.ndarray, " n"]
    val: Int[np.ndarray, " m"]
    watched: Int[np.ndarray, " w"]

    def weights(self, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Of images in the loss: classes weigh alike, the mean is 1."""
        known = self.classes[rows]
        present, counts = np.unique(known, return_counts=True)
        each = dict(zip(present.tolist(), len(rows) / (len(present) * counts), strict=True))
        return np.array([each[one] for one in known.tolist()])


@dataclass
class State:
    """How far training is; ``best`` is of the epoch with the lowest validation loss."""

    epoch: int = 0
    losses: list[float] = field(default_factory=list)
    val_losses: list[float] = field(default_factory=list)
    watched: list[np.ndarray] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0


def fit(
    detector: Detector,
    source: Source,
    images: Images,
    settings: Settings,
    *,
    checkpoint: Path,
    identity: Mapping[str, Any],
    show: Callable[[str], None] = lambda line: None,
) -> State:
    """Train; goes on from the checkpoint where there is one. The detector ends with the tensors of
    its best epoch (epoch 0 is where it began).

    Args:
        checkpoint: a ``.safetensors``, written anew after every epoch.
        identity: what beside the settings the checkpoint belongs to.

    Raises:
        AigiError: a checkpoint of other settings, or damaged; a loss that is not finite.
    """
    own = digest_of({"settings": asdict(settings), **identity})
    trained = detector.trained()
    groups: list[dict[str, Any]] = [
        {"params": [p for n, p in trained.items() if n.startswith("head.")]},
        {"params": [p for n, p in trained.items() if not n.startswith("head.")]},
    ]
    rates = (settings.lr * HEAD_FASTER, settings.lr)
    optimizer = torch.optim.AdamW(
        [group | {"lr": lr} for group, lr in zip(groups, rates, strict=True) if group["params"]],
        weight_decay=settings.weight_decay,
    )
    state = _read(checkpoint, detector, optimizer, own) if checkpoint.is_file() else State()
    if not state.watched:
        _measure(state, detector, source, images, float("nan"))
    began, first = monotonic(), state.epoch
    while state.epoch < settings.epochs and state.epoch - state.best_epoch < settings.patience:
        loss = _epoch(detector, source, images, settings, optimizer, state.epoch)
        state.epoch += 1
        _measure(state, detector, source, images, loss)
        _write(checkpoint, state, detector, optimizer, own)
        left = (monotonic() - began) / (state.epoch - first) * (settings.epochs - state.epoch)
        show(
            f"epoch {state.epoch} of {settings.epochs} · loss {loss:.3f} · validation"
            f" {state.val_losses[-1]:.3f} (lowest {min(state.val_losses):.3f}, epoch"
            f" {state.best_epoch}) · {left / 60:.1f} min left at most"
        )
    detector.take(state.best)
    return state


def trained_arrays(detector: Detector) -> dict[str, np.ndarray]:
    """What :func:`logits_of` takes to score with a detector again."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in detector.trained().items()}


def _epoch(
    detector: Detector,
    source: Source,
    images: Images,
    settings: Settings,
    optimizer: torch.optim.Optimizer,
    epoch: int,
) -> float:
    """One pass over the training images, in an order drawn from seed and epoch; the mean loss."""
    detector.cut.restore()
    rng = np.random.default_rng([settings.seed, epoch])
    order = rng.permutation(len(images.train))
    copies = rng.integers(0, len(settings.augment) + 1, len(order))
    weights, total = images.weights(images.train), 0.0
    steps = -(-len(order) // settings.batch_size)
    rates = [settings.lr * HEAD_FASTER, settings.lr][: len(optimizer.param_groups)]
    device = detector.cut._device
    for step in range(steps):
        some = order[step * settings.batch_size : (step + 1) * settings.batch_size]
        done = (epoch * steps + step) / (settings.epochs * steps)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (1 + np.cos(np.pi * done)) / 2
        rows = images.train[some]
        kept = source.batch(rows, copies[some])
        mixed = device.type == "cuda"
        with torch.autocast("cuda", torch.bfloat16) if mixed else nullcontext():
            logits = detector.logits(kept)
        classes = torch.from_numpy(images.classes[rows].astype(np.int64)).to(device)
        each = F.cross_entropy(logits.float(), classes, reduction="none")
        loss = (each * torch.from_numpy(weights[some]).float().to(device)).mean()
        if not torch.isfinite(loss):
            raise AigiError(
                f"The loss of epoch {epoch + 1} is not finite: use a lower --lr. What was finished"
                " is kept."
            )
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        total += float(loss.detach()) * len(some)
    return total / len(order)


def _measure(state: State, detector: Detector, source: Source, images: Images, loss: float) -> None:
    """Validation loss and the watched images' log-odds, of the detector as it is now."""
    rows = np.union1d(images.val, images.watched)
    logits = torch.from_numpy(class_logits(detector, source, rows))
    at = np.searchsorted(rows, images.val)
    classes = torch.from_numpy(images.classes[images.val].astype(np.int64))
    each = F.cross_entropy(logits[at], classes, reduction="none").numpy()
    val_loss = float((each * images.weights(images.val)).mean())
    odds = log_odds(logits).numpy()[np.searchsorted(rows, images.watched)]
    if not state.val_losses or val_loss < min(state.val_losses):
        state.best = {name: p.detach().clone() for name, p in detector.trained().items()}
        state.best_epoch = state.epoch
    state.losses.append(loss)
    state.val_losses.append(val_loss)
    state.watched.append(odds)


def _write(
    file: Path, state: State, detector: Detector, optimizer: torch.optim.Optimizer, own: str
) -> None:
    """One file, so that it is whole or not there: tensors, and JSON in its header."""
    tensors = {f"now.{n}": p.detach() for n, p in detector.trained().items()}
    tensors |= {f"best.{n}": p for n, p in state.best.items()}
    for number, one in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{key}": torch.as_tensor(value) for key, value in one.items()}
    tensors["watched"] = torch.from_numpy(np.stack(state.watched))
    about = {
        "identity": own,
        "epoch": state.epoch,
        "best_epoch": state.best_epoch,
        "losses": [None if np.isnan(loss) else loss for loss in state.losses],
        "val_losses": state.val_losses,
    }
    plain = {n: t.cpu().contiguous() for n, t in tensors.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, save(plain, {"state": json.dumps(about)}))


def _read(file: Path, detector: Detector, optimizer: torch.optim.Optimizer, own: str) -> State:
    try:
        with safe_open(file, "pt") as stored:
            about = read_json(stored.metadata()["state"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise AigiError(f"The checkpoint {file} is damaged ({error}): delete it.") from error
    if about["identity"] != own:
        raise AigiError(
            f"The checkpoint {file} is of other settings, images or weights: delete it, or give"
            " another --name."
        )

    def part(prefix: str) -> dict[str, Tensor]:
        return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

    detector.take(part("now."))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in part("adam.").items():
        number, _, key = name.partition(".")
        moments.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    return State(
        about["epoch"],
        [float("nan") if loss is None else loss for loss in about["losses"]],
        about["val_losses"],
        list(tensors["watched"].numpy()),
        {n: t.to(detector.cut._device) for n, t in part("best.").items()},
        about["best_epoch"],
    )
