"""`partner-bridge check --schemas`, typed: what it prints, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from connector.cli import app
from connector.process import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_USAGE

CONFIGURATION = """
kafka:
  bootstrap.servers: localhost:9092
  group.id: orders
schema_registry: {url: http://127.0.0.1:9}
eventbridge: {region: eu-central-1}
dead_letter: {topic: orders.dlt}
topics:
  orders.v1:
    event:
      source: aws.partner/example.com/orders
      detail_type: Order
      detail:
        id: ${value.order_id}
        customer: FIELD
"""
SCHEMA = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [{"name": name, "type": "string"} for name in ("order_id", "customer_name")],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "order.avsc").write_text(json.dumps(SCHEMA))
    return tmp_path


def typed(folder: Path, field: str, *arguments: str) -> int:
    (folder / "bridge.yaml").write_text(CONFIGURATION.replace("FIELD", field))
    with pytest.raises(SystemExit) as exit_:
        app.main(["check", *arguments])
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def test_a_misspelt_field_is_found_with_its_place(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The path, the line, the schema, and what was probably meant."""
    code = typed(folder, "${value.custmer_name}", "--schemas", "--schema", "orders.v1=order.avsc")
    printed = capsys.readouterr().out

    assert EXIT_CHECK_FAILED == code
    assert (
        "failed  topics.orders.v1.event.detail.customer (line 15), by order.avsc: ${value.custmer_name}: "
        "record shop.Order has no field `custmer_name`; did you mean 'customer_name'?"
    ) in printed
    assert "1 finding" in printed


def test_json_has_every_finding(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the object that `check --json` writes."""
    code = typed(folder, "${value.custmer_name}", "--schema", "orders.v1=order.avsc", "--json")
    result = json.loads(capsys.readouterr().out)

    assert (EXIT_CHECK_FAILED, False) == (code, result["ok"])
    (finding,) = result["schemas"]
    assert ["topic", "schema", "path", "line", "message"] == list(finding)
    assert ("orders.v1", "order.avsc", 15) == (finding["topic"], finding["schema"], finding["line"])


def test_without_findings_it_says_what_was_looked_at(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And that nothing limits the size of events, which is no finding."""
    code = typed(folder, "${value.customer_name}", "--schema", "orders.v1=order.avsc")
    printed = capsys.readouterr().out

    assert EXIT_DONE == code
    assert "ok      topic orders.v1: every path is in order.avsc" in printed
    assert (
        "note    topic orders.v1: its schema sets no limit to the size of its events: `value.order_id`"
        in printed
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--schemas"], "the schema registry at http://127.0.0.1:9 cannot be reached"),
        (["--schema", "orders.v1=gone.avsc"], "gone.avsc is not a usable Avro schema: No such file"),
        (["--schema", "order.v1=order.avsc", "--schema", "orders.v1=order.avsc"], "mean 'orders.v1'?"),
        (["--schema", "order.avsc"], "'order.avsc' is not TOPIC=FILE"),
    ],
)  # fmt: skip
def test_a_schema_that_cannot_be_had_is_one_message(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """With exit code 2, and before anything else is printed."""
    code = typed(folder, "${value.customer_name}", *arguments)
    out, err = capsys.readouterr()

    assert (EXIT_USAGE, "") == (code, out)
    assert 1 == err.count(said)
