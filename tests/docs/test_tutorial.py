"""The tutorial's last step: a customer's rule matches what the bridge sent."""

from __future__ import annotations

import json

from tests.docs import tutorial
from tests.services.event_ruler import EventRuler


def test_the_rule_of_the_page_matches_the_events_of_the_page(event_ruler: EventRuler) -> None:
    """The pattern that `export` wrote takes every event that the bridge sent, and none of another partner."""
    pattern = json.loads(tutorial.printed()["pattern"])
    sent = tutorial.sent()
    stranger = sent[0] | {"source": "aws.partner/example.org/acme"}

    assert tutorial.RECORDS == len(sent)
    assert [True] * len(sent) == [event_ruler.matches(pattern, event) for event in sent]
    assert not event_ruler.matches(pattern, stranger)
