"""Controls whose values live in the query string; those of :data:`SHARED` follow the user from
page to page.

Streamlit's own ``bind="query-params"`` drops a parameter on a page change when the page before it
bound the same name, and ignores a link that asks for the default while another value is remembered.
Here the URL wins whenever it is not what this session last wrote (a deep link, a link between
pages, the Back button) and the user has not just acted on the page; otherwise the controls win and
the URL follows. The browser sends its URL with every click: that of a second click, made before the
URL written after the first has arrived, is out of date.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar, overload

import pandas as pd
import streamlit as st

T = TypeVar("T")
Kind = Literal["select", "segmented"]
SHARED = frozenset({"train", "test", "d1", "d2", "head", "image", "protocol", "encoder"})
"""Controls that mean the same on every page. All others belong to their page: another page may use
the same name for something else."""
OFFERED = 5000
"""Images on offer in one list; more are searched."""
_STORE, _WRITTEN, _PAGE, _ACTED = "_control_values", "_url_written", "_url_page", "_user_acted"
_NAMES, _DEFAULTS = "_control_names", "_control_defaults"
"""Names of the controls that the page at hand has drawn."""
_AHEAD = "_url_ahead"
"""Names that a link sets and whose controls no run has reached yet."""


class Controls:
    """The bound controls of one run of one page."""

    def __init__(self, stem: str) -> None:
        self._stem = stem
        self._entry = st.session_state.get(_PAGE) != stem
        if self._entry:  # the widgets of the page before, whose names this one may use otherwise
            for name in st.session_state.pop(_NAMES, ()):
                st.session_state.pop(name, None)
        st.session_state[_PAGE] = stem
        self._acted = st.session_state.pop(_ACTED, False) and not self._entry
        self._asked = {name: st.query_params.get_all(name) for name in st.query_params}
        self._written: dict[str, list[str]] = (
            {} if self._entry else st.session_state.get(_WRITTEN, {})
        )
        self._ahead: set[str] = set() if self._entry else st.session_state.get(_AHEAD, set())
        self._url: dict[str, list[str]] = {}
        self._met: set[str] = set()
        self.settings: dict[str, tuple[str, str]] = {}
        """Name -> label and value of the controls drawn so far, in words; switches only where they
        were moved."""
        self.complaints: list[str] = []
        """What of the link could not be done, in whole sentences."""
        self._spelled_out = False
        self._refused: dict[tuple[str, str], str] = {}

    @overload
    def select(
        self,
        name: str,
        label: str,
        options: Sequence[str],
        default: str | None = None,
        *,
        help: str | None = None,
        kind: Kind = "select",
        disabled: bool = False,
        follows: str = "",
    ) -> str: ...
    @overload
    def select(
        self,
        name: str,
        label: str,
        options: Mapping[str, T],
        default: str | None = None,
        *,
        help: str | None = None,
        kind: Kind = "select",
        disabled: bool = False,
        follows: str = "",
    ) -> T: ...
    def select(
        self,
        name: str,
        label: str,
        options: Mapping[str, Any] | Sequence[str],
        default: str | None = None,
        *,
        help: str | None = None,
        kind: Kind = "select",
        disabled: bool = False,
        follows: str = "",
    ) -> Any:
        """Choose one: a mapping of shown text to value, or plain texts. ``kind``: ``select`` or
        ``segmented``. ``follows``: a shared control whose value it takes over on arrival and sets.
        """
        values: Mapping[str, Any] = (
            options if isinstance(options, Mapping) else {text: text for text in options}
        )
        if not values:
            raise ValueError(f"control {name!r} has no options")
        first = default if default in values else next(iter(values))
        self._prepare(
            name,
            first,
            lambda raw: raw[-1] if raw and raw[-1] in values else None,
            lambda v: isinstance(v, str) and v in values,
            follows,
            listed(values),
        )
        if kind == "segmented":
            text = st.segmented_control(
                label,
                list(values),
                key=name,
                help=help,
                required=True,
                disabled=disabled,
                on_change=acted,
            )
        else:
            text = st.selectbox(
                label, list(values), key=name, help=help, disabled=disabled, on_change=acted
            )
        self._keep(name, text, first, [str(text)], follows)
        if self._spelled_out:
            self._url[name] = [str(text)]
        self.settings[name] = label, str(text)
        return values[str(text)]

    def multiselect(
        self,
        name: str,
        label: str,
        options: Sequence[str],
        default: Sequence[str] | None = None,
        *,
        help: str | None = None,
        max_selections: int | None = None,
        placeholder: str | None = None,
        follows: str = "",
        empty: str = "none",
    ) -> list[str]:
        """Choose several (all by default); the list keeps the order of the options. May come back
        empty. ``follows``: as for :meth:`select`, with one of several. ``empty``: what choosing
        none means, in words.
        """
        first = list(options) if default is None else [o for o in options if o in set(default)]

        def parse(raw: list[str]) -> list[str] | None:
            wanted = [o for o in options if o in raw]
            if wanted and (absent := [value for value in raw if value not in options]):
                self.complain(name, absent, listed(options), "The others are shown.")
            return wanted if wanted or raw == [""] else None

        self._prepare(
            name,
            first,
            parse,
            lambda v: isinstance(v, list) and all(one in options for one in v),
            follows,
            listed(options),
        )
        chosen = st.multiselect(
            label,
            list(options),
            key=name,
            help=help,
            max_selections=max_selections,
            placeholder=placeholder,
            on_change=acted,
        )
        chosen = [o for o in options if o in set(chosen)]
        self._keep(name, chosen, first, chosen or [""], follows)
        words = "all" if chosen == list(options) else listed(chosen, 3) or empty
        self.settings[name] = label, words
        return chosen

    def slider(
        self,
        name: str,
        label: str,
        low: float,
        high: float,
        default: float,
        *,
        step: float = 1,
        help: str | None = None,
        disabled: bool = False,
    ) -> float:
        """A number between two ends; an int where step and ends are ints. The URL carries the
        number.
        """
        whole = all(isinstance(v, int) for v in (low, high, default, step))
        if low >= high:  # a slider needs room to move
            return default

        def parse(raw: list[str]) -> float | None:
            try:
                number = int(raw[-1]) if whole else float(raw[-1])
            except (ValueError, IndexError):
                return None
            return number if low <= number <= high else None

        self._prepare(
            name,
            default,
            parse,
            lambda v: (
                not isinstance(v, bool)
                and isinstance(v, int if whole else float)
                and low <= v <= high
            ),
            offers=f"{low:g} to {high:g}",
        )
        number: float = st.slider(
            label, low, high, step=step, key=name, help=help, disabled=disabled, on_change=acted
        )
        self._keep(name, number, default, [f"{number:g}" if not whole else str(number)])
        self.settings[name] = label, f"{number:g}"
        return number

    def toggle(
        self,
        name: str,
        label: str,
        default: bool = False,
        *,
        help: str | None = None,
        disabled: bool = False,
    ) -> bool:
        """On or off; ``1`` or ``0`` in the URL."""
        self._prepare(
            name,
            default,
            lambda raw: {"1": True, "0": False}.get(raw[-1] if raw else ""),
            lambda v: isinstance(v, bool),
            offers="0 or 1",
        )
        on = bool(st.toggle(label, key=name, help=help, disabled=disabled, on_change=acted))
        self._keep(name, on, default, ["1" if on else "0"])
        if on != default:
            self.settings[name] = label, "on" if on else "off"
        return on

    def text(
        self,
        name: str,
        label: str,
        default: str = "",
        *,
        help: str | None = None,
        placeholder: str | None = None,
        max_chars: int = 400,
    ) -> str:
        """A line of free text."""
        self._prepare(
            name,
            default,
            lambda raw: raw[-1][:max_chars] if raw else None,
            lambda v: isinstance(v, str),
        )
        line = (
            st.text_input(
                label,
                key=name,
                help=help,
                placeholder=placeholder,
                max_chars=max_chars,
                on_change=acted,
            )
            or ""
        )
        self._keep(name, line, default, [line])
        if line:
            self.settings[name] = label, line
        return line

    @contextmanager
    def spelled_out(self) -> Iterator[None]:
        """Selections made inside are part of the link at their default, too: so a link keeps its
        meaning when another default is chosen one day.
        """
        self._spelled_out = True
        try:
            yield
        finally:
            self._spelled_out = False

    def refuse(self, name: str, value: str, reason: str) -> None:
        """What to say of a link that asks for an option which another control has taken."""
        self._refused[name, value] = reason

    def linked(self, name: str) -> bool:
        """Whether this run is a link's that sets the control."""
        return self._asked.get(name) is not None and self._new(name)

    def write_url(self, extra: Mapping[str, str], *, whole: bool = True) -> None:
        """Make the address bar say what the controls say; values at their default are left out.

        Args:
            whole: the run has come to its end. Otherwise names whose controls it did not reach stay
                as they are.
        """
        wanted = self._url | {name: [value] for name, value in extra.items()}
        kept: dict[str, list[str]] = {}
        ahead: set[str] = set()
        if not whole:
            kept = {n: raw for n, raw in self._written.items() if n not in self._met}
            ahead = {n for n in self._asked if n not in self._met | wanted.keys() and self._new(n)}
        address = kept | {name: self._asked[name] for name in ahead} | wanted
        if address != {name: st.query_params.get_all(name) for name in st.query_params}:
            st.query_params.from_dict(address)
        st.session_state[_WRITTEN], st.session_state[_AHEAD] = kept | wanted, ahead

    def _new(self, name: str) -> bool:
        """Whether the address sets the control to what this session has not written, and the user
        did not act later."""
        raw = self._asked.get(name)
        return raw != self._written.get(name) and (not self._acted or name in self._ahead)

    def _prepare(
        self,
        name: str,
        default: Any,
        parse: Callable[[list[str]], Any],
        valid: Callable[[Any], bool],
        follows: str = "",
        offers: str = "",
    ) -> None:
        """Put the value that the control is to show into the session, before the widget is made.

        Args:
            offers: what a link may ask for, in words.
        """
        self._met.add(name)
        store = st.session_state.setdefault(_STORE, {})
        defaults = st.session_state.setdefault(_DEFAULTS, {})
        before = defaults.get((self._stem, name), default)
        # where the last run ended before this control, Streamlit has forgotten it and the page's
        # own store has not; what is shared may have been chosen on another page
        last = None if name in SHARED else store.get(self._place(name))
        follows_default = before != default and st.session_state.get(name, last) == before
        if follows_default:
            # nobody chose it: it follows what it is derived from
            st.session_state.pop(name, None)
            if store.get(self._place(name)) == before:
                store.pop(self._place(name))
        defaults[self._stem, name] = default
        current = st.session_state.get(name, store.get(self._place(name), default))
        carried = store.get(self._place(follows))
        if self._entry and carried is not None and carried not in (current, *_several(current)):
            current = [carried] if isinstance(default, list) else carried
        raw = self._asked.get(name)
        drawn = follows_default or name in st.session_state or self._place(name) in store
        if (raw is not None and not drawn) or (
            self._new(name) and (raw is not None or not self._entry)
        ):
            current = default if raw is None else parse(raw)
            if current is None:
                self.complain(name, raw or [], offers, "The default is shown.")
                current = default
            elif raw and len(set(raw)) > 1 and not isinstance(default, list):
                self.complaints.append(
                    f"The link sets {name} {len(raw)} times: the last, {raw[-1]}, is shown."
                )
        st.session_state[name] = current if valid(current) else default

    def complain(self, name: str, values: Sequence[str], offers: str, instead: str) -> None:
        """Say that a link asks for what is not here, and what is shown instead."""
        if values and (reason := self._refused.get((name, values[-1]))):
            self.complaints.append(f"The link asks for {name} = {values[-1]}. {reason} {instead}")
            return
        can = f" ({name} can be {offers})" if offers else ""
        self.complaints.append(
            f"The link asks for {name} = {', '.join(values)}, which does not exist here{can}."
            f" {instead}"
        )

    def complain_of_names(self, others: Iterable[str]) -> None:
        """Say which names of the link are those of no control of this page.

        Args:
            others: names that mean something although no control has them.
        """
        known = self._met | self._url.keys() | SHARED | set(others)
        unknown = [name for name in self._asked if name not in known and self.linked(name)]
        if unknown:
            names = ", ".join(map(repr, unknown))
            ignored = (
                f"This page has no setting {names}: it is ignored."
                if len(unknown) == 1
                else f"This page has no settings {names}: they are ignored."
            )
            has = f" Settings here: {listed(sorted(self._met))}." if self._met else ""
            self.complaints.append(ignored + has)

    def _place(self, name: str) -> tuple[str, str]:
        """Where a value is kept: with its page, or for all pages."""
        return ("" if name in SHARED else self._stem), name

    def _keep(
        self, name: str, value: Any, default: Any, raw: Iterable[str], follows: str = ""
    ) -> None:
        store = st.session_state[_STORE]
        st.session_state.setdefault(_NAMES, set()).add(name)
        several = _several(value)
        followed = value != default and store.get(self._place(follows)) not in several
        if follows and several and followed:
            store[self._place(follows)] = several[0]
        # a default of one page, which nobody chose, is nothing that others should follow
        if value != default or name not in SHARED or self._place(name) in store:
            store[self._place(name)] = value
        if value != default:
            self._url[name] = list(raw)


def listed(options: Iterable[str], most: int = 20) -> str:
    """Options in words, the first of many."""
    several = list(options)
    more = f" and {len(several) - most:,} others" if len(several) > most else ""
    return ", ".join(several[:most]) + more


def distinct(names: Iterable[str]) -> list[str]:
    """Names as they are shown where several things may share one: a select box tells its options
    apart by their text alone, so that "image.png" is followed by "image.png (2)".
    """
    shown: list[str] = []
    for name in names:
        number, text = 1, name
        while text in shown:
            number += 1
            text = f"{name} ({number})"
        shown.append(text)
    return shown


def offered(paths: pd.Series, among: pd.Series, name: str = "image") -> list[str]:
    """The first :data:`OFFERED` paths, for a select box; always with the one that is open or that a
    link asks for, where it is ``among`` all paths.
    """
    listed: list[str] = paths.head(OFFERED).tolist()
    known = dict.fromkeys((st.query_params.get(name), st.session_state.get(name)))
    return listed + [
        path for path in known if path and path not in listed and bool((among == path).any())
    ]


def set_control(name: str, value: Any) -> None:
    """Set a control from a callback (a click in a figure), as if the user had moved it."""
    st.session_state[name] = value
    acted()


def set_controls(**values: Any) -> None:
    """Several at once, as :func:`set_control`."""
    for name, value in values.items():
        set_control(name, value)


def acted() -> None:
    """In the callback of whatever a user can touch: the run that follows is not a link's."""
    st.session_state[_ACTED] = True


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
