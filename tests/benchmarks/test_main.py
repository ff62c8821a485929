"""The dispatcher of the benchmarks: names without importing, JSON last, clear exits."""

import json
import sys
from types import ModuleType

import pytest

from aigi_core.errors import AigiError
from benchmarks import __main__ as dispatcher


def module(monkeypatch: pytest.MonkeyPatch, main) -> None:
    fake = ModuleType("benchmarks.fake")
    fake.main = main
    monkeypatch.setitem(sys.modules, "benchmarks.fake", fake)
    monkeypatch.setattr(dispatcher, "names", lambda: {"fake": "A fake."})


def test_every_module_says_what_it_measures() -> None:
    assert all(line.endswith(".") for line in dispatcher.names().values())


def test_result_is_the_last_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(argv: list[str]) -> dict:
        print("on the way")
        return {"n": int(argv[1])}

    module(monkeypatch, main)
    assert dispatcher.main(["fake", "--n", "3"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"benchmark": "fake", "n": 3}


def test_mistakes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: list[str]) -> dict:
        raise AigiError("No images: give --images.")

    module(monkeypatch, main)
    assert dispatcher.main(["fake"]) == 2
    assert "give --images" in capsys.readouterr().err
    assert dispatcher.main(["none"]) == 2
    assert dispatcher.main([]) == dispatcher.main(["--help"]) == 0
    assert "fake: A fake." in capsys.readouterr().out
