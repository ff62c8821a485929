"""Methods of detecting by encoder: the same images, splits and draws, paired image by image."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from aigi_core.errors import NotMadeError
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.significance import q_values
from aigi_core.transfer.board import measured_methods, row_of, stored_measured
from aigi_core.transfer.difference import difference
from aigi_core.workspace import Workspace


def shared_methods(encodings: Mapping[str, Workspace]) -> list[str]:
    """Methods that were measured on the first encoding and on another one.

    Raises:
        NotMadeError: there is none; names the command.
    """
    first, *others = encodings
    measured = {name: measured_methods(one) for name, one in encodings.items()}
    shared = [m for m in measured[first] if any(m in measured[other] for other in others)]
    if not shared:
        lacking = next((n for n in encodings if not measured[n] or n != first), first)
        raise NotMadeError(
            "No method was measured on two encoders of these images: run"
            f" '{encodings[lacking].command('methods')}'."
        )
    return shared


def rows_of_method(encodings: Mapping[str, Workspace], method: str) -> list[dict[str, object]]:
    """The rows of one of :func:`shared_methods`, before p-values are corrected."""
    first, *others = encodings
    reference = stored_measured(encodings[first], method).matrix(encodings[first])
    rows = []
    for name in (first, *(one for one in others if method in measured_methods(encodings[one]))):
        itself = name == first
        matrix = reference
        if not itself:
            matrix = stored_measured(encodings[name], method).matrix(encodings[name])
        outside = ~matrix.in_domain
        mean = matrix.mean(DEFAULT_METRIC, outside)
        gap = difference(matrix, reference, DEFAULT_METRIC).mean(outside)
        rows.append(
            {
                "method": row_of(method).title,
                "encoder": name,
                "ood": mean.value,
                "ood_low": mean.low,
                "ood_high": mean.high,
                "cells": mean.n,
                "difference": np.nan if itself else gap.value,
                "difference_low": np.nan if itself else gap.low,
                "difference_high": np.nan if itself else gap.high,
                "p_value": np.nan if itself else gap.p_value,
            }
        )
    return rows


def board_by_encoder(
    encodings: Mapping[str, Workspace],
    rows: Callable[..., list[dict[str, object]]] = rows_of_method,
) -> pd.DataFrame:
    """One row a method and encoder, of every one of :func:`shared_methods`.

    Args:
        encodings: of the same images, by name; the others are compared with the first.
        rows: called as :func:`rows_of_method`, for each method.

    Returns:
        ``method, encoder``; ``ood`` (balanced accuracy out of domain) with ``ood_low, ood_high``
        and ``cells``; ``difference`` to the same method by the first encoder, paired image by
        image, with ``difference_low, difference_high, p_value`` and ``q_value``
        (Benjamini-Hochberg over all differences).

    Raises:
        NotMadeError: no method was measured on two encoders; names the command.
    """
    shared = shared_methods(encodings)
    table = pd.DataFrame([row for method in shared for row in rows(encodings, method)])
    compared = table["p_value"].notna()
    table.loc[compared, "q_value"] = q_values(table.loc[compared, "p_value"].to_numpy(float))
    return table
