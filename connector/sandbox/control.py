"""The control API of the sandbox, over HTTP beside EventBridge's own; no signature needed.

    GET    /_sandbox              where everything is, and how a bridge signs in
    GET    /_sandbox/state        what happened so far, as counts
    GET    /_sandbox/events       the accepted events as their customer gets them, one JSON object a
                                  line; ?after=SEQ&limit=N pages (limit 10000 at first), ?source=,
                                  ?detail-type= and ?region= select
    GET    /_sandbox/faults       the script: what is set to go wrong, and which faults are left
    POST   /_sandbox/faults       changes what it names: {"faults": [...], "latency_ms": 20,
                                  "down": false, "rate": {"requests_per_second": 100},
                                  "control_rate": {"requests_per_second": 50, "burst": 50},
                                  "clock_skew_s": 0, "seed": 0}
    PATCH  /_sandbox/faults       the same, but adds its faults to those that are there
    DELETE /_sandbox/faults       nothing goes wrong any more
    GET    /_sandbox/sources      every partner event source
    PUT    /_sandbox/sources      {"region": ..., "name": ..., "state": ..., "account": ...}; a state is
                                  "PENDING", "ACTIVE", "DELETED", or null, which removes it
    POST   /_sandbox/sources/accept      {"name": ..., "region": ...}: what its customer does; the Region
    POST   /_sandbox/sources/deactivate  may be left out where one alone has the source
    POST   /_sandbox/sources/reject
    PUT    /_sandbox/credentials  {"KEYID": {"secret": ..., "session_token": ..., "expired": false}};
                                  replaces all that are known
    POST   /_sandbox/topics       {"name": ..., "partitions": 3}: creates a topic
    PUT    /_sandbox/kafka        {"down": true}: the broker drops every connection and takes none
    POST   /_sandbox/reset        forgets events, counts, sources and script

A mistake is a 400 with {"problems": [{"path": ..., "message": ...}]}. A fault is {"kind": ...,
"times": ..., "after": ..., "probability": ..., ...}; `Fault` in `faults.py` says what each setting
means. Kinds that refuse a request: throttle, internal_error, unavailable,
too_large (413, no body), over_limit, expired_token, access_denied, operation_disabled,
request_expired, error (any `code`, `message`, `status`). Kinds that lose the answer of a request whose
events were accepted (`"accept": false`: were not): hang, reset, empty_object, empty_body, garbage,
truncated, short and long (one result too few or too many), slow_drip. Kinds that strike single entries:
entry_error (any `code`), entry_blank (a result with neither id nor code).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias, get_args

import orjson
from aiohttp import web
from pydantic import ValidationError

from connector.sandbox.awsjson import Credential
from connector.sandbox.faults import Fault, Script
from connector.sandbox.server import json_response
from connector.sandbox.sources import CUSTOMER, State

CustomerAct: TypeAlias = Literal["accept", "deactivate", "reject"]
"""What the customer of a partner event source can do with it."""

_STATES = {"PENDING", "ACTIVE", "DELETED", None}
_SOURCE_ACTS = {f"POST /_sandbox/sources/{act}": act for act in get_args(CustomerAct)}


class Surroundings(Protocol):
    """What stands around EventBridge: the `Sandbox`."""

    def addresses(self) -> Mapping[str, object]: ...
    def create_topic(self, name: str, partitions: int) -> None: ...
    def set_kafka_down(self, *, down: bool) -> None: ...


class Controlled(Protocol):
    """What is controlled: `FakeEventBridge`, which says what each of these does."""

    surroundings: Surroundings | None

    def counts(self) -> object: ...
    def events(self, *, after: int) -> Iterator[Any]: ...
    def script(self, change: Mapping[str, Any]) -> Script: ...
    def add_faults(self, change: Mapping[str, Any]) -> Script: ...
    def script_left(self) -> tuple[Script, Sequence[Fault]]: ...
    def calm(self) -> None: ...
    def sources(self) -> list[dict[str, object]]: ...
    def set_source(self, region: str, name: str, state: State | None, *, account: str) -> None: ...
    def act_as_customer(self, act: CustomerAct, name: str, *, region: str | None) -> None: ...
    def set_credentials(self, credentials: Mapping[str, Credential]) -> None: ...
    def reset(self) -> None: ...


async def answer(request: web.BaseRequest, aws: Controlled) -> web.Response:
    """Does one call of the control API; a mistake in it is a 400 that lists the problems."""
    try:
        asked = orjson.loads(await request.content.read() or b"{}")
        return _answer(f"{request.method} {request.path}", request.query, asked, aws)
    except ValidationError as error:
        problems = [
            {"path": ".".join(map(str, each["loc"])), "message": each["msg"]} for each in error.errors()
        ]
        return json_response({"problems": problems}, status=400)
    except KeyError as error:
        return _problem(f"{error.args[0]} is missing", status=400)
    except (TypeError, ValueError) as error:
        return _problem(str(error), status=400)


def _answer(call: str, query: Mapping[str, str], asked: dict[str, Any], aws: Controlled) -> web.Response:
    match call:
        case "GET /_sandbox/state":
            return json_response(aws.counts())
        case "GET /_sandbox/events":
            return web.Response(body=_event_lines(query, aws), content_type="application/x-ndjson")
        case "GET /_sandbox/faults":
            return _script(aws)
        case "POST /_sandbox/faults":
            aws.script(asked)
            return _script(aws)
        case "PATCH /_sandbox/faults":
            aws.add_faults(asked)
            return _script(aws)
        case "DELETE /_sandbox/faults":
            aws.calm()
            return _script(aws)
        case "GET /_sandbox/sources":
            return json_response(aws.sources())
        case "PUT /_sandbox/sources":
            if asked["state"] not in _STATES:
                raise ValueError(f"no such state: {asked['state']!r}")
            account = asked.get("account", CUSTOMER)
            aws.set_source(asked["region"], asked["name"], asked["state"], account=account)
            return json_response(aws.sources())
        case str() if act := _SOURCE_ACTS.get(call):
            aws.act_as_customer(act, asked["name"], region=asked.get("region"))
            return json_response(aws.sources())
        case "PUT /_sandbox/credentials":
            aws.set_credentials({key: Credential(**credential) for key, credential in asked.items()})
            return json_response({})
        case "GET /_sandbox" if aws.surroundings:
            return json_response(aws.surroundings.addresses())
        case "POST /_sandbox/topics" if aws.surroundings:
            aws.surroundings.create_topic(asked["name"], asked["partitions"])
            return json_response({})
        case "PUT /_sandbox/kafka" if aws.surroundings:
            aws.surroundings.set_kafka_down(down=asked["down"])
            return json_response({})
        case "POST /_sandbox/reset":
            aws.reset()
            return json_response({})
        case _:
            return _problem(f"no such call: {call}", status=404)


def _script(aws: Controlled) -> web.Response:
    script, left = aws.script_left()
    return json_response(
        {
            "script": script.model_dump(mode="json"),
            "left": [fault.model_dump(mode="json", exclude_defaults=True) for fault in left],
        }
    )


def _event_lines(query: Mapping[str, str], aws: Controlled) -> bytes:
    limit = int(query.get("limit", 10_000))
    lines: list[bytes] = []
    for event in aws.events(after=int(query.get("after", 0))):
        if len(lines) >= limit:
            break
        if (
            query.get("source", event.source) == event.source
            and query.get("detail-type", event.detail_type) == event.detail_type
            and query.get("region", event.region) == event.region
        ):
            lines.append(orjson.dumps(event.as_json(), option=orjson.OPT_APPEND_NEWLINE))
    return b"".join(lines)


def _problem(message: str, *, status: int) -> web.Response:
    return json_response({"problems": [{"path": "", "message": message}]}, status=status)
