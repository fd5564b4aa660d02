"""`partner-bridge export`, as a user types it: files that customers and catalogues read."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
from jsonschema import Draft4Validator
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import validate

from connector import config
from connector.model import Entry, Event, Headers, Json, Partition, Record
from connector.pipeline import Pipeline
from connector.workbench.export import on_the_bus
from tests.configuration import with_settings, with_topic
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


@pytest.mark.parametrize("target", ["default", "${headers.to}"])
def test_events_that_a_claim_check_makes_small_fit_as_well(shell: Shell, target: str) -> None:
    """By reference and whole, as the bridge makes them; a target that is a template may be any of them."""
    claim_check: Json = {"bucket": "large", "above": 1024, "path": "$.detail.id"}
    value: Json = {"framing": "none", "schema": str(shell.schema)}
    text = with_settings(
        eventbridge={"claim_check": claim_check},
        targets={"us": {"region": "us-east-1", "claim_check": {"bucket": "large", "above": 1024}}},
        topics={"orders.v1": {"event": {**EVENT, "detail_type": "Order"}, "target": target, "value": value}},
    )
    (shell.folder / "bridge.yaml").write_text(text)
    shell()
    files = shell.written()
    pipeline = Pipeline(config.load(shell.folder / "bridge.yaml", {}), None)
    validators = (
        Draft4Validator(files["Order.schema.json"]),
        OAS30Validator({**files["Order.openapi.json"], "$ref": "#/components/schemas/AWSEvent"}),
    )
    taken: list[Any] = []
    for id_ in ("4711", "4" * 2_000):
        for to in (b"default", b"us") if "$" in target else (b"default",):
            on_bus = bus_event(pipeline, {"id": id_, "status": "PAID"}, (("to", to),))
            taken.append(on_bus["detail"].pop("datarefSha256", None) and on_bus["detail"]["datarefJsonPath"])
            if taken[-1]:
                assert not any(each.is_valid(on_bus) for each in validators)
                on_bus["detail"]["datarefSha256"] = "0" * 64
            assert all(each.is_valid(on_bus) for each in validators)

    whole = [None] if target == "default" else [None, None]
    assert [*whole, "$.detail.id", "$.detail"][: 2 * len(whole)] == taken


def bus_event(pipeline: Pipeline, value: Json, headers: Headers) -> dict[str, Any]:
    """What arrives on the bus of an order."""
    content = io.BytesIO()
    fastavro.schemaless_writer(content, fastavro.parse_schema(ORDER), value)
    made = pipeline(Record(Partition("orders.v1", 0), 7, 1, None, content.getvalue(), headers))
    assert isinstance(made, Entry)
    its = json.loads(made.json)
    return on_the_bus(
        Event(its["Source"], its["DetailType"], its["Time"], (), its["Detail"].encode()),
        region="eu-central-1",
    )


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
