"""The dispatcher: lazy imports, exit codes, one sentence instead of a traceback."""

import argparse
import errno
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from aigi_core.arguments import Arguments
from aigi_core.errors import AigiError
from precompute import __main__ as dispatcher
from precompute.options import add_shared, file_to_write


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A job of this test, registered beside another whose module must never be imported."""
    module = ModuleType("job_of_this_test")
    module.add_options = lambda parser: parser.add_argument("--name", default="you")
    monkeypatch.setitem(sys.modules, "job_of_this_test", module)
    monkeypatch.setattr(
        dispatcher,
        "JOBS",
        {"greet": ("job_of_this_test", "says hello"), "other": ("no_such_module", "is heavy")},
    )
    return module


def test_runs_only_the_job_asked_for(job, capsys):
    job.run = lambda args: print(f"hello {args.name}") or 7
    assert dispatcher.main(["greet", "--name", "Ada"]) == 7
    assert capsys.readouterr().out == "hello Ada\n"


def test_help_lists_every_job_without_importing_it(job, capsys):
    assert dispatcher.main(["--help"]) == 0
    assert "says hello" in (out := capsys.readouterr().out) and "is heavy" in out


def test_without_a_job_all_are_listed_in_two_columns(job, capsys):
    assert dispatcher.main([]) == 2
    assert capsys.readouterr().err.endswith("jobs:\n  greet  says hello\n  other  is heavy\n")


HELP = "'python -m precompute greet --help' lists the options.\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nonsense"], "There is no job 'nonsense'. 'python -m precompute --help' lists all jobs."),
        (["grete"], "There is no job 'grete': did you mean greet? 'python -m precompute"),
        (["greet", "--unlike"], f"There is no option --unlike. {HELP}"),
        (["greet", "--nmae=x"], f"There is no option --nmae: did you mean --name? {HELP}"),
        (["greet", "-name", "x"], f"There is no option -name: did you mean --name? {HELP}"),
        (["greet", "--name"], f"Expected one value after --name. {HELP}"),
        (["greet", "x", "--", "--y"], f"Nothing can be done with 'x -- --y'. {HELP}"),
        (["greet", "--count", "x"], f"Expected a whole number after --count, got 'x'. {HELP}"),
        (["greet", "--batch-size", "0"], "--batch-size: expected a whole number of at least 1"),
        (["greet", "--batch-size", "x"], "--batch-size: expected a whole number of at least 1"),
        (["greet", "--how", "c"], "Expected one of 'a', 'b' after --how, got 'c'."),
    ],
)
def test_wrong_usage_is_one_sentence_with_the_nearest_right_name(job, capsys, arguments, sentence):
    def add_options(parser):
        add_shared(parser, "batch-size")
        parser.add_argument("--name")
        parser.add_argument("--count", type=int)
        parser.add_argument("--how", choices=["a", "b"])

    job.add_options = add_options
    assert dispatcher.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith(sentence) and said.count("\n") == 1


def test_a_mistyped_option_is_named_before_the_one_that_is_lacking(job, capsys):
    job.add_options = lambda parser: parser.add_argument("--workspace", required=True)
    assert dispatcher.main(["greet", "--wrkspace", "w"]) == 2
    assert "did you mean --workspace?" in capsys.readouterr().err
    assert dispatcher.main(["greet"]) == 2
    assert capsys.readouterr().err == f"Expected --workspace as well. {HELP}"


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (AigiError("Expected a, got b: do c."), 2, "Expected a, got b: do c.\n"),
        (KeyboardInterrupt(), 130, "Interrupted; what was published before stays as it was.\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "w/x"),
            2,
            "Could not write w/x: No space left on device.\n",
        ),
    ],
)
def test_expected_errors_are_one_sentence(job, capsys, error, code, sentence):
    def run(args):
        raise error

    job.run = run
    assert dispatcher.main(["greet"]) == code
    assert capsys.readouterr().err == sentence


def test_unexpected_errors_keep_their_traceback(job):
    def run(args):
        raise OSError(errno.EIO, "odd")

    job.run = run
    with pytest.raises(OSError, match="odd"):
        dispatcher.main(["greet"])


def test_help_in_a_fresh_process_loads_neither_torch_nor_pandas():
    code = (
        "import sys, contextlib\nfrom precompute.__main__ import main\nwith"
        " contextlib.suppress(SystemExit): main(['--help'])\nassert not {'torch', 'open_clip',"
        " 'pandas', 'streamlit'} & set(sys.modules), sorted(sys.modules)\n"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        ).returncode
        == 0
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--workspace", "nowhere"], "There is no workspace at nowhere"),
        (["--workspace=nowhere"], "There is no workspace at nowhere"),
        (["--workspaces", "nowhere", "else"], "There is no workspace at nowhere"),
        (["--images", "nowhere"], "Expected a folder of images, but nowhere is not there"),
    ],
)
def test_a_wrong_path_is_refused_before_the_job_is_loaded(job, capsys, arguments, sentence):
    """The module of the job ``other`` cannot be imported at all."""
    assert dispatcher.main(["other", *arguments]) == 2
    assert capsys.readouterr().err.startswith(sentence)


@pytest.mark.parametrize(
    "arguments",
    [["ingest", "--out"], ["encode", "--workspace"], ["audit", "--workspace"]],
    ids=lambda arguments: arguments[0],
)
def test_a_workspace_lies_at_no_address(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatcher.main([*arguments, "s3://bucket/w"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "expected a folder, got the address s3://bucket/w" in said and "locks" in said


@pytest.mark.parametrize("job", ["ingest", "encode", "audit"])
def test_images_lie_at_an_address_that_is_known(
    job: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatcher.main([job, "--images", "nowhere://bucket/images"]) == 2
    assert "nowhere:// cannot be read" in " ".join(capsys.readouterr().err.split())


LATER = {"--val", "--test", "--min-images"}
"""Numbers that are checked together, before anything is opened (``refuse_numbers``)."""


@pytest.mark.parametrize("name", dispatcher.JOBS)
def test_no_option_of_a_job_takes_any_number(name: str) -> None:
    """A number that no run can have is refused as the command is read, not hours later."""
    parser = argparse.ArgumentParser()
    import_module(dispatcher.JOBS[name][0]).add_options(parser)
    plain = {one.option_strings[0] for one in parser._actions if one.type in (int, float)}
    assert plain <= LATER


@pytest.mark.parametrize(
    ("job", "options", "said"),
    [
        ("build", "--words 0", "a whole number of at least 1, got 0"),
        ("build", "--seed -1", "a whole number of at least 0, got -1"),
        ("generate", "--limit -5", "a whole number of at least 1, got -5"),
        ("generate", "--guidance nan", "a number, got nan"),
        ("finetune", "--lr 0", "a number above 0, got 0"),
        ("map", "--perplexity x", "a number, got x"),
        ("audit", "--draws 3", "at least 20 draws, got 3"),
        ("methods", "--table nowhere/board.md", "in a folder that is there, got nowhere/board.md"),
    ],
)
def test_a_bad_value_is_refused_before_the_job_runs(job: str, options: str, said: str) -> None:
    parser = Arguments()
    import_module(dispatcher.JOBS[job][0]).add_options(parser)
    with pytest.raises(AigiError, match=said):
        parser.parse_args(options.split())


def test_a_file_to_write_is_no_folder(tmp_path: Path) -> None:
    assert file_to_write(str(tmp_path / "board.md")) == tmp_path / "board.md"
    with pytest.raises(argparse.ArgumentTypeError, match="expected a file to write"):
        file_to_write(str(tmp_path))
