"""The sender of one target: the test makes its entries, its clock and the answers of EventBridge."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from connector import config
from connector.delivery.pending import PendingEntry
from connector.delivery.queue import Backpressure, TargetLimits
from connector.delivery.rate import FAILURES_TO_OPEN
from connector.delivery.sender import BatchResult, TargetSender
from connector.errors import ConnectorError, RefusedError, UnavailableError
from connector.ledger import OffsetTracker
from connector.model import (
    Answer,
    Claim,
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
from tests.target_rig import ACTIVE, START_S, ScriptedFeed

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
        self.waiting_for: str | None = None

    def send(self, target: str, batch_id: int, entries: Sequence[Entry]) -> None:
        self.sent.append((target, batch_id, list(entries)))

    def answers(self, timeout_s: float) -> Sequence[tuple[str, int, Answer]]:
        return ()

    def waits_for(self, target: str) -> str | None:
        return self.waiting_for


class SenderRig:
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
        claim: Claim | None = None,
    ) -> list[RefusedError | Backpressure | None]:
        """Add entries named by their offsets; returns the results."""
        answers = []
        for offset in offsets:
            record = Record(P0, offset, None, None, None, ())
            entry = Entry(source, str(offset), b"{}", size_bytes, claim=claim)
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


def condition(rig: SenderRig) -> TargetCondition:
    """As it was reported last."""
    return rig.telemetry.states[-1].condition


def failed(result: BatchResult) -> list[tuple[int, str]]:
    return [(pending.record.offset, error.code) for pending, error in result.failed]


def problem_after(rig: SenderRig, seconds: float) -> str | None:
    return rig.sender.problem(rig.now_s + seconds)
