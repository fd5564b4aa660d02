"""Settings: their defaults, types and limits, and a description of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connector import config
from tests.configuration import EVENT, MINIMAL, Written, with_settings, with_topic
from tests.docs.settings import settings_table

ROOT = Path(__file__).parents[3]


# What is accepted


def test_defaults_apply_to_what_is_not_written(written: Written) -> None:
    """A file needs only what cannot be guessed; a new consumer group skips nothing."""
    settings = written.load(MINIMAL)

    assert ("partner-bridge", "earliest") == (settings.name, settings.kafka.options["auto.offset.reset"])
    assert (16, 20, 262144, 0.05) == (
        settings.eventbridge.max_in_flight,
        settings.eventbridge.batch.count,
        settings.eventbridge.batch.byte_size,
        settings.eventbridge.batch.period,
    )
    topic = settings.topics["orders.v1"]
    assert ("avro", "confluent", "string") == (topic.value.format, topic.value.framing, topic.key.format)
    assert ("skip", "key", None) == (topic.tombstones, topic.ordering, topic.filter)
    assert ("${value}", "_kafka", None) == (topic.event.detail, topic.event.metadata, topic.event.time)


def test_the_example_is_valid() -> None:
    """The configuration we show people works."""
    settings = config.load(ROOT / "examples" / "bridge.yaml", {})

    assert ["orders.v1", "^payments[.](card|transfer)$"] == list(settings.topics)


def test_nothing_can_be_changed_afterwards(written: Written) -> None:
    """Settings are frozen: what was checked is what runs."""
    settings = written.load(MINIMAL)

    with pytest.raises(ValueError, match="frozen"):
        settings.eventbridge.max_in_flight = 3


# What is refused

MISTAKES: list[tuple[str, str]] = [
    # types and limits
    (with_settings(http={"port": "eighty"}), "http.port: must be a whole number (line 16)"),
    (with_settings(http={"port": 65536}), "http.port: must be at most 65535 (line 16)"),
    (with_settings(http=5), "http: must be a mapping of keys to values (line 15)"),
    (with_settings(topics=["a"]), "topics: must be a mapping of keys to values (line 10)"),
    (with_settings(topics={}), "topics: must not be empty"),
    (with_settings(eventbridge={"batch": {"count": 21}}), "eventbridge.batch.count: must be at most 20"),
    (with_settings(eventbridge={"batch": {"count": 0}}), "eventbridge.batch.count: must be at least 1"),
    (with_settings(eventbridge={"use_fips": "maybe"}), "eventbridge.use_fips: must be true or false"),
    (
        with_settings(eventbridge={"max_event_bytes": "2MiB", "batch": {"byte_size": "1MiB"}}),
        "eventbridge.max_event_bytes: must be at most 1MiB",
    ),
    (with_settings(delivery={"shutdown_timeout": "2h"}), "delivery.shutdown_timeout: must be at most 10m"),
    (with_settings(delivery={"max_pending_bytes": "64 MiB"}), "is not a size: write 64MiB, 256KB or"),
    (
        with_settings(log={"level": "warn"}),
        "log.level: must be one of debug, info, warning, error; did you mean",
    ),
    (with_topic(event={**EVENT, "resources": ["a", {}]}), "event.resources[1]: must be text"),
    (with_settings(eventbridge={"region": "Frankfurt"}), "region: is not valid; an example is eu-central-1"),
    (
        with_settings(eventbridge={"role_arn": "bridge"}),
        "role_arn: is not valid; an example is arn:aws:iam::",
    ),
    (with_settings(name="my bridge"), "name: is not valid; an example is orders-bridge"),
    (with_settings(eventbridge={"endpoint_url": "localhost"}), "endpoint_url: must be a URL such as"),
    (with_settings(schema_registry={"url": "http://u:p@r"}), "url: must not hold a user name or password"),
    # missing
    (with_settings(eventbridge=None), "eventbridge.region: required, and missing"),
    (with_settings(dead_letter=None), "dead_letter.topic: required, and missing"),
    (with_settings(kafka={"group.id": None}), "kafka.group.id: needs a value"),
    (MINIMAL.replace("  group.id: orders\n", ""), "kafka.group.id: required, and missing (line 2)"),
    (
        with_topic(event={"source": "a"}),
        "topics.orders.v1.event.detail_type: required, and missing (line 12)",
    ),
    # names of topics
    (with_settings(topics={"orders v1": {"event": EVENT}}), "topics.orders v1: is no Kafka topic name"),
    (with_settings(topics={"a" * 250: {"event": EVENT}}), "is no Kafka topic name"),
    (
        with_settings(topics={"^orders(": {"event": EVENT}}),
        "topics.^orders(: is not a regular expression: missing )",
    ),
    (with_settings(topics={r"^v\d+$": {"event": EVENT}}), r"`\d` means something else to librdkafka"),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES, ids=[expected[:50] for _, expected in MISTAKES])
def test_a_mistake_is_one_problem_that_says_where_and_what(
    written: Written, text: str, expected: str
) -> None:
    """Each mistake is told once, with its place, and with what to write."""
    problems = written.problems(text)

    assert 1 == len(problems), problems
    assert expected in problems[0]


# Reference


def test_every_setting_is_described() -> None:
    """README's table has a row for each setting, with what it is when nobody sets it."""
    rows = settings_table().splitlines()[2:]
    table = {row.split(" | ")[0].strip("| `"): row for row in rows}

    def settings(values: Any, path: str = "") -> list[str]:
        if not isinstance(values, dict):
            return [path]
        return [leaf for key, value in values.items() for leaf in settings(value, f"{path}.{key}")]

    shown = config.as_json(config.load(ROOT / "examples" / "bridge.yaml", {}))
    assert isinstance(shown, dict)
    topic = {"topics": {"<topic>": shown["topics"]["orders.v1"]}}  # type: ignore[call-overload,index]
    missing = {path.removeprefix(".") for path in settings({**shown, **topic})} - set(table)

    assert {"schema_registry.basic_auth"} == missing
    assert '| `eventbridge.batch.period` | duration | `"50ms"` |' in table["eventbridge.batch.period"]
    assert all(row.endswith((". |", "` |")) or "." in row.rsplit(" | ", 1)[-1] for row in rows)
