"""What support sees of dead letters on real Kafka: totals, one letter, ids, discarding, what is strange."""

from __future__ import annotations

import io
import itertools
import json
import secrets
import time
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from connector import config
from connector.cli import app
from connector.dead_letters.format import DeadLetterRecord, Failure, letter, without_value
from connector.dead_letters.resolutions import DeadLetterState, Resolution
from connector.dead_letters.topics import DeadLetterTopic, ResolutionTopic
from connector.errors import Code, UnavailableError
from connector.kafka import reader
from connector.model import Headers, Json, Partition, Position, Record
from tests.services.child import wait_until
from tests.services.kafka import Kafka
from tests.terminal import screen
from tests.topics import Sent
from tests.world import NOTES, World, note

SECRET = "4111-1111-1111-1111"
AT_MS = 1_790_244_902_000
"""2026-09-24T10:15:02Z. Brokers refuse times to come."""
HOUR_MS = 3_600_000


class Ran(NamedTuple):
    """How a command ended and what it wrote."""

    code: object
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines on stdout."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def words(self) -> list[list[str]]:
        """The words of each line on stdout."""
        return [line.split() for line in self.out.splitlines()]


class Support:
    """Somebody with a shell, a configuration, and a dead-letter topic of three partitions."""

    def __init__(self, world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.topic = f"{world.name}.letters"
        self.resolutions = f"{self.topic}.resolutions"
        self.origin = f"{world.name}.notes"
        self.file = folder / "bridge.yaml"
        self._monkeypatch = monkeypatch
        self._records = itertools.count()
        self.create()
        self.configure()

    def configure(self, mapping: Json = NOTES, **dead_letter: Json) -> dict[str, Any]:
        """Writes the configuration; by default the resolutions topic may be created."""
        letters: dict[str, Json] = {"topic": self.topic, "create": True, "replication_factor": 1}
        settings = self.world.settings({self.origin: mapping}, dead_letter={**letters, **dead_letter})
        self.file.write_text(json.dumps(settings))
        return settings

    def create(self) -> None:
        """Makes the dead-letter topic, which keeps letters of any age."""
        self.world.topics.create(self.topic, partitions=3, config={"retention.ms": "-1"})

    def run(self, *arguments: str, stdin: str = "") -> Ran:
        """Runs `partner-bridge dead-letters` in this process."""
        self._monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            app.main(["dead-letters", *arguments, "--config", str(self.file)])
        return Ran(ended.value.code, out.getvalue(), err.getvalue())

    def write(self, *letters: DeadLetterRecord, partition: int = 0, at_ms: int = 0) -> list[str]:
        """Puts letters into one partition, and answers their ids."""
        sent = [
            Sent(self.topic, each.value, each.key, each.headers, partition, at_ms or AT_MS + number)
            for number, each in enumerate(letters)
        ]
        return [f"{self.topic}/{partition}/{position.offset}" for position in self.world.topics.produce(sent)]

    def letter(
        self,
        number: int = 0,
        *,
        code: Code = "template_null",
        topic: str | None = None,
        partition: int = 0,
        value: bytes | None = None,
        tenant: str = "acme",
        detail_type: str = "Note",
        attempts: int = 0,
        bridge: str | None = None,
        replay_count: int = 0,
    ) -> DeadLetterRecord:
        """The letter of a note that `NOTES` can map by now; of another record each time."""
        content = note(number, tenant=tenant, card=SECRET) if value is None else value
        count = (("partner-bridge.replay-count", b"%d" % replay_count),)
        headers: Headers = (("trace", b"t-1"), *count)
        origin = Partition(topic or self.origin, partition)
        recorded_ms = AT_MS - HOUR_MS + next(self._records)
        record = Record(origin, number, recorded_ms, b"key-%d" % (number % 5), content, headers)
        failure = Failure(
            code=code,
            stage="TRANSFORMATION",
            message="topics.notes.event.source: found nothing",
            exception_class="MappingError",
            attempts=attempts,
            first_failure_ms=AT_MS,
            last_failure_ms=AT_MS,
            request_id=None,
            target=None,
            source=f"aws.partner/example.com/{tenant}",
            detail_type=detail_type,
            event_id=f"cluster/{self.origin}/{partition}/{number}",
        )
        return letter(record, failure, bridge_name=bridge or self.world.name, version="0")


@pytest.fixture
def support(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Support:
    return Support(world, tmp_path, monkeypatch)


@pytest.fixture
def admin(kafka: Kafka) -> AdminClient:
    return AdminClient({**kafka.client})


def has(words: list[list[str]], *wanted: str) -> bool:
    """Whether a line begins with these words."""
    return any(line[: len(wanted)] == [*wanted] for line in words)


# list


def test_totals_say_what_failed_where_and_when(support: Support) -> None:
    """By code, origin topic, source, detail type and hour; nothing but the answer, and on stdout."""
    support.write(*[support.letter(n, tenant=f"t{n % 2}") for n in range(20)], partition=0)
    support.write(*[support.letter(n, code="tombstone", detail_type="Other") for n in range(5)], partition=1)
    support.write(*[support.letter(n, topic="gone.v1") for n in range(3)], partition=2, at_ms=AT_MS + HOUR_MS)

    ran = support.run("list", "--limit", "1")

    assert 0 == ran.code
    assert f"28 open dead letters in {support.topic}," in ran.out
    assert has(ran.words, "template_null", "23")
    assert has(ran.words, "tombstone", "5")
    assert has(ran.words, support.origin, "25")
    assert has(ran.words, "gone.v1", "3")
    assert has(ran.words, "aws.partner/example.com/t1", "10")
    assert has(ran.words, "Note", "23")
    assert has(ran.words, "2026-09-24T10:00Z", "25")
    assert has(ran.words, "2026-09-24T11:00Z", "3")
    assert "and 27 more" in ran.out
    assert (
        "note: 3 letters came from gone.v1 and cannot be sent again: no entry under `topics` matches it\n"
        == ran.err
    )


def test_filters_narrow_what_is_listed(support: Support) -> None:
    """Each alone, and all of them together; what is printed are ids and facts, and no payload."""
    letters = [
        support.letter(0),
        support.letter(1, code="retries_exhausted", attempts=8),
        support.letter(2, tenant="bee"),
        support.letter(3, partition=7, detail_type="Order [NEW]"),
        support.letter(4, replay_count=3),
    ]
    ids = support.write(*letters)

    def listed(*arguments: str) -> list[int]:
        ran = support.run("list", "--json", *arguments)
        assert 0 == ran.code
        assert SECRET not in ran.out
        return [ids.index(line["id"]) for line in ran.lines]

    assert [0, 1, 2, 3, 4] == listed()
    assert [1] == listed("--code", "retries*")
    assert [1] == listed("--min-attempts", "8")
    assert [2] == listed("--source", "aws.partner/example.com/bee")
    assert [3] == listed("--partition", "7")
    assert [0, 3] == listed("--offset", "0", "--offset", "3")
    assert [3] == listed("--detail-type", "Order [NEW]")
    assert [2] == listed("--key", "key-2")
    assert [4] == listed("--key", "hex:6b65792d34")
    assert [3, 4] == listed("--since", "2026-09-24T10:15:02.003Z")
    assert [0, 1] == listed("--until", "2026-09-24T10:15:02.002Z")
    assert [4] == listed("--state", "parked")
    assert [] == listed("--state", "delivered")
    assert [2] == listed(
        "--topic", support.origin, "--code", "template_null", "--source", "*bee", "--since", "2026-01-01"
    )
    assert [0, 1] == listed("--limit", "2")


def test_nothing_that_matches_is_said_and_is_no_failure(support: Support) -> None:
    """An empty topic, and one with letters of which none matches."""
    empty = support.run("list")
    support.write(support.letter())
    none = support.run("list", "--code", "tombstone")
    discard = support.run("discard", "--code", "tombstone", "--reason", "x", "--execute")

    assert (0, f"{support.topic} is empty: there are no dead letters.\n", "") == empty
    no_match = (
        f"No open dead letter matches --code tombstone in {support.topic}, which holds 1 letter in all."
    )
    there = "No letter there has the code tombstone; there are template_null."
    assert (0, f"{no_match}\n{there}\n", "") == none == discard


def test_a_source_is_found_by_a_part_of_its_name(support: Support) -> None:
    """What was looked for, where, and what was meant; and for a replay as well."""
    support.write(support.letter(tenant="acme"), support.letter(tenant="bee"))

    listed = support.run("list", "--source", "acme")
    replayed = support.run("replay", "--source", "acme")

    meant = "Did you mean --source aws.partner/example.com/acme?"
    assert (0, meant) == (listed.code, listed.out.splitlines()[-1])
    assert f"No open dead letter matches --source acme in {support.topic}," in listed.out
    assert f"Nothing to replay.\n{listed.out}" == replayed.out


def test_one_letter_costs_one_table(support: Support) -> None:
    """What all letters have in common takes a line."""
    support.write(support.letter())
    ran = support.run("list")

    assert has(ran.words, "code", "template_null")
    assert has(ran.words, "source", "aws.partner/example.com/acme")
    assert 1 == sum("written" in line for line in ran.out.splitlines()[1:])
    assert "letters  oldest" not in ran.out


def test_ids_are_whole_on_a_terminal_of_80_columns(support: Support, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that they can be copied."""
    ids = support.write(*[support.letter(number) for number in range(3)])
    for arguments in (["list"], ["show", *ids]):
        with screen(monkeypatch) as shown, pytest.raises(SystemExit):
            app.main(["dead-letters", *arguments, "--config", str(support.file)])

        assert [] == shown.too_long
        for each in ids:
            assert any(each in line.split() for line in shown.lines)


def test_reading_again_waits_for_nothing(support: Support) -> None:
    """A command reads the topic up to three times. Each read used to wait: for more than there is, for the
    last fetch of the one before, or a whole second for librdkafka."""
    support.write(*[support.letter(number) for number in range(20)], partition=0)
    support.write(*[support.letter(number) for number in range(5)], partition=1)
    settings = config.load(support.file, {})
    took_s = []
    with closing(reader.Reader(settings)) as opened:
        ranges = opened.ends(support.topic, [0, 1, 2])
        for _ in range(5):
            began_s = time.monotonic()
            for each in ({0: (3, 4)}, ranges, {0: (3, 4)}):
                assert sum(map(len, opened.read(support.topic, each))) >= 1
            took_s.append(time.monotonic() - began_s)

    assert min(took_s) < 0.25  # the best of five, since others use the machine


def test_looking_leaves_no_trace_in_the_bridges_group(support: Support) -> None:
    """No commit, and no member that would take partitions from a running bridge."""
    support.write(support.letter())
    before = support.world.topics.committed(support.world.name, [Partition(support.topic, 0)])
    support.run("list")

    assert {} == before
    assert {} == support.world.topics.committed(support.world.name, [Partition(support.topic, 0)])


def test_a_topic_can_be_read_again_and_in_parts(support: Support) -> None:
    """A partition that was read to its end while others went on is read like any other the next time."""
    for partition, count in enumerate([3, 1, 2_000]):
        support.write(*[support.letter(n) for n in range(count)], partition=partition)
    settings = config.load(support.file, {})

    with closing(DeadLetterTopic(settings)) as letters:
        ranges = letters.snapshot()
        reads = [sum(map(len, letters.read(part))) for part in (ranges, ranges, {1: (0, 1)}, {2: (5, 9)})]

    assert [2_004, 2_004, 1, 4] == reads


def test_headers_cannot_write_to_the_terminal(support: Support) -> None:
    """A source is made of a record's value, and a value may hold what a terminal obeys."""
    support.write(support.letter(tenant="\x1b[2J"))

    ran = support.run("list")

    assert "\x1b" not in ran.out
    assert "example.com/\\x1b[2J" in ran.out


# What is strange in the topic


def test_what_is_no_letter_is_counted_and_stops_no_other(support: Support) -> None:
    """Somebody's own record, half a letter, one of another bridge, and those of a sink that was replaced."""
    connect: Headers = (
        ("__connect.errors.topic", support.origin.encode()),
        ("__connect.errors.partition", b"0"),
        ("__connect.errors.offset", b"12"),
        ("__connect.errors.connector.name", b"old-sink"),
        ("__connect.errors.exception.message", b"Error converting byte[] to Kafka Connect data"),
    )
    ids = support.write(
        DeadLetterRecord(b"k", b"v", ()),
        DeadLetterRecord(b"k", b"v", connect[:2]),
        DeadLetterRecord(b"k", note(1), connect),
        support.letter(bridge="other-bridge"),
        support.letter(),
    )

    totals = support.run("list")
    lines = support.run("list", "--json").lines
    shown = support.run("show", ids[2], ids[0], "--json")

    assert 0 == totals.code
    assert has(totals.words, "unreadable", "2")
    assert has(totals.words, "connect", "1")
    assert has(totals.words, "template_null", "2")
    no_header = "note: 1 letter cannot be read: it has no header __connect.errors."
    assert [
        f"{no_header}topic, so nothing says where it came from",
        f"{no_header}offset, so nothing says where it came from",
        f"note: written by old-sink, not by {support.world.name}: 1 letter",
        f"note: written by other-bridge, not by {support.world.name}: 1 letter",
    ] == totals.err.splitlines()
    assert [*ids] == [line["id"] for line in lines]
    assert ["unreadable", "unreadable", "connect", "template_null", "template_null"] == [
        line["code"] for line in lines
    ]
    assert '"outcome": "would be sent"' in shown.out
    assert "Error converting" in shown.out


def test_a_letter_of_a_topic_that_was_made_anew_is_open(support: Support) -> None:
    """What became of the letter that had its offset before says nothing about it."""
    support.write(support.letter(1))
    support.run("discard", "--reason", "x", "--execute")
    before = support.run("list", "--json")
    support.world.topics.delete(support.topic)
    wait_until(lambda: support.run("list").code == 2, what="the topic is gone")
    support.create()
    support.write(support.letter(1), at_ms=AT_MS + 60_000)

    after = support.run("list", "--json")

    assert [] == before.lines
    assert ["open"] == [line["state"] for line in after.lines]


def test_letters_that_retention_ate_are_named_and_the_others_served(
    support: Support, admin: AdminClient
) -> None:
    """Between the list and what is done with it."""
    ids = support.write(*[support.letter(n) for n in range(5)])
    listed = support.run("list", "--json").out
    place = TopicPartition(support.topic, 0, 3)
    admin.delete_records([place])[place].result(30)

    plan = support.run("discard", "--ids", "-", stdin=listed)
    done = support.run("discard", "--ids", "-", "--reason", "x", "--execute", stdin=listed)
    left = support.run("list")

    gone = "".join(f"{each} is gone: retention deleted it, partition 0 begins at 3\n" for each in ids[:3])
    assert (4, gone) == (plan.code, plan.err)
    assert "This would discard 2 letters" in plan.out
    assert (4, gone) == (done.code, done.err)
    assert "Discarded 2 letters" in done.out
    assert f"No open dead letter in {support.topic}, which holds 2 letters in all.\n" == left.out


def test_an_id_that_does_not_exist_is_named(support: Support) -> None:
    """Exit code 4, and the letters that exist are shown all the same."""
    (known,) = support.write(support.letter())

    ran = support.run("show", known, f"{support.topic}/0/99", f"{support.topic}/9/0")

    assert 4 == ran.code
    assert ran.out.startswith(f"id: {known}\n")
    assert [
        f"{support.topic}/0/99 does not exist: partition 0 ends before 1",
        f"{support.topic}/9/0 does not exist: {support.topic} has no partition 9",
    ] == ran.err.splitlines()


@pytest.mark.parametrize(
    "arguments",
    [
        ("show",),
        ("show", "nonsense"),
        ("show", "another.topic/0/1"),
        ("list", "--ids", "/nonexistent"),
        ("list", "--since", "yesterday"),
        ("list", "--state", "lost"),
        ("list", "--key", "hex:0g"),
        ("discard", "--state", "delivered"),
        ("discard", "--execute"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(support: Support, arguments: tuple[str, ...]) -> None:
    """Exit code 2, before Kafka is asked anything."""
    ran = support.run(*arguments)

    assert 2 == ran.code
    assert "" == ran.out
    assert "Traceback" not in ran.err


# show


def test_show_tells_the_error_and_what_would_become_of_the_letter_now(support: Support) -> None:
    """In words, with shapes and sizes; values come with --payload only."""
    (known,) = support.write(support.letter(7))

    plain = support.run("show", known)
    payload = support.run("show", known, "--payload")
    report = (
        support.run("show", known, "--json").lines
        if False
        else json.loads(support.run("show", known, "--json").out)
    )

    assert "A template of source, detail type, time or resources found nothing." in plain.out
    assert SECRET not in plain.out
    assert "t-1" not in plain.out
    assert "card: text of 19" in plain.out
    assert f"card: {SECRET}" in payload.out
    assert "value: t-1" in payload.out
    assert "template_null" == report["headers"]["partner-bridge.code"]
    assert "would be sent" == report["now"]["outcome"]
    assert f"cluster/{support.origin}/0/7" == report["now"]["event_id"]
    assert "aws.partner/example.com/acme" == report["now"]["entry"]["Source"]


def test_show_tells_the_error_that_a_letter_would_still_get(support: Support) -> None:
    """Bytes that cannot be decoded, a mapping that still fails, a filter that would drop it, no mapping."""
    ids = support.write(
        support.letter(value=b"{"), support.letter(value=b'{"tenant": 5}'), support.letter(topic="gone.v1")
    )
    failing = json.loads(support.run("show", ids[0], "--json").out)
    in_words = support.run("show", ids[0])
    unconfigured = json.loads(support.run("show", ids[2], "--json").out)
    support.configure({**NOTES, "filter": "value.tenant != `5`"})
    dropped = json.loads(support.run("show", ids[1], "--json").out)

    assert ("would fail again", "json_invalid") == (failing["now"]["outcome"], failing["now"]["code"])
    assert "cannot_be_decoded" in failing["value"]
    assert (0, failing["value"]) == (in_words.code, yaml.safe_load(in_words.out)["value"])
    assert {"outcome": "would not be sent", "why": "the topic's `filter` rule drops it"} == dropped["now"]
    assert "cannot be sent" == unconfigured["now"]["outcome"]
    assert "gone.v1" in unconfigured["now"]["why"]


def test_show_reads_a_value_that_was_too_large_at_its_origin(support: Support, admin: AdminClient) -> None:
    """As long as it is retained there; and never another record that has its place."""
    world = support.world
    (place,) = world.topics.create(support.origin)
    world.topics.produce([Sent(support.origin, note(0), b"key-0"), Sent(support.origin, b"other", b"key-1")])
    ids = support.write(
        without_value(support.letter(0, value=note(0))), without_value(support.letter(1, value=note(1)))
    )

    kept = json.loads(support.run("show", ids[0], "--json").out)
    replaced = json.loads(support.run("show", ids[1], "--json").out)
    begin = TopicPartition(*place, 1)
    admin.delete_records([begin])[begin].result(30)
    gone = json.loads(support.run("show", ids[0], "--json").out)

    assert {"tenant": "text of 4", "number": "number"} == kept["value"]
    assert "would be sent" == kept["now"]["outcome"]
    assert "cannot be sent" == replaced["now"]["outcome"]
    assert "cannot be sent" == gone["now"]["outcome"]


# ids and discard


def test_what_is_discarded_is_said_first_and_remembered_then(support: Support) -> None:
    """Plan, execute, and the same again finds nothing; reason and name stay with the letter."""
    ids = support.write(*[support.letter(n, code="tombstone") for n in range(30)], partition=2)
    support.write(support.letter())

    plan = support.run("discard", "--code", "tombstone")
    between = support.run("list", "--json", "--limit", "100")
    done = support.run("discard", "--code", "tombstone", "--reason", "OPS-17", "--who", "jo", "--execute")
    again = support.run("discard", "--code", "tombstone", "--reason", "OPS-17", "--execute")
    shown = json.loads(support.run("show", ids[0], "--json").out)

    assert "This would discard 30 letters" in plan.out
    assert "Nothing was changed. Add --reason and --execute to do it." in plan.out
    with_reason = support.run("discard", "--code", "template_null", "--reason", "OPS-17")
    assert "Nothing was changed. Add --execute to do it." in with_reason.out
    assert 31 == len(between.lines)
    assert f"Discarded 30 letters of {support.topic}, as jo: OPS-17\n" == done.out
    assert "With another --state it matches 30 discarded." in again.out
    assert 1 == len(support.run("list", "--json").lines)
    assert sorted(ids) == sorted(
        line["id"] for line in support.run("list", "--json", "--state", "discarded").lines
    )
    assert ("discarded", "OPS-17", "jo") == (
        shown["state"],
        shown["resolution"]["reason"],
        shown["resolution"]["who"],
    )


def test_ids_that_list_wrote_choose_exactly_those_letters(support: Support, tmp_path: Path) -> None:
    """From a file and from a pipe, in any order, across partitions."""
    for partition in range(3):
        support.write(*[support.letter(n) for n in range(10)], partition=partition)
    lines = support.run("list", "--json", "--offset", "3", "--offset", "8").out.splitlines()
    file = tmp_path / "ids"
    file.write_text("\n".join(reversed(lines[:4])))

    listed = support.run("list", "--json", "--ids", str(file))
    shown = support.run("show", "--ids", "-", "--json", stdin="\n".join(lines))
    support.run("discard", "--ids", str(file), "--reason", "x", "--execute")

    assert sorted(lines[:4]) == sorted(listed.out.splitlines())
    assert 6 == shown.out.count('"now"')
    assert 26 == len(support.run("list", "--json").lines)


# Letters of one record


def test_letters_of_one_record_are_listed_shown_and_discarded_as_one(support: Support) -> None:
    """Whichever of their ids is given. Dead-lettered anew, the record is open again."""
    first = support.letter(7, code="tombstone")
    (old,) = support.write(first, partition=2)
    support.write(support.letter(8))
    code = ("partner-bridge.code", b"json_invalid")
    again = replace(first, headers=tuple(code if h[0] == code[0] else h for h in first.headers))
    (new,) = support.write(again, partition=0, at_ms=AT_MS + 60_000)

    totals = support.run("list")
    by_code = [support.run("list", "--json", "--code", code).lines for code in ("tombstone", "json_invalid")]
    shown = support.run("show", old, new, "--json")
    done = support.run("discard", "--ids", "-", "--reason", "x", "--execute", stdin=f"{old}\n")
    left = support.run("list", "--json").lines
    discarded = [json.loads(support.run("show", each, "--json").out)["state"] for each in (old, new)]
    (newest,) = support.write(first, partition=1, at_ms=AT_MS + 120_000)

    assert "2 open dead letters in" in totals.out
    assert "1 letter with a newer one of the same record" in totals.err
    assert [[], [new]] == [[line["id"] for line in lines] for lines in by_code]
    assert ("json_invalid", new) == (json.loads(shown.out)["code"], json.loads(shown.out)["id"])
    assert f"note: {new} is a newer letter of the same record as {old}: it is taken\n" == shown.err
    assert "Discarded 1 letter " in done.out
    assert f"note: {new} is a newer letter" in done.err
    assert [8] == [line["offset"] for line in left]
    assert ["discarded", "discarded"] == discarded
    assert {newest, f"{support.topic}/0/0"} == {line["id"] for line in support.run("list", "--json").lines}


# The resolutions topic


def test_a_missing_resolutions_topic_is_named_with_what_makes_it(support: Support) -> None:
    """Looking goes on without it; discarding needs it, and creates it only when allowed."""
    support.write(support.letter())
    support.configure(create=False)

    listed = support.run("list")
    refused = support.run("discard", "--reason", "x", "--execute")
    support.configure(create=True)
    done = support.run("discard", "--reason", "x", "--execute")

    command = f"kafka-topics.sh --create --topic {support.resolutions} --partitions 3"
    assert 0 == listed.code
    assert "1 open dead letter" in listed.out
    assert command in listed.err
    assert 2 == refused.code
    assert f"dead_letter.resolutions_topic: the topic {support.resolutions} does not exist" in refused.err
    assert command in refused.err
    assert "--config cleanup.policy=compact" in refused.err
    assert "Discarded 1 letter " in done.out
    assert 3 == len(support.world.topics.partitions(support.resolutions))


@pytest.mark.parametrize(
    ("topic_config", "text"),
    [
        ({"cleanup.policy": "delete"}, "is not compacted"),
        ({"cleanup.policy": "compact,delete", "retention.ms": "1000"}, "may delete what became of letters"),
        ({"cleanup.policy": "compact,delete", "retention.ms": "-1"}, None),
    ],
)
def test_a_resolutions_topic_that_would_forget_is_refused(
    support: Support, topic_config: dict[str, str], text: str | None
) -> None:
    """Letters that were sent would be sent again once it has forgotten; looking is still possible."""
    support.world.topics.create(support.resolutions, partitions=3, config=topic_config)
    support.write(support.letter())

    listed = support.run("list")
    discarded = support.run("discard", "--reason", "x", "--execute")

    assert 0 == listed.code
    if text is None:
        assert "" == listed.err
        assert 0 == discarded.code
    else:
        assert text in listed.err
        assert 2 == discarded.code
        assert text in discarded.err
        assert "--add-config cleanup.policy=compact" in discarded.err


def test_a_dead_letter_topic_that_grew_is_served_whole(support: Support, admin: AdminClient) -> None:
    """What became of letters in the new partitions has a place, or it is said what makes one."""
    support.write(support.letter())
    support.run("discard", "--reason", "x", "--execute")
    admin.create_partitions([NewPartitions(support.topic, 5)])[support.topic].result(30)
    wait_until(lambda: len(support.world.topics.partitions(support.topic)) == 5, what="it has grown")
    support.write(support.letter(), partition=4)
    support.configure(create=False)

    listed = support.run("list", "--json")
    refused = support.run("discard", "--reason", "x", "--execute")
    support.configure(create=True)
    done = support.run("discard", "--reason", "x", "--execute")

    assert [f"{support.topic}/4/0"] == [line["id"] for line in listed.lines]
    assert f"kafka-topics.sh --alter --topic {support.resolutions} --partitions 5" in listed.err
    assert 2 == refused.code
    assert "Discarded 1 letter " in done.out
    assert [] == support.run("list", "--json").lines


def test_strange_records_among_the_resolutions_are_counted(support: Support) -> None:
    """They hide nothing that was written properly."""
    support.write(support.letter())
    support.run("discard", "--reason", "x", "--execute")
    support.world.topics.produce([Sent(support.resolutions, b"{}", b"what", partition=0)])

    ran = support.run("list", "--json")

    assert [] == ran.lines
    assert f"note: 1 records of {support.resolutions} are no resolutions and were left out\n" == ran.err


def test_a_resolutions_topic_that_is_deleted_while_it_is_read_was_not_read(
    support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is not that of its partitions: what was resolved would look open, and be sent again."""
    monkeypatch.setattr(reader, "STALLED_READ_S", 4.0)
    settings = config.load(support.file, {})
    with closing(ResolutionTopic(settings)) as resolutions:
        resolutions.ensure(3)
        for offset in range(30_000):
            letter = Position(Partition(support.topic, offset % 3), offset)
            resolutions.write(
                letter, Resolution(DeadLetterState.DELIVERED, AT_MS, AT_MS, event_id=secrets.token_hex(150))
            )
        resolutions.flush(30)

        reading = resolutions.follow()
        next(reading)
        support.world.topics.delete(support.resolutions)
        with pytest.raises(UnavailableError, match=f"{support.resolutions}: nothing arrived for 4 s"):
            list(reading)


# While the bridge runs


def test_a_running_bridge_counts_open_letters_when_told_to(support: Support) -> None:
    """By code, and down again once they are resolved."""
    support.world.topics.create(support.origin)
    tombstones = [support.letter(n, code="tombstone") for n in range(7)]
    support.write(*tombstones, support.letter())
    support.write(*tombstones[:3], partition=2)  # a bridge was killed before it committed
    support.write(DeadLetterRecord(None, b"no letter", ()), partition=1)
    bridge = support.world.bridge(support.configure(count_open_every="1s")).start()

    bridge.wait_metric("dead_letters_open", 7, code="tombstone")
    bridge.wait_metric("dead_letters_open", 1, code="unreadable")
    support.run("discard", "--code", "tombstone", "--reason", "x", "--execute")
    bridge.wait_metric("dead_letters_open", 0, code="tombstone")

    assert 2 == bridge.metric("dead_letters_open")
    assert bridge.sigterm() < 10


def test_the_last_error_of_a_topic_is_in_readyz(support: Support) -> None:
    """An alert names the pod; its `/readyz` says what is wrong, and stays 200."""
    partitions = support.world.topics.create(support.origin)
    bridge = support.world.bridge(support.configure()).start()
    support.world.topics.produce([Sent(support.origin, b"{")])
    support.world.wait_settled(partitions)

    status, details = bridge.ready()

    assert 200 == status
    assert "json_invalid" in details["last_errors"][support.origin]["error"]
