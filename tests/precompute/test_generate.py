"""Data sets that are built: settings, prompts, resuming, failures; real pipelines where diffusers
is installed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from aigi_core.errors import AigiError
from precompute.generate import (
    Pipeline,
    Setting,
    generate,
    load_pipeline,
    parse_models,
    read_prompts,
    revision_of,
)
from precompute.ingest.answers import Answers
from precompute.ingest.layouts import find_candidates
from precompute.ingest.layouts.roots import common_root

NEEDS = "needs requirements-generate.txt"
SETTINGS = [Setting("tiny", 2), Setting("tiny", 4)]


def colour(prompt: str, steps: int, seed: int) -> Image.Image:
    if prompt == "bad":
        raise RuntimeError("out of memory")
    return Image.new("RGB", (16, 16), (seed % 256, steps, len(prompt)))


def load(model: str) -> Pipeline:
    return Pipeline(
        colour, {"scheduler": "DDIM", "guidance": "7.5", "revision": "r", "versions": ""}
    )


def made(out: Path, prompts: list[str], **options: Any) -> tuple[int, int, int]:
    out.mkdir(parents=True, exist_ok=True)
    return generate(prompts, SETTINGS, out, per_prompt=2, seed=0, load=load, **options)


@pytest.mark.parametrize("text", ["sd-1.4", "sd-1.4:", ":50", "sd-1.4:0", "sd-1.4:50,x"])
def test_settings_that_are_none(text: str) -> None:
    with pytest.raises(AigiError, match="MODEL:STEPS"):
        parse_models([text])


def test_settings_are_named_once_and_safe_in_paths() -> None:
    assert [s.generator for s in parse_models(["org/a b:5", "sd-1.4:50,200"])] == [
        "a-b-5",
        "sd-1.4-50",
        "sd-1.4-200",
    ]
    with pytest.raises(AigiError, match="more than once"):
        parse_models(["sd-1.4:50", "sd-1.4:50"])


def test_prompts_by_aesthetics(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("TEXT,AESTHETIC_SCORE\na dog,5.1\na cat,4.4\na fox,4.5\na dog,6\nan owl,\n")
    assert read_prompts(file) == ["a dog", "a fox"]
    (tmp_path / "p.txt").write_text("one\n\n two \none\n")
    assert read_prompts(tmp_path / "p.txt") == ["one", "two"]
    assert read_prompts(tmp_path / "p.txt", 1) == ["one"]
    (tmp_path / "x.csv").write_text("url\nx\n")
    with pytest.raises(AigiError, match="no column of prompts"):
        read_prompts(tmp_path / "x.csv")


def test_a_second_run_makes_nothing_and_a_failure_costs_itself_only(tmp_path: Path) -> None:
    lines: list[str] = []
    assert made(tmp_path / "o", ["a dog", "bad"], tell=lines.append) == (4, 0, 4)
    assert sum("out of memory" in line for line in lines) == 4
    table = pd.read_csv(tmp_path / "o/manifest.csv")
    assert len(table) == 4
    before = {f: f.read_bytes() for f in (tmp_path / "o").rglob("*.png")}
    assert made(tmp_path / "o", ["a dog", "a cat"]) == (4, 4, 0)
    assert all(f.read_bytes() == content for f, content in before.items())
    next(iter(before)).unlink()
    assert made(tmp_path / "o", ["a dog", "a cat"]) == (1, 7, 0)
    assert next(iter(before)).read_bytes() == before[next(iter(before))]


def test_a_killed_run_leaves_half_a_line(tmp_path: Path) -> None:
    made(tmp_path / "o", ["a dog"])
    records = tmp_path / "o/records.jsonl"
    records.write_text(records.read_text() + '{"path": "ti')
    assert made(tmp_path / "o", ["a dog", "a cat"]) == (4, 4, 0)
    assert len(pd.read_csv(tmp_path / "o/manifest.csv")) == 8
    assert made(tmp_path / "o", ["a dog", "a cat"]) == (0, 8, 0)


def test_ingest_reads_it_as_it_stands(tmp_path: Path) -> None:
    out = tmp_path / "o"
    made(out, ["a dog, brown", "a cat"])
    table = find_candidates(out).table
    assert set(table["generator"]) == {"tiny-2", "tiny-4"}
    assert table.groupby("group")["caption"].nunique().max() == 1
    assert table.groupby("group").size().tolist() == [4, 4]
    seeds = table.groupby("group")["seed"].nunique()
    assert seeds.tolist() == [2, 2]  # settings share their noise
    assert {"model", "scheduler", "steps", "guidance"} <= set(table.columns)


def test_read_as_a_folder_of_fakes_the_images_of_a_prompt_stay_together(tmp_path: Path) -> None:
    prompts = [f"a dog number {n}" for n in range(6)]
    made(tmp_path / "data" / "o", prompts)
    (tmp_path / "data" / "real").mkdir()
    for number in range(6):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "data/real" / f"{number}.png")
    answers = Answers(real=(tmp_path / "data/real",), fake=(("", tmp_path / "data/o"),))
    root = common_root(answers)
    assert root is not None
    reading = find_candidates(root, answers=answers)
    fakes = reading.table[reading.table["label"] == 1]
    fakes = fakes[fakes["path"].str.endswith(".png")]
    assert set(fakes["generator"]) == {"tiny-2", "tiny-4"}
    assert fakes.groupby("group").size().tolist() == [4] * 6
    assert sorted(set(fakes["caption"])) == prompts
    assert set(fakes["model"]) == {"tiny"} and set(fakes["steps"]) == {"2", "4"}
    assert any("manifest.csv in o gives the groups of 24 images" in n for n in reading.notes)


def test_whatever_ends_a_run_the_table_names_what_is_there(tmp_path: Path) -> None:
    """A run that is interrupted writes it; after one that was killed, ingest asks for another."""

    def interrupted(line: str) -> None:
        if "3 images made" in line:
            raise KeyboardInterrupt

    data = tmp_path / "data"
    (data / "real").mkdir(parents=True)
    for number in range(6):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(data / "real" / f"{number}.png")
    with pytest.raises(KeyboardInterrupt):
        made(data / "o", ["a dog", "a cat"], show=interrupted)
    assert len(pd.read_csv(data / "o/manifest.csv")) == 3
    answers = Answers(real=(data / "real",), fake=(("", data / "o"),))
    assert find_candidates(data, answers=answers).questions == ()
    named = (data / "o/manifest.csv").read_bytes()
    made(data / "o", ["a dog", "a cat"])
    (data / "o/manifest.csv").write_bytes(named)  # as a run leaves it that was killed
    [question] = find_candidates(data, answers=answers).questions
    assert "5 images of" in question and "run the same command again" in question
    (data / "o/manifest.csv").unlink()
    [question] = find_candidates(data, answers=answers).questions
    assert "8 images of" in question


@pytest.mark.parametrize(
    "asked", [{"seed": 1}, {"settings": [Setting("other/tiny", 2)]}, {"same": {"guidance": "3.0"}}]
)
def test_images_made_otherwise_are_not_taken_for_those_asked_for(
    tmp_path: Path, asked: dict[str, Any]
) -> None:
    made(tmp_path, ["a dog"])
    told = {"settings": SETTINGS, "per_prompt": 2, "seed": 0, "load": load} | asked
    with pytest.raises(AigiError, match="name another --out"):
        generate(["a dog"], out=tmp_path, **told)


def test_a_prompt_may_fail_in_any_way(tmp_path: Path) -> None:
    def draw(prompt: str, steps: int, seed: int) -> Image.Image:
        if prompt == "bad":
            raise KeyError("token")
        return colour(prompt, steps, seed)

    told = {"per_prompt": 1, "seed": 0, "load": lambda _: Pipeline(draw, {})}
    assert generate(["bad", "a dog"], SETTINGS, tmp_path, **told) == (2, 0, 2)


def test_the_revision_is_that_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model_index.json").write_text("{}")
    (tmp_path / "m" / "w.bin").write_bytes(b"1")
    first = revision_of(str(tmp_path / "m"))
    shutil.copytree(tmp_path / "m", tmp_path / "n")
    assert first.startswith("sha256:") and revision_of(str(tmp_path / "n")) == first
    (tmp_path / "m" / "w.bin").write_bytes(b"2")
    assert revision_of(str(tmp_path / "m")) != first
    snapshot = tmp_path / "models--a--b" / "snapshots" / "c0ffee"
    shutil.copytree(tmp_path / "m", snapshot)
    assert revision_of(str(snapshot)) == "c0ffee"
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda *_: str(snapshot / "model_index.json")
    )
    assert revision_of("a/b") == "c0ffee"


def test_real_pipelines_of_tiny_random_weights(tmp_path: Path) -> None:
    """Offline: a Stable Diffusion of random weights, saved to a folder and loaded from it."""
    from aigi_core.clip import _open_clip  # noqa: F401

    diffusers = pytest.importorskip("diffusers", reason=NEEDS)
    transformers = pytest.importorskip("transformers", reason=NEEDS)
    import torch

    torch.manual_seed(0)
    words = tmp_path / "vocab.json"
    letters = (
        sorted(transformers.models.gpt2.tokenization_gpt2.bytes_to_unicode().values())
        if (hasattr(transformers.models.gpt2.tokenization_gpt2, "bytes_to_unicode"))
        else [chr(i) for i in range(33, 127)]
    )
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    words.write_text(json.dumps({word: i for i, word in enumerate(vocabulary)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(
        str(words), str(tmp_path / "merges.txt"), model_max_length=77
    )
    text = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(vocabulary) + 2,
            hidden_size=32,
            intermediate_size=37,
            num_hidden_layers=1,
            num_attention_heads=4,
            max_position_embeddings=77,
        )
    )
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        latent_channels=4,
    )
    pipeline = diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=diffusers.DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    folder = tmp_path / "tiny-sd"
    pipeline.save_pretrained(folder)
    out = tmp_path / "out"
    out.mkdir()
    settings = parse_models([f"{folder}:1,2"])
    options = {"per_prompt": 2, "seed": 0, "load": lambda model: load_pipeline(model, 7.5, "cpu")}
    assert generate(["a dog"], settings, out, **options) == (4, 0, 0)
    table = find_candidates(out).table
    assert set(table["scheduler"]) == {"DDIMScheduler"}
    contents = {file: file.read_bytes() for file in out.rglob("*.png")}
    assert len(set(contents.values())) == 4
    again = next(iter(contents))
    again.unlink()
    assert generate(["a dog"], settings, out, **options) == (1, 3, 0)
    assert again.read_bytes() == contents[again]
