"""What holds of stored results after images changed is kept; the rest is named, by the command and
on the Overview.
"""

import re
import shlex
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.arguments import Arguments
from aigi_core.audit.quality import KIND
from aigi_core.detectors.methods import twin
from aigi_core.detectors.presets import preset
from aigi_core.detectors.stored import load_detectors
from aigi_core.detectors.training import train
from aigi_core.results import outdated_jobs, publish
from aigi_core.transfer.imported import import_scores, imported_names, stored_import
from aigi_core.workspace import Workspace, read_manifest, verify, write_manifest
from precompute.__main__ import JOBS, main
from tests.pages.reading import noted, notes
from tests.searched import add_stream_maps

Open = Callable[..., AppTest]


@pytest.fixture(scope="module")
def filled(synthetic_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic workspace with maps of its heads, detectors, words and imported scores."""
    path = Path(shutil.copytree(synthetic_path, tmp_path_factory.mktemp("filled") / "w"))
    add_stream_maps(path)
    images = Workspace.open(path).images
    rng = np.random.default_rng(0)
    table = images[["path"]].assign(score=images["label"] + rng.standard_normal(len(images)))
    table.to_csv(path.parent / "scores.csv", index=False)
    scores = [str(path.parent / "scores.csv"), "--name", "mine", "--threshold", "0.5"]
    assert main(["import-scores", "--workspace", str(path), *scores]) == 0
    assert main(["detectors", "--workspace", str(path)]) == 0
    assert main(["words", "--workspace", str(path), "--draws", "50"]) == 0
    return path


def commands_of(printed: str) -> list[list[str]]:
    """Every command in what a job printed, each as its job's parser takes it; FILE and DIR are the
    only words left to fill in.
    """
    commands = [
        shlex.split(line)[3:] for line in re.findall(r"python -m precompute [^'\n]+", printed)
    ]
    for job, *options in commands:
        parser = Arguments()
        import_module(JOBS[job][0]).add_options(parser)
        parser.parse_args(options)
        unknown = [word for word in options if word.isupper() and word not in ("FILE", "DIR")]
        assert not unknown, (job, options)
    return commands


def sets_of(workspace: Workspace) -> list[tuple[str]]:
    return [(name,) for name in workspace.domains.generators]


def test_removing_a_generator_keeps_the_others_detectors_and_imported_scores(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], open_app: Open
) -> None:
    out = Path(shutil.copytree(filled, tmp_path / "w"))
    before = Workspace.open(out)
    old = load_detectors(before, sets_of(before)) or []
    weights = {one.training_set: one.weights for one in old}
    assert outdated_jobs(before) == [] and len(weights) == 4
    scores = stored_import(before, "mine").arrays("scores.npz")["test"]
    test = before.images[before.images["split"] == "test"].reset_index()
    capsys.readouterr()
    assert main(["remove", "--workspace", str(out), "--generators", "gamma-diff"]) == 0
    printed = capsys.readouterr().out
    assert "3 of 4 detectors, imported scores (mine)." in printed
    command = f"python -m precompute words --workspace {out}"
    assert f"To be computed again, since the images changed:\n{command}\n" in printed
    after = Workspace.open(out)
    kept = load_detectors(after, sets_of(after))
    assert kept is not None and len(kept) == 3
    anew = train(after, sets_of(after), protocol=preset("ours").training)
    for one, trained in zip(kept, anew, strict=True):
        np.testing.assert_array_equal(one.weights, weights[one.training_set])
        seen_less = twin(after, one).weights  # what thresholds and probabilities rest on
        assert not np.allclose(seen_less, one.weights)
        np.testing.assert_allclose(seen_less, twin(after, trained).weights, atol=1e-6)
    np.testing.assert_array_equal(
        stored_import(after, "mine").arrays("scores.npz")["test"],
        scores[(test["generator"] != "gamma-diff").to_numpy()],
    )
    assert verify(out) == [] and outdated_jobs(after) == ["words"]
    app = open_app(out, "overview")
    assert noted(app, "changed since these jobs ran: words"), notes(app)
    assert command in [code.value for code in app.code]


def test_divided_anew_nothing_of_it_holds_and_all_is_named(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(filled, tmp_path / "w"))
    capsys.readouterr()
    assert main(["splits", "--workspace", str(out), "--seed", "5"]) == 0
    printed = capsys.readouterr().out
    again = commands_of(printed)
    assert [job for job, *_ in again] == ["detectors", "import-scores", "words"]
    assert again[1][3:] == ["--name", "mine", "--threshold", "0.5", "FILE"]
    assert "goes to import-detector again" in printed
    after = Workspace.open(out)
    assert load_detectors(after, sets_of(after)) is None and imported_names(after) == []
    assert outdated_jobs(after) == ["detectors", "import-scores", "words"]
    scores = str(filled.parent / "scores.csv")
    for job, *options in again:
        words = [scores if word == "FILE" else word for word in options]
        assert main([job, *words, *(["--draws", "50"] if job == "words" else [])]) == 0
    assert outdated_jobs(after) == [] and imported_names(after) == ["mine"]


def test_lost_scores_are_named_as_they_can_be_imported_again(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = Path(shutil.copytree(filled, tmp_path / "w")), tmp_path / "part"
    before = Workspace.open(source)
    gone, *left = before.domains.generators
    scores = np.random.default_rng(0).standard_normal(len(before.images))
    told = {"trained_on": [gone, left[0]], "reading": "reversed"}
    import_scores(before, "one", scores, threshold=-1e-5, **told)  # type: ignore[arg-type]
    import_scores(before, "all", scores, threshold=0.0, trained_on=left, reading="as is")
    import_scores(before, "tuned", scores, threshold=0.0, reading="as is", seconds={"train": 1.0})
    capsys.readouterr()
    options = ["--out", str(out), "--generators", *left, "--seed", "5"]
    assert main(["subset", "--workspace", str(source), *options]) == 0
    printed = capsys.readouterr().out
    again = {words[4]: words[3:] for words in commands_of(printed) if words[0] == "import-scores"}
    assert list(again) == ["mine", "one"]  # what a job computed itself is that job's affair
    known = ["--name", "one", "--threshold", "-0.00001", "--trained-on", left[0], "--reversed"]
    assert again["one"] == [*known, "FILE"]
    assert "No longer of use: the scores of all, which has seen all generators" in printed


def test_a_merge_takes_the_banks_of_both(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, merged = (tmp_path / name for name in ("a", "b", "merged"))
    for part, name in ((a, "beta-diff"), (b, "gamma-diff")):
        options = ["--out", str(part), "--generators", name]
        assert main(["subset", "--workspace", str(filled), *options]) == 0
        write_manifest(part, read_manifest(part) | {"image_root": str(tmp_path)})
    banks = Workspace.open(b).text_banks
    manifest = read_manifest(a)
    files = {k: v for k, v in manifest["files"].items() if not k.startswith("text/")}
    shutil.rmtree(a / "text")
    write_manifest(a, manifest | {"files": files, "text": {}})
    capsys.readouterr()
    assert main(["merge", "--workspaces", str(a), str(b), "--out", str(merged)]) == 0
    printed = capsys.readouterr().out
    assert f"text banks ({', '.join(banks)})" in printed
    assert "text" not in [job for job, *_ in commands_of(printed)]
    after = Workspace.open(merged)
    assert banks and after.text_banks == banks and verify(merged) == []
    for name in banks:
        assert after.text_digest(name) == Workspace.open(b).text_digest(name)


def test_a_subset_takes_along_what_holds(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "part"
    names = ["--generators", "beta-diff", "delta-ar"]
    assert main(["subset", "--workspace", str(filled), "--out", str(out), *names]) == 0
    printed = capsys.readouterr().out
    assert "2 of 4 detectors, imported scores (mine)." in printed
    assert f"changed:\npython -m precompute words --workspace {out}\n" in printed
    after = Workspace.open(out)
    assert verify(out) == [] and "stream_maps" in after.decomposition
    assert load_detectors(after, sets_of(after)) is not None and imported_names(after) == ["mine"]


def test_scores_of_one_detector_a_generator_follow_their_generators(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(filled, tmp_path / "w"))
    before = Workspace.open(out)
    scores = np.random.default_rng(0).standard_normal((4, len(before.images)))
    seconds = {"train": 7.0, "score": 1.0}
    import_scores(before, "each", scores, threshold=0.0, reading="as is", seconds=seconds)
    capsys.readouterr()
    assert main(["remove", "--workspace", str(out), "--generators", "gamma-diff"]) == 0
    assert "imported scores (each, mine)" in capsys.readouterr().out
    after = Workspace.open(out)
    kept = stored_import(after, "each")
    old = list(before.domains.generators)
    rows = [old.index(name) for name in after.domains.generators]
    still = (before.images["split"] == "test") & (before.images["generator"] != "gamma-diff")
    np.testing.assert_allclose(kept.arrays("scores.npz")["test"], scores[rows][:, still])
    assert kept.about["seconds"] == seconds


def test_a_merge_keeps_the_detectors_that_hold_and_names_what_does_not(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {"a": ["beta-diff", "delta-ar"], "b": ["gamma-diff"]}
    for name, generators in parts.items():
        options = ["--out", str(tmp_path / name), "--generators", *generators]
        assert main(["subset", "--workspace", str(filled), *options]) == 0
    a, b, merged = (tmp_path / name for name in ("a", "b", "merged"))
    for part in (a, b):
        manifest = read_manifest(part)
        write_manifest(part, manifest | {"image_root": str(tmp_path)})
    one = Workspace.open(a)
    publish(Workspace.open(b), KIND, {}, {})
    shutil.copytree(b, tmp_path / "other")
    shutil.copytree(tmp_path / "other", b / "encoders/other")
    weights = {d.training_set: d.weights for d in load_detectors(one, sets_of(one)) or []}
    assert len(weights) == 2
    capsys.readouterr()
    assert main(["merge", "--workspaces", str(a), str(b), "--out", str(merged)]) == 0
    printed = capsys.readouterr().out
    assert "2 of 2 detectors." in printed and "new: 1 detector (gamma-diff)." in printed
    again = commands_of(printed)
    # What only the second one had is named, too.
    assert [job for job, *_ in again] == ["import-scores", "quality", "encode"]
    assert again[-1][3:6] == ["--as", "other", "--model"]
    after = Workspace.open(merged)
    kept = load_detectors(after, sets_of(after))
    assert kept is not None and len(kept) == 3 and verify(merged) == []
    for detector in kept:
        if detector.training_set in weights:
            np.testing.assert_array_equal(detector.weights, weights[detector.training_set])
