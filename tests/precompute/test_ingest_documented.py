"""Every dry run of docs/data.md: the command, run on a small tree laid out as its section says,
prints what stands there.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import tarfile
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from precompute.__main__ import main

DOCUMENT = Path(__file__).parents[2] / "docs/data.md"
PROMPT = "$ python -m precompute "


class DryRun(NamedTuple):
    """A command of the document and what it is said to print."""

    section: str
    words: list[str]
    printed: str


def documented() -> list[DryRun]:
    """All dry runs of the document: an indented command and the indented lines after it."""
    runs = []
    for part in re.split(r"^#+ ", DOCUMENT.read_text("utf-8"), flags=re.MULTILINE):
        section, _, body = part.partition("\n")
        for block in re.findall(r"(?:^(?:    .*)?\n)+", body + "\n", flags=re.MULTILINE):
            command, _, printed = dedent(block).strip().partition("\n")
            if command.startswith(PROMPT):
                runs.append(DryRun(section, shlex.split(command.removeprefix(PROMPT)), printed))
    return runs


def touch(root: Path, *folders: str, names: range = range(3)) -> None:
    """Files that look like images from outside, which is all that a dry run sees."""
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in names:
            (root / folder / f"{i}.png").write_bytes(b"x")


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, "utf-8")


def universal_fake_detect(at: Path) -> None:
    root = at / "UniversalFakeDetect"
    generators = ["dalle", "guided", "ldm_100", "ldm_200", "ldm_200_cfg"]
    generators += ["glide_100_10", "glide_100_27", "glide_50_27"]
    touch(root, *[f"{name}/0_real" for name in ("imagenet", "laion")])
    touch(root, *[f"{name}/1_fake" for name in generators])


def aigibench(at: Path) -> None:
    names = ["car", "cat", "chair", "horse", "sdv1.4"]
    touch(at / "AIGIBench", *[f"train/{n}/{part}" for n in names for part in ("0_real", "1_fake")])


def cifake(at: Path) -> None:
    touch(at / "CIFAKE", *[f"{s}/{kind}" for s in ("train", "test") for kind in ("REAL", "FAKE")])


def community_forensics(at: Path) -> None:
    names = [f"{name}/{kind}" for name in ("dalle3", "sdxl") for kind in ("real", "fake")]
    touch(at / "CommunityForensics", *names)


def parquet(at: Path, file: str, **columns: list[object]) -> None:
    (at / file).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.table({name: pa.array(values) for name, values in columns.items()}), at / file
    )


def community_forensics_parquet(at: Path) -> None:
    parquet(
        at,
        "CF-parquet/a.parquet",
        image_data=[b"x"] * 6,
        label=[0, 0, 0, 1, 1, 1],
        model_name=["real"] * 3 + ["sdxl"] * 3,
        architecture=[""] * 3 + ["LatDiff"] * 3,
        split=["train", "test", "train"] * 2,
    )


def openfake(at: Path) -> None:
    parquet(
        at,
        "OpenFake/train-00000-of-00001.parquet",
        image=[{"bytes": b"x", "path": f"{i}.png"} for i in range(6)],
        prompt=["", "", "", "a dog", "a cat", "a fox"],
        label=["real"] * 3 + ["fake"] * 3,
        model=["laion"] * 3 + ["flux.1-dev"] * 2 + ["sdxl"],
        type=["base"] * 6,
        release_date=[""] * 3 + ["2024-08"] * 3,
    )


def imagefolder(at: Path) -> None:
    root = at / "ImageFolder"
    touch(root, "train/images", names=range(4))
    rows = "".join(f"images/{i}.png,{'real,' if i < 2 else 'fake,sdxl'}\n" for i in range(4))
    write(root, "train/metadata.csv", "file_name,label,model\n" + rows)


def tar(file: Path, n: int, *, labels: bool) -> None:
    """A shard of ``n`` samples, each an image and a JSON beside it."""
    file.parent.mkdir(parents=True)
    with tarfile.open(file, "w") as archive:
        for i in range(n):
            about: dict[str, object] = {"url": f"https://x/{i}", "caption": f"photo {i}"}
            if labels:
                about |= {"label": "fake" if i % 2 else "real", "model": "sdxl" if i % 2 else ""}
            for kind, content in (("jpg", b"x"), ("json", json.dumps(about).encode())):
                info = tarfile.TarInfo(f"{i:04d}.{kind}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def img2dataset(at: Path) -> None:
    tar(at / "data/laion/00000.tar", 3, labels=False)
    touch(at / "data", "sdxl")


def artifact(at: Path) -> None:
    for folder, target in (("coco", 0), ("big_gan", 6)):
        touch(at / "ArtiFact", f"{folder}/deep")
        rows = "".join(f"{i}.png,deep/{i}.png,{target},cat\n" for i in range(3))
        write(
            at / "ArtiFact",
            f"{folder}/metadata.csv",
            f"filename,image_path,target,category\n{rows}",
        )


def drct(at: Path) -> None:
    trees = ("MSCOCO", "DRCT-2M/stable-diffusion-v1-4", "DRCT-2M/sdxl-turbo")
    touch(at / "DRCT", *[f"{tree}/{part}2017" for tree in trees for part in ("train", "val")])


def truefake(at: Path) -> None:
    for network in ("PreSocial", "Facebook", "Telegram"):
        touch(at / "TrueFake", f"{network}/Fake/StyleGAN2", f"{network}/Real/FFHQ")


def lists(at: Path) -> None:
    root = at / "lists"
    touch(root, "a", names=range(4))
    kinds = ["real", "real", "dalle2", "dalle2"]
    write(root, "list.csv", "filename,typ\n" + "".join(f"a/{i}.png,{kinds[i]}\n" for i in range(4)))
    records = [{"path": f"a/{i}.png", "label": int(i > 1)} for i in range(4)]
    write(root, "list.json", json.dumps(records))
    words = ["fake", "fake", "real", "real"]
    rows = "".join(f"a/{i}.png,{int(i > 1)},{words[i]}\n" for i in range(4))
    write(root, "reversed.csv", "path,label,label_str\n" + rows)


def imaginet(at: Path) -> None:
    root = at / "ImagiNet"
    touch(root, "dalle3", "wikiart")
    rows = "".join(f"dalle3/{i}.png,1,0,3,4\nwikiart/{i}.png,0,0,0,0\n" for i in range(3))
    write(root, "annotations/test.txt", rows)


def path_lists(at: Path) -> None:
    root = at / "pairs"
    touch(root, "coco", "made")
    for name, folder in (("real", "coco"), ("fake_sdxl", "made")):
        write(root, f"{name}.txt", "".join(f"{folder}/{i}.png\n" for i in range(3)))


def cocofake(at: Path) -> None:
    for split in ("train", "val"):
        names = [f"COCO_{split}2014_{i:012d}" for i in range(3)]
        touch(at / "coco", *[f"cocofake/{split}2014/{name}" for name in names], names=range(5))
        for name in names:
            write(at / "coco", f"coco2014/{split}2014/{name}.jpg", "x")


def artbench(at: Path) -> None:
    made = [f"AI_{model}_{style}" for model in ("LD", "SD") for style in ("baroque", "ukiyo-e")]
    folders = [*made, "baroque", "ukiyo_e"]
    root = at / "art/Real_AI_SD_LD_Dataset"
    touch(root, *[f"{split}/{name}" for split in ("train", "test") for name in folders])


def dragon(at: Path) -> None:
    touch(at / "data", "photographs")
    shard = at / "data/dragon/train/dragon_train_000.tar"
    shard.parent.mkdir(parents=True)
    with tarfile.open(shard, "w") as archive:
        for i, model in enumerate(["flash_sdxl", "flash_sdxl", "kandinsky_3", "kandinsky_3"]):
            for kind, content in (("png", "x"), ("model.txt", model), ("prompt.cls", "7")):
                info = tarfile.TarInfo(f"{i:04d}.{kind}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content.encode()))


def df40(at: Path) -> None:
    real = "FaceForensics++/original_sequences/youtube/c23/frames"
    videos: dict[str, dict[str, dict[str, object]]] = {"simswap_Real": {}, "simswap_Fake": {}}
    for split, name in (("train", "000"), ("test", "005")):
        for of, folder in (("Real", f"{real}/{name}"), ("Fake", f"DF40/simswap/ff/{name}_003")):
            touch(at / "faces", folder)
            frames = [f"{folder}/{i}.png" for i in range(3)]
            entry = {"label": f"simswap_{of}", "frames": frames}
            videos[f"simswap_{of}"][split] = {"c23": {folder.rpartition("/")[2]: entry}}
    write(at, "faces/dataset_json/simswap_ff.json", json.dumps({"simswap_ff": videos}))


TREES: dict[str, Callable[[Path], None]] = {
    "UniversalFakeDetect, diffusion half": universal_fake_detect,
    "AIGIBench, training set": aigibench,
    "FGTS": lambda at: touch(at / "FGTS", "0_real", "1_fake_ldm", "1_fake_sd14"),
    "CIFAKE and most sets of Kaggle": cifake,
    "Community Forensics, unpacked": community_forensics,
    "Community Forensics, Parquet": community_forensics_parquet,
    "OpenFake": openfake,
    "Hugging Face's ImageFolder": imagefolder,
    "WebDataset": lambda at: tar(at / "WebDataset/0000.tar", 4, labels=True),
    "img2dataset": img2dataset,
    "ArtiFact": artifact,
    "DRCT-2M": drct,
    "Synthbuster with RAISE: two trees": lambda at: touch(
        at / "data", "RAISE", "synthbuster/dalle3", "synthbuster/sdxl"
    ),
    "TrueFake": truefake,
    "grip-unina: a table with other names": lists,
    "ForensicHub: a list in JSON": lists,
    "GenImage": lambda at: touch(
        at / "GenImage",
        *[f"adm/imagenet_adm/{s}/{k}" for s in ("train", "val") for k in ("ai", "nature")],
    ),
    "DiffusionForensics": lambda at: touch(
        at / "DiffusionForensics/images/test",
        *[f"lsun_bedroom/{name}" for name in ("real", "adm", "ddpm")],
        *[f"imagenet/{name}" for name in ("real", "adm", "sdv1")],
    ),
    "WildFake": lambda at: touch(
        at / "WildFake", "Real/ImageNet", "Fake/DMs/SD1.5", "Fake/DMs/DALLE3", "Fake/GANs/BigGAN"
    ),
    "ImagiNet: a list without a header": imaginet,
    "COCOFake": cocofake,
    "AI-ArtBench": artbench,
    "DRAGON": dragon,
    "DF40 and other lists of DeepfakeBench": df40,
    "Lists of paths alone": path_lists,
    "Folders of numbers": lambda at: touch(
        at / "kaggle", *[f"{split}/{number}" for split in ("train", "test") for number in "01"]
    ),
    "Several pools of real images": lambda at: touch(
        at / "mine", "real/faces", "real/shoes", "fake/sdxl", "fake/stylegan2"
    ),
    "A generator that is called like a thing": lambda at: touch(
        at / "kaggle", "cat/real", "cat/fake"
    ),
    "Folders that hold both classes under unknown names": lambda at: touch(
        at / "mine",
        *[f"{name}/{kind}" for name in ("jackets", "lamps") for kind in ("real", "fake")],
    ),
    "Numbers that say the contrary of words": lists,
}
"""Section of the document -> what makes the tree that its command reads."""


def test_every_dry_run_of_the_document_has_its_tree() -> None:
    assert [run.section for run in documented()] == list(TREES)


@pytest.mark.parametrize("run", documented(), ids=lambda run: run.section)
def test_a_dry_run_prints_what_the_document_shows(
    run: DryRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    TREES[run.section](tmp_path)
    monkeypatch.chdir(tmp_path)
    # The trees have the folders of a data set, and a few images in each.
    monkeypatch.setattr("precompute.ingest.pipeline.refuse_counts", lambda *_, **__: None)
    code = main(run.words)
    assert "--dry-run" in run.words
    assert capsys.readouterr().out.strip() == run.printed
    assert code == (2 if "\nQuestion 1: " in run.printed else 0)
