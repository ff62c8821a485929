"""The encoders of a workspace's images beside each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import combinations
from typing import Any

from aigi_core.encodings import open_encodings
from aigi_core.statements import p_text, span
from aigi_core.transfer.encoders import Encoding, agreement, compare, costs, measure
from aigi_core.workspace import Workspace
from reports.tables import Rows, columns


class EncoderTables:
    """The same detectors on the same images and splits, by encoder."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def tables(self) -> dict[str, Callable[[], Rows]]:
        """Name of a table -> what makes its rows."""
        return {"encoders": self.encoders, "encoder-errors": self.errors}

    @cached_property
    def opened(self) -> dict[str, Workspace]:
        """The encodings, the workspace's own first."""
        return open_encodings(self.workspace.path)

    @cached_property
    def measured(self) -> dict[str, Encoding]:
        """Their detectors."""
        return {name: measure(name, one) for name, one in self.opened.items()}

    def encoders(self) -> Rows:
        """One row an encoder: balanced accuracy, paired difference to the first, cost."""
        rows = [
            columns(
                "encoder | model | values | bytes an image | out-of-domain | in-domain |"
                " generator found least | less the first"
            )
        ]
        cost = costs(self.opened).set_index("name")
        for row in compare(self.measured).to_dict("records"):
            of, first = cost.loc[row["name"]], len(rows) == 1
            rows.append(
                [
                    row["name"],
                    row["model"],
                    f"{of['width']:,}",
                    f"{of['bytes']:,}",
                    span(row["value"], row["low"], row["high"]),
                    f"{row['in_domain']:.3f}",
                    f"{row['hardest']} {_interval(row, 'hardest_value')}",
                    "–"
                    if first
                    else f"{_interval(row, 'change', signed=True)}, {p_text(row['q_value'], 'q')}",
                ]
            )
        return rows

    def errors(self) -> Rows:
        """One row a pair of encoders: how alike their errors are, and what their mean gains."""
        rows = [
            columns(
                "encoders | both wrong | if independent | ratio | mean of both, out-of-domain |"
                " gain over the better | images"
            )
        ]
        domains = self.workspace.domains
        for a, b in combinations(self.measured, 2):
            both = agreement(self.measured[a], self.measured[b], domains)
            rows.append(
                [
                    f"{a}, {b}",
                    f"{both['both_wrong']:.3f}",
                    f"{both['expected_both_wrong']:.3f}",
                    _interval(both, "ratio"),
                    f"{both['ensemble']:.3f}",
                    f"{_interval(both, 'gain', signed=True)}, {p_text(both['p_value'])}",
                    f"{both['n']:,}",
                ]
            )
        return rows


def _interval(row: Mapping[Any, Any], name: str, *, signed: bool = False) -> str:
    return span(row[name], row[f"{name}_low"], row[f"{name}_high"], signed=signed)
