"""Why a selection matches no dead letter: what it looked for, and what there is instead. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from connector.dead_letters.resolutions import ResolutionTable
from connector.dead_letters.selection import Selection, is_in, states_of
from connector.dead_letters.totals import Dimension, Totals
from connector.model import Record, iso_second

MAX_NAMED = 3
"""Values that are offered in place of one that no letter has."""


def looked_for(selection: Selection) -> str:
    """The filters of a selection as they are written on the command line; empty where it has none."""
    options: list[tuple[str, Sequence[object]]] = [
        ("code", selection.codes),
        ("topic", selection.topics),
        ("partition", [*selection.partitions]),
        ("offset", [*selection.offsets]),
        ("key", [_key(key) for key in selection.keys]),
        ("source", selection.sources),
        ("detail-type", selection.detail_types),
        ("since", [iso_second(selection.since_ms)] if selection.since_ms is not None else []),
        ("until", [iso_second(selection.until_ms)] if selection.until_ms is not None else []),
        ("min-attempts", [selection.min_attempts] if selection.min_attempts else []),
    ]
    return " ".join(f"--{name} {value}" for name, values in options for value in values)


class NearMisses:
    """Letters beside a selection that matches none: in another state, or with another code, topic or source.

    Add what the topic holds; older letters of a record count as well, since nothing is sent by this.
    """

    def __init__(self, selection: Selection, *, max_replays: int) -> None:
        self._selection = selection
        self._there, self._matching = Totals(), Totals()
        self._match_all = Selection(state="all").matcher(max_replays=max_replays)
        self._match = replace(selection, state="all", ids=None).matcher(max_replays=max_replays)

    def add(self, records: Sequence[Record], resolved: ResolutionTable) -> None:
        ids = self._selection.ids
        for record in records:
            if ids is not None and not ids.take(record.position):
                continue
            if (found := self._match_all(record, resolved)) is not None:
                self._there.add(found)
            if (found := self._match(record, resolved)) is not None:
                self._matching.add(found)

    def sentences(self) -> Iterator[str]:
        """What there is instead; nothing where nothing is worth saying."""
        own = {state.label for state in states_of(self._selection.state)}
        if states := self._matching.by("state"):
            others = [f"{group.count:,} {state}" for state, group in states.items() if state not in own]
            if others:
                yield f"With another --state it matches {' and '.join(others)}."
            if older := sum(group.count for state, group in states.items() if state in own):
                yield f"It matches {older:,} that a newer letter of the same record stands for."
            return
        if not self._there.count:
            return
        asked: dict[Dimension, Sequence[str]] = {
            "code": self._selection.codes,
            "topic": self._selection.topics,
            "source": self._selection.sources,
            "detail_type": self._selection.detail_types,
        }
        sentences = [
            sentence
            for dimension, values in asked.items()
            for value in values
            if (sentence := self._instead(dimension, value))
        ]
        yield from sentences
        if not sentences:
            (everything,) = self._there.by("all").values()
            begin, end = iso_second(everything.oldest_ms), iso_second(everything.newest_ms)
            yield f"Letters there were written {begin} to {end}, and none meets all of it."

    def _instead(self, dimension: Dimension, wanted: str) -> str | None:
        """What may have been meant by a value that no letter has."""
        known = self._there.by(dimension)
        if any(map(is_in([wanted]), known)):
            return None
        name = dimension.replace("_", " ")
        if not known:
            return f"No letter there has a {name}: it failed before it had one."
        if close := _close_to(wanted, known):
            return f"Did you mean --{dimension.replace('_', '-')} {' or '.join(close)}?"
        shown = sorted(known, key=lambda value: -known[value].count)[:MAX_NAMED]
        more = f" and {len(known) - MAX_NAMED:,} more" if len(known) > MAX_NAMED else ""
        return f"No letter there has the {name} {wanted}; there are {', '.join(shown)}{more}."


def _close_to(wanted: str, known: Collection[str]) -> list[str]:
    """The values that hold what was asked for, the shortest first; otherwise the one most like it."""
    bare = wanted.replace("*", "").casefold()
    holding = sorted((value for value in known if bare and bare in value.casefold()), key=len)
    return holding[:MAX_NAMED] or difflib.get_close_matches(wanted, known, n=1)


def _key(key: bytes) -> str:
    text = key.decode("utf-8", "replace")
    return text if text.isprintable() and text.encode() == key else f"hex:{key.hex()}"
