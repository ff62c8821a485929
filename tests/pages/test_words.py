"""The words page without a browser: its numbers are the library's, and its empty and error states
say what to do.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from aigi_core import figures
from aigi_core.audit.exposure import exposure
from aigi_core.audit.facts import fact_scores, file_facts
from aigi_core.clip.consent import agree, weights_named
from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.training import train
from aigi_core.explain.cached import WordSettings, compute_words, save_words
from aigi_core.explain.detector_words import content_words, detector_words
from aigi_core.explain.effect import concept_effect
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.reading import read
from aigi_core.explain.words import Words
from aigi_core.statements import p_number
from aigi_core.transfer import DEFAULT_METRIC, transfer_matrix
from aigi_core.transfer.bootstrap import Estimate
from aigi_core.workspace import Workspace, describe_file, write_manifest
from precompute.__main__ import main
from tests.pages.reading import noted, stats, tables, text_of
from ui.bodies.words import facts_shown
from ui.bodies.words import stats as stats_of
from ui.toolkit.tables import readable

Open = Callable[..., AppTest]


def test_numbers_are_the_librarys(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "words", train="beta-diff")
    assert not app.exception and not app.error
    detector = train(synthetic, ["beta-diff"])[0]
    result = detector_words(synthetic, Lexicon.of(synthetic, "phrases"), detector)
    assert f"<b>{result.top_cosine:.3f}</b>" in stats(
        app
    ) and f"<b>{p_number(result.p_value)}</b>" in stats(app)
    assert str(result.nearest["text"][0]) in text_of(app)
    assert ("No text describes this detector" in text_of(app)) is not result.nameable


@pytest.mark.parametrize("threshold", [0.35, None, float("inf")])
def test_the_bound_of_chance_is_the_one_that_decides(threshold: float | None) -> None:
    near = pd.DataFrame(
        {"text": ["a", "b"], "cosine": [0.358, 0.342], "p_value": [0.02, 0.06], "similar": [[], []]}
    )
    if threshold is not None:
        near["threshold"] = threshold
    if threshold == float("inf"):  # too few draws for any
        near["p_value"] = [0.1, 0.2]
    result = Words("w", near, near, pd.DataFrame(), (0.225, 0.282, 0.358), 19)
    [tile] = [s for s in stats_of(result, 2, Estimate(0.5, 0.4, 0.6, 3)) if s.label == "By chance"]
    figure = figures.listed_words(result, "nearest", 1)
    drawn = [line.x0 for line in figure.layout.shapes if line.type == "line"]
    assert tile.value == "0.282" and "0.358" not in tile.n
    if threshold == float("inf"):
        assert tile.n == "median of 19 draws" and not drawn
    else:
        assert drawn == pytest.approx([0.35]) and "at most 0.350 in 95%" in tile.n
        assert "(0.350)" in figures.alt_text(figure)


@pytest.mark.parametrize("how", ["each family", "all but one"])
@pytest.mark.parametrize("view", ["Residual", "Embedding, unnormalised"])
def test_every_setting_by_link(open_app: Open, synthetic: Workspace, how: str, view: str) -> None:
    app = open_app(
        synthetic.path,
        "words",
        sets=how,
        view=view,
        bias="0",
        bank="vocabulary",
        categories=["kind 1", "kind 3"],
        centred="0",
        shown="5",
        all="1",
    )
    assert not app.exception and not app.warning
    errors = [
        error.value for error in app.error
    ]  # three families are too few for a correlation, and the page says so
    assert len(errors) == (how == "each family") and all("at least 4" in error for error in errors)


def test_a_concept_taken_away_is_the_librarys(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "words", remove="phrases 3; Vocabulary 7", train="gamma-diff")
    assert not app.exception and not app.error
    sets = [(name,) for name in synthetic.domains.generators]
    readings = [
        read(synthetic, detector) for detector in train(synthetic, synthetic.domains.generators)
    ]
    lexicon = Lexicon.of(synthetic, ["phrases", "vocabulary"])
    effect = concept_effect(
        synthetic, readings, sets, lexicon, ["phrases 3", "vocabulary 7"], metric=DEFAULT_METRIC
    )
    assert effect.in_words("gamma-diff") in text_of(app)


def test_own_phrases_without_the_text_tower(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "words", own="phrases 1; phrases 2")
    assert not app.error and "nearest of your phrases" in text_of(app)
    agree(weights_named(synthetic.encoder))
    app = open_app(synthetic.path, "words", own="a phrase nobody wrote", remove="phrases 1")
    assert not app.exception and len(app.error) == 1
    assert "text tower cannot be loaded here" in app.error[0].value.replace("\\", "")
    app = app.segmented_control(key="part").select("Without a concept").run()
    assert "out of domain" in text_of(app)  # the rest of the page goes on


def test_own_phrases_through_the_text_tower(
    open_app: Open, tiny: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copytree(tiny[0], tmp_path / "w"))
    file = tmp_path / "bank.txt"
    file.write_text("\n".join(f"a phrase of number {i}" for i in range(40)))
    assert (
        main(
            [
                "text",
                "--workspace",
                str(path),
                "--model",
                tiny[1],
                "--device",
                "cpu",
                "--phrases",
                str(file),
                "--name",
                "phrases",
            ]
        )
        == 0
    )
    monkeypatch.setenv("AIGI_WEIGHTS", tiny[1])
    app = open_app(path, "words", own="a phrase nobody wrote; a phrase of number 3")
    assert not app.exception and "nearest of your phrases" in text_of(app)
    shown = len(app.error)  # two generators are too few for a correlation, and the page says so
    longer = open_app(path, "words", own="a " * 100 + "b")
    assert not longer.exception and len(longer.error) == shown + 1
    assert any("longer than the encoder" in error.value for error in longer.error)
    empty = open_app(path, "words", own=" ; ;")
    assert not empty.exception and any("holds no phrase" in error.value for error in empty.error)


def test_what_gives_its_fakes_away_is_shown(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "words", train="beta-diff")
    detector = train(synthetic, ["beta-diff"])
    facts = fact_scores(file_facts(synthetic.images), synthetic.domains)
    names = synthetic.domains.generators
    matrices = [
        transfer_matrix(scores, synthetic.domains, names, metrics=(DEFAULT_METRIC,))
        for scores in (score_detectors(train(synthetic, names), synthetic), facts.scores)
    ]
    lexicon = Lexicon.of(synthetic)
    result = exposure(
        synthetic,
        detector[0],
        detector_words(synthetic, lexicon, detector[0]),
        content_words(synthetic, lexicon, "beta-diff"),
        *matrices,
    )
    shown = text_of(app).replace("\\", "")
    assert len(result.sentences) >= 3 and all(sentence in shown for sentence in result.sentences)
    assert not open_app(
        synthetic.path, "words", sets="all but one"
    ).exception  # several generators: words only


def test_facts_have_titles_and_no_share_of_a_median() -> None:
    facts = pd.DataFrame(
        {
            "generator": "g",
            "fact": ["jpeg_quality", "format"],
            "cramers_v": 0.9,
            "values": 3,
            "fake_share": [0.008, 0.4],
            "real_share": [0.9, 0.3],
        }
    )
    shown = readable(facts_shown(facts))
    assert "cramers" not in " ".join(shown.columns) and "Cramér's V" in shown
    assert not any("_" in text for text in shown.iloc[:, 0])
    assert shown["share of fakes"].tolist() == ["–", "0.400"]
    assert shown["share of real images"].tolist() == ["0.900", "0.300"]


def test_a_bank_of_another_encoder_is_one_sentence(
    open_app: Open, synthetic: Workspace, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(synthetic.path, tmp_path / "w"))
    np.save(path / "text" / "phrases.npy", np.ones((60, 7), np.float16))
    manifest = json.loads((path / "workspace.json").read_text())
    manifest["files"]["text/phrases.npy"] = describe_file(path, "text/phrases.npy")
    write_manifest(path, manifest)
    for page, part in (("words", ""), ("heads", "Words")):
        app = open_app(path, page, **({"part": part} if part else {}))
        assert (
            not app.exception
            and len(app.error) == 1
            and "contradicts its 60 texts and the width 24" in app.error[0].value
        )


def test_an_empty_and_a_huge_bank(open_app: Open, synthetic: Workspace, tmp_path: Path) -> None:
    path = Path(shutil.copytree(synthetic.path, tmp_path / "w"))
    manifest = json.loads((path / "workspace.json").read_text())
    rng = np.random.default_rng(0)
    for name, size in (("none", 0), ("huge", 60_000)):
        np.save(path / "text" / f"{name}.npy", rng.standard_normal((size, 24)).astype(np.float16))
        table = pd.DataFrame(
            {"text": [f"text {i}" for i in range(size)], "category": ""}, dtype=str
        )
        table.to_parquet(path / "text" / f"{name}.parquet", index=False)
        files = [f"text/{name}.npy", f"text/{name}.parquet"]
        manifest["files"] |= {file: describe_file(path, file) for file in files}
        manifest["text"][name] = {"texts": size}
    write_manifest(path, manifest)
    app = open_app(path, "words", bank="none")
    assert (
        not app.exception
        and len(app.error) == 1
        and "'none' is empty" in app.error[0].value.replace("\\", "")
    )
    app = open_app(path, "words", bank="huge")
    assert not app.exception and not app.error and "60,000 texts" in stats(app)


def test_precomputed_words_are_read(open_app: Open, synthetic: Workspace, tmp_path: Path) -> None:
    path = Path(shutil.copytree(synthetic.path, tmp_path / "w"))
    before = open_app(path, "words", part="Names and generality")
    assert any("precompute words" in caption.value for caption in before.caption)
    workspace, wanted = Workspace.open(path), WordSettings()
    computed = compute_words(workspace, WordSettings(draws=20, spans=3))
    # Marked, and kept as the settings that the page asks for: what is shown is what is stored.
    rows = computed.rows.copy()
    rows.loc[rows["rank"] == 1, "text"] = "a text that the job stored"
    save_words(workspace, replace(computed, settings=wanted.for_workspace(workspace), rows=rows))
    after = open_app(path, "words", part="Names and generality")
    assert not after.exception and not after.error
    assert not any("precompute words" in caption.value for caption in after.caption)
    assert "Spearman" in text_of(after) and "Spearman" not in text_of(before)
    assert "a text that the job stored" in text_of(
        after
    ) and "a text that the job stored" not in text_of(before)
    transfer = open_app(
        path, "transfer", part="Words"
    )  # the other page that shows words reads the same
    assert not transfer.exception and any(
        "a text that the job stored" in table.to_csv() for table in tables(transfer)
    )
    computed = open_app(path, "words", categories=["kind 1"])  # what is not stored is computed
    assert (
        not computed.exception
        and "a text that the job stored" not in text_of(computed).split("real and fake alike")[0]
    )


def test_the_same_detector_twice_is_one_sentence(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(
        synthetic.path, "words", train="beta-diff", train_b="beta-diff", view_b="Embedding"
    )
    assert not app.exception and len(app.error) == 1 and "same direction" in app.error[0].value


def test_without_text_banks_one_sentence(
    open_app: Open, synthetic: Workspace, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(synthetic.path, tmp_path / "w"))
    write_manifest(path, json.loads((path / "workspace.json").read_text()) | {"text": {}})
    app = open_app(path, "words")
    assert noted(app, "precompute text")


def test_broken_query_shows_the_default_and_says_so(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(
        synthetic.path,
        "words",
        bank="<b>none</b>",
        text="nothing",
        shown="900",
        categories="kind 99",
    )
    assert not app.exception and not app.error and len(app.warning) == 4
