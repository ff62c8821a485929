"""Attention heads, alone and together, computed once a workspace and choice for all sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aigi_core.detectors.detector import LinearDetector
from aigi_core.detectors.features import HeadsView
from aigi_core.detectors.heads import HeadScores, score_heads, select_heads
from aigi_core.detectors.presets import Preset
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.explain.effect import Effect, ablation_effect
from aigi_core.explain.evidence import evidence, head_roles
from aigi_core.explain.heads import (
    Definition,
    extreme_images,
    growing,
    head_direction,
    head_words,
    heads_alone,
    heads_words,
    ood_cells,
    paper_seconds,
    train_every_head,
    with_test,
)
from aigi_core.explain.textspan import head_text_spans
from aigi_core.explain.words import Words
from aigi_core.heads import Head, all_heads
from aigi_core.statements import ALPHA, Finding, counted, number, p_text
from aigi_core.transfer import DEFAULT_METRIC, METRICS, PairedDifference, TransferMatrix, difference
from aigi_core.transfer.bootstrap import Estimate
from aigi_core.workspace import Workspace
from ui import results
from ui.results import OURS, Setting, explanations
from ui.results.explanations import LISTED, Texts, lexicon, reading
from ui.toolkit.apart import apart
from ui.toolkit.costly import lasting
from ui.toolkit.jobs import step
from ui.toolkit.kept import cached
from ui.toolkit.page import name
from ui.toolkit.report import Stat

MOST, OFFERED = 8, 24
"""Heads chosen at most, and the best single heads that joint selection chooses from."""
WAYS = ("best alone", "chosen jointly")


@dataclass(frozen=True)
class HeadGain:
    """Some heads, the whole embedding, and the paired difference of the two; all out of domain."""

    heads: Estimate
    embedding: Estimate
    gain: PairedDifference

    @property
    def finding(self) -> Finding:
        """What may be said of the difference."""
        return self.gain.finding("paired unseen generator")

    @property
    def compared(self) -> str:
        """How the heads compare with the embedding, in words."""
        how = self.finding.claim(
            "**better than** the whole embedding",
            "**worse than** the whole embedding",
            "**not shown to differ from** the whole embedding",
        )
        if self.finding.direction == "unknown":
            return "not compared with the whole embedding: that needs images of a third generator"
        return f"{how}: the difference is {self.finding.points()}"


@cached
def _trained(workspace: Workspace, train: str, used: Preset) -> list[tuple[LinearDetector, ...]]:
    """Every head's detector, and the same not refitted, where each is trained once for both; none
    where the protocol chooses penalties otherwise."""
    if used.head_penalty != "own":
        return []
    return apart(train_every_head, workspace, train, used, here={"progress": step})


@cached
def head_scores(
    workspace: Workspace, train: str, validation: str, used: Preset = OURS
) -> HeadScores:
    """Every head alone on the validation generator."""
    return apart(
        score_heads,
        workspace,
        train,
        validation,
        used.training,
        space=used.head_space,
        penalty=used.head_penalty,
        points=results.head_points(workspace, used),
        trained=[twin for _, twin in _trained(workspace, train, used)],
        here={"progress": step},
    )


@cached
def alone_matrix(workspace: Workspace, train: str, used: Preset = OURS) -> TransferMatrix:
    """Every head alone on test images."""
    return apart(
        heads_alone,
        workspace,
        train,
        used.metric,
        used=used,
        points=results.head_points(workspace, used),
        trained=[whole for whole, _ in _trained(workspace, train, used)],
        here={"progress": step},
    )


def work_in_words(workspace: Workspace, train: str, used: Preset) -> str:
    """What a first visit waits for, and how long where that is not a second or two."""
    if used == OURS:
        return "Training a detector on every head"
    seconds = paper_seconds(workspace, train, results.head_points(workspace, used))
    return (
        f"Training a detector on every head by the paper's grid takes {lasting(seconds)} of one"
        " core, once for all sessions"
    )


@cached
def heads_table(
    workspace: Workspace, train: str, validation: str, used: Preset = OURS
) -> pd.DataFrame:
    """Every head alone, best first: on the validation generator, in-domain and out of domain."""
    return apart(
        with_test,
        head_scores(workspace, train, validation, used),
        alone_matrix(workspace, train, used),
        used.metric,
    )


def measured_on(workspace: Workspace, shown: str, scores: HeadScores, table: pd.DataFrame) -> str:
    """What a column of :func:`heads_table` rests on, in words."""
    if shown == "ood":
        return counted(int(table["generators"].max()), "generator")
    if shown == "accuracy":
        return counted(scores.n_val, "validation image")
    return counted(len(workspace.domains.rows(scores.train_on, "test")), "test image")


def way_names(used: Preset = OURS) -> tuple[str, ...]:
    """The ways of choosing heads that a protocol has; the paper has the first only."""
    return WAYS if used == OURS else WAYS[:1]


def chosen_heads(
    workspace: Workspace, way: str, train: str, validation: str, used: Preset = OURS
) -> tuple[Head, ...]:
    """The heads that one way of choosing takes, in its order."""
    if way == WAYS[1]:  # three quarters of a first visit, so only where it is asked for
        return joint_heads(workspace, train, validation)
    scores = head_scores(workspace, train, validation, used)
    return scores.top(min(MOST, len(scores.table)))


@cached
def joint_heads(workspace: Workspace, train: str, validation: str) -> tuple[Head, ...]:
    """Heads chosen jointly among the :data:`OFFERED` best alone, in the order chosen."""
    offered = head_scores(workspace, train, validation).top(min(OFFERED, len(all_heads(workspace))))
    return apart(
        select_heads,
        workspace,
        train,
        validation,
        most=MOST,
        heads=offered,
        here={"progress": step},
    ).heads


@cached
def grown(
    workspace: Workspace,
    train: str,
    validation: str,
    heads: tuple[Head, ...],
    used: Preset = OURS,
) -> pd.DataFrame:
    """Detectors on the first 1, 2, ... of these heads, out of domain."""
    return apart(growing, workspace, train, heads, (validation,), used.metric, used)


@cached
def heads_against_embedding(
    workspace: Workspace,
    train: str,
    validation: str,
    heads: tuple[Head, ...],
    used: Preset = OURS,
) -> HeadGain:
    """A detector on some heads beside one on the whole embedding, paired, out of domain."""
    balance, metric = used.training.class_weight is not None, used.metric
    a, b = (
        results.matrix(
            workspace, Setting(((train,),), view, balance=balance, protocol=used.name), metric
        )
        for view in (HeadsView(heads, space=used.head_space), results.EMBEDDING)
    )
    cells = ood_cells(a, (validation,))
    return HeadGain(
        a.mean(metric, cells), b.mean(metric, cells), difference(a, b, metric).mean(cells)
    )


@cached
def roles(workspace: Workspace, setting: Setting, row: int) -> pd.DataFrame:
    """Where each head carries one detector and where it misleads it, on test images."""
    rows = np.flatnonzero(workspace.domains.split == "test")
    return head_roles(
        evidence(workspace, reading(workspace, setting, row), rows), workspace.domains
    )


@cached
def words_of_head(
    workspace: Workspace,
    head: Head,
    train: str | tuple[str, ...],
    definition: Definition,
    texts: Texts,
) -> Words:
    """What one head says on the training images of one generator or several, with its null."""
    return head_words(
        workspace,
        lexicon(workspace, texts),
        *head,
        generators=train,
        definition=definition,
        k=LISTED,
    )


@cached
def words_of_all_heads(
    workspace: Workspace, train: str, definition: Definition, texts: Texts
) -> pd.DataFrame:
    """The nearest text of every head, corrected for their number."""
    return heads_words(workspace, lexicon(workspace, texts), train, definition, progress=step)


@cached
def head_span(workspace: Workspace, head: Head, count: int = 12) -> pd.DataFrame:
    """TextSpan of one head over all training images; the precomputed one where there is one."""
    if (stored := explanations.atlas(workspace)) is not None:
        spans = stored.spans
        return spans[(spans["layer"] == head[0]) & (spans["head"] == head[1])].head(count)
    plain = lexicon(workspace, Texts(centred=False))
    rows = np.flatnonzero(workspace.domains.split == "train")
    spans = head_text_spans(workspace, plain.vectors, count, rows=rows, heads=[head])
    return spans.assign(text=plain.table["text"].to_numpy()[spans["text"]])


@cached
def span_texts(workspace: Workspace) -> dict[str, str]:
    """Head -> the first text of its TextSpan, where that was precomputed."""
    stored = explanations.atlas(workspace)
    if stored is None:
        return {}
    first = stored.spans[stored.spans["rank"] == stored.spans["rank"].min()]
    return {f"{s['layer']}.{s['head']}": str(s["text"]) for s in first.to_dict("records")}


@cached
def census(workspace: Workspace, protocol: str = "ours") -> pd.DataFrame:
    """The heads that are chosen most often; empty where no pair was searched."""
    try:
        return results.atlas(workspace, protocol).head_census().head(15)
    except WorkspaceError:
        return pd.DataFrame()


@cached
def extremes(
    workspace: Workspace, head: Head, train: str, definition: Definition, count: int = 8
) -> pd.DataFrame:
    """The test images on which a head points most, and least, along its own direction."""
    direction = head_direction(workspace, *head, train, definition, draws=1).vector
    rows = np.flatnonzero(workspace.domains.split == "test")
    return extreme_images(workspace, *head, direction, count, rows)


@cached
def ablation(workspace: Workspace, setting: Setting, heads: tuple[Head, ...]) -> Effect:
    """The matrix with some heads replaced by their mean over the training images, beside as many
    other heads.
    """
    readings = [reading(workspace, setting, row) for row in range(len(setting.sets))]
    return ablation_effect(
        workspace, readings, setting.sets, heads, metric=DEFAULT_METRIC, progress=step
    )


def named(heads: Sequence[Head]) -> list[str]:
    """``"layer.index"`` of each."""
    return [f"{layer}.{index}" for layer, index in heads]


def parse_head(name: str) -> Head:
    """(layer, index) of ``"layer.index"``."""
    layer, _, index = name.partition(".")
    return int(layer), int(index)


def best_trained(workspace: Workspace) -> str:
    """The generator whose detector does best on others, in whose heads there is most to see; the
    first where none can be tested on others."""
    try:
        best = results.default_matrix(workspace).best_detector(DEFAULT_METRIC)
    except AigiError:  # the page says what is missing where it needs it
        best = None
    return best.name if best else next(iter(workspace.domains.generators), "")


def among_all(read: pd.DataFrame, head: str) -> str:
    """What is left of one head's words, and of any head's, among all of them (rows of
    :func:`words_of_all_heads`).
    """
    corrected = float(read.loc[read["head"] == head, "p_all_heads"].iloc[0])
    return (
        f"Corrected for the choice among {counted(len(read), 'head')}: {p_text(corrected)} for this"
        f" head; {(read['p_all_heads'] <= ALPHA).sum()} of them have p ≤ {ALPHA:.2f}."
    )


def answer(
    table: pd.DataFrame,
    scores: HeadScores,
    gain: HeadGain,
    chosen: Sequence[str],
    train: str,
    validation: str,
    *,
    used: Preset = OURS,
) -> str:
    """The page's answer: the best head alone, and the chosen ones against the whole embedding."""
    best = table.iloc[0]
    elsewhere = (
        f" On the other generators it reaches {number(best['ood'])} (95% interval"
        f" {number(best['ood_low'])} to {number(best['ood_high'])},"
        f" {counted(gain.heads.n, 'generator')})."
        if np.isfinite(best["ood"])
        else ""
    )
    these = (
        f"Head **{chosen[0]}** is"
        if len(chosen) == 1
        else f"Heads **{', '.join(chosen)}** together are"
    )
    about = METRICS[used.metric].in_words
    return (
        f"Trained on {name(train)}, head **{best['head']}** alone reaches {about}"
        f" {scores.best.numbers()} on {counted(scores.n_val, 'validation image')} of"
        f" {name(validation)}."
        f"{elsewhere} {these} {gain.compared}."
    )


def stats(scores: HeadScores, gain: HeadGain, chosen: int, used: Preset = OURS) -> list[Stat]:
    """The best head, the chosen ones and the embedding, in numbers."""
    best = scores.table.iloc[0]
    heads = gain.heads
    whole = gain.embedding
    more = gain.gain
    stats = [
        Stat(
            "Best head alone",
            f"{best['accuracy']:.3f}",
            f"best of {len(scores.table)} on {counted(scores.n_val, 'image')} of"
            f" {', '.join(scores.validate_on)}, interval corrected for this choice",
            (scores.best.low, scores.best.high),
            f"{METRICS[used.metric].title} on the validation split of the validation generator,"
            " whose images chose it: expect less on others."
            f" {scores.best.rivals_in_words('head')}",
        )
    ]
    if not more.n:  # a third generator is needed, which the answer says
        return stats
    return [
        *stats,
        Stat(
            f"{counted(chosen, 'head')}, out of domain",
            f"{heads.value:.3f}",
            counted(heads.n, "generator"),
            (heads.low, heads.high),
            f"{METRICS[used.metric].title} on generators other than these two.",
        ),
        Stat(
            "Embedding, out of domain",
            f"{whole.value:.3f}",
            counted(whole.n, "generator"),
            (whole.low, whole.high),
        ),
        Stat(
            "Difference",
            f"{number(100 * more.value, 1, signed=True)} points",
            f"{counted(more.n, 'generator')}, paired, {p_text(more.p_value)}",
            (100 * more.low, 100 * more.high),
            "Heads minus embedding, on the same images, in percentage points.",
            "+.1f",
        ),
    ]
