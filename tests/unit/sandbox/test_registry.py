"""The sandbox's schema registry speaks Confluent's API as its clients expect it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3

from connector.sandbox.registry import FakeRegistry

MONEY = {
    "type": "record",
    "name": "Money",
    "namespace": "shop",
    "fields": [{"name": "cents", "type": "long"}],
}
ORDER = {"type": "record", "name": "Order", "fields": [{"name": "total", "type": "shop.Money"}]}
MONEY_REFERENCE = [{"name": "shop.Money", "subject": "money", "version": 1}]


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


def ask(
    registry: FakeRegistry, path: str, body: object = None, *, method: str = "", **headers: str
) -> tuple[int, Any]:
    method = method or ("GET" if body is None else "POST")
    encoded = None if body is None else json.dumps(body).encode()
    answer = urllib3.request(method, f"{registry.url}{path}", body=encoded, headers=headers, retries=False)
    return answer.status, answer.json()


def registration(schema: object, **more: object) -> dict[str, object]:
    return {"schema": json.dumps(schema), "schemaType": "AVRO", **more}


def test_a_schema_keeps_its_id_whatever_subjects_it_is_in(registry: FakeRegistry) -> None:
    """Registering again adds no version; another subject shares the id."""
    answers = [
        ask(registry, "/subjects/a/versions", registration(MONEY)),
        ask(registry, "/subjects/a/versions", registration(MONEY)),
        ask(registry, "/subjects/b/versions", registration(MONEY)),
        ask(registry, "/subjects/a/versions", registration("string")),
    ]

    assert [(200, 1)] * 3 + [(200, 2)] == [(status, answer["id"]) for status, answer in answers]
    assert (200, [1, 2]) == ask(registry, "/subjects/a/versions")
    assert (200, ["a", "b"]) == ask(registry, "/subjects")


def test_a_schema_is_found_by_id_version_latest_and_content(registry: FakeRegistry) -> None:
    """All five ways lead to the text that was registered."""
    text = json.dumps(MONEY)
    ask(registry, "/subjects/a/versions", registration("string"))
    ask(registry, "/subjects/a/versions", registration(MONEY))
    status, found = ask(registry, "/schemas/ids/2")
    full = {"subject": "a", "version": 2, "id": 2, **found}

    assert (200, text) == (status, found["schema"])
    assert (200, found) == ask(registry, f"/schemas/guids/{found['guid']}")
    assert (200, full) == ask(registry, "/subjects/a/versions/2")
    assert (200, full) == ask(registry, "/subjects/a/versions/latest")
    assert (200, full) == ask(registry, "/subjects/a", registration(MONEY))


def test_references_are_resolved_and_shown(registry: FakeRegistry) -> None:
    """A schema may name types of schemas it refers to, and only those."""
    registry.register("money", MONEY)

    refused = ask(registry, "/subjects/order/versions", registration(ORDER))
    taken = ask(registry, "/subjects/order/versions", registration(ORDER, references=MONEY_REFERENCE))

    assert (422, 42201) == (refused[0], refused[1]["error_code"])
    assert (200, 2) == (taken[0], taken[1]["id"])
    assert MONEY_REFERENCE == ask(registry, "/schemas/ids/2")[1]["references"]


def test_what_is_deleted_is_there_for_those_who_ask_for_it(registry: FakeRegistry) -> None:
    """A version, then the subject; the ids stay, and registering brings a version back."""
    for schema in ("string", "int"):
        registry.register("a", schema)

    assert (200, 1) == ask(registry, "/subjects/a/versions/1", method="DELETE")
    assert (200, [2]) == ask(registry, "/subjects/a/versions")
    assert 40402 == ask(registry, "/subjects/a/versions/1")[1]["error_code"]
    assert '"string"' == ask(registry, "/subjects/a/versions/1?deleted=true")[1]["schema"]
    assert (200, [2]) == ask(registry, "/subjects/a", method="DELETE")
    assert 40401 == ask(registry, "/subjects/a/versions")[1]["error_code"]
    assert (200, []) == ask(registry, "/subjects")
    assert 200 == ask(registry, "/schemas/ids/1")[0]
    registry.register("a", "int")
    assert (200, [2]) == ask(registry, "/subjects/a/versions")


def test_it_takes_what_the_bridge_reads(registry: FakeRegistry) -> None:
    """A type of the null namespace from within another, and symbols that are no names, as in Java."""
    free = {"type": "enum", "name": "Free", "namespace": "", "symbols": ["N/A"]}
    fields = [{"name": "a", "type": free}, {"name": "b", "type": "Free"}]
    registry.register("a", {"type": "record", "name": "n.R", "fields": fields})


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/schemas/ids/9", None, (404, 40403)),
        ("/subjects/none/versions/1", None, (404, 40401)),
        ("/subjects/a/versions/7", None, (404, 40402)),
        ("/subjects/a/versions/x", None, (422, 42202)),
        ("/subjects/a", registration("long"), (404, 40403)),
        ("/subjects/a/versions", registration({"type": "no such"}), (422, 42201)),
        ("/subjects/a/versions", {"schema": "{"}, (422, 42201)),
        ("/nowhere", None, (404, 404)),
    ],
)
def test_errors_have_confluents_codes(
    registry: FakeRegistry, path: str, body: object, expected: tuple[int, int]
) -> None:
    """An error is a status, an error_code and a message."""
    registry.register("a", "string")

    status, error = ask(registry, path, body)

    assert expected == (status, error["error_code"])
    assert error["message"]


@pytest.mark.parametrize(
    ("settings", "header"),
    [
        ({"basic_auth": ("user", "secret")}, urllib3.make_headers(basic_auth="user:secret")["authorization"]),
        ({"bearer_token": "t"}, "Bearer t"),
    ],
)
def test_without_the_right_authorization_everything_is_401(settings: dict[str, Any], header: str) -> None:
    """Basic and bearer; a wrong one is as good as none."""
    with FakeRegistry(**settings) as registry:
        registry.register("a", "string")

        assert 401 == ask(registry, "/schemas/ids/1")[0]
        assert 401 == ask(registry, "/schemas/ids/1", Authorization="Bearer other")[0]
        assert 200 == ask(registry, "/schemas/ids/1", Authorization=header)[0]


def test_faults_strike_as_often_as_told_and_requests_are_counted(registry: FakeRegistry) -> None:
    """Down, garbage, an error status; then it is well again."""
    registry.register("a", "string")
    url = f"{registry.url}/schemas/ids/1"

    registry.script({"down": True, "times": 1})
    with pytest.raises(urllib3.exceptions.ProtocolError):
        urllib3.request("GET", url, retries=False)
    registry.script({"garbage": True, "times": 1})
    garbage = urllib3.request("GET", url)
    ask(registry, "/_sandbox/faults", {"status": 503, "times": 1})
    unavailable = urllib3.request("GET", url, retries=False)

    assert (200, b"<html>") == (garbage.status, garbage.data[:6])
    assert 503 == unavailable.status
    assert 200 == urllib3.request("GET", url).status
    assert {"GET /schemas/ids/1": 4} == registry.requests()
