"""An audit kept under a workspace's ``results/``: seconds to a minute to compute, read in a moment.

``python -m precompute audit`` computes it; pages and reports read it. The key holds whatever
changes the result: the workspace's and the text bank's digest, draws and seed. Whether pixels were
at hand is noted, not part of the key.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from jaxtyping import Float

from aigi_core.audit.leaks import Duplicates
from aigi_core.audit.report import Audit, own_matrix
from aigi_core.audit.verdict import Verdict
from aigi_core.errors import WorkspaceError
from aigi_core.transfer import Estimate, PairedDifference
from aigi_core.workspace import Workspace, digest_of, write_atomic

FORMAT = 1
KIND = "audit"
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

    def key(self, workspace: Workspace) -> str:
        """Name of the audit's directory."""
        bank = workspace.text_bank(self.bank).digest if self.bank in workspace.text_banks else ""
        return digest_of(
            {"format": FORMAT, "workspace": workspace.digest, "bank": bank, **asdict(self)}
        )


def save_audit(
    workspace: Workspace, found: Audit, settings: AuditSettings, about: dict[str, Any] | None = None
) -> str:
    """Publish under ``results/audit/KEY``; the note that makes it count is written last. Returns
    the key.
    """
    key = settings.key(workspace)
    folder = workspace.result_path(KIND, key)
    folder.mkdir(parents=True, exist_ok=True)
    tables: dict[str, pd.DataFrame | None] = {
        name: getattr(found, name) for name in (*_TABLES, *_OPTIONAL)
    }
    tables |= {name: _joined(getattr(found, name), column) for name, column in _BY_NAME.items()}
    tables["pairs"] = found.duplicates.pairs
    written = [name for name, table in tables.items() if table is not None]
    for name in written:
        content = io.BytesIO()
        tables[name].to_parquet(content, index=False)  # type: ignore[union-attr]
        write_atomic(folder / f"{name}.parquet", content.getvalue())
    content = io.BytesIO()
    np.savez_compressed(
        content,
        allow_pickle=False,
        nearest=found.duplicates.nearest,
        **{f"scores {name}": scores for name, scores in found.scores.items()},
    )
    write_atomic(folder / "arrays.npz", content.getvalue())
    note = {
        "format": FORMAT,
        "settings": asdict(settings),
        "workspace_digest": workspace.digest,
        "tables": written,
        "matched_note": found.matched_note,
        "duplicates": {"rule": found.duplicates.rule, "searched": found.duplicates.searched},
        "verdicts": [asdict(verdict) for verdict in found.verdicts],
        **(about or {}),
    }
    write_atomic(
        folder / "audit.json", (json.dumps(note, indent=1, ensure_ascii=False) + "\n").encode()
    )
    return key


def load_audit(workspace: Workspace, settings: AuditSettings | None = None) -> Audit:
    """Read what was computed; matrices are measured again from the scores (a fraction of a second).

    Raises:
        WorkspaceError: not computed, or damaged; says what to run.
    """
    wanted = settings or AuditSettings()
    folder = workspace.result_path(KIND, wanted.key(workspace))
    command = f"'python -m precompute audit --workspace {workspace.path}'"
    if not (folder / "audit.json").is_file():
        raise WorkspaceError(
            f"The workspace {workspace.path} has not been audited yet: run {command}."
        )
    try:
        note = json.loads((folder / "audit.json").read_text("utf-8"))
        if note["format"] != FORMAT:
            raise ValueError(f"format {note['format']}, this program reads {FORMAT}")
        tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in note["tables"]}
        with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
            scores = {
                name.removeprefix("scores "): arrays[name]
                for name in arrays.files
                if name != "nearest"
            }
            nearest = arrays["nearest"]
        duplicates = Duplicates(tables["pairs"], nearest=nearest, **note["duplicates"])
        verdicts = [_verdict(entry) for entry in note["verdicts"]]
        parts: dict[str, Any] = {
            name: _split(tables[name], column) for name, column in _BY_NAME.items()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkspaceError(
            f"The audit in {folder} is damaged ({error}): delete that folder and run {command}."
        ) from error
    matrices = {
        name: own_matrix(s, workspace.domains, wanted.draws, wanted.seed)
        for name, s in scores.items()
    }
    kept: dict[str, Any] = {name: tables[name] for name in _TABLES} | {
        name: tables.get(name) for name in _OPTIONAL
    }
    return Audit(
        scores=scores,
        detector=matrices.pop("detector"),
        facts=matrices,
        matched_note=note["matched_note"],
        duplicates=duplicates,
        verdicts=verdicts,
        **parts,
        **kept,
    )


def load_fact_scores(
    workspace: Workspace, settings: AuditSettings | None = None
) -> Float[np.ndarray, "K N"] | None:
    """Log-odds of the detectors of stored file facts, one a generator, where an audit has kept
    them; else None.
    """
    folder = workspace.result_path(KIND, (settings or AuditSettings()).key(workspace))
    try:
        with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
            scores: np.ndarray = arrays["scores stored"]
    except (OSError, ValueError, KeyError, BadZipFile):
        return None
    return scores


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


def _verdict(entry: dict[str, Any]) -> Verdict:
    return Verdict(
        entry["generator"],
        Estimate(**entry["detector"]),
        {view: Estimate(**part) for view, part in entry["facts"].items()},
        {view: PairedDifference(**part) for view, part in entry["difference"].items()},
        entry["level"],
        tuple(entry["sentences"]),
    )
