"""Who is to do what: names that AWS takes, the topics that a source has, and until when."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector.errors import ConfigError
from connector.model import SourceStatus
from connector.workbench.handover import Handover, NoSourceError, events_of
from tests.configuration import Written, with_settings

SOURCE = "aws.partner/example.com/acme"
sources = st.from_regex(r"aws\.partner(/[.\-_A-Za-z0-9]{1,40}){2,6}", fullmatch=True).filter(
    lambda name: len(name) <= 256
)


def handover(source: str = SOURCE, status: SourceStatus | None = None) -> Handover:
    return Handover(source, "eu-central-1", None, {}, status)


@pytest.mark.long
@given(sources)
@example("aws.partner/./.")
def test_names_fit_the_limits_of_rules_queues_and_log_groups(source: str) -> None:
    """A rule may have 64 characters, and a queue's name no dots; a source 256, and slashes."""
    its = handover(source)

    assert re.fullmatch("[A-Za-z0-9][-A-Za-z0-9]{0,63}", its.name)
    assert re.fullmatch(r"/aws/events/[.\-_/#A-Za-z0-9]{1,500}", its.log_group)


@pytest.mark.long
@given(sources, sources)
def test_sources_share_no_names(one: str, other: str) -> None:
    """One customer may have several, and a queue of theirs is not another's."""
    assert (one == other) == (handover(one).name == handover(other).name)


def test_a_dot_and_a_slash_make_names_of_their_own() -> None:
    assert handover("aws.partner/a.b/c").name != handover("aws.partner/a/b.c").name


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            SourceStatus("PENDING", "1", 0, 1000),
            "offered on 1970-01-01T00:00:00Z, and expires on 1970-01-01T00:00:01Z",
        ),
        (SourceStatus("PENDING", "1", 0, None), "offered on 1970-01-01T00:00:00Z. AWS deletes an offer"),
        (SourceStatus("ACTIVE", "1"), "is associated with an event bus already"),
        (SourceStatus("MISSING"), "There is no such source now"),
        (SourceStatus("UNKNOWN"), "Accept it within 7 days"),
        (None, "Accept it within 7 days"),
    ],
)
def test_the_offer_is_told_as_far_as_it_is_known(status: SourceStatus | None, said: str) -> None:
    """AWS's documents contradict each other about an offer's time, so only EventBridge's own date is one."""
    assert said in handover(status=status).offer


TOPICS = {
    "orders": {
        "value": {"format": "json"},
        "event": {"source": "aws.partner/example.com/${value.t}", "detail_type": "Order"},
    },
    "^pay.*": {"event": {"source": "aws.partner/example.com/${value.t}", "detail_type": "Payment"}},
    "others": {
        "value": {"format": "json"},
        "event": {"source": "aws.partner/example.com/blue", "detail_type": "Other"},
    },
}


def test_without_a_topic_all_count_that_can_have_the_source(tmp_path: Path) -> None:
    """Also those of a pattern, of which no registry has the one schema; constants are known all the same."""
    events, doubts = events_of(Written(tmp_path).load(with_settings(topics=TOPICS)), SOURCE, None)

    assert ["orders", "^pay.*"] == [event.name for event in events]
    assert [] == doubts


def test_a_topic_of_a_pattern_is_found_by_its_name(tmp_path: Path) -> None:
    """Also where no registry answers for its schema."""
    events, _ = events_of(Written(tmp_path).load(with_settings(topics=TOPICS)), SOURCE, "payments")

    assert ["payments"] == [event.name for event in events]


def test_a_source_that_no_topic_has_is_told(tmp_path: Path) -> None:
    """The rule matches by the source alone then."""
    settings = Written(tmp_path).load(with_settings(topics=TOPICS))
    events, doubts = events_of(settings, "aws.partner/example.net/acme", None)

    assert [] == events
    assert [
        "no topic has events of aws.partner/example.net/acme, so that the rule matches whatever comes from it"
    ] == doubts


def test_a_topic_of_other_sources_is_refused(tmp_path: Path) -> None:
    """Its rule would never match."""
    settings = Written(tmp_path).load(with_settings(topics=TOPICS))

    with pytest.raises(
        NoSourceError, match=r"not a source of others, whose `event.source` is aws.partner/example.com/blue"
    ):
        events_of(settings, SOURCE, "others")
    with pytest.raises(ConfigError, match="did you mean 'orders'"):
        events_of(settings, SOURCE, "order")
