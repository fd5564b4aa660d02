"""Mistakes that people make in a configuration: each is told once, with line, rule, and what to write.

One table for the file and the environment; what a single setting allows is in `test_settings`, and what
settings demand of each other in `test_rules`.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from connector import config
from connector.config.settings import Settings
from tests.configuration import MINIMAL, Written


class Mistake(NamedTuple):
    """A mistake in the file (`text`) or the environment, and the parts of the one problem about it."""

    name: str
    place: str
    """The setting or variable; for what is no YAML, the file."""
    origin: str
    """The line of the file, or the variable."""
    rule: str
    advice: str
    text: str = MINIMAL
    environ: dict[str, str] = {}  # noqa: RUF012 - never changed


def _event(line: str) -> str:
    """The minimal configuration with one more line in the event, the thirteenth of the file."""
    event = "event: {source: aws.partner/example.com/a, detail_type: Order}"
    return MINIMAL.replace(
        f"    {event}\n",
        f"    event:\n      source: aws.partner/example.com/a\n      detail_type: Order\n{line}\n",
    )


UNREAD = "is not read: names are in capitals and begin with BRIDGE_"
UNKNOWN = "no setting has this environment variable"

MISTAKES = [
    # YAML
    Mistake("tab", "bridge.yaml", "line 13", r"found character '\t'", "write spaces", _event("\ttime: a")),
    Mistake("tab after a key", "bridge.yaml", "line 13", r"'\t'", "write spaces", _event("      time:\ta")),
    Mistake(
        "tab after spaces", "bridge.yaml", "line 13", r"'\t'", "no tab before a key", _event("   \ttime: a")
    ),
    Mistake(
        "braces in a flow",
        "bridge.yaml",
        "line 13",
        "expected ',' or ']', but got '{'",
        'in quotes inside { } and [ ], as "${value.id}"',
        _event("      resources: [${value.id}]"),
    ),
    Mistake(
        "backquote first",
        "bridge.yaml",
        "line 13",
        "found character '`'",
        "put the text in quotes",
        _event("      time: `1`"),
    ),
    Mistake(
        "colon in text",
        "bridge.yaml",
        "line 13",
        "mapping values are not allowed here",
        "put text with `: ` in it in quotes",
        _event("      metadata: a: b"),
    ),
    Mistake(
        "quote ends early",
        "bridge.yaml",
        "line 13",
        "not YAML: expected <block end>",
        "put other quotes around the whole",
        _event("      time: 'x' == value.y"),
    ),
    Mistake(
        "indentation",
        "bridge.yaml",
        "line 13",
        "not YAML: ",
        "indent the keys of one group alike",
        _event("     time: a"),
    ),
    Mistake(
        "backslash",
        "bridge.yaml",
        "line 13",
        "unknown escape character",
        r"write \\ for a backslash",
        _event(r'      time: "\${a}"'),
    ),
    Mistake(
        "exclamation mark",
        "topics.orders.v1.filter",
        "line 11",
        "YAML tag !value.a means nothing here",
        "put text that begins with ! in quotes",
        MINIMAL + "    filter: !value.a\n",
    ),
    # types
    Mistake(
        "text wanted",
        "topics.orders.v1.event.time",
        "line 13",
        "must be text",
        'an example is "${value.updated_at}"',
        _event("      time: {a: b}"),
    ),
    Mistake(
        "text wanted in a list",
        "topics.orders.v1.event.resources[1]",
        "line 13",
        "must be text",
        'an example is "order/${value.order_id}"',
        _event("      resources: [a, [b]]"),
    ),
    Mistake(
        "list wanted",
        "topics.orders.v1.event.resources",
        "line 13",
        "must be a list",
        'an example is ["order/${value.order_id}"]',
        _event("      resources: a"),
    ),
    Mistake(
        "path wanted",
        "eventbridge.ca_bundle",
        "line 6",
        "must be a path",
        "as /etc/partner-bridge/ca.pem",
        MINIMAL.replace("region: eu-central-1", "region: eu-central-1, ca_bundle: [a]"),
    ),
    # time
    Mistake(
        "another word for a unit",
        "topics.orders.v1.event.time_unit",
        "line 13",
        "must be one of",
        "auto, s, ms, us, ns",
        _event("      time_unit: seconds"),
    ),
    Mistake(
        "unit without time",
        "topics.orders.v1.event.time_unit",
        "line 13",
        "is for `time`",
        "set time too",
        _event("      time_unit: s"),
    ),
    # names of variables
    *(
        Mistake(variable, variable, variable, rule, meant, environ={variable: "x"})
        for variable, rule, meant in [
            ("bridge_kafka__group_id", UNREAD, "write BRIDGE_KAFKA__GROUP_ID"),
            ("Bridge_Kafka__Group_Id", UNREAD, "write BRIDGE_KAFKA__GROUP_ID"),
            ("bridge_eventbridge_region", UNREAD, "write BRIDGE_EVENTBRIDGE__REGION"),
            ("bridge_htp__port", UNREAD, "write BRIDGE_HTTP__PORT"),
            ("bridge_topics__orders_v1__filter", UNREAD, "write BRIDGE_TOPICS__ORDERS_V1__FILTER"),
            ("bridge_config", UNREAD, "write BRIDGE_CONFIG"),
            ("PARTNER_BRIDGE_KAFKA__SASL_PASSWORD", UNREAD, "write BRIDGE_KAFKA__SASL_PASSWORD"),
            ("KAFKA_PARTNER_BRIDGE_LOG_LEVEL", UNREAD, "write BRIDGE_LOG__LEVEL"),
            ("BRIDGE_KAFKA__GROUP__ID", UNKNOWN, "did you mean 'BRIDGE_KAFKA__GROUP_ID'?"),
            ("BRIDGE_KAFKA__SASL__PASSWORD", UNKNOWN, "did you mean 'BRIDGE_KAFKA__SASL_PASSWORD'?"),
            (
                "BRIDGE_EVENTBRIDGE_BATCH_PERIOD",
                UNKNOWN,
                "did you mean 'BRIDGE_EVENTBRIDGE__BATCH__PERIOD'?",
            ),
            (
                "BRIDGE_SCHEMA_REGISTRY_BEARER_TOKEN_FILE",
                UNKNOWN,
                "did you mean 'BRIDGE_SCHEMA_REGISTRY__BEARER_TOKEN_FILE'?",
            ),
        ]
    ),
    Mistake(
        "missing, and set under another name",
        "kafka.group.id",
        "line 2",
        "required, and missing",
        "KAFKA_GROUP_ID is set, and the bridge reads BRIDGE_KAFKA__GROUP_ID",
        MINIMAL.replace("  group.id: orders\n", ""),
        {"KAFKA_GROUP_ID": "x"},
    ),
    Mistake(
        "missing, and set in small letters",
        "bridge_kafka__group_id",
        "bridge_kafka__group_id",
        UNREAD,
        "write BRIDGE_KAFKA__GROUP_ID",
        MINIMAL.replace("  group.id: orders\n", ""),
        {"bridge_kafka__group_id": "x"},
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.name for mistake in MISTAKES])
def test_a_mistake_is_told_once_with_line_rule_and_advice(written: Written, mistake: Mistake) -> None:
    """Whoever reads the problem knows where to look, what is wrong, and what to write instead."""
    problems = written.problems(mistake.text, mistake.environ)

    assert 1 == len(problems), problems
    place = str(written.file) if mistake.place == "bridge.yaml" else mistake.place
    assert problems[0].startswith(place)
    for part in (mistake.origin, mistake.rule, mistake.advice):
        assert part in problems[0]


# Allowed, and probably not meant

READ_BY_OTHERS = {
    "KAFKA_HOME": "/opt/kafka",
    "KAFKA_HEAP_OPTS": "-Xmx1g",
    "KAFKA_PORT": "tcp://10.0.0.1:9092",
    "HTTP_PORT": "tcp://10.0.0.1:80",
    "KAFKA_SSL_SERVICE_HOST": "10.0.0.1",
    "PARTNER_BRIDGE_SERVICE_HOST": "10.0.0.1",
    "PARTNER_BRIDGE_PORT": "tcp://10.0.0.1:8080",
    "PARTNER_BRIDGE_KAFKA_SERVICE_PORT_HTTP": "80",
    "NAME": "x",
    "HTTP": "x",
    "HTTP_PROXY": "http://proxy:3128",
    "AWS_REGION": "eu-central-1",
}


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("KAFKA__GROUP__ID", "BRIDGE_KAFKA__GROUP_ID"),
        ("KAFKA_BOOTSTRAP_SERVERS", "BRIDGE_KAFKA__BOOTSTRAP_SERVERS"),
        ("KAFKA_SASL_PASSWORD", "BRIDGE_KAFKA__SASL_PASSWORD"),
        ("kafka__sasl_password_file", "BRIDGE_KAFKA__SASL_PASSWORD_FILE"),
        ("EVENTBRIDGE_REGION", "BRIDGE_EVENTBRIDGE__REGION"),
        ("LOG_LEVEL", "BRIDGE_LOG__LEVEL"),
        ("TOPICS__ORDERS_V1__FILTER", "BRIDGE_TOPICS__ORDERS_V1__FILTER"),
        ("BRIGDE_HTTP__PORT", "BRIDGE_HTTP__PORT"),
        ("APP_EVENTBRIDGE__MAX_IN_FLIGHT", "BRIDGE_EVENTBRIDGE__MAX_IN_FLIGHT"),
    ],
)
def test_a_variable_without_the_prefix_is_warned_of(written: Written, variable: str, meant: str) -> None:
    """It may belong to another program, so the bridge starts; it says which variable it would read."""
    environ = {variable: "hunter2", **READ_BY_OTHERS}
    (warning,) = config.warnings(written.load(MINIMAL, environ), environ)

    assert f"{variable}: is not read; if it is meant for the bridge, its name must be {meant}" == str(warning)


def test_variables_of_other_programs_are_not_warned_of(written: Written) -> None:
    """Links that Kubernetes makes, Kafka's own variables and single words are left alone."""
    settings = written.load(MINIMAL, READ_BY_OTHERS)

    assert [] == config.warnings(settings, READ_BY_OTHERS)


def test_a_variable_beside_the_right_one_is_not_warned_of(written: Written) -> None:
    """Where the bridge's own is set, another program has the other."""
    environ = {"KAFKA_GROUP_ID": "theirs", "BRIDGE_KAFKA__GROUP_ID": "ours"}
    settings: Settings = written.load(MINIMAL, environ)

    assert [] == config.warnings(settings, environ)
    assert "ours" == settings.kafka.options["group.id"]
