"""Nothing that a stranger's file names is fetched or run before the user agrees."""

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.__main__ import main as score
from aigi_core.clip import consent, workspace_encoder
from aigi_core.clip.consent import (
    ConsentNeeded,
    agree,
    require_archive_agreed,
    require_weights_agreed,
)
from aigi_core.clip.preprocessing import Preprocessing
from aigi_core.errors import AigiError
from aigi_core.workspace import Workspace, read_manifest, write_manifest
from precompute.__main__ import main as precompute
from tests.factory import make_workspace
from tests.tiny_workspace import make_picture


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which nothing was agreed to."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(consent, "_IN_THIS_PROCESS", set())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that were asked of the hub, which gives none."""
    models: list[str] = []

    def refuse(model: str, *_: object) -> None:
        models.append(model)
        raise AigiError("the hub is out of reach")

    monkeypatch.setattr("aigi_core.clip.encoder.load_encoder", refuse)
    return models


def stranger(path: Path, **record: str) -> Path:
    """A workspace whose record names weights somewhere."""
    make_workspace(path, seed=17)  # other images, for the app's caches
    manifest = read_manifest(path)
    preprocessing = Preprocessing(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)).describe()
    named = {"model": "hf-hub:evil/weights", "pretrained": "", "preprocessing": preprocessing}
    named |= record
    write_manifest(path, manifest | {"encoder": manifest["encoder"] | named})
    return path


RECORDS = [
    {},
    {"model": "ViT-L-14", "pretrained": "openai"},
    {"model": "timm:vit_base_patch14_dinov2", "pretrained": "lvd142m"},
    {"pretrained": "untrained (seed 0)"},
]


@pytest.mark.parametrize("record", RECORDS, ids=str)
def test_weights_on_a_hub_wait_for_an_agreement(
    tmp_path: Path, asked: list[str], record: dict[str, str]
) -> None:
    workspace = Workspace.open(stranger(tmp_path / "w", **record))
    with pytest.raises(ConsentNeeded, match="fetched and loaded only when you agree") as refused:
        workspace_encoder.workspace_encoder(workspace)
    assert workspace.encoder["weights_sha256"][:16] in str(refused.value) and asked == []
    for _ in range(2):  # remembered
        with pytest.raises(AigiError, match="out of reach"):
            workspace_encoder.workspace_encoder(workspace, agreed=not asked)
    assert asked == [workspace.encoder["model"]] * 2
    other = workspace.encoder | {"weights_sha256": "f" * 64}
    with pytest.raises(ConsentNeeded):
        require_weights_agreed(other, "another workspace")


@pytest.mark.parametrize(
    "record",
    [
        {"model": "demo", "pretrained": ""},
        {"model": "ViT-B-32", "pretrained": "untrained (seed 0)"},
    ],
)
def test_what_no_hub_gives_needs_none(tmp_path: Path, record: dict[str, str]) -> None:
    require_weights_agreed(Workspace.open(stranger(tmp_path / "w", **record)).encoder, "w")


def test_weights_that_the_user_names_need_none(tmp_path: Path, asked: list[str]) -> None:
    workspace = Workspace.open(stranger(tmp_path / "w"))
    with pytest.raises(AigiError, match="out of reach"):
        workspace_encoder.workspace_encoder(workspace, "local-dir:mine")
    assert asked == ["local-dir:mine"]


def test_commands_ask_and_take_the_answer(
    tmp_path: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = stranger(tmp_path / "w")
    make_picture(1, 7).save(tmp_path / "a.png")
    (tmp_path / "own.txt").write_text("one phrase\n")
    for run, words in (
        (score, ["score", str(tmp_path / "a.png"), "--workspace", str(path)]),
        (precompute, ["text", "--workspace", str(path), "--phrases", str(tmp_path / "own.txt")]),
        (precompute, ["perturb", "--workspace", str(path), "--ops", "jpeg:50"]),
    ):
        assert run(words) == 2
        assert "--load-weights" in capsys.readouterr().err and asked == []
        assert run([*words, "--load-weights"]) == 2
        assert "out of reach" in capsys.readouterr().err and asked == ["hf-hub:evil/weights"]
        asked.clear()
        (tmp_path / "state" / "aigi-explorer" / "agreed-weights.txt").unlink()
        consent._IN_THIS_PROCESS.clear()


def test_an_archive_is_known_by_its_content(tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    file.write_bytes(b"one")
    with pytest.raises(ConsentNeeded, match="--allow-torchscript") as refused:
        require_archive_agreed(file)
    agree(refused.value.what)
    require_archive_agreed(file)
    file.write_bytes(b"another")
    with pytest.raises(ConsentNeeded):
        require_archive_agreed(file)


def test_the_page_asks_with_a_button(
    tmp_path: Path, open_app: Callable[..., AppTest], asked: list[str]
) -> None:
    path = stranger(tmp_path / "w")
    app = open_app(path, "inspect")
    make_picture(1, 7).save(tmp_path / "a.png")
    app.text_input(key="_inspect_path").set_value(str(tmp_path / "a.png")).run()
    assert not app.exception and asked == []
    assert "only when you agree" in app.warning[0].value
    (button,) = (one for one in app.button if one.label.startswith("I agree"))
    button.click().run()
    assert asked == ["hf-hub:evil/weights"] and "out of reach" in app.error[0].value
    assert [one for one in app.button if one.label.startswith("I agree")] == []
