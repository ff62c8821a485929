"""Controls that choose detectors: protocol, metric, training sets, feature view, searched pair."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import streamlit as st

from aigi_core.detectors.features import EmbeddingView
from aigi_core.detectors.methods import METHODS
from aigi_core.detectors.presets import PRESETS, Preset
from aigi_core.detectors.token_views import LayerView
from aigi_core.transfer import (
    DEFAULT_METRIC,
    METRICS,
    TRAINING,
    Metric,
    Pair,
    TrainSet,
    d_eval,
    make_training_sets,
)
from ui import results
from ui.results.settings import (
    CHOSEN,
    DEFAULT_METHOD,
    OURS,
    RESIDUAL,
    SEARCHED,
    VIEW_OPTIONS,
    Setting,
    seen_by,
    stored_views,
)
from ui.toolkit.page import Page


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
        view = results.searched_view(page.workspace, view, pair, used)
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


def choose_pair(page: Page, of: str = "", used: Preset = OURS) -> Pair:
    """The controls ``d1`` and ``d2``: a searched pair, by default the one whose removal helps
    most.
    """
    searches = results.atlas(page.workspace, used.name)
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
