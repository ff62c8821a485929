'''Shared Streamlit code: what every page needs and no page should write itself.

How to write a page
-------------------
A page is ``pages/<stem>.py`` and its line in ``ui/toolkit/router.py``. It reads controls, calls the
library, draws:

    """Geometry: does the shape of the embedding space tell how well detectors transfer?"""
    from functools import partial
    import ui
    from aigi_core import figures, geometry

    @ui.cached                                       # once per workspace digest and parameters, for
    all sessions; def shape(workspace, generator): ...             # arguments: the workspace and
    plain values, never arrays

    with ui.page(__file__) as page:                  # first: deep-link guard, title, error handling
        with page.controls():                        # one row; names are the query string's and
        carry over
            train = page.generator("train", "Trained on")
            metric = page.select("metric", "Metric", {"Accuracy": "accuracy", "AUC": "auc"})
            removed = page.slider("removed", "Components removed", 0, 384, 0)
        result = shape(page.workspace, train)
        page.answer(f"Detectors of {ui.name(train)} ...")        # above the fold, whenever it is
        called page.stats([ui.Stat("IsoScore", ".031", n="384 dimensions", interval=(.028, .035),
        help="...")]) with page.section("By generator"):           # an error in here leaves the
        rest of the page standing
            draw = partial(figures.heatmap, frame, alt="...", selected=(train, test))
            page.figure("matrix", draw, table=frame_long, clicks=("train", "test"))
        page.images([ui.Tile(row, ["score .93", "called fake"], tone="wrong") for row in rows])
        page.link("words", "Its words", train=train)
        page.protocol(splits="trained on train, tested on test", classifier="...")

- Shared control names: ``train``, ``test`` (generators), ``metric``, ``view`` (feature view),
  ``bias``, ``head`` (``"layer.index"``), ``image`` (a row's path). Use them with the same meaning
  everywhere; values at their default stay out of the URL; a value that a link asks for and the
  workspace lacks is reported and the default shown.
- Every ``draw`` takes ``theme=``; ui picks light or dark for the screen and light for exports.
  Clicks report a point's ``customdata``. A figure that takes ``styles``, the generators' colours,
  is given as ``page.styled(draw)``. Use ``partial``, not a lambda: figures are drawn once and kept
  by the content of their arguments.
- Names go through ``ui.name`` in markdown (``ui.inert`` for a whole sentence of theirs) and
  ``figures.label`` in figures; the image grid escapes them itself.
- Raise ``AigiError`` with one sentence; the page shows it. Anything else is logged and shown
  without its trace.
- Detectors, scores, matrices and words that several pages need are in ``ui.results``, cached once
  for all of them.
- No arithmetic, no torch, no open_clip on a page. Slow work: ``ui.cached`` under ``saying``.
- Tests: ``tests/pages/test_<stem>.py`` with the fixture ``open_app`` (AppTest) for the states, and
  a page object in ``tests/e2e/`` for clicks; every page is opened by deep link on a fresh server
  and checked by axe there. ``python -m tests.e2e.screenshots <stem>`` takes its pictures at two
  widths, light and dark: look at them.'''

from ui.toolkit import threads  # noqa: F401  (first: before numerical libraries are loaded)
from ui.toolkit.controls import acted, set_control, set_controls
from ui.toolkit.frame import ICON, frame, tab_title
from ui.toolkit.images import Tile
from ui.toolkit.kept import cached
from ui.toolkit.page import Page, inert, name, open_part, page
from ui.toolkit.report import Report, Stat
from ui.toolkit.router import PAGES, ROOT, guard, link, navigation, start
from ui.toolkit.tables import DIFFERENCE, OWN_UNITS

__all__ = [
    "DIFFERENCE",
    "ICON",
    "OWN_UNITS",
    "PAGES",
    "ROOT",
    "Page",
    "Report",
    "Stat",
    "Tile",
    "acted",
    "cached",
    "frame",
    "guard",
    "inert",
    "link",
    "name",
    "navigation",
    "open_part",
    "page",
    "set_control",
    "set_controls",
    "start",
    "tab_title",
]
