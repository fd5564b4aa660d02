"""Tests of a bridge's configuration: what becomes of orders. Run: pytest examples/sandbox"""

from __future__ import annotations

from pathlib import Path

from connector.sandbox.testing import LocalSandbox

BRIDGE = Path(__file__).with_name("bridge.yaml")
ACME = "aws.partner/example.com/acme"


def order(number: int, **changes: object) -> dict[str, object]:
    made = {"id": number, "tenant": "acme", "status": "PAID", "updated_at": "2026-11-29T10:00:00Z"}
    return made | changes


def test_a_paid_order_reaches_its_customer(partner_bridge_sandbox: LocalSandbox) -> None:
    sandbox = partner_bridge_sandbox
    sandbox.start_bridge(BRIDGE)
    sandbox.produce("orders", order(1), order(2, status="DRAFT"), order(3), key="acme")

    events = sandbox.wait_for_events(2)

    assert [event["detail"]["id"] for event in events] == [1, 3]
    assert {event["detail-type"] for event in events} == {"Order PAID"}
    assert events[0]["source"] == ACME
    assert events[0]["resources"] == ["order/1"]


def test_an_order_without_a_tenant_is_dead_lettered(partner_bridge_sandbox: LocalSandbox) -> None:
    bridge = partner_bridge_sandbox.start_bridge(BRIDGE)
    partner_bridge_sandbox.produce("orders", order(1, tenant=None))

    (letter,) = bridge.wait_for_dead_letters(1)

    assert letter["code"] == "template_null"


def test_events_wait_for_the_customer(partner_bridge_sandbox: LocalSandbox) -> None:
    sandbox = partner_bridge_sandbox
    sandbox.set_source(ACME, "PENDING", region="eu-central-1")
    sandbox.fault("throttle", times=2)
    sandbox.start_bridge(BRIDGE)
    sandbox.produce("orders", order(1))

    sandbox.accept(ACME)

    (event,) = sandbox.wait_for_events(1)
    assert event["detail"]["id"] == 1
