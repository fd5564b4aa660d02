"""What the bridge is compared with: the loop a good engineer writes in an afternoon.

The usual libraries, used well: fastavro with cached schemas, full batches, calls on a pool of threads, commit
after success, refused entries sent again, a clean stop. It has nothing of what makes the bridge a bridge:
no checks, no dead letters, no order, no backoff worth the name, and a record it cannot decode ends it.
"""

from __future__ import annotations

import argparse
import io
import json
import signal
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import fastavro
from botocore.config import Config
from confluent_kafka import Consumer

BATCH = 20
RETRY_PAUSE_S = 0.2


class Orders:
    """Makes entries of records."""

    def __init__(self, registry_url: str) -> None:
        self.registry_url = registry_url
        self.schemas: dict[int, Any] = {}

    def entry(self, value: bytes) -> dict[str, Any]:
        order = self.decode(value)
        return {
            "Time": order["updated_at"],
            "Source": f"aws.partner/example.com/{order['tenant_id']}",
            "Resources": [f"order/{order['order_id']}"],
            "DetailType": f"Order {order['status']}",
            "Detail": json.dumps(order, default=str),
        }

    def decode(self, value: bytes) -> Any:
        schema = self.schema(int.from_bytes(value[1:5], "big"))
        return fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)

    def schema(self, schema_id: int) -> Any:
        if schema_id not in self.schemas:
            with urllib.request.urlopen(f"{self.registry_url}/schemas/ids/{schema_id}", timeout=5) as answer:
                text = json.load(answer)["schema"]
            self.schemas[schema_id] = fastavro.parse_schema(json.loads(text))
        return self.schemas[schema_id]


class Calls:
    """Sends entries, and those that are refused again."""

    def __init__(self, endpoint_url: str, region: str, *, threads: int, ca_file: str | None = None) -> None:
        self.client = boto3.client(
            "events",
            region_name=region,
            endpoint_url=endpoint_url,
            verify=ca_file,
            config=Config(max_pool_connections=threads),
        )

    def put(self, entries: Sequence[dict[str, Any]]) -> None:
        while entries:
            answer = self.client.put_partner_events(Entries=entries)
            results = zip(entries, answer["Entries"], strict=True)
            entries = [entry for entry, result in results if "EventId" not in result]
            if entries:
                time.sleep(RETRY_PAUSE_S)


class Loop:
    def __init__(self, asked: argparse.Namespace) -> None:
        self.orders = Orders(asked.registry)
        self.calls = Calls(asked.endpoint, asked.region, threads=asked.threads, ca_file=asked.ca)
        self.threads: int = asked.threads
        self.stopping = False
        self.consumer = Consumer(
            {
                "bootstrap.servers": asked.bootstrap,
                "group.id": asked.group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )
        self.consumer.subscribe([asked.topic])

    def run(self) -> None:
        with ThreadPoolExecutor(self.threads) as pool:
            while not self.stopping:
                messages = self.consumer.consume(BATCH * self.threads, timeout=0.1)
                values = [message.value() or b"" for message in messages if message.error() is None]
                entries = [self.orders.entry(value) for value in values]
                if entries:
                    batches = [entries[start : start + BATCH] for start in range(0, len(entries), BATCH)]
                    list(pool.map(self.calls.put, batches))
                    self.consumer.commit(asynchronous=True)
        self.consumer.close()

    def stop(self, *_: object) -> None:
        self.stopping = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("bootstrap", "topic", "group", "registry", "endpoint", "region"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--ca", metavar="FILE", help="the CA to trust; without it, boto3's own")
    parser.add_argument("--threads", type=int, default=16)
    loop = Loop(parser.parse_args())
    signal.signal(signal.SIGTERM, loop.stop)
    loop.run()


if __name__ == "__main__":
    main()
