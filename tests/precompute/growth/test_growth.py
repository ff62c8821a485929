"""Workspaces that grow and shrink: the same features byte for byte, whatever the way and whenever
it was interrupted.
"""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import signal
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.commands import build_command
from aigi_core.detectors.stored import load_detectors
from aigi_core.detectors.training import train
from aigi_core.errors import NotMadeError
from aigi_core.images import image_source, thumbnail
from aigi_core.stress import open_perturbed
from aigi_core.transfer.imported import matched_scores
from aigi_core.workspace import LOCK, Workspace, digest_of, read_manifest, verify, write_manifest
from precompute.__main__ import main
from precompute.growth.add import stacked
from precompute.growth.rewrite import without_outdated
from tests.tiny_clip import make_tiny_clip
from tests.tiny_workspace import make_picture

FEATURES = ("embeddings.npy", "heads.npy", "ln_post.npy", "decomposition.npz")
N = 13
"""Images a kind: no multiple of the batch, so that batches differ between one way and the other."""


class Killed(BaseException):
    """As if the process had been killed."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("growth")
    make_tiny_clip(root / "tiny")
    for kind, name in enumerate(("base/real", "base/fake/one", "more/two", "more/three")):
        (root / "images" / name).mkdir(parents=True)
        for i in range(N):
            make_picture(kind, i).save(root / f"images/{name}/{i}.png")
    images, out = root / "images", root / "base"
    assert main(["ingest", "--images", str(images / "base"), "--out", str(out)]) == 0
    assert encode(root, out) == 0
    return root


@pytest.fixture
def base(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder / "base", tmp_path / "w"))


def encode(folder: Path, out: Path) -> int:
    model = f"local-dir:{folder / 'tiny'}"
    options = ["--model", model, "--device", "cpu", "--workers", "0", "--batch-size", "8"]
    return main(["encode", "--workspace", str(out), *options])


def add(folder: Path, out: Path, name: str, *more: str) -> int:
    model = f"local-dir:{folder / 'tiny'}"
    images = ["--images", str(folder / "images" / "more" / name), "--generator", name]
    options = ["--model", model, "--device", "cpu", "--workers", "0"]
    return main(["add", "--workspace", str(out), *images, *options, *more])


def contents(out: Path) -> dict[str, bytes]:
    """Bytes of the features, and of the perturbed copies that the manifest names."""
    copies = [name for name in read_manifest(out)["files"] if name.startswith("perturbed/")]
    return {name: (out / name).read_bytes() for name in (*FEATURES, *sorted(copies))}


OPS = ("blur:1", "jpeg:50")


def perturb(folder: Path, out: Path, op: str, *more: str) -> int:
    options = ["--model", f"local-dir:{folder / 'tiny'}", "--device", "cpu", "--workers", "0"]
    return main(["perturb", "--workspace", str(out), "--ops", op, *options, *more])


@pytest.fixture
def copied(folder: Path, base: Path) -> Path:
    """With perturbed copies: of test images, and of all with heads and in half precision."""
    assert perturb(folder, base, OPS[0]) == 0
    more = ["--heads", "--half", "--splits", "train", "val", "test"]
    assert perturb(folder, base, OPS[1], *more) == 0
    return base


@pytest.fixture(scope="module")
def at_once(folder: Path) -> Path:
    """All four kinds in one go."""
    images, out = folder / "images", folder / "at-once"
    fakes = [("one", "base/fake/one"), ("two", "more/two"), ("three", "more/three")]
    named = [arg for name, at in fakes for arg in ("--fake", f"{name}={images / at}")]
    assert main(["ingest", "--real", str(images / "base/real"), *named, "--out", str(out)]) == 0
    assert encode(folder, out) == 0
    return out


def test_grown_in_steps_or_at_once_the_features_are_the_same_bytes(
    folder: Path, base: Path, at_once: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Workspace.open(base).images.set_index("content_hash")["split"]
    assert add(folder, base, "two") == 0
    assert "13 images were encoded" in capsys.readouterr().out
    assert verify(base) == []
    assert add(folder, base, "three") == 0
    grown, whole = Workspace.open(base), Workspace.open(at_once)
    assert contents(base) == contents(at_once)
    for name in ("path", "content_hash", "generator", "label", "pool"):
        assert grown.images[name].tolist() == whole.images[name].tolist()
    after = grown.images.set_index("content_hash")["split"]
    assert (after[before.index] == before).all()
    assert set(grown.images.loc[grown.images["generator"] == "two", "split"]) == {
        "train",
        "val",
        "test",
    }


def test_perturbed_copies_are_kept_and_only_those_of_new_images_are_encoded(
    folder: Path, copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(copied)
    assert add(folder, copied, "two") == 0
    printed = capsys.readouterr().out
    new = Workspace.open(copied).images.query("generator == 'two'")
    assert f"and {N + (new['split'] == 'test').sum()} perturbed copies" in printed
    assert "perturbed copies (blur-1, jpeg-50)" in printed and "computed again" not in printed
    assert verify(copied) == []
    part = Path(shutil.copytree(copied, tmp_path / "part"))
    shutil.rmtree(part / "perturbed")
    write_manifest(part, without_outdated(read_manifest(part)))
    assert perturb(folder, part, OPS[0]) == 0
    more = ["--heads", "--half", "--splits", "train", "val", "test"]
    assert perturb(folder, part, OPS[1], *more) == 0
    capsys.readouterr()
    assert contents(copied) == contents(part)
    for op in OPS:
        [mine, theirs] = [open_perturbed(Workspace.open(path), op) for path in (copied, part)]
        assert mine.embeddings.tobytes() == theirs.embeddings.tobytes()
    assert perturb(folder, copied, OPS[0]) == 0
    assert "nothing to do" in capsys.readouterr().out
    apart = []
    for name in ("one", "two"):
        apart.append(tmp_path / name)
        command = ["subset", "--workspace", str(copied), "--generators", name, "--out"]
        assert main([*command, str(apart[-1])]) == 0
    assert contents(apart[0]) == before
    merged = tmp_path / "merged"
    assert main(["merge", "--workspaces", *map(str, apart), "--out", str(merged)]) == 0
    assert contents(merged) == contents(copied)
    assert main(["remove", "--workspace", str(copied), "--generators", "two"]) == 0
    assert contents(copied) == before
    capsys.readouterr()
    assert main(["splits", "--workspace", str(copied), "--seed", "3"]) == 0
    printed = capsys.readouterr().out
    assert "perturbed copies (jpeg-50)" in printed  # of all splits: they hold
    again = f"python -m precompute perturb --workspace {copied} --ops blur:1"
    assert again in printed.split("To be computed again, since the images changed:")[1]
    assert not (copied / "perturbed/blur-1").exists() and verify(copied) == []


def test_copies_of_images_that_stay_in_the_test_split_are_not_made_again(
    folder: Path, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, first = Workspace.open(copied).images, contents(copied)
    before = set(images.loc[images["split"] == "test", "path"])
    capsys.readouterr()
    assert main(["splits", "--workspace", str(copied), "--seed", "3"]) == 0
    images = Workspace.open(copied).images
    after = set(images.loc[images["split"] == "test", "path"])
    assert before & after and after - before  # some hold, some do not
    said = capsys.readouterr().out
    assert f"wait for those of the other images ({len(before)} of blur-1)" in said
    with pytest.raises(NotMadeError, match="no perturbed copies"):
        open_perturbed(Workspace.open(copied), OPS[0])
    assert verify(copied) == []
    assert perturb(folder, copied, OPS[0]) == 0
    said = capsys.readouterr().out
    assert f"blur:1: encoded {len(after - before)} images" in said
    assert f"{len(after & before)} copies were there" in said
    mine, slug = contents(copied), "perturbed/blur-1/embeddings.npy"
    assert verify(copied) == []
    shutil.rmtree(copied / "perturbed")
    shutil.rmtree(copied / "held")
    write_manifest(copied, without_outdated(read_manifest(copied)))
    assert perturb(folder, copied, OPS[0]) == 0
    assert contents(copied)[slug] == mine[slug]
    assert main(["splits", "--workspace", str(copied), "--seed", "0"]) == 0
    assert first[slug] != mine[slug]


def test_divided_as_before_all_copies_are_back(folder: Path, copied: Path) -> None:
    assert main(["splits", "--workspace", str(copied), "--seed", "0"]) == 0
    assert perturb(folder, copied, OPS[0]) == 0
    before = contents(copied)
    assert main(["splits", "--workspace", str(copied), "--seed", "3"]) == 0
    assert main(["splits", "--workspace", str(copied), "--seed", "0"]) == 0
    assert contents(copied) == before and verify(copied) == []


def test_copies_of_more_splits_take_those_that_are_there(
    folder: Path, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = Workspace.open(copied).images
    test = (images["split"] == "test").sum()
    capsys.readouterr()
    assert perturb(folder, copied, OPS[0], "--splits", "train", "val", "test") == 0
    said = capsys.readouterr().out
    assert f"encoded {len(images) - test} images" in said and f"{test} copies were there" in said
    assert verify(copied) == []


def test_detectors_of_unchanged_images_are_kept_and_the_new_one_is_trained(
    folder: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detectors", "--workspace", str(base)]) == 0
    [old] = load_detectors(Workspace.open(base), [("one",)]) or []
    capsys.readouterr()
    assert add(folder, base, "two") == 0
    printed = capsys.readouterr().out
    assert "1 of 1 detector." in printed
    assert "Trained, since they are new: 1 detector (two)." in printed
    assert "computed again" not in printed
    kept = load_detectors(Workspace.open(base), [("one",), ("two",)])
    assert kept is not None
    assert kept[0].weights.tobytes() == old.weights.tobytes()
    fresh = train(Workspace.open(base), [("one",), ("two",)])
    for mine, theirs in zip(kept, fresh, strict=True):
        np.testing.assert_allclose(mine.weights, theirs.weights, rtol=1e-4, atol=1e-6)


def test_a_second_time_there_is_nothing_to_add(
    folder: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(folder, base, "two") == 0
    before = contents(base)
    manifest = read_manifest(base)
    capsys.readouterr()
    assert add(folder, base, "two") == 0
    assert "Nothing to add" in capsys.readouterr().out
    assert contents(base) == before
    assert read_manifest(base) == manifest


class Moments:
    """What a job leaves on the disk if it is killed: copies of its workspace as it was before each
    moving of a file into place. No clean-up has run in them, as none runs in a killed process.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder, self.moved, self.watched = folder, 0, Path()
        self.states: dict[str, Path] = {}
        replace = Path.replace

        def copied(path: Path, target: Path) -> Path:
            self.moved += 1
            if self.watched.is_dir() and self.watched != Path():
                self._keep()
            return replace(path, target)

        monkeypatch.setattr(Path, "replace", copied)

    def _keep(self) -> None:
        files = [f for f in sorted(self.watched.rglob("*")) if f.is_file() and LOCK not in f.name]
        state = digest_of([[str(f.relative_to(self.watched)), digest(f)] for f in files])
        if state not in self.states:  # the same files once more lead to the same end
            self.states[state] = self.folder / f"state-{len(self.states)}"
            shutil.copytree(self.watched, self.states[state])

    def of(self, job: Callable[[Path], int], out: Path) -> list[Path]:
        """The states that differ while a job writes a workspace, which it ends."""
        self.watched = out
        assert job(out) == 0
        self.watched = Path()
        return list(self.states.values())


def digest(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


def test_killed_at_any_point_it_verifies_and_the_same_command_ends_in_the_same_bytes(
    folder: Path, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = Moments(monkeypatch, tmp_path)
    whole = Path(shutil.copytree(copied, tmp_path / "whole"))
    states = moments.of(lambda out: add(folder, out, "two"), whole)
    assert moments.moved > 12  # the lock's note, shards, the new state and every file that is moved
    assert len(states) > 10
    expected = contents(whole)
    for out in states:
        assert verify(out) == [], out
        assert add(folder, out, "two") == 0
        assert contents(out) == expected, out
        assert verify(out) == []


@pytest.mark.parametrize("name", ["remove", "splits", "subset", "merge"])
def test_other_changes_killed_at_any_point_verify_and_end_in_the_same_bytes(
    copied: Path, at_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    moments, made = Moments(monkeypatch, tmp_path), tmp_path / "made"
    three = tmp_path / "three"
    command = ["--workspace", str(at_once), "--out", str(three), "--generators", "three"]
    assert main(["subset", *command]) == 0

    def job(out: Path) -> int:
        change = {
            "remove": ["--workspace", str(out), "--generators", "two"],
            "splits": ["--workspace", str(out), "--seed", "3"],
            "subset": ["--workspace", str(at_once), "--generators", "two", "--out", str(out)],
            "merge": ["--workspaces", str(copied), str(three), "--out", str(out)],
        }
        return main([name, *change[name]])

    if name in ("remove", "splits"):
        shutil.copytree(at_once, made)
    states = moments.of(job, made)
    assert len(states) > 3
    expected, images = contents(made), Workspace.open(made).all_images
    for out in states:
        assert not (out / "workspace.json").is_file() or verify(out) == [], out
        assert job(out) == 0, out
        assert contents(out) == expected and Workspace.open(out).all_images.equals(images), out
        assert verify(out) == []


def test_an_unfinished_change_is_reported_and_finished(
    folder: Path, base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if Path(target) == base / "heads.npy":
            raise Killed
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(Killed):
        add(folder, base, "two")
    monkeypatch.setattr(Path, "replace", replace)
    assert main(["detectors", "--workspace", str(base)]) == 2
    assert f"'python -m precompute add --workspace {base}' finishes it" in capsys.readouterr().err
    assert main(["add", "--workspace", str(base)]) == 0
    assert set(Workspace.open(base).domains.generators) == {"one", "two"}


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_who_asks_it_to_stop_while_files_are_moved_gets_the_whole_change(
    folder: Path, base: Path, monkeypatch: pytest.MonkeyPatch, asked: signal.Signals
) -> None:
    """Half a change would leave nothing that pages could show."""
    assert main(["detectors", "--workspace", str(base)]) == 0
    replace = Path.replace

    def stopped(self: Path, target: Path) -> Path:
        if Path(target) == base / "heads.npy":
            signal.raise_signal(asked)
        return replace(self, target)

    def obeyed(number: int, frame: object) -> None:
        raise Killed

    monkeypatch.setattr(Path, "replace", stopped)
    before = signal.signal(asked, obeyed)
    try:
        assert add(folder, base, "two") == 0
        assert signal.getsignal(asked) is obeyed
    finally:
        signal.signal(asked, before)
    assert load_detectors(Workspace.open(base), [("one",), ("two",)]) is not None
    assert verify(base) == []


def test_copies_of_what_is_there_are_left_out_and_old_ones_stay(
    folder: Path, base: Path, tmp_path: Path
) -> None:
    old = Workspace.open(base).images
    more = tmp_path / "copies"
    shutil.copytree(folder / "images/more/two", more)
    shutil.copy(folder / "images/base/fake/one/0.png", more / "copy.png")
    model = f"local-dir:{folder / 'tiny'}"
    images = ["--images", str(more), "--generator", "one", "--model", model, "--device", "cpu"]
    assert main(["add", "--workspace", str(base), *images, "--workers", "1"]) == 0
    table = Workspace.open(base).all_images
    copy = table[table["path"].str.endswith("copies/copy.png")].iloc[0]
    assert copy["left_out"].startswith("duplicate: same bytes as")
    assert set(old["content_hash"]) <= set(Workspace.open(base).images["content_hash"])


def test_reasons_name_other_images_as_they_are_called_now(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Path(shutil.copytree(folder / "images/base", tmp_path / "lab/it's mine"))
    shutil.copy(own / "real/0.png", own / "fake/one/really.png")
    shutil.copy(own / "fake/one/1.png", own / "fake/one/again.png")
    out = tmp_path / "w"
    assert main(["ingest", "--images", str(own), "--out", str(out)]) == 0
    shares = "Exact duplicates: 4 files share their bytes with another, 2 of them across labels"
    assert shares in capsys.readouterr().out
    assert encode(folder, out) == 0
    elsewhere = shutil.copytree(folder / "images/more/two", tmp_path / "two")
    options = ["--model", f"local-dir:{folder / 'tiny'}", "--device", "cpu", "--workers", "0"]
    images = ["--images", str(elsewhere), "--generator", "two"]
    assert main(["add", "--workspace", str(out), *images, *options]) == 0
    printed = capsys.readouterr().out
    assert shares in printed and "No file shares" not in printed
    table = Workspace.open(out).all_images
    reasons = table.loc[table["left_out"] != "", "left_out"]
    others = [ast.literal_eval(re.findall(r"as (['\"].*['\"])", why)[0]) for why in reasons]
    assert len(others) == 3 and set(others) <= set(table["path"])
    assert verify(out) == []


def reasons_of(out: Path) -> dict[str, str]:
    """Why each file was left out, by its name below the folder of images."""
    table = pd.read_parquet(out / "images.parquet")
    return dict(zip(table["path"], table["left_out"], strict=True))


def test_bytes_that_contradict_stay_out_until_one_side_is_removed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = Path(shutil.copytree(folder / "images", tmp_path / "images"))
    real, one, two = (images / at for at in ("base/real", "base/fake/one", "more/two"))
    for wrong in ("b", "c"):
        shutil.copy(real / "0.png", one / f"{wrong}.png")
    shutil.copy(real / "0.png", two / "a.png")
    out, whole = tmp_path / "w", tmp_path / "whole"
    told = ["--real", str(real), "--fake", f"one={one}"]
    assert main(["ingest", *told, "--out", str(out)]) == 0
    assert main(["ingest", *told, "--fake", f"two={two}", "--out", str(whole)]) == 0
    assert encode(folder, out) == 0
    options = ["--model", f"local-dir:{folder / 'tiny'}", "--device", "cpu", "--workers", "0"]
    grow = ["add", "--workspace", str(out), *options, "--images"]
    assert main([*grow, str(two), "--generator", "two"]) == 0
    assert reasons_of(out) == reasons_of(whole)  # the new copy is left out as if built at once
    assert len(list(filter(None, reasons_of(out).values()))) == 4
    assert main(["remove", "--workspace", str(out), "--generators", "two"]) == 0
    assert sorted(filter(None, reasons_of(out).values())) == [
        "contradicting labels: same bytes as 'base/fake/one/b.png', which is called fake",
        *["contradicting labels: same bytes as 'base/real/0.png', which is called real"] * 2,
    ]
    assert main([*grow, str(two), "--generator", "two"]) == 0
    capsys.readouterr()
    assert main(["remove", "--workspace", str(out), "--generators", "one"]) == 0
    assert "'add' takes" not in capsys.readouterr().out  # two's copy still contradicts
    named = "contradicting labels: same bytes as 'more/two/a.png', which is called fake"
    assert reasons_of(out)["base/real/0.png"] == named
    assert verify(out) == []


def test_what_was_left_out_for_an_image_that_is_gone_can_be_added_again(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = Path(shutil.copytree(folder / "images", tmp_path / "images"))
    real, one, two = (images / at for at in ("base/real", "base/fake/one", "more/two"))
    shutil.copy(real / "0.png", two / "a.png")
    out = tmp_path / "w"
    told = ["--real", str(real), "--fake", f"one={one}", "--fake", f"two={two}"]
    assert main(["ingest", *told, "--out", str(out)]) == 0
    assert encode(folder, out) == 0
    capsys.readouterr()
    assert main(["remove", "--workspace", str(out), "--generators", "two"]) == 0
    assert "1 file was left out for another image, which is gone" in capsys.readouterr().out
    assert not list(filter(None, reasons_of(out).values()))
    options = ["--model", f"local-dir:{folder / 'tiny'}", "--device", "cpu", "--workers", "0"]
    again = ["add", "--workspace", str(out), *options, "--real", str(real)]
    assert main(again) == 0
    assert reasons_of(out)["base/real/0.png"] == ""
    assert verify(out) == []


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (
            "precompute.ingest.pipeline.opened",
            "Layout: folders, because all 13 files are fakes by two",
        ),
        ("precompute.encode.pipeline.compute", "Kept 39 of 39 files"),
    ],
)
def test_what_is_decided_is_said_before_long_work(
    folder: Path,
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    step: str,
    said: str,
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise Killed

    monkeypatch.setattr(step, killed)
    with pytest.raises(Killed):
        add(folder, base, "two")
    printed = capsys.readouterr().out
    assert said in printed and printed.count("Layout: ") == 1
    assert f"In {base} are the real images of all (13)" in printed


def test_images_of_a_folder_from_elsewhere_are_shown_as_those_that_were_there(
    folder: Path, base: Path, tmp_path: Path
) -> None:
    elsewhere = shutil.copytree(folder / "images/more/two", tmp_path / "far/away/two")
    model = f"local-dir:{folder / 'tiny'}"
    images = ["--images", str(elsewhere), "--generator", "two", "--model", model]
    options = ["--device", "cpu", "--workers", "0"]
    assert main(["add", "--workspace", str(base), *images, *options]) == 0
    workspace = Workspace.open(base)
    assert set(workspace.images["generator"]) == {"", "one", "two"}
    for row in workspace.images.to_dict("records"):
        source = image_source(row, workspace.manifest["image_root"])
        assert source.kind == "file"
        assert thumbnail(source.value, source.offset, 64, row["content_hash"])


def test_where_images_lie_stays_unsaid_where_ingest_was_told_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, images = tmp_path / "w", folder / "images/base"
    quiet = ["ingest", "--images", str(images), "--out", str(out), "--no-image-root"]
    assert main(quiet) == 0
    model = f"local-dir:{folder / 'tiny'}"
    options = ["--model", model, "--device", "cpu", "--workers", "0"]
    assert main(["encode", "--workspace", str(out), "--images", str(images), *options]) == 0
    assert add(folder, out, "two") == 2
    assert "give --old-images DIR" in capsys.readouterr().err
    assert add(folder, out, "two", "--old-images", str(images)) == 0
    assert set(Workspace.open(out).domains.generators) == {"one", "two"}
    for file in (out / "workspace.json", out / "images.parquet"):
        assert str(folder).encode() not in file.read_bytes()
    assert verify(out) == []


def test_a_pool_must_be_named_where_there_are_several(
    folder: Path, at_once: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(at_once, tmp_path / "w"))
    images = pd.read_parquet(out / "images.parquet")
    assert add(folder, out, "two", "--pool", "nowhere") == 0  # all are there: nothing to decide
    (tmp_path / "new").mkdir()
    for i in range(N):
        make_picture(7, i).save(tmp_path / f"new/{i}.png")
    command = ["add", "--workspace", str(out), "--images", str(tmp_path / "new")]
    assert main([*command, "--generator", "x", "--pool", "nowhere"]) == 2
    assert "say --pool x=POOL" in capsys.readouterr().err
    assert pd.read_parquet(out / "images.parquet").equals(images)


def test_no_generator_is_added_under_the_name_of_all(
    folder: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(folder, base, "two", "--generator", "all") == 2
    assert "say another --generator" in capsys.readouterr().err


def test_removed_again_the_bytes_are_the_first(folder: Path, base: Path) -> None:
    before = contents(base)
    splits = Workspace.open(base).images["split"].tolist()
    assert add(folder, base, "two") == 0
    assert main(["remove", "--workspace", str(base), "--generators", "two"]) == 0
    assert contents(base) == before
    assert Workspace.open(base).images["split"].tolist() == splits
    assert verify(base) == []


def test_subset_and_merge(folder: Path, at_once: Path, tmp_path: Path) -> None:
    parts = [tmp_path / "a", tmp_path / "b"]
    for out, names in zip(parts, (["one", "two"], ["three"]), strict=True):
        command = ["subset", "--workspace", str(at_once), "--out", str(out), "--generators", *names]
        assert main(command) == 0
        assert verify(out) == []
        assert set(Workspace.open(out).domains.generators) == set(names)
    out = tmp_path / "c"
    assert main(["merge", "--workspaces", *map(str, parts), "--out", str(out)]) == 0
    assert contents(out) == contents(at_once)
    merged, whole = Workspace.open(out).images, Workspace.open(at_once).images
    assert merged["split"].tolist() == whole["split"].tolist()
    assert verify(out) == []


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize(
    ("options", "given"),
    [
        (["--real", "base/fake/one"], "a real image"),
        (["--fake", "other=base/fake/one"], "a fake of other"),
    ],
)
def test_images_that_are_there_otherwise_are_refused(
    options: list[str],
    given: str,
    dry: bool,
    folder: Path,
    base: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    option, named = options
    name, _, below = named.rpartition("=")
    place = str(folder / "images" / below)
    place = f"{name}={place}" if name else place
    command = ["add", "--workspace", str(base), option, place, *["--dry-run"] * dry]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert f"{N} images are in the workspace already, as another class" in error
    assert f"is a fake of one there, and here {given}" in error


def test_a_merge_knows_the_names_that_images_had_before(at_once: Path, tmp_path: Path) -> None:
    """Two data sets whose images bear the same names below their own folders."""
    parts = [tmp_path / "a", tmp_path / "b"]
    for out, names in zip(parts, ("one", "two"), strict=True):
        command = ["subset", "--workspace", str(at_once), "--out", str(out), "--generators", names]
        assert main(command) == 0
        write_manifest(out, read_manifest(out) | {"image_root": str(tmp_path / "images" / names)})
    out = tmp_path / "c"
    assert main(["merge", "--workspaces", *map(str, parts), "--out", str(out)]) == 0
    one, two, both = (Workspace.open(path) for path in (*parts, out))
    assert both.manifest["before"] == {one.digest: "one/", two.digest: "two/"}
    for part, folder in ((one, "one/"), (two, "two/")):
        fakes = part.images.loc[part.images["label"] == 1, "path"].tolist()
        matched, mistakes, _ = matched_scores(both, fakes, range(len(fakes)), "path")
        found = pd.Series(matched, index=both.images["path"]).reindex(
            folder + path for path in fakes
        )
        assert found.tolist() == list(range(len(fakes)))
        assert not any("does not have" in mistake for mistake in mistakes)


def test_a_merge_is_told_where_images_lie_that_ingest_did_not_record(
    folder: Path, at_once: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts, out = [tmp_path / "a", tmp_path / "b"], tmp_path / "c"
    for part, names in zip(parts, (["one", "two"], ["three"]), strict=True):
        command = ["subset", "--workspace", str(at_once), "--out", str(part)]
        assert main([*command, "--generators", *names]) == 0
    manifest = read_manifest(parts[1])
    place = manifest.pop("image_root")
    write_manifest(parts[1], manifest)
    merge = ["merge", "--workspaces", *map(str, parts), "--out", str(out)]
    capsys.readouterr()
    assert main(merge) == 2
    said = capsys.readouterr().err
    assert "features of both are kept" in said and not out.exists()
    told = shlex.split(re.findall(r"'python -m precompute (merge .*?)'", said)[0])
    assert told[-3:] == ["--old-images", place, "DIR"]
    assert main([*told[:-1], str(tmp_path / "nowhere")]) == 2
    assert "check --old-images" in capsys.readouterr().err
    assert main([*told[:-1], place]) == 0
    assert contents(out) == contents(at_once) and verify(out) == []
    for file in (out / "workspace.json", out / "images.parquet"):
        assert str(folder).encode() not in file.read_bytes()


def test_a_merge_says_how_many_images_changed_their_split(
    at_once: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [tmp_path / "a", tmp_path / "b"]
    for out, names, seed in zip(parts, ("one", "two"), ("0", "3"), strict=True):
        command = ["subset", "--workspace", str(at_once), "--out", str(out), "--generators", names]
        assert main([*command, "--seed", seed]) == 0
    first, second = (Workspace.open(path).images.set_index("path")["split"] for path in parts)
    shared = first.index.intersection(second.index)
    moved = int((first[shared] != second[shared]).sum())
    capsys.readouterr()
    assert main(["merge", "--workspaces", *map(str, parts), "--out", str(tmp_path / "c")]) == 0
    assert moved > 1
    assert (
        f"{moved} images of {parts[1]} went to the split of {parts[0]}" in capsys.readouterr().out
    )
    after = Workspace.open(tmp_path / "c").images.set_index("path")["split"]
    assert (after[first.index] == first).all()


def test_a_subset_with_a_seed_is_divided_as_splits_would(at_once: Path, tmp_path: Path) -> None:
    kept, drawn = tmp_path / "kept", tmp_path / "drawn"
    command = ["subset", "--workspace", str(at_once), "--generators", "one", "three", "--out"]
    assert main([*command, str(kept)]) == 0
    assert main([*command, str(drawn), "--seed", "3"]) == 0
    assert verify(drawn) == [] and contents(drawn) == contents(kept)
    splits = Workspace.open(kept).images["split"].tolist()
    assert Workspace.open(drawn).images["split"].tolist() != splits
    assert main(["splits", "--workspace", str(kept), "--seed", "3"]) == 0
    assert Workspace.open(drawn).images["split"].tolist() == (
        Workspace.open(kept).images["split"].tolist()
    )
    assert read_manifest(drawn)["ingest"]["splits"] == "seed 3"
    assert Workspace.open(drawn).digest == Workspace.open(kept).digest


def test_workspaces_of_two_encoders_do_not_merge(
    folder: Path, at_once: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = read_manifest(base)
    manifest["encoder"]["weights_sha256"] = "1" * 64
    write_manifest(base, manifest)
    out = tmp_path / "c"
    assert main(["merge", "--workspaces", str(at_once), str(base), "--out", str(out)]) == 2
    assert "encoded differently (weights_sha256)" in capsys.readouterr().err
    assert not out.exists()


def test_divided_anew_nothing_is_encoded(at_once: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(at_once, tmp_path / "w"))
    before, features = Workspace.open(out), contents(out)
    digest, splits = before.digest, before.images["split"].tolist()
    assert main(["splits", "--workspace", str(out), "--seed", "3"]) == 0
    after = Workspace.open(out)
    assert contents(out) == features
    assert after.digest != digest
    assert after.images["split"].tolist() != splits
    assert main(["splits", "--workspace", str(out), "--seed", "0"]) == 0
    assert Workspace.open(out).images["split"].value_counts().to_dict() == (
        before.images["split"].value_counts().to_dict()
    )


def test_every_image_is_tested_in_one_fold(at_once: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(at_once, tmp_path / "w"))
    tested: list[str] = []
    for i in (1, 2, 3):
        command = ["splits", "--workspace", str(out), "--folds", "3", "--fold", str(i)]
        assert main(command) == 0
        images = Workspace.open(out).images
        tested += images.loc[images["split"] == "test", "path"].tolist()
        assert set(images["split"]) == {"train", "val", "test"}
    assert sorted(tested) == sorted(Workspace.open(out).images["path"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--folds 5 --fold 6", "Expected a fold from 1 to 5, got 6."),
        ("--folds 1", "Expected at least 2 folds, got 1."),
        ("--fold 2", "--fold 2 is one of K folds: say how many with --folds K."),
        ("--folds 5 --test 0.1", "Of --folds 5, one is the test part: leave --test out"),
    ],
)
@pytest.mark.parametrize("job", ["splits", "subset"])
def test_folds_that_cannot_be(
    at_once: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    job: str,
    options: str,
    said: str,
) -> None:
    out, generator = tmp_path / "part", Workspace.open(at_once).domains.generators[0]
    more = ["--out", str(out), "--generators", generator] if job == "subset" else []
    assert main([job, "--workspace", str(at_once), *options.split(), *more]) == 2
    assert capsys.readouterr().err.startswith(said)
    assert not out.exists()


def test_a_table_among_the_images_is_counted_as_none(
    folder: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = Path(shutil.copytree(folder / "images/more/two", tmp_path / "two"))
    (more / "notes.csv").write_text("a,b")
    images = ["--images", str(more), "--generator", "two", "--dry-run"]
    assert main(["add", "--workspace", str(base), *images]) == 0
    printed = capsys.readouterr().out
    assert f"all {N} files are fakes by two" in printed and f"{N} fake images; 1 other" in printed


def test_a_dry_run_says_what_would_be_added_and_changes_nothing(
    folder: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_manifest(base)
    assert add(folder, base, "two", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert f"0 real and {N} fake images" in printed
    assert f"the real images of all ({N})" in printed
    assert read_manifest(base) == before
    assert not (base / ".grow").exists()


def test_add_follows_the_fewest_images_that_the_workspace_was_built_with(
    folder: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "six"
    few.mkdir()
    for i in range(6):
        make_picture(9, i).save(few / f"{i}.png")
    options = ["--images", str(few), "--generator", "six", "--device", "cpu", "--workers", "0"]
    command = ["add", "--workspace", str(base), *options, "--model", f"local-dir:{folder / 'tiny'}"]
    for more in (["--dry-run"], []):
        assert main([*command, *more]) == 2
        assert "at least 10 are needed: six (6 in the pool all)" in capsys.readouterr().err
    assert main([*command, "--dry-run", "--min-images", "2"]) == 2
    assert "--min-images of at least 3" in capsys.readouterr().err
    assert main([*command, "--dry-run", "--min-images", "4"]) == 0
    manifest = read_manifest(base)
    manifest["ingest"]["min_images"] = 4
    write_manifest(base, manifest)
    assert main([*command, "--dry-run"]) == 0
    assert main([*command, "--min-images", "5"]) == 0
    assert read_manifest(base)["ingest"]["min_images"] == 5
    assert "six" in set(Workspace.open(base).images["generator"])


def test_a_link_made_before_opens_the_same_image_and_never_one_that_bears_its_name_now(
    folder: Path, tmp_path: Path, open_app: Callable[..., AppTest]
) -> None:
    """Old images are named from further up, and a new one lies where an old name points."""
    images = tmp_path / "images"
    shutil.copytree(folder / "images/base", images / "a/base")
    out = tmp_path / "w"
    assert main(["ingest", "--images", str(images / "a/base"), "--out", str(out)]) == 0
    assert encode(folder, out) == 0
    before = Workspace.open(out)
    for number in (0, 1, 2):  # a first change leaves the names, the second and third do not
        new = images / ("a/base/new", "a/new", "fake/one")[number]
        new.mkdir(parents=True)
        for i in range(10):
            make_picture(7 + number, i).save(new / f"{i}.png")
        command = [
            "add",
            "--workspace",
            str(out),
            "--images",
            str(new),
            "--generator",
            f"g{number}",
        ]
        command += ["--model", f"local-dir:{folder / 'tiny'}", "--device", "cpu", "--workers", "0"]
        assert main(command) == 0
    after = Workspace.open(out)
    assert {"fake/one/1.png", "a/base/fake/one/1.png"} <= set(after.images["path"])
    assert verify(out) == []
    link = {"workspace": before.digest, "image": "fake/one/1.png"}
    app = open_app(out, "inspect", **link)
    assert not app.exception
    assert app.selectbox(key="image").value == "a/base/fake/one/1.png"
    assert any("made before the workspace was changed" in one.value for one in app.warning)
    assert after.digest in app.query_params["workspace"]
    now = open_app(out, "inspect", workspace=after.digest, image="fake/one/1.png")
    assert now.selectbox(key="image").value == "fake/one/1.png"
    assert not any("made before the workspace was changed" in one.value for one in now.warning)
    assert main(["remove", "--workspace", str(out), "--generators", "one"]) == 0
    gone = open_app(out, "inspect", **link)  # it cannot be opened, and the page says so
    said = [one.value.replace("\\", "") for one in gone.warning]
    assert any("image = a/base/fake/one/1.png, which does not exist" in one for one in said), said


def test_names_of_before_are_understood_after_images_from_elsewhere_were_added(
    folder: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table of scores still matches, and the first build's own command says what is the case."""
    names = Workspace.open(base).images["path"].tolist()
    assert add(folder, base, "two") == 0
    said = capsys.readouterr().out
    assert "begin with base/; tables of scores with the names of before are still read." in said
    grown = Workspace.open(base)
    matched, mistakes, _ = matched_scores(grown, names, np.arange(len(names), dtype=float), "path")
    by_path = dict(zip(grown.images["path"], matched, strict=True))
    assert [by_path[f"base/{name}"] for name in names] == list(range(len(names)))
    assert not any("does not have" in mistake for mistake in mistakes)
    rows = dict(zip([*names, "x/y.png"], range(len(names) + 1), strict=True))
    matched, unknown, _ = matched_scores(grown, list(rows), np.array([*rows.values()]), "path")
    by_path = dict(zip(grown.images["path"], matched, strict=True))
    assert [by_path[f"base/{name}"] for name in names] == list(range(len(names)))  # row by row
    assert f"1 of {len(rows)} scores is of images" in unknown[0] and "'x/y.png'" in unknown[0]
    command = ["ingest", "--images", str(folder / "images/base"), "--out", str(base)]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "under names that begin with base/" in said and "nothing is to be done" in said


def test_a_column_that_tables_write_as_text_or_as_numbers_is_stacked_as_one(
    tmp_path: Path,
) -> None:
    first = pd.DataFrame({"path": ["a", "b"], "offset": -1, "steps": ["20", ""], "big": [2**60, 1]})
    second = pd.DataFrame(
        {"path": ["c"], "offset": -1, "steps": [50], "seed": [2**60], "ok": [True]}
    )
    both, _ = stacked(first, second)
    both.to_parquet(tmp_path / "t.parquet")
    read = pd.read_parquet(tmp_path / "t.parquet")
    assert read["steps"].tolist() == ["20", "", "50"]
    assert int(read["seed"].iloc[2]) == 2**60 == int(read["big"].iloc[0])
    assert read["seed"].isna().tolist() == [True, True, False]
    both, _ = stacked(first.assign(steps=[2.0, 2.5]), second.assign(steps="x"))
    assert both["steps"].tolist() == ["2", "2.5", "x"]


def test_folders_named_one_by_one(
    folder: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Advice and ``add`` name the folders again, never the one above them, which holds much else;
    before, --fake without --images added nothing and said nothing."""
    images = folder / "images"
    out = folder / "named"
    named = ["--real", f"{images}/base/real", "--fake", f"one={images}/base/fake/one"]
    assert main(["ingest", *named, "--out", str(out)]) == 0
    assert encode(folder, out) == 0
    capsys.readouterr()
    named += ["--fake", f"two={images}/more/two"]
    assert main(["ingest", *named, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    advised = f"--real {images}/base/real --fake one={images}/base/fake/one --fake two="
    assert advised in said and "--images" not in said
    assert "build --real DIR --fake NAME=DIR --out" in build_command(out, read_manifest(out))
    more = ["--model", f"local-dir:{folder / 'tiny'}", "--device", "cpu", "--workers", "0"]
    assert main(["add", "--workspace", str(out), *named, *more]) == 0
    assert "13 images were encoded" in capsys.readouterr().out
    assert set(Workspace.open(out).images["generator"]) == {"", "one", "two"}
    alone = ["--fake", f"three={images}/more/three", "--dry-run"]
    assert main(["add", "--workspace", str(out), *alone]) == 0
    assert "0 real and" in capsys.readouterr().out
    assert main(["add", "--workspace", str(out), "--images", str(folder)]) == 2
    assert "lies inside the new images" in capsys.readouterr().err
