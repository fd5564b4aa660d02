"""Every setting: its name, type, default and meaning, in one table.

Values are frozen: durations are seconds, sizes are bytes, secrets hide themselves. What must fit together
is in `rules`.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    PlainSerializer,
    SecretStr,
    SerializerFunctionWrapHandler,
    StringConstraints,
    WithJsonSchema,
    model_serializer,
)

from connector.config import units, yaml_file
from connector.config.kafka import Kafka
from connector.config.problems import Group
from connector.model import InactivePolicy

MAX_ENTRIES = 20
"""Entries in one PutPartnerEvents request, at most."""
MAX_REQUEST_BYTES = 1024 * 1024
DEFAULT_TARGET = "default"
"""The name of the target under `eventbridge`."""
DEFAULT_REGISTRY = "default"
"""The name of the registry under `schema_registry`."""
REGION = r"^[a-z]{2,5}(-[a-z]+)+-[0-9]{1,2}$"
"""The form of an AWS Region's name."""
MAX_TOPIC_NAME = 249
"""Characters of a Kafka topic's name, at most."""

FOLDER: ContextVar[Path] = ContextVar("_folder", default=Path())
"""The folder of the file being loaded: what paths in it are relative to."""


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError("must be a URL such as https://registry:8081")
    if parts.username or parts.password:
        raise ValueError("must not hold a user name or password; there are settings for them")
    if parts.query or parts.fragment:
        raise ValueError("must not hold a query or fragment")
    return value


def _topic_name(name: str) -> str:
    if not name.startswith("^"):
        if not re.fullmatch(rf"[a-zA-Z0-9._-]{{1,{MAX_TOPIC_NAME}}}", name) or name in {".", ".."}:
            raise ValueError(
                "is no Kafka topic name (1 to 249 of a-z A-Z 0-9 . _ -); a pattern starts with ^"
            )
        return name
    try:
        re.compile(name)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    if found := re.search(r"\\[dDAZ]|\(\?|[*+?}]\?", name):
        raise ValueError(f"`{found[0]}` means something else to librdkafka; write it plainly, as [0-9]")
    return name


def _registry_name(name: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,50}", name):
        raise ValueError("is no name of a registry (1 to 50 of a-z A-Z 0-9 _ -)")
    if name == DEFAULT_REGISTRY:
        raise ValueError("is what the one under `schema_registry` is called; choose another name")
    return name


def registry_path(name: str) -> str:
    """Where the registry of a name stands in the configuration."""
    return "schema_registry" if name == DEFAULT_REGISTRY else f"schema_registries.{name}"


def _target_name(name: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,50}", name):
        raise ValueError("is no name of a target (1 to 50 of a-z A-Z 0-9 _ -)")
    if name == DEFAULT_TARGET:
        raise ValueError("is what the target under `eventbridge` is called; choose another name")
    return name


Seconds: TypeAlias = Annotated[
    float,
    BeforeValidator(units.seconds),
    PlainSerializer(units.show_seconds, return_type=str),
    WithJsonSchema({"type": "string", "pattern": units.DURATION}),
]
Bytes: TypeAlias = Annotated[
    int,
    BeforeValidator(units.size_bytes),
    PlainSerializer(units.show_bytes, return_type=str),
    WithJsonSchema({"type": ["string", "integer"], "pattern": units.SIZE}),
]
Secret: TypeAlias = Annotated[SecretStr, PlainSerializer(lambda _: "***", return_type=str)]
Url: TypeAlias = Annotated[str, AfterValidator(_url)]
File: TypeAlias = Annotated[Path, AfterValidator(lambda path: FOLDER.get() / path)]
Text: TypeAlias = Annotated[str, StringConstraints(min_length=1)]
AnyJson: TypeAlias = Annotated[JsonValue, BeforeValidator(yaml_file.as_json)]
RegistryName: TypeAlias = Annotated[str, AfterValidator(_registry_name)]
TargetName: TypeAlias = Annotated[str, AfterValidator(_target_name)]
TopicName: TypeAlias = Annotated[str, AfterValidator(_topic_name)]


# The settings -----------------------------------------------------------------------------------


class BasicAuth(Group):
    username: Text = Field(examples=["bridge"], description="User name for the registry.")
    password: Secret = Field(examples=["secret"], description="Its password. Best given by environment.")


class SchemaRegistry(Group):
    """A schema registry: Confluent's API, Apicurio's own, or AWS Glue."""

    type: Literal["confluent", "apicurio", "glue"] = Field(
        default="confluent", description="Whose API it has; Apicurio and Karapace have Confluent's as well."
    )
    url: Url | None = Field(
        default=None,
        examples=["http://registry:8081"],
        description="Base URL of the registry. Glue needs none.",
    )
    region: Text | None = Field(
        default=None,
        examples=["eu-central-1"],
        description="Glue only: its Region. Default: that of `eventbridge`, whose credentials count.",
    )
    basic_auth: BasicAuth | None = Field(default=None, description="Sign in with user name and password.")
    bearer_token: Secret | None = Field(default=None, description="Sign in with a bearer token.")
    ca: File | None = Field(
        default=None, description="PEM file of the CA that signed the registry's certificate."
    )
    certificate: File | None = Field(default=None, description="PEM file of our certificate, for mutual TLS.")
    private_key: File | None = Field(default=None, description="PEM file of its private key.")
    timeout: Seconds = Field(default=5.0, gt=0, description="How long one request may take.")


class Timeouts(Group):
    connect: Seconds = Field(default=5.0, gt=0, description="How long connecting may take.")
    read: Seconds = Field(default=15.0, gt=0, description="How long an answer may take.")


class Batch(Group):
    count: int = Field(default=20, ge=1, le=MAX_ENTRIES, description="Events in one request, at most.")
    byte_size: Bytes = Field(
        default=262_144, ge=1024, le=MAX_REQUEST_BYTES, description="Size of one request, at most."
    )
    period: Seconds = Field(default=0.05, le=60, description="How long an event waits for others, at most.")


class Retry(Group):
    initial_interval: Seconds = Field(
        default=0.1, gt=0, description="Pause before the first retry; then it doubles."
    )
    max_interval: Seconds = Field(default=30.0, gt=0, description="Longest pause between retries.")
    max_age: Seconds = Field(
        default=3600.0,
        gt=0,
        description="How long an event is tried again that is throttled, gets no answer, or fails inside "
        "EventBridge; then it is dead-lettered. Only time in which others are accepted counts, so that an "
        "outage costs no event.",
    )
    max_attempts: int = Field(
        default=8,
        ge=1,
        description="Attempts before an event is dead-lettered that is refused for its source, or with a "
        "code that the bridge does not know. One counts if others were accepted since the last.",
    )


class ClaimCheckSettings(Group):
    """Events that are too large: a part of each goes to S3, and the event says where it is."""

    bucket: str = Field(
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        examples=["example-large-events"],
        description="S3 bucket that takes what is too large.",
    )
    prefix: str = Field(
        default="",
        pattern=r"^([a-zA-Z0-9!_.*()-]+(/[a-zA-Z0-9!_.*()-]+)*)?$",
        max_length=256,
        examples=["events"],
        description="What the keys of objects begin with. Behind it stand the source and the event's id.",
    )
    above: Bytes | None = Field(
        default=None,
        ge=1024,
        description="Size of an event above which this is done, as EventBridge counts it. Default: "
        "`max_event_bytes`.",
    )
    path: str = Field(
        default="$.detail",
        pattern=r"^\$\.detail(\.[A-Za-z_][A-Za-z0-9_-]*|\['[^'\]\x00-\x1f\x7f]+'\])*$",
        examples=["$.detail.order.lines"],
        description="The part of the event that goes to S3, and is taken out of it. An event without it is "
        "sent as it is, or dead-lettered where it is too large.",
    )
    region: Text | None = Field(
        default=None, examples=["eu-west-1"], description="The bucket's Region. Default: that of the target."
    )
    endpoint_url: Url | None = Field(
        default=None,
        examples=["https://bucket.vpce-0123.s3.eu-central-1.vpce.amazonaws.com"],
        description="Another endpoint of S3 than the Region's own.",
    )
    kms_key_id: Text | None = Field(
        default=None,
        examples=["arn:aws:kms:eu-central-1:123456789012:key/0123"],
        description="KMS key that encrypts the objects. Default: as the bucket says.",
    )
    bucket_owner: str | None = Field(
        default=None,
        pattern=r"^[0-9]{12}$",
        examples=["123456789012"],
        description="AWS account that must own the bucket; S3 refuses to write to another's.",
    )


class Target(Group):
    """Where events go. Region and role decide the account's partner event sources."""

    region: str = Field(
        pattern=REGION,
        examples=["eu-central-1"],
        description="AWS Region of the partner event sources.",
    )
    endpoint_url: Url | None = Field(
        default=None,
        examples=["https://vpce-0123.events.eu-central-1.vpce.amazonaws.com"],
        description="Another endpoint than the Region's own.",
    )
    allow_insecure: bool = Field(
        default=False, description="Allow `http://` to an endpoint that is not this machine."
    )
    profile: str | None = Field(
        default=None, examples=["bridge"], description="Profile of the AWS configuration files."
    )
    role_arn: str | None = Field(
        default=None,
        pattern=r"^arn:[a-z-]+:iam::[0-9]{12}:role/.+$",
        examples=["arn:aws:iam::123456789012:role/partner-bridge"],
        description="Role to assume.",
    )
    external_id: str | None = Field(
        default=None, examples=["bridge-4711"], description="External id to assume it with."
    )
    timeouts: Timeouts = Field(default=Timeouts(), description="Limits of one request.")
    ca_bundle: File | None = Field(
        default=None, description="PEM file of the CAs to trust instead of the usual ones."
    )
    use_fips: bool | None = Field(
        default=None,
        description="Use the Region's FIPS endpoint. null: as AWS_USE_FIPS_ENDPOINT or the profile says.",
    )
    use_dualstack: bool | None = Field(
        default=None,
        description="Use the Region's IPv4 and IPv6 endpoint. null: as AWS_USE_DUALSTACK_ENDPOINT or the "
        "profile says.",
    )
    max_in_flight: int = Field(default=32, ge=1, le=1000, description="Requests at once, at most.")
    batch: Batch = Field(default=Batch(), description="How events share requests.")
    max_event_bytes: Bytes = Field(
        default=262_144,
        ge=1024,
        le=MAX_REQUEST_BYTES,
        description="Larger events are dead-lettered. At most `batch.byte_size`; raise both to 1000000 where "
        "the account has the 1 MB limit.",
    )
    claim_check: ClaimCheckSettings | None = Field(
        default=None, description="What is done with events that are too large. Default: dead-lettered."
    )
    max_requests_per_second: float | None = Field(
        allow_inf_nan=False, default=None, gt=0, description="Cap on requests per second."
    )
    retry: Retry = Field(default=Retry(), description="How a refused event is tried again.")
    on_inactive_source: InactivePolicy | None = Field(
        default=None,
        description="What becomes of records whose source is not ACTIVE: `hold` keeps them until it is, "
        "`send` lets EventBridge drop them. Default: `hold` where a topic's source is one name, "
        "`dead_letter` where it is a template.",
    )


class Sources(Group):
    """Lookups of the states of partner event sources."""

    refresh_interval: Seconds = Field(
        default=60.0, ge=1, description="How often each source in use is looked up."
    )
    lookups_per_second: float = Field(
        default=10.0,
        gt=0,
        le=50,
        allow_inf_nan=False,
        description="Lookups per second and target; those that events wait for may come in a burst, of as "
        "many as in 5 s and 50 at most. AWS allows 50 calls a second of its control plane to everything in "
        "the account and Region together.",
    )
    first_lookup_timeout: Seconds = Field(
        default=30.0,
        ge=0.1,
        description="How long records wait for a lookup of their source while none is answered; then they "
        "are sent, unless the source was seen not ACTIVE. Replay leaves its letters open instead.",
    )
    max_held_records: int = Field(
        default=1000,
        ge=1,
        description="Records of one source held, at most. All held ones together take at most half of what "
        "their target may have pending.",
    )
    max_held_bytes: Bytes = Field(
        default=8 * 1024**2,
        ge=1024,
        description="Size of the records of one source held and of their events, at most.",
    )
    when_held_is_full: Literal["dead_letter", "pause"] = Field(
        default="dead_letter",
        description="What happens to further records: `pause` stops their partition until there is room.",
    )
    customers: File | None = Field(
        default=None,
        description="CSV file of the customers' sources, as `partner-bridge source sync` takes it.",
    )
    create_missing: bool = Field(
        default=False,
        description="Create a source of `customers` that does not exist when a record needs it.",
    )


class DeadLetterSettings(Group):
    """Where records go that can never succeed."""

    topic: TopicName = Field(
        examples=["orders-bridge.dlt"], description="The dead-letter topic. Never read as input."
    )
    max_consecutive: int = Field(
        default=1000, ge=1, description="Halt after this many dead letters without one delivery between them."
    )
    resolutions_topic: TopicName | None = Field(
        default=None,
        examples=["orders-bridge.dlt.resolutions"],
        description="The compacted topic that remembers what became of each dead letter, written by "
        "`partner-bridge dead-letters`. Default: the dead-letter topic's name with `.resolutions` behind it.",
    )
    max_replays: int = Field(
        default=3, ge=0, description="A letter replayed so often that fails again is parked: left for you."
    )
    count_open_every: Annotated[Seconds, Field(ge=1)] | None = Field(
        default=None, description="How often to count open letters for `dead_letters_open`; null for never."
    )
    create: bool = Field(default=False, description="Create the topic at start where it is missing.")
    partitions: int = Field(default=1, ge=1, description="Partitions of a topic created so.")
    replication_factor: int = Field(default=3, ge=1, description="Replicas of a topic created so.")

    @property
    def resolutions(self) -> str:
        """The resolutions topic's name, also where it is not written."""
        return self.resolutions_topic or f"{self.topic}.resolutions"


class ReceiptSettings(Group):
    """A record of each request that delivered something, for `partner-bridge events find`."""

    topic: TopicName = Field(
        examples=["orders-bridge.receipts"],
        description="The receipts topic. Its retention is for how long events can be found. Never read as "
        "input.",
    )
    create: bool = Field(
        default=False,
        description="Create the topic at start where it is missing, with the partitions and replicas that "
        "`dead_letter` has for topics.",
    )


class Http(Group):
    host: Text = Field(
        default="::",  # probes come from outside
        examples=["127.0.0.1"],
        description="Address to listen on. `::` is every interface, IPv4 and IPv6; `0.0.0.0` is IPv4 alone.",
    )
    port: int = Field(
        default=8080, ge=0, le=65535, description="Port for health, metrics and the page; 0 picks a free one."
    )
    page: bool = Field(default=True, description="Serve the page for people at `/`.")
    token: Annotated[Secret, Field(min_length=1)] | None = Field(
        default=None,
        description="Wanted from all who ask for more than `/livez` and `/readyz`: as bearer token, or as "
        "the password of any user in a browser; null for nothing.",
    )
    runbook_url: Text | None = Field(
        default=None,
        examples=["https://wiki.example.com/partner-bridge"],
        description="Where the runbook is published; the page then links to its entries.",
    )

    @property
    def authorization(self) -> dict[str, str]:
        """The header that the server wants."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token.get_secret_value()}"}


class Delivery(Group):
    max_pending_records: int = Field(
        default=20_000, ge=1, description="Records read and not yet settled, at most."
    )
    max_pending_bytes: Bytes = Field(
        default=64 * 1024**2,
        ge=1024**2,
        description="Bytes of records read and not yet settled, and of their events, at most.",
    )
    commit_interval: Seconds = Field(
        default=5.0, ge=0.1, le=300, description="How often offsets are committed."
    )
    shutdown_timeout: Seconds = Field(
        default=25.0,
        ge=1,
        le=600,
        description="How long a stop may drain. Keep it under the pod's grace period.",
    )


class Log(Group):
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level written."
    )
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="`auto` is `console` on a terminal and `json` elsewhere."
    )


NonFinite: TypeAlias = Literal["null", "string", "error"]
"""The JSON form of NaN and the infinities."""


OutOfRange: TypeAlias = Literal["error", "null", "string"]
"""The JSON form of times outside the years 1 to 9999."""
ConnectTypes: TypeAlias = Literal["readable", "raw"]
"""The JSON form of types of Kafka Connect and Debezium that Avro has no logical type for."""

Framing: TypeAlias = Literal["confluent", "glue", "apicurio", "single-object", "none"]
"""How a record names the schema it was written with."""


class Format(Group):
    """How bytes become a value."""

    format: Literal["avro", "json", "string", "bytes"] = Field(
        default="avro", description="What the bytes are."
    )
    framing: Framing | None = Field(
        default=None,
        description="How a record names its schema, in Avro and in JSON written with a schema. Default: "
        "`confluent` for Avro, `none` for JSON.",
    )
    registry: RegistryName | None = Field(
        default=None,
        examples=["payments"],
        description="Avro only: which of `schema_registries` has the schemas. Default: `schema_registry`.",
    )
    schema_file: File | None = Field(
        default=None,
        alias="schema",
        description="Avro with framing `none`: the schema it was written with. With framing `single-object`: "
        "that, or a folder of `.avsc` files.",
    )
    reader_schema: File | None = Field(default=None, description="Avro only: the schema to read it as.")
    non_finite: NonFinite = Field(
        default="null", description="What NaN and Infinity become, which JSON does not have."
    )
    out_of_range: OutOfRange = Field(
        default="error",
        description="Avro only: what times outside the years 1 to 9999 become: a dead letter, null, or text "
        "such as `+010000-01-01`; Postgres' infinities become `infinity` and `-infinity` then.",
    )
    connect_types: ConnectTypes = Field(
        default="readable",
        description="Avro only: whether times and decimals of Kafka Connect and Debezium become text, as "
        "those with a logical type do, or stay the numbers and bytes that they are.",
    )
    encrypted: Literal["refuse", "send"] = Field(
        default="refuse",
        description="Avro only: what to do where a rule of the schema has producers encrypt fields; `send` "
        "sends the ciphertext.",
    )

    @property
    def framed(self) -> Framing:
        """The framing, also where it is not written."""
        return self.framing or ("confluent" if self.format == "avro" else "none")

    @property
    def is_registered(self) -> bool:
        """Whether it takes schemas from a registry."""
        return self.format == "avro" and self.framed not in {"none", "single-object"}

    @model_serializer(mode="wrap")
    def _without_avro(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        shown: dict[str, Any] = serialize(self)
        only_avro = {"framing", "registry", "schema", "reader_schema", "out_of_range", "connect_types"}
        only_avro |= {"encrypted"}
        return {key: value for key, value in shown.items() if self.format == "avro" or key not in only_avro}


TimeUnit: TypeAlias = Literal["auto", "s", "ms", "us", "ns"]
"""What a number counts that says when an event happened."""


class EventTemplate(Group):
    """The event a record becomes. `${…}` holds JMESPath; text without it is used as it is."""

    source: Text = Field(
        examples=["aws.partner/example.com/${value.tenant_id}"], description="The partner event source."
    )
    detail_type: Text = Field(examples=["Order ${value.status}"], description="What kind of event it is.")
    time: Text | None = Field(
        default=None,
        examples=["${value.updated_at}"],
        description="When it happened. Default: the record's timestamp.",
    )
    time_unit: TimeUnit = Field(
        default="auto",
        description="What a number in `time` counts since 1970: seconds, milliseconds, microseconds or "
        "nanoseconds. `auto` means milliseconds, refuses a number outside the years 2000 to 2100, and names "
        "the unit that fits.",
    )
    resources: list[Text] = Field(
        default=[], examples=[["order/${value.order_id}"]], description="What it is about."
    )
    detail: AnyJson = Field(
        default="${value}", description="Its content; templates may be nested at any depth."
    )
    metadata: Text | None = Field(
        default="_kafka",
        examples=["_kafka"],
        description="Key in the detail for the record's position and id; null for none.",
    )


class Topic(Group):
    """What to do with the records of one topic, or of those that match a pattern."""

    value: Format = Field(default=Format(), description="How record values are written.")
    key: Format = Field(Format(format="string"), description="How record keys are written.")
    tombstones: Literal["skip", "send", "dead_letter"] = Field(
        default="skip", description="What to do with records without a value."
    )
    filter: Text | None = Field(
        default=None,
        examples=["value.status != 'DRAFT'"],
        description="JMESPath; a record for which it is false is dropped.",
    )
    ordering: Literal["key", "partition", "unordered"] = Field(
        default="key", description="Which records wait for each other."
    )
    target: Text = Field(
        default=DEFAULT_TARGET,
        examples=["us"],
        description="Which of `targets` to send to; may be a template. `default` is `eventbridge`.",
    )
    on_inactive_source: InactivePolicy | None = Field(
        default=None, description="The same as in the target, for this topic; it wins."
    )
    event: EventTemplate = Field(description="The event a record becomes.")

    def inactive_policy(self, target: Target) -> InactivePolicy:
        """The policy for this topic's records in a target while their source is not ACTIVE."""
        usual: InactivePolicy = "dead_letter" if "${" in self.event.source.replace(r"\${", "") else "hold"
        return self.on_inactive_source or target.on_inactive_source or usual


class Settings(Group):
    """Configuration of partner-bridge."""

    name: str = Field(
        default="partner-bridge",
        pattern=r"^[a-zA-Z0-9._-]{1,100}$",
        examples=["orders-bridge"],
        description="Name of this bridge in metrics, dead letters and Kafka's client.id.",
    )
    kafka: Kafka = Field(description="The Kafka cluster: librdkafka keys, verbatim.")
    schema_registry: SchemaRegistry | None = Field(default=None, description="The schema registry.")
    schema_registries: dict[RegistryName, SchemaRegistry] = Field(
        default={}, description="More registries, by name; a format picks one with `registry`."
    )
    eventbridge: Target = Field(description="Where events go.")
    targets: dict[TargetName, Target] = Field(
        default={}, description="More places where events go, by name; a topic picks one with `target`."
    )
    sources: Sources = Field(default=Sources(), description="How the states of sources are watched.")
    dead_letter: DeadLetterSettings = Field(description="The topic of dead letters, and its limits.")
    receipts: ReceiptSettings | None = Field(
        default=None, description="Records of what was delivered, one for each request. Default: none."
    )
    http: Http = Field(default=Http(), description="The server for health and metrics.")
    delivery: Delivery = Field(default=Delivery(), description="How much is on its way at once.")
    log: Log = Field(default=Log(), description="The log.")
    pauses: File | None = Field(
        default=None,
        examples=["/etc/partner-bridge-pauses/pauses.yaml"],
        description="YAML or JSON file of sources, topics and targets to pause, read again when it changes. "
        "It may be missing at the start. Default: none.",
    )
    topics: dict[TopicName, Topic] = Field(
        min_length=1,
        examples=[{"orders": {"event": {"source": "aws.partner/example.com/a", "detail_type": "Order"}}}],
        description="What to read: a topic's name, or a pattern starting with `^`.",
    )

    @property
    def all_targets(self) -> dict[str, Target]:
        """Every target by name; `eventbridge` is called `default`."""
        return {DEFAULT_TARGET: self.eventbridge, **self.targets}

    @staticmethod
    def path_of_target(name: str) -> str:
        """Where the settings of a target are: `eventbridge`, or its place under `targets`."""
        return "eventbridge" if name == DEFAULT_TARGET else f"targets.{name}"

    @property
    def all_registries(self) -> dict[str, SchemaRegistry]:
        """Every schema registry by name; the one under `schema_registry` is called `default`."""
        default = {} if self.schema_registry is None else {DEFAULT_REGISTRY: self.schema_registry}
        return {**default, **self.schema_registries}
