"""A schema registry that speaks as much of Confluent's API as producers and consumers of Avro need.

    GET  /subjects                                     POST /subjects/{subject}/versions   registers
    GET  /subjects/{subject}/versions                  POST /subjects/{subject}            looks up
    GET  /subjects/{subject}/versions/{n|latest}       GET  /schemas/ids/{id}
    DELETE /subjects/{subject}[/versions/{n|latest}]   GET  /schemas/guids/{guid}

Errors are {"error_code": ..., "message": ...} with Confluent's codes. Schemas are Avro, references
included, as the bridge reads it; compatibility is not checked. A schema has one id, whatever subjects it is
in, and a GUID. What is deleted is gone only for those who do not ask with ?deleted=true.
https://docs.confluent.io/platform/current/schema-registry/develop/api.html

Apicurio's own API (/apis/registry/v3/ids/globalIds/{id}, contentIds, and an artifact's versions) and Glue's
GetSchemaVersion give the same schemas: an id is all of Confluent's, global and content id, and a GUID is a
version of Glue. A subject is an artifact of the default group; Glue calls it without `-value`.

POST /_sandbox/faults sets what goes wrong from now on, as `RegistryScript` says: {"down": true},
{"latency_ms": 500}, {"garbage": true}, {"status": 503, "times": 2}; {} is none. GET /_sandbox/state
counts requests by method and path.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import ssl
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from connector.errors import DecodeError
from connector.formats.avro_schema import compile_reader
from connector.formats.avro_types import Forms
from connector.formats.references import Reference, referred
from connector.formats.schema_cache import NotFoundError
from connector.sandbox.server import LOOPBACK, Host, HttpServer, json_response, reset

APICURIO_API = "/apis/registry/v3"
_OF_APICURIO = re.compile(APICURIO_API + r"/ids/(?:globalIds|contentIds)/([0-9]+)(/references)?")
_ARTIFACT = re.compile(
    APICURIO_API + r"/groups/default/artifacts/([^/]+)/versions(?:/([0-9]+)(?:/content|(/references)))?"
)
_GET_SCHEMA_VERSION = "AWSGlue.GetSchemaVersion"
_CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
_SUBJECT = re.compile(r"/subjects/([^/]+)(?:/versions(?:/([^/]+))?)?")


class RegistryScript(BaseModel):
    """What goes wrong with every request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    down: bool = False
    """Every connection is reset."""
    garbage: bool = False
    """Every answer is 200 with an HTML page."""
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    """Every answer has this status and an error document."""
    latency_ms: Annotated[float, Field(ge=0)] = 0
    times: Annotated[int, Field(ge=1)] | None = None
    """For how many requests; None: until replaced."""


@dataclass(frozen=True, slots=True)
class _Schema:
    text: str
    references: Sequence[Mapping[str, Any]] = ()

    @property
    def identity(self) -> bytes:
        return orjson.dumps([orjson.loads(self.text), self.references], option=orjson.OPT_SORT_KEYS)

    @property
    def guid(self) -> str:
        return str(uuid.UUID(bytes=hashlib.md5(self.identity, usedforsecurity=False).digest()))

    def as_json(self) -> dict[str, object]:
        found: dict[str, object] = {"schema": self.text, "guid": self.guid}
        return found | ({"references": self.references} if self.references else {})


@dataclass(slots=True)
class _Store:
    schemas: list[_Schema] = field(default_factory=list)
    """By id, from 1."""
    ids: dict[bytes, int] = field(default_factory=dict)
    subjects: dict[str, list[int]] = field(default_factory=dict)
    """The ids of a subject's versions, from version 1."""
    deleted: set[tuple[str, int]] = field(default_factory=set)
    """Subjects and versions."""

    def versions(self, subject: str, *, with_deleted: bool) -> list[int]:
        every = range(1, len(self.subjects.get(subject, ())) + 1)
        return [version for version in every if with_deleted or (subject, version) not in self.deleted]


class _RegistryError(Exception):
    def __init__(self, error_code: int, message: str) -> None:
        super().__init__(message)
        self.error_code = error_code

    @property
    def status(self) -> int:
        return self.error_code if self.error_code < 1000 else self.error_code // 100


class FakeRegistry(HttpServer):
    """A schema registry from `start` until `stop`; what it holds outlives a stop."""

    def __init__(
        self,
        *,
        host: Host = LOOPBACK,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        basic_auth: tuple[str, str] | None = None,
        bearer_token: str | None = None,
    ) -> None:
        super().__init__(host=host, port=port, tls=tls)
        self._authorization: str | None = None
        if basic_auth:
            self._authorization = f"Basic {base64.b64encode(':'.join(basic_auth).encode()).decode()}"
        elif bearer_token:
            self._authorization = f"Bearer {bearer_token}"
        self._store = _Store()
        self._script = RegistryScript()
        self._requests: Counter[str] = Counter()

    def register(self, subject: str, schema: object, references: Sequence[Mapping[str, Any]] = ()) -> int:
        """Adds a schema, given as the JSON document it is, to a subject; answers its id.

        `references` are {"name": ..., "subject": ..., "version": ...}. Raises ValueError where it
        is no Avro schema.
        """
        new = _Schema(orjson.dumps(schema).decode(), references)
        try:
            return self.call(lambda: self._register(subject, new))
        except _RegistryError as error:
            raise ValueError(str(error)) from error

    def script(self, change: Mapping[str, Any]) -> None:
        """Sets what goes wrong from now on, replacing what was set. Raises ValueError."""
        new = RegistryScript.model_validate(dict(change))
        self.call(lambda: setattr(self, "_script", new))

    def requests(self) -> Counter[str]:
        """How often each was asked, as `GET /schemas/ids/1`."""
        return self.call(lambda: Counter(self._requests))

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        asked = orjson.loads(await request.content.read() or b"{}")
        if request.path == "/_sandbox/faults":
            try:
                self.script(asked)
            except ValueError as error:
                return json_response({"message": str(error)}, status=400)
            return json_response(self._script.model_dump())
        if request.path == "/_sandbox/state":
            return json_response({"requests": self._requests})
        self._requests[f"{request.method} {request.path}"] += 1
        script = self._next_script()
        await asyncio.sleep(script.latency_ms / 1000)
        if script.down:
            return reset(request)
        if script.garbage:
            return web.Response(text="<html><body>It works!</body></html>", content_type="text/html")
        if request.headers.get("X-Amz-Target") == _GET_SCHEMA_VERSION:
            return self._glue_version(asked)
        if found := _OF_APICURIO.fullmatch(request.path):
            return self._apicurio_schema(*found.groups())
        if found := _ARTIFACT.fullmatch(request.path):
            return self._apicurio_artifact(*found.groups())
        try:
            self._admit(request.headers.get("Authorization"), script)
            with_deleted = request.query.get("deleted") == "true"
            body, status = self._answer(request.method, request.path, asked, with_deleted=with_deleted), 200
        except _RegistryError as error:
            body, status = {"error_code": error.error_code, "message": str(error)}, error.status
        return web.Response(body=orjson.dumps(body), status=status, content_type=_CONTENT_TYPE)

    def _glue_version(self, asked: Mapping[str, Any]) -> web.Response:
        number: dict[str, object] = {}
        try:
            match asked:
                case {"SchemaId": {"SchemaName": str(name)}, "SchemaVersionNumber": wanted}:
                    ids = self._ids(f"{name}-value")
                    version = wanted.get("VersionNumber") or max(ids)
                    schema, number = self._by_id(str(ids.get(version))), {"VersionNumber": version}
                case _:
                    schema = self._by_guid(str(asked.get("SchemaVersionId")))
        except _RegistryError as error:
            return json_response({"__type": "EntityNotFoundException", "Message": str(error)}, status=400)
        answer = {"SchemaVersionId": schema.guid, "SchemaDefinition": schema.text, "DataFormat": "AVRO"}
        return json_response({**answer, "Status": "AVAILABLE", **number})

    def _apicurio_schema(self, number: str, references: str | None) -> web.Response:
        try:
            schema = self._by_id(number)
        except _RegistryError as error:
            problem = {"name": "ContentNotFoundException", "title": str(error), "status": 404}
            return json_response(problem, status=404)
        return json_response([] if references else orjson.loads(schema.text))

    def _apicurio_artifact(self, subject: str, version: str | None, references: str | None) -> web.Response:
        try:
            ids = self._ids(subject)
        except _RegistryError as error:
            problem = {"name": "ArtifactNotFoundException", "title": str(error), "status": 404}
            return json_response(problem, status=404)
        if version is not None:
            return self._apicurio_schema(str(ids.get(int(version))), references)
        versions = [{"version": str(each), "globalId": number} for each, number in ids.items()]
        return json_response({"count": len(versions), "versions": versions})

    def _admit(self, authorization: str | None, script: RegistryScript) -> None:
        if script.status:
            raise _RegistryError(script.status, "The sandbox was told to answer so.")
        if self._authorization and authorization != self._authorization:
            raise _RegistryError(401, "Unauthorized")

    def _next_script(self) -> RegistryScript:
        script = self._script
        if script.times is not None:
            left = script.times - 1
            self._script = script.model_copy(update={"times": left}) if left else RegistryScript()
        return script

    def _answer(self, method: str, path: str, asked: Mapping[str, Any], *, with_deleted: bool) -> object:
        store = self._store
        if path in {"/", "/schemas/types"}:
            return {"/": {}, "/schemas/types": ["AVRO"]}[path]
        if path == "/subjects":
            return sorted(each for each in store.subjects if store.versions(each, with_deleted=with_deleted))
        if path.startswith("/schemas/ids/"):
            return self._by_id(path.removeprefix("/schemas/ids/")).as_json()
        if path.startswith("/schemas/guids/"):
            return self._by_guid(path.removeprefix("/schemas/guids/")).as_json()
        match = _SUBJECT.fullmatch(path)
        if match is None:
            raise _RegistryError(404, "HTTP 404 Not Found")
        subject, version = match.groups()
        if method == "POST" and path.endswith("/versions"):
            schema = _asked_schema(asked)
            return {"id": self._register(subject, schema), "guid": schema.guid}
        versions = store.versions(subject, with_deleted=with_deleted)
        if not versions:
            raise _RegistryError(40401, f"Subject '{subject}' not found.")
        if method == "POST":
            return self._look_up(subject, _asked_schema(asked))
        if version is not None:
            versions = [self._version_of(version, versions)]
        if method == "DELETE":
            store.deleted |= {(subject, each) for each in versions}
            return versions if version is None else versions[0]
        return versions if version is None else self._version(subject, versions[0])

    def _ids(self, subject: str) -> dict[int, int]:
        """The ids of a subject's versions."""
        versions = self._store.versions(subject, with_deleted=False)
        if not versions:
            raise _RegistryError(40401, f"Subject '{subject}' not found.")
        return {version: self._store.subjects[subject][version - 1] for version in versions}

    def _by_id(self, text: str) -> _Schema:
        if not text.isdecimal() or not 1 <= int(text) <= len(self._store.schemas):
            raise _RegistryError(40403, f"Schema {text} not found")
        return self._store.schemas[int(text) - 1]

    def _by_guid(self, guid: str) -> _Schema:
        for schema in self._store.schemas:
            if schema.guid == guid.lower():
                return schema
        raise _RegistryError(40403, f"Schema {guid} not found")

    def _version_of(self, text: str, versions: Sequence[int]) -> int:
        if text == "latest":
            return versions[-1]
        if not text.isdecimal() or int(text) < 1:
            raise _RegistryError(
                42202,
                f"The specified version '{text}' is not a valid version id. "
                'Allowed values are between [1, 2^31-1] and the string "latest"',
            )
        if int(text) not in versions:
            raise _RegistryError(40402, f"Version {text} not found.")
        return int(text)

    def _version(self, subject: str, version: int) -> dict[str, object]:
        schema_id = self._store.subjects[subject][version - 1]
        named = {"subject": subject, "version": version, "id": schema_id}
        return named | self._store.schemas[schema_id - 1].as_json()

    def _look_up(self, subject: str, schema: _Schema) -> dict[str, object]:
        schema_id = self._store.ids.get(schema.identity)
        ids = self._store.subjects[subject]
        if schema_id is None or schema_id not in ids:
            raise _RegistryError(40403, "Schema not found")
        return self._version(subject, ids.index(schema_id) + 1)

    def _register(self, subject: str, schema: _Schema) -> int:
        try:
            texts = [*referred(_references(schema), self._referred), schema.text.encode()]
            compile_reader([orjson.loads(text) for text in texts], None, forms=Forms(), name="it")
        except (DecodeError, NotFoundError) as error:
            raise _RegistryError(42201, f"Invalid schema: {error}") from error
        store = self._store
        schema_id = store.ids.setdefault(schema.identity, len(store.schemas) + 1)
        if schema_id > len(store.schemas):
            store.schemas.append(schema)
        versions = store.subjects.setdefault(subject, [])
        if schema_id not in versions:
            versions.append(schema_id)
        store.deleted.discard((subject, versions.index(schema_id) + 1))
        return schema_id

    def _referred(self, reference: Reference) -> tuple[bytes, Sequence[Reference]]:
        subject, _, version = reference.path.rpartition("/")
        ids = self._store.subjects.get(subject, [])
        if not 0 < int(version) <= len(ids):
            raise NotFoundError
        found = self._by_id(str(ids[int(version) - 1]))
        return found.text.encode(), _references(found)


def _references(schema: _Schema) -> list[Reference]:
    return [
        Reference(
            each["name"],
            f"{each['subject']}/{each['version']}",
            f"version {each['version']} of {each['subject']}",
        )
        for each in schema.references
    ]


def _asked_schema(asked: Mapping[str, Any]) -> _Schema:
    if asked.get("schemaType", "AVRO") != "AVRO":
        raise _RegistryError(42201, f"Invalid schema type {asked['schemaType']}")
    text = asked.get("schema")
    try:
        orjson.loads(text or "")
    except orjson.JSONDecodeError as error:
        raise _RegistryError(42201, "Invalid schema: it is not JSON") from error
    return _Schema(str(text), asked.get("references") or ())
