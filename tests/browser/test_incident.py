"""An incident from the page alone: what is wrong, the command to copy, and the count that falls."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import urllib3
from playwright.sync_api import Browser, expect

from connector.sandbox.client import SandboxClient
from connector.sandbox.server import free_port
from tests.browser.conftest import CLIPBOARD
from tests.pages import without_numbers
from tests.services.child import Child, wait_until
from tests.shell import Shell, sandbox_shell

pytestmark = pytest.mark.long

EXAMPLE = Path(__file__).parents[2] / "examples" / "sandbox" / "bridge.yaml"
ORDER = {"id": 1, "tenant": "acme", "status": "PAID", "updated_at": "2026-11-29T10:00:00Z"}
PATIENCE_MS = 60_000


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with sandbox_shell(tmp_path) as shell:
        yield shell


@pytest.fixture
def url(shell: Shell) -> Iterator[str]:
    """Where a real bridge has its page; it counts open letters every second."""
    SandboxClient(shell.environ["PARTNER_BRIDGE_SANDBOX_URL"]).create_topic("orders")
    text = EXAMPLE.read_text().replace("create: true}", "create: true, count_open_every: 1s}")
    (shell.folder / "bridge.yaml").write_text(text)
    port = free_port()
    (shell.folder / "sandbox.yaml").write_text(
        shell("sandbox", "config", "bridge.yaml", "--http-port", str(port))
    )
    command = [sys.executable, "-m", "connector", "run", "--config", "sandbox.yaml"]
    bridge = Child(command, log=shell.folder / "bridge.log", environ=shell.environ, folder=shell.folder)
    bridge.start()
    wait_until(lambda: readyz(f"http://127.0.0.1:{port}") == {}, what=bridge.tail, timeout_s=20)
    yield f"http://127.0.0.1:{port}"
    assert 0 == bridge.stop(), bridge.tail()


def readyz(url: str) -> dict[str, str] | None:
    """The reasons why a bridge is not ready; None while it does not answer."""
    try:
        body = urllib3.request("GET", f"{url}/readyz", timeout=5, retries=False).json()
    except urllib3.exceptions.HTTPError:
        return None
    reasons: dict[str, str] = body["reasons"]
    return reasons


def test_broken_records_are_seen_and_sent_again_by_what_the_page_shows(
    chromium: Browser, shell: Shell, url: str
) -> None:
    """The person whom the alert woke needs the page, a terminal and the mapping, and nothing else."""
    broken = [ORDER | {"tenant": None, "id": number} for number in range(3)]
    shell("sandbox", "produce", "orders", fed="".join(f"{json.dumps(each)}\n" for each in [ORDER, *broken]))
    page = chromium.new_page(permissions=CLIPBOARD)
    page.goto(url)
    issue = page.get_by_role("row").filter(has_text="template_null")

    expect(issue.locator(".open")).to_have_text("3", timeout=PATIENCE_MS)
    expect(page.get_by_role("heading", level=1)).to_contain_text("3 records were dead-lettered in the last")
    issue.get_by_text("Commands").click()
    issue.get_by_role("button", name="Copy").last.click()
    page.wait_for_function("navigator.clipboard.readText()")
    command = shlex.split(page.evaluate("navigator.clipboard.readText()"))

    mapped = shell.folder / "sandbox.yaml"
    assert "${value.tenant}" in mapped.read_text()
    mapped.write_text(mapped.read_text().replace("${value.tenant}", "${value.tenant || 'acme'}"))
    assert "partner-bridge" == command[0]
    shell(*command[1:])

    expect(issue.locator(".open")).to_have_text("0", timeout=PATIENCE_MS)
    events = json.loads(shell("sandbox", "events", "--wait", "4", "--timeout", "60", "--json"))["events"]
    assert 4 == len(events)
    page.close()


OUTAGES: dict[str, Callable[[SandboxClient], None]] = {
    "EventBridge": lambda sandbox: sandbox.fault("unavailable"),
    "Kafka": lambda sandbox: sandbox.set_kafka_down(down=True),
}
"""Two of those that tests/integration holds the same page against, without a browser."""


@pytest.mark.parametrize("outage", OUTAGES)
def test_an_outage_comes_into_the_first_sentence_by_itself(
    chromium: Browser, shell: Shell, url: str, outage: str
) -> None:
    """Of a page that is open, as it refreshes; in the words of `/readyz`, and it goes away likewise."""
    sandbox = SandboxClient(shell.environ["PARTNER_BRIDGE_SANDBOX_URL"])
    page = chromium.new_page()
    page.goto(url)
    sentence = page.get_by_role("heading", level=1)
    expect(sentence).to_contain_text("nothing stands in the way")

    OUTAGES[outage](sandbox)
    shell("sandbox", "produce", "orders", fed=f"{json.dumps(ORDER)}\n", code=4 if outage == "Kafka" else 0)
    expect(sentence).to_contain_text("Not ready", timeout=PATIENCE_MS)
    shown = without_numbers(sentence.inner_text())
    assert all(without_numbers(reason).rstrip(".") in shown for reason in (readyz(url) or {}).values())

    sandbox.clear()
    expect(sentence).to_contain_text("nothing stands in the way", timeout=PATIENCE_MS)
    page.close()
