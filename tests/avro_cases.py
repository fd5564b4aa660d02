"""Avro schemas with values and the JSON that must come out: one of a shop, and any that Hypothesis draws."""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from connector.model import Json
from tests.avro_bombs import logical

ORDER = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "lines", "type": {"type": "array", "items": {
            "type": "record", "name": "Line", "fields": [{"name": "sku", "type": "string"}]}}},
    ],
}  # fmt: skip

UTC = dt.UTC
Case = tuple[Any, Any, Json]
"""A schema, a value as fastavro takes it, and what JSON must hold."""


def _case(
    schema: Any, values: st.SearchStrategy[Any], expected: Callable[[Any], Json]
) -> st.SearchStrategy[Case]:
    return values.map(lambda value: (schema, value, expected(value)))


def _same(value: Any) -> Json:
    result: Json = value
    return result


def _whole_millis(time: dt.datetime) -> dt.datetime:
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


LEAVES: list[st.SearchStrategy[Case]] = [
    _case("null", st.none(), _same),
    _case("boolean", st.booleans(), _same),
    _case("int", st.integers(-(2**31), 2**31 - 1), _same),
    _case("long", st.integers(-(2**63), 2**63 - 1), _same),
    _case("double", st.floats(), lambda v: v if math.isfinite(v) else None),
    _case("float", st.floats(width=32), lambda v: v if math.isfinite(v) else None),
    _case("string", st.text(max_size=20), _same),
    _case("bytes", st.binary(max_size=20), _base64),
    _case(logical("long", "timestamp-millis"),
          st.datetimes(timezones=st.just(UTC)).map(_whole_millis),
          lambda t: t.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"),
    _case(logical("long", "timestamp-micros"), st.datetimes(timezones=st.just(UTC)),
          lambda t: t.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"),
    _case(logical("long", "local-timestamp-micros"), st.datetimes(),
          lambda t: t.isoformat(timespec="microseconds")),
    _case(logical("int", "date"), st.dates(), lambda d: d.isoformat()),
    _case(logical("long", "time-micros"), st.times(), lambda t: t.isoformat(timespec="microseconds")),
    _case(logical("string", "uuid"), st.uuids(), str),
    _case(logical("bytes", "decimal", precision=12, scale=4),
          st.integers(-(10**12) + 1, 10**12 - 1).map(lambda n: Decimal(n).scaleb(-4)), lambda d: f"{d:.4f}"),
]  # fmt: skip


@st.composite
def cases(draw: st.DrawFn, depth: int = 2) -> Case:
    """Schemas nested up to `depth`; names get a number so that none is defined twice."""
    kind = draw(st.sampled_from(["leaf", "record", "array", "map", "union"] if depth else ["leaf"]))
    number = draw(st.integers(0, 10**9))
    if kind == "record":
        inner = draw(st.lists(cases(depth - 1), max_size=4))
        fields = [{"name": f"f{i}", "type": schema} for i, (schema, _, _) in enumerate(inner)]
        return (
            {"type": "record", "name": f"R{number}", "fields": fields},
            {f"f{i}": value for i, (_, value, _) in enumerate(inner)},
            {f"f{i}": expected for i, (_, _, expected) in enumerate(inner)},
        )
    if kind == "union":
        return draw(_union_cases(depth, number))
    schema, value, expected = draw(st.one_of(LEAVES) if kind == "leaf" else cases(depth - 1))
    if kind == "array":
        count = draw(st.integers(0, 3))
        return {"type": "array", "items": schema}, [value] * count, [expected] * count
    if kind == "map":
        keys = draw(st.lists(st.text(max_size=5), max_size=3, unique=True))
        return {"type": "map", "values": schema}, dict.fromkeys(keys, value), dict.fromkeys(keys, expected)
    return schema, value, expected


@st.composite
def _union_cases(draw: st.DrawFn, depth: int, number: int) -> Case:
    schema, value, expected = draw(cases(depth - 1).filter(lambda case: not isinstance(case[0], list)))
    # A record with one field takes the place of any branch: it can be told from every other.
    name, other = f"U{number}", f"V{number}"
    wrapped = {"type": "record", "name": name, "fields": [{"name": "u", "type": schema}]}
    decoy = {"type": "record", "name": other, "fields": [{"name": "u", "type": "bytes"}]}
    branches = draw(st.permutations(["null", "int", wrapped, decoy]))
    chosen: list[tuple[Any, Json]] = [
        (None, None), ((name, {"u": value}), {"u": expected}), ((other, {"u": b"\1"}), {"u": "AQ=="}), (5, 5)
    ]  # fmt: skip
    raw, json_value = draw(st.sampled_from(chosen))
    return branches, raw, json_value


def named_once(schema: Any) -> bool:
    names = [part.split('"')[0] for part in json.dumps(schema).split('"name": "')[1:]]
    named = [name for name in names if name[0] in "RUV"]
    return len(named) == len(set(named))
