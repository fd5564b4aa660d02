"""The loop, with scripted neighbours: what it settles, commits and pauses, and when it halts."""

from __future__ import annotations

import gc
import itertools
import weakref
from itertools import pairwise

import pytest

from connector import config
from connector.errors import DeadLetterError, HaltError, InvariantError, NotAuthorizedError
from connector.model import Delivered, Forbidden, Json, Partition, Record, Refused, Retriable
from tests.fakes import Judge
from tests.rig import P0, P1, Rig, each, error, failing, record

DONE = Delivered("id")


def test_what_is_accepted_is_committed(settings: config.Settings) -> None:
    """The good day: every record delivered once, the commit at the end."""
    rig = Rig(settings)
    rig.consumer.put(*(record(n) for n in range(100)))
    rig.run_to_the_end()

    assert list(range(100)) == sorted(rig.delivered_ids)
    assert {P0: 100} == rig.consumer.committed


def test_what_is_committed_has_a_receipt_that_a_kill_cannot_take(settings: config.Settings) -> None:
    """One a request, of what it delivered and nothing else, and flushed before the offsets are committed."""
    rig = Rig(settings, each(lambda n: Retriable("InternalFailure", "") if next(tries[n]) < n % 3 else DONE))
    tries = {n: itertools.count() for n in range(100)}
    rig.consumer.put(*(record(n) for n in range(100)))
    commit, early = rig.consumer.commit, set[int]()

    def committed(offsets: dict[Partition, int], *, wait_s: float) -> None:
        safe = {p.record.offset for _, each in rig.receipts.written[: rig.receipts.flushed] for p in each}
        early.update(set(range(offsets[P0])) - safe)
        commit(offsets, wait_s=wait_s)

    rig.consumer.commit = committed  # type: ignore[method-assign, assignment]
    rig.run_to_the_end()
    receipts = [pending for _, delivered in rig.receipts.written for pending in delivered]

    assert set() == early
    assert list(range(100)) == sorted(pending.record.offset for pending in receipts)
    assert {n: n % 3 for n in range(100)} == {pending.record.offset: pending.tries for pending in receipts}
    assert {f"unknown/orders/0/{n}/1700000000000" for n in range(100)} == {p.event_id for p in receipts}


def test_lost_receipts_are_shown_and_the_bridge_stays_ready(settings: config.Settings) -> None:
    """No pod is taken out of service for a topic that no event needs."""
    rig = Rig(settings)
    rig.receipts.problem = "receipts are lost, and events go on: no such topic"
    rig.consumer.put(record(1))
    shown: list[tuple[bool, dict[str, Json]]] = []

    def until() -> bool:
        shown.append(rig.health.ready())
        return rig.consumer.committed.get(P0) == 2

    rig.run(until)
    is_ready, details = shown[-1]

    assert is_ready
    assert rig.receipts.problem == details["receipts"]


class Cycle:
    """What only the garbage collector frees, as a closed connection."""

    def __init__(self) -> None:
        self.itself = self


def test_cycles_of_objects_are_freed_within_a_minute(settings: config.Settings) -> None:
    """Memory stays flat although Python's own collector hardly ever runs."""
    rig = Rig(settings)
    closed: list[weakref.ref[Cycle]] = []

    def is_over() -> bool:
        if rig.clock.now_s > 1_010 and not closed:
            closed.append(weakref.ref(Cycle()))
        return rig.clock.now_s > 1_060

    gc.disable()
    try:
        rig.run(is_over)
    finally:
        gc.enable()

    assert [None] == [cycle() for cycle in closed]


def test_a_record_that_cannot_be_decoded_is_a_dead_letter_and_its_neighbours_are_delivered(
    settings: config.Settings,
) -> None:
    """Poison costs nobody else anything."""
    rig = Rig(settings)
    poison = Record(P0, 1, None, None, b"{not json", ())
    rig.consumer.put(record(0), poison, record(2))
    rig.run_to_the_end()

    assert [0, 2] == rig.delivered_ids
    assert ["json_invalid"] == rig.dead_letters.codes
    assert poison is rig.dead_letters.letters[0][0]


def test_a_filtered_record_is_settled_without_being_sent(settings: config.Settings) -> None:
    """A rule the user wrote settles a record."""
    rig = Rig(settings)
    rig.consumer.put(record(0, draft=True), record(1))
    rig.run_to_the_end()

    assert [1] == rig.delivered_ids
    assert {P0: 2} == rig.consumer.committed


def test_chunks_that_aws_bills_are_counted_by_topic_and_by_source(settings: config.Settings) -> None:
    """One for each 64 KiB that were begun, and of delivered events alone."""
    rig = Rig(settings, failing(3, Refused("ValidationException", "no")))
    rig.consumer.put(record(0), *(record(n, pad="x" * 70_000 * n) for n in (1, 2, 3)))
    rig.run(lambda: rig.clock.now_s > 1_020)
    metrics = rig.telemetry.render()[0].decode().splitlines()

    assert 'partner_bridge_billed_chunks_total{topic="orders"} 6.0' in metrics
    [found] = rig.health.standings()
    assert isinstance(found, dict)
    assert (3, 6) == (found["delivered"], found["billed_chunks"])


def test_the_health_of_a_source_has_its_last_event_its_last_error_and_what_waits(
    settings: config.Settings,
) -> None:
    """The last event of an answer, with both of its ids; of a dead letter its code and what was said."""
    rig = Rig(settings, failing(3, Refused("MalformedDetail", "Detail is malformed.")))
    rig.consumer.put(*(record(n) for n in range(4)))
    rig.sink.is_holding = True
    waiting: list[Json] = []

    def is_over() -> bool:
        if rig.clock.now_s > 1_010:
            waiting.extend(rig.health.standings())
            rig.sink.is_holding = False
            rig.sink.answer_held()
        return rig.clock.now_s > 1_020

    rig.run(is_over)
    [found] = rig.health.standings()
    assert isinstance(found, dict)
    assert isinstance(held_up := waiting[0], dict)
    assert isinstance(last := found["last_delivered"], dict)
    assert isinstance(error := found["last_error"], dict)
    sizes = [entry.size_bytes for entries in rig.sink.requests for entry in entries]

    assert (3, 1, 0) == (found["delivered"], found["dead_lettered"], held_up["delivered"])
    assert sum(sizes[:3]) == found["bytes"]
    assert ("unknown/orders/0/2/1700000000000", "id") == (last["event_id"], last["eventbridge_id"])
    assert ("entry_refused", True) == (error["code"], "MalformedDetail: Detail" in str(error["text"]))
    assert (True, None) == (held_up["oldest_waiting"] is not None, found["oldest_waiting"])


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: error(NotAuthorizedError("AccessDeniedException: not allowed")),
        each(lambda _: Forbidden("AccessDeniedException", "Not authorized.")),
    ],
    ids=["request", "every-entry"],
)
def test_being_refused_for_who_we_are_halts_and_loses_nothing(
    settings: config.Settings, answer: Judge
) -> None:
    """The next record would fare no better, so nothing is dead-lettered and nothing unsettled committed."""
    rig = Rig(settings, answer)
    rig.consumer.put(*(record(n) for n in range(20)))

    with pytest.raises(NotAuthorizedError):
        rig.run(lambda: False)

    assert [] == rig.dead_letters.codes
    assert 0 == rig.consumer.committed.get(P0, 0)


def test_a_flood_of_dead_letters_halts(settings: config.Settings) -> None:
    """More than `max_consecutive` in a row is a broken mapping rather than a run of bad records."""
    rig = Rig(settings)
    rig.consumer.put(*(record(n, type=None) for n in range(30)))

    with pytest.raises(DeadLetterError, match="template_null"):
        rig.run(lambda: False)


def test_deliveries_between_dead_letters_are_no_flood(settings: config.Settings) -> None:
    """A tenth of bad records, for ever, is a day like any other."""
    rig = Rig(settings)
    rig.consumer.put(*(record(n, type=None if n % 10 == 0 else "Made") for n in range(300)))
    rig.run_to_the_end()

    assert 30 == len(rig.dead_letters.codes)


def test_nothing_is_committed_past_a_letter_that_is_not_acknowledged(settings: config.Settings) -> None:
    """While the dead-letter topic is down the bridge is unready, and goes on when it is back."""
    rig = Rig(settings)
    rig.dead_letters.is_down = True
    rig.consumer.put(record(0), record(1, type=None), record(2))

    def until() -> bool:
        if rig.consumer.polls == 300:
            assert {P0: 1} == rig.consumer.committed
            assert not rig.health.ready()[0]
            rig.dead_letters.is_down = False
        return {P0: 3} == rig.consumer.committed

    rig.run(until)

    assert [0, 2] == rig.delivered_ids


def test_too_much_pending_pauses_and_goes_on_later(settings: config.Settings) -> None:
    """Memory is bounded: while EventBridge does not answer, reading stops and polling goes on."""
    rig = Rig(settings)
    rig.consumer.put(*(record(n) for n in range(500)))

    def look_up() -> None:
        assert {P0, P1} == rig.consumer.paused

    rig.run_held(look_up)

    assert set() == rig.consumer.paused


@pytest.mark.parametrize("what", ["headers", "event"])
def test_headers_and_events_count_as_pending(settings: config.Settings, what: str) -> None:
    """Memory is bounded also where keys and values are the least of it."""
    delivery = settings.delivery.model_copy(update={"max_pending_bytes": 1024**2})
    rig = Rig(settings.model_copy(update={"delivery": delivery}))
    with_headers = (record(n)._replace(headers=(("h", bytes(100_000)),)) for n in range(20))
    # A backslash is two characters in the record's JSON, and four in the event's.
    with_escapes = (record(n, escaped="\\" * 25_000) for n in range(20))
    rig.consumer.put(*(with_headers if what == "headers" else with_escapes))

    def look_up() -> None:
        assert {P0, P1} == rig.consumer.paused

    rig.run_held(look_up)

    assert list(range(20)) == rig.delivered_ids


def test_slow_records_do_not_hold_up_the_loop(settings: config.Settings) -> None:
    """Whatever a record's decoding and mapping takes, others of the same poll wait for the next rounds."""
    rig = Rig(settings)
    route = rig.bridge._pipeline.route("orders")
    beats = [rig.clock.now_s]

    class Slow:
        def __call__(self, record: Record, event_id: str) -> object:
            rig.clock.now_s += 0.4
            return route(record, event_id)

        def __getattr__(self, name: str) -> object:
            return getattr(route, name)

    rig.bridge._pipeline._routes["orders"] = Slow()  # type: ignore[assignment]
    rig.health.beat = lambda now_s: beats.append(rig.clock.now_s)  # type: ignore[method-assign, misc, assignment]
    rig.consumer.put(*(record(n, key="a") for n in range(30)), *(record(n, partition=P1) for n in range(30)))
    rig.run_to_the_end()

    assert 3 > max(later - earlier for earlier, later in pairwise(beats))
    assert {P0: 30, P1: 30} == rig.consumer.committed
    assert 60 == len(rig.delivered_ids)


def test_what_one_source_holds_leaves_room_for_the_others(settings: config.Settings) -> None:
    """Held records count by what they take in memory, not by the little that is sent of them."""
    sources = settings.sources.model_copy(update={"max_held_bytes": 100_000})
    delivery = settings.delivery.model_copy(
        update={"max_pending_records": 1_000, "max_pending_bytes": 500_000}
    )
    rig = Rig(settings.model_copy(update={"sources": sources, "delivery": delivery}))
    rig.state_feed.states["aws.partner/example.com/orders"] = "PENDING"
    rig.consumer.put(*(record(n, large="x" * 5_000) for n in range(100)))
    rig.run(lambda: rig.consumer.polls == 200)

    assert set() == rig.consumer.paused
    assert {"source_inactive"} == set(rig.dead_letters.codes)
    assert 20 > 100 - len(rig.dead_letters.codes) > 5


def test_nothing_is_sent_after_the_verdict_to_halt(settings: config.Settings) -> None:
    """EventBridge refuses who we are, so the next request would be refused as well."""
    one_at_a_time = settings.eventbridge.model_copy(update={"max_in_flight": 1})
    rig = Rig(
        settings.model_copy(update={"eventbridge": one_at_a_time}),
        lambda _: error(NotAuthorizedError("access denied")),
    )
    rig.consumer.put(*(record(n) for n in range(50)))

    with pytest.raises(NotAuthorizedError):
        rig.run(lambda: False)

    assert 1 == len(rig.sink.requests)


def test_a_halt_while_polling_commits_what_is_settled(settings: config.Settings) -> None:
    """As when another member uses our instance id: what was delivered is not delivered again after it."""
    rig = Rig(settings)
    rig.consumer.put(*(record(n) for n in range(40)))

    def on_poll(polls: int) -> None:
        if 40 == len(rig.delivered_ids):
            raise HaltError("fenced")

    rig.consumer.on_poll = on_poll
    with pytest.raises(HaltError, match="fenced"):
        rig.bridge.run(rig.consumer)

    assert {P0: 40} == rig.consumer.committed


def test_records_of_one_key_are_never_in_two_requests_at_once(settings: config.Settings) -> None:
    """The default `ordering: key`: a later request of a key waits for the earlier one."""
    rig = Rig(settings)
    rig.consumer.put(*(record(n, key="a") for n in range(45)))

    def look_up() -> None:
        assert 1 == len(rig.sink.requests)

    rig.run_held(look_up)

    assert list(range(45)) == rig.delivered_ids


def test_a_failed_commit_is_repeated(settings: config.Settings) -> None:
    """A commit that the broker refused is tried again with the next one."""
    rig = Rig(settings)
    rig.consumer.commit_error = "coordinator is loading"
    rig.consumer.put(record(0))

    def until() -> bool:
        if rig.consumer.polls == 20:
            rig.consumer.commit_error = None
        return {P0: 1} == rig.consumer.committed

    rig.run(until)

    assert [0] == rig.delivered_ids


def test_the_dead_letter_topic_is_never_read(settings: config.Settings) -> None:
    """Whatever a pattern says: reading our own letters would go round for ever."""
    rig = Rig(settings)
    letters = Partition("orders.dlt", 0)
    rig.bridge.on_assigned([letters])
    rig.consumer.put(record(0, partition=letters), record(1))

    rig.run(lambda: P0 in rig.consumer.committed and letters in rig.consumer.paused)

    assert [1] == rig.delivered_ids
    assert letters not in rig.consumer.committed


def test_a_dead_letter_topic_that_may_not_be_written_halts(settings: config.Settings) -> None:
    """No pause mends a permission: stop at once, with all committed that lies before the letter."""
    rig = Rig(settings)
    rig.dead_letters.refuses = True
    broken = Record(P0, 5, 1_700_000_000_000, None, b"{", ())
    rig.consumer.put(*(record(n) for n in range(5)), broken, record(6))
    began_s = rig.clock.now_s

    with pytest.raises(DeadLetterError, match="may not write"):
        rig.run(lambda: False)

    assert {P0: 5} == rig.consumer.committed
    assert rig.clock.now_s - began_s < 1


def test_after_a_mistake_of_its_own_the_bridge_commits_nothing_more(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when it leaves the group, which revokes what it has: its bookkeeping cannot be trusted."""
    rig = Rig(settings)
    rig.consumer.put(*(record(n) for n in range(5)))

    def settled_twice(*_: object) -> None:
        raise InvariantError("orders[0]@3 was settled without being pending")

    def until() -> bool:
        monkeypatch.setattr("connector.ledger.Ledger.settle", settled_twice)
        return False

    with pytest.raises(InvariantError):
        rig.run(until)
    rig.consumer.committed.clear()
    rig.bridge.on_revoked([P0, P1])

    assert {} == rig.consumer.committed


def test_offsets_are_committed_soon_after_letters(settings: config.Settings) -> None:
    """A crash would have them written again; and no more than a few commits a second for it."""
    delivery = settings.delivery.model_copy(update={"commit_interval": 300.0})
    rig = Rig(settings.model_copy(update={"delivery": delivery}))
    rig.consumer.put(*(record(n, type=None if n % 50 == 0 else "Made") for n in range(1_000)))
    commits: list[float] = []
    commit = rig.consumer.commit

    def counted(offsets: dict[Partition, int], *, wait_s: float) -> None:
        commits.append(rig.clock.now_s)
        commit(offsets, wait_s=wait_s)

    rig.consumer.commit = counted  # type: ignore[method-assign, assignment]
    rig.run(lambda: rig.consumer.committed.get(P0) == 1_000)

    assert rig.clock.now_s < 1_010
    assert all(later - earlier >= 0.2 for earlier, later in pairwise(commits[1:-1]))


def test_the_page_has_partitions_targets_and_dead_letters_as_issues(settings: config.Settings) -> None:
    """What the bridge thread hands over, about once a second."""
    rig = Rig(settings, failing(3, Refused("MalformedDetail", "Detail is malformed.")))
    rig.consumer.put(*(record(n) for n in range(4)))
    rig.run(lambda: rig.clock.now_s > 1_020)

    (partition,) = (each for each in rig.board.partitions if each.partition == P0)
    assert (0.0, None) == (partition.oldest_unsettled_s, partition.paused)
    (target,) = rig.board.targets
    assert ("default", "up", None, 0, 0) == target[:5]
    ((key, issue),) = rig.board.issues.items()
    assert ("entry_refused", "orders", 1) == (key[0], key[2], issue.letters)
    assert f"{P0}@3" == str(issue.position)
    sample = rig.board.history.samples[-1]
    assert (3, 1) == (sample.delivered, sample.dead_lettered)
