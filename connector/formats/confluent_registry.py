"""A registry with Confluent's API: schemas by id or GUID, and what they refer to.

https://docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from connector import config
from connector.errors import DecodeError
from connector.formats.references import Reference, referred
from connector.formats.registry_http import RegistryHttp, UnknownPathError
from connector.formats.schema_cache import (
    NotFoundError,
    SchemaId,
    Schemas,
    SchemaVersion,
    Side,
    avro_text,
)

_ENCRYPTING = {"ENCRYPT", "ENCRYPT_PAYLOAD"}
"""Types of rules: https://docs.confluent.io/platform/current/schema-registry/fundamentals/data-contracts.html"""


class ConfluentRegistry:
    """A Confluent-compatible schema registry.

    Raises:
        ConfigError: the CA, certificate, key or token cannot be used.
    """

    def __init__(self, settings: config.SchemaRegistry, *, path: str) -> None:
        self._http = RegistryHttp(settings, path=path, is_not_found=_is_not_found)
        self.shown = self._http.shown

    def fetch(self, schema_id: SchemaId) -> Schemas:
        """Ask for a schema and what it refers to, see `Registry.fetch`."""
        collection = "guids" if schema_id.kind == "guid" else "ids"
        try:
            answer = self._get(f"/schemas/{collection}/{schema_id.value}")
        except UnknownPathError:
            if schema_id.kind != "guid":
                raise
            self.check()  # where it finds ids, it is the GUIDs that it does not know: bytes must not stop us
            raise NotFoundError(f"{schema_id} is not in {self.shown}, which does not know GUIDs") from None
        except NotFoundError:
            guess = " Is the producer using Apicurio's 8-byte ids?" if schema_id.value == 0 else ""
            raise NotFoundError(f"{schema_id} is not in {self.shown}.{guess}") from None
        return self._schemas(answer, str(schema_id))

    def versions(self, topic: str, side: Side, *, count: int) -> Sequence[SchemaVersion]:
        """Ask for the last versions of the subject `TOPIC-value` or `TOPIC-key`, see `Registry.versions`."""
        subject = f"{topic}-{side}"
        path = f"/subjects/{quote(subject, safe='')}/versions"
        try:
            numbers = self._http.get(path)
        except NotFoundError:
            raise NotFoundError(f"the subject {subject} is not in {self.shown}") from None
        if not isinstance(numbers, list) or not all(isinstance(number, int) for number in numbers):
            raise self._http.garbage("the versions of a subject are not a list of numbers")
        latest = sorted(numbers, reverse=True)[:count]
        return [self._version(f"{path}/{number}", f"version {number} of {subject}") for number in latest]

    def _version(self, path: str, shown: str) -> SchemaVersion:
        return SchemaVersion(shown, self._schemas(self._get(path), shown))

    def _schemas(self, answer: dict[str, Any], name: str) -> Schemas:
        texts = referred(list(self._references(answer)), self._referred)
        return Schemas([*texts, _schema(answer, name)], _encrypted_by(answer))

    def check(self) -> None:
        """Ask for something, see `Registry.check`. Any id will do."""
        with contextlib.suppress(NotFoundError):
            self._get("/schemas/ids/1")

    def _get(self, path: str) -> dict[str, Any]:
        answer = self._http.get(path)
        if not isinstance(answer, dict) or not isinstance(answer.get("schema"), str):
            raise self._http.garbage("it holds no schema. Is a proxy or a login page answering?")
        return answer

    def _references(self, answer: dict[str, Any]) -> Iterator[Reference]:
        references = answer.get("references") or []
        if not isinstance(references, list):
            raise self._http.garbage("`references` is not a list")
        for reference in references:
            match reference:
                case {"name": str(name), "subject": str(subject), "version": int(version)}:
                    # One that was deleted since is still what records were written with.
                    path = f"/subjects/{quote(subject, safe='')}/versions/{version}?deleted=true"
                    yield Reference(name, path, f"version {version} of {subject}")
                case _:
                    raise self._http.garbage("a reference has no name, subject or version")

    def _referred(self, reference: Reference) -> tuple[bytes, list[Reference]]:
        answer = self._get(reference.path)
        return _schema(answer, reference.shown), list(self._references(answer))


def _is_not_found(answer: dict[str, Any]) -> bool:
    # 40401 subject, 40402 version, 40403 schema. Any other 404 is not about the schema.
    code = answer.get("error_code")
    return isinstance(code, int) and 40400 <= code < 40500


def _schema(answer: dict[str, Any], name: str) -> bytes:
    schema_type = answer.get("schemaType") or "AVRO"
    if schema_type != "AVRO":
        raise DecodeError("schema_invalid", f"{name} is a {schema_type} schema, and the format says avro")
    return avro_text(answer["schema"].encode(), name)


def _encrypted_by(answer: dict[str, Any]) -> str | None:
    match answer.get("ruleSet"):
        case dict(rule_set):
            rules = [rule for group in rule_set.values() if isinstance(group, list) for rule in group]
        case _:
            return None
    for rule in rules:
        match rule:
            case {"type": str(kind)} if kind in _ENCRYPTING and not rule.get("disabled"):
                return str(rule.get("name", kind))
    return None
