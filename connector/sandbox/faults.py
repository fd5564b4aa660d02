"""Which faults EventBridge can have, and a script that says when."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from connector.sandbox.awsjson import ApiError

OVER_LIMIT = "Total size of the entries in the request is over the limit."

Refusal: TypeAlias = Literal[
    "throttle", "internal_error", "unavailable", "too_large", "over_limit", "expired_token", "access_denied",
    "operation_disabled", "request_expired", "error",
]  # fmt: skip
Lost: TypeAlias = Literal[
    "hang", "reset", "empty_object", "empty_body", "garbage", "truncated", "short", "long", "slow_drip"
]
EntryFault: TypeAlias = Literal["entry_error", "entry_blank"]
Kind: TypeAlias = Literal[Refusal, Lost, EntryFault]

_REFUSALS: dict[Refusal, tuple[int, str, str]] = {
    "throttle": (400, "ThrottlingException", "Rate exceeded"),
    "internal_error": (500, "InternalException", "Internal Service Error"),
    "unavailable": (503, "ServiceUnavailable", "The request has failed due to a temporary failure."),
    "too_large": (413, "", ""),
    "over_limit": (400, "ValidationException", OVER_LIMIT),
    "expired_token": (403, "ExpiredTokenException", "The security token included in the request is expired"),
    "access_denied": (
        400,
        "AccessDeniedException",
        "User is not authorized to perform: events:PutPartnerEvents on resource: *",
    ),
    "operation_disabled": (
        400,
        "OperationDisabledException",
        "The operation you are attempting is not available in this region.",
    ),
    "request_expired": (400, "RequestExpired", "Request has expired."),
    "error": (500, "", ""),
}  # fmt: skip
_ENTRY_MESSAGES = {"ThrottlingException": "Rate exceeded", "InternalFailure": "Internal Service Failure"}


class Fault(BaseModel):
    """One thing that goes wrong, when, and how often. Among faults that match, the first wins."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    name: str | None = None
    """Under which it is counted; without one, its kind."""
    times: Annotated[int, Field(ge=1)] | None = None
    """How often before it is over: requests, or entries for an entry fault. None: until replaced."""
    after: Annotated[int, Field(ge=0)] = 0
    """How many matching requests or entries go well first."""
    probability: Annotated[float, Field(gt=0, le=1)] = 1.0
    operation: str = "PutPartnerEvents"
    """Whose requests; `*` for every operation."""
    region: str | None = None
    """Only requests to this Region."""
    min_bytes: Annotated[int, Field(ge=0)] = 0
    """Only requests whose body is so large; not for entry faults."""
    source: str | None = None
    """Entry faults: only entries whose Source starts so."""
    index: frozenset[int] | None = None
    """Entry faults: only at these places in their request, from 0."""
    code: str | None = None
    """The error code, instead of the usual one of this kind; empty: an answer without a body."""
    message: str | None = None
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    event_id: str | None = None
    """Entry faults: an EventId that the result has besides, though the event was not accepted."""
    retry_after_ms: Annotated[int, Field(ge=0)] | None = None
    """Sent as `x-amz-retry-after`."""
    seconds: Annotated[float, Field(ge=0)] = 3600.0
    """How long `hang` is silent before it answers after all, or `slow_drip` takes for its answer."""
    accept: bool = True
    """Whether the events of a lost answer were accepted: True makes duplicates, False makes losses."""

    @property
    def refuses(self) -> bool:
        return self.kind in _REFUSALS

    @property
    def is_for_entries(self) -> bool:
        return self.kind in {"entry_error", "entry_blank"}

    def error(self) -> ApiError:
        """What a refusing fault answers."""
        status, code, message = next(usual for kind, usual in _REFUSALS.items() if kind == self.kind)
        return ApiError(
            code if self.code is None else self.code,
            message if self.message is None else self.message,
            status=self.status or status,
        )

    def result(self) -> dict[str, str]:
        """The result entry of an entry fault."""
        if self.kind == "entry_blank":
            return {}
        code = self.code or "InternalFailure"
        message = _ENTRY_MESSAGES.get(code, "Refused.") if self.message is None else self.message
        result = {"ErrorCode": code, "ErrorMessage": message}
        return result if self.event_id is None else {"EventId": self.event_id, **result}


class Rate(BaseModel):
    """How many requests a second are taken; the others are throttled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_second: Annotated[float, Field(gt=0)]
    burst: Annotated[float, Field(ge=1)] = 1


class Script(BaseModel):
    """Everything that is set to go wrong. What a new script does not name stays as it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    faults: tuple[Fault, ...] = ()
    latency_ms: Annotated[float, Field(ge=0)] = 0
    """How long every answer takes; the events are accepted when the request arrives."""
    down: bool = False
    """Every connection is reset, whatever it asks."""
    rate: Rate | None = None
    """Of PutPartnerEvents."""
    control_rate: Rate | None = None
    """Of all other calls together, in each Region; AWS takes 50 a second."""
    clock_skew_s: float = 0
    """How far the service's clock is ahead: in its Date header, and where it judges a signature's age."""
    seed: int = 0
    """Of the random numbers behind `probability`."""

    def replaced_by(self, change: dict[str, Any]) -> Script:
        """This script with what `change` names. Raises pydantic's ValidationError."""
        new = Script.model_validate(change)
        return self.model_copy(update={name: getattr(new, name) for name in new.model_fields_set})


class Chance:
    """Decides, request by request, which fault of a script strikes, and counts them."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.struck: Counter[str] = Counter()
        self._random = random.Random(script.seed)
        self._matched = [0] * len(script.faults)
        self._used = [0] * len(script.faults)
        self._buckets: dict[str, _Bucket] = {}
        self._for_requests = [(i, fault) for i, fault in enumerate(script.faults) if not fault.is_for_entries]
        self.for_entries = [(i, fault) for i, fault in enumerate(script.faults) if fault.is_for_entries]

    def followed_by(self, script: Script) -> Chance:
        """This one with a script that has further faults behind its own; what it counted goes on."""
        later = Chance(script)
        later.struck = self.struck
        own = len(self.script.faults)
        later._matched[:own], later._used[:own] = self._matched, self._used
        if script.seed == self.script.seed:
            later._random = self._random
        return later

    def on_request(self, operation: str, region: str, now_s: float, *, size_bytes: int = 0) -> Fault | None:
        """The fault that strikes this request, if any."""
        for i, fault in self._for_requests:
            if (
                fault.operation in {operation, "*"}
                and fault.region in {None, region}
                and size_bytes >= fault.min_bytes
                and self._strikes(i, fault)
            ):
                return fault
        is_data = operation == "PutPartnerEvents"
        rate = self.script.rate if is_data else self.script.control_rate
        if rate is not None:
            bucket = self._buckets.setdefault("" if is_data else region, _Bucket(rate))
            if not bucket.take(now_s):
                self.struck["rate"] += 1
                return Fault(kind="throttle", operation="*")
        return None

    def on_entry(self, index: int, source: str, region: str) -> Fault | None:
        """The fault that strikes this entry, if any."""
        for i, fault in self.for_entries:
            if (
                (fault.index is None or index in fault.index)
                and (fault.source is None or source.startswith(fault.source))
                and fault.region in {None, region}
                and self._strikes(i, fault)
            ):
                return fault
        return None

    @property
    def left(self) -> Sequence[Fault]:
        """The faults that are not over."""
        return [
            fault
            for used, fault in zip(self._used, self.script.faults, strict=True)
            if fault.times is None or used < fault.times
        ]

    def _strikes(self, i: int, fault: Fault) -> bool:
        if fault.times is not None and self._used[i] >= fault.times:
            return False
        self._matched[i] += 1
        if self._matched[i] <= fault.after or (
            fault.probability < 1 and self._random.random() >= fault.probability
        ):
            return False
        self._used[i] += 1
        self.struck[fault.name or fault.kind] += 1
        return True


class _Bucket:
    """Tokens of one rate."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._tokens = rate.burst
        self._refilled_s = 0.0

    def take(self, now_s: float) -> bool:
        elapsed_s = now_s - self._refilled_s
        self._refilled_s = now_s
        self._tokens = min(self._rate.burst, self._tokens + elapsed_s * self._rate.requests_per_second)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
