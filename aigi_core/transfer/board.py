"""Every method of detecting on one matrix: the same training sets, images, draws and machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import process_time

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from aigi_core import results
from aigi_core.calibration import fit_calibration, pooled_calibration_error
from aigi_core.detectors.detector import Detector, score_detectors
from aigi_core.detectors.features import EmbeddingView, FeatureView
from aigi_core.detectors.heads import Progress
from aigi_core.detectors.methods import METHODS, Method, method
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.token_views import PreView
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.results import ResultKind, StoredResult
from aigi_core.significance import q_values
from aigi_core.statements import Finding, agreeing, counted, estimated
from aigi_core.transfer.bootstrap import Resample
from aigi_core.transfer.difference import MatrixDifference, difference
from aigi_core.transfer.imported import (
    CHOSEN,
    OWN,
    imported_names,
    imported_rows,
    stored_import,
    threshold_in_words,
    training_told,
)
from aigi_core.transfer.matrix import (
    TransferMatrix,
    make_training_sets,
    transfer_matrix,
)
from aigi_core.winner import Winner, winner
from aigi_core.workspace import Workspace, digest_of, tool_versions

KIND = ResultKind("methods", "scores of methods", job="methods", format=1)
"""One stored result a method, so that a job that was stopped goes on with the next."""
BOARD = ResultKind("board", "board of methods", job="methods", format=2)
REFERENCE = "logistic"
IMPORTED = "imported: "
"""Before the name of imported scores in the column ``method``; no method is called so."""
UNSEEN, ALL = "unseen generators", "all generators"
"""What the means of a row are over: generators that its detectors were not trained on; or all,
where nobody said what an imported detector has seen, and none is out of domain for certain."""
UNKNOWN = " (training set unknown: all cells)"
"""After the title of a row over all generators, for figures and lists."""
ONE_GENERATOR = "Comparing methods needs at least two generators: add images of another."
MEASURED = (DEFAULT_METRIC, "auc", "accuracy_real", "accuracy_fake")


@dataclass(frozen=True)
class Row:
    """A row of the board: a method on one feature view (None: the method's own)."""

    method: Method
    title: str
    view: FeatureView | None = None


OTHER_VIEWS: dict[str, tuple[str, FeatureView, str]] = {
    "logistic-unnormalised": ("logistic", EmbeddingView(normalise=False), "unnormalised"),
    "logistic-pre": ("logistic", PreView(), "before the projection"),
    "svm-pre": ("svm", PreView(), "before the projection"),
}
"""Rows beside every method on its own view, as the field uses them: the unnormalised embedding of
Ojha et al. 2023, the normalised vector before the projection of Cozzolino et al. 2024."""

OPERATING_POINTS = (
    "Balanced accuracy compares operating points: another threshold gives another difference."
)
ENDS = ("", "_low", "_high", "_chance")
NOT_CALIBRATED = {f"calibration{ood}{end}": np.nan for ood in ("", "_ood") for end in ENDS}


def rows_of_methods() -> dict[str, Row]:
    """Every row of the board that is trained here, by name."""
    rows = {name: Row(one, one.title) for name, one in METHODS.items()}
    return rows | {
        name: Row(METHODS[of], f"{METHODS[of].title}, {words}", view)
        for name, (of, view, words) in OTHER_VIEWS.items()
    }


def row_of(name: str) -> Row:
    """The row of this name; AigiError for an unknown one."""
    return rows_of_methods().get(name) or Row(method(name), "")


@dataclass(frozen=True, eq=False)
class Measured:
    """Scores of one detector a generator.

    Attributes:
        test: [K, n] of the test images.
        val: [K, m] of the validation images, by twins that were not trained on them; without
            columns where they were not stored.
        thresholds: [K] of the detectors.
        seconds: of the processor, ``train`` and ``score``.
    """

    test: Float[np.ndarray, "K n"]
    val: Float[np.ndarray, "K m"]
    thresholds: Float[np.ndarray, " K"]
    seconds: Mapping[str, float]

    def matrix(self, workspace: Workspace, metrics: Sequence[str] = MEASURED) -> TransferMatrix:
        """The transfer matrix of the scores, with 1,000 draws."""
        sets = list(make_training_sets(workspace.domains, "each generator").values())
        scores = np.zeros((len(sets), len(workspace.domains)))  # only test images are measured
        scores[:, workspace.domains.split == "test"] = self.test
        return transfer_matrix(
            scores, workspace.domains, sets, thresholds=self.thresholds, metrics=metrics
        )


def measure(workspace: Workspace, one: Method, view: FeatureView | None = None) -> Measured:
    """Train one detector a generator by a method and score test and validation images. Those of a
    method that :attr:`~Method.keeps` them are stored.

    Raises:
        AigiError: the method cannot be trained here; says why.
    """
    domains = workspace.domains
    sets = list(make_training_sets(domains, "each generator").values())
    one.check(workspace, view or one.default_view())
    one = one.bound(workspace)  # once for all: loading a text tower takes seconds
    start = process_time()
    detectors = one.train(workspace, sets, view)
    trained = process_time()
    scores = score_detectors(detectors, workspace)
    seconds = {"train": trained - start, "score": process_time() - trained}
    twins = [one.twin(workspace, detector) for detector in detectors]
    if one.keeps:
        _keep(workspace, one, detectors, twins)
    return Measured(
        scores[:, domains.split == "test"],
        score_detectors(twins, workspace, domains.split == "val"),
        np.array([detector.threshold for detector in detectors]),
        seconds,
    )


def _keep(
    workspace: Workspace, one: Method, detectors: Sequence[Detector], twins: Sequence[Detector]
) -> None:
    one.keep(workspace, detectors, Protocol())
    one.keep(workspace, twins, Protocol(refit=False))


def _keep_what_is_missing(workspace: Workspace, one: Method) -> str:
    """For a method that :attr:`~Method.keeps` its detectors, where scores are stored and these are
    not: a word of it.
    """
    sets = list(make_training_sets(workspace.domains, "each generator").values())
    if not one.keeps or one.kept(workspace, sets) is not None:
        return ""
    one.check(workspace, one.default_view())
    one = one.bound(workspace)
    detectors = one.train(workspace, sets)
    _keep(workspace, one, detectors, [one.twin(workspace, detector) for detector in detectors])
    return " What pages need of it is now stored."


def measure_method(workspace: Workspace, name: str) -> str:
    """Train one detector a generator by a method, score all images and store the scores; returns
    a sentence. Nothing is done where they are stored, and what pages read of the detectors is.

    Beside the scores of test images are those that detectors trained without the validation images
    give to these: they make scores probabilities.

    Raises:
        AigiError: the method cannot be trained here; says why.
    """
    row = row_of(name)
    try:
        if "val" in stored_scores(workspace, name).arrays("scores.npz"):
            return f"{row.title}: stored before.{_keep_what_is_missing(workspace, row.method)}"
    except WorkspaceError:
        pass  # not yet, or damaged: computed again
    measured = measure(workspace, row.method, row.view)
    test, val = (part.astype(np.float32) for part in (measured.test, measured.val))
    seconds = measured.seconds
    results.publish(
        workspace,
        KIND,
        {"method": name},
        {"scores.npz": {"test": test, "val": val}},
        banks=row.method.banks,
        content={"thresholds": measured.thresholds.tolist()},
        about={"seconds": seconds, "versions": tool_versions()},
    )
    return f"{row.title}: trained in {seconds['train']:.2f} s, scored in {seconds['score']:.2f} s."


def stored_scores(workspace: Workspace, name: str) -> StoredResult:
    """What :func:`measure_method` stored; WorkspaceError where it did not."""
    return results.load(workspace, KIND, {"method": name}, row_of(name).method.banks)


def measured_methods(workspace: Workspace) -> list[str]:
    """Rows whose scores are stored, methods in the registry's order first."""
    stored = {str(result.parameters.get("method")) for result in results.current(workspace, KIND)}
    return [name for name in rows_of_methods() if name in stored]


def stored_measured(workspace: Workspace, name: str) -> Measured:
    """:func:`stored_scores` as scores; raises as that does."""
    stored = stored_scores(workspace, name)
    arrays = stored.arrays("scores.npz")
    return Measured(
        arrays["test"].astype(np.float64),
        arrays.get("val", np.empty((len(arrays["test"]), 0))).astype(np.float64),
        np.asarray(stored.content["thresholds"], np.float64),
        stored.about.get("seconds", {}),
    )


def calibration_of(workspace: Workspace, measured: Measured) -> dict[str, float]:
    """How far the probabilities of a method are from frequencies, in and out of domain.

    Each detector's scores are mapped to probabilities on validation images of its own generator,
    by its twin, which has not been trained on them (Platt 1999); test images judge, all detectors
    together, real and fake images weighing alike.

    Returns:
        ``calibration`` (in domain) and ``calibration_ood`` with ``_low``, ``_high`` and
            ``_chance``, what probabilities without fault would show on as many images; NaN where
            the validation scores were not stored, or there is no such image.
    """
    if not measured.val.size:
        return NOT_CALIBRATED
    domains = workspace.domains
    test, val = (np.flatnonzero(domains.split == split) for split in ("test", "val"))
    inside, outside = np.zeros((2, len(domains.generators), len(test)), bool)
    probabilities = np.empty(inside.shape)
    for k, generator in enumerate(domains.generators):
        known = np.searchsorted(val, domains.rows(generator, "val"))
        fit = fit_calibration(measured.val[k][known], domains.labels[val[known]])
        probabilities[k] = fit.probability(measured.test[k])
        inside[k, np.searchsorted(test, domains.rows(generator, "test"))] = True
        own = domains.model_of(generator)
        others = [name for name in domains.generators if domains.model_of(name) != own]
        if others:
            outside[k, np.searchsorted(test, domains.rows(others, "test"))] = True
    drawn = Resample.of(domains, test)
    values: list[float] = []
    for pairs in (inside, outside):
        if not pairs.any():
            values += [np.nan] * len(ENDS)
            continue
        error = pooled_calibration_error(
            probabilities, domains.labels[test], pairs, drawn.counts, drawn.block
        )
        values += [error.ece, error.low, error.high, error.null_mean]
    return dict(zip(NOT_CALIBRATED, values, strict=True))


def _family_cells(
    matrix: TransferMatrix, outside: Bool[np.ndarray, "K T"], seen: Sequence[str] | None
) -> dict[str, Bool[np.ndarray, "K T"]]:
    """Cells out of domain by whether the tested generator's family was trained on; none where it
    is not known what was."""
    trained = [names if seen is None else tuple(seen) for names in matrix.train][: len(outside)]
    families = [{matrix.family_of[name] for name in names} for names in trained]
    same = np.array([[of in known for of in matrix.test_families] for known in families])
    told = np.array([bool(known) for known in families])[:, None]
    return {"same_family": outside & same & told, "other_family": outside & ~same & told}


def board(workspace: Workspace, progress: Progress | None = None) -> pd.DataFrame:
    """One row a method, best out of domain first.

    Columns ``method, title, measured_on`` (:data:`UNSEEN`, or :data:`ALL`), ``threshold_from`` (the
    threshold in words, and where it comes from); ``in_domain``, ``ood``, ``auc``, ``real``,
    ``fake`` with ``_low`` and ``_high`` (balanced accuracy in domain; the others out of domain),
    ``cells``; the blocks ``same_family`` and ``other_family`` (out of domain, the tested
    generator's family trained on or not) with their bounds and ``_cells``; :func:`calibration_of`;
    ``worst`` (with ``_low`` and ``_high``, which allow for the choice) and ``worst_on``, the
    generator found least by detectors that never saw it; ``difference`` to logistic regression out
    of domain, paired image by image, with ``_low, _high, p_value`` and ``q_value``
    (Benjamini-Hochberg over the methods, and apart from them over imported and fine-tuned
    detectors, so that these change nothing that is shown of methods); ``auc_difference`` (with its
    bounds), the same in AUC, where :func:`by_rule` chose the threshold; ``train_seconds,
    score_seconds`` of one detector a generator and of all images by all of them, on one thread.

    Imported scores are of one detector a generator, as those of methods are, or of one detector: in
    domain are the generators it was trained on, and it is compared with logistic regression on the
    same generator where that is one, else on one other, on the cells out of domain for both. Where
    nobody said what it was trained on, its means are over all cells and nothing is compared.

    Args:
        progress: called with (methods done, methods in all).

    Raises:
        WorkspaceError: no method was measured, logistic regression among them; names the command.
    """
    imported = [IMPORTED + name for name in imported_names(workspace)]
    wanted = [*measured_methods(workspace), *imported]
    reference = stored_measured(workspace, REFERENCE).matrix(workspace)
    if reference.in_domain.all():
        raise AigiError(ONE_GENERATOR)
    rows: list[dict[str, object]] = []
    wanted = list(dict.fromkeys([REFERENCE, *wanted]))
    for done, name in enumerate(wanted, 1):
        if name.startswith(IMPORTED):
            row = _imported_row(workspace, name.removeprefix(IMPORTED), reference)
        else:
            measured = stored_measured(workspace, name)
            matrix = reference if name == REFERENCE else measured.matrix(workspace)
            row = _row(row_of(name).title, matrix, reference, None, measured.seconds)
            row |= calibration_of(workspace, measured)
        rows.append({"method": name, **row})
        if progress is not None:
            progress(done, len(wanted))
    return in_order(_with_q(pd.DataFrame(rows)))


def board_of_imports(workspace: Workspace) -> pd.DataFrame:
    """The rows of imported scores alone, by name, as :func:`board` has them before logistic
    regression was measured: compared with nothing. Empty where there are none."""
    rows = [
        {"method": IMPORTED + name, **_imported_row(workspace, name, None)}
        for name in imported_names(workspace)
    ]
    return pd.DataFrame(rows)


@dataclass(frozen=True, eq=False)
class Compared:
    """Two rows of the board on the same cells.

    Attributes:
        a, b: their matrices, row by row.
        rows: what each row is called: the generator that detectors of a method are trained on.
        outside: [K, T] cells of generators that neither of the two was trained on, as far as that
            is known.
        told: whether it is known of both.
        change: ``a - b``, cell by cell.
    """

    a: TransferMatrix
    b: TransferMatrix
    rows: tuple[str, ...]
    outside: Bool[np.ndarray, "K T"]
    change: MatrixDifference
    told: bool


def compare(a: tuple[Workspace, str], b: tuple[Workspace, str]) -> Compared:
    """Two rows of a board, or of the boards of two encoders of the same images, by their
    ``method``: paired image by image, in balanced accuracy.

    A detector of chosen generators (imported or fine-tuned) is compared with the detector of a
    method that was trained on the same generator where there is one, else with each of them.

    Raises:
        AigiError: no generator is left that neither has seen; says so.
    """
    (first, seen_a), (second, seen_b) = (_matrix_of(*row) for row in (a, b))
    chosen = list(range(len(first.train)))
    seen = [names for names in (seen_a, seen_b) if names is not None]
    names = first.train_names
    if len(seen) == 2:
        chosen, names = [0], ("one detector",)
    elif seen and (same := [k for k in chosen if set(first.train[k]) == set(seen[0])]):
        chosen, names = same, tuple(first.train_names[k] for k in same)
    first, second = first.rows(chosen), second.rows(chosen)
    outside = np.ones(first.in_domain.shape, bool)
    for matrix, known in ((first, seen_a), (second, seen_b)):
        outside &= ~(matrix.in_domain if known is None else matrix.known_to(known)[None])
    if not outside.any():
        raise AigiError(
            "Each generator of this workspace was in the training set of one of the two"
            " detectors, so none is left to compare them on: choose another detector."
        )
    told = all(
        training_told(workspace, name.removeprefix(IMPORTED))
        for workspace, name in (a, b)
        if name.startswith(IMPORTED)
    )
    change = difference(first, second, DEFAULT_METRIC)
    return Compared(first, second, names, outside, change, told)


def _matrix_of(workspace: Workspace, name: str) -> tuple[TransferMatrix, list[str] | None]:
    """The matrix of a row of the board, and the generators its one detector has seen."""
    if name.startswith(IMPORTED):
        return imported_rows(workspace, name.removeprefix(IMPORTED), (DEFAULT_METRIC,))
    return stored_measured(workspace, name).matrix(workspace, (DEFAULT_METRIC,)), None


def _imported_row(
    workspace: Workspace, title: str, reference: TransferMatrix | None
) -> dict[str, object]:
    matrix, seen = imported_rows(workspace, title, MEASURED)
    if seen is None and matrix.in_domain.all():
        raise AigiError(ONE_GENERATOR)
    seconds = stored_import(workspace, title).about.get("seconds", {})
    threshold = threshold_in_words(workspace, title)
    if training_told(workspace, title):
        return _row(title, matrix, reference, seen, seconds, threshold) | NOT_CALIBRATED
    # no difference out of domain can be claimed of it
    row = _row(f"{title}{UNKNOWN}", matrix, None, seen, seconds, threshold)
    return row | NOT_CALIBRATED | {"measured_on": ALL}


def with_row(
    table: pd.DataFrame, workspace: Workspace, name: str, title: str, measured: Measured
) -> pd.DataFrame:
    """A board with one row more, measured just now: it counts among the comparisons."""
    reference = stored_measured(workspace, REFERENCE).matrix(workspace)
    row = _row(title, measured.matrix(workspace), reference, None, measured.seconds)
    row |= {"method": name, **calibration_of(workspace, measured)}
    return in_order(_with_q(pd.concat([table, pd.DataFrame([row])], ignore_index=True)))


def _with_q(table: pd.DataFrame) -> pd.DataFrame:
    table = table.assign(q_value=np.nan)
    for family in _families(table):
        table.loc[family, "q_value"] = q_values(table.loc[family, "p_value"].to_numpy(float))
    return table


def _families(table: pd.DataFrame) -> list[pd.Series]:
    """Rows that are compared and corrected together: methods, and detectors from elsewhere."""
    compared, elsewhere = table["p_value"].notna(), table["method"].str.startswith(IMPORTED)
    return [rows for rows in (compared & ~elsewhere, compared & elsewhere) if rows.any()]


def _row(
    title: str,
    matrix: TransferMatrix,
    reference: TransferMatrix | None,
    seen: Sequence[str] | None,
    seconds: Mapping[str, float],
    threshold: str = OWN,
) -> dict[str, object]:
    """What a board says of one matrix; ``seen``: the generators that its one detector has seen,
    None where there is one detector a generator. Without a ``reference``, nothing is compared."""
    own, inside = matrix, matrix.in_domain
    outside = paired = ~inside
    if seen is not None:  # one detector: one row
        inside = matrix.known_to(seen)[None]
        paired = outside & ~inside
        own, outside = matrix.rows([0]), ~inside
        same = np.array([names == tuple(seen) for names in matrix.train])
        if same.any():  # else what is compared would be the choice of training generators
            paired = paired & same[:, None]
    row: dict[str, object] = {"title": title, "measured_on": UNSEEN, "threshold_from": threshold}
    blocks = _family_cells(own, outside, seen)
    for column, metric, cells in (
        ("in_domain", DEFAULT_METRIC, inside),
        ("ood", DEFAULT_METRIC, outside),
        ("auc", "auc", outside),
        ("real", "accuracy_real", outside),
        ("fake", "accuracy_fake", outside),
        *((column, DEFAULT_METRIC, cells) for column, cells in blocks.items()),
    ):
        mean = own.mean(metric, cells)
        row |= {column: mean.value, f"{column}_low": mean.low, f"{column}_high": mean.high}
    row |= {f"{column}_cells": int(cells.sum()) for column, cells in blocks.items()}
    worst = matrix.hardest(DEFAULT_METRIC, left_out=seen or ())
    assert worst  # there are cells out of domain
    row |= {"cells": int(outside.sum()), "worst_on": worst.name}
    row |= {"worst": worst.value, "worst_low": worst.low, "worst_high": worst.high}
    change = ranking = None
    if reference is not None and matrix is not reference:
        change = difference(matrix, reference, DEFAULT_METRIC).mean(paired)
        if CHOSEN in threshold:  # as operating points differ by the rule alone
            ranking = difference(matrix, reference, "auc").mean(paired)
    row |= {
        "difference": change.value if change else np.nan,
        "difference_low": change.low if change else np.nan,
        "difference_high": change.high if change else np.nan,
        "p_value": change.p_value if change else np.nan,
        "auc_difference": ranking.value if ranking else np.nan,
        "auc_difference_low": ranking.low if ranking else np.nan,
        "auc_difference_high": ranking.high if ranking else np.nan,
    }
    return row | {
        f"{step}_seconds": float(seconds.get(step, np.nan)) for step in ("train", "score")
    }


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


def unknown(table: pd.DataFrame) -> pd.Series:
    """Which rows of a board are of detectors whose training generators are not known."""
    return table["measured_on"] == ALL


def by_rule(table: pd.DataFrame) -> pd.Series:
    """Which rows of a board are of imported scores whose threshold a rule chose here."""
    return table["threshold_from"].str.contains(CHOSEN, regex=False)


def threshold_of_row(row: pd.Series) -> str:
    """What a row of an imported detector says of its threshold, and of its ranking beside it, in
    sentences; empty where the threshold is that of a method.
    """
    if row["threshold_from"] == OWN:
        return ""
    said = f"It is measured at a threshold of {row['threshold_from']}."
    if CHOSEN not in row["threshold_from"]:
        return f"{said} {OPERATING_POINTS}"
    auc = Finding.of_row(row, "auc", n=int(row["cells"]))
    ranking = f"AUC, which ranks images without a threshold, is {estimated(auc, 'cell')}"
    if pd.notna(row["auc_difference"]):
        ranking += f"; {_by_ranking(row)}"
    return f"{said} {OPERATING_POINTS} {ranking}."


def thresholds_in_words(table: pd.DataFrame, show: Callable[[str], str] = str) -> str:
    """The thresholds of a board's imported detectors, for how the numbers are made; empty where
    there are none."""
    rows = table[table["threshold_from"] != OWN]
    each = [f"{show(row['title'])}: {row['threshold_from']}" for _, row in rows.iterrows()]
    return f"{'; '.join(each)}. {OPERATING_POINTS}" if each else ""


def _by_ranking(row: pd.Series) -> str:
    change = Finding.of_row(row, "auc_difference", n=int(row["cells"]), what="paired cell")
    return f"its paired difference in AUC to logistic regression is {change.points()}"


def where_measured(table: pd.DataFrame) -> str:
    """Over which cells the means of a board's rows are, for the titles of figures."""
    every = unknown(table)
    if not every.any():
        return "out of domain"
    return f"over {ALL}" if every.all() else f"out of domain or over {ALL}"


def by_what_is_measured(table: pd.DataFrame) -> pd.DataFrame:
    """A board whose rows over all generators have their mean in columns of its own,
    ``all_generators`` with ``_low`` and ``_high``, and none under ``ood``."""
    every = unknown(table)
    if not every.any():
        return table
    own = ["ood", "ood_low", "ood_high"]
    beside = {column: column.replace("ood", "all_generators") for column in own}
    at = list(table.columns).index("ood_high") + 1
    parts = (table.iloc[:, :at], table.loc[every, own].rename(columns=beside), table.iloc[:, at:])
    split = pd.concat(parts, axis=1)
    split.loc[every, own] = np.nan
    return split.drop(columns=own) if every.all() else split


def _same_cells(table: pd.DataFrame) -> np.ndarray:
    [cells] = table.loc[table["method"] == REFERENCE, "cells"]
    same: np.ndarray = ((table["cells"] == cells) & ~unknown(table)).to_numpy()
    return same


def stored_board(workspace: Workspace, progress: Progress | None = None) -> pd.DataFrame:
    """:func:`board` as :func:`save_board` stored it; computed where the scores of a method, or
    imported ones, have changed since.

    Raises:
        WorkspaceError: as :func:`board`.
    """
    try:
        stored = results.load(workspace, BOARD, {})
        if stored.content.get("rests_on") == _rests_on(workspace):
            return _with_later_columns(stored.table("board"), workspace)
    except WorkspaceError:
        pass  # not stored, or damaged
    return board(workspace, progress)


def _with_later_columns(table: pd.DataFrame, workspace: Workspace) -> pd.DataFrame:
    """A stored board; in those of the time before the column ``measured_on`` the end of its title
    tells a row over all generators, thresholds stand beside the imported scores, and all rows were
    corrected together.
    """
    table = _with_q(table)
    imported = table["method"].str.startswith(IMPORTED)
    if "measured_on" not in table:
        every = imported & table["title"].str.endswith(UNKNOWN)
        table.insert(2, "measured_on", np.where(every, ALL, UNSEEN))
    if "threshold_from" not in table:
        names = table["method"].str.removeprefix(IMPORTED)
        words = [
            threshold_in_words(workspace, name) if one else OWN
            for name, one in zip(names, imported, strict=True)
        ]
        table.insert(3, "threshold_from", words)
        at = list(table.columns).index("p_value") + 1
        for end in reversed(("", "_low", "_high")):  # no rule was recorded for any threshold
            table.insert(at, f"auc_difference{end}", np.nan)
    return table


def save_board(workspace: Workspace) -> pd.DataFrame:
    """Compute and store the board of all that is measured, so that pages read it."""
    table = board(workspace)
    content = {"rests_on": _rests_on(workspace)}
    results.publish(workspace, BOARD, {}, {"board.parquet": table}, content=content)
    return table


def _rests_on(workspace: Workspace) -> dict[str, str]:
    """Row of the board -> digest of what is stored of it."""
    parts = {name: stored_scores(workspace, name) for name in measured_methods(workspace)}
    parts |= {
        IMPORTED + name + ("" if training_told(workspace, name) else UNKNOWN): stored_import(
            workspace, name
        )
        for name in imported_names(workspace)
    }
    return {
        name: digest_of({"files": one.files, "content": one.content, "about": one.about})
        for name, one in parts.items()
    }


def verdict(table: pd.DataFrame, show: Callable[[str], str] = str) -> str:
    """Which methods are shown to be better than logistic regression, in one sentence."""
    groups, over = _against_reference(table, show), _all_comparisons(table)
    better = groups["higher"]
    if not better:
        return (
            "Use logistic regression: no other method is shown to be better on generators"
            f" that it was not trained on ({over})."
        )
    seen = "it was" if len(better) == 1 else "they were"
    return (
        f"{', '.join(better)} {agreeing(len(better), 'are')} shown to be better than logistic"
        f" regression on generators that {seen} not trained on (5% FDR over {over})."
    )


def lead_in_words(table: pd.DataFrame) -> str:
    """How much the highest method has above logistic regression, paired; empty for this itself."""
    row = table.set_index("title").loc[highest(table).name]
    if row["method"] == REFERENCE or pd.isna(row["difference"]):
        return ""
    points = difference_of(row, comparisons_with(table, row)).points()
    return f" Their paired difference is {points}."


def comparison(table: pd.DataFrame, show: Callable[[str], str] = str) -> str:
    """What :func:`board` says of the differences to logistic regression, in sentences.

    A method counts as better or worse where its interval excludes zero and its q-value is below
    .05; where only the interval does, that is said.

    Args:
        show: how a title is written (escaped, on a page).
    """
    groups = _against_reference(table, show)
    compared = table[table["p_value"].notna() & by_rule(table)]
    sentences = [
        f"Significantly {verdict} than logistic regression out of domain:"
        f" {', '.join(groups[key]) or 'none'}."
        for verdict, key in (("better", "higher"), ("worse", "lower"))
    ]
    if groups["interval alone"]:
        sentences.append(
            f"Not significant after correction for {_all_comparisons(table)}, although the interval"
            f" excludes zero: {'; '.join(groups['interval alone'])}."
        )
    sentences += [
        f"{show(row['title'])} is measured at a threshold of {row['threshold_from']}, so balanced"
        f" accuracy compares operating points; {_by_ranking(row)}."
        for _, row in compared.iterrows()
    ]
    return " ".join(sentences)


def comparisons_with(table: pd.DataFrame, row: pd.Series) -> str:
    """What the q-value of a row is corrected over, in words."""
    compared = table.loc[table["p_value"].notna(), "method"].str.startswith(IMPORTED)
    elsewhere = str(row["method"]).startswith(IMPORTED)
    of = " of imported or fine-tuned detectors" if elsewhere else " of methods"
    together = counted(int((compared == elsewhere).sum()), "comparison")
    return together + (of if compared.any() else "")


def _all_comparisons(table: pd.DataFrame) -> str:
    first = [table.loc[family].iloc[0] for family in _families(table)]
    parts = [comparisons_with(table, row) for row in first]
    return " and, apart from these, ".join(parts) or counted(0, "comparison")


def _against_reference(table: pd.DataFrame, show: Callable[[str], str]) -> dict[str, list[str]]:
    """Titles of methods by what is shown of them."""
    groups: dict[str, list[str]] = {"higher": [], "lower": [], "interval alone": []}
    rows = table[table["p_value"].notna()]
    for (_, row), ruled in zip(rows.iterrows(), by_rule(rows), strict=True):
        finding = difference_of(row, comparisons_with(table, row))
        title = show(row["title"]) + " (at a threshold chosen by a rule)" * bool(ruled)
        if finding.direction in groups:
            groups[finding.direction].append(title)
        elif not finding.low <= 0 <= finding.high:
            groups["interval alone"].append(f"{title} {finding.points()}")
    return groups


def difference_of(row: pd.Series, over: str, what: str = "paired cell") -> Finding:
    """The paired difference of one row of the board to logistic regression.

    Args:
        over: what its q-value is corrected over, such as "14 comparisons".
        what: what is counted.
    """
    return Finding.of_row(
        row,
        "difference",
        q_value=float(row["q_value"]),
        n=int(row["cells"]),
        what=what,
        corrected_over=over,
    )


def blocks_in_words(row: pd.Series) -> str:
    """What a row of the board says by family; empty where that is not known."""
    parts = [
        f"on generators of {words} it reaches {_with_cells(row, column)}"
        for column, words in (
            ("same_family", "the family it was trained on"),
            ("other_family", "another family"),
        )
        if row[f"{column}_cells"]
    ]
    return f"Out of domain, {'; '.join(parts)}." if parts else ""


def calibration_in_words(row: pd.Series) -> str:
    """What a row of the board says of its probabilities."""
    if pd.isna(row["calibration"]):
        return (
            "The calibration of its probabilities is unknown: it needs scores of validation"
            " images by detectors that were not trained on them, and these are not stored."
        )
    parts = [
        f"by {row[column]:.3f} {where} (95% interval {row[f'{column}_low']:.3f} to"
        f" {row[f'{column}_high']:.3f}; perfectly calibrated probabilities would differ by"
        f" {row[f'{column}_chance']:.3f} on as many images)"
        for column, where in (("calibration", "in domain"), ("calibration_ood", "out of domain"))
        if pd.notna(row[column])
    ]
    return (
        "After calibration on validation images, its probabilities differ on average from"
        f" the observed shares of fakes {' and '.join(parts)}."
    )


def _with_cells(row: pd.Series, column: str) -> str:
    return (
        f"{row[column]:.3f} (95% interval {row[f'{column}_low']:.3f} to"
        f" {row[f'{column}_high']:.3f}, {counted(int(row[f'{column}_cells']), 'cell')})"
    )
