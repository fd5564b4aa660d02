"""Apicurio Registry by its own API: schemas by global id or content id, and what they refer to.

https://www.apicur.io/registry/docs/apicurio-registry/3.0.x/assets-attachments/registry-rest-api.htm
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from connector import config
from connector.formats.references import Reference, referred
from connector.formats.registry_http import RegistryHttp
from connector.formats.schema_cache import (
    NotFoundError,
    SchemaId,
    Schemas,
    SchemaVersion,
    Side,
    avro_text,
)

_MAX_VERSIONS = 500
"""As many as Apicurio lists at once."""

_COLLECTIONS: Mapping[str, str] = {"global id": "globalIds", "content id": "contentIds"}


class ApicurioRegistry:
    """An Apicurio Registry; the url of its settings ends in `/apis/registry/v3` or `/v2`.

    Raises:
        ConfigError: the CA, certificate, key or token cannot be used.
    """

    def __init__(self, settings: config.SchemaRegistry, *, path: str) -> None:
        self._http = RegistryHttp(settings, path=path, is_not_found=_is_not_found)
        self._content = "" if (settings.url or "").rstrip("/").endswith("v2") else "/content"
        self.shown = self._http.shown

    def fetch(self, schema_id: SchemaId) -> Schemas:
        """Ask for a schema and what it refers to, see `Registry.fetch`."""
        path = f"/ids/{_COLLECTIONS[schema_id.kind]}/{schema_id.value}"
        try:
            text = self._schema(path, str(schema_id))
        except NotFoundError:
            raise NotFoundError(f"{schema_id} is not in {self.shown}") from None
        return Schemas([*referred(list(self._references(path)), self._referred), text])

    def versions(self, topic: str, side: Side, *, count: int) -> Sequence[SchemaVersion]:
        """Ask for the last versions of the artifact `TOPIC-value` or `TOPIC-key`, see `Registry.versions`."""
        artifact = f"{topic}-{side}"
        path = f"/groups/default/artifacts/{quote(artifact, safe='')}/versions"
        try:
            # Version 2 of the API knows no order by age.
            answer = self._http.get(f"{path}?limit={_MAX_VERSIONS}&orderby=globalId&order=desc")
        except NotFoundError:
            raise NotFoundError(f"the artifact {artifact} is not in {self.shown}") from None
        match answer:
            case {"versions": list(versions)}:
                names = _newest_first(versions)[:count]
            case _:
                raise self._http.garbage("it holds no versions of an artifact")
        return [self._version(path, name, f"version {name} of {artifact}") for name in names]

    def _version(self, versions: str, name: str, shown: str) -> SchemaVersion:
        text, inner = self._referred(Reference(shown, f"{versions}/{quote(name, safe='')}", shown))
        return SchemaVersion(shown, Schemas([*referred(inner, self._referred), text]))

    def check(self) -> None:
        """Ask for something, see `Registry.check`. Any id will do."""
        with contextlib.suppress(NotFoundError):
            self._http.get("/ids/globalIds/1")

    def _schema(self, path: str, name: str) -> bytes:
        text = self._http.get_bytes(path)
        if text.lstrip().startswith(b"<"):  # to take it for the schema would cost records for good
            raise self._http.garbage("it is HTML. Is a proxy or a login page answering?")
        return avro_text(text, name)

    def _references(self, path: str) -> Iterator[Reference]:
        references = self._http.get(f"{path}/references")
        if not isinstance(references, list):
            raise self._http.garbage("the references are not a list")
        for reference in references:
            match reference:
                case {"name": str(name), "artifactId": str(artifact), "version": str(version)}:
                    group = str(reference.get("groupId") or "default")
                    parts = (quote(each, safe="") for each in (group, artifact, version))
                    path = "/groups/{}/artifacts/{}/versions/{}".format(*parts)
                    yield Reference(name, path, f"version {version} of {artifact} in group {group}")
                case _:
                    raise self._http.garbage("a reference has no name, artifact or version")

    def _referred(self, reference: Reference) -> tuple[bytes, list[Reference]]:
        text = self._schema(f"{reference.path}{self._content}", reference.shown)
        return text, list(self._references(reference.path))


def _newest_first(versions: list[Any]) -> list[str]:
    enabled: dict[int, str] = {}
    for version in versions:
        match version:
            case {"globalId": int(number), "version": str(name)} if version.get("state") != "DISABLED":
                enabled[number] = name
    return [enabled[number] for number in sorted(enabled, reverse=True)]


def _is_not_found(answer: dict[str, Any]) -> bool:
    return str(answer.get("name", "")).endswith("NotFoundException")
