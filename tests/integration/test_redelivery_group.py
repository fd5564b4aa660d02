"""What the group of a resend takes for committed, on real Kafka."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from connector import config
from connector.dead_letters.redelivery_group import Committed, RedeliveryGroup
from tests.services.child import wait_until
from tests.world import NOTES, World

TOO_LONG = "x" * 10_000
"""Brokers refuse such a note, see `offset.metadata.max.bytes`."""


def test_an_answer_is_about_its_own_commit(world: World, tmp_path: Path) -> None:
    """One commit is answered while a later one is under way, which is refused: that one does not count."""
    first, _ = world.topic("notes", partitions=2)
    file = tmp_path / "resend.yaml"
    file.write_text(json.dumps(world.settings({first.topic: NOTES})))  # JSON is YAML
    with closing(RedeliveryGroup(config.load(file, {}), "resend.1", first.topic)) as group:

        def is_there(offsets: Mapping[int, Committed]) -> bool:
            group.commit(offsets)
            group.poll(0.1)
            return offsets.items() <= group.acknowledged.items()

        group.commit({0: Committed(5, "five")})
        group.commit_now({0: Committed(7, "seven")}, timeout_s=10)
        for _ in range(10):
            assert not is_there({1: Committed(3, TOO_LONG)})
        known = group.committed([0, 1])
        wait_until(lambda: is_there({0: Committed(9, "nine"), 1: Committed(3, "three")}), what="an answer")

    assert {0: Committed(7, "seven")} == known
