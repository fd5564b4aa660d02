"""Whose fault a failed attempt is: of the entry, its source or the target; and when an entry is given up."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from connector import config
from connector.delivery.failures import Failures, backoff_s, fails_alone
from connector.delivery.pending import Gate, PendingEntry, SourceQueue
from connector.errors import RefusedError
from connector.model import Delivered, FailingSource, InactivePolicy, Outcome, Refused, Retriable
from tests.target_rig import ACTIVE, TargetRig, gate_of

RETRY = config.Retry(initial_interval=1.0, max_interval=8.0, max_age=100.0, max_attempts=3)
INTERNAL = Retriable("InternalFailure", "it broke")
THROTTLED = Retriable("ThrottlingException", "too many", throttled=True)
NO_ANSWER = Retriable("unavailable", "no answer")
UNKNOWN_SOURCE = Retriable("source_unknown", "Event Bus Not Found.")
TROUBLE = pytest.mark.parametrize("outcome", [INTERNAL, THROTTLED, NO_ANSWER], ids=lambda each: each.code)


class Sent(TargetRig):
    """A target that counts failures, with sources that are ACTIVE and entries that leave one by one."""

    def __init__(self, *, has_many_sources: bool = True) -> None:
        super().__init__()
        self.failures = Failures(
            RETRY,
            entry_queue=self.queue,
            source_gate=self.gate,
            has_many_sources=has_many_sources,
            clock_s=lambda: self.now_s,
        )
        self.offset = 0

    def entry(self, source: str = "blue", policy: InactivePolicy = "dead_letter") -> PendingEntry:
        """One that is in flight."""
        if "LOOKING" == self.gate.seen(source).state:
            self.met(ACTIVE, source, policy)
        self.offset += 1
        [pending] = self.put(self.offset, to=self.meet(source, policy))
        assert [pending] == self.queue.next_batch()
        return pending

    def accept(self, *entries: PendingEntry) -> None:
        """These, or one of another customer."""
        accepted = entries or (self.entry("acme"),)
        outcomes = [Delivered(f"EventId {pending.record.offset}") for pending in accepted]
        self.failures.accepted(accepted, outcomes, self.now_s)

    def fail(
        self, pending: PendingEntry, outcome: Retriable = INTERNAL, *, sent_at: int = 0
    ) -> RefusedError | None:
        return self.failures.attempt(pending, outcome, sent_at)

    def rest(
        self, batch: Sequence[PendingEntry], *outcomes: Outcome, accepted: int | None = 0, sent_at: int = 0
    ) -> int:
        return self.failures.rest(batch, outcomes, sent_at, accepted=accepted)

    def age(self, seconds: float) -> None:
        """Time in which another customer's events are accepted."""
        for _ in range(int(seconds / 10)):
            self.now_s += 10
            self.accept()


def rests(queue: SourceQueue) -> bool:
    """Whether it sits out its turns at this moment."""
    return queue.rest_until_s is not None


# Giving up


@TROUBLE
def test_trouble_of_eventbridge_is_tried_again_until_max_age(outcome: Retriable) -> None:
    """However often it fails. The error names the last reason, and the number of attempts."""
    target = Sent()
    pending = target.entry()
    target.accept()
    for _ in range(50):
        assert target.fail(pending, outcome) is None
    target.age(90)
    assert target.fail(pending, outcome) is None
    target.age(10)
    error = target.fail(pending, outcome)

    assert error is not None
    assert "retries_exhausted" == error.code
    assert str(error) == (
        "52 attempts failed, and other events were accepted meanwhile; "
        f"the last: {outcome.code}: {outcome.message}"
    )


def test_the_age_begins_with_the_first_failure_while_others_are_accepted() -> None:
    """Not when the entry was made, nor with a failure that all shared; later ones do not begin it anew."""
    target = Sent()
    pending = target.entry()
    target.fail(pending)
    assert not fails_alone(pending)
    target.age(500)
    target.fail(pending)
    assert fails_alone(pending)
    target.age(50)
    target.fail(pending)
    target.age(40)
    assert target.fail(pending) is None
    target.age(10)

    assert target.fail(pending) is not None


def test_an_outage_ages_nothing() -> None:
    """Nothing is accepted in it, so no entry is given up for it: not even one that had failed before."""
    target = Sent()
    pending = target.entry()
    target.accept()
    target.fail(pending)
    for _ in range(100):
        target.now_s += 1_000
        assert target.fail(pending) is None


def test_of_the_time_of_an_outage_a_tenth_of_max_age_counts_at_most() -> None:
    """The first acceptance after it must not give up all that waited."""
    target = Sent()
    pending = target.entry()
    target.accept()
    target.fail(pending)
    for _ in range(9):
        target.now_s += 1_000_000
        target.accept()
    assert target.fail(pending) is None
    target.now_s += 1_000_000
    target.accept()

    assert target.fail(pending) is not None


def test_before_the_first_acceptance_no_time_counts() -> None:
    """There is no moment to count from."""
    target = Sent()
    target.now_s = 5.0
    pending = target.entry()
    target.accept()
    target.fail(pending)
    target.now_s += 9
    target.accept()
    target.age(90)
    assert target.fail(pending) is None
    target.now_s += 1
    target.accept()

    assert target.fail(pending) is not None


@pytest.mark.parametrize(
    ("code", "letter"),
    [
        ("unknown", "retries_exhausted"),
        ("source_unknown", "source_unknown"),
        ("source_not_authorized", "source_not_authorized"),
        ("detail_type_not_authorized", "source_not_authorized"),
    ],
)
def test_an_entry_is_given_up_after_max_attempts_of_a_code_that_speaks_against_it(
    code: str, letter: str
) -> None:
    """Each time others were accepted since the last."""
    target = Sent()
    pending = target.entry()
    outcome = Retriable(code, "no")
    given_up = []
    for _ in range(3):
        target.accept()
        given_up.append(target.fail(pending, outcome))

    assert [None, None] == given_up[:2]
    assert given_up[2] is not None
    assert letter == given_up[2].code
    assert str(given_up[2]).startswith("3 attempts failed")
    assert str(given_up[2]).endswith(f"the last: {code}: no")


def test_an_attempt_counts_once_for_each_time_that_others_are_accepted() -> None:
    """Where all fail the entry is not to blame."""
    target = Sent()
    pending = target.entry()
    outcome = Retriable("unknown", "what?")
    for _ in range(20):
        assert target.fail(pending, outcome) is None
    for _ in range(2):
        target.accept()
        for _ in range(5):
            assert target.fail(pending, outcome) is None
    target.accept()

    assert target.fail(pending, outcome) is not None


def test_only_acceptances_since_an_entry_was_sent_count_for_its_first_attempt() -> None:
    """Earlier ones say nothing of now."""
    target = Sent()
    target.accept()
    target.accept()
    pending, late = target.entry(), target.entry()
    assert not target.failures.are_others_accepted(pending, 2)
    assert target.failures.are_others_accepted(pending, 1)
    assert 2 == target.failures.acceptances

    target.fail(pending, sent_at=2)
    assert not fails_alone(pending)
    target.accept()
    assert target.failures.are_others_accepted(pending, 3)
    target.fail(pending, sent_at=3)
    assert fails_alone(pending)
    assert not target.failures.are_others_accepted(pending, 0)
    target.fail(late, sent_at=3)
    assert not fails_alone(late)


def test_trouble_does_not_count_as_an_attempt_and_attempts_do_not_age() -> None:
    """An entry may suffer both in turn."""
    target = Sent()
    pending = target.entry()
    for _ in range(8):
        target.age(10)
        assert target.fail(pending, INTERNAL) is None
    target.accept()
    assert target.fail(pending, Retriable("unknown", "?")) is None
    target.accept()
    assert target.fail(pending, Retriable("unknown", "?")) is None
    assert (2, 10) == (pending.attempts, pending.tries)
    target.age(200)
    assert target.fail(pending, Retriable("unknown", "?")) is not None


def test_an_entry_remembers_when_it_failed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dead letter says it."""
    target = Sent()
    pending = target.entry()
    assert pending.first_failure_ms is None
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.5)
    target.fail(pending)
    monkeypatch.setattr("time.time", lambda: 1_700_000_001.0)
    target.fail(pending)

    assert 1_700_000_000_500 == pending.first_failure_ms


# Sources that EventBridge refuses


@pytest.mark.parametrize("code", ["source_unknown", "source_not_authorized"])
def test_a_refused_source_is_held_and_named(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its first refusal. It is named as failing, since when and why, until it takes an event."""
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.0)
    target = Sent()
    pending = target.entry()
    target.fail(pending, Retriable(code, "no"))
    monkeypatch.setattr("time.time", lambda: 1_700_000_009.0)
    target.fail(pending, Retriable(code, "later"))
    queue = pending.lane.queue

    assert Gate.HELD is gate_of(queue)
    assert [FailingSource("blue", 1_700_000_000_000, f"{code}: no", 1)] == target.failures.sources()
    target.accept(pending)
    assert [] == target.failures.sources()


def test_a_refused_detail_type_is_no_verdict_about_the_source() -> None:
    """Its other events go on."""
    target = Sent()
    pending = target.entry()
    target.accept()
    target.fail(pending, Retriable("detail_type_not_authorized", "no"))

    assert Gate.OPEN is gate_of(pending.lane.queue)
    assert [] == target.failures.sources()


def test_under_hold_nothing_of_a_refused_source_is_given_up() -> None:
    """It is held until a lookup shows its state."""
    target = Sent()
    pending = target.entry(policy="hold")
    for _ in range(20):
        target.accept()
        assert target.fail(pending, UNKNOWN_SOURCE) is None

    assert 0 == pending.attempts
    assert 20 == pending.tries


@pytest.mark.parametrize("policy", ["hold", "dead_letter"])
def test_an_entry_that_is_refused_while_its_source_takes_others_is_at_fault(policy: InactivePolicy) -> None:
    """The source is neither held nor named, and the entry is given up."""
    target = Sent()
    pending = target.entry(policy=policy)
    given_up = []
    for _ in range(3):
        target.accept(target.entry(policy=policy))
        given_up.append(target.fail(pending, UNKNOWN_SOURCE))

    assert given_up[:2] == [None, None]
    assert given_up[2] is not None
    assert Gate.OPEN is gate_of(pending.lane.queue)
    assert [] == target.failures.sources()


def test_events_that_a_source_took_before_an_entry_was_sent_do_not_speak_for_it() -> None:
    """It was deleted since."""
    target = Sent()
    target.accept(target.entry())
    pending = target.entry()
    target.fail(pending, UNKNOWN_SOURCE, sent_at=1)

    assert Gate.HELD is gate_of(pending.lane.queue)


def test_a_refused_source_that_takes_an_event_again_is_well() -> None:
    """Its next refusal is its first: it is tried again after half a second."""
    target = Sent()
    queue = target.entry().lane.queue
    for _ in range(12):
        pending = target.entry()
        target.fail(pending, UNKNOWN_SOURCE, sent_at=target.failures.acceptances)
        target.hear(ACTIVE)
        target.wait(60)
        assert Gate.OPEN is gate_of(queue)
    target.accept(target.entry())
    target.fail(target.entry(), UNKNOWN_SOURCE, sent_at=target.failures.acceptances)
    target.hear(ACTIVE)
    target.wait(0.5)

    assert Gate.OPEN is gate_of(queue)


# Acceptances


def test_deliveries_are_counted_for_each_source() -> None:
    """By event; of answers with an acceptance each counts once."""
    target = Sent()
    entries = [target.entry(source) for source in ("blue", "acme", "blue")]
    target.accept(*entries)
    target.accept()

    assert [("blue", 2), ("acme", 2)] == [(each.source, each.delivered) for each in target.gate.standings()]
    assert (1, 2) == (
        target.meet("blue", "dead_letter").taken_at,
        target.meet("acme", "dead_letter").taken_at,
    )
    assert 2 == target.failures.acceptances


# Resting


def test_a_source_that_fails_while_others_are_accepted_rests_alone() -> None:
    """The others go on, and the reports name it, with the reason."""
    target = Sent()
    blue, acme = target.entry("blue"), target.entry("acme")
    target.accept(acme)
    assert 0 == target.rest([blue, acme], INTERNAL, Delivered("id"), accepted=1)

    assert rests(blue.lane.queue)
    assert not rests(acme.lane.queue)
    assert fails_alone(blue)
    assert not fails_alone(acme)
    [failing] = target.failures.sources()
    assert ("blue", "InternalFailure: it broke", 1) == (failing.source, failing.reason, failing.waiting)


def test_the_reason_of_a_failing_source_is_the_first_that_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the time is that of the first failure."""
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.5)
    target = Sent()
    pending, other = target.entry(), target.entry()
    target.accept()
    target.rest([pending, other], INTERNAL, THROTTLED, accepted=1)
    monkeypatch.setattr("time.time", lambda: 1_700_000_009.0)
    target.rest([other], THROTTLED, accepted=1)

    assert [FailingSource("blue", 1_700_000_000_500, "InternalFailure: it broke", 2)] == (
        target.failures.sources()
    )


def test_each_rest_is_up_to_twice_as_long_as_the_last() -> None:
    """With jitter, up to `retry.max_interval`; one rest at a time."""
    target = Sent()
    pending = target.entry()
    queue = pending.lane.queue
    target.accept()
    for most in (1.0, 2.0, 4.0, 8.0, 8.0):
        target.rest([pending], INTERNAL, accepted=1)
        until_s = queue.rest_until_s
        assert until_s is not None
        assert most / 10 <= round(until_s - target.now_s, 6) <= most
        target.rest([pending], INTERNAL, accepted=1)
        assert until_s == queue.rest_until_s
        target.now_s += most
        target.queue.wake(target.now_s)
        assert not rests(queue)


def test_a_failing_source_that_takes_an_event_is_well() -> None:
    """Its next rest is as short as the first."""
    target = Sent()
    pending = target.entry()
    queue = pending.lane.queue
    target.accept()
    for _ in range(5):
        target.rest([pending], INTERNAL, accepted=1)
        target.now_s += 8
        target.queue.wake(target.now_s)
    target.accept(target.entry())

    assert (0, False) == (queue.rests, queue.fails_alone)
    assert [] == target.failures.sources()
    since = target.failures.acceptances
    target.accept()
    target.rest([target.entry()], INTERNAL, accepted=1, sent_at=since)
    assert queue.rest_until_s is not None
    assert queue.rest_until_s <= target.now_s + 1.0


@TROUBLE
def test_a_source_that_took_something_since_does_not_rest(outcome: Retriable) -> None:
    """A few of its entries fail: they are tried again, and the others go on."""
    target = Sent()
    pending = target.entry()
    target.accept(target.entry())
    for accepted in (0, 1, None):
        assert 0 == target.rest([pending], outcome, accepted=accepted)

    assert not rests(pending.lane.queue)
    assert [] == target.failures.sources()


def test_acceptances_before_the_entry_was_sent_make_no_source_fail_alone() -> None:
    """An outage may have begun since."""
    target = Sent()
    target.accept()
    pending = target.entry()
    target.rest([pending], INTERNAL, accepted=0, sent_at=1)

    assert not fails_alone(pending)
    assert [] == target.failures.sources()


def test_throttles_of_one_source_are_explained_by_it_where_the_answer_accepts_others() -> None:
    """They must not slow the whole target down."""
    target = Sent()
    batch = [target.entry("blue"), target.entry("blue"), target.entry("acme"), target.entry("corp")]
    target.accept(batch[2])
    explained = target.rest(batch, THROTTLED, THROTTLED, Delivered("id"), THROTTLED, accepted=1)

    assert 3 == explained
    assert rests(batch[0].lane.queue)
    assert rests(batch[3].lane.queue)


def test_throttles_of_a_whole_answer_are_the_targets() -> None:
    """Also where other answers accepted something meanwhile, and where other entries failed otherwise."""
    target = Sent()
    batch = [target.entry(), target.entry()]
    target.accept()

    assert 0 == target.rest(batch, THROTTLED, INTERNAL, accepted=0)
    assert not rests(batch[0].lane.queue)
    assert [] == target.failures.sources()


def test_throttles_of_a_source_that_failed_alone_stay_its_own() -> None:
    """Until it takes something."""
    target = Sent()
    pending = target.entry()
    target.accept()
    target.rest([pending], INTERNAL, accepted=1)

    assert 2 == target.rest([pending, pending], THROTTLED, THROTTLED, accepted=0)
    target.accept(pending)
    target.now_s += 1.0
    target.queue.wake(target.now_s)
    since = target.failures.acceptances
    assert 0 == target.rest([target.entry()], THROTTLED, accepted=0, sent_at=since)


def test_a_request_without_an_answer_lets_its_source_rest_where_others_are_accepted() -> None:
    """Only then: otherwise the target is down, and that is no failure of a source."""
    target = Sent()
    pending = target.entry()
    target.rest([pending], NO_ANSWER, accepted=None)
    assert not rests(pending.lane.queue)

    target.accept()
    target.rest([pending], NO_ANSWER, accepted=None)
    assert rests(pending.lane.queue)
    assert fails_alone(pending)


def test_sources_that_fail_with_all_others_rest_until_one_entry_is_accepted() -> None:
    """One customer's backlog leaves room for entries that could be accepted. No source is blamed."""
    target = Sent()
    batch = [target.entry("blue"), target.entry("corp")]
    target.rest(batch, INTERNAL, INTERNAL, accepted=0)
    queues = [pending.lane.queue for pending in batch]

    assert all(map(rests, queues))
    assert [] == target.failures.sources()
    assert not any(map(fails_alone, batch))
    target.accept()
    assert not any(map(rests, queues))
    assert [0, 0] == [queue.rests for queue in queues]


def test_the_only_source_does_not_rest_when_it_fails() -> None:
    """There is no other to make room for."""
    target = Sent(has_many_sources=False)
    pending = target.entry()
    target.rest([pending], INTERNAL, accepted=0)

    assert not rests(pending.lane.queue)


def test_a_source_that_only_may_be_to_blame_does_not_keep_the_others_of_its_answer_from_resting() -> None:
    """Each is judged by itself."""
    target = Sent(has_many_sources=False)
    target.accept()
    taken, unsent, alone = target.entry("taken"), target.entry("unsent"), target.entry("alone")
    target.accept(target.entry("taken"))
    unsent.failed_at = target.failures.acceptances
    target.rest([taken, unsent, alone], INTERNAL, INTERNAL, INTERNAL, accepted=0)

    assert [False, False, True] == [rests(each.lane.queue) for each in (taken, unsent, alone)]


@pytest.mark.parametrize("outcome", [Delivered("id"), Refused("InvalidArgument", "no"), UNKNOWN_SOURCE])
def test_verdicts_about_an_entry_or_a_source_let_no_source_rest(outcome: Outcome) -> None:
    """A refused entry is the record's fault, and a refused source is held."""
    target = Sent()
    pending = target.entry()
    target.accept()
    target.rest([pending], outcome, accepted=1)

    assert not rests(pending.lane.queue)
    assert [] == target.failures.sources()


def test_a_source_that_is_only_suspected_counts_as_failing_once_nothing_else_has_room() -> None:
    """Then it blocks the rest."""
    target = Sent()
    pending = target.entry()
    target.rest([pending], INTERNAL, accepted=0)
    assert [] == target.failures.sources()

    target.failures.are_blocking = True
    [failing] = target.failures.sources()
    assert ("blue", "InternalFailure: it broke") == (failing.source, failing.reason)
    target.accept()
    assert [] == target.failures.sources()


def test_a_failing_source_with_nothing_waiting_is_not_shown() -> None:
    """Its entries were given up."""
    target = Sent()
    pending = target.entry()
    target.accept()
    target.rest([pending], INTERNAL, accepted=1)
    target.queue.release([pending], again=())

    assert [] == target.failures.sources()


def test_a_source_that_was_forgotten_is_not_shown() -> None:
    """Whether it failed alone, or was only suspected."""
    target = Sent()
    alone, suspect = target.entry("alone"), target.entry("suspect")
    target.rest([suspect], INTERNAL, accepted=0)
    target.failures.are_blocking = True
    target.fail(alone, UNKNOWN_SOURCE)
    assert {"alone", "suspect"} == {each.source for each in target.failures.sources()}
    for pending in (alone, suspect):
        target.failures.forget(pending.lane.queue)
    target.failures.forget(target.meet("never-failed"))

    assert [] == target.failures.sources()


def test_a_source_that_takes_an_event_while_it_rests_has_its_turns_again() -> None:
    """A second request of it was in flight; that it was accepted says more than the failure before."""
    target = Sent()
    failing, taken = target.entry(), target.entry()
    target.accept()
    target.rest([failing], INTERNAL, accepted=1)
    target.accept(taken)

    assert not rests(failing.lane.queue)


def test_a_source_may_be_forgotten_before_its_rest_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that was under way accepts its last entries, and the end of the rest finds no source."""
    monkeypatch.setattr("connector.delivery.queue.MAX_SOURCES", 2)
    target = Sent()
    pending, other = target.entry(), target.entry()
    target.accept()
    target.rest([pending], INTERNAL, accepted=1)
    target.accept(pending, other)
    target.queue.release([pending, other], again=())
    for number in range(6):
        target.meet(f"more-{number}", "dead_letter")
    assert [] == target.queue.queues_of("blue")
    target.queue.wake(target.now_s + 60)

    assert (0, 0) == (target.queue.held_in_all, target.queue.held_bytes_in_all)
    assert target.queue.next_wake_s is None


# Ageing where nothing else has room


def failed_alone(target: Sent, count: int) -> list[PendingEntry]:
    """Entries that failed while others were accepted."""
    entries = [target.entry() for _ in range(count)]
    target.accept()
    for pending in entries:
        target.fail(pending)
    return entries


def test_entries_that_fail_alone_and_block_the_rest_age_without_acceptances() -> None:
    """Otherwise its partitions would be blocked for ever, since nothing comes in that could be accepted."""
    target = Sent()
    entries = failed_alone(target, 1)
    for _ in range(10):
        assert target.fail(entries[0]) is None
        target.now_s += 10
        target.failures.age_without_others(entries, target.now_s)
        assert target.failures.are_blocking

    assert target.fail(entries[0]) is not None


@pytest.mark.parametrize(
    ("alone", "others", "is_blocking"),
    [(1, 0, True), (1, 1, True), (2, 2, True), (1, 2, False), (0, 1, False), (0, 0, False)],
)
def test_entries_that_fail_alone_block_where_they_are_at_least_half(
    alone: int, others: int, is_blocking: bool
) -> None:
    """Where the rest outweighs them this cannot be told from an outage."""
    target = Sent()
    entries = failed_alone(target, alone) + [target.entry("other") for _ in range(others)]
    target.failures.age_without_others(iter(entries), target.now_s)

    assert is_blocking == target.failures.are_blocking


def test_held_entries_neither_block_nor_outweigh() -> None:
    """They have a budget of their own."""
    target = Sent()
    entries = failed_alone(target, 1)
    held = [target.entry("held") for _ in range(5)]
    target.queue.set_gate(held[0].lane.queue, Gate.HELD)
    target.failures.age_without_others([*entries, *held], target.now_s)
    assert target.failures.are_blocking

    target.queue.set_gate(entries[0].lane.queue, Gate.HELD)
    target.failures.age_without_others([*entries, *held], target.now_s)
    assert not target.failures.are_blocking


def test_where_nothing_blocks_no_time_passes() -> None:
    """An entry is not given up for an outage of the others."""
    target = Sent()
    entries = failed_alone(target, 1) + [target.entry("other") for _ in range(5)]
    for _ in range(100):
        target.now_s += 10
        target.failures.age_without_others(entries, target.now_s)
    assert not target.failures.are_blocking

    assert target.fail(entries[0]) is None


def test_the_entries_of_a_source_that_fails_alone_fail_alone() -> None:
    """Also those that were not tried yet."""
    target = Sent()
    pending, untried = target.entry(), target.entry()
    target.accept()
    target.rest([pending], INTERNAL, accepted=1)

    assert fails_alone(untried)


def test_the_pause_before_the_next_try_grows_with_each() -> None:
    """From `retry.initial_interval` to `retry.max_interval`, with jitter."""
    for tries, most in enumerate((1.0, 2.0, 4.0, 8.0, 8.0), start=1):
        pauses = [backoff_s(RETRY, tries) for _ in range(50)]
        assert most / 10 <= min(pauses)
        assert max(pauses) <= most
        assert max(pauses) > most / 2
