"""How a set of detectors is trained, as a value: its words, its link, its lines of code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from aigi_core.detectors.features import EmbeddingView, FeatureView, HeadsView
from aigi_core.detectors.methods import METHODS, Method
from aigi_core.detectors.presets import PRESETS, Preset, preset
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.token_views import AllLayersView, LayerView, PreView
from aigi_core.errors import NotGivenError
from aigi_core.statements import counted
from aigi_core.transfer import (
    METRICS,
    Pair,
    TrainSet,
)
from aigi_core.workspace import Workspace
from ui.toolkit.page import name

EMBEDDING = EmbeddingView()

DEFAULT_METHOD = "logistic"

CHOSEN = "chosen generators"
"""One training set of any generators, beside the ways of :data:`TRAINING`."""

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
    lines = f"""\
names = d_eval(workspace.domains, {tuple(dict.fromkeys(seen))!r})
sets = make_training_sets(workspace.domains, {how!r}, names)"""
    needs = "aigi_core.transfer import d_eval, make_training_sets, transfer_matrix"
    return _matrix_code(workspace, lines, needs, setting, metric)


def trained_code(workspace: Workspace, setting: Setting, metric: str, tested: Sequence[str]) -> str:
    """Lines that train and measure the detectors of a setting on some generators."""
    lines = f"""\
names = {list(tested)!r}
sets = { {" + ".join(names): tuple(names) for names in setting.sets}!r}"""
    needs = "aigi_core.transfer import transfer_matrix"
    return _matrix_code(workspace, lines, needs, setting, metric)


def _matrix_code(
    workspace: Workspace, chosen: str, needs: str, setting: Setting, metric: str
) -> str:
    """Lines that compute a matrix.

    Args:
        chosen: the lines that say ``names``, tested on, and ``sets``, trained on.
        needs: what these and the matrix import.
    """
    used, view = protocol(setting), setting.view
    one = method(setting)
    made = (
        f"Protocol(fit_intercept={setting.bias}, class_weight={used.class_weight!r},"
        f" grid={used.grid!r})"
    )
    imported = [
        "aigi_core.detectors.detector import score_detectors",
        "aigi_core.detectors.methods import method",
        "aigi_core.detectors.protocol import Protocol",
        needs,
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
{chosen}
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
    if mean.n:
        ends = f"{{mean.low:.3f}} to {{mean.high:.3f}}"
        print(f"{{name}} {{mean.value:.3f}} ({{ends}}, {{mean.n}} cells)")
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
