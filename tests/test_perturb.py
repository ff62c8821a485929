"""Operations on images: parsing, determinism and what each does to the pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aigi_core.errors import AigiError
from aigi_core.perturb import (
    MOST_PIXELS,
    PERTURBATIONS,
    Op,
    Perturbation,
    ladder,
    parse_ops,
    parse_steps,
    usual_ops,
)
from precompute.__main__ import main


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """Smooth gradients with a sharp-edged square: something for blur, JPEG and resizing to
    change.
    """
    y, x = np.mgrid[0:96, 0:128].astype(np.float32)
    pixels = np.stack([2 * x, 2.5 * y, 127 + 60 * np.sin(x / 3)], axis=-1)
    pixels[30:60, 40:90] = (250, 10, 30)
    return Image.fromarray(pixels.astype(np.uint8))


def difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a, np.float32) - np.asarray(b, np.float32)).mean())


def test_parsing_keeps_order_and_drops_repeats() -> None:
    ops = parse_ops(["jpeg:90,70", "resize:.5", "screenshot", "jpeg:90", "crop:.8"])
    assert [str(op) for op in ops] == ["jpeg:90", "jpeg:70", "resize:0.5", "screenshot", "crop:0.8"]
    assert ops[2].slug == "resize-0.5"
    assert parse_ops([str(op) for op in ops]) == ops
    assert ops[0].description == "JPEG at quality 90"


def test_names_without_a_strength() -> None:
    kinds = ("blur", "jpeg", "palette", "short")
    names = [PERTURBATIONS[kind].name for kind in kinds]
    assert names == ["blur", "JPEG", "colours", "short side"]


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_an_entry_is_whole(kind: str) -> None:
    """Its strengths can be parsed as they are written, run from weak to strong, and what the job
    encodes is among what Inspect tries."""
    rule = PERTURBATIONS[kind]
    assert rule.axis and set(rule.tested) <= set(rule.ladder)
    ops = [Op(kind, value) for value in rule.ladder]
    assert parse_ops(map(str, ops)) == tuple(ops) if ops else kind == "short"
    assert list(rule.ladder) in (sorted(rule.ladder), sorted(rule.ladder, reverse=True))
    if rule.neutral is not None:
        distance = [abs(value - rule.neutral) for value in rule.ladder]
        assert distance == sorted(distance) and rule.neutral not in rule.ladder


def test_a_new_entry_is_read_by_inspect_and_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sepia = Perturbation(
        title="sepia {value}",
        description="browned by {value}",
        unit="SHARE",
        low=0,
        high=1,
        apply=lambda image, value, rng: image,
        axis="browned by",
        ladder=(0.5, 1),
        tested=(1,),
        neutral=0,
    )
    monkeypatch.setitem(PERTURBATIONS, "sepia", sepia)
    assert [op for op in ladder() if op.kind == "sepia"] == [Op("sepia", 0.5), Op("sepia", 1)]
    assert usual_ops()[-1] == Op("sepia", 1)
    with pytest.raises(SystemExit):
        main(["perturb", "--help"])
    assert "sepia:1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("jpg:90", "no operation 'jpg'"),
        ("jpeg", "needs a value"),
        ("jpeg:", "needs a value"),
        ("jpeg:90,", "not a number"),
        ("jpeg:ninety", "not a number"),
        ("jpeg:0", "out of range"),
        ("jpeg:90.5", "whole"),
        ("resize:nan", "out of range"),
        ("noise:inf", "out of range"),
        ("crop:1.2", "0.1 to 1"),
        ("screenshot:3", "takes no value"),
        ("", "no operation ''"),
    ],
)
def test_a_bad_spec_is_one_clear_sentence(spec: str, says: str) -> None:
    with pytest.raises(AigiError, match=says):
        parse_ops([spec])


def test_steps_are_done_in_the_order_written() -> None:
    assert [str(op) for op in parse_steps("jpeg:90, short:256")] == ["jpeg:90", "short:256"]
    for bad, says in (
        ("jpeg:90,70", "no operation '70'"),
        ("", "no operation ''"),
        ("noise:.1", "random part"),
    ):
        with pytest.raises(AigiError, match=says):
            parse_steps(bad)


def test_nothing_to_do_is_an_error() -> None:
    with pytest.raises(AigiError, match="No operation"):
        parse_ops([])


@given(st.lists(st.text(max_size=12), max_size=3))
def test_no_text_breaks_the_parser(specs: list[str]) -> None:
    try:
        assert parse_ops(specs)
    except AigiError as error:
        assert str(error)


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_every_kind_is_deterministic_and_changes_the_image(kind: str, picture: Image.Image) -> None:
    op = Op(
        kind,
        {"jpeg": 30, "short": 48, "blur": 4, "noise": 0.05, "palette": 8}.get(
            kind, 0.5 if PERTURBATIONS[kind].takes_value else 0
        ),
    )
    first, again = op(picture, "a"), op(picture, "a")
    assert first.mode == "RGB"
    assert first.tobytes() == again.tobytes()
    assert first.size != picture.size or difference(first, picture) > 0.5


@pytest.mark.parametrize("op", parse_ops(["noise:.05", "screenshot"]))
def test_random_parts_follow_the_key(op: Op, picture: Image.Image) -> None:
    assert op(picture, "a").tobytes() != op(picture, "b").tobytes()


def test_sizes(picture: Image.Image) -> None:
    assert Op("resize", 0.5)(picture).size == (64, 48)
    assert Op("short", 48)(picture).size == (64, 48)
    cropped = Op("crop", 0.5)(picture)
    assert cropped.tobytes() == picture.crop((32, 24, 96, 72)).tobytes()


def test_jpeg_and_noise_grow_with_strength(picture: Image.Image) -> None:
    loss = [difference(Op("jpeg", q)(picture), picture) for q in (95, 60, 20)]
    assert loss == sorted(loss)
    flat = Image.new("RGB", (200, 200), (128, 128, 128))
    noisy = np.asarray(Op("noise", 0.05)(flat, "k"), np.float32)
    assert noisy.std() == pytest.approx(0.05 * 255, rel=0.02)
    assert noisy.mean() == pytest.approx(128, abs=0.2)


def test_a_palette_dithers() -> None:
    ramp = Image.fromarray(np.tile(np.linspace(60, 190, 128).astype(np.uint8), (64, 1))).convert(
        "RGB"
    )
    result = np.asarray(Op("palette", 4)(ramp), np.float32)[..., 0]
    assert len(np.unique(result)) <= 4
    columns = result[:, 16:112].reshape(64, 6, 16).mean(axis=(0, 2))
    wanted = np.asarray(ramp, np.float32)[:, 16:112, 0].reshape(64, 6, 16).mean(axis=(0, 2))
    assert np.abs(columns - wanted).max() < 6  # four plain steps would be up to 16 away


def test_blur_is_alike_at_every_size(picture: Image.Image) -> None:
    large = picture.resize((512, 384), Image.Resampling.BICUBIC)
    small_blurred = Op("blur", 3)(picture)
    large_blurred = Op("blur", 3)(large).resize(picture.size, Image.Resampling.BOX)
    assert difference(small_blurred, large_blurred) < 0.35 * difference(small_blurred, picture)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "I;16"])
def test_any_mode_and_the_smallest_image(mode: str) -> None:
    for op in parse_ops(
        [
            "jpeg:50",
            "resize:.05",
            "blur:1",
            "noise:.02",
            "crop:.1",
            "screenshot",
            "short:16",
            "palette:2",
        ]
    ):
        assert min(op(Image.new(mode, (1, 1)), "k").size) >= 1


def test_scaling_a_sliver_does_not_fill_the_memory() -> None:
    out = Op("short", 2048)(Image.new("RGB", (10_000, 1)))
    assert out.width * out.height <= 1.01 * MOST_PIXELS
