"""`python -m tests.bench.guard`: what a part of the bridge costs next to the plain loop's, as ratios.

Both do their work in turn, in this process and in small blocks, and only CPU time counts: so a ratio hardly
depends on the machine, or on what else it does. `test_guard.py` compares it with `COMMITTED`; a change that
makes a part cheaper for good writes the new ratio there.
"""

from __future__ import annotations

import gc
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from types import MappingProxyType
from unittest.mock import patch

import boto3

from connector.sandbox.registry import FakeRegistry
from tests.bench import records
from tests.bench.endpoint import Endpoint
from tests.bench.stages import Stages
from tests.bridge_process import AWS_ENVIRON

COMMITTED: Mapping[str, float] = MappingProxyType(
    {"pipeline": 0.72, "sender": 0.27, "receipts": 0.017, "calls": 0.080}
)
"""pipeline: decode, map and entry, against the loop's decode and entry. sender: ledger, queue and judging,
against the same. receipts: the JSON of receipts, against the same. calls: signing, sending and reading
answers, against boto3's on one thread."""
MARGIN = 0.30
"""A ratio may be so much above the committed one."""
RECORDS = 400
ROUNDS = 9


def ratios() -> dict[str, float]:
    """The ratios of now, by part; medians of the rounds."""
    with _stages() as stages, _quiet_gc():
        own = stages.loop_entries_s
        pairs: dict[str, tuple[Callable[[], float], Callable[[], float]]] = {
            "pipeline": (stages.pipeline_s, own),
            "sender": (lambda: stages.ledger_s() + stages.outlet_s(), own),
            "receipts": (stages.receipts_s, own),
            "calls": (stages.calls_s, lambda: stages.loop_calls_s(threads=1)),
        }
        return {
            part: median(bridge() / loop() for _ in range(ROUNDS)) for part, (bridge, loop) in pairs.items()
        }


def regressions(found: Mapping[str, float]) -> list[str]:
    """The parts whose ratio is too far above the committed one, in words."""
    return [
        f"{part}: {ratio:.2f} × the plain loop, {ratio / COMMITTED[part] - 1:.0%} over the committed "
        f"{COMMITTED[part]:.2f}"
        for part, ratio in found.items()
        if ratio > COMMITTED[part] * (1 + MARGIN)
    ]


@contextmanager
def _stages() -> Iterator[Stages]:
    with (
        patch.dict(os.environ, AWS_ENVIRON),
        tempfile.TemporaryDirectory(prefix="guard-") as folder,
        FakeRegistry() as registry,
        Endpoint(latency_ms=0) as endpoint,
    ):
        boto3.setup_default_session()  # another test may have found other credentials
        settings = {
            "kafka": {"bootstrap.servers": "127.0.0.1:1", "group.id": "guard"},  # not asked for anything
            "schema_registry": {"url": registry.url},
            "eventbridge": {"region": records.REGION, "endpoint_url": endpoint.url},
            "dead_letter": {"topic": "guard.dlt"},
            "topics": {"guard": records.TOPIC_SETTINGS},
        }
        file = Path(folder) / "bridge.yaml"
        file.write_text(json.dumps(settings))
        schema_id = registry.register("guard-value", records.SCHEMA)
        with Stages(
            file, registry_url=registry.url, endpoint=endpoint, schema_id=schema_id, count=RECORDS
        ) as stages:
            yield stages


@contextmanager
def _quiet_gc() -> Iterator[None]:
    """The objects of whatever else this process does are not walked while it is measured."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


if __name__ == "__main__":
    for part, ratio in ratios().items():
        print(f"{part}: {ratio:.3f} × the plain loop (committed: {COMMITTED[part]:.3f})")
