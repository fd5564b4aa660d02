"""What is paused, and that it goes on: nothing that is held, failing or down outlasts its reason."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from connector.delivery.queue import room_beside
from connector.errors import ThrottledError, UnavailableError
from connector.eventbridge.errors import outcome
from connector.model import Answer, Delivered, Entry, Forbidden, Outcome, Partition, Retriable, SourceState
from tests.fakes import Judge, accept, outcomes
from tests.rig import P0, P1, Rig, error, number_of, record
from tests.unit.delivery.test_source_gate import ACME, BLUE, metric, of, written

P2 = Partition("orders", 2)
HOLD = ("    target:", "    on_inactive_source: hold\n    target:")
ONE_TARGET = (
    "targets:\n  far: {region: us-east-1, max_in_flight: 4, "
    "retry: {initial_interval: 1ms, max_interval: 4ms}}\n",
    "",
)
TO_ONE = ("    target: \"${value.target || 'default'}\"\n", "")
DOWN = error(UnavailableError("connection refused"))


def seconds(rig: Rig, count: float) -> None:
    rig.clock.now_s += count


def to_blue(result: Outcome) -> Judge:
    """Accepts everything but one customer's entries."""
    return lambda entries: outcomes(
        [result if entry.source == BLUE else Delivered("id") for entry in entries]
    )


@pytest.mark.parametrize(
    ("limits", "large"),
    [
        pytest.param(("max_pending_records: 200", "max_pending_records: 200"), 10, id="records"),
        pytest.param(("max_pending_records: 200", "max_pending_bytes: 1MiB"), 5_000, id="bytes"),
    ],
)
@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.long
def test_held_records_and_a_moment_of_fullness_pause_nothing_for_ever(
    tmp_path: Path, limits: tuple[str, str], large: int, targets: int
) -> None:
    """One customer is held, others fill what is left while EventBridge is down: then all goes on."""
    changes = [HOLD, limits, ("max_held_records: 30", "max_held_records: 1000")]
    rig = Rig(written(tmp_path, *changes, *([ONE_TARGET, TO_ONE] if targets == 1 else [])))
    rig.state_feed.states[BLUE] = "PENDING"
    rig.consumer.put(*(record(n, tenant="blue", text="x" * large) for n in range(300)))
    rig.consumer.put(*(record(5_000 + n, partition=P1, text="x" * large) for n in range(600)))
    rig.sink.judge = lambda _: DOWN

    def until() -> bool:
        if rig.clock.now_s > 1_020:
            rig.sink.judge = accept
        return rig.consumer.committed.get(P1) == 5_600

    rig.run(until, max_polls=10_000)

    assert "paused" not in str(rig.health.ready()[1]["reasons"])
    assert metric(rig, "held_records", target="default") > 0
    assert [] == of(rig, BLUE)


@pytest.mark.parametrize("customers", [10, 40])
@pytest.mark.long
def test_however_many_customers_are_held_the_others_go_on(tmp_path: Path, customers: int) -> None:
    """Also where what waited for them in an outage is more than may be held."""
    rig = Rig(written(tmp_path, HOLD, ONE_TARGET, TO_ONE))
    rig.sink.judge = lambda _: DOWN
    tenants = [f"late-{number}" for number in range(customers)]
    rig.consumer.put(*(record(n, tenant=tenants[n % customers]) for n in range(1_000)))

    def until() -> bool:
        if rig.consumer.polls == 100:
            assert {P0, P1} == rig.consumer.paused
            for tenant in tenants:
                rig.state_feed.change(f"aws.partner/example.com/{tenant}", "PENDING")
            rig.consumer.put(*(record(5_000 + n, partition=P1) for n in range(600)))
        if rig.consumer.polls == 200:
            rig.sink.judge = accept
        return rig.consumer.committed.get(P1) == 5_600

    rig.run(until)

    assert rig.bridge._ledger.pending_records <= 2 * 200


@given(held=st.floats(0, 1e7), limit=st.floats(1, 1e6))
def test_held_records_always_leave_room_and_never_grow_without_end(held: float, limit: float) -> None:
    """Half of the limit up to half of it held, and less the more is held beyond."""
    room = room_beside(held, limit)

    assert room > 0
    assert (room >= limit / 2) == (held <= limit / 2)
    assert held + room <= limit * 1.000_001 or held > limit / 2
    assert room_beside(held * 1.1 + 1, limit) < room


def test_a_pause_and_a_resume_are_far_apart(tmp_path: Path) -> None:
    """Resuming at once would pause again after one poll, and each pause throws away what was prefetched."""
    rig = Rig(written(tmp_path, ONE_TARGET, TO_ONE))
    rig.consumer.put(*(record(n) for n in range(1_000)))
    resumed_with: list[int] = []
    resume = rig.consumer.resume

    def resumed(partitions: Sequence[Partition]) -> None:
        if rig.consumer.paused:
            resumed_with.append(rig.bridge._ledger.pending_records)
        resume(partitions)

    rig.consumer.resume = resumed  # type: ignore[method-assign, assignment]
    rig.sink.is_holding = True

    def until() -> bool:
        if rig.consumer.polls > 50 and rig.consumer.polls % 3 == 0:
            rig.sink.answer_held()
        return rig.consumer.committed.get(P0) == 1_000

    rig.run(until)

    assert resumed_with
    assert all(count <= 100 for count in resumed_with), "200 may be pending"


def test_a_source_that_fails_alone_waits_alone_and_is_named(tmp_path: Path) -> None:
    """Its entries are tried again now and then; the others go on at full speed behind and beside it."""
    rig = Rig(written(tmp_path, ONE_TARGET, TO_ONE))

    rig.sink.judge = to_blue(Retriable("InternalFailure", "Internal Service Failure"))
    rig.consumer.put(*(record(n, tenant="blue" if n % 50 == 0 else "acme") for n in range(1_000)))
    shown: list[object] = []

    def until() -> bool:
        if rig.consumer.polls == 900:
            assert 980 == len({n for n in rig.delivered_ids if n % 50})
            is_ready, details = rig.health.ready()
            assert is_ready
            shown.extend(details["sources_failing"])  # type: ignore[arg-type]
            assert 1 == metric(rig, "source_failing", source=BLUE)
            rig.sink.judge = accept
        if rig.consumer.polls == 1_200:
            assert [] == rig.health.ready()[1]["sources_failing"]
        return rig.consumer.polls >= 1_200 and rig.consumer.committed.get(P0) == 1_000

    rig.run(until)

    (blue,) = shown
    assert isinstance(blue, dict)
    assert (BLUE, "default", 20) == (blue["source"], blue["target"], blue["waiting"])
    assert "InternalFailure" in str(blue["reason"])
    assert [] == rig.dead_letters.codes
    assert 0 == metric(rig, "source_failing", source=BLUE)


def test_a_source_that_fails_alone_and_has_much_pauses_its_partition_and_no_other(tmp_path: Path) -> None:
    """None of its records is a dead letter for that, also with `when_held_is_full: dead_letter`."""
    rig = Rig(written(tmp_path, ONE_TARGET, TO_ONE))

    rig.sink.judge = to_blue(Retriable("InternalFailure", ""))
    rig.consumer.put(*(record(n, tenant="blue") for n in range(1_000)))
    rig.consumer.put(*(record(5_000 + n, partition=P1) for n in range(3_000)))

    def until() -> bool:
        if rig.consumer.committed.get(P1) == 8_000:
            rig.sink.judge = accept
        return rig.consumer.committed.get(P0) == 1_000

    rig.run(until)

    assert [] == rig.dead_letters.codes
    assert list(range(1_000)) == sorted(set(of(rig, BLUE)))


@pytest.mark.parametrize("code", ["source_not_authorized", "source_unknown"])
@pytest.mark.parametrize("policy", ["hold", "dead_letter"])
@pytest.mark.long
def test_a_verdict_about_one_source_closes_that_source_and_never_the_bridge(
    tmp_path: Path, policy: str, code: str
) -> None:
    """Its neighbours in the request are delivered, and it is tried again, since a look finds it ACTIVE."""
    rig = Rig(written(tmp_path, (HOLD[0], HOLD[1].replace("hold", policy)), ONE_TARGET, TO_ONE))

    rig.sink.judge = to_blue(
        Retriable(code, "NotAuthorizedForSourceException: Not authorized for the source.")
    )
    rig.consumer.put(*(record(n, tenant="blue" if n == 7 else "acme") for n in range(20)))

    def until() -> bool:
        seconds(rig, 0.5)
        if rig.consumer.polls % 10 == 0:
            rig.consumer.put(record(5_000 + rig.consumer.polls, partition=P1))
        if rig.consumer.polls == 1_000:
            assert {n for n in range(20) if n != 7} == set(rig.delivered_ids) & set(range(20)) - {7}
            assert 2 < len(of(rig, BLUE)) < 100
            if policy == "hold":
                assert BLUE in str(rig.health.ready()[1]["sources_failing"])
            rig.sink.judge = accept
        return rig.consumer.polls > 1_000 and rig.consumer.committed.get(P0) == 20

    rig.run(until)

    assert ([] if policy == "hold" else [code]) == rig.dead_letters.codes


@pytest.mark.parametrize("code", ["NotAuthorizedForDetailTypeException", "NotAuthorizedForSourceException"])
def test_an_entry_that_is_refused_while_its_source_takes_others_is_a_dead_letter_also_under_hold(
    tmp_path: Path, code: str
) -> None:
    """Else one detail type that is not allowed would hold the commit for ever."""
    rig = Rig(written(tmp_path, HOLD, ONE_TARGET, TO_ONE))
    refused = outcome({"ErrorCode": code, "ErrorMessage": "Not authorized."})
    rig.sink.judge = lambda entries: outcomes(
        [refused if number_of(entry) == 5 else Delivered("id") for entry in entries]
    )
    rig.consumer.put(*(record(n) for n in range(20)))

    def until() -> bool:
        seconds(rig, 0.5)
        if rig.consumer.polls % 5 == 0:
            rig.consumer.put(record(5_000 + rig.consumer.polls, partition=P1))
        return rig.consumer.committed.get(P0) == 20

    rig.run(until)

    assert ["source_not_authorized"] == rig.dead_letters.codes
    assert rig.delivered_ids.count(5) < 20


def test_an_account_that_is_refused_for_one_source_alone_is_not_refused(tmp_path: Path) -> None:
    """AccessDeniedException for one entry of twenty is that source's."""
    rig = Rig(written(tmp_path, HOLD, ONE_TARGET, TO_ONE))

    rig.sink.judge = to_blue(Forbidden("AccessDeniedException", "no"))
    rig.consumer.put(*(record(n, tenant="blue" if n == 7 else "acme") for n in range(20)))

    def until() -> bool:
        if rig.consumer.polls == 100:
            assert 19 == len(set(rig.delivered_ids) - {7})
            rig.sink.judge = accept
        return rig.consumer.committed.get(P0) == 20

    rig.run(until)

    assert [] == rig.dead_letters.codes


def test_the_first_request_refused_for_its_only_source_halts_nothing(tmp_path: Path) -> None:
    """Else one customer would stop the others at every start, at the same offset."""
    rig = Rig(written(tmp_path, HOLD, ONE_TARGET, TO_ONE))
    rig.sink.judge = to_blue(Forbidden("AccessDeniedException", "no"))
    rig.consumer.put(record(0, tenant="blue"))

    def until() -> bool:
        if rig.consumer.polls == 100:
            rig.consumer.put(*(record(n, tenant="acme") for n in range(1, 20)))
        if rig.consumer.polls == 300:
            assert set(range(1, 20)) <= set(rig.delivered_ids)
            rig.sink.judge = accept
        return rig.consumer.committed.get(P0) == 20

    rig.run(until)

    assert [] == rig.dead_letters.codes


def test_several_customers_who_are_refused_first_of_all_halt_nothing(tmp_path: Path) -> None:
    """The same with an answer that holds entries of two of them, before anything was accepted."""
    rig = Rig(written(tmp_path, HOLD, ONE_TARGET, TO_ONE))
    refused = Forbidden("AccessDeniedException", "no")
    rig.sink.judge = lambda entries: outcomes(
        [Delivered("id") if entry.source == ACME else refused for entry in entries]
    )
    rig.consumer.put(*(record(n, tenant="blue" if n % 2 else "green") for n in range(10)))

    def until() -> bool:
        if rig.consumer.polls == 100:
            rig.consumer.put(*(record(n, tenant="acme", partition=P1) for n in range(10, 30)))
        return rig.consumer.committed.get(P1) == 30

    rig.run(until)

    assert [] == rig.dead_letters.codes


@pytest.mark.parametrize("is_whole_source", [True, False])
@pytest.mark.long
def test_what_fails_for_ever_and_leaves_no_room_ages_beside_an_idle_partition(
    tmp_path: Path, is_whole_source: bool
) -> None:
    """It becomes dead letters after `max_age`, is named until then, and is no bug of the bridge."""
    rig = Rig(written(tmp_path, ONE_TARGET, TO_ONE, ("max_attempts: 3", "max_attempts: 3, max_age: 1m")))
    failed = Retriable("InternalFailure", "always")

    def is_bad(n: int) -> bool:
        return n % 2 == 1 if is_whole_source else n % 20 == 7

    rig.sink.judge = lambda entries: outcomes(
        [failed if is_bad(number_of(entry)) else Delivered("id") for entry in entries]
    )
    count = 400 if is_whole_source else 4_000
    rig.consumer.put(
        *(record(n, tenant="blue" if is_whole_source and n % 2 else "acme") for n in range(count))
    )
    named: set[str] = set()

    def until() -> bool:
        seconds(rig, 0.5)
        is_ready, body = rig.health.ready()
        assert is_ready, body
        named.update(source for source in (BLUE, ACME) if source in str(body["sources_failing"]))
        return not rig.consumer.records[P0] and len(rig.dead_letters.codes) >= 100

    rig.run(until, max_polls=20_000)

    assert {"retries_exhausted"} == set(rig.dead_letters.codes)
    assert {BLUE if is_whole_source else ACME} == named


@pytest.mark.long
def test_what_failed_alone_does_not_age_while_the_target_is_down_or_throttled(tmp_path: Path) -> None:
    """An outage costs no good record, also where what failed before it fills all the room there is."""
    rig = Rig(written(tmp_path, ONE_TARGET, TO_ONE, ("max_attempts: 3", "max_attempts: 3, max_age: 1m")))
    rig.sink.judge = to_blue(Retriable("InternalFailure", "for now"))
    rig.consumer.put(*(record(n, tenant="blue" if n % 2 else "acme") for n in range(400)))

    def until() -> bool:
        if rig.consumer.polls > 200:
            seconds(rig, 0.5)
        if rig.consumer.polls == 200:
            assert "source" in rig.bridge._flow.paused()
            rig.sink.judge = lambda _: error(ThrottledError("slow down"))
        if rig.consumer.polls == 700:
            rig.sink.judge = lambda _: DOWN
        if rig.consumer.polls == 1_200:
            rig.sink.judge = accept
        return rig.consumer.committed.get(P0) == 400

    rig.run(until)

    assert [] == rig.dead_letters.codes


def test_a_target_with_its_share_full_does_not_stop_the_customers_of_another(tmp_path: Path) -> None:
    """Nor does it where a customer of the other one leaves with a backlog."""
    limits = ("max_pending_records: 200", "max_pending_records: 2000")
    rig = Rig(written(tmp_path, HOLD, ("max_held_records: 30", "max_held_records: 10000"), limits))
    rig.bridge.on_assigned([P2])
    rig.sink.silent = {"far"}
    rig.consumer.put(*(record(n, tenant="far", target="far") for n in range(3_000)))

    def until() -> bool:
        if rig.consumer.polls == 50:
            rig.sink.is_holding = True
            rig.consumer.put(*(record(10_000 + n, tenant="blue", partition=P1) for n in range(1_000)))
        if rig.consumer.polls == 150:
            rig.state_feeds["default"].change(BLUE, "PENDING")
        if rig.consumer.polls == 155:
            rig.sink.is_holding = False
            rig.sink.answer_held()
            rig.consumer.put(*(record(n, tenant="acme", partition=P2) for n in range(50)))
        assert rig.bridge._ledger.pending_records <= 2 * 2_000
        return rig.consumer.committed.get(P2) == 50 and rig.bridge._senders["default"].held > 500

    rig.run(until, max_polls=1_000)


@pytest.mark.parametrize("failures", [2, 5])
def test_nothing_is_waited_for_once_all_that_failed_is_held_for_its_customer(
    tmp_path: Path, failures: int
) -> None:
    """A moment's trouble, also of a target taken to be down, does not outlast what it was about."""
    rig = Rig(written(tmp_path, HOLD, ONE_TARGET, TO_ONE))
    rig.sink.judge = lambda _: DOWN
    rig.consumer.put(*(record(n, tenant="blue") for n in range(5)))

    def until() -> bool:
        if len(rig.sink.requests) == failures and BLUE not in rig.state_feed.states:
            rig.state_feed.change(BLUE, "PENDING")
            rig.sink.judge = accept
        seconds(rig, 0.1 if rig.state_feed.states else 0.0)
        return rig.clock.now_s > 1_030 and rig.health.ready()[0]

    rig.run(until)

    assert 5 == metric(rig, "held_records", target="default")
    assert 0 == metric(rig, "target_state", target="default")


def test_a_rebalance_sends_no_more_than_a_low_rate_lets_leave_at_once(tmp_path: Path) -> None:
    """What is owed is left to the next owner, not sent one by one until a request may take no longer."""
    rate = ("  max_in_flight: 4\n", "  max_in_flight: 4\n  max_requests_per_second: 1\n")
    rig = Rig(written(tmp_path, ONE_TARGET, TO_ONE, rate))
    rig.consumer.put(*(record(n, tenant=f"t{n % 7}") for n in range(150)))
    took_s = 0.0

    def until() -> bool:
        nonlocal took_s
        if rig.consumer.polls == 100:
            before_s = rig.clock.now_s
            rig.bridge.on_revoked([P0])
            took_s = rig.clock.now_s - before_s
        return rig.consumer.polls > 100

    rig.run(until)

    assert took_s < 0.5


@hypothesis_settings(deadline=None, max_examples=12)
@given(
    seed=st.integers(0, 2**32),
    policy=st.sampled_from(["hold", "dead_letter"]),
    when_full=st.sampled_from(["pause", "dead_letter"]),
    has_far=st.booleans(),
)
@pytest.mark.long
def test_when_nothing_is_wrong_outside_no_partition_stays_paused(
    tmp_path_factory: pytest.TempPathFactory, seed: int, policy: str, when_full: str, has_far: bool
) -> None:
    """Outages, throttles, brown-outs, failing and leaving customers in any sequence; then all is well but for
    the customers that are PENDING: whoever does not wait for one of these goes on."""
    draw = random.Random(seed)
    rig = Rig(
        written(
            tmp_path_factory.mktemp("settings"),
            (HOLD[0], HOLD[1].replace("hold", policy)),
            ("max_held_records: 30", f"max_held_records: 60, when_held_is_full: {when_full}"),
            *([] if has_far else [ONE_TARGET, TO_ONE]),
        )
    )
    rig.bridge.on_assigned([P2, Partition("orders", 3)])  # on the last one nothing ever comes
    tenants = [f"t{number}" for number in range(6)]
    ways = ["accept", "down", "throttle", "brown-out", "customers"]
    way = dict.fromkeys(["default", "far"], "accept")
    failing: set[str] = set()

    def judge(entries: Sequence[Entry]) -> Answer:
        if not entries:  # a probe
            return DOWN if "down" in way.values() else accept(entries)
        match way[entries[0].target]:
            case "down":
                return DOWN
            case "throttle":
                return error(ThrottledError("slow down"))
            case "brown-out":
                share = 0.5
            case _:
                share = 0.0
        return outcomes(
            [
                Retriable("InternalFailure", "")
                if draw.random() < share or entry.source in failing
                else Delivered("id")
                for entry in entries
            ]
        )

    rig.sink.judge = judge
    offsets = {P0: 0, P1: 0, P2: 0}

    def put(partition: Partition, count: int, chosen: Sequence[str]) -> None:
        for _ in range(count):
            target = {"target": "far"} if has_far and draw.random() < 0.3 else {}
            rig.consumer.put(
                record(offsets[partition], partition=partition, tenant=draw.choice(chosen), **target)
            )
            offsets[partition] += 1

    # On the last partition are only customers who are well at the end.
    well = tenants[:3]
    quiet_s = 0.0

    def until() -> bool:
        nonlocal quiet_s
        polls = rig.consumer.polls
        if polls < 400 and polls % 20 == 0:
            target = draw.choice(["default", "far"])
            way[target] = draw.choice(ways)
            failing.clear()
            if way[target] == "customers":
                failing.update(f"aws.partner/example.com/{t}" for t in draw.sample(tenants, 2))
            states: list[SourceState] = ["ACTIVE", "PENDING"]
            name = f"aws.partner/example.com/{draw.choice(tenants)}"
            for state_feed in rig.state_feeds.values():
                state_feed.change(name, draw.choice(states))
            put(P0, draw.randrange(40), tenants)
            put(P1, draw.randrange(40), tenants)
            put(P2, draw.randrange(40), well)
        if polls == 400:
            way.update(default="accept", far="accept")
            failing.clear()
            for state_feed in rig.state_feeds.values():
                for tenant in tenants:
                    state: SourceState = "ACTIVE" if tenant in well else "PENDING"
                    state_feed.change(f"aws.partner/example.com/{tenant}", state)
            quiet_s = rig.clock.now_s
        if polls > 400:
            seconds(rig, 0.1)
            assert "paused" not in str(rig.health.ready()[1]["reasons"])
            if rig.clock.now_s > quiet_s + 30:
                assert P2 not in rig.consumer.paused
                assert offsets[P2] == rig.consumer.committed.get(P2, 0)
                if when_full == "dead_letter":
                    assert set() == rig.consumer.paused
                return True
        return False

    rig.run(until, max_polls=20_000)


def test_a_partition_that_is_stuck_is_a_reason_not_to_be_ready(tmp_path: Path) -> None:
    """Where our own bookkeeping is wrong: it says which partition, since when, and why."""
    rig = Rig(written(tmp_path, ONE_TARGET, TO_ONE))
    rig.bridge._ledger.pending_records += 200
    rig.consumer.put(*(record(n) for n in range(10)))

    def until() -> bool:
        seconds(rig, 0.1)
        return "paused" in str(rig.health.ready()[1]["reasons"])

    rig.run(until)

    assert "orders[0] has been paused for 3" in str(rig.health.ready()[1]["reasons"])
    assert rig.clock.now_s < 1_035


@pytest.mark.long
def test_a_backlog_behind_a_rate_limit_is_not_stuck(tmp_path: Path) -> None:
    """Paused for minutes, and it moves all the time."""
    rig = Rig(
        written(
            tmp_path,
            ONE_TARGET,
            TO_ONE,
            ("  max_in_flight: 4\n", "  max_in_flight: 4\n  max_requests_per_second: 0.02\n"),
        )
    )
    rig.consumer.put(*(record(n) for n in range(1_000)))

    def until() -> bool:
        seconds(rig, 0.5)
        assert rig.health.ready()[0]
        return rig.clock.now_s > 1_300

    rig.run(until)

    assert rig.consumer.paused
    assert number_of(rig.sink.requests[0][0]) == 0


def test_a_client_that_goes_back_above_a_held_record_does_not_commit_past_it(tmp_path: Path) -> None:
    """5 is held, 100 were read, and the log was cut back to 90: 5 is not read again, so the commit waits."""
    rig = Rig(written(tmp_path, HOLD, ONE_TARGET, TO_ONE))
    rig.state_feed.states[BLUE] = "PENDING"
    rig.consumer.put(*(record(n, tenant="blue" if n == 5 else "acme") for n in range(100)))

    def until() -> bool:
        if rig.consumer.polls == 200:
            assert {P0: 5} == rig.consumer.committed
            rig.consumer.put(*(record(n) for n in range(90, 95)))
        if rig.consumer.polls == 400:
            assert 2 == rig.delivered_ids.count(94)
            assert {P0: 5} == rig.consumer.committed
            rig.state_feed.change(BLUE, "ACTIVE")
        return rig.consumer.committed.get(P0) == 95

    rig.run(until)

    assert [5] == of(rig, BLUE)
