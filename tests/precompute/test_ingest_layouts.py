"""Layouts: what each says of a folder, how one is chosen, and what is walked."""

from pathlib import Path

import pytest

from aigi_core.errors import AigiError
from precompute.ingest.families import family_of
from precompute.ingest.layouts import cnndetection, find_candidates, folders, genimage
from precompute.ingest.layouts.base import Tree
from precompute.ingest.layouts.cnndetection import LSUN
from precompute.ingest.walk import FileEntry, walk
from tests.precompute.corpus import write


def places(layout, folders: list[str], root: str = "root") -> dict[str, tuple]:
    """What a layout says of a file in each folder; those that it leaves out are absent."""
    files = tuple(FileEntry(f"{folder}/x.png") for folder in folders)
    table = layout.parse(Tree(Path("/nowhere") / root, files)).table
    kept = table[table["left_out"] == ""]
    return {
        path.removesuffix("/x.png"): told
        for path, *told in zip(
            kept["path"], kept["label"], kept["generator"], kept["pool"], kept["split"], strict=True
        )
        for told in [tuple(told)]
    }


def touch(root: Path, *paths: str) -> Path:
    for path in paths:
        write(root, path, b"x")
    return root


def test_folders():
    assert places(
        folders, ["real", "real/cats", "fake/sd-1.4", "fake/sd-1.4/deep/er", "docs", "fake"]
    ) == {
        "real": (0, "", "all", ""),
        "real/cats": (0, "", "all", ""),
        "fake/sd-1.4": (1, "sd-1.4", "all", ""),
        "fake/sd-1.4/deep/er": (1, "sd-1.4", "all", ""),
    }


@pytest.mark.parametrize(
    ("real", "fake"),
    [
        ("train/REAL", "train/FAKE/x"),
        ("real/train", "fake/x/train"),
        ("real/Training", "fake/training/x"),
        ("Training_set/real", "Training_set/fake/x"),
        ("train-images/real", "train-images/fake/x"),
        ("real/traindata", "fake/x/traindata"),
    ],
)
def test_folders_with_split_folders_wherever_they_stand(real, fake):
    others = [
        name.lower().replace("training", "train").replace("train", "test") for name in (real, fake)
    ]
    result = places(folders, [real, fake, *others])
    assert [result[real], result[fake]] == [(0, "", "all", "train"), (1, "x", "all", "train")]
    assert [result[other][3] for other in others] == ["test", "test"]


def test_folders_with_pools():
    result = places(folders, ["faces/real", "faces/fake/x", "shoes/red/real", "shoes/red/fake/x"])
    assert result["faces/fake/x"] == (1, "x", "faces", "") and result["shoes/red/real"] == (
        0,
        "",
        "shoes/red",
        "",
    )


def test_cnndetection():
    assert places(
        cnndetection,
        ["biggan/0_real", "biggan/1_fake", "progan/cat/0_real", "progan/cat/1_fake"],
    ) == {
        "biggan/0_real": (0, "", "biggan", ""),
        "biggan/1_fake": (1, "biggan", "biggan", ""),
        "progan/cat/0_real": (0, "", "progan", ""),
        "progan/cat/1_fake": (1, "progan", "progan", ""),
    }


def test_cnndetection_of_one_generator_is_called_as_its_folder():
    result = places(cnndetection, ["0_real", "1_fake"], "stylegan2")
    assert result == {
        "0_real": (0, "", "stylegan2", ""),
        "1_fake": (1, "stylegan2", "stylegan2", ""),
    }


def test_the_lsun_class_train_is_no_split():
    result = places(
        cnndetection,
        [f"progan/{name}/{label}" for name in LSUN for label in ("0_real", "1_fake")],
    )
    assert set(result.values()) == {(0, "", "progan", ""), (1, "progan", "progan", "")}


def test_cnndetections_own_training_folders_hold_progan():
    training = [f"{part}/{name}/1_fake" for part in ("train", "val") for name in LSUN]
    result = places(cnndetection, [*training, "test/biggan/1_fake", "test/progan/train/1_fake"])
    assert result["train/train/1_fake"] == (1, "progan", "progan", "train")
    assert result["val/cat/1_fake"] == (1, "progan", "progan", "val")
    assert result["test/biggan/1_fake"] == (1, "biggan", "biggan", "test")
    assert result["test/progan/train/1_fake"] == (1, "progan", "progan", "test")


def test_genimage():
    adm = "adm/imagenet_ai_0508_adm"
    result = places(
        genimage,
        [f"{adm}/{part}/{label}" for part in ("train", "val") for label in ("ai", "nature")],
    )
    assert result[f"{adm}/train/ai"] == (1, "adm", "adm", "train")
    assert result[f"{adm}/val/nature"] == (0, "", "adm", "val")
    assert places(genimage, ["ai", "nature"], "sdv5")["ai"] == (1, "sdv5", "sdv5", "")


@pytest.mark.parametrize(
    ("paths", "layout", "word"),
    [
        (("real/a", "fake/x/b"), "folders", "real/ beside"),
        (("x/0_real/a", "x/1_fake/b"), "cnndetection", "0_real"),
        (("x/nature/a", "x/ai/b"), "genimage", "nature|ai"),
    ],
)
def test_detection_says_what_and_why(tmp_path, paths, layout, word):
    result = find_candidates(touch(tmp_path, *paths, "README.md"))
    assert result.layout == layout and "2 of 3 files" in result.why and word in result.why
    readme = result.table.set_index("path").loc["README.md"]
    assert readme["left_out"].startswith("outside the layout") and readme["label"] == -1
    assert find_candidates(tmp_path, layout).table.equals(result.table)


def test_ambiguity_lists_the_options(tmp_path):
    touch(tmp_path, "real/a", "fake/x/b", "x/0_real/a", "x/1_fake/b", "x/1_fake/c")
    with pytest.raises(
        AigiError,
        match=r"ambiguous: folders \(2 of 5 files .*\), cnndetection \(3 of 5 files .*\) all fit",
    ):
        find_candidates(tmp_path)
    assert find_candidates(tmp_path, "cnndetection").layout == "cnndetection"
    (tmp_path / "manifest.csv").write_text("path,label\nreal/a,real\nfake/x/b,fake\n")
    with pytest.raises(AigiError, match=r"manifest \(manifest.csv\), folders"):
        find_candidates(tmp_path)
    assert find_candidates(tmp_path, "manifest").layout == "manifest"


def test_a_manifest_wins_over_a_layout_with_one_class_only(tmp_path):
    touch(tmp_path, "imagenet/real/a", "imagenet/sd-1.4/b")
    (tmp_path / "manifest.csv").write_text(
        "path,label\nimagenet/real/a,real\nimagenet/sd-1.4/b,fake\n"
    )
    assert find_candidates(tmp_path).layout == "manifest"


@pytest.mark.parametrize(
    ("paths", "layout", "message"),
    [
        ((), "auto", "holds no files"),
        ((".hidden", "__MACOSX"), "auto", "holds no files"),
        (
            ("cats/a", "dogs/b"),
            "auto",
            r"No layout fits .* \(at its top: cats/, dogs/\)\. Name the folders: --real DIR --fake",
        ),
        (("a", "b"), "auto", "at its top: files only"),
        (("real/a", "fake/x/b"), "genimage", "The layout genimage fits nothing"),
        (("real/a", "fake/x/b"), "manifest", "has none of manifest.csv, manifest.tsv"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, paths, layout, message):
    with pytest.raises(AigiError, match=message):
        find_candidates(touch(tmp_path, *paths), layout)


def test_a_root_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(AigiError, match="does not exist"):
        find_candidates(tmp_path / "none")
    with pytest.raises(AigiError, match="is a file"):
        find_candidates(write(tmp_path, "a.png"))
    with pytest.raises(AigiError, match="choose one of the two"):
        find_candidates(tmp_path, "folders", tmp_path / "m.csv")


def test_walk_breaks_loops_and_follows_other_links(tmp_path):
    root = touch(tmp_path / "root", "a/b/one", "a/.hidden/x", "a/Thumbs.db", "z")
    touch(tmp_path / "elsewhere", "two")
    (root / "a" / "b" / "up").symlink_to("..")
    (root / "a" / "self").symlink_to(root)
    (root / "a" / "b" / "link").symlink_to(tmp_path / "elsewhere")
    (root / "left").mkdir()
    (root / "right").mkdir()
    (root / "left" / "r").symlink_to("../right")
    (root / "right" / "l").symlink_to("../left")
    paths, notes = walk(root)
    assert [result.path for result in paths] == ["a/b/link/two", "a/b/one", "z"]
    assert notes == (
        "2 hidden entries were skipped.",
        (
            "4 links were not followed, leading to a folder above: a/b/up, a/self, left/r/l and 1"
            " more."
        ),
    )


@pytest.mark.parametrize(
    ("family", "names"),
    [
        (
            "gan",
            (
                "progan ProGAN stylegan stylegan2-ffhq StyleGAN3 biggan cyclegan"
                " cyclegan-horse2zebra gaugan stargan pix2pix gigagan whichfaceisreal ganformer"
            ),
        ),
        (
            "diffusion",
            (
                "glide glide_100_27 glid-3-xl ldm ldm-laion ldm_200_cfg adm ADM guided sd-1.4"
                " sd-beta sdxl sd_v15 sdv5 stable_diffusion_v_1_4 midjourney midjourney-shoes"
                " Midjourney-v6 dalle-2 DALL-E3 dalle3 VQDM vq-diffusion wukong imagen flux.1-dev"
                " if-xl ddpm"
            ),
        ),
        (
            "autoregressive",
            (
                "dalle-mini dall-e-mini craiyon dalle gpt-4o gpt-image-1 parti cogview2 var-d30"
                " taming llamagen"
            ),
        ),
        ("other", "deepfake crn imle san seeingdark unknown imagenet-thing museum particles x"),
    ],
)
def test_family_by_name(family, names):
    assert {name: family_of(name) for name in names.split()} == dict.fromkeys(names.split(), family)
