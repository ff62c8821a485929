"""A page's findings as one HTML file that needs no network: question, answer, numbers, figures,
tables, protocol.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from html import escape
from importlib.metadata import version

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from aigi_core import __version__
from aigi_core.figures import LIGHT, alt_text, for_paper
from aigi_core.statements import counted
from aigi_core.workspace import Workspace
from ui.toolkit import tables
from ui.toolkit.drawings import Draw
from ui.toolkit.images import Tile, grid_html

OPENS_CONTROLS = (
    '<details class="aigi-controls"><summary><span>Change what is shown</span>'
    "<span>Close the controls</span></summary></details>"
)
"""Opens and shuts the bar of controls on a narrow screen, by the style sheet alone; always the same
text, so that it stays as it is while the page runs."""
SCROLLS = (
    '<p class="aigi-scrolls" tabindex="0">Wider than the screen: scroll this figure sideways.</p>'
)
"""Above a figure with a least width, shown where the screen is narrower; the keyboard scrolls the
figure from here."""
FIRST, LAST = ("train", "test", "d1", "d2"), ("protocol", "encoder")
"""Names of controls, for :func:`settings_in_words`."""
SHOWN = 2000
"""Rows of a table that a report holds."""


@dataclass(frozen=True)
class Stat:
    """One number with what makes it readable.

    Attributes:
        value: formatted, with its unit.
        interval: ends of its 95% interval (formatted with ``number``), or None where the value is
            a count.
        n: what was counted, e.g. ``"210 pairs"``.
        help: the term explained, shown on hover.
    """

    label: str
    value: str
    n: str = ""
    interval: tuple[float, float] | None = None
    help: str = ""
    number: str = ".3f"

    @property
    def details(self) -> tuple[str, ...]:
        """Its interval and its n, as far as there are any."""
        form = re.sub(r"^(\+?)", r"\1z", self.number)  # never "-0.000"
        low, high = self.interval or (0.0, 0.0)
        span = f"95% interval {low:{form}} to {high:{form}}" if self.interval else ""
        return tuple(part for part in (span, self.n) if part)


@dataclass
class Report:
    """What a page has drawn in this run, in order, and how it was made."""

    question: str
    answer: str = ""
    stats: list[Stat] = field(default_factory=list)
    settings: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Name of a control of the whole page -> its label and value, in words."""
    protocol: dict[str, str] = field(default_factory=dict)
    parts: list[tuple[str, Draw | pd.DataFrame | Sequence[Tile] | int | None]] = field(
        default_factory=list
    )
    """(title, drawing, table or images); a number: the title is a heading of that level; None: it
    is a remark."""
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    """Figure's name -> the numbers behind it."""
    formats: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """Name of a figure or table -> formats of its columns."""


def citation(workspace: Workspace) -> str:
    """BibTeX entries of the paper and of this software, with the workspace's digest."""
    return f"""@article{{gaintseva2024improving,
  title   = {{Improving Interpretability and Robustness for the Detection of AI-Generated Images}},
  author  = {{Gaintseva, Tatiana and Kushnareva, Laida and Magai, German and Piontkovskaya, Irina
             and Nikolenko, Sergey and Benning, Martin and Barannikov, Serguei
             and Slabaugh, Gregory}},
  journal = {{arXiv preprint arXiv:2406.15035}},
  year    = {{2024}},
  url     = {{https://arxiv.org/abs/2406.15035}}
}}

@software{{aigi_explorer,
  title   = {{AIGI Explorer}},
  author  = {{{{The authors of AIGI Explorer}}}},
  year    = {{{date.today():%Y}}},
  version = {{{__version__}}},
  note    = {{workspace digest {workspace.digest}}}
}}"""


def versions() -> dict[str, str]:
    """Versions of what computed the findings."""
    packages = ("numpy", "scipy", "pandas", "scikit-learn", "plotly", "streamlit")
    return {"aigi-explorer": __version__, "python": platform.python_version()} | {
        p: version(p) for p in packages
    }


def render(report: Report, workspace: Workspace, link: str) -> str:
    """The report as a self-contained HTML page. Names, captions and values are escaped."""
    encoder = workspace.encoder
    about = {
        "Workspace": f"{workspace.name}, digest {workspace.digest}",
        "Encoder": (
            f"{encoder.get('library')} {encoder.get('model')} ({encoder.get('pretrained')}), "
            f"weights SHA-256 {str(encoder.get('weights_sha256'))[:16]}…"
        ),
        **({"Settings": settings_in_words(report.settings)} if report.settings else {}),
        **report.protocol,
        "Versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
        "Link": link,
    }
    body = [
        f"<h1>{escape(report.question)}</h1>",
        f"<p class=answer>{escape(report.answer)}</p>",
        stats_html(report.stats),
    ]
    for title, part in report.parts:
        if isinstance(part, pd.DataFrame):
            body.append(_table(title, part, report.formats.get(title)))
        elif isinstance(part, list):
            body.append(grid_html(workspace, part))
        elif part is None:
            body.append(f"<p>{escape(title)}</p>")
        elif isinstance(part, int):
            body.append(f"<h{part}>{escape(title)}</h{part}>")
        elif callable(part):
            figure = for_paper(part)
            figure.update_layout(width=None)
            body.append(
                f'<figure aria-label="{escape(alt_text(figure), quote=True)}">{_div(figure)}'
                f"<figcaption>{escape(alt_text(figure))}</figcaption></figure>"
            )
            if (numbers := report.tables.get(title)) is not None:
                name = f"Table of this figure ({counted(len(numbers), 'row')})"
                body.append(_table(name, numbers, report.formats.get(title), folded=True))
    body.append(f"<h2>How this was made</h2>{_definitions(about)}")
    return _document(report.question, "\n".join(body))


def _table(
    title: str, table: pd.DataFrame, formats: Mapping[str, str] | None, *, folded: bool = False
) -> str:
    """A table in words and rounded, its name as a heading; folded where it repeats a figure."""
    name = tables.column_title(title).capitalize()
    html = tables.html(table.head(SHOWN), formats, alt=name, sorts=False)
    if len(table) > SHOWN:
        name += f": the first {counted(SHOWN, 'row')}, in all {len(table):,}"
    if folded:
        return f"<details><summary>{escape(name)}</summary>{html}</details>"
    return f"<h4>{escape(name)}</h4>{html}"


def figure_html(figure: go.Figure, title: str) -> str:
    """One figure as a self-contained, interactive HTML page."""
    return _document(title, f"{_div(figure)}<p>{escape(alt_text(figure))}</p>")


def stats_html(stats: Sequence[Stat]) -> str:
    """Numbers in a row: label, value, then interval and n."""
    items = "".join(
        f"<div><dt>{_term(s)}</dt><dd><b>{escape(s.value)}</b>"
        f"<span>{''.join(f'<bdi>{escape(part)}</bdi>' for part in s.details)}</span></dd></div>"
        for s in stats
    )
    return f'<dl class="aigi-stats">{items}</dl>' if items else ""


def _term(stat: Stat) -> str:
    label = escape(stat.label)
    if not stat.help:
        return label
    return (
        f"<details class=aigi-term><summary>{label}</summary><p>{escape(stat.help)}</p></details>"
    )


def settings_in_words(settings: Mapping[str, tuple[str, str]]) -> str:
    """What a page shows: first what detectors were trained and tested on, last what seldom
    changes."""
    first = [name for name in FIRST if name in settings]
    last = [name for name in LAST if name in settings]
    between = [name for name in settings if name not in first + last]
    return "; ".join(": ".join(settings[name]) for name in first + between + last)


def settings_html(settings: Mapping[str, tuple[str, str]]) -> str:
    """The same for the line that stands for the bar of controls on a narrow screen."""
    return f'<p class="aigi-settings">{escape(settings_in_words(settings))}</p>'


def foot_html(workspace: Workspace | None, verified: str, run: int) -> str:
    """The last line of a page: what it was made from, and whether its files were verified."""
    parts = [workspace.name, f"digest {workspace.digest}", verified] if workspace else []
    about = f"{', '.join(filter(None, parts))} · " if workspace else ""
    return f'<p class="aigi-foot" data-run="{run}">{escape(about)}AIGI Explorer {__version__}</p>'


def _definitions(about: Mapping[str, str]) -> str:
    return (
        "<dl class=about>"
        + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in about.items())
        + "</dl>"
    )


def _quoted(text: str) -> str:
    return f'"{escape(text, quote=True)}"'


def _div(figure: go.Figure) -> str:
    config = {"displaylogo": False, "responsive": True}
    html = figure.to_html(
        full_html=False, include_plotlyjs=False, include_mathjax=False, config=config
    )
    return str(html)


def _document(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta'
        f' charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
        f"<script>{get_plotlyjs()}</script></head><body><main>{body}</main></body></html>"
    )


_STYLE = f"""
body{{margin:0;background:{LIGHT.paper};color:{LIGHT.ink};
font:16px/1.5 "Source Sans 3","Source Sans Pro",system-ui,sans-serif}}
main{{max-width:1100px;margin:0 auto;padding:2rem 1.5rem 4rem}}
h1,h2,h3{{font-family:"Source Serif 4",Georgia,serif;font-weight:600;line-height:1.2}}
h2{{margin-top:2.2rem;font-size:1.3rem}} h3{{margin-top:1.6rem;font-size:1.1rem}}
.answer{{font-size:1.2rem;max-width:46em}}
figure{{margin:1.5rem 0}}
figcaption,.about{{color:{LIGHT.muted};font-size:.9rem}}
.aigi-stats{{display:flex;flex-wrap:wrap;gap:1.2rem 2.4rem;margin:1rem 0}}
.aigi-stats dd{{margin:0}} .aigi-term p{{margin:.2rem 0;font-size:.85rem}}
.aigi-stats b{{display:block;font-size:1.5rem;
font-variant-numeric:tabular-nums}} .aigi-stats bdi{{display:block}}
.aigi-stats span,.aigi-stats dt{{color:{LIGHT.muted};font-size:.9rem}}
.aigi-table{{overflow-x:auto}} .aigi-table bdi{{white-space:nowrap}}
summary{{cursor:pointer;color:{LIGHT.muted}}}
.aigi-grid{{display:grid;grid-template-columns:repeat(auto-fill,minmax(120px,1fr));gap:.8rem}}
.aigi-tile{{margin:0;font-size:.8rem}} .aigi-tile figcaption span{{display:block}}
.aigi-picture{{display:block;aspect-ratio:1;overflow:hidden;background:center/cover no-repeat}}
.aigi-picture img{{width:100%;height:100%;object-fit:contain}}
.aigi-tile button{{all:unset;display:block;width:100%}}
table{{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}}
td,th{{padding:.25rem .6rem;text-align:left;vertical-align:top;
border-bottom:1px solid {LIGHT.grid}}} .aigi-number{{text-align:right}}
.aigi-columns{{font-size:.85rem;color:{LIGHT.muted}}}
.about dt{{font-weight:600}} .about dd{{margin:0 0 .5rem;overflow-wrap:anywhere}}
"""
