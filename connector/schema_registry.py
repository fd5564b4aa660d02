"""A Confluent-compatible schema registry: schemas by id, asked for in the background and kept for ever.

https://docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from base64 import b64encode
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any
from urllib.parse import quote, urlsplit

import orjson

from connector import __version__, config
from connector.avro_schema import Names, Type, parse
from connector.errors import (
    ConfigError,
    ConnectorError,
    DecodeError,
    NotAuthorizedError,
    Problem,
    UnavailableError,
)

MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_REFERENCES = 100
MAX_SCHEMA_ID = 2**31 - 1

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
GRACE_S = 1.0
"""How long a schema may take from its registration to every replica of the registry."""
UNKNOWN_S = 30.0
"""How long an id that the registry does not know is not asked for again."""
MAX_TRACKED = 1000
"""Ids under way or unknown that are remembered; bytes that are no ids must not fill memory."""


class _NotFoundError(Exception):
    """The registry itself says that it has no such schema, subject or version."""


@dataclass(slots=True)
class _Attempts:
    """Where an id that is not known yet stands."""

    reason: str
    failures: int = 0
    not_found: bool = False
    queued: bool = True
    retry_at_s: float = 0.0


class SchemaRegistry:
    """Gives schemas by id without ever waiting for the network.

    What is not known yet is fetched by one background thread, and only while somebody asks. A schema
    never changes under its id, so a schema is asked for once in the life of the process.

    Raises:
        ConfigError: the CA, certificate or key cannot be used.
    """

    def __init__(self, settings: config.SchemaRegistry) -> None:
        self._http = _Http(settings)
        self._known: dict[int, Type | str] = {}
        """Schemas, or why what the registry has under this id can never be used."""
        self._waiting: dict[int, _Attempts] = {}
        self._unknown: dict[int, tuple[float, str]] = {}
        """Until when, and why; oldest first."""
        self._problem: str | None = None
        # Two threads meet here: the one that calls `get`, and the worker. Neither holds it for long.
        self._lock = threading.Lock()
        self._queue: SimpleQueue[int | None] = SimpleQueue()
        threading.Thread(target=self._work, name="schema-registry", daemon=True).start()

    def get(self, schema_id: int) -> Type:
        """Give a schema, at once.

        Raises:
            UnavailableError: it is not here yet; the same again later.
            DecodeError: `schema_unknown`, the registry does not know it; `schema_invalid`, it cannot be used.
        """
        known = self._known.get(schema_id)
        if isinstance(known, str):
            raise DecodeError("schema_invalid", known)
        if known is not None:
            return known
        if not 0 <= schema_id <= MAX_SCHEMA_ID:
            raise DecodeError(
                "schema_unknown", f"schema id {schema_id:,} is beyond what a registry gives out"
            )
        now_s = time.monotonic()
        with self._lock:
            if schema_id in self._unknown:
                until_s, reason = self._unknown[schema_id]
                if now_s < until_s:
                    raise DecodeError("schema_unknown", reason)
                del self._unknown[schema_id]
            raise UnavailableError(self._ask_for(schema_id, now_s), code="schema_registry")

    def problem(self) -> str | None:
        """Why schemas cannot be had, or None when the registry's last answer was a good one."""
        return self._problem

    def check(self) -> None:
        """Ask the registry for something, and wait for the answer.

        Raises:
            NotAuthorizedError: it refuses the credentials.
            UnavailableError: it does not answer, or not as a registry does.
        """
        # The same call as for real, so that it needs no other permission. Any id will do.
        try:
            self._http.get("/schemas/ids/1")
        except _NotFoundError:
            return

    def close(self) -> None:
        """Stop fetching. Does not wait for what is under way."""
        self._queue.put(None)

    def _ask_for(self, schema_id: int, now_s: float) -> str:
        attempts = self._waiting.get(schema_id)
        if attempts is None:
            if len(self._waiting) >= MAX_TRACKED:  # forget pauses rather than fetches
                self._waiting = {each: found for each, found in self._waiting.items() if found.queued}
            if len(self._waiting) >= MAX_TRACKED:
                return f"{MAX_TRACKED:,} other schemas are being fetched from {self._http.shown_url}"
            attempts = _Attempts(f"schema {schema_id} is being fetched from {self._http.shown_url}")
            self._waiting[schema_id] = attempts
            self._queue.put(schema_id)
        elif not attempts.queued and now_s >= attempts.retry_at_s:
            attempts.queued = True
            self._queue.put(schema_id)
        return attempts.reason

    # What the worker thread does

    def _work(self) -> None:
        while (schema_id := self._queue.get()) is not None:
            found: Type | str
            try:
                found = self._fetch(schema_id)
            except _NotFoundError as error:
                self._not_found(schema_id, str(error))
                continue
            except DecodeError as error:
                found = str(error)
            except ConnectorError as error:
                self._failed(schema_id, str(error))
                continue
            except Exception as error:  # noqa: BLE001  # a dead worker would stall every new schema in silence
                self._failed(schema_id, f"{type(error).__name__} while fetching schema {schema_id}")
                continue
            with self._lock:
                self._known[schema_id] = found
                self._waiting.pop(schema_id, None)
                self._problem = None

    def _not_found(self, schema_id: int, reason: str) -> None:
        now_s = time.monotonic()
        with self._lock:
            self._problem = None  # it answered
            attempts = self._waiting.get(schema_id)
            if attempts is not None and not attempts.not_found:
                attempts.not_found, attempts.queued = True, False
                attempts.reason, attempts.retry_at_s = reason, now_s + GRACE_S
                return
            self._waiting.pop(schema_id, None)
            if len(self._unknown) >= MAX_TRACKED:
                del self._unknown[next(iter(self._unknown))]
            self._unknown[schema_id] = now_s + UNKNOWN_S, reason

    def _failed(self, schema_id: int, reason: str) -> None:
        with self._lock:
            self._problem = reason
            attempts = self._waiting.get(schema_id)
            if attempts is not None:
                pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempts.failures)
                attempts.failures = min(attempts.failures + 1, 10)
                attempts.reason, attempts.queued = reason, False
                attempts.retry_at_s = time.monotonic() + pause_s

    def _fetch(self, schema_id: int) -> Type:
        try:
            answer = self._http.get(f"/schemas/ids/{schema_id}")
        except _NotFoundError:
            guess = " Is the producer using Apicurio's 8-byte ids?" if schema_id == 0 else ""
            raise _NotFoundError(
                f"schema {schema_id} is not in the registry at {self._http.shown_url}.{guess}"
            ) from None
        names: Names = {}
        self._learn_references(answer, names, set())
        return _parse_answer(answer, names, f"schema {schema_id}")

    def _learn_references(self, answer: dict[str, Any], names: Names, seen: set[tuple[str, int]]) -> None:
        """Add the types that a schema refers to, the innermost first."""
        references = answer.get("references") or []
        if not isinstance(references, list):
            raise self._http.garbage("`references` is not a list")
        for reference in references:
            match reference:
                case {"subject": str(subject), "version": int(version)}:
                    pass
                case _:
                    raise self._http.garbage("a reference has no subject or version")
            if (subject, version) in seen:
                continue
            seen.add((subject, version))
            if len(seen) > MAX_REFERENCES:
                raise DecodeError("schema_invalid", f"it refers to more than {MAX_REFERENCES} other schemas")
            try:
                inner = self._http.get(f"/subjects/{quote(subject, safe='')}/versions/{version}")
            except _NotFoundError:
                raise _NotFoundError(
                    f"it refers to version {version} of {subject}, which is not in the registry"
                ) from None
            self._learn_references(inner, names, seen)
            _parse_answer(inner, names, f"version {version} of {subject}")


def _parse_answer(answer: dict[str, Any], names: Names, name: str) -> Type:
    schema_type = answer.get("schemaType") or "AVRO"
    if schema_type != "AVRO":
        raise DecodeError("schema_invalid", f"{name} is a {schema_type} schema, and the format says avro")
    try:
        return parse(orjson.loads(answer["schema"]), names)
    except ValueError as error:
        raise DecodeError("schema_invalid", f"{name} is not a usable Avro schema: {error}") from None
    except DecodeError as error:
        raise DecodeError(error.code, f"{name} is not a usable Avro schema: {error}") from None


class _Http:
    """One GET at a time, bounded in time and size. Follows no redirect: credentials go to one place."""

    def __init__(self, settings: config.SchemaRegistry) -> None:
        url = urlsplit(settings.url)
        host = url.hostname or ""
        self._timeout_s = settings.timeout
        self._path = url.path.rstrip("/")
        self._address = host, url.port
        self._tls = _tls(settings) if url.scheme == "https" else None
        self._headers = {
            "Accept": "application/vnd.schemaregistry.v1+json, application/json",
            "User-Agent": f"partner-bridge/{__version__}",
            "Connection": "close",
        }
        authorization = _authorization(settings)
        if authorization is not None:
            self._headers["Authorization"] = authorization
        self.shown_url = f"{url.scheme}://{host}" + (f":{url.port}" if url.port else "") + self._path

    def get(self, path: str) -> dict[str, Any]:
        """Give the JSON object of a good answer."""
        status, body = self._exchange(path)
        if status == http.HTTPStatus.OK:
            answer = _object(body)
            if not isinstance(answer.get("schema"), str):
                raise self.garbage("it holds no schema. Is a proxy or a login page answering?")
            return answer
        if status in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
            raise NotAuthorizedError(
                f"the schema registry at {self.shown_url} answers {status}: check basic_auth, bearer_token "
                "or certificate under `schema_registry`, and that it may read schemas"
            )
        if status == http.HTTPStatus.NOT_FOUND:
            # 40401 subject, 40402 version, 40403 schema. Any other 404 is not about the schema.
            code = _object(body).get("error_code")
            if isinstance(code, int) and 40400 <= code < 40500:
                raise _NotFoundError
            raise self._unavailable("answers 404, but not as a registry does: is the path of its url right?")
        if 300 <= status < 400:
            raise self._unavailable(
                f"answers {status}, a redirect, which is not followed; set schema_registry.url to its end"
            )
        raise self._unavailable(f"answers {status}; it is asked again until it recovers")

    def _exchange(self, path: str) -> tuple[int, bytes]:
        host, port = self._address
        connection = (
            http.client.HTTPConnection(host, port, timeout=self._timeout_s)
            if self._tls is None
            else http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)
        )
        expired = threading.Event()
        deadline = threading.Timer(self._timeout_s, lambda: None)
        try:
            connection.connect()
            # The connection's own timeout is for each read: an answer that drips in would never end.
            deadline = threading.Timer(self._timeout_s, _cut, [connection.sock, expired])
            deadline.daemon = True
            deadline.start()
            connection.request("GET", self._path + path, headers=self._headers)
            response = connection.getresponse()
            body = response.read(MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise self._unavailable(self._reason(error, expired=expired.is_set())) from error
        finally:
            deadline.cancel()
            connection.close()
        if expired.is_set():
            raise self._unavailable(self._reason(TimeoutError(), expired=True))
        if len(body) > MAX_ANSWER_BYTES:
            raise self.garbage(f"it is over {MAX_ANSWER_BYTES:,} bytes")
        return response.status, body

    def garbage(self, why: str) -> UnavailableError:
        return self._unavailable(f"gives an answer that is not usable: {why}")

    def _unavailable(self, what: str) -> UnavailableError:
        return UnavailableError(f"the schema registry at {self.shown_url} {what}", code="schema_registry")

    def _reason(self, error: Exception, *, expired: bool) -> str:
        match error:
            case TimeoutError() if not expired:
                return f"gives no answer within {self._timeout_s:g} s; see schema_registry.timeout"
            case _ if expired:
                return f"gives no whole answer within {self._timeout_s:g} s; see schema_registry.timeout"
            case ssl.SSLCertVerificationError():
                return f"is not trusted ({error.verify_message}); set schema_registry.ca to its CA"
            case socket.gaierror():
                return "has a name that cannot be resolved; check schema_registry.url"
            case OSError(strerror=str(reason)):
                return f"cannot be reached ({reason}); it is asked again until it recovers"
            case _:
                return f"breaks off its answer ({type(error).__name__}); it is asked again until it recovers"


def _cut(connected: socket.socket, expired: threading.Event) -> None:
    expired.set()
    # Not the method of an SSLSocket, which would take the TLS layer away under the thread that reads.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connected, socket.SHUT_RDWR)


def _object(body: bytes) -> dict[str, Any]:
    """Give the JSON object in an answer; an empty one stands for anything else."""
    try:
        answer = orjson.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _authorization(settings: config.SchemaRegistry) -> str | None:
    if settings.basic_auth is not None:
        plain = f"{settings.basic_auth.username}:{settings.basic_auth.password.get_secret_value()}"
        return f"Basic {b64encode(plain.encode()).decode()}"
    if settings.bearer_token is None:
        return None
    token = settings.bearer_token.get_secret_value()
    if not (token.isascii() and token.isprintable()):  # http.client would show it in its complaint
        raise ConfigError(
            [Problem("schema_registry.bearer_token", "holds characters that no header may hold")]
        )
    return f"Bearer {token}"


def _tls(settings: config.SchemaRegistry) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca)
    except OSError as error:
        raise ConfigError([Problem("schema_registry.ca", f"{settings.ca} is not usable: {error}")]) from None
    if settings.certificate is not None:
        try:
            # An empty password, so that an encrypted key is an error and not a prompt.
            context.load_cert_chain(settings.certificate, settings.private_key, password="")
        except OSError as error:
            reason = f"{settings.certificate} with its private_key is not usable: {error}"
            raise ConfigError([Problem("schema_registry.certificate", reason)]) from None
    return context
