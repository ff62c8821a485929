"""The whole audit of a workspace in one call; every part can be had alone from its own module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, UInt8

from aigi_core.audit import content as shown
from aigi_core.audit import facts as file_facts
from aigi_core.audit.leaks import Duplicates, find_duplicates, straddling_groups
from aigi_core.audit.matching import (
    Scorer,
    detector_scorer,
    matched_matrices,
    own_matrix,
    own_scores,
    propensity_strata,
    take_domains,
    within_strata,
)
from aigi_core.audit.overlays import find_overlays
from aigi_core.audit.separation import separation
from aigi_core.audit.verdict import Verdict, verdicts
from aigi_core.detectors.features import FeatureView
from aigi_core.detectors.protocol import Protocol
from aigi_core.errors import AigiError
from aigi_core.explain.lexicon import Lexicon
from aigi_core.manifest import SPLITS, Domains
from aigi_core.reprs import ShortRepr
from aigi_core.transfer import TrainSet, TransferMatrix
from aigi_core.workspace import Workspace

Tell = Callable[[str], None]
STEPS = ("detectors", "file facts", "matching", "leaks", "content", "marks")
"""What an audit does, in this order."""


@dataclass(frozen=True, eq=False, repr=False)
class Audit(ShortRepr):
    """Everything an audit found, as plain values that :mod:`aigi_core.audit.cached` can keep.

    Attributes:
        scores: ``detector`` and each view of facts -> [K, N] log-odds, from which the matrices
            come.
        detector: matrix of the detectors under audit, each trained on one generator.
        facts: view -> matrix of detectors of file facts (``stored``, and ``original`` where the
            manifest has it).
        associations: view -> facts against the label, for each generator.
        within: the detectors on images alike in file facts.
        matched: cells after matched resampling beside their control
            (:class:`~.matching.MatchedMatrices`), ``means`` over them, and ``kept``: images of each
            generator and split, and why a generator was left out; all empty where no generator can
            be matched, and ``matched_note`` then says why. duplicates, straddling: leaks. content,
            words, categories: None without a text bank that names what images show.
        overlays: None where no pixels were given.
        verdicts: one a generator.
    """

    scores: dict[str, Float[np.ndarray, "K N"]] = field(repr=False)
    detector: TransferMatrix
    facts: dict[str, TransferMatrix] = field(repr=False)
    associations: dict[str, pd.DataFrame] = field(repr=False)
    within: pd.DataFrame = field(repr=False)
    matched: pd.DataFrame = field(repr=False)
    means: pd.DataFrame = field(repr=False)
    kept: pd.DataFrame = field(repr=False)
    matched_note: str
    duplicates: Duplicates = field(repr=False)
    straddling: pd.DataFrame = field(repr=False)
    content: pd.DataFrame | None = field(repr=False)
    words: dict[str, pd.DataFrame] = field(repr=False)
    categories: dict[str, pd.DataFrame] = field(repr=False)
    overlays: pd.DataFrame | None = field(repr=False)
    verdicts: list[Verdict] = field(repr=False)


def audit(
    workspace: Workspace,
    view: FeatureView | None = None,
    protocol: Protocol | None = None,
    *,
    bank: str = "phrases",
    pixels: UInt8[np.ndarray, "n s s 3"] | None = None,
    draws: int = 1000,
    seed: int = 0,
    tell: Tell = lambda step: None,
) -> Audit:
    """Audit a workspace: can the label be guessed without looking?

    Args:
        view, protocol: of the detectors under audit; by default logistic regression on the
            embedding with both classes weighing alike, as for the detectors of facts.
        bank: texts that name what images show; content is left out where the workspace has no such
            bank.
        pixels: every image of :func:`looked_at` squeezed to one small square, to look for common
            marks.
        tell: told of each step.

    Raises:
        AigiError: what the parts raise, such as a generator without test images.
    """
    domains, images = workspace.domains, workspace.images
    names = domains.generators
    if not names:
        raise AigiError(
            "This workspace holds no fake images: add images of at least one generator and build it"
            " again."
        )
    sets = tuple((name,) for name in names)

    tell("detectors")
    scores = own_scores(workspace, view, protocol)
    detector = own_matrix(scores, domains, draws, seed)

    tell("file facts")
    views: tuple[file_facts.View, ...] = (
        ("stored", "original") if file_facts.has_originals(images) else ("stored",)
    )
    tables: dict[str, pd.DataFrame] = {name: file_facts.file_facts(images, name) for name in views}
    fact_scores = {
        name: file_facts.fact_scores(table, domains, sets, seed=seed).scores
        for name, table in tables.items()
    }
    facts = {name: own_matrix(logits, domains, draws, seed) for name, logits in fact_scores.items()}
    separate = {name: separation(logits, domains, names) for name, logits in fact_scores.items()}
    associations = {
        name: file_facts.association(table, domains, draws=draws, seed=seed)
        for name, table in tables.items()
    }

    tell("matching")
    strata = propensity_strata(tables["stored"], domains, seed=seed)
    within = within_strata(scores, domains, sets, strata, draws=draws, seed=seed)
    scorer = detector_scorer(workspace, protocol, view)
    matched = _matched(scorer, domains, strata, detector, draws=draws, seed=seed)

    tell("leaks")
    duplicates = find_duplicates(workspace.embeddings, images, domains)

    tell("content")
    seen = _content(workspace, bank, sets, draws, seed)

    tell("marks")
    overlays = None
    if pixels is not None:
        overlays = find_overlays(pixels, take_domains(domains, looked_at(domains)), seed=seed)
    verdicts_ = verdicts(
        detector,
        facts,
        separate,
        associations,
        within=within,
        content=seen.imbalance,
        content_separates=seen.separates,
        words=seen.words,
        overlays=overlays,
    )
    return Audit(
        {"detector": scores, **fact_scores},
        detector,
        facts,
        associations,
        within,
        *matched,
        duplicates,
        straddling_groups(domains),
        seen.imbalance,
        seen.words,
        seen.categories,
        overlays,
        verdicts_,
    )


def looked_at(domains: Domains) -> Int[np.ndarray, " n"]:
    """Rows of the images whose content and marks an audit looks at: all, or where a source has very
    many :data:`~aigi_core.audit.content.MOST_OF_A_SOURCE` of it.
    """
    return domains.some_of_each_source(shown.MOST_OF_A_SOURCE, SPLITS)


def _matched(
    scorer: Scorer,
    domains: Domains,
    strata: dict[str, Int[np.ndarray, " N"]],
    full: TransferMatrix,
    *,
    draws: int,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, str]:
    """Cells, means and images kept of matched resampling; where no generator can be matched, empty
    tables and why."""
    try:
        made = matched_matrices(scorer, domains, strata, full, draws=draws, seed=seed)
    except AigiError as error:
        return pd.DataFrame(), pd.DataFrame(), pd.DataFrame(), str(error)
    return made.change, made.means(), made.selection.to_frame(), ""


@dataclass(frozen=True)
class _Content:
    """What images show, real beside fake; None and empty without a text bank."""

    imbalance: pd.DataFrame | None = None
    separates: pd.DataFrame | None = None
    words: dict[str, pd.DataFrame] = field(default_factory=dict)
    categories: dict[str, pd.DataFrame] = field(default_factory=dict)


def _content(
    workspace: Workspace, bank: str, sets: Sequence[TrainSet], draws: int, seed: int
) -> _Content:
    if bank not in workspace.text_banks:
        return _Content()
    domains, names, embeddings = (
        workspace.domains,
        workspace.domains.generators,
        workspace.embeddings,
    )
    rows = looked_at(domains)
    if len(rows) < len(domains):
        domains, embeddings = take_domains(domains, rows), embeddings[rows]
    lexicon = Lexicon.of(workspace, bank)
    named = [name for name in shown.CONTENT_CATEGORIES if name in lexicon.categories]
    concepts = shown.concepts(embeddings, lexicon.only(named) if named else lexicon)
    categories = {}
    if lexicon.categories:
        every = shown.concepts(embeddings, lexicon, by_category=True)
        categories = {
            name: shown.content_differences(every, domains, name, k=5, seed=seed) for name in names
        }
    return _Content(
        shown.content_imbalance(concepts, domains, draws=draws, seed=seed),
        separation(shown.content_scores(concepts, domains, sets)[0], domains, names),
        {name: shown.content_differences(concepts, domains, name, seed=seed) for name in names},
        categories,
    )
