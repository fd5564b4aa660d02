"""Apicurio's own API: schemas by global or content id, and what they refer to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connector import config
from connector.errors import DecodeError, UnavailableError
from connector.formats.apicurio_registry import ApicurioRegistry
from connector.formats.schema_cache import NotFoundError, SchemaId
from tests.scripted_registry import ScriptedRegistry, says

MISSING = says(404, {"status": 404, "name": "ContentNotFoundException", "title": "No content"})


def registry_at(url: str, version: str = "v3") -> ApicurioRegistry:
    settings = config.SchemaRegistry(type="apicurio", url=f"{url}/apis/registry/{version}")
    return ApicurioRegistry(settings, path="schema_registry")


def given(server: ScriptedRegistry, path: str, schema: object, *references: dict[str, Any]) -> None:
    """A schema at a path of the API, and what it refers to."""
    base = f"/apis/registry/{path}"
    at = base.removesuffix("/content")
    server.answers[base] = says(200, schema)
    server.answers[f"{at}/references"] = says(200, list(references))


def address(version: str) -> dict[str, Any]:
    return {"groupId": "shop", "artifactId": "a/b", "version": version, "name": f"Address{version}"}


def test_ids_are_asked_for_by_their_kind(server: ScriptedRegistry) -> None:
    """A global id is of one version, a content id of one text."""
    given(server, "v3/ids/globalIds/7", "int")
    given(server, "v3/ids/contentIds/7", "string")
    registry = registry_at(server.url)

    assert [b'"int"'] == registry.fetch(SchemaId("global id", 7)).texts
    assert [b'"string"'] == registry.fetch(SchemaId("content id", 7)).texts


@pytest.mark.parametrize(("version", "content"), [("v3", "/content"), ("v2", "")])
def test_references_are_fetched_innermost_first(server: ScriptedRegistry, version: str, content: str) -> None:
    """Each with its group, artifact and version; in version 2 of the API its content has another path."""
    given(server, f"{version}/ids/globalIds/1", "Order", address("1"))
    given(server, f"{version}/groups/shop/artifacts/a%2Fb/versions/1{content}", "Address1", address("2"))
    given(server, f"{version}/groups/shop/artifacts/a%2Fb/versions/2{content}", "Address2")
    found = registry_at(server.url, version).fetch(SchemaId("global id", 1))

    assert ["Address2", "Address1", "Order"] == [json.loads(text) for text in found.texts]


def test_what_it_does_not_have_is_not_found(server: ScriptedRegistry) -> None:
    """An id, or what a schema refers to; any other 404 is not about the schema."""
    server.answers["/apis/registry/v3/ids/globalIds/8"] = MISSING
    given(server, "v3/ids/globalIds/9", "Order", address("3"))
    server.answers["/apis/registry/v3/groups/shop/artifacts/a%2Fb/versions/3/content"] = MISSING
    server.answers["/apis/registry/v3/ids/globalIds/1"] = MISSING
    registry = registry_at(server.url)

    with pytest.raises(NotFoundError, match="the schema of global id 8 is not in the schema registry at"):
        registry.fetch(SchemaId("global id", 8))
    with pytest.raises(NotFoundError, match="refers to version 3 of a/b in group shop"):
        registry.fetch(SchemaId("global id", 9))
    registry.check()
    with pytest.raises(UnavailableError, match="is the path of its url right"):
        registry.fetch(SchemaId("content id", 404))


@pytest.mark.parametrize("answer", [[{"name": "a"}], {"a": 1}])
def test_references_that_are_none_are_no_answer(server: ScriptedRegistry, answer: object) -> None:
    """A proxy or a registry in trouble is waited for."""
    given(server, "v3/ids/globalIds/1", "int")
    server.answers["/apis/registry/v3/ids/globalIds/1/references"] = says(200, answer)

    with pytest.raises(UnavailableError, match="not usable"):
        registry_at(server.url).fetch(SchemaId("global id", 1))


def test_a_schema_that_refers_to_itself_ends(server: ScriptedRegistry) -> None:
    """Each name is followed once."""
    given(server, "v3/ids/globalIds/1", "int", address("1"))
    given(server, "v3/groups/shop/artifacts/a%2Fb/versions/1/content", "int", address("1"))

    assert 2 == len(registry_at(server.url).fetch(SchemaId("global id", 1)).texts)


def test_what_is_no_json_costs_its_records(server: ScriptedRegistry) -> None:
    """A Protobuf schema, of which Apicurio's API does not say that it is one; but a login page passes."""
    server.answers["/apis/registry/v3/ids/globalIds/1"] = says(200, b'syntax = "proto3";')
    server.answers["/apis/registry/v3/ids/globalIds/2"] = says(200, b"<html>please log in</html>")
    registry = registry_at(server.url)

    with pytest.raises(DecodeError, match="not a usable Avro schema"):
        registry.fetch(SchemaId("global id", 1))
    with pytest.raises(UnavailableError, match="Is a proxy or a login page answering"):
        registry.fetch(SchemaId("global id", 2))


@pytest.mark.parametrize(("version", "content"), [("v3", "/content"), ("v2", "")])
def test_the_last_versions_of_a_topic_are_had_by_their_age(
    server: ScriptedRegistry, version: str, content: str
) -> None:
    """Whatever their order and names, and with what they refer to; one that is disabled is not."""
    base = f"{version}/groups/default/artifacts/a.b-value/versions"
    listed = [
        {"version": "1", "globalId": 5},
        {"version": "2.0", "globalId": 9},
        {"version": "x", "globalId": 11, "state": "DISABLED"},
        {"version": "old", "globalId": 2},
    ]
    page = "?limit=500&orderby=globalId&order=desc"
    server.answers[f"/apis/registry/{base}{page}"] = says(200, {"count": 4, "versions": listed})
    given(server, f"{base}/2.0{content}", "Order", address("1"))
    given(server, f"{base}/1{content}", "int")
    given(server, f"{version}/groups/shop/artifacts/a%2Fb/versions/1{content}", "Address1")
    found = registry_at(server.url, version).versions("a.b", "value", count=2)

    assert ["version 2.0 of a.b-value", "version 1 of a.b-value"] == [shown for shown, _ in found]
    assert [["Address1", "Order"], ["int"]] == [
        [json.loads(text) for text in schemas.texts] for _, schemas in found
    ]
    server.answers[f"/apis/registry/{base}{page}"] = MISSING
    with pytest.raises(NotFoundError, match=r"the artifact a.b-value is not in the schema registry at"):
        registry_at(server.url, version).versions("a.b", "value", count=2)
    server.answers[f"/apis/registry/{base}{page}"] = says(200, [1])
    with pytest.raises(UnavailableError, match="no versions of an artifact"):
        registry_at(server.url, version).versions("a.b", "value", count=2)
