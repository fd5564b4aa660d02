"""What a running cluster has: its topics, and of each the last records and how they are written."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Literal, NamedTuple, TypeAlias

import orjson

from connector import config
from connector.config.problems import did_you_mean
from connector.errors import ConfigError, DecodeError, Problem
from connector.formats.confluent import confluent_framing, confluent_schema_id
from connector.formats.diagnosis import framing_of_headers
from connector.formats.schema_cache import NotFoundError, Registry, SchemaId, Side
from connector.kafka.client import record_of
from connector.kafka.reader import Reader
from connector.model import Record

LAST_RECORDS = 60
"""So many of a topic are looked at, the same number of each partition."""

WrittenFormat: TypeAlias = Mapping[str, str]
"""A `config.Format`, as far as it is not the default: `{"format": "avro", "framing": "confluent"}`."""

Registered: TypeAlias = Literal["avro", "other"]
FindOut: TypeAlias = Callable[[SchemaId], Registered | None]
"""What the schema is that a registry has under an id; None where it has none."""

AVRO: WrittenFormat = {"format": "avro", "framing": "confluent"}

_INTERNAL = re.compile(
    r"__.*|_schemas|_confluent.*|(.*[._-])?(connect-(configs|offsets|status)|mm2-.*)|.*-(changelog|repartition)"
    r"|.*[._-](dlt|dlq|dead[._-]?letters?)([._-]resolutions)?",
    re.IGNORECASE,
)
"""Topics of Kafka and its tools, and those of dead letters."""


class Cluster(NamedTuple):
    """Where a cluster is, and how large."""

    bootstrap_servers: str
    schema_registry: str | None
    brokers: int = 0


class TopicSample(NamedTuple):
    """The last records of a topic that have a value, the newest first, all of them written alike."""

    topic: str
    value: WrittenFormat | None
    """How their values are written; None where there is no record."""
    key: WrittenFormat
    records: Sequence[Record]


def topics_to_map(reader: Reader, wanted: Sequence[str]) -> tuple[list[str], int]:
    """Give the topics that are wanted, or all that may hold events, and the number of brokers.

    Raises:
        ConfigError: one that is wanted does not exist, or there is none.
        UnavailableError: no broker answers.
    """
    metadata = reader.metadata()
    existing = sorted(metadata.topics)
    problems = [
        Problem("", f"the cluster has no topic {topic}{did_you_mean(topic, existing)}")
        for topic in wanted
        if topic not in existing
    ]
    topics = list(wanted) or [topic for topic in existing if not _INTERNAL.fullmatch(topic)]
    if not topics and not problems:
        problems = [Problem("", "the cluster has no topic that may hold events; name one with --topic")]
    if problems:
        raise ConfigError(problems)
    return topics, len(metadata.brokers)


def sample(reader: Reader, topic: str, registry: Registry | None) -> TopicSample:
    """Read the last records of a topic, and find out how they are written.

    Raises:
        UnavailableError: the brokers or the registry do not answer.
    """
    find_out = None if registry is None else cache(partial(_registered, registry))
    records = sorted(_last_records(reader, topic), key=_age, reverse=True)
    written = [_format_of(record.value or b"", record, "value", find_out) for record in records]
    value = _most(written)
    alike = [record for record, each in zip(records, written, strict=True) if each == value]
    keys = [_format_of(record.key, record, "key", find_out) for record in alike if record.key is not None]
    return TopicSample(topic, value, _most(keys) or {"format": "string"}, alike)


def _last_records(reader: Reader, topic: str) -> Iterator[Record]:
    numbers = (reader.partitions(topic) or [])[:LAST_RECORDS]
    each = LAST_RECORDS // max(len(numbers), 1)
    ends = reader.ends(topic, numbers)
    ranges = {number: (max(low, high - each), high) for number, (low, high) in ends.items()}
    for messages in reader.read(topic, ranges):
        for record in map(record_of, messages):
            if record.value is not None:
                yield record


def _age(record: Record) -> tuple[int, int]:
    return record.timestamp_ms or 0, record.offset


def _most(written: Collection[WrittenFormat]) -> WrittenFormat | None:
    """The way in which most are written: a record that is broken is one of few."""
    counted = Counter(tuple(each.items()) for each in written)
    return dict(counted.most_common(1)[0][0]) if counted else None


def _format_of(content: bytes, record: Record, side: Side, find_out: FindOut | None) -> WrittenFormat:
    if find_out is not None and (found := _framed(content, record, side, find_out)) is not None:
        return found
    if side == "value" and _is_json(content):
        return {"format": "json"}
    return {"format": "string"} if _is_text(content) else {"format": "bytes"}


def _framed(content: bytes, record: Record, side: Side, find_out: FindOut) -> WrittenFormat | None:
    """How a content is written that names a schema which the registry has."""
    if framing_of_headers(record.headers) == "apicurio":
        return None
    try:
        framed = confluent_framing(side)(content, record.headers)
        schema_id = confluent_schema_id(framed.reference)
    except DecodeError:
        return None
    match find_out(schema_id):
        case "avro":
            return AVRO
        case "other" if _is_json(framed.body[framed.start :]):
            return {"format": "json", "framing": "confluent"}
    return None


def _registered(registry: Registry, schema_id: SchemaId) -> Registered | None:
    try:
        registry.fetch(schema_id)
    except NotFoundError:
        return None
    except DecodeError:
        return "other"
    return "avro"


def _is_json(content: bytes) -> bool:
    """Whether it is a JSON object or list; a bare number or word is text to most who write one."""
    try:
        return content.lstrip()[:1] in {b"{", b"["} and orjson.loads(content) is not None
    except ValueError:
        return False


def _is_text(content: bytes) -> bool:
    try:
        return not re.search(r"[\x00-\x08\x0e-\x1f]", content.decode())
    except UnicodeDecodeError:
        return False


def cluster_settings(cluster: Cluster, *, region: str) -> config.Settings:
    """Make settings that are enough to read a cluster; sign-in and the like are those of the environment.

    Raises:
        ConfigError: with every problem of the addresses, and of the environment.
    """
    given = {
        "KAFKA__BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "KAFKA__GROUP_ID": "none",
        "EVENTBRIDGE__REGION": region,
        "DEAD_LETTER__TOPIC": "none",
        "TOPICS": "{any: {value: {format: bytes}, event: {source: aws.partner/any/any, detail_type: any}}}",
    }
    if cluster.schema_registry is not None:
        given["SCHEMA_REGISTRY__URL"] = cluster.schema_registry
    own = {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE_TOPICS")}
    return config.load(None, own | {f"BRIDGE_{name}": value for name, value in given.items()})
