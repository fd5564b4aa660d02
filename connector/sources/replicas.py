"""The health of sources as running bridges say it, added over replicas; see `schemas/source-health.json`."""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar
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


class BridgeAnswers(NamedTuple):
    """What the bridges say that were asked."""

    sources: Mapping[tuple[str, str], Sequence[SourceHealth]]
    """By target and source, one of each bridge that knows it."""
    answered: Sequence[str]
    """The URLs of bridges that answered."""
    silent: Mapping[str, str]
    """The URLs of those that did not, and names that do not resolve, each with the reason."""


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


def ask(bridges: Sequence[str]) -> BridgeAnswers:
    """Ask bridges for `/sources`, each URL once; `dns:NAME:PORT` is every address that the name resolves to.

    One that does not answer in two seconds is silent. The others count as if there were no more.
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
    sources: dict[tuple[str, str], list[SourceHealth]] = {}
    answered = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for url, answer in zip(urls, pool.map(_asked, urls), strict=True):
            if isinstance(answer, str):
                silent[url] = answer
                continue
            answered.append(url)
            for each in answer:
                sources.setdefault((each.target, each.source), []).append(each)
    return BridgeAnswers(sources, answered, silent)


def _asked(url: str) -> list[SourceHealth] | str:
    """The sources of a bridge, or why it gives none."""
    try:
        with urllib.request.urlopen(f"{url}/sources", timeout=ANSWER_TIMEOUT_S) as answer:  # noqa: S310 - checked
            return _Answer.model_validate(json.load(answer)).sources
    except OSError as error:
        return _reason(error)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        return f"what answers there is no bridge: {where or 'its answer'} has another form"
    except ValueError:
        return "what answers there is no bridge: its answer is not JSON"


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
