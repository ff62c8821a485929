"""The heads page without a browser: its numbers are the library's, and its empty and error states
say what to do.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.features import HeadsView
from aigi_core.detectors.heads import score_heads
from aigi_core.detectors.training import train
from aigi_core.explain.heads import heads_words
from aigi_core.explain.lexicon import Lexicon
from aigi_core.heads import Head
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.statements import number, p_text
from aigi_core.transfer import difference, transfer_matrix
from aigi_core.workspace import Workspace, write_manifest
from tests.factory import with_images, without_heads
from tests.pages.reading import noted, stats, text_of
from ui.results import attention

Open = Callable[..., AppTest]


def test_numbers_are_the_librarys(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "heads", train="beta-diff", validate="delta-ar", k="2")
    assert not app.exception and not app.error and not app.warning
    scores = score_heads(synthetic, "beta-diff", "delta-ar")
    best = scores.table.iloc[0]
    assert f"{scores.best.low:.3f} to {scores.best.high:.3f}" in stats(app), "allows for the choice"
    assert "interval corrected for this choice" in stats(app)
    assert f"<b>{best['accuracy']:.3f}</b>" in stats(
        app
    ) and f"**{int(best['layer'])}.{int(best['index'])}**" in text_of(app)

    def matrix(view):  # type: ignore[no-untyped-def]
        detectors = train(synthetic, ["beta-diff"], view)
        return transfer_matrix(
            score_detectors(detectors, synthetic),
            synthetic.domains,
            ["beta-diff"],
            metrics=(DEFAULT_METRIC,),
        )

    a, b = matrix(HeadsView(scores.top(2))), matrix(None)
    cells = ~a.in_domain
    cells[:, a.test.index("delta-ar")] = False
    out, gain = a.mean(DEFAULT_METRIC, cells), difference(a, b, DEFAULT_METRIC).mean(cells)
    assert f"<b>{out.value:.3f}</b>" in stats(
        app
    ) and f"<b>{number(100 * gain.value, 1, signed=True)} points</b>" in stats(app)


def test_ranked_images_can_be_told_apart(open_app: Open, synthetic: Workspace) -> None:
    """Contributions of one head are small: of three decimals, one would be left; distances from
    the average real image are shown in their place."""
    app = open_app(
        synthetic.path, "heads", train="beta-diff", validate="delta-ar", head="0.0", part="Images"
    )
    images = attention.extremes(synthetic, (0, 0), "beta-diff", "difference")
    shown = [f"{one:.3f}" for one in images["deviation"]]
    assert not app.exception and all(f">{one}<" in stats(app) for one in shown)
    assert len(set(shown)) == images["row"].nunique()


def test_heads_are_chosen_jointly_where_that_is_asked_for(
    open_app: Open, synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes longer than all the rest of a first visit."""
    asked: list[str] = []
    joint = attention.joint_heads

    def noted_joint(workspace: Workspace, train: str, validation: str) -> tuple[Head, ...]:
        asked.append(train)
        return joint(workspace, train, validation)

    monkeypatch.setattr(attention, "joint_heads", noted_joint)
    open_app(synthetic.path, "heads", train="beta-diff", validate="delta-ar")
    assert not asked
    for control in ({"way": "chosen jointly"}, {"part": "Several together"}):
        open_app(synthetic.path, "heads", train="beta-diff", validate="delta-ar", **control)
        assert asked.pop() == "beta-diff" and not asked


@pytest.mark.parametrize("says", ["weights", "mean"])
@pytest.mark.parametrize("shows", ["Out of domain", "In-domain"])
def test_every_control_by_link(open_app: Open, synthetic: Workspace, says: str, shows: str) -> None:
    app = open_app(
        synthetic.path,
        "heads",
        train="gamma-diff",
        validate="alpha-gan",
        says=says,
        shows=shows,
        head="1.2",
        way="chosen jointly",
        k="4",
        bank="vocabulary",
    )
    assert not app.exception and not app.error and not app.warning
    assert "Head 1.2 in words" in [header.value for header in app.subheader]
    app = open_app(synthetic.path, "heads", train="gamma-diff", ablate=["0.0", "1.1"])
    assert not app.exception and not app.error and not app.warning
    assert "20 controls" in text_of(app)


def test_words_are_corrected_for_all_heads_on_demand(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "heads", train="beta-diff", head="1.1", part="Words")
    assert "for this head alone, one of 6 that could be opened" in text_of(
        app
    ) and "Corrected for the choice" not in text_of(app)
    app = open_app(synthetic.path, "heads", train="beta-diff", head="1.1", every="1")
    result = heads_words(synthetic, Lexicon.of(synthetic), "beta-diff").set_index("head")
    assert not app.exception and not app.error
    corrected = p_text(result["p_all_heads"]["1.1"])
    assert f"Corrected for the choice among 6 heads: {corrected} for this head" in text_of(app)


def test_heads_are_validated_where_there_are_most_fakes(
    open_app: Open, synthetic: Workspace, tmp_path: Path
) -> None:
    def more_to_validate(table: pd.DataFrame) -> None:
        mine = table.index[table["generator"] == "delta-ar"]
        table.loc[mine[:4], "split"] = "val"

    app = open_app(
        with_images(synthetic.path, tmp_path / "w", more_to_validate), "heads", train="beta-diff"
    )
    assert not app.exception and "validation images of `delta-ar`" in text_of(app)


def test_broken_query_shows_the_default_and_says_so(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(
        synthetic.path,
        "heads",
        head="99.99",
        train="beta-diff",
        validate="beta-diff",
        k="nine",
        ablate="x",
    )
    assert not app.exception and not app.error and len(app.warning) == 4


def test_a_single_generator_is_one_sentence(
    open_app: Open, synthetic: Workspace, tmp_path: Path
) -> None:
    def one_left(table: pd.DataFrame) -> None:
        table.loc[
            table["generator"].isin(["beta-diff", "gamma-diff", "delta-ar"]),
            ["label", "generator", "family"],
        ] = [0, "", ""]

    app = open_app(with_images(synthetic.path, tmp_path / "w", one_left), "heads")
    assert noted(app, "second generator")


def test_without_text_banks_only_the_words_are_missing(
    open_app: Open, synthetic: Workspace, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(synthetic.path, tmp_path / "w"))
    write_manifest(path, json.loads((path / "workspace.json").read_text()) | {"text": {}})
    app = open_app(path, "heads", ablate="0.0")
    assert "20 controls" in text_of(app)
    app = app.segmented_control(key="part").select("Words").run()
    assert noted(app, "precompute text")


def test_without_heads_one_sentence(open_app: Open, synthetic: Workspace, tmp_path: Path) -> None:
    path = without_heads(Path(shutil.copytree(synthetic.path, tmp_path / "w")))
    app = open_app(path, "heads")
    assert noted(app, "precompute encode")
