"""The audit page without a browser: its numbers are the library's; empty and error states say what
to do.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.audit.cached import AuditSettings, save_audit
from aigi_core.audit.quality import store_quality, stored_quality
from aigi_core.audit.report import Audit, audit
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.statements import Finding, number
from aigi_core.transfer import difference
from aigi_core.workspace import Workspace, write_manifest
from tests.audit.factory import CLEAN, SIZED, planted_images, workspace
from tests.factory import edit_images
from tests.pages.reading import noted, stats, text_of
from ui.bodies.audit import NEXT, PARTS, paired, with_pairs

Open = Callable[..., AppTest]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Audit]:
    """Confounded images with an audit beside them; one pair of them is the same file in two
    splits.
    """
    images = planted_images()
    general = images.index[(images["generator"] == "") & (images["pool"] == "general")]
    images.loc[general[12], "content_hash"] = images.loc[general[0], "content_hash"]
    made = workspace(tmp_path_factory.mktemp("audited") / "w", images)
    result = audit(made)
    save_audit(made, result, AuditSettings())
    return made, result


def test_numbers_are_the_librarys(open_app: Open, planted: tuple[Workspace, Audit]) -> None:
    made, result = planted
    app = open_app(made.path, "audit", test=SIZED, part="Matrix")
    assert not app.exception and not app.error
    mean = result.facts["stored"].mean(DEFAULT_METRIC, result.facts["stored"].in_domain)
    assert f"<b>{mean.value:.3f}</b>" in stats(
        app
    ) and f"interval {mean.low:.3f} to {mean.high:.3f}" in stats(app)
    explained = sum(verdict.level == "explained" for verdict in result.verdicts)
    text = text_of(app).replace("\\", "")
    assert f"For **{explained} of 4 generators** the detector" in text
    [verdict] = [verdict for verdict in result.verdicts if verdict.generator == SIZED]
    assert all(sentence in text for sentence in verdict.sentences)
    ood = difference(result.detector, result.facts["stored"], DEFAULT_METRIC).mean(
        ~result.detector.in_domain
    )
    numbers = ood.finding("paired cell").numbers()
    assert f" file facts: {numbers}." in text.partition("Out of domain, ")[2]


def test_a_generator_that_nothing_gives_away(
    open_app: Open, planted: tuple[Workspace, Audit]
) -> None:
    app = open_app(planted[0].path, "audit", test=CLEAN, fact="width")
    assert not app.exception and not app.error and not app.warning
    assert "File facts alone do not separate" in text_of(app)
    assert any("no confound found" in title.value for title in app.subheader)


def test_begins_with_what_tells_most(open_app: Open, planted: tuple[Workspace, Audit]) -> None:
    made, result = planted
    app = open_app(made.path, "audit")
    best = max(
        (v for v in result.verdicts if v.level == "explained"), key=lambda v: v.detector.value
    )
    assert app.session_state["test"] == best.generator


def test_duplicates_across_splits_are_shown(
    open_app: Open, planted: tuple[Workspace, Audit]
) -> None:
    made, result = planted
    pairs = result.duplicates.pairs
    assert pairs["across_split"].sum() >= 1 and pairs["exact"].sum() == 1
    [exact] = pairs[pairs["exact"]].to_dict("records")
    paths = made.images["path"]
    app = open_app(
        made.path,
        "audit",
        part="Duplicates",
        pairs="across splits",
        pair=f"{paths[exact['a']]} | {paths[exact['b']]}",
    )
    assert not app.exception and not app.warning
    pictures = " ".join(html.proto.body for html in app.get("html"))
    assert "cosine" in pictures and "train split" in pictures and "real, general" in pictures
    app = open_app(made.path, "audit", part="Duplicates", pairs="across labels")
    assert (
        not app.exception
        and not app.error
        and any("no such pair" in caption.value for caption in app.caption)
    )


def test_an_audit_that_was_not_made_is_made_by_a_button(
    open_app: Open, synthetic: Workspace
) -> None:
    app = open_app(synthetic.path, "audit")
    assert not app.exception and not app.error
    assert (
        "no audit of this workspace as it is now" in text_of(app)
        and "precompute audit --workspace" in app.info[0].value
    )
    [button] = [button for button in app.button if button.label == "Audit it now"]
    button.click().run()
    assert not app.exception and not app.error and "of 4 generators" in text_of(app)
    app.session_state["part"] = "What they show"
    app.run()
    assert "--images DIR --force" in text_of(app)  # common marks need the images


def test_parts_that_could_not_be_had_say_why(
    open_app: Open, planted: tuple[Workspace, Audit], tmp_path: Path
) -> None:
    other = workspace(tmp_path / "w", planted_images(seed=1))
    nothing = pd.DataFrame()
    without = replace(
        planted[1],
        matched=nothing,
        means=nothing,
        kept=nothing,
        matched_note="No stratum is shared.",
        content=None,
        words={},
        categories={},
    )
    save_audit(other, without, AuditSettings())
    for part, reason in (
        ("Matched", "No stratum is shared"),
        ("What they show", "precompute text"),
    ):
        app = open_app(other.path, "audit", part=part)
        assert not app.exception and not app.error and reason in text_of(app)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_one_sentence(open_app: Open, tmp_path: Path, label: int) -> None:
    images = planted_images()
    images["label"] = label
    images["generator"], images["family"] = ("", "") if label == 0 else ("only", "gan")
    made = workspace(tmp_path / "w", images)
    app = open_app(made.path, "audit")
    assert not app.exception
    for button in app.button:
        if button.label == "Audit it now":
            button.click().run()
    assert not app.exception and len(app.error) == 1
    assert ("holds no fake images" if label == 0 else "real images") in app.error[0].value.replace(
        "\\", ""
    )


def test_broken_query_shows_the_default_and_says_so(
    open_app: Open, planted: tuple[Workspace, Audit]
) -> None:
    app = open_app(
        planted[0].path, "audit", test="<b>none</b>", part="gone", fact="smell", files="lost"
    )
    assert not app.exception and not app.error and len(app.warning) == 4
    app = open_app(planted[0].path, "audit", part="Duplicates", pairs="none", pair="x")
    assert not app.exception and not app.error and len(app.warning) >= 2


def test_every_part_opens_and_says_what_it_is(
    open_app: Open, planted: tuple[Workspace, Audit]
) -> None:
    made, result = planted
    for part in PARTS:
        app = open_app(made.path, "audit", part=part)
        assert not app.exception and not app.error, part
    for verdict in result.verdicts:
        app = open_app(made.path, "audit", test=verdict.generator)
        assert NEXT[verdict.level].partition("`")[0] in text_of(app)


def test_quality_is_shown_where_it_was_measured(
    open_app: Open, planted: tuple[Workspace, Audit], tmp_path: Path
) -> None:
    copy = Workspace.open(Path(shutil.copytree(planted[0].path, tmp_path / "w")))
    assert noted(open_app(copy.path, "audit", part="Quality"), "precompute quality")
    noise = np.random.default_rng(0).standard_normal(len(copy.images))
    store_quality(copy, {"quality": noise}, source="noise")
    app = open_app(copy.path, "audit", part="Quality")
    assert not app.exception and not app.error
    table = stored_quality(copy).table("means")
    text = text_of(app).replace("\\", "")
    assert "Quality by noise" in text
    assert all(f"{number(100 * c, 1, signed=True)} points" in text for c in table["change"])


def test_what_matching_changes_is_reported_with_its_intervals(
    open_app: Open, planted: tuple[Workspace, Audit]
) -> None:
    made, result = planted
    text = text_of(open_app(made.path, "audit", part="Matched"))
    assert len(result.means)
    for row in result.means.to_dict("records"):
        assert Finding.of_row(row, "change", n=row["n"], what="cell").points() in text


@pytest.mark.parametrize("kept", [(), ("mine",)])
def test_words_within_pairs_take_the_bank_at_hand_or_say_why_not(
    kept: tuple[str, ...], synthetic_path: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(synthetic_path, tmp_path / "w"))

    def with_pairs_in_test(table: pd.DataFrame) -> None:
        kept = table[(table["split"] == "test") & (table["left_out"] == "")]
        fakes = kept.index[kept["generator"] == "alpha-gan"]
        pool = kept.loc[fakes[0], "pool"]
        reals = kept.index[(kept["label"] == 0) & (kept["pool"] == pool)]
        for pair, (fake, real) in enumerate(zip(fakes, reals, strict=False)):
            table.loc[[fake, real], "group"] = f"pair {pair}"

    edit_images(path, with_pairs_in_test)
    manifest = json.loads((path / "workspace.json").read_text())
    files = manifest["files"]
    for name in kept:  # the bank of phrases, under another name
        for suffix in (".npy", ".parquet"):
            shutil.copy(path / f"text/phrases{suffix}", path / f"text/{name}{suffix}")
            files[f"text/{name}{suffix}"] = files[f"text/phrases{suffix}"]
    manifest["text"] = dict.fromkeys(kept, manifest["text"]["phrases"])
    write_manifest(path, manifest)
    opened = Workspace.open(path)
    texts = paired(opened, with_pairs(opened)[0])[2]
    if kept:
        assert isinstance(texts, pd.DataFrame) and len(texts)
    else:
        assert "has no text bank 'phrases'" in str(texts) and "precompute text" in str(texts)
