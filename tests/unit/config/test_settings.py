"""Configuration: what is accepted, what is refused and how that is said, and what is shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from connector import config
from connector.config import units
from connector.config.load import json_schema
from connector.config.settings import Settings
from connector.errors import ConfigError, Problem
from tests.docs.settings import settings_table

ROOT = Path(__file__).parents[3]

MINIMAL = """
kafka:
  bootstrap.servers: localhost:9092
  group.id: orders
schema_registry: {url: http://registry:8081}
eventbridge: {region: eu-central-1}
dead_letter: {topic: orders.dlt}
topics:
  orders.v1:
    event: {source: aws.partner/example.com/a, detail_type: Order}
"""


class Written:
    """A configuration file in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "bridge.yaml"

    def load(self, text: str, environ: Mapping[str, str] | None = None) -> Settings:
        self.file.write_text(text, "utf-8")
        return config.load(self.file, environ or {})

    def problems(self, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load(text, environ)
        return list(map(str, caught.value.problems))


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


def with_settings(**groups: object) -> str:
    """The minimal configuration with some settings over it: `eventbridge={"max_in_flight": 1}`."""
    values = yaml.safe_load(MINIMAL)
    for group, settings in groups.items():
        over = isinstance(settings, dict) and group != "topics"
        values[group] = {**values.get(group, {}), **settings} if over else settings  # type: ignore[dict-item]
    text: str = yaml.safe_dump(values, sort_keys=False)
    return text


def with_topic(**settings: object) -> str:
    event = {"source": "aws.partner/example.com/a", "detail_type": "Order"}
    return with_settings(topics={"orders.v1": {"event": event, **settings}})


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


def test_scalars_are_text_until_a_setting_types_them(written: Written) -> None:
    """`0123` keeps its zero, `NO` is no boolean, dates stay text: nothing is lost to YAML's guesses."""
    text = MINIMAL.replace(
        "group.id: orders", "group.id: 0123\n  sasl.password: 1e3\n  socket.nagle.disable: True"
    )
    detail = "{country: NO, on: 2024-01-31, count: 12, price: 1.5, yes: true, text: '12', none: null}"
    settings = written.load(text.replace("detail_type: Order", f"detail_type: 2024-01-31, detail: {detail}"))

    assert {"group.id": "0123", "sasl.password": "1e3", "socket.nagle.disable": "true"}.items() <= (
        settings.kafka.options.items()
    )
    event = settings.topics["orders.v1"].event
    assert "2024-01-31" == event.detail_type
    expected = {
        "country": "NO",
        "on": "2024-01-31",
        "count": 12,
        "price": 1.5,
        "yes": True,
        "text": "12",
        "none": None,
    }
    assert expected == event.detail


def test_a_key_left_empty_is_as_if_not_written(written: Written) -> None:
    """A group whose keys are all commented out is not an error; null still turns off what can be off."""
    settings = written.load(with_settings(http=None) + "\n".replace("\n", "") + "delivery:\n")
    without = written.load(with_topic(event={"source": "a", "detail_type": "b", "metadata": None}))

    assert (8080, 20_000) == (settings.http.port, settings.delivery.max_pending_records)
    assert without.topics["orders.v1"].event.metadata is None


def test_topics_can_share_settings_by_yaml_anchors(written: Written) -> None:
    """`<<: *other` inherits, and a key written next to it wins without counting as written twice."""
    text = MINIMAL.replace("orders.v1:", "orders.v1: &orders").rstrip()
    settings = written.load(text + "\n  orders.v2:\n    <<: *orders\n    ordering: unordered\n")

    assert ("key", "unordered") == tuple(topic.ordering for topic in settings.topics.values())
    assert "Order" == settings.topics["orders.v2"].event.detail_type


def test_files_are_relative_to_the_configuration_file(written: Written) -> None:
    """A schema next to the configuration is found from whatever folder the bridge is started in."""
    settings = written.load(with_topic(value={"framing": "none", "schema": "order.avsc"}))

    assert written.file.parent / "order.avsc" == settings.topics["orders.v1"].value.schema_file


# Units


@pytest.mark.parametrize(
    ("duration", "seconds"), [("100ms", 0.1), ("5s", 5), ("2m", 120), ("1h", 3600), ("1.5s", 1.5), ("0ms", 0)]
)
def test_durations_have_units(duration: str, seconds: float) -> None:
    """A duration is a number and a unit."""
    assert seconds == units.seconds(duration)


@pytest.mark.parametrize(
    ("size", "size_bytes"),
    [("64MiB", 64 * 1024**2), ("256KB", 256_000), ("1GiB", 1024**3), ("262144", 262144), ("1.5KiB", 1536)],
)
def test_sizes_may_have_units(size: str, size_bytes: int) -> None:
    """A size is a number of bytes, or a number and a unit, decimal or binary."""
    assert size_bytes == units.size_bytes(size)


@given(st.integers(min_value=0, max_value=10**10))
def test_a_duration_is_shown_as_it_could_be_written(milliseconds: int) -> None:
    """Reading what is shown gives the same duration."""
    seconds = milliseconds / 1000

    assert seconds == units.seconds(units.show_seconds(seconds))


@given(st.integers(min_value=0, max_value=10**13))
def test_a_size_is_shown_as_it_could_be_written(size: int) -> None:
    """Reading what is shown gives the same size."""
    assert size == units.size_bytes(units.show_bytes(size))


@pytest.mark.parametrize("duration", ["5", "0.5", "5 s", "5sec", "-1s", "1d", "fast"])
def test_a_duration_without_its_unit_is_refused(written: Written, duration: str) -> None:
    """Nobody can tell 5 seconds from 5 milliseconds, so the bridge does not guess."""
    text = MINIMAL.replace("region: eu-central-1", f"region: eu-central-1, timeouts: {{read: {duration}}}")
    (problem,) = written.problems(text)

    assert problem.startswith("eventbridge.timeouts.read: ")
    assert "write 100ms, 5s, 2m or 1h (line 6)" in problem


# What is refused

EVENT = {"source": "a", "detail_type": "b"}
MISTAKES: list[tuple[str, str]] = [
    # unknown keys
    (with_settings(htp={}), "htp: unknown key; did you mean 'http'? (line 15)"),
    (
        with_topic(event={"sorce": "x", "detail_type": "y"}),
        "topics.orders.v1.event.sorce: unknown key; did you mean 'source'? (line 13)",
    ),
    (with_settings(http={"prt": 1}), "http.prt: unknown key; did you mean 'port'? (line 16)"),
    (with_settings(http={"zzz": 1}), "http.zzz: unknown key; known here: host, port (line 16)"),
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
    # rules between settings
    (
        with_settings(schema_registry=None),
        "topics.orders.v1.value: Avro with framing `confluent` needs `schema_registry`",
    ),
    (
        with_topic(value={"framing": "none"}),
        "topics.orders.v1.value.schema: framing `none` needs the schema file",
    ),
    (with_topic(value={"schema": "a.avsc"}), "value.schema: framing `confluent` takes it from the registry"),
    (
        with_topic(key={"format": "json", "framing": "none"}),
        "key.framing: is only for Avro, and the format is json",
    ),
    (with_topic(value={"format": "json", "schema": "a"}), "value.schema: is only for Avro"),
    (with_topic(value={"format": "bytes", "reader_schema": "a"}), "value.reader_schema: is only for Avro"),
    (
        with_settings(eventbridge={"endpoint_url": "http://example.com"}),
        "eventbridge.endpoint_url: http:// would send events in the clear",
    ),
    (
        with_settings(eventbridge={"external_id": "x"}),
        "external_id: is for assuming a role; set role_arn too",
    ),
    (
        with_settings(eventbridge={"max_event_bytes": 300000}),
        "eventbridge.max_event_bytes: must not be over batch.byte_size (256KiB)",
    ),
    (
        with_settings(eventbridge={"retry": {"initial_interval": "1m", "max_interval": "1s"}}),
        "retry.initial_interval: must not be over max_interval",
    ),
    (with_settings(schema_registry={"certificate": "a.pem"}), "certificate and private_key belong together"),
    (with_settings(schema_registry={"private_key": "a.pem"}), "certificate and private_key belong together"),
    (
        with_settings(
            schema_registry={"basic_auth": {"username": "u", "password": "p"}, "bearer_token": "t"}
        ),
        "schema_registry.bearer_token: basic_auth and bearer_token exclude each other",
    ),
    # topics
    (
        with_settings(dead_letter={"topic": "orders.v1"}),
        "topics.orders.v1: is also dead_letter.topic (orders.v1)",
    ),
    (
        with_settings(dead_letter={"topic": "^dlt"}),
        "dead_letter.topic: must be a topic's name, not a pattern",
    ),
    (
        with_settings(dead_letter={"topic": "orders.dlt", "resolutions_topic": "^dlt"}),
        "dead_letter.resolutions_topic: must be a topic's name, not a pattern",
    ),
    (
        with_settings(dead_letter={"topic": "orders.dlt", "resolutions_topic": "orders.dlt"}),
        "dead_letter.resolutions_topic: must not be dead_letter.topic",
    ),
    (
        with_settings(dead_letter={"topic": "d" * 240}),
        "is longer than a topic's name may be; set a shorter one",
    ),
    (
        with_settings(dead_letter={"topic": "orders.dlt", "resolutions_topic": "orders.v1"}),
        "topics.orders.v1: is also the topic of resolutions of dead letters",
    ),
    (with_settings(topics={"orders v1": {"event": EVENT}}), "topics.orders v1: is no Kafka topic name"),
    (with_settings(topics={"a" * 250: {"event": EVENT}}), "is no Kafka topic name"),
    (
        with_settings(topics={"^orders(": {"event": EVENT}}),
        "topics.^orders(: is not a regular expression: missing )",
    ),
    (with_settings(topics={r"^v\d+$": {"event": EVENT}}), r"`\d` means something else to librdkafka"),
    (
        with_settings(topics={"orders.v1": {"event": EVENT}, "^orders[.]": {"event": EVENT}}),
        "topics.orders.v1: also matches the pattern ^orders[.]; a topic may be in one of them only",
    ),
    # kafka
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
    (
        with_settings(kafka={"auth": "aws-msk-iam", "sasl.password": "x"}),
        "kafka.sasl.password: `auth: aws-msk-iam` decides it",
    ),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES, ids=[expected[:50] for _, expected in MISTAKES])
def test_a_mistake_is_one_problem_that_says_where_and_what(
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


@pytest.mark.parametrize(
    "url", ["http://localhost:4566", "http://127.0.0.1:1", "http://[::1]:1", "https://a.example"]
)
def test_plain_http_is_for_this_machine(written: Written, url: str) -> None:
    """Events leave the machine encrypted, unless somebody says that they may not."""
    insecure = {"endpoint_url": "http://example.com", "allow_insecure": True}

    assert url == written.load(with_settings(eventbridge={"endpoint_url": url})).eventbridge.endpoint_url
    assert written.load(with_settings(eventbridge=insecure)).eventbridge.allow_insecure


def test_all_problems_are_told_at_once(written: Written) -> None:
    """Mistakes of every kind, in the same groups and hiding one another, are all in one list."""
    problems = written.problems(
        """
kafka: {bootstrap.servers: kafka, enable.auto.commit: true}
eventbridge: {endpoint_url: http://example.com, timeouts: {read: 15}}
dead_letter: {topic: orders.v1}
topics:
  orders.v1:
    value: {format: json, framing: none, non_finite: nul}
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


def test_what_is_found_later_joins_the_list(tmp_path: Path) -> None:
    """Mistakes in templates are told together with mistakes of types, although they are found elsewhere."""
    file = tmp_path / "bridge.yaml"
    file.write_text(with_settings(http={"port": "x"}), "utf-8")
    seen: list[str] = []

    def later(settings: Settings) -> list[Problem]:
        seen.append(settings.topics["orders.v1"].event.source)
        return [Problem("topics.orders.v1.event.source", "wrong")]

    with pytest.raises(ConfigError) as caught:
        config.load(file, {}, also=later)

    assert ["aws.partner/example.com/a"] == seen
    assert [
        "http.port: must be a whole number (line 16)",
        "topics.orders.v1.event.source: wrong (line 13)",
    ] == list(map(str, caught.value.problems))


# YAML


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "bridge.yaml, line 1, column 5: not YAML: "),
        ("a: 1\n\tb: 2", "not YAML: found character"),
        ("- a", "bridge.yaml: must be a mapping of settings at the top level"),
        ("a: 1\n---\nb: 2", "not YAML: but found another document"),
        (MINIMAL + "\n? [a]\n: b\n", "a key must be text (line 12)"),
        (MINIMAL + "\nhttp: &h {port: *h}\n", "http.port: refers to itself (line 12)"),
        (MINIMAL + "\nname: !env X\n", "name: YAML tag !env means nothing here (line 12)"),
        (MINIMAL + "\nname: a\nname: b\n", "name: written twice, first in line 12; keep one (line 13)"),
        (
            MINIMAL + "  orders.v1:\n    event: {source: a, detail_type: b}\n",
            "topics.orders.v1: written twice, first in line 9; keep one (line 11)",
        ),
        ("a: &a [x]\n" + "b: " + "[" * 500, "nested too deeply"),
    ],
)
def test_broken_yaml_is_one_problem_with_its_line(written: Written, text: str, expected: str) -> None:
    """What YAML refuses, and what PyYAML would lose in silence, is told with its line."""
    problems = written.problems(text)

    assert 1 == len(problems), problems
    assert expected in problems[0]


def test_a_file_that_cannot_be_read_is_one_problem(tmp_path: Path) -> None:
    """Not a list of everything the file would have held."""
    for file, reason in ((tmp_path / "none.yaml", "no such file"), (tmp_path, "is a directory")):
        with pytest.raises(ConfigError, match=f"cannot read {file}: {reason}") as caught:
            config.load(file, {})

        assert 1 == len(caught.value.problems)


def test_bytes_that_are_no_text_are_one_problem(tmp_path: Path) -> None:
    """A file that is not UTF-8 is told as such."""
    file = tmp_path / "bridge.yaml"
    file.write_bytes(b"name: \xff\xfe\xfa")

    with pytest.raises(ConfigError, match="not YAML: ") as caught:
        config.load(file, {})

    assert 1 == len(caught.value.problems)


# Environment


def test_the_environment_wins(written: Written) -> None:
    """Every setting has a variable, and it replaces what the file says."""
    settings = written.load(
        MINIMAL,
        {
            "BRIDGE_NAME": "other",
            "BRIDGE_EVENTBRIDGE__REGION": "us-east-1",
            "BRIDGE_EVENTBRIDGE__BATCH__PERIOD": "10ms",
            "BRIDGE_KAFKA__SASL_PASSWORD": "0123: '#",
            "BRIDGE_KAFKA__AUTO_OFFSET_RESET": "latest",
            "BRIDGE_TOPICS__ORDERS_V1__ORDERING": "partition",
            "BRIDGE_TOPICS__ORDERS_V1__EVENT__DETAIL": "{id: '${value.id}', n: 1}",
            "BRIDGE_TOPICS__ORDERS_V1__EVENT__RESOURCES": "[a, b]",
            "BRIDGE_CONFIG": "elsewhere.yaml",
            "HOME": "/",
        },
    )

    assert ("other", "us-east-1", 0.01) == (
        settings.name,
        settings.eventbridge.region,
        settings.eventbridge.batch.period,
    )
    assert ("0123: '#", "latest", "orders") == tuple(
        settings.kafka.options[key] for key in ("sasl.password", "auto.offset.reset", "group.id")
    )
    topic = settings.topics["orders.v1"]
    assert ("partition", {"id": "${value.id}", "n": 1}, ["a", "b"]) == (
        topic.ordering,
        topic.event.detail,
        topic.event.resources,
    )
    assert "Order" == topic.event.detail_type


def test_the_environment_alone_is_enough() -> None:
    """No file is needed: groups can be given whole, as YAML or JSON."""
    settings = config.load(
        None,
        {
            "BRIDGE_KAFKA": "{bootstrap.servers: kafka, group.id: g}",
            "BRIDGE_EVENTBRIDGE__REGION": "eu-central-1",
            "BRIDGE_DEAD_LETTER__TOPIC": "dlt",
            "BRIDGE_TOPICS": json.dumps({"orders": {"value": {"format": "json"}, "event": EVENT}}),
        },
    )

    assert ("g", "json") == (settings.kafka.options["group.id"], settings.topics["orders"].value.format)


def test_secrets_come_from_files(written: Written, tmp_path: Path) -> None:
    """`…_FILE` names a file; the newline that editors add is not part of the secret, others are."""
    (tmp_path / "password").write_text("pass word\n\n", "utf-8")
    (tmp_path / "token").write_text("t0ken", "utf-8")
    settings = written.load(
        MINIMAL,
        {
            "BRIDGE_KAFKA__SASL_PASSWORD_FILE": str(tmp_path / "password"),
            "BRIDGE_SCHEMA_REGISTRY__BEARER_TOKEN_FILE": str(tmp_path / "token"),
        },
    )

    assert "pass word\n" == settings.kafka.options["sasl.password"]
    assert settings.schema_registry is not None
    assert settings.schema_registry.bearer_token is not None
    assert "t0ken" == settings.schema_registry.bearer_token.get_secret_value()


@pytest.mark.parametrize("secret", ["hunter2", "-----BEGIN PRIVATE KEY-----\nMIIE/hunter2=="])
def test_a_secret_where_a_file_belongs_is_not_repeated(written: Written, secret: str) -> None:
    """Whoever starts the bridge so reads in its log which variable is meant, and so do others."""
    (problem,) = written.problems(MINIMAL, {"BRIDGE_KAFKA__SASL_PASSWORD_FILE": secret})

    assert "hunter2" not in problem
    assert problem.startswith("BRIDGE_KAFKA__SASL_PASSWORD_FILE: names no file that can be read: ")
    assert problem.endswith("; for the secret itself set BRIDGE_KAFKA__SASL_PASSWORD")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            {"BRIDGE_EVENTBRIDGE_REGION": "x"},
            "BRIDGE_EVENTBRIDGE_REGION: no setting has this environment variable; did you mean "
            "'BRIDGE_EVENTBRIDGE__REGION'?",
        ),
        ({"BRIDGE_KAFKA_SASL_PASSWORD": "x"}, "did you mean 'BRIDGE_KAFKA__SASL_PASSWORD'?"),
        ({"BRIDGE_HTTP__PROT": "1"}, "did you mean 'BRIDGE_HTTP__PORT'?"),
        ({"BRIDGE_HTTP__PORT__X": "1"}, "BRIDGE_HTTP__PORT__X: no setting has this environment variable"),
        ({"BRIDGE_TOPICS__ORDERS_V2__ORDERING": "key"}, "did you mean 'BRIDGE_TOPICS__ORDERS_V1__ORDERING'?"),
        ({"BRIDGE_HTTP__PORT": "99999"}, "http.port: must be at most 65535 (BRIDGE_HTTP__PORT)"),
        ({"BRIDGE_HTTP__PORT_FILE": "/x"}, "BRIDGE_HTTP__PORT_FILE: no setting has this"),
        ({"BRIDGE_TOPICS__ORDERS_V1__VALUE__SCHEMA_FILE": "/x"}, "SCHEMA_FILE: no setting has this"),
        (
            {"BRIDGE_KAFKA__SASL_PASSWORD_FILE": "/nowhere"},
            "BRIDGE_KAFKA__SASL_PASSWORD_FILE: cannot read /nowhere: no such file or directory",
        ),
        (
            {"BRIDGE_KAFKA__SASL_PASSWORD_FILE": "/nowhere", "BRIDGE_KAFKA__SASL_PASSWORD": "x"},
            "BRIDGE_KAFKA__SASL_PASSWORD_FILE: set BRIDGE_KAFKA__SASL_PASSWORD or this one, not both",
        ),
        ({"BRIDGE_KAFKA__ACKS": "1"}, "kafka.acks: cannot be set here: a dead letter is settled only"),
        ({"BRIDGE_HTTP": "{port: 1"}, "BRIDGE_HTTP, line 1, column 9: not YAML"),
    ],
)
def test_a_wrong_variable_is_a_problem_of_its_own(
    written: Written, environ: dict[str, str], expected: str
) -> None:
    """A variable that sets nothing is as much a mistake as an unknown key, and is named."""
    problems = written.problems(MINIMAL, environ)

    assert 1 == len(problems), problems
    assert expected in problems[0]


def test_variables_that_kubernetes_adds_are_no_settings(written: Written) -> None:
    """A Service named `bridge` in the namespace must not stop the bridge from starting."""
    links = {
        "BRIDGE_SERVICE_HOST": "10.0.0.1",
        "BRIDGE_SERVICE_PORT": "8080",
        "BRIDGE_SERVICE_PORT_HTTP": "8080",
        "BRIDGE_PORT": "tcp://10.0.0.1:8080",
        "BRIDGE_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "BRIDGE_PORT_8080_TCP_ADDR": "10.0.0.1",
        "BRIDGE_HTTP_SERVICE_HOST": "10.0.0.1",
    }

    assert written.load(MINIMAL) == written.load(MINIMAL, links)


# Showing

SECRETS = {
    "kafka": {
        "sasl.username": "bridge",
        "sasl.password": "s3cret",
        "ssl.key.password": "s3cret",
        "ssl.key.pem": "s3cret",
        "ssl.keystore.password": "s3cret",
        "sasl.oauthbearer.config": "s3cret",
        "sasl.oauthbearer.client.secret": "s3cret",
    },
    "schema_registry": {"basic_auth": {"username": "bridge", "password": "s3cret"}},
}


def test_secrets_are_never_shown(written: Written) -> None:
    """Neither `config show` nor a traceback with the settings in it holds a secret."""
    settings = written.load(with_settings(**SECRETS))
    shown = config.as_yaml(settings)

    assert "s3cret" not in shown + json.dumps(config.as_json(settings)) + repr(settings) + str(settings)
    assert 6 + 1 == shown.count("'***'")
    assert 2 == shown.count(": bridge\n")


def test_problems_do_not_repeat_secrets(written: Written) -> None:
    """A secret in a wrong place is not repeated by the message about it."""
    text = with_settings(
        kafka={"sasl.password": {"s3cret": "s3cret"}},
        schema_registry={"basic_auth": "s3cret", "pasword": "s3cret", "bearer_token": ["s3cret"]},
        eventbridge={"region": "s3cret", "role_arn": "s3cret"},
    )

    assert "s3cret" not in "".join(written.problems(text))


def test_what_is_shown_can_be_loaded(written: Written) -> None:
    """`config show` prints a configuration that means the same, defaults and units included."""
    text = with_settings(
        eventbridge={"batch": {"period": "20ms"}, "max_requests_per_second": 2.5},
        delivery={"max_pending_bytes": 1_048_577},
        topics={
            "orders.v1": {
                "value": {"framing": "none", "schema": "order.avsc"},
                "key": {"format": "json"},
                "event": {**EVENT, "metadata": None, "detail": {"a": ["${value}", 1, "1", None, True]}},
            }
        },
    )
    settings = written.load(text)

    assert settings == written.load(config.as_yaml(settings))


# Reference


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(json_schema()))


def test_the_committed_schema_is_current() -> None:
    """`schemas/config.json` is what `partner-bridge config schema` prints."""
    assert json_schema() == (ROOT / "schemas" / "config.json").read_text("utf-8")


def test_the_schema_accepts_the_example(schema: jsonschema.Draft202012Validator) -> None:
    """An editor that uses the schema has nothing to complain about in the example."""
    schema.check_schema(schema.schema)

    schema.validate(yaml.safe_load((ROOT / "examples" / "bridge.yaml").read_text("utf-8")))


@pytest.mark.parametrize(
    "text",
    [
        with_settings(htp={}),
        with_settings(eventbridge={"timeouts": {"read": 5}}),
        with_settings(eventbridge={"batch": {"byte_size": "64 MiB"}}),
        with_settings(eventbridge={"batch": {"count": 21}}),
        with_settings(kafka={"enable.auto.commit": True}),
        with_settings(kafka={"error_cb": "x"}),
        with_settings(kafka={"bootstrap": {"servers": "x"}}),
        with_topic(tombstones="drop"),
        with_topic(event={"source": "a"}),
    ],
)
def test_the_schema_refuses_mistakes(text: str, schema: jsonschema.Draft202012Validator) -> None:
    """An editor marks what the bridge would refuse."""
    with pytest.raises(jsonschema.ValidationError):
        schema.validate(yaml.safe_load(text))


def test_the_schema_lets_secrets_stay_out_of_the_file(schema: jsonschema.Draft202012Validator) -> None:
    """A file whose passwords come from the environment is as it should be."""
    text = with_settings(schema_registry={"basic_auth": {"username": "bridge"}})

    schema.validate(yaml.safe_load(text))


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
