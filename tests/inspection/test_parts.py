"""Taking parts away: against embeddings rebuilt without them, one contribution at a time."""

import numpy as np
import pytest

from aigi_core.clip.encoder import load_encoder
from aigi_core.clip.tokens import token_terms
from aigi_core.errors import AigiError
from aigi_core.explain.evidence import evidence
from aigi_core.explain.reading import Reading
from aigi_core.inspection.parts import Parts, Removal
from aigi_core.workspace import Workspace
from tests.explain.plain import some_readings
from tests.tiny_workspace import make_picture

REMOVALS = [
    Removal(heads=((1, 2),)),
    Removal(patches=((0, 0), (2, 3))),
    Removal(components=(0, 5, 23)),
    Removal(heads=((0, 0), (2, 1)), patches=((1, 1), (3, 3)), components=(7,)),
]


@pytest.fixture(scope="module")
def parts(tiny: tuple) -> Parts:
    encoder = load_encoder(tiny[1], None, device="cpu")
    return Parts.of_tokens(
        token_terms(encoder, encoder.preprocessing.pixels(make_picture(1, 99))),
        encoder.decomposition(),
    )


def rebuilt(parts: Parts, reading: Reading, removal: Removal) -> float:
    """The slow way: every (layer, head, token) contribution as a vector, added up unless it is
    taken away.
    """
    layers, heads, tokens, _ = parts.contexts.shape
    kept = np.ones(len(parts.embedding))
    kept[list(removal.components)] = 0
    length = np.linalg.norm(parts.embedding) if reading.normalised else 1.0
    total = sum(reading.embedding @ (term * kept) for term in parts.rest)
    for layer in range(layers):
        for head in range(heads):
            for token in range(tokens):
                patch = divmod(token - 1, parts.grid[1]) if token and parts.grid else None
                if (layer, head) in removal.heads or patch in removal.patches:
                    continue
                vector = parts.contexts[layer, head, token] @ parts.head_maps[layer, head] * kept
                total += (
                    reading.embedding @ vector + reading.heads.get((layer, head), 0 * kept) @ vector
                )
    return reading.bias + total / length


@pytest.mark.parametrize("removal", [Removal(), *REMOVALS])
@pytest.mark.parametrize("which", range(4))
def test_equals_the_slow_way(parts: Parts, removal: Removal, which: int) -> None:
    reading = some_readings(len(parts.embedding))[which]
    result = parts.evidence(reading, removal)
    assert result.logit == pytest.approx(rebuilt(parts, reading, removal), abs=1e-4)


def test_changes_add_up_where_parts_do_not_overlap(parts: Parts) -> None:
    reading = some_readings(len(parts.embedding))[0]
    before = parts.evidence(reading)
    patch = before.logit - parts.evidence(reading, Removal(patches=((1, 2),))).logit
    head = before.logit - parts.evidence(reading, Removal(heads=((2, 3),))).logit
    assert patch == pytest.approx(before.patches[1, 2], abs=1e-9)
    assert head == pytest.approx(before.heads[2, 3].sum(), abs=1e-9)
    both = parts.evidence(reading, Removal(heads=((2, 3),), patches=((1, 2),))).logit
    assert before.logit - both == pytest.approx(
        head + patch - before.head_patches((2, 3))[1, 2], abs=1e-9
    )
    components = parts.components(reading)
    assert reading.bias + components.sum() == pytest.approx(before.logit, abs=1e-4)
    without = parts.evidence(reading, Removal(components=(4,))).logit
    assert before.logit - without == pytest.approx(components[4], abs=1e-4)


def test_cached_features_agree_with_the_evidence_of_heads(synthetic: Workspace) -> None:
    for reading in some_readings():
        expected = evidence(synthetic, reading, np.array([7]))
        result = Parts.of_row(synthetic, 7).evidence(reading)
        assert result.logit == pytest.approx(expected.logit[0], abs=1e-4)
        np.testing.assert_allclose(result.heads.sum(axis=2), expected.heads[0], atol=1e-5)


def test_differences_from_the_average_add_up(synthetic: Workspace) -> None:
    reading = some_readings()[0]
    average = evidence(synthetic, reading, np.arange(20))
    own = Parts.of_row(synthetic, 40).evidence(reading)
    result = own.compared_with(average)
    assert result.logit[0] == pytest.approx(own.logit - average.logit.mean(), abs=1e-9)
    table = result.table()
    assert table["evidence"].sum() == pytest.approx(result.logit[0], abs=1e-4)
    assert "bias" not in set(table["term"]), "what all images share says nothing of this one"


def test_what_does_not_exist_is_refused(synthetic: Workspace, parts: Parts) -> None:
    reading = some_readings()[0]
    cached = Parts.of_row(synthetic, 0)
    for removal, says in (
        (Removal(heads=((9, 0),)), "no head 0 in layer 9"),
        (Removal(components=(24,)), "no component 24"),
        (Removal(patches=((0, 0),)), "load the encoder"),
    ):
        with pytest.raises(AigiError, match=says):
            cached.evidence(reading, removal)
    with pytest.raises(AigiError, match="no patch 4.0"):
        parts.evidence(some_readings(len(parts.embedding))[0], Removal(patches=((4, 0),)))
    with pytest.raises(AigiError, match="needs a full forward pass"):
        _ = cached.evidence(reading).patches
    with pytest.raises(AigiError, match="no image in row"):
        Parts.of_row(synthetic, 10_000)
