"""The sender of one target by itself: when requests leave, what answers mean, and what is reported."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import pytest

from connector import config
from connector.delivery.pending import PendingEntry
from connector.delivery.queue import Backpressure, TargetLimits
from connector.delivery.rate import FAILURES_TO_OPEN, BreakerState
from connector.delivery.sender import BatchResult, TargetSender
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
from connector.model import (
    Answer,
    Delivered,
    Entry,
    Forbidden,
    InactivePolicy,
    Json,
    Outcome,
    Partition,
    Record,
    Refused,
    Retriable,
    SourceState,
    SourceStatus,
)
from connector.telemetry.metrics import RequestOutcome, TargetCondition, Telemetry
from tests.target_rig import ACTIVE, DENIED, NO_ANSWER, PENDING, START_S, ScriptedFeed

P0 = Partition("orders", 0)
YES = Delivered("id")
INTERNAL = Retriable("InternalFailure", "it broke")
THROTTLED = Retriable("ThrottlingException", "too many", throttled=True)
UNKNOWN_SOURCE = Retriable("source_unknown", "Event Bus Not Found.")
REFUSED = Refused("InvalidArgument", "no")
FORBIDDEN = Forbidden("NotAuthorizedForSourceException", "not yours")


class Finished(NamedTuple):
    """A call of `request_finished`."""

    target: str
    outcome: RequestOutcome
    seconds: float
    entries: int
    size_bytes: int


class State(NamedTuple):
    """A call of `target_state`."""

    target: str
    state: int
    condition: TargetCondition
    reason: str
    next_try_s: float


class Recorded(Telemetry):
    """Records its calls."""

    def __init__(self) -> None:
        self.finished: list[Finished] = []
        self.states: list[State] = []
        self.retried: list[tuple[str, str, int]] = []
        self.changed: list[tuple[str, str, SourceState]] = []

    def entries_retried(self, target: str, code: str, n: int) -> None:
        self.retried.append((target, code, n))

    def request_finished(
        self, target: str, *, outcome: RequestOutcome, seconds: float, entries: int, size_bytes: int
    ) -> None:
        self.finished.append(Finished(target, outcome, seconds, entries, size_bytes))

    def target_state(
        self, target: str, state: int, condition: TargetCondition, *, reason: str, next_try_s: float = 0.0
    ) -> None:
        self.states.append(State(target, state, condition, reason, next_try_s))

    def source_changed(
        self, target: str, source: str, *, was: SourceState, now: SourceStatus, unsure: int
    ) -> None:
        self.changed.append((target, source, now.state))


class Requests:
    """EventBridge that is answered for by the test."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, list[Entry]]] = []

    def send(self, target: str, batch_id: int, entries: Sequence[Entry]) -> None:
        self.sent.append((target, batch_id, list(entries)))

    def answers(self, timeout_s: float) -> Sequence[tuple[str, int, Answer]]:
        return ()


class Rig:
    """A sender to a target named `far`, of requests of four, whose requests and answers the test makes."""

    def __init__(
        self,
        *,
        has_many_sources: bool = True,
        limits: TargetLimits | None = None,
        sources: config.Sources | None = None,
        sends_unseen: bool = True,
        **settings: Json,
    ) -> None:
        retry = {"initial_interval": "1s", "max_interval": "8s", "max_age": "100s", "max_attempts": 3}
        batch = {"count": 4, "byte_size": 1024, "period": "500ms"}
        defaults: dict[str, Json] = {"region": "eu-central-1", "max_in_flight": 8}
        target = {**defaults, "retry": {**retry}, "batch": {**batch}, **settings}
        self.now_s = START_S
        self.state_feed = ScriptedFeed()
        self.telemetry = Recorded()
        self.sink = Requests()
        self.sender = TargetSender(
            "far",
            config.Target.model_validate(target),
            sink=self.sink,
            telemetry=self.telemetry,
            state_feed=self.state_feed,
            sources=sources,
            limits=limits,
            has_many_sources=has_many_sources,
            sends_unseen=sends_unseen,
            clock_s=lambda: self.now_s,
        )
        self.tracker = OffsetTracker(P0)
        self.entries: dict[int, PendingEntry] = {}

    def add(
        self,
        *offsets: int,
        source: str = "blue",
        key: Hashable | None = None,
        policy: InactivePolicy = "send",
        tracker: OffsetTracker | None = None,
        size_bytes: int = 1,
    ) -> list[RefusedError | Backpressure | None]:
        """Add entries named by their offsets; returns the results."""
        answers = []
        for offset in offsets:
            record = Record(P0, offset, None, None, None, ())
            entry = Entry(source, str(offset), b"{}", size_bytes)
            pending = PendingEntry(record, tracker or self.tracker, entry, self.now_s)
            self.entries[offset] = pending
            answers.append(self.sender.add(pending, key, policy))
        return answers

    def expect(self, source: str, *, policy: InactivePolicy = "hold", seen: object = ACTIVE) -> None:
        """A source that was looked up."""
        self.sender.expect(source, policy)
        assert isinstance(seen, type(ACTIVE))
        self.state_feed.news.append((source, seen, self.now_s))
        self.sender.step(self.now_s)

    def send(self, *, wait_s: float = 0.0) -> list[list[int]]:
        """The requests that leave then, by the offsets they carry."""
        self.now_s += wait_s
        before = len(self.sink.sent)
        self.sender.send(self.now_s)
        return [[int(entry.detail_type) for entry in sent[2]] for sent in self.sink.sent[before:]]

    def answer(self, *outcomes: Outcome, request: int = -1, seconds: float = 0.25) -> BatchResult:
        """EventBridge speaks of each entry of a request, of the last one sent by default."""
        return self._handle(request, Answer(outcomes, None, "request-1", seconds))

    def fail(
        self, error: ConnectorError, *, request: int = -1, retry_after_s: float | None = None
    ) -> BatchResult:
        """EventBridge speaks of the whole request."""
        return self._handle(request, Answer((), error, "request-1", 0.25, retry_after_s))

    def _handle(self, request: int, answer: Answer) -> BatchResult:
        return self.sender.handle_answer(self.sink.sent[request][1], answer)

    def accept_other(self) -> None:
        """Another customer's event is accepted."""
        self.add(99_999, source="other")
        assert [[99_999]] == self.send()
        self.answer(YES)

    def accept_beside(self) -> None:
        """The same while another request is in flight, which is the last but one then."""
        self.add(99_999, source="other")
        assert [[99_999]] == self.send(wait_s=0.5)
        self.answer(YES)

    def go_down(self) -> None:
        """Requests fail in a row until the target is taken to be down."""
        for _ in range(FAILURES_TO_OPEN):
            assert not self.sender.is_down
            assert 1 == len(self.send(wait_s=8.0))
            self.fail(UnavailableError("no answer"))
        assert self.sender.is_down


def delivered(result: BatchResult) -> list[int]:
    return [pending.record.offset for pending in result.delivered]


def condition(rig: Rig) -> TargetCondition:
    """As it was reported last."""
    return rig.telemetry.states[-1].condition


def failed(result: BatchResult) -> list[tuple[int, str]]:
    return [(pending.record.offset, error.code) for pending, error in result.failed]


# When requests leave


def test_an_idle_target_gets_a_request_at_once_and_a_busy_one_once_it_is_full_or_old() -> None:
    """Idle is a target with less than an eighth of its requests in flight."""
    rig = Rig(max_in_flight=16)
    rig.add(0)
    assert [[0]] == rig.send()
    rig.add(1)
    assert [[1]] == rig.send()
    rig.add(2, 3, 4)
    assert [] == rig.send()
    assert [] == rig.send(wait_s=0.499)
    assert [[2, 3, 4]] == rig.send(wait_s=0.001)
    rig.add(*range(5, 10))
    assert [[5, 6, 7, 8]] == rig.send()


def test_a_target_with_few_requests_at_once_is_idle_with_none() -> None:
    """An eighth of up to fifteen is still one."""
    for max_in_flight in (2, 15):
        rig = Rig(max_in_flight=max_in_flight)
        rig.add(0)
        assert [[0]] == rig.send()
        rig.add(1)
        assert [] == rig.send()


def test_no_more_requests_are_in_flight_than_may_be() -> None:
    """The next leaves with the next answer."""
    rig = Rig(max_in_flight=2)
    rig.add(*range(12))
    assert [[0, 1, 2, 3], [4, 5, 6, 7]] == rig.send()
    assert [] == rig.send(wait_s=60)
    assert [0, 1, 2, 3] == delivered(rig.answer(YES, YES, YES, YES, request=0))
    assert [[8, 9, 10, 11]] == rig.send()


def test_each_request_has_the_name_of_its_target_and_a_number_of_its_own() -> None:
    """By that its answer finds it."""
    rig = Rig()
    rig.add(*range(8))
    rig.send()
    numbers = [batch_id for _, batch_id, _ in rig.sink.sent]

    assert ["far", "far"] == [target for target, _, _ in rig.sink.sent]
    assert len({*numbers}) == len(numbers)
    assert [4, 5, 6, 7] == delivered(rig.answer(YES, YES, YES, YES))
    assert [0, 1, 2, 3] == delivered(rig.answer(YES, YES, YES, YES, request=0))


def test_the_highest_offset_that_was_sent_is_remembered() -> None:
    """A stop leaves only records that were never sent."""
    rig = Rig()
    rig.add(7, 3, 5)
    assert -1 == rig.tracker.sent_offset
    rig.send()
    assert 7 == rig.tracker.sent_offset
    rig.add(4)
    rig.send(wait_s=1)
    assert 7 == rig.tracker.sent_offset


def test_the_rate_that_the_settings_cap_holds_requests_back() -> None:
    """And it is known when the next may leave."""
    rig = Rig(max_requests_per_second=2)
    rig.add(*range(8))
    assert [[0, 1, 2, 3]] == rig.send()
    assert START_S + 0.5 == rig.sender.next_s(rig.now_s)
    assert rig.sender.is_backing_off
    assert rig.sender.is_held_up(rig.now_s)
    assert [] == rig.send(wait_s=0.375)
    assert [[4, 5, 6, 7]] == rig.send(wait_s=0.125)


def test_a_rate_that_lets_the_next_request_leave_soon_is_no_backing_off() -> None:
    """A rebalance waits for that; still it explains why something waits."""
    rig = Rig(max_requests_per_second=20)
    rig.add(*range(8))
    while rig.send():
        pass
    assert not rig.sender.is_backing_off
    rig.add(8)
    assert rig.sender.is_held_up(rig.now_s)
    assert not rig.sender.is_held_up(rig.now_s + 1)


def test_where_nothing_waits_no_rate_holds_it_up() -> None:
    """There is nothing to explain."""
    rig = Rig(max_requests_per_second=20)
    rig.add(0)
    assert [[0]] == rig.send()

    assert not rig.sender.is_held_up(rig.now_s)
    assert not Rig().sender.is_held_up(START_S)


def test_the_next_moment_with_something_to_do_is_known() -> None:
    """The end of a pause, a request that may leave, or a lookup: the first of them."""
    rig = Rig()
    assert rig.sender.next_s(rig.now_s) is None
    rig.add(0)
    assert rig.now_s == rig.sender.next_s(rig.now_s)
    rig.send()
    rig.answer(INTERNAL)
    wake_s = rig.sender.next_s(rig.now_s)
    assert wake_s is not None
    assert 0.1 <= round(wake_s - rig.now_s, 6) <= 1.0
    rig.state_feed.next_lookup_s = {rig.now_s: rig.now_s + 0.05}
    assert rig.now_s + 0.05 == rig.sender.next_s(rig.now_s)
    rig.state_feed.next_lookup_s = {rig.now_s: rig.now_s + 50}
    assert wake_s == rig.sender.next_s(rig.now_s)


# Answers that speak of each entry


def test_accepted_entries_are_delivered() -> None:
    """They count as settled, in one request that was ok."""
    rig = Rig()
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
    rig = Rig()
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
    rig = Rig(retry={"initial_interval": "1s", "max_attempts": 1})
    rig.add(0, 1, 2, 3)
    rig.send()
    rig.accept_beside()
    result = rig.answer(Retriable("unknown", "?"), INTERNAL, THROTTLED, INTERNAL, request=-2)

    assert [(0, "retries_exhausted")] == failed(result)
    assert [("far", "InternalFailure", 2), ("far", "ThrottlingException", 1)] == rig.telemetry.retried


def test_an_entry_whose_attempts_are_over_is_given_up_while_the_others_are_sent_again() -> None:
    """It is settled by that."""
    rig = Rig()
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
    rig = Rig(has_many_sources=False, retry={"initial_interval": "1s", "max_interval": "1000s"})
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
    rig = Rig()
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
    rig = Rig(has_many_sources=False)
    lost = OffsetTracker(P0)
    rig.add(0, tracker=lost)
    rig.add(1)
    rig.send()
    rig.answer(INTERNAL, INTERNAL)

    assert [rig.entries[0]] == rig.sender.discard_waiting({lost})
    assert [[1]] == rig.send(wait_s=8.0)


def test_a_sender_without_further_settings_sends_unseen_to_a_single_source() -> None:
    """As for a topic whose source is one name, and that cannot be looked up. It is refused as a whole."""
    rig = Rig()
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
    rig = Rig()
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
    rig = Rig()
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
    rig = Rig(has_many_sources=False)
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
    rig = Rig(has_many_sources=case == "many sources")
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
    rig = Rig()
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
    rig = Rig()
    rig.add(0)
    rig.send()

    with pytest.raises(InvariantError, match="an answer carried ConfigError, which has no verdict"):
        rig.fail(ConfigError([]))


# Throttles


def test_a_throttled_request_waits_as_long_as_eventbridge_asks() -> None:
    """All its entries are sent again then, none is blamed, and the target is not down."""
    rig = Rig()
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
    rig = Rig(has_many_sources=False, max_requests_per_second=100)
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
    rig = Rig(
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
    rig = Rig(max_requests_per_second=100)
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
    rig = Rig(max_requests_per_second=100)
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
    rig = Rig()
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
    rig = Rig(retry={"initial_interval": "1s", "max_interval": "8s"})
    for offset in range(FAILURES_TO_OPEN + 1):
        rig.add(offset)
        rig.send(wait_s=8)
        rig.fail(UnavailableError("no answer") if offset % 2 else RefusedError("request_refused", "400"))

    assert not rig.sender.is_down


# Requests without an answer


def test_three_entries_that_are_refused_together_are_sent_one_by_one() -> None:
    """Half of three is one."""
    rig = Rig()
    rig.add(0, 1, 2)
    rig.send()
    rig.fail(RefusedError("request_refused", "400"))

    assert [[0], [1], [2]] == rig.send(wait_s=0.5)


def test_a_request_without_an_answer_is_sent_again_after_a_pause() -> None:
    """All of it, as it was: nothing else was accepted, so the target is at fault."""
    rig = Rig()
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
    rig = Rig()
    rig.add(0, 1, 2, 3)
    rig.send()
    rig.add(4, source="other")
    rig.send(wait_s=0.5)
    rig.answer(YES)
    rig.fail(UnavailableError("no answer"), request=0)

    assert [[0, 1], [2, 3]] == rig.send(wait_s=1.0) + rig.send(wait_s=8.0)


def test_an_unknown_answer_speaks_against_an_entry_only_once_it_is_alone() -> None:
    """Among others the culprit is searched for; alone it is given up after `retry.max_attempts`."""
    rig = Rig()
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
    rig = Rig()
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
    rig = Rig(max_requests_per_second=100)
    for offset in range(FAILURES_TO_OPEN + 1):
        rig.add(offset, source=f"s-{offset}")
        rig.send(wait_s=8.0)
        rig.fail(UnavailableError("Event Bus Not Found.", code="source_unknown"))

    assert not rig.sender.is_down
    assert 100 == rig.sender._rate_control.rate


def test_a_source_whose_requests_get_no_answer_rests_where_others_do() -> None:
    """It fails alone, and is named."""
    rig = Rig()
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
    rig = Rig()
    for offset, source in enumerate(sources):
        rig.add(offset, source=source)
    assert [[0, 1]] == rig.send()
    rig.answer(*(YES if source == "acme" else INTERNAL for source in sources))

    assert ["blue"] == [each.source for each in rig.sender.failing()]


def test_a_source_that_fails_beside_accepted_others_is_given_up_in_time() -> None:
    """The time counts in which the same answers accept others."""
    rig = Rig()
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
    rig = Rig()
    rig.add(0)
    rig.add(1, source="acme")
    rig.send()
    rig.add(2, source="other")
    rig.send(wait_s=0.5)
    rig.answer(YES)
    rig.fail(UnavailableError("no answer"), request=0)

    assert [] == rig.sender.failing()


# Targets that are down


def test_after_five_failures_in_a_row_one_request_at_a_time_probes_the_target() -> None:
    """Until one is answered; then all leave again."""
    rig = Rig()
    rig.add(*range(12))
    rig.send()
    for _ in range(FAILURES_TO_OPEN):
        for request in range(-len(rig.sender._in_flight), 0):
            rig.fail(UnavailableError("no answer"), request=request)
        rig.send(wait_s=8.0)
    assert rig.sender.is_down
    assert 1 == len(rig.sender._in_flight)
    assert [] == rig.send(wait_s=1)
    assert rig.sender.is_backing_off
    rig.answer(YES, YES, YES, YES)

    assert not rig.sender.is_down
    assert 2 == len(rig.send())


def test_a_target_that_goes_down_and_comes_back_is_reported() -> None:
    """Its state, since when and why, and when the next try is."""
    rig = Rig()
    assert [State("far", BreakerState.OK, "up", "starting", 0.0)] == rig.telemetry.states
    rig.add(0)
    rig.go_down()

    assert ["up"] * FAILURES_TO_OPEN + ["down"] == [each.condition for each in rig.telemetry.states]
    state = rig.telemetry.states[-1]
    assert (BreakerState.OPEN, "no answer") == (state.state, state.reason)
    assert 0.1 <= round(state.next_try_s, 6) <= 1.0
    rig.now_s += 10
    rig.send()
    rig.answer(THROTTLED)
    assert ("throttled", BreakerState.OK) == (condition(rig), rig.telemetry.states[-1].state)
    rig.send(wait_s=100)
    rig.answer(INTERNAL)
    assert "throttled" == condition(rig)
    rig.send(wait_s=100)
    rig.answer(YES)
    assert "up" == condition(rig)
    assert rig.telemetry.states[-1].next_try_s == 0.0


def test_a_target_that_is_down_is_asked_without_an_event_where_all_that_waits_is_held() -> None:
    """It reaches no customer. Any answer shows that the target is up."""
    rig = Rig()
    rig.expect("blue")
    rig.add(0)
    rig.go_down()
    rig.sender.discard(lambda _: True)
    assert [] == rig.send(wait_s=8.0)
    rig.expect("blue", seen=PENDING)
    rig.add(1, policy="hold")

    assert [[]] == rig.send(wait_s=8.0)
    assert [] == rig.send(wait_s=8.0)
    result = rig.fail(UnavailableError("no answer"))
    assert ([], []) == (result.delivered, result.failed)
    assert [[]] == rig.send(wait_s=100)
    rig.fail(RefusedError("request_refused", "no entries"))
    assert not rig.sender.is_down
    assert [] == rig.send(wait_s=100)
    assert 1 == rig.sender.held


def test_a_target_that_is_down_is_asked_without_an_event_while_lookups_are_waited_for() -> None:
    """They may wait for the same outage."""
    rig = Rig(max_requests_per_second=1000)
    rig.add(0)
    rig.go_down()
    rig.sender.discard(lambda _: True)
    rig.sender.expect("acme", "hold")
    rig.add(1, source="acme", policy="hold")
    assert [[]] == rig.send(wait_s=8.0)
    rig.answer()
    assert not rig.sender.is_down
    assert 0 == rig.sender.settled


def test_a_target_that_is_down_is_probed_with_an_entry_that_may_leave() -> None:
    """And nothing at all before its time, or where nothing waits but for its next attempt."""
    rig = Rig()
    rig.add(0)
    rig.go_down()
    assert [] == rig.send()
    assert [[0]] == rig.send(wait_s=8.0)
    rig.fail(UnavailableError("no answer"))
    wake_s = rig.sender._entry_queue.next_wake_s
    assert wake_s is not None
    assert [] == rig.send(wait_s=min(0.0, wake_s - rig.now_s - 0.001))


def test_while_a_target_is_down_the_states_of_its_sources_grow_old() -> None:
    """The gate learns of it."""
    rig = Rig()
    rig.state_feed.max_age_s = 10.0
    rig.expect("blue")
    rig.add(0)
    rig.sender.step(rig.now_s + 11)
    assert not rig.sender.source_gate.is_awaited
    rig.go_down()
    rig.sender.step(rig.now_s)

    assert rig.sender.source_gate.is_awaited
    assert [rig.now_s] == rig.state_feed.postponed_s


def test_of_a_target_that_is_down_enough_is_read_once_all_requests_could_be_full() -> None:
    """Also where there are many sources."""
    rig = Rig(max_in_flight=2)
    rig.add(0)
    rig.go_down()
    rig.send(wait_s=8.0)
    enough = []
    for offset in range(1, 10):
        enough.append(rig.sender.has_enough)
        rig.add(offset)

    assert [False] * 8 + [True] == enough


def test_enough_is_read_where_no_request_may_leave_and_the_next_ones_are_full() -> None:
    """While one may leave, reading on makes sending faster."""
    rig = Rig(has_many_sources=False, max_in_flight=2)
    rig.add(*range(15))
    rig.send()
    assert not rig.sender.has_enough
    rig.add(15)
    assert rig.sender.has_enough
    rig.answer(YES, YES, YES, YES)
    assert not rig.sender.has_enough


def test_of_many_sources_more_is_read_than_the_next_requests_hold() -> None:
    """Those with much waiting must not keep the others from being read."""
    rig = Rig(max_in_flight=2)
    rig.add(*range(16))
    rig.send()

    assert not rig.sender.has_enough


def test_of_many_sources_each_rests_that_fails_while_nothing_is_accepted() -> None:
    """Their entries count as held until then, and leave room for those of others. A single one is sent on."""
    for has_many_sources, held in ((True, 2), (False, 0)):
        rig = Rig(has_many_sources=has_many_sources)
        rig.add(0)
        rig.add(1, source="acme")
        rig.send()
        rig.answer(INTERNAL, INTERNAL)
        assert held == rig.sender.held


# Backpressure


def test_an_entry_that_has_to_wait_for_its_target_may_come_once_there_is_room() -> None:
    """Once half of the room is free."""
    rig = Rig(limits=TargetLimits(records=4))
    *taken, late = rig.add(*range(5))
    assert [None] * 4 == taken
    assert isinstance(late, Backpressure)
    assert ("target", False) == (late.reason, late.has_room())
    assert (4, 0) == rig.sender.inside
    rig.send()
    rig.answer(YES, YES, YES, INTERNAL)
    assert late.has_room()


def test_the_limits_of_a_target_hold_for_bytes_and_for_held_entries() -> None:
    """Each of them by itself."""
    rig = Rig(limits=TargetLimits(record_bytes=6))
    assert [None] * 3 == rig.add(0, 1, 2)
    assert isinstance(rig.add(3)[0], Backpressure)
    assert (3, 6) == rig.sender.inside
    for limits in (TargetLimits(held_records=3), TargetLimits(held_bytes=5)):
        rig = Rig(limits=limits)
        rig.expect("blue", seen=PENDING)
        assert [None] * 3 == rig.add(0, 1, 2, policy="hold")
        assert isinstance(rig.add(3, policy="hold")[0], RefusedError)
        assert (3, 6) == (rig.sender.held, rig.sender.held_bytes)


@pytest.mark.parametrize("limit", [{"max_held_records": 3}, {"max_held_bytes": 1024}])
def test_the_limits_of_a_source_are_those_of_the_settings(limit: dict[str, Json]) -> None:
    """By count, and by bytes."""
    rig = Rig(sources=config.Sources.model_validate(limit))
    rig.expect("blue", seen=PENDING)
    results = rig.add(*range(600), policy="hold")

    held = 3 if "max_held_records" in limit else 512
    assert [None] * held == results[:held]
    assert all(isinstance(each, RefusedError) for each in results[held:])


def test_an_entry_of_a_source_that_was_found_closed_is_refused_with_the_reason() -> None:
    """Its dead letter names the state."""
    rig = Rig()
    rig.expect("blue", policy="dead_letter", seen=PENDING)
    [refused] = rig.add(0, policy="dead_letter")

    assert isinstance(refused, RefusedError)
    assert "source_inactive" == refused.code
    assert "PENDING" in str(refused)


@pytest.mark.parametrize(("when", "is_refused"), [("dead_letter", True), ("pause", False)])
def test_entries_that_a_held_source_has_no_room_for_are_refused_or_wait_by_the_settings(
    when: str, is_refused: bool
) -> None:
    """With `pause` it may come once half of it is free, or once the source is open."""
    rig = Rig(sources=config.Sources.model_validate({"max_held_records": 2, "when_held_is_full": when}))
    rig.expect("blue", seen=PENDING)
    *_, late = rig.add(0, 1, 2, policy="hold")

    assert isinstance(late, RefusedError if is_refused else Backpressure)
    if isinstance(late, Backpressure):
        assert ("source", False) == (late.reason, late.has_room())
        rig.expect("blue")
        assert late.has_room()


def test_entries_that_a_source_without_a_lookup_has_no_room_for_wait_outside() -> None:
    """Nothing shows that it is closed: its partition waits, and goes on with any answer."""
    for seen in (ACTIVE, PENDING, NO_ANSWER):
        rig = Rig(sources=config.Sources.model_validate({"max_held_records": 2}))
        rig.sender.expect("blue", "hold")
        *_, late = rig.add(0, 1, 2, policy="hold")
        assert isinstance(late, Backpressure)
        assert ("source", False) == (late.reason, late.has_room())
        rig.expect("blue", seen=seen)
        assert late.has_room()


def test_entries_that_a_resting_source_has_no_room_for_wait_outside() -> None:
    """They are not dead-lettered for a failure of EventBridge's own."""
    rig = Rig(limits=TargetLimits(held_records=2))
    rig.add(0, 1)
    rig.add(2, source="acme")
    rig.send()
    rig.answer(INTERNAL, INTERNAL, YES)
    [late] = rig.add(3)

    assert 2 == rig.sender.held
    assert isinstance(late, Backpressure)
    assert "source" == late.reason
    rig.send(wait_s=8.0)
    rig.answer(YES, YES)
    assert late.has_room()


# Problems


def problem_after(rig: Rig, seconds: float) -> str | None:
    return rig.sender.problem(rig.now_s + seconds)


def test_a_request_without_an_answer_is_a_problem_after_a_while() -> None:
    """Also where none has failed yet."""
    rig = Rig()
    assert problem_after(rig, 100) is None
    rig.add(0)
    assert problem_after(rig, 100) is None
    rig.send()

    assert problem_after(rig, 2.0) is None
    assert "for 3 s nothing was accepted: EventBridge has not answered yet" == problem_after(rig, 3.0)
    assert rig.sender.is_held_up(rig.now_s + 3.0)
    assert not rig.sender.is_held_up(rig.now_s + 2.0)


def test_the_problem_of_a_target_has_its_reason_its_age_and_the_next_try() -> None:
    """It began with the first of the requests that came to nothing."""
    rig = Rig()
    rig.add(0)
    rig.go_down()
    assert "for 32 s nothing was accepted: no answer" == problem_after(rig, 0)
    rig.send(wait_s=8.0)
    rig.fail(ThrottledError("slow down"), retry_after_s=5.0)

    assert "for 40 s nothing was accepted: slow down; next try in 5 s" == problem_after(rig, 0)
    assert "for 44 s nothing was accepted: slow down; next try in 1 s" == problem_after(rig, 4.0)
    assert "for 44 s nothing was accepted: slow down" == problem_after(rig, 4.25)
    rig.send(wait_s=5.0)
    assert "for 45 s nothing was accepted: slow down" == problem_after(rig, 0)
    rig.answer(YES)
    assert problem_after(rig, 100) is None


def test_while_a_request_is_in_flight_no_next_try_is_named() -> None:
    """It may be answered first."""
    rig = Rig(max_in_flight=16)
    rig.add(0)
    rig.send()
    rig.add(1)
    rig.send()
    rig.fail(ThrottledError("slow down"), retry_after_s=50.0)

    assert "for 3 s nothing was accepted: slow down" == problem_after(rig, 3.0)


def test_a_target_that_takes_no_entry_is_a_problem_with_the_first_reason() -> None:
    """As one that does not answer."""
    rig = Rig(has_many_sources=False)
    rig.add(0, 1)
    rig.send()
    rig.answer(INTERNAL, THROTTLED)

    assert problem_after(rig, 3.0) == (
        "for 3 s nothing was accepted: EventBridge takes no entry (InternalFailure: it broke)"
    )
    assert (
        State("far", BreakerState.OK, "up", "EventBridge takes no entry (InternalFailure: it broke)", 0.0)
        == (rig.telemetry.states[-1])
    )


def test_an_answer_that_refuses_an_entry_for_good_is_no_problem_of_the_target() -> None:
    """It works: the record was wrong."""
    rig = Rig()
    rig.add(0)
    rig.send()
    rig.answer(REFUSED)
    rig.add(1)

    assert problem_after(rig, 100) is None


def test_an_answer_that_accepts_something_begins_the_wait_of_the_others_anew() -> None:
    """Requests in flight since before may be slow; their reason is not that of an earlier failure."""
    rig = Rig(max_in_flight=32)
    for offset in range(3):
        rig.add(offset)
        rig.send()
    rig.fail(UnavailableError("no answer"), request=0)
    rig.now_s += 10
    rig.answer(YES, request=1)

    assert problem_after(rig, 2.0) is None
    assert "for 3 s nothing was accepted: EventBridge has not answered yet" == problem_after(rig, 3.0)
    rig.answer(YES)
    assert problem_after(rig, 100) is None


def test_a_source_that_fails_alone_is_no_problem_of_the_target() -> None:
    """It is shown as that. Nor does a request that carries nothing else explain a silence."""
    rig = Rig()
    rig.add(0)
    rig.add(1, source="acme")
    rig.send()
    rig.answer(INTERNAL, YES)
    assert [[0]] == rig.send(wait_s=8.0)
    assert problem_after(rig, 100) is None
    rig.answer(INTERNAL)

    assert problem_after(rig, 100) is None
    assert ["blue"] == [each.source for each in rig.sender.failing()]
    assert not rig.sender.is_held_up(rig.now_s)


def test_a_source_that_turns_out_to_fail_alone_leaves_no_problem_behind() -> None:
    """Its request was the only one without an answer."""
    rig = Rig()
    rig.add(0)
    rig.send()
    rig.accept_beside()
    assert problem_after(rig, 3.0) is not None
    rig.answer(INTERNAL, request=-2)

    assert problem_after(rig, 100) is None


def test_a_target_that_goes_down_under_a_source_that_fails_alone_is_a_problem() -> None:
    """From the request on that showed it."""
    rig = Rig()
    rig.add(0)
    rig.add(1, source="acme")
    rig.send()
    rig.answer(INTERNAL, YES)
    for _ in range(FAILURES_TO_OPEN):
        assert problem_after(rig, 100) is None
        assert [[0]] == rig.send(wait_s=8.0)
        rig.now_s += 1.0
        rig.fail(UnavailableError("no answer"))

    assert rig.sender.is_down
    assert "for 4 s nothing was accepted: no answer" == problem_after(rig, 3.0)


def test_a_request_of_a_source_that_fails_alone_leaves_no_problem_where_others_are_accepted() -> None:
    """However long it takes."""
    rig = Rig()
    rig.add(0)
    rig.add(1, source="acme")
    rig.send()
    rig.answer(INTERNAL, YES)
    assert [[0]] == rig.send(wait_s=8.0)
    rig.accept_beside()

    assert problem_after(rig, 100) is None


def test_a_failure_of_a_lonely_source_beside_others_that_wait_leaves_the_problem() -> None:
    """Those others have had no answer."""
    rig = Rig(max_in_flight=32)
    rig.add(0)
    rig.add(1, source="acme")
    rig.send()
    rig.answer(INTERNAL, YES)
    rig.add(2, source="acme")
    rig.send()
    rig.send(wait_s=1.0)
    rig.now_s += 4
    rig.answer(INTERNAL)

    assert "for 5 s nothing was accepted: EventBridge has not answered yet" == problem_after(rig, 0)


def test_entries_that_were_taken_away_leave_no_problem() -> None:
    """There is nothing to send, so nothing is in vain."""
    rig = Rig()
    rig.add(0)
    rig.send()
    rig.fail(UnavailableError("no answer"))
    assert problem_after(rig, 100) is not None
    rig.sender.discard(lambda _: True)

    assert problem_after(rig, 100) is None


def test_entries_that_wait_for_customers_alone_are_no_problem_of_the_target() -> None:
    """Unless it is down, or lookups are waited for."""
    rig = Rig()
    rig.expect("blue")
    rig.add(0, policy="hold")
    rig.send()
    rig.fail(UnavailableError("no answer"))
    assert problem_after(rig, 100) is not None
    rig.expect("blue", seen=PENDING)

    assert problem_after(rig, 100) is None
    assert rig.sender.is_holding


def test_entries_that_wait_for_a_lookup_after_a_failure_are_a_problem_of_the_target() -> None:
    """The lookup may show that they could be sent."""
    rig = Rig()
    rig.expect("blue")
    rig.add(0, policy="hold")
    rig.send()
    rig.fail(UnavailableError("no answer"))
    rig.expect("blue", seen=PENDING)
    rig.sender.expect("acme", "hold")

    assert problem_after(rig, 100) is not None


def test_held_entries_of_a_target_that_is_down_are_its_problem() -> None:
    """They could not be sent either way."""
    rig = Rig()
    rig.expect("blue")
    rig.add(0, policy="hold")
    rig.go_down()
    rig.expect("blue", seen=PENDING)

    assert problem_after(rig, 100) is not None


def test_lookups_that_come_to_nothing_while_events_wait_for_them_are_a_problem() -> None:
    """With their own reason, and from when they began to fail."""
    rig = Rig()
    rig.state_feed.trouble = (rig.now_s - 1.0, "throttled")
    assert problem_after(rig, 100) is None
    rig.sender.expect("blue", "hold")
    assert problem_after(rig, 100) is None
    rig.add(0, policy="hold")
    assert problem_after(rig, 1.0) is None
    assert "for 4 s sources cannot be looked up, and their events wait: throttled" == problem_after(rig, 3.0)

    rig.expect("blue", seen=PENDING)
    assert problem_after(rig, 100) is None


def test_a_problem_of_both_planes_began_with_the_first_of_them() -> None:
    """Lookups fail as the events would, and before them."""
    for began_s, age in ((-10.0, 13), (1.0, 3)):
        rig = Rig()
        rig.add(0)
        rig.send()
        rig.fail(UnavailableError("no answer"))
        rig.state_feed.trouble = (rig.now_s + began_s, "throttled")

        assert f"for {age} s nothing was accepted: no answer" == problem_after(rig, 3.0)


def test_a_sender_is_busy_while_an_answer_or_a_lookup_is_waited_for() -> None:
    """A lookup only where events wait for it."""
    rig = Rig()
    assert not rig.sender.is_busy
    rig.state_feed.is_looking_up = True
    assert not rig.sender.is_busy
    rig.sender.expect("blue", "hold")
    rig.add(0, policy="hold")
    assert rig.sender.is_busy
    rig.state_feed.is_looking_up = False
    assert not rig.sender.is_busy


def test_a_sender_is_holding_while_a_source_is_held_or_fails() -> None:
    """Otherwise there is nothing to explain."""
    rig = Rig()
    assert not rig.sender.is_holding
    rig.expect("blue", seen=PENDING)
    assert not rig.sender.is_holding
    rig.add(0, policy="hold")
    assert rig.sender.is_holding


# Entries that fail alone and leave no room


def blocked(rig: Rig) -> None:
    """One entry that failed while others were accepted, and nothing else."""
    rig.add(0)
    rig.add(1, source="acme")
    rig.send()
    rig.answer(INTERNAL, YES)


def test_entries_that_fail_alone_and_leave_no_room_are_given_up_in_time() -> None:
    """Though nothing comes in that could be accepted."""
    rig = Rig()
    blocked(rig)
    given_up = []
    for _ in range(12):
        assert not rig.sender.is_held_up(rig.now_s)
        rig.sender.age_without_others(rig.now_s, is_blocked=True)
        assert rig.sender.is_held_up(rig.now_s)
        assert [[0]] == rig.send(wait_s=10.0)
        rig.sender.age_without_others(rig.now_s, is_blocked=True)
        given_up += failed(rig.answer(INTERNAL))
        rig.sender.age_without_others(rig.now_s, is_blocked=False)
        if given_up:
            break

    assert [(0, "retries_exhausted")] == given_up
    assert 100 <= rig.now_s - START_S <= 120


@pytest.mark.parametrize("answer", ["nothing blocks", "no answer", "throttled", "down"])
def test_otherwise_nothing_ages_without_others(answer: str) -> None:
    """An outage must cost no good record."""
    rig = Rig()
    blocked(rig)
    rig.add(2, source="fine")
    rig.send()
    if answer == "no answer":
        rig.fail(UnavailableError("no answer"))
    if answer == "throttled":
        rig.answer(THROTTLED)
    if answer == "down":
        for _ in range(FAILURES_TO_OPEN):
            rig.fail(UnavailableError("no answer"))
            rig.send(wait_s=8.0)
    rig.sender.discard(lambda each: each.record.offset == 2)
    rig.sender.age_without_others(rig.now_s, is_blocked=answer != "nothing blocks")

    assert not rig.sender._failures.are_blocking


def test_a_source_that_alone_is_throttled_still_ages() -> None:
    """Its throttles say nothing of the target."""
    rig = Rig()
    blocked(rig)
    rig.send(wait_s=8.0)
    rig.answer(THROTTLED)
    rig.sender.age_without_others(rig.now_s, is_blocked=True)

    assert rig.sender._failures.are_blocking


def test_a_source_that_is_forgotten_is_shown_as_failing_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is looked up no more."""
    monkeypatch.setattr("connector.delivery.queue.MAX_SOURCES", 2)
    rig = Rig()
    rig.expect("blue", policy="dead_letter")
    rig.add(0, policy="dead_letter")
    rig.send()
    rig.answer(UNKNOWN_SOURCE)
    assert ["blue"] == [each.source for each in rig.sender.failing()]
    rig.sender.discard(lambda _: True)
    for number in range(6):
        rig.sender.expect(f"more-{number}", "dead_letter")

    assert "blue" in rig.state_feed.forgotten
    assert [] == rig.sender.failing()
    assert {} == rig.sender._failures._unwell


# Replay


@pytest.mark.parametrize(("sends_unseen", "is_given_up"), [(True, False), (False, True)])
def test_only_a_replay_gives_up_entries_of_a_source_that_is_refused_and_active(
    sends_unseen: bool, is_given_up: bool
) -> None:
    """After `retry.max_attempts` refusals in a row."""
    rig = Rig(sends_unseen=sends_unseen)
    rig.expect("blue")
    rig.add(0, policy="hold")
    away = []
    for _ in range(3):
        assert [[0]] == rig.send(wait_s=60.0)
        rig.answer(UNKNOWN_SOURCE)
        rig.state_feed.news.append(("blue", ACTIVE, rig.now_s))
        away += rig.sender.step(rig.now_s)
        rig.sender.step(rig.now_s + 60.0)

    assert is_given_up == bool(away)


@pytest.mark.parametrize("seen", [DENIED, NO_ANSWER], ids=["denied", "no answer"])
def test_a_replay_sends_unseen_only_where_lookups_are_denied(seen: object) -> None:
    """The bridge sends either way."""
    for sends_unseen in (True, False):
        rig = Rig(sends_unseen=sends_unseen)
        rig.expect("blue", seen=seen)
        rig.add(0, policy="hold")

        assert (sends_unseen or seen is DENIED) == bool(rig.send())
