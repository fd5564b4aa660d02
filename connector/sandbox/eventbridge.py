"""A stand-in for Amazon EventBridge's partner API, as faithful as what is known of it allows.

It speaks AWS JSON 1.1 over HTTP: PutPartnerEvents, the calls a partner makes on its event sources,
and the calls by which a customer accepts them. It verifies every signature; the Region is the one
in the signature, and nothing crosses Regions. Events for a PENDING source get an EventId and are
dropped, as AWS drops them; events for a DELETED or unknown one are refused. Unless told otherwise,
a source that nobody created or deleted comes into being ACTIVE with its first event, or with the first
look at its accounts.

In a test:

    with FakeEventBridge() as aws:
        aws.script({"faults": [{"kind": "throttle", "times": 5}], "latency_ms": 20})
        ...
        assert 1 == aws.counts().accepted

The same from outside, over HTTP: see `control.py`.

Where AWS documents nothing, it assumes: an unknown or deleted source is entry error
ResourceNotFoundException, "Event Bus Not Found."; an entry that lacks a field fails alone, also when all do.
"""

from __future__ import annotations

import asyncio
import copy
import ssl
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
from aiohttp import web

from connector.sandbox import awsjson, control, entries
from connector.sandbox.awsjson import ApiError, Credential
from connector.sandbox.control import CustomerAct, Surroundings
from connector.sandbox.faults import Chance, Fault, Script
from connector.sandbox.server import LOOPBACK, Host, HttpServer, reset
from connector.sandbox.sources import CUSTOMER, FakeSources, State

ACCESS_KEY_ID = "AKIDSANDBOX"
SECRET_ACCESS_KEY = "sandbox-secret-access-key"
SEEN_AFTER_S = 1.0
"""What is sent so soon after the answer to a look may have been under way before."""
_TARGET_PREFIX = "AWSEvents."
_LOOK = "ListPartnerEventSourceAccounts"
_ACCEPTING = frozenset({"ACTIVE", "PENDING"})
_UNKNOWN_SOURCE = entries.EntryRefusal("ResourceNotFoundException", "Event Bus Not Found.")


class ReceivedEvent(NamedTuple):
    """An event that was accepted for an ACTIVE source."""

    seq: int
    """Its place in the order of acceptance, from 1."""
    request: int
    """Which request brought it, from 1."""
    event_id: str
    region: str
    account: str
    source: str
    detail_type: str
    time_s: float
    """The entry's Time, or that of the call."""
    resources: list[str]
    detail: str
    received_s: float
    """When its request arrived, on this machine's clock."""

    def as_json(self) -> dict[str, object]:
        """What the customer's bus gets, with the place in the order."""
        return {
            "version": "0",
            "id": self.event_id,
            "detail-type": self.detail_type,
            "source": self.source,
            "account": self.account,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.time_s)),
            "region": self.region,
            "resources": self.resources,
            "detail": orjson.Fragment(self.detail),
            "sandbox": {"seq": self.seq, "request": self.request},
        }


@dataclass(slots=True)
class Counts:
    """What happened since the start or the last reset."""

    requests: Counter[str] = field(default_factory=Counter)
    """By operation, whatever became of them."""
    answers: Counter[str] = field(default_factory=Counter)
    """By error code; `ok` for the others, and a fault's kind where it lost the answer."""
    accepted: int = 0
    """Entries that became events of an ACTIVE source."""
    dropped: int = 0
    """Entries that were accepted for a PENDING source, and so are nowhere."""
    dropped_by_source: Counter[str] = field(default_factory=Counter)
    dropped_though_seen: int = 0
    """Those of `dropped` whose caller had been told, over `SEEN_AFTER_S` before, that the source is not
    ACTIVE, and nothing else since."""
    refused: Counter[str] = field(default_factory=Counter)
    """Entries by error code."""
    faults: Counter[str] = field(default_factory=Counter)
    """Faults that struck, by name or kind; `rate` for requests over the rate."""
    in_flight: int = 0
    in_flight_peak: int = 0


class DroppedEvent(NamedTuple):
    """An event that was accepted for a PENDING source, and so reached nobody."""

    caller: str
    source: str
    detail: str
    received_s: float
    """When its request arrived, on this machine's monotonic clock."""
    seen_s: float | None
    """Since when each look of the caller at the source was answered with a state that is not ACTIVE, on the
    same clock; None where the last answer said ACTIVE, or where there was none."""

    @property
    def is_though_seen(self) -> bool:
        """Whether the caller could know, and had the time to act on it."""
        return self.seen_s is not None and self.received_s - self.seen_s > SEEN_AFTER_S


class _Batch(NamedTuple):
    """One request's accepted entries, kept as they came: small, and quick to keep."""

    first_seq: int
    request: int
    region: str
    received_s: float
    body: bytes
    kept: tuple[int, ...]
    """The indexes of the accepted entries."""


class FakeEventBridge(HttpServer):
    """EventBridge from `start` until `stop`; what it knows outlives a stop.

    Stopped and started again it was unreachable for a while; its methods work all the time.
    """

    def __init__(
        self,
        *,
        host: Host = LOOPBACK,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        credentials: Mapping[str, Credential] | None = None,
        auto_create: bool = True,
        max_request_bytes: int = 262_144,
        surroundings: Surroundings | None = None,
    ) -> None:
        """`surroundings` are the parts beside it that its control API speaks of, too."""
        super().__init__(host=host, port=port, tls=tls)
        self.surroundings = surroundings
        self._credentials = dict(credentials or {ACCESS_KEY_ID: Credential(SECRET_ACCESS_KEY)})
        self._auto_create = auto_create
        self._max_request_bytes = max_request_bytes
        self._chance = Chance(Script())
        self._forget()

    # Control

    def counts(self) -> Counts:
        """What happened so far."""

        def copied() -> Counts:
            self._counts.faults = self._chance.struck
            return copy.deepcopy(self._counts)

        return self.call(copied)

    def events(self, *, after: int = 0) -> Iterator[ReceivedEvent]:
        """The accepted events with `seq` over `after`, in order. Later ones are not waited for."""
        start = bisect_right(self._batches, after, key=lambda batch: batch.first_seq)
        for batch in self.call(lambda: self._batches[max(0, start - 1) :]):
            members = orjson.loads(batch.body)["Entries"]
            for seq, index in enumerate(batch.kept, batch.first_seq):
                if seq > after:
                    yield self._received(seq, index, batch, members[index])

    def dropped(self) -> Sequence[DroppedEvent]:
        """The events that were accepted and dropped, in order."""
        return self.call(lambda: list(self._dropped))

    def script(self, change: Mapping[str, Any]) -> Script:
        """Changes what goes wrong to what `change` names, counting its faults anew.

        Raises ValueError, naming each mistake.
        """
        new = self._chance.script.replaced_by(dict(change))
        self.call(lambda: self._play(new))
        return new

    def script_left(self) -> tuple[Script, Sequence[Fault]]:
        """The script, and those of its faults that are not over."""
        return self._chance.script, self._chance.left

    def add_faults(self, change: Mapping[str, Any]) -> Script:
        """Changes the script as `script` does, but keeps its faults that are not over, and their counts.

        Raises ValueError, naming each mistake.
        """

        def added() -> Script:
            old = self._chance.script
            new = old.replaced_by(dict(change))
            more = new.faults if "faults" in change else ()
            self._chance = self._chance.followed_by(new.model_copy(update={"faults": (*old.faults, *more)}))
            return self._chance.script

        return self.call(added)

    def calm(self) -> None:
        """From now on nothing goes wrong."""
        self.call(lambda: self._play(Script()))

    def set_source(self, region: str, name: str, state: State | None, *, account: str = CUSTOMER) -> None:
        """Puts a partner event source in a state; None removes it for good."""
        self.call(lambda: self._in(region).set_state(name, state, self._now_s(), account=account))

    def act_as_customer(self, act: CustomerAct, name: str, *, region: str | None = None) -> None:
        """Lets the customer of a source accept, deactivate or reject it; the Region is found if there is one.

        Raises ValueError where there is no such source, where several Regions have one, or where its state
        does not allow it.
        """

        def acted() -> None:
            now_s = self._now_s()
            regions = [
                each
                for each, sources in self._regions.items()
                if region in {None, each} and any(source.name == name for source in sources.all(now_s))
            ]
            if not regions:
                raise ValueError(f"there is no source {name}" + (f" in {region}" if region else ""))
            if len(regions) > 1:
                raise ValueError(f"{name} is in {', '.join(sorted(regions))}; name the Region")
            try:
                getattr(self._in(regions[0]), act)(name, now_s)
            except ApiError as error:
                raise ValueError(f"{name} is {self._in(regions[0]).state(name, now_s)}: {error}") from error

        self.call(acted)

    def sources(self) -> list[dict[str, object]]:
        """Every partner event source of every Region, as its customer sees it, with its account."""
        now_s = self._now_s()
        return self.call(
            lambda: [
                {"Region": region, "Account": source.account} | source.as_json(region)
                for region, sources in self._regions.items()
                for source in sources.all(now_s)
            ]
        )

    def set_credentials(self, credentials: Mapping[str, Credential]) -> None:
        """Replaces the access keys that are known."""
        self.call(lambda: setattr(self, "_credentials", dict(credentials)))

    def reset(self) -> None:
        """Forgets events, counts, sources and script."""
        self.call(self._forget)

    # Requests

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path != "/":
            return await control.answer(request, self)
        if self._chance.script.down:
            return reset(request)
        counts = self._counts
        counts.in_flight += 1
        counts.in_flight_peak = max(counts.in_flight_peak, counts.in_flight)
        try:
            return await self._call_api(request)
        finally:
            counts.in_flight -= 1

    async def _call_api(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.content.read()
        self._requests += 1
        number, script = self._requests, self._chance.script
        operation = request.headers.get("X-Amz-Target", "").removeprefix(_TARGET_PREFIX)
        self._counts.requests[operation] += 1
        fault = None
        seen: tuple[str, str, str] | None = None
        try:
            region, caller = self._authenticated(request, body)
            fault = self._chance.on_request(operation, region, time.monotonic(), size_bytes=len(body))
            if fault and fault.refuses:
                raise fault.error()
            if fault and not fault.accept:
                answer: dict[str, Any] = {"FailedEntryCount": 0, "Entries": []}
            elif operation == "PutPartnerEvents":
                answer = self._put(region, caller, body, number)
            else:
                members = entries.parse(body)
                if operation == _LOOK and not fault:
                    seen = (caller, region, str(members.get("EventSourceName")))
                answer = self._in(region).call(operation, members, self._now_s())
        except ApiError as error:
            self._counts.answers[error.code or str(error.status)] += 1
            result = awsjson.response(error.body(), request=number, status=error.status, now_s=self._now_s())
            if fault and fault.retry_after_ms is not None:
                result.headers["x-amz-retry-after"] = str(fault.retry_after_ms)
        else:
            self._counts.answers[fault.kind if fault else "ok"] += 1
            result = awsjson.response(orjson.dumps(answer), request=number, now_s=self._now_s())
        if script.latency_ms:
            await asyncio.sleep(script.latency_ms / 1000)
        if fault and not fault.refuses:
            return await _lose(request, result, fault)
        if seen:
            if result.status == 200 and _is_active(answer):
                self._seen_inactive.pop(seen, None)
            else:
                self._seen_inactive.setdefault(seen, time.monotonic())
        return result

    def _authenticated(self, request: web.BaseRequest, body: bytes) -> awsjson.Signed:
        if request.method != "POST" or request.query_string:
            raise ApiError("UnknownOperationException", "", status=404)
        return awsjson.signed(request.headers, body, credentials=self._credentials, now_s=self._now_s())

    def _put(self, region: str, caller: str, body: bytes, number: int) -> dict[str, Any]:
        asked = entries.check_request(entries.parse(body), max_bytes=self._max_request_bytes)
        now_s, counts, sources, chance = self._now_s(), self._counts, self._in(region), self._chance
        results: list[dict[str, str]] = []
        kept = []
        for index, entry in enumerate(asked):
            fault = chance.on_entry(index, entry.get("Source") or "", region) if chance.for_entries else None
            refused = None if fault else entries.check_entry(entry)
            state = None if fault or refused else sources.state(entry["Source"], now_s)
            if state in _ACCEPTING:
                results.append({"EventId": _event_id(number, index)})
                if state == "ACTIVE":
                    kept.append(index)
                else:
                    self._drop(region, caller, entry)
            elif fault:
                results.append(fault.result())
            else:
                code, message = refused or _UNKNOWN_SOURCE
                results.append({"ErrorCode": code, "ErrorMessage": message})
        failed = [result for result in results if "EventId" not in result]
        counts.refused.update(result.get("ErrorCode", "blank") for result in failed)
        if kept:
            first_seq = counts.accepted + 1
            self._batches.append(_Batch(first_seq, number, region, now_s, body, tuple(kept)))
            counts.accepted += len(kept)
        return {"FailedEntryCount": len(failed), "Entries": results}

    def _drop(self, region: str, caller: str, entry: Mapping[str, Any]) -> None:
        source = entry["Source"]
        seen_s = self._seen_inactive.get((caller, region, source))
        dropped = DroppedEvent(caller, source, entry["Detail"], time.monotonic(), seen_s)
        self._dropped.append(dropped)
        self._counts.dropped += 1
        self._counts.dropped_by_source[source] += 1
        self._counts.dropped_though_seen += dropped.is_though_seen

    def _received(self, seq: int, index: int, batch: _Batch, entry: Mapping[str, Any]) -> ReceivedEvent:
        time_s = entry.get("Time")
        return ReceivedEvent(
            seq=seq,
            request=batch.request,
            event_id=_event_id(batch.request, index),
            region=batch.region,
            account=self._in(batch.region).account(entry["Source"]),
            source=entry["Source"],
            detail_type=entry["DetailType"],
            time_s=batch.received_s if time_s is None else time_s,
            resources=entry.get("Resources") or [],
            detail=entry["Detail"],
            received_s=batch.received_s,
        )

    def _in(self, region: str) -> FakeSources:
        if region not in self._regions:
            self._regions[region] = FakeSources(region, auto_create=self._auto_create)
        return self._regions[region]

    def _now_s(self) -> float:
        return time.time() + self._chance.script.clock_skew_s

    def _play(self, script: Script) -> None:
        struck = self._chance.struck
        self._chance = Chance(script)
        self._chance.struck = struck

    def _forget(self) -> None:
        self._counts = Counts()
        self._chance = Chance(Script())
        self._regions: dict[str, FakeSources] = {}
        self._batches: list[_Batch] = []
        self._dropped: list[DroppedEvent] = []
        self._seen_inactive: dict[tuple[str, str, str], float] = {}
        """By caller, Region and source: since when each answer to a look said that it is not ACTIVE."""
        self._requests = 0


def _is_active(answer: Mapping[str, Any]) -> bool:
    return any(account["State"] == "ACTIVE" for account in answer["PartnerEventSourceAccounts"])


def _event_id(request: int, index: int) -> str:
    return f"{request:08x}-0000-4000-8000-{index:012x}"


async def _lose(request: web.BaseRequest, result: web.Response, fault: Fault) -> web.StreamResponse:
    """Answers as the fault says; the events are already accepted, or never will be."""
    body = result.body
    assert isinstance(body, bytes)  # noqa: S101 - every answer of ours is made of bytes
    match fault.kind:
        case "reset":
            return reset(request)
        case "hang":
            await asyncio.sleep(fault.seconds)
        case "empty_object":
            result.body = b"{}"
        case "empty_body":
            result.body = b""
        case "garbage":
            result.body = b"<html><body>It works!</body></html>"
        case "short" | "long":
            answer = orjson.loads(body)
            if (results := answer.get("Entries")) is None:  # a refusal, which speaks of no entry
                return result
            answer["Entries"] = results[:-1] if fault.kind == "short" else [*results, *results[-1:]]
            result.body = orjson.dumps(answer)
        case "truncated" | "slow_drip":
            return await _stream(request, result, body, fault)
        case _:
            raise AssertionError(f"{fault.kind} loses no answer")
    return result


async def _stream(
    request: web.BaseRequest, result: web.Response, body: bytes, fault: Fault
) -> web.StreamResponse:
    stream = web.StreamResponse(headers=result.headers)
    stream.content_length = len(body)
    await stream.prepare(request)
    if fault.kind == "truncated":
        await stream.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()
        return stream
    for place in range(len(body)):
        await stream.write(body[place : place + 1])
        await asyncio.sleep(fault.seconds / len(body))
    return stream
