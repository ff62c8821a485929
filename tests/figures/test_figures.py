"""Figures are pure functions: same result in, same figure out, names inert, colours steady."""

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from plotly.colors import hex_to_rgb, sample_colorscale

from aigi_core import figures
from aigi_core.figures import DARK, LIGHT, Theme
from aigi_core.figures.points import scatter
from aigi_core.figures.theme import oklch

NASTY = "<b>x</b><script>alert(1)</script> %{x}"
NAMES = ["a", NASTY, "c"]
rng = np.random.default_rng(0)
MATRIX = pd.DataFrame(rng.random((3, 3)), NAMES, NAMES)
POINTS = pd.DataFrame(
    {
        "name": NAMES,
        "value": 0.6,
        "low": 0.5,
        "high": 0.7,
        "n": 9,
        "x": [0.0, 1, 2],
        "y": [1.0, 2, 3],
    }
)
WORDS = pd.DataFrame(
    {
        "text": NAMES,
        "category": NASTY,
        "cosine": [0.3, 0.2, 0.1],
        "p_value": [0.01, 0.5, 1.0],
        "null_low": 0.05,
        "null_high": 0.15,
        "explained": [0.5, 0.2, 0.1],
    }
)

DRAWINGS: dict[str, Callable[[Theme], go.Figure]] = {
    "heatmap": lambda theme: figures.heatmap(
        MATRIX,
        alt="words",
        row_families=["gan", "gan", "diffusion"],
        column_families=["gan", "gan", "diffusion"],
        selected=("a", NASTY),
        faint=MATRIX > 0.5,
        theme=theme,
    ),
    "curves": lambda theme: figures.curves(
        [figures.Curve(n, np.arange(5.0), rng.random(5), np.zeros(5), np.ones(5)) for n in NAMES],
        alt="words",
        x_title="x",
        y_title="y",
        chance=0.5,
        at=2,
        theme=theme,
    ),
    "roc": lambda theme: figures.roc(
        [
            figures.Roc(
                NASTY, np.array([0, 0.2, 1]), np.array([0, 0.7, 1]), {NASTY: (0.2, 0.7)}, 9, 9
            )
        ],
        alt="words",
        theme=theme,
    ),
    "histogram": lambda theme: figures.score_histogram(
        rng.random(50), np.arange(50) % 2, alt="words", thresholds={NASTY: 0.4}, theme=theme
    ),
    "intervals": lambda theme: figures.intervals(
        POINTS, alt="words", value_title="v", reference=0.5, selected=NASTY, theme=theme
    ),
    "word_list": lambda theme: figures.word_list(WORDS, alt="words", theme=theme),
    "word_list without a null": lambda theme: figures.word_list(
        WORDS[["text", "cosine"]], alt="words", theme=theme
    ),
    "span_bars": lambda theme: figures.span_bars(WORDS, alt="words", theme=theme),
    "scatter": lambda theme: figures.scatter(
        POINTS, alt="words", x_title="x", y_title="y", selected=NASTY, theme=theme
    ),
}


def strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [s for key, v in value.items() if key != "customdata" for s in strings(v)]
    return (
        [s for v in value for s in strings(v)]
        if isinstance(value, list | tuple | np.ndarray)
        else []
    )


@pytest.mark.parametrize("name", DRAWINGS)
@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda t: t.name)
def test_names_are_inert_and_alt_is_there(name: str, theme: Theme) -> None:
    figure = DRAWINGS[name](theme)
    assert figures.alt_text(figure) == "words"
    assert figure.layout.template.layout.font.color == theme.ink
    result = strings(figure.to_dict())
    assert any("&lt;b&gt;x" in s for s in result)
    assert not any("<b>x" in s or "<script" in s or "script&gt; %{x}" in s for s in result)


def test_heatmap_cells_report_their_names_and_values() -> None:
    figure = figures.heatmap(MATRIX, alt="m", selected=("a", "c"))
    cells = figure.data[1]
    assert [list(c) for c in cells.customdata] == [[r, c] for r in NAMES for c in NAMES]
    assert list(zip(cells.y, cells.x, strict=True))[5] == (1, 2)
    assert (figure.data[0].zmin, figure.data[0].zmax) == (0, 1)
    outline = figure.layout.shapes[-1]
    assert (outline.path, outline.line.width) == ("M1.55,-0.45H2.45V0.45H1.55Z", 4)


def test_difference_is_centred_at_zero_and_faint_cells_fade() -> None:
    difference = MATRIX - 0.8
    figure = figures.heatmap(
        difference, alt="d", centre="zero", number="+.2f", faint=difference < 0
    )
    assert figure.data[0].zmin == -figure.data[0].zmax == -np.abs(difference.to_numpy()).max()
    texts = np.asarray(figure.data[1].text)
    assert all(
        t.startswith("<i>") == (v < 0)
        for t, v in zip(texts.ravel(), difference.to_numpy().ravel(), strict=True)
    )
    strong, faded = figure.data[0], figure.data[-1]
    assert faded.opacity < 0.5 and (np.isnan(strong.z) == ~np.isnan(faded.z)).all()


def test_percentage_points_have_one_decimal() -> None:
    frame = pd.DataFrame([[0.1234, -0.004]], ["a"], ["b", "c"])
    figure = figures.heatmap(frame, alt="d", centre="zero", percent=True)
    assert list(figure.data[1].text) == ["+12.3", "-.4"]
    assert figure.data[0].colorbar.ticktext == ("-12.3", "-6.2", "0", "+6.2", "+12.3")


def test_empty_cells_have_no_number() -> None:
    holes = MATRIX.copy()
    holes.iloc[0, 0] = np.nan
    figure = figures.heatmap(holes, alt="h")
    assert figure.data[1].text[0] == "" and "no value" in figure.data[1].hovertext[0]


def test_names_in_a_scatter_keep_apart() -> None:
    crowded = pd.DataFrame(
        {"name": ["left-one", "right-one", "far"], "x": [0.0, 0.01, 1.0], "y": [0.5, 0.5, 0.0]}
    )
    drawn = figures.scatter(crowded, alt="words", x_title="x", y_title="y")
    places = {trace.name: trace.textposition[0] for trace in drawn.data}
    assert places["left-one"] != places["right-one"]
    chosen = figures.scatter(
        crowded, alt="words", x_title="x", y_title="y", selected="far", reports=("name", "x")
    )
    assert [a.text for a in chosen.layout.annotations] == ["<b>far</b>"] and "far" not in [
        t.text[0] for t in chosen.data if t.text
    ]
    assert list(chosen.data[2].customdata[0]) == ["far", "1.0"]


def test_styles_are_distinct_and_steady() -> None:
    names = [f"g{i}" for i in range(15)]
    families = ["gan"] * 4 + ["autoregressive"] * 2 + ["diffusion"] * 8 + ["novel"]
    styles = figures.generator_styles(names, families)
    assert len({(s.colour, s.marker, s.dash) for s in styles.values()}) == 15
    markers = {
        f: {styles[n].marker for n, g in zip(names, families, strict=True) if g == f}
        for f in set(families)
    }
    assert not markers["gan"] & markers["diffusion"]
    assert styles == figures.generator_styles(names, families)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda t: t.name)
def test_contrast_on_paper(theme: Theme) -> None:
    """WCAG: text 4.5:1, graphical objects 3:1."""
    assert min(contrast(c, theme.paper) for c in (theme.ink, theme.muted)) >= 4.5
    styles = figures.generator_styles(
        [str(i) for i in range(30)], ["gan", "diffusion", "autoregressive"] * 10, theme
    )
    assert min(contrast(s.colour, theme.paper) for s in styles.values()) >= 3
    assert min(contrast(c, theme.paper) for c in (theme.accent, theme.real, theme.fake)) >= 3


def test_oklch_ends() -> None:
    assert (oklch(0, 0, 0), oklch(1, 0, 0)) == ("#000000", "#ffffff")
    assert re.fullmatch("#[0-9a-f]{6}", oklch(0.6, 0.3, 140))
    red = oklch(0.62796, 0.25768, 29.2339)  # sRGB red in OKLCH
    assert red in ("#ff0000", "#ff0100", "#ff0001", "#fe0000")


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda t: t.name)
@pytest.mark.parametrize("centre", ["chance", "zero", "none"])
def test_every_number_stands_out_from_its_cell(theme: Theme, centre: str) -> None:
    values = pd.DataFrame(np.linspace(-1 if centre == "zero" else 0, 1, 25).reshape(5, 5))
    figure = figures.heatmap(values, alt="m", centre=centre, theme=theme)  # type: ignore[arg-type]
    heat, numbers = figure.data[0], figure.data[1]
    place = (values.to_numpy().ravel() - heat.zmin) / (heat.zmax - heat.zmin)
    rgb = sample_colorscale(
        [[at, tuple(c / 255 for c in hex_to_rgb(colour))] for at, colour in heat.colorscale],
        place.tolist(),
        colortype="tuple",
    )
    cells = ["#" + "".join(f"{round(255 * c):02x}" for c in colour) for colour in rgb]
    assert min(contrast(a, b) for a, b in zip(cells, numbers.textfont.color, strict=True)) >= 4.5


def drawn_boxes(figure: go.Figure, width: float, height: float) -> tuple[list[str], np.ndarray]:
    """Names of a scatter and the boxes [left, bottom, right, top] in px that points and names take
    in a plot of this size; points first, without a name.
    """
    traces = [t for t in figure.data if t.text]
    spots = np.array([(x, y) for t in traces for x, y in zip(t.x, t.y, strict=True)])
    low, spread = spots.min(axis=0), np.ptp(spots, axis=0)

    def place(x: float, y: float) -> np.ndarray:
        return (np.array([x, y]) - low) / spread * (width, height)

    names, boxes = [""] * len(spots), [np.array([*place(*s) - 4, *place(*s) + 4]) for s in spots]
    shift = {"left": -1, "right": 1, "top": 1, "bottom": -1, "center": 0, "middle": 0}
    for t in traces:
        for x, y, text, position in zip(t.x, t.y, t.text, t.textposition, strict=True):
            if text:
                up, right = (shift[word] for word in position.split())
                half = np.array([2.8 * len(text), 6.5])
                centre = place(x, y) + np.array([right, up]) * (half + 4.5)
                names.append(text)
                boxes.append(np.array([*centre - half, *centre + half]))
    for note in figure.layout.annotations:
        text = note.text.removeprefix("<b>").removesuffix("</b>")
        half = np.array([2.8 * len(text), 6.5])
        way = {"left": 1, "right": -1, "bottom": 1, "top": -1, "center": 0, "middle": 0}
        centre = place(note.x, note.y) + np.array([note.xshift, note.yshift])
        centre += half * (way[note.xanchor], way[note.yanchor])
        names.append(text)
        boxes.append(np.array([*centre - half, *centre + half]))
    return names, np.array(boxes)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("width", [340, 500, 880])
def test_no_name_of_a_point_covers_a_point_or_a_name_or_leaves_the_plot(
    seed: int, width: int
) -> None:
    rng = np.random.default_rng(seed)
    names = [f"{'generator-of-images'[: rng.integers(3, 18)]}{i}" for i in range(12)]
    x, y = rng.uniform(0, 1, (2, 12))
    x[:3], y[:3] = (0.5, 0.51, 0.5), (0.5, 0.5, 0.56)  # a crowd around the selected one
    table = pd.DataFrame({"name": names, "x": x, "y": y})
    figure = scatter(table, alt="", x_title="x", y_title="y", selected=names[0])
    written, boxes = drawn_boxes(figure, width, 340)
    assert written[-1] == names[0] and sum(bool(name) for name in written) >= 7
    for i in range(len(table), len(boxes)):
        others = np.delete(boxes, i, axis=0)
        over = (boxes[i, :2] < others[:, 2:]).all(axis=1) & (others[:, :2] < boxes[i, 2:]).all(
            axis=1
        )
        assert not over.any(), (written[i], np.flatnonzero(over))
        assert -0.06 * width < boxes[i, 0] and boxes[i, 2] < 1.06 * width


def test_a_selected_point_in_a_crowd_keeps_its_name_and_the_others_go_to_the_hover_text() -> None:
    table = pd.DataFrame({"name": [f"generator-{i}" for i in range(20)]})
    table["x"] = table["y"] = np.linspace(0, 1e-9, 20)
    table.loc[19, ["x", "y"]] = 1.0
    figure = scatter(table, alt="", x_title="x", y_title="y", selected="generator-3")
    assert [note.text for note in figure.layout.annotations] == ["<b>generator-3</b>"]
    assert sum(bool(text) for trace in figure.data for text in trace.text or ()) < 10
    assert all("generator" in trace.hovertext[0] for trace in figure.data if trace.text)
