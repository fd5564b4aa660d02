"""A running sandbox, as its commands and tests see it: through its control API."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson
import urllib3

from connector.errors import UnavailableError

if TYPE_CHECKING:
    from connector.sandbox.control import CustomerAct

LOOK_EVERY_S = 0.1
ANSWER_TIMEOUT_S = 10.0
PAGE = 10_000
"""Events of one answer, at most."""

Event = dict[str, Any]
"""An event as its customer gets it, with its place among all under `sandbox`."""


class SandboxRefusedError(Exception):
    """The sandbox does not do what it was asked to; says why."""


class MissingEventsError(AssertionError):
    """Fewer events came than were waited for; says what is known of the others."""


class SandboxClient:
    """Asks one sandbox, and tells it what to do. Stateless.

    Every method raises UnavailableError where no sandbox answers, and SandboxRefusedError where it refuses.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def addresses(self) -> dict[str, Any]:
        """Where everything is: `kafka`, `schema_registry`, `eventbridge`, and a bridge's `environment`."""
        found = self._ask("GET", "")
        if not isinstance(found, dict) or "kafka" not in found:
            raise self._is_none()
        return found

    def wait_started(self, *, timeout_s: float) -> dict[str, Any]:
        """The addresses, once it answers; raises UnavailableError where it does not in this time."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                return self.addresses()
            except UnavailableError:
                if time.monotonic() >= deadline_s:
                    raise
            time.sleep(LOOK_EVERY_S)

    # Events

    def events(
        self,
        *,
        after: int = 0,
        source: str | None = None,
        detail_type: str | None = None,
        region: str | None = None,
    ) -> list[Event]:
        """The events that customers got, in the order of acceptance; those with a `seq` over `after`."""
        asked = {"source": source, "detail-type": detail_type, "region": region}
        fields = {name: value for name, value in asked.items() if value is not None}
        found: list[Event] = []
        while True:
            page = self._ask("GET", "/events", fields={**fields, "after": after, "limit": PAGE})
            found += page
            if len(page) < PAGE:
                return found
            after = page[-1]["sandbox"]["seq"]

    def wait_for_events(
        self,
        count: int = 1,
        *,
        after: int = 0,
        timeout_s: float = 30.0,
        meanwhile: Callable[[], object] = lambda: None,
        **chosen: Any,
    ) -> list[Event]:
        """Every event chosen as by `events`, once there are `count` of them.

        `meanwhile` is called between two looks, and may raise.

        Raises:
            MissingEventsError: there are fewer after `timeout_s`.
        """
        deadline_s = time.monotonic() + timeout_s
        found: list[Event] = []
        while True:
            found += self.events(after=found[-1]["sandbox"]["seq"] if found else after, **chosen)
            if len(found) >= count:
                return found
            if time.monotonic() >= deadline_s:
                came = f"{len(found)} of {count} {'event' if count == 1 else 'events'} came"
                raise MissingEventsError("\n".join([f"{came} within {timeout_s:g} s.", *self._reasons()]))
            meanwhile()
            time.sleep(LOOK_EVERY_S)

    def counts(self) -> dict[str, Any]:
        """What happened since the start or the last reset: see `Counts` in `eventbridge.py`."""
        return dict(self._ask("GET", "/state"))

    def _reasons(self) -> list[str]:
        """What may keep events from arriving, a line each."""
        counts, script = self.counts(), self.faults()
        lines = [
            f"{each['Name']} is {each['State']} in {each['Region']}, so the bridge keeps its events back; "
            f"a customer accepts it with: partner-bridge sandbox accept {each['Name']}"
            for each in self.sources()
            if each["State"] == "PENDING"
        ]
        if counts["dropped"]:
            lines.append(f"{counts['dropped']} were dropped, since their source was PENDING.")
        lines += [f"{count} were refused with {code}." for code, count in counts["refused"].items()]
        if script["script"]["down"]:
            lines.append("EventBridge is down.")
        if script["left"]:
            lines.append(f"Faults are set: {', '.join(each['kind'] for each in script['left'])}.")
        if not counts["requests"]:
            lines.append("No bridge has asked EventBridge for anything; see the bridge's log.")
        return lines or ["See the bridge's log and its dead letters."]

    # Sources

    def sources(self) -> list[dict[str, Any]]:
        """Every partner event source: Region, Name, State, Account."""
        return list(self._ask("GET", "/sources"))

    def set_source(self, name: str, state: str | None, *, region: str, account: str | None = None) -> None:
        """Put a source in a state, whatever its own was: PENDING, ACTIVE, DELETED; None removes it."""
        asked = {"name": name, "state": state, "region": region}
        self._ask("PUT", "/sources", asked if account is None else {**asked, "account": account})

    def accept(self, name: str, *, region: str | None = None) -> None:
        """Be the customer who accepts a PENDING source: it becomes ACTIVE."""
        self._act("accept", name, region)

    def deactivate(self, name: str, *, region: str | None = None) -> None:
        """Be the customer who wants no more events: an ACTIVE source becomes PENDING."""
        self._act("deactivate", name, region)

    def reject(self, name: str, *, region: str | None = None) -> None:
        """Be the customer who never accepts: a PENDING source is gone, as after 14 days."""
        self._act("reject", name, region)

    def _act(self, act: CustomerAct, name: str, region: str | None) -> None:
        self._ask("POST", f"/sources/{act}", {"name": name, "region": region})

    # What goes wrong

    def faults(self) -> dict[str, Any]:
        """What is set to go wrong (`script`), and which faults are not over (`left`)."""
        return dict(self._ask("GET", "/faults"))

    def fault(self, kind: str, *, seed: int | None = None, **settings: Any) -> None:
        """Let EventBridge fail so, besides the faults that are set; `settings` are those of `Fault`."""
        seeded = {} if seed is None else {"seed": seed}
        self._ask("PATCH", "/faults", {"faults": [{"kind": kind, **settings}], **seeded})

    def change(self, **script: Any) -> None:
        """Change what else goes wrong: `latency_ms`, `down`, `rate`, `control_rate`, `clock_skew_s`."""
        self._ask("PATCH", "/faults", script)

    def set_kafka_down(self, *, down: bool) -> None:
        """Let the broker refuse every connection, or work again with the records it had."""
        self._ask("PUT", "/kafka", {"down": down})

    def set_registry_down(self, *, down: bool) -> None:
        """Let the registry reset every connection, or work again."""
        self._request("POST", f"{self.addresses()['schema_registry']}/_sandbox/faults", {"down": down})

    def clear(self) -> None:
        """From now on nothing goes wrong, and everything is up."""
        self._ask("DELETE", "/faults")
        self.set_kafka_down(down=False)
        self.set_registry_down(down=False)

    def reset(self) -> None:
        """Forget events, counts, sources and faults of EventBridge; topics and schemas stay."""
        self._ask("POST", "/reset")

    # Everything else

    def create_topic(self, name: str, partitions: int = 4) -> None:
        """Create a topic, which otherwise its first record does, with 4 partitions."""
        self._ask("POST", "/topics", {"name": name, "partitions": partitions})

    def set_credentials(self, keys: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace the access keys that EventBridge knows, as `Credential` in `awsjson.py` says."""
        self._ask("PUT", "/credentials", keys)

    def _ask(
        self, method: str, path: str, body: Any = None, *, fields: Mapping[str, Any] | None = None
    ) -> Any:
        return self._request(method, f"{self.url}/_sandbox{path}", body, fields=fields)

    def _request(
        self, method: str, url: str, body: Any = None, *, fields: Mapping[str, Any] | None = None
    ) -> Any:
        try:
            answer = urllib3.request(
                method,
                url,
                body=None if body is None else orjson.dumps(body),
                fields=None if fields is None else {name: str(value) for name, value in fields.items()},
                timeout=ANSWER_TIMEOUT_S,
                retries=False,
            )
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise UnavailableError(
                f"No sandbox answers at {self.url}. Start one with `partner-bridge sandbox`; if it listens "
                "elsewhere, say where with --url."
            ) from error
        try:
            if answer.headers.get("Content-Type") == "application/x-ndjson":
                return [orjson.loads(line) for line in answer.data.splitlines()]
            parsed = orjson.loads(answer.data)
        except orjson.JSONDecodeError:
            raise self._is_none() from None
        if answer.status == 400 and "problems" in parsed:
            problems = (
                f"{each['path']}: {each['message']}".removeprefix(": ") for each in parsed["problems"]
            )
            raise SandboxRefusedError("; ".join(problems))
        if answer.status != 200:
            raise self._is_none()
        return parsed

    def _is_none(self) -> UnavailableError:
        return UnavailableError(
            f"What answers at {self.url} is no sandbox. Start one with `partner-bridge sandbox`; its address "
            "is the one that it prints for EventBridge."
        )
