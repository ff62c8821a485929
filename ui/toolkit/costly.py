"""Computations that a control may ask for and that take long: they wait until somebody says so."""

from __future__ import annotations

from collections.abc import Hashable

import streamlit as st

from aigi_core.errors import AigiError
from aigi_core.statements import counted

ASKED = 20.0
"""Seconds of a core from which on something begins only where somebody says so: a minute where
others are at work, too."""
_BEGUN = "_begun"


class CostlyError(AigiError):
    """What was not begun yet; pages say it as a note, with a button that begins it.

    Attributes:
        key: names the computation.
    """

    def __init__(self, sentence: str, key: Hashable) -> None:
        super().__init__(sentence)
        self.key = key


def lasting(seconds: float) -> str:
    """How long something takes, as far as one can say beforehand.

    >>> lasting(0.2), lasting(44), lasting(95)
    ('about 1 second', 'about 44 seconds', 'about 2 minutes')
    """
    if seconds < 60:
        return f"about {counted(max(round(seconds), 1), 'second')}"
    return f"about {counted(round(seconds / 60), 'minute')}"


def wait_for_yes(seconds: float, sentence: str, key: Hashable) -> None:
    """Pass on where so many seconds are no more than :data:`ASKED`, or this session has said yes.

    Raises:
        CostlyError: it has not; the sentence says what it costs.
    """
    if seconds > ASKED and key not in st.session_state.get(_BEGUN, ()):
        raise CostlyError(sentence, key)


def say_yes(key: Hashable) -> None:
    """From a button: begin it in the run that follows."""
    st.session_state[_BEGUN] = {*st.session_state.get(_BEGUN, ()), key}
