"""The page in a real browser: for everybody, without its script, up to date, and with hostile names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from connector.model import LastError
from tests.browser.conftest import CLIPBOARD, Serve
from tests.pages import HOSTILE, contents, source

pytestmark = pytest.mark.long

NARROW, WALL = 380, 2560

REFRESH_MS = 6_000
"""It refreshes every 5 s."""

HANG_S = 60.0
"""Far longer than it waits for an answer."""


@contextmanager
def opened(chromium: Browser, url: str, *, width: int = 1280, **options: Any) -> Iterator[Page]:
    """The page in a window of its own; fails where the browser complains, as of what the policy forbids."""
    with chromium.new_context(viewport={"width": width, "height": 900}, **options) as context:
        page = context.new_page()
        page.clock.install()  # so that five seconds pass at once
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.goto(url)
        yield page
        assert [] == complaints


@pytest.mark.parametrize("width", [NARROW, WALL])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_for_everybody(
    chromium: Browser, serve: Serve, scheme: Literal["light", "dark"], width: int
) -> None:
    """axe finds nothing: contrast, landmarks, names, table headers, keyboard. Nothing sticks out."""
    many = [source(f"acme/{number}", "PENDING" if number % 9 == 0 else "ACTIVE") for number in range(250)]
    url = serve(contents(many, open_letters={"orders": 2}, runbook_url="https://wiki.example.com/runbook"))
    with opened(chromium, f"{url}?page=2", width=width, color_scheme=scheme) as page:
        for details in page.locator("details").all():
            details.evaluate("each => each.open = true")
        found = Axe().run(page)

        assert 0 == found.violations_count, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_hostile_names_are_read_and_not_run(chromium: Browser, serve: Serve) -> None:
    """No dialog, no request, no complaint of the policy: it was text all along."""
    hostile = source(HOSTILE, "PENDING")._replace(last_error=LastError(1, HOSTILE, HOSTILE))
    with opened(chromium, serve(contents([hostile], text=HOSTILE))) as page:
        expect(page.get_by_role("rowheader", name="<script>alert(1)</script>").first).to_be_visible()
        assert 0 == page.locator("main script, main img").count()


def test_it_is_whole_without_its_script(chromium: Browser, serve: Serve) -> None:
    """Search by keyboard alone; what the script does is not offered."""
    url = serve(contents([source("acme/a"), source("umbrella/b", "PENDING")]))
    with opened(chromium, url, java_script_enabled=False) as page:
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to what is going on")).to_be_focused()
        page.get_by_role("searchbox").focus()
        page.keyboard.type("umb")
        page.keyboard.press("Enter")

        expect(page.get_by_text("1 of 2 sources.")).to_be_visible()
        expect(page.get_by_role("rowheader", name="umbrella/b")).to_be_visible()
        expect(page.get_by_role("checkbox")).to_be_hidden()


def test_it_brings_itself_up_to_date_and_disturbs_nobody(chromium: Browser, serve: Serve) -> None:
    """What was opened stays open, what is being typed stays; while somebody types nothing changes."""
    shown = contents()
    with opened(chromium, serve(shown)) as page:
        sentence, search = page.get_by_role("heading", level=1), page.get_by_role("searchbox")
        page.get_by_text("Commands for orders").click()
        search.focus()
        page.keyboard.type("acm")
        shown.health.report("kafka", "no broker answers")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.clock.run_for(REFRESH_MS)

        expect(search).to_have_value("acm")
        assert [] == asked

        search.blur()
        page.clock.run_for(REFRESH_MS)
        expect(sentence).to_contain_text("Not ready: no broker answers")
        expect(page.get_by_text("dead-letters replay").first).to_be_visible()

        page.get_by_role("checkbox").uncheck()
        asked.clear()
        page.clock.run_for(REFRESH_MS)
        assert [] == asked


def test_each_button_copies_its_command(chromium: Browser, serve: Serve) -> None:
    """As it is to be pasted into a shell, whatever the names hold; also after a refresh."""
    with opened(chromium, serve(contents(text="it's <b>`x`")), permissions=CLIPBOARD) as page:
        page.get_by_text("Commands for it's").click()
        page.clock.run_for(REFRESH_MS)
        page.get_by_role("checkbox").uncheck()
        copied = []
        for number in range(1, 4):
            page.get_by_role("button", name="Copy").first.click()
            expect(page.get_by_role("button", name="Copied")).to_have_count(number)
            copied.append(page.evaluate("navigator.clipboard.readText()"))

        assert page.locator(".command code").all_text_contents() == copied
        assert ["list", "replay", "replay"] == [shlex.split(each)[2] for each in copied]


def test_it_says_when_the_bridge_answers_no_more(chromium: Browser, serve: Serve) -> None:
    """A page that stands still must not look like a bridge that is well."""
    with chromium.new_context() as context:
        page = context.new_page()
        page.clock.install()
        page.goto(serve(contents()))
        page.route("**/*", lambda route: route.abort())
        page.clock.run_for(REFRESH_MS)

        expect(page).to_have_title("(no answer) orders-bridge – partner-bridge")
        sentence = page.get_by_role("heading", level=1)
        expect(sentence).to_have_text(
            re.compile(r"No answer from the bridge\. What is below is as of 2.*Z\.")
        )
        page.unroute_all()
        page.clock.run_for(REFRESH_MS)

        expect(page).to_have_title("orders-bridge – partner-bridge")
        expect(sentence).to_contain_text("target orders takes nothing")


def test_it_says_when_the_bridge_accepts_and_does_not_answer(chromium: Browser, serve: Serve) -> None:
    """A process that hangs keeps its port open, and a network that drops packets says nothing either."""
    answers = Event()
    answers.set()
    url = serve(replace(contents(), configuration=lambda: str(answers.wait(HANG_S))))
    with chromium.new_context() as context:
        page = context.new_page()
        page.clock.install()
        page.goto(url)
        answers.clear()
        page.clock.run_for(REFRESH_MS)
        sentence = page.get_by_role("heading", level=1)
        try:
            expect(sentence).to_contain_text("No answer from the bridge.", timeout=HANG_S * 1_000 / 2)
        finally:
            answers.set()
        page.clock.run_for(REFRESH_MS)

        expect(sentence).to_contain_text("target orders takes nothing")


def test_it_can_be_printed(chromium: Browser, serve: Serve) -> None:
    """Black on white, without what only a screen has use for."""
    with opened(chromium, serve(contents([source("acme/a")])), color_scheme="dark") as page:
        page.emulate_media(media="print")

        expect(page.get_by_role("navigation").first).to_be_hidden()
        expect(page.get_by_role("searchbox")).to_be_hidden()
        colours = page.evaluate("getComputedStyle(document.body).color")
        assert "rgb(0, 0, 0)" == colours
