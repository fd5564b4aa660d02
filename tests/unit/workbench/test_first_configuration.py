"""What `init` writes from a running cluster is valid and tested as it stands, and tells no values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from connector import config
from connector.cli.problems import problems
from connector.errors import ConfigError, ConnectorError
from connector.formats.schema_cache import NotFoundError, SchemaId, Schemas
from connector.formats.schema_cache import Registry as SchemaRegistry
from connector.kafka.reader import Reader
from connector.sandbox import orders
from connector.sandbox.producer import RecordProducer
from connector.sandbox.services import Sandbox
from connector.workbench.cases import CaseResult, Rehearsal
from connector.workbench.cluster import Cluster, TopicSample, cluster_settings, sample
from connector.workbench.configuration_text import Choices, MappedTopic, configuration_text
from connector.workbench.first_configuration import FirstConfiguration, first_configuration, write
from connector.workbench.fixtures import read_fixture
from connector.workbench.proposal import proposal
from connector.workbench.schema_check import check_schemas
from tests.avro_bombs import fixed, logical, record_of

CHOICES = Choices("shop", "eu-west-1", "shop.example")
CANARY = "canary.4711"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        producer = RecordProducer(sandbox.broker.bootstrap, sandbox.registry.url)
        for record in orders.records(300, sandbox.schema_id):
            producer.add(orders.TOPIC, record.value, key=record.key)
        for topic in ("payments.card", "notes", "empty", "planned", "keyed", "_schemas", "old.dlt"):
            sandbox.create_topic(topic, 2)
        for number in range(4):
            tenant = None if number == 2 else CANARY
            card = {"payment_id": number, "account": {"id": tenant}, "type": "card.paid", "at": 1_790_000_000}
            producer.add("payments.card", card, key=f"{CANARY}-{number}", headers={"trace": CANARY})
        producer.add("notes", CANARY)
        producer.add("keyed", b"\x00\xff" + CANARY.encode(), key=b"\xff\x00")
        producer.add("keyed", None)
        producer.add("_schemas", CANARY)
        producer.add("old.dlt", CANARY)
        producer.flush()
        sandbox.registry.register("planned-value", {"type": "record", "name": "Plan", "fields": []})
        yield sandbox


def made(sandbox: Sandbox, folder: Path, *topics: str, keep_values: bool = False) -> FirstConfiguration:
    cluster = Cluster(sandbox.broker.bootstrap, sandbox.registry.url)
    return first_configuration(cluster, topics, CHOICES, folder=folder, keep_values=keep_values)


def rehearsed(settings: config.Settings, files: Sequence[Path]) -> list[CaseResult]:
    """What comes of every case, as `partner-bridge test` runs them."""
    results: list[CaseResult] = []
    with Rehearsal(settings) as rehearsal:
        for file in files:
            fixture, found = read_fixture(file)
            assert fixture is not None, found
            results += rehearsal.run(fixture)
    return results


def test_what_is_written_is_valid_and_passes_its_own_tests(sandbox: Sandbox, tmp_path: Path) -> None:
    """Without a change: every topic that something is known of, with a test where there is a record."""
    first = made(sandbox, tmp_path)
    files = write(first, tmp_path)
    settings = config.load(tmp_path / "bridge.yaml", {}, also=problems)

    assert ["keyed", "notes", "orders.v1", "payments.card", "planned"] == list(settings.topics)
    assert {"bridge.yaml", *(f"tests/{name}.yaml" for name in list(settings.topics)[:4])} == {
        str(file.relative_to(tmp_path)) for file in files
    }
    assert ["empty is left out: it has no record with a value, and no schema.",
            "planned has no test: no record of it could be one."] == list(first.notes)  # fmt: skip
    results = rehearsed(settings, files[1:])
    assert 4 * [("event", [])] == [(each.explanation.outcome, each.differences) for each in results]


def test_each_topic_is_mapped_by_what_its_records_hold(sandbox: Sandbox, tmp_path: Path) -> None:
    """Avro by its schema and JSON by its values; what may be null has a default where null is refused."""
    values = yaml.safe_load(made(sandbox, tmp_path).files[Path("bridge.yaml")])
    topics = values["topics"]

    assert {
        "source": "aws.partner/shop.example/${value.tenant_id || 'unknown'}",
        "detail_type": "${value.event}",
        "time": "${value.updated_at}",
        "resources": ["order/${value.order_id}"],
    } == topics["orders.v1"]["event"]
    assert {
        "source": "aws.partner/shop.example/${value.account.id || 'unknown'}",
        "detail_type": "${value.type}",
        "time": "${value.at}",
        "time_unit": "s",
        "resources": ["card/${value.payment_id}"],
    } == topics["payments.card"]["event"]
    assert {"source": "aws.partner/shop.example/note", "detail_type": "Note"} == topics["notes"]["event"]
    assert ["bytes", "string", "avro", "json", "avro"] == [
        each["value"]["format"] for each in topics.values()
    ]
    assert {"format": "bytes"} == topics["keyed"]["key"]
    assert ("shop", "eu-west-1", "shop.dlt", 1) == (
        values["name"],
        values["eventbridge"]["region"],
        values["dead_letter"]["topic"],
        values["dead_letter"]["replication_factor"],
    )


def test_the_registry_is_asked_once_for_an_id(sandbox: Sandbox) -> None:
    """Also for one that it does not have, as where bytes only look like Confluent's."""
    sandbox.create_topic("__strangers", 1)
    producer = RecordProducer(sandbox.broker.bootstrap, sandbox.registry.url)
    for number in range(5):
        producer.add("__strangers", b"\0\0\0\x27\x0f" + bytes([number]))
    producer.flush()
    asked: list[SchemaId] = []

    class Registry:
        def fetch(self, schema_id: SchemaId) -> Schemas:
            asked.append(schema_id)
            raise NotFoundError

    settings = cluster_settings(Cluster(sandbox.broker.bootstrap, None), region="eu-west-1")
    with closing(Reader(settings)) as reader:
        found = sample(reader, "__strangers", cast("SchemaRegistry", Registry()))

    assert [SchemaId("id", 9999)] == asked
    assert {"format": "bytes"} == found.value


def test_fixtures_tell_no_values_unless_they_are_kept(sandbox: Sandbox, tmp_path: Path) -> None:
    """Neither in keys, values and headers nor in the event."""
    masked = made(sandbox, tmp_path, "payments.card", "notes")
    kept = made(sandbox, tmp_path, "payments.card", "notes", keep_values=True)

    assert CANARY not in str(masked)
    assert CANARY in kept.files[Path("tests/notes.yaml")]
    (case,) = yaml.safe_load(kept.files[Path("tests/payments.card.yaml")])["cases"]
    assert {"trace": CANARY} == case["record"]["headers"]
    assert f"aws.partner/shop.example/{CANARY}" == case["event"]["source"]


@pytest.mark.parametrize("name", ["yes", "Null", "2026", "_"])
def test_a_name_is_text_whatever_yaml_takes_it_for(name: str) -> None:
    """Of the bridge, its group and a topic."""
    text = configuration_text(
        Cluster("localhost:9092", "http://localhost:8081"),
        [
            MappedTopic(
                TopicSample(name, None, {"format": "string"}, []), proposal(name, [], [], record_name=None)
            )
        ],
        [],
        Choices(name, "eu-west-1", "shop.example"),
    )
    values = yaml.safe_load(text)

    assert name == values["name"] == values["kafka"]["group.id"]
    assert f"{name}.dlt" == values["dead_letter"]["topic"]
    assert [name] == list(values["topics"])


@pytest.mark.parametrize("name", ["a: b", "a # b", "a\nb: c", "{a}", "a, b}"])
def test_a_name_that_no_topic_can_have_is_said(sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    """As any other mistake in a configuration: it is one text, whatever is in it."""
    cluster = Cluster(sandbox.broker.bootstrap, None)
    choices = CHOICES._replace(name=name)
    with pytest.raises(ConfigError) as caught:
        first_configuration(cluster, ["notes"], choices, folder=tmp_path, keep_values=False)

    said = [problem.path.split(" ")[0] for problem in caught.value.problems]
    assert ["name", "dead_letter.topic"] == said


@pytest.mark.parametrize("name", ["bridge.yaml", "tests/notes.yaml"])
def test_no_file_is_overwritten(sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    """And none is written where one is there already."""
    (tmp_path / "tests").mkdir()
    (tmp_path / name).write_text("mine")

    with pytest.raises(ConfigError, match=rf"{name}.* nothing is overwritten; choose another --out"):
        write(made(sandbox, tmp_path, "notes"), tmp_path)
    assert [tmp_path / name] == [file for file in tmp_path.rglob("*") if file.is_file()]
    assert "mine" == (tmp_path / name).read_text()


@pytest.mark.parametrize(
    ("topics", "message"),
    [
        (["note", "orders.v1"], "the cluster has no topic note; did you mean 'notes'?"),
        (["empty"], "no record with a value, and no schema, is to be found for empty"),
    ],
)
def test_topics_that_cannot_be_mapped_are_said(
    sandbox: Sandbox, tmp_path: Path, topics: list[str], message: str
) -> None:
    """In one message."""
    with pytest.raises(ConfigError) as caught:
        made(sandbox, tmp_path, *topics)
    assert message == str(caught.value)


def test_no_temporary_folder_is_said(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose root is read-only."""
    monkeypatch.setattr("tempfile.tempdir", "/proc/none")
    with pytest.raises(ConfigError, match=r"no temporary folder .*; name one with TMPDIR"):
        made(sandbox, tmp_path, "orders.v1")


def test_a_registry_that_does_not_answer_is_said(sandbox: Sandbox, tmp_path: Path) -> None:
    """Before any record is read as something else than it is."""
    cluster = Cluster(sandbox.broker.bootstrap, "http://127.0.0.1:1")
    with pytest.raises(ConnectorError, match=r"http://127.0.0.1:1 cannot be reached"):
        first_configuration(cluster, [], CHOICES, folder=tmp_path, keep_values=False)


def test_without_a_registry_avro_is_bytes_with_a_hint(sandbox: Sandbox, tmp_path: Path) -> None:
    """Which says what would read them."""
    cluster = Cluster(sandbox.broker.bootstrap, None)
    first = first_configuration(cluster, ["orders.v1"], CHOICES, folder=tmp_path, keep_values=False)
    text = first.files[Path("bridge.yaml")]

    assert "schema_registry" not in yaml.safe_load(text)
    assert "value: {format: bytes}" in text
    assert "Then set `framing: confluent`." in text


INSTANT = logical("long", "timestamp-millis")
AT = "2026-11-22T10:00:00.000Z"
STATE = {"type": "enum", "name": "State", "symbols": ["OPEN"]}
HOSTILE: dict[str, tuple[Any, list[Any]]] = {
    "all-nullable": (
        record_of(
            {"name": "tenant_id", "type": ["null", "string"]},
            {"name": "type", "type": ["null", "string"]},
            {"name": "updated_at", "type": ["null", INSTANT]},
            {"name": "id", "type": ["null", "long"]},
        ),
        [{"tenant_id": None, "type": None, "updated_at": None, "id": None}],
    ),
    "nested": (
        record_of(
            {"name": "customer", "type": ["null", record_of({"name": "id", "type": "long"}, name="C")]},
            {"name": "state", "type": ["null", STATE]},
        ),
        [{"customer": None, "state": None}, {"customer": {"id": 5}, "state": "OPEN"}],
    ),
    "nullable-root": (["null", record_of({"name": "tenant", "type": "string"})], [{"tenant": "a"}]),
    "recursive": (
        record_of(
            {"name": "id", "type": "string"},
            {"name": "account", "type": ["string", "int"]},
            {"name": "child", "type": ["null", "R"]},
        ),
        [{"id": "a", "account": 4, "child": {"id": "b", "account": "q", "child": None}}],
    ),
    "times": (
        record_of(
            {"name": "updated_at", "type": logical("long", "local-timestamp-micros")},
            {"name": "created_at", "type": logical("long", "timestamp-nanos")},
            {"name": "seen_at", "type": ["null", "long"]},
            {"name": "due", "type": fixed(12, "duration")},
        ),
        [{
            "updated_at": "2026-11-22T10:00:00.000001",
            "created_at": "2026-11-22T10:00:00.000000001Z",
            "seen_at": 1_790_000_000,
            "due": {"months": 1, "days": 2, "millis": 3},
        }],
    ),
    "seconds": (record_of({"name": "updated_at", "type": "long"}), [{"updated_at": 1_790_000_000}]),
    "text": ({"type": "string"}, ["hello"]),
    "list": ({"type": "array", "items": "int"}, [[1, 2]]),
    "binary": ({"type": "bytes"}, ["AAEC"]),
}  # fmt: skip


def test_whatever_the_schema_the_configuration_passes_every_check(tmp_path: Path) -> None:
    """Of the schemas, of both its versions, and of its own tests."""
    with Sandbox() as sandbox:
        producer = RecordProducer(sandbox.broker.bootstrap, sandbox.registry.url)
        for topic, (schema, values) in HOSTILE.items():
            sandbox.create_topic(topic, 1)
            for value in values:
                producer.add(topic, value, schema=schema)
        producer.flush()
        changed = record_of(
            {"name": "id", "type": "string"}, {"name": "tenant", "type": "string", "default": ""}
        )
        sandbox.registry.register("recursive-value", changed)
        files = write(made(sandbox, tmp_path, *HOSTILE), tmp_path)
        settings = config.load(tmp_path / "bridge.yaml", {}, also=problems)
        results = rehearsed(settings, files[1:])

        assert [] == [finding for check in check_schemas(settings, {}) for finding in check.findings]
    assert len(HOSTILE) - 1 == len(files) - 1  # the only record of `recursive` is none of its latest schema
    assert {"event"} == {result.explanation.outcome for result in results}
    assert not any(result.differences for result in results)


def test_a_name_that_yaml_takes_for_something_else_is_quoted(tmp_path: Path) -> None:
    """A topic may be called 1.5, or null."""
    with Sandbox() as sandbox:
        producer = RecordProducer(sandbox.broker.bootstrap, sandbox.registry.url)
        for topic in ("1.5", "null", "y"):
            sandbox.create_topic(topic, 1)
            producer.add(topic, json.dumps({"id": 1}))
        producer.flush()
        first = made(sandbox, tmp_path)

        assert {"1.5", "null", "y"} <= set(yaml.safe_load(first.files[Path("bridge.yaml")])["topics"])
        write(first, tmp_path)
        loaded: Any = config.load(tmp_path / "bridge.yaml", {}).topics
        assert {"1.5", "null", "y"} <= set(loaded)
