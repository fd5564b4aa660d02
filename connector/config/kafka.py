"""The `kafka:` group of the settings: librdkafka's own keys, and which of them belong to the bridge.

Only librdkafka knows what a key means and which values it takes; `kafka.client.option_problems` asks it. See
https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from connector.config.problems import Group
from connector.config.yaml_file import Plain

_COMMITS = "the bridge commits an offset only when its record is settled"
_SETTLES = "a dead letter is settled only when every in-sync replica has it, exactly once"
OWNED_KAFKA_KEYS: Mapping[str, str] = {
    r"enable\.auto\.commit|auto\.commit\.enable|enable\.auto\.offset\.store": _COMMITS,
    r"auto\.commit\.interval\.ms": f"{_COMMITS}; see delivery.commit_interval",
    r"offset\.store\..*": _COMMITS,
    r"enable\.partition\.eof": "the end of a partition would be taken for an error",
    r"acks|request\.required\.acks|enable\.idempotence|enable\.gapless\.guarantee": _SETTLES,
    r"delivery\.report\.only\.error": "a dead letter is settled by its delivery report",
    r"transactional\.id|transaction\.timeout\.ms": "dead letters are written without transactions",
    r"statistics\.interval\.ms": "the bridge reads lag and the brokers' state from the statistics",
    r"client\.id": "it is the `name` at the top of the configuration",
    r"client\.software\..*": "brokers are told the name and version of librdkafka",
    r"metadata\.broker\.list": "write bootstrap.servers",
    r"log\.queue|logger": "librdkafka's log goes to the bridge's; see log.level, and `debug` here",
    r"test\.mock\..*": "it would start a broker inside the bridge; see `partner-bridge sandbox`",
    r"plugin\.library\.paths|interceptors": "it would load code into the process",
    r"ssl\.engine\..*|ssl\.providers": "it would load code into the process",
    r"sasl\.kerberos\.(kinit\.cmd|keytab|principal)": "a shell would run it; renew Kerberos' tickets beside "
    "the bridge, with sasl.kerberos.min.time.before.relogin: 0",
    r"default[._]topic[._]conf(ig)?": "write topic settings next to the others",
    r"opaque|enabled_events|on_(commit|delivery)|.*[._]cb": "it takes code, and this is text",
}
"""librdkafka keys (patterns) that cannot be set, and why."""
_DESCRIBED: Mapping[str, JsonSchemaValue] = {
    "bootstrap.servers": {"type": "string", "description": "Brokers to start from, `host:port,…`."},
    "group.id": {"type": "string", "description": "The consumer group, shared by every replica."},
    "auto.offset.reset": {
        "enum": ["earliest", "latest", "error"],
        "default": "earliest",
        "description": "Where a group without offsets starts. `earliest` skips nothing.",
    },
}
"""JSON Schemas of the librdkafka keys that the bridge itself needs."""
_KEY = r"[a-zA-Z0-9._]+"
_SECRET = re.compile(r"password|passphrase|secret|token|private|key\.pem|oauthbearer\.config|jaas")


def _kafka_option(value: object) -> object:
    if isinstance(value, bool) or (isinstance(value, Plain) and value.lower() in {"true", "false"}):
        return str(value).lower()
    if isinstance(value, Mapping):
        raise ValueError("must be one value; keys are written whole, with their dots, as `bootstrap.servers`")  # noqa: TRY004
    if isinstance(value, list):
        raise ValueError("must be one text; separate several with commas")  # noqa: TRY004
    if value is None:
        raise ValueError("needs a value")
    return str(value)


def _kafka_key(key: str) -> str:
    # librdkafka reads a key up to its first NUL: `ssl.providers` with one behind it would get past us.
    if not re.fullmatch(_KEY, key):
        raise ValueError("is no key of librdkafka; those have letters, digits, dots and underscores only")
    for pattern, reason in OWNED_KAFKA_KEYS.items():
        if re.fullmatch(pattern, key):
            raise ValueError(f"cannot be set here: {reason}")
    return key


KafkaKey: TypeAlias = Annotated[str, AfterValidator(_kafka_key)]
KafkaOption: TypeAlias = Annotated[str, BeforeValidator(_kafka_option)]


class Kafka(Group):
    """The Kafka cluster: librdkafka's own keys, as they are, and `auth`."""

    auth: Literal["aws-msk-iam"] | None = Field(
        default=None,
        description="`aws-msk-iam` signs in to Amazon MSK with AWS credentials; needs the `msk` extra. The "
        "Region is that in the brokers' names, else that of `eventbridge`.",
    )
    options: dict[KafkaKey, KafkaOption] = Field(default_factory=dict, repr=False)

    @classmethod
    def described_keys(cls) -> list[str]:
        return [*_DESCRIBED, "auth"]

    @classmethod
    def key_of(cls, segment: str) -> str | None:
        return "auth" if segment.lower() == "auth" else segment.lower().replace("_", ".")

    @model_validator(mode="before")
    @classmethod
    def _options(cls, written: object) -> object:
        if not isinstance(written, Mapping):
            return written
        reset = written.get("auto.offset.reset", "earliest")
        options = {key: value for key, value in written.items() if key != "auth"}
        return {"auth": written.get("auth"), "options": options | {"auto.offset.reset": reset}}

    @model_serializer
    def _masked(self) -> dict[str, str | None]:
        masked = {key: "***" if _SECRET.search(key) else v for key, v in self.options.items()}
        return {"auth": self.auth, **masked}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core))
        schema["properties"] = {**_DESCRIBED, "auth": schema["properties"]["auth"]}
        schema["required"] = ["bootstrap.servers", "group.id"]
        schema["propertyNames"] = {
            "pattern": f"^{_KEY}$",
            "not": {"pattern": f"^({'|'.join(OWNED_KAFKA_KEYS)})$"},
        }
        schema["additionalProperties"] = {"type": ["string", "number", "boolean"]}
        return schema
