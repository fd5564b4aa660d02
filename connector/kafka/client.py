"""The clients of librdkafka, made in one place, and the conversion of its messages to records."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection
from operator import methodcaller
from typing import TYPE_CHECKING, Any, TypeAlias

from confluent_kafka import (
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    libversion,
)

from connector import config
from connector.config.kafka import Kafka
from connector.errors import DeadLetterError, Problem, UnavailableError
from connector.model import UNREADABLE_HEADERS, Record, new_tuple, partition_of

if TYPE_CHECKING:  # who only reads makes no topics
    from confluent_kafka.admin import AdminClient, ClusterMetadata

LIBRDKAFKA_VERSION: str = libversion()[0]

ANSWER_TIMEOUT_S = 10.0
"""The brokers may take so long to answer one request, where no record waits for it."""

CONSUMER_DEFAULTS = {
    # A new group skips nothing.
    "auto.offset.reset": "earliest",
    # By default librdkafka prefetches 64 MB, and 100,000 records of each partition, whatever we do with them;
    # and a small record takes several times its size there. This much hides the fetch latency at full speed.
    "queued.max.messages.kbytes": "8192",
    "queued.min.messages": "2000",
    "fetch.message.max.bytes": "262144",
    # By default librdkafka fetches nothing for a second once this much is queued, which is used up before.
    "fetch.queue.backoff.ms": "20",
}
FETCH_MAX_BYTES = "2097152"
"""Of all partitions of a broker together; librdkafka refuses less than `message.max.bytes`."""

CONSUMER_OWNED = {"enable.auto.commit": "false", "enable.auto.offset.store": "false"}

PRODUCER_DEFAULTS = {"compression.type": "lz4"}
PRODUCER_OWNED = {"enable.idempotence": True, "acks": "all"}

BRIDGE_ONLY = ("group.instance.id", "group.protocol", "group.remote.assignor", "message.max.bytes")
"""Settings for the bridge's own member of the group, and its producer: no other consumer may have them."""

CONSUMER_ONLY = frozenset(
    {
        *("group.id", "group.instance.id", "group.protocol", "group.remote.assignor", "group.protocol.type"),
        *("partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms"),
        *("coordinator.query.interval.ms", "max.poll.interval.ms", "auto.commit.interval.ms"),
        *("queued.min.messages", "queued.max.messages.kbytes", "fetch.wait.max.ms"),
        *("fetch.queue.backoff.ms", "fetch.message.max.bytes", "max.partition.fetch.bytes"),
        *("fetch.max.bytes", "fetch.min.bytes", "fetch.error.backoff.ms", "offset.store.method"),
        *("isolation.level", "auto.offset.reset", "check.crcs", "allow.auto.create.topics"),
    }
)
"""Settings of the consumer that a producer or admin client would warn about."""

MOCK_CLUSTER = "mockCluster"
"""How the cluster id of librdkafka's mock broker begins, which the sandbox runs. Kafka's own are UUIDs."""

# librdkafka's names for errors of its own begin with an underscore; they are public nevertheless.
NO_TOPIC = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})  # noqa: SLF001
NOT_ALLOWED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})

Options: TypeAlias = "dict[str, Any]"


def consumer(
    settings: config.Settings,
    owned: Options,
    *,
    without: Collection[str] = (),
    logger: logging.Logger | None = None,
) -> Consumer:
    """A consumer with the user's settings, except for `owned`, which the user cannot change.

    It commits nothing by itself. `without` are settings of the user's that this consumer does not take, as
    `BRIDGE_ONLY`.
    """
    given = {name: value for name, value in _options(settings).items() if name not in without}
    options = _consumer_options(given) | CONSUMER_OWNED | owned
    return Consumer(options, logger=logger or SILENT)


def producer(settings: config.Settings, owned: Options, *, linger_ms: int) -> Producer:
    """An idempotent producer that waits for all in-sync replicas; as `consumer`."""
    defaults: Options = PRODUCER_DEFAULTS | {"linger.ms": linger_ms}
    return Producer(defaults | _without_consumer(_options(settings)) | PRODUCER_OWNED | owned, logger=SILENT)


def admin(settings: config.Settings) -> AdminClient:
    """A client for topics and their settings. Keep it until its futures are done: they fail when it goes."""
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415

    return AdminClient(_without_consumer(_options(settings)), logger=SILENT)


def create_topic(
    settings: config.Settings,
    topic: str,
    partitions: int,
    *,
    cluster_id: str | None,
    existing: int = 0,
    compacted: bool = False,
) -> int:
    """Create a topic of ours, or give it more than its `existing` partitions; returns its partitions.

    Raises:
        DeadLetterError: the brokers refuse.
    """
    from confluent_kafka.admin import NewPartitions, NewTopic  # noqa: PLC0415

    client = admin(settings)
    replicas = settings.dead_letter.replication_factor
    configured = {"cleanup.policy": "compact"} if compacted else {}
    try:
        if cluster_id is not None and cluster_id.startswith(MOCK_CLUSTER):
            return _create_by_asking(client, topic, partitions)
        if existing:
            wider = [NewPartitions(topic, partitions)]
            client.create_partitions(wider, request_timeout=ANSWER_TIMEOUT_S)[topic].result()
        else:
            new = [NewTopic(topic, partitions, replicas, config=configured)]
            client.create_topics(new, request_timeout=ANSWER_TIMEOUT_S)[topic].result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise DeadLetterError(f"the topic {topic} cannot be created: {error.args[0].str()}") from error
    return partitions


def _create_by_asking(client: AdminClient, topic: str, partitions: int) -> int:
    """Create a topic in the sandbox, whose broker has no controller: by asking for the topic's metadata.

    Never on Kafka: there `auto.create.topics.enable` would make it with the brokers' own partitions,
    replicas and retention.
    """
    made = len(client.list_topics(topic, timeout=ANSWER_TIMEOUT_S).topics[topic].partitions)
    if made < partitions:
        raise DeadLetterError(
            f"the topic {topic} needs {partitions} partitions and has {made}, which the sandbox's broker "
            "cannot change. Start the sandbox again, and create the topic before the bridge starts: "
            f"partner-bridge sandbox topic {topic} --partitions {partitions}"
        )
    return made


def _options(settings: config.Settings) -> Options:
    """The librdkafka settings that all clients share.

    With `kafka.auth: aws-msk-iam` a token is made from boto3's credential chain whenever
    librdkafka asks for one, see https://github.com/aws/aws-msk-iam-sasl-signer-python.
    """
    options: Options = {"client.id": settings.name, **settings.kafka.options}
    if settings.kafka.auth == "aws-msk-iam":
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # noqa: PLC0415 - optional dependency

        region = _msk_region(settings)

        def token(_: str) -> tuple[str, float]:
            value, expires_ms = MSKAuthTokenProvider.generate_auth_token(region)
            return value, expires_ms / 1000

        options |= {"security.protocol": "SASL_SSL", "sasl.mechanisms": "OAUTHBEARER", "oauth_cb": token}
    return options


def _msk_region(settings: config.Settings) -> str:
    """The Region of the brokers, which MSK's own host names hold; else that of EventBridge."""
    brokers = settings.kafka.options.get("bootstrap.servers", "")
    found = re.search(r"[.]kafka(?:-serverless)?[.]([a-z0-9-]+)[.]amazonaws[.]com", brokers)
    return found[1] if found else settings.eventbridge.region


def _consumer_options(options: Options) -> Options:
    """The settings of a group member: ours as far as the user set none."""
    ours: Options = dict(CONSUMER_DEFAULTS)
    if "message.max.bytes" not in options:
        ours["fetch.max.bytes"] = FETCH_MAX_BYTES
    if options.get("group.protocol") != "consumer":
        # Members keep what they have while others join; a rebalance stops only what moves. With
        # KIP-848 the broker decides, and librdkafka refuses this setting.
        ours["partition.assignment.strategy"] = "cooperative-sticky"
    return ours | options


def option_problems(kafka: Kafka) -> list[Problem]:
    """Every librdkafka setting that librdkafka does not accept, found by asking it."""
    # A missing group.id is a problem of its own, found elsewhere.
    options = _consumer_options({"group.id": "check", **kafka.options})
    problems: list[Problem] = []
    while True:
        try:
            Consumer(options, logger=SILENT).close()
        except KafkaException as error:
            text = str(error.args[0].str())
            name = next((name for name in options if f'"{name}"' in text), None)
            if name is None:
                return [*problems, Problem("kafka", text)]
            problems.append(Problem(f"kafka.{name}", text))
            del options[name]
        else:
            return problems


_headers_of = methodcaller("headers")
"""Raises SystemError for a name that is not UTF-8: confluent-kafka 2.16 then returns and sets an exception.
A plain call misses the second once CPython has specialised it, and some later call would raise."""


def record_of(message: Message) -> Record:
    """The record a client read; not for a message that is an error."""
    kind, timestamp_ms = message.timestamp()
    try:
        headers = _headers_of(message)
    except (SystemError, UnicodeError):
        headers = list(UNREADABLE_HEADERS)
    # The stubs allow for None, which only messages that are errors have.
    return new_tuple(
        Record,
        (
            partition_of(message.topic(), message.partition()),
            message.offset(),
            None if kind == TIMESTAMP_NOT_AVAILABLE else timestamp_ms,
            message.key(),
            message.value(),
            tuple(headers) if headers else (),
        ),
    )


def polled(client: Consumer, limit: int, timeout_s: float) -> list[Message]:
    """What a consumer has, errors too; waits for the first one alone, at most so long."""
    # consume() with a timeout waits for all `limit` of them.
    messages = client.consume(limit, 0)
    if not messages and timeout_s > 0:
        message = client.poll(timeout_s)
        messages = [] if message is None else [message]
    return messages


def cluster_metadata(client: Consumer | Producer | AdminClient, timeout_s: float) -> ClusterMetadata:
    """The brokers' metadata of cluster and topics.

    Raises:
        UnavailableError: no broker answered in time, or they refuse us.
    """
    try:
        return client.list_topics(timeout=timeout_s)
    except KafkaException as error:
        raise UnavailableError(f"Kafka does not answer: {error.args[0].str()}", code="kafka") from error


def _without_consumer(options: Options) -> Options:
    """The options that a producer or admin client understands too."""
    return {name: value for name, value in options.items() if name not in CONSUMER_ONLY}


def log_of(receive: Callable[[logging.LogRecord], None] = lambda _: None) -> logging.Logger:
    """A logger for a client of librdkafka, whose lines go to `receive` during `poll`, and nowhere else."""
    logger = logging.Logger("librdkafka")
    logger.addFilter(lambda record: bool(receive(record)))  # type: ignore[func-returns-value]
    return logger


SILENT = log_of()
"""For clients whose complaints come another way."""
