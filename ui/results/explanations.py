"""Words of detectors, read where they are stored and else computed once a workspace and choice for
all sessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aigi_core.clip.consent import ConsentNeeded
from aigi_core.clip.workspace_encoder import embed_phrases
from aigi_core.detectors.detector import no_weights, require_direction
from aigi_core.detectors.presets import Preset
from aigi_core.errors import AigiError, NotGivenError, WorkspaceError
from aigi_core.explain.cached import CONTENT, WordAtlas, load_words
from aigi_core.explain.compare import Comparison, compare_directions
from aigi_core.explain.detector_words import content_words, null_directions, words_table
from aigi_core.explain.effect import Effect, concept_effect
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.nulls import DRAWS, word_null
from aigi_core.explain.own import own_bank, split_phrases
from aigi_core.explain.reading import Reading, read
from aigi_core.explain.stored_nulls import slow_methods, stored_null
from aigi_core.explain.words import Words
from aigi_core.explain.words import words as search
from aigi_core.transfer import DEFAULT_METRIC, TrainSet
from aigi_core.transfer.bootstrap import Estimate
from aigi_core.workspace import Workspace
from ui import results
from ui.results import Setting, encoders
from ui.toolkit.apart import apart
from ui.toolkit.costly import lasting, wait_for_yes
from ui.toolkit.kept import cached
from ui.toolkit.page import Page
from ui.toolkit.waiting import saying

if TYPE_CHECKING:
    from aigi_core.audit.exposure import Exposure

SHUFFLED_SECONDS = 2.5e-6
"""Seconds of a core for an image and a training on shuffled labels; many are trained at once."""
LISTED = 20
"""Texts kept a side; pages show the first few."""


@dataclass(frozen=True)
class Texts:
    """Which texts are searched.

    Attributes:
        bank: a bank of the workspace; not read where ``own`` is given.
        categories: only these; all where empty.
        centred: compare texts as differences from their mean (see
            :mod:`aigi_core.explain.lexicon`).
        own: the user's own phrases.
    """

    bank: str = "phrases"
    categories: tuple[str, ...] = ()
    centred: bool = True
    own: tuple[str, ...] = ()


DEFAULT_TEXTS = Texts()


def choose_texts(page: Page, used: Preset = results.OURS) -> Texts:
    """The controls ``bank``, ``categories`` and ``centred``; WorkspaceError where there is no text
    bank. The paper's protocol searches all tokens with plain cosines.
    """
    banks = page.workspace.text_banks
    if not banks:
        page.workspace.text_bank(page.workspace.default_bank)  # says what to do
    own = used.word_bank != results.OURS.word_bank
    if own and used.word_bank not in banks:
        page.notice(
            "The paper names detectors with every token of CLIP's vocabulary, sub-words"
            " included (40,553 texts), which this workspace does not hold. Run"
            f" `{page.workspace.command('text', tokens=True)}`, which takes some minutes."
            " Until then the bank chosen here is searched."
        )
    bank = page.select(
        f"bank_{used.name}" if own else "bank",
        "Text bank",
        banks,
        used.word_bank if used.word_bank in banks else "vocabulary" if own else "phrases",
        help="The list of texts that is searched.",
    )
    have = lexicon(page.workspace, Texts(bank)).categories
    categories = page.multiselect(
        "categories",
        "Only categories",
        have,
        [],
        placeholder="All",
        empty="all",
        help="Search only texts of these categories.",
    )
    centred = used.words_centred and page.toggle(
        "centred",
        "Centred",
        True,
        help=(
            "On: the mean of all text embeddings is subtracted before comparing, because all"
            " of them have much in common. Off: plain cosines, as in the paper."
        ),
    )
    return Texts(bank, tuple(categories), centred)


@cached
def lexicon(workspace: Workspace, texts: Texts) -> Lexicon:
    """The texts, ready for search; those of some categories from all, which are compared once."""
    if texts.categories:
        return lexicon(workspace, replace(texts, categories=())).only(texts.categories)
    bank = (
        own_bank(workspace, texts.own, lambda new: _encode(workspace, new))
        if texts.own
        else texts.bank
    )
    return Lexicon.of(workspace, bank, centred=texts.centred)


def own_texts(line: str, texts: Texts) -> Texts:
    """Phrases typed on a line, compared in the same way as other texts."""
    return Texts(centred=texts.centred, own=split_phrases(line))


def embedded(workspace: Workspace, line: str) -> np.ndarray:
    """[T, d] embeddings of phrases typed on a line, from a bank or by the text tower."""
    phrases = split_phrases(line)
    return own_bank(workspace, phrases, lambda new: _encode(workspace, new)).embeddings


def _encode(workspace: Workspace, new: Sequence[str]) -> np.ndarray:
    """Embed texts that no bank holds. Loads the text tower, and torch, on first need."""
    with saying("Loading the text tower, once for all sessions"):
        try:
            encoder = encoders.load(workspace)
        except ConsentNeeded:
            raise
        except AigiError as error:
            raise AigiError(
                f"{new[0]!r} is in none of the text banks, and the text tower cannot be loaded"
                f" here: choose phrases of a bank. ({error})"
            ) from error
        return embed_phrases(encoder, new)


@cached
def reading(workspace: Workspace, setting: Setting, row: int) -> Reading:
    """What one detector of a setting reads."""
    return read(workspace, results.detectors(workspace, setting)[row])


@cached
def nulls(workspace: Workspace, setting: Setting, row: int, seed: int = 0) -> np.ndarray:
    """[B, d] directions of the same training on shuffled labels; NotMadeError where they take
    minutes and no job has stored them.
    """
    how = results.method(setting)
    if how.slow and not how.linear:  # before it is trained for nothing
        raise NotGivenError(no_weights(" + ".join(setting.sets[row]), how.name))
    detector = results.detectors(workspace, setting)[row]
    if detector.method in slow_methods():
        # in another order for another seed, so that no two detectors share labels draw by draw
        drawn = np.roll(stored_null(workspace, detector), seed, axis=0)
    else:
        _ask(workspace, setting, row)
        drawn = apart(null_directions, workspace, detector, seed=seed).astype(np.float32)
    drawn.flags.writeable = False
    return drawn


def shuffled_seconds(workspace: Workspace, sets: Sequence[TrainSet]) -> float:
    """Seconds of a core that training detectors on shuffled labels takes, about."""
    rows = workspace.domains.rows
    return sum(len(rows(names, ("train", "val"))) for names in sets) * DRAWS * SHUFFLED_SECONDS


def _ask(workspace: Workspace, setting: Setting, row: int) -> None:
    """Raise CostlyError where training on shuffled labels would take long and nobody has said
    yes."""
    seconds = shuffled_seconds(workspace, [setting.sets[row]])
    wait_for_yes(
        seconds,
        "The words of this detector are not stored. What chance would give is found by"
        f" training it {DRAWS} times on shuffled labels, which takes {lasting(seconds)} of one"
        f" core, once for all sessions. Any click stops it. '{workspace.command('words')}'"
        " stores the words of detectors trained on one generator.",
        (workspace.identity, setting, row),
    )


def words(workspace: Workspace, setting: Setting, row: int, texts: Texts = DEFAULT_TEXTS) -> Words:
    """What one detector says, against the same training on shuffled labels."""
    kind, names = _kind(setting), setting.sets[row]
    if kind and len(names) == 1 and (stored := _atlas_of(workspace, texts)):
        return stored.words(kind, texts.bank, names[0])
    return _words(workspace, setting, row, texts)


@cached
def _words(workspace: Workspace, setting: Setting, row: int, texts: Texts) -> Words:
    searched = lexicon(workspace, texts)
    null = word_null(searched, nulls(workspace, setting, row), "permutation", LISTED)
    name = results.detectors(workspace, setting)[row].name
    direction = reading(workspace, setting, row).direction
    return search(searched, direction, LISTED, null=null, name=name)


def content(workspace: Workspace, generators: TrainSet, texts: Texts = DEFAULT_TEXTS) -> Words:
    """What a training set shows, real and fake alike, that the workspace's other images do not."""
    # a workspace of one generator has no such list: computing it says why
    several = len(workspace.domains.generators) > 1
    if several and len(generators) == 1 and (stored := _atlas_of(workspace, texts)):
        return stored.words(CONTENT, texts.bank, generators[0])
    return _content(workspace, generators, texts)


@cached
def _content(workspace: Workspace, generators: TrainSet, texts: Texts) -> Words:
    return content_words(workspace, lexicon(workspace, texts), generators, LISTED)


def stored(workspace: Workspace, setting: Setting, texts: Texts) -> bool:
    """Whether the words of every detector of a setting are at hand."""
    single = all(len(names) == 1 for names in setting.sets)
    return bool(single and _kind(setting) and _atlas_of(workspace, texts))


def _kind(setting: Setting) -> str | None:
    """What the stored words call detectors made in this way; None for others."""
    kinds = {Setting(setting.sets): "logistic", Setting(setting.sets, results.RESIDUAL): "residual"}
    return kinds.get(setting)


def _atlas_of(workspace: Workspace, texts: Texts) -> WordAtlas | None:
    """The stored words, where these texts are among those searched."""
    stored = atlas(workspace) if texts == Texts(texts.bank) else None
    return stored if stored and texts.bank in stored.settings.banks else None


@cached
def exposed(
    workspace: Workspace, setting: Setting, row: int, texts: Texts = DEFAULT_TEXTS
) -> Exposure | None:
    """What may have taught a detector besides the signs of generation; None for one trained on
    several generators.
    """
    if len(setting.sets[row]) > 1:
        return None
    from aigi_core.audit.exposure import (
        exposure,
    )  # brings scikit-learn, two seconds that other pages spare

    try:
        shows = content(workspace, setting.sets[row], texts)
    except NotGivenError:
        shows = None
    return exposure(
        workspace,
        results.detectors(workspace, setting)[row],
        words(workspace, setting, row, texts),
        shows,
        results.matrix(workspace, setting, DEFAULT_METRIC),
        results.fact_matrix(workspace, DEFAULT_METRIC),
    )


@cached
def comparison(
    workspace: Workspace, a: tuple[Setting, int], b: tuple[Setting, int], texts: Texts
) -> Comparison:
    """What one detector says and another does not."""
    first, second = (reading(workspace, *which).direction for which in (a, b))
    names = [results.detectors(workspace, setting)[row].name for setting, row in (a, b)]
    return compare_directions(
        lexicon(workspace, texts),
        first,
        second,
        null_a=nulls(workspace, *a),
        null_b=nulls(workspace, *b, seed=1),
        k=LISTED,
        name=f"{names[0]} minus {names[1]}",
    )


_load_words = cached(load_words)  # what was not there yet is looked for again


def atlas(workspace: Workspace) -> WordAtlas | None:
    """What ``python -m precompute words`` has computed; None as long as it has not run."""
    try:
        return _load_words(workspace)
    except WorkspaceError:
        return None


@cached
def all_words(workspace: Workspace, setting: Setting, texts: Texts) -> pd.DataFrame:
    """One row a detector: what it says, how surely, and how it does. Reads each against its own
    null: some seconds.
    """
    lists = [words(workspace, setting, row, texts) for row in range(len(setting.sets))]
    return words_table(lists, results.matrix(workspace, setting, DEFAULT_METRIC), DEFAULT_METRIC)


def out_of_domain(workspace: Workspace, setting: Setting, row: int) -> Estimate:
    """How well one detector does on generators it never saw; ``n`` is 0 where it saw all."""
    matrix = results.matrix(workspace, setting, DEFAULT_METRIC)
    mine = np.zeros_like(matrix.in_domain)
    mine[row] = ~matrix.in_domain[row]
    return matrix.mean(DEFAULT_METRIC, mine)


@cached
def concept(workspace: Workspace, setting: Setting, texts: Texts, again: bool) -> Effect:
    """The matrix without some texts (``texts.own``); ``again``: with detectors trained anew on what
    is left.
    """
    detectors = results.detectors(workspace, setting)
    readings = [reading(workspace, setting, row) for row in range(len(detectors))]
    return concept_effect(
        workspace,
        readings,
        setting.sets,
        lexicon(workspace, texts),
        texts.own,
        refit=[require_direction(one).C for one in detectors] if again else None,
        metric=DEFAULT_METRIC,
    )
