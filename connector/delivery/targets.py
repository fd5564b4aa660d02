"""The senders of a bridge: one for each target of the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from connector import config
from connector.delivery.queue import TargetLimits
from connector.delivery.sender import Sink, TargetSender
from connector.delivery.source_gate import StateFeed
from connector.telemetry.metrics import Telemetry


def senders(
    settings: config.Settings,
    *,
    sink: Sink,
    telemetry: Telemetry,
    state_feeds: Mapping[str, StateFeed],
    clock_s: Callable[[], float],
) -> dict[str, TargetSender]:
    """Make a sender for each target, by its name; `state_feeds` look up its sources.

    Sources that the settings name are looked up before the first record asks for them.
    """
    sources = {topic.event.source for topic in settings.topics.values()}
    made = {
        name: TargetSender(
            name,
            target,
            sink=sink,
            telemetry=telemetry,
            sources=settings.sources,
            state_feed=state_feeds[name],
            limits=TargetLimits.share(settings.delivery, targets=len(settings.all_targets)),
            has_many_sources=len(sources) > 1 or any("${" in source for source in sources),
            clock_s=clock_s,
        )
        for name, target in settings.all_targets.items()
    }
    for topic in settings.topics.values():
        if "${" not in topic.event.source and "${" not in topic.target:
            policy = topic.inactive_policy(settings.all_targets[topic.target])
            made[topic.target].expect(topic.event.source, policy)
    return made
