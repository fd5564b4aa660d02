"""Produces header names that are no text, which confluent-kafka cannot and other clients can."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path

import confluent_kafka

_TOPIC, _VALUE, _HEADERS = 1, 4, 10
"""https://github.com/confluentinc/librdkafka/blob/v2.16.0/src/rdkafka.h, rd_kafka_vtype_t"""
TIMEOUT_MS = 30_000


class _Union(ctypes.Union):
    _fields_ = [
        ("text", ctypes.c_char_p),
        ("pointer", ctypes.c_void_p),
        ("memory", ctypes.c_void_p * 2),
        ("padding", ctypes.c_char * 64),
    ]


class _Argument(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int), ("value", _Union)]


def produce(client: Mapping[str, str], topic: str, value: bytes, names: Sequence[bytes]) -> None:
    """Writes one record with headers of these names, through the librdkafka that confluent-kafka brings."""
    (file,) = (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka*")
    rdkafka = ctypes.CDLL(str(file))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new", "rd_kafka_produceva"):
        getattr(rdkafka, name).restype = ctypes.c_void_p
    why = ctypes.create_string_buffer(500)
    conf = ctypes.c_void_p(rdkafka.rd_kafka_conf_new())
    for key, setting in client.items():
        rdkafka.rd_kafka_conf_set(conf, key.encode(), setting.encode(), why, len(why))
    producer = ctypes.c_void_p(rdkafka.rd_kafka_new(0, conf, why, len(why)))
    assert producer, why.value
    headers = rdkafka.rd_kafka_headers_new(len(names))
    for each in names:
        rdkafka.rd_kafka_header_add(
            ctypes.c_void_p(headers), each, ctypes.c_ssize_t(len(each)), b"v", ctypes.c_ssize_t(1)
        )
    content = ctypes.create_string_buffer(value, len(value))
    arguments = (_Argument * 3)()
    arguments[0].kind, arguments[0].value.text = _TOPIC, topic.encode()
    arguments[1].kind = _VALUE
    arguments[1].value.memory[0], arguments[1].value.memory[1] = ctypes.addressof(content), len(value)
    arguments[2].kind, arguments[2].value.pointer = _HEADERS, headers
    assert rdkafka.rd_kafka_produceva(producer, arguments, ctypes.c_size_t(3)) is None
    assert rdkafka.rd_kafka_flush(producer, TIMEOUT_MS) == 0
    rdkafka.rd_kafka_destroy(producer)
