"""What running bridges say of records that wait: their answers to `/sources` and `/readyz`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias, cast

from pydantic import BaseModel

from connector.model import INACTIVE, MEANINGS, SourceState
from connector.sources.replicas import json_of, of_each

MAX_REASONS = 3

Answer: TypeAlias = Mapping[str, Any]


class _Sources(BaseModel):
    sources: list[dict[str, Any]]


class Readiness(BaseModel):
    """What a bridge says of itself, as far as it tells why records wait."""

    reasons: dict[str, str]
    targets_down: dict[str, str]
    first_lookups: dict[str, str]
    lookups: dict[str, str] = {}
    """An older bridge has none."""
    sources_failing: list[dict[str, Any]]
    pauses: list[dict[str, Any]] = []
    """An older bridge has none."""


@dataclass(frozen=True, slots=True)
class BridgeEvidence:
    """The answers of the bridges that were asked."""

    sources: Sequence[Answer] = ()
    """What each says of each source."""
    ready: Sequence[Readiness] = ()
    """What each says of itself."""
    silent: Mapping[str, str] = field(default_factory=dict)
    """Those that do not answer, each with the reason."""

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

    def why_waiting(self, topics: Collection[str], target: str, source: str | None) -> str | None:
        """Why events of a source may wait, in a sentence; None where no bridge knows of a reason.

        `topics` are the names that a pause may have for their topic: its own, and the pattern that it is of.
        """
        paused = {("target", target), *(("topic", name) for name in topics)}
        reasons: list[str] = []
        for says in self.ready:
            for pause in says.pauses:
                if (pause.get("kind"), pause.get("name")) in paused:
                    until = pause.get("until") or "it is resumed"
                    reasons.append(f"the {pause['kind']} {pause['name']} is paused until {until}")
            of_targets = says.targets_down, says.first_lookups, says.lookups
            reasons += [each[target] for each in of_targets if target in each]
            reasons += [str(each.get("reason")) for each in self._of(source, target, says.sources_failing)]
            reasons += says.reasons.values()
        return "; ".join(list(dict.fromkeys(reasons))[:MAX_REASONS]) or None

    def _of(self, source: str | None, target: str, answers: Iterable[Answer]) -> list[Answer]:
        return [each for each in answers if (each.get("source"), each.get("target")) == (source, target)]


def ask(bridges: Sequence[str], headers: Mapping[str, str]) -> BridgeEvidence:
    """Ask bridges for both, as `of_each` does."""
    answers = of_each(bridges, partial(_answer, headers=headers))
    says = answers.said.values()
    return BridgeEvidence(
        [each for sources, _ in says for each in sources], [ready for _, ready in says], answers.silent
    )


def _answer(url: str, *, headers: Mapping[str, str]) -> tuple[Sequence[Answer], Readiness]:
    sources = _Sources.model_validate(json_of(f"{url}/sources", headers)).sources
    return sources, Readiness.model_validate(json_of(f"{url}/readyz", headers))
