"""Stress tests of a workspace for their page, computed once for all sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from aigi_core import stress as library
from aigi_core.figures.stress import SIDE_NAMES, op_name
from aigi_core.manifest import SPLITS
from aigi_core.perturb import PERTURBATIONS, parse_ops
from aigi_core.statements import Finding, counted, part_counted
from aigi_core.stress import AUGMENTED, CLEAN, SIDES, Side, Stress
from aigi_core.stress.copies import perturb_command
from aigi_core.transfer import DEFAULT_METRIC
from aigi_core.winner import estimates, winner
from aigi_core.workspace import Workspace
from ui.toolkit.apart import apart
from ui.toolkit.jobs import Progress, job
from ui.toolkit.kept import cached
from ui.toolkit.page import Page, inert
from ui.toolkit.report import Stat

SIDE_OPTIONS: dict[str, Side] = {SIDE_NAMES[side].capitalize(): side for side in SIDES}
CELLS = {"In-domain": "in-domain", "Out of domain": "ood"}
component_stability = cached(library.component_stability)
trainable = cached(library.trainable)


@cached
def tables(workspace: Workspace) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Summary and table by generator of detectors of clean images under every operation.

    Detectors weigh both classes alike, as on the other pages.
    """
    return apart(library.clean_tables, workspace, DEFAULT_METRIC)


@cached
def tested(workspace: Workspace, op: str, side: Side) -> Stress:
    """The same detectors on clean images and under one operation."""
    return apart(library.stress, workspace, ops=(op,), sides=(side,), metrics=(DEFAULT_METRIC,))


@cached
def gains(workspace: Workspace, trained: str) -> pd.DataFrame:
    """What training on copies changes under each test."""
    return apart(library.training_gains, workspace, trained, DEFAULT_METRIC)


def op_options(workspace: Workspace) -> dict[str, str]:
    """Titles of operations -> their spelling."""
    return {op.title: str(op) for op in library.perturbed_ops(workspace)}


def descriptions(workspace: Workspace) -> str:
    """What each operation does."""
    return (
        "; ".join(f"{op.title}: {op.description}" for op in library.perturbed_ops(workspace)) + "."
    )


def cell_options(summary: pd.DataFrame) -> dict[str, str]:
    """Groups of cells that there are: a single generator has none out of domain."""
    return {title: name for title, name in CELLS.items() if (summary["cells"] == name).any()}


def kind_options(workspace: Workspace) -> dict[str, str]:
    """Kinds of operation whose strength can be drawn, in words -> their names."""
    kinds = dict.fromkeys(op.kind for op in library.perturbed_ops(workspace))
    return {PERTURBATIONS[kind].name: kind for kind in kinds if PERTURBATIONS[kind].takes_value}


def training_options(workspace: Workspace) -> dict[str, str]:
    """What detectors can be trained on, in words."""
    names = {AUGMENTED: "images and their copies"}
    return {
        names.get(trained, f"copies only: {op_name(trained)}"): trained
        for trained in trainable(workspace)
    }


def robust_heads(page: Page, op: str, train: str) -> pd.DataFrame | None:
    """Each head alone, by a button: as many fits as heads."""

    def compute(progress: Progress) -> pd.DataFrame:
        return library.robust_heads(page.workspace, op, train, progress=progress)

    return job(
        page,
        "robust-heads",
        "Test every head",
        compute,
        about="Seconds to a minute.",
        op=op,
        train=train,
    )


def has_heads(workspace: Workspace, op: str) -> bool:
    """Whether the copies of an operation were encoded with their heads."""
    return library.open_perturbed(workspace, op).has_heads


def hardest(summary: pd.DataFrame) -> str:
    """The operation that costs most in-domain, in words."""
    return op_name(str(_both(summary, "in-domain").sort_values("change")["op"].iloc[0]))


def of_kind(by_generator: pd.DataFrame, kind: str, generators: Sequence[str]) -> pd.DataFrame:
    """Rows of some generators under one kind of operation and clean, on both classes."""
    mine = by_generator["kind"].isin([kind, CLEAN]) & (by_generator["side"] == "both")
    rows: pd.DataFrame = by_generator[mine & by_generator["name"].isin(generators)]
    return rows


def components_in_words(stability: pd.DataFrame) -> str:
    """How components come through an operation, as a sentence."""
    measured = stability.dropna(subset=["correlation"])
    if measured.empty:
        return "No component can be compared: each has the same value on all images."
    low, middle, high = measured["correlation"].quantile([0.025, 0.5, 0.975])
    weakest = winner(
        measured.rename(columns={"component": "name", "correlation": "value"}),
        highest=False,
        limits=(-1, 1),
    )
    return (
        f"The median correlation of image and copy is **{middle:.2f}** over"
        f" {counted(len(measured), 'component')} (95% of them: {low:.2f} to {high:.2f};"
        f" {counted(int(measured['n'].iloc[0]), 'image')}). Lowest is component {weakest.name}:"
        f" {weakest.numbers(2)}."
    )


def answer(summary: pd.DataFrame) -> str:
    """The page's answer: how many operations cost something, and the one that costs most."""
    table = _both(summary, "in-domain")
    clean = summary[(summary["op"] == CLEAN) & (summary["cells"] == "in-domain")].iloc[0]
    changes = [
        Finding.of_row(
            row,
            "change",
            q_value=float(row["q_value"]),
            n=int(row["n"]),
            what="paired cell",
            corrected_over=counted(len(table), "operation"),
        )
        for row in table.to_dict("records")
    ]
    losing = [change for change in changes if change.direction == "lower"]
    candidates = estimates(table, "change", table["op"], n=table["n"])
    top = winner(candidates, highest=False)
    at = int(candidates["value"].to_numpy().argmin())
    worst = table.iloc[at]
    largest = replace(changes[at], low=top.low, high=top.high, chosen_among=top.of)
    lead = (
        f"**{part_counted(len(losing), len(table), 'operation', 'cost')} accuracy** on the"
        " generator that a detector was trained on (5% FDR)."
        if len(losing)
        else f"**None of {counted(len(table), 'operation')} is shown to cost accuracy** on"
        " the generator that a detector was trained on (5% FDR)."
    )
    return (
        f"{lead} Largest of {counted(len(table), 'loss')} on these images:"
        f" {inert(op_name(str(worst['op'])))}, in-domain balanced accuracy from"
        f" {clean['value']:.3f} to **{worst['value']:.3f}**: {largest.points()}."
    )


def stats(summary: pd.DataFrame, op: str) -> list[Stat]:
    """Clean and perturbed means, in-domain and out of domain."""
    table = summary[(summary["side"] == "both") & summary["op"].isin([CLEAN, op])]
    return [
        Stat(
            f"{'Clean' if row['op'] == CLEAN else 'Perturbed'},"
            f" {'in-domain' if row['cells'] == 'in-domain' else 'OOD'}",
            f"{row['value']:.3f}",
            counted(row["n"], "cell"),
            (row["low"], row["high"]),
            "Mean balanced accuracy; perturbed: both classes, by the chosen operation.",
        )
        for row in table.to_dict("records")
    ]


def no_copies(workspace: Workspace) -> str:
    """What to run where there is nothing to test on."""
    ops = ["jpeg:90,70,50,30", "resize:.5,.25", "blur:1,2,3", "noise:.02,.05", "crop:.8"]
    again = workspace.command("perturb", ops=ops)
    return (
        f"Encode perturbed copies once: `{again}`. For each operation it takes as long as"
        " encoding the test images. If interrupted, it continues where it stopped."
    )


def no_training_copies(workspace: Workspace) -> str:
    """What to run to train on copies."""
    again = workspace.command("perturb", splits=SPLITS, ops="jpeg:50")
    return f"This needs copies of the training images, too: `{again}`."


def no_heads(workspace: Workspace, op: str) -> str:
    """What to run to see which heads hold."""
    return (
        "These copies were encoded without heads. To test heads:"
        f" `{perturb_command(workspace, parse_ops([op])[0], heads=True)}`."
    )


def _both(summary: pd.DataFrame, cells: str) -> pd.DataFrame:
    mine: pd.DataFrame = summary[
        (summary["side"] == "both") & (summary["cells"] == cells) & (summary["op"] != CLEAN)
    ]
    return mine
