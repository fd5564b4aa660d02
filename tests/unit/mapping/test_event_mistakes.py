"""What would go wrong with every record is said by `check`: where, which rule, and what to write instead."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector import config
from connector.cli import problems
from connector.config.settings import Topic
from connector.errors import ConfigError, RecordError
from connector.eventbridge.entry import entry
from connector.mapping import event, templates
from connector.mapping.event import Mapping
from connector.mapping.results import ANYTHING
from connector.model import Json
from tests.mapping import TIMESTAMP_MS, decoded, event_of, topic

GROUPS = """\
kafka: {bootstrap.servers: localhost:9092, group.id: orders}
schema_registry: {url: http://registry:8081}
eventbridge: {region: eu-central-1}
targets: {us: {region: us-east-1}, eu-west: {region: eu-west-1}}
dead_letter: {topic: orders.dlt}
topics:
"""


class Mistake(NamedTuple):
    """One line of a topic that can be right for no record, and what is said of it.

    The topic is otherwise right. `line` replaces the line that begins with the same key.
    """

    line: str
    said: str
    advised: str
    also: str = ""
    """More of the topic's settings, each on a line of its own."""
    topic: str = "orders.v1"


TOPIC = {
    "value": "value: {format: json}",
    "key": "key: {format: string}",
    "filter": "filter: \"value.status != 'DRAFT'\"",
    "target": "target: default",
    "event": "event:",
    "source": '  source: "aws.partner/example.com/${value.tenant}"',
    "detail_type": '  detail_type: "Order ${value.status}"',
    "time": '  time: "${value.updated_at}"',
    "resources": "  resources: []",
    "detail": '  detail: "${value}"',
    "metadata": "  metadata: _kafka",
}


def written(line: str, also: str, topic: str) -> tuple[str, int]:
    """The configuration with a line of its topic replaced, and the number of that line."""
    lines = dict(TOPIC)
    for other in filter(None, [*also.split("\n"), line]):
        key = other.strip().partition(":")[0]
        assert key in lines
        lines[key] = ("  " if lines[key].startswith(" ") else "") + other
    body = textwrap.indent("\n".join(lines.values()), "    ")
    key = line.partition(":")[0]
    number = GROUPS.count("\n") + 2 + list(lines).index(key)
    return f'{GROUPS}  "{topic}":\n{body}\n', number


X140 = "x" * 140
MISTAKES = [
    # Templates without expressions, by the rules of entries.
    Mistake(
        "source: aws.partnr/x/y", "'aws.partnr/x/y' is not `aws.partner/` with at", "aws.partner/example.com/"
    ),
    Mistake(
        "source: aws.partner/x",
        "'aws.partner/x' is not `aws.partner/` with at least two",
        "as in aws.partner/",
    ),
    Mistake("source: aws.partner/a/b c", "'aws.partner/a/b c' is not", "letters, digits, `.`, `-` and `_`"),
    Mistake(
        f"source: aws.partner/a/{'x' * 250}", "has 264 characters, and EventBridge allows 256", "shorten it"
    ),
    Mistake(f"detail_type: {X140}", "has 140 characters, and EventBridge allows 128", "shorten it: 'xxx"),
    Mistake(f"resources: [{'x' * 2049}]", "has 2049 characters, and EventBridge allows 2048", "shorten it"),
    Mistake("time: yesterday", "yesterday is not a date and time in ISO 8601", "2026-01-31T12:00:00Z"),
    Mistake("time: 2026-01-31T12:00:00", "has no time zone", "write a Z"),
    Mistake('detail: {a: ["x\\udc00"]}', "half of a surrogate pair", "write the whole character"),
    Mistake("detail: {a: 9223372036854775808}", "an integer beyond 64 bit", "write it as text"),
    Mistake(
        "detail: {_kafka: 1}", "has the key `_kafka` for every record", "choose another name for `metadata`"
    ),
    Mistake("detail: [1]", "has the key `value` for every record", "Rename it", also="metadata: value"),
    # The fixed parts of others.
    Mistake('source: "aws.partnr/${value.t}"', "begins with 'aws.partnr/'", "must begin with `aws.partner/`"),
    Mistake('source: "aws.partner//${value.t}"', "has 'aws.partner//' in it", "at least one"),
    Mistake('source: "aws.partner/a/${value.t} b"', "has ' b' in it", "letters, digits, `.`, `-` or `_`"),
    Mistake('source: "aws.partner/${value.t}/"', "ends with '/'", "no `/` may stand at the end"),
    Mistake(
        f'source: "aws.partner/a/{"x" * 200}${{value.t}}{"x" * 60}"',
        "has 274 characters without",
        "shorten it",
    ),
    Mistake(
        f'detail_type: "{"x" * 129}${{value.s}}"', "has 129 characters without what expr", "shorten it: 'xx"
    ),
    Mistake(
        f'resources: ["{"x" * 2000}${{value.a}}{"x" * 50}"]', "has 2050 characters without", "shorten it"
    ),
    Mistake('target: "asia-${value.region}"', "there is no target asia-…", "known: default, us, eu-west"),
    # Constants.
    Mistake('source: "${`null`}"', "${`null`} is null for every record", "Name a field that records have"),
    Mistake(
        'detail_type: "${`true`}"', "is a boolean for every record: it is a constant", "Write to_string(…)"
    ),
    Mistake('detail_type: "${`{}`}"', "is an object for every record", "Name one of its fields"),
    Mistake("detail_type: \"${''}\"", "is empty, and must have 1 to 128 characters", "1 to 128 characters"),
    Mistake("resources: [\"${''}\"]", "is empty, and must have 1 to 2048 characters", "1 to 2048 characters"),
    Mistake('resources: ["${`[\\"a\\", null]`}"]', "item 2 is null for every record", "Name a field"),
    Mistake(
        'detail: {a: "x ${`null`}"}', "${`null`} is null for every record", "Name a field that records have"
    ),
    Mistake('time: "${`true`}"', "is a boolean for every record", "must be ISO 8601 text or a number"),
    Mistake(
        "time: \"${'yesterday'}\"", "${'yesterday'} is not a date and time in ISO 8601", "2026-01-31T12:0"
    ),
    Mistake("target: \"${'eu-wset'}\"", "there is no target eu-wset; known: default, us", "mean 'eu-west'"),
    Mistake(
        "filter: '`true`'", "`true` is true for every record, so that it keeps all", "Leave `filter` out"
    ),
    Mistake(
        "filter: '`false`'", "`false` is false for every record, so that it drops all", "Compare a field"
    ),
    Mistake(
        "filter: \"topic == 'other'\"",
        "drops all: `topic` is the text orders.v1",
        "Compare a field of the record",
    ),
    Mistake(
        "filter: \"starts_with(topic, 'orders')\"",
        "keeps all: `topic` is the text orders",
        "Leave `filter` out",
    ),
    Mistake(
        "filter: offset", "offset is true for every record, so that it keeps all", "a number is true, also 0"
    ),
    Mistake(
        "filter: value.a || offset", "is true for every record, so that it keeps all", "Leave `filter` out"
    ),
    Mistake(
        "filter: headers.x == `5`",
        "a string or null with an integer, which are never equal",
        "Compare a field",
    ),
    Mistake(
        "filter: timestamp > '2026'", "compares numbers with numbers and strings with strings", "Compare a f"
    ),
    # Types known from syntax.
    Mistake(
        "source: \"${value.a == 'x'}\"", "a boolean for every record: `==` yields true or false", "to_string("
    ),
    Mistake(
        'detail_type: "${!(value.a)}"', "a boolean for every record: `!` yields true or false", "to_string("
    ),
    Mistake(
        'filter: "!value.a"', "drops all: `!` yields true or false", "it binds closer than a dot: !(a.b)"
    ),
    Mistake("detail_type: \"${contains(value.a, 'x')}\"", "contains() yields a boolean", "to_string(…)"),
    Mistake('detail_type: "${[value.a, value.b]}"', "is an array for every record", "write join(', ', …)"),
    Mistake(
        'detail_type: "${value.items[*].id}"', "is an array or null for every record", "must be a string or"
    ),
    Mistake('detail_type: "${keys(value)}"', "an array for every record: keys() yields an array", "`[0]`"),
    Mistake(
        'detail_type: "${avg(value.n)}"', "is a number with a fraction or null for every", "to_string(…)"
    ),
    Mistake('detail_type: "Order ${{a: value.a}}"', "an object for every record", "Name one of its fields"),
    Mistake('source: "aws.partner/a/${headers}"', "${headers} is an object for every record", "as `.id`"),
    Mistake('detail_type: "${headers}"', "${headers} is an object for every record", "as `.id`"),
    Mistake('resources: ["${headers}"]', "${headers} is an object for every record", "or an array of them"),
    Mistake("resources: [\"${[value.a, value.b == 'x']}\"]", "item 2 is a boolean for every", "to_string(…)"),
    Mistake(
        'time: "${value.a < value.b}"', "is a boolean or null for every record", "ISO 8601 text or a number"
    ),
    Mistake('time: "${[value.a]}"', "is an array for every record", "must be ISO 8601 text or a number"),
    Mistake(
        'time: "${value.a}T${headers}"', "${headers} is an object for every record", "Name one of its fields"
    ),
    Mistake('target: "${value.region == `1`}"', "is a boolean for every record", "to_string(…)"),
    Mistake('detail: "${{_kafka: value}}"', "has the key `_kafka` for every record", "Rename it"),
    Mistake(
        'detail: "${merge(value, {_kafka: topic})}"', "has the key `_kafka` for every record", "Rename it"
    ),
    # Roots without fields.
    Mistake(
        'source: "${key.id}"', "null for every record: `key` is text, by `key.format: string`", "Name a field"
    ),
    Mistake(
        'detail_type: "${value.x}"',
        "`value` is base64 text, by `value.format: bytes`",
        "Name a field",
        also="value: {format: bytes}\nfilter: value\nsource: aws.partner/a/b\ntime: 2026-01-31T12:00:00Z",
    ),
    Mistake(
        'detail: {id: "${key.id}"}', "`key` is text, by `key.format: string`, which has no fields", "Name a f"
    ),
    Mistake('detail: ["${topic.x}"]', "`topic` is the text orders.v1, which has no fields", "Name a field"),
    Mistake(
        'resources: ["a", "order/${offset[0]}"]', "`offset` is an integer, which has no items", "Name a field"
    ),
    Mistake(
        'detail_type: "${partition.x}"', "`partition` is an integer, which has no fields", "Name a field"
    ),
    Mistake(
        'time: "${timestamp.ms}"', "`timestamp` is an integer or null, which has no fields", "Name a field"
    ),
    Mistake('detail_type: "${headers.x.y}"', "a header is text or null, which has no fields", "Name a field"),
    Mistake(
        'detail_type: "${topic.x}"', "`topic` is text, which has no fields", "Name a field", topic="^orders"
    ),
    Mistake(
        "filter: key.type == 'x'",
        "drops all: `key` is text, by `key.format: string`, which has",
        "Compare a f",
    ),
    Mistake(
        "filter: key.id",
        "key.id is false for every record, so that it drops all: `key` is text",
        "Compare a f",
    ),
    # Functions on wrong constants or roots.
    Mistake(
        'detail_type: "n${length(offset)}"', "length() takes string or array or object, and `offset`", "takes"
    ),
    Mistake(
        'detail_type: "${join(`1`, value.a)}"', "join() takes string, and it is a constant", "takes string"
    ),
    Mistake(
        "detail: {a: \"${abs('x')}\"}", "fails for every record: abs() takes number, and", "takes number"
    ),
    Mistake(
        "detail: {a: \"${join(',', [topic, offset])}\"}", "of the array's items `offset` is", "array-string"
    ),
    Mistake(
        'filter: "contains(topic, offset)"', "contains() of a string takes a string", "and `offset` is an int"
    ),
    Mistake(
        'resources: ["${sum(headers)}"]', "sum() takes array-number, and `headers` is an object", "takes arr"
    ),
    Mistake("time: \"${to_number('x')}\"", "is null for every record", "Name a field that records have"),
    # JMESPath.
    Mistake("filter: value.order-id", "not JMESPath: Unknown token '-'", "quote a name that has more in it"),
    Mistake('detail_type: "${headers.content-type}"', "column 18: not JMESPath", ': "content-type"'),
    Mistake("filter: value.2fa", "column 7: not JMESPath: 2 cannot stand here", ': "2fa"'),
    Mistake("filter: value.total > 100", "not JMESPath: 100 cannot stand here", "in backquotes: `100`"),
    Mistake("filter: value.total > -1.5e3", "not JMESPath: -1 cannot stand here", "in backquotes: `-1.5e3`"),
    Mistake("filter: value.gift == true", "unknown name 'true'", "write `true` in backquotes"),
    Mistake('filter: value.status == "PAID"', "unknown name 'PAID'", "text stands in single ones: 'PAID'"),
    Mistake("filter: value.status == PAID", "unknown name 'PAID'", "for text write 'PAID'"),
    Mistake("filter: value.status = 'x'", "Unknown token '='", "write `==` for equality"),
    Mistake("filter: value.a <> 'x'", "> cannot stand here", "write `!=` for inequality"),
    Mistake("filter: value.a and value.b", "and cannot stand here", "write `&&` for `and`"),
    Mistake("filter: not value.a", "value cannot stand here", "write `!` for `not`"),
    Mistake("filter: value.a in value.b", "in cannot stand here", "write contains(array, item) for `in`"),
    Mistake(
        "detail_type: \"${value['a b']}\"", "a b cannot stand here", 'write the field behind a dot: ."a b"'
    ),
    Mistake('detail: {a: "${value.a + value.b}"}', "Unknown token +", "JMESPath does not calculate"),
    Mistake("filter: $.value.a", "Unknown token $", "an expression begins with one of value, key, headers"),
    Mistake('filter: "length() > `0`"', "length() takes 1 argument, and is given 0", "column 1"),
    Mistake("filter: lower(value.a)", "JMESPath has no function 'lower'", "; it has abs, avg, ceil"),
    Mistake("filter: lenght(value.a)", "JMESPath has no function 'lenght'", "did you mean 'length'?"),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.line[:60])
def test_check_says_what_can_be_right_for_no_record(tmp_path: Path, mistake: Mistake) -> None:
    """One problem, at its line, with the rule that is broken and what to write."""
    text, line = written(mistake.line, mistake.also, mistake.topic)
    file = tmp_path / "bridge.yaml"
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        config.load(file, {}, also=problems.problems)
    (problem,) = caught.value.problems

    key = mistake.line.partition(":")[0]
    assert re.match(rf"topics\.{re.escape(mistake.topic)}\.(event\.)?{key}\b", problem.path)
    assert mistake.said in problem.message
    assert mistake.advised in problem.message
    assert problem.message.endswith(f" (line {line})")
    assert "did you mean 'floor'" not in problem.message


RIGHT = [
    'source: "aws.partner/${value.a}"',  # a value may be a/b
    'source: "aws${value.a}"',
    'source: "${value.a}/b"',
    'source: "aws.partner/a${value.a}b"',
    'source: "${value.a}aws.partner/a"',
    'source: "${key.id || value.id}"',
    f'detail_type: "{"x" * 128}${{value.s}}"',
    "detail_type: \"${''}x\"",
    'detail_type: "is it? ${value.a == value.b}"',
    'detail_type: "${value.a || length(offset)}"',
    'detail_type: "${value.a && keys(value) || topic}"',
    'detail_type: "${sum(value.a)}"',
    'detail_type: "${max(value.a)}"',
    'detail_type: "${`7`}"',
    "resources: ['${keys(value)}', '${value.a[*]}', '${[value.a]}', '${[value.a][?@]}']",
    "resources: [\"${headers.a || [value.a == 'x']}\"]",
    "time: 2026-01-31T12:00:00Z",
    'time: "${value.a}yesterday"',
    'time: "${timestamp}"',
    'detail: "${`null`}"',
    'detail: {a: null, b: "${[headers, key]}", c: "${topic == \'other\'}"}',
    'detail: "${value.{_kafka: a}}"',
    'detail: "${merge(value, {b: topic})}"',
    'target: "${value.region}"',
    'target: "eu-${value.region}"',
    "target: \"${value.us && 'us' || 'default'}\"",
    "filter: topic != 'other' && value.a",
    "filter: value.a == `5` || value.b > `1`",
    "filter: value.a && length(offset)",
    "filter: '!key'",
    "filter: headers.x == '5'",
]


@pytest.mark.parametrize("line", RIGHT)
def test_what_is_right_for_some_record_is_not_refused(tmp_path: Path, line: str) -> None:
    """A template that works for a single record is no mistake of the configuration."""
    file = tmp_path / "bridge.yaml"
    file.write_text(written(line, "", "orders.v1")[0], "utf-8")
    settings = config.load(file, {}, also=problems.problems)

    assert ["orders.v1"] == list(settings.topics)


def test_a_pattern_has_no_one_topic(tmp_path: Path) -> None:
    """The name of the topic is a constant only where the configuration has it."""
    file = tmp_path / "bridge.yaml"
    file.write_text(written("filter: topic == 'orders.v2'", "", "^orders")[0], "utf-8")

    assert config.load(file, {}, also=problems.problems)


def test_every_mistake_has_its_own_line(tmp_path: Path) -> None:
    """The items of a list that goes over several lines, too."""
    text, line = written("resources:", "", "orders.v1")
    items = ['        - "a"', '        - "${headers}"', '        - "${offset[0]}"']
    lines = text.split("\n")
    file = tmp_path / "bridge.yaml"
    file.write_text("\n".join([*lines[:line], *items, *lines[line:]]), "utf-8")
    with pytest.raises(ConfigError) as caught:
        config.load(file, {}, also=problems.problems)

    assert [f"(line {line + 2})", f"(line {line + 3})"] == [
        problem.message[-len("(line 20)") :] for problem in caught.value.problems
    ]


# --- nothing else is refused --------------------------------------------------------------------

EXPRESSIONS = st.sampled_from(
    [
        "value.a",
        "value.a.b",
        "value.a[0]",
        "value.a[*]",
        "key",
        "key.a",
        "headers",
        "headers.a",
        "headers.a.b",
        "topic",
        "topic.a",
        "offset",
        "timestamp",
        "value.a==`1`",
        "topic=='orders.v1'",
        "offset=='1'",
        "!value.a",
        "value.a||'x'",
        "value.a||`null`",
        "value.a&&'x'",
        "[value.a]",
        "[value.a,'x']",
        "{a:value.a}",
        "keys(value)",
        "length(value)",
        "length(offset)",
        "contains(topic,'o')",
        "join('/',[topic,topic])",
        "value.a||length(offset)",
        "sum(value.a)",
        "to_string(value)",
        "''",
        "'x'",
        "`1`",
        "`null`",
        "`true`",
        "not_null(value.a,'aws.partner/a')",
    ]
)
PIECES = st.sampled_from(
    ["aws.partner/", "aws.partner/a/", "a", "/", "/a", "b c", "2026-01-31", "T00:00:00Z", "x" * 100]
)
TEMPLATES = st.lists(EXPRESSIONS.map("${{{}}}".format) | PIECES, min_size=1, max_size=3).map("".join)
VALUES: list[Json] = [None, True, 1, 1.5, TIMESTAMP_MS, [], {}, {"b": "x"}, ["x"], [1], ["x", None], [None]]
VALUES += ["", "x", "b/c", "aws.partner/a", "aws.partner/a/b", "aws.partner/", ".partner/a/b"]
VALUES += ["2026-01-31", "2026-01-31T00:00:00Z"]
NAME = "aws.partner/a/b"
RECORDS = [decoded({"a": a}, key=None) for a in VALUES]
RECORDS += [decoded({"a": a}, key=NAME, headers=(("a", NAME.encode()),)) for a in VALUES]


def ends(mapping: Mapping) -> Iterator[str]:
    """What becomes of each record: `sent`, `filter`, or the code of its dead letter."""
    for record in RECORDS:
        try:
            made = event_of(mapping, record)
            if made is not None:
                entry(made, max_event_bytes=262_144)
            yield "filter" if made is None else "sent"
        except RecordError as error:
            yield error.code


def with_template(field: str, text: str) -> Topic:
    """A topic with this text in one field; around an expression of the detail stands more text."""
    if field == "filter":
        return topic(filter=text)
    shapes: dict[str, Json] = {"resources": [text], "detail": {"x": f"{text} "}}
    return topic(filter=None, **{field: shapes.get(field, text)})


@pytest.mark.parametrize("field", ["source", "detail_type", "time", "resources", "detail", "filter"])
@settings(max_examples=50)
@given(data=st.data())
def test_nothing_is_refused_that_works_for_some_record(field: str, data: st.DataObject) -> None:
    """What is refused at start would, unchecked, dead-letter every record; a filter drops all or none."""
    made = with_template(field, data.draw(EXPRESSIONS if field == "filter" else TEMPLATES))
    try:
        Mapping(made, path="x", name="orders.v1")
    except ConfigError as error:
        found = error.problems
    else:
        return

    with pytest.MonkeyPatch.context() as unchecked:
        unchecked.setattr(templates, "result_of", lambda *_: ANYTHING)
        unchecked.setattr(event, "_check", lambda *_, **__: None)
        unchecked.setattr(event, "_try_fixed_time", lambda *_, **__: None)
        became = set(ends(Mapping(made, path="x", name="orders.v1")))
    assert "sent" not in became or (field == "filter" and "filter" not in became), found
