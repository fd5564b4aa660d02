"""The registry's HTTP: one GET within one deadline, TLS, sign-in, and errors in words."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import orjson

from connector import __version__, config
from connector.errors import (
    ConfigError,
    NotAuthorizedError,
    Problem,
    UnavailableError,
)
from connector.formats.schema_cache import NotFoundError

MAX_ANSWER_BYTES = 1024 * 1024
"""The largest schema that fits a registry's message in Kafka, by default; 5,000 fields take a fifth."""


class UnknownPathError(UnavailableError):
    """A 404 that is not about a schema: the registry has no such path, or is somewhere else."""


class RegistryHttp:
    """One GET at a time, bounded in time and size. Follows no redirect: credentials go to one place.

    `path` is where the settings stand in the configuration; `is_not_found` tells from the JSON object of an
    answer with status 404 that it is about the schema.

    Raises:
        ConfigError: the CA, certificate, key or token cannot be used.
    """

    def __init__(
        self, settings: config.SchemaRegistry, *, path: str, is_not_found: Callable[[dict[str, Any]], bool]
    ) -> None:
        url = urlsplit(settings.url or "")
        self._setting = path
        self._is_not_found = is_not_found
        host = url.hostname or ""
        self._timeout_s = settings.timeout
        self._path = url.path.rstrip("/")
        self._address = host, url.port
        self._tls = _tls(settings, path) if url.scheme == "https" else None
        self._headers = {
            "Accept": "application/vnd.schemaregistry.v1+json, application/json",
            "User-Agent": f"partner-bridge/{__version__}",
            "Connection": "close",
        }
        authorization = _authorization(settings, path)
        if authorization is not None:
            self._headers["Authorization"] = authorization
        shown_url = f"{url.scheme}://{host}" + (f":{url.port}" if url.port else "") + self._path
        self.shown = f"the schema registry at {shown_url}"

    def get(self, path: str) -> Any:
        """Give the JSON of a good answer; raises as `get_bytes`."""
        try:
            return orjson.loads(self.get_bytes(path))
        except ValueError:
            raise self.garbage("it is not JSON. Is a proxy or a login page answering?") from None

    def get_bytes(self, path: str) -> bytes:
        """Give a good answer as it is.

        Raises:
            NotFoundError: the registry itself says that it has no such thing.
            NotAuthorizedError: it refuses the credentials.
            UnavailableError: it does not answer, or not as a registry does.
        """
        status, body = self._exchange(path)
        if status == http.HTTPStatus.OK:
            return body
        if status in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
            raise NotAuthorizedError(
                f"{self.shown} answers {status}: check basic_auth, bearer_token or certificate under "
                f"`{self._setting}`, and that it may read schemas"
            )
        if status == http.HTTPStatus.NOT_FOUND:
            if self._is_not_found(_object(body)):
                raise NotFoundError
            text = "answers 404, but not as a registry does: is the path of its url right?"
            raise UnknownPathError(f"{self.shown} {text}", code="schema_registry")
        if 300 <= status < 400:
            raise self._unavailable(
                f"answers {status}, a redirect, which is not followed; set {self._setting}.url to its end"
            )
        raise self._unavailable(f"answers {status}; it is asked again until it recovers")

    def _exchange(self, path: str) -> tuple[int, bytes]:
        host, port = self._address
        connection = (
            http.client.HTTPConnection(host, port, timeout=self._timeout_s)
            if self._tls is None
            else http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)
        )
        # The connection's own timeout is for each read: an answer that drips in would never end.
        expired = threading.Event()
        deadline = threading.Timer(self._timeout_s, _cut, [connection, expired])
        deadline.daemon = True
        deadline.start()
        try:
            connection.connect()
            _check(expired)  # it may have struck when there was no socket to cut yet
            connection.request("GET", self._path + path, headers=self._headers)
            response = connection.getresponse()
            body = response.read(MAX_ANSWER_BYTES + 1)
            _check(expired)
        except (OSError, http.client.HTTPException) as error:
            raise self._unavailable(self._reason(TimeoutError() if expired.is_set() else error)) from error
        finally:
            deadline.cancel()
            connection.close()
        if len(body) > MAX_ANSWER_BYTES:
            raise self.garbage(f"it is over {MAX_ANSWER_BYTES:,} bytes")
        return response.status, body

    def garbage(self, why: str) -> UnavailableError:
        return self._unavailable(f"gives an answer that is not usable: {why}")

    def _unavailable(self, what: str) -> UnavailableError:
        return UnavailableError(f"{self.shown} {what}", code="schema_registry")

    def _reason(self, error: Exception) -> str:
        match error:
            case TimeoutError():
                return f"gives no whole answer within {self._timeout_s:g} s; see {self._setting}.timeout"
            case ssl.SSLCertVerificationError():
                return f"is not trusted ({error.verify_message}); set {self._setting}.ca to its CA"
            case socket.gaierror():
                return f"has a name that cannot be resolved; check {self._setting}.url"
            case OSError(strerror=str(reason)):
                return f"cannot be reached ({reason}); it is asked again until it recovers"
            case _:
                return f"breaks off its answer ({type(error).__name__}); it is asked again until it recovers"


def _cut(connection: http.client.HTTPConnection, expired: threading.Event) -> None:
    expired.set()
    # Not the method of an SSLSocket, which would take the TLS layer away under the thread that reads.
    if connection.sock is not None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


def _check(expired: threading.Event) -> None:
    if expired.is_set():
        raise TimeoutError


def _object(body: bytes) -> dict[str, Any]:
    """Give the JSON object in an answer; an empty one stands for anything else."""
    try:
        answer = orjson.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _authorization(settings: config.SchemaRegistry, path: str) -> str | None:
    if settings.basic_auth is not None:
        plain = f"{settings.basic_auth.username}:{settings.basic_auth.password.get_secret_value()}"
        return f"Basic {b64encode(plain.encode()).decode()}"
    if settings.bearer_token is None:
        return None
    token = settings.bearer_token.get_secret_value()
    if not (token.isascii() and token.isprintable()):  # http.client would show it in its complaint
        raise _problem(path, "bearer_token", "holds characters that no header may hold")
    return f"Bearer {token}"


def _tls(settings: config.SchemaRegistry, path: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca)
    except OSError as error:
        raise _problem(path, "ca", f"{settings.ca} is not usable: {error}") from None
    if settings.certificate is not None:
        try:
            # An empty password, so that an encrypted key is an error and not a prompt.
            context.load_cert_chain(settings.certificate, settings.private_key, password="")
        except OSError as error:
            reason = f"{settings.certificate} with its private_key is not usable: {error}"
            raise _problem(path, "certificate", reason) from None
    return context


def _problem(path: str, key: str, message: str) -> ConfigError:
    return ConfigError([Problem(f"{path}.{key}", message)])
