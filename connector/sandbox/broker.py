"""A Kafka broker in this process: librdkafka's own mock cluster.

Real TCP, real consumer groups with commits and rebalances, idempotent and transactional producers.
It comes inside the confluent-kafka wheel, and needs no Java and no Docker. The Python client can only
switch it on; partition counts, the group delay and faults are in librdkafka's C interface, which is
called here (https://github.com/confluentinc/librdkafka/blob/master/src/rdkafka_mock.h).

What it is not (seen with confluent-kafka 2.16.0):

- It listens on 127.0.0.1 and a port of its own choice; for another address there is a relay before it.
  Everything is in memory.
- It keeps 5 MiB and 100,000 records a partition, and then forgets the oldest: no place for a backlog.
- An unknown topic is created by the first producer or AdminClient that asks for its metadata, with 4
  partitions; a consumer that asks creates none. An AdminClient can do nothing else: CreateTopics,
  DeleteTopics, CreatePartitions, DescribeConfigs and DescribeCluster time out (it has no controller),
  DeleteRecords is refused. For another number of partitions there is `create_topic` here. The bridge
  creates its dead-letter topics by asking, too (`create_topic` in `kafka/client.py`).
- No SASL, no TLS, no ACLs; no compaction and no retention time; timestamps cannot be searched.
- With the classic group protocol a join that finds members waits for all of them for
  their session timeout less a second, instead of asking them through their heartbeats: a second member
  or a leaving one costs 44 s at the default of 45 s. Set `session.timeout.ms` to 6000. The
  new protocol (`group.protocol: consumer`) rebalances with its heartbeats, every 3 s.
- Members of one classic group with different `partition.assignment.strategy` fail an assertion in it,
  which ends this process.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any, Self

from confluent_kafka import cimpl

from connector.sandbox.relay import Relay
from connector.sandbox.server import LOOPBACK, Host

_PRODUCER = 0
_ALL_BROKERS = -1
_BROKER = 1
"""The id that a mock cluster gives its first."""
_TEXT = ctypes.c_char_p
_HANDLE = ctypes.c_void_p
_INT32 = ctypes.c_int32


class Broker:
    """One mock Kafka broker, from `start` until `stop`; on 127.0.0.1 unless told otherwise."""

    def __init__(
        self,
        *,
        topics: Mapping[str, int] | None = None,
        group_delay_ms: int = 0,
        host: Host = LOOPBACK,
        port: int = 0,
    ) -> None:
        """`topics` are partition counts by name.

        With a `group_delay_ms`, a new group waits so long for further members before its first
        assignment; otherwise a second member always means a rebalance.
        """
        self._topics = dict(topics or {})
        self._group_delay_ms = group_delay_ms
        self._host = host
        self._port = port
        self._relay: Relay | None = None
        self._client: int | None = None
        self._cluster: int | None = None
        self.bootstrap = ""
        """Its address, as `bootstrap.servers` wants it."""

    def start(self) -> Self:
        """Listens, and creates the topics. Raises OSError where it cannot listen."""
        error = ctypes.create_string_buffer(512)
        settings = _call("conf_new", _HANDLE)
        quiet = (settings, b"log_level", b"0", error, len(error))
        _call("conf_set", ctypes.c_int, *quiet, types=(_HANDLE, _TEXT, _TEXT, _TEXT, ctypes.c_size_t))
        self._client = _call(
            "new", _HANDLE, _PRODUCER, settings, error, len(error),
            types=(ctypes.c_int, _HANDLE, _TEXT, ctypes.c_size_t),
        )  # fmt: skip
        self._cluster = _call("mock_cluster_new", _HANDLE, self._client, 1, types=(_HANDLE, ctypes.c_int))
        if not self._cluster:
            raise OSError(f"librdkafka could not start its mock cluster: {error.value.decode()}")
        self._on_cluster("group_initial_rebalance_delay_ms", self._group_delay_ms, types=(_INT32,))
        bootstrap = _call("mock_cluster_bootstraps", _TEXT, self._cluster, types=(_HANDLE,))
        self.bootstrap = bootstrap.decode()
        if self._port or self._host != LOOPBACK:
            self._relay = Relay(self._host, self._port, int(self.bootstrap.rpartition(":")[2])).start()
            self.bootstrap = self._host.at(self._relay.port)
            where = (self._cluster, _BROKER, self._host.advertised.encode(), self._relay.port)
            types = (_HANDLE, _INT32, _TEXT, ctypes.c_int)
            _call("mock_broker_set_host_port", None, *where, types=types)
        for name, partitions in self._topics.items():
            self.create_topic(name, partitions)
        return self

    def stop(self) -> None:
        """Closes every connection; its records are gone. Harmless when it is not running."""
        if self._relay:
            self._relay.stop()
        self._relay = None
        if self._cluster:
            _call("mock_cluster_destroy", None, self._cluster, types=(_HANDLE,))
            _call("destroy", None, self._client, types=(_HANDLE,))
        self._cluster = self._client = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def create_topic(self, name: str, partitions: int) -> None:
        """Creates a topic. Raises ValueError where there is one of that name."""
        failed = self._on_cluster("topic_create", name.encode(), partitions, 1, types=(_TEXT, _INT32, _INT32))
        if failed:
            raise ValueError(f"topic {name} was not created: it may exist already (Kafka error {failed})")

    def set_down(self) -> None:
        """Drops every connection and refuses new ones; records and groups are kept."""
        self._on_cluster("broker_set_down", _ALL_BROKERS, types=(_INT32,))

    def set_up(self) -> None:
        """Accepts connections again."""
        self._on_cluster("broker_set_up", _ALL_BROKERS, types=(_INT32,))

    def fail(self, api_key: int, error_code: int, *, times: int = 1) -> None:
        """Answers the next requests of this kind (0 Produce, 1 Fetch, 8 OffsetCommit, ...) with an error.

        `error_code` is Kafka's, as `KafkaError.MSG_SIZE_TOO_LARGE`.
        """
        errors = (ctypes.c_int * times)(*[error_code] * times)
        self._on_cluster(
            "push_request_errors_array", api_key, times, errors,
            types=(ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int)),
        )  # fmt: skip

    def set_latency(self, latency_ms: int) -> None:
        """Makes every answer take this long."""
        self._on_cluster("broker_set_rtt", _ALL_BROKERS, latency_ms, types=(_INT32, ctypes.c_int))

    def _on_cluster(self, function: str, *arguments: Any, types: tuple[Any, ...]) -> int:
        if not self._cluster:
            raise RuntimeError("the broker is not running")
        result = _call(f"mock_{function}", ctypes.c_int, self._cluster, *arguments, types=(_HANDLE, *types))
        return int(result)


def _call(function: str, result: Any, *arguments: Any, types: tuple[Any, ...] = ()) -> Any:
    """Calls librdkafka, as it was loaded with the Python client."""
    library = ctypes.CDLL(cimpl.__file__)
    called = getattr(library, f"rd_kafka_{function}")
    called.restype, called.argtypes = result, types
    return called(*arguments)
