"""Every stored result of the demo is read by the reader that its page uses: a renamed field, or a
changed format, that breaks one fails here and not on the page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from aigi_core import results
from aigi_core.assets import asset
from aigi_core.attribution import report as attribution
from aigi_core.audit import cached as audit
from aigi_core.audit import quality
from aigi_core.detectors import head_points
from aigi_core.detectors import stored as detectors
from aigi_core.detectors.methods import METHODS
from aigi_core.detectors.methods.ensembles import COMBINATIONS
from aigi_core.detectors.presets import preset
from aigi_core.detectors.protocol import Protocol
from aigi_core.explain import cached as words
from aigi_core.geometry import projection
from aigi_core.results import ResultKind
from aigi_core.transfer import atlas, board, finetuned, imported, make_training_sets
from aigi_core.workspace import Workspace

FOLDER = asset("demo") / "results"
Reader = Callable[[Workspace, Mapping[str, Any]], object]


def read_atlas(workspace: Workspace, parameters: Mapping[str, Any]) -> object:
    read = atlas.Atlas.open(workspace, atlas.AtlasKey(**parameters))
    pair = read.pairs[0]
    assert read.matrix().notna().any(axis=None) and read.components(pair) and read.protocol
    assert read.seconds > 0 and read.partners(pair[0]) and len(read.removals())
    assert read.head_scores(*pair).size and read.random_removal is not None
    return read.tables


def read_detectors(workspace: Workspace, parameters: Mapping[str, Any]) -> object:
    sets = list(make_training_sets(workspace.domains, "each generator").values())
    if not parameters:
        return detectors.load_detectors(workspace, sets)
    kept = parameters["protocol"]
    paper = preset("paper").training  # else ours, with or without validation images
    used = paper if kept["grid"] == paper.grid else Protocol(refit=kept["refit"])
    method = parameters.get("method", "logistic")
    return detectors.load_detectors(workspace, sets, protocol=used, method=method)


def read_combinations(workspace: Workspace, parameters: Mapping[str, Any]) -> object:
    sets = make_training_sets(workspace.domains, "each generator").values()
    method = METHODS[parameters["method"]]
    return method.kept(workspace, sets, protocol=Protocol(refit=parameters["protocol"]["refit"]))


def read_method(workspace: Workspace, parameters: Mapping[str, Any]) -> object:
    stored = board.stored_scores(workspace, parameters["method"])
    assert parameters["method"] in board.rows_of_methods() and stored.about["seconds"]["train"] > 0
    scores, val = (stored.arrays("scores.npz")[split] for split in ("test", "val"))
    assert val.shape == (len(scores), (workspace.domains.split == "val").sum())
    tested = (workspace.domains.split == "test").sum()
    assert scores.shape == (len(stored.content["thresholds"]), tested)
    return scores


def read_board(workspace: Workspace, parameters: Mapping[str, Any]) -> object:
    stored = results.load(workspace, board.BOARD, parameters)
    assert stored.content["rests_on"] == board._rests_on(workspace), "the page computes it anew"
    table = board.stored_board(workspace)
    assert board.comparison(table) and board.highest(table)
    return table


def read_head_points(workspace: Workspace, _: Mapping[str, Any]) -> object:
    points = head_points.load_points(workspace, preset("paper"))
    assert points is not None
    first, second = points.generators[:2]
    assert points.point(first, points.heads[:1], second) in points.grid
    together = tuple((int(layer), int(head)) for layer, head in points.best[0])
    assert points.point(first, together, first) in points.grid
    return points


def read_words(workspace: Workspace, parameters: Mapping[str, Any]) -> object:
    banks = {"banks": tuple(parameters["banks"])}
    read = words.load_words(workspace, words.WordSettings(**{**parameters, **banks}))
    for row in read.detectors.drop_duplicates(["kind", "bank"]).itertuples():
        assert len(read.words(row.kind, row.bank, row.detector).nearest)
    assert len(read.rows) and len(read.categories) and len(read.spans)
    return read


def read_map(workspace: Workspace, parameters: Mapping[str, Any]) -> object:
    read = projection.load_map(workspace, projection.MapSettings(**parameters))
    return projection.points_table(workspace, read)


def read_attribution(workspace: Workspace, parameters: Mapping[str, Any]) -> object:
    return attribution.load_attribution(workspace, attribution.AttributionSettings(**parameters))


def read_audit(workspace: Workspace, parameters: Mapping[str, Any]) -> object:
    return audit.load_audit(workspace, audit.AuditSettings(**parameters))


def read_finetuned(workspace: Workspace, parameters: Mapping[str, Any]) -> object:
    stored = finetuned.stored_runs(workspace, parameters["name"])
    assert set(stored.table("curve")["where"]) == {"in domain", "out of domain"}
    return stored.content


def read_imported(workspace: Workspace, parameters: Mapping[str, Any]) -> object:
    matrix = imported.imported_matrix(workspace, parameters["name"], ["auc"])
    assert matrix.train[0]
    return matrix


def read_quality(workspace: Workspace, _: Mapping[str, Any]) -> object:
    stored = quality.stored_quality(workspace)
    return quality.in_words(stored.table("means"), stored.table("by-generator"))


READERS: dict[str, tuple[ResultKind, Reader]] = {
    "atlas": (atlas.KIND, read_atlas),
    "attribution": (attribution.KIND, read_attribution),
    "audit": (audit.KIND, read_audit),
    "board": (board.BOARD, read_board),
    "combinations": (COMBINATIONS, read_combinations),
    "detectors": (detectors.KIND, read_detectors),
    "finetuned": (finetuned.KIND, read_finetuned),
    "head-points": (head_points.KIND, read_head_points),
    "imported": (imported.KIND, read_imported),
    "map": (projection.KIND, read_map),
    "methods": (board.KIND, read_method),
    "quality": (quality.KIND, read_quality),
    "words": (words.KIND, read_words),
}


def test_every_kind_of_the_demo_has_a_reader_here() -> None:
    assert {folder.name for folder in FOLDER.iterdir()} == set(READERS)


@pytest.mark.parametrize("kind", READERS)
def test_stored_results_of_the_demo_are_read(kind: str) -> None:
    workspace = Workspace.open(FOLDER.parent)
    about, read = READERS[kind]
    stored = {result.path: result.parameters for result in results.current(workspace, about)}
    if kind == "detectors":  # this old note names no parameters: found by those that pages use
        [old] = set((FOLDER / kind).iterdir()) - set(stored)
        stored[old] = {}
    assert set(stored) == set((FOLDER / kind).iterdir()), "some are outdated or cannot be found"
    for parameters in stored.values():
        assert read(workspace, parameters) is not None, parameters
