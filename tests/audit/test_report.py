"""The verdict: planted confounds are named with their numbers; on clean data nothing is
reported.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigi_core.audit import matching
from aigi_core.audit.report import Audit, audit
from aigi_core.audit.verdict import to_frame, verdicts
from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.stored import save_detectors
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.workspace import Workspace
from tests.audit.factory import (
    CLEAN,
    CONFOUNDED,
    PARTLY,
    SIZED,
    clean_images,
    planted_images,
    workspace,
)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return audit(
        workspace(tmp_path_factory.mktemp("audit") / "planted", planted_images()), draws=200
    )


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return audit(
        workspace(tmp_path_factory.mktemp("audit") / "clean", clean_images()), bank="", draws=200
    )


def test_the_higher_of_two_kinds_of_files_says_that_its_interval_is_corrected(
    planted: Audit,
) -> None:
    """Beside it, in the table, stands one that is not."""
    views = ("stored", "original")
    separate = pd.DataFrame({"generator": planted.detector.test, "adjusted": 0.001})
    both = verdicts(
        planted.detector,
        dict.fromkeys(views, planted.facts["stored"]),
        dict.fromkeys(views, separate),
        {},
    )
    [sized] = [verdict for verdict in both if verdict.generator == SIZED]
    assert "files, the higher of 2, interval corrected for this choice;" in sized.sentences[0]
    [alone] = [verdict for verdict in planted.verdicts if verdict.generator == SIZED]
    assert "corrected for this choice" not in alone.sentences[0]


def test_planted_confounds_are_named_with_their_numbers(planted: Audit) -> None:
    result = {verdict.generator: verdict for verdict in planted.verdicts}
    sized = result[SIZED]
    own = (
        planted.detector.values["balanced_accuracy"][-1, -1]
        if planted.detector.test[-1] == SIZED
        else None
    )
    assert sized.sentences[0].startswith(
        f"{SIZED}'s detector reaches balanced accuracy {sized.detector.value:.2f} ["
    )
    assert ". File facts alone reach 1.00 [" in sized.sentences[0]
    partly = result[PARTLY]  # the detector knows more than the format: its number comes first
    assert partly.detector.value >= partly.facts["stored"].value
    reached, alone = partly.detector.value, partly.facts["stored"].value
    assert partly.headline.startswith(
        f"{PARTLY}: the detector reaches balanced accuracy {reached:.2f} ["
    )
    assert f"file facts alone {alone:.2f} [" in partly.headline
    assert own is None or own == sized.detector.value
    assert "24 fakes, 24 real images" in sized.sentences[0] and "n = 48" in sized.headline
    assert any("width: 100% of the fakes have 512 px" in sentence for sentence in sized.sentences)
    assert sized.level == "explained"
    assert any("No real test image has the same facts" in sentence for sentence in sized.sentences)
    format_sentence = next(s for s in result[CONFOUNDED].sentences if "format" in s)
    assert (
        "100% of the fakes have PNG" in format_sentence
        and "real images have JPEG" in format_sentence
    )
    assert re.search(r"Cramér's V 0\.\d\d \[0\.\d\d, [01]\.\d\d\]", format_sentence)
    assert result[CLEAN].level == "clear"
    assert "File facts alone do not separate" in result[CLEAN].sentences[0]


def test_detectors_that_the_workspace_keeps_are_audited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = workspace(tmp_path / "w", clean_images())
    sets = [(name,) for name in found.domains.generators]
    kept = [replace(detector, bias=detector.bias + 0.125) for detector in train(found, sets)]
    save_detectors(found, kept)
    monkeypatch.setattr(matching, "train", lambda *_: pytest.fail("trained once more"))
    result = audit(Workspace.open(found.path), bank="", draws=50)
    np.testing.assert_allclose(result.scores["detector"], score_detectors(kept, found))


def test_nothing_is_reported_on_clean_data(clean: Audit) -> None:
    assert [verdict.level for verdict in clean.verdicts] == ["clear"] * 4
    assert all(
        "File facts alone do not separate" in verdict.sentences[0] for verdict in clean.verdicts
    )
    assert not any(
        "Cramér" in sentence for verdict in clean.verdicts for sentence in verdict.sentences
    )
    assert clean.duplicates.pairs.empty and clean.straddling.empty


def test_every_number_of_a_verdict_has_its_interval(planted: Audit) -> None:
    table = to_frame(planted.verdicts).set_index("generator")
    assert set(table.index) == set(planted.detector.test)
    for name in ("detector", "facts_stored", "difference_stored"):
        assert (table[f"{name}_low"] <= table[name]).all() and (
            table[name] <= table[f"{name}_high"]
        ).all()
    assert (table["n"] == 48).all()


def test_matching_of_the_audit_leaves_out_what_cannot_be_matched(planted: Audit) -> None:
    assert not planted.matched.empty and planted.matched_note == ""
    left_out = planted.kept.set_index("generator")["left_out"]
    assert (
        "too few fakes have a real image like them" in left_out[SIZED].iloc[0]
        and (left_out[CLEAN] == "").all()
    )
    assert CLEAN in set(planted.matched["test"]) and SIZED not in set(planted.matched["test"])
    assert (
        (planted.matched["low"] <= planted.matched["change"])
        & (planted.matched["change"] <= planted.matched["high"])
    ).all()
    means = planted.means.set_index("cells")
    own = planted.matched[planted.matched["in_domain"]]
    assert means.loc["in-domain", "matched"] == pytest.approx(own["matched"].mean())
    assert means.loc["in-domain", "change"] == pytest.approx(own["change"].mean()) and means.loc[
        "in-domain", "n"
    ] == len(own)


def test_verdicts_need_matrices_of_the_same_generators(planted: Audit) -> None:
    from dataclasses import replace

    other = replace(planted.facts["stored"], test=planted.facts["stored"].test[::-1])
    with pytest.raises(AigiError, match="other rows or columns"):
        verdicts(planted.detector, {"stored": other}, {}, {})
