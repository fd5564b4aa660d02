"""AWS Glue's registry, as moto plays it: versions by their UUID, and refusals in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from connector import config
from connector.errors import DecodeError, NotAuthorizedError, UnavailableError
from connector.formats.glue_registry import GlueRegistry
from connector.formats.schema_cache import NotFoundError, SchemaCache, SchemaId
from tests.scripted_registry import eventually

REGION = "eu-central-1"
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def registry_at(url: str) -> GlueRegistry:
    settings = config.SchemaRegistry(type="glue", url=url, region=REGION)
    target = config.Target(region="us-east-1")
    return GlueRegistry(settings, path="schema_registry", target=target)


def version_of(url: str, name: str, definition: str, data_format: str = "AVRO") -> SchemaId:
    client: Any = boto3.client("glue", region_name=REGION, endpoint_url=url)
    made = client.create_schema(
        SchemaName=name, DataFormat=data_format, Compatibility="NONE", SchemaDefinition=definition
    )
    return SchemaId("version id", made["SchemaVersionId"])


def test_a_version_is_had_by_its_uuid(url: str) -> None:
    """Its text is what was registered; the Region is that of the registry, not of the target."""
    order = json.dumps({"type": "record", "name": "Order", "fields": []})
    version = version_of(url, "orders", order)
    with closing(SchemaCache(registry_at(url))) as schemas:
        found = eventually(lambda: schemas.get(version))

    assert [order.encode()] == list(found.texts)
    assert f"AWS Glue's schema registry in {REGION}" == registry_at(url).shown


def test_the_last_versions_of_a_topic_are_had_by_its_name(url: str) -> None:
    """The newest first, and not more than there are."""
    client: Any = boto3.client("glue", region_name=REGION, endpoint_url=url)
    version_of(url, "payments", '"int"')
    schema = {"SchemaName": "payments", "RegistryName": "default-registry"}
    for definition in ('"long"', '"float"', '"double"'):
        client.register_schema_version(SchemaId=schema, SchemaDefinition=definition)

    found = registry_at(url).versions("payments", "value", count=2)
    assert [("version 4 of payments", [b'"double"']), ("version 3 of payments", [b'"float"'])] == [
        (shown, schemas.texts) for shown, schemas in found
    ]
    assert 4 == len(registry_at(url).versions("payments", "value", count=10))
    with pytest.raises(NotFoundError, match=r"the schema nothing is not in AWS Glue's .*default-registry"):
        registry_at(url).versions("nothing", "value", count=1)


def test_what_it_does_not_have_is_not_found(url: str) -> None:
    """A UUID of another Region, or of a schema that was deleted; the message says which."""
    missing = "11111111-2222-3333-4444-555555555555"
    with pytest.raises(NotFoundError, match=f"the schema of version id {missing} is not in AWS Glue's"):
        registry_at(url).fetch(SchemaId("version id", missing))
    registry_at(url).check()


def test_a_schema_that_is_not_avro_costs_its_records(url: str) -> None:
    """Glue holds JSON Schema and Protobuf as well."""
    version = version_of(url, "json", '{"$schema": "http://json-schema.org/draft-07/schema#"}', "JSON")
    with pytest.raises(DecodeError, match="is a JSON schema, and the format says avro") as caught:
        registry_at(url).fetch(version)
    assert "schema_invalid" == caught.value.code


def test_a_registry_out_of_reach_is_waited_for() -> None:
    """Nobody's fault, and said so."""
    with pytest.raises(UnavailableError, match="cannot be reached"):
        registry_at(NOWHERE).check()


@pytest.mark.parametrize(
    ("code", "status", "error", "says"),
    [
        ("ThrottlingException", 400, UnavailableError, "it is asked again"),
        ("InternalServiceException", 500, UnavailableError, "it is asked again"),
        ("AccessDeniedException", 400, NotAuthorizedError, "glue:GetSchemaVersion"),
    ],
)
def test_a_refusal_is_waited_for_or_named(
    url: str, monkeypatch: pytest.MonkeyPatch, *, code: str, status: int, error: type[Exception], says: str
) -> None:
    """moto refuses nothing of these, so the client's answer is given in its place."""
    registry = registry_at(url)
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}

    def refuse(**_: object) -> None:
        raise ClientError(answer, "GetSchemaVersion")

    monkeypatch.setattr(registry._client(), "get_schema_version", refuse)
    with pytest.raises(error, match=says):
        registry.check()
