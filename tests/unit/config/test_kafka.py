"""Keys of librdkafka: all pass as they are, except those that the bridge must own."""

from __future__ import annotations

import pytest

from tests.configuration import Written, with_settings

MISTAKES: list[tuple[str, str]] = [
    (with_settings(kafka={"auto.offset.reset": "beginning"}), "must be one of earliest, latest, error"),
    (
        with_settings(kafka={"bootstrap": {"servers": "a"}}),
        "kafka.bootstrap: must be one value; keys are written whole",
    ),
    (
        with_settings(kafka={"bootstrap.servers": ["a"]}),
        "kafka.bootstrap.servers: must be one text; separate",
    ),
    (with_settings(kafka={"auth": "msk"}), "kafka.auth: must be one of aws-msk-iam"),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES, ids=[expected[:50] for _, expected in MISTAKES])
def test_a_mistake_with_a_key_is_one_problem_that_says_where_and_what(
    written: Written, text: str, expected: str
) -> None:
    """Each mistake is told once, with its place, and with what to write."""
    problems = written.problems(text)

    assert 1 == len(problems), problems
    assert expected in problems[0]


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("enable.auto.commit", "commits an offset only when its record is settled"),
        ("auto.commit.enable", "commits an offset only when its record is settled"),
        ("auto.commit.interval.ms", "see delivery.commit_interval"),
        ("enable.auto.offset.store", "commits an offset only when its record is settled"),
        ("offset.store.method", "commits an offset only when its record is settled"),
        ("enable.partition.eof", "taken for an error"),
        ("acks", "every in-sync replica"),
        ("request.required.acks", "every in-sync replica"),
        ("enable.idempotence", "every in-sync replica"),
        ("delivery.report.only.error", "settled by its delivery report"),
        ("transactional.id", "without transactions"),
        ("plugin.library.paths", "load code into the process"),
        ("interceptors", "load code into the process"),
        ("client.id", "it is the `name`"),
        ("statistics.interval.ms", "reads lag"),
        ("metadata.broker.list", "write bootstrap.servers"),
        ("test.mock.num.brokers", "would start a broker"),
        ("rebalance_cb", "it takes code"),
        ("ssl.certificate.verify_cb", "it takes code"),
        ("opaque", "it takes code"),
        ("default_topic_conf", "next to the others"),
        ("default.topic.config", "next to the others"),
    ],
)
def test_a_key_the_bridge_must_own_is_refused_with_the_reason(
    written: Written, key: str, reason: str
) -> None:
    """A librdkafka key that would break a promise is refused by name, and the promise is named."""
    (problem,) = written.problems(with_settings(kafka={key: 1}))

    assert problem.startswith(f"kafka.{key}: cannot be set here: ")
    assert reason in problem


def test_any_other_librdkafka_key_passes_as_it_is(written: Written) -> None:
    """The bridge does not need to know a key for it to work."""
    options = {"session.timeout.ms": 45000, "group.protocol": "consumer", "some.future.key": "x"}

    assert {"session.timeout.ms": "45000", "group.protocol": "consumer", "some.future.key": "x"}.items() <= (
        written.load(with_settings(kafka=options)).kafka.options.items()
    )
