"""Each mistake that a schema shows is found once, at its place; what a schema leaves open is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connector.config.settings import Settings
from connector.errors import ConfigError
from connector.model import Json
from connector.workbench.schema_check import TopicCheck, check_schemas
from tests.avro_bombs import logical

SOURCE = "aws.partner/example.com/"


def record(name: str, /, **fields: Any) -> Any:
    named = [{"name": field, "type": type_} for field, type_ in fields.items()]
    return {"type": "record", "name": name, "namespace": "shop", "fields": named}


STATUS = {"type": "enum", "name": "Status", "symbols": ["NEW", "SHIPPED"]}
LINE = record("Line", article="string", count="int")
ORDER = record(
    "Order",
    id="string",
    tenant_id=["null", "string"],
    note=["null", "string"],
    status=STATUS,
    price="double",
    paid="boolean",
    placed_at=logical("long", "timestamp-millis"),
    local=logical("long", "local-timestamp-millis"),
    day=logical("int", "date"),
    raw="bytes",
    lines={"type": "array", "items": LINE},
    attributes={"type": "map", "values": "string"},
    customer=["null", record("Customer", id="string", name="string")],
    payment=[record("Card", pan="string"), record("Bank", iban="string")],
)


def checked(
    tmp_path: Path,
    *schemas: Any,
    topic: dict[str, Json] | None = None,
    eventbridge: Json = None,
    **event: Json,
) -> TopicCheck:
    """The check of one topic against schemas in files, the newest first."""
    files = []
    for number, schema in enumerate(schemas):
        files.append(tmp_path / f"{number}.avsc")
        files[-1].write_text(json.dumps(schema))
    event = {"source": f"{SOURCE}a", "detail_type": "Order", "detail": {}, **event}
    settings = Settings.model_validate({
        "kafka": {"bootstrap.servers": "localhost:9092", "group.id": "orders"},
        "schema_registry": {"url": "http://registry:8081"},
        "eventbridge": {"region": "eu-central-1", **(eventbridge if isinstance(eventbridge, dict) else {})},
        "targets": {"asia": {"region": "ap-south-1"}},
        "dead_letter": {"topic": "orders.dlt"},
        "topics": {"orders.v1": {"event": event, **(topic or {})}},
    })  # fmt: skip
    (check,) = check_schemas(settings, {"orders.v1": files})
    return check


def found(tmp_path: Path, *schemas: Any, **settings: Any) -> list[str]:
    findings = checked(tmp_path, *schemas, **settings).findings
    return [f"{each.path.removeprefix('topics.orders.v1.')}: {each.message}" for each in findings]


MISTAKES: list[tuple[dict[str, Any], str]] = [
    # Unknown fields, wherever they stand
    ({"detail": {"x": "${value.tenant}"}},
     "event.detail.x: ${value.tenant}: record shop.Order has no field `tenant`; "
     "did you mean 'tenant_id'?"),
    ({"detail": {"x": "${value.notee || 'x'}"}}, "no field `notee`; did you mean 'note'?"),
    ({"detail": {"x": "${value.note || value.notee}"}}, "no field `notee`; did you mean 'note'?"),
    ({"detail": {"x": "${value.lines[*].articel}"}},
     "record shop.Line has no field `articel`; did you mean 'article'?"),
    ({"detail": {"x": "${value.lines[?cuont > `1`].article}"}}, "no field `cuont`; did you mean 'count'?"),
    ({"detail": {"x": "${value.lines[].{a: article, c: cnt}}"}}, "no field `cnt`"),
    ({"detail": {"x": "${value.customer.[id, nam]}"}},
     "record shop.Customer has no field `nam`; did you mean 'name'?"),
    ({"detail": {"x": "${to_string(value.prize)}"}}, "no field `prize`; did you mean 'price'?"),
    ({"detail": {"x": "${value.payment.bic}"}}, "record shop.Card and shop.Bank has no field `bic`"),
    ({"detail": {"x": "${value.id.x}"}}, "`id` of record shop.Order is a string, which has no fields"),
    ({"topic": {"filter": "value.payd"}},
     "filter: value.payd: record shop.Order has no field `payd`; did you mean"),
    # Null, where it is an error
    ({"source": f"{SOURCE}${{value.tenant_id}}"},
     "event.source: ${value.tenant_id} may be null: `tenant_id` of record "
     "shop.Order is nullable; such records are dead-lettered (template_null). Give a default with `||`"),
    ({"detail_type": "${value.customer.name}"}, "may be null: `customer` of record shop.Order is nullable"),
    ({"resources": ["${value.note}"]}, "event.resources[0]: ${value.note} may be null"),
    ({"resources": ["${[value.note]}"]}, "${[value.note]} may have null among its items"),
    ({"time": "${value.note}"}, "event.time: ${value.note} may be null"),
    ({"topic": {"target": "${value.note}"}}, "target: ${value.note} may be null"),
    ({"detail": {"x": "a ${value.note}"}}, "event.detail.x: ${value.note} may be null"),
    ({"detail": {"x": "a ${value.lines[0].article}"}}, "may be null: an array may have fewer items"),
    ({"detail": {"x": "a ${value.attributes.x}"}}, "may be null: a map may have no `x`"),
    ({"detail": {"x": "a ${value.payment.iban}"}}, "may be null: record shop.Card has no field `iban`"),
    ({"detail": {"x": "a ${max(value.lines[*].count)}"}}, "max() yields null of an empty array"),
    ({"detail": {"x": "${length(value.note)}"}},
     "length() takes string or array or object, and `note` of record "
     "shop.Order is nullable; such records are dead-lettered (template_failed)"),
    ({"detail": {"x": "a ${value.id}"}, "topic": {"tombstones": "send"}}, "a tombstone has no value"),
    ({"topic": {"filter": "starts_with(value.tenant_id, 'a')"}, "source": f"{SOURCE}${{value.tenant_id}}"},
     "starts_with() takes string, and `tenant_id` of record shop.Order is nullable"),
    # Types that cannot be there
    ({"detail_type": "${value.price}"},
     "${value.price} is a number with a fraction or null for every record: `price` of "
     "record shop.Order is a number with a fraction. It must be a string or an integer. Write to_string(…)"),
    ({"detail_type": "${value.paid}"}, "is a boolean for every record"),
    ({"detail_type": "a${value.lines}"}, "is an array for every record"),
    ({"detail_type": "${value.paid && value.id}"}, "may be a boolean"),
    ({"resources": ["${value.lines}"]}, "may have an object among its items"),
    ({"time": "${value.local}"}, "event.time: ${value.local} has no time zone"),
    ({"time": "${value.day}"}, "is a date without a time"),
    ({"time": "${value.status}"}, "is not a date and time"),
    # Texts that cannot be there
    ({"source": f"{SOURCE}${{value.placed_at}}"}, "where ${value.placed_at} is '2026-01-31T12:00:00.000Z': "),
    ({"source": f"{SOURCE}${{value.raw}}"}, "where ${value.raw} is '++++': "),
    ({"detail_type": "x" * 124 + "${value.status}"},
     "where ${value.status} is 'SHIPPED': has 131 characters"),
    ({"topic": {"target": "${value.status == 'NEW' && 'asia' || 'europe'}"}},
     "is 'europe': there is no target europe"),
    # Comparisons that are never equal
    ({"topic": {"filter": "value.status == 'SHIPED'"}},
     "'SHIPED', which is none of NEW, SHIPPED; did you mean 'SHIPPED'?"),
    ({"topic": {"filter": "value.status == 'NEW' || value.status == 'SHIPED'"}},
     "'SHIPED', which is none of NEW"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "said"), MISTAKES, ids=lambda value: json.dumps(value)[:70])
def test_a_mistake_is_found_once(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    """With its place, what the schema says, and what to write."""
    messages = found(tmp_path, ORDER, **settings)

    assert 1 == len(messages), messages
    assert said in messages[0]


BY_TENANT: dict[str, Any] = {"source": f"{SOURCE}${{value.tenant_id}}"}
RIGHT: list[dict[str, Any]] = [
    {"source": f"{SOURCE}${{value.tenant_id || 'none'}}"},
    {"source": f"{SOURCE}${{value.id}}"},
    {"source": f"{SOURCE}${{headers.tenant}}", "detail_type": "${headers.type}"},
    {"source": f"{SOURCE}${{not_null(value.tenant_id, value.id)}}"},
    {"source": f"{SOURCE}${{value.tenant_id && value.tenant_id || value.id}}"},
    {**BY_TENANT, "topic": {"filter": "value.tenant_id"}},
    {**BY_TENANT, "topic": {"filter": "value.paid && value.tenant_id != `null`"}},
    {**BY_TENANT, "topic": {"filter": "!(value.tenant_id == `null`)"}},
    {**BY_TENANT, "topic": {"filter": "value.tenant_id == 'a' || value.tenant_id == 'b'"}},
    {**BY_TENANT, "topic": {"filter": "contains(['a', 'b'], value.tenant_id)"}},
    {**BY_TENANT, "topic": {"filter": "value.tenant_id && starts_with(value.tenant_id, 'a')"}},
    {"topic": {"filter": "value.status == 'NEW' || value.status == 'NEW'"}},
    {"detail_type": "${value.customer.name}", "topic": {"filter": "value.customer"}},
    {"detail_type": "${value.payment.iban}", "topic": {"filter": "value.payment.iban"}},
    {"detail_type": "${value.lines[0].article}", "topic": {"filter": "length(value.lines) > `0`"}},
    {"detail_type": "${value.status}", "topic": {"filter": "value.status != 'NEW'"}},
    {"detail_type": "${value.status == 'NEW' && 'Created' || 'Changed'}"},
    {"detail": {"x": "${value.tenant_id}", "y": "${value.lines[0].article}", "z": "${value.payment.iban}"}},
    {"detail": {"x": "a ${value.price}", "y": "a ${value.paid}", "z": "${length(value.note || '')}"}},
    {"detail": {"x": "${value.note && length(value.note)}", "y": "${join(',', value.lines[*].article)}"}},
    {"resources": ["${value.lines[*].article}", "${value.raw}", "a/${value.placed_at}"]},
    {"time": "${value.placed_at}"},
    {"time": "${value.day}T00:00:00Z"},
    {"time": "${value.id}"},
    {"time": "${value.lines[0].count || `5`}"},
    {"topic": {"filter": "value.id != `null`"}},
    {"topic": {"target": "${value.status == 'NEW' && 'asia' || 'default'}"}},
    {"detail_type": "${key}", "topic": {"key": {"format": "string"}}},
    {"detail": "${value}"},
]  # fmt: skip


@pytest.mark.parametrize("settings", RIGHT, ids=lambda value: json.dumps(value)[:90])
def test_what_may_be_right_is_no_finding(tmp_path: Path, settings: dict[str, Any]) -> None:
    """A false alarm teaches to look away: nothing is said of what a guard or a filter handles."""
    assert [] == found(tmp_path, ORDER, **settings)


def test_a_number_as_filter_is_found(tmp_path: Path) -> None:
    """0 is true in JMESPath, so that a filter which is a number keeps all."""
    (message,) = found(tmp_path, LINE, topic={"filter": "value.count"})

    assert message.startswith("filter: value.count is true for every record")


# --- two versions -------------------------------------------------------------------------------

OLD = record("Order", tenant="string", id="string", status={**STATUS, "symbols": ["NEW"]})
NEW = record("Order", tenant_id="string", id="string", status=STATUS)


def test_a_mapping_of_both_versions_is_right(tmp_path: Path) -> None:
    """A field that one version lacks is handled by `||`, and a symbol that is new is compared with."""
    kept = "value.status == 'SHIPPED' || value.status == 'NEW'"

    assert [] == found(
        tmp_path, NEW, OLD, source=f"{SOURCE}${{value.tenant_id || value.tenant}}", topic={"filter": kept}
    )


def test_a_field_that_is_new_must_be_guarded(tmp_path: Path) -> None:
    """Records of the version before are read as well, and may lie in the topic for long."""
    check = checked(tmp_path, NEW, OLD, source=f"{SOURCE}${{value.tenant_id}}")
    (finding,) = check.findings

    assert ["0.avsc", "1.avsc"] == [Path(name).name for name in check.schemas]
    assert finding.schema.endswith("1.avsc")
    assert "record shop.Order has no field `tenant_id`; did you mean 'tenant'?" in finding.message


def test_what_both_versions_lack_is_one_finding(tmp_path: Path) -> None:
    """It is about the newest."""
    (finding,) = checked(tmp_path, NEW, OLD, source=f"{SOURCE}${{value.tennant || value.id}}").findings

    assert finding.schema.endswith("0.avsc")
    assert "no field `tennant`" in finding.message


# --- size ---------------------------------------------------------------------------------------


def test_an_event_that_may_be_too_large_is_found(tmp_path: Path) -> None:
    """Where the schema bounds it: 3,000 bytes are 4,000 characters of Base64."""
    schema = record("Photo", pixels={"type": "fixed", "name": "Pixels", "size": 3000}, id="int")
    (message,) = found(tmp_path, schema, detail="${value}", eventbridge={"max_event_bytes": 1024})
    (optional,) = found(
        tmp_path, record("Photo", pixels=["null", schema["fields"][0]["type"]]), detail="${value}",
        eventbridge={"max_event_bytes": 1024},
    )  # fmt: skip

    assert message.startswith("event.detail: every event has 4,")
    assert optional.startswith("event.detail: an event may have 4,")


def test_what_sets_no_limit_to_the_size_is_said(tmp_path: Path) -> None:
    """It is no finding, for nearly every schema has such fields."""
    check = checked(tmp_path, ORDER, detail={"all": "${value}", "id": "${value.status}"})

    assert [] == check.findings
    assert "sets no limit to the size of its events: `value.id`, `value.tenant_id`" in check.remark
    assert "value.status" not in check.remark


def test_a_schema_that_uses_its_records_again_and_again_is_checked(tmp_path: Path) -> None:
    """In each of thirty levels twice: a billion fields, and not a moment's work."""
    schema: Any = record("R0", id="string")
    for number in range(1, 30):
        schema = record(f"R{number}", a=schema, b=f"R{number - 1}")
    check = checked(tmp_path, schema, detail="${value}")

    (finding,) = check.findings
    assert "every event has " in finding.message
    assert check.remark.endswith(" and others")


# --- which schemas ------------------------------------------------------------------------------


def test_without_a_schema_there_is_nothing_to_check(tmp_path: Path) -> None:
    """JSON has none, and the report says so."""
    check = checked(tmp_path, topic={"value": {"format": "json"}}, detail={"x": "${value.anything}"})

    assert ([], []) == (check.schemas, check.findings)
    assert "its values are json" in check.remark


def test_the_reader_schema_is_what_values_look_like(tmp_path: Path) -> None:
    """Whatever they were written with."""
    reader = tmp_path / "reader.avsc"
    reader.write_text(json.dumps(NEW))
    value = {"reader_schema": str(reader)}
    (message,) = found(tmp_path, OLD, topic={"value": value}, detail={"x": "${value.tenant}"})

    assert "no field `tenant`; did you mean 'tenant_id'?" in message


def test_a_key_in_avro_is_checked_too(tmp_path: Path) -> None:
    """Its schema is in a file here."""
    schema = tmp_path / "key.avsc"
    schema.write_text(json.dumps(record("Key", id="string")))
    key = {"format": "avro", "framing": "none", "schema": str(schema)}
    (message,) = found(tmp_path, ORDER, topic={"key": key}, detail={"x": "${key.idd || value.id}"})

    assert "record shop.Key has no field `idd`; did you mean 'id'?" in message


def test_every_schema_that_cannot_be_had_is_a_problem(tmp_path: Path) -> None:
    """All of them at once: a file that is none, and a topic that is not configured."""
    topic = {"event": {"source": f"{SOURCE}a", "detail_type": "Order"}}
    settings = Settings.model_validate({
        "kafka": {"bootstrap.servers": "localhost:9092", "group.id": "orders"},
        "schema_registry": {"url": "http://registry:8081"},
        "eventbridge": {"region": "eu-central-1"},
        "dead_letter": {"topic": "orders.dlt"},
        "topics": {"orders.v1": topic, "^eu[.]": topic},
    })  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        check_schemas(
            settings, {"orders.v1": [tmp_path / "gone.avsc"], "orders.v2": [tmp_path / "gone.avsc"]}
        )
    problems = [problem.message for problem in caught.value.problems]

    assert 3 == len(problems)
    assert "gone.avsc is not a usable Avro schema: No such file" in problems[0]
    assert "a pattern stands for several topics" in problems[1]
    assert "no mapping is for the topic orders.v2; did you mean 'orders.v1'?" in problems[2]


def test_a_topic_of_a_pattern_is_checked_by_its_own_schema(tmp_path: Path) -> None:
    """The pattern itself has none then."""
    (tmp_path / "order.avsc").write_text(json.dumps(NEW))
    event: dict[str, Json] = {"source": f"{SOURCE}a", "detail_type": "Order", "detail": {"x": "${value.idd}"}}
    settings = Settings.model_validate({
        "kafka": {"bootstrap.servers": "localhost:9092", "group.id": "orders"},
        "schema_registry": {"url": "http://registry:8081"},
        "eventbridge": {"region": "eu-central-1"},
        "dead_letter": {"topic": "orders.dlt"},
        "topics": {"^eu[.]": {"event": event}},
    })  # fmt: skip
    (check,) = check_schemas(settings, {"eu.orders": [tmp_path / "order.avsc"]})

    assert "eu.orders" == check.topic
    assert ["topics.^eu[.].event.detail.x"] == [finding.path for finding in check.findings]
