"""Training part of a tower: what is cached is what the tower computes, and a run that was killed
ends as one that was not.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from aigi_core.clip import finetune as tuning
from aigi_core.clip.encoder import Encoder, load_encoder
from aigi_core.clip.finetune import Cut, Detector, Images, Settings
from aigi_core.errors import AigiError
from tests.clip.finetuning import Held, a_detector, images
from tests.tiny_clip import make_tiny_clip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return load_encoder(make_tiny_clip(tmp_path_factory.mktemp("tiny")), None, device="cpu")


@pytest.fixture(scope="module")
def timm_encoder() -> Encoder:
    return load_encoder("timm:vit_tiny_patch16_224.untrained", None, device="cpu")


@pytest.mark.parametrize("mode", ["head", "last", "full"])
@pytest.mark.parametrize("vision", [{}, {"pool_type": "avg", "final_ln_after_pool": True}])
def test_the_parts_of_a_tower_give_its_own_embedding(
    mode: str, vision: dict[str, object], tmp_path: Path
) -> None:
    encoder = load_encoder(make_tiny_clip(tmp_path, **vision), None, device="cpu")
    cut, size = Cut(encoder, Settings(mode)), encoder.preprocessing.size
    pixels = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        own = encoder.tower(pixels)
        assert torch.allclose(cut(cut.before(pixels)), own, atol=1e-5)
        assert torch.allclose(encoder.tower(pixels), own)  # the encoder's tower is left alone


def test_the_last_block_alone_has_the_gradients_of_the_whole_tower(encoder: Encoder) -> None:
    """Against autograd through the library's own forward pass."""
    cut, size = Cut(encoder, Settings("last")), encoder.preprocessing.size
    pixels = torch.randn(5, 3, size, size, generator=torch.Generator().manual_seed(2))
    cut(cut.before(pixels)).square().sum().backward()
    whole = Cut(encoder, Settings("full"))
    whole(pixels).square().sum().backward()
    theirs = dict(whole.named_parameters())
    trained = {n: p for n, p in cut.named_parameters() if p.requires_grad}
    assert len(trained) == 15  # a block's twelve, the final norm's two, the projection
    for name, parameter in trained.items():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["last", "lora"])
def test_killed_and_resumed_gives_the_same_weights(
    mode: str, encoder: Encoder, tmp_path: Path
) -> None:
    if mode == "lora":
        pytest.importorskip("peft", reason="needs requirements-finetune.txt")
    settings = Settings(mode, epochs=4, lr=1e-3, batch_size=5, augment=("jpeg:50",), patience=9)
    source = Held(Cut(encoder, settings), encoder, copies=2)

    def trained(file: Path, stop_after: int | None = None) -> Detector:
        detector, epochs = a_detector(encoder, settings), 0

        def show(line: str) -> None:
            nonlocal epochs
            epochs += 1
            if epochs == stop_after:
                raise KeyboardInterrupt

        tuning.fit(detector, source, images(), settings, checkpoint=file, identity={}, show=show)
        return detector

    straight = trained(tmp_path / "a.safetensors")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "b.safetensors", stop_after=2)
    resumed = trained(tmp_path / "b.safetensors")
    began = a_detector(encoder, settings).trained()
    for name, tensor in resumed.trained().items():
        assert torch.equal(tensor, straight.trained()[name])
    assert any(not torch.equal(t, began[n]) for n, t in resumed.trained().items())
    other = replace(settings, lr=2e-3)
    with pytest.raises(AigiError, match="other settings"):
        tuning.fit(
            a_detector(encoder, other),
            source,
            images(),
            other,
            checkpoint=tmp_path / "a.safetensors",
            identity={},
        )
    (tmp_path / "a.safetensors").write_bytes(b"no tensors")
    with pytest.raises(AigiError, match="damaged"):
        trained(tmp_path / "a.safetensors")


def test_the_epoch_of_the_lowest_validation_loss_is_kept(encoder: Encoder, tmp_path: Path) -> None:
    settings = Settings("last", epochs=12, lr=3e-3, batch_size=4, patience=2)
    source, one = Held(Cut(encoder, settings), encoder), images()
    detector = a_detector(encoder, settings)
    state = tuning.fit(
        detector, source, one, settings, checkpoint=tmp_path / "c.safetensors", identity={}
    )
    assert state.best_epoch == int(np.argmin(state.val_losses))
    assert len(state.losses) == len(state.watched) == state.epoch + 1
    assert state.epoch in (12, state.best_epoch + 2)
    logits = tuning.class_logits(detector, source, one.watched)
    np.testing.assert_allclose(
        tuning.log_odds_of(logits), state.watched[state.best_epoch], atol=1e-6
    )
    again = tuning.logits_of(encoder, settings, tuning.trained_arrays(detector), source.pixels)
    np.testing.assert_allclose(again[one.watched], logits, atol=1e-5)


def test_classes_weigh_alike_and_log_odds_join_the_generators() -> None:
    one = Images(np.array([0, 0, 0, 1, 2, 2]), np.arange(6), np.arange(0), np.arange(0))
    weights = one.weights(one.train)
    assert weights.mean() == pytest.approx(1)
    assert [weights[one.classes == c].sum() for c in range(3)] == pytest.approx([2, 2, 2])
    logits = np.log(np.array([[0.5, 0.3, 0.2]], np.float32))
    assert tuning.log_odds_of(logits)[0] == pytest.approx(0.0, abs=1e-6)


def test_settings_and_towers_that_do_not_fit_are_refused(encoder: Encoder) -> None:
    with pytest.raises(AigiError, match="mode of head"):
        Settings("all")
    with pytest.raises(AigiError, match="learning rate"):
        Settings("last", lr=0)
    detector = a_detector(encoder, Settings("last"))
    with pytest.raises(AigiError, match="another model or mode"):
        detector.take({"head.bias": torch.zeros(2)})


def test_low_rank_changes_are_all_that_is_trained(encoder: Encoder) -> None:
    pytest.importorskip("peft", reason="needs requirements-finetune.txt")
    cut = Cut(encoder, Settings("lora", rank=2))
    trained = [name for name, p in cut.named_parameters() if p.requires_grad]
    assert trained and all("lora_" in name for name in trained)
    assert any("attn" in name for name in trained) and any("c_fc" in name for name in trained)
    size = encoder.preprocessing.size
    pixels = torch.randn(2, 3, size, size)
    with torch.no_grad():  # low-rank changes begin at zero
        torch.testing.assert_close(cut(pixels), encoder.tower(pixels))
    cut(pixels).sum().backward()
    assert any(
        p.grad is not None and p.grad.abs().sum() > 0 for p in cut.parameters() if p.requires_grad
    )


def test_mixed_precision_leaves_the_head_in_full_precision(encoder: Encoder) -> None:
    """As on CUDA, where training runs under autocast: logits of bfloat16 would be off by .4%."""
    detector = a_detector(encoder, Settings("head"))
    kept = torch.randn(6, encoder.embedding_width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        mixed = detector.logits(kept)
    with torch.no_grad():
        torch.testing.assert_close(mixed, detector.logits(kept), rtol=0, atol=0)


def test_a_tower_without_blocks_says_so(encoder: Encoder) -> None:
    bare = replace(encoder, adapter=_adapter_of(nn.Linear(2, 2)))
    with pytest.raises(AigiError, match="no blocks in a row"):
        Cut(bare, Settings("last"))


def _adapter_of(tower: nn.Module) -> object:
    from aigi_core.clip.towers import adapter_for

    return adapter_for(tower, 2)
