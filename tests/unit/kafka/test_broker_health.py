"""Which broker is said not to answer, by statistics that come every two seconds."""

from __future__ import annotations

from typing import Any

import pytest

from connector.kafka.broker_health import COORDINATOR, UnresponsiveBrokers

BROKER, OTHER = "here:9092/1", "there:9092/2"


class Statistics:
    """librdkafka's, of a member that reads from one broker of two, each two seconds after those before."""

    def __init__(self) -> None:
        self.silence = UnresponsiveBrokers(fetch_wait_s=0.5)
        self.now_s = 100.0
        self.join_state = "steady"
        self.brokers = {name: self._broker(name) for name in (BROKER, OTHER, COORDINATOR)}
        self.partition = {"broker": 1, "desired": True}
        self.tell(BROKER)

    def tell(
        self, *answering: str, owing: dict[str, float] | None = None, partly: str = "", after_s: float = 2.0
    ) -> str | None:
        """What is the problem when these brokers have answered meanwhile, and those were asked something so
        long ago; `partly` sent a part of its answer."""
        self.now_s += after_s
        for name, broker in self.brokers.items():
            broker["rx"] += name in answering
            idle_s = 0.1 if name in {*answering, partly} else broker["rxidle"] / 1e6 + after_s
            asked_s = (owing or {}).get(name)
            broker |= {
                "rxidle": int(idle_s * 1e6),
                "txidle": int((idle_s if asked_s is None else asked_s) * 1e6),
                "waitresp_cnt": int(asked_s is not None),
            }
        self.silence.note(
            {
                "ts": int(self.now_s * 1e6),
                "brokers": self.brokers,
                "topics": {"orders": {"partitions": {"0": self.partition}}},
                "cgrp": {"join_state": self.join_state},
            }
        )
        return self.silence.problem

    def _broker(self, name: str) -> dict[str, Any]:
        where, _, node = name.partition("/")
        return {
            "nodename": "group:9092" if name == COORDINATOR else where,
            "nodeid": int(node or -1),
            "state": "UP",
            "waitresp_cnt": 0,
            "outbuf_cnt": 0,
            "rx": 1,
            "txidle": 0,
            "rxidle": 0,
            "throttle": {"max": 0},
        }


@pytest.fixture
def told() -> Statistics:
    return Statistics()


def test_a_fetch_that_is_not_answered_is_silence(told: Statistics) -> None:
    """Named at the second statistics after it began, and over with the first answer."""
    assert told.tell(owing={BROKER: 1.8}) is None
    problem = told.tell(owing={BROKER: 3.9})
    assert problem is not None
    assert problem.startswith("Kafka broker here:9092 has not answered for 4 s")
    assert told.tell(BROKER, owing={BROKER: 0.1}) is None


def test_it_is_silence_too_while_more_and_more_is_asked(told: Statistics) -> None:
    """As of a coordinator, which gets a commit every few seconds."""
    assert [None, True, True] == [told.tell(BROKER, owing={COORDINATOR: 0.5}) and True for _ in range(3)]


def test_whoever_is_asked_nothing_is_not_silent(told: Statistics) -> None:
    """As while all partitions of a broker are paused."""
    assert [None] * 5 == [told.tell() for _ in range(5)]


def test_heartbeats_are_not_mistaken_for_silence(told: Statistics) -> None:
    """Each was sent a moment ago, and nothing was heard for 3 s before it."""
    for _ in range(5):
        assert told.tell(BROKER, owing={COORDINATOR: 0.01}) is None
        assert told.tell(BROKER, COORDINATOR) is None


def test_a_large_answer_that_comes_slowly_is_none(told: Statistics) -> None:
    """Bytes arrive, although no answer is complete."""
    for _ in range(5):
        assert told.tell(owing={BROKER: 5.0}, partly=BROKER) is None


def test_a_quota_is_no_silence(told: Statistics) -> None:
    """A broker says how long it will answer nothing; what comes after that counts."""
    told.brokers[BROKER]["throttle"] = {"max": 5_000}
    assert told.tell(BROKER, owing={BROKER: 0.1}) is None
    told.brokers[BROKER]["throttle"] = {"max": 0}
    assert [None, None, None] == [told.tell(owing={BROKER: owed_s}) for owed_s in (2.0, 4.0, 6.0)]
    assert told.tell(owing={BROKER: 8.0}) is not None


def test_a_broker_without_anything_of_ours_may_be_silent(told: Statistics) -> None:
    """Until it leads a partition that is ours."""
    for _ in range(5):
        assert told.tell(BROKER, owing={OTHER: 9.0}) is None
    told.partition["broker"] = 2
    assert told.tell(BROKER, owing={OTHER: 11.0}) is not None


def test_joining_may_take_as_long_as_others_like(told: Statistics) -> None:
    told.join_state = "wait-join"
    for _ in range(5):
        assert told.tell(BROKER, owing={COORDINATOR: 60.0}) is None


def test_an_outage_outlives_the_session(told: Statistics) -> None:
    """When the session is over nothing is assigned any more, and then the connection is made anew."""
    told.tell(owing={BROKER: 1.8})
    assert told.tell(owing={BROKER: 3.9}) is not None
    told.join_state, told.partition["desired"] = "wait-join", False
    assert told.tell(owing={BROKER: 45.9}) is not None
    told.brokers[BROKER]["state"] = "APIVERSION_QUERY"
    assert told.tell(owing={BROKER: 0.9}) is not None
    told.brokers[BROKER]["state"] = "UP"
    assert told.tell(BROKER) is None


def test_nothing_is_said_after_we_stood_still_ourselves(told: Statistics) -> None:
    """A process that was suspended finds answers that it has not read yet."""
    assert told.tell(owing={BROKER: 60.0}, after_s=60.0) is None
    assert told.tell(BROKER, owing={BROKER: 0.1}) is None
