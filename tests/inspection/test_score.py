"""``python -m aigi_core score``: its numbers are the library's, each bad file has its own outcome,
exit codes say how it went.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from aigi_core.__main__ import main
from aigi_core.calibration import nearest_rate
from aigi_core.detectors import Protocol, train
from aigi_core.errors import AigiError
from aigi_core.inspection import score as scoring
from aigi_core.inspection.panel import build_panel
from aigi_core.inspection.score import choose_panel
from aigi_core.workspace import Workspace
from precompute import detectors as detectors_job
from precompute.detectors import keep_detectors
from tests.precompute.corpus import encoded
from tests.tiny_workspace import make_picture

Run = Callable[..., tuple[int, str, str]]
NAME = "<script>alert(1)<_script>\x1b[31m.png"


@pytest.fixture
def score(tiny: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*options: object) -> tuple[int, str, str]:
        code = main(
            [
                "score",
                "--workspace",
                str(tiny[0]),
                "--model",
                tiny[1],
                "--device",
                "cpu",
                "--rate",
                ".2",
                *map(str, options),
            ]
        )
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def folder(tmp_path: Path, tiny: tuple[Path, str]) -> Path:
    """A new picture, one of the workspace's own, a truncated one and a text that says it is a
    JPEG.
    """
    workspace = Workspace.open(tiny[0])
    images = tmp_path / "images"
    images.mkdir()
    (images / NAME).write_bytes(encoded(make_picture(2, 900)))
    shutil.copy(
        Path(workspace.manifest["image_root"]) / workspace.images["path"][0], images / "own.png"
    )
    (images / "cut.png").write_bytes(encoded(make_picture(0, 1))[:300])
    (images / "text.jpg").write_text("no picture")
    return images


def parsed(out: str) -> dict:
    """What ``--json`` says of all files, and of each."""
    about, *images = map(json.loads, out.splitlines())
    return {**about, "images": images}


def test_outcomes_as_json(score: Run, folder: Path, tiny: tuple[Path, str]) -> None:
    code, out, _ = score("--detector", "one", folder, "--json")
    assert code == 0 and out.isascii()
    text = parsed(out)
    result = {Path(image["path"]).name: image for image in text["images"]}
    assert result["cut.png"]["outcome"] == result["text.jpg"]["outcome"] == "left out"
    assert result["cut.png"]["reason"].startswith("truncated") and result["text.jpg"][
        "reason"
    ].startswith("not an image")
    workspace = Workspace.open(tiny[0])
    C = train(workspace, ["one"])[0].C
    detector = train(workspace, ["one"], protocol=Protocol((C,), refit=False))[0]
    own, panel = result["own.png"], build_panel(workspace, [detector])
    expected = detector.decision_function(workspace, np.array([0]))[0]
    assert own["logit"] == pytest.approx(expected, abs=1e-4)
    assert own["probability"] == pytest.approx(
        panel.calibrations[0].probability(expected), abs=1e-4
    )
    assert (
        own["split_in_workspace"] == workspace.domains.split[0]
        and result[NAME]["split_in_workspace"] == ""
    )
    assert own["copy_of"] is None, "it is the workspace's own file"
    with Image.open(folder / "own.png") as picture:
        picture.save(folder / "again.png", compress_level=0)
    again = parsed(score("--detector", "one", folder / "again.png", "--json")[1])["images"][0]
    assert again["sha256"] != own["sha256"] and again["split_in_workspace"] == ""
    path, split = workspace.images.loc[0, ["path", "split"]]
    assert again["copy_of"] == {"path": path, "split": split, "p": 0.0}
    assert path in score("--detector", "one", folder / "again.png")[1]
    assert own["nearest_cosine"] < 1 - 1e-6, "an image is not its own neighbour"
    assert text["detector"] == "one" and text["trained_on"] == [["one"]] and text["rate"] == 0.2
    assert (
        text["calibration"]["n_real"]
        == (workspace.domains.labels[workspace.domains.split == "val"] == 0).sum()
    )


def test_saved_detectors_say_the_same(
    score: Run, folder: Path, tiny: tuple[Path, str], tmp_path: Path
) -> None:
    train(Workspace.open(tiny[0]), ["two"])[0].save(tmp_path / "saved" / "d")
    outputs = [
        parsed(score("--detector", detector, folder / NAME, "--json")[1])["images"]
        for detector in (
            "two",
            tmp_path / "saved",
            tmp_path / "saved" / "d",
            tmp_path / "saved" / "d.safetensors",
        )
    ]
    assert all(output == outputs[0] for output in outputs) and outputs[0][0]["outcome"] == "scored"


def test_lines_cannot_steer_a_terminal(score: Run, folder: Path) -> None:
    code, out, _ = score(folder)
    assert code == 0 and len(out.splitlines()) == 4 and "\x1b" not in out and "\\x1b[31m" in out
    assert out.count("left out") == 2


def test_nothing_scored_is_exit_code_one_without_loading_an_encoder(
    score: Run, folder: Path
) -> None:
    code, out, _ = score(
        "--model", "local-dir:/nowhere", folder / "text.jpg", folder / "cut.png", "--json"
    )
    assert code == 1 and [image["outcome"] for image in parsed(out)["images"]] == ["left out"] * 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--detector", "nobody"), "a generator of the workspace (one, two)"),
        (("--rate", "0"), "between 0 and 1"),
        (("--prior", "0"), "between 0 and 1"),
        (("--model", "local-dir:/nowhere"), "/nowhere"),
        (("--workspace", "/nowhere"), "no workspace at"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_two(
    score: Run, folder: Path, options: tuple, says: str
) -> None:
    code, out, err = score(folder / "own.png", *options)
    assert code == 2 and out == "" and says in err and len(err.splitlines()) == 1


def test_an_unreachable_rate_becomes_the_nearest_and_is_reported(score: Run, folder: Path) -> None:
    code, out, err = score(folder / "own.png", "--json", "--rate", ".001")
    about = parsed(out)
    fewest = min(about["calibration"]["n_real"], about["calibration"]["n_fake"])
    assert (
        code == 0 and about["rate"] == nearest_rate(0.001, fewest) and about["rate_asked"] == 0.001
    )
    assert "0.1% needs 999 " in about["rate_note"] and about["rate_note"] in err
    assert about["images"][0]["verdict"] in ("fake", "real", "uncertain")
    assert "needs" not in score(folder / "own.png")[2]
    assert about["abstains"] == (about["real_below"] < about["fake_above"])
    assert ("every image gets a call" in err) != about["abstains"]


def test_all_together_are_read_where_the_job_has_kept_them(
    score: Run,
    tiny: tuple[Path, str],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained = parsed(score(folder, "--json")[1])
    path = shutil.copytree(tiny[0], tmp_path / "w")
    assert keep_detectors(path)  # of few images it keeps no panel: detectors alone are read
    by_stored = score(folder, "--json", "--workspace", path)
    monkeypatch.setattr(detectors_job, "SCORED", 10)
    assert keep_detectors(path)
    monkeypatch.setattr(scoring, "build_panel", lambda *_: pytest.fail("computed once more"))
    assert score(folder, "--json", "--workspace", path) == by_stored
    read = parsed(by_stored[1])
    assert read["calibration"] == pytest.approx(trained["calibration"], rel=1e-6, abs=1e-8)
    for one, other in zip(read["images"], trained["images"], strict=True):
        assert one["outcome"] == other["outcome"]
        if one["outcome"] == "scored":
            assert one["logit"] == pytest.approx(other["logit"], rel=1e-6)


def test_all_is_refused_where_a_generator_is_called_so() -> None:
    workspace = SimpleNamespace(domains=SimpleNamespace(generators=("all", "one")))
    with pytest.raises(AigiError, match="'all detectors together' for all"):
        choose_panel(workspace, "all")


def test_a_missing_path_refuses_itself_alone(score: Run, folder: Path) -> None:
    code, out, _ = score(folder / "own.png", "/nowhere/a.png", "--json")
    images = {image["path"]: image for image in parsed(out)["images"]}
    assert code == 0 and images[str(folder / "own.png")]["outcome"] == "scored"
    assert "no file or folder" in images["/nowhere/a.png"]["reason"]
    assert score("/nowhere/a.png")[0] == 1


def test_weights_of_another_model_are_refused(score: Run, folder: Path, tmp_path: Path) -> None:
    from tests.tiny_clip import make_tiny_clip

    code, _, err = score("--model", make_tiny_clip(tmp_path / "other", seed=3), folder / "own.png")
    assert code == 2 and "would not share a space" in err


def test_an_image_of_one_colour_gets_no_verdict(score: Run, tmp_path: Path) -> None:
    for name, picture in (
        ("dot.png", Image.new("RGB", (1, 1), "red")),
        ("clear.png", Image.new("RGBA", (60, 60), (9, 9, 9, 0))),
    ):
        picture.save(tmp_path / name)
    code, out, _ = score("--json", tmp_path)
    assert code == 0
    for image in parsed(out)["images"]:
        assert image["verdict"] == "no verdict" and "have no meaning" in image["note"]
