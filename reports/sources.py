"""Tables of attribution and of fine-tuning for ``python -m reports``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import pandas as pd

from aigi_core.attribution.report import Attribution, load_attribution
from aigi_core.statements import span
from aigi_core.transfer.finetuned import finetuned_names, stored_runs
from aigi_core.workspace import Workspace
from reports.tables import Rows, columns

NAMED_BY = "regression"


class SourceTables:
    """The tables of one workspace whose attribution is stored."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def tables(self) -> dict[str, Callable[[], Rows]]:
        """Name -> rows, the header first."""
        return {
            "attribution": self.named,
            "attribution-confusion": self.confusion,
            "attribution-open-set": self.open_set,
            "finetuning": self.finetuning,
        }

    @cached_property
    def attribution(self) -> Attribution:
        return load_attribution(self.workspace)

    def named(self) -> Rows:
        """Recall and precision of each source by each way of naming."""
        rows = []
        for way, named in self.attribution.named.items():
            mean = named.mean_recall()
            rows.append([way, "mean", span(mean.value, mean.low, mean.high), "–", str(mean.n), ""])
            for row in named.by_source().to_dict("records"):
                taken = f"{row['taken_for']} ({row['taken_share']:.0%})" if row["taken_for"] else ""
                rows.append(
                    [
                        way,
                        str(row["source"]),
                        _rate(row, "recall"),
                        _rate(row, "precision") if row["named"] else "–",
                        str(row["n"]),
                        taken,
                    ]
                )
        return [columns("named by | source | recall | precision | n | most taken for"), *rows]

    def confusion(self) -> Rows:
        """Share of each source's test images that are named as each, in percent."""
        named = self.attribution.named[NAMED_BY]
        rate, (low, high), n = named.confusion()
        numbers = [str(at + 1) for at in range(len(named.names))]
        rows = [
            [
                f"{numbers[at]} {name}",
                *(f"{share:.0%}".rstrip("%") if share > 0 else "·" for share in rate[at]),
                f"{low[at, at]:.0%} to {high[at, at]:.0%}",
                str(n[at]),
            ]
            for at, name in enumerate(named.names)
        ]
        return [["made by, named as", *numbers, "right, 95%", "n"], *rows]

    def open_set(self) -> Rows:
        """Each generator left out in turn."""
        rows = []
        for way, table in self.attribution.unknown.items():
            for row in table.to_dict("records"):
                rows.append(
                    [
                        way,
                        str(row["generator"]),
                        *(
                            _rate(row, name)
                            for name in ("auc", "unknown", "called_real", "false_attribution")
                        ),
                        f"{row['known_recall']:.3f}",
                        str(row["n"]),
                    ]
                )
        header = "named by | left out | AUROC | unknown | called real | named as another |"
        return [columns(f"{header} known let through | n"), *rows]

    def finetuning(self) -> Rows:
        """Balanced accuracy on validation images by epoch, in domain and out of it."""
        rows = []
        for name in finetuned_names(self.workspace):
            run = stored_runs(self.workspace, name)
            epochs = run.table("epochs").groupby("epoch")
            losses, kept = epochs[["loss", "val_loss"]].mean(), epochs["kept"].sum()
            curve = run.table("curve").set_index(["epoch", "where"])
            for epoch in losses.index:
                cells = [
                    _value(curve.loc[(epoch, where)]) if (epoch, where) in curve.index else "–"
                    for where in ("in domain", "out of domain")
                ]
                loss, val_loss = losses.loc[epoch]
                shown = "–" if pd.isna(loss) else f"{loss:.3f}"
                own = [name, str(epoch), *cells, shown, f"{val_loss:.3f}", str(kept[epoch])]
                rows.append(own)
        header = "fine-tuned | epoch | in domain | out of domain | loss | validation loss"
        return [columns(header + " | detectors kept here"), *rows]


def _rate(row: dict, name: str) -> str:
    return span(row[name], row[f"{name}_low"], row[f"{name}_high"])


def _value(row: pd.Series) -> str:
    return span(row["value"], row["low"], row["high"])
