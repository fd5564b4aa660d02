"""What every client of librdkafka is told, and how what it gives is read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from operator import methodcaller
from typing import Any, TypeAlias

from confluent_kafka import (
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    libversion,
)
from confluent_kafka.admin import AdminClient, ClusterMetadata

from connector import config
from connector.config.kafka import Kafka
from connector.errors import Problem, UnavailableError
from connector.model import UNREADABLE_HEADERS, Record, partition_of

LIBRDKAFKA_VERSION: str = libversion()[0]

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

# librdkafka's names for errors of its own begin with an underscore; they are public nevertheless.
NO_TOPIC = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})  # noqa: SLF001

Options: TypeAlias = "dict[str, Any]"


def client_options(settings: config.Settings) -> Options:
    """The librdkafka settings that every client of this bridge shares.

    With `kafka.auth: aws-msk-iam` a token is made from boto3's credential chain whenever
    librdkafka asks for one, see https://github.com/aws/aws-msk-iam-sasl-signer-python.
    """
    options: Options = {"client.id": settings.name, **settings.kafka.options}
    if settings.kafka.auth == "aws-msk-iam":
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # noqa: PLC0415 - optional dependency

        region = settings.eventbridge.region

        def token(_: str) -> tuple[str, float]:
            value, expires_ms = MSKAuthTokenProvider.generate_auth_token(region)
            return value, expires_ms / 1000

        options |= {"security.protocol": "SASL_SSL", "sasl.mechanisms": "OAUTHBEARER", "oauth_cb": token}
    return options


def consumer_options(options: Options) -> Options:
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
    options = consumer_options({"group.id": "check", **kafka.options})
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
A plain call does not look for the second once CPython has specialised it, and some later one would raise."""


def record_of(message: Message) -> Record:
    """The record a client read; not for a message that is an error."""
    kind, timestamp_ms = message.timestamp()
    try:
        headers = _headers_of(message)
    except (SystemError, UnicodeError):
        headers = list(UNREADABLE_HEADERS)
    # The stubs allow for None, which only messages that are errors have.
    return Record(
        partition_of(message.topic(), message.partition()),
        message.offset(),  # type: ignore[arg-type]
        None if kind == TIMESTAMP_NOT_AVAILABLE else timestamp_ms,
        message.key(),
        message.value(),
        tuple(headers) if headers else (),
    )


def cluster_metadata(client: Consumer | Producer | AdminClient, timeout_s: float) -> ClusterMetadata:
    """What the brokers say of cluster and topics.

    Raises:
        UnavailableError: no broker answered in time, or they refuse us.
    """
    try:
        return client.list_topics(timeout=timeout_s)
    except KafkaException as error:
        raise UnavailableError(f"Kafka does not answer: {error.args[0].str()}", code="kafka") from error


def without_consumer(options: Options) -> Options:
    """The options that a producer or admin client understands too."""
    return {name: value for name, value in options.items() if name not in CONSUMER_ONLY}


def log_of(receive: Callable[[logging.LogRecord], None] = lambda _: None) -> logging.Logger:
    """A logger for a client of librdkafka, whose lines go to `receive` during `poll`, and nowhere else."""
    logger = logging.Logger("librdkafka")
    logger.addFilter(lambda record: bool(receive(record)))  # type: ignore[func-returns-value]
    return logger


SILENT = log_of()
"""For clients whose complaints come another way."""
