"""What a user may bring by mistake is never read wrongly in silence: it is read rightly, or stops
with a question or a sentence that names the option.
"""

from __future__ import annotations

import json
import os
import tarfile
import zipfile
from pathlib import Path
from unicodedata import normalize

import pandas as pd
import pytest

from aigi_core.archives import members, read_member
from aigi_core.errors import AigiError
from precompute.__main__ import main
from precompute.growth.add import _fakes_of
from precompute.ingest.answers import Answers
from precompute.ingest.layouts import Candidates, asked_of_both, find_candidates
from precompute.ingest.layouts.roots import common_root
from precompute.ingest.summary import plan
from tests.precompute.corpus import write


def touch(root: Path, *folders: str, n: int = 12) -> Path:
    for folder in folders:
        for i in range(n):
            write(root, f"{folder}/{i:02d}.png", b"x")
    return root


def listed(root: Path, header: str, row: str, parting: str = "/") -> Path:
    """A table of a/ (real) and b/ (fake); {p} is the path, {x} 0 for real, {y} 1 for real."""
    touch(root, "a/real", "b/fake")
    lines = [header]
    for i in range(24):
        name = f"a/real/{i:02d}.png" if i < 12 else f"b/fake/{i - 12:02d}.png"
        place = name.replace("/", parting)
        source, maker = ("coco", "") if i < 12 else ("sdxl", "sdxl")
        lines.append(row.format(p=place, x=int(i >= 12), y=int(i < 12), s=source, m=maker))
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    return root / "list.csv"


def generators(found: Candidates) -> set[str]:
    kept = found.table[(found.table["left_out"] == "") & (found.table["label"] == 1)]
    return set(kept["generator"])


# Which number means fake.
def test_numbers_are_held_against_folders_in_windows_paths(tmp_path: Path) -> None:
    file = listed(tmp_path, "path,label", "{p},{y}", parting="\\")
    [question] = find_candidates(tmp_path, manifest_file=file).questions
    assert "the contrary of the folders in 24 of 24 rows" in question


def test_numbers_are_held_against_known_names_of_sources_and_generators(tmp_path: Path) -> None:
    file = listed(tmp_path, "path,label,model", "{p},{y},{s}")
    (tmp_path / "a/real").rename(tmp_path / "a/x")  # no folder says it
    (tmp_path / "b/fake").rename(tmp_path / "b/x")
    file.write_text(file.read_text().replace("a/real", "a/x").replace("b/fake", "b/x"))
    answers = Answers(columns={"generator": "model"})
    first, *_ = find_candidates(tmp_path, manifest_file=file, answers=answers).questions
    assert "the contrary of the column 'model' in 24 of 24 rows" in first
    right = listed(tmp_path, "path,label,model", "{p},{x},{s}")
    found = find_candidates(tmp_path, manifest_file=right, answers=answers)
    assert found.questions == () and generators(found) == {"sdxl"}


@pytest.mark.parametrize("name", ["is_real", "isReal", "real", "authentic"])
def test_a_column_called_real_has_1_for_real(tmp_path: Path, name: str) -> None:
    file = listed(tmp_path, f"path,{name}", "{p},{y}")
    found = find_candidates(tmp_path, manifest_file=file, answers=Answers(columns={"label": name}))
    assert found.questions == ()
    assert found.table.set_index("path").loc["b/fake/00.png", "label"] == 1
    assert any("0 was read as fake, 1 as real" in note for note in found.notes)


@pytest.mark.parametrize(
    ("real", "fake", "against"),
    [("real", "fake", "of the word "), ("0", "1", "of the folders in 24 of 24 rows")],
)
def test_labels_told_against_what_else_is_known_are_asked_about(
    tmp_path: Path, real: str, fake: str, against: str
) -> None:
    file = listed(tmp_path, "path,generator,label", "{p},{m},<{x}>")
    file.write_text(file.read_text().replace("<0>", real).replace("<1>", fake))
    for answers in (Answers(fake_labels=(real,)), Answers(real_labels=(fake,))):
        [question, *_] = find_candidates(tmp_path, manifest_file=file, answers=answers).questions
        assert f"the contrary {against}" in question
    meant = Answers(fake_labels=(real,), real_labels=(fake,))
    found = find_candidates(tmp_path, manifest_file=file, answers=meant)
    assert not any("the contrary" in question for question in found.questions)
    assert not find_candidates(
        tmp_path, manifest_file=file, answers=Answers(fake_labels=(fake,))
    ).questions


def test_folders_named_the_wrong_way_round_are_asked_about(tmp_path: Path) -> None:
    touch(tmp_path, "fake/sdxl", "real", "other")
    swapped = Answers(real=(tmp_path / "fake/sdxl",), fake=(("sdxl", tmp_path / "real"),))
    found = find_candidates(tmp_path, answers=swapped)
    assert [q.partition(",")[0] for q in found.questions] == [
        "--real DIR names fake/sdxl/",
        "--fake NAME=DIR names real/",
    ]
    assert "24 of 24 files match" in found.why  # not those of other/
    assert find_candidates(tmp_path, "roots", answers=swapped).questions == ()
    right = Answers(fake=(("sdxl", tmp_path / "fake/sdxl"),), real=(tmp_path / "real",))
    assert find_candidates(tmp_path, answers=right).questions == ()


def test_a_placeholder_of_a_command_is_no_generator(tmp_path: Path) -> None:
    with pytest.raises(AigiError, match="NAME stands for the generator's name"):
        _fakes_of(tmp_path, "NAME", "all")


# Options that decide nothing.
@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (Answers(fake_labels=("0",)), "--fake-label tells of a table"),
        (Answers(columns={"label": "x"}), "--columns tells of a table"),
        (Answers(rename={"sdlx": "a"}), "--rename names the generator 'sdlx'.* did you mean sdxl"),
        (Answers(pools={"sdlx": "a"}), "--pool names the generator 'sdlx'.* did you mean sdxl"),
    ],
)
def test_an_option_that_decides_nothing_is_refused(
    tmp_path: Path, answers: Answers, said: str
) -> None:
    touch(tmp_path, "real", "fake/sdxl")
    with pytest.raises(AigiError, match=said):
        find_candidates(tmp_path, answers=answers)


def test_a_column_of_paths_cannot_be_told_where_images_are_named_otherwise(tmp_path: Path) -> None:
    touch(tmp_path, "train")
    rows = "".join(f"{i:02d}.png,{'real' if i < 6 else 'fake'}\n" for i in range(12))
    (tmp_path / "train/metadata.csv").write_text("file_name,kind\n" + rows)
    with pytest.raises(AigiError, match="leave path out"):
        find_candidates(tmp_path, answers=Answers(columns={"path": "file_name", "label": "kind"}))
    assert find_candidates(tmp_path, answers=Answers(columns={"label": "kind"})).questions == ()


# Names that are none.
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("ffhq", "the name of a collection of photographs"),
        ("Cats", "the name of a thing"),
        ("NAME", "what stands for a name"),
        ("dataset", "a name for a part of any data set"),
        ("part-003", "a name for a part of any data set"),
        ("real-vs-fake", "a word for the class"),
    ],
)
def test_a_name_that_is_no_generators_is_asked_about(tmp_path: Path, name: str, what: str) -> None:
    touch(tmp_path, f"{name}/real", f"{name}/fake")
    [question] = find_candidates(tmp_path).questions
    assert what in question and f"--rename {name}={name}" in question
    assert find_candidates(tmp_path, answers=Answers(rename={name: "sdxl"})).questions == ()


def test_names_that_differ_in_capital_letters_are_asked_about(tmp_path: Path) -> None:
    touch(tmp_path, "real", "fake/SDXL", "fake/sdxl")
    [question] = find_candidates(tmp_path).questions
    assert "--rename SDXL=sdxl" in question
    assert generators(find_candidates(tmp_path, answers=Answers(rename={"SDXL": "sdxl"}))) == {
        "sdxl"
    }


def test_a_folder_whose_name_is_no_unicode_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "real", "fake/sdxl", "fake/other")
    (tmp_path / "fake/other").rename(tmp_path / os.fsdecode(b"fake/bad\xff"))
    found = find_candidates(tmp_path)
    assert generators(found) == {"sdxl"}
    assert (found.table["left_out"] != "").sum() == 12


# Files that would be lost.
def test_images_outside_the_layout_are_asked_about(tmp_path: Path) -> None:
    touch(tmp_path, "real", "fake/sdxl", "adm/ai", "fake")
    [question] = find_candidates(tmp_path).questions
    assert question.startswith("24 images lie outside the layout, in adm/ai, fake")
    assert find_candidates(tmp_path, "folders").questions == ()


def test_loose_images_beside_generators_folders_are_asked_about(tmp_path: Path) -> None:
    touch(tmp_path, "photos", "made", "made/sdxl")
    answers = Answers(real=(tmp_path / "photos",), fake=(("", tmp_path / "made"),))
    [question] = find_candidates(tmp_path, answers=answers).questions
    assert "holds 12 images" in question and f"--fake NAME={tmp_path / 'made'}" in question


def test_a_named_folder_that_holds_the_other_class_is_asked_about(tmp_path: Path) -> None:
    touch(tmp_path, "photos/0_real", "photos/1_fake", "made")
    answers = Answers(real=(tmp_path / "photos",), fake=(("sd", tmp_path / "made"),))
    [question] = find_candidates(tmp_path, answers=answers).questions
    assert question.startswith("photos/1_fake/ lies below a folder of the other class")
    assert find_candidates(tmp_path, "roots", answers=answers).questions == ()


def test_a_fake_without_its_name_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(tmp_path, "a", "b")
    command = ["ingest", "--real", f"{tmp_path}/a", "--fake", f"={tmp_path}/b", "--dry-run"]
    assert main(command) == 2
    assert "Expected --fake NAME=DIR" in capsys.readouterr().err


def test_one_class_alone_is_asked_about_before_images_are_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(tmp_path, "fake/sdxl")
    [question] = asked_of_both(find_candidates(tmp_path)).questions
    assert question.startswith("No image is called real, 12 others are")
    assert main(["ingest", "--images", str(tmp_path), "--dry-run"]) == 2
    assert "No image is called real" in capsys.readouterr().out


def test_empty_folders_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "real", "fake/sdxl")
    (tmp_path / "fake/dalle").mkdir()
    assert "1 folder is empty: fake/dalle/." in find_candidates(tmp_path).notes


def test_files_that_no_metadata_lists_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "train/real", "train/fake")
    rows = "".join(f"{kind}/{i:02d}.png,x\n" for kind in ("real", "fake") for i in range(11))
    (tmp_path / "train/metadata.csv").write_text("file_name,text\n" + rows)
    notes = find_candidates(tmp_path).notes
    assert any("2 files are not listed and left out: train/fake/11.png" in n for n in notes)


def test_rows_without_a_file_are_counted_before_images_are_opened(tmp_path: Path) -> None:
    file = listed(tmp_path, "path,label", "{p},{x}")
    (tmp_path / "a/real/03.png").unlink()
    found = find_candidates(tmp_path, manifest_file=file)
    said = "1 row names files that are not there, such as a/real/03.png"
    assert any(said in note for note in found.notes)
    real = int((found.table["label"] == 0).sum())
    assert f"{real - 1} real and" in plan(found) and "1 other file is left out" in plan(found)


def test_absolute_windows_paths_lie_outside(tmp_path: Path) -> None:
    file = listed(tmp_path, "path,label", "D:\\data\\{p}x,{x}", parting="\\")
    with pytest.raises(AigiError, match="no path below the image root"):
        find_candidates(tmp_path, manifest_file=file)


# What stands beside an image, and in archives.
def test_a_text_belongs_to_the_image_of_its_whole_name(tmp_path: Path) -> None:
    touch(tmp_path, "real", "fake/sdxl")
    for i in range(2):
        write(tmp_path, f"fake/sdxl/v1.5_{i}.png", b"x")
        write(tmp_path, f"fake/sdxl/v1.5_{i}.txt", f"cat {i}".encode())
    captions = find_candidates(tmp_path).table.set_index("path")["caption"]
    assert [captions[f"fake/sdxl/v1.5_{i}.png"] for i in range(2)] == ["cat 0", "cat 1"]


def test_splits_in_the_names_of_tars_are_kept(tmp_path: Path) -> None:
    for split in ("train", "test"):
        folder = tmp_path / "plain" / split
        for i in range(12):
            write(folder, f"{i:02d}.png", b"x")
            write(folder, f"{i:02d}.json", json.dumps({"label": i % 2}).encode())
        (tmp_path / "set").mkdir(exist_ok=True)
        with tarfile.open(tmp_path / f"set/{split}-0000.tar", "w") as tar:
            tar.add(folder, arcname=".")
    found = find_candidates(tmp_path / "set")
    assert found.layout == "samples"
    assert found.table["split"].value_counts().to_dict() == {"train": 12, "test": 12}


def test_artifact_written_on_windows_is_read(tmp_path: Path) -> None:
    for folder, target in (("coco", 0), ("big_gan", 6)):
        touch(tmp_path, f"{folder}/deep")
        rows = "".join(f"deep\\{i:02d}.png,{target}\n" for i in range(12))
        (tmp_path / folder / "metadata.csv").write_text("image_path,target\n" + rows)
    found = find_candidates(tmp_path)
    assert found.table["path"].iloc[0] == "big_gan/deep/00.png"
    assert generators(found) == {"big_gan"}
    assert not any("--fake-label" in note for note in found.notes)


def test_a_zip_with_backslashes_is_read_as_folders(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as packed:
        for name in ("real", "fake\\sdxl"):
            for i in range(12):
                info = zipfile.ZipInfo("x")
                info.filename = f"{name}\\{i:02d}.png"  # as it stands, not as Python spells it
                packed.writestr(info, name.encode())
    found = find_candidates(tmp_path)
    assert generators(found) == {"sdxl"}
    assert read_member(tmp_path / "set.zip", "fake/sdxl/00.png", limit=99) == b"fake\\sdxl"


def test_a_file_that_stands_in_a_tar_under_two_names_has_both(tmp_path: Path) -> None:
    write(tmp_path, "t/a.png", b"content")
    os.link(tmp_path / "t/a.png", tmp_path / "t/b.png")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in ("a.png", "b.png"):
            tar.add(tmp_path / "t" / name, arcname=name)
    found = {member.name: member for member in members(tmp_path / "x.tar")}
    assert found.keys() == {"a.png", "b.png"}
    for member in found.values():
        content = read_member(tmp_path / "x.tar", member.name, member.offset, limit=99)
        assert content == b"content"


def test_an_archive_that_was_not_opened_is_named_where_nothing_fits(tmp_path: Path) -> None:
    (tmp_path / "real.tar.gz").write_bytes(b"x")
    with pytest.raises(AigiError, match=r"No layout fits .*real\.tar\.gz"):
        find_candidates(tmp_path)


def test_the_words_of_a_table_stay_as_they_are(tmp_path: Path) -> None:
    """No option is needed where words say it, whatever else the table holds."""
    file = listed(tmp_path, "path,label,generator", "{p},{x},{m}")
    frame = pd.read_csv(file)
    frame["label"] = frame["label"].map({0: "Human", 1: "AI"})
    frame.to_csv(file, index=False)
    found = find_candidates(tmp_path, manifest_file=file)
    assert found.questions == () and generators(found) == {"sdxl"}


def test_one_name_in_two_spellings_of_its_accents_is_one_generator(tmp_path: Path) -> None:
    touch(tmp_path, "real", *[f"fake/{normalize(form, 'modèle')}" for form in ("NFC", "NFD")])
    result = find_candidates(tmp_path)
    assert set(result.table["generator"]) == {"", normalize("NFC", "modèle")}
    assert result.questions == ()


def test_spaces_around_the_name_of_a_class_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "real ", " Fake/sdxl")
    assert set(find_candidates(tmp_path).table["generator"]) == {"", "sdxl"}


@pytest.mark.parametrize(
    ("real", "fake"),
    [("real_images", "fake_images"), ("authentic_1", "synthetic_1"), ("reals", "fakes")],
)
def test_folders_that_tell_the_class_by_other_words_are_named(
    tmp_path: Path, real: str, fake: str
) -> None:
    touch(tmp_path, real, fake)
    with pytest.raises(AigiError, match="name them: ") as refused:
        find_candidates(tmp_path)
    assert f"--real {tmp_path / real} --fake NAME={tmp_path / fake}" in str(refused.value)


def test_a_column_that_names_generators_for_one_class_alone_tells_the_class(
    tmp_path: Path,
) -> None:
    """Under whatever name: here 1 means real, and only fakes (0) have a ``gen``."""
    touch(tmp_path, "a")
    lines = ["file,target,gen", *(f"a/{i}.png,{i},{['sdxl', ''][i]}" for i in range(2))]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    columns = {"path": "file", "label": "target"}
    told = find_candidates(
        tmp_path, manifest_file=tmp_path / "list.csv", answers=Answers(columns=columns)
    )
    assert "the contrary of the column 'gen' in 2 of 2 rows" in " ".join(told.questions)


def test_several_generators_in_a_folder_of_fakes_are_not_called_by_one_name(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "Photos", "Generated/LDM", "Generated/dalle_mini")
    with pytest.raises(AigiError) as refused:
        find_candidates(tmp_path)
    generated = tmp_path / "Generated"
    assert f"--fake {generated} (each folder in it a generator)" in str(refused.value)
    real = (tmp_path / "Photos",)
    one = find_candidates(tmp_path, answers=Answers(real=real, fake=(("X", generated),)))
    assert "--fake DIR without a name" in " ".join(one.questions)
    both = find_candidates(tmp_path, answers=Answers(real=real, fake=(("", generated),)))
    assert both.questions == () and generators(both) == {"LDM", "dalle_mini"}


def test_folders_that_say_their_class_are_all_named_below_those_that_they_share(
    tmp_path: Path,
) -> None:
    """Celeb-DF's frames: two folders of real ones; each class is one word of a name."""
    touch(tmp_path, "set/Celeb-real/id0", "set/YouTube-real/00001", "set/Celeb-synthesis/id0_id1")
    with pytest.raises(AigiError) as refused:
        find_candidates(tmp_path)
    at = tmp_path / "set"
    assert (
        f"--real {at / 'Celeb-real'} --real {at / 'YouTube-real'} --fake"
        f" NAME={at / 'Celeb-synthesis'} (NAME" in str(refused.value)
    )


def test_labels_beside_images_that_are_no_class_give_way_to_the_folders(tmp_path: Path) -> None:
    touch(tmp_path, "real", "fake/sdxl")
    for i in range(2):
        write(tmp_path, f"fake/sdxl/{i:02d}.json", b'{"label": "cat", "prompt": "a cat"}')
    result = find_candidates(tmp_path)
    assert result.layout == "folders" and result.questions == ()
    assert set(result.table.loc[result.table["label"] == 1, "caption"]) <= {"a cat", ""}


def test_names_of_columns_may_have_capital_letters(tmp_path: Path) -> None:
    touch(tmp_path, "a")
    write(tmp_path, "manifest.csv", b"Path,Label,Generator\na/00.png,real,\na/01.png,fake,sdxl\n")
    assert set(find_candidates(tmp_path).table["generator"]) == {"", "sdxl"}


def test_a_table_without_a_line_of_names_is_told_so(tmp_path: Path) -> None:
    touch(tmp_path, "a")
    write(tmp_path, "manifest.csv", b"a/00.png,real\na/01.png,fake\n")
    with pytest.raises(AigiError, match="The first line of .* is a row"):
        find_candidates(tmp_path)


def test_an_archive_named_as_a_folder_is_told_apart_from_what_is_missing(tmp_path: Path) -> None:
    write(tmp_path, "ffhq.zip", b"x")
    write(tmp_path, "sd/0.png", b"x")
    answers = Answers(real=(tmp_path / "ffhq.zip",), fake=(("sdxl", tmp_path / "sd"),))
    with pytest.raises(AigiError, match="is a file: put it into a folder"):
        common_root(answers)
