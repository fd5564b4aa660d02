"""Wires the real adapters into a running bridge, and ends the process."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from connector import config, process
from connector.bridge import Bridge
from connector.dead_letters.writer import KafkaDeadLetters, ensure_topic
from connector.errors import ConfigError, DeadLetterError, HaltError, Problem, UnavailableError
from connector.eventbridge.client import Publisher, publishers
from connector.eventbridge.requests import Requests
from connector.formats.registries import Registries
from connector.kafka.client import LIBRDKAFKA_VERSION, create_topic
from connector.kafka.consumer import KafkaConsumer
from connector.pipeline import Pipeline
from connector.process import EXIT_BUG, EXIT_DONE, EXIT_HALTED, EXIT_USAGE
from connector.sources.customers import Customers
from connector.sources.poller import state_feeds
from connector.telemetry.health import Health
from connector.telemetry.log import configure_logging
from connector.telemetry.metrics import Telemetry
from connector.telemetry.page import Board
from connector.telemetry.page.contents import Contents
from connector.telemetry.server import Server
from connector.telemetry.traces import FLUSH_S, start_traces

if TYPE_CHECKING:
    from connector.dead_letters.open_count import OpenCounter
    from connector.delivery.pauses import PauseFile
    from connector.receipts.writer import KafkaReceipts
    from connector.telemetry.spans import Traces

CONNECT_TIMEOUT_S = 2.0
"""One attempt to reach the brokers may take so long; after each the bridge's heartbeat is renewed."""


def run(settings: config.Settings, consumer: KafkaConsumer, config_file: Path | None = None) -> NoReturn:
    """Bridge until SIGTERM or SIGINT, then end the process: 0 stopped cleanly, 1 a bug, 3 halted.

    2 where something in the configuration shows only now; nothing was consumed. A second signal ends it
    at once, as the first does while no broker has answered yet. Nothing is lost by it: what was not committed
    is read again.

    The consumer has not joined its group yet. It ends with the process: its destructor may wait for brokers.
    `config_file` is for the commands that the page shows.
    """
    configure_logging(settings.log.level, settings.log.format)
    telemetry = Telemetry(librdkafka=LIBRDKAFKA_VERSION)
    telemetry.doubted(config.warnings(settings))
    consumer.report_to(telemetry)
    try:
        _run(settings, consumer, telemetry, config_file)
    except ConfigError as error:
        telemetry.misconfigured(error.problems)
        process.end(EXIT_USAGE)


def _run(
    settings: config.Settings, consumer: KafkaConsumer, telemetry: Telemetry, config_file: Path | None
) -> NoReturn:
    health = Health()
    registries = Registries.of(settings)
    pipeline = Pipeline(settings, registries)
    to_targets = _publishers(settings, telemetry)
    telemetry.traces = traces = _traces(settings, to_targets, telemetry)
    calls = Requests(to_targets)
    for publisher in to_targets.values():
        calls.start(publisher.find_credentials())
    customers = Customers(settings)
    board = Board(telemetry.tally)
    server = _server(settings, health, telemetry, board, config_file=config_file)
    dead_letters = KafkaDeadLetters(settings, telemetry=telemetry)
    receipts = _receipts(settings, telemetry)
    bridge = Bridge(
        settings,
        pipeline=pipeline,
        sink=calls,
        state_feeds=state_feeds(
            settings, to_targets, start=calls.start, telemetry=telemetry, accounts=customers.accounts
        ),
        dead_letters=dead_letters,
        receipts=receipts,
        pauses=_pauses(settings, telemetry),
        telemetry=telemetry,
        health=health,
        board=board,
    )
    counting = _open_counter(settings, telemetry)
    telemetry.started(name=settings.name, http_port=server.port)
    process.freeze_gc()
    code = EXIT_DONE
    try:
        with process.before_ending(telemetry.stopped):
            _connect(settings, consumer, pipeline, dead_letters, health=health, telemetry=telemetry)
        process.stop_with(bridge.stop)
        if counting is not None:
            counting.start()
        consumer.subscribe(bridge)
        bridge.run(consumer)
    except HaltError as error:
        health.report("halted", str(error))
        telemetry.halted(error)
        code = EXIT_HALTED
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - Python's own traceback would show what the bug choked on
        telemetry.halted(error)
        code = EXIT_BUG
    finally:
        stops = [counting.stop] if counting is not None else []
        stops += [receipts.close] if receipts is not None else []
        stops += [consumer.close, server.close, calls.close, registries.close]
        stops += [partial(traces.close, FLUSH_S)] if traces is not None else []
        for stop in stops:
            stop()
    if code == EXIT_DONE:
        telemetry.stopped()
    logging.shutdown()
    process.end(code)


def _publishers(settings: config.Settings, telemetry: Telemetry) -> Mapping[str, Publisher]:
    """One for each target; the process ends where one can never send."""
    try:
        to_targets = publishers(settings, on_claim=telemetry.claim_stored)
    except HaltError as error:
        telemetry.halted(error)
        process.end(EXIT_HALTED)
    for publisher in to_targets.values():
        telemetry.doubted(publisher.route.warnings)
    return to_targets


def _server(
    settings: config.Settings,
    health: Health,
    telemetry: Telemetry,
    board: Board,
    *,
    config_file: Path | None,
) -> Server:
    """The HTTP server, with the page where it is wanted."""
    http = settings.http
    contents = Contents(
        name=settings.name,
        board=board,
        health=health,
        versions=telemetry.versions,
        letters_open=lambda: telemetry.letters_open,
        configuration=lambda: config.as_yaml(settings),
        # Commands in the same pod find the variable as the bridge did.
        config_file=str(config_file.absolute())
        if config_file and "BRIDGE_CONFIG" not in os.environ
        else None,
        runbook_url=http.runbook_url,
    )
    return Server(
        health,
        telemetry,
        host=http.host,
        port=http.port,
        contents=contents if http.page else None,
        token=None if http.token is None else http.token.get_secret_value(),
    )


def _open_counter(settings: config.Settings, telemetry: Telemetry) -> OpenCounter | None:
    """The counter of open dead letters, imported where one is wanted."""
    if (every_s := settings.dead_letter.count_open_every) is None:
        return None
    from connector.dead_letters.open_count import OpenCounter  # noqa: PLC0415

    return OpenCounter(settings, every_s=every_s, telemetry=telemetry)


def _receipts(settings: config.Settings, telemetry: Telemetry) -> KafkaReceipts | None:
    """The writer of receipts, imported where there are any."""
    if settings.receipts is None:
        return None
    from connector.receipts.writer import KafkaReceipts  # noqa: PLC0415

    return KafkaReceipts(settings, settings.receipts.topic, telemetry=telemetry)


def _pauses(settings: config.Settings, telemetry: Telemetry) -> PauseFile | None:
    """The reader of the file of pauses, imported where one is named."""
    if settings.pauses is None:
        return None
    from connector.delivery.pauses import PauseFile  # noqa: PLC0415

    return PauseFile(settings, telemetry=telemetry)


def _traces(
    settings: config.Settings, to_targets: Mapping[str, Publisher], telemetry: Telemetry
) -> Traces | None:
    """Where spans go, where the environment asks for them and they can be had."""
    try:
        destinations = {name: (each.region, each.route.endpoint.url) for name, each in to_targets.items()}
        return start_traces(name=settings.name, command="run", destinations=destinations, environ=os.environ)
    except ConfigError as error:
        telemetry.doubted(error.problems)
        return None


def _connect(
    settings: config.Settings,
    consumer: KafkaConsumer,
    pipeline: Pipeline,
    dead_letters: KafkaDeadLetters,
    *,
    health: Health,
    telemetry: Telemetry,
) -> None:
    """Wait for the brokers, then check the dead-letter topic, and look for that of receipts.

    Raises:
        ConfigError: the dead-letter topic does not exist and may not be created.
    """
    while True:
        health.beat()
        try:
            metadata = consumer.metadata(CONNECT_TIMEOUT_S)
        except UnavailableError as error:
            health.report("kafka", str(error))
            telemetry.kafka_state(str(error))
            continue
        health.report("kafka", None)
        telemetry.kafka_state(None)
        pipeline.cluster_id = metadata.cluster_id or pipeline.cluster_id
        letters = metadata.topics.get(settings.dead_letter.topic)
        dead_letters.partitions = ensure_topic(
            settings, partitions=len(letters.partitions) if letters else None, cluster_id=metadata.cluster_id
        )
        if settings.receipts is not None and settings.receipts.topic not in metadata.topics:
            _make_receipts_topic(settings, settings.receipts, metadata.cluster_id, telemetry)
        return


def _make_receipts_topic(
    settings: config.Settings,
    receipts: config.ReceiptSettings,
    cluster_id: str | None,
    telemetry: Telemetry,
) -> None:
    """Create the receipts topic, or say that there is none: receipts are lost then, and events go on."""
    from connector.receipts.writer import missing_receipts_topic  # noqa: PLC0415

    try:
        if receipts.create:
            create_topic(settings, receipts.topic, settings.dead_letter.partitions, cluster_id=cluster_id)
            return
        problem = missing_receipts_topic(receipts.topic)
    except DeadLetterError as error:
        problem = str(error)
    telemetry.doubted([Problem("receipts.topic", f"{problem}. Receipts are lost until then; events go on")])
