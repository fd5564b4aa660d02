"""What is made of strange answers of the control plane about sources."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from connector.eventbridge.client import Publisher
from connector.model import SourceStatus
from connector.sources.api import SourceApi
from connector.telemetry.metrics import Telemetry


def seen(expires: str) -> SourceStatus:
    """What a lookup finds when it is answered with this time."""
    body = f"""{{"PartnerEventSourceAccounts": [{{"Account": "111122223333", "State": "PENDING",
        "CreationTime": {expires}, "ExpirationTime": {expires}}}]}}"""

    async def call(*_: object) -> object:
        return SimpleNamespace(body=body.encode())

    api = SourceApi(cast("Publisher", SimpleNamespace(call=call, region="eu-central-1")))
    return asyncio.run(api.look_up("aws.partner/example.com/acme"))


@pytest.mark.parametrize("expires", ["1e300", "1e18", "-1", "253402300800", '"soon"', "null", "[]"])
def test_a_time_that_no_calendar_has_says_nothing_and_ends_nothing(expires: str) -> None:
    """The state is what counts; the log line of it goes without that time."""
    found = seen(expires)

    assert ("PENDING", None, None) == (found.state, found.created_ms, found.expires_ms)
    Telemetry().source_changed("default", "aws.partner/example.com/acme", was="ACTIVE", now=found, unsure=0)


@pytest.mark.parametrize("expires", ["0", "1700000000.5", "253402300799"])
def test_a_time_is_milliseconds_and_can_be_logged(expires: str) -> None:
    """Also the last one of the calendar."""
    found = seen(expires)

    assert int(float(expires) * 1000) == found.expires_ms
    Telemetry().source_changed("default", "aws.partner/example.com/acme", was="ACTIVE", now=found, unsure=0)
