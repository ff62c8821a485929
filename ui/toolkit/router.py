"""The pages, the guard that makes deep links work on a fresh server, and links between pages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st

ROOT = Path(__file__).resolve().parents[2]
APP = "app.py"
_STARTED, _WANTED, _UNKNOWN = "_started", "_wanted", "_unknown_address"


@dataclass(frozen=True)
class PageInfo:
    """One page: ``pages/<stem>.py``, its name in the navigation, and the question that is its
    title.
    """

    stem: str
    name: str
    question: str
    icon: str

    @property
    def file(self) -> str:
        return f"pages/{self.stem}.py"


_ALL = (
    PageInfo("overview", "Overview", "What is in this workspace, and what stands out?", "home"),
    PageInfo(
        "transfer",
        "Transfer",
        "Does a detector of one generator's images work on another's?",
        "grid_on",
    ),
    PageInfo("methods", "Methods", "Which way of detecting should I use?", "balance"),
    PageInfo(
        "train", "Train", "Which generators should a detector be trained on?", "model_training"
    ),
    PageInfo(
        "components", "Components", "Which components of the embedding hurt transfer?", "tune"
    ),
    PageInfo("heads", "Heads", "Which attention heads carry the detector?", "hub"),
    PageInfo("encoders", "Encoders", "Which encoder serves detectors best?", "visibility"),
    PageInfo("words", "Words", "What does a detector look at, in words?", "translate"),
    PageInfo(
        "gallery",
        "Gallery",
        "Which images is a detector most certain of, right and wrong?",
        "photo_library",
    ),
    PageInfo("map", "Map", "Where do generated images lie?", "bubble_chart"),
    PageInfo(
        "geometry",
        "Geometry",
        "Does the shape of the embedding space tell how well detectors transfer?",
        "scatter_plot",
    ),
    PageInfo(
        "audit", "Audit", "Can the label be guessed without looking at the image?", "fact_check"
    ),
    PageInfo(
        "stress", "Stress", "Do detectors survive compression, resizing and noise?", "compress"
    ),
    PageInfo(
        "inspect",
        "Inspect",
        "Is this image generated, and why do the detectors say so?",
        "frame_inspect",
    ),
    PageInfo("attribution", "Attribution", "Which generator made it?", "account_tree"),
    PageInfo(
        "new_generator",
        "New generator",
        "How do the detectors do on a generator they have never seen?",
        "add_photo_alternate",
    ),
)
PAGES = {page.stem: page for page in _ALL if (ROOT / page.file).is_file()}
"""Stem -> page, in the order of the navigation. A new page is a file in ``pages/`` and a line
above.
"""


def navigation() -> list[st.Page]:
    """The pages for ``st.navigation``; ``url_path`` stays equal to the file's stem, as the guard
    needs. Without icons: Streamlit would take a page's for the tab's, from a font host.
    """
    pages = [st.Page(page.file, title=page.name, url_path=page.stem) for page in PAGES.values()]
    # Streamlit gives its default page no path of its own: a hidden one keeps /overview a link like
    # any other.
    return [st.Page(_home, title="AIGI Explorer", default=True, visibility="hidden"), *pages]


def _home() -> None:
    """Where Streamlit goes for an address that is no page's, too: the page of nearly that name, or
    the first, which says so.
    """
    page, asked = next(iter(PAGES.values())), urlsplit(st.context.url or "").path.strip("/")
    if asked:
        stem = asked.rsplit("/", 1)[-1].lower().replace("-", "_").replace(" ", "_")
        near = get_close_matches(stem, PAGES, n=1, cutoff=0.8)
        page = PAGES[near[0]] if near else page
        if not near:
            st.session_state[_UNKNOWN] = asked[:100]
    st.switch_page(page.file, query_params=_query())


def unknown_address() -> str:
    """The address asked for that is no page's, said once; else empty."""
    return str(st.session_state.pop(_UNKNOWN, ""))


def _query() -> dict[str, list[str]]:
    return {name: st.query_params.get_all(name) for name in st.query_params}


def guard(file: str) -> PageInfo:
    """The first line of every page (``ui.page`` calls it): go through ``app.py`` where it has not
    run yet.

    A folder named ``pages`` beside ``st.navigation`` makes a fresh server run a deep link's page
    without ``app.py``.
    """
    page = PAGES[Path(file).stem]
    if not st.session_state.get(_STARTED):
        st.session_state[_WANTED] = (page.file, _query())
        st.switch_page(APP, query_params=_query())
    return page


ONE_STEP = """<script>
(() => {
  const pages = PAGES
  let acted = false
  for (const kind of ['pointerdown', 'keydown', 'click'])
    addEventListener(kind, () => { acted = true }, true)
  addEventListener('popstate', () => { acted = false })
  const push = history.pushState.bind(history)
  history.pushState = (state, title, url) => {
    const moves = new URL(url ?? '', location.href).pathname !== location.pathname
    const named = new URLSearchParams(location.search).has('workspace')
    const shown = pages.includes(location.pathname.split('/').pop())
    const step = acted && shown && (moves || named)
    if (moves) acted = false
    return step ? push(state, title, url) : history.replaceState(state, title, url)
  }
})()
</script>""".replace("PAGES", json.dumps(list(PAGES)))
"""In the browser, before anything else of the page: an address that nobody asked for is no step of
its history. Streamlit opens a page at its bare address, the first one through an address that shows
none, and the page then completes or corrects it; each would be a place to which Back leads and from
which the same page comes at once."""


def start() -> None:
    """Called by ``app.py`` once its navigation stands: go on to the page that a deep link asked
    for.
    """
    st.session_state[_STARTED] = True
    if wanted := st.session_state.pop(_WANTED, None):
        file, query = wanted
        st.switch_page(file, query_params=query)


def go(stem: str, **controls: str | Sequence[str]) -> None:
    """From a callback: the run that follows opens that page, with some of its controls set."""
    query = {
        name: [value] if isinstance(value, str) else list(value) for name, value in controls.items()
    }
    st.session_state[_WANTED] = (PAGES[stem].file, query)


def link(stem: str, text: str, *, help: str | None = None, **controls: str | Sequence[str]) -> None:
    """A link to a page with some of its controls set; nothing where that page is not installed."""
    if page := PAGES.get(stem):
        query = {
            name: value if isinstance(value, str) else list(value)
            for name, value in controls.items()
        }
        st.page_link(
            page.file,
            label=text,
            icon=f":material/{page.icon}:",
            query_params=query or None,
            help=help,
        )
