"""Words, heads and their effects, computed once a workspace and choice for all sessions; see also ``ui.results``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from aigi_core.detectors.features import Head, HeadsView, all_heads
from aigi_core.detectors.heads import score_heads, select_heads
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.explain.cached import WordAtlas, load_words
from aigi_core.explain.compare import Comparison, compare_directions
from aigi_core.explain.detector_words import content_words, measured, null_directions, words_table
from aigi_core.explain.effect import Effect, ablation_effect, concept_effect
from aigi_core.explain.evidence import evidence, head_roles
from aigi_core.explain.heads import (
    Definition,
    extreme_images,
    growing,
    head_direction,
    head_words,
    heads_alone,
    ood_cells,
    with_test,
)
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.nulls import Side, word_null
from aigi_core.explain.own import own_bank, split_phrases
from aigi_core.explain.reading import Reading, read
from aigi_core.explain.textspan import head_text_spans
from aigi_core.explain.words import Words
from aigi_core.explain.words import words as search
from aigi_core.transfer import PairedDifference, difference
from aigi_core.transfer.bootstrap import Estimate
from aigi_core.transfer.metrics import DEFAULT_METRIC
from aigi_core.workspace import Workspace
from ui import encoders, results
from ui.page import Page
from ui.results import Setting
from ui.workspaces import cached

METRIC = DEFAULT_METRIC
SIDES: tuple[Side, Side] = ("nearest", "farthest")
LISTED = 20
"""Texts kept a side; pages show the first few."""
MOST, OFFERED = 8, 24
"""Heads chosen at most, and the best single heads that joint selection chooses from."""


@dataclass(frozen=True)
class Texts:
    """Which texts are searched.

    Attributes:
        bank: a bank of the workspace; not read where ``own`` is given.
        categories: only these; all where empty.
        centred: compare texts as differences from their mean (see :mod:`aigi_core.explain.lexicon`).
        own: the user's own phrases.
    """

    bank: str = "phrases"
    categories: tuple[str, ...] = ()
    centred: bool = True
    own: tuple[str, ...] = ()


@dataclass(frozen=True)
class HeadGain:
    """Some heads, the whole embedding, and the paired difference of the two; all out of domain."""

    heads: Estimate
    embedding: Estimate
    gain: PairedDifference


def choose_texts(page: Page) -> Texts:
    """The controls ``bank``, ``categories`` and ``centred``; WorkspaceError where there is no text bank."""
    banks = page.workspace.text_banks
    if not banks:
        page.workspace.text_bank("phrases")  # says what to do
    bank = page.select("bank", "Text bank", banks, "phrases", help="The list of texts that is searched.")
    have = lexicon(page.workspace, Texts(bank)).categories
    categories = page.multiselect(
        "categories", "Only categories", have, [], placeholder="All", help="Search only texts of these categories."
    )
    centred = page.toggle(
        "centred", "Centred", True,
        help="Texts share a large common part; it is taken off before comparing, as weights are differences of images "
        "too. Off: plain cosines, as in the paper.",
    )  # fmt: skip
    return Texts(bank, tuple(categories), centred)


@cached
def lexicon(workspace: Workspace, texts: Texts) -> Lexicon:
    """The texts, ready for search."""
    bank = own_bank(workspace, texts.own, lambda new: _encode(workspace, new)) if texts.own else texts.bank
    return Lexicon.of(workspace, bank, centred=texts.centred, categories=texts.categories or None)


def own_texts(line: str, texts: Texts) -> Texts:
    """Phrases typed on a line, compared in the same way as other texts."""
    return Texts(centred=texts.centred, own=split_phrases(line))


def _encode(workspace: Workspace, new: Sequence[str]) -> np.ndarray:
    """Embed texts that no bank holds. Loads the text tower, and torch, on first need."""
    with st.spinner("Loading the text tower, once for all sessions …"):
        try:
            encoder = encoders.load(workspace)
        except AigiError as error:
            raise AigiError(
                f"{new[0]!r} is in none of the text banks, and the text tower cannot be loaded here: choose phrases of a "
                f"bank. ({error})"
            ) from error
        found: np.ndarray = encoder.encode_texts(list(new))
        return found


@cached
def reading(workspace: Workspace, setting: Setting, row: int) -> Reading:
    """What one detector of a setting reads."""
    return read(workspace, results.detectors(workspace, setting)[row])


@cached
def nulls(workspace: Workspace, setting: Setting, row: int, seed: int = 0) -> np.ndarray:
    """[B, d] directions of the same training on shuffled labels."""
    drawn = null_directions(workspace, results.detectors(workspace, setting)[row], seed=seed).astype(np.float32)
    drawn.flags.writeable = False
    return drawn


@cached
def words(workspace: Workspace, setting: Setting, row: int, texts: Texts) -> Words:
    """What one detector says, against the same training on shuffled labels."""
    found = lexicon(workspace, texts)
    null = word_null(found, nulls(workspace, setting, row), "permutation", LISTED)
    name = results.detectors(workspace, setting)[row].name
    return search(found, reading(workspace, setting, row).direction, LISTED, null=null, name=name)


@cached
def content(workspace: Workspace, generators: tuple[str, ...], texts: Texts) -> Words:
    """What a training set shows, real and fake alike, that the workspace's other images do not."""
    return content_words(workspace, lexicon(workspace, texts), generators, LISTED)


@cached
def comparison(workspace: Workspace, a: tuple[Setting, int], b: tuple[Setting, int], texts: Texts) -> Comparison:
    """What one detector says and another does not."""
    first, second = (reading(workspace, *which).direction for which in (a, b))
    names = [results.detectors(workspace, setting)[row].name for setting, row in (a, b)]
    return compare_directions(
        lexicon(workspace, texts), first, second, nulls(workspace, *a), nulls(workspace, *b, seed=1), LISTED,
        f"{names[0]} less {names[1]}",
    )  # fmt: skip


_load_words = cached(load_words)


def atlas(workspace: Workspace) -> WordAtlas | None:
    """What ``python -m precompute words`` has computed; None as long as it has not run."""
    try:
        return _load_words(workspace)
    except WorkspaceError:
        return None


def precomputed(workspace: Workspace, setting: Setting, texts: Texts) -> pd.DataFrame | None:
    """One row a detector from the precomputed words; None where they were made in another way, or not at all."""
    sets = tuple((name,) for name in workspace.domains.generators)
    kinds = {Setting(sets): "logistic", Setting(sets, results.RESIDUAL): "residual"}
    found = atlas(workspace) if setting in kinds and texts == Texts(texts.bank) else None
    if found is None or texts.bank not in found.settings.banks:
        return None
    table = found.detectors
    table = table[(table["kind"] == kinds[setting]) & (table["bank"] == texts.bank)]
    table = table.drop(columns=["kind", "bank"]).reset_index(drop=True)
    return measured(table, results.matrix(workspace, setting, METRIC), METRIC)


@cached
def all_words(workspace: Workspace, setting: Setting, texts: Texts) -> pd.DataFrame:
    """One row a detector: what it says, how surely, and how it does. Reads each against its own null: some seconds."""
    said = [words(workspace, setting, row, texts) for row in range(len(setting.sets))]
    return words_table(said, results.matrix(workspace, setting, METRIC), METRIC)


def out_of_domain(workspace: Workspace, setting: Setting, row: int) -> Estimate:
    """How well one detector does on generators it never saw; ``n`` is 0 where it saw all."""
    matrix = results.matrix(workspace, setting, METRIC)
    mine = np.zeros_like(matrix.in_domain)
    mine[row] = ~matrix.in_domain[row]
    return matrix.mean(METRIC, mine)


@cached
def concept(workspace: Workspace, setting: Setting, texts: Texts, again: bool) -> Effect:
    """The matrix without some texts (``texts.own``); ``again``: with detectors trained anew on what is left."""
    detectors = results.detectors(workspace, setting)
    readings = [reading(workspace, setting, row) for row in range(len(detectors))]
    return concept_effect(
        workspace, readings, setting.sets, lexicon(workspace, texts), texts.own,
        refit=[detector.C for detector in detectors] if again else None, metric=METRIC,
    )  # fmt: skip


# Heads

head_scores = cached(score_heads)
alone_matrix = cached(heads_alone)


@cached
def heads_table(workspace: Workspace, train: str, validation: str) -> pd.DataFrame:
    """Every head alone, best first: on the validation generator, in-domain and out of domain."""
    return with_test(head_scores(workspace, train, validation), alone_matrix(workspace, train, METRIC), METRIC)


@cached
def joint_heads(workspace: Workspace, train: str, validation: str) -> tuple[Head, ...]:
    """Heads chosen jointly among the :data:`OFFERED` best alone, in the order chosen."""
    offered = head_scores(workspace, train, validation).top(min(OFFERED, len(all_heads(workspace))))
    return select_heads(workspace, train, validation, most=MOST, heads=offered).heads


@cached
def grown(workspace: Workspace, train: str, validation: str, heads: tuple[Head, ...]) -> pd.DataFrame:
    """Detectors on the first 1, 2, ... of these heads, out of domain."""
    return growing(workspace, train, heads, (validation,), METRIC)


@cached
def heads_against_embedding(workspace: Workspace, train: str, validation: str, heads: tuple[Head, ...]) -> HeadGain:
    """A detector on some heads beside one on the whole embedding, paired, out of domain."""
    a, b = (
        results.matrix(workspace, Setting(((train,),), view), METRIC) for view in (HeadsView(heads), results.EMBEDDING)
    )
    cells = ood_cells(a, (validation,))
    return HeadGain(a.mean(METRIC, cells), b.mean(METRIC, cells), difference(a, b, METRIC).mean(cells))


@cached
def roles(workspace: Workspace, setting: Setting, row: int) -> pd.DataFrame:
    """Where each head carries one detector and where it misleads it, on test images."""
    rows = np.flatnonzero(workspace.domains.split == "test")
    return head_roles(evidence(workspace, reading(workspace, setting, row), rows), workspace.domains)


@cached
def head_said(
    workspace: Workspace, head: Head, train: str | tuple[str, ...], definition: Definition, texts: Texts
) -> Words:
    """What one head says on the training images of one generator or several, with its null."""
    return head_words(workspace, lexicon(workspace, texts), *head, train, definition, LISTED)


@cached
def head_span(workspace: Workspace, head: Head, count: int = 12) -> pd.DataFrame:
    """TextSpan of one head over all training images; the precomputed one where there is one."""
    if (found := atlas(workspace)) is not None:
        spans = found.spans
        return spans[(spans["layer"] == head[0]) & (spans["head"] == head[1])].head(count)
    plain = lexicon(workspace, Texts(centred=False))
    rows = np.flatnonzero(workspace.domains.split == "train")
    spans = head_text_spans(workspace, plain.vectors, count, rows=rows, heads=[head])
    return spans.assign(text=plain.table["text"].to_numpy()[spans["text"]])


@cached
def extremes(workspace: Workspace, head: Head, train: str, definition: Definition, count: int = 8) -> pd.DataFrame:
    """The test images on which a head points most, and least, along its own direction."""
    direction = head_direction(workspace, *head, train, definition, draws=1).vector
    rows = np.flatnonzero(workspace.domains.split == "test")
    return extreme_images(workspace, *head, direction, count, rows)


@cached
def ablation(workspace: Workspace, setting: Setting, heads: tuple[Head, ...]) -> Effect:
    """The matrix with some heads replaced by their mean over the training images, beside as many other heads."""
    readings = [reading(workspace, setting, row) for row in range(len(setting.sets))]
    return ablation_effect(workspace, readings, setting.sets, heads, metric=METRIC)


def parse_head(name: str) -> Head:
    """(layer, index) of ``"layer.index"``."""
    layer, _, index = name.partition(".")
    return int(layer), int(index)
