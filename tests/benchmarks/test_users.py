"""The sessions of ``python -m benchmarks trust --only users`` do what a page in a browser does."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from streamlit.proto.ButtonGroup_pb2 import ButtonGroup
from streamlit.proto.Checkbox_pb2 import Checkbox
from streamlit.proto.PlotlyChart_pb2 import PlotlyChart
from streamlit.proto.Selectbox_pb2 import Selectbox
from streamlit.proto.Slider_pb2 import Slider

from benchmarks._pages import visit_pages
from benchmarks._server import Memory
from benchmarks._users import try_users
from benchmarks._visitor import moved


def test_sessions_open_pages_and_move_controls(
    synthetic_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> dict:
        return try_users(
            2,
            0.1,
            seed=1,
            folder=tmp_path,
            pause=0.05,
            workspace=synthetic_path,
            stems=("overview", "gallery"),
        )

    with ThreadPoolExecutor(1) as pool:  # the browser tests of the same run hold an event loop here
        found = pool.submit(run).result()
    names = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()]
    assert found["errors"] == 0, found["what"]
    assert found["actions"] >= 4 and found["rss_mb"] > 50
    assert 0 < found["median_seconds"] <= found["p95_seconds"]
    assert {"overview", "gallery"} <= {name.split()[0] for name in names}
    assert any(name.startswith("gallery ") for name in names), names


FORKS = """
import os, sys
kept = b"x" * (200 * 2**20)
if os.fork():
    print("both are there", flush=True)
sys.stdin.read()
"""


def test_memory_that_a_process_borrows_while_it_starts_counts_once() -> None:
    """It is shown as its parent until it runs its own program: a peak of 2,200 MB was no more than
    a server of 760 that had started one."""
    with subprocess.Popen(
        [sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stdout.readline() == b"both are there\n"
        memory = Memory(process.pid)
        memory.look_closely()
        process.communicate()
    assert 200 <= memory.rss < 300
    assert memory.pss < 300


def test_a_control_is_moved_to_another_value() -> None:
    rng = np.random.default_rng(0)
    select = Selectbox(id="s", options=["a", "b"], raw_value="a", set_value=True)
    assert moved("selectbox", select, None, rng).string_value == "b"
    assert (
        moved("selectbox", select, moved("selectbox", select, None, rng), rng).string_value == "a"
    )
    assert moved("selectbox", Selectbox(id="s", options=["a"], raw_value="a"), None, rng) is None
    assert moved("checkbox", Checkbox(id="c", default=True), None, rng).bool_value is False
    group = ButtonGroup(id="g", options=[ButtonGroup.Option(content=c) for c in "xy"])
    group.raw_values.append("x")
    assert list(moved("button_group", group, None, rng).string_array_value.data) == ["y"]
    slider = Slider(id="l", min=0, max=10, step=5, default=[5], type=Slider.SLIDER)
    assert moved("slider", slider, None, rng).double_array_value.data[0] in (0, 5, 10)
    chart = PlotlyChart(id="p", spec='{"data": [{"customdata": [["one"]]}, {"x": [1]}]}')
    assert '"customdata": ["one"]' in moved("plotly_chart", chart, None, rng).string_value
    assert moved("plotly_chart", PlotlyChart(spec='{"data": []}'), None, rng) is None


def test_pages_are_visited_in_seconds_of_the_processors(
    synthetic_path: Path, tmp_path: Path
) -> None:
    asked = (synthetic_path, tmp_path, ("overview", "gallery"), 2, 1)
    with ThreadPoolExecutor(1) as pool:  # as above
        found = pool.submit(visit_pages, *asked).result()
    assert found["page_errors"] == []
    assert set(found["page_core_seconds"]) == {"overview", "gallery"}
    assert all(first > 0 for first, _ in found["page_core_seconds"].values())
    assert found["warm_core_median_seconds"] > 0 and found["sessions_private_mb"] > 50
