"""Unresponsive brokers: librdkafka's statistics show one long before `socket.timeout.ms` does."""

from __future__ import annotations

from typing import Any

UNANSWERED_S = 1.4
"""A broker is unresponsive after so long without an answer, on top of the time that a fetch may wait for
records. With its default that is a little less than the interval of the statistics, and shows within 5 s."""

LATE_STATISTICS_S = 4.0
"""After a longer gap between two statistics it was this process that stood still, and not the brokers."""

COORDINATOR = "GroupCoordinator"
"""librdkafka's name for its own connection to the group's coordinator."""


class UnresponsiveBrokers:
    """Notices a broker of ours that owes an answer and sends nothing.

    Ours are those that lead what is assigned to us, and the group's coordinator. A healthy one answers each
    fetch within `fetch.wait.max.ms`, also when there is nothing to read; where nothing is asked, as of
    a broker whose partitions are all paused, nothing is owed. Only joining the group may take as long as the
    other members like, so the coordinator counts in a steady group, or when it was silent before.
    """

    def __init__(self, *, fetch_wait_s: float) -> None:
        self._limit_s = UNANSWERED_S + fetch_wait_s
        self._ours: set[int] = set()
        self._last_s = 0.0
        self._owing: dict[str, tuple[int, float]] = {}
        """Brokers that owe an answer: how many they had given by then, and since when."""
        self._muted_until_s: dict[str, float] = {}
        """Until when each broker has said that it would answer nothing, for a quota."""
        self._silent: dict[str, tuple[str, float]] = {}

    def note(self, statistics: dict[str, Any]) -> None:
        """Evaluate librdkafka's statistics, which must come about every 2 s."""
        now_s = statistics["ts"] / 1e6
        is_late, self._last_s = now_s - self._last_s > LATE_STATISTICS_S, now_s
        if is_late:
            self._owing.clear()
            self._muted_until_s.clear()
            return
        is_steady = statistics.get("cgrp", {}).get("join_state") == "steady"
        if is_steady:
            # In an outage the session ends, and with it the assignment; the outage does not.
            self._ours = {
                partition["broker"]
                for topic in statistics["topics"].values()
                for partition in topic["partitions"].values()
                if partition["desired"]
            }
        brokers = statistics["brokers"]
        for gone in (self._owing.keys() | self._muted_until_s.keys()) - brokers.keys():
            self._owing.pop(gone, None)
            self._muted_until_s.pop(gone, None)
        silent: dict[str, tuple[str, float]] = {}
        for name, broker in brokers.items():
            silence_s = self._silence_s(name, broker, now_s)
            counts = (
                is_steady or name in self._silent if name == COORDINATOR else broker["nodeid"] in self._ours
            )
            if counts and silence_s > self._limit_s:
                silent[name] = (broker["nodename"], silence_s)
        self._silent = silent

    @property
    def problem(self) -> str | None:
        """Which broker does not answer, in a sentence; None when all do."""
        if not self._silent:
            return None
        longest_s: dict[str, float] = {}
        for where, silence_s in self._silent.values():
            longest_s[where] = max(silence_s, longest_s.get(where, 0.0))
        return "; ".join(
            f"Kafka broker {where or 'of the group (its address is not known)'} has not answered for "
            f"{silence_s:.0f} s: it hangs, or the network drops what is sent to it"
            for where, silence_s in longest_s.items()
        )

    def _silence_s(self, name: str, broker: dict[str, Any], now_s: float) -> float:
        """Seconds, at least, for which it has owed an answer and sent nothing."""
        if muted_s := broker["throttle"]["max"] / 1e3:
            self._muted_until_s[name] = now_s + muted_s
        is_up = broker["state"] == "UP"
        # INIT: nothing is wanted of it, so it is not connected.
        if broker["state"] == "INIT" or (is_up and broker["waitresp_cnt"] + broker["outbuf_cnt"] == 0):
            self._owing.pop(name, None)
            return 0.0
        answers, since_s = self._owing.get(name, (None, now_s))
        if broker["rx"] != answers:
            since_s = now_s
            self._owing[name] = (broker["rx"], since_s)
        silence_s = now_s - since_s
        if not is_up:
            return silence_s
        # What waits was sent before the last thing sent; and of a large answer parts may have come.
        sent_s: float = broker["txidle"] / 1e6
        heard_s: float = broker["rxidle"] / 1e6
        unmuted_s = now_s - self._muted_until_s.get(name, 0.0)
        return min(max(silence_s, sent_s), heard_s, unmuted_s)
