"""What running bridges say of records that wait: their answers to `/sources` and `/readyz`."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from connector.model import INACTIVE, MEANINGS, SourceState

ANSWER_TIMEOUT_S = 2.0
MAX_REASONS = 3
_BY_TARGET = ("targets_down", "first_lookups")
"""What `/readyz` says of single targets."""
_IN_READYZ = {"reasons", "sources_failing", *_BY_TARGET}

Answer: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BridgeEvidence:
    """The answers of the bridges that were asked."""

    sources: Sequence[Answer] = ()
    """What each says of each source."""
    ready: Sequence[Answer] = ()
    """What each says of itself."""
    silent: Sequence[str] = ()
    """The URLs of those that do not answer."""

    def why_held(self, target: str, source: str, *, holds_inactive: bool) -> str | None:
        """Why events of a source are held, in a sentence; None where no bridge holds any.

        `holds_inactive` says whether they are while it is not ACTIVE. While it is paused they always are.
        """
        for each in self._of(source, target, self.sources):
            if isinstance(paused := each.get("paused"), dict):
                return f"{source} is paused until {paused.get('until') or 'it is resumed'}"
            state = cast("SourceState", each.get("state"))
            if state in INACTIVE and holds_inactive:
                since = f" since {each['since']}" if each.get("since") else ""
                return f"{source} is {state}{since}: {each.get('reason') or MEANINGS[state]}"
        return None

    def why_waiting(self, topic: str, target: str, source: str | None) -> str | None:
        """Why events of a source may wait, in a sentence; None where no bridge knows of a reason."""
        reasons: list[str] = []
        for says in self.ready:
            for pause in says.get("pauses", ()):
                if (pause["kind"], pause["name"]) in {("topic", topic), ("target", target)}:
                    until = pause["until"] or "it is resumed"
                    reasons.append(f"the {pause['kind']} {pause['name']} is paused until {until}")
            reasons += [says[name][target] for name in _BY_TARGET if target in says[name]]
            reasons += [each["reason"] for each in self._of(source, target, says["sources_failing"])]
            reasons += says["reasons"].values()
        return "; ".join(list(dict.fromkeys(reasons))[:MAX_REASONS]) or None

    def _of(self, source: str | None, target: str, answers: Iterable[Answer]) -> list[Answer]:
        return [each for each in answers if (each.get("source"), each.get("target")) == (source, target)]


def ask(urls: Sequence[str]) -> BridgeEvidence:
    """Ask bridges; one that does not answer in two seconds is silent."""
    sources: list[Answer] = []
    ready: list[Answer] = []
    silent = []
    for url in urls:
        try:
            sources += _answer(f"{url.rstrip('/')}/sources")["sources"]
            says = _answer(f"{url.rstrip('/')}/readyz")
            of_bridge = {name: says[name] for name in _IN_READYZ} | {"pauses": says.get("pauses", ())}
        except (OSError, ValueError, KeyError, TypeError):
            silent.append(url)
        else:
            ready.append(of_bridge)
    return BridgeEvidence(sources, ready, silent)


def _answer(url: str) -> Answer:
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_TIMEOUT_S) as answer:  # noqa: S310 - the command checks it
            return cast("Answer", json.load(answer))
    except urllib.error.HTTPError as error:  # 503 says why in its body
        return cast("Answer", json.load(error))
