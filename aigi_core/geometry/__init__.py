"""Shape of embedding spaces: how evenly they are filled, and whether transfer goes with it."""

from aigi_core.geometry.measures import (
    MEASURES,
    ZETA,
    GeometryComparison,
    compare_geometry,
    isoscore,
    isoscore_star,
    mean_cosine,
    participation_ratio,
)

__all__ = [
    "MEASURES",
    "ZETA",
    "GeometryComparison",
    "compare_geometry",
    "isoscore",
    "isoscore_star",
    "mean_cosine",
    "participation_ratio",
]
