"""`partner-bridge export`, as a user types it: files that customers and catalogues read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import validate

from tests.configuration import with_topic
from tests.terminal import Ran, Terminal

STATUS = {"type": "enum", "name": "Status", "symbols": ["DRAFT", "PAID"]}
ORDER = {
    "type": "record",
    "name": "Order",
    "namespace": "com.example",
    "fields": [{"name": "id", "type": "string"}, {"name": "status", "type": STATUS}],
}
EVENT: dict[str, Any] = {"source": "aws.partner/example.com/acme", "detail_type": "Order ${value.status}"}
FILTER = "value.status != 'DRAFT'"


class Shell:
    """Types `export` in a folder with a configuration and a schema."""

    def __init__(self, terminal: Terminal, folder: Path) -> None:
        self._terminal = terminal
        self.folder = folder
        self.out = folder / "out"
        self.schema = folder / "order.avsc"
        self.schema.write_text(json.dumps(ORDER))
        self.configure(filter=FILTER)

    def configure(self, **topic: Any) -> None:
        topic.setdefault("event", EVENT)
        (self.folder / "bridge.yaml").write_text(with_topic(**topic))

    def __call__(self, *arguments: str, topic: str = "orders.v1", schema: bool = True) -> Ran:
        options = ["--config", str(self.folder / "bridge.yaml"), "--topic", topic, "--out", str(self.out)]
        given = ["--schema", str(self.schema)] if schema else []
        return self._terminal.run("export", *options, *given, *arguments)

    def written(self) -> dict[str, Any]:
        return {file.name: json.loads(file.read_text()) for file in sorted(self.out.iterdir())}


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Shell:
    return Shell(Terminal(capsys), tmp_path)


def test_it_writes_schemas_a_sample_and_the_pattern(shell: Shell) -> None:
    """One of each for a detail type, which the filter lets through; and it says so on stderr."""
    ran = shell()
    files = shell.written()
    sample, openapi = files["Order-PAID.sample.json"], files["Order-PAID.openapi.json"]
    its = openapi["components"]["schemas"]["AWSEvent"]

    assert (0, "") == (ran.code, ran.out)
    assert [f"wrote {shell.out / name}" for name in files] == sorted(ran.err.splitlines())
    assert {f"Order-PAID.{each}.json" for each in ("schema", "openapi", "sample")} | {
        "rule-pattern.json"
    } == set(files)
    assert {"source": [EVENT["source"]], "detail-type": ["Order PAID"]} == files["rule-pattern.json"]
    assert (EVENT["source"], "Order PAID") == (
        its["x-amazon-events-source"],
        its["x-amazon-events-detail-type"],
    )
    Draft4Validator(files["Order-PAID.schema.json"]).validate(sample)
    validate(openapi)
    OAS30Validator({**openapi, "$ref": "#/components/schemas/AWSEvent"}).validate(sample)
    assert {"id": "id-1", "status": "PAID"}.items() <= sample["detail"].items()


def test_it_writes_the_same_again(shell: Shell) -> None:
    """So that what is committed changes only where the mapping or the schema does."""
    shell()
    first = shell.written()
    shell()

    assert first == shell.written()


def test_it_writes_only_what_is_asked_for(shell: Shell) -> None:
    shell("--format", "pattern", "--format", "sample")

    assert ["Order-PAID.sample.json", "rule-pattern.json"] == list(shell.written())


def test_without_a_schema_what_is_known_is_written(shell: Shell) -> None:
    """The mapping's own part is; and what the mapping reads is in the sample."""
    shell.configure(value={"format": "json"}, event={**EVENT, "detail": {"order": "${value.id}", "v": 1}})
    ran = shell(schema=False)
    files = shell.written()
    detail = files["orders.v1.schema.json"]["properties"]["detail"]

    assert 0 == ran.code
    assert "no schema says what the values of orders.v1 hold" in ran.err
    assert {"order": {}, "v": {"type": "integer", "enum": [1]}}.items() <= detail["properties"].items()
    assert "id-1" == files["orders.v1.sample.json"]["detail"]["order"]
    assert [{"prefix": "Order "}] == files["rule-pattern.json"]["detail-type"]


def test_a_sample_that_the_mapping_refuses_is_told(shell: Shell) -> None:
    """The rest is written, and the exit code says that something is missing."""
    shell.configure(event={**EVENT, "detail_type": "Order", "time": "${value.status}"})
    ran = shell()

    assert 4 == ran.code
    assert "no sample of Order: topics.orders.v1.event.time" in ran.err
    assert ["Order.openapi.json", "Order.schema.json", "rule-pattern.json"] == list(shell.written())


def test_what_cannot_be_meant_is_exit_2(shell: Shell) -> None:
    """With one message, and nothing written."""
    misspelt, pattern = shell(topic="order.v1"), shell(topic="^order.*")
    shell.schema.write_text("{")
    broken = shell()

    assert [2, 2, 2] == [misspelt.code, pattern.code, broken.code]
    assert "no mapping is for the topic order.v1; did you mean 'orders.v1'?" in misspelt.err
    assert "a pattern stands for several topics" in pattern.err
    assert f"{shell.schema} is not a usable Avro schema" in broken.err
    assert not shell.out.exists()


def test_a_folder_that_cannot_be_written_is_exit_2(shell: Shell) -> None:
    shell.out.write_text("a file")
    ran = shell()

    assert 2 == ran.code
    assert "cannot write to" in ran.err
