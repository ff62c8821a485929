"""Text banks: read back, skipped when done, resumed when cut short, refused with other weights."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigi_core.clip.encoder import Encoder, load_encoder
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.workspace import Workspace, exclusive, read_manifest, verify, write_manifest
from precompute import text
from precompute.__main__ import main
from precompute.text import Source, add_bank, own_sources
from tests.factory import make_workspace
from tests.tiny_clip import make_tiny_clip

SHAPE = {"layers": 2, "heads": 3, "head_width": 8}
"""Of the synthetic workspace's heads."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_tiny_clip(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def encoder(model: str) -> Encoder:
    return load_encoder(model, None, device="cpu")


@pytest.fixture
def path(tmp_path: Path, encoder: Encoder) -> Path:
    """A workspace that says it was encoded by the tiny model; its own banks are the factory's."""
    path = make_workspace(tmp_path / "w", per_class=20, d=24)
    write_manifest(path, read_manifest(path) | {"encoder": encoder.describe() | SHAPE})
    return path


def source(n: int = 50, name: str = "mine", template: str = "{}") -> Source:
    table = pd.DataFrame(
        {"text": [f"phrase {i}" for i in range(n)], "category": ["a", "b"] * (n // 2)}
    )
    return Source(name, table, "mine.txt", template)


def counted(encoder: Encoder, stop_after: int | None = None) -> tuple[Encoder, list[int]]:
    """The encoder, with the size of each batch of texts it was given; pulls the plug after so many
    batches.
    """
    batches: list[int] = []

    def embed(texts: list[str]) -> np.ndarray:
        if stop_after is not None and len(batches) == stop_after:
            raise KeyboardInterrupt
        batches.append(len(texts))
        return encoder.text(texts)

    return replace(encoder, text=embed), batches


def snapshot(path: Path) -> dict[str, bytes]:
    return {
        str(f.relative_to(path)): f.read_bytes()
        for f in path.rglob("*")
        if f.is_file() and f.name != ".lock"
    }


def test_a_bank_is_read_back(path: Path, encoder: Encoder) -> None:
    assert add_bank(path, encoder, source(), progress=False) == "Wrote the bank 'mine': 50 texts."
    bank = Workspace.open(path).text_bank("mine")
    assert (
        bank.table["text"].tolist() == source().table["text"].tolist()
        and bank.table["category"][1] == "b"
    )
    own = encoder.encode_texts(bank.table["text"].tolist())
    np.testing.assert_allclose(
        bank.embeddings, own / np.linalg.norm(own, axis=1, keepdims=True), atol=1e-3
    )
    assert bank.embeddings.dtype == np.float16 and verify(path) == []
    entry = read_manifest(path)["text"]["mine"]
    assert (entry["texts"], entry["source"], entry["template"], entry["cut"]) == (
        50,
        "mine.txt",
        "{}",
        0,
    )
    assert {f.name for f in (path / "text").iterdir() if "mine" in f.name} == {
        "mine.npy",
        "mine.parquet",
    }


def test_a_bank_up_to_date_is_left_alone(path: Path, encoder: Encoder) -> None:
    add_bank(path, encoder, source(), progress=False)
    before = snapshot(path)
    again, batches = counted(encoder)
    assert "is up to date: 50 texts" in add_bank(path, again, source(), progress=False)
    assert batches == [] and snapshot(path) == before


def test_a_changed_bank_is_replaced(path: Path, encoder: Encoder) -> None:
    add_bank(path, encoder, source(), progress=False)
    old = Workspace.open(path).text_bank("mine").digest
    for other in (source(60), source(template="a photo of a {}")):
        assert "Wrote" in add_bank(path, encoder, other, progress=False)
        new = Workspace.open(path).text_bank("mine")
        assert len(new.table) == len(other.table) and new.digest != old and verify(path) == []


def test_a_damaged_bank_is_made_again(path: Path, encoder: Encoder) -> None:
    add_bank(path, encoder, source(), progress=False)
    before = snapshot(path)
    (path / "text" / "mine.npy").write_bytes(b"bent")
    assert "Wrote" in add_bank(path, encoder, source(), progress=False)
    assert snapshot(path) == before


def test_an_interrupted_bank_goes_on(
    path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "PART", 8)
    add_bank(path, encoder, source(), progress=False)
    whole = snapshot(path)
    for name in ("text/mine.npy", "text/mine.parquet"):
        (path / name).unlink()
    manifest = read_manifest(path)
    manifest["text"].pop("mine")
    manifest["files"] = {k: v for k, v in manifest["files"].items() if "mine" not in k}
    write_manifest(path, manifest)
    stopped, done = counted(encoder, stop_after=3)
    with pytest.raises(KeyboardInterrupt):
        add_bank(path, stopped, source(), progress=False)
    assert (
        done == [8, 8, 8] and "mine" not in Workspace.open(path).text_banks and verify(path) == []
    )
    next((path / "text").glob(".mine.*.00001.npy")).write_bytes(
        b"half a fi"
    )  # as a full disk leaves it
    resumed, rest = counted(encoder)
    add_bank(path, resumed, source(), progress=False)
    assert rest == [8, 8, 8, 8, 2] and snapshot(path) == whole


def test_parts_of_other_texts_are_not_used(
    path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "PART", 8)
    stopped, _ = counted(encoder, stop_after=3)
    with pytest.raises(KeyboardInterrupt):
        add_bank(path, stopped, source(), progress=False)
    fresh, batches = counted(encoder)
    add_bank(path, fresh, source(template="a {}"), progress=False)
    assert sum(batches) == 50 and not list((path / "text").glob(".mine.*"))


def test_a_workspace_held_by_another_is_refused(path: Path, encoder: Encoder) -> None:
    with exclusive(path, "test"), pytest.raises(WorkspaceError, match="is being written by"):
        add_bank(path, encoder, source(), progress=False)


@pytest.mark.parametrize("name", ["", "../up", "Upper", "a b", "<b>", "a" * 65, "x.y"])
def test_names_that_are_no_file_names_are_refused(path: Path, encoder: Encoder, name: str) -> None:
    with pytest.raises(AigiError, match="cannot name a bank"):
        add_bank(path, encoder, source(name=name), progress=False)


def test_an_empty_bank_is_refused(path: Path, encoder: Encoder) -> None:
    with pytest.raises(AigiError, match="would be empty"):
        add_bank(path, encoder, source(0), progress=False)


def test_long_phrases_are_reported(path: Path, encoder: Encoder) -> None:
    table = pd.DataFrame({"text": ["cat", "cat " * 100], "category": ["", ""]})
    text = add_bank(path, encoder, Source("long", table, "long.txt", "{}"), progress=False)
    assert "1 of them longer" in text and read_manifest(path)["text"]["long"]["cut"] == 1


def test_own_banks(encoder: Encoder) -> None:
    vocabulary, phrases = own_sources(encoder, words=100)
    assert len(vocabulary.table) == 100 and vocabulary.source.startswith(
        "the 100 most frequent words"
    )
    assert len(phrases.table) > 3000 and phrases.table["category"].nunique() > 10
    assert len(own_sources(encoder)[0].table) > 20_000


def command(path: Path, model: str) -> Callable[..., int]:
    return lambda *more: main(
        ["text", "--workspace", str(path), "--model", model, "--device", "cpu", *more]
    )


def test_the_command(
    path: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "My Phrases.txt").write_text("# colour\nred\nblue\n\nred\n", "utf-8")
    run = command(path, model)
    assert run("--phrases", str(tmp_path / "My Phrases.txt")) == 0
    assert "Wrote the bank 'my-phrases': 2 texts." in capsys.readouterr().out
    assert Workspace.open(path).text_bank("my-phrases").table["category"].tolist() == [
        "colour",
        "colour",
    ]
    assert (
        run(
            "--phrases",
            str(tmp_path / "My Phrases.txt"),
            "--name",
            "hues",
            "--template",
            "the colour {}",
        )
        == 0
    )
    assert {"hues", "my-phrases"} <= set(Workspace.open(path).text_banks) and verify(path) == []
    assert (
        json.loads((path / "workspace.json").read_text("utf-8"))["text"]["hues"]["template"]
        == "the colour {}"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--name", "x"], "give both, or neither"),
        (["--phrases", "/nowhere.txt"], "There is no list of phrases"),
        (["--phrases", "GIVEN", "--name", "vocabulary"], "belongs to the tokenizer's words"),
        (["--phrases", "GIVEN", "--name", "tokens"], "belongs to CLIP's tokens"),
        (["--phrases", "phrases.txt"], "--name phrases to put yours in their place"),
        (["--phrases", "GIVEN", "--template", "none"], "exactly once"),
        (["--template", "none"], "exactly once"),
        (["--phrases", "GIVEN", "--name", "A B"], "cannot name a bank"),
        (["--phrases", "GIVEN", "--words", "5"], "leave it out here"),
        (["--words", "0"], "a whole number of at least 1"),
    ],
)
def test_mistakes_are_one_sentence(
    path: Path,
    model: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    files = {"GIVEN": tmp_path / "given.txt", "phrases.txt": tmp_path / "phrases.txt"}
    for file in files.values():
        file.write_text("red\n", "utf-8")
    before = snapshot(path)
    assert command(path, model)(*[str(files.get(o, o)) for o in options]) == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1 and snapshot(path) == before


def test_a_workspace_without_features_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["text", "--workspace", str(tmp_path / "none")]) == 2
    assert "There is no workspace" in capsys.readouterr().err
