"""Lookups for whoever may wait, against the fake of EventBridge: a plan says what a replay would find."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from connector import config
from connector.sandbox.eventbridge import FakeEventBridge
from connector.sources.lookup import CachedStates

PREFIX = "aws.partner/example.com"
REGION = "eu-central-1"
LOOKUP = "ListPartnerEventSourceAccounts"


@pytest.fixture
def look_up(aws: FakeEventBridge, aws_environ: None, tmp_path: Path) -> Iterator[CachedStates]:
    file = tmp_path / "bridge.yaml"
    file.write_text(
        f"""
kafka: {{bootstrap.servers: localhost:1, group.id: test}}
eventbridge: {{region: {REGION}, endpoint_url: "{aws.url}"}}
dead_letter: {{topic: dlt}}
sources: {{lookups_per_second: 50, first_lookup_timeout: 2s}}
topics:
  orders:
    value: {{format: json}}
    event: {{source: "{PREFIX}/${{value.tenant}}", detail_type: Order}}
"""
    )
    with closing(CachedStates(config.load(file, {}))) as look_up:
        yield look_up


def test_each_source_is_looked_up_once(look_up: CachedStates, aws: FakeEventBridge) -> None:
    aws.set_source(REGION, f"{PREFIX}/acme", "ACTIVE")
    aws.set_source(REGION, f"{PREFIX}/blue", "PENDING")
    names = ("acme", "blue", "corp") * 2

    assert ["ACTIVE", "PENDING", "MISSING"] * 2 == [look_up("default", f"{PREFIX}/{n}").state for n in names]
    assert 3 == aws.counts().requests[LOOKUP]


def test_a_throttled_lookup_is_waited_for(look_up: CachedStates, aws: FakeEventBridge) -> None:
    """It says nothing about the source."""
    aws.set_source(REGION, f"{PREFIX}/blue", "PENDING")
    aws.script({"faults": [{"kind": "throttle", "operation": LOOKUP, "times": 1}]})

    assert "PENDING" == look_up("default", f"{PREFIX}/blue").state


def test_many_sources_that_cannot_be_looked_up_take_no_time_each(
    look_up: CachedStates, aws: FakeEventBridge
) -> None:
    """The first one is waited for, and a few more shortly."""
    aws.script({"down": True})
    began_s = time.monotonic()
    seen = [look_up("default", f"{PREFIX}/customer-{n}") for n in range(100)]

    assert {("UNKNOWN", False)} == {(each.state, each.is_denied) for each in seen}
    assert time.monotonic() - began_s < 20


def test_a_state_that_is_new_is_told_by_its_name(look_up: CachedStates, aws: FakeEventBridge) -> None:
    aws.set_source(REGION, f"{PREFIX}/acme", "SLEEPING")  # type: ignore[arg-type]
    seen = look_up("default", f"{PREFIX}/acme")

    assert ("OTHER", True) == (seen.state, seen.is_inactive)
    assert "EventBridge calls it SLEEPING" in str(seen)
