"""Loading and showing: late problems join the list, secrets are masked, and the schema is current."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from connector import config
from connector.config.load import json_schema
from connector.config.settings import Settings
from connector.errors import ConfigError, Problem
from tests.configuration import EVENT, Written, with_settings, with_topic

ROOT = Path(__file__).parents[3]


# What is accepted


def test_files_are_relative_to_the_configuration_file(written: Written) -> None:
    """A schema next to the configuration is found from whatever folder the bridge is started in."""
    settings = written.load(with_topic(value={"framing": "none", "schema": "order.avsc"}))

    assert written.file.parent / "order.avsc" == settings.topics["orders.v1"].value.schema_file


# What is refused


def test_what_is_found_later_joins_the_list(tmp_path: Path) -> None:
    """Mistakes in templates are told together with mistakes of types, although they are found elsewhere."""
    file = tmp_path / "bridge.yaml"
    file.write_text(with_settings(http={"port": "x"}), "utf-8")
    seen: list[str] = []

    def later(settings: Settings) -> list[Problem]:
        seen.append(settings.topics["orders.v1"].event.source)
        return [Problem("topics.orders.v1.event.source", "wrong")]

    with pytest.raises(ConfigError) as caught:
        config.load(file, {}, also=later)

    assert ["aws.partner/example.com/a"] == seen
    assert [
        "http.port: must be a whole number (line 16)",
        "topics.orders.v1.event.source: wrong (line 13)",
    ] == list(map(str, caught.value.problems))


# Showing

SECRETS = {
    "kafka": {
        "sasl.username": "bridge",
        "sasl.password": "s3cret",
        "ssl.key.password": "s3cret",
        "ssl.key.pem": "s3cret",
        "ssl.keystore.password": "s3cret",
        "sasl.oauthbearer.config": "s3cret",
        "sasl.oauthbearer.client.secret": "s3cret",
    },
    "schema_registry": {"basic_auth": {"username": "bridge", "password": "s3cret"}},
}


def test_secrets_are_never_shown(written: Written) -> None:
    """Neither `config show` nor a traceback with the settings in it holds a secret."""
    settings = written.load(with_settings(**SECRETS))
    shown = config.as_yaml(settings)

    assert "s3cret" not in shown + json.dumps(config.as_json(settings)) + repr(settings) + str(settings)
    assert 6 + 1 == shown.count("'***'")
    assert 2 == shown.count(": bridge\n")


def test_what_is_shown_can_be_loaded(written: Written) -> None:
    """`config show` prints a configuration that means the same, defaults and units included."""
    text = with_settings(
        eventbridge={"batch": {"period": "20ms"}, "max_requests_per_second": 2.5},
        delivery={"max_pending_bytes": 1_048_577},
        topics={
            "orders.v1": {
                "value": {"framing": "none", "schema": "order.avsc"},
                "key": {"format": "json"},
                "event": {**EVENT, "metadata": None, "detail": {"a": ["${value}", 1, "1", None, True]}},
            }
        },
    )
    settings = written.load(text)

    assert settings == written.load(config.as_yaml(settings))


# Reference


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(json_schema()))


def test_the_committed_schema_is_current() -> None:
    """`schemas/config.json` is what `partner-bridge config schema` prints."""
    assert json_schema() == (ROOT / "schemas" / "config.json").read_text("utf-8")


def test_the_schema_accepts_the_example(schema: jsonschema.Draft202012Validator) -> None:
    """An editor that uses the schema has nothing to complain about in the example."""
    schema.check_schema(schema.schema)

    schema.validate(yaml.safe_load((ROOT / "examples" / "bridge.yaml").read_text("utf-8")))


@pytest.mark.parametrize(
    "text",
    [
        with_settings(htp={}),
        with_settings(eventbridge={"timeouts": {"read": 5}}),
        with_settings(eventbridge={"batch": {"byte_size": "64 MiB"}}),
        with_settings(eventbridge={"batch": {"count": 21}}),
        with_settings(kafka={"enable.auto.commit": True}),
        with_settings(kafka={"error_cb": "x"}),
        with_settings(kafka={"bootstrap": {"servers": "x"}}),
        with_topic(tombstones="drop"),
        with_topic(event={"source": "a"}),
    ],
)
def test_the_schema_refuses_mistakes(text: str, schema: jsonschema.Draft202012Validator) -> None:
    """An editor marks what the bridge would refuse."""
    with pytest.raises(jsonschema.ValidationError):
        schema.validate(yaml.safe_load(text))


def test_the_schema_lets_secrets_stay_out_of_the_file(schema: jsonschema.Draft202012Validator) -> None:
    """A file whose passwords come from the environment is as it should be."""
    text = with_settings(schema_registry={"basic_auth": {"username": "bridge"}})

    schema.validate(yaml.safe_load(text))
