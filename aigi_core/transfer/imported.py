"""Scores that a detector of others gave to the images of a workspace, as a row of the board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd

from aigi_core import results
from aigi_core.errors import AigiError
from aigi_core.manifest import FAKE, folders_above
from aigi_core.results import ResultKind, StoredResult
from aigi_core.statements import counted, part_counted
from aigi_core.transfer.matrix import TransferMatrix, make_training_sets, transfer_matrix
from aigi_core.workspace import Workspace

KIND = ResultKind("imported", "imported scores", job="import-scores", format=1)
KEYS = ("content_hash", "path")
NOT_TOLD = (
    "Training set: unknown. Its training generators are not known, so all cells are shown together,"
    " not as out of domain"
)
ORIGINS = {
    "import-scores": "Its scores were computed elsewhere and imported (job import-scores).",
    "import-detector": (
        "A detector of others was imported, and scored the images here (job import-detector)."
    ),
    "finetune": "It was fine-tuned on images of this workspace (job finetune).",
}
"""Jobs that store scores, and what they are of, in a sentence."""
UNKNOWN_ORIGIN = "Its scores were imported."
OWN, GIVEN, NOT_RECORDED = "its own", "given at its import", "of unrecorded origin"
"""Where a threshold comes from: of the detector itself (log-odds of 0); of who imported it."""
CHOSEN = "chosen at"
"""How the words begin for a threshold that a rule set on images of the workspace."""
HOW_TO_TELL = "import it again with --trained-on G1,G2 (or --trained-on none) to say them"


def matched_scores(
    workspace: Workspace,
    keys: Sequence[str],
    scores: Sequence[float] | np.ndarray,
    by: str,
    *,
    ignore_unknown: bool = False,
) -> tuple[np.ndarray, list[str], str]:
    """[N] scores of the kept images, NaN where there is none; a sentence on each mistake: scores
    that are not finite, keys that stand twice or that the workspace does not have, test images
    without a score, saying how many; and one on rows that were left out.

    Args:
        keys: paths or content hashes, as ``by`` says.
        ignore_unknown: rows of images that the workspace does not have are left out.
    """
    names, found_by = list(map(str, keys)), ""
    if by == "path":
        names = _as_named_now(workspace, names)
        names, found_by = _as_named_elsewhere(workspace.all_images["path"], names)
    given = pd.Series(np.asarray(scores, np.float64), index=names)
    there = given.index.isin(workspace.all_images[by])
    unknown, rows = given.index[~there], len(given)
    left_out, mistakes = found_by, []
    if ignore_unknown and len(unknown):
        given = given[there]
        left_out += (
            f" {part_counted(len(unknown), rows, 'score', 'were')} left out, of images that"
            f" {workspace.path} does not have; the first is {unknown[0]!r}."
        )
    wrong = given.index[~np.isfinite(given)]
    if len(wrong):
        mistakes.append(
            f"{counted(len(wrong), 'score', 'are')} not finite, the first is that of"
            f" {wrong[0]!r}: score those images again."
        )
    twice = given.index[given.index.duplicated()]
    if len(twice):
        mistakes.append(
            f"{counted(len(set(twice)), 'image', 'have')} more than one score, the first is"
            f" {twice[0]!r}: keep one score for each image."
        )
    if len(unknown) and not ignore_unknown:
        mistakes.append(
            f"{part_counted(len(unknown), rows, 'score', 'are')} of images that"
            f" {workspace.path} does not have, the first is {unknown[0]!r}: name images by"
            f" their column {by}, such as {workspace.images[by].iloc[0]!r}"
            f" ({workspace.path / 'images.parquet'} lists them all); if they"
            " were removed, --ignore-unknown leaves their rows out."
        )
    images = workspace.images
    once = given[np.isfinite(given) & ~given.index.duplicated()]
    matched = once.reindex(images[by]).to_numpy(np.float64)
    test = workspace.domains.split == "test"
    lacking = test & ~images[by].isin(given.index).to_numpy()
    if lacking.any():
        mistakes.append(
            f"{part_counted(lacking.sum(), test.sum(), 'test image', 'lack')} a score, the first is"
            f" {images['path'][lacking].iloc[0]!r}: score them too."
        )
    return matched, mistakes, left_out


def _as_named_now(workspace: Workspace, keys: Sequence[str]) -> list[str]:
    """Paths as the workspace has them, where a table was made before ``add`` named all images from
    a folder further up; those that are known in no way stay as they are.

    A name of before may be that of another image now: the way of naming that fits most rows comes
    first, that of now where several fit as many.
    """
    known, names = set(workspace.all_images["path"]), [str(key) for key in keys]
    above = list(dict.fromkeys(["", *workspace.manifest.get("before", {}).values()]))
    if len(above) == 1:  # put together of others before their names were recorded
        above.append(folders_above(known, [name for name in names if name not in known]))
    fits = {folders: sum(folders + name in known for name in names) for folders in above}
    ways = sorted(fits, key=lambda folders: -fits[folders])
    return [
        next((folders + name for folders in ways if folders + name in known), name)
        for name in names
    ]


def _as_named_elsewhere(known: pd.Series, names: Sequence[str]) -> tuple[list[str], str]:
    """Paths as the workspace has them, and a sentence on how they were found, where none is known
    as it stands but each is below a folder of another machine, or by its file's name alone.
    """
    there = set(known)
    if not names or not there.isdisjoint(names):
        return list(names), ""
    parts = [name.replace("\\", "/").split("/") for name in names]
    for above in range(1, min(map(len, parts)) - 1):
        below = ["/".join(one[above:]) for one in parts]
        if there.issuperset(below):
            folder = "/".join(parts[0][:above])
            return below, f" Images were found by their paths below {folder!r} and the like."
    by_name = pd.Series(known.to_numpy(), index=known.str.rpartition("/")[2])
    by_name = by_name[~by_name.index.duplicated(keep=False)]
    last = [one[-1] for one in parts]
    if set(by_name.index).issuperset(last):
        return by_name[last].tolist(), (
            " No path of the table is one of the workspace's: images were found by the names of"
            " their files alone, each of which stands once in both."
        )
    return list(names), ""


def import_scores(
    workspace: Workspace,
    name: str,
    scores: np.ndarray,
    *,
    threshold: float,
    trained_on: Sequence[str] | None = None,
    reading: Literal["check", "as is", "reversed"] = "check",
    seconds: Mapping[str, float] | None = None,
    mistakes: Sequence[str] = (),
    origin: str = KIND.job,
    threshold_from: str = GIVEN,
) -> str:
    """Store scores of all kept images (:func:`matched_scores`); returns a sentence.

    Args:
        scores: [N], or [K, N] of one detector a generator, in the order of the generators.
        threshold: above it, an image is taken for fake; for reversed scores, below it.
        trained_on: generators of the workspace that the detector saw; the others are out of domain.
            None where that is not known: then no cell is. One detector a generator says it itself.
        seconds: that training and scoring took (``train``, ``score``), where known.
        reading: ``check`` stops where most generators have an AUC below one half.
        mistakes: those that are known already; with any, nothing is stored.
        origin: the job that has them, of :data:`ORIGINS`.
        threshold_from: :data:`OWN`, :data:`GIVEN`, or words that begin with :data:`CHOSEN`.

    Scores of before under the same name are replaced, which is said.

    Raises:
        AigiError: no name, an unknown generator, all generators seen, a threshold that is not
            finite, or a polarity that looks reversed; says all of them at once.
    """
    domains = workspace.domains
    rows = np.atleast_2d(scores)
    each = np.ndim(scores) == 2
    if each and len(rows) != len(domains.generators):
        raise AigiError(
            f"Expected one row of scores for each of"
            f" {counted(len(domains.generators), 'generator')}, got {len(rows)}."
        )
    mistakes = [*mistakes, *_told_wrongly(domains.generators, name, threshold, trained_on or ())]
    sign = -1.0 if reading == "reversed" else 1.0
    test = domains.split == "test"
    filled = np.where(test, sign * rows, 0.0)
    aucs = np.array([_mean_auc(workspace, filled, one) for one in domains.generators])
    aucs = aucs[np.isfinite(aucs)]
    below = int((aucs < 0.5).sum())
    if reading == "check" and below > len(aucs) / 2:
        mistakes.append(
            f"{part_counted(below, len(aucs), 'generator', 'have')} an AUC below one half"
            f" (mean {aucs.mean():.3f}): high scores seem to mean real; give --reversed if"
            " they mean real, or --as-is if they mean fake."
        )
    if mistakes:
        raise AigiError(f"{' '.join(mistakes)} Nothing was stored.")
    replaces = name.strip() in imported_names(workspace)
    results.publish(
        workspace,
        KIND,
        {"name": name.strip()},
        {"scores.npz": {"test": filled[:, test] if each else filled[0, test]}},
        content={
            "threshold": sign * threshold,
            "threshold_from": threshold_from,
            "trained_on": sorted(set(trained_on or ())),
            "told": each or trained_on is not None,
            "reversed": reading == "reversed",
        },
        about={"seconds": dict(seconds or {}), "origin": origin},
    )
    high = "real (reversed)" if reading == "reversed" else "fake"
    return (
        f"{name.strip()}: {counted(int(test.sum()), 'test image')}; high scores are read as"
        f" {high}; AUC below one half on {part_counted(below, len(aucs), 'generator')}."
        + " These take the place of the scores that were there under this name." * replaces
        + ("" if each or trained_on is not None else f" {NOT_TOLD}; {HOW_TO_TELL}.")
    )


def _told_wrongly(
    generators: Sequence[str], name: str, threshold: float, trained_on: Sequence[str]
) -> list[str]:
    """A sentence on each mistake in what is told of a detector."""
    mistakes = []
    if not name.strip():
        mistakes.append("Imported scores need a name: give --name.")
    if not np.isfinite(threshold):
        mistakes.append(f"Expected a finite threshold, got {threshold}.")
    if unknown := [given for given in trained_on if given not in generators]:
        mistakes.append(
            f"The training set names {', '.join(map(repr, unknown))}, which this workspace"
            f" does not hold: name only its generators ({', '.join(generators)})."
        )
    if set(trained_on) >= set(generators):
        mistakes.append(
            "The detector was trained on every generator of this workspace, so it cannot be"
            " tested out of domain: add images of a generator that it has not seen ('add')."
        )
    return mistakes


def _mean_auc(workspace: Workspace, scores: np.ndarray, generator: str) -> float:
    """Mean AUC of the rows of scores on a generator's test images that have one; NaN where those
    are of one class."""
    from scipy.stats import rankdata

    rows = workspace.domains.rows(generator, "test")
    rows = rows[np.isfinite(scores[:, rows]).all(axis=0)]
    fake = workspace.domains.labels[rows] == FAKE
    pairs = int(fake.sum() * (~fake).sum())
    if not pairs:
        return float("nan")
    ranks = rankdata(scores[:, rows], axis=1)[:, fake].sum(axis=1)
    return float(np.mean((ranks - fake.sum() * (fake.sum() + 1) / 2) / pairs))


def carry_imports(before: Workspace, after: Workspace) -> list[str]:
    """Store again, for a workspace whose images changed, the imported scores that all its test
    images have; returns their names, sorted.
    """
    test = [w.images.loc[w.images["split"] == "test", "content_hash"] for w in (before, after)]
    old = before.domains.generators
    new = after.domains.generators
    carried = []
    for one in results.current(before, KIND):
        scores = one.arrays("scores.npz")["test"]
        if scores.ndim == 2:  # one detector a generator, in the order of the generators
            if not set(new) <= set(old):
                continue
            scores = scores[[old.index(name) for name in new]]
        row_of = pd.Series(np.arange(len(test[0])), index=test[0].to_numpy())
        row_of = row_of[~row_of.index.duplicated()]
        seen = sorted(set(new) & set(one.content["trained_on"]))
        if len(seen) == len(new) or not test[1].isin(row_of.index).all():
            continue
        results.publish(
            after,
            KIND,
            one.parameters,
            {"scores.npz": {"test": scores[..., row_of[test[1]].to_numpy()]}},
            content={**one.content, "trained_on": seen, "told": _told(one)},
            about=one.about,
        )
        carried.append(str(one.parameters["name"]))
    return sorted(carried)


def imported_names(workspace: Workspace) -> list[str]:
    """Names of the detectors whose scores are stored, sorted."""
    return sorted(str(one.parameters["name"]) for one in results.current(workspace, KIND))


def origin_in_words(workspace: Workspace, name: str) -> str:
    """Which job stored these scores, in a sentence; results of the time before this was recorded
    are imported ones."""
    origin = str(stored_import(workspace, name).about.get("origin", ""))
    return ORIGINS.get(origin, UNKNOWN_ORIGIN)


def threshold_in_words(workspace: Workspace, name: str) -> str:
    """The threshold of stored scores, as these were given, and where it comes from; of results of
    the time before this was recorded it is known where a detector was imported or fine-tuned.
    """
    stored = stored_import(workspace, name)
    known = stored.about.get("origin") in ("import-detector", "finetune")
    own = known or bool(stored.about.get("seconds"))  # that a job computed itself
    source = stored.content.get("threshold_from") or (OWN if own else NOT_RECORDED)
    sign = -1.0 if stored.content.get("reversed") else 1.0
    return f"{sign * float(stored.content['threshold']) + 0.0:.4g}, {source}"


def training_told(workspace: Workspace, name: str) -> bool:
    """Whether it is known which generators the detector of stored scores has seen."""
    return _told(stored_import(workspace, name))


def _told(stored: StoredResult) -> bool:
    """Results of the time before this was recorded have an empty list where nothing was said."""
    if "told" in stored.content:
        return bool(stored.content["told"])
    return bool(stored.content["trained_on"]) or stored.arrays("scores.npz")["test"].ndim == 2


def stored_import(workspace: Workspace, name: str) -> StoredResult:
    """What :func:`import_scores` stored; WorkspaceError where it did not."""
    return results.load(workspace, KIND, {"name": name})


def imported_matrix(workspace: Workspace, name: str, metrics: Sequence[str]) -> TransferMatrix:
    """The matrix of stored scores: one row, of what the detector was trained on, or one a generator
    where there is one detector a generator.

    Where nobody said what the detector has seen, the matrix is not :attr:`~TransferMatrix.told`.
    """
    stored = stored_import(workspace, name)
    domains = workspace.domains
    sets = list(make_training_sets(domains, "each generator").values())
    test = stored.arrays("scores.npz")["test"]
    threshold = float(stored.content["threshold"])
    scores = np.zeros((len(np.atleast_2d(test)), len(domains)))
    scores[:, domains.split == "test"] = test
    own = sets if test.ndim == 2 else sets[:1]
    matrix = transfer_matrix(scores, domains, own, thresholds=threshold, metrics=metrics)
    if test.ndim == 2:
        return matrix
    trained_on = tuple(stored.content["trained_on"])
    return replace(matrix, train=(trained_on,), told=_told(stored))


def imported_rows(
    workspace: Workspace, name: str, metrics: Sequence[str]
) -> tuple[TransferMatrix, list[str] | None]:
    """:func:`imported_matrix` beside the matrices of methods, and the generators that one detector
    was trained on; None where there is one detector a generator.

    The row of one detector is repeated for each training set of the board, so that each cell is
    paired with that of a method; which cells are in domain follows from the second value alone.
    """
    matrix = imported_matrix(workspace, name, metrics)
    sets = list(make_training_sets(workspace.domains, "each generator").values())
    if matrix.train == tuple(sets):
        return matrix, None
    seen = list(matrix.train[0])
    return replace(matrix.rows([0] * len(sets)), train=tuple(sets), told=True), seen
