"""Values replaced by others of the same shape, so that a real record can be a test without being told.

What a mapping depends on stays: structure, null, booleans, symbols of enums, lengths, and what characters a
text is made of. A time is another time, and a number another one of as many digits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence

from connector.mapping.times import PER_SECOND, unit_of
from connector.model import Json
from connector.workbench.json_schema import JsonSchema, ValueSchema, branches

MASKED_S = 1_767_225_600
"""The time that stands for every time: 2026-01-01T00:00:00Z."""

_NO_SCHEMA = ValueSchema({}, {})

_TIMES: Sequence[tuple[re.Pattern[str], Callable[[str], str]]] = (
    (
        re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]+(Z|[+-][0-9:]+)?)?", re.ASCII),
        lambda text: "2026-01-01" + re.sub("[0-9]", "0", text[10:]),
    ),
    (re.compile(r"[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?"), lambda text: re.sub("[0-9]", "0", text)),
    (
        re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
        lambda text: re.sub("[0-9a-fA-F]", "1", text),
    ),
)
"""Text that stays valid only if it is replaced as a whole."""

_CLASSES = ((re.compile("[a-z]"), "x"), (re.compile("[A-Z]"), "X"), (re.compile("[0-9]"), "1"))
_NAME = re.compile("[A-Za-z_$][A-Za-z0-9_.-]{0,63}")
"""What fields are called. A key that is none is taken for part of what an object holds."""
_OTHER = re.compile(r"[^xX1+/=_.-]")
"""Neither base64 nor what may stand in the name of a source."""


def masked(value: Json, schema: ValueSchema | None = None, *, kept: Collection[str] = ()) -> Json:
    """Mask a value; `schema` tells symbols of enums and keys of maps, which JSON alone does not.

    `kept` are texts that stay as they are.
    """
    found, definitions = schema or _NO_SCHEMA

    def mask(value: Json, schema: JsonSchema) -> Json:
        fitting = list(branches(schema, definitions))
        match value:
            case dict():
                return _object(value, fitting)
            case list():
                items: JsonSchema = next((branch["items"] for branch in fitting if "items" in branch), {})
                return [mask(each, items) for each in value]
            case str():
                is_kept = value in kept or any(value in branch.get("enum", ()) for branch in fitting)
                return value if is_kept else masked_text(value)
            case bool() | None:
                return value
            case int() | float():
                return masked_number(value)

    def _object(value: Mapping[str, Json], fitting: Sequence[JsonSchema]) -> Json:
        for branch in fitting:
            if (properties := branch.get("properties")) is not None and properties.keys() == value.keys():
                return {key: mask(each, properties[key]) for key, each in value.items()}
        for branch in fitting:
            if (values := branch.get("additionalProperties")) is not None:
                return {
                    f"{masked_text(key)}-{number}": mask(each, values)
                    for number, (key, each) in enumerate(value.items())
                }
        return {
            key if _NAME.fullmatch(key) else f"{masked_text(key)}-{number}": mask(each, {})
            for number, (key, each) in enumerate(value.items())
        }

    return mask(value, found)


def masked_text(text: str) -> str:
    """Mask a text: another time or UUID where it is one, else letters and digits of the same kind.

    What could not stand in the name of a source becomes `-`, but for the signs of base64.
    """
    for pattern, mask in _TIMES:
        if pattern.fullmatch(text):
            return mask(text)
    for pattern, character in _CLASSES:
        text = pattern.sub(character, text)
    return _OTHER.sub("-", text)


def masked_number(number: int | float) -> int | float:
    """Mask a number: a time where it is one, in its unit; else one of as many digits, or 1.5."""
    if isinstance(number, float):
        return -1.5 if number < 0 else 1.5
    if unit := unit_of(number):
        return MASKED_S * PER_SECOND[unit]
    ones = int("1" * len(str(abs(number))))
    return -ones if number < 0 else ones
