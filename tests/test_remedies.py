"""Advice is followed to its end: each command that a message names is taken out of the message and
run, and then the message is gone.
"""

import ast
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from aigi_core.commands import build_command, command
from aigi_core.encodings import canonical_command, encodings
from aigi_core.errors import AigiError, HubError
from aigi_core.perturb import parse_ops
from aigi_core.stress import open_perturbed, stress
from aigi_core.stress.copies import perturb_command
from aigi_core.transfer.atlas import Atlas
from aigi_core.workspace import Workspace, verify
from precompute.__main__ import main
from tests.tiny_clip import make_tiny_clip
from tests.tiny_workspace import make_picture

ROOT = Path(__file__).parent.parent
NAMED = re.compile(r"['`](python -m precompute [^'`]+)['`]")


@pytest.fixture
def made(tiny: tuple[Path, str], tmp_path: Path) -> tuple[Path, str]:
    """A copy of the tiny workspace in a folder whose name needs quoting, and its encoder."""
    path, model = tiny
    shutil.copytree(path, tmp_path / "my own" / "w")
    return tmp_path / "my own" / "w", model


def follow(message: object, model: str, images: str = "") -> None:
    """Run the first command that a message names; DIR stands for a folder, and the tiny model for
    one of a hub. Of a vocabulary, forty words will do.
    """
    result = NAMED.search(str(message))
    assert result, f"no command in: {message}"
    text = result[1].replace("--model ViT-L-14 --pretrained openai", f"--model {model}")
    text = text.replace("local-dir:DIR", model).replace(" DIR", f" {shlex.quote(images)}")
    text = text.replace("--generator NAME", "--generator mine")  # as its reader must
    words = shlex.split(text)[3:]
    assert main([*words, *(["--words", "40"] if words[0] in ("build", "text") else [])]) == 0, words


def message_of(action: Callable[[], object], kind: type[AigiError] = AigiError) -> str:
    with pytest.raises(kind) as caught:
        action()
    return str(caught.value)


def test_no_workspace_then_ingested_then_encoded(
    tiny: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = tiny[0].parent / "images", tmp_path / "w"
    message = message_of(lambda: Workspace.open(out))
    assert "--model demo" in message
    named = shlex.split(NAMED.search(message)[1])  # type: ignore[index]
    assert named[3:6] == ["build", "--images", "DIR"]
    # The encoder that it names must come from a hub; where there is none, that is said in seconds
    # with what can be done instead.
    assert main([str(images) if word == "DIR" else word for word in named[3:]]) == 2
    assert "or take --model demo alone" in capsys.readouterr().err
    assert not out.exists()
    assert main(["ingest", "--images", str(images), "--out", str(out), "--workers", "1"]) == 0
    assert f"Next: python -m precompute encode --workspace {out} --model" in capsys.readouterr().out
    message = message_of(lambda: Workspace.open(out))
    follow(message, tiny[1])
    assert Workspace.open(out).text_banks == ()
    follow(message_of(lambda: Workspace.open(out).text_bank("phrases")), tiny[1])
    assert "phrases" in Workspace.open(out).text_banks


def test_an_interrupted_build_names_the_encoder_that_was_asked_for(
    tiny: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from precompute.encode import pipeline

    images, out, model = tiny[0].parent / "images", tmp_path / "w", tiny[1]
    asked = ["--images", str(images), "--out", str(out), "--model", model, "--workers", "1"]
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "compute", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            main(["build", *asked, "--canonicalize", "short:36"])
    message = message_of(lambda: Workspace.open(out))
    assert "ViT-L-14" not in message
    follow(message, model)
    workspace = Workspace.open(out)
    assert workspace.encoder["preprocessing"]["steps"] == ["short:36"]
    assert "encoding" not in workspace.manifest


@pytest.mark.parametrize("name", ["embeddings.npy", "heads.npy", "decomposition.npz"])
def test_a_damaged_array_is_computed_again(made: tuple[Path, str], name: str) -> None:
    path, model = made
    (path / name).write_bytes(b"half")
    follow(message_of(lambda: Workspace.open(path)), model)
    Workspace.open(path)
    assert verify(path) == []


@pytest.mark.parametrize("damage", ["workspace.json", "text/phrases.npy"])
def test_what_cannot_be_mended_is_built_anew(made: tuple[Path, str], damage: str) -> None:
    path, model = made
    images = json.loads((path / "workspace.json").read_text())["image_root"]
    (path / damage).write_bytes(b"half")
    message = message_of(lambda: Workspace.open(path))
    told = re.search(r"delete the folder (.+?) and run", message)
    assert told
    assert Path(told[1]) == path
    shutil.rmtree(told[1])
    follow(message, model, images)
    Workspace.open(path)


def test_another_encoder_goes_beside_the_first(
    made: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    path, model = made
    assert main(["encode", "--workspace", str(path), "--model", make_tiny_clip(path / "b", 1)]) == 2
    follow(capsys.readouterr().err, model)
    assert list(encodings(path))[1:] == ["second"]


def test_the_canonical_encoding_of_the_audit_page(made: tuple[Path, str]) -> None:
    path, model = made
    follow(f"`{canonical_command(Workspace.open(path))}`", model)
    beside = encodings(path)["canonical"]
    steps = Workspace.open(beside).encoder["preprocessing"]["steps"]
    assert steps == ["short:256", "jpeg:90"]


def test_copies_and_what_they_lack(made: tuple[Path, str]) -> None:
    path, model = made

    def opened() -> Workspace:
        return Workspace.open(path)

    follow(message_of(lambda: open_perturbed(opened(), "blur:1")), model)
    follow(message_of(lambda: stress(opened(), trained_on=("blur:1",))), model)
    copies = open_perturbed(opened(), "blur:1")
    assert set(copies.splits) == {"train", "val", "test"}
    follow(message_of(lambda: copies.heads), model)
    copies = open_perturbed(opened(), "blur:1")
    assert copies.heads.size
    assert set(copies.splits) == {"train", "val", "test"}  # what was there is kept
    again = perturb_command(opened(), parse_ops(["blur:1"])[0])
    assert "--heads" in shlex.split(again)


def test_two_generators_are_not_sent_to_a_search(made: tuple[Path, str]) -> None:
    path, model = made
    message = message_of(lambda: Atlas.open(Workspace.open(path)))
    assert "needs at least three generators" in message
    new = path.parent / "new"
    new.mkdir()
    for i in range(12):
        make_picture(3, i).save(new / f"{i}.png")
    follow(message, model, str(new))
    assert len(Workspace.open(path).domains.generators) == 3
    assert "search" in message_of(lambda: Atlas.open(Workspace.open(path)))


def test_a_folder_of_weights_is_asked_for_by_the_option_that_takes_it(
    made: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    path, model = made
    assert main(["text", "--workspace", str(path)]) == 2
    assert "say where it lies with --model local-dir:DIR" in capsys.readouterr().err
    follow(f"'{Workspace.open(path).command('text')}'", model)


def test_a_hub_out_of_reach_is_a_matter_of_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    encode = ["encode", "--workspace", str(ROOT / "assets" / "demo")]
    for name in ("hf-hub:apple/MobileCLIP-S1-OpenCLIP", "timm:vit_tiny_patch16_224"):
        more = ["--pretrained", "augreg_in21k"] if name.startswith("timm") else []
        assert main([*encode, "--as", "x", "--model", name, *more]) == 2
        assert "--model demo alone" in capsys.readouterr().err
    assert not (ROOT / "assets" / "demo" / "encoders" / "x").exists(), "nothing is left behind"


def test_the_one_file_that_a_hub_message_tells_to_download_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Followed with random weights, as nothing can be downloaded here."""
    from aigi_core.clip._open_clip import open_clip
    from aigi_core.clip.encoder import load_encoder

    message = message_of(lambda: load_encoder("ViT-B-32", "openai", "cpu"), HubError)
    told = re.search(r"download (\S+) of \S+ elsewhere and give --model (\S+) --", message)
    assert told
    assert open_clip.get_model_config(told[2])["quick_gelu"]  # what these weights were trained with
    model = Path(make_tiny_clip(tmp_path / "tiny").partition(":")[2])
    config = json.loads((model / "open_clip_config.json").read_text())["model_cfg"]
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: config)
    loaded = load_encoder(told[2], str(model / told[1]), "cpu")
    assert loaded.pretrained == told[1]


@pytest.mark.parametrize("inside", ["snapshots/0a1b2c", "", "plain"])
def test_all_files_of_a_hub_repository_are_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, inside: str
) -> None:
    """As the hub's cache holds them (links into blobs), or copied; transformers' files beside."""
    from aigi_core.clip.encoder import load_encoder

    message = message_of(lambda: load_encoder("hf-hub:acme/tiny", None, "cpu"), HubError)
    assert "download all files of https://huggingface.co/acme/tiny elsewhere into" in message
    model = make_tiny_clip(tmp_path / "tiny")
    made = {file.name: file.read_bytes() for file in (tmp_path / "tiny").iterdir()}
    files = made | {
        "model.safetensors": b"of transformers, with names of its own",
        "config.json": b'{"model_type": "clip"}',
        "tokenizer.json": b"{}",
        "README.md": b"",
        ".gitattributes": b"",
    }
    cache = tmp_path / "models--acme--tiny"
    for number, (name, content) in enumerate(files.items()):
        blob, link = cache / "blobs" / f"{number:040x}", cache / "snapshots" / "0a1b2c" / name
        for file in (blob, link):
            file.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link.symlink_to(f"../../blobs/{blob.name}")
    shutil.copytree(cache / "snapshots" / "0a1b2c", cache / "plain")
    told = re.search(r"give --model (\S+?)\.$", message)
    assert told
    loaded = load_encoder(told[1].replace("DIR", str(cache / inside)), None, "cpu")
    assert loaded.weights_sha256 == load_encoder(model, None, "cpu").weights_sha256
    assert len(loaded.encode_texts(["a photo of a cat"])) == 1
    assert "open_clip_model.safetensors is run with GELU" in caplog.text
    assert "quickgelu" not in caplog.text, "there is no such model"
    (cache / "snapshots" / "3d4e5f").mkdir()
    message = message_of(lambda: load_encoder(f"local-dir:{cache}", None, "cpu"))
    told = re.search(r"--model (\S+?)\.$", message)
    assert told and load_encoder(told[1], None, "cpu").weights_sha256 == loaded.weights_sha256


def test_commands_are_composed_in_one_place() -> None:
    """A command in a message is written by :mod:`aigi_core.commands`, so that nobody forgets the
    workspace, quotes or an option; texts about commands (docstrings, help) may name them.
    """
    mentions = {
        "aigi_core/commands.py",  # writes them
        "precompute/demo.py",  # records how the demo was made
        "precompute/methods.py",  # the same, below a table
        "precompute/__main__.py",  # its own name
        "pages/components.py",  # how what is shown was computed
        "ui/toolkit/workspaces.py",  # the help of a field
    }
    wrong = []
    for folder in ("aigi_core", "ui", "pages", "precompute", "reports"):
        for file in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(file.read_text("utf-8"))
            documents = {
                id(node.value)
                for node in ast.walk(tree)
                if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            }
            texts = [
                node
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in documents
                and "python -m precompute" in node.value
            ]
            if texts and str(file.relative_to(ROOT)) not in mentions:
                wrong.append(f"{file.relative_to(ROOT)}:{texts[0].lineno}")
    assert wrong == []


def test_every_job_that_is_advised_takes_its_options() -> None:
    """Each call of a command's writer in the source, parsed by the job's own parser."""
    import argparse
    from importlib import import_module

    from precompute.__main__ import JOBS

    seen = set()
    for folder in ("aigi_core", "ui", "pages", "precompute", "reports"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if not isinstance(node, ast.Call) or not node.args:
                    continue
                called = getattr(node.func, "id", getattr(node.func, "attr", ""))
                job = getattr(node.args[0], "value", None)
                if called != "command" or job not in JOBS:
                    continue
                parser = argparse.ArgumentParser()
                import_module(JOBS[job][0]).add_options(parser)
                known = {
                    option.removeprefix("--").replace("-", "_")
                    for action in parser._actions
                    for option in action.option_strings
                }
                named = {keyword.arg for keyword in node.keywords if keyword.arg}
                assert named <= known, f"{file}: {job} lacks {sorted(named - known)}"
                seen.add(job)
    assert {"add", "audit", "encode", "ingest", "perturb", "search", "text", "words"} <= seen


def test_names_are_quoted_for_a_shell() -> None:
    for odd in ("my images", "it's", 'a "b"', "$HOME", "naïve", "a&b"):
        assert shlex.split(command("text", workspace=Path(odd)))[-1] == odd
        assert shlex.split(build_command(odd))[7] == odd
