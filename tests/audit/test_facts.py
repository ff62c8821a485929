"""Planted confounds of the files are found; where facts are drawn alike, nothing is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats.contingency import association as scipy_association

from aigi_core.audit import facts as f
from aigi_core.errors import AigiError
from aigi_core.manifest import Domains
from aigi_core.transfer import transfer_matrix
from tests.audit.factory import CLEAN, CONFOUNDED, PARTLY, SIZED, clean_images, planted_images


@pytest.fixture(scope="module")
def planted() -> pd.DataFrame:
    return planted_images()


@pytest.fixture(scope="module")
def domains(planted: pd.DataFrame) -> Domains:
    return Domains.from_images(planted)


def in_domain(images: pd.DataFrame) -> dict[str, tuple[float, float, float]]:
    domains = Domains.from_images(images)
    result = f.fact_scores(f.file_facts(images), domains)
    matrix = transfer_matrix(
        result.scores, domains, result.train, metrics=("balanced_accuracy",), draws=300
    )
    values, (low, high) = matrix.values["balanced_accuracy"], matrix.interval("balanced_accuracy")
    return {name: (values[i, i], low[i, i], high[i, i]) for i, name in enumerate(matrix.test)}


def test_the_detector_of_facts_finds_what_was_planted(planted: pd.DataFrame) -> None:
    result = in_domain(planted)
    assert result[SIZED][0] == 1
    assert result[CONFOUNDED][0] == pytest.approx(0.9, abs=0.07)  # a fifth of the reals is PNG too
    assert result[PARTLY][0] == pytest.approx(0.775, abs=0.13)
    assert result[CLEAN][1] < 0.5 < result[CLEAN][2]


def test_no_confound_is_reported_where_facts_are_drawn_alike() -> None:
    values = [
        value for seed in range(3) for value, _, _ in in_domain(clean_images(seed=seed)).values()
    ]
    assert np.mean(values) == pytest.approx(0.5, abs=0.06)


def test_association_names_the_fact(planted: pd.DataFrame, domains: Domains) -> None:
    table = f.association(f.file_facts(planted), domains, draws=300).set_index(
        ["generator", "fact"]
    )
    assert table.loc[(SIZED, "width"), "cramers_v"] > 0.99
    assert table.loc[(SIZED, "width"), ["fake_value", "fake_share"]].tolist() == ["512", 1.0]
    assert table.loc[(CONFOUNDED, "format"), ["fake_value", "real_value"]].tolist() == [
        "PNG",
        "JPEG",
    ]
    strong = table.loc[(CONFOUNDED, "format")]
    assert 0.6 < strong["low"] < strong["cramers_v"] < strong["high"] < 1
    assert table.loc[CLEAN, "cramers_v"].max() < 0.25
    assert (table.loc[CLEAN, "low"] == 0).mean() >= 0.7
    assert table.loc[(CLEAN, "format"), ["n_fake", "n_real"]].tolist() == [80, 80]


def test_cramers_v_corrects_its_bias_and_agrees_with_scipy_on_large_tables() -> None:
    rng = np.random.default_rng(0)
    table = rng.multinomial(200_000, [0.3, 0.1, 0.1, 0.1, 0.2, 0.2]).reshape(2, 3)
    assert f._cramers_v(table[None].astype(float), np.ones(1))[0] == pytest.approx(
        scipy_association(table, method="cramer"), abs=2e-3
    )
    independent = (
        rng.multinomial(60, np.full(16, 1 / 16), size=2000).reshape(-1, 2, 8).astype(float)
    )
    plain = np.mean(
        [
            scipy_association(t[:, t.sum(0) > 0].astype(int), method="cramer")
            for t in independent[:200]
        ]
    )
    assert plain > 0.3
    assert np.median(f._cramers_v(independent, np.ones(2000))) < 0.15


def test_the_interval_of_the_association_covers_the_truth() -> None:
    """Facts with V = 0.5: a fifth of fakes and seven tenths of reals are PNG."""
    covered = 0
    for seed in range(40):
        images = clean_images(per_class=60, seed=seed)
        rng = np.random.default_rng(100 + seed)
        images["format"] = np.where(
            rng.random(len(images)) < np.where(images["label"] == 1, 0.25, 0.75), "PNG", "JPEG"
        )
        table = f.association(
            f.file_facts(images)[["format"]], Domains.from_images(images), [CLEAN], draws=200
        )
        covered += bool(table.loc[0, "low"] <= 0.5 <= table.loc[0, "high"])
    assert covered >= 34


def test_a_fact_nearly_without_exceptions_does_not_tell_the_label_beyond_doubt() -> None:
    """Two in a hundred of either class are exceptions: V = 0.96 where as many are of each."""
    covered = 0
    for seed in range(40):
        images = clean_images(per_class=30, seed=seed)
        rng = np.random.default_rng(seed)
        fake = images["label"] == 1
        images["format"] = np.where(fake ^ (rng.random(len(images)) < 0.02), "PNG", "JPEG")
        table = f.association(
            f.file_facts(images)[["format"]], Domains.from_images(images), [CLEAN], draws=200
        )
        covered += bool(table.loc[0, "low"] <= 0.96 <= table.loc[0, "high"])
        assert table.loc[0, "low"] < 0.999
    assert covered >= 36


def test_distribution_adds_up(planted: pd.DataFrame, domains: Domains) -> None:
    for fact in ("format", "width", "jpeg_quality"):
        table = f.distribution(f.file_facts(planted), domains, fact)
        assert table["n"].sum() == len(planted)
        np.testing.assert_allclose(table.groupby(["label", "generator", "pool"])["share"].sum(), 1)
        assert ((table["low"] <= table["share"]) & (table["share"] <= table["high"])).all()
    formats = f.distribution(f.file_facts(planted), domains, "format").set_index(
        ["generator", "pool", "value"]
    )
    assert formats.loc[(CONFOUNDED, "general", "PNG"), "share"] == 1
    assert formats.loc[("", "faces", "PNG"), "n"] == 0


def test_values_of_a_quantity_keep_frequent_numbers_apart() -> None:
    codes, names = f.fact_values(pd.Series([1.0, 1, 2, np.nan]), category=False)
    assert (codes.tolist(), names) == ([0, 0, 1, 2], ("1", "2", "none"))
    values = pd.Series(np.r_[np.full(50, 256.0), np.arange(300.0, 350)])
    codes, names = f.fact_values(values, category=False, bins=4)
    assert names[0] == "256" and (codes[:50] == 0).all() and (codes[50:] > 0).all()
    assert names[-1].endswith("349")
    assert f.fact_values(pd.Series([np.nan, np.nan]), category=False)[1] == ("none",)


def originals(images: pd.DataFrame) -> pd.DataFrame:
    """Real images were re-saved from larger files, as the collection beside the checkout was."""
    table = images.copy()
    for name in ("width", "height", "format", "bytes"):
        table[f"original_{name}"] = table[name]
    real = table["label"] == 0
    table.loc[real, ["original_width", "original_height"]] = (
        table.loc[real, ["width", "height"]].to_numpy() * 4
    )
    table["original_width"] = table["original_width"].astype(str)  # a CSV read as text
    return table


def test_the_original_view_shows_the_files_before_they_were_resaved() -> None:
    images = originals(clean_images())
    stored, original = f.file_facts(images, "stored"), f.file_facts(images, "original")
    pd.testing.assert_frame_equal(stored, f.file_facts(clean_images()))
    real = (images["label"] == 0).to_numpy()
    np.testing.assert_array_equal(original["width"][real], 4 * stored["width"][real])
    np.testing.assert_array_equal(original["width"][~real], stored["width"][~real])
    assert "jpeg_quality" in stored and "jpeg_quality" not in original
    domains = Domains.from_images(images)
    result = f.fact_scores(original, domains)
    matrix = transfer_matrix(result.scores, domains, result.train, metrics=("auc",), draws=50)
    assert matrix.values["auc"].min() > 0.99


def test_originals_left_empty_are_those_stored() -> None:
    images = originals(clean_images())
    images[["original_width", "original_height", "original_format", "original_bytes"]] = ""
    pd.testing.assert_frame_equal(f.file_facts(images, "original"), f.file_facts(images, "stored"))


def test_encoding(planted: pd.DataFrame) -> None:
    X, names = f.encode_facts(f.file_facts(planted))
    assert X.shape == (len(planted), len(names)) and np.isfinite(X).all()
    assert "format=PNG" in names
    np.testing.assert_allclose(X[:, names.index("width")], np.log2(planted["width"]))
    assert (X[planted["format"] == "PNG", names.index("jpeg_quality")] == 0).all()


def test_bad_input(planted: pd.DataFrame, domains: Domains) -> None:
    table = f.file_facts(planted)
    with pytest.raises(AigiError, match="no view 'published'"):
        f.file_facts(planted, "published")  # type: ignore[arg-type]
    with pytest.raises(AigiError, match="no area"):
        f.file_facts(planted.assign(bytes=0))
    with pytest.raises(AigiError, match="No file fact"):
        f.fact_scores(table[[]], domains)
    with pytest.raises(AigiError, match="facts of 3 images"):
        f.fact_scores(table[:3], domains)
    with pytest.raises(AigiError, match="no fact 'colour'"):
        f.distribution(table, domains, "colour")
    with pytest.raises(AigiError, match="no generator 'nobody'"):
        f.fact_scores(table, domains, ["nobody"])
