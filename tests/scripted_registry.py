"""A schema registry that says what a test tells it to, also what no registry would say."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import pytest

from connector import config
from connector.errors import UnavailableError
from connector.formats.confluent_registry import ConfluentRegistry
from connector.formats.schema_cache import SchemaCache, SchemaId

Respond = Callable[[BaseHTTPRequestHandler], None]


class ScriptedRegistry:
    """Answers each path as told, else that there is no such schema; `requests` are the paths asked for."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, Respond] = {}
        self.requests: list[str] = []
        self.authorization: str | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.requests.append(self.path)
                outer.authorization = self.headers["Authorization"]
                outer.answers.get(self.path, not_found)(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        scheme = "http"
        if tls is not None:
            self.http.socket = tls.wrap_socket(self.http.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self.http.server_port}"
        self._thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def schema(self, schema_id: int, schema: object, **more: object) -> None:
        self.answers[f"/schemas/ids/{schema_id}"] = says(200, {"schema": json.dumps(schema), **more})

    def version(self, subject: str, version: int, schema: object, **more: object) -> None:
        body = {"subject": subject, "version": version, "id": 99, "schema": json.dumps(schema), **more}
        self.answers[f"/subjects/{subject}/versions/{version}?deleted=true"] = says(200, body)

    def silence(self, path: str) -> threading.Event:
        """Answer nothing there until the event is set."""
        release = threading.Event()
        self.answers[path] = lambda _: (release.wait(60), None)[1]
        return release

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def says(status: int, body: object, **headers: str) -> Respond:
    def respond(request: BaseHTTPRequestHandler) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        request.send_response(status)
        request.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)

    return respond


def drips(size_bytes: int) -> Respond:
    """An answer of so many bytes, a few at a time, until the other side hangs up."""

    def respond(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size_bytes)
        with contextlib.suppress(OSError):
            for _ in range(size_bytes // 100):
                request.wfile.write(b" " * 100)
                time.sleep(0.02)

    return respond


not_found = says(404, {"error_code": 40403, "message": "Schema not found"})


DEADLINE_S = 5.0


@contextmanager
def registry_at(url: str, **keys: Any) -> Iterator[SchemaCache]:
    settings = config.SchemaRegistry(url=url, **keys)
    client = SchemaCache(ConfluentRegistry(settings, path="schema_registry"))
    try:
        yield client
    finally:
        client.close()


def eventually(attempt: Callable[[], Any]) -> Any:
    """What `attempt` gives once it raises UnavailableError no more."""
    until_s = time.monotonic() + DEADLINE_S
    while True:
        try:
            return attempt()
        except UnavailableError:
            if time.monotonic() > until_s:
                raise
            threading.Event().wait(0.005)


def fetched(client: SchemaCache, schema_id: int) -> list[Any]:
    """The JSON of a schema, and of those that it refers to."""
    schemas = eventually(lambda: client.get(SchemaId("id", schema_id)))
    return [json.loads(text) for text in schemas.texts]


def failure(client: SchemaCache, schema_id: int = 1) -> str:
    """The reason why a schema is not to be had, once the first attempt has ended."""
    until_s = time.monotonic() + DEADLINE_S
    while client.problem() is None and time.monotonic() < until_s:
        with pytest.raises(UnavailableError):
            client.get(SchemaId("id", schema_id))
        threading.Event().wait(0.005)
    with pytest.raises(UnavailableError) as caught:
        client.get(SchemaId("id", schema_id))
    assert "schema_registry" == caught.value.code
    assert client.problem() == str(caught.value)
    return str(caught.value)
