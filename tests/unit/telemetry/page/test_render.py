"""The HTML: whole, escaped, paged, and quick with 10,000 sources."""

from __future__ import annotations

import re
import shlex
import time
from html.parser import HTMLParser

import pytest

from connector.model import LastDelivery, LastError, Partition, Position
from connector.telemetry.health import Health
from connector.telemetry.page import Board, TargetReport
from connector.telemetry.page.contents import Contents
from connector.telemetry.page.render import SOURCES_A_PAGE, file, html
from connector.telemetry.tally import Tally
from tests.pages import HOSTILE, contents, source

VOID = {"meta", "link", "input"}


class Reader(HTMLParser):
    """Every tag with its attributes, and the text; complains about what is not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        assert [] == self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag == self._open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: Contents, query: str = "") -> Reader:
    return Reader(html(page, query).decode())


def names(page: Contents, query: str = "") -> list[str]:
    """The sources on the page, in their order."""
    text = html(page, query).decode()
    table = text[text.index('id="sources"') :]
    return re.findall(r'<th scope="row" class="source">(.*?)</th>', table)


def test_it_is_whole_before_anything_is_known() -> None:
    """It is looked at when something is wrong, which may be the start."""
    page = read(Contents(name="b", board=Board(), health=Health(), versions={}))

    assert "Starting: the consumer group has not said yet which partitions are ours." in page.text
    assert "This process has no partition." in page.text


def test_the_sentence_knows_a_dead_letter_as_soon_as_the_issues_do() -> None:
    """And not only with the next sample of the charts, some seconds later."""
    tally = Tally()
    board = Board(tally)
    board.report(0.0, partitions=(), targets=())
    tally.dead_lettered += 1
    position = Position(Partition("orders", 0), 7)
    board.dead_lettered(position, code="template_null", source=None, message="nothing")
    page = read(Contents(name="b", board=board, health=Health(), versions={}))

    assert "template_null" in page.text
    assert "1 record was dead-lettered in the last 15 minutes" in page.text


def test_names_are_text_and_never_markup() -> None:
    """Names of sources and topics come from records; so may what stands in a message."""
    hostile = source(HOSTILE, "PENDING")._replace(
        last_delivery=LastDelivery(1, HOSTILE, HOSTILE), last_error=LastError(1, HOSTILE, HOSTILE)
    )
    plain, hostile_page = read(contents([source("a", "PENDING")])), read(contents([hostile], text=HOSTILE))

    def shape(page: Reader) -> list[str]:
        return sorted({tag for tag, _ in page.tags})

    assert shape(plain) == shape(hostile_page)
    assert not [attrs for _, attrs in hostile_page.tags if any(name.startswith("on") for name in attrs)]
    shown = HOSTILE.encode("utf-8", "replace").decode()
    assert hostile_page.text.count(shown) > 10


def test_a_query_of_more_fields_than_there_are_is_no_bug() -> None:
    """Anyone may type one; the page shows what it shows without."""
    contents = Contents(name="b", board=Board(), health=Health(), versions={})

    assert b"<main" in html(contents, "&".join(["a"] * 30))


def test_nothing_is_inline() -> None:
    """The Content-Security-Policy would keep a browser from it."""
    page = read(contents([source("a")]))

    scripts = [attrs for tag, attrs in page.tags if tag == "script"]
    assert [{"src": "page.js", "defer": None}] == scripts
    assert "style" not in {tag for tag, _ in page.tags}
    assert not [attrs for _, attrs in page.tags if "style" in attrs]


def test_its_files_are_there() -> None:
    assert b"prefers-color-scheme: dark" in file("page.css")
    assert b"setInterval" in file("page.js")


def test_the_commands_of_an_issue_survive_a_shell() -> None:
    """Ready to copy, whatever the names hold."""
    page = contents(text="it's; rm -rf $HOME `x`")
    commands = re.findall(r"partner-bridge dead-letters .*", read(page).text)

    first = ["partner-bridge", "dead-letters", "list", "--code", "it's; rm -rf $HOME `x`"]
    assert first == shlex.split(commands[0])[:5]
    assert ["list", "replay", "replay"] == [shlex.split(command)[2] for command in commands]
    assert ["--execute" in command for command in commands] == [False, False, True]


def test_open_letters_are_shown_where_they_are_counted() -> None:
    """The number of letters written never falls; this one does, with each replay."""
    assert "Open, of this code" not in read(contents()).text

    page = contents(open_letters={"orders": 1234})

    assert '<td class="n open">1,234</td>' in html(page, "").decode()
    assert "Letters are those that this process wrote since it started" in read(page).text
    assert "Open, of this code counts the whole dead-letter topic" in read(page).text


def test_what_happened_within_a_second_happened_just_now() -> None:
    """And not 0 ms ago."""
    assert "just now" in read(contents()).text
    assert " 0 " not in " ".join(re.findall(r"[^<>]+ ago", html(contents(), "").decode()))


def test_problems_link_to_their_entry_of_the_runbook() -> None:
    """Or name it, where it is not known to be published."""
    page = read(contents(runbook_url="https://wiki.example.com/runbook"))
    links = [attrs.get("href") for tag, attrs in page.tags if tag == "a"]

    assert "https://wiki.example.com/runbook#partnerbridgetargetdown" in links
    assert "runbook: PartnerBridgeTargetDown" in read(contents()).text


# Sources


MANY = [source(f"acme/{number:05}", "PENDING" if number % 100 == 7 else "ACTIVE") for number in range(250)]


def test_throttling_links_to_its_entry_of_the_runbook() -> None:
    """Whichever of its codes it has."""
    tally = Tally()
    board, health = Board(tally), Health()
    health.assigned(1)
    for second, throttled in ((0.0, 0), (1.0, 50)):
        target = TargetReport("eu", "throttled", None, 0, 0, 0, answered=throttled, throttled=throttled)
        board.report(second, partitions=[], targets=[target])
        tally.retry("SlowDown", 50)
    health.sent_again(board.sent_again)
    text = read(Contents(name="b", board=board, health=health, versions={})).text

    assert "50 of the 50 entries of the last 1 s failed (SlowDown) and are sent again" in text
    assert "runbook: PartnerBridgeThrottled" in text


def test_sources_are_paged() -> None:
    """A hundred at a time, those that need somebody first."""
    page = contents(MANY)
    shown = [names(page, f"page={number}") for number in (1, 2, 3)]

    assert [SOURCES_A_PAGE, SOURCES_A_PAGE, 50] == [len(each) for each in shown]
    assert ["acme/00007", "acme/00107", "acme/00207", "acme/00000"] == shown[0][:4]
    assert {each.source for each in MANY} == {name for each in shown for name in each}
    assert "250 of 250 sources, page 2 of 3." in read(page, "page=2").text


@pytest.mark.parametrize("number", ["0", "-1", "99", "x", "1e9", "9" * 40, "²", ""])
def test_a_page_that_is_not_there_is_the_nearest(number: str) -> None:
    """Addresses are typed, and kept while the list gets shorter."""
    assert names(contents(MANY), f"page={number}")


def test_sources_are_searched() -> None:
    """By a part of the name, in any case, or by the account."""
    page = contents([source("acme/a"), source("Umbrella/b", "PENDING"), source("acme/c", "MISSING", held=3)])

    assert ["acme/c", "acme/a"] == names(page, "q=ACME")
    assert ["Umbrella/b"] == names(page, "q=umbrella")
    assert 3 == len(names(page, "q=1111"))
    assert ["acme/c", "Umbrella/b"] == names(page, "state=not+active")
    assert ["Umbrella/b"] == names(page, "state=PENDING")
    assert ["acme/c"] == names(page, "state=held")
    assert ["Umbrella/b", "acme/a", "acme/c"] == names(page, "sort=name")
    assert 3 == len(names(page, "state=nonsense&sort=nonsense"))


def test_the_links_between_pages_keep_the_search() -> None:
    page = read(contents(MANY), "q=acme&state=ACTIVE&sort=name&page=2")
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a" and attrs.get("rel")]

    assert [f"?q=acme&state=ACTIVE&sort=name&page={number}#sources" for number in (1, 3)] == links


def test_ten_thousand_sources_and_two_hundred_partitions_are_quick() -> None:
    """A page is made while events are delivered, on the same processor. CPU, since the machine is shared."""
    page = contents(
        [source(f"acme/{number}", "PENDING" if number % 9 == 0 else "ACTIVE") for number in range(10_000)]
    )
    page.board.partitions = [
        page.board.partitions[0]._replace(partition=Partition("t", n)) for n in range(200)
    ]
    html(page, "")  # the template is read once
    taken_s = []
    for query in ("", "q=77&state=PENDING&sort=held", "page=100&sort=since"):
        begun_s = time.thread_time()
        html(page, query)
        taken_s.append(time.thread_time() - begun_s)

    assert max(taken_s) < 0.2


def test_a_page_in_the_making_offers_the_processor_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen without: the loop waited 5 ms at each call of the system, 50 ms for a request."""
    offered: list[float] = []
    monkeypatch.setattr(time, "sleep", offered.append)
    html(contents([source(f"acme/{number}") for number in range(10_000)]), "")

    assert {0} == set(offered)
    assert len(offered) > 40
