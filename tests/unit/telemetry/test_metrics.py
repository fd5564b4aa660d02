"""What an operator can count on in metrics and logs."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from connector.errors import HaltError, Problem
from connector.model import FailingSource, Partition, Position, SourceReport, SourceStatus
from connector.telemetry.log import configure_logging
from connector.telemetry.metrics import (
    KAFKA_LINES,
    LETTER_LINES,
    LONG_STALL_S,
    MAX_RETRY_CODES,
    TargetCondition,
    Telemetry,
)
from connector.telemetry.series import DELIVERY_SECONDS

ORDERS = Partition("orders", 3)
CANARY = "canary-4711-ssn"


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Logs(io.StringIO):
    """What was written, as the JSON it is."""

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    @property
    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    names = ["", "connector", "botocore"]
    before = [(name, logging.getLogger(name).level, logging.getLogger(name).handlers[:]) for name in names]
    yield
    logging.captureWarnings(capture=False)
    for name, level, handlers in before:
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).handlers[:] = handlers


@pytest.fixture
def logs() -> Logs:
    stream = Logs()
    configure_logging("info", "json", stream=stream)
    return stream


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def telemetry(clock: Clock) -> Telemetry:
    return Telemetry(librdkafka="2.16.0", clock_s=clock)


def series(telemetry: Telemetry) -> dict[str, float]:
    """Every series of ours, as `name{label=value,…}` with the labels in alphabetical order."""
    found = {}
    for family in text_string_to_metric_families(telemetry.render()[0].decode()):
        for name, labels, value, *_ in family.samples:
            if name.startswith("partner_bridge_"):
                text = ",".join(f"{label}={labels[label]}" for label in sorted(labels))
                found[name.removeprefix("partner_bridge_") + (f"{{{text}}}" if text else "")] = value
    return found


def use_everything(telemetry: Telemetry) -> None:
    """Let everything happen once."""
    telemetry.started(name="orders-bridge", http_port=8080)
    telemetry.records_consumed("orders", 100)
    telemetry.dead_letters_open({"avro_invalid": 3})
    telemetry.record_filtered("orders", "filter")
    telemetry.record_dead_lettered(Position(ORDERS, 7), code="avro_invalid", message="m", target=None)
    telemetry.entries_retried("default", "ThrottlingException", 3)
    telemetry.request_finished("default", outcome="ok", seconds=0.02, entries=20, size_bytes=5000)
    telemetry.events_delivered("orders", "default", [0.03, 2.0])
    telemetry.target_state("default", 2, "down", reason="no answer")
    pending = SourceReport(
        "aws.partner/a/b", "PENDING", 1_000, "111122223333", 2_000, None, held=3, delivered=4
    )
    telemetry.source_changed("default", pending.source, was="ACTIVE", now=SourceStatus("PENDING"), unsure=2)
    telemetry.sources("default", [pending])
    telemetry.held("default", 3)
    telemetry.sources_failing("default", [FailingSource("aws.partner/a/b", 1_000, "InternalFailure: no", 3)])
    telemetry.source_looked_up("default", "denied", reason="no permission")
    telemetry.source_created("default", pending.source)
    telemetry.source_not_created("default", pending.source, "limit")
    telemetry.pending(12, 3400)
    telemetry.assignment([ORDERS])
    telemetry.paused({"pending": 1})
    telemetry.lag(ORDERS, 42)
    telemetry.oldest_unsettled(ORDERS, 1.5)
    telemetry.committed("ok", 1)
    telemetry.committed("failed", 1, reason="not the coordinator")
    telemetry.rebalanced("assigned", [ORDERS])
    telemetry.partitions_stalled({ORDERS: (5.0, "registry")})
    telemetry.partitions_stalled({})
    telemetry.partition_excluded(ORDERS, "it is the dead-letter topic")
    telemetry.offsets_reset(ORDERS, from_offset=10, to_offset=50)
    telemetry.kafka_state("all brokers are down")
    telemetry.kafka_state(None)
    telemetry.misconfigured([Problem("dead_letter.topic", "the topic does not exist")])
    telemetry.dead_letter_unwritable("no answer")
    telemetry.dead_letter_writable()
    telemetry.halted(HaltError("too many"))
    telemetry.stopped()


# Metrics


def test_metric_names_and_labels_are_those_that_are_documented(telemetry: Telemetry) -> None:
    """Dashboards and alerts name these; a rename breaks them."""
    use_everything(telemetry)
    text, content_type = telemetry.render()
    found = {
        family.name.removeprefix("partner_bridge_"): (
            family.type,
            {label for sample in family.samples for label in sample.labels if label != "le"},
        )
        for family in text_string_to_metric_families(text.decode())
        if family.name.startswith("partner_bridge_")
    }

    assert {
        "records_consumed": ("counter", {"topic"}),
        "events_delivered": ("counter", {"topic", "target"}),
        "records_dead_lettered": ("counter", {"topic", "code"}),
        "records_filtered": ("counter", {"topic", "reason"}),
        "records_gone": ("counter", {"topic"}),
        "entries_retried": ("counter", {"target", "code"}),
        "requests": ("counter", {"target", "outcome"}),
        "request_seconds": ("histogram", {"target"}),
        "request_entries": ("histogram", {"target"}),
        "request_bytes": ("histogram", {"target"}),
        "delivery_seconds": ("histogram", {"topic"}),
        "consumer_lag": ("gauge", {"topic", "partition"}),
        "oldest_unsettled_seconds": ("gauge", {"topic", "partition"}),
        "dead_letters_open": ("gauge", {"code"}),
        "pending_records": ("gauge", set()),
        "pending_bytes": ("gauge", set()),
        "partitions_assigned": ("gauge", set()),
        "partitions_paused": ("gauge", {"reason"}),
        "target_state": ("gauge", {"target"}),
        "source_state": ("gauge", {"target", "source", "state"}),
        "source_inactive_since_seconds": ("gauge", {"target", "source"}),
        "source_expires_seconds": ("gauge", {"target", "source"}),
        "source_failing": ("gauge", {"target", "source"}),
        "sources": ("gauge", {"target", "state"}),
        "held_records": ("gauge", {"target"}),
        "source_lookups": ("counter", {"target", "outcome"}),
        "events_maybe_dropped": ("counter", {"target"}),
        "commits": ("counter", {"outcome"}),
        "rebalances": ("counter", {"kind"}),
        "dead_letter_unwritable": ("gauge", set()),
        "halted": ("gauge", set()),
        "build_info": ("gauge", {"version", "python", "librdkafka"}),
    } == found
    assert "text/plain; version=0.0.4; charset=utf-8" == content_type


def test_process_and_garbage_collector_are_shown_too(telemetry: Telemetry) -> None:
    """Memory and CPU of the process are scraped from the same place."""
    text = telemetry.render()[0].decode()

    assert "\nprocess_resident_memory_bytes " in text
    assert "\npython_gc_collections_total{" in text
    assert "_created" not in text


def test_each_thing_is_counted_once(telemetry: Telemetry) -> None:
    """A metric says how often something happened."""
    use_everything(telemetry)
    found = series(telemetry)

    assert 100 == found["records_consumed_total{topic=orders}"]
    assert 1 == found["records_filtered_total{reason=filter,topic=orders}"]
    assert 1 == found["records_dead_lettered_total{code=avro_invalid,topic=orders}"]
    assert 3 == found["entries_retried_total{code=ThrottlingException,target=default}"]
    assert 1 == found["requests_total{outcome=ok,target=default}"]
    assert 2 == found["events_delivered_total{target=default,topic=orders}"]
    assert 42 == found["consumer_lag{partition=3,topic=orders}"]
    assert 1.5 == found["oldest_unsettled_seconds{partition=3,topic=orders}"]
    assert 3400 == found["pending_bytes"]
    assert 2 == found["target_state{target=default}"]
    assert 1 == found["commits_total{outcome=failed}"]
    assert 1 == found["halted"]


def test_what_is_known_beforehand_starts_at_zero(telemetry: Telemetry) -> None:
    """The first failed commit must show in `rate`, which needs the zero before it."""
    telemetry.target_state("default", 0, "up", reason="")
    found = series(telemetry)

    assert 0 == found["halted"]
    assert 0 == found["commits_total{outcome=failed}"]
    assert 0 == found["rebalances_total{kind=lost}"]
    assert 0 == found["requests_total{outcome=throttled,target=default}"]
    assert 0 == found["partitions_paused{reason=dead_letter}"]


def test_a_reason_that_is_gone_falls_to_zero(telemetry: Telemetry) -> None:
    """Pauses are reported as a whole: what is not mentioned has ended."""
    telemetry.paused({"pending": 6, "target": 2})
    telemetry.paused({"target": 1})
    found = series(telemetry)

    assert (0, 1) == (found["partitions_paused{reason=pending}"], found["partitions_paused{reason=target}"])


def test_a_partition_that_went_away_is_not_shown_any_more(telemetry: Telemetry) -> None:
    """The lag of a partition that somebody else reads now would stand still for ever."""
    other = Partition("orders", 4)
    for partition in (ORDERS, other):
        telemetry.lag(partition, 5)
        telemetry.oldest_unsettled(partition, 5)
    telemetry.forget([ORDERS, Partition("never", 0)])
    shown = [name for name in series(telemetry) if "partition=" in name]

    assert [
        "consumer_lag{partition=4,topic=orders}",
        "oldest_unsettled_seconds{partition=4,topic=orders}",
    ] == shown


def test_retry_codes_are_bounded(telemetry: Telemetry) -> None:
    """EventBridge makes up its codes; an endless supply of them must not fill the memory."""
    for number in range(MAX_RETRY_CODES + 50):
        telemetry.entries_retried("default", f"Code{number}", 1)
    telemetry.entries_retried("default", "x" * 10_000, 1)
    retried = {name: n for name, n in series(telemetry).items() if name.startswith("entries_retried_total")}

    assert MAX_RETRY_CODES + 1 == len(retried)
    assert 51 == retried["entries_retried_total{code=other,target=default}"]


@settings(max_examples=30)
@given(st.lists(st.lists(st.floats(-10, 10_000), max_size=20), max_size=10))
def test_delivery_seconds_is_a_histogram(answers: list[list[float]]) -> None:
    """Every event is in each bucket whose bound it does not exceed; the count has all of them."""
    telemetry = Telemetry()
    for seconds in answers:
        telemetry.events_delivered("orders", "default", seconds)
    every = [value for seconds in answers for value in seconds]
    found = series(telemetry)

    for bound in DELIVERY_SECONDS if answers else ():
        expected = sum(value <= bound for value in every)
        assert expected == found[f"delivery_seconds_bucket{{le={bound},topic=orders}}"]
    if answers:
        assert len(every) == found["delivery_seconds_count{topic=orders}"]
        assert pytest.approx(sum(v for v in every if v > 0)) == found["delivery_seconds_sum{topic=orders}"]


def test_full_batches_can_be_told_from_nearly_full_ones(telemetry: Telemetry) -> None:
    """Whether batches fill up is the first question about throughput."""
    telemetry.request_finished("default", outcome="ok", seconds=0.1, entries=20, size_bytes=1)
    telemetry.request_finished("default", outcome="ok", seconds=0.1, entries=19, size_bytes=1)
    found = series(telemetry)

    assert 1 == found["request_entries_bucket{le=19.0,target=default}"]
    assert 2 == found["request_entries_bucket{le=20.0,target=default}"]


# Log lines


def test_normal_operation_logs_nothing(telemetry: Telemetry, logs: Logs) -> None:
    """Lines for each record or request would cost more than the work."""
    telemetry.records_consumed("orders", 100)
    telemetry.record_filtered("orders", "tombstone")
    telemetry.request_finished("default", outcome="ok", seconds=0.02, entries=20, size_bytes=5000)
    telemetry.events_delivered("orders", "default", [0.1])
    telemetry.target_state("default", 0, "up", reason="answered")
    telemetry.pending(1, 1)
    telemetry.paused({})
    telemetry.lag(ORDERS, 1)
    telemetry.oldest_unsettled(ORDERS, 1)
    telemetry.committed("ok", 6)
    telemetry.dead_letter_writable()
    telemetry.kafka_state(None)
    telemetry.partitions_stalled({ORDERS: (LONG_STALL_S - 0.1, "its schema is being fetched")})
    telemetry.partitions_stalled({})

    assert [] == logs.lines


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


def test_dead_letters_of_one_code_get_ten_lines_a_minute(
    telemetry: Telemetry, logs: Logs, clock: Clock
) -> None:
    """A broken producer must not fill the disk, nor hide a second kind of failure."""
    for offset in range(LETTER_LINES + 25):
        telemetry.record_dead_lettered(
            Position(ORDERS, offset), code="avro_invalid", message="m", target=None
        )
    telemetry.record_dead_lettered(Position(ORDERS, 99), code="json_invalid", message="m", target=None)

    assert LETTER_LINES + 1 == logs.events.count("record_dead_lettered")

    clock.now_s += 59
    telemetry.pending(0, 0)

    assert "more_suppressed" not in logs.events

    clock.now_s += 2
    telemetry.pending(0, 0)
    telemetry.pending(0, 0)
    summaries = [line for line in logs.lines if line["event"] == "more_suppressed"]

    assert [("record_dead_lettered", "avro_invalid", 25)] == [
        (s["of"], s["code"], s["lines"]) for s in summaries
    ]

    telemetry.record_dead_lettered(Position(ORDERS, 100), code="avro_invalid", message="m", target=None)

    assert "record_dead_lettered" == logs.events[-1]


def test_held_back_lines_are_summed_up_at_the_end(telemetry: Telemetry, logs: Logs) -> None:
    """Stopping within the minute loses no count."""
    for _ in range(KAFKA_LINES + 7):
        telemetry.kafka_problem("broker down")
    telemetry.stopped()

    assert [7] == [line["lines"] for line in logs.lines if line["event"] == "more_suppressed"]
    assert "stopped" == logs.events[-1]


def test_a_target_is_logged_when_it_goes_and_when_it_comes_back(telemetry: Telemetry, logs: Logs) -> None:
    """Probing a target that is down happens every few seconds and is no news."""
    for state in (0, 2, 1, 2, 1, 2, 0, 0):
        condition: TargetCondition = "down" if state else "up"
        telemetry.target_state("default", state, condition, reason="connection refused", next_try_s=2.04)

    assert [("target_down", "warning"), ("target_up", "info")] == [
        (x["event"], x["level"]) for x in logs.lines
    ]
    assert ("connection refused", 2.0) == (logs.lines[0]["reason"], logs.lines[0]["next_try_s"])


def test_a_target_that_throttles_after_an_outage_is_not_up(telemetry: Telemetry, logs: Logs) -> None:
    """It answers, and takes nothing: only an acceptance says that it is up."""
    telemetry.target_state("default", 2, "down", reason="no answer")
    telemetry.target_state("default", 0, "throttled", reason="slower")
    telemetry.target_state("default", 0, "throttled", reason="slower")
    telemetry.target_state("default", 0, "up", reason="answered")

    assert ["target_down", "target_throttled", "target_up"] == logs.events


def test_throttles_under_load_are_logged_once_a_minute(
    telemetry: Telemetry, logs: Logs, clock: Clock
) -> None:
    """A bridge at the limit of its account is throttled and served in turns."""
    for _ in range(2):
        for _ in range(50):
            telemetry.target_state("default", 0, "throttled", reason="slower")
            telemetry.target_state("default", 0, "up", reason="answered")
        clock.now_s += 61
        telemetry.pending(0, 0)

    assert ["target_throttled", "target_up", "more_suppressed"] * 2 == logs.events


def test_kafka_is_logged_when_it_fails_and_when_it_comes_back(telemetry: Telemetry, logs: Logs) -> None:
    """Whoever was woken by the first line waits for the second."""
    for problem in (None, "no broker can be reached", "no broker can be reached", None, None):
        telemetry.kafka_state(problem)

    assert [("kafka_problem", "warning"), ("kafka_recovered", "info")] == [
        (line["event"], line["level"]) for line in logs.lines
    ]


def test_kafka_that_flaps_is_not_logged_as_recovered_more_often_than_as_failing(
    telemetry: Telemetry, logs: Logs
) -> None:
    """A line that says that all is well is no news to whoever never heard of trouble."""
    for _ in range(100):
        telemetry.kafka_state("no broker can be reached")
        telemetry.kafka_state(None)

    assert 1 <= logs.events.count("kafka_problem") < 100
    assert logs.events.count("kafka_problem") == logs.events.count("kafka_recovered")


def test_what_is_wrong_with_the_configuration_is_a_line_each(telemetry: Telemetry, logs: Logs) -> None:
    """A log of JSON holds nothing but JSON."""
    telemetry.misconfigured([Problem("dead_letter.topic", "does not exist"), Problem("http.port", "in use")])

    assert [("error", "dead_letter.topic", "does not exist"), ("error", "http.port", "in use")] == [
        (line["level"], line["path"], line["message"]) for line in logs.lines
    ]


def test_a_stall_is_logged_when_it_lasts_and_when_its_reason_changes(
    telemetry: Telemetry, logs: Logs
) -> None:
    """Every partition waits a moment now and then; a long one says for what, and when it ends."""
    for seconds, reason in ((0.5, "being fetched"), (1.5, "being fetched"), (2.5, "404"), (3.5, "404")):
        telemetry.partitions_stalled({ORDERS: (seconds, reason)})
    telemetry.partitions_stalled({})
    telemetry.partitions_stalled({ORDERS: (0.5, "being fetched")})

    assert [
        ("partition_stalled", "being fetched"),
        ("partition_stalled", "404"),
        ("partition_resumed", None),
    ] == [(line["event"], line.get("reason")) for line in logs.lines]


def test_a_stall_is_news_again_after_the_partition_came_back(telemetry: Telemetry, logs: Logs) -> None:
    """What was known of a partition goes with it."""
    telemetry.partitions_stalled({ORDERS: (2.0, "timeout")})
    telemetry.forget([ORDERS])
    telemetry.partitions_stalled({})
    telemetry.partitions_stalled({ORDERS: (2.0, "timeout")})

    assert ["partition_stalled", "partition_stalled"] == logs.events


def test_an_unwritable_dead_letter_topic_is_logged_once_until_it_takes_letters(
    telemetry: Telemetry, logs: Logs
) -> None:
    """Nothing is committed meanwhile, so it is an error."""
    telemetry.dead_letter_unwritable("not enough replicas")
    telemetry.dead_letter_unwritable("timed out")
    telemetry.dead_letter_writable()

    assert [("dead_letter_unwritable", "error"), ("dead_letter_writable", "info")] == [
        (line["event"], line["level"]) for line in logs.lines
    ]


def test_letters_that_cannot_be_counted_are_logged_once_until_they_can(
    telemetry: Telemetry, logs: Logs
) -> None:
    """The metric keeps its last value meanwhile."""
    telemetry.dead_letters_uncounted("no broker")
    telemetry.dead_letters_uncounted("no broker")
    telemetry.dead_letters_open({"tombstone": 4})
    telemetry.dead_letters_uncounted("no broker")

    assert ["dead_letters_uncounted", "dead_letters_uncounted"] == [line["event"] for line in logs.lines]
    assert b'partner_bridge_dead_letters_open{code="tombstone"} 4.0' in telemetry.render()[0]


@pytest.mark.parametrize(("to_offset", "level", "gone"), [(150, "error", 50), (20, "warning", 0)])
def test_a_reset_says_how_many_records_are_gone(
    telemetry: Telemetry, logs: Logs, to_offset: int, level: str, gone: int
) -> None:
    """Records that retention deleted before they were read are lost; somebody has to know."""
    telemetry.offsets_reset(ORDERS, from_offset=100, to_offset=to_offset)
    [line] = logs.lines

    assert (level, gone, "orders[3]") == (line["level"], line["records_gone"], line["partition"])


def test_repeated_retries_and_failed_commits_are_logged_once_a_minute(
    telemetry: Telemetry, logs: Logs, clock: Clock
) -> None:
    """Throttling goes on for long and says the same each time."""
    for _ in range(2):
        for _ in range(100):
            telemetry.entries_retried("default", "ThrottlingException", 20)
            telemetry.committed("failed", 6, reason="no coordinator")
        clock.now_s += 61
        telemetry.pending(0, 0)

    assert 2 == logs.events.count("entries_retried")
    assert 2 == logs.events.count("commit_failed")


def test_many_partitions_make_a_short_line(telemetry: Telemetry, logs: Logs) -> None:
    """A group of thousands of partitions must not write them all out at each rebalance."""
    telemetry.rebalanced("lost", [Partition("orders", n) for n in range(5000)])
    [line] = logs.lines

    assert (5000, 20, "warning") == (line["count"], len(line["partitions"]), line["level"])


def test_a_long_text_is_cut(telemetry: Telemetry, logs: Logs) -> None:
    """A server's answer may be a whole HTML page."""
    telemetry.kafka_problem("x" * 100_000)

    assert 1000 == len(logs.lines[0]["reason"])


# Where lines go, and what must not be in them


def test_a_halt_says_why(telemetry: Telemetry, logs: Logs) -> None:
    """What an operator is woken by must say what is wrong."""
    telemetry.halted(HaltError("1001 records in a row were dead-lettered"))
    [line] = logs.lines

    assert ("error", "HaltError") == (line["level"], line["error"])
    assert "1001 records in a row were dead-lettered" == line["message"]
    assert "exception" not in line


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
    assert "test_metrics.py" in line["exception"]
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


def test_logs_go_to_stderr(telemetry: Telemetry, capsys: pytest.CaptureFixture[str]) -> None:
    """stdout is for results."""
    configure_logging("info", "json")
    telemetry.started(name="orders-bridge", http_port=8080)
    captured = capsys.readouterr()

    assert "" == captured.out
    assert "orders-bridge" in captured.err


def test_two_of_them_count_apart() -> None:
    """Nothing is global, so tests and tools make as many as they like."""
    one, two = Telemetry(), Telemetry()
    one.records_consumed("orders", 1)

    assert "records_consumed_total{topic=orders}" not in series(two)
