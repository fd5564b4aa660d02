"""Masked values tell nothing, and are still values of their types."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.config.entry_rules import SOURCE_NAME
from connector.formats.avro_types import Forms
from connector.mapping.times import time_reader
from connector.model import Json
from connector.workbench.encoding import encoder
from connector.workbench.json_schema import json_schema
from connector.workbench.masking import masked
from tests.avro_bombs import decoded, encoded
from tests.avro_cases import Case, cases, named_once
from tests.mapping import documents

STATUS = {"type": "enum", "name": "Status", "symbols": ["PAID", "SHIPPED"]}
ORDER: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "status", "type": ["null", STATUS]},
        {"name": "labels", "type": {"type": "map", "values": "string"}},
        {"name": "lines", "type": {"type": "array", "items": "Status"}},
    ],
}


@pytest.mark.parametrize(
    ("value", "mask"),
    [
        ("acme-Tea_4.2", "xxxx-Xxx_1.1"),
        ("Größe 12", "Xx--x-11"),
        ("a@b.de", "x-x.xx"),
        ("AP8/+w==", "XX1/+x=="),
        ("-12.30", "-11.11"),
        ("2026-11-22", "2026-01-01"),
        ("2026-11-22T10:11:12.345Z", "2026-01-01T00:00:00.000Z"),
        ("2026-11-22T10:11:12+02:00", "2026-01-01T00:00:00+00:00"),
        ("10:11:12.345678", "00:00:00.000000"),
        ("2026-11-22 Ann", "1111-11-11-Xxx"),
        ("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "11111111-1111-1111-1111-111111111111"),
        ("", ""),
        (None, None),
        (True, True),
        (4711, 1111),
        (-3, -1),
        (0, 1),
        (0.25, 1.5),
        (-7.5, -1.5),
        (1_790_000_000, 1_767_225_600),
        (1_790_000_000_123, 1_767_225_600_000),
        (1_790_000_000_123_456, 1_767_225_600_000_000),
        ([1, "ab", None], [1, "xx", None]),
        ({"name": {"first": "Ann"}}, {"name": {"first": "Xxx"}}),
        ({"a@b.de": 12, "4711": 12, "ok_1.x": 12}, {"x-x.xx-0": 11, "1111-1": 11, "ok_1.x": 11}),
    ],
)
def test_each_kind_of_value_has_its_mask(value: Json, mask: Json) -> None:
    """Of as many characters or digits; times are other times, in their own form or unit."""
    assert mask == masked(value)


def test_a_schema_tells_symbols_and_keys() -> None:
    """Symbols of enums stay; a map's keys are part of what it holds, and stay different."""
    value: Json = {"status": "PAID", "labels": {"ann": "PAID", "bob": "b"}, "lines": ["SHIPPED"]}

    assert {"status": "PAID", "labels": {"xxx-0": "XXXX", "xxx-1": "x"}, "lines": ["SHIPPED"]} == (
        masked(value, json_schema([ORDER], Forms()))
    )
    assert {"status": None, "labels": {}, "lines": []} == (
        masked({"status": None, "labels": {}, "lines": []}, json_schema([ORDER], Forms()))
    )


def test_what_is_to_be_kept_is_kept() -> None:
    """The kind of an event says more than its shape."""
    assert {"type": "OrderPaid", "by": "xxx"} == masked(
        {"type": "OrderPaid", "by": "ann"}, kept=["OrderPaid"]
    )


@settings(max_examples=100, deadline=None)
@given(cases(depth=3).filter(lambda case: named_once(case[0])))
def test_a_masked_value_fits_the_schema_of_the_value(case: Case) -> None:
    """Whatever the schema: it can be written, and is read again."""
    schema, value, _ = case
    read = decoded(schema, encoded(schema, value))

    decoded(schema, encoder([schema], Forms())(masked(read, json_schema([schema], Forms()))))


@given(st.text(min_size=1, max_size=50) | st.text("019:-.TZ +aé", max_size=30).map("2026-11-22 ".__add__))
def test_a_masked_text_has_nothing_of_the_text(text: str) -> None:
    """Neither a letter nor a digit, but those that stand for all."""
    assert re.fullmatch("[xX1+/=_.-]*|2026-01-01([T ][0:.]+(Z|[+-][0:]+)?)?|[0:.]+", str(masked(text)))


@given(st.from_regex(r"[.\-_A-Za-z0-9]{1,40}", fullmatch=True))
def test_a_masked_part_of_a_source_is_one(text: str) -> None:
    """What may stand in a source's name still may."""
    assert SOURCE_NAME.fullmatch(f"aws.partner/example.com/{masked(text)}") is not None


@given(st.datetimes(min_value=datetime(2000, 1, 2)))  # noqa: DTZ001
def test_a_masked_time_is_a_time(moment: Any) -> None:
    """Of the form that it had."""
    read = time_reader("auto", shown="it", path="it")

    assert 1_767_225_600 == read(str(masked(f"{moment.isoformat()}Z")))


@given(documents)
def test_a_masked_document_has_the_same_structure(document: Json) -> None:
    """Keys, lengths, null and booleans; and masking it again changes nothing."""

    def shape(value: Json) -> Any:
        match value:
            case dict():
                return {key: shape(each) for key, each in value.items()}
            case list():
                return [shape(each) for each in value]
            case bool() | None:
                return value
        return type(value)

    mask = masked(document)
    assert shape(document) == shape(mask)
    assert mask == masked(mask)
