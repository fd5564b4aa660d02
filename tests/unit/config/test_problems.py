"""Problems in words: all at once, with the key that was meant, and without secrets."""

from __future__ import annotations

import pytest

from tests.configuration import Written, with_settings, with_topic

MISTAKES: list[tuple[str, str]] = [
    (with_settings(htp={}), "htp: unknown key; did you mean 'http'? (line 15)"),
    (
        with_topic(event={"sorce": "x", "detail_type": "y"}),
        "topics.orders.v1.event.sorce: unknown key; did you mean 'source'? (line 13)",
    ),
    (with_settings(http={"prt": 1}), "http.prt: unknown key; did you mean 'port'? (line 16)"),
    (
        with_settings(http={"zzz": 1}),
        "http.zzz: unknown key; known here: host, port, page, token, runbook_url (line 16)",
    ),
    (
        with_settings(target={}),
        "target: unknown key; did you mean 'targets'?",
    ),
    (
        with_settings(eventbridge={"on_inactive_source": "wait"}),
        "eventbridge.on_inactive_source: must be one of hold, dead_letter, send",
    ),
    (
        with_topic(value={"format": "avro", "schema_file": "a"}),
        "schema_file: unknown key; did you mean 'schema'?",
    ),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES, ids=[expected[:50] for _, expected in MISTAKES])
def test_an_unknown_key_is_one_problem_that_says_where_and_what(
    written: Written, text: str, expected: str
) -> None:
    """Each is told once, with its place, and with the key that was perhaps meant."""
    problems = written.problems(text)

    assert 1 == len(problems), problems
    assert expected in problems[0]


# What is accepted


def test_a_key_left_empty_is_as_if_not_written(written: Written) -> None:
    """A group whose keys are all commented out is not an error; null still turns off what can be off."""
    settings = written.load(with_settings(http=None) + "\n".replace("\n", "") + "delivery:\n")
    without = written.load(with_topic(event={"source": "a", "detail_type": "b", "metadata": None}))

    assert (8080, 20_000) == (settings.http.port, settings.delivery.max_pending_records)
    assert without.topics["orders.v1"].event.metadata is None


# What is refused


def test_all_problems_are_told_at_once(written: Written) -> None:
    """Mistakes of every kind, in the same groups and hiding one another, are all in one list."""
    problems = written.problems(
        """
kafka: {bootstrap.servers: kafka, enable.auto.commit: true}
eventbridge: {endpoint_url: http://example.com, timeouts: {read: 15}}
dead_letter: {topic: orders.v1}
topics:
  orders.v1:
    value: {format: string, framing: none, non_finite: nul}
    tombstone: skip
    event: {sorce: a, detail_type: b}
"""
    )

    assert [
        "dead_letter",
        "eventbridge.endpoint_url",
        "eventbridge.region",
        "eventbridge.timeouts.read",
        "kafka.enable.auto.commit",
        "kafka.group.id",
        "topics.orders.v1.event.sorce",
        "topics.orders.v1.tombstone",
        "topics.orders.v1.value.framing",
        "topics.orders.v1.value.non_finite",
    ] == sorted(
        "dead_letter" if "dead_letter" in problem else problem.partition(": ")[0] for problem in problems
    )


# Showing


def test_problems_do_not_repeat_secrets(written: Written) -> None:
    """A secret in a wrong place is not repeated by the message about it."""
    text = with_settings(
        kafka={"sasl.password": {"s3cret": "s3cret"}},
        schema_registry={"basic_auth": "s3cret", "pasword": "s3cret", "bearer_token": ["s3cret"]},
        eventbridge={"region": "s3cret", "role_arn": "s3cret"},
    )

    assert "s3cret" not in "".join(written.problems(text))
