"""Replaying, with scripted neighbours: what is sent, what is recorded when, and what is left to others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from connector import config
from connector.dead_letters.redelivery import MAX_UNRECORDED, Limits
from connector.dead_letters.resolutions import DeadLetterState
from connector.errors import DeadLetterError, HaltError, NotAuthorizedError, UnavailableError
from connector.ledger import Ack
from connector.model import Answer, Entry, Forbidden, Refused, Retriable
from tests.fakes import accept, outcomes
from tests.replay_rig import Rig, detail, number_of, record


def test_each_letter_is_sent_once_with_the_id_of_its_first_attempt(settings: config.Settings) -> None:
    """And each is recorded as delivered, with the EventId that its own result carried, and has a receipt."""
    rig = Rig([record(n) for n in range(100)], settings=settings)

    counts = rig.run()

    assert list(range(100)) == sorted(rig.sent)
    assert {"template_null": 100} == counts.tried
    assert {DeadLetterState.DELIVERED} == set(rig.resolutions.states.values())
    assert 100 == len(rig.resolutions.states)
    for entries in rig.sink.requests:
        for place, entry in enumerate(entries):
            assert f"first/{number_of(entry)}" == dict(detail(entry))["_kafka"]["id"]  # type: ignore[index]
            assert f"id-{place}" == rig.resolutions.written[number_of(entry)].event_id
    receipts = [pending for _, delivered in rig.receipts.written for pending in delivered]
    assert {f"first/{n}": n for n in range(100)} == {each.event_id: each.record.offset for each in receipts}


def test_nothing_is_recorded_before_the_answer(settings: config.Settings) -> None:
    """A replay that dies with requests under way has recorded none of them."""
    rig = Rig([record(n) for n in range(5)], settings=settings)
    rig.sink.is_holding = True
    seen: list[int] = []

    def look_up(polls: int) -> None:
        rig.assign_at_first(polls)
        if polls == 50:
            seen.extend([len(rig.sent), len(rig.resolutions.written)])
            rig.sink.is_holding = False
            rig.sink.answer_held()

    rig.on_poll = look_up
    rig.run()

    assert [5, 0] == seen
    assert 5 == len(rig.resolutions.written)


def test_what_fails_again_is_resolved_after_its_new_letter_is_safe(settings: config.Settings) -> None:
    """The new letter has one more replay, and the old one stays open while the broker lacks it."""
    rig = Rig([record(0, type=None), record(1)], settings=settings)
    rig.dead_letters.is_down = True
    open_meanwhile: list[bool] = []

    def look_up(polls: int) -> None:
        rig.assign_at_first(polls)
        if polls == 50:
            open_meanwhile.append(0 not in rig.resolutions.written)
            rig.dead_letters.is_down = False

    rig.on_poll = look_up
    rig.run()

    ((again, failure),) = rig.dead_letters.letters
    assert [True] == open_meanwhile
    assert {0: DeadLetterState.DEAD_LETTERED_AGAIN, 1: DeadLetterState.DELIVERED} == rig.resolutions.states
    assert b"1" == dict(again.headers)["partner-bridge.replay-count"]
    assert ("template_null", "first/0") == (failure.code, failure.event_id)


def test_what_eventbridge_refuses_becomes_a_new_letter(settings: config.Settings) -> None:
    """Its neighbours in the request are delivered."""
    rig = Rig([record(n) for n in range(3)], settings=settings)
    refused = Refused("InvalidArgument", "no")
    rig.sink.judge = lambda entries: outcomes(
        [refused if number_of(e) == 1 else accept([e]).outcomes[0] for e in entries]
    )

    counts = rig.run()

    assert ["entry_refused"] == rig.dead_letters.codes
    assert (2, {"entry_refused": 1}) == (counts.delivered, counts.failed)
    assert DeadLetterState.DEAD_LETTERED_AGAIN is rig.resolutions.states[1]


def test_what_a_rule_drops_is_recorded_as_discarded(settings: config.Settings) -> None:
    """The user's own filter says that it is not to be sent."""
    rig = Rig([record(0, draft=True)], settings=settings)

    counts = rig.run()

    assert [] == rig.sent
    assert {"filter": 1} == counts.dropped
    assert {0: DeadLetterState.DISCARDED} == rig.resolutions.states


def test_the_letters_of_a_key_wait_for_each_other(settings: config.Settings) -> None:
    """One that is refused for now is sent again before those behind it."""
    rig = Rig([record(n, key=b"k") for n in range(100)], settings=settings)
    refusals = iter([True, False, True])
    accepted: list[int] = []

    def judge(entries: Sequence[Entry]) -> Answer:
        if next(refusals, False):
            return outcomes([Retriable("InternalFailure", "later")] * len(entries))
        accepted.extend(map(number_of, entries))
        return accept(entries)

    rig.sink.judge = judge
    rig.run()

    assert list(range(100)) == accepted


def test_a_revoked_partition_is_finished_and_not_touched_again(settings: config.Settings) -> None:
    """In flight comes to its end and is recorded; what was not sent is left to the next owner."""
    records = [record(n, partition=n % 2, key=b"%d" % (n % 2)) for n in range(200)]
    rig = Rig(records, settings=settings)
    sent_then: list[int] = []

    def revoke(polls: int) -> None:
        rig.assign_at_first(polls)
        if polls == 3:
            rig.replay.on_revoked([1])
            sent_then.extend(rig.sent)

    rig.on_poll = revoke
    counts = rig.run()

    assert {n for n in sent_then if n % 2} == {n for n in rig.sent if n % 2}
    assert {n for n in rig.sent if n % 2} == {n for n in rig.resolutions.written if n % 2}
    assert set(range(0, 200, 2)) == {n for n in rig.sent if n % 2 == 0}
    assert [1] == list(counts.elsewhere)


def test_a_partition_that_comes_back_goes_on_where_it_was(settings: config.Settings) -> None:
    """Nothing of it is sent twice, and nothing is left out."""
    rig = Rig([record(n, key=b"k") for n in range(200)], settings=settings)

    def swap(polls: int) -> None:
        rig.assign_at_first(polls)
        if polls in {3, 6, 9}:
            rig.replay.on_revoked([0])
        if polls in {5, 8, 12}:
            rig.replay.on_assigned([0])

    rig.on_poll = swap
    counts = rig.run()

    assert list(range(200)) == rig.sent
    assert () == tuple(counts.elsewhere)


def test_a_late_answer_for_a_lost_partition_is_recorded(settings: config.Settings) -> None:
    """It is true, and it may keep the next owner from sending the same; but no letter is written for it."""
    rig = Rig([record(n) for n in range(2)], settings=settings)
    rig.sink.is_holding = True
    rig.sink.judge = lambda entries: outcomes([accept(entries).outcomes[0], Refused("no", "no")])

    def lose(polls: int) -> None:
        rig.assign_at_first(polls)
        if polls == 10:
            rig.replay.on_lost([0])
            rig.sink.answer_held()
        if polls == 12:
            rig.replay.stop()

    rig.on_poll = lose
    rig.run()

    assert {0: DeadLetterState.DELIVERED} == rig.resolutions.states
    assert [] == rig.dead_letters.letters


def test_a_stop_finishes_what_is_in_flight(settings: config.Settings) -> None:
    """It is recorded, and nothing new is sent."""
    rig = Rig([record(n) for n in range(500)], settings=settings)

    def stop(polls: int) -> None:
        rig.assign_at_first(polls)
        if polls == 4:
            rig.replay.stop()

    rig.on_poll = stop
    counts = rig.run()

    assert counts.is_stopped
    assert 0 < len(rig.sent) < 500
    assert sorted(rig.sent) == sorted(rig.resolutions.written)


def test_it_halts_when_eventbridge_takes_nothing_from_us(settings: config.Settings) -> None:
    """Every letter stays open."""
    rig = Rig([record(n) for n in range(50)], settings=settings)
    rig.sink.judge = lambda entries: outcomes([Forbidden("AccessDenied", "no")] * len(entries))

    with pytest.raises(NotAuthorizedError, match="AccessDenied"):
        rig.run()

    assert {} == rig.resolutions.written
    assert [] == rig.dead_letters.letters


def test_it_halts_when_everything_fails_again(settings: config.Settings) -> None:
    """A mapping that is still broken must not rewrite the whole topic."""
    rig = Rig([record(n, type=None) for n in range(500)], settings=settings)

    with pytest.raises(DeadLetterError, match="11 letters in a row failed again"):
        rig.run()

    assert 11 == len(rig.dead_letters.letters)
    assert 11 == len(rig.resolutions.written)


def test_it_halts_when_nothing_can_be_recorded(settings: config.Settings) -> None:
    """Going on would send what the next replay sends again."""
    rig = Rig([record(n) for n in range(500)], settings=settings)
    rig.resolutions.is_broken = True

    with pytest.raises(DeadLetterError, match="resolutions topic"):
        rig.run()

    assert len(rig.sent) <= 4 * 20


@pytest.mark.parametrize("refused", ["acknowledged", "write", "answers"])
def test_a_halt_records_what_was_in_flight(
    settings: config.Settings, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dead-letter topic takes no letter any more, while EventBridge has eighty others: their answers are
    waited for and recorded, nothing more is sent, and then it ends."""
    rig = Rig([*(record(n) for n in range(100)), record(100, type=None)], settings=settings)
    rig.sink.is_holding = True
    acknowledged = rig.dead_letters.acknowledged
    looks = 0

    def look_up() -> Sequence[Ack]:
        nonlocal looks
        looks += 1
        if looks == 10:
            rig.sink.is_holding = False
            rig.sink.answer_held()
        if refused != "write" and rig.sent:
            raise DeadLetterError("this user may not write letters")
        return acknowledged()

    monkeypatch.setattr(rig.dead_letters, "acknowledged", look_up)
    if refused == "write":
        monkeypatch.setattr(rig.dead_letters, "write", raises("this user may not write letters"))
    if refused == "answers":
        no = Refused("InvalidArgument", "no")
        # The first of each request fails again, meanwhile.
        rig.sink.judge = lambda entries: outcomes([no, *accept(entries[1:]).outcomes])

    with pytest.raises(DeadLetterError, match="may not write letters"):
        rig.run()

    assert [*range(80)] == sorted(rig.sent)
    assert (76 if refused == "answers" else 80) == len(rig.resolutions.written)
    assert {DeadLetterState.DELIVERED} == set(rig.resolutions.states.values())
    assert rig.resolutions.flushed == set(rig.resolutions.written)


def test_a_halt_waits_no_longer_than_stopping_may_take(settings: config.Settings) -> None:
    """EventBridge does not answer either."""
    rig = Rig([record(n) for n in range(100)], settings=settings)
    rig.sink.is_holding = True
    began_s = 0.0

    def look_up(polls: int) -> None:
        nonlocal began_s
        rig.assign_at_first(polls)
        if polls == 5:
            began_s = rig.clock()
            rig.dead_letters.refuses = True

    rig.on_poll = look_up
    with pytest.raises(DeadLetterError, match="may not write letters"):
        rig.run()

    assert 80 == len(rig.sent)
    assert 2.0 <= rig.clock() - began_s < 2.5
    assert {} == rig.resolutions.written


def test_a_resolution_that_cannot_be_written_keeps_no_other_from_it(settings: config.Settings) -> None:
    """Those of another partition may well be."""
    rig = Rig([record(n) for n in range(40)], settings=settings)
    rig.resolutions.breaks_at = 3

    with pytest.raises(DeadLetterError, match="resolutions topic"):
        rig.run()

    assert {*rig.sent} - {3} == rig.resolutions.flushed


def test_a_halt_says_too_what_could_not_be_recorded(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those letters are sent again by the next replay."""
    rig = Rig([record(n) for n in range(3)], settings=settings)
    rig.sink.judge = lambda entries: outcomes([Forbidden("AccessDenied", "no")] * len(entries))
    monkeypatch.setattr(rig.resolutions, "flush", raises("5 were not acknowledged"))

    with pytest.raises(HaltError, match=r"AccessDenied.* Besides: 5 were not acknowledged"):
        rig.run()


def raises(text: str) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise DeadLetterError(text)

    return refuse


def test_little_is_held_while_eventbridge_is_silent(settings: config.Settings) -> None:
    """However many letters there are, no more than a window of them is read ahead."""
    rig = Rig([record(n) for n in range(MAX_UNRECORDED + 500)], settings=settings)
    rig.sink.is_holding = True
    tried: list[int] = []

    def look_up(polls: int) -> None:
        rig.assign_at_first(polls)
        if polls == 200:
            tried.append(rig.replay.counts.tried_in_all)
            rig.sink.is_holding = False
            rig.sink.answer_held()

    rig.on_poll = look_up
    rig.run()

    assert [MAX_UNRECORDED] == tried
    assert MAX_UNRECORDED + 500 == len(rig.resolutions.written)


def test_nothing_more_is_sent_while_too_little_is_recorded(settings: config.Settings) -> None:
    """What a kill would make go twice stays small when the resolutions topic is slow."""
    rig = Rig([record(n) for n in range(100)], settings=settings)
    rig.resolutions.unwritten = 1_000
    sent: list[int] = []

    def look_up(polls: int) -> None:
        rig.assign_at_first(polls)
        if polls == 100:
            sent.append(len(rig.sent))
            rig.resolutions.unwritten = 0

    rig.on_poll = look_up
    rig.run()

    assert [0] == sent
    assert 100 == len(rig.sent)


def test_a_schema_that_cannot_be_had_is_waited_for(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No letter is skipped meanwhile, and none fails for it."""
    rig = Rig([record(n) for n in range(20)], settings=settings)
    refusals = iter([True] * 5)
    whole = rig.dry_run.whole

    def sometimes(found: object) -> object:
        if next(refusals, False):
            raise UnavailableError("the registry does not answer")
        return whole(found)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.dry_run, "whole", sometimes)
    counts = rig.run()

    assert list(range(20)) == rig.sent
    assert {} == counts.left


def test_parked_letters_are_left(settings: config.Settings) -> None:
    """As many replays as allowed have failed."""
    written = record(0)
    headers = tuple(h for h in written.headers if h[0] != "partner-bridge.replay-count")
    parked = written._replace(headers=(*headers, ("partner-bridge.replay-count", b"3")))
    rig = Rig([parked, record(1)], settings=settings)

    counts = rig.run()

    assert 1 == counts.parked
    assert [1] == rig.sent


def test_only_so_many_are_tried(settings: config.Settings) -> None:
    """`--max` counts letters tried; the others stay open."""
    rig = Rig([record(n) for n in range(50)], settings=settings, limits=Limits(most=7))

    counts = rig.run()

    assert 7 == counts.tried_in_all == len(rig.sent)
