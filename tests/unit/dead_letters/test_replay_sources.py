"""Replaying while sources are not active: which letters are left open, and which wait for a lookup."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector import config
from connector.dead_letters.redelivery import Limits
from connector.errors import Code, UnavailableError
from connector.model import Answer, Delivered, Retriable, SourceState
from tests.fakes import accept, outcomes
from tests.replay_rig import BLUE, DENIED, NO_ANSWER, ORDERS, REFUSED_SOURCE, SETTINGS, Rig, number_of, record


def test_letters_of_a_source_that_is_not_active_are_left_open(settings: config.Settings) -> None:
    """Each is looked up before anything is sent; what is left was neither tried, nor did it fail."""
    rig = Rig([record(n, tenant="blue" if n % 2 else "orders") for n in range(40)], settings=settings)
    rig.state_feed.states[BLUE] = "PENDING"

    counts = rig.run()

    assert list(range(0, 40, 2)) == rig.sent == sorted(rig.resolutions.states)
    assert ({"template_null": 20}, 20, {}) == (counts.tried, counts.delivered, counts.failed)
    ((reason, left),) = counts.left.items()
    assert (20, True) == (left, reason.startswith("its source is PENDING: its customer has not associated"))
    assert [] == rig.dead_letters.letters


def test_letters_wait_for_the_lookup_of_their_source_and_the_progress_says_so(
    settings: config.Settings,
) -> None:
    """However long that takes, as long as lookups are answered: none is sent unseen."""
    rig = Rig([record(n) for n in range(40)], settings=settings)
    rig.state_feed.is_blind = True
    rig.state_feed.trouble = (0.0, "EventBridge asks for fewer calls")

    def answered() -> None:
        assert [] == rig.sent
        rig.state_feed.is_blind = False

    rig.at(poll_500=answered)
    rig.run()

    assert list(range(40)) == rig.sent
    waits = (
        "40 letters wait for lookups of their sources; no lookup of a source in eu-central-1 has succeeded"
    )
    assert any(each and each.startswith(waits) and each.endswith("fewer calls") for each in rig.problems)


def test_letters_are_left_open_rather_than_sent_unseen(settings: config.Settings) -> None:
    """A control plane that gives no answer is no reason to guess."""
    rig = Rig([record(n) for n in range(40)], settings=settings)
    rig.state_feed.is_blind = True
    rig.at(poll_100=lambda: rig.state_feed.say(ORDERS, NO_ANSWER))

    counts = rig.run()

    assert [] == rig.sent
    assert {"its source is UNKNOWN: no lookup of it was answered in time": 40} == counts.left
    assert ({}, {}) == (counts.tried, rig.resolutions.states)


def test_without_permission_only_letters_that_no_closed_source_wrote_are_sent(
    settings: config.Settings,
) -> None:
    """As the bridge would send them. Those that were written because the source was closed stay open."""
    codes: tuple[Code, ...] = ("template_null", "source_inactive", "source_unknown", "avro_invalid")
    rig = Rig([record(n, key=b"k", code=codes[n % 4]) for n in range(40)], settings=settings)
    rig.state_feed.is_blind = True
    rig.at(poll_50=lambda: rig.state_feed.say(ORDERS, DENIED))

    counts = rig.run()

    assert [n for n in range(40) if n % 4 in {0, 3}] == rig.sent
    assert {"template_null": 10, "avro_invalid": 10} == counts.tried
    assert {"its source was not ACTIVE when it was written, and may not be looked up": 20} == counts.left
    assert {"AccessDeniedException": 20} == counts.unseen


def test_letters_of_a_source_that_is_refused_and_cannot_be_looked_up_are_left_open(
    settings: config.Settings,
) -> None:
    """Nobody else is there whose events could be accepted, so waiting would never end."""
    rig = Rig([record(n) for n in range(4)], settings=settings)
    rig.state_feed.is_blind = True
    rig.at(**{f"poll_{n}": lambda: rig.state_feed.say(ORDERS, DENIED) for n in range(5, 2000, 50)})
    rig.sink.judge = lambda entries: outcomes([REFUSED_SOURCE] * len(entries))

    counts = rig.run()

    (reason,) = counts.left
    assert "EventBridge refuses its events" in reason
    assert ({reason: 4}, {}, {}) == (counts.left, counts.failed, rig.resolutions.states)
    assert 1 == len(rig.sink.requests)


@pytest.mark.parametrize("policy", ["dead_letter", "send"])
@pytest.mark.parametrize("state", ["ACTIVE", "MISSING"])
def test_letters_of_a_source_that_is_refused_all_the_time_are_left_open(
    settings: config.Settings, tmp_path: Path, policy: str, state: SourceState
) -> None:
    """Whatever a lookup shows, also where the topic sends to closed sources."""
    file = tmp_path / "policy.yaml"
    file.write_text(SETTINGS + f"    on_inactive_source: {policy}\n")
    rig = Rig([record(n) for n in range(4)], settings=config.load(file, {}))
    rig.state_feed.states[ORDERS] = state
    rig.sink.judge = lambda entries: outcomes([REFUSED_SOURCE] * len(entries))

    counts = rig.run()

    assert 4 == sum(counts.left.values())
    assert ({}, {}) == (counts.failed, rig.resolutions.states)
    assert policy == "send" or len(rig.sink.requests) <= 3
    if (policy, state) == ("dead_letter", "ACTIVE"):
        assert "4 letters wait, since EventBridge refuses the events of their sources" in rig.problems


def test_a_source_that_closes_midway_gets_what_is_in_flight_and_no_more(settings: config.Settings) -> None:
    """What waits behind a request is left open, and so is what EventBridge asks for again."""
    rig = Rig([record(n, key=b"k") for n in range(40)], settings=settings)
    rig.sink.is_holding = True

    def close() -> None:
        assert 20 == len(rig.sent)
        rig.state_feed.change(ORDERS, "PENDING")

    def answer() -> None:
        rig.sink.judge = lambda entries: outcomes(
            [Retriable("InternalFailure", "again") if number_of(e) % 2 else Delivered("id") for e in entries]
        )
        rig.sink.is_holding = False
        rig.sink.answer_held()

    rig.at(poll_50=close, poll_60=answer)
    counts = rig.run()

    assert 20 == len(rig.sent)
    assert set(range(0, 20, 2)) == rig.resolutions.states.keys()
    assert (10, 30, {}) == (counts.delivered, sum(counts.left.values()), counts.failed)


def test_so_many_are_tried_though_others_are_left_for_their_source(settings: config.Settings) -> None:
    """`--max` counts letters tried: those that are not sent make room for others."""
    rig = Rig(
        [record(n, tenant="blue" if n % 2 else "orders") for n in range(40)],
        settings=settings,
        limits=Limits(most=7),
    )
    rig.state_feed.states[BLUE] = "PENDING"
    rig.state_feed.is_blind = True
    rig.at(poll_50=lambda: setattr(rig.state_feed, "is_blind", False))

    counts = rig.run()

    assert [0, 2, 4, 6, 8, 10, 12] == rig.sent
    assert 7 == counts.tried_in_all == counts.delivered


def test_after_an_outage_a_replay_looks_again_before_it_sends(settings: config.Settings) -> None:
    """A customer may have left while both planes were down: the letters already taken are not sent either."""
    rig = Rig([record(n) for n in range(900)], settings=settings)
    rig.state_feed.max_age_s = 5.0
    rig.sink.judge = lambda _: Answer((), UnavailableError("down"), None, 0.01)

    def down() -> None:
        assert 0 < len(rig.sent)
        rig.state_feed.is_blind = True
        rig.clock.now_s += 60

    def up() -> None:
        rig.sink.requests.clear()
        rig.sink.judge = accept

    def answered() -> None:
        assert [] == rig.sent
        rig.state_feed.states[ORDERS] = "PENDING"
        rig.state_feed.is_blind = False

    rig.at(poll_100=down, poll_200=up, poll_300=answered)
    counts = rig.run()

    assert ([], {}) == (rig.sent, rig.resolutions.states)
    assert (0, 900) == (counts.delivered, sum(counts.left.values()))
