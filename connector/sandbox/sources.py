"""Partner event sources of one Region: their states, and the calls of both sides that change them.

    (none) ── partner creates ──> PENDING ── customer makes the bus ──> ACTIVE
    ACTIVE ── customer deletes the bus, or deactivates ──> PENDING
    ACTIVE ── partner deletes ──> DELETED;   PENDING ── partner deletes, or it expires ──> (none)
    DELETED ── partner creates again ──> PENDING

There is one customer account a source, and whichever credentials call, they act for the account the
call needs: the partner's or the customer's.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from connector.sandbox.awsjson import ApiError
from connector.sandbox.entries import invalid, source_violations

State: TypeAlias = Literal["PENDING", "ACTIVE", "DELETED"]
Members: TypeAlias = Mapping[str, Any]

CUSTOMER = "111122223333"
_PENDING_DAYS = 14
_PREFIX_PATTERN = r"aws\.partner/[\.\-_A-Za-z0-9]+/[/\.\-_A-Za-z0-9]*"
_ACCOUNT_PATTERN = r"\d{12}"


@dataclass(slots=True)
class FakeSource:
    """A partner event source as its customer sees it."""

    name: str
    account: str
    state: State
    created_s: float
    expires_s: float
    has_bus: bool

    def as_json(self, region: str) -> dict[str, object]:
        shown: dict[str, object] = {
            "Arn": arn(region, self.name),
            "CreatedBy": self.name.split("/")[1],
            "CreationTime": self.created_s,
            "Name": self.name,
            "State": self.state,
        }
        return shown | ({"ExpirationTime": self.expires_s} if self.state == "PENDING" else {})


def arn(region: str, name: str) -> str:
    """The ARN of a source; its account field is empty."""
    return f"arn:aws:events:{region}::event-source/{name}"


class FakeSources:
    """The sources of one Region. Every call answers its members or raises ApiError."""

    def __init__(self, region: str, *, auto_create: bool) -> None:
        self.region = region
        self._auto_create = auto_create
        self._sources: dict[str, FakeSource] = {}
        self._removed: set[str] = set()
        self._calls: dict[str, Callable[[Members, float], dict[str, object]]] = {
            "CreatePartnerEventSource": self._create,
            "DeletePartnerEventSource": self._delete,
            "DescribePartnerEventSource": self._describe,
            "ListPartnerEventSources": self._list,
            "ListPartnerEventSourceAccounts": self._accounts,
            "DescribeEventSource": self._describe_as_customer,
            "ListEventSources": self._list_as_customer,
            "ActivateEventSource": self._activate,
            "DeactivateEventSource": self._deactivate,
            "CreateEventBus": self._create_bus,
            "DeleteEventBus": self._delete_bus,
        }

    def call(self, operation: str, members: Members, now_s: float) -> dict[str, object]:
        """Does one call of the API by its name."""
        function = self._calls.get(operation)
        if function is None:
            raise ApiError("UnknownOperationException", "")
        return function(members, now_s)

    def state(self, name: str, now_s: float) -> State | None:
        """What an event or a look meets. Unknown sources become ACTIVE where that was asked for."""
        source = self._alive(name, now_s)
        if source is None and self._auto_create and name not in self._removed:
            source = self._put(name, CUSTOMER, "ACTIVE", now_s)
        return source.state if source else None

    def account(self, name: str) -> str:
        source = self._sources.get(name)
        return source.account if source else CUSTOMER

    def set_state(self, name: str, state: State | None, now_s: float, *, account: str = CUSTOMER) -> None:
        """Puts a source in a state, whatever its own was; None: there is no such source."""
        if state is None:
            self._remove(name)
        else:
            self._put(name, account, state, now_s)

    def accept(self, name: str, now_s: float) -> None:
        """Do what the customer's console does: make the event bus, or activate a source that has one."""
        source = self._named({"Name": name}, now_s)
        if source.state == "PENDING" and source.has_bus:
            self._activate({"Name": name}, now_s)
        elif source.state != "ACTIVE":
            self._create_bus({"Name": name, "EventSourceName": name}, now_s)

    def deactivate(self, name: str, now_s: float) -> None:
        """Do what the customer does who wants no more events, and keeps the event bus."""
        if self._named({"Name": name}, now_s).state != "PENDING":
            self._deactivate({"Name": name}, now_s)

    def reject(self, name: str, now_s: float) -> None:
        """Let a PENDING source go, as AWS does when its customer has not accepted it for 14 days."""
        source = self._named({"Name": name}, now_s)
        if source.state != "PENDING":
            raise ApiError("InvalidStateException", f"Event source {name} is not in PENDING state.")
        self._remove(name)

    def all(self, now_s: float) -> Sequence[FakeSource]:
        """Every source, by name."""
        alive = (self._alive(name, now_s) for name in sorted(self._sources))
        return [source for source in alive if source]

    def _put(self, name: str, account: str, state: State, now_s: float) -> FakeSource:
        self._removed.discard(name)
        source = FakeSource(name, account, state, now_s, now_s + _PENDING_DAYS * 86400, state != "PENDING")
        self._sources[name] = source
        return source

    def _remove(self, name: str) -> None:
        self._sources.pop(name, None)
        self._removed.add(name)

    def _alive(self, name: str, now_s: float) -> FakeSource | None:
        source = self._sources.get(name)
        if source and source.state == "PENDING" and now_s > source.expires_s:
            self._remove(name)
            return None
        return source

    def _named(self, members: Members, now_s: float, key: str = "Name") -> FakeSource:
        name = _source_name(members, key)
        source = self._alive(name, now_s)
        if source is None:
            raise ApiError("ResourceNotFoundException", f"Event source {name} does not exist.")
        return source

    # The partner's side

    def _create(self, members: Members, now_s: float) -> dict[str, object]:
        name, account = _source_name(members, "Name"), _account(members)
        existing = self._alive(name, now_s)
        if existing and existing.state != "DELETED":
            raise ApiError("ResourceAlreadyExistsException", f"Event source {name} already exists.")
        self._put(name, account, "PENDING", now_s).has_bus = existing is not None
        return {"EventSourceArn": arn(self.region, name)}

    def _delete(self, members: Members, now_s: float) -> dict[str, object]:
        name, account = _source_name(members, "Name"), _account(members)
        source = self._alive(name, now_s)
        if source and source.account == account:
            if source.has_bus:
                source.state = "DELETED"
            else:
                self._remove(name)
        return {}

    def _describe(self, members: Members, now_s: float) -> dict[str, object]:
        source = self._named(members, now_s)
        return {"Arn": arn(self.region, source.name), "Name": source.name}

    def _list(self, members: Members, now_s: float) -> dict[str, object]:
        prefix = _text(members, "NamePrefix")
        if (
            not re.fullmatch(r"aws\.partner/[\.\-_A-Za-z0-9]+/[/\.\-_A-Za-z0-9]*", prefix)
            or len(prefix) > 256
        ):
            raise _mismatch(prefix, "namePrefix", _PREFIX_PATTERN)
        found = [
            {"Arn": arn(self.region, source.name), "Name": source.name}
            for source in self.all(now_s)
            if source.name.startswith(prefix)
        ]
        return _page(found, members, "PartnerEventSources")

    def _accounts(self, members: Members, now_s: float) -> dict[str, object]:
        # A bridge looks before it sends, so with `auto_create` a look has to do what an event does.
        self.state(_source_name(members, "EventSourceName"), now_s)
        source = self._named(members, now_s, "EventSourceName")
        shown = source.as_json(self.region)
        kept = {key: shown[key] for key in ("CreationTime", "ExpirationTime", "State") if key in shown}
        return _page([{"Account": source.account} | kept], members, "PartnerEventSourceAccounts")

    # The customer's side

    def _describe_as_customer(self, members: Members, now_s: float) -> dict[str, object]:
        return self._named(members, now_s).as_json(self.region)

    def _list_as_customer(self, members: Members, now_s: float) -> dict[str, object]:
        prefix = members.get("NamePrefix") or ""
        found = [source.as_json(self.region) for source in self.all(now_s) if source.name.startswith(prefix)]
        return _page(found, members, "EventSources")

    def _activate(self, members: Members, now_s: float) -> dict[str, object]:
        source = self._named(members, now_s)
        if source.state == "DELETED" or not source.has_bus:
            raise ApiError("InvalidStateException", f"Event source {source.name} is not in PENDING state.")
        source.state = "ACTIVE"
        return {}

    def _deactivate(self, members: Members, now_s: float) -> dict[str, object]:
        source = self._named(members, now_s)
        if source.state != "ACTIVE":
            raise ApiError("InvalidStateException", f"Event source {source.name} is not in ACTIVE state.")
        self._make_pending(source, now_s)
        return {}

    def _create_bus(self, members: Members, now_s: float) -> dict[str, object]:
        name = _text(members, "Name")
        if members.get("EventSourceName") != name:
            raise ApiError(
                "ValidationException", "The name of a partner event bus must be the name of its event source."
            )
        source = self._named(members, now_s)
        if source.has_bus and source.state == "ACTIVE":
            raise ApiError("ResourceAlreadyExistsException", f"Event bus {name} already exists.")
        if source.state != "PENDING":
            raise ApiError("InvalidStateException", f"Event source {name} is not in PENDING state.")
        source.state, source.has_bus = "ACTIVE", True
        return {"EventBusArn": f"arn:aws:events:{self.region}:{source.account}:event-bus/{name}"}

    def _delete_bus(self, members: Members, now_s: float) -> dict[str, object]:
        source = self._alive(_text(members, "Name"), now_s)
        if source and source.state == "DELETED":
            self._remove(source.name)
        elif source:
            source.has_bus = False
            self._make_pending(source, now_s)
        return {}

    @staticmethod
    def _make_pending(source: FakeSource, now_s: float) -> None:
        source.state, source.expires_s = "PENDING", now_s + _PENDING_DAYS * 86400


def _text(members: Members, key: str) -> str:
    value = members.get(key)
    where = key[0].lower() + key[1:]
    if value is None:
        raise invalid([f"Value null at '{where}' failed to satisfy constraint: Member must not be null"])
    if not isinstance(value, str):
        raise ApiError("SerializationException", f"{key} can not be converted to a String")
    return value


def _source_name(members: Members, key: str) -> str:
    name = _text(members, key)
    violations = source_violations(name, key[0].lower() + key[1:])
    if violations:
        raise invalid(violations)
    return name


def _account(members: Members) -> str:
    account = _text(members, "Account")
    if not re.fullmatch(_ACCOUNT_PATTERN, account):
        raise _mismatch(account, "account", _ACCOUNT_PATTERN)
    return account


def _mismatch(value: str, where: str, pattern: str) -> ApiError:
    return invalid(
        [f"Value '{value}' at '{where}' failed to satisfy constraint: Member must match pattern: {pattern}"]
    )


def _page(found: Sequence[Mapping[str, object]], members: Members, key: str) -> dict[str, object]:
    limit = members.get("Limit", 100)
    if type(limit) is not int or not 1 <= limit <= 100:
        raise invalid([f"Value '{limit}' at 'limit' failed to satisfy constraint: Member must be in 1..100"])
    try:
        start = int(base64.b64decode(members.get("NextToken") or "MA==", validate=True))
    except (ValueError, TypeError, binascii.Error):
        raise ApiError("InvalidToken", "The pagination token is not valid.") from None
    end = start + limit
    answer: dict[str, object] = {key: found[start:end]}
    return answer | ({"NextToken": base64.b64encode(str(end).encode()).decode()} if end < len(found) else {})
