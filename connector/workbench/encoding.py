"""JSON to Avro: what the decoder makes of a record, made a record's bytes again.

The JSON forms are those of `formats.avro_types`, by the marks that the decoder follows; the bytes are Avro's
binary encoding.

https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from connector.config.problems import MISSING, Loc, did_you_mean, path_of
from connector.errors import DecodeError
from connector.formats.avro_schema import described_schema, shown_name
from connector.formats.avro_types import Forms, converted, form_of
from connector.model import Json
from connector.workbench.json_forms import parser_of

Encode: TypeAlias = Callable[[Json], bytes]
"""Gives a value's bytes, or raises UnfitError."""

Complaint: TypeAlias = tuple[Loc, str]
"""Where a value does not fit its schema, and what the schema wants there."""


class UnfitError(ValueError):
    """A value does not fit its schema. The message names fields and rules, and holds no value."""

    def __init__(self, complaints: Sequence[Complaint]) -> None:
        self.complaints = [(path_of(loc), message) for loc, message in complaints]
        """The path in the value, as `lines[0].price`, empty for the value itself; and what must be there."""
        self.located = complaints
        """The same by their places."""
        super().__init__(
            "; ".join(f"{path}: {message}" if path else f"it {message}" for path, message in self.complaints)
        )


def encoder(schemas: Sequence[Any], forms: Forms) -> Encode:
    """Give the function that writes values of a schema, the last of `schemas`; the others it refers to.

    A field that is left out has the schema's default. In a union the first branch counts whose bytes are read
    as the same JSON, and of a text the branch that says most about it: a timestamp before a string.

    Raises:
        DecodeError: `schema_invalid`.
    """
    described = described_schema(schemas, forms=forms)
    root = _Types(described.named).of(described.type)

    def encode(value: Json) -> bytes:
        try:
            return root.write(value, ()).content
        except RecursionError:
            raise UnfitError([((), "is nested too deeply")]) from None

    return encode


class _Written(NamedTuple):
    """A value's bytes, and how well they stand for it: of a union's branches the lowest numbers count."""

    content: bytes
    changes: int = 0
    """Values in it that are read as other JSON: a default that was filled in, or a float of fewer digits."""
    guesses: int = 0
    """How far what was written may be meant otherwise: a text that is any text, a null that is no number."""


class _Type(NamedTuple):
    """A type that values are written as."""

    noun: str
    """What such a value is in JSON: `a whole number`."""
    write: Callable[[Json, Loc], _Written]
    """Gives the bytes of the value at a place, or raises UnfitError."""


class _Types:
    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._made: dict[str, _Type] = {}

    def of(self, avro: Any) -> _Type:
        if isinstance(avro, list):
            return _union([self.of(branch) for branch in avro])
        avro = self._named.get(avro, avro) if isinstance(avro, str) else avro
        if isinstance(avro, str):
            return _leaf(avro, avro)
        name = avro.get("name")
        if name is None:
            return self._unnamed(avro)
        if name not in self._made:
            # A record may hold itself: what is in it finds this one before it is made.
            def write(value: Json, loc: Loc) -> _Written:
                return self._made[name].write(value, loc)

            self._made[name] = _Type(_noun(avro), write)
            self._made[name] = self._unnamed(avro)
        return self._made[name]

    def _unnamed(self, avro: Mapping[str, Any]) -> _Type:
        match avro["type"]:
            case "array":
                return _array(self.of(avro["items"]))
            case "map":
                return _map(self.of(avro["values"]))
            case "enum":
                return _enum(avro["symbols"])
            case "record":
                record = _record(avro, {field["name"]: self.of(field["type"]) for field in avro["fields"]})
                return _scaled(avro, record) if form_of(avro)[0] else record
        return _leaf(avro["type"], avro)


def _noun(avro: Mapping[str, Any]) -> str:
    return f"a mapping of the fields of {shown_name(avro['name'])}"


def _unfit(loc: Loc, noun: str) -> UnfitError:
    return UnfitError([(loc, f"must be {noun}")])


def _leaf(kind: str, avro: Any) -> _Type:
    noun, parse, guesses = parser_of(kind, avro)
    put = _PUT[kind]

    def write(value: Json, loc: Loc) -> _Written:
        try:
            raw = parse(value)
            read = converted(kind, avro, raw)
            content = put(raw)
        except (ValueError, DecodeError):
            raise _unfit(loc, noun) from None
        is_absent = value is None and kind != "null"  # a number that is none, or a time out of range
        if (read is None) != (value is None):
            raise _unfit(loc, noun)
        is_same = read == value and type(read) is type(value)
        return _Written(content, not is_same, 3 if is_absent else guesses)

    return _Type(noun, write)


def _scaled(avro: Any, record: _Type) -> _Type:
    """Debezium's decimal, whose parts are a record."""
    noun, parse, _ = parser_of("record", avro)

    def write(value: Json, loc: Loc) -> _Written:
        try:
            parts = parse(value)
        except ValueError:
            raise _unfit(loc, noun) from None
        return record.write(parts, loc)._replace(changes=converted("record", avro, parts) != value)

    return _Type(noun, write)


def _enum(symbols: Sequence[str]) -> _Type:
    noun = f"one of {', '.join(symbols)}"

    def write(value: Json, loc: Loc) -> _Written:
        if value in symbols:
            return _Written(_long(symbols.index(str(value))))
        hint = did_you_mean(value, symbols) if isinstance(value, str) else ""
        raise _unfit(loc, f"{noun}{hint}")

    return _Type(noun, write)


def _array(items: _Type) -> _Type:
    noun = "a list"

    def write(value: Json, loc: Loc) -> _Written:
        if not isinstance(value, list):
            raise _unfit(loc, noun)
        return _blocks([(b"", items, item, (*loc, place)) for place, item in enumerate(value)])

    return _Type(noun, write)


def _map(values: _Type) -> _Type:
    noun = "a mapping of text to values"

    def write(value: Json, loc: Loc) -> _Written:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise _unfit(loc, noun)
        # A map's keys are part of what it holds, and complaints do not show it.
        return _blocks([(_text(key), values, each, (*loc, "*")) for key, each in value.items()])

    return _Type(noun, write)


def _blocks(parts: Sequence[_Part]) -> _Written:
    """Arrays and maps: their length, what they hold, and an empty block."""
    if not parts:
        return _Written(b"\0")
    return _joined(_long(len(parts)), parts, b"\0")


_Part: TypeAlias = "tuple[bytes, _Type, Json, Loc]"
"""Of a list, map or record: what stands before a value, its type, the value and its place."""


def _joined(before: bytes, parts: Sequence[_Part], after: bytes = b"") -> _Written:
    """Write values one after the other, or raise with the complaints of all."""
    contents = [before]
    complaints: list[Complaint] = []
    changes = guesses = 0
    for prefix, type_, value, loc in parts:
        try:
            written = type_.write(value, loc)
        except UnfitError as error:
            complaints += error.located
            continue
        contents += prefix, written.content
        changes += written.changes
        guesses += written.guesses
    if complaints:
        raise UnfitError(complaints)
    return _Written(b"".join([*contents, after]), changes, guesses)


def _record(avro: Mapping[str, Any], types: Mapping[str, _Type]) -> _Type:
    noun, name = _noun(avro), shown_name(avro["name"])
    defaults = {field["name"]: field["default"] for field in avro["fields"] if "default" in field}

    def write(value: Json, loc: Loc) -> _Written:
        if not isinstance(value, dict):
            raise _unfit(loc, noun)
        unknown = [key for key in value if key not in types]
        left_out = [field for field in types if field not in value]
        complaints: list[Complaint] = [
            ((*loc, str(key)), f"is no field of {name}{did_you_mean(str(key), left_out)}") for key in unknown
        ]
        complaints += [((*loc, field), MISSING) for field in left_out if field not in defaults]
        whole = defaults | value
        parts = [(b"", types[field], whole[field], (*loc, field)) for field in types if field in whole]
        try:
            written = _joined(b"", parts)
        except UnfitError as error:
            complaints += error.located
        if complaints:
            raise UnfitError(complaints)
        return written._replace(changes=written.changes + len(left_out))

    return _Type(noun, write)


def _union(branches: Sequence[_Type]) -> _Type:
    noun = ", or ".join(branch.noun for branch in branches)

    def write(value: Json, loc: Loc) -> _Written:
        found: list[tuple[int, int, int, bytes]] = []
        near: list[Sequence[Complaint]] = []
        for index, branch in enumerate(branches):
            try:
                content, changes, guesses = branch.write(value, loc)
            except UnfitError as error:
                near.append(error.located)
            else:
                found.append((changes, guesses, index, content))
        if found:
            changes, guesses, index, content = min(found)
            return _Written(_long(index) + content, changes, guesses)
        # A record that has a wrong field is meant to be that record, and not another branch.
        inside = [complaints for complaints in near if any(at != loc for at, _ in complaints)]
        raise UnfitError(min(inside, key=len)) if inside else _unfit(loc, noun)

    return _Type(noun, write)


def _long(number: int) -> bytes:
    """A number in zig-zag, seven bits a byte, the lowest first."""
    left = (number << 1) ^ (number >> 63)
    content = bytearray()
    while left > 0x7F:
        content.append(left & 0x7F | 0x80)
        left >>= 7
    content.append(left)
    return bytes(content)


def _bytes(raw: bytes) -> bytes:
    return _long(len(raw)) + raw


def _text(text: str) -> bytes:
    return _bytes(text.encode())


_PUT: Mapping[str, Callable[[Any], bytes]] = {
    "null": lambda _: b"",
    "boolean": lambda value: b"\1" if value else b"\0",
    "int": _long,
    "long": _long,
    "float": struct.Struct("<f").pack,
    "double": struct.Struct("<d").pack,
    "bytes": _bytes,
    "fixed": bytes,
    "string": _text,
}
"""Avro's binary encoding, by type."""
