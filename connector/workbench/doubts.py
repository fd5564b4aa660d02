"""What is legal in an event and probably not meant: numbers that readers lose, personal data in plain sight.

A warning names the place in the event, and never what stands there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import chain

from connector.config.settings import TimeUnit
from connector.mapping.times import COUNTED, PER_SECOND, unit_of
from connector.model import Json

MAX_EXACT_INTEGER = 2**53
"""Beyond it a double, which is all that JavaScript and `jq` have, skips integers."""

MAX_RULE_NUMBER = 5_000_000_000
RULE_DECIMALS = 6
"""What a rule compares as a number. Any other number it takes for the text that stands in the event.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
https://github.com/aws/event-ruler/blob/main/src/main/software/amazon/event/ruler/ComparableNumber.java
"""

MAX_DETAIL_TYPES = 15
"""More kinds than that are hardly kinds of events."""

YEAR_MS = 366 * 24 * 3600 * 1000

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_TIME_WORDS = frozenset(
    {
        *("at", "time", "timestamp", "ts", "date", "datetime", "epoch", "when", "since", "until", "deadline"),
        *("expiry", "expires", "expiration", "created", "updated", "modified", "deleted"),
    }
)
"""Words in the names of times, as in `created_at`, `ts_ms` and `expiryDate`."""
_OTHER_WORDS = frozenset({"by", "id", "count", "number"})
"""Last words of names that are none, as in `created_by`."""

_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")
_CARD = re.compile(r"(?<![0-9])(?:2[2-7]|[3-6][0-9])(?:[ -]?[0-9]){11,17}(?![0-9])")
"""How the numbers of payment cards begin, and how long they are: https://en.wikipedia.org/wiki/Payment_card_number"""


def doubts(entry: Mapping[str, Json], *, timestamp_ms: int | None = None) -> list[str]:
    """Find what is doubtful in an entry, which has its detail as an object; in sentences.

    `timestamp_ms` is that of the record: a number near it is a time, whatever its name.
    """
    of_texts = (_of_text(path, entry.get(name)) for path, name in _TEXTS.items())
    return list(chain(*of_texts, _of_value("detail", "", entry.get("Detail"), timestamp_ms)))


_TEXTS = {"source": "Source", "detail_type": "DetailType"}


class DetailTypes:
    """Counts the kinds of events over several records."""

    def __init__(self) -> None:
        self._seen: set[Json] = set()
        self._events = 0

    def doubts(self, entry: Mapping[str, Json]) -> list[str]:
        """What this entry adds: a warning where its detail type is one more than there should be."""
        self._events += 1
        known = len(self._seen)
        self._seen.add(entry.get("DetailType"))
        if len(self._seen) == known or known < MAX_DETAIL_TYPES:
            return []
        return [
            f"detail_type: {len(self._seen)} kinds in {self._events} events, as if each record had its own. "
            "Rules list the kinds that they match; put what differs from record to record into the detail"
        ]


def _of_text(path: str, text: Json) -> Iterator[str]:
    if not isinstance(text, str):
        return
    advice = "It would stand in rules, logs and bills of AWS; name what is behind it by an id"
    if _EMAIL.search(text):
        yield f"{path}: has the shape of an e-mail address in it. {advice}"
    if any(_is_card_number(found[0]) for found in _CARD.finditer(text)):
        yield f"{path}: has the shape of a card number in it. {advice}"


def _is_card_number(text: str) -> bool:
    """Whether the check digit fits: https://en.wikipedia.org/wiki/Luhn_algorithm"""
    digits = [int(digit) for digit in reversed(text) if digit.isdigit()]
    doubled = (2 * digit - 9 * (digit > 4) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _of_value(path: str, name: str, value: Json, timestamp_ms: int | None) -> Iterator[str]:
    match value:
        case dict():
            for key, child in value.items():
                yield from _of_value(f"{path}.{key}", key, child, timestamp_ms)
        case list():
            for index, child in enumerate(value):
                yield from _of_value(f"{path}[{index}]", name, child, timestamp_ms)
        case bool():
            pass
        case int() | float():
            yield from _of_number(path, name, value, timestamp_ms)


def _of_number(path: str, name: str, number: float, timestamp_ms: int | None) -> Iterator[str]:
    if unit := _epoch_unit(name, number, timestamp_ms):
        yield (
            f"{path}: reads as a time, in {COUNTED[unit]} since 1970. Send it as ISO 8601 text, whose "
            f"beginning rules can match; as numbers they compare those up to {MAX_RULE_NUMBER:,} only"
        )
    elif isinstance(number, float) and not _is_exact_for_rules(number):
        yield (
            f"{path}: rules cannot match this number exactly. They compare {RULE_DECIMALS} digits behind the "
            f"point, and numbers up to {MAX_RULE_NUMBER:,}. Send it as text"
        )
    if isinstance(number, int) and abs(number) > MAX_EXACT_INTEGER:
        yield f"{path}: an integer beyond 2^53, which many readers of JSON round. Send it as text"


def _epoch_unit(name: str, number: float, timestamp_ms: int | None) -> TimeUnit | None:
    """The unit in which a number is a time of this century."""
    unit = unit_of(number)
    words = [word.lower() for word in _WORD.findall(name)]
    if unit is None or not (_TIME_WORDS.isdisjoint(words) or words[-1] in _OTHER_WORDS):
        return unit
    # Ids and article numbers have as many digits, so that a name which says nothing needs a second sign. Too
    # many numbers are as large as seconds.
    is_near = timestamp_ms is not None and abs(number * 1000 / PER_SECOND[unit] - timestamp_ms) < YEAR_MS
    return unit if is_near and unit != "s" else None


def _is_exact_for_rules(number: float) -> bool:
    exponent = Decimal(repr(number)).normalize().as_tuple().exponent
    return abs(number) <= MAX_RULE_NUMBER and isinstance(exponent, int) and -exponent <= RULE_DECIMALS
