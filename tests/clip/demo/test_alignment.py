"""Fitting on planted data, where the right answer is known; ranks against a loop."""

import numpy as np
import pytest

from aigi_core.clip.demo.alignment import Alignment, fit, ranks, unit
from aigi_core.errors import AigiError

RNG = np.random.default_rng(0)


def planted(n: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, 24] and captions [n, 16] that share six latent directions, drawn with the same
    maps for any seed.
    """
    fixed, rng = np.random.default_rng(7), np.random.default_rng(seed)
    to_image, to_text = fixed.standard_normal((6, 24)), fixed.standard_normal((6, 16))
    latent = rng.standard_normal((n, 6))
    images = latent @ to_image + noise * rng.standard_normal((n, 24)) * np.geomspace(3, 0.3, 24) + 5
    return images, latent @ to_text + noise * rng.standard_normal((n, 16)) - 2


def test_unseen_captions_are_recognised() -> None:
    images, texts = planted(300, 0.3, seed=1)
    alignment = fit(images, [texts])
    unseen, captions = planted(100, 0.3, seed=2)
    result = ranks(alignment.images(unseen), alignment.texts(captions))
    assert (result <= 5).mean() > 0.8
    wrong = ranks(alignment.images(unseen), alignment.texts(captions[::-1]))
    assert (wrong <= 5).mean() < 0.2  # chance is 0.05


def test_noise_alone_aligns_nothing_unseen() -> None:
    alignment = fit(RNG.standard_normal((300, 24)), [RNG.standard_normal((300, 16))])
    result = ranks(
        alignment.images(RNG.standard_normal((400, 24))),
        alignment.texts(RNG.standard_normal((400, 16))),
    )
    assert abs(result.mean() / 400 - 0.5) < 0.06  # four standard errors of a uniform rank


def test_nothing_of_the_image_is_lost() -> None:
    images, texts = planted(300, 0.3, seed=1)
    alignment = fit(images, [texts])
    assert (
        alignment.image_map.shape == (24, 24) and np.linalg.matrix_rank(alignment.image_map) == 24
    )
    back = (
        alignment.images(images) @ np.linalg.inv(alignment.image_map.astype(float))
        + alignment.image_mean
    )
    np.testing.assert_allclose(back, images, atol=1e-3)
    np.testing.assert_allclose(
        np.linalg.norm(alignment.images(images), axis=1).mean(), 1, rtol=1e-4
    )


def test_wordings_are_averaged_not_chosen() -> None:
    images, texts = planted(200, 0.3, seed=1)
    one, same = fit(images, [texts]), fit(images, [texts, texts])
    np.testing.assert_allclose(one.text_map, same.text_map, atol=1e-5)
    other = fit(images, [texts, RNG.permutation(texts)])
    assert np.abs(other.text_map - one.text_map).max() > 1e-2


@pytest.mark.parametrize(
    ("images", "texts"),
    [
        (np.zeros((1, 4)), [np.zeros((1, 4))]),
        (np.zeros((5, 4)), []),
        (np.zeros((5, 4)), [np.zeros((4, 4))]),
        (np.full((5, 4), np.nan), [np.zeros((5, 4))]),
    ],
)
def test_bad_input_is_refused(images: np.ndarray, texts: list[np.ndarray]) -> None:
    with pytest.raises(AigiError, match="An alignment needs"):
        fit(images, texts)


def test_saved_and_loaded(tmp_path) -> None:
    images, texts = planted(60, 0.3, seed=1)
    alignment = fit(images, [texts])
    alignment.save(tmp_path / "a.safetensors")
    loaded = Alignment.load(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(loaded.texts(texts), alignment.texts(texts))
    np.testing.assert_array_equal(loaded.images(images), alignment.images(images))


@pytest.mark.parametrize("content", [None, b"", b"junk" * 9])
def test_damaged_file_is_one_sentence(tmp_path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(AigiError, match="restore it from the repository"):
        Alignment.load(tmp_path / "a.safetensors")


def test_ranks_count_ties_half() -> None:
    images = np.array([[1.0, 0], [0, 1], [1, 1]])
    texts = np.array([[2.0, 0], [3, 0], [0, 1]])
    assert ranks(images, texts).tolist() == [1.5, 2.5, 2.0]
    a, b = RNG.standard_normal((30, 5)), RNG.standard_normal((30, 5))
    loop = [
        1 + sum(unit(a[i]) @ unit(t) > unit(a[i]) @ unit(b[i]) for t in np.delete(b, i, 0))
        for i in range(30)
    ]
    assert ranks(a, b).tolist() == loop


def test_zero_rows_stay_zero() -> None:
    assert unit(np.array([[0.0, 0], [3, 4]])).tolist() == [[0, 0], [0.6, 0.8]]
