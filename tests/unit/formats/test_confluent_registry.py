"""Confluent's API of a registry: schemas, and what they refer to."""

from __future__ import annotations

import json

import pytest

from connector import config
from connector.errors import DecodeError, NotAuthorizedError, UnavailableError
from connector.formats import references, schema_cache
from connector.formats.confluent_registry import ConfluentRegistry
from connector.formats.schema_cache import NotFoundError, SchemaCache, SchemaId
from tests.scripted_registry import ScriptedRegistry, eventually, fetched, registry_at, says


def refusal(client: SchemaCache, schema_id: int) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        fetched(client, schema_id)
    return caught.value


def test_references_are_fetched_innermost_first(server: ScriptedRegistry) -> None:
    """A schema may use types of other subjects, and those of more; each version is fetched once."""
    a_money = {"type": "record", "name": "shop.Money", "fields": []}
    server.version("money", 2, a_money)
    money = {"name": "shop.Money", "subject": "money", "version": 2}
    line = {"type": "record", "name": "shop.Line", "fields": [{"name": "price", "type": "Money"}]}
    server.version("line%2Fv1", 1, line, references=[money])
    order = {"type": "record", "name": "shop.Order", "fields": [{"name": "line", "type": "Line"}]}
    server.schema(1, order, references=[{"name": "x", "subject": "line/v1", "version": 1}, money])
    with registry_at(server.url) as registry:
        schemas = fetched(registry, 1)

    assert [a_money, line, order] == schemas
    assert [
        "/schemas/ids/1",
        "/subjects/line%2Fv1/versions/1?deleted=true",
        "/subjects/money/versions/2?deleted=true",
    ] == server.requests


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (
            {"schema": "{}", "schemaType": "PROTOBUF"},
            "schema 1 is a PROTOBUF schema, and the format says avro",
        ),
        ({"schema": "no json"}, "schema 1 is not a usable Avro schema"),
        ({"schema": "[" * 5000}, "schema 1 is not a usable Avro schema"),
    ],
)
def test_a_schema_that_is_not_avro_costs_its_records(
    server: ScriptedRegistry, answer: object, rule: str
) -> None:
    """What is registered under an id never changes, so its records are refused, and it is asked for once."""
    server.answers["/schemas/ids/1"] = says(200, answer)
    with registry_at(server.url) as registry:
        error = refusal(registry, 1)
        refusal(registry, 1)

    assert "schema_invalid" == error.code
    assert rule in str(error)
    assert 1 == len(server.requests)


def test_references_are_bounded(server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Schemas that refer to each other without end are refused, or to too much, or to what is missing."""
    monkeypatch.setattr(schema_cache, "GRACE_S", 0.0)
    monkeypatch.setattr(references, "MAX_REFERENCES_BYTES", 1_000)
    for version in range(1, 120):
        next_one = [{"name": f"n{version}", "subject": "s", "version": version + 1}]
        server.version("s", version, "int", references=next_one)
    server.schema(1, "int", references=[{"name": "n", "subject": "s", "version": 1}])
    server.schema(2, "int", references=[{"name": "n", "subject": "gone", "version": 4}])
    server.version("long", 1, "x" * 600)
    server.version("longer", 1, "x" * 600, references=[{"name": "m", "subject": "long", "version": 1}])
    server.schema(3, "int", references=[{"name": "n", "subject": "longer", "version": 1}])
    with registry_at(server.url) as registry:
        endless, missing, large = refusal(registry, 1), refusal(registry, 2), refusal(registry, 3)

    assert ("schema_invalid", "schema_unknown") == (endless.code, missing.code)
    assert "schema_invalid" == large.code
    assert "more than 1,000 bytes together" in str(large)
    assert "more than 100 other schemas" in str(endless)
    assert "version 4 of gone" in str(missing)


def test_check_asks_what_is_asked_for_real(server: ScriptedRegistry) -> None:
    """Reachable and permitted is enough; refused credentials and silence are told apart."""
    with registry_at(server.url) as registry:
        registry.check()
        server.schema(1, "int")
        registry.check()
        server.answers["/schemas/ids/1"] = says(401, {})
        with pytest.raises(NotAuthorizedError, match="answers 401"):
            registry.check()
        server.answers["/schemas/ids/1"] = says(503, {})
        with pytest.raises(UnavailableError, match="answers 503"):
            registry.check()


def test_a_name_in_two_versions_means_the_one_met_first(server: ScriptedRegistry) -> None:
    """As in Java's client: depth first, so that an order's address is not read as its bill's."""
    names = [("street", "town"), ("town", "street")]
    for version, fields in enumerate(names, start=1):
        address = {
            "type": "record",
            "name": "Address",
            "fields": [{"name": n, "type": "string"} for n in fields],
        }
        server.version("address", version, address)
    server.version("bill", 1, "int", references=[{"name": "Address", "subject": "address", "version": 2}])
    server.schema(
        1,
        "int",
        references=[
            {"name": "Address", "subject": "address", "version": 1},
            {"name": "Bill", "subject": "bill", "version": 1},
        ],
    )
    with registry_at(server.url) as registry:
        address, *_ = fetched(registry, 1)

    assert ["street", "town"] == [field["name"] for field in address["fields"]]
    assert "/subjects/address/versions/2?deleted=true" not in server.requests


def test_a_schema_may_be_named_by_its_guid(server: ScriptedRegistry) -> None:
    """The GUID is the same in every registry of a company; its message says which it is."""
    guid = "89791762-2336-4186-9674-299b90a802e2"
    server.answers[f"/schemas/guids/{guid}"] = says(200, {"schema": '"int"'})
    with registry_at(server.url) as registry:
        assert [b'"int"'] == eventually(lambda: registry.get(SchemaId("guid", guid))).texts
        with pytest.raises(UnavailableError, match="the schema of guid 0-0 is being fetched"):
            registry.get(SchemaId("guid", "0-0"))


@pytest.mark.parametrize(("is_registry", "error"), [(True, NotFoundError), (False, UnavailableError)])
def test_a_registry_without_guids_does_not_stop_bytes_that_look_like_one(
    server: ScriptedRegistry, *, is_registry: bool, error: type[Exception]
) -> None:
    """Apicurio's and Karapace's answer 404 to the path. A wrong url does as well, and is waited for."""
    no_path = says(404, {"error_code": 404, "message": "HTTP 404 Not Found"})
    server.answers["/schemas/guids/0-0"] = no_path
    if not is_registry:
        server.answers["/schemas/ids/1"] = no_path
    registry = ConfluentRegistry(config.SchemaRegistry(url=server.url), path="schema_registry")
    with pytest.raises(error):
        registry.fetch(SchemaId("guid", "0-0"))


@pytest.mark.parametrize(
    ("rules", "encrypted_by"),
    [
        ({"domainRules": [{"name": "hide", "type": "ENCRYPT"}]}, "hide"),
        ({"encodingRules": [{"name": "all", "type": "ENCRYPT_PAYLOAD"}]}, "all"),
        ({"domainRules": [{"name": "hide", "type": "ENCRYPT", "disabled": True}]}, None),
        ({"domainRules": [{"name": "check", "type": "CEL"}], "migrationRules": None}, None),
        (None, None),
    ],
)
def test_a_rule_that_encrypts_is_noticed(
    server: ScriptedRegistry, rules: object, encrypted_by: str | None
) -> None:
    """Rules of a data contract that have producers encrypt fields, unless they are switched off."""
    server.schema(1, "int", ruleSet=rules)
    with registry_at(server.url) as registry:
        assert encrypted_by == eventually(lambda: registry.get(SchemaId("id", 1))).encrypted_by


def test_the_last_versions_of_a_topic_are_had_by_its_subject(server: ScriptedRegistry) -> None:
    """The newest first, and only those that are asked for, whatever numbers were deleted between."""
    registry = ConfluentRegistry(config.SchemaRegistry(url=server.url), path="schema_registry")
    path = "/subjects/a.b-key/versions"
    server.answers[path] = says(200, [1, 2, 7])
    for number, schema in ((2, "int"), (7, "long")):
        server.answers[f"{path}/{number}"] = says(200, {"schema": json.dumps(schema), "version": number})

    assert [("version 7 of a.b-key", [b'"long"']), ("version 2 of a.b-key", [b'"int"'])] == [
        (shown, schemas.texts) for shown, schemas in registry.versions("a.b", "key", count=2)
    ]
    server.answers[path] = says(404, {"error_code": 40401, "message": "Subject not found"})
    with pytest.raises(NotFoundError, match=r"the subject a.b-key is not in the schema registry at"):
        registry.versions("a.b", "key", count=2)
    server.answers[path] = says(200, {"a": 1})
    with pytest.raises(UnavailableError, match="not a list of numbers"):
        registry.versions("a.b", "key", count=2)
