"""A session that talks to the app as its page in a browser does, and draws nothing.

It speaks Streamlit's protocol over its socket: the server runs the whole script, figures included,
compresses and sends all of it, and keeps the session. Left out is what a browser does by itself
(drawing, Streamlit's own files), so that many of them measure the server and not themselves.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.Slider_pb2 import Slider
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect

KINDS = ("selectbox", "radio", "checkbox", "slider", "button_group", "plotly_chart")
"""Elements that it acts on; figures where a click on a point means something."""
MAIN = 0
"""Where a page's own elements stand, the first number of their place; the sidebar is elsewhere."""
UNFORESEEN = "could not be computed"
"""In the box that a page shows in place of a view that failed."""
AGE = 2
"""Runs of the script for which Streamlit's page keeps large messages, by default."""


class Visitor:
    """One session.

    Attributes:
        page: stem of the page that is open.
        controls: identifier -> kind, element and fragment of what can be moved on it.
        errors: what went wrong in the last run; a sentence on what a control asked for is none.
    """

    def __init__(self, socket: ClientConnection, patience: float) -> None:
        self._socket = socket
        self._patience = patience
        self.page = ""
        self.controls: dict[str, tuple[str, Any, str]] = {}
        self.errors: list[str] = []
        self._pages: dict[str, str] = {}
        self._values: dict[str, WidgetState] = {}
        self._query = ""
        self._kept: dict[str, tuple[int, ForwardMsg]] = {}
        self._runs = 0

    @classmethod
    async def come(cls, port: int, patience: float) -> Visitor:
        """Open a socket; ``patience``: seconds after which an answer is a TimeoutError."""
        here = f"127.0.0.1:{port}"
        socket = await connect(
            f"ws://{here}/_stcore/stream",
            origin=f"http://{here}",  # type: ignore[arg-type]
            subprotocols=["streamlit"],  # type: ignore[list-item]
            max_size=None,
            ping_interval=None,
        )
        return cls(socket, patience)

    async def leave(self) -> None:
        """Close the tab."""
        await self._socket.close()

    async def open(self, stem: str) -> None:
        """Go to a page: by its link the first time, by the sidebar then."""
        self._values, self._query = {}, ""
        known = self._pages.get(stem, "")
        self.page = stem
        await self._run(ClientState(page_script_hash=known, page_name="" if known else stem))

    async def act(self, rng: np.random.Generator) -> str:
        """Move one control of the page to another value, drawn at random; returns which, or
        nothing where the page has none."""
        names = sorted(self.controls)
        while names:
            name = names.pop(int(rng.integers(len(names))))
            kind, element, fragment = self.controls[name]
            if value := moved(kind, element, self._values.get(name), rng):
                self._values[name] = value
                sent = ClientState(
                    page_script_hash=self._pages.get(self.page, ""),
                    fragment_id=fragment,
                    query_string=self._query,
                )
                await self._run(sent)
                return f"{kind} {getattr(element, 'label', '')}".strip()
        return ""

    async def _run(self, state: ClientState) -> None:
        """Let the script run, and take what it sends until it has ended."""
        state.widget_states.widgets.extend(self._values.values())
        state.cached_message_hashes.extend(self._kept)
        state.context_info.timezone = "UTC"
        state.context_info.color_scheme = "light"
        self.errors = []
        async with asyncio.timeout(self._patience):
            await self._socket.send(BackMsg(rerun_script=state).SerializeToString())
            while not self._take(ForwardMsg.FromString(await self._received())):
                pass
        if not state.fragment_id:
            self._runs += 1
            self._kept = {k: kept for k, kept in self._kept.items() if self._runs - kept[0] <= AGE}
            self._values = {k: v for k, v in self._values.items() if k in self.controls}

    async def _received(self) -> bytes:
        message = await self._socket.recv(decode=False)
        return bytes(message)

    def _take(self, message: ForwardMsg) -> bool:
        """Note what one message says; returns whether it was a run's last."""
        kind = message.WhichOneof("type")
        place = list(message.metadata.delta_path)
        if kind == "ref_hash":  # what this session was sent before, and said that it keeps
            _, message = self._kept[message.ref_hash]
            kind = message.WhichOneof("type")
        if message.metadata.cacheable and message.hash:
            self._kept[message.hash] = self._runs, message
        if kind == "new_session":
            if not message.metadata.run.fragment_ids:
                self.controls = {}
        elif kind == "delta":
            self._see(message.delta, place)
        elif kind == "page_info_changed":
            self._query = message.page_info_changed.query_string
        elif kind == "navigation":
            pages = message.navigation.app_pages
            self._pages = {page.url_pathname: page.page_script_hash for page in pages}
        elif kind == "script_finished":
            status = message.script_finished
            if status == ForwardMsg.FINISHED_WITH_COMPILE_ERROR:
                self.errors.append("the script could not be compiled")
            return bool(status != ForwardMsg.FINISHED_EARLY_FOR_RERUN)
        return False

    def _see(self, delta: Any, place: Sequence[int]) -> None:
        if delta.WhichOneof("type") != "new_element":
            return
        kind = delta.new_element.WhichOneof("type")
        element: Any = getattr(delta.new_element, kind) if kind else None
        if kind == "exception":
            self.errors.append(f"{element.type}: {element.message}")
        elif kind == "alert" and UNFORESEEN in element.body:
            self.errors.append(element.body)
        elif kind in KINDS and place[:1] == [MAIN]:
            if getattr(element, "set_value", False):
                self._values.pop(element.id, None)
            clicked = kind != "plotly_chart" or element.POINTS in element.selection_mode
            if clicked and element.id and not getattr(element, "disabled", False):
                self.controls[element.id] = kind, element, delta.fragment_id


def moved(
    kind: str, element: Any, old: WidgetState | None, rng: np.random.Generator
) -> WidgetState | None:
    """What the page would send where this control is moved; None where it has nowhere to go."""
    new = WidgetState(id=element.id)
    if kind == "checkbox":
        shown = old.bool_value if old else element.value if element.set_value else element.default
        new.bool_value = not shown
    elif kind == "slider" and element.type == Slider.SLIDER:
        steps = round((element.max - element.min) / element.step)
        drawn = element.min + element.step * np.sort(rng.integers(steps + 1, size=_knobs(element)))
        new.double_array_value.data.extend(drawn)
    elif kind == "slider":
        places = np.sort(rng.integers(len(element.options), size=_knobs(element)))
        new.string_array_value.data.extend(element.options[place] for place in places)
    elif kind == "plotly_chart":
        points = [point for point in _points(element.spec) if point is not None]
        if not points:
            return None
        point = {"customdata": points[int(rng.integers(len(points)))]}
        chosen = {"points": [point], "point_indices": [], "box": [], "lasso": []}
        new.string_value = json.dumps({"selection": chosen})
    else:
        options = [o.content if kind == "button_group" else o for o in element.options]
        if old is None:
            shown = [*getattr(element, "raw_values", []), getattr(element, "raw_value", "")]
        else:
            shown = [old.string_value, *old.string_array_value.data]
        others = [option for option in options if option not in shown]
        if not others:
            return None
        choice = others[int(rng.integers(len(others)))]
        if kind == "button_group":
            new.string_array_value.data.append(choice)
        else:
            new.string_value = choice
    return new


def _knobs(element: Any) -> int:
    return max(1, len(element.default))


def _points(spec: str) -> list[Any]:
    """``customdata`` of every point of a figure that has some, but where it is packed."""
    data = [trace.get("customdata") for trace in json.loads(spec)["data"]]
    return [point for points in data if isinstance(points, list) for point in points]
