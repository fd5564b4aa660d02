"""What the bridge hands over: how far a partition is behind, and dead letters as issues."""

from __future__ import annotations

import pytest

from connector.model import Partition, Position
from connector.telemetry.page import Board, TargetReport, board
from connector.telemetry.page.board import MAX_ISSUES, MIN_ANSWERED
from connector.telemetry.tally import Tally

ORDERS = Partition("orders", 3)


@pytest.fixture(autouse=True)
def now_ms(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The time by the calendar, to be set."""
    now = [1_000_000]
    monkeypatch.setattr(board, "now_ms", lambda: now[0])
    return now


def test_a_partition_without_lag_is_not_behind() -> None:
    """Nor is one whose lag is not known; what it works on has its own age."""
    state = Board()

    assert (0.0, None) == state.behind(ORDERS, 0, read_ms=5, waits_s=0.0)
    assert (0.2, None) == state.behind(ORDERS, None, read_ms=5, waits_s=0.2)


def test_a_backlog_is_as_old_as_the_record_that_was_read_last(now_ms: list[int]) -> None:
    """A bridge that was down for an hour begins an hour behind, and says since when it works on that."""
    state = Board()
    state.behind(ORDERS, 9_000, read_ms=None, waits_s=0.0)
    now_ms[0] += 2_000

    assert (600.0, 1_000_000) == state.behind(ORDERS, 8_000, read_ms=now_ms[0] - 600_000, waits_s=1.0)


def test_a_record_after_a_long_silence_is_not_as_old_as_the_one_before(now_ms: list[int]) -> None:
    """The last record read is from yesterday; the one that is not read yet is of this moment."""
    state = Board()
    yesterday_ms = now_ms[0] - 86_400_000
    state.behind(ORDERS, 0, read_ms=yesterday_ms, waits_s=0.0)
    state.behind(ORDERS, 1, read_ms=yesterday_ms, waits_s=0.0)
    now_ms[0] += 3_000

    assert (3.0, 1_000_000) == state.behind(ORDERS, 2, read_ms=yesterday_ms, waits_s=0.0)


def test_a_partition_that_comes_back_begins_anew(now_ms: list[int]) -> None:
    """Another process may have worked it off meanwhile."""
    state = Board()
    state.behind(ORDERS, 1, read_ms=None, waits_s=0.0)
    state.forget([ORDERS])
    now_ms[0] += 60_000

    assert (0.0, now_ms[0]) == state.behind(ORDERS, 1, read_ms=None, waits_s=0.0)


def test_dead_letters_of_one_cause_are_one_issue(now_ms: list[int]) -> None:
    """Code, source and topic in common; the example is the last of them."""
    state = Board()
    for offset in (7, 9):
        state.dead_lettered(Position(ORDERS, offset), code="oversize", source="acme", message="too large")
        now_ms[0] += 500
    state.dead_lettered(Position(ORDERS, 8), code="oversize", source=None, message="x" * 5_000)

    (first, second) = state.issues.items()
    assert ("oversize", "acme", "orders") == first[0]
    assert (2, 1_000_000, 1_000_500, "orders[3]@9") == (*first[1][:3], str(first[1].position))
    assert (("oversize", None, "orders"), 300) == (second[0], len(second[1].message))


def test_issues_are_bounded() -> None:
    """A record can name any source. The one seen last is kept, however old."""
    state = Board()
    for number in range(MAX_ISSUES + 20):
        state.dead_lettered(Position(ORDERS, number), code="oversize", source=f"s{number}", message="")
        state.dead_lettered(Position(ORDERS, number), code="decode", source=None, message="")

    assert MAX_ISSUES == len(state.issues)
    assert 21 == state.issues_forgotten
    assert ("decode", None, "orders") in state.issues


def test_totals_are_kept_every_five_seconds() -> None:
    """It is told about once a second."""
    tally = Tally()
    state = Board(tally)
    for second in range(11):
        tally.deliver("eu", 10)
        tally.time_request("eu", 0.02)
        target = TargetReport("eu", "up", None, 1, 2, 0, answered=10 * second, throttled=second)
        state.report(float(second), partitions=[], targets=[target])

    assert [10, 60, 110] == [each.delivered for each in state.history.samples]
    assert (110, 100, 10) == state.history.samples[-1].targets["eu"]
    assert {"eu": (0.02, 0.02)} == state.percentiles


def test_it_delivers_while_something_was_delivered_in_the_last_seconds() -> None:
    """The rate is that of a minute, and stays for as long."""
    tally = Tally()
    state = Board(tally)

    def after(second: float, *, accepted: int) -> bool:
        tally.deliver("eu", accepted)
        state.report(second, partitions=[], targets=[])
        return state.is_delivering

    assert not state.is_delivering
    assert [False, True, True] == [after(0, accepted=9), after(1, accepted=1), after(5, accepted=0)]
    assert [True, False] == [after(9, accepted=0), after(10, accepted=0)]


def test_a_brown_out_is_said_with_its_share_and_reason() -> None:
    """A fifth of what was sent in the last seconds, as for the alert; what was before counts no more."""
    tally = Tally()
    state = Board(tally)

    def after(second: float, *, accepted: int, again: int) -> str | None:
        tally.deliver("eu", accepted)
        tally.retry("InternalFailure", again)
        state.report(second, partitions=[], targets=[])
        return state.sent_again

    assert after(0, accepted=1_000, again=1_000) is None
    assert after(1, accepted=80, again=20) is None
    said = "21 of the 101 entries of the last 2 s failed (InternalFailure) and are sent again"
    assert said == after(2, accepted=0, again=1)
    assert after(5, accepted=0, again=0) == said.replace("2 s", "5 s")
    assert after(10, accepted=0, again=0) is None


def failed(*failures: tuple[str, int], throttled: int = 0) -> Board:
    """A board to which these codes were reported in this order, since its last sample."""
    tally = Tally()
    state = Board(tally)
    tally.retry("unavailable", 10_000)
    for second, count in ((0.0, 0), (2.0, throttled)):
        target = TargetReport("eu", "up", None, 0, 0, 0, answered=10_000 + count, throttled=70 + count)
        state.report(second, partitions=[], targets=[target])
        if not second:
            for code, entries in failures:
                tally.retry(code, entries)
    return state


def test_a_failure_of_few_entries_is_no_brown_out() -> None:
    """Where little is sent, one failure is a large share, and passes."""
    assert failed(("InternalFailure", MIN_ANSWERED - 1)).sent_again is None
    assert failed(("InternalFailure", MIN_ANSWERED)).sent_again is not None


def test_the_reason_of_a_brown_out_is_the_most_frequent_one() -> None:
    """And not the last one."""
    state = failed(("ThrottlingException", 999), ("InternalFailure", 1), throttled=999)

    said = "1,000 of the 1,000 entries of the last 2 s failed (mostly ThrottlingException) and are sent again"
    assert (said, True) == (state.sent_again, state.is_throttled)


def test_entries_of_a_request_that_is_split_have_not_failed() -> None:
    """The request was too large, or one of them makes it invalid; smaller ones are accepted."""
    assert failed(("request_too_large", 500), ("request_refused", 500)).sent_again is None


@pytest.mark.parametrize("code", ["throttled", "SlowDown", "TooManyRequestsException"])
def test_throttling_is_known_by_any_code(code: str) -> None:
    """By what the target counts as throttled: the codes have no word in common."""
    assert failed((code, 100), throttled=100).is_throttled
    assert failed((code, 60), ("InternalFailure", 40), throttled=60).is_throttled
    assert not failed((code, 40), ("InternalFailure", 60), throttled=40).is_throttled
    assert not failed((code, 5), throttled=5).is_throttled
