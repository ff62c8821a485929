"""Words of all detectors and TextSpan of all heads, computed once a workspace and kept under its
``results/``.

``python -m precompute words`` computes them; everything else reads them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aigi_core import results
from aigi_core.detectors.detector import Detector, score_detectors
from aigi_core.detectors.residual import train_residual
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.explain.detector_words import content_words, detector_words, words_table
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.nulls import DRAWS
from aigi_core.explain.textspan import head_text_spans
from aigi_core.explain.words import Words
from aigi_core.record import read_json
from aigi_core.results import OldResult, ResultKind
from aigi_core.transfer import DEFAULT_METRIC, transfer_matrix
from aigi_core.workspace import Workspace, digest_of

Progress = Callable[[str], None]
KINDS = ("logistic", "residual")
"""Detectors that are read: of weights, and of residuals."""
CONTENT = "content"
"""Beside them, what each training set shows (:func:`~.detector_words.content_words`)."""


def _old_key(workspace: Workspace, parameters: Mapping[str, Any]) -> str:
    files = workspace.manifest["files"]
    banks = {
        name: files.get(f"text/{name}.npy", {}).get("sha256", "")[:12]
        for name in {*parameters["banks"], parameters["span_bank"]}
    }
    return digest_of(
        {"workspace": workspace.digest, "banks": banks, "settings": parameters, "version": 2}
    )


KIND = ResultKind("words", "words", job="words", format=3, old=OldResult("about.json", _old_key))


@dataclass(frozen=True)
class WordSettings:
    """What is computed: which banks are searched, how many texts are listed, how many draws the
    null has.
    """

    banks: tuple[str, ...] = ("phrases", "vocabulary")
    texts: int = 20
    draws: int = DRAWS
    centred: bool = True
    spans: int = 20
    span_bank: str = "phrases"
    metric: str = DEFAULT_METRIC
    seed: int = 0

    def for_workspace(self, workspace: Workspace) -> WordSettings:
        """The same for the banks that this workspace has: those named, or else all of its own.

        Raises:
            WorkspaceError: it has no text bank.
        """
        banks = tuple(name for name in self.banks if name in workspace.text_banks)
        banks = banks or workspace.text_banks
        if not banks:
            workspace.text_bank(self.banks[0])  # says what to do where there is none
        span_bank = self.span_bank if self.span_bank in workspace.text_banks else banks[0]
        return replace(self, banks=banks, span_bank=span_bank)


@dataclass(frozen=True, eq=False)
class WordAtlas:
    """Words of one detector a generator and TextSpan of every head.

    Attributes:
        settings: what it was computed with.
        rows: the lists: ``kind`` (logistic, residual, content), ``bank, detector, side, rank, text,
            category, cosine, similar`` (JSON list of [text, cosine]), ``p_value, null_low,
            null_high``.
        detectors: :func:`~.detector_words.words_table` for each kind and bank, with columns ``kind,
            bank`` in front.
        categories: category counts of each list (see :class:`~.words.Words`), with ``kind, bank,
            detector``.
        spans: ``layer, head, rank, text, category, explained, variance``.
    """

    settings: WordSettings
    rows: pd.DataFrame = field(repr=False)
    detectors: pd.DataFrame = field(repr=False)
    categories: pd.DataFrame = field(repr=False)
    spans: pd.DataFrame = field(repr=False)

    def words(self, kind: str, bank: str, detector: str) -> Words:
        """One detector's words (or, for :data:`CONTENT`, its training set's) as they were computed.

        Raises:
            AigiError: a kind, bank or detector that this atlas does not hold.
        """
        mine = [
            table[
                (table["kind"] == kind) & (table["bank"] == bank) & (table["detector"] == detector)
            ]
            for table in (self.rows, self.detectors, self.categories)
        ]
        if mine[0].empty or mine[1].empty:  # a bank may have no categories
            raise AigiError(
                f"There are no stored words of {detector!r} ({kind}, {bank}): there are those of"
                f" {', '.join(self.detectors['detector'].unique())}, banks"
                f" {', '.join(self.settings.banks)}."
            )
        rows = mine[0]
        [about] = mine[1].to_dict("records")
        categories = mine[2]
        rows = rows.drop(columns=["kind", "detector", "bank"])
        rows.insert(4, "bank", bank)
        rows = rows.assign(
            similar=rows["similar"].map(lambda each: [tuple(pair) for pair in read_json(each)])
        )
        near, far = (
            rows[rows["side"] == side].drop(columns="side").reset_index(drop=True)
            for side in ("nearest", "farthest")
        )
        chance = (float(near["null_low"][0]), float(about["null"]), float(near["null_high"][0]))
        categories = categories.drop(columns=["kind", "bank", "detector"]).reset_index(drop=True)
        return Words(detector, near, far, categories, chance, self.settings.draws)


_TABLES = ("rows", "detectors", "categories", "spans")


def load_words(workspace: Workspace, settings: WordSettings | None = None) -> WordAtlas:
    """Read what was computed.

    Args:
        settings: None for the usual ones, or whichever words there are.

    Raises:
        WorkspaceError: not computed, outdated or damaged; says what to run.
    """
    get = results.find if settings is None else results.load
    wanted = (settings or WordSettings()).for_workspace(workspace)
    stored = get(workspace, KIND, asdict(wanted), (*wanted.banks, wanted.span_bank))
    tables = {name: stored.table(name) for name in _TABLES}
    try:
        lists = {name: tuple(value) for name, value in stored.parameters.items() if name == "banks"}
        return WordAtlas(WordSettings(**(stored.parameters | lists)), **tables)
    except TypeError as error:
        raise stored.damaged(error) from error


def compute_words(
    workspace: Workspace, settings: WordSettings | None = None, progress: Progress | None = None
) -> WordAtlas:
    """Compute everything; about a minute on the demo. Nothing is written."""
    wanted = (settings or WordSettings()).for_workspace(workspace)
    say = progress or (lambda _: None)
    rows, detectors, categories = [], [], []
    sets = workspace.domains.generators
    # the training set of the only generator leaves no other images to compare it with
    kinds = (*KINDS, CONTENT) if len(sets) > 1 else KINDS
    trained: dict[str, Sequence[Detector]] = {
        "logistic": train(workspace, sets),
        "residual": train_residual(workspace, sets),
    }
    matrices = {
        kind: transfer_matrix(
            score_detectors(trained[kind], workspace),
            workspace.domains,
            sets,
            metrics=(wanted.metric,),
            draws=1,
        )
        for kind in KINDS
    }
    for bank in wanted.banks:
        lexicon = Lexicon.of(workspace, bank, centred=wanted.centred)

        def read(kind: str, at: int, lexicon: Lexicon = lexicon) -> Words:
            how: dict[str, Any] = {"k": wanted.texts, "draws": wanted.draws, "seed": wanted.seed}
            if kind == CONTENT:
                return content_words(workspace, lexicon, sets[at], **how)
            return detector_words(workspace, lexicon, trained[kind][at], **how)

        for kind in kinds:
            lists = []
            for at, name in enumerate(sets):
                say(f"words: {kind}, {bank}, {name}")
                lists.append(read(kind, at))
            label = {"kind": kind, "bank": bank}
            rows += [_list_of(word_lists, label) for word_lists in lists]
            categories += [
                word_lists.categories.assign(**label, detector=word_lists.name)
                for word_lists in lists
            ]
            matrix = matrices["logistic" if kind == CONTENT else kind]
            detectors.append(
                _first(words_table(lists, matrix, wanted.metric).assign(**label), *label)
            )
    spans = _spans(workspace, wanted, say)
    return WordAtlas(
        wanted,
        _first(pd.concat(rows, ignore_index=True), "kind", "bank", "detector", "side"),
        pd.concat(detectors, ignore_index=True),
        _first(pd.concat(categories, ignore_index=True), "kind", "bank", "detector"),
        spans,
    )


def save_words(workspace: Workspace, atlas: WordAtlas, about: dict[str, Any] | None = None) -> Path:
    """Publish words; returns their folder."""
    settings = atlas.settings
    return results.publish(
        workspace,
        KIND,
        asdict(settings),
        {f"{name}.parquet": getattr(atlas, name) for name in _TABLES},
        banks=(*settings.banks, settings.span_bank),
        about=about,
    )


def _list_of(word_lists: Words, label: dict[str, str]) -> pd.DataFrame:
    sides = [getattr(word_lists, side).assign(side=side) for side in ("nearest", "farthest")]
    table: pd.DataFrame = pd.concat(sides, ignore_index=True).assign(
        **label, detector=word_lists.name
    )
    table["similar"] = [json.dumps(similar, ensure_ascii=False) for similar in table["similar"]]
    return table


def _spans(workspace: Workspace, settings: WordSettings, say: Progress) -> pd.DataFrame:
    lexicon = Lexicon.of(
        workspace, settings.span_bank, centred=False
    )  # as in the source: texts as they are
    rows = np.flatnonzero(workspace.domains.split == "train")
    spans = head_text_spans(
        workspace,
        lexicon.vectors,
        settings.spans,
        rows=rows,
        progress=lambda done, all_: say(f"TextSpan: {done}/{all_}"),
    )
    texts = lexicon.table.iloc[spans["text"]]
    return spans.assign(text=texts["text"].to_numpy(), category=texts["category"].to_numpy())


def _first(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    ordered: pd.DataFrame = table[
        [*columns, *(name for name in table.columns if name not in columns)]
    ]
    return ordered
