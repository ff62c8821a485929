"""Results that several pages show, computed once a workspace and setting for all sessions.

A setting is a value: training sets, feature view, bias. Pages pass it around and never hold arrays
of their own.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from aigi_core.audit.cached import load_fact_matrix, stored_fact_scores
from aigi_core.detectors.detector import Detector, LinearDetector, score_detectors
from aigi_core.detectors.features import EmbeddingView, FeatureView, HeadsView
from aigi_core.detectors.methods import METHODS, Method
from aigi_core.detectors.methods.base import WIDER_GRID, at_grid_edge
from aigi_core.detectors.presets import PRESETS, Preset, preset
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.residual import train_residual
from aigi_core.detectors.stored import SCORED, load_scores, parameters_of
from aigi_core.detectors.token_views import AllLayersView, LayerView, PreView
from aigi_core.detectors.training import SECONDS
from aigi_core.errors import NotGivenError, NotMadeError
from aigi_core.explain.evidence import Evidence, evidence
from aigi_core.explain.reading import read
from aigi_core.geometry import GeometryComparison, compare_geometry
from aigi_core.manifest import REAL
from aigi_core.metrics import Column
from aigi_core.overview import describe, examples
from aigi_core.statements import best_of, counted, part_counted
from aigi_core.transfer import (
    DEFAULT_METRIC,
    METRICS,
    TRAINING,
    Atlas,
    Cell,
    MatrixDifference,
    Metric,
    Pair,
    TargetRanking,
    TrainSet,
    TransferMatrix,
    d_eval,
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
from ui.toolkit.apart import apart
from ui.toolkit.costly import lasting, wait_for_yes
from ui.toolkit.images import Tile
from ui.toolkit.jobs import step
from ui.toolkit.page import Page, name
from ui.toolkit.workspaces import cached

EMBEDDING = EmbeddingView()
DEFAULT_METHOD = "logistic"
CHOSEN = "chosen generators"
"""One training set of any generators, beside the ways of :data:`TRAINING`."""
TOGETHER = 100
"""Training sets that are fitted at once."""
RESIDUAL = "residual"
"""The feature view whose direction each training set computes for itself."""
VIEW_OPTIONS: dict[str, FeatureView | str] = {
    "Embedding": EMBEDDING,
    "Embedding, unnormalised": EmbeddingView(normalise=False),
    "Residual": RESIDUAL,
}
"""Feature views on offer, as they stand in controls and links."""
STORED_VIEWS: dict[str, tuple[str, PreView | LayerView]] = {
    "Before the projection": ("pre", PreView()),
    "One layer": ("layers", LayerView()),
    "One layer, second norm": ("norm2", LayerView(after="norm2")),
}
"""Title -> the stored feature that a view reads, and the view; offered where it is stored."""
contents = cached(describe)
EXAMPLE_WIDTH = 110
"""Least width, px, of an example's tile on the first page."""
ASKED = 30.0
"""Seconds of a core from which on detectors are trained only where somebody says so."""
LARGE = SCORED
"""Images from which on a workspace is :func:`large`."""
SEARCHED = {"Components removed": "components", "Heads": "heads"}
"""Feature views that a search on two generators (D_search) chooses; both lie in the workspace's
atlas.
"""


@dataclass(frozen=True)
class Setting:
    """How a set of detectors is trained.

    Attributes:
        sets: each detector's training generators.
        view: a feature view, or :data:`RESIDUAL`.
        method: name of a method (:data:`aigi_core.detectors.methods.METHODS`).
        balance: both classes weigh alike in training. A pool has several times as many real images
            as one generator has fakes: without it a detector learns to answer "real", and plain
            accuracy rewards it for that.
        d_search: the generators that the view was searched on. They must not judge it: see
            :func:`judged`.
        protocol: name of a preset of :mod:`aigi_core.detectors.presets`.
    """

    sets: tuple[TrainSet, ...]
    view: FeatureView | str = EMBEDDING
    bias: bool = True
    balance: bool = True
    d_search: tuple[str, ...] = ()
    method: str = DEFAULT_METHOD
    protocol: str = "ours"

    @property
    def differences(self) -> tuple[str, ...]:
        """What differs from the default, for names: ``("residual", "no bias")``."""
        view = next(
            (title.lower() for title, view in VIEW_OPTIONS.items() if view == self.view),
            str(self.view) if isinstance(self.view, PreView | LayerView) else "searched view",
        )
        texts = (
            (METHODS[self.method].title.lower(), self.method != DEFAULT_METHOD),
            (view, self.view != EMBEDDING),
            ("no bias", not self.bias),
            ("the paper's protocol", self.protocol == "paper"),
            ("no balance", not self.balance and self.protocol != "paper"),
        )
        return tuple(text for text, holds in texts if holds)


OURS = PRESETS["ours"]


def choose_protocol(page: Page) -> Preset:
    """The control ``protocol``, which follows the user from page to page."""
    return page.select(
        "protocol",
        "Protocol",
        {preset.title: preset for preset in PRESETS.values()},
        help=(
            "Ours: classes weighted equally, exact fits, balanced accuracy, ties broken by"
            " log-loss. Paper: exactly as in Gaintseva et al. 2024, with unweighted classes,"
            " the 96-point grid, plain accuracy and its other rules. docs/method.md lists"
            " every switch."
        ),
    )


def edges_in_words(workspace: Workspace, setting: Setting) -> str:
    """How many detectors have a C at the edge of the grid that was tried; empty for none."""
    linear = [one for one in detectors(workspace, setting) if isinstance(one, LinearDetector)]
    if not (edge := sum(map(at_grid_edge, linear))):
        return ""
    count = part_counted(edge, len(linear), "detector")
    return (
        f" C lies at the edge of its grid for {count}. A value beyond might do better. {WIDER_GRID}"
    )


def protocol_in_words(used: Preset) -> str:
    """How detectors are trained, for the protocol section of a page."""
    if used.name == "ours":
        return (
            "Ours: logistic regression fitted exactly, C chosen on validation, refitted on train"
            " plus validation."
        )
    return (
        "Exactly as in the paper: logistic regression from its 96-point grid (solver, C,"
        " max_iter, early stopping included), chosen by plain accuracy on validation,"
        " refitted on train plus validation."
    )


def choose_metric(page: Page, used: Preset = OURS) -> Metric:
    """The control ``metric``; that of the paper's protocol, which begins with plain accuracy, is
    one of its own.
    """
    return page.select(
        "metric" if used.metric == DEFAULT_METRIC else f"metric_{used.name}",
        "Metric",
        {m.title: m for m in METRICS.values()},
        METRICS[used.metric].title,
    )


def choose_setting(
    page: Page,
    sets: tuple[TrainSet, ...],
    of: str = "",
    *,
    beside: Setting | None = None,
    searched: bool = False,
    used: Preset = OURS,
) -> Setting:
    """The controls ``view``, ``bias`` and ``balance``; ``of`` sets a second group apart (its names
    end in ``_b``).

    Args:
        beside: the setting that this one is compared with; the default then is another view, where
            the method takes one.
        searched: offer the views of :data:`SEARCHED` too, with the controls ``d1`` and ``d2``; then
            use :func:`judged`.
        used: the protocol; only ours offers to weigh classes.

    What is chosen of a second group is part of the link even where it is the default.
    """
    with page.spelled_out() if of else nullcontext():
        return _choose_setting(page, sets, of, beside, searched, used)


def _choose_setting(
    page: Page,
    sets: tuple[TrainSet, ...],
    of: str,
    beside: Setting | None,
    searched: bool,
    used: Preset,
) -> Setting:
    suffix, whose = ("_b", f" of {of}") if of else ("", "")
    chosen = page.select(
        f"method{suffix}",
        f"Method{whose}",
        {one.title: one for one in METHODS.values() if one.name != RESIDUAL},
        help=(
            "How features become a score. For regression on the residual choose the feature view"
            " 'Residual'."
        ),
    )
    on_residual = beside and beside.view != RESIDUAL and chosen.name == DEFAULT_METHOD
    own_view = chosen.default_view()
    if not isinstance(own_view, EmbeddingView):  # it sees one thing only
        return Setting(sets, own_view, method=chosen.name, protocol=used.name)
    view = page.select(
        f"view{suffix}",
        f"Feature view{whose}",
        VIEW_OPTIONS | stored_views(page.workspace) | (SEARCHED if searched else {}),
        "Residual" if on_residual else None,
        help=(
            "What a detector sees: the image's embedding (of unit length by default), or only its"
            " cosine with the residual, the difference between the mean fake and the mean real"
            " image"
        )
        + (
            "; the embedding without components that hurt transfer, or the three best attention"
            " heads, as searched on two generators."
            if searched
            else "."
        ),
    )
    d_search: tuple[str, ...] = ()
    if isinstance(view, LayerView):
        layers = [str(layer) for layer in range(len(page.workspace.feature(view.after)))]
        layer = page.select(f"layer{suffix}", f"Layer{whose}", layers, layers[-1])
        view = replace(view, layer=int(layer))
    if isinstance(view, str) and view in SEARCHED.values():
        pair = choose_pair(page, of, used=used)
        d_search = seen_by(used, view, pair)
        view = searched_view(page.workspace, view, pair, used)
    with st.popover(f"Classifier{whose}", icon=":material/tune:"):
        bias = page.toggle(
            f"bias{suffix}",
            f"Bias{whose}",
            True,
            help=(
                "On: training also fits a bias, which sets the detector's threshold. Off:"
                " the bias is 0, so the decision boundary goes through the origin."
            ),
        )
        balance = used.training.class_weight is not None and page.toggle(
            f"balance{suffix}",
            f"Balance{whose}",
            True,
            help=(
                "On: real and fake images have equal total weight in training. Off: each"
                " image has the same weight, so the detector favours the more frequent"
                " class, usually the real images."
            ),
        )
    return Setting(sets, view, bias, balance, d_search, chosen.name, used.name)


def stored_views(workspace: Workspace) -> dict[str, FeatureView | str]:
    """Views of further features, where the workspace holds these."""
    stored = workspace.stored_features
    return {title: view for title, (name, view) in STORED_VIEWS.items() if name in stored}


def link_to(setting: Setting, generators: Sequence[str] = ()) -> dict[str, Any]:
    """The controls of a link that opens the same detectors elsewhere: each page has its own.

    Args:
        generators: one detector's training set, for pages that open one (:func:`choose_detector`).
    """
    opened: dict[str, Any] = {}
    if len(generators) == 1:
        opened = {"train": generators[0]}
    elif generators:
        opened = {"sets": CHOSEN, "trained": list(generators)}
    return opened | _link_to_view(setting)


def _link_to_view(setting: Setting) -> dict[str, str]:
    view = next((title for title, view in VIEW_OPTIONS.items() if view == setting.view), "")
    parameters = {"view": view} if view and setting.view != EMBEDDING else {}
    for title, (_, one) in STORED_VIEWS.items():
        if setting.view == one:
            parameters = {"view": title}
        elif isinstance(setting.view, LayerView) and replace(setting.view, layer=-1) == one:
            parameters = {"view": title, "layer": str(setting.view.layer)}
    parameters |= {} if setting.bias else {"bias": "0"}
    parameters |= (
        {} if setting.method == DEFAULT_METHOD else {"method": METHODS[setting.method].title}
    )
    if setting.protocol != OURS.name:
        return parameters | {"protocol": preset(setting.protocol).title}
    return parameters | ({} if setting.balance else {"balance": "0"})


def link_heads(page: Page, generators: Sequence[str], text: str, **controls: str) -> None:
    """A link to Heads, whose detectors are each of one generator; of a training set of several, one
    for each, and why.
    """
    if len(generators) == 1:
        page.link("heads", text, train=generators[0], **controls)
        return
    with st.expander(f"{text}: one generator at a time"):
        st.caption(
            "Heads trains on one generator and chooses heads on another, so it opens no set of"
            " several: here is each generator of this one, alone."
        )
        for one in generators:
            page.link("heads", f"Trained on {one}", train=one, **controls)


def training_in_words(setting: Setting) -> str:
    """The method of a setting, and where its hyperparameters are chosen."""
    one = method(setting)
    if setting.method == DEFAULT_METHOD and setting.protocol != OURS.name:
        return protocol_in_words(preset(setting.protocol))
    return f"{one.title}. {one.chosen} Refitted on train plus validation."


def transfer_code(
    workspace: Workspace, how: str, setting: Setting, metric: str, seen: Sequence[str] = ()
) -> str:
    """Lines that compute a page's transfer matrix with the library alone, judged on generators that
    no search has ``seen``.
    """
    used, view, one = protocol(setting), setting.view, method(setting)
    made = (
        f"Protocol(fit_intercept={setting.bias}, class_weight={used.class_weight!r},"
        f" grid={used.grid!r})"
    )
    imported = [
        "aigi_core.detectors.detector import score_detectors",
        "aigi_core.detectors.methods import method",
        "aigi_core.detectors.protocol import Protocol",
        "aigi_core.transfer import d_eval, make_training_sets, transfer_matrix",
        "aigi_core.workspace import Workspace",
    ]
    if isinstance(view, FeatureView):
        imported.append(f"{type(view).__module__} import {type(view).__name__}")
        trained = f"method({one.name!r}).train(workspace, list(sets.values()), {view!r}, {made})"
    else:
        imported.append("aigi_core.detectors.residual import train_residual")
        means = preset(setting.protocol).residual
        trained = f"train_residual(workspace, list(sets.values()), {made}, means={means!r})"
    held = METRICS[metric].threshold == "held out"
    twins = f"method({one.name!r}).bound(workspace).twins(workspace, detectors)"
    lines = "\n".join(f"from {line}" for line in sorted(imported))
    return f"""{RUN_IT}
{lines}

workspace = Workspace.open({str(workspace.path)!r})  # digest {workspace.digest}
names = d_eval(workspace.domains, {tuple(dict.fromkeys(seen))!r})
sets = make_training_sets(workspace.domains, {how!r}, names)
detectors = {trained}
matrix = transfer_matrix(
    score_detectors(detectors, workspace),
    workspace.domains,
    list(sets.values()),
    thresholds=[detector.threshold for detector in detectors],
    held_out={f"score_detectors({twins}, workspace)" if held else None},
    metrics=[{metric!r}],
).on(names)
print(matrix.to_frame())
for name, cells in (("in-domain", matrix.in_domain), ("out of domain", ~matrix.in_domain)):
    mean = matrix.mean({metric!r}, cells)
    print(f"{{name}} {{mean.value:.3f}} ({{mean.low:.3f}} to {{mean.high:.3f}}, {{mean.n}} cells)")
"""


RUN_IT = """\
# Save as script.py and run: PYTHONPATH=FOLDER python script.py
# FOLDER is AIGI Explorer's, the one that holds app.py; without PYTHONPATH where the package is
# installed (in FOLDER: python -m pip install .)."""


def compared_code(first: str, second: str, metric: str) -> str:
    """Lines that compare two matrices of :func:`transfer_code`, image by image."""
    return f"""{first}a = matrix

{second.removeprefix(RUN_IT).lstrip()}b = matrix

from aigi_core.transfer import difference

change = difference(a, b, {metric!r})
print(change.to_frame())
print("A minus B out of domain:", change.mean(~a.in_domain))
"""


def seen_by(used: Preset, kind: str, pair: Pair) -> tuple[str, ...]:
    """The generators of a searched pair that must not judge what the search chose."""
    return pair if kind != "heads" or used.heads_leave_out_train else pair[1:]


def choose_pair(page: Page, of: str = "", used: Preset = OURS) -> Pair:
    """The controls ``d1`` and ``d2``: a searched pair, by default the one whose removal helps
    most.
    """
    searches = atlas(page.workspace, used.name)
    suffix, best = "_b" if of else "", searches.best_pair()
    whose = f" of {of}" if of else ""
    first = page.generator(
        f"d1{suffix}",
        f"D1{whose}",
        best[0],
        among=[name for name in searches.generators if searches.partners(name)],
        help=(
            "D_search: a search trains on D1 and scores on D2's validation images. A search"
            " for components also does the reverse."
        ),
    )
    others = searches.partners(first)
    page.refuse(
        f"d2{suffix}",
        first,
        "This is also D1, but a search needs two different generators: choose another.",
    )
    return first, page.generator(
        f"d2{suffix}", f"D2{whose}", best[1] if best[1] in others else others[0], among=others
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


def judged(
    page: Page, how: str, *settings: Setting
) -> tuple[dict[str, TrainSet], list[Setting], tuple[str, ...]]:
    """Training sets, settings and test generators that no search of these settings has seen
    (D_eval).

    Args:
        how: a way of :data:`TRAINING`.
    """
    seen = tuple(dict.fromkeys(name for setting in settings for name in setting.d_search))
    names = d_eval(page.domains, seen) if seen else page.domains.generators
    sets = make_training_sets(page.domains, how, names)
    return sets, [replace(setting, sets=tuple(sets.values())) for setting in settings], names


def view_in_words(setting: Setting) -> str:
    """What its detectors see, and who was left out for it."""
    view = setting.view
    if isinstance(view, HeadsView):
        stream = view.space == "stream"
        text = (
            f"The {'outputs in the residual stream' if stream else 'direct contributions'} of heads"
            f" {', '.join(f'{layer}.{head}' for layer, head in view.heads)}"
        )
    elif isinstance(view, PreView | LayerView | AllLayersView):
        text = str(view).capitalize()
    elif isinstance(view, EmbeddingView):
        text = f"The embedding{'' if view.normalise else ', unnormalised'}"
        text += f" without {counted(len(view.without), 'component')}" if view.without else ""
    else:
        text = (
            "The dot product with the residual (of raw means) of its own training images"
            if preset(setting.protocol).residual == "raw embeddings"
            else "The cosine with the residual of its own training images"
        )
    if not setting.d_search:
        return f"{text}."
    return (
        f"{text}, chosen by a search on {' and '.join(map(name, setting.d_search))}; detectors are"
        " trained and tested on the other generators only (D_eval)."
    )


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
    _ask(workspace, setting)
    if how.name == RESIDUAL:
        means = preset(setting.protocol).residual
        return tuple(train_residual(workspace, setting.sets, used, means=means))
    seen = view if isinstance(view, FeatureView) else None
    if not how.slow:
        return tuple(apart(how.train, workspace, setting.sets, seen, used))
    how.check(workspace, seen or how.default_view())
    how, trained = how.bound(workspace), list[Detector]()
    for done, names in enumerate(setting.sets, 1):
        trained += how.train(workspace, [names], seen, used)
        step(done, len(setting.sets))
    return tuple(trained)


def _ask(workspace: Workspace, setting: Setting) -> None:
    """Raise CostlyError where training would take long and nobody has said yes."""
    sets, n = len(setting.sets), len(workspace.domains)
    own = METHODS[setting.method].seconds(workspace, setting.sets, setting.view, protocol(setting))
    seconds = n * sets * SECONDS[False][False] if own is None else own
    if seconds <= ASKED:
        return
    by = " by logistic regression; other methods take longer" if own is None else ""
    wait_for_yes(
        f"{'This detector is' if sets == 1 else 'These detectors are'} not stored yet."
        f" Training {counted(sets, 'detector')} on {counted(n, 'image')} takes"
        f" {lasting(seconds)} of one core{by}. Any click stops the training."
        f" '{workspace.command('detectors')}' stores the detectors that pages show first.",
        (workspace.identity, setting),
    )


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


def method(setting: Setting) -> Method:
    """The method of a setting; NotGivenError where it does not take the setting's feature view."""
    if isinstance(setting.view, FeatureView):
        return METHODS[setting.method]
    if setting.method != DEFAULT_METHOD:
        raise NotGivenError(
            f"{METHODS[setting.method].title} is not trained on the residual: choose another"
            " feature view, or logistic regression."
        )
    return METHODS[RESIDUAL]


def protocol(setting: Setting) -> Protocol:
    """How a setting's detectors are trained, with or without bias, with or without classes of equal
    weight.
    """
    return replace(
        preset(setting.protocol).training,
        fit_intercept=setting.bias,
        class_weight="balanced" if setting.balance else None,
    )


def feature_view(setting: Setting) -> FeatureView:
    """The view of a setting, for what trains many detectors on one view; residuals are a view for
    each.
    """
    if isinstance(setting.view, FeatureView):
        return setting.view
    raise NotGivenError(
        "Each residual detector uses a direction of its own, so this needs another"
        " feature view: choose one."
    )


def regression_view(setting: Setting) -> FeatureView:
    """The view of a setting, for what fits logistic regressions only."""
    if setting.method != DEFAULT_METHOD:
        raise NotGivenError("This is shown for logistic regression only: choose this method.")
    return feature_view(setting)


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


def _sets_of(names: Sequence[str], k: int) -> list[TrainSet]:
    return [one for size in range(1, k + 1) for one in combinations(names, size)]


def cost_of_sets(workspace: Workspace, k: int) -> tuple[int, float]:
    """How many training sets of up to ``k`` generators there are, and about how many seconds of a
    core their training takes."""
    sets = len(_sets_of(workspace.domains.generators, k))
    # all sets share one copy in memory, however many images there are
    return sets, sets * len(workspace.domains) * SECONDS[False][True]


@partial(cached, most=8)  # tens of megabytes each
def scored_sets(workspace: Workspace, setting: Setting, k: int) -> tuple[ScoreSets, ScoreSets]:
    """Scores of every set of up to ``k`` generators, trained once for all that is then asked of
    them: as the setting says, and without the refit on validation images, which then can choose.
    """
    sets = _sets_of(workspace.domains.generators, k)
    how = (workspace, feature_view(setting), protocol(setting), method(setting))
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for start in range(0, len(sets), TOGETHER):
        parts.append(apart(score_twice, sets[start : start + TOGETHER], *how))
        step(min(start + TOGETHER, len(sets)), len(sets))
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
    """The searches of pairs by a protocol; WorkspaceError, which names the command, where they were
    not run.
    """
    return Atlas.open(workspace, protocol=protocol)


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
def facts_against_detectors(workspace: Workspace) -> MatrixDifference:
    """Balanced accuracy of :func:`fact_matrix` minus that of :func:`default_matrix`, cell by
    cell.

    Raises:
        NotMadeError: see :func:`fact_matrix`.
    """
    return difference(fact_matrix(workspace), default_matrix(workspace), DEFAULT_METRIC)


def choose_detector(page: Page, used: Preset = OURS) -> tuple[Setting, list[str], int]:
    """The controls ``sets``, ``train`` (of :data:`CHOSEN` ones ``trained``), ``view``, ``bias``
    and ``balance``: one detector, as (setting, names of its rows, row).
    """
    ways = TRAINING | {CHOSEN: "one detector for all that are chosen"}
    how = page.select(
        "sets", "Training sets", list(ways), help="; ".join(f"{k}: {v}" for k, v in ways.items())
    )
    if how == CHOSEN:
        first = page.domains.generators[:1]
        names = page.generators("trained", "Detector trained on", first, follows="train")
        train = " + ".join(names)
        sets = {train: tuple(names)}
    else:
        sets = make_training_sets(page.domains, how)
        train = page.select("train", "Detector trained on", list(sets))
    setting = choose_setting(page, tuple(sets.values()), used=used)
    return setting, list(sets), list(sets).index(train)


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
    rows = workspace.domains.rows(d_eval(workspace.domains, pair), "test")
    embedding = EMBEDDING.matrix(workspace, rows)
    return compare_geometry(embedding, ~np.isin(np.arange(embedding.shape[1]), removed))


@cached
def compared_evidence(workspace: Workspace, setting: Setting, row: int, image: int) -> Evidence:
    """One detector's logit on one image, head by head, as differences from the average real test
    image.
    """
    reading = read(workspace, detectors(workspace, setting)[row])
    own = evidence(workspace, reading, np.array([image]))
    return own.relative_to(average_real(workspace, setting, row))
