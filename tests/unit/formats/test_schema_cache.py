"""Schemas of a registry: what is fetched, remembered, and asked for again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import pytest

from connector.errors import DecodeError, UnavailableError
from connector.formats import schema_cache
from connector.formats.schema_cache import SchemaCache, SchemaId
from tests.scripted_registry import (
    DEADLINE_S,
    ScriptedRegistry,
    failure,
    fetched,
    not_found,
    registry_at,
    says,
)
from tests.services.child import wait_until


def refusal(client: SchemaCache, schema_id: int) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        fetched(client, schema_id)
    return caught.value


def test_a_schema_is_asked_for_once(server: ScriptedRegistry) -> None:
    """The first `get` says that it is not here yet; then it is, and for ever, even with the registry gone."""
    server.schema(7, "string")
    with registry_at(server.url) as registry:
        with pytest.raises(
            UnavailableError,
            match=r"schema 7 is being fetched from the schema registry at http://127\.0\.0\.1",
        ):
            registry.get(SchemaId("id", 7))
        fetched(registry, 7)
        server.answers.clear()

        assert [b'"string"'] == registry.get(SchemaId("id", 7)).texts
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
                registry.get(SchemaId("id", 1))
        release.set()

        assert time.monotonic() - started_s < 0.5
        assert len(server.requests) <= 1


def test_a_registry_that_is_silent_is_a_problem_before_its_time_is_over(
    server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And none once it has answered."""
    monkeypatch.setattr(schema_cache, "SILENT_S", 0.02)
    release = threading.Event()
    good = says(200, {"schema": '"int"'})
    server.answers["/schemas/ids/1"] = lambda request: (release.wait(DEADLINE_S), good(request))[1]
    with registry_at(server.url, timeout=DEADLINE_S) as registry:
        with pytest.raises(UnavailableError):
            registry.get(SchemaId("id", 1))
        wait_until(lambda: registry.problem() is not None, what="its silence is a problem")
        said = str(registry.problem())
        release.set()

        assert said == f"schema 1 has not come from the schema registry at {server.url} for 0 s"
        assert ["int"] == fetched(registry, 1)
        assert registry.problem() is None


def test_a_registry_that_answers_is_not_called_silent(
    server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for one reference after the other, and has answered all but the last."""
    monkeypatch.setattr(schema_cache, "SILENT_S", 0.02)
    money, tax = ({"name": name, "subject": name, "version": 1} for name in ("money", "tax"))
    server.schema(1, "int", references=[money, tax])
    server.version("money", 1, "int")
    release = server.silence("/subjects/tax/versions/1?deleted=true")
    with registry_at(server.url, timeout=DEADLINE_S) as registry:
        with pytest.raises(UnavailableError):
            registry.get(SchemaId("id", 1))
        wait_until(lambda: len(server.requests) == 3, what="the last reference is asked for")
        wait_until(lambda: registry.problem() is not None, what="that it takes so long is a problem")
        said = str(registry.problem())
        release.set()

    assert said.startswith("schema 1 has not come from the schema registry at ")


def test_silence_is_said_in_place_of_an_older_problem(
    server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong now, and not what was wrong before; a refused connection may become a hang."""
    monkeypatch.setattr(schema_cache, "SILENT_S", 0.02)
    server.answers["/schemas/ids/1"] = says(500, {})
    with registry_at(server.url, timeout=DEADLINE_S) as registry:
        assert "answers 500" in failure(registry)
        release = server.silence("/schemas/ids/1")

        def is_said() -> bool:
            with pytest.raises(UnavailableError):
                registry.get(SchemaId("id", 1))
            return "has not come" in str(registry.problem())

        wait_until(is_said, what=lambda: f"its silence is said: {registry.problem()}")
        release.set()


def test_an_unknown_id_gets_one_grace_then_is_remembered(
    server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schema just registered may not be everywhere yet; after a second look the record is refused."""
    monkeypatch.setattr(schema_cache, "GRACE_S", 0.05)
    with registry_at(server.url) as registry:
        first = refusal(registry, 8)
        again = refusal(registry, 8)

        assert ["schema_unknown"] * 2 == [first.code, again.code]
        assert "schema 8 is not in the schema registry at http://127.0.0.1" in str(first)
        assert 2 == len(server.requests)
        assert registry.problem() is None

        monkeypatch.setattr("connector.formats.schema_cache.time.monotonic", later(30.1))
        server.schema(8, "int")

        assert ["int"] == fetched(registry, 8)


def later(seconds: float) -> Callable[[], float]:
    real = time.monotonic
    return lambda: real() + seconds


def test_unknown_ids_in_a_row_get_no_grace(server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that only look like ids do not stop their partition with every record, but new schemas have time.

    The grace is back once a schema was found, and after half a minute without unknown ids.
    """
    monkeypatch.setattr(schema_cache, "GRACE_S", 0.05)
    server.schema(1, "int")

    def looks(registry: SchemaCache, *schema_ids: int) -> list[int]:
        for schema_id in schema_ids:
            assert "schema_unknown" == refusal(registry, schema_id).code
        return [server.requests.count(f"/schemas/ids/{schema_id}") for schema_id in schema_ids]

    with registry_at(server.url) as registry:
        assert [2, 2, 2, 1, 1, 1] == looks(registry, 10, 11, 12, 13, 14, 15)
        fetched(registry, 1)
        assert [2, 2, 2, 1] == looks(registry, 20, 21, 22, 23)
        monkeypatch.setattr("connector.formats.schema_cache.time.monotonic", later(30.1))
        assert [2, 2, 2, 1] == looks(registry, 30, 31, 32, 33)


def test_a_schema_that_appears_within_the_grace_is_used(
    server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two looks the schema arrives: no record is lost."""
    monkeypatch.setattr(schema_cache, "GRACE_S", 0.05)

    def appears(request: BaseHTTPRequestHandler) -> None:
        server.schema(8, "int")
        not_found(request)

    server.answers["/schemas/ids/8"] = appears
    with registry_at(server.url) as registry:
        assert ["int"] == fetched(registry, 8)


def test_what_is_remembered_is_bounded(server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that only look like ids cannot fill memory."""
    monkeypatch.setattr(schema_cache, "GRACE_S", 0.0)
    monkeypatch.setattr(schema_cache, "MAX_TRACKED", 3)
    with registry_at(server.url) as registry:
        for schema_id in range(10, 20):
            refusal(registry, schema_id)

        assert 3 == len(registry._attempts)


@pytest.mark.parametrize(("bound", "most"), [("MAX_KNOWN", 2), ("MAX_KNOWN_BYTES", 20)])
def test_schemas_beyond_the_bound_are_fetched_anew(
    server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    """A producer that registers a schema with every start must not fill memory, nor lose a record by it."""
    monkeypatch.setattr(schema_cache, bound, most)
    for schema_id in (1, 2, 3):
        server.schema(schema_id, "string")
    with registry_at(server.url) as registry:
        for schema_id in (1, 2, 3, 1):
            assert ["string"] == fetched(registry, schema_id)

        assert [f"/schemas/ids/{schema_id}" for schema_id in (1, 2, 3, 1)] == server.requests
        assert 2 == len(registry._known)


def test_retries_back_off(server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is asked for, a schema that fails is fetched ever more rarely."""
    monkeypatch.setattr(schema_cache, "FIRST_PAUSE_S", 0.02)
    server.answers["/schemas/ids/1"] = says(500, {})
    with registry_at(server.url) as registry:
        until_s = time.monotonic() + 0.2
        while time.monotonic() < until_s:
            with pytest.raises(UnavailableError):
                registry.get(SchemaId("id", 1))
            threading.Event().wait(0.001)

        # After pauses of 0.02, 0.04 and 0.08 s; the next would end after the deadline.
        assert 2 <= len(server.requests) <= 4
