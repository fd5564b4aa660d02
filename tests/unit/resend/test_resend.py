"""Resending, with scripted neighbours: what is sent, what is committed when, and what a kill repeats."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from connector import config
from connector.dead_letters.redelivery import MAX_UNRECORDED, Limits
from connector.dead_letters.redelivery_group import Committed
from connector.errors import HaltError, UnavailableError
from connector.model import Answer, Delivered, Entry, Refused, Retriable
from connector.resend.progress import under_way
from connector.resend.resend import MAX_UNCOMMITTED
from connector.resend.selection import ResendSelection
from tests.fakes import accept, outcomes
from tests.replay_rig import BLUE, ORDERS, SETTINGS, detail, number_of
from tests.resend_rig import BEGIN_MS, TOPIC, Killed, ResendRig, record

RECORDS = 200
IN_FLIGHT = 4 * 20
"""Requests at once in these settings, and entries in each."""
LATER = Retriable("InternalFailure", "later")


def test_each_selected_record_is_sent_once_with_its_own_id(settings: config.Settings) -> None:
    """And the group knows at the end that all is done, also where the last record is not selected."""
    selection = ResendSelection(TOPIC, since_ms=BEGIN_MS + 10_000, until_ms=BEGIN_MS + 90_000, source=ORDERS)
    records = [record(n, tenant="blue" if n % 2 else "orders") for n in range(100)]
    rig = ResendRig(records, settings=settings, selection=selection)

    counts = rig.run()

    assert list(range(10, 90, 2)) == sorted(rig.sent)
    assert (40, {ORDERS: 40}) == (counts.delivered, rig.resend.sources)
    assert {"outside the range": 20, "not selected": 40} == counts.left
    assert 100 == rig.progress.offsets[0].offset
    assert rig.progress.offsets[0].note.startswith("finished:20")
    ids = {dict(detail(each))["_kafka"]["id"] for sent in rig.sink.requests for each in sent}  # type: ignore[index]
    assert {f"unknown/orders/0/{n}/{BEGIN_MS + 1000 * n}" for n in range(10, 90, 2)} == ids


def test_nothing_is_committed_before_the_answer(settings: config.Settings) -> None:
    """Nor past a record that waits for its next attempt, whatever was accepted behind it."""
    rig = ResendRig([record(n) for n in range(60)], settings=settings)
    committed: list[int] = []

    def judge(entries: Sequence[Entry]) -> Answer:
        committed.append(rig.progress.offsets[0].offset if rig.progress.offsets else 0)
        is_first = len(rig.sink.requests) < 5
        return outcomes([LATER if number_of(each) == 7 and is_first else Delivered("id") for each in entries])

    rig.sink.judge = judge
    rig.run()

    assert max(committed) <= 7
    assert 60 == rig.progress.offsets[0].offset


def test_a_pending_customer_gets_none_and_is_not_waited_for(settings: config.Settings) -> None:
    """Its events are left out: not dead-lettered, and not met again after they were passed."""
    rig = ResendRig([record(n, tenant="blue" if n % 2 else "orders") for n in range(40)], settings=settings)
    rig.state_feed.states[BLUE] = "PENDING"

    counts = rig.run()

    assert list(range(0, 40, 2)) == sorted(rig.sent)
    ((reason, left),) = counts.left.items()
    assert (20, True) == (left, reason.startswith("its source is PENDING"))
    assert ([], 40) == (rig.dead_letters.letters, rig.progress.offsets[0].offset)


def test_what_fails_becomes_a_dead_letter_of_this_resend(settings: config.Settings) -> None:
    """It is passed only once the broker has the letter, which names the resend and counts no replay."""
    rig = ResendRig([record(0), record(1, type=None), record(2)], settings=settings)
    rig.dead_letters.is_down = True
    committed_meanwhile: list[int] = []

    def mend(polls: int) -> None:
        if polls == 100:
            committed_meanwhile.append(rig.progress.offsets[0].offset)
            rig.dead_letters.is_down = False

    rig.on_poll = mend
    counts = rig.run()

    ((letter, failure),) = rig.dead_letters.letters
    assert [1] == committed_meanwhile
    assert ("template_null", f"unknown/orders/0/1/{BEGIN_MS + 1000}") == (failure.code, failure.event_id)
    selection = ResendSelection(TOPIC, offsets=(0, 1_000_000), partition=0)
    assert (("partner-bridge.resend", selection.id.encode()),) == letter.headers
    assert (2, {"template_null": 1}) == (counts.delivered, counts.failed)


def test_what_eventbridge_refuses_becomes_one_too(settings: config.Settings) -> None:
    """Its neighbours in the request are delivered."""
    rig = ResendRig([record(n) for n in range(3)], settings=settings)
    rig.sink.judge = lambda entries: outcomes(
        [Refused("InvalidArgument", "no") if number_of(e) == 1 else Delivered("id") for e in entries]
    )

    counts = rig.run()

    assert (2, {"entry_refused": 1}) == (counts.delivered, counts.failed)
    assert ["entry_refused"] == rig.dead_letters.codes


def test_only_events_count_for_rate_and_max(settings: config.Settings) -> None:
    """What is passed over or filtered takes no time, and the next run goes on behind the last event."""
    records = [record(n, draft=n % 3 == 1, tenant="blue" if n % 3 else "orders") for n in range(300)]
    selection = ResendSelection(TOPIC, since_ms=0, until_ms=BEGIN_MS * 2, source=ORDERS)
    limits = Limits(rate=10, most=20)
    rig = ResendRig(records, settings=settings, selection=selection, limits=limits)
    began_s = rig.clock()

    counts = rig.run()
    rest = ResendRig(records, settings=settings, selection=selection, committed=rig.progress.offsets)
    rest.run()

    assert list(range(0, 60, 3)) == rig.sent
    assert 20 == counts.tried_in_all
    assert 1.0 <= rig.clock() - began_s <= 3.0
    assert list(range(60, 300, 3)) == rest.sent


def test_little_is_sent_beyond_the_commit(settings: config.Settings) -> None:
    """Where the brokers take no commit nothing more is sent soon, and the end says so."""
    rig = ResendRig([record(n) for n in range(MAX_UNRECORDED * 2)], settings=settings)
    rig.progress.is_silent = True
    rig.on_poll = lambda polls: rig.resend.stop() if polls == 2_000 else None

    with pytest.raises(HaltError, match="cannot commit"):
        rig.run()

    assert MAX_UNCOMMITTED <= len(rig.sent) <= IN_FLIGHT + MAX_UNCOMMITTED


@pytest.mark.parametrize("every", [3, 17])
def test_what_a_kill_repeats_is_bounded_while_brokers_are_slow(settings: config.Settings, every: int) -> None:
    """What was sent, and is not in a commit that they have acknowledged."""
    rig = ResendRig([record(n) for n in range(2_000)], settings=settings)
    rig.progress.is_slow = rig.sink.is_holding = True
    beyond: list[int] = []

    def answer(polls: int) -> None:
        committed = rig.progress.offsets.get(0, Committed(0)).offset
        beyond.append(len(rig.sent) - committed)
        rig.sink.answer_held()
        if polls % every == 0:
            rig.progress.answer()

    rig.on_poll = answer
    rig.run()

    assert list(range(2_000)) == rig.sent
    assert MAX_UNCOMMITTED < max(beyond) <= IN_FLIGHT + MAX_UNCOMMITTED


def test_what_is_answered_during_a_commit_is_in_the_next(settings: config.Settings) -> None:
    """That is asked for once the brokers have answered, at once where it is much, and not before."""
    rig = ResendRig([record(n) for n in range(2_000)], settings=settings)
    rig.progress.is_slow = rig.sink.is_holding = True
    uncommitted: list[int] = []

    def answer(polls: int) -> None:
        if rig.progress.offsets:
            behind = rig.resend.counts.delivered - rig.progress.offsets[0].offset
            uncommitted.append(0 if rig.progress.is_committing else behind)
        if polls % 2 == 0:
            rig.sink.answer_held()
        if polls % 3 == 0:
            rig.progress.answer()

    rig.on_poll = answer
    rig.run()

    assert 2_000 == rig.progress.offsets[0].offset
    assert len(uncommitted) > 20
    assert max(uncommitted) < MAX_UNCOMMITTED


def test_a_stop_is_no_reason_to_repeat(settings: config.Settings) -> None:
    """What was sent out of order is remembered, so that the next run repeats nothing."""
    rig = ResendRig([record(n, key=b"%d" % (n % 3)) for n in range(500)], settings=settings)
    rig.on_poll = lambda polls: rig.resend.stop() if polls == 6 else None

    counts = rig.run()
    rest = ResendRig(rig.records, settings=settings, committed=rig.progress.offsets)
    rest.run()

    assert counts.is_stopped
    assert 0 < len(rig.sent) < 500
    assert list(range(500)) == sorted(rig.sent + rest.sent)


def test_a_run_goes_on_where_all_that_may_be_unrecorded_is(settings: config.Settings) -> None:
    """What holds back the commit is sent first; then there is room for the rest."""
    sent = range(1, MAX_UNRECORDED)
    committed = {0: under_way(0, sent)}
    records = [record(n) for n in range(MAX_UNRECORDED * 2)]
    rig = ResendRig(records, settings=settings, committed=committed)

    rig.run()

    assert [0, *range(MAX_UNRECORDED, MAX_UNRECORDED * 2)] == sorted(rig.sent)


def test_a_revoked_partition_is_committed_before_another_has_it(settings: config.Settings) -> None:
    """And not touched again."""
    records = [record(n, partition=n % 2) for n in range(200)]
    rig = ResendRig(records, settings=settings)
    committed: list[int] = []

    def revoke(polls: int) -> None:
        if polls == 3:
            rig.resend.on_revoked([1])
            committed.append(rig.progress.offsets[1].offset)

    rig.on_poll = revoke
    counts = rig.run()

    odd = [number for number in rig.sent if number % 2]
    assert [max(odd) + 1] == committed or [max(odd) + 2] == committed
    assert list(range(1, max(odd) + 1, 2)) == sorted(odd)
    assert [1] == list(counts.elsewhere)


@hypothesis_settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), kills=st.lists(st.integers(2, 60), max_size=3))
def test_whenever_it_is_killed_nothing_is_lost_and_order_is_kept(
    tmp_path_factory: pytest.TempPathFactory, seed: int, kills: list[int]
) -> None:
    """Kills at any moment, with requests that are refused for now: each record reaches EventBridge, for each
    key in order, and no kill makes more go twice than was in flight, or answered since the last commit."""
    file = tmp_path_factory.mktemp("killed") / "bridge.yaml"
    file.write_text(SETTINGS)
    settings = config.load(file, {})
    records = [record(n, partition=n % 7 % 2, key=b"%d" % (n % 7)) for n in range(RECORDS)]
    rolls = random.Random(seed)
    done: list[int] = []

    def judge(entries: Sequence[Entry]) -> Answer:
        if rolls.random() < 0.1:
            return Answer((), UnavailableError("no answer"), None, 0.01)
        done.extend(map(number_of, entries))
        return accept(entries)

    committed: dict[int, Committed] = {}
    for kill_at in [*kills, None]:
        rig = ResendRig(records, settings=settings, committed=committed)
        rig.sink.judge = judge
        rig.on_poll = partial(kill, kill_at)
        with suppress(Killed):
            rig.run()
        committed = rig.progress.offsets

    assert set(range(RECORDS)) == {*done}
    assert len(done) - RECORDS <= (IN_FLIGHT + MAX_UNCOMMITTED) * len(kills)
    for key in range(7):
        first = [n for n in dict.fromkeys(done) if n % 7 == key]
        assert sorted(first) == first


def kill(at: int | None, polls: int) -> None:
    """`kill -9` at this poll."""
    if polls == at:
        raise Killed
