"""Log lines of telemetry: what is news, and how often it is told."""

from __future__ import annotations

import pytest

from connector.errors import HaltError, Problem
from connector.model import Partition, Pause, Position
from connector.telemetry.metrics import (
    KAFKA_LINES,
    LETTER_LINES,
    LONG_STALL_S,
    PAUSE_LINES,
    TargetCondition,
    Telemetry,
)
from tests.fakes import FakeClock
from tests.logs import Logs

ORDERS = Partition("orders", 3)


def test_normal_operation_logs_nothing(telemetry: Telemetry, logs: Logs) -> None:
    """Lines for each record or request would cost more than the work."""
    telemetry.records_consumed("orders", 100)
    telemetry.record_filtered("orders", "tombstone")
    telemetry.request_finished("default", outcome="ok", seconds=0.02, entries=20, size_bytes=5000)
    telemetry.events_delivered("orders", "default", [0.1], billed_chunks=1)
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


def test_dead_letters_of_one_code_get_ten_lines_a_minute(
    telemetry: Telemetry, logs: Logs, clock: FakeClock
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
    telemetry: Telemetry, logs: Logs, clock: FakeClock
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


def test_a_complaint_of_the_client_is_not_said_again_as_the_state(telemetry: Telemetry, logs: Logs) -> None:
    """It is the same line; after Kafka was well it counts anew."""
    for _ in range(2):
        telemetry.kafka_problem("no broker leads orders[1]")
        telemetry.kafka_state("no broker leads orders[1]")
        telemetry.kafka_state(None)

    assert ["kafka_problem", "kafka_recovered"] * 2 == logs.events


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


def test_what_is_probably_not_meant_is_a_warning_each(telemetry: Telemetry, logs: Logs) -> None:
    """The bridge starts all the same, and the log says of what to think twice."""
    telemetry.doubted([Problem("EVENTBRIDGE_REGION", "is not read")])

    assert [("warning", "configuration_warning", "EVENTBRIDGE_REGION", "is not read")] == [
        (line["level"], line["event"], line["path"], line["message"]) for line in logs.lines
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
    telemetry: Telemetry, logs: Logs, clock: FakeClock
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


def test_a_halt_says_why(telemetry: Telemetry, logs: Logs) -> None:
    """What an operator is woken by must say what is wrong."""
    telemetry.halted(HaltError("1001 records in a row were dead-lettered"))
    [line] = logs.lines

    assert ("error", "HaltError") == (line["level"], line["error"])
    assert "1001 records in a row were dead-lettered" == line["message"]
    assert "exception" not in line


def test_a_pause_is_told_when_it_begins_ends_or_gets_another_end(telemetry: Telemetry, logs: Logs) -> None:
    """And not while it lasts, or another one comes."""
    orders, acme = Pause("topic", "orders", None), Pause("source", "aws.partner/a/acme", 0)
    telemetry.pauses([orders])
    telemetry.pauses([orders, acme])
    telemetry.pauses([orders._replace(until_ms=60_000), acme])
    telemetry.pauses([])

    assert [
        ("paused", "orders", None),
        ("paused", "aws.partner/a/acme", "1970-01-01T00:00:00Z"),
        ("paused", "orders", "1970-01-01T00:01:00Z"),
    ] == [(line["event"], line["name"], line["until"]) for line in logs.lines if line["event"] == "paused"]
    assert {"orders", "aws.partner/a/acme"} == {
        line["name"] for line in logs.lines if line["event"] == "resumed"
    }


def test_a_file_of_pauses_that_breaks_is_told_once_for_each_reason(telemetry: Telemetry, logs: Logs) -> None:
    """It is looked at every second."""
    for problem in (None, "line 1", "line 1", "line 2", None, None):
        telemetry.pauses_readable(problem)

    assert ["pauses_unreadable", "pauses_unreadable", "pauses_readable"] == logs.events


def test_thousands_of_pauses_do_not_fill_the_disk(telemetry: Telemetry, logs: Logs) -> None:
    """As when a list of customers is paused at once."""
    telemetry.pauses([Pause("source", str(n), None) for n in range(1_000)])

    assert PAUSE_LINES == len(logs.events)
