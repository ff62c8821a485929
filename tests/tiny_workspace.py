"""A workspace of pictures made on the spot, ingested and encoded by a tiny CLIP: everything is real
but the size.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from precompute.__main__ import main
from tests.tiny_clip import make_tiny_clip

KINDS = ("real", "fake/one", "fake/two")


def make_picture(kind: int, seed: int) -> Image.Image:
    """A smooth picture; fakes carry a grid of lines that the real ones lack."""
    rng = np.random.default_rng([kind, seed])
    coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC)).astype(
        int
    )
    pixels[:: kind + 1, :, 0] += 25 * kind
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def make_tiny_workspace(folder: Path, per_kind: int = 60) -> tuple[Path, str]:
    """The workspace's folder, and what ``--model`` or ``AIGI_WEIGHTS`` takes to find its
    encoder.
    """
    model = make_tiny_clip(folder / "tiny")
    for kind, name in enumerate(KINDS):
        (folder / "images" / name).mkdir(parents=True)
        for i in range(per_kind):
            make_picture(kind, i).save(folder / "images" / name / f"{i}.png")
    out = folder / "w"
    ingest = ["ingest", "--images", str(folder / "images"), "--out", str(out), "--workers", "1"]
    encode = [
        "encode",
        "--workspace",
        str(out),
        "--model",
        model,
        "--device",
        "cpu",
        "--workers",
        "0",
    ]
    (folder / "phrases.txt").write_text(
        "# colour\nred\nblue\ngreen\n# thing\na horse\na shoe\na striped shirt\n", "utf-8"
    )
    text = [
        "text",
        "--workspace",
        str(out),
        "--model",
        model,
        "--device",
        "cpu",
        "--name",
        "phrases",
    ]
    assert main(ingest) == main([*encode, "--batch-size", "8"]) == 0
    assert main([*text, "--phrases", str(folder / "phrases.txt")]) == 0
    return out, model
