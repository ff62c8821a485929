"""One numerical thread for each session's work; imported before anything else of the app.

Every session runs in a thread of its own. Several of them, each with a pool of BLAS or OpenMP
threads, would wait for one another: on two busy cores training took 41 s instead of 0.9 s.
``OMP_NUM_THREADS`` overrides it.
"""

import os

from threadpoolctl import threadpool_limits

SET_HERE = [
    variable
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    if os.environ.setdefault(variable, "") == ""
]
"""Variables that are the app's own, and no word of who started it."""
os.environ.update(dict.fromkeys(SET_HERE, "1"))  # for libraries that are loaded later

import numpy  # noqa: E402, F401  (Streamlit may have loaded it already, hence the limits below)

LIMITS = threadpool_limits(int(os.environ["OMP_NUM_THREADS"]), user_api="blas")
