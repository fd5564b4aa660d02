"""Settings: their defaults, types and limits, and a description of each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from pydantic.fields import FieldInfo

from connector import config
from connector.config.load import json_schema
from connector.config.problems import Group, bare, is_group
from connector.config.settings import Settings
from tests.configuration import EVENT, MINIMAL, Written, with_settings, with_topic
from tests.docs.settings import settings_table

ROOT = Path(__file__).parents[3]


# What is accepted


def test_defaults_apply_to_what_is_not_written(written: Written) -> None:
    """A file needs only what cannot be guessed; a new consumer group skips nothing."""
    settings = written.load(MINIMAL)

    assert ("partner-bridge", "earliest") == (settings.name, settings.kafka.options["auto.offset.reset"])
    assert (32, 20, 262144, 0.05) == (
        settings.eventbridge.max_in_flight,
        settings.eventbridge.batch.count,
        settings.eventbridge.batch.byte_size,
        settings.eventbridge.batch.period,
    )
    topic = settings.topics["orders.v1"]
    assert ("avro", "confluent", "string") == (topic.value.format, topic.value.framed, topic.key.format)
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

    assert {"eventbridge.claim_check", "receipts", "schema_registry.basic_auth"} == missing
    assert '| `eventbridge.batch.period` | duration | `"50ms"` |' in table["eventbridge.batch.period"]
    assert all(row.endswith((". |", "` |")) or "." in row.rsplit(" | ", 1)[-1] for row in rows)


def _walk(group: type[Group], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    for key, field in group.keys().items():
        inner = bare(field.annotation)
        if get_origin(inner) is dict and is_group(get_args(inner)[1]):
            yield (*path, key), field
            yield from _walk(get_args(inner)[1], (*path, key, "<name>"))
        elif is_group(inner):
            yield (*path, key), field
            yield from _walk(inner, (*path, key))
        elif key != "options":  # of `kafka`: stands for librdkafka's keys
            yield (*path, key), field


def test_the_schema_says_of_every_setting_what_it_is() -> None:
    """`config schema` has a sentence for each, so that an editor shows it; a new setting cannot lack one."""
    schema = json.loads(json_schema())
    groups = {"Settings": schema, **schema["$defs"]}

    def silent(group: Mapping[str, Any], path: str) -> Iterator[str]:
        for key, setting in group["properties"].items():
            if not setting.get("description", "").rstrip(")").endswith("."):
                yield f"{path}.{key}"

    assert [] == [at for name, group in groups.items() if "properties" in group for at in silent(group, name)]
    assert {path[-1] for path, _ in _walk(Settings)} <= {
        key for group in groups.values() for key in group.get("properties", {})
    }


def test_where_text_is_wanted_an_example_shows_it(written: Written) -> None:
    """That it must be text says little; every setting that holds text or a list shows what it may be."""
    texts = {
        path: field
        for path, field in _walk(Settings)
        if bare(field.annotation) is str or get_origin(bare(field.annotation)) is list
    }
    wrong: dict[str, Any] = yaml.safe_load(MINIMAL)
    for path in texts:
        group = wrong
        for part in path[:-1]:
            group = group.setdefault("orders.v1" if part == "<name>" and path[0] == "topics" else part, {})
        group[path[-1]] = {"a": "b"}
    told = dict(problem.split(": ", 1) for problem in written.problems(yaml.safe_dump(wrong)))

    assert 20 < len(texts)
    for path in texts:
        at = ".".join(path).replace("topics.<name>", "topics.orders.v1")
        assert re.match(r"must be (text|a list); an example is .+ [(]line [0-9]+[)]$", told[at]), at
