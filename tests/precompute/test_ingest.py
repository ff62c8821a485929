"""Ingest as a whole: splits, duplicates, a data set's own folders, clear errors, publishing, the
command.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.manifest import RESERVED, Domains, validate_images
from aigi_core.workspace import (
    Workspace,
    describe_file,
    exclusive,
    read_manifest,
    verify,
    write_manifest,
)
from precompute.__main__ import main
from precompute.ingest.answers import Answers
from precompute.ingest.pipeline import Ingested, ingest
from tests.precompute.corpus import encoded, fill, folders, picture, write

ROOT = Path(__file__).parent.parent.parent


def run(root: Path, **options: object) -> Ingested:
    return ingest(root, progress=False, workers=1, **options)


def listed(root: Path, rows: list[dict[str, object]]) -> Path:
    """A manifest, and a file for every row that has none yet."""
    for row in rows:
        if not (root / str(row["path"])).exists():
            write(root, str(row["path"]))
    pd.DataFrame(rows).to_csv(root / "manifest.csv", index=False)
    return root


def many(n: int = 20, **told: object) -> list[dict[str, object]]:
    """`n` rows of fakes and as many reals of one pool; `told` may be functions of the row's
    number.
    """
    rows = []
    for label, name in ((1, "sd-1.4"), (0, "")):
        for i in range(n):
            more = {key: value(i) if callable(value) else value for key, value in told.items()}
            rows.append(
                {"path": f"{name or 'real'}/{i:03d}.png", "label": label, "generator": name, **more}
            )
    return rows


def kept(result: Ingested) -> pd.DataFrame:
    return result.images[result.images["left_out"] == ""]


# Splits.
def test_a_folder_becomes_a_valid_table(tmp_path):
    result = run(folders(tmp_path, 20))
    images = validate_images(result.images)
    domains = Domains.from_images(images)
    assert domains.generators == ("stylegan2", "sd-1.4") and domains.families == (
        "gan",
        "diffusion",
    )
    reals = [
        set(domains.rows(g, "test")[domains.labels[domains.rows(g, "test")] == 0])
        for g in domains.generators
    ]
    assert reals[0] == reals[1] and len(reals[0]) == 6
    assert images.groupby(["generator", "split"]).size().to_dict() == {
        (name, split): n
        for name in ("", "sd-1.4", "stylegan2")
        for split, n in {"train": 11, "val": 3, "test": 6}.items()
    }
    assert images["path"].is_monotonic_increasing and images["group"].is_unique
    assert (
        set(images["width"]) == {24}
        and set(images["height"]) == {16}
        and set(images["format"]) == {"PNG"}
    )


def test_the_same_input_gives_the_same_bytes(tmp_path):
    first = folders(tmp_path / "a")
    second = tmp_path / "b"
    for file in sorted(
        first.rglob("*.png"), reverse=True
    ):  # another order on disk, and another place
        write(second, str(file.relative_to(first)), file.read_bytes())
    for root in (first, second):
        assert (
            main(
                [
                    "ingest",
                    "--images",
                    str(root),
                    "--out",
                    f"{root}.w",
                    "--name",
                    "x",
                    "--no-image-root",
                ]
            )
            == 0
        )
    assert (
        Path(f"{first}.w/images.parquet").read_bytes()
        == Path(f"{second}.w/images.parquet").read_bytes()
    )
    one, two = (
        json.loads(Path(f"{root}.w/workspace.json").read_text()) for root in (first, second)
    )
    assert one.pop("image_root_hint") == "a" and two.pop("image_root_hint") == "b" and one == two


def test_another_seed_divides_otherwise(tmp_path):
    root = folders(tmp_path)
    assert not run(root).images["split"].equals(run(root, seed=1).images["split"])


@pytest.mark.parametrize("seed", range(5))
def test_groups_never_straddle_and_are_reported_under_their_name(tmp_path, seed):
    rows = many(30, group=lambda i: f"prompt {i // 3}" if i < 21 else "")
    images = kept(run(listed(tmp_path, rows), seed=seed))
    assert images.groupby("group")["split"].nunique().max() == 1
    assert (images["group"].str.startswith("prompt")).sum() == 42 and not (
        images["group"] == ""
    ).any()


def test_twins_across_pools_share_a_split_with_all_their_groups(tmp_path):
    rows = []
    for pool in (
        "p",
        "q",
    ):  # both pools have the same photographs, in groups that chain them pairwise
        rows += [
            {
                "path": f"{pool}/real/{i}.png",
                "label": "real",
                "generator": "",
                "pool": pool,
                "group": f"{pool}{i // 2 if pool == 'p' else (i + 1) // 2 % 6}" if i < 12 else "",
            }
            for i in range(40)
        ]
        rows += [
            {"path": f"{pool}/x/{i}.png", "label": "fake", "generator": "x", "pool": pool}
            for i in range(20)
        ]
    for i in range(40):
        for pool in ("p", "q"):
            write(tmp_path, f"{pool}/real/{i}.png", encoded(picture(("shared", i))))
    result = run(listed(tmp_path, rows))
    images = kept(result)
    assert len(images) == len(rows) and images.groupby("content_hash")["split"].nunique().max() == 1
    assert (
        len(set(images.loc[images["group"].str.match(r"[pq]\d$"), "split"])) == 1
    )  # the chain ties all twelve
    assert result.record["duplicates"]["files"] == result.record["duplicates"]["across_pools"] == 80
    assert result.record["duplicates"]["across_labels"] == 0


# Duplicates.
def test_a_label_that_is_contradicted_is_trusted_nowhere(tmp_path):
    root = folders(tmp_path)
    shutil.copy(root / "real" / "000.png", root / "fake" / "sd-1.4" / "copy.png")
    result = run(root)
    rows = result.images.set_index("path")
    assert rows.loc["real/000.png", "left_out"] == (
        "contradicting labels: same bytes as 'fake/sd-1.4/copy.png', which is called fake"
    )
    assert rows.loc["fake/sd-1.4/copy.png", "left_out"].endswith(
        "'real/000.png', which is called real"
    )
    assert result.record["duplicates"] == {
        "files": 2,
        "across_labels": 2,
        "across_pools": 0,
        "across_generators": 2,
        "leaks": 0,
        "examples": [["fake/sd-1.4/copy.png", "real/000.png"]],
    }


def test_copies_within_a_generator_count_once_and_across_generators_stay_together(tmp_path):
    root = folders(tmp_path)
    content = (root / "fake" / "sd-1.4" / "000.png").read_bytes()
    write(root, "fake/sd-1.4/again.png", content)
    write(root, "fake/stylegan2/also.png", content)
    result = run(root)
    rows = result.images.set_index("path")
    assert (
        rows.loc["fake/sd-1.4/again.png", "left_out"]
        == "duplicate: same bytes as 'fake/sd-1.4/000.png'"
    )
    pair = rows.loc[["fake/sd-1.4/000.png", "fake/stylegan2/also.png"]]
    assert (
        len(set(pair["split"])) == len(set(pair["group"])) == 1 and (pair["left_out"] == "").all()
    )
    assert result.record["duplicates"]["across_generators"] == 3


# A data set's own splits.
def test_own_folders_are_respected(tmp_path):
    for part, n in (("train", 14), ("val", 3), ("test", 5)):
        folders(tmp_path / part, n, ("sd-1.4",))
    result = run(tmp_path)
    assert (kept(result)["split"] == kept(result)["path"].str.split("/").str[0]).all()
    assert result.record["notes"] == ["The data set's own split was kept (train, val, test)."]


def test_val_is_drawn_from_train_where_there_is_none(tmp_path):
    for part, n in (("train", 28), ("test", 12)):
        folders(tmp_path / part, n, ("sd-1.4",))
    images = kept(run(tmp_path))
    assert (images.loc[images["path"].str.startswith("test"), "split"] == "test").all()
    assert images.groupby(["label", "split"]).size().to_dict() == {
        (label, split): n
        for label in (0, 1)
        for split, n in {"train": 22, "val": 6, "test": 12}.items()
    }


def test_genimages_val_is_its_test(tmp_path):
    for part, n in (("train", 28), ("val", 12)):
        for label in ("ai", "nature"):
            fill(tmp_path, f"adm/{part}/{label}", n)
    result = run(tmp_path)
    images = kept(result)
    assert set(images.loc[images["path"].str.contains("/val/"), "split"]) == {"test"}
    assert set(images.loc[images["path"].str.contains("/train/"), "split"]) == {"train", "val"}
    assert (
        "its val is used as test" in result.record["notes"][0]
        and result.record["layout"] == "genimage"
    )


def test_a_single_split_folder_divides_nothing(tmp_path):
    folders(tmp_path / "test", 20, ("sd-1.4",))
    result = run(tmp_path)
    assert (
        set(kept(result)["split"]) == {"train", "val", "test"}
        and "divides nothing" in result.record["notes"][0]
    )


def test_an_image_of_the_test_folder_that_is_also_in_train_is_left_out_there(tmp_path):
    for part, n in (("train", 14), ("val", 3), ("test", 5)):
        folders(tmp_path / part, n, ("sd-1.4", "stylegan2"))
    leak = (tmp_path / "test/fake/sd-1.4/000.png").read_bytes()
    write(tmp_path, "train/fake/sd-1.4/leak.png", leak)
    write(tmp_path, "train/fake/stylegan2/leak.png", leak)
    result = run(tmp_path)
    rows = result.images.set_index("path")["left_out"]
    assert rows["test/fake/sd-1.4/000.png"] == ""
    assert (
        rows["train/fake/sd-1.4/leak.png"] == "duplicate: same bytes as 'test/fake/sd-1.4/000.png'"
    )
    assert rows["train/fake/stylegan2/leak.png"].startswith(
        "leak: tied to 'test/fake/sd-1.4/000.png', which is in the test"
    )
    assert result.record["duplicates"]["leaks"] == 1
    assert kept(result).groupby("content_hash")["split"].nunique().max() == 1


def test_a_manifests_split_column_is_respected_and_its_gaps_are_filled(tmp_path):
    rows = many(
        40,
        split=lambda i: ["train", "val", "test", ""][i % 4],
        group=lambda i: f"g{i}" if i in (0, 3) else "",
    )
    rows[3]["group"] = "g0"  # a row without a split follows its group
    result = run(listed(tmp_path, rows))
    images = kept(result).set_index("path")
    assert all(images.loc[row["path"], "split"] == row["split"] for row in rows if row["split"])
    assert images.loc["sd-1.4/003.png", "split"] == "train" and set(images["split"]) == {
        "train",
        "val",
        "test",
    }


def test_a_generator_with_test_images_only_is_reported(tmp_path):
    for part, generator, n in (
        ("train", "progan", 14),
        ("val", "progan", 3),
        ("test", "progan", 5),
        ("test", "biggan", 12),
    ):
        for label in ("0_real", "1_fake"):
            fill(tmp_path, f"{part}/{generator}/{label}", n)
    result = run(tmp_path)
    assert "'biggan' in the pool 'biggan' (train)" in result.record["notes"][1]
    assert set(kept(result).query("generator == 'biggan'")["split"]) == {"test"}


def test_a_leak_names_the_other_file_never_itself(tmp_path):
    for split in ("train", "val"):
        folders(tmp_path / split)
    leak = (tmp_path / "train/fake/sd-1.4/000.png").read_bytes()
    write(tmp_path, "val/fake/stylegan2/z.png", leak)
    reasons = run(tmp_path).images.set_index("path")["left_out"]
    reasons = reasons[reasons.str.startswith("leak")]
    assert len(reasons) == 1
    assert reasons.iloc[0].startswith("leak: tied to 'val/fake/stylegan2/z.png'")


# What is refused, in one sentence.
@pytest.mark.parametrize("name", RESERVED)
def test_a_generator_that_is_called_as_all_of_them(tmp_path, name):
    root = folders(tmp_path)
    fill(root, f"fake/{name}", 12)
    with pytest.raises(AigiError, match=f"--rename '{name}=NAME'"):
        run(root)
    renamed = run(root, answers=Answers(rename={name: "mixed"}))
    assert "mixed" in set(renamed.images["generator"])


def test_too_few_images(tmp_path):
    root = folders(tmp_path)
    fill(root, "fake/dalle-2", 4)
    write(root, "fake/dalle-2/empty.png", b"")
    with pytest.raises(
        AigiError, match=r"at least 10 are needed: dalle-2 \(4 in the pool all\).*1 empty"
    ):
        run(root)
    assert "dalle-2" in set(run(root, min_images=4).images["generator"])


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("real", "no usable real images, only 24 others"),
        ("fake", "no usable fake images, only 12 others"),
    ],
)
def test_a_missing_class(tmp_path, gone, message):
    shutil.rmtree(folders(tmp_path) / gone)
    with pytest.raises(AigiError, match=message):
        run(tmp_path)


def test_a_pool_without_real_images(tmp_path):
    folders(tmp_path / "faces")
    fill(tmp_path, "shoes/fake/sdxl")
    with pytest.raises(AigiError, match=r"no real images .*pool shoes.*--pool sdxl=POOL"):
        run(tmp_path)


def test_a_pool_that_no_generator_uses_is_left_out(tmp_path):
    folders(tmp_path / "faces")
    fill(tmp_path, "alignment/real", 5)
    result = run(tmp_path)
    assert result.record["left_out"] == {"unused": 5} and result.record["kept"] == 36
    row = result.images.iloc[0]
    assert (
        row["left_out"] == "unused: no generator has fakes in the pool alignment"
        and row["preview_hash"]
    )


def test_nothing_usable(tmp_path):
    for name in ("real/a.png", "fake/x/b.png"):
        write(tmp_path, name, b"no picture")
    with pytest.raises(AigiError, match=r"None of the 2 files .* \(2 not an image\)"):
        run(tmp_path)


def test_a_manifest_for_other_images(tmp_path):
    root = listed(tmp_path, many())
    shutil.rmtree(root / "real")
    shutil.rmtree(root / "sd-1.4")
    with pytest.raises(AigiError, match=r"None of the 40 images in .* is there, .* Say --images"):
        run(root)


def test_one_group_cannot_be_divided(tmp_path):
    with pytest.raises(AigiError, match="has no images in the split .*only 1 group "):
        run(listed(tmp_path, many(group="all of them")))


@pytest.mark.parametrize(
    "shares", [{"val": -0.1}, {"test": 0}, {"val": 0.5, "test": 0.5}, {"test": float("nan")}]
)
def test_impossible_shares(tmp_path, shares):
    with pytest.raises(AigiError, match="Expected shares"):
        run(folders(tmp_path), **shares)


def test_without_val(tmp_path):
    assert set(run(folders(tmp_path), val=0).images["split"]) == {"train", "test"}


def test_a_manifests_columns_and_reasons_reach_the_table(tmp_path):
    rows = many(
        licence="CC0 <b>",
        original_width=lambda i: 100 + i,
        source_url=lambda i: f"https://x/{i}",
        caption="a cat",
    )
    rows[0] |= {"left_out": "blurred", "note": "seen twice"}
    rows[1]["note"] = "by hand"
    (tmp_path / "sd-1.4").mkdir()
    (tmp_path / "sd-1.4" / "001.png").write_bytes(encoded(picture(1).convert("L")))
    result = run(listed(tmp_path, rows))
    images = result.images.set_index("path")
    assert images.loc["sd-1.4/000.png", ["left_out", "note", "width"]].tolist() == [
        "blurred",
        "seen twice",
        0,
    ]
    assert images.loc["sd-1.4/001.png", "note"] == "by hand; greyscale"
    assert images.loc[
        "real/019.png", ["licence", "original_width", "source_url", "caption"]
    ].tolist() == [
        "CC0 <b>",
        119,
        "https://x/19",
        "a cat",
    ]


# Publishing.
@pytest.fixture
def made(tmp_path, capsys) -> tuple[Path, Path]:
    root, out = folders(tmp_path / "images"), tmp_path / "w"
    assert main(["ingest", "--images", str(root), "--out", str(out), "--workers", "1"]) == 0
    capsys.readouterr()
    return root, out


def command(made: tuple[Path, Path], *more: str) -> int:
    return main(
        ["ingest", "--images", str(made[0]), "--out", str(made[1]), "--workers", "1", *more]
    )


def pretend_encoded(out: Path) -> None:
    """The record and one array that an embedding-only encoder would have left."""
    manifest = read_manifest(out)
    np.save(out / "embeddings.npy", np.ones((36, 4), np.float32))
    encoder = {
        "library": "open_clip",
        "model": "m",
        "pretrained": "untrained",
        "layers": 0,
        "heads": 0,
        "weights_sha256": "0" * 64,
        "precision": "fp32",
        "preprocessing": {},
        "embedding_width": 4,
        "gives": {"heads": "", "lacks": {}},
    }
    files = manifest["files"] | {"embeddings.npy": describe_file(out, "embeddings.npy")}
    write_manifest(out, manifest | {"encoder": encoder, "files": files})


def test_what_is_published(made):
    root, out = made
    manifest = read_manifest(out)
    assert (
        verify(out) == []
        and manifest["encoder"] is None
        and manifest["text"] == {}
        and manifest["name"] == "w"
    )
    assert manifest["image_root"] == str(root) and manifest["image_root_hint"] == "images"
    assert manifest["ingest"]["layout"] == "folders" and manifest["ingest"]["kept"] == 36
    assert manifest["ingest"]["generators"][0] == {
        "generator": "sd-1.4",
        "family": "diffusion",
        "pool": "all",
        "train": 6,
        "val": 2,
        "test": 4,
    }
    assert {entry.name for entry in out.iterdir()} <= {"images.parquet", "workspace.json", ".lock"}
    with pytest.raises(WorkspaceError, match="ingested but not encoded"):
        Workspace.open(out)


def test_again_changes_nothing(made, capsys):
    before = {
        file.name: (file.read_bytes(), file.stat().st_mtime_ns)
        for file in made[1].iterdir()
        if file.suffix
    }
    pretend_encoded(made[1])
    manifest = (made[1] / "workspace.json").read_bytes()
    assert command(made) == 0
    assert capsys.readouterr().out.endswith(
        f"Nothing changed: {made[1]} already holds exactly these 36 images.\n"
    )
    assert (made[1] / "workspace.json").read_bytes() == manifest
    assert (made[1] / "images.parquet").stat().st_mtime_ns == before["images.parquet"][1]


def test_machine_paths_can_be_kept_out(made, capsys):
    assert command(made, "--no-image-root", "--name", "demo") == 0
    assert "record was brought up to date" in capsys.readouterr().out
    manifest = read_manifest(made[1])
    assert (
        "image_root" not in manifest
        and manifest["name"] == "demo"
        and manifest["image_root_hint"] == "images"
    )
    assert str(made[0].parent) not in (made[1] / "workspace.json").read_text()


def test_other_images_replace_what_is_not_encoded(made):
    write(made[0], "real/more.png")
    assert command(made) == 0
    assert read_manifest(made[1])["ingest"]["kept"] == 37 and verify(made[1]) == []


def test_an_encoded_workspace_is_not_overwritten_and_the_difference_is_shown(made, capsys):
    pretend_encoded(made[1])
    before = {file.name: file.read_bytes() for file in made[1].iterdir()}
    write(made[0], "real/more.png")
    (made[0] / "real" / "003.png").unlink()
    write(made[0], "real/004.png", encoded(picture("changed"), "JPEG"))
    assert command(made) == 2
    message = capsys.readouterr().err
    assert "1 new, such as 'real/more.png'; 1 gone, such as 'real/003.png'" in message
    assert f"python -m precompute add --workspace {made[1]} --images {made[0]}" in message
    assert "delete" not in message
    (made[0] / "real/more.png").unlink()
    write(made[0], "real/003.png")
    assert command(made) == 2
    message = capsys.readouterr().err
    assert "1 with another format" in message and "1 with another content_hash" in message
    assert {file.name: file.read_bytes() for file in made[1].iterdir()} == before


def test_a_damaged_table_is_written_again(made):
    (made[1] / "images.parquet").write_bytes(b"")
    assert command(made) == 0 and verify(made[1]) == []


def test_places_that_are_no_workspace(made, tmp_path, capsys):
    root, _ = made
    write(tmp_path, "other/thesis.doc", b"")
    for out, message in (
        (tmp_path / "other", "holds other things (thesis.doc, ...) and is no workspace"),
        (root / "real", "would lie inside the images"),
        (tmp_path / "other" / "thesis.doc", "is a file"),
        (tmp_path / "other" / "thesis.doc" / "w", "thesis.doc is a file"),
        (Path("/proc/x"), "cannot be made (No such file or directory): choose another place."),
        (tmp_path / ("n" * 300), "cannot be made (File name too long): choose another place."),
    ):
        assert command((root, out)) == 2
        assert message in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "other").iterdir()] == ["thesis.doc"]


def test_a_failed_ingest_leaves_no_folder_behind(tmp_path, capsys):
    (tmp_path / "none").mkdir()
    assert command((tmp_path / "none", tmp_path / "w")) == 2
    assert "holds no files" in capsys.readouterr().err and not (tmp_path / "w").exists()


def test_a_workspace_in_use_is_refused(made, capsys):
    with exclusive(made[1], "encode"):
        assert command(made) == 2
    assert "is being written by process" in capsys.readouterr().err


# The command.
def start(root: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "precompute",
            "ingest",
            "--images",
            str(root),
            "--out",
            str(out),
            "--workers",
            "2",
            *more,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),  # a shell's "&" has it ignored
    )


def test_the_command(tmp_path):
    root = folders(tmp_path / "images", 15)
    write(root, "real/cut.png", encoded(picture("cut"))[:60])
    process = start(root, tmp_path / "w")
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert "Layout: folders, because 46 of 46 files match real/ beside fake/<generator>/." in out
    assert "Kept 45 of 46 files; seed 0." in out and "real/cut.png: image file is truncated" in out
    assert "stylegan2  gan        all       9    2     4" in out and verify(tmp_path / "w") == []


@pytest.mark.parametrize("delay", [0, 0.8])
def test_interrupting_the_command(tmp_path, delay):
    process = interrupted(
        tmp_path, delay, lambda group: os.killpg(group, signal.SIGINT)
    )  # as a terminal's Ctrl-C
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130 and error == "Interrupted; nothing was written.\n"
    assert not (tmp_path / "w").exists()


def test_killing_the_command_frees_the_workspace(tmp_path):
    process = interrupted(tmp_path, 0.8, lambda group: os.kill(group, signal.SIGKILL))
    assert process.wait(timeout=120) == -signal.SIGKILL
    with exclusive(tmp_path / "w", "test"):
        assert not (tmp_path / "w" / "workspace.json").exists()
    process.communicate(
        timeout=60
    )  # ends when the last worker has closed its end: none outlives the parent


def interrupted(tmp_path: Path, delay: float, send: Callable[[int], None]) -> subprocess.Popen[str]:
    """The command at work on images that take a while, `delay` seconds after it took its lock, with
    a signal sent.
    """
    large = encoded(Image.new("RGB", (2000, 2000)))  # slow to read, and quick to write
    for folder in ("real", "fake/x"):
        for i in range(150):
            write(tmp_path, f"images/{folder}/{i}.png", large + f"{folder}{i}".encode())
    process = start(tmp_path / "images", tmp_path / "w")
    while not (tmp_path / "w" / ".lock.json").exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(delay)
    send(process.pid)
    return process


@pytest.mark.images
def test_the_real_collection(real_images, tmp_path):
    out = tmp_path / "w"
    assert main(["ingest", "--images", str(real_images), "--out", str(out), "--no-image-root"]) == 0
    record = read_manifest(out)["ingest"]
    assert (record["layout"], record["files"], record["kept"]) == ("manifest", 3727, 3187)
    assert record["left_out"] == {"unused": 540} and len(record["generators"]) == 15
    images = pd.read_parquet(out / "images.parquet")
    assert images.groupby("group")["split"].nunique().max() == 1
    for row in record["generators"]:
        assert min(row["train"], row["val"], row["test"]) >= 5
    assert images.loc[images["generator"] == "sdxl", "mode"].eq("P").mean() > 0.8
    assert images["preview_hash"].str.len().between(24, 36).all()
    assert str(real_images) not in (out / "workspace.json").read_text()
