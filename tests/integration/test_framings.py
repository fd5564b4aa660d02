"""A topic in each framing, bridged end to end, with a schema that changes meanwhile.

The records are written by Confluent's own serializers where there is one, and the schemas come from Apicurio
Registry by both of its APIs, from moto's Glue, from the sandbox's registry, and from files.
"""

from __future__ import annotations

import io
import json
import struct
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import fastavro
import pytest
import urllib3
from confluent_kafka.schema_registry import SchemaRegistryClient, header_schema_id_serializer
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from moto.server import ThreadedMotoServer

from connector.formats.single_object import fingerprint_of
from connector.model import Headers, Json
from connector.sandbox.registry import FakeRegistry
from connector.sandbox.testing import LocalSandbox
from connector.workbench.framings import WrittenFraming
from tests.services.registry import CONFLUENT_API, Registry
from tests.topics import Sent
from tests.world import World

NOTES = 20
"""Records of each version."""


def schema(version: int) -> dict[str, Any]:
    """A note; version 2 has one field more."""
    added = [{"name": "tag", "type": "string", "default": "none"}] if version == 2 else []
    fields = [{"name": "tenant", "type": "string"}, {"name": "number", "type": "int"}, *added]
    return {"type": "record", "name": "Note", "namespace": "com.example", "fields": fields}


def note(number: int, version: int) -> dict[str, Any]:
    return {"tenant": "acme", "number": number} | ({"tag": "new"} if version == 2 else {})


def avro(number: int, version: int) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema(version)), note(number, version))
    return out.getvalue()


Framed = tuple[bytes, Headers]
Write = Callable[[int, int], Framed]
"""Gives the value and headers of a note by its number and the version of its schema."""


class Case(NamedTuple):
    """One way to write notes, and the configuration that reads them."""

    value: dict[str, Json]
    write: Write
    registry: dict[str, Json] | None = None


def confluent_client(url: str) -> SchemaRegistryClient:
    return SchemaRegistryClient({"url": url})


def by_confluent(serializers: Sequence[Any], topic: str) -> Write:
    """With the serializers of versions 1 and 2."""

    def write(number: int, version: int) -> Framed:
        headers: list[tuple[str, Any]] = []
        context = SerializationContext(topic, MessageField.VALUE, headers)
        return serializers[version - 1](note(number, version), context), tuple(headers)

    return write


def confluent_avro(world: World, url: str, topic: str, **conf: Any) -> Write:
    client = confluent_client(url)
    return by_confluent([AvroSerializer(client, json.dumps(schema(v)), conf=conf) for v in (1, 2)], topic)


def confluent_json(url: str, topic: str) -> Write:
    def json_schema(version: int) -> str:
        properties: dict[str, Json] = {"tenant": {"type": "string"}, "number": {"type": "integer"}}
        if version == 2:
            properties["tag"] = {"type": "string"}
        return json.dumps({"title": "Note", "type": "object", "properties": properties})

    client = confluent_client(url)
    return by_confluent([JSONSerializer(json_schema(v), client) for v in (1, 2)], topic)


class ApicurioVersions:
    """Versions of one artifact, by Apicurio's own API."""

    def __init__(self, url: str) -> None:
        self.url = f"{url.removesuffix(CONFLUENT_API)}/apis/registry/v3"
        artifact = f"notes-{uuid.uuid4().hex[:8]}"
        self.global_ids: list[int] = []
        self.content_ids: list[int] = []
        for version in (1, 2):
            content = {"content": json.dumps(schema(version)), "contentType": "application/json"}
            body: dict[str, Any] = {
                "artifactId": artifact,
                "artifactType": "AVRO",
                "firstVersion": {"content": content},
            }
            path = "groups/default/artifacts"
            if version == 2:
                path, body = f"{path}/{artifact}/versions", {"content": content}
            answer = urllib3.request("POST", f"{self.url}/{path}", json=body, retries=False)
            assert answer.status == 200, answer.data
            found = answer.json()
            found = found.get("version", found)
            found = found if isinstance(found, dict) else answer.json()
            self.global_ids.append(found["globalId"])
            self.content_ids.append(found["contentId"])


@pytest.fixture(scope="module")
def glue_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def glue_versions(url: str) -> list[bytes]:
    """The UUIDs of both versions, each of a schema of its own, which moto asks least of."""
    client: Any = boto3.client(
        "glue", "eu-central-1", endpoint_url=url, aws_access_key_id="AKID", aws_secret_access_key="secret"
    )
    made = [
        client.create_schema(
            SchemaName=f"notes-{uuid.uuid4().hex[:8]}",
            DataFormat="AVRO",
            Compatibility="NONE",
            SchemaDefinition=json.dumps(schema(version)),
        )
        for version in (1, 2)
    ]
    return [uuid.UUID(each["SchemaVersionId"]).bytes for each in made]


def run(world: World, case: Case) -> None:
    """Bridge both versions, the second one written while the bridge runs, and compare what arrives."""
    (partition,) = world.topic("in.notes")

    def produce(version: int) -> None:
        numbers = range((version - 1) * NOTES, version * NOTES)
        world.produce([Sent(partition.topic, *_sent(case.write(n, version))) for n in numbers])

    event: dict[str, Json] = {"source": "aws.partner/example.com/${value.tenant}", "detail_type": "Note"}
    mapping: dict[str, Json] = {"value": case.value, "event": {**event, "metadata": None}}
    registry = {} if case.registry is None else {"schema_registry": case.registry}
    bridge = world.bridge(world.settings({partition.topic: mapping}, **registry)).start()
    produce(1)
    world.wait_settled([partition])
    produce(2)
    world.wait_settled([partition])
    bridge.sigterm()

    assert [] == world.letters()
    assert [note(n, 1 + n // NOTES) for n in range(2 * NOTES)] == sorted(
        world.details(), key=lambda detail: detail["number"]
    )


def _sent(framed: Framed) -> tuple[bytes, None, Headers]:
    value, headers = framed
    return value, None, headers


def test_confluent_ids_before_the_value(avro_world: World, registry: Registry) -> None:
    """What Confluent's serializer writes by default."""
    topic = f"{avro_world.name}.in.notes"
    run(avro_world, Case({"format": "avro"}, confluent_avro(avro_world, registry.url, topic)))


def test_confluent_guids_in_headers(world: World) -> None:
    """What it writes when it is told to use headers: the value is bare."""
    with FakeRegistry() as fake:
        write = confluent_avro(
            world, fake.url, "notes", **{"schema.id.serializer": header_schema_id_serializer}
        )
        run(world, Case({"format": "avro"}, write, {"url": fake.url}))


def test_confluent_json_schema(avro_world: World, registry: Registry) -> None:
    """JSON behind an id: its schema is not asked for, and the registry need not be configured."""
    topic = f"{avro_world.name}.in.notes"
    run(avro_world, Case({"format": "json", "framing": "confluent"}, confluent_json(registry.url, topic)))


@pytest.mark.parametrize("is_packed", [False, True], ids=["plain", "zlib"])
def test_glue(world: World, glue_url: str, *, is_packed: bool) -> None:
    """UUIDs of AWS Glue, plain and compressed."""
    versions = glue_versions(glue_url)

    def write(number: int, version: int) -> Framed:
        body = avro(number, version)
        prefix = bytes([3, 5 if is_packed else 0]) + versions[version - 1]
        return prefix + (zlib.compress(body) if is_packed else body), ()

    run(world, Case({"format": "avro", "framing": "glue"}, write, {"type": "glue", "url": glue_url}))


@pytest.mark.parametrize("how", ["8 bytes", "4 bytes", "globalId", "contentId"])
def test_apicurio(world: World, registry: Registry, how: str) -> None:
    """Global and content ids, before the value and in headers."""
    versions = ApicurioVersions(registry.url)

    def write(number: int, version: int) -> Framed:
        body, global_id = avro(number, version), versions.global_ids[version - 1]
        content_id = versions.content_ids[version - 1]
        match how:
            case "8 bytes":
                return struct.pack(">bq", 0, global_id) + body, ()
            case "4 bytes":
                return struct.pack(">bi", 0, content_id) + body, ()
        number_of = global_id if how == "globalId" else content_id
        return body, ((f"apicurio.value.{how}", struct.pack(">q", number_of)),)

    settings: dict[str, Json] = {"type": "apicurio", "url": versions.url}
    run(world, Case({"format": "avro", "framing": "apicurio"}, write, settings))


def test_single_object_encoding(world: World, tmp_path: Path) -> None:
    """Fingerprints, of schemas in a folder."""
    folder = tmp_path / "schemas"
    folder.mkdir()
    for version in (1, 2):
        (folder / f"note-{version}.avsc").write_text(json.dumps(schema(version)))

    def write(number: int, version: int) -> Framed:
        return b"\xc3\x01" + fingerprint_of(schema(version)) + avro(number, version), ()

    run(world, Case({"format": "avro", "framing": "single-object", "schema": str(folder)}, write))


@pytest.mark.parametrize("framing", ["confluent-header", "glue-zlib", "apicurio"])
def test_the_sandbox_stands_in_for_each_registry(tmp_path: Path, framing: WrittenFraming) -> None:
    """A team's own configuration is tried with no registry but the sandbox's."""
    read = framing.partition("-")[0]
    event = {"source": "aws.partner/example.com/${value.tenant}", "detail_type": "Note", "metadata": None}
    settings = {
        "kafka": {"bootstrap.servers": "kafka:9092", "group.id": "g"},
        "schema_registry": {"url": "https://registry"},
        "schema_registries": {
            "glue": {"type": "glue", "region": "us-east-1"},
            "apicurio": {"type": "apicurio", "url": "https://apicurio/apis/registry/v3"},
        },
        "eventbridge": {"region": "eu-central-1"},
        "dead_letter": {"topic": "letters"},
        "topics": {
            "notes": {
                "value": {"format": "avro", "framing": read}
                | ({"registry": read} if read != "confluent" else {}),
                "event": event,
            }
        },
    }
    with LocalSandbox(tmp_path) as sandbox:
        sandbox.start_bridge(settings)
        sandbox.produce("notes", note(1, 1), schema=schema(1), framing=framing)
        sandbox.produce("notes", note(2, 2), schema=schema(2), framing=framing)
        events = sandbox.wait_for_events(2)

    assert [note(1, 1), note(2, 2)] == sorted(
        (event["detail"] for event in events), key=lambda detail: detail["number"]
    )
