"""The one place that imports FAISS: ``from aigi_core._faiss import faiss``, inside of functions,
for it takes long to load.

Its switch from loops to matrix products is a setting of the whole process: set here, nothing
depends on which of its users came first.
"""

import faiss

PRODUCTS_FROM = 2048
"""Numbers of all queries from which on FAISS takes one product of matrices: six queries of 384
dimensions. By default it is 128,000, 333 queries, and fewer are compared with each row in turn,
which takes seven times as long for the 300 draws of a null among 3,614 texts."""

faiss.cvar.distance_compute_blas_threshold = PRODUCTS_FROM

__all__ = ["faiss"]
