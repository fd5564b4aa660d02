"""Asks Kafka to place replicas in another order, which confluent-kafka cannot and other clients can.

https://kafka.apache.org/protocol.html#The_Messages_AlterPartitionReassignments
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from confluent_kafka import KafkaError, KafkaException

from connector.model import Partition

_ALTER_PARTITION_REASSIGNMENTS, _VERSION = 45, 0
TIMEOUT_S = 30


def reassign(address: str, replicas: Mapping[Partition, Sequence[int]]) -> None:
    """Gives each partition these replicas, of which the first is the leader it prefers.

    The listener must be a plain one.

    Raises:
        KafkaException: Kafka refuses all of it.
        OSError: it does not answer.
    """
    host, _, port = address.rpartition(":")
    request = struct.pack(">hhihx", _ALTER_PARTITION_REASSIGNMENTS, _VERSION, 1, -1) + _body(replicas)
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as answered:
            (size_bytes,) = struct.unpack(">i", _whole(answered, 4))
            _, _, error = struct.unpack_from(">ixih", _whole(answered, size_bytes))
    if error:
        raise KafkaException(KafkaError(error, "the reassignment was refused"))


def _whole(answered: BinaryIO, size_bytes: int) -> bytes:
    read = answered.read(size_bytes)
    if len(read) < size_bytes:
        raise ConnectionError("the broker went away before it had answered")
    return read


def _body(replicas: Mapping[Partition, Sequence[int]]) -> bytes:
    topics: dict[str, list[bytes]] = {}
    for partition, brokers in replicas.items():
        ids = _array([struct.pack(">i", broker) for broker in brokers])
        topics.setdefault(partition.topic, []).append(struct.pack(">i", partition.number) + ids + b"\0")
    named = [_length(len(name)) + name.encode() + _array(those) + b"\0" for name, those in topics.items()]
    return struct.pack(">i", TIMEOUT_S * 1000) + _array(named) + b"\0"


def _array(members: Sequence[bytes]) -> bytes:
    return _length(len(members)) + b"".join(members)


def _length(count: int) -> bytes:
    """Kafka's length of something compact: one more, seven bits a byte."""
    count += 1
    written = b""
    while count > 0x7F:
        written += bytes([count & 0x7F | 0x80])
        count >>= 7
    return written + bytes([count])
