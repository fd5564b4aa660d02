"""Environment variables: they win over the file, and one that sets nothing is a problem."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from connector import config
from tests.configuration import EVENT, MINIMAL, Written


def test_the_environment_wins(written: Written) -> None:
    """Every setting has a variable, and it replaces what the file says."""
    settings = written.load(
        MINIMAL,
        {
            "BRIDGE_NAME": "other",
            "BRIDGE_EVENTBRIDGE__REGION": "us-east-1",
            "BRIDGE_EVENTBRIDGE__BATCH__PERIOD": "10ms",
            "BRIDGE_KAFKA__SASL_PASSWORD": "0123: '#",
            "BRIDGE_KAFKA__AUTO_OFFSET_RESET": "latest",
            "BRIDGE_TOPICS__ORDERS_V1__ORDERING": "partition",
            "BRIDGE_TOPICS__ORDERS_V1__EVENT__DETAIL": "{id: '${value.id}', n: 1}",
            "BRIDGE_TOPICS__ORDERS_V1__EVENT__RESOURCES": "[a, b]",
            "BRIDGE_CONFIG": "elsewhere.yaml",
            "HOME": "/",
        },
    )

    assert ("other", "us-east-1", 0.01) == (
        settings.name,
        settings.eventbridge.region,
        settings.eventbridge.batch.period,
    )
    assert ("0123: '#", "latest", "orders") == tuple(
        settings.kafka.options[key] for key in ("sasl.password", "auto.offset.reset", "group.id")
    )
    topic = settings.topics["orders.v1"]
    assert ("partition", {"id": "${value.id}", "n": 1}, ["a", "b"]) == (
        topic.ordering,
        topic.event.detail,
        topic.event.resources,
    )
    assert "Order" == topic.event.detail_type


def test_the_environment_alone_is_enough() -> None:
    """No file is needed: groups can be given whole, as YAML or JSON."""
    settings = config.load(
        None,
        {
            "BRIDGE_KAFKA": "{bootstrap.servers: kafka, group.id: g}",
            "BRIDGE_EVENTBRIDGE__REGION": "eu-central-1",
            "BRIDGE_DEAD_LETTER__TOPIC": "dlt",
            "BRIDGE_TOPICS": json.dumps({"orders": {"value": {"format": "json"}, "event": EVENT}}),
        },
    )

    assert ("g", "json") == (settings.kafka.options["group.id"], settings.topics["orders"].value.format)


def test_secrets_come_from_files(written: Written, tmp_path: Path) -> None:
    """`…_FILE` names a file; the newline that editors add is not part of the secret, others are."""
    (tmp_path / "password").write_text("pass word\n\n", "utf-8")
    (tmp_path / "token").write_text("t0ken", "utf-8")
    settings = written.load(
        MINIMAL,
        {
            "BRIDGE_KAFKA__SASL_PASSWORD_FILE": str(tmp_path / "password"),
            "BRIDGE_SCHEMA_REGISTRY__BEARER_TOKEN_FILE": str(tmp_path / "token"),
        },
    )

    assert "pass word\n" == settings.kafka.options["sasl.password"]
    assert settings.schema_registry is not None
    assert settings.schema_registry.bearer_token is not None
    assert "t0ken" == settings.schema_registry.bearer_token.get_secret_value()


@pytest.mark.parametrize("secret", ["hunter2", "-----BEGIN PRIVATE KEY-----\nMIIE/hunter2=="])
def test_a_secret_where_a_file_belongs_is_not_repeated(written: Written, secret: str) -> None:
    """Whoever starts the bridge so reads in its log which variable is meant, and so do others."""
    (problem,) = written.problems(MINIMAL, {"BRIDGE_KAFKA__SASL_PASSWORD_FILE": secret})

    assert "hunter2" not in problem
    assert problem.startswith("BRIDGE_KAFKA__SASL_PASSWORD_FILE: names no file that can be read: ")
    assert problem.endswith("; for the secret itself set BRIDGE_KAFKA__SASL_PASSWORD")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            {"BRIDGE_EVENTBRIDGE_REGION": "x"},
            "BRIDGE_EVENTBRIDGE_REGION: no setting has this environment variable; did you mean "
            "'BRIDGE_EVENTBRIDGE__REGION'?",
        ),
        ({"BRIDGE_KAFKA_SASL_PASSWORD": "x"}, "did you mean 'BRIDGE_KAFKA__SASL_PASSWORD'?"),
        ({"BRIDGE_HTTP__PROT": "1"}, "did you mean 'BRIDGE_HTTP__PORT'?"),
        ({"BRIDGE_HTTP__PORT__X": "1"}, "BRIDGE_HTTP__PORT__X: no setting has this environment variable"),
        ({"BRIDGE_TOPICS__ORDERS_V2__ORDERING": "key"}, "did you mean 'BRIDGE_TOPICS__ORDERS_V1__ORDERING'?"),
        ({"BRIDGE_HTTP__PORT": "99999"}, "http.port: must be at most 65535 (BRIDGE_HTTP__PORT)"),
        ({"BRIDGE_HTTP__PORT_FILE": "/x"}, "BRIDGE_HTTP__PORT_FILE: no setting has this"),
        ({"BRIDGE_TOPICS__ORDERS_V1__VALUE__SCHEMA_FILE": "/x"}, "SCHEMA_FILE: no setting has this"),
        (
            {"BRIDGE_KAFKA__SASL_PASSWORD_FILE": "/nowhere"},
            "BRIDGE_KAFKA__SASL_PASSWORD_FILE: cannot read /nowhere: no such file or directory",
        ),
        (
            {"BRIDGE_KAFKA__SASL_PASSWORD_FILE": "/nowhere", "BRIDGE_KAFKA__SASL_PASSWORD": "x"},
            "BRIDGE_KAFKA__SASL_PASSWORD_FILE: set BRIDGE_KAFKA__SASL_PASSWORD or this one, not both",
        ),
        ({"BRIDGE_KAFKA__ACKS": "1"}, "kafka.acks: cannot be set here: a dead letter is settled only"),
        ({"BRIDGE_HTTP": "{port: 1"}, "BRIDGE_HTTP, line 1, column 9: not YAML"),
    ],
)
def test_a_wrong_variable_is_a_problem_of_its_own(
    written: Written, environ: dict[str, str], expected: str
) -> None:
    """A variable that sets nothing is as much a mistake as an unknown key, and is named."""
    problems = written.problems(MINIMAL, environ)

    assert 1 == len(problems), problems
    assert expected in problems[0]


def test_variables_that_kubernetes_adds_are_no_settings(written: Written) -> None:
    """A Service named `bridge` in the namespace must not stop the bridge from starting."""
    links = {
        "BRIDGE_SERVICE_HOST": "10.0.0.1",
        "BRIDGE_SERVICE_PORT": "8080",
        "BRIDGE_SERVICE_PORT_HTTP": "8080",
        "BRIDGE_PORT": "tcp://10.0.0.1:8080",
        "BRIDGE_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "BRIDGE_PORT_8080_TCP_ADDR": "10.0.0.1",
        "BRIDGE_HTTP_SERVICE_HOST": "10.0.0.1",
    }

    assert written.load(MINIMAL) == written.load(MINIMAL, links)
