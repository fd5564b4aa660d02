"""Apicurio Registry by its own API: schemas by global id or content id, and what they refer to.

https://www.apicur.io/registry/docs/apicurio-registry/3.0.x/assets-attachments/registry-rest-api.htm
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from connector import config
from connector.formats.references import Reference, referred
from connector.formats.registry_http import RegistryHttp
from connector.formats.schema_cache import NotFoundError, SchemaId, Schemas, avro_text

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


def _is_not_found(answer: dict[str, Any]) -> bool:
    return str(answer.get("name", "")).endswith("NotFoundException")
