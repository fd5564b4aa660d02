"""The claim check: the large part of an event becomes an object in S3, and the event says where it is. Pure.

The detail gets `dataref` and `datarefJsonPath`, as AWS's own sink for Kafka Connect writes them, and besides
`datarefSize` and `datarefSha256`:
https://github.com/awslabs/eventbridge-kafka-connector#offloading-large-payloads-to-s3
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from types import MappingProxyType

import orjson

from connector import config
from connector.model import Claim, Event, Json

RESERVED = frozenset({"dataref", "datarefJsonPath", "datarefSize", "datarefSha256"})
"""A detail that has one of them has a reference of its own."""
_STEP = re.compile(r"\.([^.\[]+)|\['([^']+)'\]")
_PARTITIONS: Mapping[str, str] = MappingProxyType(
    {
        "cn": "aws-cn",
        "us-gov": "aws-us-gov",
        "us-iso": "aws-iso",
        "us-isob": "aws-iso-b",
        "us-isof": "aws-iso-f",
        "eu-isoe": "aws-iso-e",
        "eusc": "aws-eusc",
    }
)
"""The partition of AWS by how its Regions begin; of all others it is `aws`."""


class ClaimCheck:
    """Takes the part that `claim_check.path` names out of events of one target."""

    def __init__(self, target: config.Target, settings: config.ClaimCheckSettings) -> None:
        self.above = settings.above or target.max_event_bytes
        """Size of an event in bytes, as EventBridge counts it, above which it is done."""
        self.path = settings.path
        self._steps = steps_of(settings.path)
        self.bucket = settings.bucket
        self.kms_key_id = settings.kms_key_id
        self._prefix = f"{settings.prefix}/" if settings.prefix else ""
        self._region = settings.region or target.region
        self._arn = f"arn:{partition_of_region(self._region)}:s3:::{settings.bucket}/"

    def __call__(self, event: Event, event_id: str, *, metadata: str | None) -> tuple[Event, Claim] | None:
        """The small event and what goes to S3; None where the event has nothing at the path.

        `metadata` is the key of the record's position and id, which stays in the detail. So does the rest: a
        detail with a reference of its own has no room for ours, and None is what it gives.
        """
        detail: dict[str, Json] = orjson.loads(event.detail)
        body = event.detail
        if self._steps:
            *parents, last = self._steps
            inside: Json = detail
            for step in parents:
                inside = inside.get(step) if isinstance(inside, dict) else None
            if not isinstance(inside, dict) or inside.get(last) is None:
                return None
            body = orjson.dumps(inside.pop(last))
        else:
            detail = {name: value for name, value in detail.items() if name == metadata}
        if not RESERVED.isdisjoint(detail):
            return None
        key = f"{self._prefix}{event.source}/{event_id}"
        detail |= {
            "dataref": self._arn + key,
            "datarefJsonPath": self.path,
            "datarefSize": len(body),
            "datarefSha256": hashlib.sha256(body).hexdigest(),
        }
        return event._replace(detail=orjson.dumps(detail)), Claim(body, key=key, place=self.path)

    def objects_of(self, source: str) -> str:
        """The ARN of all objects of a source, as a policy names them."""
        return f"{self._arn}{self._prefix}{source}/*"

    @property
    def key_arn(self) -> str | None:
        """The ARN of the KMS key, as a policy of IAM names it; None where objects have no key of ours.

        Policies take no id and no alias. KEY_ACCOUNT and KEY stand for what the settings do not say; the
        Region is the bucket's in any case.
        https://docs.aws.amazon.com/kms/latest/developerguide/cmks-in-iam-policies.html
        """
        if self.kms_key_id is None:
            return None
        begin, _, name = self.kms_key_id.rpartition(":")
        begin = begin or f"arn:{partition_of_region(self._region)}:kms:{self._region}:KEY_ACCOUNT"
        return f"{begin}:key/{'KEY' if name.startswith('alias/') else name.removeprefix('key/')}"


def steps_of(path: str) -> list[str]:
    """The names in a path, from the detail inwards; none for the whole of it."""
    return [name or quoted for name, quoted in _STEP.findall(path.removeprefix("$.detail"))]


def partition_of_region(region: str) -> str:
    """The partition of a Region, as `aws-cn`."""
    begins = (region.rsplit("-", count)[0] for count in (2, 3))
    return next((_PARTITIONS[each] for each in begins if each in _PARTITIONS), "aws")
