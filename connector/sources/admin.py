"""Administration of sources in several targets: look up, list, create, delete and ping.

A failure in one target is a problem to report, and the work in the others goes on.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from operator import methodcaller
from typing import Any, NamedTuple, TypeAlias, TypeVar

from connector import config
from connector.errors import ConnectorError
from connector.eventbridge.client import Publisher
from connector.eventbridge.entry import entry
from connector.model import (
    MEANINGS,
    Delivered,
    Event,
    Refused,
    Retriable,
    SourceState,
    SourceStatus,
    iso_second,
    now_ms,
)
from connector.sources.api import SourceApi, SourceCalls, SourceError
from connector.sources.customers import Change

PATIENCE_S = 60.0
"""Limit for the retries of a call that EventBridge throttles or does not answer."""
CALLS_PER_SECOND = 10.0
"""A fifth of what AWS allows for its control plane, which a running bridge needs as well."""

PING_DETAIL_TYPE = "Partner Bridge Ping"

T = TypeVar("T")
Call: TypeAlias = "Callable[[SourceApi], Coroutine[Any, Any, T]]"


class Row(NamedTuple):
    """A source in a target, and its status."""

    source: str
    target: str
    region: str
    status: SourceStatus


class Pong(NamedTuple):
    """The outcome of a test event."""

    source: str
    target: str
    region: str
    state: SourceState
    event_id: str | None
    id: str
    """The `detail.id` of the event, which its receiver can search for."""
    text: str

    @property
    def is_received(self) -> bool:
        return self.event_id is not None and self.state in {"ACTIVE", "UNKNOWN"}


class SourceAdmin:
    """Works on the sources of some targets. A failure is added to `problems`, and the rest goes on."""

    def __init__(self, targets: Mapping[str, config.Target], *, patience_s: float | None = None) -> None:
        self.targets = targets
        self.problems: list[str] = []
        self.unlisted: list[str] = []
        """Targets whose sources could not be listed, or not all of them."""
        self._calls = {
            name: SourceCalls(
                target,
                patience_s=PATIENCE_S if patience_s is None else patience_s,
                calls_per_second=CALLS_PER_SECOND,
            )
            for name, target in targets.items()
        }

    def close(self) -> None:
        for calls in self._calls.values():
            calls.close()

    def rows(self, prefixes: Sequence[str]) -> Iterator[Row]:
        """List every source whose name begins with one of these, target by target."""
        for name, calls in self._calls.items():
            try:
                found = {source for prefix in prefixes for source in calls.run(methodcaller("names", prefix))}
                for source in sorted(found):
                    yield self._row(name, source, calls.run(methodcaller("look_up", source)))
            except ConnectorError as error:
                self.unlisted.append(name)
                self.problems.append(f"{name}: {error}")

    def look_up(self, source: str) -> list[Row]:
        """Look up a source in every target; targets that do not answer are left out."""
        found = ((name, self._try(name, methodcaller("look_up", source))) for name in self._calls)
        return [self._row(name, source, status) for name, status in found if status]

    def create(self, source: str, account: str) -> Row | None:
        """Create a source in the one target, or keep the one that is there; None when that failed."""
        (name,) = self._calls
        if not self._change(name, source, partial(_created, source=source, account=account)):
            return None
        unknown = SourceStatus("UNKNOWN", reason="it was created and cannot be looked up")
        return self._row(name, source, self._try(name, methodcaller("look_up", source)) or unknown)

    def delete(self, row: Row) -> bool:
        """Delete a source; False when that failed."""
        if row.status.account is None:
            self.problems.append(f"{row.source}: EventBridge does not say which account has it; not deleted")
            return False
        return self._change(
            row.target, row.source, lambda api: api.delete(row.source, row.status.account or "")
        )

    def apply(self, planned: Sequence[Change]) -> list[Change]:
        """Create and delete as planned; returns the changes that worked."""
        done = []
        for change in planned:
            source, account = change.source, change.account or ""
            match change.action:
                case "create":
                    call: Call[None] = partial(_created, source=source, account=account)
                case "delete":
                    call = methodcaller("delete", source, account)
                case _:
                    continue
            if self._change(change.target, source, call):
                done.append(change)
        return done

    def ping(self, source: str) -> Pong | None:
        """Send one event marked as a test; None where EventBridge does not answer."""
        ((name, target),) = self.targets.items()
        status = self._try(name, methodcaller("look_up", source)) or SourceStatus("UNKNOWN")
        ping_id = f"ping-{uuid.uuid4()}"
        detail = {
            "id": ping_id,
            "test": True,
            "message": "A test event, sent by hand with `partner-bridge source ping`. It means nothing.",
            "sent_at": iso_second(now_ms()),
        }
        event = Event(source, PING_DETAIL_TYPE, time.time(), (), json.dumps(detail).encode())
        made = entry(event, max_event_bytes=target.max_event_bytes)
        answer = Publisher(target).publish_once([made])
        if answer.error is not None:
            self.problems.append(f"{name}: nothing was sent: {answer.error}")
            return None
        (outcome,) = answer.outcomes
        event_id = outcome.event_id if isinstance(outcome, Delivered) else None
        match outcome:
            case Delivered() if status.state == "ACTIVE":
                text = (
                    "EventBridge took it for the customer's bus. If no rule of theirs sees it: one matches "
                    f'there, in {target.region}, with {{"detail-type": ["{PING_DETAIL_TYPE}"]}}.'
                )
            case Delivered() if status.is_inactive:
                reason = status.reason or MEANINGS[status.state]
                text = f"EventBridge answered success and nobody gets it: {reason}."
            case Delivered():
                text = "EventBridge took it. Whether anybody gets it is not known: it cannot be looked up."
            case Retriable(code, message) | Refused(code, message):
                text = f"EventBridge refused it ({code}: {message}). The source is {status}."
            case forbidden:
                text = (
                    f"EventBridge does not let this account send it ({forbidden.code}: {forbidden.message})."
                )
        return Pong(source, name, target.region, status.state, event_id, ping_id, text)

    def _row(self, name: str, source: str, status: SourceStatus) -> Row:
        return Row(source, name, self.targets[name].region, status)

    def _try(self, name: str, call: Call[T]) -> T | None:
        try:
            return self._calls[name].run(call)
        except ConnectorError as error:
            self.problems.append(f"{name}: {error}")
            return None

    def _change(self, name: str, source: str, call: Call[None]) -> bool:
        try:
            self._calls[name].run(call)
        except ConnectorError as error:
            self.problems.append(f"{source}: {error}")
            return False
        return True


async def _created(api: SourceApi, *, source: str, account: str) -> None:
    try:
        await api.create(source, account)
    except SourceError as error:
        # Another run may have created it, maybe since the plan. For the same account that is no failure.
        if error.code != "ResourceAlreadyExistsException":
            raise
        if (found := (await api.look_up(source)).account) not in {None, account}:
            text = (
                f"it belongs to account {found}, not {account}. A source has one customer: choose another "
                "name, or delete this one first."
            )
            raise SourceError(text, code=error.code) from None
