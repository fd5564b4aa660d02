"""One topic's mapping over one record: the event, its detail, or why there is none; and any JSON document."""

from __future__ import annotations

from typing import NamedTuple

import orjson
import pytest
from hypothesis import strategies as st

from connector.config.settings import Topic
from connector.errors import ConfigError, MappingError
from connector.mapping.event import Mapping
from connector.model import Event, Headers, Json, Partition, Record

PATH = "topics.orders.v1"
TIMESTAMP_MS = 1_769_860_800_123


class Decoded(NamedTuple):
    """A record with its key and value as JSON."""

    record: Record
    key: Json
    value: Json


def topic(*, filter: str | None = None, **event: Json) -> Topic:  # noqa: A002  (named as in the YAML)
    """A topic with the template of every field that a test does not name as plain text."""
    fields: dict[str, Json] = {
        "source": "aws.partner/example.com/acme",
        "detail_type": "Order",
        "time": None,
        "resources": [],
        "detail": "${value}",
        "metadata": None,
    }
    return Topic.model_validate({"filter": filter, "event": {**fields, **event}})


def decoded(
    value: Json, *, key: Json = "k", timestamp_ms: int | None = TIMESTAMP_MS, headers: Headers = ()
) -> Decoded:
    record = Record(Partition("orders.v1", 3), 1042, timestamp_ms, b"k", b"v", headers)
    return Decoded(record, key, value)


def event_of(mapping: Mapping, of: Decoded, event_id: str = "id") -> Event | None:
    return mapping.event(of.record, of.key, of.value, event_id)


def mapped(record: Decoded, *, filter: str | None = None, **event: Json) -> Event:  # noqa: A002
    made = event_of(Mapping(topic(filter=filter, **event), path=PATH), record, "c1/orders.v1/3/1042")
    assert made is not None
    return made


def detail(record: Decoded, **event: Json) -> Json:
    made: Json = orjson.loads(mapped(record, filter=None, **event).detail)
    return made


def refused(record: Decoded, *, filter: str | None = None, **event: Json) -> MappingError:  # noqa: A002
    with pytest.raises(MappingError) as caught:
        event_of(Mapping(topic(filter=filter, **event), path=PATH), record)
    return caught.value


def problems(*, filter: str | None = None, **event: Json) -> list[str]:  # noqa: A002
    with pytest.raises(ConfigError) as caught:
        Mapping(topic(filter=filter, **event), path=PATH)
    return [str(problem).removeprefix(f"{PATH}.") for problem in caught.value.problems]


NAMES = ["a", "b", "c"]
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([0.0, 1.0, 0.5, -0.0]),
    st.sampled_from(["", "a", "b", "1"]),
)
documents = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    ),
    max_leaves=12,
)
