"""The wheel, installed away from the checkout, holds all that the app and the jobs need."""

import os
import re
import site
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from aigi_core import cli
from precompute.__main__ import JOBS
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of programs of an environment that has the wheel, and this one's dependencies."""
    pytest.importorskip("hatchling.build", reason="requirements-dev.txt is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    made = run([sys.executable, "-c", build, str(folder)], cwd=ROOT).stdout.splitlines()[-1]
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    programs = folder / "venv" / "bin"
    run([str(programs / "pip"), "install", "-q", "--no-deps", "--no-index", str(folder / made)])
    [packages] = (folder / "venv" / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return programs


def run(command: list[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run to the end; fails with what was printed."""
    done = subprocess.run(command, cwd=cwd, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_jobs_run_on_the_demo_that_comes_with_the_package(installed: Path, tmp_path: Path) -> None:
    where = "from aigi_core.assets import asset; print(asset('demo'))"
    demo = run([str(installed / "python"), "-c", where], tmp_path).stdout.strip()
    assert Path(demo).is_relative_to(installed.parent)
    assert run([str(installed / "aigi"), "verify", demo], tmp_path).stdout


def test_the_first_page_is_computed(installed: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from aigi_core.cli import app_folder\n"
        "sys.path.insert(0, str(app_folder()))\n"
        "from streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file(str(app_folder() / 'app.py'), default_timeout=120).run()\n"
        "print([*app.exception, *app.error], len(app.markdown) > 1)"
    )
    shown = run([str(installed / "python"), "-c", code], tmp_path).stdout.splitlines()[-1]
    assert shown == "[] True"


@pytest.fixture
def server(installed: Path, tmp_path: Path) -> Iterator[tuple[psutil.Process, int]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [str(installed / "aigi"), "app", f"--server.port={port}"],
            cwd=tmp_path,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HOME": str(tmp_path)},
            start_new_session=True,
        )
    try:
        yield psutil.Process(process.pid), port
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.wait(timeout=30)


def test_the_app_listens_on_this_machine_alone(server: tuple[psutil.Process, int]) -> None:
    process, port = server
    deadline = time.monotonic() + 120
    while True:
        try:
            assert urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5).status == 200
            break
        except OSError:
            assert time.monotonic() < deadline and process.is_running()
            time.sleep(0.2)
    sockets = [
        connection.laddr.ip
        for each in process.children(recursive=True)
        for connection in each.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert set(sockets) == {"127.0.0.1"}


def test_the_shipped_configuration_applies(installed: Path, tmp_path: Path) -> None:
    code = (
        "from streamlit import config\n"
        "from aigi_core.cli import app_folder\n"
        "config._main_script_path = str(app_folder() / 'app.py')\n"
        "config.get_config_options(force_reparse=True)\n"
        "print([config.get_option(name) for name in\n"
        "  ('server.address', 'browser.gatherUsageStats', 'client.showErrorDetails')])"
    )
    shown = run([str(installed / "python"), "-c", code], tmp_path).stdout.splitlines()[-1]
    assert shown == "['127.0.0.1', False, 'none']"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    listed = re.findall(r"^  (\S+ +)(\S.*)$", capsys.readouterr().out, re.M)
    assert [name.rstrip() for name, _ in listed] == ["app", "score", *JOBS]
    assert len({len(name) for name, _ in listed}) == 1, "two columns"
    assert cli.main(["nothing"]) == 2
    assert cli.main(["scroe"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "There is no command 'nothing'. 'aigi --help' lists all."
    assert said[1].startswith("There is no command 'scroe': did you mean score?")


def test_no_workspace_no_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["app", str(tmp_path / "nothing")]) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert cli.main(["app", str(tmp_path)]) == 2
    assert "it holds no workspace.json. Make one with 'python -m precompute" in (
        capsys.readouterr().err
    )
