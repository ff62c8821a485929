"""TextSpan against a plain implementation of the published algorithm, written apart from ours."""

import numpy as np
import pytest

from aigi_core.errors import AigiError
from aigi_core.explain.textspan import head_text_spans, text_span
from aigi_core.heads import embedding_norms, head_basis
from aigi_core.workspace import Workspace


def plain_text_span(
    outputs: np.ndarray, texts: np.ndarray, m: int
) -> tuple[list[int], list[float]]:
    """Algorithm 1 as printed: deflate all outputs and all texts, in the full space, after every
    choice.
    """
    _, s, vh = np.linalg.svd(outputs, full_matrices=False)
    vh = vh[s > 1e-9 * s[0]]
    texts = texts @ vh.T @ vh
    outputs = outputs - outputs.mean(axis=0)
    total = outputs.var(axis=0, ddof=1).sum()
    chosen, explained = [], []
    for _ in range(m):
        j = int(np.argmax((outputs @ texts.T).std(axis=0)))
        t = texts[j] / np.linalg.norm(texts[j])
        along = outputs @ t
        chosen.append(j)
        explained.append(along.var(ddof=1) / total)
        outputs = outputs - np.outer(along, t)
        texts = texts - np.outer(texts @ t, t)
    return chosen, explained


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_published_algorithm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k, d, n, M, m = 12, 40, 150, 300, 11
    head_map = rng.standard_normal((k, d))
    outputs = (
        rng.standard_normal((n, k)) * np.geomspace(5, 0.2, k) + 3 * rng.standard_normal(k)
    ) @ head_map
    texts = rng.standard_normal((M, d))
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    Q, _ = np.linalg.qr(head_map.T)
    span = text_span(np.cov(outputs @ Q, rowvar=False), texts @ Q, m)
    chosen, explained = plain_text_span(outputs, texts, m)
    assert span.texts.tolist() == chosen
    assert span.explained_variance == pytest.approx(explained, rel=1e-8)
    assert span.explained_variance.sum() <= 1 + 1e-12


@pytest.mark.parametrize("normalised", [True, False])
def test_on_a_workspace(synthetic: Workspace, normalised: bool) -> None:
    texts = np.asarray(synthetic.text_bank("phrases").embeddings, np.float64)
    table = head_text_spans(synthetic, texts, m=6, normalised=normalised)
    for layer, head in ((0, 0), (1, 2)):
        outputs = (
            synthetic.heads[layer, head].astype(float)
            @ synthetic.decomposition["head_maps"][layer, head]
        )
        outputs /= synthetic.ln_post[:, 1:].astype(float)
        if normalised:
            outputs /= embedding_norms(synthetic)[:, None]
        chosen, explained = plain_text_span(outputs, texts, 6)
        mine = table[(table["layer"] == layer) & (table["head"] == head)]
        assert mine["text"].tolist() == chosen and mine["rank"].tolist() == [1, 2, 3, 4, 5, 6]
        assert mine["explained"].to_numpy() == pytest.approx(explained, rel=1e-4)
    assert len(table) == 6 * 6


def test_finds_planted_texts_in_order_and_then_stops() -> None:
    rng = np.random.default_rng(1)
    texts = np.eye(10)[:, :6]
    outputs = np.zeros((500, 6))
    outputs[:, 4], outputs[:, 1] = 3 * rng.standard_normal(500), rng.standard_normal(500)
    span = text_span(np.cov(outputs, rowvar=False), texts, 6)
    assert span.texts.tolist() == [4, 1]
    assert span.explained_variance.sum() == pytest.approx(1)


def test_blocks_do_not_change_the_result(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = np.asarray(synthetic.text_bank("phrases").embeddings)
    whole = head_text_spans(synthetic, texts, m=4)
    monkeypatch.setattr("aigi_core.heads.BLOCK", 7)
    assert head_text_spans(synthetic, texts, m=4)["text"].tolist() == whole["text"].tolist()


def test_basis_keeps_lengths(synthetic: Workspace) -> None:
    Q, to_basis = head_basis(synthetic, (1, 1))
    z = synthetic.heads[1, 1, :5].astype(float)
    assert (z @ to_basis) @ Q.T == pytest.approx(
        z @ synthetic.decomposition["head_maps"][1, 1], abs=1e-5
    )
    assert pytest.approx(np.eye(Q.shape[1]), abs=1e-12) == Q.T @ Q


def test_refusals(synthetic: Workspace) -> None:
    with pytest.raises(AigiError, match="no head 9 in layer 0"):
        head_basis(synthetic, (0, 9))
    with pytest.raises(AigiError, match="rows of width 24"):
        head_text_spans(synthetic, np.ones((3, 7)))
    with pytest.raises(AigiError, match="same for all chosen images"):
        text_span(np.zeros((3, 3)), np.eye(3))
    with pytest.raises(AigiError, match="at least two images"):
        head_text_spans(synthetic, np.ones((3, 24)), rows=np.array([0]))
