"""Point values of the demo that no rewriting may change; ``python -m tests.stored_numbers`` writes
them anew, after a change that is meant to change them.

The file was first written by the code of version 0.1.0, before its rooms were moved.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aigi_core.audit.cached import load_audit
from aigi_core.audit.facts import fact_scores, file_facts
from aigi_core.detectors import score_detectors, train
from aigi_core.explain.cached import load_words
from aigi_core.explain.detector_words import detector_words
from aigi_core.explain.lexicon import Lexicon
from aigi_core.transfer import transfer_matrix
from aigi_core.transfer.atlas import Atlas
from aigi_core.workspace import Workspace

FILE = Path(__file__).with_suffix(".json")
METRICS = ("accuracy", "balanced_accuracy", "auc")


def compute(workspace: Workspace) -> dict[str, Any]:
    """Compute the demo's matrix, nearest words and matrix of file facts, and read what is stored of
    its searches, words and audit; plain values only.
    """
    generators = workspace.domains.generators
    detectors = train(workspace, generators)
    matrix = transfer_matrix(
        score_detectors(detectors, workspace),
        workspace.domains,
        generators,
        metrics=METRICS,
        draws=2,
    )
    facts = fact_scores(file_facts(workspace.images, "stored"), workspace.domains)
    of_facts = transfer_matrix(
        facts.scores, workspace.domains, generators, metrics=METRICS, draws=2
    )
    lexicon = Lexicon.of(workspace, "phrases")
    near = {
        name: detector_words(workspace, lexicon, detector, k=5, draws=2, seed=0).nearest
        for name, detector in list(zip(generators, detectors, strict=True))[:4]
    }
    return {
        "generators": list(generators),
        "images": {"real": matrix.n_real.tolist(), "fake": matrix.n_fake.tolist()},
        "matrix": {metric: matrix.values[metric].tolist() for metric in METRICS},
        "facts": {metric: of_facts.values[metric].tolist() for metric in METRICS},
        "words": {name: [list(row) for row in _words(table)] for name, table in near.items()},
        "stored words": _stored_words(workspace),
        "atlas": _atlas(workspace),
        "audit": _audit(workspace),
    }


def _words(table: Any) -> list[tuple[str, float]]:
    return list(zip(table["text"].tolist(), table["cosine"].tolist(), strict=True))


def _stored_words(workspace: Workspace) -> dict[str, list[str]]:
    rows = load_words(workspace).rows
    first = rows[(rows["side"] == "nearest") & (rows["rank"] <= rows["rank"].min() + 2)]
    keys = ("kind", "bank", "detector")
    return {
        " / ".join(map(str, key)): group.sort_values("rank")["text"].tolist()
        for key, group in first.groupby(list(keys))
    }


def _atlas(workspace: Workspace) -> dict[str, Any]:
    atlas = Atlas.open(workspace)
    pairs = {":".join(pair): pair for pair in atlas.pairs}
    return {
        "best pair": list(atlas.best_pair()),
        "kept": {name: int(atlas.kept(pair).sum()) for name, pair in pairs.items()},
        "first removed": {
            name: list(map(int, atlas.removed(pair)[:5])) for name, pair in pairs.items()
        },
        "best heads": {
            name: [list(map(int, head)) for head in atlas.top_heads(*pair)[:3]]
            for name, pair in pairs.items()
        },
    }


def _audit(workspace: Workspace) -> dict[str, Any]:
    audit = load_audit(workspace)
    return {
        "detector": audit.detector.values["balanced_accuracy"].tolist(),
        "facts": {
            view: matrix.values["balanced_accuracy"].tolist()
            for view, matrix in audit.facts.items()
        },
        "duplicates": len(audit.duplicates.pairs),
        "groups on both sides of a split": len(audit.straddling),
    }


if __name__ == "__main__":
    demo = Workspace.open(Path(__file__).parents[1] / "assets" / "demo")
    FILE.write_text(json.dumps(compute(demo), indent=None, separators=(",", ":")) + "\n", "utf-8")
