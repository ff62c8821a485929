"""One numerical thread for each session's work, and memory that all share; imported before anything
else of the app.

Every session runs in a thread of its own. Several of them, each with a pool of BLAS or OpenMP
threads, would wait for one another: on two busy cores training took 41 s instead of 0.9 s.
``OMP_NUM_THREADS`` overrides it. Arrow's own memory pool keeps what each thread has once used: in
each process 37 MB more for the demo's tables alone. The system's takes it back.
"""

import os

from threadpoolctl import threadpool_limits

_OURS = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
SET_HERE = [name for name in _OURS if not os.environ.get(name)]
"""Variables that are the app's own, and no word of who started it."""
os.environ.update({name: _OURS[name] for name in SET_HERE})  # for libraries that are loaded later

import numpy  # noqa: E402, F401  (Streamlit may have loaded it already, hence the limits below)

LIMITS = threadpool_limits(int(os.environ["OMP_NUM_THREADS"]), user_api="blas")
