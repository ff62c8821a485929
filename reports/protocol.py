"""Ours, the paper's protocol on the same data, and the paper's own figures, side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from aigi_core.detectors.detector import Detector, score_detectors
from aigi_core.detectors.presets import PRESETS, Preset
from aigi_core.detectors.residual import train_residual
from aigi_core.detectors.training import train
from aigi_core.statements import span
from aigi_core.transfer.atlas import Atlas
from aigi_core.transfer.bootstrap import Estimate
from aigi_core.transfer.matrix import transfer_matrix
from aigi_core.transfer.paper_means import MEANS, paper_means
from aigi_core.workspace import Workspace
from reports.tables import Rows, columns

OWN = {  # accuracy, CLIP-L: mean of the matrix, then blocks; the paper gives no others
    ("embedding", "mean"): ".783",
    ("embedding", "diffusion to diffusion"): ".849",
    ("embedding", "diffusion to GAN"): ".749",
    ("embedding", "GAN to diffusion"): ".622",
    ("embedding", "GAN to GAN"): ".920",
    ("embedding, no bias", "mean"): ".783",
    ("residual", "mean"): ".754",
}
METRICS = ("balanced_accuracy", "accuracy")

SHOWN = (
    ("ours", METRICS[0]),
    ("ours", METRICS[1]),
    ("paper's protocol", METRICS[1]),
    ("paper's protocol", METRICS[0]),
)


class ProtocolTables:
    """Matrices of both protocols on one workspace, summed up as the paper does."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def tables(self) -> dict[str, Callable[[], Rows]]:
        """Name of a table -> what makes its rows."""
        return {"protocols": self.protocols, "protocol-searches": self.searches}

    def protocols(self) -> Rows:
        """One row a feature view, mean, and with or without the diagonal."""
        rows = [
            columns(
                "features | mean | diagonal | ours, balanced accuracy | ours, accuracy | "
                "paper's protocol, accuracy | paper's protocol, balanced accuracy | "
                "the paper, CLIP-L, accuracy"
            )
        ]
        for features in ("embedding", "embedding, no bias", "residual"):
            means = {name: self._means(features, used) for name, used in PRESETS.items()}
            for diagonal in (True, False):
                for mean in MEANS:
                    cells = [
                        _text(means[used][diagonal, metric, mean])
                        for used, metric in (
                            ("ours", METRICS[0]),
                            ("ours", METRICS[1]),
                            ("paper", METRICS[1]),
                            ("paper", METRICS[0]),
                        )
                    ]
                    own = OWN.get((features, mean), "–") if diagonal else "–"
                    rows.append([features, mean, "with" if diagonal else "without", *cells, own])
        return rows

    def searches(self) -> Rows:
        """One row a search that both protocols have stored: D_eval's test images after it, and the
        change against the whole embedding."""
        keys = ["a", "b", "view", "metric"]
        tables = []
        for name in PRESETS:
            table = Atlas.open(self.workspace, protocol=name).summary
            mine = table[table["cells"] == "D_eval"]
            tables.append({tuple(row[key] for key in keys): row for _, row in mine.iterrows()})
        ours, papers = tables
        rows = [
            [
                "search",
                "pair",
                "kept, ours",
                "kept, paper's protocol",
                *(f"{whose}, {metric.replace('_', ' ')}" for whose, metric in SHOWN),
                "change, ours, balanced accuracy",
                "change, paper's protocol, accuracy",
                "the paper's best pair, CLIP-L, accuracy",
            ]
        ]
        for a, b, view in dict.fromkeys(key[:3] for key in papers):
            own = {
                "ours": {m: ours[a, b, view, m] for m in METRICS},
                "paper's protocol": {m: papers[a, b, view, m] for m in METRICS},
            }
            first, second = (a, b) if view != "heads b>a" else (b, a)
            rows.append(
                [
                    "components" if view == "components" else "heads",
                    f"{first} / {second}" if view == "components" else f"{first} → {second}",
                    *(str(int(summary[METRICS[0]]["kept"])) for summary in own.values()),
                    *(_interval(own[whose][metric], "after") for whose, metric in SHOWN),
                    _interval(own["ours"][METRICS[0]], "change", signed=True),
                    _interval(own["paper's protocol"][METRICS[1]], "change", signed=True),
                    ".812" if view == "components" else ".806",
                ]
            )
        return rows

    def _means(self, features: str, used: Preset) -> dict[tuple[bool, str, str], Estimate]:
        workspace, names = self.workspace, self.workspace.domains.generators
        protocol = replace(used.training, fit_intercept=features != "embedding, no bias")
        detectors: list[Detector]
        if features == "residual":
            detectors = list(train_residual(workspace, names, protocol, means=used.residual))
        else:
            detectors = list(train(workspace, names, protocol=protocol))
        matrix = transfer_matrix(
            score_detectors(detectors, workspace), workspace.domains, names, metrics=METRICS
        )
        means = {}
        for diagonal in (True, False):
            for metric in METRICS:
                table = paper_means(matrix, metric, diagonal=diagonal)
                for name, value, low, high, n in table.itertuples(index=False):
                    means[diagonal, metric, str(name)] = Estimate(value, low, high, int(n))
        return means


def _text(mean: Estimate) -> str:
    return str(mean) if mean.n else "–"


def _interval(row: pd.Series, name: str, *, signed: bool = False) -> str:
    return span(row[name], row[f"{name}_low"], row[f"{name}_high"], signed=signed)
