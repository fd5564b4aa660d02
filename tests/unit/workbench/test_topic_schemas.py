"""A topic's schemas come from a file or the registry, the newest first; and one that is missing is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from connector import config
from connector.errors import ConfigError, Problem
from connector.sandbox.registry import APICURIO_API, FakeRegistry
from connector.workbench.topic_schemas import topic_schemas
from tests.configuration import EVENT, with_settings

MONEY = {"type": "record", "name": "Money", "namespace": "shop", "fields": []}


def order(version: int) -> dict[str, Any]:
    fields = [{"name": f"f{number}", "type": "int"} for number in range(version)]
    return {"type": "record", "name": "Order", "fields": [*fields, {"name": "total", "type": "shop.Money"}]}


@pytest.fixture(scope="module")
def registry() -> Iterator[FakeRegistry]:
    server = FakeRegistry()
    server.start()
    server.register("money", MONEY)
    references = [{"name": "shop.Money", "subject": "money", "version": 1}]
    for version in (1, 2, 3):
        server.register("orders-value", order(version), references)
    server.register("plain-value", "int")
    server.register("plain-value", "long")
    server.register("orders-key", "string")
    yield server
    server.stop()


def settings(registry: dict[str, Any] | None, **topics: dict[str, Any]) -> config.Settings:
    named = {name.replace("_", "^"): {"event": EVENT, **topic} for name, topic in topics.items()}
    values = yaml.safe_load(with_settings(topics=named))
    return config.Settings.model_validate(values | {"schema_registry": registry})


def problem(attempt: Any) -> Problem:
    with pytest.raises(ConfigError) as caught:
        attempt()
    (found,) = caught.value.problems
    return found


def test_the_last_versions_of_the_registry_come_newest_first(registry: FakeRegistry) -> None:
    """With the schemas that they refer to before them; of values, or of keys."""
    avro = settings({"url": registry.url}, orders={"key": {"format": "avro"}}, plain={})

    found = topic_schemas(avro, "orders")
    assert [
        ("version 3 of orders-value", [MONEY, order(3)]),
        ("version 2 of orders-value", [MONEY, order(2)]),
    ] == found
    assert [("version 3 of orders-value", [MONEY, order(3)])] == topic_schemas(avro, "orders", count=1)
    assert [("version 1 of orders-key", ["string"])] == topic_schemas(avro, "orders", "key")
    assert [] == topic_schemas(avro, "plain", "key")


@pytest.mark.parametrize("kind", ["apicurio", "glue"])
def test_the_other_registries_are_asked_by_their_own_names(
    registry: FakeRegistry, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apicurio for the artifact of the default group, Glue for the schema called as the topic."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    url = registry.url + (APICURIO_API if kind == "apicurio" else "")
    found = settings({"type": kind, "url": url}, plain={"value": {"framing": kind}})

    name = "plain-value" if kind == "apicurio" else "plain"
    assert [(f"version 2 of {name}", ["long"]), (f"version 1 of {name}", ["int"])] == (
        topic_schemas(found, "plain")
    )
    missing = settings({"type": kind, "url": url}, nothing={"value": {"framing": kind}})
    assert "nothing" in problem(lambda: topic_schemas(missing, "nothing")).message


def test_a_file_that_is_given_wins(registry: FakeRegistry, tmp_path: Path) -> None:
    """Also over the registry, and for a pattern, which has no schema of its own."""
    file = tmp_path / "order.avsc"
    file.write_text('"int" // a comment')
    found = settings({"url": registry.url}, orders={}, _ord={})

    assert [(str(file), ["int"])] == topic_schemas(found, "orders", file=file)
    assert [(str(file), ["int"])] == topic_schemas(found, "^ord", file=file)
    where, what = problem(lambda: topic_schemas(found, "^ord"))[:2]
    assert "topics.^ord.value" == where
    assert "a pattern stands for several topics" in what
    assert "--schema '^ord=FILE'" in what


def test_a_topic_without_a_registry_has_its_own_files(tmp_path: Path) -> None:
    """One, or those of a folder, the last name first."""
    for version, schema in ((1, "int"), (2, "long")):
        (tmp_path / f"v{version}.avsc").write_text(json.dumps(schema))
    file = {"value": {"framing": "none", "schema": str(tmp_path / "v1.avsc")}}
    folder = {"value": {"framing": "single-object", "schema": str(tmp_path)}}
    found = settings(None, one=file, many=folder)

    assert [(str(tmp_path / "v1.avsc"), ["int"])] == topic_schemas(found, "one")
    assert [["long"], ["int"]] == [schemas for _, schemas in topic_schemas(found, "many")]


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        ("missing", "the subject missing-value is not in the schema registry at "),
        ("order", "no mapping is for the topic order; did you mean 'orders'?"),
    ],
)
def test_what_is_not_there_is_said_with_what_to_do(registry: FakeRegistry, topic: str, message: str) -> None:
    """In one message."""
    configured = settings({"url": registry.url}, orders={}, missing={})
    found = problem(lambda: topic_schemas(configured, topic))

    assert found.message.startswith(message)
    assert topic == "order" or f"; give a file: `--schema '{topic}=FILE'`" in found.message


def test_a_registry_that_does_not_answer_is_said() -> None:
    """At once, and with its address."""
    found = problem(lambda: topic_schemas(settings({"url": "http://127.0.0.1:1"}, orders={}), "orders"))

    assert ("topics.orders.value", True) == (
        found.path,
        "http://127.0.0.1:1 cannot be reached" in found.message,
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [("{", "is not a usable Avro schema: "), ('{"type": "recrod"}', "recrod"), (None, "No such")],
)
def test_a_file_that_is_no_schema_is_said(tmp_path: Path, text: str | None, reason: str) -> None:
    """Its name, and what is wrong with it."""
    file = tmp_path / "order.avsc"
    if text is not None:
        file.write_text(text)

    found = problem(
        lambda: topic_schemas(settings({"url": "http://127.0.0.1:1"}, orders={}), "orders", file=file)
    )
    assert str(file) in found.message
    assert reason in found.message
