"""AWS's own Event Ruler judges the patterns that customers get: they match their events, and no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from connector.config.settings import Target, Topic
from connector.errors import ConfigError
from connector.formats.avro_types import Forms
from connector.workbench.event_schema import EventSchema
from connector.workbench.export import Export, exported
from connector.workbench.handover import Handover, text
from connector.workbench.handover_files import cli, cloudformation, terraform
from connector.workbench.json_schema import json_schema
from connector.workbench.rule_pattern import source_pattern
from tests.handovers import patterns
from tests.services.event_ruler import EventRuler

TARGET = Target(region="eu-central-1")
ACME, BLUE = "aws.partner/example.com/acme", "aws.partner/example.com/blue"
STATUS = {"type": "enum", "name": "Status", "symbols": ["DRAFT", "PAID", "SHIPPED"]}
ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "tenant", "type": "string"},
        {
            "name": "status",
            "type": {"type": "enum", "name": "Status", "symbols": ["DRAFT", "PAID", "SHIPPED"]},
        },
        {"name": "kind", "type": ["null", "string"]},
        {"name": "is_test", "type": "boolean"},
    ],
}
FORMS = {"text": text, "terraform": terraform, "cloudformation": cloudformation, "cli": cli}


def event_schema(
    *,
    source: str = "aws.partner/example.com/${value.tenant}",
    detail_type: str,
    filter: str | None = None,  # noqa: A002
) -> EventSchema:
    event = {"source": source, "detail_type": detail_type}
    topic = Topic.model_validate({"filter": filter, "event": event})
    return EventSchema("orders.v1", topic, json_schema([ORDER], Forms()))


@pytest.mark.parametrize(
    ("detail_type", "others"),
    [
        ("OrderPaid", ["OrderPai", "OrderPaid2", "orderpaid"]),
        ("Order ${value.status}", ["Order", "Order paid", "Order CANCELLED"]),
        ("${value.status == 'PAID' && 'Paid' || 'Changed'}", ["PAID", "Order"]),
        ("${value.is_test && 'Test' || value.status}", ["true", "Order"]),
        ("Order ${value.kind}", ["Payment", "order x"]),
        ("${value.kind} Order", ["Payment", "Order "]),
        ('Say "${value.status}" \\${x}', ["Say PAID ${x}", 'Say "PAID" {x}']),
    ],
)
def test_a_pattern_matches_every_sample_and_nothing_else(
    event_ruler: EventRuler, detail_type: str, others: list[str]
) -> None:
    """Neither an event of another partner nor of another detail type."""
    export = exported(event_schema(detail_type=detail_type), target=TARGET)
    samples: list[Any] = [each.sample for each in export.events]

    assert [] == [each.problem for each in export.events if each.problem]
    for sample in samples:
        assert event_ruler.matches(export.pattern, sample)
        assert not event_ruler.matches(export.pattern, {**sample, "source": "aws.partner/example.net/acme"})
        for other in others:
            assert not event_ruler.matches(export.pattern, {**sample, "detail-type": other})


def test_what_the_filter_drops_is_in_no_pattern(event_ruler: EventRuler) -> None:
    """As far as it decides by what makes the detail type."""
    event = event_schema(detail_type="Order ${value.status}", filter="value.status != 'DRAFT' && value.kind")
    export = exported(event, target=TARGET)

    assert ["Order-PAID", "Order-SHIPPED"] == [each.name for each in export.events]
    assert not event_ruler.matches(export.pattern, {**_sample(export), "detail-type": "Order DRAFT"})


def _sample(export: Export) -> Any:
    return export.events[0].sample


@pytest.mark.parametrize("form", FORMS)
def test_a_customer_gets_their_own_events_and_the_ping(
    event_ruler: EventRuler, form: str, tmp_path: Path
) -> None:
    """Whatever form they choose; and no other customer's."""
    event = event_schema(detail_type='"${value.status}" \\${x} %{y}')
    pattern = source_pattern(ACME, [event], "Partner Bridge Ping")
    written = FORMS[form](Handover(ACME, "eu-central-1", None, pattern, None))
    sample = {**_sample(exported(event, target=TARGET)), "source": ACME}
    theirs = patterns(form, written, tmp_path)

    assert event_ruler.matches(theirs, sample)
    assert event_ruler.matches(theirs, {**sample, "detail-type": "Partner Bridge Ping"})
    assert not event_ruler.matches(theirs, {**sample, "source": BLUE})
    assert not event_ruler.matches(theirs, {**sample, "source": f"{ACME}/more"})
    assert not event_ruler.matches(theirs, {**sample, "detail-type": "Other"})


texts = st.text(st.characters(codec="utf-8"), max_size=8).map(lambda text: text.replace("${", ""))
expressions = st.sampled_from(["${value.status}", "${value.kind}", "${value.tenant}", "${value.kind || 'x'}"])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(texts | expressions, min_size=1, max_size=4).map("".join).filter(bool))
def test_any_detail_type_has_a_pattern_that_matches(event_ruler: EventRuler, detail_type: str) -> None:
    """Whatever characters it has."""
    try:
        event = event_schema(detail_type=detail_type)
    except ConfigError:
        assume(False)
    export = exported(event, target=TARGET)

    for each in export.events:
        assert each.problem is None
        assert event_ruler.matches(export.pattern, json.loads(json.dumps(each.sample)))
