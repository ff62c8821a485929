"""The running app in a headless browser: first page, every page and control cold and warm, memory
of 1 and 20 sessions.

On the embedded demo, or another workspace with its searches. A page is drawn when its script has
ended and every figure stands; a control's time runs from the key or click to that moment, and warm
means that the server has shown the same before. The first page is held against a bare one with a
single plotly figure, in turns. Controls are found on the page: every select box, toggle, slider
and segmented control, and the matrix's cells. Memory is the resident set of the
server and its children, at its peak. Needs the browser tests' tools.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import Browser, Error, Locator, sync_playwright

from aigi_core.errors import AigiError
from benchmarks._app_in_browser import DRAWN, App
from benchmarks._server import FLAGS, OFFLINE, Server, chromium, serving
from ui.toolkit.router import PAGES

PATIENCE = 90_000
"""Milliseconds after which a page counts as an error."""
KINDS = {
    "stSelectbox": "select",
    "stCheckbox": "toggle",
    "stSlider": "slider",
    "stButtonGroup": "segmented",
}
FIND = """([place, kinds]) => {
 const boxes = [...document.querySelectorAll(`[data-testid=${place}] [class*=st-key-]`)]
 return boxes.flatMap(box => {
  const widget = box.querySelector(':scope > [data-testid]')?.dataset.testid
  const key = [...box.classList].find(c => c.startsWith('st-key-'))
  return kinds.includes(widget) && box.checkVisibility() ? [[key, widget]] : []
})}"""
Act = Callable[[int], None]
"""Move a control there (even) and back (odd)."""


def main(argv: Sequence[str]) -> dict[str, Any]:
    """Measure; ``warm_median_seconds`` is the median over pages and controls of their own warm
    medians.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks app", description=__doc__)
    parser.add_argument("--workspace", type=Path, help="the embedded demo by default")
    parser.add_argument(
        "--repeats", type=int, default=3, help="warm measurements of each page and control"
    )
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=4, help="pages that each session opens")
    parser.add_argument(
        "--of-a-kind", type=int, default=99, help="controls of a kind that are moved on a page"
    )
    parser.add_argument("--pages", nargs="+", choices=list(PAGES), default=list(PAGES))
    args = parser.parse_args(argv)
    if not (executable := chromium()):
        raise AigiError(
            "There is no Chromium: install Debian's chromium, or set AIGI_CHROMIUM to one."
        )
    with (
        tempfile.TemporaryDirectory() as folder,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=executable, args=[*FLAGS, OFFLINE]) as browser,
    ):
        first = [
            first_page(browser, args.workspace, Path(folder), args.pages[0])
            | {"bare_page_seconds": bare_page(browser, Path(folder))}
            for _ in range(args.repeats)
        ]
        figures = {name: round(median(f[name] for f in first), 3) for name in first[0]}
        figures["first_page_ratio"] = round(
            figures["first_page_seconds"] / figures["bare_page_seconds"], 2
        )
        with serving(args.workspace, Path(folder)) as (server, memory):
            figures |= pages_and_controls(
                browser, server.url, args.pages, args.repeats, args.of_a_kind
            )
            figures["session1_rss_mb"] = memory.rss
        with serving(args.workspace, Path(folder)) as (server, memory):
            figures |= crowd(browser, server, args.pages, args.sessions, rounds=args.rounds)
            figures[f"sessions{args.sessions}_rss_mb"] = memory.rss
    return figures | {"repeats": args.repeats}


def session(browser: Browser, url: str) -> App:
    app = App(browser, url)
    app.page.set_default_timeout(PATIENCE)
    return app


def first_page(
    browser: Browser, workspace: Path | None, folder: Path, stem: str
) -> dict[str, float]:
    """Seconds until a fresh server is up, and from there until the first visitor reads the answer
    and sees all.
    """
    start = time.perf_counter()
    server = Server(workspace, folder / f"{time.monotonic_ns()}.txt")
    try:
        server.wait()
        ready = time.perf_counter() - start
        answer, drawn = visited(browser, f"{server.url}/{stem}", (ANSWERED, f"() => ({DRAWN})(0)"))
    finally:
        server.stop()
    return {
        "server_ready_seconds": ready,
        "first_answer_seconds": answer,
        "first_page_seconds": drawn,
    }


ANSWERED = "() => document.querySelector('.aigi-stats b')"
BARE = """import plotly.graph_objects as go
import streamlit as st

st.title("One figure")
table = [[row * column for column in range(15)] for row in range(15)]
st.plotly_chart(go.Figure(go.Heatmap(z=table)))
"""
BARE_DRAWN = """() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState
 === 'notRunning' && document.querySelector('[data-testid=stPlotlyChart] .main-svg')"""


def bare_page(browser: Browser, folder: Path) -> float:
    """Seconds from a fresh server that is up until a visitor sees one figure on a bare page."""
    script = folder / "bare.py"
    script.write_text(BARE)
    line = [sys.executable, "-m", "streamlit", "run", str(script), "--server.headless=true"]
    start = f"exec {shlex.join(line)} --server.port=$PORT"
    server = Server(None, folder / "bare.txt", command=["sh", "-c", start])
    try:
        server.wait()
        return visited(browser, server.url, (BARE_DRAWN,))[0]
    finally:
        server.stop()


def visited(browser: Browser, url: str, states: Sequence[str]) -> list[float]:
    """Seconds until a new tab, opened before, has come to each of some states."""
    app = session(browser, url)
    begin = time.perf_counter()
    app.page.goto(url, wait_until="commit")
    took = []
    for state in states:
        app.page.wait_for_function(state)
        took.append(time.perf_counter() - begin)
    app.close()
    return took


def pages_and_controls(
    browser: Browser, url: str, stems: Sequence[str], repeats: int, of_a_kind: int
) -> dict[str, Any]:
    """Every page visited by the sidebar and its controls moved, in one session: cold, then warm."""
    app = session(browser, url).open(stems[0])
    pages: dict[str, dict[str, float]] = {}
    controls: dict[str, dict[str, float]] = {}
    visits: dict[str, list[float]] = {stem: [] for stem in stems}
    for _ in range(repeats + 1):
        for stem in [*stems[1:], stems[0]]:  # the first is where the session stands
            app.navigate(PAGES[stem].name)
            visits[stem].append(app.took)
    for stem, times in visits.items():
        pages[stem] = {"cold": round(times[0], 3), "warm": round(median(times[1:]), 3)}
        print(f"{stem}: {pages[stem]}", file=sys.stderr, flush=True)
    del pages[stems[0]]["cold"]  # the session began there
    for stem in stems:
        if len(stems) > 1:
            app.navigate(PAGES[stem].name)
        for name, act in acts(app, of_a_kind):
            times = []
            for turn in range(2 * repeats + 2):
                act(turn)
                times.append(app.took)
            controls[f"{stem} {name}"] = {
                "cold": round(times[0], 3),
                "warm": round(median(times[2:]), 3),
            }
            print(f"{stem} {name}: {controls[f'{stem} {name}']}", file=sys.stderr, flush=True)
    errors = app.errors
    app.close()
    if errors:
        raise AigiError(f"The app showed an error: {errors[0]}")
    warm = [times["warm"] for times in (*pages.values(), *controls.values())]
    return {
        "warm_median_seconds": round(median(warm), 3),
        "warm_worst_seconds": max(warm),
        "pages": pages,
        "controls": controls,
    }


def acts(app: App, of_a_kind: int) -> Iterator[tuple[str, Act]]:
    """The first controls of each kind of the page that is open, and the switches that its bar keeps
    in popovers.
    """
    moved: Counter[str] = Counter()
    for key, widget in app.page.evaluate(FIND, ["stMain", list(KINDS)]):
        if moved[widget] == of_a_kind:
            continue
        box = app.page.locator(f".{key}").locator(f'[data-testid="{widget}"]')
        if act := {
            "select": _select,
            "toggle": _toggle,
            "slider": _slider,
            "segmented": _segmented,
        }[KINDS[widget]](app, box):
            moved[widget] += 1
            yield key.removeprefix("st-key-"), act
    for opener in app.page.locator(".st-key-controls-bar").get_by_test_id("stPopoverButton").all():
        opener.click()
        inside = app.page.get_by_test_id("stPopoverBody")
        inside.wait_for()
        inner = app.page.evaluate(FIND, ["stPopoverBody", ["stCheckbox"]])
        for key, _ in inner[:of_a_kind]:
            if act := _toggle(app, app.page.locator(f".{key}").get_by_test_id("stCheckbox")):
                yield key.removeprefix("st-key-"), act
        app.page.keyboard.press("Escape")
        inside.wait_for(state="detached")
    if app.page.locator(".st-key-figure-matrix .heatmaplayer").count():
        yield "cell", lambda turn: app.click_cell("matrix", *((1, 0), (0, 1))[turn % 2])


def _select(app: App, box: Locator) -> Act | None:
    field = box.get_by_role("combobox")
    if not field.is_enabled():
        return None
    here = " ".join(field.input_value().split())  # as the options' texts read
    app.bring(field)
    field.press("ArrowDown")
    offered = app.page.get_by_role("option")
    offered.first.wait_for()
    others = [option for option in offered.all_inner_texts() if option != here]
    app.page.keyboard.press("Escape")
    return (lambda turn: app.choose_in(field, (others[0], here)[turn % 2])) if others else None


def _toggle(app: App, box: Locator) -> Act | None:
    switch = box.get_by_role("switch")
    return (lambda turn: _press(app, switch, "Space")) if switch.is_enabled() else None


def _slider(app: App, box: Locator) -> Act:
    knob = box.get_by_role("slider").first
    high = knob.get_attribute("aria-valuenow") == knob.get_attribute("aria-valuemax")
    keys = ("ArrowLeft", "ArrowRight") if high else ("ArrowRight", "ArrowLeft")
    return lambda turn: _press(app, knob, keys[turn % 2])


def _segmented(app: App, box: Locator) -> Act:
    def act(turn: int) -> None:
        with app.redrawn():
            box.get_by_role("radio").nth((turn + 1) % 2).click()

    return act


def _press(app: App, field: Locator, key: str) -> None:
    field.focus()
    with app.redrawn():
        app.page.keyboard.press(key)


def crowd(
    browser: Browser, server: Server, stems: Sequence[str], sessions: int, *, rounds: int
) -> dict[str, Any]:
    """As many sessions at once, each on another page, in rounds of one page each; on a server that
    has shown nothing.
    """
    apps = [session(browser, server.url) for _ in range(sessions)]
    errors = 0
    times = []
    for turn in range(rounds):
        start = time.perf_counter()
        for number, app in enumerate(apps):
            app.page.goto(
                f"{server.url}/{stems[(turn + number) % len(stems)]}", wait_until="commit"
            )
        for app in apps:
            try:
                errors += len(app.settled().errors)
            except Error as late:
                print(late, file=sys.stderr)
                errors += 1
        times.append(time.perf_counter() - start)
    for app in apps:
        app.close()
    errors += server.log.read_text().count("Traceback")
    return {
        f"sessions{sessions}_errors": errors,
        f"sessions{sessions}_slowest_round_seconds": round(max(times), 2),
    }
