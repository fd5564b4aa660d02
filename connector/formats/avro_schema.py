"""Avro schemas → functions from bytes to JSON-able values. fastavro reads; what it is given is made here.

A schema is rewritten before fastavro parses it. Each type that JSON shows in another form gets a mark of
ours (`avro_types`), so that values come out converted, in every branch of a union. All that is of no
use for reading is left out: fastavro refuses a whole schema for an invalid logical type or a wrong
default, which the specification says to ignore, and Java registries let pass.

https://fastavro.readthedocs.io/en/latest/reader.html#fastavro._read_py.schemaless_reader
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any, NamedTuple

from fastavro.read import SchemaResolutionError, schemaless_reader
from fastavro.schema import SchemaParseException, parse_schema

from connector.errors import DecodeError
from connector.formats.avro_code import Read, reader_of
from connector.formats.avro_limits import walk_of
from connector.formats.avro_types import Forms, converted, marks
from connector.model import Json

MAX_SCHEMA_DEPTH = 200
"""The deepest nesting of a schema's JSON; fastavro would parse it on the C stack."""

MAX_TYPES = 50_000
"""The most types and enums' symbols in a schema: ten for each of 5,000 fields. As many take a third of a
second to compile, and 40 MB."""
_TYPE_BYTES = 1000
"""About how much memory one takes, compiled."""

WRITTEN_AFTER = 20
"""Records of a schema after which code is written for it. That takes a millisecond or more, and a producer
may register a schema for every record."""

MAX_NAME_CHARACTERS = 256
"""The longest name or namespace of a type. fastavro writes both out wherever the type is used."""

_MAX_SHOWN_CHARACTERS = 200

_PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
_PARTS = {
    "array": "items",
    "map": "values",
    "enum": "name or list of symbols",
    "fixed": "name or size",
    "record": "name or list of fields",
    "error": "name or list of fields",
}
_DEFAULT = "partner-bridge-default"  # fastavro checks a `default`, but the converted one is right only for us
_SYMBOLS = "partner-bridge-symbols"  # fastavro refuses those that are no names
_NO_NAMESPACE = "partner_bridge_null"
"""Stands for the null namespace, so that every name is a full one."""
_NONE = object()


_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
"""Or text, in which there is none."""


def without_comments(text: str) -> str:
    """Give a schema file's JSON, without the comments that Java's parser lets stand in it."""
    return _COMMENT.sub(lambda found: found[0] if found[0].startswith('"') else " ", text)


class ReaderSchema(NamedTuple):
    """A schema in whose shape values are to come out."""

    parsed: Any
    default_values: int
    """The number of values in its defaults, all together."""


def reader_schema(schema: Any, *, forms: Forms) -> ReaderSchema:
    """Make a reader schema of a schema's JSON.

    Raises:
        DecodeError: `schema_invalid`, naming the rule that the schema breaks.
    """
    parser = _Parser(forms, wanted=True, resolved=False)
    parsed, _ = parser.parse([schema])
    return ReaderSchema(parsed, parser.default_values)


class DescribedSchema(NamedTuple):
    """A schema for those who want to know its types, and not to read with it."""

    type: Any
    """As fastavro has it, with the marks of `avro_types`; with `doc`, and each field that has one with its
    `default` in the form that values come out in."""
    named: dict[str, Any]
    """Every named type by the name that it is referred to by; `shown_name` gives the one to show."""


def described_schema(schemas: Sequence[Any], *, forms: Forms) -> DescribedSchema:
    """Parse a schema to ask it for its types; the last of `schemas` is the value's, as in `compile_reader`.

    Raises:
        DecodeError: `schema_invalid`, naming the rule that the schema breaks.
    """
    parsed, named = _Parser(forms, wanted=False, resolved=False, described=True).parse(schemas)
    return DescribedSchema(parsed["fields"][0]["type"], named)


def canonical_form(schema: Any) -> str:
    """Give a schema's parsing canonical form, of what Java takes for a schema.

    https://avro.apache.org/docs/1.12.0/specification/#parsing-canonical-form-for-schemas

    Raises:
        DecodeError: `schema_invalid`.
    """
    parsed, _ = _Parser(Forms(), wanted=False, resolved=False).parse([schema])
    return json.dumps(_canonical(parsed["fields"][0]["type"]), separators=(",", ":"), ensure_ascii=False)


def _canonical(parsed: Any) -> Any:
    match parsed:
        case list():
            return [_canonical(branch) for branch in parsed]
        case {"type": "record", "name": str(name), "fields": fields}:
            inner = [{"name": field["name"], "type": _canonical(field["type"])} for field in fields]
            return {"name": shown_name(name), "type": "record", "fields": inner}
        case {"type": "enum", "name": str(name), "symbols": symbols}:
            return {"name": shown_name(name), "type": "enum", "symbols": list(symbols)}
        case {"type": "fixed", "name": str(name), "size": size}:
            return {"name": shown_name(name), "type": "fixed", "size": size}
        case {"type": "array", "items": items}:
            return {"type": "array", "items": _canonical(items)}
        case {"type": "map", "values": values}:
            return {"type": "map", "values": _canonical(values)}
        case {"type": str(primitive)}:
            return primitive
    return shown_name(parsed)


class Compiled(NamedTuple):
    """A schema, compiled."""

    read: Read
    """Gives the value that stands between a position and the end of the bytes.

    It is for one thread at a time, and the values it gives may share parts that stand for defaults. It
    raises DecodeError `avro_invalid`, `value_out_of_range`, or, for what the reader schema has no place
    for, `schema_invalid`.
    """
    size_bytes: int
    """About how much memory it takes, beside the text in the schema."""


def compile_reader(
    schemas: Sequence[Any],
    reader: ReaderSchema | None,
    *,
    forms: Forms,
    name: str,
    written_after: int = WRITTEN_AFTER,
) -> Compiled:
    """Compile a schema.

    The last of `schemas` is the value's, the others are what it refers to, innermost first. With a
    `reader` values come out in its shape, converted as what they were written as. `name` says in
    messages which schema it is. After so many values code is written for it, or never with 0.

    Raises:
        DecodeError: `schema_invalid`, the schema cannot be used.
    """
    wanted, default_values = (None, 0) if reader is None else reader
    try:
        parser = _Parser(forms, wanted=False, resolved=reader is not None)
        parsed, names = parser.parse(schemas)
        above_bytes, check = walk_of(parsed, names, default_values=default_values)
    except Exception as error:  # noqa: BLE001  # a schema is foreign text
        raise _invalid(f"{name} is not a usable Avro schema: {_unusable(error)}") from None
    # fastavro does not notice that the bytes end in a field which the reader schema leaves out. It is
    # noticed here, by a byte more that nobody may read.
    padding = b"" if wanted is None else b"\0"
    renamed = "" if wanted is None else _renamed(parsed, wanted)

    written: Read | None = None
    until_written = written_after if wanted is None and above_bytes > 0 else 0

    def read(buffer: bytes, start: int) -> Json:
        nonlocal written, until_written
        if written is not None and len(buffer) <= above_bytes:
            try:
                return written(buffer, start)
            except Exception:  # noqa: BLE001, S110 - whatever it is, fastavro decides about it
                pass
        elif until_written > 0:
            until_written -= 1
            if until_written == 0:
                written = reader_of(parsed["fields"][0]["type"], names)
        stream = BytesIO(buffer + padding)
        stream.seek(start)
        try:
            if len(buffer) > above_bytes:
                check(buffer, start)
            root: Any = schemaless_reader(stream, parsed, wanted)
        except MemoryError:
            raise  # what can be read is bounded, so it is not the record's fault
        except Exception as error:  # noqa: BLE001  # anything can come of bytes that are no Avro
            # Not as the cause, which may hold a value.
            raise _refusal(error, name, overrun=stream.tell() > len(buffer), renamed=renamed) from None
        left_over = len(buffer) - stream.tell()
        if left_over:
            rule = f"{left_over} bytes are left over after the value"
            raise _refusal(
                DecodeError("avro_invalid", f"{rule}. {_GUESS}"), name, overrun=left_over < 0, renamed=""
            )
        value: Json = root["value"]
        return value

    return Compiled(read, _TYPE_BYTES * parser.types)


_GUESS = "Was it written with another schema?"


def _fits(kind: str, number: int) -> bool:
    """Whether Avro's int or long holds a number; JSON in a schema may have a larger one."""
    end = 1 << (31 if kind == "int" else 63)
    return -end <= number < end


def _unusable(error: Exception) -> DecodeError:
    """Say in a sentence why a schema cannot be parsed."""
    match error:
        case MemoryError():
            raise error  # what a schema may hold is bounded, so it is not the schema's fault
        case RecursionError():
            rule = "it is nested too deeply"
        case DecodeError() | SchemaParseException():
            rule = str(error)
        case _:
            rule = f"it cannot be parsed ({type(error).__name__})"
    # It may show what stands in the schema, which is as long as its writer likes.
    return _invalid(rule if len(rule) <= _MAX_SHOWN_CHARACTERS else f"{rule[:_MAX_SHOWN_CHARACTERS]}…")


def _renamed(written: Any, wanted: Any) -> str:
    """Say that writer and reader call the outermost type by different names, where they do."""
    old, new = (schema["fields"][0]["type"] for schema in (written, wanted))
    match old, new:
        case {"name": str(old_name)}, {"name": str(new_name)}:
            short = old_name.rpartition(".")[2]
            if short != new_name.rpartition(".")[2] and not {short, old_name} & set(new.get("aliases", ())):
                return (
                    f"the reader schema is called {shown_name(new_name)}, and the record was written as "
                    f"{shown_name(old_name)}; give the reader schema that name, or `aliases` with it"
                )
    return ""


def _refusal(error: Exception, name: str, *, overrun: bool, renamed: str) -> DecodeError:
    if overrun:
        error = EOFError()
    match error:
        case DecodeError():
            return DecodeError(error.code, f"{error} ({name})")
        case SchemaResolutionError() if renamed:
            return _invalid(f"a value of {name} does not fit the reader schema: {renamed}")
        case SchemaResolutionError():
            rule = (
                f"a value of {name} does not fit the reader schema: a field without default is missing, "
                "a type cannot be read as the other, or an enum lacks the symbol"
            )
            return _invalid(rule)
        case EOFError() | IndexError():
            rule = "the bytes end too early"
        case UnicodeDecodeError():
            rule = "a string is not UTF-8"
        case RecursionError():
            rule = "the value is nested too deeply"
        case _:
            rule = f"the bytes cannot be read ({type(error).__name__})"
    return DecodeError("avro_invalid", f"{rule}. {_GUESS} ({name})")


class _Choices(list[Any]):
    """A union's branches or an enum's symbols. -1 is not the last of them, as in a list, but an error."""

    def __len__(self) -> int:
        return 0  # what compiled code adds to a negative number before it asks for the item

    def __getitem__(self, index: Any, _item: Callable[[Any, Any], Any] = list.__getitem__) -> Any:
        if index >= 0:
            try:
                return _item(self, index)
            except IndexError:
                pass
        raise DecodeError("avro_invalid", f"a union or enum has no choice of this number. {_GUESS}") from None


class _Parser:
    """Gives fastavro schemas that it can read values with, and gets them back parsed."""

    def __init__(self, forms: Forms, *, wanted: bool, resolved: bool, described: bool = False) -> None:
        self._forms = forms
        self._described = described
        """Nothing is read with it: docs and defaults are kept, and a default that is none is no mistake."""
        self._wanted = wanted
        """It is a reader schema, in which aliases and defaults count."""
        self._resolved = resolved
        """It is a writer schema whose values are to be read with a reader schema."""
        self._names: dict[str, Any] = {}
        self._earlier: frozenset[str] = frozenset()
        self._definitions: dict[str, Any] = {}
        """Of the named types of schemas that were parsed before, and, without content yet, of this one."""
        self.types = 0
        """Types and symbols so far."""
        self.default_values = 0

    def parse(self, schemas: Sequence[Any]) -> tuple[Any, dict[str, Any]]:
        """Give a record whose one field `value` has the last schema, and all named types by full name.

        Raises:
            DecodeError: `schema_invalid`, naming the rule that a schema breaks.
        """
        try:
            return self._parsed(schemas)
        except Exception as error:  # noqa: BLE001  # a schema is foreign text
            raise _unusable(error) from None

    def _parsed(self, schemas: Sequence[Any]) -> tuple[Any, dict[str, Any]]:
        # As a record, because that is the one kind which fastavro does not parse again for each value.
        root = {
            "type": "record",
            "name": "PartnerBridgeWanted" if self._wanted else "PartnerBridgeWritten",
            "aliases": ["PartnerBridgeWritten"],
            "fields": [{"name": "value", "type": schemas[-1]}],
        }
        for schema in (*schemas[:-1], root):
            self._earlier = frozenset(self._definitions)
            parsed = self._finished(parse_schema(self._rewritten(schema, 0, ""), self._names))
        return parsed, self._names

    def _rewritten(self, schema: Any, depth: int, namespace: str) -> Any:
        if depth > MAX_SCHEMA_DEPTH:
            raise _invalid("it is nested too deeply")
        self._add_types(1)
        match schema:
            case str():
                return self._leaf(schema, {}) if schema in _PRIMITIVES else self._found(schema, namespace)
            case []:
                raise _invalid("a union has no branches")
            case list():
                branches = [self._rewritten(branch, depth + 1, namespace) for branch in schema]
                if any(isinstance(branch, list) for branch in branches):
                    raise _invalid("a branch of a union is a union")
                return branches
            case {"type": "array", "items": items}:
                return {"type": "array", "items": self._rewritten(items, depth + 1, namespace)}
            case {"type": "map", "values": values}:
                return {"type": "map", "values": self._rewritten(values, depth + 1, namespace)}
            case {"type": "record" | "error", "name": str(), "fields": list(fields)}:
                name, inner = self._define(schema, namespace)
                rewritten = [self._field(field, depth + 1, inner) for field in fields]
                marked = self._marks("record", schema) | self._doc(schema)
                return self._defined(
                    name, {**self._aliases(schema), "type": "record", "fields": rewritten, **marked}
                )
            case {"type": "enum", "name": str(), "symbols": list(symbols)}:
                name, _ = self._define(schema, namespace)
                return self._defined(name, {**self._aliases(schema), **self._enum(schema, symbols)})
            case {"type": "fixed", "name": str(), "size": int(size)} if size >= 0:
                name, _ = self._define(schema, namespace)
                marked = self._marks("fixed", schema)
                return self._defined(name, {**self._aliases(schema), "type": "fixed", "size": size, **marked})
            case {"type": str(kind)} if kind in _PRIMITIVES:
                return self._leaf(kind, schema)
            case {"type": str(kind)} if kind in _PARTS:
                raise _invalid(f"a type {kind} has no {_PARTS[kind]}")
            case {"type": inner}:
                # {"type": {"type": "string"}} and {"type": "a.Named"}: not in the specification, but written.
                return self._rewritten(inner, depth + 1, namespace)
        raise _invalid(f"a type is a string, a list or an object with a type, not {type(schema).__name__}")

    def _add_types(self, more: int) -> None:
        self.types += more
        if self.types > MAX_TYPES:
            raise _invalid(f"it holds more than {MAX_TYPES:,} types and symbols")

    # Names. fastavro gets full ones only: it does not find a type of the null namespace from within another,
    # which Java does.

    def _define(self, schema: dict[str, Any], namespace: str) -> tuple[str, str]:
        """Give the full name of the type that a schema defines, and its namespace."""
        space, _, name = _name(schema["name"]).rpartition(".")
        # What is not text is no namespace to Java, and the one around it counts.
        if not space and "." not in schema["name"]:
            space = schema["namespace"] if isinstance(schema.get("namespace"), str) else namespace
        full = f"{_name(space)}.{name}" if space else name
        if full in self._definitions and full not in self._earlier:
            raise _invalid(f"redefined named type: {full}")
        self._definitions.setdefault(full, None)
        return full, space

    def _defined(self, name: str, definition: dict[str, Any]) -> Any:
        """Give a definition, or the name alone where a schema that was parsed before has the same."""
        shown = _qualified(name)
        if name not in self._earlier:
            self._definitions[name] = definition
            return {"name": shown, **definition}
        if definition != self._definitions[name]:
            raise _invalid(f"it defines the type {name}, and refers to a schema that defines it differently")
        return shown

    def _found(self, name: str, namespace: str) -> str:
        full = f"{namespace}.{name}" if namespace and "." not in name else _name(name)
        for each in (full, name):
            if each in self._definitions:
                return _qualified(each)
        raise _invalid(f"it uses the type {full}, which is not defined before that place")

    def _enum(self, schema: dict[str, Any], symbols: list[Any]) -> dict[str, Any]:
        """An enum whose symbols fastavro does not see: registries accept such as are no names."""
        self._add_types(len(symbols))
        if not all(isinstance(symbol, str) for symbol in symbols) or len(set(symbols)) < len(symbols):
            raise _invalid("the symbols of an enum are different strings, and these are not")
        default = {_DEFAULT: schema["default"]} if self._wanted and "default" in schema else {}
        if default and schema["default"] not in symbols:
            raise _invalid("the default of an enum is not one of its symbols")
        return {"type": "enum", "symbols": [], _SYMBOLS: symbols, **default}

    def _aliases(self, schema: dict[str, Any]) -> dict[str, Any]:
        match schema:
            case {"aliases": list(aliases)} if self._wanted and all(
                isinstance(each, str) for each in aliases
            ):
                return {"aliases": aliases}
            case {"aliases": _} if self._wanted:
                raise _invalid("aliases are a list of names, and these are something else")
        return {}

    def _field(self, field: Any, depth: int, namespace: str) -> dict[str, Any]:
        match field:
            case {"name": str(name), "type": schema}:
                rewritten = {"name": name, "type": self._rewritten(schema, depth, namespace)}
            case _:
                raise _invalid("a field of a record has no name or no type")
        if (self._wanted or self._described) and "default" in field:
            rewritten[_DEFAULT] = field["default"]
        return {**rewritten, **self._aliases(field), **self._doc(field)}

    def _doc(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {"doc": schema["doc"]} if self._described and isinstance(schema.get("doc"), str) else {}

    def _leaf(self, kind: str, schema: dict[str, Any]) -> Any:
        found = self._marks(kind, schema)
        return {"type": kind, **found} if found else kind

    def _marks(self, kind: str, schema: dict[str, Any]) -> dict[str, Any]:
        return marks(kind, schema, self._forms, resolved=self._resolved)

    def _finished(self, parsed: Any) -> Any:
        """Do what fastavro would not have let pass: choices that check their number, and our defaults."""
        match parsed:
            case list():
                branches = [self._finished(branch) for branch in parsed]
                return branches if self._wanted or self._described else _Choices(branches)
            case {"items": items}:
                parsed["items"] = self._finished(items)
            case {"values": values}:
                parsed["values"] = self._finished(values)
            case {"symbols": _}:
                symbols = parsed.pop(_SYMBOLS)
                parsed["symbols"] = symbols if self._wanted or self._described else _Choices(symbols)
                if _DEFAULT in parsed:
                    parsed["default"] = parsed.pop(_DEFAULT)
            case {"fields": fields}:
                for field in fields:
                    field["type"] = self._finished(field["type"])
                    if _DEFAULT in field:
                        self._add_default(field)
        return parsed

    def _add_default(self, field: dict[str, Any]) -> None:
        try:
            field["default"] = self._default(field["type"], field[_DEFAULT])
        except DecodeError:
            if not self._described:
                raise
        else:
            self.default_values += _count(field["default"])

    def _default(self, schema: Any, default: Any) -> Json:
        """Give a default as it would come out if it were written."""
        if isinstance(schema, list):
            for branch in schema:
                try:
                    return self._default(branch, default)
                except DecodeError:
                    continue
        kind = schema["type"] if isinstance(schema, dict) else schema
        match kind, default:
            case "record", dict():
                return {
                    field["name"]: self._default(
                        field["type"], default.get(field["name"], field.get(_DEFAULT, _NONE))
                    )
                    for field in schema["fields"]
                }
            case "array", list():
                return [self._default(schema["items"], each) for each in default]
            case "map", dict():
                return {key: self._default(schema["values"], each) for key, each in default.items()}
            case "enum", str() if default in schema["symbols"]:
                return default
            case (("bytes" | "fixed"), str()) if max(default, default="") <= "\xff":
                raw = default.encode("latin-1")
                if kind == "bytes" or len(raw) == schema["size"]:
                    return converted(kind, schema, raw)
            case (("float" | "double"), int() | float()) if not isinstance(default, bool):
                return converted(kind, schema, float(default))
            case (("int" | "long"), int()) if not isinstance(default, bool) and _fits(kind, default):
                return converted(kind, schema, default)
            case ("string", str()) | ("boolean", bool()) | ("null", None):
                return converted(kind, schema, default)
            case str(), _ if kind in self._names:
                return self._default(self._names[kind], default)
        raise _invalid(f"the default of a field is not a value of its type {kind}")


def _count(value: Json) -> int:
    """The number of values in a value, itself included."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_count, inner))


def shown_name(name: str) -> str:
    """Give a type's name as its schema has it."""
    return name.removeprefix(f"{_NO_NAMESPACE}.")


def _qualified(name: str) -> str:
    return name if "." in name else f"{_NO_NAMESPACE}.{name}"


def _name(name: str) -> str:
    if len(name) > MAX_NAME_CHARACTERS:
        raise _invalid(f"the name of a type or namespace has more than {MAX_NAME_CHARACTERS} characters")
    return name


def _invalid(rule: str) -> DecodeError:
    return DecodeError("schema_invalid", rule)
