"""Lists without a header, JSON by image or class, folders of numbers, of families and of networks:
each is read rightly, or stops with the question and the option that answers it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from aigi_core.errors import AigiError
from aigi_core.manifest import FAKE, REAL
from precompute.__main__ import main
from precompute.ingest.answers import Answers
from precompute.ingest.layouts import find_candidates
from precompute.ingest.tables import read_table
from tests.precompute.corpus import pairs, places, touch, write

LABELS = {"a/0.png": REAL, "a/1.png": FAKE, "a b/0.png": REAL, "a b/1.png": FAKE}


def as_list(between: str, rest: str = "") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        lines = (f"{path}{between}{label}{rest}\n" for path, label in LABELS.items())
        (folder / "list.txt").write_text("".join(lines), "utf-8")
        return folder / "list.txt"

    return write


def as_json(value: Callable[[str, int], object]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        content = {path: value(path, label) for path, label in LABELS.items()}
        (folder / "list.json").write_text(json.dumps(content), "utf-8")
        return folder / "list.json"

    return write


def by_class(folder: Path) -> Path:
    listed = {
        name: [path for path, label in LABELS.items() if label == of]
        for name, of in (("real", REAL), ("fake", FAKE))
    }
    (folder / "list.json").write_text(json.dumps(listed), "utf-8")
    return folder / "list.json"


@pytest.mark.parametrize(
    "write",
    [
        as_list(" "),
        as_list("\t"),
        as_list(","),
        as_list(",", ",3,4"),  # ImagiNet: origin, content, model
        as_json(lambda _, label: label),
        as_json(lambda _, label: {"label": ("REAL", "FAKE")[label], "split": "train"}),
        by_class,
    ],
)
def test_a_list_by_image_or_class_is_read(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    touch(tmp_path, "a", "a b")
    file = write(tmp_path)
    with pytest.raises(AigiError, match=r"lists images by path: say --manifest"):
        find_candidates(tmp_path)
    table = find_candidates(tmp_path, manifest_file=file).table
    assert dict(zip(table["path"], table["label"], strict=True)) == LABELS


def test_what_is_wrong_with_a_list_is_said(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text("a/0.png\na/1.png\n")
    with pytest.raises(AigiError, match="without their class: write real or fake"):
        read_table(file)
    file.write_text("a/0.png 1\n\na/1.png 1 7\n")
    with pytest.raises(AigiError, match=r"Line 3 .* has 3 values, but its first line has 2"):
        read_table(file)
    file.write_text("Path,Label\na/0.png,1\n")  # a header, as in a CSV
    assert read_table(file).names == ["Path", "Label"]


@pytest.mark.parametrize("shape", ["{}", "train/{}", "class_{}", "sdxl/{}", "sdxl/test/{}"])
def test_folders_of_numbers_ask_which_is_fake(tmp_path: Path, shape: str) -> None:
    touch(tmp_path, *(shape.format(number) for number in "01"), n=3)
    (question,) = find_candidates(tmp_path).questions
    assert "--fake-label 1" in question and "--fake-label 0" in question
    for answers, fake in (
        (Answers(fake_labels=("1",)), "1"),
        (Answers(fake_labels=("0",)), "0"),
        (Answers(real_labels=("1",)), "0"),
        (Answers(fake_labels=("0",), real_labels=("1",)), "0"),
    ):
        result = find_candidates(tmp_path, answers=answers)
        assert result.questions == () and result.layout == "numbered"
        fakes = result.table.loc[result.table["label"] == FAKE, "path"]
        assert len(fakes) == 3 and all(f"{fake}/" in path for path in fakes)
    for wrong in (Answers(fake_labels=("fake",)), Answers(fake_labels=("0", "1"))):
        assert any(
            "--fake-label 1" in q for q in find_candidates(tmp_path, answers=wrong).questions
        )


def test_words_for_the_classes_other_than_real_and_fake_are_read(tmp_path: Path) -> None:
    touch(tmp_path, "authentic", "synthetic/sdxl")
    assert pairs(find_candidates(tmp_path)) == {("", "all"), ("sdxl", "all")}


def test_a_word_inside_real_or_fake_is_no_class(tmp_path: Path) -> None:
    touch(tmp_path, "generated/real", "generated/fake")
    assert places(find_candidates(tmp_path)) == {
        ("", "generated"): (2, ""),
        ("generated", "generated"): (2, ""),
    }


def test_a_folder_of_a_family_is_no_generator(tmp_path: Path) -> None:
    """WildFake's fakes lie in one folder a family, and in these one a generator."""
    touch(tmp_path, "real", "fake/DMs/SD1.5", "fake/DMs/DALLE3", "fake/GANs/BigGAN")
    result = find_candidates(tmp_path)
    assert pairs(result) == {(name, "all") for name in ("", "SD1.5", "DALLE3", "BigGAN")}
    assert result.questions == () and any("DMs/" in note for note in result.notes)


@pytest.mark.parametrize("family", ["gan", "vendor"])
def test_what_may_be_a_family_or_a_generator_is_asked(tmp_path: Path, family: str) -> None:
    touch(tmp_path, "real", f"fake/{family}/sdxl", f"fake/{family}/zebra", "fake/dalle3")
    (question,) = find_candidates(tmp_path).questions
    assert f"--rename {family}={family}" in question and f"--fake DIR/{family}" in question
    answers = Answers(rename={family: family})
    assert find_candidates(tmp_path, answers=answers).questions == ()


def test_the_classes_below_a_generator_are_none(tmp_path: Path) -> None:
    touch(tmp_path, "real", "fake/mine/zebra", "fake/mine/apple", "fake/sdxl/zebra")
    result = find_candidates(tmp_path)
    assert pairs(result) == {(name, "all") for name in ("", "mine", "sdxl")}


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (("facebook", "linkedin"), "network"),  # ITW-SM
        (("c23", "raw"), "version"),  # FaceForensics++
        (("RRDataset_original", "RRDataset_transfer"), "part"),
    ],
)
def test_networks_versions_and_parts_are_no_generators(
    tmp_path: Path, names: tuple[str, str], what: str
) -> None:
    touch(tmp_path, *(f"{name}/{of}" for name in names for of in ("real", "fake")))
    questions = find_candidates(tmp_path).questions
    assert len(questions) == 2 and all(what in question for question in questions)
    assert f"--rename {names[0]}=" in questions[0]


def test_diffusion_forensics_has_its_real_images_beside_the_generators(tmp_path: Path) -> None:
    sets = {
        "train/lsun_bedroom": ("real", "adm"),
        "test/lsun_bedroom": ("real", "adm", "ddpm"),
        "test/imagenet": ("real", "sdv1"),
    }
    inside = [f"{at}/{name}" for at, names in sets.items() for name in names]
    touch(tmp_path / "images", *inside)
    result = find_candidates(tmp_path / "images")
    assert result.questions == ()
    assert places(result) == {
        ("", "lsun_bedroom"): (4, "test+train"),
        ("adm", "lsun_bedroom"): (4, "test+train"),
        ("ddpm", "lsun_bedroom"): (2, "test"),
        ("", "imagenet"): (2, "test"),
        ("sdv1", "imagenet"): (2, "test"),
    }
    # What was computed from the images lies in the same folders, as images.
    touch(tmp_path / "recons", *inside)
    (question,) = find_candidates(tmp_path).questions
    assert "14 images lie in folders called recons" in question and "--layout" in question
    assert find_candidates(tmp_path, layout="siblings").questions == ()


def test_unknown_folders_beside_real_are_asked_about(tmp_path: Path) -> None:
    touch(tmp_path, "real", "full_synthetic", "tampered")
    (question,) = find_candidates(tmp_path).questions
    assert "full_synthetic, tampered lie beside" in question and "--layout siblings" in question
    assert find_candidates(tmp_path, layout="siblings").questions == ()


def write_lists(root: Path, **lists: list[str]) -> None:
    for name, paths in lists.items():
        file = root / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{path}\n" for path in paths), "utf-8")


@pytest.mark.parametrize("prefix", ["", "/another/machine/", "here"])
@pytest.mark.parametrize("folder", ["", "lists/"])
def test_lists_of_paths_alone_tell_class_split_and_generator(
    tmp_path: Path, prefix: str, folder: str
) -> None:
    touch(tmp_path, "a", "b b", "c")
    before = f"{tmp_path}/" if prefix == "here" else prefix
    lists = {"train_real": "a/0", "test-real": "a/1", "train_fake_sdxl": "b b/0"}
    lists |= {"fake_sdxl_test": "b b/1", "train_fakes_dalle3": "c/0"}
    write_lists(
        tmp_path, **{f"{folder}{name}": [f"{before}{at}.png"] for name, at in lists.items()}
    )
    found = find_candidates(tmp_path)
    assert found.layout == "path-lists" and found.questions == ()
    told = found.table[["path", "label", "generator", "split"]].to_numpy().tolist()
    assert told == [
        ["a/0.png", REAL, "", "train"],
        ["a/1.png", REAL, "", "test"],
        ["b b/0.png", FAKE, "sdxl", "train"],
        ["b b/1.png", FAKE, "sdxl", "test"],
        ["c/0.png", FAKE, "dalle3", "train"],
    ]
    assert any("c/1.png" in note and "not listed" in note for note in found.notes)


def test_lists_in_folders_of_splits_may_begin_where_they_lie(tmp_path: Path) -> None:
    touch(tmp_path, "train/a", "train/b", "test/a", "test/b")
    for split in ("train", "test"):
        listed = {"real": ["a/0.png", "a/1.png"], "fake": ["b/0.png", "b/1.png"]}
        write_lists(tmp_path / split, **listed)
    table = find_candidates(tmp_path).table
    assert (table["split"] == table["path"].str.split("/").str[0]).all() and len(table) == 8
    assert (table["label"] == table["path"].str.contains("/b/")).all()


def test_lists_of_paths_alone_that_are_unclear_stop(tmp_path: Path) -> None:
    touch(tmp_path, "a", "sdxl", "dalle3")
    fakes = ["sdxl/0.png", "dalle3/0.png"]
    write_lists(tmp_path, real=["a/0.png"], fake=fakes)
    assert any("one generator" in one for one in find_candidates(tmp_path).questions)
    write_lists(tmp_path, real=["a/0.png"], fake=[*fakes, "a/0.png"])
    with pytest.raises(AigiError, match=r"'a/0.png' is fake in line . of fake.txt and real in"):
        find_candidates(tmp_path)
    write_lists(tmp_path, real=["x/0.png"], fake=["y/0.png"])
    assert any("which folder" in one for one in find_candidates(tmp_path).questions)
    write_lists(tmp_path, real=["a/0.png", "and a line of words"], fake=fakes)
    with pytest.raises(AigiError, match="No layout fits"):
        find_candidates(tmp_path)


def test_lists_in_folders_of_generators_are_not_read_as_one(tmp_path: Path) -> None:
    touch(tmp_path, "a", "b")
    for name in ("adm", "sdxl"):
        write_lists(tmp_path / name, real=["a/0.png"], fake=["b/0.png"])
    with pytest.raises(AigiError, match="No layout fits"):
        find_candidates(tmp_path)


def test_lists_that_say_the_reverse_of_folders_ask(tmp_path: Path) -> None:
    touch(tmp_path, "x/real", "x/fake")
    write_lists(tmp_path, real=["x/fake/0.png"], fake=["x/real/0.png"])
    assert find_candidates(tmp_path).layout == "folders"  # as without lists
    assert find_candidates(tmp_path, "path-lists").questions


def test_one_folder_of_too_few_images_is_asked_about_and_counted_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(tmp_path, "real")
    for i in range(3):
        write(tmp_path, f"tiny/{i}.png", b"x")
    assert main(["ingest", "--images", str(tmp_path), "--dry-run"]) == 2
    said, beside = capsys.readouterr()
    assert "The folder tiny lies beside real/: is it a generator? If so, say" in said
    assert "Too few usable images, at least 10 are needed: tiny (3 in the pool all)" in beside
    out = ["--out", str(tmp_path.parent / f"{tmp_path.name}-w")]
    assert main(["ingest", "--images", str(tmp_path), *out]) == 2
    said = capsys.readouterr().err
    assert "is it a generator?" in said and "Too few usable images" in said
