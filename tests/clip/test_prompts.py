"""Learned prompts: gradients and steps against a loop written out for open_clip's text tower."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from aigi_core.clip.encoder import Encoder, load_encoder
from aigi_core.clip.prompts import LEARNING_RATE, SPREAD, TEMPERATURE, TextTower, learn_prompts
from aigi_core.detectors.detector import LinearDetector, score_detectors
from aigi_core.detectors.methods import METHODS
from aigi_core.detectors.methods.prompts import CLASSES, LearnedPrompts
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.stored import load_detectors
from aigi_core.errors import AigiError, NotMadeError
from aigi_core.explain.detector_words import null_directions
from aigi_core.explain.nulls import permuted_labels
from aigi_core.explain.stored_nulls import keep_nulls
from aigi_core.transfer.board import measure
from aigi_core.workspace import Workspace, read_manifest, write_manifest
from precompute.__main__ import main
from tests.tiny_clip import make_tiny_clip
from ui import results
from ui.results import Setting, explanations


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = tmp_path_factory.mktemp("prompts") / "tiny"
    return load_encoder(make_tiny_clip(folder), None, device="cpu")


def problem(d: int, n: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = (np.arange(n) % 3 == 0).astype(int)
    X = rng.standard_normal((n, d)) + 0.5 * y[:, None] * rng.standard_normal(d)
    return X / np.linalg.norm(X, axis=1, keepdims=True), y, np.where(y, 1.5, 0.75)


def by_hand(model: torch.nn.Module, encoder: Encoder, context: torch.Tensor) -> torch.Tensor:
    """Both texts through open_clip's own parts, context vectors after the start token."""
    rows = []
    for text in CLASSES:
        words = encoder.tokenizer.encode(text)
        ids = [49406, *words, 49407]
        table = model.token_embedding.weight
        vectors = torch.cat([table[ids[:1]], context, table[ids[1:]]])
        length = len(vectors)
        x = vectors + model.positional_embedding[:length]
        mask = torch.full((length, length), float("-inf")).triu(1)
        x = model.transformer(x[None], attn_mask=mask)
        end = model.ln_final(x)[0, -1] @ model.text_projection
        rows.append(end / end.norm())
    return torch.stack(rows)


def whole_model(encoder: Encoder) -> torch.nn.Module:
    """The model that the encoder's text tower is part of."""
    assert encoder.text_tower is not None and encoder.text_tower.forward.__closure__
    cells = [cell.cell_contents for cell in encoder.text_tower.forward.__closure__]
    [model] = [cell for cell in cells if isinstance(cell, torch.nn.Module)]
    return model


@pytest.mark.parametrize("bias", [True, False])
def test_steps_are_those_of_a_loop_by_hand(encoder: Encoder, bias: bool) -> None:
    X, y, weight = problem(encoder.embedding_width)
    assert encoder.text_tower is not None
    given = learn_prompts(
        encoder.text_tower,
        CLASSES,
        X,
        y[None],
        weight[None],
        vectors=3,
        steps=[1, 6],
        fit_intercept=bias,
    )
    model = whole_model(encoder)
    first = SPREAD * np.random.default_rng(0).standard_normal((3, encoder.text_tower.width))
    context = torch.tensor(first, dtype=torch.float32, requires_grad=True)
    b = torch.zeros((), requires_grad=True)
    adam = torch.optim.Adam([context, b] if bias else [context], lr=LEARNING_RATE)
    images, known = torch.tensor(X, dtype=torch.float32), torch.tensor(y)
    for step in range(1, 7):
        texts = by_hand(model, encoder, context)
        logits = TEMPERATURE * images @ texts.T
        logits = torch.stack([logits[:, 0], logits[:, 1] + b], dim=1)
        loss = torch.nn.functional.cross_entropy(logits, known, reduction="none")
        adam.zero_grad()
        ((loss * torch.tensor(weight)).sum() / weight.sum()).backward()
        adam.step()
        if step in (1, 6):
            with torch.no_grad():
                real, fake = by_hand(model, encoder, context)
            learnt = given[0 if step == 1 else 1]
            np.testing.assert_allclose(learnt.weights[0], TEMPERATURE * (fake - real), atol=2e-3)
            assert learnt.bias[0] == pytest.approx(float(b.detach()) if bias else 0.0, abs=1e-4)
    assert np.abs(given[1].weights - given[0].weights).max() > 0.1  # something was learnt


def test_the_gradient_is_that_of_finite_differences(encoder: Encoder) -> None:
    tower = encoder.text_tower
    assert tower is not None
    rng = np.random.default_rng(1)
    context = torch.tensor(0.1 * rng.standard_normal((2, tower.width)), dtype=torch.float32)
    towards = torch.tensor(rng.standard_normal((2, encoder.embedding_width)), dtype=torch.float32)

    def value(at: torch.Tensor) -> torch.Tensor:
        return (tower.after(at[None], CLASSES)[0] * towards).sum()

    moving = context.clone().requires_grad_(True)
    value(moving).backward()
    assert moving.grad is not None
    step = 1e-2
    for place in [(0, 0), (0, 5), (1, 3)]:
        shift = torch.zeros_like(context)
        shift[place] = step
        slope = float((value(context + shift) - value(context - shift)) / (2 * step))
        assert float(moving.grad[place]) == pytest.approx(slope, rel=0.03, abs=1e-3)
    with torch.no_grad():  # the hook is gone: texts are read as before
        plain = tower.forward(["real photograph"])
    np.testing.assert_allclose(plain, encoder.encode_texts(["real photograph"]), atol=1e-6)


def test_a_tokenizer_that_splits_placeholders_is_refused(encoder: Encoder) -> None:
    embedding = torch.nn.Embedding(9, 4)
    tower = TextTower(embedding, lambda texts: embedding(torch.arange(len(texts) * 4).view(-1, 4)))
    with pytest.raises(AigiError, match="as 3 equal tokens"):
        tower.after(torch.zeros(1, 3, 4), CLASSES)


@pytest.fixture
def in_the_workspace(encoder: Encoder, synthetic: Workspace) -> tuple[LearnedPrompts, Workspace]:
    """The method on a tower into a space as wide as the synthetic workspace's."""
    tower = encoder.text_tower
    assert tower is not None
    rng = np.random.default_rng(0)
    shape = (encoder.embedding_width, synthetic.embeddings.shape[1])
    widen = torch.tensor(rng.standard_normal(shape), dtype=torch.float32)
    return LearnedPrompts(TextTower(tower.embedding, lambda t: tower.forward(t) @ widen)), synthetic


def test_fewer_steps_are_the_beginning_of_a_path(
    in_the_workspace: tuple[LearnedPrompts, Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    method, workspace = in_the_workspace
    monkeypatch.setattr("aigi_core.detectors.methods.prompts.STEPS", (2, 5))
    monkeypatch.setattr("aigi_core.detectors.methods.prompts.VECTORS", (2, 3))
    [detector] = method.train(workspace, ["beta-diff"])
    assert isinstance(detector, LinearDetector) and detector.has_direction
    tried = detector.provenance["validation"]["grid"]
    assert tried == [{"vectors": v, "steps": s} for v in (2, 3) for s in (2, 5)]
    rows = {split: workspace.domains.rows("beta-diff", split) for split in ("train", "val")}
    X, y = detector.view.matrix(workspace), workspace.domains.labels
    accuracies = []
    for point in tried:
        alone = method.fit(X[rows["train"]], y[rows["train"]], point, Protocol())
        called = X[rows["val"]] @ alone["weights"] + alone["bias"] > 0
        known = y[rows["val"]] > 0
        accuracies.append((called[known].mean() + (~called[~known]).mean()) / 2)
    np.testing.assert_allclose(detector.provenance["validation"]["accuracy"], accuracies)
    own = method.twin(workspace, detector)
    assert score_detectors([own], workspace).shape == (1, len(workspace.images))
    assert own.provenance["protocol"]["refit"] is False


def test_the_null_is_the_same_training_on_other_labels(
    in_the_workspace: tuple[LearnedPrompts, Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sets of labels that are learnt together against each alone; the true labels among them."""
    method, workspace = in_the_workspace
    monkeypatch.setattr("aigi_core.detectors.methods.prompts.STEPS", (3,))
    monkeypatch.setattr("aigi_core.detectors.methods.prompts.VECTORS", (2,))
    monkeypatch.setattr("aigi_core.detectors.methods.prompts.AT_ONCE", 2)
    monkeypatch.setitem(METHODS, "prompts", method)
    [detector] = method.train(workspace, ["beta-diff"])
    assert isinstance(detector, LinearDetector)
    rows = workspace.domains.rows("beta-diff", ("train", "val"))
    X, y = detector.view.matrix(workspace, rows), workspace.domains.labels[rows]
    shuffled = permuted_labels(workspace.domains, rows, draws=2)
    labels = np.vstack([shuffled, y[None]])
    null = method.null_weights(X, labels, detector)
    alone = [method.fit(X, own, {"vectors": 2, "steps": 3}, Protocol()) for own in labels]
    # Adam's first steps go by the gradients' signs, which rounding may turn where they are small
    np.testing.assert_allclose(null, [one["weights"] for one in alone], atol=0.01)
    np.testing.assert_allclose(null[2], detector.weights, atol=0.01)
    assert np.abs(null[:2] - null[2]).max(axis=1).min() > 0.3
    directions = null_directions(workspace, detector, draws=2)
    np.testing.assert_allclose(directions, null[:2], atol=0.01)


def test_nulls_that_take_minutes_are_stored_by_the_job_and_read_by_pages(
    in_the_workspace: tuple[LearnedPrompts, Workspace],
    synthetic_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    method, _ = in_the_workspace
    workspace = Workspace.open(shutil.copytree(synthetic_path, tmp_path / "w"))
    monkeypatch.setattr("aigi_core.detectors.methods.prompts.STEPS", (2,))
    monkeypatch.setattr("aigi_core.detectors.methods.prompts.VECTORS", (2,))
    monkeypatch.setitem(METHODS, "prompts", method)
    names = workspace.domains.generators
    setting = Setting(tuple((name,) for name in names), method="prompts")
    with pytest.raises(NotMadeError, match="words --workspace .* --method prompts"):
        explanations.words(workspace, setting, 0)
    command = ["words", "--workspace", str(workspace.path), "--method", "prompts", "--draws"]
    assert main([*command, "9"]) == 0 and "0 of them from an earlier run" in capsys.readouterr().out
    assert main([*command, "9"]) == 0 and "4 of them from an earlier run" in capsys.readouterr().out
    workspace = Workspace.open(workspace.path)
    detector = results.detectors(workspace, setting)[1]
    expected = null_directions(workspace, detector, draws=9)
    null = explanations.nulls(workspace, setting, 1)
    np.testing.assert_allclose(null, expected, atol=0.01)
    other = explanations.nulls(workspace, setting, 1, seed=1)
    np.testing.assert_array_equal(other[1:], null[:-1])
    assert explanations.words(workspace, setting, 1).draws == 9
    assert (
        main([*command, "11"]) == 0 and "0 of them from an earlier run" in capsys.readouterr().out
    )
    with pytest.raises(AigiError, match="not 'ridge'"):
        keep_nulls(workspace, "ridge")


def test_without_a_text_tower_a_sentence_says_so(synthetic_path: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(synthetic_path, tmp_path / "w"))
    manifest = read_manifest(copy)
    manifest["encoder"]["gives"] = {"heads": "class token", "lacks": {"texts": "it is a ResNet"}}
    write_manifest(copy, manifest)
    with pytest.raises(AigiError, match="need a text tower.*it is a ResNet"):
        METHODS["prompts"].train(Workspace.open(copy), ["beta-diff"])
    with pytest.raises(AigiError, match="text tower of a workspace's encoder"):
        LearnedPrompts().fit(np.eye(2), np.arange(2), {"vectors": 4, "steps": 1}, Protocol())


def test_the_board_keeps_the_detectors_for_pages(
    in_the_workspace: tuple[LearnedPrompts, Workspace],
    synthetic_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method, _ = in_the_workspace
    workspace = Workspace.open(shutil.copytree(synthetic_path, tmp_path / "w"))
    monkeypatch.setattr("aigi_core.detectors.methods.prompts.STEPS", (2,))
    monkeypatch.setattr("aigi_core.detectors.methods.prompts.VECTORS", (2,))
    measured = measure(workspace, method)
    names = workspace.domains.generators
    for refit, split, scores in ((True, "test", measured.test), (False, "val", measured.val)):
        kept = load_detectors(workspace, names, protocol=Protocol(refit=refit), method="prompts")
        assert kept is not None
        again = score_detectors(kept, workspace, workspace.domains.split == split)
        np.testing.assert_allclose(again, scores, atol=1e-9)
