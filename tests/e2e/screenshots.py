"""Pictures of every page for the documentation: ``python -m tests.e2e.screenshots [STEM ...]``
writes docs/screenshots.

On the embedded demo, at 1440 px, light and dark, and at 800 px. Local images are kept out and the
network is blocked, so that pictures show the previews and no dataset's pixels.
"""

import argparse
import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from benchmarks._app_in_browser import App
from benchmarks._server import FLAGS, OFFLINE, Server, chromium
from tests.conftest import ROOT
from ui.toolkit.router import PAGES

TARGET = ROOT / "docs" / "screenshots"
VIEWS = {
    "transfer": {"train": "sd-1.4", "test": "midjourney-2022"},
    "audit": {"test": "dalle-2"},
    "inspect": {"image": "imagenet/sd-1.4/0835d81d9d35.jpg", "without": "11.1"},
}
"""Query of each page's picture, where its default view is not the most telling."""
SHOTS = (("light", 1440), ("dark", 1440), ("light", 800))
HEIGHT = 1400


def take(stems: list[str]) -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = Server(None, Path(folder) / "log.txt")
        server.wait()
        browser = playwright.chromium.launch(executable_path=chromium(), args=[*FLAGS, OFFLINE])
        for stem in stems:
            for scheme, width in SHOTS:
                app = App(browser, server.url, width=width, height=HEIGHT, scheme=scheme).open(
                    stem, **VIEWS.get(stem, {})
                )
                save(app.page.screenshot(), TARGET / f"{stem}-{scheme}-{width}.png")
                app.close()
        browser.close()
        server.stop()


def save(png: bytes, file: Path) -> None:
    """As a palette PNG: a fifth of the size, and no difference to be seen on flat colours."""
    Image.open(io.BytesIO(png)).convert("RGB").quantize(
        160, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
    ).save(file, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.screenshots", description=__doc__)
    parser.add_argument("stems", nargs="*", metavar="STEM", choices=[*PAGES, []])
    take(parser.parse_args().stems or list(PAGES))
