"""One numerical thread for each session's work, and memory that all share; imported before anything
else of the app.

Every session runs in a thread of its own. Several of them, each with a pool of BLAS or OpenMP
threads, would wait for one another: on two busy cores training took 41 s instead of 0.9 s.
``OMP_NUM_THREADS`` overrides it. Arrow's own memory pool keeps what each thread has once used: in
each process 37 MB more for the demo's tables alone. The system's takes it back. The C library would
keep an arena for every few threads, each with gaps that the others cannot use: 400 MB of 650 with
twenty sessions, and 50 of 320 with two arenas. ``MALLOC_ARENA_MAX`` overrides that.
"""

import ctypes
import os
from contextlib import suppress

from threadpoolctl import threadpool_limits

_OURS = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
}
SET_HERE = [name for name in _OURS if not os.environ.get(name)]
"""Variables that are the app's own, and no word of who started it."""
os.environ.update({name: _OURS[name] for name in SET_HERE})  # for libraries that are loaded later
with suppress(OSError, AttributeError, TypeError, ValueError):  # glibc alone; read as it started
    _M_ARENA_MAX = -8
    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, int(os.environ["MALLOC_ARENA_MAX"]))

import numpy  # noqa: E402, F401  (Streamlit may have loaded it already, hence the limits below)

LIMITS = threadpool_limits(int(os.environ["OMP_NUM_THREADS"]), user_api="blas")
