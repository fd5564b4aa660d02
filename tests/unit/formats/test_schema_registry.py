"""The client of the schema registry: what is fetched, remembered, and asked for again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import pytest

from connector.errors import DecodeError, NotAuthorizedError, UnavailableError
from connector.formats import schema_registry
from connector.formats.schema_registry import SchemaRegistryClient
from tests.scripted_registry import DEADLINE_S, ScriptedRegistry, fetched, not_found, registry_at, says


def refusal(client: SchemaRegistryClient, schema_id: int) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        fetched(client, schema_id)
    return caught.value


def test_a_schema_is_asked_for_once(server: ScriptedRegistry) -> None:
    """The first `get` says that it is not here yet; then it is, and for ever, even with the registry gone."""
    server.schema(7, "string")
    with registry_at(server.url) as registry:
        with pytest.raises(UnavailableError, match=r"schema 7 is being fetched from http://127\.0\.0\.1"):
            registry.get(7)
        fetched(registry, 7)
        server.answers.clear()

        assert [b'"string"'] == registry.get(7)
        assert ["/schemas/ids/7"] == server.requests
        assert registry.problem() is None


def test_get_never_waits_for_the_network(server: ScriptedRegistry) -> None:
    """With a registry that does not answer, `get` comes back at once."""
    release = threading.Event()
    server.answers["/schemas/ids/1"] = lambda _: (release.wait(DEADLINE_S), None)[1]
    with registry_at(server.url, timeout=DEADLINE_S) as registry:
        started_s = time.monotonic()
        for _ in range(100):
            with pytest.raises(UnavailableError):
                registry.get(1)
        release.set()

        assert time.monotonic() - started_s < 0.5
        assert len(server.requests) <= 1


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
        "/subjects/line%2Fv1/versions/1",
        "/subjects/money/versions/2",
    ] == server.requests


def test_an_unknown_id_gets_one_grace_then_is_remembered(
    server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schema just registered may not be everywhere yet; after a second look the record is refused."""
    monkeypatch.setattr(schema_registry, "GRACE_S", 0.05)
    with registry_at(server.url) as registry:
        first = refusal(registry, 8)
        again = refusal(registry, 8)

        assert ["schema_unknown"] * 2 == [first.code, again.code]
        assert "schema 8 is not in the registry at http://127.0.0.1" in str(first)
        assert 2 == len(server.requests)
        assert registry.problem() is None

        monkeypatch.setattr("connector.formats.schema_registry.time.monotonic", later(30.1))
        server.schema(8, "int")

        assert ["int"] == fetched(registry, 8)


def later(seconds: float) -> Callable[[], float]:
    real = time.monotonic
    return lambda: real() + seconds


def test_unknown_ids_in_a_row_get_no_grace(server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that only look like ids do not stop their partition with every record, but new schemas have time.

    The grace is back once a schema was found, and after half a minute without unknown ids.
    """
    monkeypatch.setattr(schema_registry, "GRACE_S", 0.05)
    server.schema(1, "int")

    def looks(registry: SchemaRegistryClient, *schema_ids: int) -> list[int]:
        for schema_id in schema_ids:
            assert "schema_unknown" == refusal(registry, schema_id).code
        return [server.requests.count(f"/schemas/ids/{schema_id}") for schema_id in schema_ids]

    with registry_at(server.url) as registry:
        assert [2, 2, 2, 1, 1, 1] == looks(registry, 10, 11, 12, 13, 14, 15)
        fetched(registry, 1)
        assert [2, 2, 2, 1] == looks(registry, 20, 21, 22, 23)
        monkeypatch.setattr("connector.formats.schema_registry.time.monotonic", later(30.1))
        assert [2, 2, 2, 1] == looks(registry, 30, 31, 32, 33)


def test_a_schema_that_appears_within_the_grace_is_used(
    server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two looks the schema arrives: no record is lost."""
    monkeypatch.setattr(schema_registry, "GRACE_S", 0.05)

    def appears(request: BaseHTTPRequestHandler) -> None:
        server.schema(8, "int")
        not_found(request)

    server.answers["/schemas/ids/8"] = appears
    with registry_at(server.url) as registry:
        assert ["int"] == fetched(registry, 8)


def test_what_is_remembered_is_bounded(server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that only look like ids cannot fill memory."""
    monkeypatch.setattr(schema_registry, "GRACE_S", 0.0)
    monkeypatch.setattr(schema_registry, "MAX_TRACKED", 3)
    with registry_at(server.url) as registry:
        for schema_id in range(10, 20):
            refusal(registry, schema_id)

        assert 3 == len(registry._attempts)


@pytest.mark.parametrize(("bound", "most"), [("MAX_KNOWN", 2), ("MAX_KNOWN_BYTES", 20)])
def test_schemas_beyond_the_bound_are_fetched_anew(
    server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    """A producer that registers a schema with every start must not fill memory, nor lose a record by it."""
    monkeypatch.setattr(schema_registry, bound, most)
    for schema_id in (1, 2, 3):
        server.schema(schema_id, "string")
    with registry_at(server.url) as registry:
        for schema_id in (1, 2, 3, 1):
            assert ["string"] == fetched(registry, schema_id)

        assert [f"/schemas/ids/{schema_id}" for schema_id in (1, 2, 3, 1)] == server.requests
        assert 2 == len(registry._known)


def test_an_id_that_no_registry_gives_out_is_not_asked_for(server: ScriptedRegistry) -> None:
    """Four bytes can hold more than a registry's ids: such a record is refused at once."""
    with registry_at(server.url) as registry, pytest.raises(DecodeError) as caught:
        registry.get(2**31)

    assert "schema_unknown" == caught.value.code
    assert [] == server.requests


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
    monkeypatch.setattr(schema_registry, "GRACE_S", 0.0)
    monkeypatch.setattr(schema_registry, "MAX_REFERENCES_BYTES", 1_000)
    for version in range(1, 120):
        next_one = [{"name": "n", "subject": "s", "version": version + 1}]
        server.version("s", version, "int", references=next_one)
    server.schema(1, "int", references=[{"name": "n", "subject": "s", "version": 1}])
    server.schema(2, "int", references=[{"name": "n", "subject": "gone", "version": 4}])
    server.version("long", 1, "x" * 600)
    server.version("longer", 1, "x" * 600, references=[{"name": "n", "subject": "long", "version": 1}])
    server.schema(3, "int", references=[{"name": "n", "subject": "longer", "version": 1}])
    with registry_at(server.url) as registry:
        endless, missing, large = refusal(registry, 1), refusal(registry, 2), refusal(registry, 3)

    assert ("schema_invalid", "schema_unknown") == (endless.code, missing.code)
    assert "schema_invalid" == large.code
    assert "more than 1,000 bytes together" in str(large)
    assert "more than 100 other schemas" in str(endless)
    assert "version 4 of gone" in str(missing)


def test_retries_back_off(server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is asked for, a schema that fails is fetched ever more rarely."""
    monkeypatch.setattr(schema_registry, "FIRST_PAUSE_S", 0.02)
    server.answers["/schemas/ids/1"] = says(500, {})
    with registry_at(server.url) as registry:
        until_s = time.monotonic() + 0.2
        while time.monotonic() < until_s:
            with pytest.raises(UnavailableError):
                registry.get(1)
            threading.Event().wait(0.001)

        # After pauses of 0.02, 0.04 and 0.08 s; the next would end after the deadline.
        assert 2 <= len(server.requests) <= 4


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
