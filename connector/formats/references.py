"""What a schema refers to, directly or not, as Java's client of a registry gathers it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from connector.errors import DecodeError
from connector.formats.schema_cache import NotFoundError

MAX_REFERENCES = 100
MAX_REFERENCES_BYTES = 1024 * 1024
"""The most bytes of all schemas together that one schema refers to."""


class Reference(NamedTuple):
    """A schema that another refers to."""

    name: str
    """By which it is referred to."""
    path: str
    """Where the registry has it."""
    shown: str
    """What it is, for messages: `version 2 of money`."""


Fetch = Callable[[Reference], tuple[bytes, Sequence[Reference]]]
"""Gives the text of a schema and what it refers to in turn; raises as `Registry.fetch`."""


def referred(references: Sequence[Reference], fetch: Fetch) -> list[bytes]:
    """Fetch the schemas that a schema refers to, the innermost first, each name once.

    Where several versions go by one name, the one that is met first counts, depth first:
    https://github.com/confluentinc/schema-registry/blob/master/client/src/main/java/io/confluent/kafka/schemaregistry/AbstractSchemaProvider.java

    Raises:
        NotFoundError: the registry does not have one of them.
        DecodeError: `schema_invalid`, they are too many or too large.
        ConnectorError: as `fetch`.
    """
    texts: list[bytes] = []
    sizes_bytes: dict[str, int] = {}

    def follow(references: Sequence[Reference]) -> None:
        for reference in references:
            if reference.name in sizes_bytes:
                continue
            if len(sizes_bytes) == MAX_REFERENCES:
                raise DecodeError("schema_invalid", f"it refers to more than {MAX_REFERENCES} other schemas")
            try:
                text, inner = fetch(reference)
            except NotFoundError:
                raise NotFoundError(f"it refers to {reference.shown}, which is not in the registry") from None
            sizes_bytes[reference.name] = len(text)
            if sum(sizes_bytes.values()) > MAX_REFERENCES_BYTES:
                rule = f"it refers to other schemas of more than {MAX_REFERENCES_BYTES:,} bytes together"
                raise DecodeError("schema_invalid", rule)
            follow(inner)
            texts.append(text)

    follow(references)
    return texts
