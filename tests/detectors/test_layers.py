"""Weighted layers: the gradient by finite differences, a planted layer, features by hand."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from scipy.optimize import check_grad
from scipy.special import softmax

from aigi_core.detectors.detector import Detector, LinearDetector
from aigi_core.detectors.methods.layers import Layers, loss_and_gradient, shares_of_layers
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.token_views import AllLayersView
from aigi_core.detectors.training import TrainingImages
from aigi_core.errors import AigiError
from aigi_core.heads import Encoded
from aigi_core.workspace import Workspace


@pytest.mark.parametrize("bias", [True, False])
def test_the_gradient_is_that_of_finite_differences(bias: bool) -> None:
    rng = np.random.default_rng(0)
    tokens, y = rng.normal(size=(20, 3, 4)), rng.integers(0, 2, 20)
    arguments = (tokens, y, rng.uniform(0.5, 2, 20), 3.0, bias)
    for _ in range(3):
        point = rng.normal(size=4 * 4 + 1)
        error = check_grad(
            lambda p: loss_and_gradient(p, *arguments)[0],
            lambda p: loss_and_gradient(p, *arguments)[1],
            point,
        )
        assert error < 1e-4
        w, a, b = point[:4], softmax(point[4:-1].reshape(3, 4), axis=0), point[-1]
        f = np.array([sum(w[d] * sum(a[:, d] * x[:, d]) for d in range(4)) for x in tokens])
        f, sign = f + b * bias, 2 * y - 1
        by_hand = 3.0 * (arguments[2] * np.log1p(np.exp(-sign * f))).sum()
        by_hand += (w @ w + point[4:-1] @ point[4:-1]) / 2
        assert loss_and_gradient(point, *arguments)[0] == pytest.approx(by_hand)


def test_what_is_fitted_is_what_autograd_and_another_optimiser_find() -> None:
    """An independent oracle: the loss of the docstring in torch, minimised by torch's L-BFGS."""
    rng = np.random.default_rng(4)
    y = np.arange(60) % 2
    tokens = rng.normal(size=(60, 3, 5))
    tokens[:, 1] += 0.8 * y[:, None]
    tokens /= np.linalg.norm(tokens, axis=2, keepdims=True)
    fitted = Layers(3).fit(tokens.reshape(60, -1), y, {"C": 1.0}, Protocol())
    x, sign = torch.tensor(tokens), torch.tensor(2.0 * y - 1)
    w = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    a = torch.zeros(3, 5, dtype=torch.float64, requires_grad=True)
    b = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [w, a, b], max_iter=2000, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        f = ((a.softmax(dim=0) * x).sum(dim=1) * w).sum(dim=1) + b
        loss = torch.nn.functional.softplus(-sign * f).sum() + ((w**2).sum() + (a**2).sum()) / 2
        loss.backward()
        return loss

    optimizer.step(closure)
    weights = (a.softmax(dim=0) * w).detach().numpy().ravel()
    np.testing.assert_allclose(fitted["weights"], weights, atol=2e-3)
    assert fitted["bias"] == pytest.approx(float(b.detach()), abs=2e-3)
    assert np.abs(weights).max() > 0.1


def test_the_layer_that_tells_gets_the_weight(synthetic: Workspace) -> None:
    domains, name = synthetic.domains, synthetic.domains.generators[0]
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(len(domains), 4, 6))
    tokens[:, 2, :2] += 2.0 * domains.labels[:, None]
    tokens /= np.linalg.norm(tokens, axis=2, keepdims=True)
    X = tokens.reshape(len(domains), -1)
    view = AllLayersView(layers=4)
    [detector] = Layers(4).train_on(TrainingImages(X, domains, view), [name], Protocol())
    assert isinstance(detector, LinearDetector) and not detector.has_direction
    shares = shares_of_layers(detector)
    assert shares.argmax() == 2 and shares.sum() == pytest.approx(1)
    test = domains.rows(name, "test")
    assert ((detector.score(X[test]) > 0) == domains.labels[test]).mean() > 0.8
    read = Detector.from_saved(*detector.to_saved())
    assert isinstance(read, LinearDetector) and read.view == view


def test_the_view_is_all_layers_of_unit_length() -> None:
    tokens = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float16)
    images = cast(
        Encoded, SimpleNamespace(feature=lambda name: tokens if name == "norm2" else None)
    )
    X = AllLayersView(layers=3).matrix(images, np.array([4, 1]))
    one = tokens[1][4].astype(float)
    np.testing.assert_allclose(X[0, 4:8], one / np.linalg.norm(one))
    assert X.shape == (2, 12)
    with pytest.raises(AigiError, match="this encoder has 3"):
        AllLayersView(layers=2).matrix(images)


def test_without_tokens_the_command_is_named(synthetic_path: Path, tmp_path: Path) -> None:
    workspace = Workspace.open(Path(shutil.copytree(synthetic_path, tmp_path / "w")))
    with pytest.raises(AigiError, match="norm2|layers"):
        Layers().train(workspace, workspace.domains.generators)
    with pytest.raises(AigiError, match="all layers of a workspace"):
        Layers().fit(np.zeros((4, 6)), np.array([0, 1, 0, 1]), {"C": 1.0}, Protocol())
