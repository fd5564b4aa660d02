"""Where log lines go, what they look like, and what must not be in them."""

from __future__ import annotations

import io
import logging

import pytest

from connector.errors import HaltError
from connector.model import Partition, Position
from connector.telemetry.log import configure_logging
from connector.telemetry.metrics import Telemetry
from tests.logs import Logs

ORDERS = Partition("orders", 3)

CANARY = "canary-4711-ssn"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_has_time_level_event_and_fields(telemetry: Telemetry, logs: Logs) -> None:
    """Lines are read by machines: UTC, ISO 8601, stable names."""
    telemetry.record_dead_lettered(
        Position(ORDERS, 1042), code="avro_invalid", message="truncated", target="default"
    )
    [line] = logs.lines
    time = line.pop("timestamp")

    assert {
        "level": "warning",
        "event": "record_dead_lettered",
        "position": "orders[3]@1042",
        "code": "avro_invalid",
        "message": "truncated",
        "target": "default",
    } == line
    assert time.endswith("Z")
    assert "T" in time


def test_a_long_text_is_cut(telemetry: Telemetry, logs: Logs) -> None:
    """A server's answer may be a whole HTML page."""
    telemetry.kafka_problem("x" * 100_000)

    assert 1000 == len(logs.lines[0]["reason"])


def test_a_bug_is_logged_with_its_traceback_and_without_values(telemetry: Telemetry, logs: Logs) -> None:
    """Frames say where; the text of a foreign exception may quote a record, so it is left out."""

    def choke() -> None:
        try:
            int(CANARY)
        except ValueError as cause:
            raise HaltError("the bridge's own words") from cause

    try:
        try:
            choke()
        finally:
            dict[str, str]().pop(CANARY)
    except KeyError as bug:
        telemetry.halted(bug)
    [line] = logs.lines

    assert CANARY not in logs.getvalue()
    assert "test_log.py" in line["exception"]
    assert "ValueError\n" in line["exception"]
    assert "HaltError: the bridge's own words" in line["exception"]
    assert line["exception"].endswith("KeyError")


@pytest.mark.parametrize("format", ["json", "console"])
def test_libraries_are_heard_from_warning_on_whatever_their_level(format: str) -> None:  # noqa: A002
    """Below WARNING botocore and others write payloads and signatures, even at our debug level."""
    stream = io.StringIO()
    configure_logging("debug", "json" if format == "json" else "console", stream=stream)
    for name in ("botocore.endpoint", "urllib3.connectionpool", "aiohttp.client", "asyncio"):
        logger = logging.getLogger(name)
        level = logger.level
        logger.setLevel(logging.DEBUG)
        logger.debug("Sending http request: %s", CANARY)
        logger.info("payload %s", CANARY)
        logger.warning("connection pool is full: %s", name)
        logger.setLevel(level)

    assert CANARY not in stream.getvalue()
    assert 4 == len(stream.getvalue().splitlines())
    assert "connection pool is full: botocore.endpoint" in stream.getvalue()


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_failed_task_shows_no_values(format: str) -> None:  # noqa: A002
    """asyncio logs the repr of the task, which quotes the exception, and the exception itself."""
    stream = io.StringIO()
    configure_logging("debug", "json" if format == "json" else "console", stream=stream)
    error = ValueError(CANARY)
    message = f"Task exception was never retrieved\nfuture: <Task exception={error!r}>"
    logging.getLogger("asyncio").error(message, exc_info=error)

    assert CANARY not in stream.getvalue()
    assert "Task exception was never retrieved" in stream.getvalue()
    assert "ValueError" in stream.getvalue()


def test_a_library_that_repeats_itself_is_counted() -> None:
    """asyncio without descriptors says so thousands of times a second, and would fill the disk."""
    stream, now_s = Logs(), [0.0]
    configure_logging("info", "json", stream=stream, clock_s=lambda: now_s[0])
    for number in range(1_000):
        logging.getLogger("asyncio").error("socket.accept() out of system resource\nsocket: %d", number)
    logging.getLogger("botocore.credentials").warning("Refreshing failed")
    now_s[0] = 61.0
    logging.getLogger("asyncio").error("Task exception was never retrieved")

    assert ["socket.accept() out of system resource"] * 20 == stream.events[:20]
    assert ["Refreshing failed", "Task exception was never retrieved"] == stream.events[20:]
    assert 980 == stream.lines[-1]["suppressed_before"]
    assert all("suppressed_before" not in line for line in stream.lines[:-1])


def test_lines_of_libraries_look_like_ours(logs: Logs) -> None:
    """One format on the stream, so a log collector needs one rule."""
    logging.getLogger("botocore.credentials").warning("Refreshing failed")
    [line] = logs.lines

    assert {"event", "level", "logger", "timestamp"} == set(line)
    assert "botocore.credentials" == line["logger"]


def test_level_is_that_of_our_lines(telemetry: Telemetry) -> None:
    """`log.level: error` silences warnings of the bridge."""
    stream = Logs()
    configure_logging("error", "json", stream=stream)
    telemetry.kafka_problem("all brokers are down")
    telemetry.dead_letter_unwritable("timed out")

    assert ["dead_letter_unwritable"] == stream.events


@pytest.mark.parametrize(
    ("stream", "expected"),
    [(Terminal(), "\x1b["), (io.StringIO(), '{"timestamp": "')],
    ids=["terminal", "pipe"],
)
def test_auto_is_for_people_on_a_terminal_and_json_elsewhere(
    telemetry: Telemetry, stream: io.StringIO, expected: str
) -> None:
    """Nobody has to choose."""
    configure_logging("info", "auto", stream=stream)
    telemetry.started(name="orders-bridge", http_port=8080)

    assert expected in stream.getvalue()
    assert "orders-bridge" in stream.getvalue()


def test_console_without_a_terminal_has_no_colours(telemetry: Telemetry) -> None:
    """Escape sequences in a file help nobody."""
    stream = io.StringIO()
    configure_logging("info", "console", stream=stream)
    telemetry.started(name="orders-bridge", http_port=8080)

    assert "orders-bridge" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_a_console_line_tells_its_fields_apart(telemetry: Telemetry) -> None:
    """A value of several words is quoted, and a line break in it starts no new line."""
    stream = io.StringIO()
    configure_logging("info", "console", stream=stream)
    telemetry.kafka_problem("broker=1 is down\nand stays so")
    telemetry.rebalanced("assigned", [ORDERS])
    problem, rebalanced = stream.getvalue().splitlines()

    assert problem.endswith(r"reason='broker=1 is down\nand stays so'")
    assert rebalanced.endswith("kind=assigned count=1 partitions=['orders[3]']")


def test_logs_go_to_stderr(telemetry: Telemetry, capsys: pytest.CaptureFixture[str]) -> None:
    """stdout is for results."""
    configure_logging("info", "json")
    telemetry.started(name="orders-bridge", http_port=8080)
    captured = capsys.readouterr()

    assert "" == captured.out
    assert "orders-bridge" in captured.err
