"""Detectors, their scores and matrices, computed once a workspace and setting for all sessions."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np

from aigi_core.audit.cached import facts_against_detectors as compare_facts
from aigi_core.audit.cached import (
    load_fact_matrix,
    load_facts_against_detectors,
    stored_fact_scores,
)
from aigi_core.detectors.detector import Detector, LinearDetector, score_detectors
from aigi_core.detectors.features import EmbeddingView, FeatureView, HeadsView
from aigi_core.detectors.head_points import load_points
from aigi_core.detectors.methods import METHODS
from aigi_core.detectors.methods.base import WIDER_GRID, at_grid_edge
from aigi_core.detectors.presets import Preset, preset
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.residual import train_residual
from aigi_core.detectors.stored import SCORED, load_scores, parameters_of
from aigi_core.detectors.training import SECONDS
from aigi_core.encodings import home_of
from aigi_core.errors import NotMadeError
from aigi_core.explain.evidence import Evidence, evidence
from aigi_core.explain.heads import train_on_heads
from aigi_core.explain.reading import read
from aigi_core.geometry import GeometryComparison, compare_geometry
from aigi_core.manifest import REAL
from aigi_core.metrics import Column
from aigi_core.overview import describe, examples
from aigi_core.statements import best_of, counted, part_counted
from aigi_core.transfer import (
    DEFAULT_METRIC,
    METRICS,
    Atlas,
    Cell,
    MatrixDifference,
    Pair,
    PairedDifference,
    TargetRanking,
    TrainSet,
    TransferMatrix,
    d_eval_rows,
    difference,
    highest_change,
    make_training_sets,
    open_cell,
    rank_for_targets,
    score_twice,
    transfer_matrix,
)
from aigi_core.transfer.kept import load_matrix
from aigi_core.transfer.matrix import columns_of
from aigi_core.transfer.training_sets import ScoreSets, rows_of_sets
from aigi_core.workspace import Workspace
from ui.results.settings import (
    DEFAULT_METHOD,
    EMBEDDING,
    OURS,
    RESIDUAL,
    Setting,
    feature_view,
    method,
    protocol,
)
from ui.toolkit.apart import apart
from ui.toolkit.costly import lasting, wait_for_yes
from ui.toolkit.images import Tile
from ui.toolkit.jobs import step
from ui.toolkit.kept import cached
from ui.toolkit.workspaces import open_encoding

TOGETHER = 100
"""Training sets that are fitted at once."""
AT_ONCE = 2.0
"""Seconds of a core that sets are fitted at once for where it is known how long they take, so that
shorter work comes in between."""

contents = cached(describe)

EXAMPLE_WIDTH = 110
"""Least width, px, of an example's tile on the first page."""

LARGE = SCORED
"""Images from which on a workspace is :func:`large`."""


def edges_in_words(workspace: Workspace, setting: Setting) -> str:
    """How many detectors have a C at the edge of the grid that was tried; empty for none."""
    linear = [one for one in detectors(workspace, setting) if isinstance(one, LinearDetector)]
    if not (edge := sum(map(at_grid_edge, linear))):
        return ""
    count = part_counted(edge, len(linear), "detector")
    return (
        f" C lies at the edge of its grid for {count}. A value beyond might do better. {WIDER_GRID}"
    )


def best_pair_warning(workspace: Workspace, pair: tuple[str, ...], used: Preset = OURS) -> str:
    """What to say of a pair that was chosen for its result; empty for others, for none, and where
    no pair gains.
    """
    if not pair:
        return ""
    searches = atlas(workspace, used.name)
    best = highest_change(searches.removals())
    if set(pair) != set(searches.best_pair()) or best is None or best.value <= 0:
        return ""  # of a change that is no gain, nothing is overstated
    return (
        f"This pair is {best_of(len(searches.pairs), 'pair')}: it was chosen on the images that it"
        " is judged on, so its change is overestimated."
    )


def searched_view(
    workspace: Workspace, kind: str, d_search: Pair, used: Preset = OURS
) -> FeatureView:
    """What the atlas's search of a kind (a value of :data:`SEARCHED`) on a pair has left."""
    searches = atlas(workspace, used.name)
    if kind == "heads":
        return HeadsView(searches.top_heads(*d_search), space=used.head_space)
    return EmbeddingView(without=searches.removed(d_search))


@cached
def detectors(workspace: Workspace, setting: Setting) -> tuple[Detector, ...]:
    """One detector a training set, by the paper's protocol: C chosen on validation, refitted on
    train plus validation.

    Read where a job has kept them. Methods that take longer report each detector (see
    :func:`ui.toolkit.jobs.steps`).
    """
    how, used = method(setting), protocol(setting)
    view = setting.view
    if kept := _kept(workspace, setting, used):
        return kept
    seconds = _ask(workspace, setting)
    if how.name == RESIDUAL:
        means = preset(setting.protocol).residual
        return tuple(train_residual(workspace, setting.sets, used, means=means))
    seen = view if isinstance(view, FeatureView) else None
    if one := _on_heads(workspace, setting, used):
        return one
    if not how.slow:
        return tuple(apart(how.train, workspace, setting.sets, seen, used, lasting=seconds))
    how.check(workspace, seen or how.default_view())
    bound, trained = how.bound(workspace), list[Detector]()
    for done, names in enumerate(setting.sets, 1):
        if bound is how:
            one_of_them = seconds and seconds / len(setting.sets)
            trained += apart(how.train, workspace, [names], seen, used, lasting=one_of_them)
        else:  # with a tower of texts, which is not sent to another process
            trained += bound.train(workspace, [names], seen, used)
        step(done, len(setting.sets))
    return tuple(trained)


head_points = cached(load_points)


def _on_heads(workspace: Workspace, setting: Setting, used: Protocol) -> tuple[Detector, ...]:
    """The setting's one detector on heads whose point of the paper's grid is known; else none."""
    paper, view = preset(setting.protocol), setting.view
    plain = setting.method == DEFAULT_METHOD and used == paper.training and len(setting.sets) == 1
    if not (isinstance(view, HeadsView) and plain and view.space == paper.head_space):
        return ()
    points, (names,) = head_points(workspace, paper), setting.sets
    if points is None or points.point(names, view.heads, names) is None:
        return ()
    return (apart(train_on_heads, workspace, names, view, paper, points),)


def _ask(workspace: Workspace, setting: Setting) -> float | None:
    """Seconds of a core that training takes, where that is known; CostlyError where it would take
    long and nobody has said yes."""
    sets, n = len(setting.sets), len(workspace.domains)
    used = protocol(setting)
    own = METHODS[setting.method].seconds(workspace, setting.sets, setting.view, used)
    seconds = n * sets * SECONDS[False][False] if own is None else own
    by = " by logistic regression; other methods take longer" if own is None else ""
    wait_for_yes(
        seconds,
        f"{'This detector is' if sets == 1 else 'These detectors are'} not stored yet."
        f" Training {counted(sets, 'detector')} on {counted(n, 'image')} takes"
        f" {lasting(seconds)} of one core{by}. Any click stops the training."
        f" '{workspace.command('detectors')}' stores the detectors that pages show first.",
        (workspace.identity, setting),
    )
    return None if setting.method == DEFAULT_METHOD and used.grid != "paper" else own


def _kept(workspace: Workspace, setting: Setting, used: Protocol) -> tuple[Detector, ...] | None:
    """The setting's detectors as a job has kept them, together or among those of each generator;
    None where none has."""
    if not isinstance(setting.view, EmbeddingView):
        return None
    how, every = METHODS[setting.method], _each(workspace)
    kept = how.kept(workspace, setting.sets, setting.view, used)
    among = bool(setting.sets) and set(setting.sets) < set(every)
    if kept is None and among and (whole := how.kept(workspace, every, setting.view, used)):
        kept = [whole[every.index(own)] for own in setting.sets]
    return None if kept is None else tuple(kept)


def _each(workspace: Workspace) -> tuple[TrainSet, ...]:
    """The training sets of one generator each."""
    return tuple((name,) for name in workspace.domains.generators)


def archive(detector: Detector) -> bytes:
    """A detector's two files as a ZIP archive."""
    buffer = io.BytesIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle,
    ):
        detector.save(Path(folder) / "detector")
        for file in sorted(Path(folder).iterdir()):
            bundle.write(file, file.name)
    return buffer.getvalue()


@cached
def scores(workspace: Workspace, setting: Setting) -> np.ndarray:
    """[K, N] log-odds of every image of the workspace."""
    return _scores(workspace, detectors(workspace, setting), protocol(setting))


def _scores(workspace: Workspace, trained: Sequence[Detector], used: Protocol) -> np.ndarray:
    """Scores of all images; of many, those of detectors that a job trained are kept, too."""
    values = load_scores(workspace, trained, used) if large(workspace) else None
    if values is None:
        values = score_detectors(trained, workspace)
    values.flags.writeable = False
    return values


# A matrix carries its draws (15 x 15 cells, 1,000 draws, float32: 0.9 MB a metric), hence one
# metric at a time.
@cached
def matrix(workspace: Workspace, setting: Setting, metric: str) -> TransferMatrix:
    """The transfer matrix in one metric, on the test split, with 1,000 bootstrap draws; read where
    a job has kept it."""
    domains, view = workspace.domains, setting.view

    def columns() -> Sequence[Column]:
        own = np.array([detector.threshold for detector in detectors(workspace, setting)])
        every = scores(workspace, setting)
        return columns_of(every, domains, domains.generators, [own] * len(domains.generators))

    if isinstance(view, EmbeddingView):
        of = parameters_of(setting.sets, view, protocol(setting), setting.method)
        if kept := load_matrix(workspace, of, (metric,), columns):
            return kept
        every = _each(workspace)
        if large(workspace) and metric == DEFAULT_METRIC and set(setting.sets) < set(every):
            whole = matrix(workspace, replace(setting, sets=every), metric)
            return whole.rows([every.index(own) for own in setting.sets])
    thresholds = np.array([detector.threshold for detector in detectors(workspace, setting)])
    return transfer_matrix(
        scores(workspace, setting),
        domains,
        setting.sets,
        thresholds=thresholds,
        held_out=(
            held_out(workspace, setting) if METRICS[metric].threshold == "held out" else None
        ),
        metrics=(metric,),
    )


def matrix_of_each(
    workspace: Workspace,
    used: Preset,
    view: FeatureView = EMBEDDING,
    among: Sequence[str] | None = None,
) -> TransferMatrix:
    """A detector of each generator on all of them in a protocol's metric, or of some on these. On
    the whole embedding it is a part of the matrix of all, which other pages begin with.
    """
    every = workspace.domains.generators
    names = every if among is None else tuple(among)
    trained = every if view == EMBEDDING else names
    sets = tuple((name,) for name in trained)
    setting = Setting(sets, view, balance=used == OURS, protocol=used.name)
    whole = matrix(workspace, setting, used.metric)
    if names == whole.test == trained:
        return whole
    return whole.rows([trained.index(name) for name in names]).on(names)


@cached
def removal(
    workspace: Workspace, used: Preset, removed: tuple[int, ...], among: tuple[str, ...]
) -> tuple[TransferMatrix, TransferMatrix, MatrixDifference]:
    """Matrices of some generators' detectors before and after a removal, and their difference."""
    before = matrix_of_each(workspace, used, among=among)
    step(1, 2)
    after = matrix_of_each(workspace, used, EmbeddingView(without=removed), among)
    return before, after, difference(after, before, used.metric)


@cached
def changed(
    first: tuple[Workspace, Setting],
    second: tuple[Workspace, Setting],
    metric: str,
    tested: tuple[str, ...],
) -> tuple[TransferMatrix, TransferMatrix, MatrixDifference]:
    """Two settings' matrices on some generators, and the first less the second."""
    a, b = (matrix(*one, metric).on(tested) for one in (first, second))
    return a, b, difference(a, b, metric)


def _sets_of(names: Sequence[str], k: int) -> list[TrainSet]:
    return [one for size in range(1, k + 1) for one in combinations(names, size)]


def cost_of_sets(workspace: Workspace, how: Setting, k: int) -> tuple[int, float]:
    """How many training sets of up to ``k`` generators there are, and about how many seconds of a
    core their training takes."""
    sets = _sets_of(workspace.domains.generators, k)
    if how.method != DEFAULT_METHOD:
        used, one = protocol(how), METHODS[how.method]
        own = one.seconds(workspace, sets, how.view, used, twice=True)
        if own is not None:
            return len(sets), own
    # all sets share one copy in memory, however many images there are
    return len(sets), len(sets) * len(workspace.domains) * SECONDS[False][True]


def ask_for_sets(workspace: Workspace, how: Setting, k: int) -> None:
    """Raise CostlyError where training every set by this method would take long and nobody has
    said yes; logistic regression on as many images as pages compute by themselves does not."""
    if how.method == DEFAULT_METHOD:
        return
    sets, seconds = cost_of_sets(workspace, how, k)
    wait_for_yes(
        seconds,
        f"The training sets are not ranked yet. Training all {counted(sets, 'set')} by this method"
        f" takes {lasting(seconds)} of one core, once for all sessions. Any click stops the"
        " training.",
        (workspace.identity, how, k),
    )


@cached
def scored_sets(workspace: Workspace, setting: Setting, k: int) -> tuple[ScoreSets, ScoreSets]:
    """Scores of every set of up to ``k`` generators, trained once for all that is then asked of
    them: as the setting says, and without the refit on validation images, which then can choose.
    """
    sets = _sets_of(workspace.domains.generators, k)
    how = (workspace, feature_view(setting), protocol(setting), method(setting))
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    each = None  # exact logistic regression takes a second or two, and sets share work
    if setting.method != DEFAULT_METHOD:
        each = cost_of_sets(workspace, setting, k)[1] / len(sets)
    at_once = TOGETHER if not each else min(max(1, round(AT_ONCE / each)), TOGETHER)
    for start in range(0, len(sets), at_once):
        part = sets[start : start + at_once]
        parts.append(apart(score_twice, part, *how, lasting=each and each * len(part)))
        step(start + len(part), len(sets))
    row = {frozenset(one): at for at, one in enumerate(sets)}
    judged, choosing = (np.concatenate(scores) for scores in zip(*parts, strict=True))
    return partial(rows_of_sets, judged, row), partial(rows_of_sets, choosing, row)


@cached
def ranked_sets(
    workspace: Workspace,
    how: Setting,
    metric: str,
    targets: tuple[str, ...],
    k: int,
    unseen: bool,
) -> TargetRanking:
    """Every training set of up to k generators, ranked for these targets."""
    scores = scored_sets(workspace, how, k)
    return apart(
        rank_for_targets,
        *scores,
        workspace.domains,
        targets,
        k_max=k,
        unseen=unseen,
        metric=metric,
    )


@cached
def twins(workspace: Workspace, setting: Setting) -> tuple[Detector, ...]:
    """The same training without its validation images; read where a job has kept it."""
    if kept := _kept(workspace, setting, replace(protocol(setting), refit=False)):
        return kept
    _ask(workspace, setting)
    how = method(setting).bound(workspace)
    return tuple(apart(how.twins, workspace, detectors(workspace, setting)))


@cached
def held_out(workspace: Workspace, setting: Setting) -> np.ndarray:
    """[K, N] scores of the :func:`twins`, which can then set thresholds and calibrate."""
    used = replace(protocol(setting), refit=False)
    return _scores(workspace, twins(workspace, setting), used)


@cached
def example_tiles(workspace: Workspace) -> tuple[Tile, ...]:
    """Two images of each generator and six real ones, named."""
    domains = workspace.domains
    named = [
        (one, domains.family_of[one], row)
        for one in domains.generators
        for row in examples(workspace, one)
    ]
    named += [("real", "photograph", row) for row in examples(workspace, None, 6)]
    return tuple(Tile(int(row), [one, family]) for one, family, row in named)


def default_matrix(workspace: Workspace) -> TransferMatrix:
    """The matrix that pages begin with: a detector of each generator on the embedding, in
    :data:`DEFAULT_METRIC`.
    """
    sets = make_training_sets(workspace.domains, "each generator")
    return matrix(workspace, Setting(tuple(sets.values())), DEFAULT_METRIC)


@cached
def cell(workspace: Workspace, setting: Setting, row: int, test: str) -> Cell:
    """One cell of the matrix opened: the row-th detector on a test generator."""
    threshold = detectors(workspace, setting)[row].threshold
    return open_cell(scores(workspace, setting)[row], workspace.domains, test, threshold=threshold)


@cached
def atlas(workspace: Workspace, protocol: str = "ours") -> Atlas:
    """The searches of pairs by a protocol; NotMadeError, which names the command and how much it
    has to do, where they were not run.
    """
    try:
        return Atlas.open(workspace, protocol=protocol)
    except NotMadeError as error:
        pairs = comb(len(workspace.domains.generators), 2)
        raise NotMadeError(
            f"{error} It searches {counted(pairs, 'pair')} of generators, each in seconds to"
            " minutes of a core, and says after the first ones how long the others will take; what"
            " it has done is kept when it is stopped, and --pairs A:B searches one pair alone."
        ) from None


def large(workspace: Workspace) -> bool:
    """Whether it has so many images that pages compute only what they are asked for; all else
    is left to jobs."""
    return len(workspace.images) > LARGE


@cached
def fact_matrix(workspace: Workspace, metric: str = DEFAULT_METRIC) -> TransferMatrix:
    """The matrix of detectors that see nothing but file facts (format, size, compression); read
    where a job has kept it.

    Raises:
        NotMadeError: of a :func:`large` workspace none is kept; says what to run.
    """
    if kept := load_fact_matrix(workspace, metric):
        return kept
    if (home := home_of(workspace.path)) != workspace.path:
        first = open_encoding(home)
        if first.images.equals(workspace.images):  # facts of files know no encoder
            return fact_matrix(first, metric)
    if large(workspace):
        raise NotMadeError(
            "Detectors of file facts alone take seconds for every ten thousand images, and"
            f" {workspace.path} has {counted(len(workspace.images), 'image')}: run"
            f" '{workspace.command('detectors')}' once, which stores them."
        )
    scores = apart(stored_fact_scores, workspace)
    train = workspace.domains.generators
    return transfer_matrix(scores, workspace.domains, train, metrics=(metric,))


@cached
def facts_against_detectors(workspace: Workspace) -> PairedDifference:
    """Mean balanced accuracy of :func:`fact_matrix`, each detector on its own generator, minus that
    of :func:`default_matrix`; read where a job has kept it.

    Raises:
        NotMadeError: of a :func:`large` workspace none is kept; says what to run.
    """
    of = parameters_of(_each(workspace), EMBEDDING, protocol(Setting(())), DEFAULT_METHOD)
    if kept := load_facts_against_detectors(workspace, of):
        return kept
    if large(workspace):
        raise NotMadeError(
            "File facts are compared with detectors by the job that stores both: run"
            f" '{workspace.command('detectors')}' once."
        )
    return compare_facts(fact_matrix(workspace), default_matrix(workspace))


@cached
def strongest_heads(
    workspace: Workspace, setting: Setting, row: int, images: tuple[int, ...]
) -> dict[int, str]:
    """Image -> the head that says most for its verdict, and by how much more than on the average
    real image; empty for a workspace without heads, or a detector without weights.
    """
    if "heads.npy" not in workspace.manifest["files"] or not images:
        return {}
    detector = detectors(workspace, setting)[row]
    if not isinstance(detector, LinearDetector) or not detector.has_direction:
        return {}
    own = evidence(workspace, read(workspace, detector), np.array(images))
    strongest = own.relative_to(average_real(workspace, setting, row)).strongest_towards(
        own.logit > detector.threshold
    )
    return {
        image: f"head {layer}.{head}: {value:+z.2f}"
        for image, (layer, head, value) in zip(images, strongest, strict=True)
    }


@cached
def average_real(workspace: Workspace, setting: Setting, row: int) -> Evidence:
    """One detector's logits on all real test images, head by head: what others are compared
    with.
    """
    domains = workspace.domains
    rows = np.flatnonzero((domains.labels == REAL) & (domains.split == "test"))
    return evidence(workspace, read(workspace, detectors(workspace, setting)[row]), rows)


@cached
def removal_geometry(
    workspace: Workspace, pair: Pair, removed: tuple[int, ...]
) -> GeometryComparison:
    """What a removal does to the shape of the space, on the test images of its D_eval."""
    embedding = EMBEDDING.matrix(workspace, d_eval_rows(workspace.domains, pair))
    return compare_geometry(embedding, ~np.isin(np.arange(embedding.shape[1]), removed))


@cached
def compared_evidence(workspace: Workspace, setting: Setting, row: int, image: int) -> Evidence:
    """One detector's logit on one image, head by head, as differences from the average real test
    image.
    """
    reading = read(workspace, detectors(workspace, setting)[row])
    own = evidence(workspace, reading, np.array([image]))
    return own.relative_to(average_real(workspace, setting, row))
