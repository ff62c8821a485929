"""One page: question, answer, numbers, controls, figures, tables, images, and what becomes of
errors.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from types import MappingProxyType, TracebackType
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit, urlunsplit

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.errors import StreamlitDuplicateElementKey

from aigi_core.clip.consent import ConsentNeeded, agree
from aigi_core.errors import AigiError, NotGivenError, NotMadeError, WorkspaceError
from aigi_core.figures import (
    DARK,
    LIGHT,
    WIDTHS_MM,
    Theme,
    export,
    for_paper,
)
from aigi_core.images import image_source
from aigi_core.manifest import Domains
from aigi_core.statements import counted
from aigi_core.workspace import Workspace
from ui.toolkit import access, report, router, tables, workspaces
from ui.toolkit.controls import Controls, acted, listed, set_control, set_controls
from ui.toolkit.costly import CostlyError, say_yes
from ui.toolkit.drawings import Draw, Styled, Use, drawn
from ui.toolkit.images import Tile, clickable_grid, grid_html, image_roots
from ui.toolkit.kept import one_look
from ui.toolkit.lightbox import Details, open_in, show_opened
from ui.toolkit.report import Report, Stat
from ui.toolkit.unseen import Unseen
from ui.toolkit.verification import Verification, verification
from ui.toolkit.waiting import Waiting

log = logging.getLogger("aigi.ui")
EXTENSIONS = {"CSV": "csv", "LaTeX": "tex", "Markdown": "md"}
_RUNS = "_runs"
PART = "part"
"""The control that names the open part of a page."""
_BROUGHT = "_brought"
BRING = """<script data-run="%d">
(() => {
  const parts = document.querySelector('.st-key-controls-Parts')
  parts.scrollIntoView({block: 'start'})
  parts.querySelectorAll('[role=radio]')[%d]?.focus({preventScroll: true})
})()
</script>"""
"""Scrolls to the parts of a page, and goes on from there by the keyboard."""
ENCODER = "encoder"
"""The control that names one of several encodings of the images, on every page the same."""


class _Slot:
    """A place that is written to when a run knows what: until then what stood there stays, faded,
    and nothing below it jumps.
    """

    def __init__(self, around: DeltaGenerator) -> None:
        self._around = around

    @cached_property
    def at(self) -> DeltaGenerator:
        return self._around.empty()


class Page(Controls):
    """A page while it runs; made by :func:`page`. Its controls are methods inherited from
    :class:`Controls`.
    """

    def __init__(self, info: router.PageInfo, one_encoder: str = "") -> None:
        super().__init__(info.stem)
        self.info = info
        self._one_encoder = one_encoder
        self.encoder = ""
        self._report = Report(info.question)
        self._unlinked: list[str] = []
        self._python = ""
        self._blurred = False
        self._summary: DeltaGenerator | None = None
        """Of what the bar of controls is at, once there is a control in it."""
        self._parts: dict[str, Callable[[], None]] = {}
        self._asked_part, self._open_part = "", slice(0, 0)
        """The open part, and where it stands in the report."""
        self._level = 2
        """Of the next section's heading."""
        self._seen, self._reporting = True, Lock()

    # What the page is about

    @cached_property
    def workspace(self) -> Workspace:
        """The session's workspace, as the encoder that is chosen sees its images; WorkspaceError,
        shown as one sentence, where there is none.
        """
        here, folder = workspaces.current(), self.encodings.get(self.encoder)
        return workspaces.open_encoding(folder) if folder not in (None, here.path) else here

    @cached_property
    def encodings(self) -> dict[str, Path]:
        """Name -> folder of every encoding of the workspace's images, its own first."""
        return workspaces.current_encodings(workspaces.current())

    def choose_encoder(self, name: str, label: str, default: str | None = None) -> str:
        """Choose one of :attr:`encodings`; ``encoder`` is the name of the one that the page
        uses.
        """
        return self.select(
            name,
            label,
            list(self.encodings),
            default,
            help="The same images and splits as another encoder sees them; the page Encoders"
            " compares all.",
        )

    def _choose_encoder(self) -> None:
        """The control ``encoder``: first in the bar, where the images have several encodings."""
        try:
            here, several = workspaces.current().path, len(self.encodings) > 1
        except WorkspaceError:  # the page says so where it asks for the workspace
            return
        asked = self._asked.get(ENCODER)
        if several and self._one_encoder:
            self._bar.caption(self._one_encoder)
            if asked and self.linked(ENCODER) and asked[-1] not in self.encodings:
                self.complain(ENCODER, asked, listed(self.encodings), "It is ignored.")
        elif several:
            own = next((name for name, folder in self.encodings.items() if folder == here), None)
            with self.controls():
                self.encoder = self.choose_encoder(ENCODER, "Encoder", own)
        elif asked and asked != self._written.get(ENCODER):
            self.complaints.append(
                f"The link asks for encoder = {asked[-1]}; one encoder is here, and used."
            )

    @property
    def domains(self) -> Domains:
        return self.workspace.domains

    @cached_property
    def theme(self) -> Theme:
        """The figures' theme: what the user's browser shows."""
        return DARK if st.context.theme.type == "dark" else LIGHT

    def styled(self, draw: Draw) -> Styled:
        """For :meth:`figure`: a figure function that also takes ``styles``, each generator's
        colour, marker and dash, the same in every figure.
        """
        return Styled.of(draw, self.domains)

    # Controls that mean the same on every page, and so carry over

    def generator(
        self,
        name: str,
        label: str,
        default: str | None = None,
        *,
        among: Sequence[str] | None = None,
        help: str | None = None,
    ) -> str:
        """Choose one generator. ``train`` and ``test`` are the names for a detector's row and
        column.
        """
        return self.select(name, label, among or self._some_generators(), default, help=help)

    def generators(
        self,
        name: str,
        label: str,
        default: Sequence[str] | None = None,
        *,
        among: Sequence[str] | None = None,
        help: str | None = None,
        follows: str = "",
        empty: str = "",
    ) -> list[str]:
        """Choose several generators; all by default. An empty choice is an error that says so.

        Args:
            empty: what the default is, in words; an empty choice then means the default.
        """
        offered = among or self._some_generators()
        chosen = self.multiselect(
            name,
            label,
            offered,
            default,
            help=help,
            placeholder=empty or None,
            follows=follows,
            empty=empty.lower() or "none",
        )
        if not chosen and empty:
            return list(offered if default is None else default)
        if not chosen:
            raise NotGivenError(
                f"Nothing is chosen under '{label}': choose at least one generator."
            )
        return chosen

    def _some_generators(self) -> Sequence[str]:
        if not self.domains.generators:
            raise NotGivenError(
                "This workspace holds no fake images: add images of at least one generator and"
                " build it again."
            )
        return self.domains.generators

    # Above the fold

    def answer(self, text: str) -> None:
        """The answer to the page's question in one or two sentences of markdown; names go through
        :func:`name`.
        """
        self._answer.at.markdown(text)
        self._report.answer = plain(text)

    def stats(self, stats: Sequence[Stat]) -> None:
        """The numbers behind the answer, each with n and interval."""
        self._stats.at.html(report.stats_html(stats))
        self._report.stats = list(stats)

    def unanswered(self) -> None:
        """What stood above the fold is of something else: it goes at once."""
        self._answer.at.empty()
        self._stats.at.empty()

    @contextmanager
    def picture(self, text: str = "") -> Iterator[None]:
        """The answer as a figure, above the controls, whenever it is drawn; an error in it is shown
        in its place.
        """
        with self._picture, self.section(text=text):
            yield

    def protocol(self, **facts: str) -> None:
        """How the numbers came about (splits, hyperparameters, exclusions): shown at the foot and
        in the report.
        """
        self._report.protocol |= {
            key.replace("_", " ").capitalize(): value for key, value in facts.items()
        }

    # The body

    @contextmanager
    def controls(self, label: str = "") -> Iterator[None]:
        """Controls of the page: one bar under the numbers, which stays in sight; on a narrow screen
        one line that says what they are at, and opens them. With a label, a row of their own where
        they are called, for what they alone change.
        """
        if not label:
            if self._summary is None:
                self._summary = self._bar.container(key="settings", gap=None)
                self._summary.html(report.OPENS_CONTROLS)
            before = set(self.settings)
            with self._bar:
                yield
            here = [name for name in self.settings if name not in before]
            self._report.settings |= {name: self.settings[name] for name in here}
            return
        with st.container(
            border=True,
            horizontal=True,
            vertical_alignment="bottom",
            gap="medium",
            key=f"controls-{label}",
        ):
            yield

    @contextmanager
    def section(self, title: str = "", text: str = "", help: str | None = None) -> Iterator[None]:
        """A part of the page; an error in it is shown in its place and leaves the rest of the page
        standing.
        """
        if title:
            st.subheader(title, help=help, anchor=False)
            self._report.parts.append((title, self._level))
        if text:
            st.markdown(text)
            if written := without_clicks(plain(text)):
                self._report.parts.append((written, None))
        try:
            yield
        except Exception as error:
            show_error(error)
            self._report.parts.append((sentence(error), None))

    def part(
        self,
        parts: Mapping[str, Callable[..., None]],
        *what: Any,
        holds: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """One of several parts of the page, by the control ``part``: title -> what draws it, called
        with ``what``. The others are neither computed nor sent, nor drawn by the browser.

        Args:
            holds: control -> the part that it is in: a link that sets it opens that part, and links
                keep it while another part is open.
        """
        linked = [title for control, title in holds.items() if self.linked(control)]
        if linked and PART not in self._asked:
            st.session_state[PART] = linked[0]
        with self.controls("Parts"):
            draw = self.select(PART, "Show", parts, kind="segmented")
            brings = st.empty()
        if st.session_state.pop(_BROUGHT, False):
            at = st.session_state.get(_RUNS, 0), list(parts).index(st.session_state[PART])
            brings.html(BRING % at, unsafe_allow_javascript=True)
        self._parts = {title: partial(one, *what) for title, one in parts.items()}
        before, self._level = len(self._report.parts), self._level + 1
        with self.section():
            draw(*what)
        self._open_part, self._level = slice(before, len(self._report.parts)), self._level - 1
        self._asked_part = str(st.session_state[PART])
        shut = {name for name, title in holds.items() if title != st.session_state[PART]}
        if kept := {name: self._asked[name] for name in shut & self._asked.keys()}:
            self._url |= kept | {PART: [st.session_state[PART]]}

    def command(self, line: str) -> None:
        """A command to copy into a terminal."""
        st.code(line, language=None, wrap_lines=True)  # colours of "bash" are too pale
        if str(workspaces.DEMO) in line:
            st.caption(
                "It names the embedded demo, a part of the app: take a workspace of your own, or a"
                " copy of that folder."
            )

    def finding(self, text: str) -> None:
        """One sentence that the page has found out, in markdown; it goes into the report."""
        st.markdown(text)
        self._report.parts.append((without_clicks(plain(text)), None))

    def figure(
        self,
        name: str,
        draw: Draw,
        *,
        table: pd.DataFrame | None = None,
        clicks: Sequence[str] | Callable[[Any], None] = (),
        formats: Mapping[str, str] | None = None,
        picks: bool = False,
    ) -> None:
        """A figure with its table, CSV and downloads beneath it.

        Args:
            name: unique on the page; names the downloaded files.
            draw: a figure function with everything but ``theme`` filled in
                (``functools.partial``; see :func:`~ui.toolkit.drawings.drawn`).
            table: the numbers behind it.
            clicks: names of the controls that take the clicked point's ``customdata``, in order,
                or what is called with it. Offer the same controls beside the figure, for the
                keyboard.
            formats: column -> number format of the table (``"%.3f"``, ``tables.POINTS``), where
                its name does not say it.
            picks: points can be drawn around; the choice stands in the session's state under
                ``figure-{name}``.
        """
        self._report.parts.append((name, draw))
        if table is not None:
            self._report.tables[name] = table
            self._report.formats[name] = formats or {}
        if not self._seen:
            return
        use: Use = "clicks" if clicks else "picks" if picks else "read"
        figure, alt, width = drawn(draw, self.theme, use)
        kind = f"least-width-{width}" if width else "plain"
        key = f"figure-{name}"
        options: dict[str, Any] = {}
        if clicks:
            options = {"on_select": lambda: _clicked(key, clicks), "selection_mode": "points"}
        if picks:
            options = {"on_select": acted, "selection_mode": ("lasso", "box")}
        config = {
            "displaylogo": False,
            "displayModeBar": "hover" if not clicks else False,
            "modeBarButtons": [["zoom2d", "pan2d", "resetScale2d"]],
        }
        with st.container(key=f"{kind}-{name}"):
            if width:
                st.html(report.SCROLLS)
            st.plotly_chart(figure, theme=None, key=key, config=config, alt=alt, **options)
        self._more(name, draw, table, formats)

    # opening it runs this part of the page alone; while it is shut, neither server nor browser
    # works for it
    @st.fragment
    def _more(
        self, name: str, draw: Draw, table: pd.DataFrame | None, formats: Mapping[str, str] | None
    ) -> None:
        key = f"figure-{name}"
        more = st.expander(
            "Table and downloads" if table is not None else "Downloads",
            key=f"{key}-more",
            on_change="rerun",
        )
        if not more.open:
            return
        with more:
            if table is not None:
                self._table(name, table, formats)
                self._table_files(name, table, formats)
            self._figure_files(name, draw)

    def _figure_files(self, name: str, draw: Draw) -> None:
        """The figure for a paper, always in the light theme."""
        key = f"figure-{name}"
        with st.container(horizontal=True, vertical_alignment="bottom"):
            kinds = ["SVG", "PDF", "PNG", "HTML"]
            kind = st.selectbox("Figure as", kinds, key=f"{key}-kind", width=110)
            vector = kind != "HTML"
            width = st.selectbox(
                "Width",
                list(WIDTHS_MM),
                index=1,
                key=f"{key}-width",
                width=190,
                disabled=not vector,
            )
            size = st.number_input(
                "Text, pt", 5, 16, 8, key=f"{key}-size", width=120, disabled=not vector
            )

            def file() -> bytes | str:
                if not vector:
                    return report.figure_html(for_paper(draw), self.info.question)
                wanted: Any = kind.lower()
                return export(draw, wanted, width_mm=WIDTHS_MM[width], font_pt=size)

            st.download_button(
                "Download the figure",
                file,
                key=f"{key}-file",
                file_name=f"{self.info.stem}-{name}.{kind.lower()}",
                on_click="ignore",
                icon=":material/download:",
                help=(
                    "Always light, without the outline of what is selected. SVG, PDF and PNG need"
                    " requirements-export.txt; HTML is interactive and needs nothing."
                ),
            )

    def table(
        self,
        name: str,
        table: pd.DataFrame,
        *,
        formats: Mapping[str, str] | None = None,
        alt: str = "",
        shown: Sequence[str] = (),
    ) -> None:
        """A table, with its files on demand.

        Args:
            shown: the columns (and their intervals) that the page shows where all are too many to
                be read beside each other; files and report hold all.
        """
        self._report.parts.append((name, table))
        self._report.formats[name] = formats or {}
        if self._seen:
            self._table(name, tables.some(table, shown), formats, alt)
            self._table_on_demand(name, table, formats)

    def _table(
        self, name: str, table: pd.DataFrame, formats: Mapping[str, str] | None, alt: str = ""
    ) -> None:
        if len(table) > tables.SHOWN:
            st.caption(
                f"The first {counted(tables.SHOWN, 'row')}; the downloads hold all {len(table):,}."
            )
        about = alt or f"Table: {tables.column_title(name)}"
        st.html(tables.html(table.head(tables.SHOWN), formats, alt=about))

    @st.fragment
    def _table_on_demand(
        self, name: str, table: pd.DataFrame, formats: Mapping[str, str] | None
    ) -> None:
        files = st.popover(
            "Download this table",
            type="tertiary",
            icon=":material/download:",
            key=f"table-{name}-files",
            on_change="rerun",
        )
        if files.open:
            with files:
                self._table_files(name, table, formats)

    def _latex(self, name: str, table: pd.DataFrame, formats: Mapping[str, str] | None) -> str:
        """For a paper: a matrix as a matrix, with a caption of what its reader needs; what only
        its author needs is a comment.
        """
        matrix = tables.matrix_form(table, formats)
        what = tables.column_title(name)
        if matrix is not None and "metric" in table:
            what = ", ".join(map(tables.column_title, table["metric"].unique()))
            if tables.format_of(table, "value", formats) == tables.POINTS:
                what = f"difference in {what}"
        parts = [what[:1].upper() + what[1:]]
        if matrix is not None:
            parts += [
                "rows: trained on, columns: tested on",
                *tables.matrix_in_words(table, formats),
            ]
        return tables.latex(
            tables.readable(table, formats) if matrix is None else matrix,
            f"{'; '.join(parts)}. Images: {self.workspace.name}.",
            f"tab:{self.info.stem}-{name}",
            upright=matrix is None,
            comment=f"Workspace {self.workspace.name}, digest {self.workspace.digest}",
        )

    def _table_files(
        self, name: str, table: pd.DataFrame, formats: Mapping[str, str] | None
    ) -> None:
        with st.container(horizontal=True):
            for kind, make in (
                ("CSV", lambda: tables.csv(table)),
                ("LaTeX", lambda: self._latex(name, table, formats)),
                ("Markdown", lambda: tables.markdown(tables.readable(table, formats))),
            ):
                st.download_button(
                    f"Table as {kind}",
                    make,
                    key=f"{kind.lower()}-{name}",
                    on_click="ignore",
                    file_name=f"{self.info.stem}-{name}.{EXTENSIONS[kind]}",
                    mime="text/plain" if kind != "CSV" else "text/csv",
                    icon=":material/download:",
                    type="tertiary" if kind != "CSV" else "secondary",
                )

    def images(
        self,
        tiles: Sequence[Tile],
        *,
        width: int = 132,
        opens: str | Callable[[str], None] = "",
        name: str = "",
        empty: str = "There is no such image here.",
        lightbox: bool | Details = False,
    ) -> None:
        """A grid of images; 24 to 48 on a page are right. A click opens one on the page Inspect, in
        a new tab.

        Args:
            opens: the control that takes the ``key`` of a clicked tile, or what is called with it
                (:func:`router.go`); then ``name``, unique on the page, is needed.
            lightbox: a click also opens the image large in a dialog, with what a function has to
                say of it; needs a ``name`` and tiles with keys.
        """
        paths, carried = self.workspace.images["path"], self._carried()
        to_inspect = [
            tile
            if tile.key or tile.href
            else replace(
                tile, href=f"inspect?{urlencode({'image': paths.iloc[tile.row]} | carried)}"
            )
            for tile in tiles
        ]
        if tiles:
            self._report.parts.append((name or "images", to_inspect[:48]))
        if not self._seen:
            return
        if tiles and (opens or lightbox):
            choose = partial(set_control, opens) if isinstance(opens, str) else opens

            def clicked(key: str) -> None:
                if opens:
                    choose(key)
                if lightbox:
                    open_in(name, key)

            clickable_grid(self.workspace, tiles, width, f"grid-{name}", clicked)
            details = lightbox if callable(lightbox) else None
            show_opened(self, name, tiles, details, choose if opens else None)
        elif tiles:
            st.html(grid_html(self.workspace, to_inspect, width))
        if tiles and not self._blurred and not image_roots(self.workspace):
            self._blurred = True
            st.caption(
                "Blurred? The workspace holds previews, not pixels: the images belong to those who"
                " published them. Your browser loads each from its publisher where it can; a"
                " folder of them on the server is named by AIGI_IMAGES."
            )
        if not tiles:
            st.caption(empty)

    def link(
        self, stem: str, text: str, *, help: str | None = None, **controls: str | Sequence[str]
    ) -> None:
        """A link to another page that carries controls along; the workspace goes with it."""
        router.link(stem, text, help=help, **(controls | self._carried()))

    def _carried(self) -> dict[str, str]:
        """What every link between pages names: the workspace and, where one is chosen, the
        encoder.
        """
        chosen = {ENCODER: self.encoder} if self._url.get(ENCODER) else {}
        return workspaces.parameter() | chosen

    def source(self, row: int) -> None:
        """A link to where an image was published, where the workspace says so."""
        facts = {"path": "", "source_url": self.workspace.images["source_url"].iloc[row]}
        if (place := image_source(facts, None)).kind == "url":
            st.page_link(place.value, label="Its source", icon=":material/open_in_new:")

    def notice(self, text: str, kind: Literal["info", "warning"] = "info") -> None:
        """A remark that the user should not overlook."""
        (st.info if kind == "info" else st.warning)(text, icon=f":material/{kind}:")

    def python(self, code: str) -> None:
        """The same numbers from the library, to be copied: complete and runnable lines."""
        self._python = code

    def unlinked(self, what: str) -> None:
        """Say beside the link that something on the page is no part of it: ``"Your images"``."""
        self._unlinked.append(what)

    # Entering and leaving

    def __enter__(self) -> Page:
        self._look = one_look()
        self._look.__enter__()
        self._waiting = Waiting()
        head = st.container(
            horizontal=True, vertical_alignment="top", gap="medium", key="page-head"
        )
        head.title(self.info.question, anchor=False, width="stretch")
        self._tools = head.container(width="content")
        self.introduction = st.container()
        if asked := router.unknown_address():
            with self.introduction:
                self.notice(f"There is no page {inert(asked)!r} here. This is {self.info.name}.")
        self._answer, self._stats = _Slot(st.container()), _Slot(st.container())
        self._complaints = st.container()
        self._bar = st.container(
            horizontal=True, vertical_alignment="bottom", gap="small", key="controls-bar"
        )
        self._picture = st.container()
        self._choose_encoder()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self._look.__exit__(None, None, None)
        self._waiting.close()
        if error is not None and not isinstance(error, Exception):
            return False  # Streamlit stopping or rerunning the script
        if self._summary:
            self._summary.html(report.settings_html(self._report.settings))
        if error is None:
            self.complain_of_names([workspaces.PARAMETER])
        if news := workspaces.news(self._acted or self._entry):
            self._complaints.warning(inert(news), icon=":material/update:")
        for complaint in self.complaints:
            self._complaints.warning(inert(complaint), icon=":material/link_off:")
        self.write_url(workspaces.parameter(), whole=error is None)
        if error is not None:
            show_error(error)
            if workspaces.elsewhere() and not workspaces.parameter():
                st.button(
                    "Back to the demo",
                    key="back-to-demo",
                    icon=":material/home:",
                    on_click=workspaces.back_to_demo,
                )
        else:
            self._share()
        workspace = None if error else self.workspace
        files = verification(workspace) if workspace else Verification("")
        if workspace and files.problems:
            self._complaints.error(
                f"**The files of this workspace are not what was recorded**, so numbers may be"
                f" wrong. {inert(files.problems[0])} '{workspace.command('verify')}' lists all that"
                " differs.",
                icon=":material/gpp_bad:",
            )
        st.html(report.foot_html(workspace, files.in_words, run_number()))
        return True

    def _share(self) -> None:
        if self._report.protocol:
            self._how_made()
        with self._tools:
            self._shared(_link())

    # opened seldom: until then their content is neither made nor sent
    @st.fragment
    def _how_made(self) -> None:
        made = st.expander(
            "How these numbers are made", icon=":material/science:", key="how", on_change="rerun"
        )
        if made.open:
            made.markdown(
                "\n\n".join(f"**{key}.** {value}" for key, value in self._report.protocol.items())
            )

    @st.fragment
    def _shared(self, link: str) -> None:
        shared = st.popover(
            "Share",
            icon=":material/share:",
            help="Link to this view, and its report",
            key="share",
            on_change="rerun",
        )
        if shared.open:
            with shared:
                self._link_and_report(link)

    def _link_and_report(self, link: str) -> None:
        st.markdown(
            "This link opens the same page with the same settings:"
            if self._unlinked
            else "This link opens the same view:"
        )
        st.code(link, language=None, wrap_lines=True)
        for what in self._unlinked:
            st.markdown(f"{what} are not part of this link: they stay in your session.")
        if self._python:
            with st.expander("Copy as Python", icon=":material/code:"):
                st.code(self._python, language="python")
        with st.expander("Cite", icon=":material/format_quote:"):
            st.code(report.citation(self.workspace), language="bibtex", wrap_lines=True)
        workspace, unseen = self.workspace, Unseen()
        st.download_button(
            "Findings as HTML report",
            lambda: report.render(self._whole_report(unseen), workspace, link),
            mime="text/html",
            key="report",
            file_name=f"aigi-{self.info.stem}-{workspace.digest}.html",
            on_click="ignore",
            icon=":material/summarize:",
            help=(
                "All parts of this page in one file: answer, numbers, figures, tables,"
                " protocol, versions, workspace digest."
            ),
        )

    def _whole_report(self, unseen: Unseen) -> Report:
        """What the page has drawn, and its other parts, which are computed for it."""
        with self._reporting, one_look():
            shown, at = self._report, self._open_part
            self._report = replace(
                shown,
                parts=shown.parts[: at.start],
                tables=dict(shown.tables),
                formats=dict(shown.formats),
            )
            try:
                self._seen, self._level = False, 3
                for title, draw in self._parts.items():
                    self._report.parts.append((title, 2))
                    if title == self._asked_part:
                        self._report.parts += shown.parts[at]
                    else:
                        unseen.run(partial(self._draw_unseen, draw))
                self._report.parts += shown.parts[at.stop :]
                return self._report
            finally:
                self._report = shown
                self._seen, self._level = True, 2

    def _draw_unseen(self, draw: Callable[[], None]) -> None:
        with self.section():
            draw()


def page(file: str, *, one_encoder: str = "") -> Page:
    """Start a page: ``with ui.page(__file__) as page:`` is its first line, for it is the deep-link
    guard too.

    Args:
        one_encoder: why the page always uses the workspace's own encoder; it then has no control
            ``encoder`` and says this instead, where there are several.
    """
    return Page(router.guard(file), one_encoder)


def open_part(title: str, **values: Any) -> None:
    """In a button's callback: set controls, and open a part of the page, which is brought into
    sight.
    """
    set_controls(**values | {PART: title})
    st.session_state[_BROUGHT] = True


def run_number() -> int:
    """How often this session has drawn a page to its end; the foot carries it, so that a browser
    test can wait for it.
    """
    st.session_state[_RUNS] = number = int(st.session_state.get(_RUNS, 0)) + 1
    return number


def name(text: str) -> str:
    """A user's name inside markdown: a code span, in which nothing is interpreted."""
    ticks = "`" * (1 + max((len(run) for run in _runs_of_backticks(text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{pad}{' '.join(text.split())}{pad}{ticks}"


def plain(text: str) -> str:
    """The markdown of :meth:`Page.answer` without its marks: bold, code, the dash of a list,
    backslashes of :func:`inert`.
    """
    return re.sub(
        r"\\([^A-Za-z0-9\s])", r"\1", text.removeprefix("- ").replace("**", "").replace("`", "")
    )


def without_clicks(text: str) -> str:
    """A text for paper: without its sentences on what a click does.

    >>> without_clicks("By cosine, 0.9 at most. Click to enlarge.")
    'By cosine, 0.9 at most.'
    """
    return re.sub(r"(^|(?<=[.:]) +)Click [^.]*\.", "", text).strip()


def _runs_of_backticks(text: str) -> list[str]:
    return "".join(c if c == "`" else " " for c in text).split()


def _clicked(key: str, controls: Sequence[str] | Callable[[Any], None]) -> None:
    """Carry a click over to controls. A second click on a cell clears plotly's selection: it means
    the same cell.
    """
    points = st.session_state[key]["selection"]["points"]
    remembered = f"_clicked-{key}"
    data = points[0].get("customdata") if points else st.session_state.get(remembered)
    acted()
    if data is None:
        return
    st.session_state[remembered] = data
    values = data if isinstance(data, list | tuple) else [data]
    if callable(controls):
        controls(*values)
        return
    for control, value in zip(controls, values, strict=False):
        set_control(control, value)


def show_error(error: BaseException) -> None:
    """One sentence for the user, and a button where it is a question; what was not foreseen goes to
    the log with its trace.
    """
    if isinstance(error, ConsentNeeded):
        st.warning(inert(str(error)), icon=":material/lock:")
        if access.on_this_machine():
            with suppress(StreamlitDuplicateElementKey):  # once on a page is enough
                st.button(
                    "I agree: load them",
                    key=f"agree-{error.what}",
                    on_click=agree,
                    args=(error.what,),
                )
        return
    if isinstance(error, CostlyError):
        st.info(inert(str(error)), icon=":material/hourglass_top:")
        with suppress(StreamlitDuplicateElementKey):  # once on a page is enough
            st.button(
                "Begin",
                key="begin-costly",
                icon=":material/play_arrow:",
                on_click=say_yes,
                args=(error.key,),
            )
        return
    if isinstance(error, NotGivenError | NotMadeError):
        st.info(inert(str(error)), icon=":material/info:")
        return
    if isinstance(error, AigiError):
        st.error(inert(str(error)), icon=":material/error:")
        return
    log.error("A page failed.", exc_info=error)
    st.error(sentence(error), icon=":material/error:")


def sentence(error: BaseException) -> str:
    """What an error says to a user."""
    if isinstance(error, AigiError):
        return str(error)
    return (
        f"This view could not be computed ({type(error).__name__}); the server's log has the"
        " details. Choose other settings, or report it with the link of this view."
    )


def inert(message: str) -> str:
    """A message that may hold users' names, as inert markdown."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>()#+-.!|$~:&" else c for c in message)


def _link() -> str:
    parts = urlsplit(st.context.url or "")
    query = urlencode({name: st.query_params.get_all(name) for name in st.query_params}, doseq=True)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
