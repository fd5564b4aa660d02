"""The gate of one target's sources by itself: when it opens and closes, and the reports of each source."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connector.delivery import queue as queue_module
from connector.delivery import source_gate as source_gate_module
from connector.delivery.pending import Gate, SourceQueue
from connector.delivery.source_gate import SourceGate
from connector.errors import RefusedError
from connector.model import (
    INACTIVE,
    InactivePolicy,
    LastDelivery,
    LastError,
    SourceReport,
    SourceState,
    SourceStatus,
)
from tests.target_rig import (
    ACTIVE,
    DENIED,
    NO_ANSWER,
    PENDING,
    START_S,
    Change,
    OnlyIfActive,
    TargetRig,
    gate_of,
)

MISSING = SourceStatus("MISSING")
UNKNOWNS = pytest.mark.parametrize("unknown", [DENIED, NO_ANSWER], ids=["denied", "no answer"])
CLOSED: list[SourceState] = sorted(INACTIVE)


def test_a_source_is_held_until_its_first_lookup() -> None:
    """It is looked up once, however many topics send to it."""
    target = TargetRig()
    held, refusing = target.meet(), target.meet(policy="dead_letter")

    assert [("blue", False)] == target.state_feed.followed
    assert (Gate.HELD, Gate.HELD) == (held.gate, refusing.gate)
    assert "LOOKING" == target.gate.seen("blue").state
    assert target.gate.is_awaited
    assert not target.gate.is_only_refused

    target.hear(ACTIVE)

    assert (Gate.OPEN, Gate.OPEN) == (held.gate, refusing.gate)
    assert ACTIVE == target.gate.seen("blue")
    assert not target.gate.is_awaited


def test_a_topic_that_meets_a_known_source_waits_for_no_second_lookup() -> None:
    """Its policy applies at once."""
    target = TargetRig()
    target.met(PENDING)

    assert Gate.REFUSED is target.meet(policy="dead_letter").gate
    assert Gate.OPEN is target.meet(policy="send").gate
    assert [("blue", False)] == target.state_feed.followed
    assert not target.gate.is_awaited


def test_news_of_one_source_says_nothing_of_another() -> None:
    """Each has its own gate."""
    target = TargetRig()
    blue, acme = target.meet("blue"), target.meet("acme")
    target.hear(ACTIVE, source="acme")

    assert (Gate.HELD, Gate.OPEN) == (blue.gate, acme.gate)
    assert target.gate.is_awaited
    assert ("LOOKING", "ACTIVE") == tuple(target.gate.seen(name).state for name in ("blue", "acme"))


def test_news_of_sources_that_were_never_met_are_ignored() -> None:
    """They may have been forgotten while a lookup was in flight."""
    target = TargetRig()
    stranger = SourceQueue("stranger", "hold")

    assert [] == target.hear(ACTIVE, NO_ANSWER, PENDING, source="stranger")
    target.gate.refused(stranger)
    target.gate.taken(stranger)
    target.gate.forgotten(stranger)

    assert "LOOKING" == target.gate.seen("stranger").state
    assert not target.gate.is_inactive(stranger)
    assert not target.gate.is_awaited
    assert [] == [*target.gate.standings(), *target.changes.all]
    assert [] == [*target.state_feed.followed, *target.state_feed.forgotten]


@pytest.mark.parametrize("state", CLOSED)
def test_a_source_that_is_not_active_is_closed_by_the_policy_of_its_topic(state: SourceState) -> None:
    """`hold` keeps, `dead_letter` turns away, `send` lets EventBridge drop or refuse."""
    target = TargetRig()
    hold, refuse, send = (target.meet(policy=policy) for policy in ("hold", "dead_letter", "send"))
    waiting = target.put(2, 1, to=refuse)
    target.put(3, to=hold)
    away = target.hear(SourceStatus(state))

    assert (Gate.HELD, Gate.REFUSED, Gate.OPEN) == (hold.gate, refuse.gate, send.gate)
    assert sorted(waiting, key=lambda each: each.record.offset) == [pending for pending, _ in away]
    assert all(target.gate.is_inactive(queue) for queue in (hold, refuse, send))
    assert 1 == target.queue.held(hold)


def test_a_source_that_becomes_active_is_opened() -> None:
    """For topics that held its events, and for those that turned them away."""
    target = TargetRig()
    hold, refuse = target.meet(), target.meet(policy="dead_letter")
    target.hear(PENDING)
    target.hear(ACTIVE)

    assert (Gate.OPEN, Gate.OPEN) == (hold.gate, refuse.gate)
    assert not target.gate.is_inactive(hold)


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("PENDING", "source_inactive"),
        ("OTHER", "source_inactive"),
        ("MISSING", "source_unknown"),
        ("DELETED", "source_unknown"),
    ],
)
def test_the_error_of_an_entry_that_is_turned_away_names_the_state_and_the_remedy(
    state: SourceState, code: str
) -> None:
    """The dead letter carries it."""
    target = TargetRig()
    target.put(1, to=target.meet(policy="dead_letter"))
    [(_, error)] = target.hear(SourceStatus(state, reason="a reason"))

    assert code == error.code
    assert str(error) == (
        f"It was not sent, since its source is {state}: a reason. Replay it once the source is ACTIVE."
    )


def test_the_error_of_an_entry_that_a_held_source_has_no_room_for_says_that() -> None:
    """It was not turned away for the state alone."""
    target = TargetRig()
    error = target.gate.refusal(target.met(SourceStatus("PENDING", reason="a reason")))

    assert "source_inactive" == error.code
    assert "since as much of its source is held as may be, and it is PENDING: a reason." in str(error)


def test_entries_of_all_topics_and_sources_are_turned_away_in_one_step() -> None:
    """News of several sources may come at once, and none of their entries is forgotten."""
    target = TargetRig()
    queues = [target.meet(source, "dead_letter") for source in ("blue", "acme")]
    waiting = [target.put(offset, to=queue)[0] for offset, queue in enumerate(queues)]
    target.state_feed.news = [("blue", PENDING, START_S), ("acme", MISSING, START_S)]
    away = target.gate.step(START_S)

    assert waiting == [pending for pending, _ in away]
    assert ["source_inactive", "source_unknown"] == [error.code for _, error in away]


# Lookups that come to nothing


@UNKNOWNS
def test_the_bridge_sends_to_a_source_of_which_nothing_was_ever_known(unknown: SourceStatus) -> None:
    """It must not stop for want of a permission, or of an answer."""
    target = TargetRig()
    queues = [target.meet(policy=policy) for policy in ("hold", "dead_letter", "send")]
    target.put(1, to=queues[0])

    assert [] == target.hear(unknown)
    assert [Gate.OPEN] * 3 == [queue.gate for queue in queues]
    assert unknown == target.gate.seen("blue")
    assert not target.gate.is_awaited


def test_a_gate_sends_unseen_where_nothing_else_is_said() -> None:
    """As the bridge does."""
    target = TargetRig()
    gate = SourceGate("far", state_feed=target.state_feed, telemetry=target.changes)
    gate.attach(target.queue)
    queue = target.meet()
    gate.meet(queue)
    target.state_feed.news = [("blue", NO_ANSWER, START_S)]
    gate.step(START_S)

    assert Gate.OPEN is queue.gate


def test_replay_sends_unseen_only_where_the_permission_is_missing() -> None:
    """A throttled lookup is no permission to send into the void; one that is denied will never say more."""
    gates = {}
    for unknown in (DENIED, NO_ANSWER):
        target = TargetRig(sends_unseen=False)
        queues = [target.meet(policy=policy) for policy in ("hold", "dead_letter", "send")]
        target.hear(unknown)
        gates[unknown] = [queue.gate for queue in queues]

    assert [Gate.OPEN] * 3 == gates[DENIED]
    assert [Gate.HELD, Gate.REFUSED, Gate.OPEN] == gates[NO_ANSWER]


def test_replay_gives_letters_back_whose_source_was_not_looked_up_in_time() -> None:
    """They stay open, and say why."""
    target = TargetRig(sends_unseen=False)
    waiting = target.put(1, 2, to=target.meet(policy="dead_letter"))
    away = target.hear(NO_ANSWER)

    assert waiting == [pending for pending, _ in away]
    assert {"source_inactive"} == {error.code for _, error in away}
    assert "UNKNOWN: no lookup of it was answered in time" in str(away[0][1])


def test_replay_forgets_that_a_source_was_active_once_a_lookup_that_it_waits_for_comes_to_nothing() -> None:
    """It trusts no state that is older than it may be; the bridge goes on with it."""
    replay, bridge = TargetRig(sends_unseen=False), TargetRig()
    for target in (replay, bridge):
        target.met(ACTIVE, policy="dead_letter")
        target.hear(NO_ANSWER)

    assert ("UNKNOWN", Gate.REFUSED) == (
        replay.gate.seen("blue").state,
        replay.meet(policy="dead_letter").gate,
    )
    assert ("ACTIVE", Gate.OPEN) == (bridge.gate.seen("blue").state, bridge.meet(policy="dead_letter").gate)
    assert [Change("far", "blue", "ACTIVE", NO_ANSWER, 0)] == replay.changes.all[1:]


@pytest.mark.parametrize("sends_unseen", [True, False])
def test_an_active_source_that_may_no_longer_be_looked_up_stays_active(sends_unseen: bool) -> None:
    """A permission that was taken away may come back in time."""
    target = TargetRig(sends_unseen=sends_unseen)
    queue = target.met(ACTIVE)
    target.hear(DENIED)

    assert (Gate.OPEN, ACTIVE) == (queue.gate, target.gate.seen("blue"))


@pytest.mark.parametrize("sends_unseen", [True, False])
@pytest.mark.parametrize("state", CLOSED)
@UNKNOWNS
def test_no_lookup_that_fails_opens_a_closed_source(
    state: SourceState, unknown: SourceStatus, sends_unseen: bool
) -> None:
    """Nor does it change the reports."""
    target = TargetRig(sends_unseen=sends_unseen)
    hold, refuse = target.meet(), target.meet(policy="dead_letter")
    seen = SourceStatus(state, reason="a reason")
    target.hear(seen)
    changes = [*target.changes.all]
    target.hear(unknown)

    assert (Gate.HELD, Gate.REFUSED) == (hold.gate, refuse.gate)
    assert seen == target.gate.seen("blue")
    assert changes == target.changes.all


def test_a_missing_permission_is_not_forgotten_for_a_lookup_without_an_answer() -> None:
    """Replay would hold back for ever what it may send."""
    target = TargetRig(sends_unseen=False)
    queue = target.met(DENIED)
    target.hear(NO_ANSWER)

    assert (Gate.OPEN, DENIED) == (queue.gate, target.gate.seen("blue"))


def test_the_reason_is_that_of_the_last_lookup_without_an_answer() -> None:
    """The first one may have been another, and a permission may turn out to be missing."""
    target = TargetRig(sends_unseen=False)
    queue = target.met(NO_ANSWER)
    target.hear(SourceStatus("UNKNOWN", reason="throttled"))
    assert "throttled" == target.gate.seen("blue").reason

    target.hear(DENIED)
    assert (Gate.OPEN, DENIED) == (queue.gate, target.gate.seen("blue"))


@pytest.mark.parametrize("policy", ["hold", "dead_letter"])
def test_entries_only_for_an_active_source_come_back_where_lookups_are_denied(policy: InactivePolicy) -> None:
    """EventBridge dropped it once already. The others are sent, in their order."""
    target = TargetRig(sends_unseen=False)
    queue = target.meet(policy=policy)
    first = target.put(1, to=queue)
    careful = target.put(2, 3, to=queue, kind=OnlyIfActive)
    last = target.put(4, to=queue)
    away = target.hear(DENIED)

    assert {*careful} == {pending for pending, _ in away}
    assert "its source is UNKNOWN: AccessDeniedException" in str(away[0][1])
    assert [*first, *last] == target.queue.next_batch()


def test_entries_only_for_an_active_source_are_sent_where_its_topic_says_send() -> None:
    """And where it is ACTIVE."""
    target = TargetRig(sends_unseen=False)
    sends, active = target.meet(policy="send"), target.meet("acme")
    for queue in (sends, active):
        target.put(1, to=queue, kind=OnlyIfActive)

    assert [] == target.hear(DENIED)
    assert [] == target.hear(ACTIVE, source="acme")
    assert 2 == len(target.queue.next_batch())


def test_entries_of_several_topics_come_back_together() -> None:
    """None is lost for the others."""
    target = TargetRig(sends_unseen=False)
    queues = [target.meet(policy=policy) for policy in ("hold", "dead_letter")]
    careful = [target.put(1, to=queue, kind=OnlyIfActive)[0] for queue in queues]
    away = target.hear(DENIED)

    assert careful == [pending for pending, _ in away]


# Sources that EventBridge refuses


def test_a_refused_source_is_held_and_looked_up_anew() -> None:
    """A lookup that is in flight may show what was true before. One refusal is enough."""
    target = TargetRig()
    hold, refuse, send = (target.meet(policy=policy) for policy in ("hold", "dead_letter", "send"))
    target.hear(ACTIVE)
    for queue in (hold, refuse, send):
        target.gate.refused(queue)

    assert (Gate.HELD, Gate.HELD, Gate.OPEN) == (hold.gate, refuse.gate, send.gate)
    assert [("blue", False), ("blue", True)] == target.state_feed.followed
    assert (True, False) == (target.gate.is_awaited, target.gate.is_only_refused)
    assert [] == target.wait(1_000_000)
    assert Gate.HELD is gate_of(hold)


def test_a_refused_source_that_a_lookup_shows_closed_is_not_tried_again() -> None:
    """Only a lookup that says ACTIVE opens it."""
    target = TargetRig()
    queue = target.met(ACTIVE)
    target.gate.refused(queue)
    target.hear(PENDING)

    assert not target.gate.is_awaited
    assert target.gate.next_s(target.now_s) is None
    target.wait(1_000)
    assert Gate.HELD is gate_of(queue)

    target.hear(ACTIVE)
    assert Gate.OPEN is gate_of(queue)
    target.gate.refused(queue)
    assert Gate.HELD is gate_of(queue)


def reopening(target: TargetRig, queue: SourceQueue, news: SourceStatus = ACTIVE) -> float:
    """How long a source is held that is refused now, and in which a lookup shows nothing wrong."""
    target.gate.refused(queue)
    target.hear(news)
    assert Gate.HELD is gate_of(queue)
    assert target.gate.is_awaited
    assert target.gate.is_only_refused
    reopen_s = target.gate.next_s(target.now_s)
    assert reopen_s is not None
    pause_s = reopen_s - target.now_s
    target.wait(pause_s - 0.001)
    assert Gate.HELD is gate_of(queue)
    target.now_s = reopen_s
    target.gate.step(reopen_s)
    assert Gate.OPEN is gate_of(queue)
    assert not target.gate.is_awaited
    assert target.gate.next_s(target.now_s) is None
    return pause_s


@pytest.mark.parametrize("seen", [ACTIVE, DENIED, NO_ANSWER], ids=["active", "denied", "no answer"])
def test_a_refused_source_in_which_no_lookup_shows_a_reason_is_tried_again_ever_more_rarely(
    seen: SourceStatus,
) -> None:
    """Twice as long each time, with jitter, up to a minute; from the start once it took an event."""
    target = TargetRig()
    queue = target.met(seen)
    pauses = [reopening(target, queue, seen) for _ in range(10)]

    for tries, pause_s in enumerate(pauses):
        most = min(60.0, 0.5 * 2**tries)
        assert most / 10 <= round(pause_s, 6) <= most

    target.gate.taken(target.meet(policy="dead_letter"))
    assert round(reopening(target, queue, seen), 6) <= 0.5


def test_a_refusal_counts_once_until_the_source_is_tried_again() -> None:
    """Answers to requests that were in flight with the first one say nothing new."""
    target = TargetRig(max_refusals=2)
    queue = target.met(ACTIVE)
    target.put(1, to=queue)
    for _ in range(5):
        target.gate.refused(queue)

    assert [] == target.hear(ACTIVE)
    for _ in range(5):
        target.gate.refused(queue)
    assert 2 == len(target.state_feed.followed)


def test_a_source_that_is_tried_again_is_looked_up_as_often_as_ever() -> None:
    """News that come while it waits for its next try change nothing in that."""
    target = TargetRig()
    queue = target.met(ACTIVE)
    target.gate.refused(queue)
    target.hear(ACTIVE)
    reopen_s = target.gate.next_s(target.now_s)
    target.hear(ACTIVE)

    assert reopen_s == target.gate.next_s(target.now_s)
    assert Gate.HELD is gate_of(queue)


def test_sources_are_tried_again_each_in_its_time() -> None:
    """The next moment is that of the first of them, or of the next lookup."""
    target = TargetRig()
    queues = {source: target.met(ACTIVE, source) for source in ("blue", "acme")}
    for source, queue in queues.items():
        target.gate.refused(queue)
        target.hear(ACTIVE, source=source)
    first_s = target.gate.next_s(target.now_s)
    assert first_s is not None
    target.now_s = first_s
    target.gate.step(first_s)
    assert [Gate.OPEN, Gate.HELD] == sorted(queue.gate for queue in queues.values())

    second_s = target.gate.next_s(target.now_s)
    assert second_s is not None
    assert second_s > first_s
    target.state_feed.next_lookup_s = {target.now_s: second_s - 0.001}
    assert second_s - 0.001 == target.gate.next_s(target.now_s)
    target.state_feed.next_lookup_s = {target.now_s: second_s + 100}
    assert second_s == target.gate.next_s(target.now_s)


@pytest.mark.parametrize("sends_unseen", [True, False])
@pytest.mark.parametrize("policy", ["hold", "dead_letter"])
def test_a_refused_source_that_was_active_and_cannot_be_looked_up_is_missing(
    policy: InactivePolicy, sends_unseen: bool
) -> None:
    """EventBridge said so, and nothing else speaks of it. The reason names both."""
    target = TargetRig(sends_unseen=sends_unseen)
    queue = target.met(SourceStatus("ACTIVE", account="123456789012"), policy=policy)
    waiting = target.put(1, 2, to=queue)
    target.gate.refused(queue)
    assert [] == target.hear(DENIED)
    assert Gate.HELD is gate_of(queue)
    away = target.hear(NO_ANSWER)

    reason = "EventBridge refuses its events as those of no source, and no lookup of it was answered in time"
    missing = SourceStatus("MISSING", account="123456789012", reason=reason)
    assert missing == target.gate.seen("blue")
    assert (waiting if policy == "dead_letter" else []) == [pending for pending, _ in away]
    assert (Gate.HELD if policy == "hold" else Gate.REFUSED) is queue.gate
    assert Change("far", "blue", "ACTIVE", missing, 0) == target.changes.all[-1]
    assert not target.gate.is_awaited
    assert target.gate.next_s(target.now_s) is None
    target.wait(1_000)
    assert Gate.OPEN is not gate_of(queue)
    target.hear(ACTIVE)
    assert Gate.OPEN is gate_of(queue)


def test_a_refused_source_is_missing_also_where_no_reason_is_known() -> None:
    """The sentence is whole in any case."""
    target = TargetRig()
    queue = target.met(ACTIVE)
    target.gate.refused(queue)
    target.hear(SourceStatus("UNKNOWN"))

    assert str(target.gate.seen("blue").reason).endswith("of no source, and it cannot be looked up")


@UNKNOWNS
def test_replay_takes_a_refused_source_that_was_never_looked_up_for_missing(unknown: SourceStatus) -> None:
    """Also where the permission is missing: the refusal is all there is to go by."""
    target = TargetRig(sends_unseen=False)
    refuse = target.meet(policy="dead_letter")
    target.hear(DENIED)
    target.gate.refused(refuse)
    waiting = target.put(1, to=refuse)
    away = target.hear(unknown)

    assert ("MISSING", False) == (target.gate.seen("blue").state, target.gate.seen("blue").is_denied)
    assert Gate.REFUSED is gate_of(refuse)
    assert waiting == [pending for pending, _ in away]
    assert ["source_unknown"] == [error.code for _, error in away]
    assert ("blue", "UNKNOWN", "MISSING") == (
        target.changes.all[-1].source,
        target.changes.all[-1].was,
        target.changes.all[-1].now.state,
    )
    assert not target.gate.is_awaited


def test_replay_gives_up_entries_of_a_source_that_is_refused_again_and_again() -> None:
    """A lookup shows nothing wrong each time. After the last refusal nothing is sent any more."""
    target = TargetRig(sends_unseen=False, max_refusals=3)
    queues = [target.meet(policy=policy) for policy in ("dead_letter", "hold")]
    target.hear(ACTIVE)
    waiting = [*target.put(1, to=queues[0]), *target.put(2, to=queues[1])]
    other = target.put(3, to=target.met(ACTIVE, "acme"))
    for _ in range(2):
        reopening(target, queues[0])
    target.gate.refused(queues[0])
    away = target.hear(ACTIVE)

    assert {*waiting} == {pending for pending, _ in away}
    assert all(isinstance(error, RefusedError) for _, error in away)
    assert other == target.queue.next_batch()


def test_replay_gives_up_nothing_of_a_source_that_took_events_between() -> None:
    """Only refusals in a row count."""
    target = TargetRig(sends_unseen=False, max_refusals=2)
    queue = target.met(ACTIVE)
    waiting = target.put(1, to=queue)
    for _ in range(5):
        reopening(target, queue)
        target.gate.taken(queue)

    assert waiting == target.queue.next_batch()


def test_entries_that_come_after_the_last_refusal_are_given_up_at_the_next_try() -> None:
    """They joined the queue between."""
    target = TargetRig(sends_unseen=False, max_refusals=1)
    blue, acme = target.met(ACTIVE), target.met(ACTIVE, "acme")
    for queue in (blue, acme):
        target.gate.refused(queue)
        target.hear(ACTIVE, source=queue.source)
    waiting = [target.put(offset, to=queue)[0] for offset, queue in enumerate((blue, acme))]
    away = target.wait(60)

    assert {*waiting} == {pending for pending, _ in away}


def test_the_bridge_gives_up_nothing_of_a_refused_source_by_itself() -> None:
    """It has all the time of `hold`."""
    target = TargetRig()
    queue = target.met(ACTIVE)
    waiting = target.put(1, to=queue)
    for _ in range(20):
        reopening(target, queue)

    assert waiting == target.queue.next_batch()


def test_a_lookup_is_waited_for_also_where_other_sources_are_only_refused() -> None:
    """`is_only_refused` says that no lookup would help."""
    target = TargetRig()
    blue = target.met(ACTIVE)
    target.gate.refused(blue)
    assert not target.gate.is_only_refused
    target.hear(ACTIVE)
    assert target.gate.is_only_refused
    target.meet("acme")
    assert not target.gate.is_only_refused


# Targets that are down


def aged(seen: SourceStatus = ACTIVE, *, sends_unseen: bool = True) -> tuple[TargetRig, SourceQueue]:
    """A source whose last lookup is older than it may be, at a target that is down."""
    target = TargetRig(sends_unseen=sends_unseen)
    target.state_feed.max_age_s = 10.0
    queue = target.met(seen)
    target.wait(10.5, is_down=True)
    return target, queue


def test_while_a_target_is_down_the_states_of_its_sources_grow_old() -> None:
    """Their customers may have left meanwhile, and all that waits would be sent at once."""
    target = TargetRig()
    target.state_feed.max_age_s = 10.0
    hold, refuse, send = (target.meet(policy=policy) for policy in ("hold", "dead_letter", "send"))
    target.hear(ACTIVE)
    waiting = target.put(1, to=refuse)
    target.wait(10.0, is_down=True)
    assert (Gate.OPEN, Gate.OPEN) == (hold.gate, refuse.gate)
    assert not target.gate.is_awaited

    assert [] == target.wait(0.5, is_down=True)
    assert (Gate.HELD, Gate.HELD, Gate.OPEN) == (hold.gate, refuse.gate, send.gate)
    assert target.gate.is_awaited
    assert not target.gate.is_only_refused
    assert [START_S + 10.0, START_S + 10.5] == target.state_feed.postponed_s

    target.hear(ACTIVE)
    assert (Gate.OPEN, Gate.OPEN) == (hold.gate, refuse.gate)
    assert not target.gate.is_awaited
    assert waiting == target.queue.next_batch()


def test_while_a_target_answers_nothing_grows_old() -> None:
    """The lookups that come anyway are enough."""
    target = TargetRig()
    target.state_feed.max_age_s = 10.0
    queue = target.met(ACTIVE)
    target.wait(1_000)

    assert Gate.OPEN is gate_of(queue)
    assert [] == target.state_feed.postponed_s
    assert START_S + 1_000 == target.state_feed.stepped_s[-1]


def test_each_source_is_as_old_as_its_own_last_lookup() -> None:
    """By its beginning, not by the order in which they were met."""
    target = TargetRig()
    target.state_feed.max_age_s = 10.0
    first, second = target.meet("first"), target.meet("second")
    target.hear(ACTIVE, source="first", began_s=START_S)
    target.hear(ACTIVE, source="second", began_s=START_S + 5)
    target.hear(ACTIVE, source="first", began_s=START_S + 10)
    target.wait(16, is_down=True)

    assert (Gate.OPEN, Gate.HELD) == (first.gate, second.gate)
    target.wait(5, is_down=True)
    assert (Gate.HELD, Gate.HELD) == (first.gate, second.gate)


def test_sources_with_events_that_wait_are_looked_up_at_once_and_then_twice_a_second() -> None:
    """Those without are looked up in their turn."""
    target = TargetRig()
    target.state_feed.max_age_s = 10.0
    target.met(ACTIVE, "idle")
    target.put(1, to=target.met(ACTIVE, "waits"))
    target.state_feed.followed.clear()
    urged = []
    for now_s in (10.5, 10.9, 11.0, 11.1, 11.4, 11.5):
        target.gate.step(START_S + now_s, is_down=True)
        if target.state_feed.followed:
            assert [("waits", False)] == target.state_feed.followed
            urged.append(now_s)
        target.state_feed.followed.clear()

    assert [10.5, 11.0, 11.5] == urged


def test_the_urging_goes_on_after_the_target_is_back_and_ends_with_the_lookup() -> None:
    """Events wait for it until then."""
    target, queue = aged()
    target.put(1, to=queue)
    target.state_feed.followed.clear()
    target.wait(1)
    assert [("blue", False)] == target.state_feed.followed

    target.hear(ACTIVE)
    target.state_feed.followed.clear()
    target.wait(1)
    assert [] == target.state_feed.followed


def test_a_source_that_grows_old_later_is_looked_up_at_once() -> None:
    """Not half a second after the others."""
    target = TargetRig()
    target.state_feed.max_age_s = 10.0
    for age_s, source in enumerate(("old", "young")):
        queue = target.meet(source)
        target.hear(ACTIVE, source=source, began_s=START_S + age_s / 10)
        target.put(age_s, to=queue)
    target.wait(10.05, is_down=True)
    target.state_feed.followed.clear()
    target.wait(0.1, is_down=True)

    assert {("old", False), ("young", False)} == {*target.state_feed.followed}


def test_after_an_outage_the_bridge_goes_on_with_the_last_state_where_no_lookup_is_answered() -> None:
    """In time: the feed says so once its patience is over."""
    target, queue = aged()
    target.hear(NO_ANSWER)

    assert (Gate.OPEN, "ACTIVE") == (queue.gate, target.gate.seen("blue").state)
    assert not target.gate.is_awaited


def test_after_an_outage_an_active_source_whose_lookup_is_denied_waits() -> None:
    """The permission may come back before the patience is over."""
    target, queue = aged()
    target.hear(DENIED)

    assert Gate.HELD is gate_of(queue)
    assert target.gate.is_awaited


@pytest.mark.parametrize("seen", [ACTIVE, NO_ANSWER], ids=["active", "never looked up"])
def test_a_source_that_was_opened_for_want_of_an_answer_is_closed_by_the_next_outage(
    seen: SourceStatus,
) -> None:
    """At once: its state is too old already."""
    target, queue = aged(seen)
    target.hear(NO_ANSWER)
    assert Gate.OPEN is gate_of(queue)
    target.wait(0.001, is_down=True)

    assert Gate.HELD is gate_of(queue)
    assert target.gate.is_awaited


def test_a_source_that_was_opened_for_want_of_an_answer_and_looked_up_since_is_not() -> None:
    """A lookup speaks for it again."""
    target, queue = aged()
    target.hear(NO_ANSWER)
    target.hear(ACTIVE)
    target.wait(0.001, is_down=True)

    assert Gate.OPEN is gate_of(queue)


def test_a_source_that_may_not_be_looked_up_stays_open_in_an_outage() -> None:
    """No lookup would ever come."""
    target, queue = aged(DENIED)

    assert Gate.OPEN is gate_of(queue)
    assert not target.gate.is_awaited


@UNKNOWNS
def test_a_closed_source_waits_for_no_lookup_after_one_that_failed(unknown: SourceStatus) -> None:
    """It stays closed in any case, and no lookup is urgent."""
    target, queue = aged(PENDING)
    assert target.gate.is_awaited
    target.hear(unknown)

    assert Gate.HELD is gate_of(queue)
    assert not target.gate.is_awaited
    target.wait(0.001, is_down=True)
    assert not target.gate.is_awaited


def test_a_source_that_was_never_looked_up_is_held_once_in_an_outage() -> None:
    """It waits for its first lookup, and for no other."""
    target = TargetRig()
    target.state_feed.max_age_s = 10.0
    queue = target.meet()
    target.wait(100, is_down=True)
    target.hear(ACTIVE)

    assert Gate.OPEN is gate_of(queue)
    assert not target.gate.is_awaited


def test_every_outage_makes_known_sources_old() -> None:
    """A lookup that came between two of them is as old as it is."""
    target, queue = aged()
    target.hear(ACTIVE)
    target.wait(10.5, is_down=True)

    assert Gate.HELD is gate_of(queue)


# Sources that are forgotten


@pytest.fixture
def few_sources(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three sources are remembered at once."""
    monkeypatch.setattr(queue_module, "MAX_SOURCES", 3)
    return iter(())


def crowd_out(target: TargetRig, *, policy: InactivePolicy = "hold", prefix: str = "other") -> None:
    """Meet other sources until the idle ones are forgotten."""
    for number in range(12):
        target.meet(f"{prefix}-{number}", policy)


@pytest.mark.usefixtures("few_sources")
def test_a_source_that_was_forgotten_is_looked_up_no_more_and_met_anew() -> None:
    """Nothing is known of one that was ACTIVE: it may have been long ago."""
    target = TargetRig()
    target.met(ACTIVE)
    crowd_out(target)
    assert "blue" in target.state_feed.forgotten
    assert "blue" not in {each.source for each in target.gate.standings()}
    assert "LOOKING" == target.gate.seen("blue").state

    target.state_feed.followed.clear()
    again = target.meet()
    assert [("blue", False)] == target.state_feed.followed
    assert Gate.HELD is gate_of(again)
    target.hear(DENIED)
    assert (Gate.OPEN, "UNKNOWN") == (again.gate, target.gate.seen("blue").state)


@pytest.mark.usefixtures("few_sources")
def test_a_source_is_not_forgotten_while_another_topic_has_a_queue_for_it() -> None:
    """Its state is that of both."""
    target = TargetRig()
    kept = target.met(ACTIVE)
    target.meet(policy="dead_letter")
    crowd_out(target, policy="dead_letter")

    assert "blue" not in target.state_feed.forgotten
    assert "ACTIVE" == target.gate.seen("blue").state
    target.hear(PENDING)
    assert Gate.HELD is gate_of(kept)


@pytest.mark.usefixtures("few_sources")
@UNKNOWNS
@pytest.mark.parametrize("sends_unseen", [True, False])
def test_a_source_that_was_closed_when_it_was_forgotten_is_closed_where_no_lookup_answers(
    unknown: SourceStatus, sends_unseen: bool
) -> None:
    """Its last state stays true until a lookup says otherwise, with the reason."""
    target = TargetRig(sends_unseen=sends_unseen)
    pending = SourceStatus("PENDING", expires_ms=7, reason="a reason")
    target.met(pending)
    crowd_out(target)
    queue = target.meet()
    assert "LOOKING" == target.gate.seen("blue").state
    target.hear(unknown)

    assert (Gate.HELD, pending) == (queue.gate, target.gate.seen("blue"))
    assert Change("far", "blue", "LOOKING", pending, 0) == target.changes.all[-1]
    assert not target.gate.is_inactive(target.meet("other-11"))
    target.hear(ACTIVE)
    assert Gate.OPEN is gate_of(queue)


@pytest.mark.usefixtures("few_sources")
def test_a_source_that_is_forgotten_again_before_it_was_looked_up_is_remembered_as_before() -> None:
    """It was closed when it was last seen, however long ago."""
    target = TargetRig()
    target.met(PENDING)
    for number in range(3):
        crowd_out(target, prefix=f"more-{number}")
        queue = target.meet()
    target.hear(NO_ANSWER)

    assert Gate.HELD is queue.gate


@pytest.mark.usefixtures("few_sources")
def test_a_source_that_became_active_before_it_was_forgotten_is_not_remembered_as_closed() -> None:
    """Only the last lookup counts."""
    target = TargetRig()
    target.met(PENDING)
    crowd_out(target)
    target.meet()
    target.hear(ACTIVE)
    crowd_out(target, prefix="more")
    queue = target.meet()
    target.hear(NO_ANSWER)

    assert Gate.OPEN is gate_of(queue)


@pytest.mark.usefixtures("few_sources")
def test_the_memory_of_closed_sources_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ones make room: memory must not grow with every name a template ever made."""
    monkeypatch.setattr(source_gate_module, "MAX_FORGOTTEN", 2)
    target = TargetRig()
    names = ["first", "second", "third"]
    for name in names:
        target.met(PENDING, name)
        crowd_out(target)
    gates = {}
    for name in names:
        queue = target.meet(name)
        target.hear(NO_ANSWER, source=name)
        gates[name] = queue.gate

    assert {"first": Gate.OPEN, "second": Gate.HELD, "third": Gate.HELD} == gates


@pytest.mark.usefixtures("few_sources")
@pytest.mark.parametrize("how", ["looking up", "refused", "aged", "unsure", "fresh"])
def test_whatever_is_forgotten_is_waited_for_no_more(how: str) -> None:
    """Nor does it trouble the steps that follow."""
    target = TargetRig()
    target.state_feed.max_age_s = 10.0
    queue = target.meet()
    if how != "looking up":
        target.hear(NO_ANSWER if how == "unsure" else ACTIVE)
    if how == "refused":
        target.gate.refused(queue)
    if how == "aged":
        target.wait(11, is_down=True)
    crowd_out(target)
    for each in target.gate.standings():
        target.hear(DENIED, source=each.source)
    assert "blue" in target.state_feed.forgotten

    target.wait(100, is_down=True)
    assert not target.gate.is_awaited
    assert "blue" not in {each.source for each in target.gate.standings()}


# Reports


def test_a_change_of_state_is_reported_once_with_the_state_before() -> None:
    """A lookup that finds the same says nothing new."""
    target = TargetRig()
    target.meet()
    for seen in (ACTIVE, ACTIVE, PENDING, PENDING, ACTIVE):
        target.hear(seen)

    assert [
        Change("far", "blue", "LOOKING", ACTIVE, 0),
        Change("far", "blue", "ACTIVE", PENDING, 0),
        Change("far", "blue", "PENDING", ACTIVE, 0),
    ] == target.changes.all


def test_events_accepted_since_the_last_lookup_may_have_been_dropped() -> None:
    """EventBridge says success until then. Those of all topics count, and those before that lookup do not."""
    target = TargetRig()
    hold, refuse = target.meet(), target.meet(policy="dead_letter")
    target.hear(ACTIVE)
    hold.delivered += 100
    target.hear(ACTIVE)
    hold.delivered += 3
    refuse.delivered += 4
    target.hear(PENDING)

    assert 7 == target.changes.all[-1].unsure


def test_events_that_were_sent_unseen_may_have_been_dropped() -> None:
    """All of them, also those from before a lookup that came to nothing."""
    target = TargetRig()
    queue = target.met(NO_ANSWER)
    queue.delivered += 5
    target.hear(NO_ANSWER)
    queue.delivered += 1
    target.hear(PENDING)

    assert 6 == target.changes.all[-1].unsure


def test_nothing_is_unsure_of_a_source_that_turns_out_active_or_was_known_to_be_closed() -> None:
    """With `send` events go to a source that is PENDING; that was known."""
    target = TargetRig()
    queue = target.met(NO_ANSWER, policy="send")
    queue.delivered += 5
    target.hear(ACTIVE)
    assert 0 == target.changes.all[-1].unsure
    target.hear(PENDING)
    assert 0 == target.changes.all[-1].unsure
    queue.delivered += 5
    target.hear(MISSING)
    assert 0 == target.changes.all[-1].unsure

    target.hear(ACTIVE)
    queue.delivered += 2
    target.hear(PENDING)
    assert 2 == target.changes.all[-1].unsure


def test_the_report_of_a_source_has_its_state_and_its_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that its topics hold and delivered, and since when it is in that state."""
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.5)
    target = TargetRig()
    hold, refuse = target.meet(), target.meet(policy="dead_letter")
    assert SourceReport("blue", "LOOKING", 1_700_000_000_500, None, None, None, 0, 0, 0) == target.report()

    monkeypatch.setattr("time.time", lambda: 1_700_000_001.0)
    pending = SourceStatus("PENDING", account="123456789012", expires_ms=1_800_000_000_000, reason="a reason")
    target.hear(pending)
    target.put(1, 2, to=hold)
    hold.delivered += 3
    hold.delivered_bytes += 70_000
    hold.more_chunks += 1
    hold.last_delivery = LastDelivery(5, "ours-5", "theirs-5")
    refuse.delivered += 4
    refuse.delivered_bytes += 140_000
    refuse.more_chunks += 2
    refuse.last_delivery = LastDelivery(4, "ours-4", "theirs-4")
    target.gate.failed("blue", LastError(6, "InternalFailure", "x" * 1_000))
    target.gate.dead_lettered("blue", LastError(5, "entry_refused", "an earlier error"))
    monkeypatch.setattr("time.time", lambda: 1_700_000_002.0)
    target.hear(pending)
    target.meet("acme")

    assert ["blue", "acme"] == [each.source for each in target.gate.standings()]
    reports = {each.source: each for each in target.gate.standings({hold: 8, refuse: 7})}
    assert reports["blue"] == SourceReport(
        "blue",
        "PENDING",
        since_ms=1_700_000_001_000,
        account="123456789012",
        expires_ms=1_800_000_000_000,
        reason="a reason",
        held=2,
        delivered=7,
        billed_chunks=10,
        delivered_bytes=210_000,
        dead_lettered=1,
        looked_up_ms=1_700_000_002_000,
        oldest_waiting_ms=7,
        last_delivery=hold.last_delivery,
        last_error=LastError(6, "InternalFailure", "x" * 299 + "…"),
    )


def test_changed_is_true_once_for_each_change(few_sources: None) -> None:
    """A source that is met, another state, another time at which EventBridge deletes it."""
    target = TargetRig()
    assert target.gate.changed()
    assert not target.gate.changed()

    target.meet()
    assert target.gate.changed()
    target.meet(policy="dead_letter")
    assert not target.gate.changed()
    for seen in (
        ACTIVE,
        PENDING,
        SourceStatus("PENDING", expires_ms=1),
        SourceStatus("PENDING", expires_ms=2),
    ):
        target.hear(seen)
        assert target.gate.changed()
        target.hear(seen)
        assert not target.gate.changed()


def test_a_source_that_was_forgotten_is_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is shown no more."""
    target = TargetRig()
    target.met(ACTIVE)
    queue = target.queue.queues_of("blue")[0]
    monkeypatch.setattr(target.queue, "queues_of", lambda _: [])
    target.gate.changed()
    target.gate.forgotten(queue)

    assert target.gate.changed()


def test_the_trouble_of_lookups_is_that_of_the_feed() -> None:
    """Health and the loop ask the gate."""
    target = TargetRig()
    assert (False, None) == (target.gate.is_looking_up, target.gate.trouble)
    target.state_feed.is_looking_up, target.state_feed.trouble = True, (5.0, "throttled")

    assert (True, (5.0, "throttled")) == (target.gate.is_looking_up, target.gate.trouble)
