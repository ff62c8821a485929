"""What a collection costs, from stored rates: proportions, bounds and mistakes."""

import json

import pytest

from aigi_core.errors import AigiError
from benchmarks.__main__ import main
from benchmarks._plan import RATES, Hardware, plan


def test_hours_follow_images_and_gpus() -> None:
    few, many = (plan(images, 8, Hardware(4, 48)) for images in (10_000_000, 20_000_000))
    for name, stage in few["stages"].items():
        assert stage["hours"]["low"] <= stage["hours"]["median"] <= stage["hours"]["high"]
        if name == "search":  # of a fixed number of images a class
            assert stage == many["stages"][name]
            continue
        twice = many["stages"][name]["hours"]["median"] / stage["hours"]["median"]
        assert twice == pytest.approx(2, rel=0.02), name
    assert many["gpu_hours"] != few["gpu_hours"]
    more = plan(10_000_000, 8, Hardware(400, 48))
    assert more["gpu_hours"] == few["gpu_hours"], "the work is the same"
    assert list(few["limits"].values()) == sorted(few["limits"].values())


def test_passes_read_the_disk_where_embeddings_exceed_the_memory() -> None:
    in_memory, beyond = (
        plan(10_000_000, 8, Hardware(4, 48, memory=memory, disk=1e6)) for memory in (1e12, 1e10)
    )
    score = [one["stages"]["score"]["hours"]["median"] for one in (in_memory, beyond)]
    assert score[1] == pytest.approx(10_000_000 * 3072 / 1e6 / 3600, rel=0.01) and score[0] < 1


def test_every_rate_says_where_it_is_from() -> None:
    for name, rate in json.loads(RATES.read_text("utf-8")).items():
        low, middle, high = rate["values"]
        assert 0 < low <= middle <= high and len(rate["source"]) > 20, name
        assert "PLACEHOLDER" not in rate["source"], name


def test_mistakes_are_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AigiError, match="at least one GPU"):
        Hardware(0, 4)
    assert main(["scale", "--images", "0", "--gpus", "4"]) == 2
    assert "needs images" in capsys.readouterr().err
    assert main(["scale", "--images", "1e9", "--gpus", "64"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["images"] == 1_000_000_000
