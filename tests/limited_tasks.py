"""What a process does that is limited; imported by it, so it imports little itself."""

import os

from aigi_core.errors import AigiError
from aigi_core.images import ImageError


def task(what: str) -> str:
    """What a file of a stranger may make a decoder do."""
    if what == "spin":
        while True:
            pass
    if what == "crash":
        os.kill(os.getpid(), 11)
    if what == "fill":
        return str(len(bytearray(2**30)))
    if what == "no image":
        raise ImageError("empty", "the file has no bytes")
    if what == "raise":
        raise AigiError("one sentence")
    return f"{what} by {os.getpid()}"
