"""Every method of detecting on one matrix: the same training sets, images, draws and machine."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np
import pandas as pd

from aigi_core import results
from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.methods import METHODS, method
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.results import ResultKind, StoredResult
from aigi_core.significance import q_values
from aigi_core.statements import Finding, counted
from aigi_core.transfer.difference import difference
from aigi_core.transfer.imported import imported_matrix, imported_names, stored_import
from aigi_core.transfer.matrix import TransferMatrix, make_training_sets, transfer_matrix
from aigi_core.winner import Winner, winner
from aigi_core.workspace import Workspace, digest_of, tool_versions

KIND = ResultKind("methods", "scores of methods", job="methods", format=1)
"""One stored result a method, so that a job that was stopped goes on with the next."""
BOARD = ResultKind("board", "board of methods", job="methods", format=1)
REFERENCE = "logistic"
IMPORTED = "imported: "
"""Before the name of imported scores in the column ``method``; no method is called so."""
MEASURED = (DEFAULT_METRIC, "auc", "accuracy_real", "accuracy_fake")


def measure_method(workspace: Workspace, name: str) -> str:
    """Train one detector a generator by a method, score all images and store the scores; returns
    a sentence. Nothing is done where they are stored.

    Raises:
        AigiError: the method cannot be trained here; says why.
    """
    one = method(name)
    try:
        stored_scores(workspace, name)
        return f"{one.title}: stored before."
    except WorkspaceError:
        pass  # not yet, or damaged: computed again
    sets = list(make_training_sets(workspace.domains, "each generator").values())
    start = perf_counter()
    detectors = one.train(workspace, sets)
    trained = perf_counter()
    scores = score_detectors(detectors, workspace)
    seconds = {"train": trained - start, "score": perf_counter() - trained}
    results.publish(
        workspace,
        KIND,
        {"method": name},
        {"scores.npz": {"test": scores[:, workspace.domains.split == "test"].astype(np.float32)}},
        banks=one.banks,
        content={"thresholds": [detector.threshold for detector in detectors]},
        about={"seconds": seconds, "versions": tool_versions()},
    )
    return f"{one.title}: trained in {seconds['train']:.2f} s, scored in {seconds['score']:.2f} s."


def stored_scores(workspace: Workspace, name: str) -> StoredResult:
    """What :func:`measure_method` stored; WorkspaceError where it did not."""
    return results.load(workspace, KIND, {"method": name}, method(name).banks)


def measured_methods(workspace: Workspace) -> list[str]:
    """Methods whose scores are stored, in the registry's order."""
    stored = {str(result.parameters.get("method")) for result in results.current(workspace, KIND)}
    return [name for name in METHODS if name in stored]


def method_matrix(workspace: Workspace, name: str) -> TransferMatrix:
    """The matrix of a method from its stored scores, with 1,000 draws.

    Raises:
        WorkspaceError: they are not stored; names the command.
    """
    stored = stored_scores(workspace, name)
    sets = list(make_training_sets(workspace.domains, "each generator").values())
    scores = np.zeros((len(sets), len(workspace.domains)))  # only test images are measured
    scores[:, workspace.domains.split == "test"] = stored.arrays("scores.npz")["test"]
    return transfer_matrix(
        scores,
        workspace.domains,
        sets,
        thresholds=np.asarray(stored.content["thresholds"], np.float64),
        metrics=MEASURED,
    )


def board(workspace: Workspace) -> pd.DataFrame:
    """One row a method, best out of domain first.

    Columns ``method, title``; ``in_domain``, ``ood``, ``auc``, ``real``, ``fake`` with ``_low`` and
    ``_high`` (balanced accuracy in domain; the others out of domain), ``cells``; ``worst`` (with
    ``_low`` and ``_high``, which allow for the choice) and ``worst_on``, the generator found least
    by detectors that never saw it; ``difference`` to
    logistic regression out of domain, paired image by image, with ``_low, _high, p_value`` and
    ``q_value`` (Benjamini-Hochberg over the methods); ``train_seconds, score_seconds`` of one
    detector a generator and of all images by all of them, on one thread.

    Imported scores are of one detector a generator, as those of methods are, or of one detector: in
    domain are the generators it was trained on, and it is compared with logistic regression on the
    same generator where that is one, else on one other, on the cells out of domain for both.

    Raises:
        WorkspaceError: no method was measured, logistic regression among them; names the command.
    """
    imported = [IMPORTED + name for name in imported_names(workspace)]
    wanted = [*measured_methods(workspace), *imported]
    reference = method_matrix(workspace, REFERENCE)
    outside = ~reference.in_domain
    if not outside.any():
        raise AigiError("A board of methods needs two generators at least: add images of another.")
    rows = []
    for name in dict.fromkeys([REFERENCE, *wanted]):
        other = name.startswith(IMPORTED)
        if other:
            title = name.removeprefix(IMPORTED)
            matrix, seen = imported_matrix(workspace, title, MEASURED)
            about = stored_import(workspace, title).about
        else:
            title, seen = METHODS[name].title, None
            about = stored_scores(workspace, name).about
            matrix = reference if name == REFERENCE else method_matrix(workspace, name)
        own = matrix
        inside = matrix.in_domain
        outside = ~matrix.in_domain
        paired = outside
        if seen is not None:  # one detector: one row
            inside = np.isin(matrix.test, seen)[None]
            own = matrix.rows([0])
            paired = outside & ~inside
            outside = ~inside
            same = np.array([names == tuple(seen) for names in reference.train])
            if same.any():  # else what is compared would be the choice of training generators
                paired = paired & same[:, None]
        row: dict[str, object] = {"method": name, "title": title}
        for column, metric, cells in (
            ("in_domain", DEFAULT_METRIC, inside),
            ("ood", DEFAULT_METRIC, outside),
            ("auc", "auc", outside),
            ("real", "accuracy_real", outside),
            ("fake", "accuracy_fake", outside),
        ):
            mean = own.mean(metric, cells)
            row |= {column: mean.value, f"{column}_low": mean.low, f"{column}_high": mean.high}
        worst = matrix.hardest(DEFAULT_METRIC, left_out=seen or ())
        assert worst  # there are cells out of domain
        row |= {"cells": int(outside.sum()), "worst_on": worst.name}
        row |= {"worst": worst.value, "worst_low": worst.low, "worst_high": worst.high}
        change = (
            None
            if name == REFERENCE
            else difference(matrix, reference, DEFAULT_METRIC).mean(paired)
        )
        row |= {
            "difference": change.value if change else np.nan,
            "difference_low": change.low if change else np.nan,
            "difference_high": change.high if change else np.nan,
            "p_value": change.p_value if change else np.nan,
        }
        seconds = about.get("seconds", {})
        row |= {f"{step}_seconds": float(seconds.get(step, np.nan)) for step in ("train", "score")}
        rows.append(row)
    table = pd.DataFrame(rows)
    compared = table["p_value"].notna().to_numpy()
    table["q_value"] = np.nan
    if compared.any():
        table.loc[compared, "q_value"] = q_values(table.loc[compared, "p_value"].to_numpy(float))
    return in_order(table)


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """The highest mean out of domain first; rows over other cells than logistic regression's stand
    last, as their means answer another question."""
    table = table.sort_values("ood", ascending=False, kind="stable")
    same = _same_cells(table)
    ordered: pd.DataFrame = pd.concat([table[same], table[~same]], ignore_index=True)
    return ordered


def highest(table: pd.DataFrame) -> Winner:
    """The method with the highest mean out of domain, with an interval that allows for the choice;
    among those trained on each generator in turn, for a mean over other cells is another question.
    """
    table = on_the_same_cells(table)
    columns = {"title": "name", "ood": "value", "ood_low": "low", "ood_high": "high", "cells": "n"}
    return winner(table[list(columns)].rename(columns=columns), limits=(0, 1))


def on_the_same_cells(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a board whose mean out of domain is over the cells of logistic regression's."""
    return table[_same_cells(table)].reset_index(drop=True)


def _same_cells(table: pd.DataFrame) -> np.ndarray:
    [cells] = table.loc[table["method"] == REFERENCE, "cells"]
    same: np.ndarray = (table["cells"] == cells).to_numpy()
    return same


def stored_board(workspace: Workspace) -> pd.DataFrame:
    """:func:`board` as :func:`save_board` stored it; computed where the scores of a method, or
    imported ones, have changed since.

    Raises:
        WorkspaceError: as :func:`board`.
    """
    try:
        stored = results.load(workspace, BOARD, {})
        if stored.content.get("rests_on") == _rests_on(workspace):
            return stored.table("board")
    except WorkspaceError:
        pass  # not stored, or damaged
    return board(workspace)


def save_board(workspace: Workspace) -> pd.DataFrame:
    """Compute and store the board of all that is measured, so that pages read it."""
    table = board(workspace)
    content = {"rests_on": _rests_on(workspace)}
    results.publish(workspace, BOARD, {}, {"board.parquet": table}, content=content)
    return table


def _rests_on(workspace: Workspace) -> dict[str, str]:
    """Row of the board -> digest of what is stored of it."""
    parts = {name: stored_scores(workspace, name) for name in measured_methods(workspace)}
    parts |= {IMPORTED + name: stored_import(workspace, name) for name in imported_names(workspace)}
    return {
        name: digest_of({"files": one.files, "content": one.content, "about": one.about})
        for name, one in parts.items()
    }


def comparison(table: pd.DataFrame, show: Callable[[str], str] = str) -> str:
    """What :func:`board` says of the differences to logistic regression, in sentences.

    A method counts as better or worse where its interval excludes zero and its q-value is below
    .05; where only the interval does, that is said.

    Args:
        show: how a title is written (escaped, on a page).
    """
    rows = table[table["p_value"].notna()]
    over = counted(len(rows), "method")
    groups: dict[str, list[str]] = {"higher": [], "lower": [], "interval alone": []}
    for _, row in rows.iterrows():
        value, low, high = (float(row[f"difference{end}"]) for end in ("", "_low", "_high"))
        finding = Finding(
            value,
            low,
            high,
            q_value=float(row["q_value"]),
            n=int(row["cells"]),
            what="cell",
            corrected_over=over,
        )
        if finding.direction in groups:
            groups[finding.direction].append(show(row["title"]))
        elif not low <= 0 <= high:
            groups["interval alone"].append(f"{show(row['title'])} {finding.numbers()}")
    sentences = [
        f"Significantly {verdict} than logistic regression out of domain:"
        f" {', '.join(groups[key]) or 'none'}."
        for verdict, key in (("better", "higher"), ("worse", "lower"))
    ]
    if groups["interval alone"]:
        sentences.append(
            f"Not significant after correction for {over}, although the interval excludes zero:"
            f" {'; '.join(groups['interval alone'])}."
        )
    return " ".join(sentences)
