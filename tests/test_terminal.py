"""What reaches a terminal, and a file in its place."""

import io
import os
import sys
import time
from pathlib import Path

import pytest
from tqdm import tqdm

from aigi_core import terminal
from aigi_core.terminal import PrintableStream, printable, progress_line, progress_options
from precompute.__main__ import main


def test_names_cannot_steer_a_terminal() -> None:
    assert printable("a\x1b[31mred\r\n\u202e") == "a\\x1b[31mred\\r\\n\\u202e"
    assert printable("caf\udce9", keep="\n") == "caf\\udce9"
    assert printable("plain \u56fe", keep="") == "plain \u56fe"


def test_no_job_passes_on_what_a_folder_is_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "a\x1b]0;title\x07\x1b[2J"
    bad.mkdir()
    assert main(["verify", str(bad)]) == 2
    assert main(["ingest", "--images", str(bad), "--out", str(tmp_path / "w")]) == 2
    printed = capsys.readouterr()
    assert "\\x1b" in printed.err and "\x1b" not in printed.err + printed.out
    assert "\x07" not in printed.err + printed.out


def test_a_line_stands_in_a_file_as_it_ends(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    with file.open("w") as log:
        print("one\ntwo", file=PrintableStream(log))
        assert file.read_text() == "one\ntwo\n"


def test_a_reader_who_left_ends_no_job() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with io.TextIOWrapper(os.fdopen(writing, "wb")) as pipe:
        stream = PrintableStream(pipe)
        for line in ("one", "two", "three"):
            print(line, file=stream)


def test_progress_in_a_file_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in tqdm(range(50), **progress_options()):
        pass
    with progress_line() as show:
        show("one of three")
    assert capsys.readouterr().err == ""  # it took less than half a minute
    monkeypatch.setattr(terminal, "SECONDS_A_LINE", 0.002)
    for _ in tqdm(range(3), desc="Reading", **progress_options()):
        time.sleep(0.001)
    lefts: list[float] = []
    with progress_line() as show:
        show("one of three", 600)
        monkeypatch.setattr(terminal, "time_left", lambda left: lefts.append(left) or "")
        time.sleep(0.05)
    assert len(lefts) > 2 and 600 > lefts[0] > lefts[-1]  # counted down while a step is at work
    with progress_line() as show:
        show("two of \x1bthree")
        time.sleep(0.05)  # one long step: lines go on
    printed = capsys.readouterr().err
    assert "Reading" in printed and printed.count("two of \\x1bthree (0.0 min)\n") > 2
    assert "\r" not in printed and "\x1b" not in printed and not sys.stderr.isatty()
