"""Page objects: what a user does and reads, without selectors in the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Dialog, Locator, Page, expect

NOT_OURS = (
    '[data-testid="stSidebarHeader"]',
    '[data-testid="stToolbar"]',
    '[data-testid="stHeader"]',
    ".modebar",
    '[data-testid="stDataFrame"]',
    '[data-testid="stElementToolbar"]',
)
"""Parts drawn by Streamlit and plotly themselves, which the app cannot mend; axe leaves them
out.
"""
DRAWN = """(before) => {
  const app = document.querySelector('[data-testid=stApp]')
  const foot = document.querySelector('.aigi-foot')
  return app && foot && app.dataset.testConnectionState === 'CONNECTED'
    && app.dataset.testScriptState === 'notRunning'
    && Number(foot.dataset.run) > before && !document.querySelector('[data-testid=stSkeleton]')
    && [...document.querySelectorAll('[data-testid=stPlotlyChart]')]
      .every(c => c.querySelector('.main-svg'))
    && performance.now()
}"""
"""When (ms) a run of the script after that of this number had ended and everything was drawn;
false before that."""
PRESSED = """for (const kind of ['pointerdown', 'keydown'])
  addEventListener(kind, () => { window.aigiPressed = performance.now() }, {capture: true})"""
"""Keeps when a key or button was last pressed: what Playwright does before it presses (it looks
for the place, waits until it stands still, moves the mouse) is no time of the app's."""


STILL = """() => {
  const figures = [...document.querySelectorAll('.stMain .js-plotly-plot')]
  const main = document.querySelector('.stMain')
  const boxes = [main, ...figures].map(box => box.getBoundingClientRect())
  const now = JSON.stringify([main.scrollHeight, ...boxes])
  const moving = document.getAnimations().some(one =>
    one.playState === 'running' && one.effect.getComputedTiming().iterations !== Infinity)
  const fit = figures.every(f => Math.abs(f._fullLayout.width - f.clientWidth) < 2)
  const same = !moving && fit && window.aigiBoxes === now
  window.aigiBoxes = now
  window.aigiStill = same ? (window.aigiStill ?? 0) + 1 : 0
  return window.aigiStill >= 12
}"""
"""Whether every figure is drawn for the room it has, and nothing has moved for a dozen frames."""


class App:
    """One browser session with the app."""

    def __init__(
        self,
        browser: Browser,
        url: str,
        *,
        width: int = 1440,
        height: int = 1000,
        scheme: Any = "light",
    ) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        self.base = url
        self.page.add_init_script(PRESSED)
        self.took = 0.0
        """Seconds from the last click or key to the end of its redraw, by the browser's clock."""
        self.dialogs: list[str] = []
        self.page.on("dialog", self._dismiss)

    def close(self) -> None:
        self.context.close()

    def _dismiss(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def resize(self, width: int, height: int) -> App:
        """Give the window another size, in px."""
        self.page.set_viewport_size({"width": width, "height": height})
        return self

    def open(self, stem: str = "", **query: str | list[str]) -> App:
        """Go to a page by its link."""
        self.page.goto(f"{self.base}/{stem}{'?' + urlencode(query, doseq=True) if query else ''}")
        return self.settled()

    def settled(self) -> App:
        """Wait until the script has run and everything is drawn."""
        self.page.wait_for_function(DRAWN, arg=0)
        return self

    def still(self) -> App:
        """Wait until the page is drawn for the window's new size and nothing moves."""
        self.page.evaluate("window.aigiStill = 0")
        self.page.wait_for_function(STILL)
        return self

    @contextmanager
    def redrawn(self) -> Iterator[None]:
        """Wait until what is done inside has made the script run once more and everything is
        drawn.
        """
        before = int(self.page.locator(".aigi-foot").get_attribute("data-run") or 0)
        start = self.page.evaluate("performance.now()")
        yield
        drawn = self.page.wait_for_function(DRAWN, arg=before).json_value()
        pressed = self.page.evaluate("window.aigiPressed ?? 0")
        self.took = (drawn - max(start, pressed)) / 1000

    @property
    def title(self) -> str:
        return self.page.locator("h1").inner_text()

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.page.url).query, keep_blank_values=True)

    @property
    def errors(self) -> list[str]:
        return self.page.locator('[data-testid="stAlertContentError"]').all_inner_texts()

    @property
    def stats(self) -> dict[str, tuple[str, str]]:
        """Label -> (value, details) of the numbers under the answer."""
        return {
            block.locator("dt").inner_text(): (
                block.locator("b").inner_text(),
                block.locator("dd span").inner_text(),
            )
            for block in self.page.locator(".aigi-stats > div").all()
        }

    def chart(self, name: str) -> Locator:
        return self.page.locator(f".st-key-figure-{name}")

    def click_cell(self, name: str, row: int, column: int) -> None:
        """Click a heatmap's cell, counted from the top left."""
        chart = self.chart(name)
        plot = chart.locator(".nsewdrag").first
        rows, columns = chart.locator(".ytick").count(), chart.locator(".xtick").count()
        box = plot.bounding_box()
        assert box and rows and columns
        x, y = box["width"] * (column + 0.5) / columns, box["height"] * (row + 0.5) / rows
        with self.redrawn():
            plot.click(position={"x": x, "y": y})  # where the plot then is, once it stands still

    def click_point(self, name: str, number: int, trace: int = 0) -> None:
        """Click a point of a scatter, counted from 0 in the order of its data."""
        point = (
            self.chart(name)
            .locator(".scatterlayer .trace")
            .nth(trace)
            .locator(".point")
            .nth(number)
        )
        with self.redrawn():
            point.click(force=True)  # plotly lays a plane over its points which takes the click

    def fill(self, label: str, line: str) -> None:
        """Type into a text field and press Enter."""
        field = self.page.get_by_role("textbox", name=label)
        field.fill(line)
        with self.redrawn():
            field.press("Enter")

    def show_part(self, title: str) -> None:
        """Open another part of the page."""
        with self.redrawn():
            self.page.locator(".st-key-part").get_by_role("radio", name=title).click()

    def press(self, button: str) -> None:
        """Click a button that makes the page run anew."""
        with self.redrawn():
            self.page.get_by_role("button", name=button).click()

    def switch(self, toggle: str) -> None:
        """Turn a toggle on or off, by the keyboard."""
        self.page.get_by_role("switch", name=toggle).focus()
        with self.redrawn():
            self.page.keyboard.press("Space")

    def back(self) -> None:
        """The browser's Back button."""
        with self.redrawn():
            self.page.go_back()

    def forward(self) -> None:
        """The browser's Forward button."""
        with self.redrawn():
            self.page.go_forward()

    def choose(self, label: str, option: str) -> None:
        """Choose in a select box by the keyboard alone."""
        self.choose_in(self.page.get_by_role("combobox", name=label), option)

    def choose_in(self, field: Locator, option: str) -> None:
        """As :meth:`choose`, in a field already found."""
        self.bring(field)
        field.focus()
        field.fill(option)
        self.page.get_by_role("option", name=option, exact=True).first.wait_for()
        with self.redrawn():
            if self.page.get_by_role("option").count() == 1:
                self.page.keyboard.press("Enter")
            else:  # other options hold the same words, and Enter would take the first
                self.page.get_by_role("option", name=option, exact=True).first.click()
        self.page.keyboard.press(
            "Escape"
        )  # a list to choose several from stays open, and hides the page meanwhile

    def enter(self, label: str, line: str) -> None:
        """Type what is not on offer into a select box that takes new options, and press Enter."""
        field = self.page.get_by_role("combobox", name=label)
        self.bring(field)
        field.focus()
        field.fill(line)
        with self.redrawn():
            field.press("Enter")

    def slide(self, label: str, key: str) -> None:
        """Move a slider by a key."""
        knob = self.page.get_by_role("slider", name=label)
        knob.focus()
        with self.redrawn():
            knob.press(key)

    def follow(self, link: str) -> None:
        """Click a link between pages."""
        with self.redrawn():
            self.page.get_by_test_id("stMain").get_by_role("link", name=link).click()

    @property
    def fits(self) -> bool:
        """Whether nothing is cut off sideways."""
        return bool(
            self.page.evaluate(
                "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            )
        )

    def bring(self, field: Locator) -> None:
        """Scroll to it and let the page come to rest: scrolling shuts an open list."""
        field.scroll_into_view_if_needed()
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def selected(self, label: str) -> str:
        return self.page.get_by_role("combobox", name=label).input_value()

    def alt(self, name: str) -> str:
        """The alternative text of a chart."""
        result = (
            self.chart(name)
            .locator("[aria-label], [alt]")
            .evaluate_all(
                "all => all.map(e => e.getAttribute('aria-label') || e.getAttribute('alt'))"
            )
        )
        return " ".join(result)

    def share_link(self) -> str:
        """The link that the Share control offers, once it is the address bar's."""
        self.page.get_by_test_id("stPopover").get_by_role("button", name="Share").click()
        shown = self.page.get_by_test_id("stPopoverBody").locator("code").first
        expect(shown).to_have_text(self.page.url)
        return shown.inner_text()

    def download_report(self) -> str:
        """The findings as HTML."""
        self.page.get_by_test_id("stPopover").get_by_role("button", name="Share").click()
        with self.page.expect_download() as waiting:
            self.page.get_by_role("button", name="Findings as HTML report").click()
        self.page.keyboard.press("Escape")
        return Path(waiting.value.path()).read_text("utf-8")

    def downloads(self, name: str) -> Locator:
        """What is offered beneath a figure, opened."""
        more = self.page.locator(f".st-key-figure-{name}-more")
        if not more.locator("details[open]").count():
            more.locator("summary").click()
        return more

    def download(self, name: str, button: str) -> str:
        """A file from beneath a figure."""
        more = self.downloads(name)
        wanted = more.get_by_role("button", name=button)
        wanted.wait_for()
        self.settled()  # opening it runs a part of the page, which draws the button anew
        with self.page.expect_download() as waiting:
            wanted.click()
        return Path(waiting.value.path()).read_text("utf-8")

    def navigate(self, name: str) -> None:
        """Go to another page by the sidebar."""
        with self.redrawn():
            self.page.get_by_test_id("stSidebar").get_by_role("link", name=name).click()

    def navigate_folded(self, stem: str) -> None:
        """As :meth:`navigate`, where the window is too narrow for the sidebar to stay open."""
        link = self.page.locator(f'[data-testid=stSidebarNavLink][href$="/{stem}"]')
        with self.redrawn():
            link.dispatch_event("click")

    def wait_for_query(self, name: str, value: str | None) -> None:
        """Until the address bar says so."""
        self.page.wait_for_function(
            "([name, value]) => new URLSearchParams(location.search).get(name) === value",
            arg=[name, value],
        )
        self.settled()

    def violations(self) -> list[str]:
        """Serious and critical findings of axe in what the app itself draws."""
        result = (
            Axe()
            .run(self.page, context={"exclude": [[selector] for selector in NOT_OURS]})
            .response["violations"]
        )
        return [
            f"{v['id']} ({v['impact']}): {v['help']}: {[n['html'][:160] for n in v['nodes'][:3]]}"
            for v in result
            if v["impact"] in ("serious", "critical")
        ]
