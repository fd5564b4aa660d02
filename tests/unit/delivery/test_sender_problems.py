"""Problems of a target, and sources that fail alone, which are none."""

from __future__ import annotations

import pytest

from connector.delivery.rate import FAILURES_TO_OPEN, BreakerState
from connector.delivery.source_gate import UNANSWERED
from connector.errors import ThrottledError, UnavailableError
from connector.model import Claim
from tests.sender_rig import (
    INTERNAL,
    REFUSED,
    THROTTLED,
    UNKNOWN_SOURCE,
    YES,
    SenderRig,
    State,
    failed,
    problem_after,
)
from tests.target_rig import PENDING, START_S

# Problems


def test_a_request_without_an_answer_is_a_problem_after_a_while() -> None:
    """Also where none has failed yet."""
    rig = SenderRig()
    assert problem_after(rig, 100) is None
    rig.add(0)
    assert problem_after(rig, 100) is None
    rig.send()

    assert problem_after(rig, 2.0) is None
    assert "EventBridge in eu-central-1 has not answered for 3 s" == problem_after(rig, 3.0)
    assert rig.sender.is_held_up(rig.now_s + 3.0)
    assert not rig.sender.is_held_up(rig.now_s + 2.0)


def test_a_bucket_that_is_silent_is_named_as_soon_as_eventbridge_would_be() -> None:
    """EventBridge is not accused of what S3 does, and S3 only until it has the object."""
    rig = SenderRig(claim_check={"bucket": "large-events"})
    claim = Claim(b"{}", key="1", place="$.detail")
    rig.add(0, claim=claim)
    rig.add(1)
    rig.send()
    uploads = "uploads to the bucket large-events of the claim check have not ended"

    assert problem_after(rig, 2.0) is None
    assert f"{uploads} for 3 s" == problem_after(rig, 3.0)
    claim.is_stored = True
    assert "EventBridge in eu-central-1 has not answered for 3 s" == problem_after(rig, 3.0)
    claim.is_stored = False
    rig.fail(UnavailableError("the bucket large-events takes nothing", code="claim_check"))
    rig.send(wait_s=8.0)
    taken = "the bucket large-events takes nothing"
    assert f"nothing was accepted in eu-central-1 for 11 s: {taken}" == problem_after(rig, 3.0)


def test_the_problem_of_a_target_has_its_reason_its_age_and_the_next_try() -> None:
    """It began with the first of the requests that came to nothing."""
    rig = SenderRig()
    rig.add(0)
    rig.go_down()
    assert "nothing was accepted in eu-central-1 for 32 s: no answer" == problem_after(rig, 0)
    rig.send(wait_s=8.0)
    rig.fail(ThrottledError("slow down"), retry_after_s=5.0)

    assert "nothing was accepted in eu-central-1 for 40 s: slow down; next try in 5 s" == problem_after(
        rig, 0
    )
    assert "nothing was accepted in eu-central-1 for 44 s: slow down; next try in 1 s" == problem_after(
        rig, 4.0
    )
    assert "nothing was accepted in eu-central-1 for 44 s: slow down" == problem_after(rig, 4.25)
    rig.send(wait_s=5.0)
    assert "nothing was accepted in eu-central-1 for 45 s: slow down" == problem_after(rig, 0)
    rig.answer(YES)
    assert problem_after(rig, 100) is None


def test_while_a_request_is_in_flight_no_next_try_is_named() -> None:
    """It may be answered first."""
    rig = SenderRig(max_in_flight=16)
    rig.add(0)
    rig.send()
    rig.add(1)
    rig.send()
    rig.fail(ThrottledError("slow down"), retry_after_s=50.0)

    assert "nothing was accepted in eu-central-1 for 3 s: slow down" == problem_after(rig, 3.0)


def test_a_target_that_takes_no_entry_is_a_problem_with_the_first_reason() -> None:
    """As one that does not answer."""
    rig = SenderRig(has_many_sources=False)
    rig.add(0, 1)
    rig.send()
    rig.answer(INTERNAL, THROTTLED)

    assert problem_after(rig, 3.0) == (
        "nothing was accepted in eu-central-1 for 3 s: EventBridge takes no entry (InternalFailure: it broke)"
    )
    assert (
        State("far", BreakerState.OK, "up", "EventBridge takes no entry (InternalFailure: it broke)", 0.0)
        == (rig.telemetry.states[-1])
    )


def test_an_answer_that_refuses_an_entry_for_good_is_no_problem_of_the_target() -> None:
    """It works: the record was wrong."""
    rig = SenderRig()
    rig.add(0)
    rig.send()
    rig.answer(REFUSED)
    rig.add(1)

    assert problem_after(rig, 100) is None


def test_an_answer_that_accepts_something_begins_the_wait_of_the_others_anew() -> None:
    """Requests in flight since before may be slow; their reason is not that of an earlier failure."""
    rig = SenderRig(max_in_flight=32)
    for offset in range(3):
        rig.add(offset)
        rig.send()
    rig.fail(UnavailableError("no answer"), request=0)
    rig.now_s += 10
    rig.answer(YES, request=1)

    assert problem_after(rig, 2.0) is None
    assert "EventBridge in eu-central-1 has not answered for 3 s" == problem_after(rig, 3.0)
    rig.answer(YES)
    assert problem_after(rig, 100) is None


def test_a_source_that_fails_alone_is_no_problem_of_the_target() -> None:
    """It is shown as that. Nor does a request that carries nothing else explain a silence."""
    rig = SenderRig()
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
    rig = SenderRig()
    rig.add(0)
    rig.send()
    rig.accept_beside()
    assert problem_after(rig, 3.0) is not None
    rig.answer(INTERNAL, request=-2)

    assert problem_after(rig, 100) is None


def test_a_target_that_goes_down_under_a_source_that_fails_alone_is_a_problem() -> None:
    """From the request on that showed it."""
    rig = SenderRig()
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
    assert "nothing was accepted in eu-central-1 for 4 s: no answer" == problem_after(rig, 3.0)


def test_a_request_of_a_source_that_fails_alone_leaves_no_problem_where_others_are_accepted() -> None:
    """However long it takes."""
    rig = SenderRig()
    rig.add(0)
    rig.add(1, source="acme")
    rig.send()
    rig.answer(INTERNAL, YES)
    assert [[0]] == rig.send(wait_s=8.0)
    rig.accept_beside()

    assert problem_after(rig, 100) is None


def test_a_failure_of_a_lonely_source_beside_others_that_wait_leaves_the_problem() -> None:
    """Those others have had no answer."""
    rig = SenderRig(max_in_flight=32)
    rig.add(0)
    rig.add(1, source="acme")
    rig.send()
    rig.answer(INTERNAL, YES)
    rig.add(2, source="acme")
    rig.send()
    rig.send(wait_s=1.0)
    rig.now_s += 4
    rig.answer(INTERNAL)

    assert "EventBridge in eu-central-1 has not answered for 5 s" == problem_after(rig, 0)


def test_entries_that_were_taken_away_leave_no_problem() -> None:
    """There is nothing to send, so nothing is in vain."""
    rig = SenderRig()
    rig.add(0)
    rig.send()
    rig.fail(UnavailableError("no answer"))
    assert problem_after(rig, 100) is not None
    rig.sender.discard(lambda _: True)

    assert problem_after(rig, 100) is None


def test_entries_that_wait_for_customers_alone_are_no_problem_of_the_target() -> None:
    """Unless it is down, or lookups are waited for."""
    rig = SenderRig()
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
    rig = SenderRig()
    rig.expect("blue")
    rig.add(0, policy="hold")
    rig.send()
    rig.fail(UnavailableError("no answer"))
    rig.expect("blue", seen=PENDING)
    rig.sender.expect("acme", "hold")

    assert problem_after(rig, 100) is not None


def test_held_entries_of_a_target_that_is_down_are_its_problem() -> None:
    """They could not be sent either way."""
    rig = SenderRig()
    rig.expect("blue")
    rig.add(0, policy="hold")
    rig.go_down()
    rig.expect("blue", seen=PENDING)

    assert problem_after(rig, 100) is not None


def test_lookups_that_come_to_nothing_while_events_wait_for_them_are_a_problem() -> None:
    """With their own reason, and from when they began to fail."""
    rig = SenderRig()
    rig.state_feed.trouble = (rig.now_s - 1.0, "throttled")
    assert problem_after(rig, 100) is None
    rig.sender.expect("blue", "hold")
    assert problem_after(rig, 100) is None
    rig.add(0, policy="hold")
    assert problem_after(rig, 1.0) is None
    assert problem_after(rig, 3.0) == (
        "events wait, since no lookup of a source in eu-central-1 has succeeded for 4 s: throttled"
    )

    rig.expect("blue", seen=PENDING)
    assert problem_after(rig, 100) is None


def test_a_problem_of_both_planes_is_there_at_once_and_has_the_age_of_the_requests() -> None:
    """Lookups fail as the events would, and before them; then events left without one."""
    rig = SenderRig()
    rig.state_feed.trouble = (rig.now_s - 10.0, "throttled")
    rig.add(0)
    rig.send()
    rig.fail(UnavailableError("no answer"))

    lookups = "no lookup of a source in eu-central-1 has succeeded for 11 s: throttled"
    assert f"events wait, since {lookups}" == problem_after(rig, 1.0)
    assert "nothing was accepted in eu-central-1 for 3 s: no answer" == problem_after(rig, 3.0)


def test_no_problem_is_older_than_what_waits() -> None:
    """Lookups have failed for an hour, and nothing was sent for half of it: that is not how long it takes."""
    rig = SenderRig()
    rig.state_feed.trouble = (rig.now_s, "HTTP 500")
    rig.now_s += 1_800
    rig.accept_other()
    rig.now_s += 1_800
    rig.add(0)
    rig.send()

    assert problem_after(rig, 2.0) is None
    assert "EventBridge in eu-central-1 has not answered for 3 s" == problem_after(rig, 3.0)
    rig.fail(UnavailableError("HTTP 500"))
    assert problem_after(rig, 1.0) is None


def test_the_reason_of_one_problem_is_not_that_of_the_next() -> None:
    """The first ended when its entries were taken away."""
    rig = SenderRig()
    rig.add(0)
    rig.go_down()
    rig.sender.discard(lambda _: True)
    assert problem_after(rig, 0) is None
    rig.now_s += 100
    rig.add(1)
    rig.send()

    assert "EventBridge in eu-central-1 has not answered for 3 s" == problem_after(rig, 3.0)


def test_lookups_that_fail_while_others_are_accepted_are_no_problem_of_the_target() -> None:
    """It takes what it is sent. They are shown as what they are, and explain why events wait."""
    rig = SenderRig()
    rig.state_feed.trouble = (rig.now_s, "throttled")
    rig.sender.expect("blue", "hold")
    rig.add(0, policy="hold")
    rig.now_s += 10
    rig.accept_other()

    assert problem_after(rig, 10.0) is None
    assert rig.sender.is_held_up(rig.now_s)
    text = "no lookup of a source in eu-central-1 has succeeded for 10 s: throttled"
    assert text == rig.sender.lookup_problem(rig.now_s)


def test_a_request_that_was_sent_a_moment_ago_is_not_as_old_as_the_trouble_of_lookups() -> None:
    """Seen without: not ready at each look that found a request in flight, though all were accepted."""
    rig = SenderRig()
    rig.state_feed.trouble = (rig.now_s, "throttled")
    rig.now_s += 10
    rig.add(0)
    rig.send()
    assert problem_after(rig, 0.1) is None

    rig.accept_beside()
    assert problem_after(rig, 1.0) is None
    assert "EventBridge in eu-central-1 has not answered for 3 s" == problem_after(rig, 3.0)


def test_a_lookup_without_an_answer_is_a_problem_of_events_that_wait_for_it() -> None:
    """Long before it has failed."""
    rig = SenderRig()
    rig.sender.expect("blue", "hold")
    rig.add(0, policy="hold")
    rig.state_feed.trouble = (rig.now_s, UNANSWERED)

    assert problem_after(rig, 2.0) is None
    assert problem_after(rig, 3.0) == (
        "events wait, since no lookup of a source in eu-central-1 has succeeded for 3 s: "
        "EventBridge has not answered yet"
    )


def test_whom_requests_wait_for_is_named_and_not_eventbridge() -> None:
    """Nothing has reached EventBridge while credentials do not come."""
    rig = SenderRig()
    rig.sink.waiting_for = "STS"
    rig.sender.expect("blue", "hold")
    rig.add(0, policy="hold")
    rig.state_feed.trouble = (rig.now_s, UNANSWERED)
    assert "has succeeded for 3 s: STS has not answered yet" in (problem_after(rig, 3.0) or "")

    rig.add(1, source="acme")
    rig.send()
    assert "STS has not answered for 3 s" == problem_after(rig, 3.0)
    rig.fail(UnavailableError("AWS credentials cannot be had now"))
    text = "nothing was accepted in eu-central-1 for 3 s: AWS credentials cannot be had now"
    assert text == problem_after(rig, 3.0)


def test_a_sender_is_busy_while_an_answer_or_a_lookup_is_waited_for() -> None:
    """A lookup only where events wait for it."""
    rig = SenderRig()
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
    rig = SenderRig()
    assert not rig.sender.is_holding
    rig.expect("blue", seen=PENDING)
    assert not rig.sender.is_holding
    rig.add(0, policy="hold")
    assert rig.sender.is_holding


# Entries that fail alone and leave no room


def blocked(rig: SenderRig) -> None:
    """One entry that failed while others were accepted, and nothing else."""
    rig.add(0)
    rig.add(1, source="acme")
    rig.send()
    rig.answer(INTERNAL, YES)


def test_entries_that_fail_alone_and_leave_no_room_are_given_up_in_time() -> None:
    """Though nothing comes in that could be accepted."""
    rig = SenderRig()
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
    rig = SenderRig()
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
    rig = SenderRig()
    blocked(rig)
    rig.send(wait_s=8.0)
    rig.answer(THROTTLED)
    rig.sender.age_without_others(rig.now_s, is_blocked=True)

    assert rig.sender._failures.are_blocking


def test_a_source_that_is_forgotten_is_shown_as_failing_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is looked up no more."""
    monkeypatch.setattr("connector.delivery.queue.MAX_SOURCES", 2)
    rig = SenderRig()
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
