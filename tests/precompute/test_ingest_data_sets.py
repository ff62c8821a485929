"""The field's data sets, as small trees made to their own descriptions: each is read rightly, or
stops with the question and the option that answers it.
"""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aigi_core.errors import AigiError
from aigi_core.images import load_rgb, read_bytes
from precompute.__main__ import main
from precompute.ingest.answers import Answers
from precompute.ingest.layouts import find_candidates
from precompute.ingest.layouts.roots import common_root
from precompute.ingest.pipeline import ingest
from tests.precompute.corpus import encoded, fill, pairs, picture, places, touch, write


# Folders.
@pytest.mark.parametrize("above", ["", "diffusion_datasets/", "test/diffusion_datasets/"])
def test_the_diffusion_half_of_universal_fake_detect(tmp_path: Path, above: str) -> None:
    """Eight generators, never one; guided is compared with ImageNet, the others with LAION."""
    generators = ["guided", "ldm_100", "ldm_200", "ldm_200_cfg", "glide_50_27", "dalle"]
    touch(tmp_path, *[f"{above}{name}/0_real" for name in ("imagenet", "laion")])
    touch(tmp_path, *[f"{above}{name}/1_fake" for name in generators])
    result = find_candidates(tmp_path)
    assert result.layout == "cnndetection"
    assert result.questions == ()
    assert pairs(result) == {
        ("", "imagenet"),
        ("", "laion"),
        *((name, "imagenet" if name == "guided" else "laion") for name in generators),
    }


def test_both_halves_of_universal_fake_detect_together(tmp_path: Path) -> None:
    touch(tmp_path, "test/biggan/0_real", "test/biggan/1_fake", "test/progan/cat/0_real")
    touch(tmp_path, "test/progan/cat/1_fake", "test/diffusion_datasets/laion/0_real")
    touch(tmp_path, "test/diffusion_datasets/ldm_200/1_fake")
    result = find_candidates(tmp_path)
    assert result.questions == ()
    assert {("biggan", "biggan"), ("progan", "progan"), ("ldm_200", "laion")} <= pairs(result)


def test_an_unknown_partner_is_asked_for(tmp_path: Path) -> None:
    touch(tmp_path, "a/0_real", "b/0_real", "newmodel/1_fake")
    result = find_candidates(tmp_path)
    assert "--pool newmodel=a" in result.questions[0]
    answered = find_candidates(tmp_path, answers=Answers(pools={"newmodel": "a"}))
    assert answered.questions == ()
    assert ("newmodel", "a") in pairs(answered)


def test_the_training_set_of_aigibench(tmp_path: Path) -> None:
    """Car, cat, chair and horse are ProGAN's classes, not generators."""
    names = ["car", "cat", "chair", "horse", "sdv1.4"]
    touch(tmp_path, *[f"train/{name}/{label}" for name in names for label in ("0_real", "1_fake")])
    touch(tmp_path, "test/r3gan/0_real", "test/r3gan/1_fake")
    result = find_candidates(tmp_path)
    assert result.questions == ()
    assert {generator for generator, _ in pairs(result)} == {"", "progan", "sdv1.4", "r3gan"}
    assert places(result)["progan", "progan"] == (8, "train")


def test_other_object_names_stop_and_ask(tmp_path: Path) -> None:
    names = ["car", "dog", "biggan"]
    touch(tmp_path, *[f"{name}/{label}" for name in names for label in ("0_real", "1_fake")])
    result = find_candidates(tmp_path)
    assert len(result.questions) == 2
    assert "--rename car=GENERATOR" in result.questions[0]
    answers = Answers(rename={"car": "progan", "dog": "progan"})
    answered = find_candidates(tmp_path, answers=answers)
    assert answered.questions == ()
    assert {generator for generator, _ in pairs(answered)} == {"", "biggan", "progan"}
    with pytest.raises(AigiError, match="--rename car=GENERATOR"):
        ingest(tmp_path, progress=False, workers=1)


def test_folders_of_both_classes_under_unknown_names_are_asked_about(tmp_path: Path) -> None:
    """Nothing says whether jackets are a generator or what the pictures show."""
    for kinds in (("real", "fake"), ("0_real", "1_fake"), ("nature", "ai")):
        root = tmp_path / kinds[0]
        touch(root, *[f"train/{name}/{kind}" for name in ("jackets", "lamps") for kind in kinds])
        (question,) = find_candidates(root).questions
        assert "--rename jackets=jackets --rename lamps=lamps" in question
        told = find_candidates(root, answers=Answers(rename={"*": "sdxl"}))
        assert not told.questions and {name for name, _ in pairs(told)} == {"", "sdxl"}
        kept = Answers(rename={"jackets": "jackets", "lamps": "lamps"})
        assert not find_candidates(root, answers=kept).questions


def test_unknown_names_beside_a_known_generator_are_generators(tmp_path: Path) -> None:
    """CNNDetection's test set holds san and seeingdark, and any new set names unknown ones."""
    names = ("progan", "crn", "ourmodel")
    touch(tmp_path, *[f"test/{name}/{kind}" for name in names for kind in ("0_real", "1_fake")])
    result = find_candidates(tmp_path)
    assert not result.questions
    assert {name for name, _ in pairs(result)} == {"", *names}


def test_folders_of_frames_are_not_generators_and_share_a_group(tmp_path: Path) -> None:
    touch(tmp_path, "real/000", "fake/000_003", "fake/005_010")
    assert "called as frames of a video are" in find_candidates(tmp_path).questions[0]
    touch(tmp_path / "b", "real/c23/frames/000", "fake/simswap/frames/000_003")
    result = find_candidates(tmp_path / "b")
    assert not result.questions
    assert set(result.table["group"]) == {"video 000"}  # a fake and the video it was made from


def test_numbered_archives_are_not_generators_in_silence(tmp_path: Path) -> None:
    touch(tmp_path, "photos")
    (tmp_path / "made").mkdir()
    for shard in range(2):
        with tarfile.open(tmp_path / f"made/sdv15-{shard:04d}.tar", "w") as tar:
            add(tar, f"{shard}.png", encoded(picture(shard)))
    roots = Answers(real=(tmp_path / "photos",), fake=(("", tmp_path / "made"),))
    (question,) = find_candidates(tmp_path, answers=roots).questions
    assert "say --rename '*=sdv15'" in question and "2 archives" in question


def test_a_generator_called_as_the_folder_that_was_named_is_said(tmp_path: Path) -> None:
    """Chameleon's fakes are by several generators, which nothing names."""
    for kinds in (("0_real", "1_fake"), ("nature", "ai")):
        for name, notes in (("Chameleon", 1), ("progan", 0)):
            root = tmp_path / kinds[0] / name
            touch(root, *[f"test/{kind}" for kind in kinds])
            result = find_candidates(root)
            assert {generator for generator, _ in pairs(result)} == {"", name}
            assert sum(f"--rename {name}=NAME" in note for note in result.notes) == notes


def test_cocofakes_photographs_and_fakes_share_a_group(tmp_path: Path) -> None:
    """As its loaders read it, from one folder and from two, whatever the photographs' folders."""
    names = []
    for split, folder in (("train", "train/data"), ("val", "validation/data")):
        names += (own := [f"COCO_{split}2014_{i:012d}" for i in range(2)])
        touch(tmp_path, *[f"fakes/{split}2014/{name}" for name in own])
        for name in own:
            write(tmp_path, f"coco-2014/{folder}/{name}.jpg")
    whole = find_candidates(tmp_path)
    roots = Answers(real=(tmp_path / "coco-2014",), fake=(("sd", tmp_path / "fakes"),))
    for result in (whole, find_candidates(tmp_path, answers=roots)):
        assert not result.questions and (result.table["left_out"] == "").all()
        assert set(result.table["group"]) == set(names)
        assert set(result.table["split"]) == {"train", "val"}
        by_group = result.table.groupby("group")
        assert set(by_group["label"].nunique()) == {2} and set(by_group["split"].nunique()) == {1}


def test_models_beside_dragons_images_name_the_generators(tmp_path: Path) -> None:
    touch(tmp_path, "photos")
    (tmp_path / "dragon").mkdir()
    with tarfile.open(tmp_path / "dragon/dragon_train_000.tar", "w") as tar:
        for i, model in enumerate(["sdxl", "kolors"]):
            add(tar, f"{i}.png", encoded(picture(i)))
            add(tar, f"{i}.model.txt", model.encode())
            add(tar, f"{i}.prompt.txt", b"a cat")
    photos, dragon = tmp_path / "photos", tmp_path / "dragon"
    result = find_candidates(tmp_path, answers=Answers(real=(photos,), fake=(("", dragon),)))
    assert not result.questions
    assert {name for name, _ in pairs(result)} == {"", "sdxl", "kolors"}
    assert set(result.table.loc[result.table["label"] == 1, "caption"]) == {"a cat"}
    named = find_candidates(tmp_path, answers=Answers(real=(photos,), fake=(("all25", dragon),)))
    assert "say --fake DIR without a name" in named.questions[0]


def test_fgts_names_the_generator_in_the_folder_of_fakes(tmp_path: Path) -> None:
    touch(tmp_path, "test/0_real", "test/1_fake_ldm", "test/1_fake_sd14", "train/0_real")
    touch(tmp_path, "train/1_fake_ldm")
    result = find_candidates(tmp_path)
    assert {generator for generator, _ in pairs(result)} == {"", "ldm", "sd14"}
    assert len({pool for _, pool in pairs(result)}) == 1


@pytest.mark.parametrize(("real", "fake"), [("real", "fake"), ("REAL", "FAKE"), ("Real", "Fake")])
@pytest.mark.parametrize("split", [True, False])
def test_plain_real_and_fake(tmp_path: Path, real: str, fake: str, split: bool) -> None:
    """CIFAKE and most of Kaggle's sets."""
    parts = ("train/", "test/") if split else ("",)
    touch(tmp_path, *[f"{part}{name}" for part in parts for name in (real, fake)])
    result = find_candidates(tmp_path)
    assert result.questions == ()
    assert pairs(result) == {("", "all"), ("unknown", "all")}
    assert places(result)["unknown", "all"][1] == ("test+train" if split else "")
    renamed = find_candidates(tmp_path, answers=Answers(rename={"unknown": "sd-1.4"}))
    assert pairs(renamed) == {("", "all"), ("sd-1.4", "all")}


def test_real_and_fake_below_each_generator(tmp_path: Path) -> None:
    """Community Forensics, once unpacked."""
    touch(tmp_path, "sdxl/real", "sdxl/fake", "dalle3/real", "dalle3/fake")
    assert pairs(find_candidates(tmp_path)) == {
        ("", "sdxl"),
        ("sdxl", "sdxl"),
        ("", "dalle3"),
        ("dalle3", "dalle3"),
    }


def test_real_pools_beside_generators_are_not_merged_in_silence(tmp_path: Path) -> None:
    touch(tmp_path, "real/faces", "real/shoes", "fake/sdxl", "fake/stylegan2")
    result = find_candidates(tmp_path)
    assert "--pool GENERATOR=POOL" in result.questions[0]
    pools = {"sdxl": "shoes", "stylegan2": "faces"}
    answered = find_candidates(tmp_path, answers=Answers(pools=pools))
    assert answered.questions == ()
    assert pairs(answered) == {
        ("", "faces"),
        ("", "shoes"),
        ("sdxl", "shoes"),
        ("stylegan2", "faces"),
    }
    merged = find_candidates(tmp_path, answers=Answers(pools={"*": "all"}))
    assert merged.questions == ()
    assert pairs(merged) == {("", "all"), ("sdxl", "all"), ("stylegan2", "all")}


def test_the_same_folders_under_real_and_fake_are_classes_or_generators(tmp_path: Path) -> None:
    touch(tmp_path / "a", "real/cat", "real/dog", "fake/cat", "fake/dog")
    assert find_candidates(tmp_path / "a").questions
    answered = find_candidates(tmp_path / "a", answers=Answers(rename={"*": "sd-1.5"}))
    assert answered.questions == ()
    assert pairs(answered) == {("", "all"), ("sd-1.5", "all")}
    touch(tmp_path / "b", "real/biggan", "real/sdxl", "fake/biggan", "fake/sdxl")
    generators = find_candidates(tmp_path / "b")
    assert generators.questions == ()
    assert pairs(generators) == {
        ("", "biggan"),
        ("biggan", "biggan"),
        ("", "sdxl"),
        ("sdxl", "sdxl"),
    }


def test_one_generator_for_folders_that_differ_is_asked_about(tmp_path: Path) -> None:
    touch(tmp_path, "real", "fake/new/adm", "fake/new/vqdm")
    (question,) = find_candidates(tmp_path).questions
    assert "adm, vqdm" in question and "--rename new=new" in question
    assert find_candidates(tmp_path, answers=Answers(rename={"new": "new"})).questions == ()


def test_a_reserved_name_is_not_offered_again_as_the_answer(tmp_path: Path) -> None:
    touch(tmp_path, "real", "fake/all/adm", "fake/all/vqdm")
    first, second = find_candidates(tmp_path).questions
    assert "adm, vqdm" in first and "--rename all=NAME" in first
    assert "all detectors together" in second
    assert find_candidates(tmp_path, answers=Answers(rename={"all": "both"})).questions == ()


def test_truefakes_twins_stay_together(tmp_path: Path) -> None:
    networks = ["PreSocial", "Facebook", "Telegram"]
    for network in networks:
        fill(tmp_path, f"{network}/Fake/StyleGAN2/psi-0.5", 20)
        fill(tmp_path, f"{network}/Real/FFHQ", 20)
    result = find_candidates(tmp_path)
    assert result.layout == "truefake"
    assert pairs(result) == {(g, n) for g in ("", "StyleGAN2") for n in networks}
    images = ingest(tmp_path, progress=False, workers=1).images
    twins = images.groupby(images["path"].str.split("/", n=1).str[1])
    assert (twins.size() == len(networks)).all()
    assert twins["split"].nunique().max() == 1
    assert twins["group"].nunique().max() == 1


def test_drct_pairs_pictures_of_one_caption(tmp_path: Path) -> None:
    for part in ("train2017", "val2017"):
        for tree in ("MSCOCO", "DRCT-2M/stable-diffusion-v1-4", "DRCT-2M/sdxl-turbo"):
            touch(tmp_path, f"{tree}/{part}")
    result = find_candidates(tmp_path)
    assert result.layout == "drct"
    assert pairs(result) == {
        ("", "MSCOCO"),
        ("stable-diffusion-v1-4", "MSCOCO"),
        ("sdxl-turbo", "MSCOCO"),
    }
    groups = result.table.groupby("group")["label"].agg(["size", "nunique"])
    assert (groups["nunique"] == 2).all()


def test_genimage_and_cnndetection_as_before(tmp_path: Path) -> None:
    touch(tmp_path / "g", "adm/imagenet_adm/train/ai", "adm/imagenet_adm/train/nature")
    assert pairs(find_candidates(tmp_path / "g")) == {("", "adm"), ("adm", "adm")}
    touch(tmp_path / "c", "biggan/0_real", "biggan/1_fake")
    assert pairs(find_candidates(tmp_path / "c")) == {("", "biggan"), ("biggan", "biggan")}


# Several roots.
def test_two_trees_by_name(tmp_path: Path) -> None:
    """Synthbuster with RAISE."""
    touch(tmp_path, "RAISE", "synthbuster/sdxl", "synthbuster/dalle3", "elsewhere")
    answers = Answers(real=(tmp_path / "RAISE",), fake=(("", tmp_path / "synthbuster"),))
    root = common_root(answers)
    assert root is not None
    result = find_candidates(root, answers=answers)
    assert pairs(result) == {("", "all"), ("sdxl", "all"), ("dalle3", "all")}
    assert not result.table["path"].str.startswith("elsewhere").any()
    one = Answers(real=answers.real, fake=(("mine", tmp_path / "synthbuster/sdxl"),))
    assert pairs(find_candidates(tmp_path, answers=one)) == {("", "all"), ("mine", "all")}


@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (["RAISE"], [], "add --fake NAME=DIR"),
        ([], ["RAISE"], "add --real DIR"),
        (["none"], ["RAISE"], "is not there"),
        (["RAISE"], ["RAISE"], "hold the same files"),
    ],
)
def test_roots_that_cannot_be(
    tmp_path: Path, real: list[str], fake: list[str], message: str
) -> None:
    touch(tmp_path, "RAISE")
    answers = Answers(
        real=tuple(tmp_path / name for name in real),
        fake=tuple(("x", tmp_path / name) for name in fake),
    )
    with pytest.raises(AigiError, match=message):
        common_root(answers)


# Tables.
def test_artifact(tmp_path: Path) -> None:
    for folder, target in (("coco", 0), ("big_gan", 6), ("pro_gan", 3)):
        touch(tmp_path, f"{folder}/deep")
        rows = "".join(f"{i},deep/{i}.png,{target},cat\n" for i in range(2))
        (tmp_path / folder / "metadata.csv").write_text(
            "filename,image_path,target,category\n" + rows
        )
    result = find_candidates(tmp_path)
    assert result.layout == "artifact"
    assert pairs(result) == {("", "all"), ("big_gan", "all"), ("pro_gan", "all")}
    assert set(result.table["category"]) == {"cat"}


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_imagefolder(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "train/images", n=4)
    records = [
        {
            "file_name": f"images/{i}.png",
            "label": ["real", "fake"][i % 2],
            "model": ["", "sdxl"][i % 2],
            "prompt": "a horse",
        }
        for i in range(4)
    ]
    frame = pd.DataFrame(records)
    if name.endswith("csv"):
        frame.to_csv(tmp_path / "train" / name, index=False)
    else:
        frame.to_json(tmp_path / "train" / name, orient="records", lines=True)
    result = find_candidates(tmp_path)
    assert result.layout == "imagefolder"
    assert places(result) == {("", "all"): (2, "train"), ("sdxl", "all"): (2, "train")}
    assert set(result.table["caption"]) == {"a horse"}


def test_imagefolder_takes_the_class_from_folders(tmp_path: Path) -> None:
    for kind in ("real", "fake"):
        touch(tmp_path, f"train/{kind}")
    rows = "".join(f"{kind}/{i}.png,a cat\n" for kind in ("real", "fake") for i in range(2))
    (tmp_path / "train/metadata.csv").write_text("file_name,caption\n" + rows)
    result = find_candidates(tmp_path)
    assert result.layout == "imagefolder"
    assert result.table["label"].sum() == 2


def test_a_json_list_with_other_names(tmp_path: Path) -> None:
    """ForensicHub."""
    touch(tmp_path, "a")
    records = [{"img": f"a/{i}.png", "is_fake": i} for i in range(2)]
    (tmp_path / "list.json").write_text(json.dumps(records))
    answers = Answers(columns={"path": "img", "label": "is_fake"})
    result = find_candidates(tmp_path, "auto", tmp_path / "list.json", answers)
    assert result.table["label"].tolist() == [0, 1]


def stored(n: int = 24, **columns: object) -> pa.Table:
    """Images in bytes with the columns given."""
    images = [encoded(picture(i), "JPEG") for i in range(n)]
    return pa.table({"image_data": images, **columns})


def test_community_forensics_is_read_in_place(tmp_path: Path) -> None:
    n = 24
    label = [int(i >= n // 2) for i in range(n)]
    table = stored(
        n,
        label=label,
        model_name=["sdxl" if v else "real" for v in label],
        architecture=["LatDiff" if v else "" for v in label],
        split=["train" if i % 2 else "test" for i in range(n)],
    )
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "data/a.parquet", row_group_size=7)
    result = find_candidates(tmp_path)
    assert result.layout == "parquet"
    assert result.questions == ()
    assert places(result) == {
        ("", "all"): (n // 2, "test+train"),
        ("sdxl", "all"): (n // 2, "test+train"),
    }
    images = ingest(tmp_path, progress=False, workers=1, min_images=3).images
    assert (images["left_out"] == "").all()
    assert set(images["archive"]) == {"data/a.parquet"}
    assert images["offset"].tolist() == list(range(n))
    for i in (23, 0, 8, 7):
        content = read_bytes(tmp_path / images["path"][i])
        assert content == table["image_data"][i].as_py()


def test_openfake_keeps_prompts_and_dates(tmp_path: Path) -> None:
    pictures = [{"bytes": encoded(picture(i)), "path": f"{i}.png"} for i in range(4)]
    table = pa.table(
        {
            "image": pictures,
            "prompt": ["", "", "a dog", "a cat"],
            "label": ["real", "real", "fake", "fake"],
            "model": ["laion", "laion", "flux.1-dev", "sdxl"],
            "type": ["base"] * 4,
            "release_date": ["", "", "2024-08", "2023-07"],
        }
    )
    pq.write_table(table, tmp_path / "train-00000-of-00001.parquet")
    pq.write_table(table, tmp_path / "test-00000-of-00001.parquet")
    result = find_candidates(tmp_path)
    assert {generator for generator, _ in pairs(result)} == {"", "flux.1-dev", "sdxl"}
    assert set(result.table["split"]) == {"train", "test"}
    row = result.table[result.table["generator"] == "sdxl"].iloc[0]
    assert (row["caption"], row["release_date"]) == ("a cat", "2023-07")


# Archives.
def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def test_webdataset(tmp_path: Path) -> None:
    for shard in range(2):
        with tarfile.open(tmp_path / f"train-{shard:04d}.tar", "w") as tar:
            for i in range(12):
                key = f"{shard:02d}{i:04d}"
                about = {"label": i % 2, "model": "sdxl" if i % 2 else "", "prompt": f"cat {i}"}
                add(tar, f"{key}.jpg", encoded(picture((shard, i)), "JPEG"))
                add(tar, f"{key}.json", json.dumps(about).encode())
    result = find_candidates(tmp_path)
    assert result.layout == "samples"
    assert pairs(result) == {("", "all"), ("sdxl", "all")}
    images = ingest(tmp_path, progress=False, workers=1).images
    assert (images["left_out"] == "").all()
    assert images["offset"].min() >= 0
    row = images[images["caption"] == "cat 3"].iloc[0]
    by_offset = read_bytes(tmp_path / row["path"], int(row["offset"]))
    assert by_offset == read_bytes(tmp_path / row["path"])
    assert load_rgb(by_offset).width == 24


def test_img2dataset_beside_a_generator(tmp_path: Path) -> None:
    """Its output has no label: it is one of two roots; texts become captions."""
    (tmp_path / "laion").mkdir()
    with tarfile.open(tmp_path / "laion/00000.tar", "w") as tar:
        for i in range(3):
            add(tar, f"{i:09d}.jpg", encoded(picture(i), "JPEG"))
            add(tar, f"{i:09d}.txt", f"photo {i}".encode())
            about = {"url": f"https://x/{i}", "caption": f"photo {i}"}
            add(tar, f"{i:09d}.json", json.dumps(about).encode())
    touch(tmp_path, "sdxl")
    answers = Answers(real=(tmp_path / "laion",), fake=(("sdxl", tmp_path / "sdxl"),))
    result = find_candidates(tmp_path, answers=answers)
    reals = result.table[result.table["label"] == 0]
    assert reals["caption"].tolist() == ["photo 0", "photo 1", "photo 2"]
    assert reals["source_url"].tolist() == ["https://x/0", "https://x/1", "https://x/2"]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_read_as_the_folder_it_holds(tmp_path: Path, compression: int) -> None:
    with zipfile.ZipFile(tmp_path / "archive.zip", "w", compression) as packed:
        for kind in ("train/REAL", "train/FAKE"):
            for i in range(2):
                packed.writestr(f"{kind}/{i}.png", encoded(picture((kind, i))))
    result = find_candidates(tmp_path)
    assert pairs(result) == {("", "all"), ("unknown", "all")}
    path = result.table["path"].iloc[0]
    assert path.startswith("archive.zip/train/")
    assert np.asarray(load_rgb(tmp_path / path).image).shape == (16, 24, 3)


def test_a_damaged_or_hostile_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(AigiError, match=r"a.zip cannot be read"):
        find_candidates(tmp_path)
    (tmp_path / "a.zip").unlink()
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        add(tar, "../../etc/x.png", b"x")
    with pytest.raises(AigiError, match="a path that leaves it"):
        find_candidates(tmp_path)


def test_a_compressed_tar_is_reported(tmp_path: Path) -> None:
    touch(tmp_path, "real", "fake/x")
    with tarfile.open(tmp_path / "more.tar.gz", "w:gz") as tar:
        add(tar, "a.png", b"x")
    notes = find_candidates(tmp_path).notes
    assert any("more.tar.gz" in note and "plain .tar or .zip" in note for note in notes)


# What is seen before hours of work.
def test_a_dry_run_prints_the_table_and_opens_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(tmp_path, "real", "fake/sdxl", n=3)
    out = tmp_path.parent / f"{tmp_path.name}-w"
    command = ["build", "--images", str(tmp_path), "--out", str(out), "--model", "demo"]
    assert main([*command, "--dry-run", "--min-images", "3"]) == 0
    printed = capsys.readouterr().out
    assert "generator  pool  real  fake        split\n" in printed
    assert "sdxl       all      3     3  to be drawn\n" in printed
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--model VIT-L-14 --pretrained openai", "There is no model 'VIT-L-14'"),
        ("--model ViT-L-14 --pretrained opnai", "neither a weights file nor a pretrained tag"),
        ("--model demo --pretrained openai", "leave out --pretrained"),
        ("--model ViT-B-32", "needs weights"),
        ("--model demo --precision fp8", "The precision 'fp8' is unknown"),
        ("--features heds", "'heds'"),
        ("--canonicalize jpg:90", "'jpg'"),
        ("--test 30", "Expected shares"),
        ("--min-images 1", "--min-images of at least 3"),
        ("--min-images 11", "at least 11 are needed: sdxl (10 in the pool all); the real images"),
        ("--words 100 --no-texts", "--words cuts a bank of texts"),
        ("--workers 0", "--workers: expected a whole number of at least 1"),
        ("--words 0", "--words: expected a whole number of at least 1"),
        ("--seed -1", "--seed: expected a whole number of at least 0"),
        ("--out {images}/w", "would lie inside the images"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(
    tmp_path: Path, options: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(tmp_path, "real", "fake/sdxl", n=10)
    command = ["build", "--images", str(tmp_path), "--dry-run"]
    assert main([*command, *options.format(images=tmp_path).split()]) == 2
    assert said in capsys.readouterr().err
    assert main(command) == 0  # a model and a place may be chosen later


def test_a_workspace_beside_the_named_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder above those that are named is no folder of images: it is neither kept free of
    workspaces nor looked at."""
    touch(tmp_path, "photos", ".cache/sdxl", n=12)
    write(tmp_path, "private/broken.zip", b"PK\x03\x04 no archive")
    (tmp_path / "empty").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "photos")
    named = ["--real", f"{tmp_path}/photos", "--fake", f"sdxl={tmp_path}/.cache/sdxl"]
    run = ["ingest", *named, "--dry-run", "--out"]
    assert main([*run, f"{tmp_path}/w"]) == 0
    printed = capsys.readouterr().out
    assert "12 real and 12 fake images" in printed and "empty" not in printed
    for inside in ("photos/w", ".cache/sdxl/w", "linked/w", "photos"):
        assert main([*run, f"{tmp_path}/{inside}"]) == 2
        assert "would lie inside the images" in capsys.readouterr().err
    nothing = ["--real", f"{tmp_path}/empty", "--fake", named[3]]
    assert main(["ingest", *nothing, "--dry-run", "--out", f"{tmp_path}/w"]) == 2
    assert f"--real {tmp_path}/empty holds no image: check the folder" in capsys.readouterr().err


@pytest.mark.parametrize("named", [False, True])
def test_a_dry_run_counts_what_may_be_an_image_and_refuses_as_the_run_does(
    tmp_path: Path, named: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A text beside images is none, however the folders are named; a file without a suffix may
    be one."""
    root = tmp_path / "images"
    touch(root, "real", "fake/e", n=9)
    for place in ("real", "fake/e"):
        write(root, f"{place}/README.txt", b"text")
        write(root, f"{place}/LICENSE", b"text")
        write(root, f"{place}/a1b2", b"x")
    options = ["--images", str(root)]
    if named:
        options = ["--real", f"{root}/real", "--fake", f"e={root}/fake/e"]
    assert main(["ingest", *options, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "10 real and 10 fake images; 4 other files are left out." in printed
    assert "By 6 names, no image" in printed
    (root / "fake/e/0.png").unlink()
    said = []
    for more in (["--dry-run"], ["--out", f"{tmp_path}/w"]):
        assert main(["ingest", *options, *more]) == 2
        said.append(capsys.readouterr().err)
    assert "at least 10 are needed: e (9 in the pool all). Add images" in said[0]
    assert said[0] == said[1]


def test_a_dry_run_refuses_groups_that_cannot_be_divided(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two prompts make no three splits: the run says so after all images were read."""
    root = tmp_path / "images"
    fill(root, "real")
    fill(root, "fake")
    rows = [f"real/{i:03d}.png,real,\n" for i in range(12)]
    rows += [f"fake/{i:03d}.png,fake,{i % 2}\n" for i in range(12)]
    (tmp_path / "m.csv").write_text("path,label,group\n" + "".join(rows))
    command = ["ingest", "--images", str(root), "--manifest", f"{tmp_path}/m.csv"]
    for more in (["--dry-run"], ["--out", f"{tmp_path}/w"]):
        assert main([*command, *more]) == 2
        said = capsys.readouterr().err
        assert "its images form only 2 groups that must not be divided" in said
    with pytest.raises(AigiError, match="form only 2 groups"):
        ingest(root, manifest=tmp_path / "m.csv", workers=1, progress=False)


def test_a_dry_run_refuses_a_generator_of_texts_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(tmp_path, "real", "fake/one", n=10)
    write(tmp_path, "fake/two/README.txt", b"text")
    assert main(["ingest", "--images", str(tmp_path), "--dry-run"]) == 2
    assert "at least 10 are needed: two (0 in the pool all). Add" in capsys.readouterr().err


@pytest.mark.parametrize("inside", [(), ("README.txt",)])
def test_a_named_folder_without_images_stops(
    tmp_path: Path, inside: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    touch(tmp_path, "photos", "one", n=12)
    (tmp_path / "two").mkdir()
    for name in inside:
        write(tmp_path, f"two/{name}", b"text")
    named = ["--real", f"{tmp_path}/photos", "--fake", f"one={tmp_path}/one"]
    named += ["--fake", f"two={tmp_path}/two"]
    for more in (["--dry-run"], ["--out", f"{tmp_path}/w"]):
        assert main(["ingest", *named, *more]) == 2
        assert f"--fake two={tmp_path}/two holds no image" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def class_labels(root: Path, columns: dict[str, list[str]]) -> None:
    """A Parquet table of images whose columns of classes are described as the hub does it."""
    features = {name: {"_type": "ClassLabel", "names": of} for name, of in columns.items()}
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    rows = pa.table({"image": [b"x"] * 20} | {name: [0, 1] * 10 for name in columns})
    pq.write_table(rows.replace_schema_metadata(told), root / "a.parquet")


def test_a_column_whose_classes_say_real_and_fake_is_the_label(tmp_path: Path) -> None:
    class_labels(tmp_path, {"cls": ["fake", "photo"], "scene": ["indoor", "outdoor"]})
    found = find_candidates(tmp_path)
    assert found.table.sort_values("offset")["label"].tolist() == [1, 0] * 10
    assert any(
        "'cls' was read as the label" in note and "fake, photo" in note for note in found.notes
    )


@pytest.mark.parametrize(
    "columns",
    [
        {"cls": ["fake", "photo"], "kind": ["real", "generated"]},
        {"cls": ["left", "right"], "kind": ["a", "b"]},
    ],
)
def test_other_columns_of_classes_are_asked_about(
    tmp_path: Path, columns: dict[str, list[str]]
) -> None:
    class_labels(tmp_path, columns)
    with pytest.raises(AigiError, match=r"lacks the column label.*cls \(.*kind \(.*label=") as told:
        find_candidates(tmp_path)
    assert "manifest" not in str(told.value)


def test_a_dry_run_with_questions_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(tmp_path, "cat/real", "cat/fake", n=10)
    assert main(["ingest", "--images", str(tmp_path), "--dry-run"]) == 2
    assert "Question 1: A generator is called 'cat'" in capsys.readouterr().out
    again = ["ingest", "--images", str(tmp_path), "--dry-run", "--rename", "cat=stylegan2"]
    assert main(again) == 0
    assert "stylegan2" in capsys.readouterr().out


# Tables that stand in archives, or list what is elsewhere.
def listed(kind: str, n: int = 12) -> bytes:
    """A metadata file of ImageFolder."""
    rows = [{"file_name": f"{i}.png", "label": ("real", "fake")[i % 2]} for i in range(n)]
    if kind == "jsonl":
        return "\n".join(map(json.dumps, rows)).encode()
    buffer = io.BytesIO()
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), buffer)
    else:
        pd.DataFrame(rows).to_csv(buffer, index=False)
    return buffer.getvalue()


def packed(file: Path, contents: dict[str, bytes]) -> None:
    if file.suffix == ".zip":
        with zipfile.ZipFile(file, "w") as zipped:
            for name, content in contents.items():
                zipped.writestr(name, content)
        return
    with tarfile.open(file, "w") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("archive", ["data.zip", "train.tar"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("beside", [False, True])
def test_an_imagefolder_in_an_archive(
    tmp_path: Path, archive: str, kind: str, beside: bool
) -> None:
    """Its metadata is read inside the archive, or beside it."""
    images = {f"{i}.png": encoded(picture(i)) for i in range(12)}
    metadata = {f"metadata.{kind}": listed(kind)}
    packed(tmp_path / archive, images if beside else images | metadata)
    if beside:
        (tmp_path / f"metadata.{kind}").write_bytes(listed(kind))
    result = find_candidates(tmp_path)
    assert result.layout == "imagefolder" and result.questions == ()
    assert sorted(result.table["label"]) == [0] * 6 + [1] * 6
    assert not any("not listed" in note for note in result.notes)
    row = result.table[result.table["path"] == f"{archive}/7.png"].iloc[0]
    assert row["label"] == 1
    assert read_bytes(tmp_path / row["path"], row["offset"]) == images["7.png"]


def test_metadata_whose_images_are_not_there_stops(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_bytes(listed("csv"))
    fill(tmp_path, "elsewhere", 2)
    result = find_candidates(tmp_path)
    assert "None of the 12 images in metadata.csv is there" in result.questions[0]
    for i in range(10):
        write(tmp_path, f"{i}.png", encoded(picture(i)))
    result = find_candidates(tmp_path)
    assert result.questions == ()
    assert any(note.startswith("2 rows name files that are not there") for note in result.notes)


def only_named(file: Path, path: str) -> None:
    """A data set of Hugging Face's that was saved without its images."""
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    images = [{"bytes": None, "path": path.format(i=i)} for i in range(12)]
    table = {"image": pa.array(images, kind), "label": ["real", "fake"] * 6}
    pq.write_table(pa.table(table), file)


def test_a_parquet_that_only_names_its_images_says_how_to_read_them(tmp_path: Path) -> None:
    fill(tmp_path, "imgs", 12)
    names = sorted(file.name for file in (tmp_path / "imgs").iterdir())
    only_named(tmp_path / "data.parquet", "imgs/" + names[0].replace("0", "{i}", 1))
    with pytest.raises(AigiError, match="lists images by path") as refused:
        find_candidates(tmp_path)
    said = str(refused.value)
    assert f"--manifest {tmp_path / 'data.parquet'} --columns path=image" in said
    answers = Answers(columns={"path": "image"})
    result = find_candidates(tmp_path, manifest_file=tmp_path / "data.parquet", answers=answers)
    assert len(result.table) == 12
    only_named(tmp_path / "data.parquet", "/gone/{i}.png")
    with pytest.raises(AigiError, match="and --images the folder that its paths begin at"):
        find_candidates(tmp_path)


def test_rows_of_a_parquet_without_an_image_are_counted(tmp_path: Path) -> None:
    images = [None if i % 3 == 0 else encoded(picture(i)) for i in range(12)]
    table = {"image": pa.array(images, pa.binary()), "label": ["real", "fake"] * 6}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    assert (
        "4 rows hold no image in a.parquet: they will be left out."
        in find_candidates(tmp_path).notes
    )


def test_a_table_below_the_top_is_named_with_its_options(tmp_path: Path) -> None:
    touch(tmp_path, "a", n=2)
    write(tmp_path, "lists/train.csv", b"filename,typ\na/0.png,real\na/1.png,fake\n")
    with pytest.raises(AigiError, match="lists/train.csv lists images by path") as refused:
        find_candidates(tmp_path)
    assert "--columns path=filename,label=typ." in str(refused.value)


def test_where_the_paths_of_a_table_begin_is_said_where_it_is_found(tmp_path: Path) -> None:
    touch(tmp_path, "set/a", n=2)
    write(tmp_path, "set/list.csv", b"path,label\na/0.png,real\na/1.png,fake\n")
    result = find_candidates(tmp_path, manifest_file=tmp_path / "set/list.csv")
    assert f"Say --images {tmp_path / 'set'}." in result.questions[0]
    write(tmp_path, "set/manifest.csv", b"path,label\nset/a/0.png,real\nset/a/1.png,fake\n")
    result = find_candidates(tmp_path / "set")
    assert f"Say --images {tmp_path}." in result.questions[0]


def test_the_folder_of_several_generators_may_hold_the_real_images(tmp_path: Path) -> None:
    touch(tmp_path, "all/photos", "all/sdxl", "all/dalle3")
    answers = Answers(real=(tmp_path / "all/photos",), fake=(("", tmp_path / "all"),))
    root = common_root(answers)
    assert root is not None
    found = find_candidates(root, answers=answers)
    assert found.questions == ()
    assert pairs(found) == {("", "all"), ("sdxl", "all"), ("dalle3", "all")}
    named = Answers(real=(tmp_path / "all/photos",), fake=(("sdxl", tmp_path / "all"),))
    with pytest.raises(AigiError, match="hold the same files"):
        common_root(named)
