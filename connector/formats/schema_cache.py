"""Schemas by id: fetched in the background, and kept, so that nobody waits for the network.

What a registry is asked, and how, is the business of `confluent_registry`, `apicurio_registry` and
`glue_registry`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Literal, NamedTuple, Protocol, TypeAlias, TypeVar

import orjson

from connector.errors import ConnectorError, DecodeError, UnavailableError

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
LOOKUPS = 2
"""An id counts as unknown after so many lookups without success, GRACE_S apart."""
GRACE_S = 1.0
"""A new schema may take so long to reach every replica of the registry."""
SILENT_S = 2.0
"""A schema that has not come after so long is a problem, also where no request has failed yet."""
UNKNOWN_S = 30.0
"""An unknown id is not asked for again for so long."""
UNKNOWN_IN_A_ROW = 3
"""After so many unknown ids in UNKNOWN_S, and no schema found between, one lookup is enough for the next."""
MAX_TRACKED = 1000
"""Ids under way or unknown that are remembered; bytes that are no ids must not fill memory."""
MAX_KNOWN = 1000
"""Schemas that are remembered; of more, the one that was fetched first is fetched anew when it is needed."""
MAX_KNOWN_BYTES = 16 * 1024 * 1024
"""The most bytes of all of them; above it the same happens."""


WAIT_S = 10.0
"""How long one who can wait waits for a schema."""

T = TypeVar("T")


class SchemaId(NamedTuple):
    """How a record names its schema."""

    kind: Literal["id", "guid", "global id", "content id", "version id"]
    """Confluent's number or GUID, Apicurio's two numbers, or the UUID of a version in AWS Glue."""
    value: int | str

    def __str__(self) -> str:
        return f"schema {self.value}" if self.kind == "id" else f"the schema of {self.kind} {self.value}"


class Schemas(NamedTuple):
    """A schema as the registry has it."""

    texts: Sequence[bytes]
    """The schema as JSON, behind the schemas that it refers to, the innermost first."""
    encrypted_by: str | None = None
    """The rule that has producers encrypt fields of the records, where there is one."""

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.texts))


Side: TypeAlias = Literal["key", "value"]
"""What of a record a schema is for."""


class SchemaVersion(NamedTuple):
    """A schema that a registry has for the keys or values of a topic."""

    shown: str
    """Which one it is, for messages: `version 3 of orders-value`."""
    schemas: Schemas


def avro_text(text: bytes, name: str) -> bytes:
    """Check that a registry's text is JSON, as an Avro schema is."""
    try:
        orjson.loads(text)
    except ValueError as error:
        raise DecodeError("schema_invalid", f"{name} is not a usable Avro schema: {error}") from None
    return text


class NotFoundError(Exception):
    """The registry itself says that it has no such schema, subject or version."""


class Registry(Protocol):
    """A schema registry, asked one thing at a time. Every call blocks."""

    shown: str
    """What and where it is, for messages: `the schema registry at http://registry:8081`."""

    def fetch(self, schema_id: SchemaId) -> Schemas:
        """Ask for a schema and what it refers to.

        Raises:
            NotFoundError: it has none under this id.
            DecodeError: `schema_invalid`, what it has can never be used.
            ConnectorError: it cannot be asked, or its answer is of no use.
        """
        ...

    def versions(self, topic: str, side: Side, /, *, count: int) -> Sequence[SchemaVersion]:
        """Ask for the last versions of a topic's schema, the newest first, under its serializers' usual name.

        Raises:
            NotFoundError: it has none; the message says under which name.
            DecodeError: `schema_invalid`, one of them can never be used.
            ConnectorError: it cannot be asked, or its answer is of no use.
        """
        ...

    def check(self) -> None:
        """Ask for something with the same call, so that it needs no other permission.

        Raises:
            NotAuthorizedError: it refuses the credentials.
            UnavailableError: it does not answer, or not as a registry does.
        """
        ...


@dataclass(slots=True)
class _Attempts:
    """The state of an id that is not known yet."""

    reason: str
    failures: int = 0
    lookups: int = 0
    """Answers of the registry that it has no such id."""
    queued: bool = False
    again_at_s: float = 0.0

    def put_off(self, reason: str, pause_s: float) -> None:
        self.reason, self.queued, self.again_at_s = reason, False, time.monotonic() + pause_s


class SchemaCache:
    """Gives the schemas of one registry by id without ever waiting for the network.

    One background thread fetches what is not known yet, and only while `get` asks for it. A schema
    never changes under its id, so a schema is asked for once, as long as there are no more than a thousand,
    of 16 MiB. They are kept as text, since parsed they may take thirty times the memory.

    A schema that was registered a moment ago may not be everywhere yet, so an id is looked up twice, a
    second apart, before it counts as unknown. But bytes that only look like ids would stop their partition
    for that second with each record: once three ids in a row were unknown, the next are looked up once,
    until a schema is found or half a minute passes with fewer.

    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: dict[SchemaId, Schemas | str] = {}
        """Schemas, or why what the registry has under this id can never be used."""
        self._known_bytes = 0
        self._attempts: dict[SchemaId, _Attempts] = {}
        """For every other id of late; oldest first."""
        self._unknown_at_s: deque[float] = deque(maxlen=UNKNOWN_IN_A_ROW)
        """When the last ids turned out to be unknown, since a schema was found."""
        self._problem: str | None = None
        self._fetching: tuple[SchemaId, float] | None = None
        """What is being fetched, and since when. It may take a request for each schema that it refers to."""
        # Two threads meet here: the one that calls `get`, and the worker. Neither holds it for long.
        self._lock = threading.Lock()
        self._queue: SimpleQueue[SchemaId | None] = SimpleQueue()
        threading.Thread(target=self._work, name="schema-registry", daemon=True).start()

    def get(self, schema_id: SchemaId) -> Schemas:
        """Give a schema, at once, and what it refers to. They are JSON, and not checked to be Avro.

        Raises:
            UnavailableError: it is not here yet; the same again later.
            DecodeError: `schema_unknown`, the registry does not know it; `schema_invalid`, it cannot be used.
        """
        known = self._known.get(schema_id)
        if isinstance(known, str):
            raise DecodeError("schema_invalid", known)
        if known is not None:
            return known
        with self._lock:
            attempts = self._attempts_for(schema_id)
            if not attempts.queued and time.monotonic() >= attempts.again_at_s:
                attempts.lookups %= LOOKUPS
                attempts.queued = True
                self._queue.put(schema_id)
            if attempts.lookups == LOOKUPS:
                raise DecodeError("schema_unknown", attempts.reason)
            raise UnavailableError(attempts.reason, code="schema_registry")

    def problem(self) -> str | None:
        """Why schemas cannot be had; None when the last answer was a good one, and the next is not late."""
        if (fetching := self._fetching) is not None:
            schema_id, since_s = fetching
            if (waits_s := time.monotonic() - since_s) > SILENT_S:
                return f"{schema_id} has not come from {self._registry.shown} for {waits_s:.0f} s"
        return self._problem

    def check(self) -> None:
        """Ask the registry for something, and wait for the answer; see `Registry.check`."""
        self._registry.check()

    def close(self) -> None:
        """Stop fetching. Does not wait for what is under way."""
        self._queue.put(None)

    def _attempts_for(self, schema_id: SchemaId) -> _Attempts:
        if schema_id not in self._attempts:
            if len(self._attempts) >= MAX_TRACKED:
                oldest = next((each for each, found in self._attempts.items() if not found.queued), None)
                if oldest is None:
                    reason = f"{MAX_TRACKED:,} other schemas are being fetched from {self._registry.shown}"
                    raise UnavailableError(reason, code="schema_registry")
                del self._attempts[oldest]
            reason = f"{schema_id} is being fetched from {self._registry.shown}"
            self._attempts[schema_id] = _Attempts(reason)
        return self._attempts[schema_id]

    # What the worker thread does. What it works on is queued, and not forgotten for that long.

    def _work(self) -> None:
        while (schema_id := self._queue.get()) is not None:
            self._fetching = schema_id, time.monotonic()
            try:
                self._learned(schema_id, self._registry.fetch(schema_id))
            except DecodeError as error:
                self._learned(schema_id, str(error))
            except NotFoundError as error:
                self._missed(schema_id, str(error))
            except ConnectorError as error:
                self._failed(schema_id, str(error))
            except Exception as error:  # noqa: BLE001  # a dead worker would stall every new schema in silence
                self._failed(schema_id, f"{type(error).__name__} while fetching {schema_id}")
            self._fetching = None

    def _learned(self, schema_id: SchemaId, found: Schemas | str) -> None:
        with self._lock:
            self._known[schema_id] = found
            self._known_bytes += _size_bytes(found)
            while len(self._known) > MAX_KNOWN or self._known_bytes > MAX_KNOWN_BYTES:
                self._known_bytes -= _size_bytes(self._known.pop(next(iter(self._known))))
            del self._attempts[schema_id]
            self._unknown_at_s.clear()
            self._problem = None

    def _missed(self, schema_id: SchemaId, reason: str) -> None:
        with self._lock:
            attempts, now_s = self._attempts[schema_id], time.monotonic()
            recent = [at_s for at_s in self._unknown_at_s if now_s - at_s < UNKNOWN_S]
            attempts.lookups = LOOKUPS if len(recent) == UNKNOWN_IN_A_ROW else attempts.lookups + 1
            if attempts.lookups == LOOKUPS:
                self._unknown_at_s.append(now_s)
            attempts.put_off(reason, UNKNOWN_S if attempts.lookups == LOOKUPS else GRACE_S)
            self._problem = None  # it answered

    def _failed(self, schema_id: SchemaId, reason: str) -> None:
        with self._lock:
            attempts = self._attempts[schema_id]
            attempts.put_off(reason, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempts.failures))
            attempts.failures = min(attempts.failures + 1, 10)
            self._problem = reason


def _size_bytes(found: Schemas | str) -> int:
    return len(found) if isinstance(found, str) else found.size_bytes


def with_schema(attempt: Callable[[], T]) -> T:
    """Try again while the attempt waits for a schema, which arrives on another thread.

    Raises:
        UnavailableError: it did not arrive in time.
    """
    deadline_s = time.monotonic() + WAIT_S
    while True:
        try:
            return attempt()
        except UnavailableError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.02)
