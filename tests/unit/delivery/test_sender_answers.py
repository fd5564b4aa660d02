"""The meaning of an answer for each entry of its request, for its source, and for the target."""

from __future__ import annotations

import pytest

from connector import config
from connector.delivery.pending import PendingEntry
from connector.delivery.rate import FAILURES_TO_OPEN, BreakerState
from connector.delivery.sender import TargetSender
from connector.errors import (
    ConfigError,
    ConnectorError,
    InvariantError,
    NotAuthorizedError,
    OversizeError,
    RefusedError,
    ThrottledError,
    UnavailableError,
)
from connector.ledger import OffsetTracker
from connector.model import Answer, Entry, InactivePolicy, Outcome, Record, Retriable
from tests.sender_rig import (
    FORBIDDEN,
    INTERNAL,
    P0,
    REFUSED,
    THROTTLED,
    UNKNOWN_SOURCE,
    YES,
    Finished,
    SenderRig,
    State,
    delivered,
    failed,
)
from tests.target_rig import NO_ANSWER, PENDING, START_S

# Answers that speak of each entry


def test_accepted_entries_are_delivered() -> None:
    """They count as settled, in one request that was ok."""
    rig = SenderRig()
    rig.add(0, 1, size_bytes=10)
    rig.send()
    assert rig.sender.is_busy
    result = rig.answer(YES, YES, seconds=0.125)

    assert ([0, 1], [], None) == (delivered(result), result.failed, result.halt)
    assert 2 == rig.sender.settled
    assert (0, 0) == rig.sender.inside
    assert [Finished("far", "ok", 0.125, entries=2, size_bytes=20)] == rig.telemetry.finished
    assert [] == rig.telemetry.retried
    assert not rig.sender.is_busy


def test_each_entry_has_the_verdict_of_its_own_result() -> None:
    """Delivered, sent again after a pause, or refused for good."""
    rig = SenderRig()
    rig.add(0, 1, 2, 3)
    rig.send()
    result = rig.answer(INTERNAL, YES, REFUSED, INTERNAL)

    assert [1] == delivered(result)
    assert [(2, "entry_refused")] == failed(result)
    assert "EventBridge refused the entry: InvalidArgument: no" == str(result.failed[0][1])
    assert result.halt is None
    assert 2 == rig.sender.settled
    assert [("far", "InternalFailure", 2)] == rig.telemetry.retried
    assert "partial" == rig.telemetry.finished[-1].outcome
    assert [] == rig.send(wait_s=0.099)
    assert [[0, 3]] == rig.send(wait_s=1.0)


def test_retried_entries_are_counted_by_their_codes() -> None:
    """Given-up ones are not among them."""
    rig = SenderRig(retry={"initial_interval": "1s", "max_attempts": 1})
    rig.add(0, 1, 2, 3)
    rig.send()
    rig.accept_beside()
    result = rig.answer(Retriable("unknown", "?"), INTERNAL, THROTTLED, INTERNAL, request=-2)

    assert [(0, "retries_exhausted")] == failed(result)
    assert [("far", "InternalFailure", 2), ("far", "ThrottlingException", 1)] == rig.telemetry.retried


def test_an_entry_whose_attempts_are_over_is_given_up_while_the_others_are_sent_again() -> None:
    """It is settled by that."""
    rig = SenderRig()
    rig.add(0, 1, key="key")
    results = []
    for _ in range(3):
        assert [[0, 1]] == rig.send(wait_s=8.0)
        rig.accept_beside()
        results.append(rig.answer(Retriable("unknown", "?"), INTERNAL, request=-2))

    assert [[], [], [(0, "retries_exhausted")]] == [failed(result) for result in results]
    assert [("far", "unknown", 1), ("far", "InternalFailure", 1)] == rig.telemetry.retried[:2]
    assert [("far", "InternalFailure", 1)] == rig.telemetry.retried[4:]
    assert 4 == rig.sender.settled
    assert [[1]] == rig.send(wait_s=8.0)


def test_the_pause_of_a_request_is_that_of_its_entry_that_failed_most() -> None:
    """From `retry.initial_interval` on it doubles."""
    rig = SenderRig(has_many_sources=False, retry={"initial_interval": "1s", "max_interval": "1000s"})
    rig.add(0)
    for tries in range(1, 8):
        assert [[0]] == rig.send()
        rig.answer(INTERNAL)
        wake_s = rig.sender.next_s(rig.now_s)
        assert wake_s is not None
        most = 2.0 ** (tries - 1)
        assert most / 10 <= round(wake_s - rig.now_s, 6) <= most
        rig.now_s = wake_s


def test_an_entry_of_a_partition_that_was_taken_away_is_not_sent_again() -> None:
    """Its next owner sends it."""
    rig = SenderRig()
    tracker = OffsetTracker(P0)
    rig.add(0, tracker=tracker)
    rig.send()
    assert rig.sender.carries({tracker})
    assert not rig.sender.carries({rig.tracker})
    tracker.is_open = False
    result = rig.answer(INTERNAL)

    assert ([], []) == (result.delivered, result.failed)
    assert not rig.sender.carries({tracker})
    assert [] == rig.send(wait_s=100)
    assert (0, 0) == rig.sender.inside


def test_entries_of_a_lost_partition_that_wait_for_their_next_attempt_can_be_discarded() -> None:
    """Its next owner has them."""
    rig = SenderRig(has_many_sources=False)
    lost = OffsetTracker(P0)
    rig.add(0, tracker=lost)
    rig.add(1)
    rig.send()
    rig.answer(INTERNAL, INTERNAL)

    assert [rig.entries[0]] == rig.sender.discard_waiting({lost})
    assert [[1]] == rig.send(wait_s=8.0)


def test_a_sender_without_further_settings_sends_unseen_to_a_single_source() -> None:
    """As for a topic whose source is one name, and that cannot be looked up. It is refused as a whole."""
    rig = SenderRig()
    sender = TargetSender(
        "far",
        config.Target(region="eu-central-1"),
        sink=rig.sink,
        telemetry=rig.telemetry,
        state_feed=rig.state_feed,
    )
    sender.expect("blue", "hold")
    rig.state_feed.news.append(("blue", NO_ANSWER, START_S))
    sender.step(START_S)
    record, entry = Record(P0, 0, None, None, None, ()), Entry("blue", "d", b"{}", 1)
    assert sender.add(PendingEntry(record, rig.tracker, entry, START_S), None, "hold") is None
    assert sender.add(PendingEntry(record, rig.tracker, entry, START_S), None) is None
    sender.send(START_S)
    [(_, batch_id, entries)] = rig.sink.sent

    assert [entry, entry] == entries
    assert [("far", "blue", "UNKNOWN")] == rig.telemetry.changed
    assert sender.handle_answer(batch_id, Answer((FORBIDDEN, FORBIDDEN), None, None, 0.1)).halt is not None


@pytest.mark.parametrize("policy", ["hold", "dead_letter"])
def test_a_verdict_about_a_source_closes_it_and_the_others_go_on(policy: InactivePolicy) -> None:
    """A customer that is not authorised halts nothing."""
    rig = SenderRig()
    rig.expect("blue", policy=policy)
    rig.add(0, 1, policy=policy)
    rig.add(2, source="acme")
    rig.send()
    result = rig.answer(FORBIDDEN, UNKNOWN_SOURCE, YES)

    assert ([2], None) == (delivered(result), result.halt)
    assert [] == result.failed
    assert [("far", "source_not_authorized", 1), ("far", "source_unknown", 1)] == rig.telemetry.retried
    assert ("blue", True) in rig.state_feed.followed
    assert (2, 4) == (rig.sender.held, rig.sender.held_bytes)
    assert rig.sender.is_holding
    rig.add(3, source="acme")
    assert [[3]] == rig.send(wait_s=100)


def test_entries_that_come_back_to_a_source_that_was_closed_meanwhile_are_given_up() -> None:
    """A lookup came while the request was in flight. The letter names the state."""
    rig = SenderRig()
    rig.expect("blue", policy="dead_letter")
    rig.add(0, 1, policy="dead_letter")
    rig.send()
    rig.state_feed.news.append(("blue", PENDING, rig.now_s))
    rig.sender.step(rig.now_s)
    result = rig.answer(YES, INTERNAL)

    assert [0] == delivered(result)
    assert [(1, "source_inactive")] == failed(result)
    assert "PENDING" in str(result.failed[0][1])
    assert 2 == rig.sender.settled
    assert (0, 0) == rig.sender.inside


# Verdicts about us


def test_where_every_entry_of_the_only_source_is_forbidden_the_bridge_halts() -> None:
    """Account, role or registration are wrong. Nothing is lost: all of it waits to be sent."""
    rig = SenderRig(has_many_sources=False)
    rig.add(0, 1)
    rig.send()
    result = rig.answer(FORBIDDEN, FORBIDDEN)

    assert isinstance(result.halt, NotAuthorizedError)
    assert str(result.halt) == (
        "EventBridge refuses entries with NotAuthorizedForSourceException: not yours. Nothing was lost; "
        "correct the account, role or registration and start again."
    )
    assert ([], []) == (result.delivered, result.failed)
    assert rig.sender.refuses_us
    assert [[0, 1]] == rig.send(wait_s=1)
    result = rig.answer(YES, YES)
    assert result.halt is None
    assert not rig.sender.refuses_us


@pytest.mark.parametrize("case", ["many sources", "accepted before", "not all of them"])
def test_where_anything_speaks_for_us_a_forbidden_source_is_the_sources_own(case: str) -> None:
    """Of many sources the first few may be those of customers that are not authorised."""
    rig = SenderRig(has_many_sources=case == "many sources")
    if case == "accepted before":
        rig.accept_other()
    rig.add(0, 1)
    rig.send()
    result = rig.answer(FORBIDDEN, FORBIDDEN if case != "not all of them" else INTERNAL)

    assert result.halt is None
    assert ("far", "source_not_authorized", 2 if case != "not all of them" else 1) in rig.telemetry.retried
    assert "NotAuthorizedForSourceException: not yours" in rig.sender.failing()[0].reason
    assert not rig.sender.refuses_us


def test_a_request_that_is_refused_for_our_credentials_halts_and_loses_nothing() -> None:
    """Where other targets go on, this one is down until it is put right."""
    rig = SenderRig()
    rig.add(0)
    error = NotAuthorizedError("AccessDeniedException")
    for _ in range(FAILURES_TO_OPEN):
        assert [[0]] == rig.send(wait_s=8.0)
        assert not rig.sender.is_down
        result = rig.fail(error)
        assert (error, []) == (result.halt, result.failed)
        assert rig.sender.refuses_us
        assert "halted" == rig.telemetry.finished[-1].outcome
        assert [] == rig.send(wait_s=0.049)

    assert rig.sender.is_down
    assert "AccessDeniedException" in str(rig.sender.problem(rig.now_s + 100))
    assert [[0]] == rig.send(wait_s=8.0)
    rig.answer(INTERNAL)
    assert rig.sender.refuses_us
    assert [[0]] == rig.send(wait_s=8.0)
    rig.answer(YES)
    assert not rig.sender.refuses_us
    assert not rig.sender.is_down


def test_an_answer_without_a_verdict_is_a_bug() -> None:
    """It stops the bridge rather than lose something."""
    rig = SenderRig()
    rig.add(0)
    rig.send()

    with pytest.raises(InvariantError, match="an answer carried ConfigError, which has no verdict"):
        rig.fail(ConfigError([]))


# Throttles


def test_a_throttled_request_waits_as_long_as_eventbridge_asks() -> None:
    """All its entries are sent again then, none is blamed, and the target is not down."""
    rig = SenderRig()
    rig.add(0, 1)
    rig.send()
    result = rig.fail(ThrottledError("slow down", code="ThrottlingException"), retry_after_s=3.0)

    assert ([], [], None) == (result.delivered, result.failed, result.halt)
    assert [("far", "ThrottlingException", 2)] == rig.telemetry.retried
    assert "throttled" == rig.telemetry.finished[-1].outcome
    assert State("far", BreakerState.OK, "throttled", "slow down", 3.0) == rig.telemetry.states[-1]
    assert not rig.sender.is_down
    assert rig.sender.is_backing_off
    assert rig.sender.is_held_up(rig.now_s)
    assert [] == rig.send(wait_s=2.999)
    assert [[0, 1]] == rig.send(wait_s=0.001)
    assert 0 == rig.entries[0].tries


@pytest.mark.parametrize(
    ("outcomes", "rate"),
    [
        ([YES, YES, YES, YES], 100),
        ([INTERNAL, INTERNAL, INTERNAL, INTERNAL], 100),
        ([THROTTLED, THROTTLED, THROTTLED, THROTTLED], 50),
        ([THROTTLED, THROTTLED, THROTTLED, INTERNAL], 63.75),
        ([INTERNAL, INTERNAL, THROTTLED, INTERNAL], 91.25),
    ],
    ids=["accepted", "failed", "all", "most", "few"],
)
def test_throttles_slow_the_target_down_by_the_share_of_entries(outcomes: list[Outcome], rate: float) -> None:
    """Accepted and failed ones do not."""
    rig = SenderRig(has_many_sources=False, max_requests_per_second=100)
    rig.add(*range(8))
    for _ in range(2):
        assert 4 == len(rig.send(wait_s=8)[0])
        rig.answer(*outcomes, request=-1 if len(rig.sender._in_flight) == 1 else -2)

    assert rate == pytest.approx(rig.sender._rate_control.rate)


ANSWERS: dict[str, tuple[ConnectorError | list[Outcome], bool]] = {
    "accepted": ([YES, YES], True),
    "some accepted": ([YES, INTERNAL], True),
    "the last accepted": ([INTERNAL, YES], True),
    "failed": ([INTERNAL, INTERNAL], False),
    "refused": (RefusedError("request_refused", "400"), False),
    "source unknown": (UnavailableError("Event Bus Not Found.", code="source_unknown"), False),
}


@pytest.mark.parametrize(("answer", "is_reset"), ANSWERS.values(), ids=ANSWERS)
def test_throttles_in_a_row_wait_ever_longer_until_something_is_accepted(
    answer: ConnectorError | list[Outcome], is_reset: bool
) -> None:
    """Other answers neither end that nor slow the target down."""
    rig = SenderRig(
        has_many_sources=False,
        max_requests_per_second=100,
        retry={"initial_interval": "1s", "max_interval": "10000s"},
    )
    rig.add(0, 1)
    for throttles in range(10):
        assert [[0, 1]] == rig.send(wait_s=2.0**throttles)
        rig.fail(ThrottledError("slow down"))
    rig.send(wait_s=10_000)
    rate = rig.sender._rate_control.rate
    assert rate is not None
    if isinstance(answer, ConnectorError):
        rig.fail(answer)
    else:
        rig.answer(*answer)
    assert rate <= (rig.sender._rate_control.rate or 0)
    rig.add(2)
    rig.send(wait_s=10_000)
    rig.fail(ThrottledError("slow down"))
    pause_s = rig.telemetry.states[-1].next_try_s

    assert (pause_s <= 1.0) == is_reset


def test_throttles_of_one_source_beside_accepted_others_slow_nothing_down() -> None:
    """They are that source's own: it rests."""
    rig = SenderRig(max_requests_per_second=100)
    for number in range(4):
        rig.add(10 * number, source="blue")
        rig.add(10 * number + 1, source="acme")
        requests = rig.send(wait_s=8)
        for request, offsets in enumerate(requests, start=-len(requests)):
            rig.answer(*(YES if offset % 10 else THROTTLED for offset in offsets), request=request)

    assert 100 == rig.sender._rate_control.rate
    assert "blue" == rig.sender.failing()[0].source
    assert rig.sender.is_holding


def test_throttles_of_a_source_that_takes_others_in_the_same_answer_slow_the_target_down() -> None:
    """By their share of the entries without those of the source that fails alone."""
    rig = SenderRig(max_requests_per_second=100)
    rig.add(0, source="blue")
    rig.add(1, 2, 3, source="acme")
    for _ in range(2):
        [offsets] = rig.send(wait_s=8)
        throttled = {0, max(offsets)}
        rig.answer(*(THROTTLED if offset in throttled else YES for offset in offsets))
        rig.add(4, 5, source="acme")

    assert pytest.approx(100 * (1 - 1 / 6) + 5 * 2 / 3) == rig.sender._rate_control.rate


# Requests that are too large or refused


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (OversizeError("request_too_large", "413"), "oversize"),
        (RefusedError("request_refused", "400"), "refused"),
    ],
    ids=["oversize", "refused"],
)
def test_a_request_that_is_refused_is_halved_until_the_culprit_is_alone(
    error: OversizeError | RefusedError, outcome: str
) -> None:
    """At once, without a pause. Only that one fails, and the others of its requests are delivered."""
    rig = SenderRig()
    rig.add(0, 1, 2, 3)
    assert [[0, 1, 2, 3]] == rig.send()
    assert [] == rig.fail(error).failed
    assert [("far", error.code, 4)] == rig.telemetry.retried
    assert outcome == rig.telemetry.finished[-1].outcome
    assert [[0, 1]] == rig.send()
    rig.add(4)
    assert [[2, 3]] == rig.send(wait_s=0.5)[:1]
    assert [] == rig.fail(error, request=1).failed
    assert [2, 3] == delivered(rig.answer(YES, YES, request=2))
    assert [[0], [1]] == rig.send()
    result = rig.fail(error, request=-2)
    assert [(0, error.code)] == failed(result)
    assert error is result.failed[0][1]
    assert [1] == delivered(rig.answer(YES))
    assert not rig.sender.is_down
    assert 4 == rig.sender.settled


def test_refused_requests_are_answers_and_bring_no_target_down() -> None:
    """EventBridge answered."""
    rig = SenderRig(retry={"initial_interval": "1s", "max_interval": "8s"})
    for offset in range(FAILURES_TO_OPEN + 1):
        rig.add(offset)
        rig.send(wait_s=8)
        rig.fail(UnavailableError("no answer") if offset % 2 else RefusedError("request_refused", "400"))

    assert not rig.sender.is_down


# Requests without an answer


def test_three_entries_that_are_refused_together_are_sent_one_by_one() -> None:
    """Half of three is one."""
    rig = SenderRig()
    rig.add(0, 1, 2)
    rig.send()
    rig.fail(RefusedError("request_refused", "400"))

    assert [[0], [1], [2]] == rig.send(wait_s=0.5)


def test_a_request_without_an_answer_is_sent_again_after_a_pause() -> None:
    """All of it, as it was: nothing else was accepted, so the target is at fault."""
    rig = SenderRig()
    rig.add(0, 1, 2)
    rig.send()
    result = rig.fail(UnavailableError("no answer"))

    assert ([], [], None) == (result.delivered, result.failed, result.halt)
    assert [("far", "unavailable", 3)] == rig.telemetry.retried
    assert "unavailable" == rig.telemetry.finished[-1].outcome
    assert [] == rig.send(wait_s=0.099)
    assert [[0, 1, 2]] == rig.send(wait_s=1.0)


def test_where_other_requests_succeed_one_without_an_answer_is_halved() -> None:
    """The fault may lie in one of its entries."""
    rig = SenderRig()
    rig.add(0, 1, 2, 3)
    rig.send()
    rig.add(4, source="other")
    rig.send(wait_s=0.5)
    rig.answer(YES)
    rig.fail(UnavailableError("no answer"), request=0)

    assert [[0, 1], [2, 3]] == rig.send(wait_s=1.0) + rig.send(wait_s=8.0)


def test_a_bucket_that_cannot_be_written_speaks_against_no_entry_and_no_source() -> None:
    """However often, and whatever others were accepted meanwhile: it goes again as it was, and none ages."""
    rig = SenderRig()
    rig.add(0, 1, 2, source="large")
    error = UnavailableError("the bucket", code="claim_check")
    for _ in range(30):
        assert [[0, 1, 2]] == rig.send(wait_s=400.0)
        rig.accept_beside()
        result = rig.fail(error, request=-2)
        assert ([], [], None) == (result.delivered, result.failed, result.halt)

    assert () == tuple(rig.sender.failing())


def test_an_unknown_answer_speaks_against_an_entry_only_once_it_is_alone() -> None:
    """Among others the culprit is searched for; alone it is given up after `retry.max_attempts`."""
    rig = SenderRig()
    rig.add(0, 1, key="key")
    error = UnavailableError("what?", code="unknown")
    given_up = []
    for _ in range(5):
        assert 1 == len(rig.send(wait_s=8.0))
        rig.accept_beside()
        given_up += failed(rig.fail(error, request=-2))
        assert "unavailable: what?" == rig.sender.failing()[0].reason

    assert [(0, "retries_exhausted")] == given_up
    assert [("far", "unknown", 2), ("far", "unknown", 1)] == rig.telemetry.retried[:2]
    assert 3 == rig.entries[0].attempts


@pytest.mark.parametrize("has_company", [False, True])
def test_a_request_that_is_refused_for_a_source_closes_that_source_alone(has_company: bool) -> None:
    """It is answered, so the target is not down. Among several sources the one is searched for."""
    rig = SenderRig()
    rig.expect("blue")
    error = UnavailableError("Event Bus Not Found.", code="source_unknown")
    rig.add(0, 1, policy="hold")
    if has_company:
        rig.add(2, 3, source="acme")
    assert 1 == len(rig.send())
    assert [] == rig.fail(error).failed

    if has_company:
        assert 0 == rig.sender.held
        halves = rig.send(wait_s=8.0) + rig.send(wait_s=8.0)
        assert {(0, 1), (2, 3)} == {tuple(half) for half in halves}
        assert [] == rig.fail(error, request=1 + halves.index([0, 1])).failed
    assert 2 == rig.sender.held
    assert "source_unknown: Event Bus Not Found." == rig.sender.failing()[0].reason
    assert not rig.sender.is_down


def test_requests_that_are_refused_for_a_source_bring_no_target_down() -> None:
    """However many: each is an answer, and no throttle."""
    rig = SenderRig(max_requests_per_second=100)
    for offset in range(FAILURES_TO_OPEN + 1):
        rig.add(offset, source=f"s-{offset}")
        rig.send(wait_s=8.0)
        rig.fail(UnavailableError("Event Bus Not Found.", code="source_unknown"))

    assert not rig.sender.is_down
    assert 100 == rig.sender._rate_control.rate


def test_a_source_whose_requests_get_no_answer_rests_where_others_do() -> None:
    """It fails alone, and is named."""
    rig = SenderRig()
    rig.add(0, 1)
    rig.send()
    rig.add(2, source="other")
    rig.send(wait_s=0.5)
    rig.answer(YES)
    rig.fail(UnavailableError("no answer", code="timeout"), request=0)

    [failing] = rig.sender.failing()
    assert ("blue", "timeout: no answer", 2) == (failing.source, failing.reason, failing.waiting)


@pytest.mark.parametrize("sources", [("blue", "acme"), ("acme", "blue")])
def test_a_source_that_fails_beside_an_accepted_one_is_named(sources: tuple[str, str]) -> None:
    """Wherever in the answer they are."""
    rig = SenderRig()
    for offset, source in enumerate(sources):
        rig.add(offset, source=source)
    assert [[0, 1]] == rig.send()
    rig.answer(*(YES if source == "acme" else INTERNAL for source in sources))

    assert ["blue"] == [each.source for each in rig.sender.failing()]


def test_a_source_that_fails_beside_accepted_others_is_given_up_in_time() -> None:
    """The time counts in which the same answers accept others."""
    rig = SenderRig()
    rig.add(0)
    given_up: list[tuple[int, str]] = []
    for number in range(1, 14):
        rig.add(number, source="acme")
        assert [] == given_up
        requests = rig.send(wait_s=10.0)
        for request, offsets in enumerate(requests, start=-len(requests)):
            given_up += failed(rig.answer(*(YES if each else INTERNAL for each in offsets), request=request))
        if given_up:
            break

    assert [(0, "retries_exhausted")] == given_up
    assert 100 <= rig.now_s - START_S <= 120


def test_a_request_of_several_sources_without_an_answer_blames_none() -> None:
    """Nothing shows which of them it is."""
    rig = SenderRig()
    rig.add(0)
    rig.add(1, source="acme")
    rig.send()
    rig.add(2, source="other")
    rig.send(wait_s=0.5)
    rig.answer(YES)
    rig.fail(UnavailableError("no answer"), request=0)

    assert [] == rig.sender.failing()
