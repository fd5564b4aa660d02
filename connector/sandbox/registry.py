"""A schema registry that speaks as much of Confluent's API as producers and consumers of Avro need.

    GET  /subjects                                  POST /subjects/{subject}/versions   registers
    GET  /subjects/{subject}/versions               POST /subjects/{subject}            looks up
    GET  /subjects/{subject}/versions/{n|latest}    GET  /schemas/ids/{id}

Errors are {"error_code": ..., "message": ...} with Confluent's codes. Schemas are Avro, references
included; compatibility is not checked. A schema has one id, whatever subjects it is in.
https://docs.confluent.io/platform/current/schema-registry/develop/api.html

POST /_sandbox/faults sets what goes wrong from now on, as `RegistryScript` says: {"down": true},
{"latency_ms": 500}, {"garbage": true}, {"status": 503, "times": 2}; {} is none. GET /_sandbox/state
counts requests by method and path.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import fastavro
import orjson
from aiohttp import web
from fastavro.schema import SchemaParseException
from pydantic import BaseModel, ConfigDict, Field

from connector.sandbox.server import HttpServer, json_response, reset

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

    def as_json(self) -> dict[str, object]:
        return {"schema": self.text} | ({"references": self.references} if self.references else {})


@dataclass(slots=True)
class _Store:
    schemas: list[_Schema] = field(default_factory=list)
    """By id, from 1."""
    ids: dict[bytes, int] = field(default_factory=dict)
    subjects: dict[str, list[int]] = field(default_factory=dict)
    """The ids of a subject's versions, from version 1."""


class _RegistryError(Exception):
    def __init__(self, error_code: int, message: str) -> None:
        super().__init__(message)
        self.error_code = error_code

    @property
    def status(self) -> int:
        return self.error_code if self.error_code < 1000 else self.error_code // 100


class FakeRegistry(HttpServer):
    """A schema registry on 127.0.0.1 from `start` until `stop`; what it holds outlives a stop."""

    def __init__(
        self,
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        basic_auth: tuple[str, str] | None = None,
        bearer_token: str | None = None,
    ) -> None:
        super().__init__(port=port, tls=tls)
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
        try:
            self._admit(request.headers.get("Authorization"), script)
            body, status = self._answer(request.method, request.path, asked), 200
        except _RegistryError as error:
            body, status = {"error_code": error.error_code, "message": str(error)}, error.status
        return web.Response(body=orjson.dumps(body), status=status, content_type=_CONTENT_TYPE)

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

    def _answer(self, method: str, path: str, asked: Mapping[str, Any]) -> object:
        if path in {"/", "/subjects", "/schemas/types"}:
            return {"/": {}, "/subjects": sorted(self._store.subjects), "/schemas/types": ["AVRO"]}[path]
        if path.startswith("/schemas/ids/"):
            return self._by_id(path.removeprefix("/schemas/ids/")).as_json()
        match = _SUBJECT.fullmatch(path)
        if match is None:
            raise _RegistryError(404, "HTTP 404 Not Found")
        subject, version = match.groups()
        if method == "POST" and path.endswith("/versions"):
            return {"id": self._register(subject, _asked_schema(asked))}
        if subject not in self._store.subjects:
            raise _RegistryError(40401, f"Subject '{subject}' not found.")
        if method == "POST":
            return self._look_up(subject, _asked_schema(asked))
        if version is None:
            return list(range(1, len(self._store.subjects[subject]) + 1))
        return self._version(subject, version)

    def _by_id(self, text: str) -> _Schema:
        if not text.isdecimal() or not 1 <= int(text) <= len(self._store.schemas):
            raise _RegistryError(40403, f"Schema {text} not found")
        return self._store.schemas[int(text) - 1]

    def _version(self, subject: str, text: str) -> dict[str, object]:
        ids = self._store.subjects[subject]
        if text == "latest":
            text = str(len(ids))
        if not text.isdecimal() or int(text) < 1:
            raise _RegistryError(
                42202,
                f"The specified version '{text}' is not a valid version id. "
                'Allowed values are between [1, 2^31-1] and the string "latest"',
            )
        version = int(text)
        if version > len(ids):
            raise _RegistryError(40402, f"Version {version} not found.")
        schema_id = ids[version - 1]
        named = {"subject": subject, "version": version, "id": schema_id}
        return named | self._store.schemas[schema_id - 1].as_json()

    def _look_up(self, subject: str, schema: _Schema) -> dict[str, object]:
        schema_id = self._store.ids.get(schema.identity)
        ids = self._store.subjects[subject]
        if schema_id is None or schema_id not in ids:
            raise _RegistryError(40403, "Schema not found")
        return self._version(subject, str(ids.index(schema_id) + 1))

    def _register(self, subject: str, schema: _Schema) -> int:
        try:
            fastavro.parse_schema(orjson.loads(schema.text), named_schemas=self._referred(schema))
        except (SchemaParseException, ValueError, TypeError, KeyError) as error:
            raise _RegistryError(42201, f"Invalid schema: {type(error).__name__}: {error}") from error
        store = self._store
        schema_id = store.ids.setdefault(schema.identity, len(store.schemas) + 1)
        if schema_id > len(store.schemas):
            store.schemas.append(schema)
        versions = store.subjects.setdefault(subject, [])
        if schema_id not in versions:
            versions.append(schema_id)
        return schema_id

    def _referred(self, schema: _Schema) -> dict[str, dict[str, Any]]:
        """The named types of every schema this one refers to, directly or not."""
        named: dict[str, dict[str, Any]] = {}
        for reference in schema.references:
            subject, version = reference["subject"], str(reference["version"])
            if subject not in self._store.subjects:
                raise _RegistryError(42201, f"No schema reference found for subject '{subject}'")
            found = self._by_id(str(self._version(subject, version)["id"]))
            named |= self._referred(found)
            fastavro.parse_schema(orjson.loads(found.text), named_schemas=named)
        return named


def _asked_schema(asked: Mapping[str, Any]) -> _Schema:
    if asked.get("schemaType", "AVRO") != "AVRO":
        raise _RegistryError(42201, f"Invalid schema type {asked['schemaType']}")
    text = asked.get("schema")
    try:
        orjson.loads(text or "")
    except orjson.JSONDecodeError as error:
        raise _RegistryError(42201, "Invalid schema: it is not JSON") from error
    return _Schema(str(text), asked.get("references") or ())
