"""Pauses: a ConfigMap of their own, which changes without a new pod."""

from __future__ import annotations

from typing import Any

from connector.config.pauses import parse_pauses
from connector.model import Pause
from tests.chart.render import bridge_container, one, release

ACME = "aws.partner/example.com/acme"


def pauses(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"pauses": {"enabled": True, "rules": list(rules)}}


def test_a_change_of_what_is_paused_restarts_no_pod() -> None:
    """Every object but the ConfigMap of pauses stays to the letter, the Jobs and their names included."""
    more = {"replay": {"enabled": True}, "report": {"enabled": True}}
    before, after = release(pauses() | more), release(pauses({"sources": [ACME]}) | more)

    assert ["shop-partner-bridge-pauses"] == [
        each["metadata"]["name"] for each in after if each not in before
    ]


def test_the_bridge_follows_the_file_that_is_mounted() -> None:
    """As a folder: what is mounted with `subPath` is never updated."""
    objects = release(pauses({"sources": [ACME, "aws.partner/x/*"]}, {"topics": ["orders.v1"]}))
    container = bridge_container(objects)
    text = one("ConfigMap", objects, named="-pauses")["data"]["pauses.yaml"]
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "pauses"]
    (variable,) = [each for each in container["env"] if each["name"] == "BRIDGE_PAUSES"]

    assert f"{mount['mountPath']}/pauses.yaml" == variable["value"]
    assert "subPath" not in mount
    assert [
        Pause("source", ACME, None),
        Pause("source", "aws.partner/x/*", None),
        Pause("topic", "orders.v1", None),
    ] == parse_pauses(text, name="YAML")


def test_with_nothing_to_pause_the_file_is_there_and_empty() -> None:
    """So that what is paused later needs no restart."""
    text = one("ConfigMap", release(pauses()), named="-pauses")["data"]["pauses.yaml"]

    assert [] == parse_pauses(text, name="YAML")


def test_without_them_nothing_is_mounted() -> None:
    """It is off by default."""
    assert "pauses" not in str(release({}))
