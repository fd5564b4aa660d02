"""The pictures of the page in the docs: a real bridge at work in the sandbox, seen by a real browser.

make screenshots
"""

from __future__ import annotations

import re
import tempfile
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page

from connector.sandbox.demo import FAULTS, Account, DemoBridge, produce
from connector.sandbox.services import Sandbox
from tests.browser.chromium import browser
from tests.services.child import listening, wait_until

FOLDER = Path(__file__).parents[2] / "docs" / "images"
ROUNDS, RECORDS = 4, 1000
"""Batches of orders, so that there is something over time."""


class Picture(NamedTuple):
    """A window, and the file that it is kept in."""

    name: str
    width: int
    height: int
    scheme: Literal["light", "dark"]
    section: str | None = None
    """The heading that is scrolled to; the first of what can be opened there is open."""


PICTURES = (
    Picture("page.png", 1280, 900, "light"),
    Picture("page-phone.png", 380, 760, "dark"),
    Picture("page-letters.png", 1280, 900, "light", section="Dead letters"),
)


def _has(page: Page, events: int) -> bool:
    """Whether so many were delivered, as the page says."""
    found = re.search(r"Events delivered: ([\d,]+)", page.locator("main").inner_text())
    return found is not None and int(found[1].replace(",", "")) >= events


def take(chromium: Browser, url: str, folder: Path) -> None:
    """Keep each picture of the page at `url` in a folder."""
    folder.mkdir(exist_ok=True)
    for picture in PICTURES:
        size = {"width": picture.width, "height": picture.height}
        page = chromium.new_page(viewport=size, color_scheme=picture.scheme)  # type: ignore[arg-type]
        page.goto(url)
        if picture.section:
            section = page.get_by_role("region", name=picture.section, exact=True)
            section.locator("summary").first.click()
            section.evaluate("each => each.scrollIntoView()")
        page.screenshot(path=folder / picture.name)
        page.close()


def main() -> None:
    """Run the demo, and take the pictures while it is at work."""
    with (
        tempfile.TemporaryDirectory(prefix="orders-bridge-") as folder,
        browser() as chromium,
        Sandbox() as sandbox,
        DemoBridge(sandbox, Path(folder)) as bridge,
    ):
        sandbox.eventbridge.script(FAULTS)
        port = urlsplit(bridge.url).port or 0
        wait_until(lambda: listening(port), what="the bridge answers")
        page = chromium.new_page()
        page.goto(f"{bridge.url}/")
        for number in range(1, ROUNDS + 1):
            produce(sandbox, Account(), RECORDS)
            wait_until(partial(_has, page, int(0.9 * number * RECORDS)), what="its orders are delivered")
        page.close()
        take(chromium, f"{bridge.url}/", FOLDER)


if __name__ == "__main__":
    main()
