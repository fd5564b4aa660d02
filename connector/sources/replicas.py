"""The health of sources as running bridges say it, added over replicas; see `schemas/source-health.json`."""

from __future__ import annotations

import json
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.client import HTTPException
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

ANSWER_TIMEOUT_S = 2.0
AT_ONCE = 32
"""Bridges asked at the same time."""

T = TypeVar("T")


class SourceHealth(BaseModel):
    """A source as one bridge says it, or several. Figures that an older bridge does not give are None.

    Times are text as 2026-11-22T10:00:00Z, and so compare as times do.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    target: str
    state: str
    since: str | None = None
    looked_up: str | None = None
    other_states: tuple[str, ...] = ()
    """States in which bridges last saw it that are not `state`."""
    delivered: int | None = None
    dead_lettered: int | None = None
    held: int | None = None
    oldest_waiting: str | None = None
    last_delivered: Mapping[str, Any] | None = None
    last_error: Mapping[str, Any] | None = None
    paused: Mapping[str, Any] | None = None
    """The pause that holds it, where a bridge says so."""
    bytes: int | None = None
    billed_chunks: int | None = None


class _Answer(BaseModel):
    sources: list[SourceHealth]


class Answers(NamedTuple, Generic[T]):
    """What bridges said that were asked at the same time, by URL."""

    said: Mapping[str, T]
    silent: Mapping[str, str]
    """The URLs of those that did not answer, and names that do not resolve, each with the reason."""


class BridgeAnswers(NamedTuple):
    """What the bridges say that were asked."""

    sources: Mapping[tuple[str, str], Sequence[SourceHealth]]
    """By target and source, one of each bridge that knows it."""
    answered: Sequence[str]
    """The URLs of bridges that answered."""
    silent: Mapping[str, str]
    """As in `Answers`."""


def added(source: str, target: str, state: str, reports: Iterable[SourceHealth]) -> SourceHealth:
    """Add what several bridges say of a source that is in this state now.

    Counts are summed; the last delivery and the last error are the latest, what waits is the oldest. It is in
    its state since the first of the bridges saw it so that still do.
    """
    reports = list(reports)
    return SourceHealth(
        source=source,
        target=target,
        state=state,
        since=_of(min, (each.since for each in reports if each.state == state)),
        looked_up=_of(max, (each.looked_up for each in reports)),
        other_states=tuple(sorted({each.state for each in reports} - {state, "LOOKING"})),
        delivered=_of(sum, (each.delivered for each in reports)),
        dead_lettered=_of(sum, (each.dead_lettered for each in reports)),
        held=_of(sum, (each.held for each in reports)),
        oldest_waiting=_of(min, (each.oldest_waiting for each in reports)),
        last_delivered=latest(each.last_delivered for each in reports),
        last_error=latest(each.last_error for each in reports),
        paused=next(filter(None, (each.paused for each in reports)), None),
        bytes=_of(sum, (each.bytes for each in reports)),
        billed_chunks=_of(sum, (each.billed_chunks for each in reports)),
    )


def latest(happened: Iterable[Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
    """The latest of what happened `at` some time; None where nothing did."""
    return max(filter(None, happened), key=lambda each: each.get("at", ""), default=None)


def bridge_problem(bridge: str) -> str | None:
    """Why this does not say where a bridge, or several, may be asked; None where it does."""
    if bridge.startswith("dns:"):
        return None if _headless(bridge) else "is not dns:NAME:PORT, as dns:bridge.default:8080"
    try:
        parts = urlsplit(bridge)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    return None if is_url else "is not a URL, as http://pod-0:8080, and not dns:NAME:PORT"


def ask(bridges: Sequence[str], headers: Mapping[str, str]) -> BridgeAnswers:
    """Ask bridges for `/sources`, as `of_each` does."""
    answers = of_each(bridges, lambda url: _Answer.model_validate(json_of(f"{url}/sources", headers)).sources)
    sources: dict[tuple[str, str], list[SourceHealth]] = {}
    for each in chain.from_iterable(answers.said.values()):
        sources.setdefault((each.target, each.source), []).append(each)
    return BridgeAnswers(sources, [*answers.said], answers.silent)


def of_each(bridges: Sequence[str], ask_one: Callable[[str], T]) -> Answers[T]:
    """Ask bridges at the same time, each URL once; `dns:NAME:PORT` is each address of that name.

    `ask_one` takes a URL; where it raises, as `json_of` does, that bridge is silent. The others count as if
    there were no more.
    """
    urls: dict[str, None] = {}
    silent: dict[str, str] = {}
    for bridge in bridges:
        if found := _headless(bridge):
            name, port = found
            try:
                addresses = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                silent[bridge] = f"the name does not resolve: {_reason(error)}"
                continue
            urls |= {_url(str(address[0]), port): None for *_, address in addresses}
        else:
            urls[bridge.rstrip("/")] = None
    said: dict[str, T] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked = {url: pool.submit(ask_one, url) for url in urls}
    for url, answer in asked.items():
        try:
            said[url] = answer.result()
        except OSError as error:
            silent[url] = _reason(error)
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])
            silent[url] = f"what answers there is no bridge: {where or 'its answer'} has another form"
        except ValueError:
            silent[url] = "what answers there is no bridge: its answer is not JSON"
        except HTTPException:
            silent[url] = "what answers there is no bridge: its answer is not HTTP"
    return Answers(said, silent)


def json_of(url: str, headers: Mapping[str, str]) -> object:
    """What a bridge answers within two seconds, also where it answers 503 since it is not ready.

    Raises:
        OSError: it does not answer, or with another status.
        ValueError: the answer is not JSON.
        HTTPException: it is not HTTP.
    """
    try:
        asked = urllib.request.Request(url, headers=dict(headers))  # noqa: S310 - `bridge_problem`
        with urllib.request.urlopen(asked, timeout=ANSWER_TIMEOUT_S) as answer:  # noqa: S310
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
            raise
        return json.load(error)


def _reason(error: Exception) -> str:
    """The words of the system where it has some, without its number."""
    reason = getattr(error, "reason", error)
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


def _headless(bridge: str) -> tuple[str, int] | None:
    """Name and port of a headless Service."""
    found = re.fullmatch(r"dns:([^:/@\s]+):([0-9]{1,5})", bridge)
    return (found[1], int(found[2])) if found and 0 < int(found[2]) < 2**16 else None


def _url(address: str, port: int) -> str:
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def _of(choose: Callable[[list[T]], T], values: Iterable[T | None]) -> T | None:
    """Choose from the values that are known; None where none is."""
    known = [value for value in values if value is not None]
    return choose(known) if known else None
