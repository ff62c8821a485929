"""An audit kept under a workspace's ``results/``: seconds to a minute to compute, read in a moment.

``python -m precompute audit`` computes it; pages and reports read it. Whether pixels were at hand
is noted, not part of its identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from aigi_core import results
from aigi_core.audit.leaks import Duplicates
from aigi_core.audit.matching import own_matrix
from aigi_core.audit.report import Audit
from aigi_core.audit.separation import separation
from aigi_core.audit.verdict import Verdict, told
from aigi_core.errors import WorkspaceError
from aigi_core.manifest import FAKE, Domains
from aigi_core.metrics import DEFAULT_METRIC, Column
from aigi_core.results import OldResult, ResultKind, StoredResult
from aigi_core.statements import ALPHA
from aigi_core.transfer import (
    Estimate,
    PairedDifference,
    TransferMatrix,
    difference,
    transfer_matrix,
)
from aigi_core.transfer.kept import load_matrix, save_matrix
from aigi_core.transfer.matrix import columns_of
from aigi_core.workspace import Workspace, digest_of


def _old_key(workspace: Workspace, parameters: Mapping[str, Any]) -> str:
    # the parameter "bank", a name, took the place of the bank's digest in these keys
    return digest_of({"format": 1, "workspace": workspace.digest, **parameters})


KIND = ResultKind("audit", "audit", job="audit", format=2, old=OldResult("audit.json", _old_key))
_TABLES = ("within", "matched", "means", "kept", "straddling")
_OPTIONAL = ("content", "overlays")
_BY_NAME = {"associations": "view", "words": "generator", "categories": "generator"}
"""Dictionaries of tables -> the column that their keys are kept in, in front of the others."""


@dataclass(frozen=True)
class AuditSettings:
    """What an audit depends on besides the workspace."""

    bank: str = "phrases"
    draws: int = 1000
    seed: int = 0


def save_audit(
    workspace: Workspace, audit: Audit, settings: AuditSettings, about: dict[str, Any] | None = None
) -> Path:
    """Publish an audit; returns its folder."""
    tables: dict[str, pd.DataFrame | None] = {
        name: getattr(audit, name) for name in (*_TABLES, *_OPTIONAL)
    }
    tables |= {name: _joined(getattr(audit, name), column) for name, column in _BY_NAME.items()}
    tables["pairs"] = audit.duplicates.pairs
    arrays = {f"scores {name}": scores for name, scores in audit.scores.items()}
    written = {name: table for name, table in tables.items() if table is not None}
    for name, matrix in {"detector": audit.detector, **audit.facts}.items():
        save_matrix(workspace, matrix, _of(name, settings))
    return results.publish(
        workspace,
        KIND,
        asdict(settings),
        {
            **{f"{name}.parquet": table for name, table in written.items()},
            "arrays.npz": arrays | {"nearest": audit.duplicates.nearest},
        },
        banks=(settings.bank,),
        content={
            "tables": list(written),
            "matched_note": audit.matched_note,
            "duplicates": {"rule": audit.duplicates.rule, "searched": audit.duplicates.searched},
            "verdicts": [_values(verdict) for verdict in audit.verdicts],
        },
        about=about,
    )


def load_audit(workspace: Workspace, settings: AuditSettings | None = None) -> Audit:
    """Read what was computed; matrices that were not kept are measured again from the scores.

    Args:
        settings: None for the usual ones, or whichever audit there is.

    Raises:
        WorkspaceError: not computed, outdated or damaged; says what to run.
    """
    stored = _stored(workspace, settings)
    try:
        content, made_with = stored.content, AuditSettings(**stored.parameters)
        tables = {name: stored.table(name) for name in content["tables"]}
        arrays = stored.arrays("arrays.npz")
        scores = _scores(arrays)
        duplicates = Duplicates(tables["pairs"], nearest=arrays["nearest"], **content["duplicates"])
        verdicts = [
            _verdict(entry, workspace.domains) for entry in _found(content, scores, workspace)
        ]
        parts: dict[str, Any] = {
            name: _split(tables[name], column) for name, column in _BY_NAME.items()
        }
        kept: dict[str, Any] = {name: tables[name] for name in _TABLES}
    except (ValueError, KeyError, TypeError) as error:
        raise stored.damaged(error) from error
    kept |= {name: tables.get(name) for name in _OPTIONAL}
    matrices = {
        name: _kept(workspace, name, s, made_with)
        or own_matrix(s, workspace.domains, made_with.draws, made_with.seed)
        for name, s in scores.items()
    }
    return Audit(
        scores=scores,
        detector=matrices.pop("detector"),
        facts=matrices,
        matched_note=content["matched_note"],
        duplicates=duplicates,
        verdicts=told(
            verdicts,
            parts["associations"],
            within=kept["within"],
            content=kept["content"],
            words=parts["words"],
            overlays=kept["overlays"],
        ),
        **parts,
        **kept,
    )


def load_fact_matrix(workspace: Workspace, metric: str = DEFAULT_METRIC) -> TransferMatrix | None:
    """The matrix of the detectors of stored file facts, one a generator, where
    :func:`keep_fact_matrix` or an audit has kept it, or an audit their scores; else None.
    """
    domains = workspace.domains
    try:
        stored = _stored(workspace, None)
    except WorkspaceError:
        if metric != DEFAULT_METRIC:
            return None
        return _kept(workspace, "stored", lambda: stored_fact_scores(workspace), AuditSettings())

    def scores() -> Float[np.ndarray, "K N"]:
        return stored.arrays("arrays.npz")["scores stored"]

    settings = AuditSettings(**stored.parameters)
    if metric == DEFAULT_METRIC and (kept := _kept(workspace, "stored", scores, settings)):
        return kept
    try:
        return transfer_matrix(scores(), domains, domains.generators, metrics=(metric,))
    except (WorkspaceError, KeyError):
        return None


def keep_fact_matrix(workspace: Workspace) -> TransferMatrix:
    """The matrix of the detectors of stored file facts, which pages begin with; kept where it is
    not yet: on 200,000 images it takes 20 s."""
    matrix = load_fact_matrix(workspace)
    if matrix is None:
        matrix = own_matrix(stored_fact_scores(workspace), workspace.domains)
        save_matrix(workspace, matrix, _of("stored", AuditSettings()))
    return matrix


AGAINST = ResultKind("facts", "comparison of file facts and detectors", job="detectors", format=1)
"""Raise its format when either matrix gives other numbers than before."""


def facts_against_detectors(facts: TransferMatrix, detectors: TransferMatrix) -> PairedDifference:
    """Mean balanced accuracy of the detectors of file facts, each on its own generator, minus that
    of the detectors on the embedding, on the same images."""
    return difference(facts, detectors, DEFAULT_METRIC).mean(facts.in_domain)


def keep_facts_against_detectors(
    workspace: Workspace, facts: TransferMatrix, detectors: TransferMatrix, of: Mapping[str, Any]
) -> None:
    """Keep that comparison, for which the first page would train the detectors of facts again;
    ``of`` names the detectors on the embedding."""
    found = asdict(facts_against_detectors(facts, detectors))
    results.publish(workspace, AGAINST, {"detectors": dict(of)}, {}, content=found)


def load_facts_against_detectors(
    workspace: Workspace, of: Mapping[str, Any]
) -> PairedDifference | None:
    """What was kept; None where nothing is."""
    try:
        stored = results.load(workspace, AGAINST, {"detectors": dict(of)})
        found = PairedDifference(**stored.content)
    except (WorkspaceError, TypeError):
        return None
    numbers = [value for value in vars(found).values() if isinstance(value, int | float)]
    return found if len(numbers) == 5 and np.isfinite(numbers).all() else None


def stored_fact_scores(workspace: Workspace) -> Float[np.ndarray, "K N"]:
    """Scores of detectors of the facts of the files as stored, one a generator, trained now."""
    from aigi_core.audit.facts import fact_scores, file_facts  # brings scikit-learn, two seconds

    return fact_scores(file_facts(workspace.images), workspace.domains).scores


def _of(name: str, settings: AuditSettings) -> dict[str, Any]:
    """What names a matrix of an audit."""
    return {"audit": name, "draws": settings.draws, "seed": settings.seed}


def _kept(
    workspace: Workspace,
    name: str,
    scores: Float[np.ndarray, "K N"] | Callable[[], Float[np.ndarray, "K N"]],
    settings: AuditSettings,
) -> TransferMatrix | None:
    domains = workspace.domains

    def columns() -> Sequence[Column]:
        values, names = scores() if callable(scores) else scores, domains.generators
        return columns_of(values, domains, names, [np.zeros(len(values))] * len(names))

    return load_matrix(workspace, _of(name, settings), (DEFAULT_METRIC,), columns)


def _stored(workspace: Workspace, settings: AuditSettings | None) -> StoredResult:
    get = results.find if settings is None else results.load
    wanted = settings or AuditSettings()
    return get(workspace, KIND, asdict(wanted), (wanted.bank,))


def _scores(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name.removeprefix("scores "): value
        for name, value in arrays.items()
        if name.startswith("scores ")
    }


def _joined(tables: dict[str, pd.DataFrame], column: str) -> pd.DataFrame:
    named: Iterable[pd.DataFrame] = [
        table.assign(**{f"{column}_": name}) for name, table in tables.items()
    ]
    return pd.concat(
        [pd.DataFrame({f"{column}_": pd.Series(dtype=str)}), *named], ignore_index=True
    )


def _split(table: pd.DataFrame, column: str) -> dict[str, pd.DataFrame]:
    groups = table.groupby(f"{column}_", sort=False)
    return {
        str(name): part.drop(columns=f"{column}_").reset_index(drop=True) for name, part in groups
    }


def _values(verdict: Verdict) -> dict[str, Any]:
    """What is stored of a verdict: its sentences are made when it is read."""
    return {name: value for name, value in asdict(verdict).items() if name != "sentences"}


def _found(
    content: Mapping[str, Any], scores: Mapping[str, np.ndarray], workspace: Workspace
) -> list[dict[str, Any]]:
    """The stored values of all verdicts; those of audits that stored sentences instead of what they
    rest on are found again from the scores.
    """
    entries: list[dict[str, Any]] = content["verdicts"]
    if all("separated" in entry for entry in entries):
        return entries
    domains = workspace.domains
    separate = {
        view: separation(scores[view], domains, domains.generators).set_index("generator")[
            "adjusted"
        ]
        for view in entries[0]["facts"]
    }
    return [
        {name: value for name, value in entry.items() if name != "sentences"}
        | {
            "separated": [view for view, p in separate.items() if p[entry["generator"]] < ALPHA],
            "content": any(text.startswith(_CONTENT) for text in entry["sentences"]),
            "overlay": any(text.startswith("Its images share") for text in entry["sentences"]),
        }
        for entry in entries
    ]


_CONTENT = ("What the images show", "Content alone")
"""How a stored sentence on content began."""


def _verdict(entry: dict[str, Any], domains: Domains) -> Verdict:
    test = domains.rows(entry["generator"], "test")
    n_fake = int((domains.labels[test] == FAKE).sum())
    return Verdict(
        entry["generator"],
        Estimate(**entry["detector"]),
        {view: Estimate(**part) for view, part in entry["facts"].items()},
        {view: PairedDifference(**part) for view, part in entry["difference"].items()},
        entry["level"],
        n_fake=entry.get("n_fake", n_fake),
        n_real=entry.get("n_real", len(test) - n_fake),
        separated=tuple(entry["separated"]),
        content=entry["content"],
        overlay=entry["overlay"],
    )
