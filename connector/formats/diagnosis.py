"""What bytes look like that are not in a topic's framing: a guess, and the setting that would read them."""

from __future__ import annotations

from connector.model import Headers

APICURIO_HEADERS = "apicurio."
"""How the names of Apicurio's headers begin."""
CONFLUENT_HEADERS = {"key": "__key_schema_id", "value": "__value_schema_id"}


def framing_of_headers(headers: Headers) -> str | None:
    """The framing whose serializers write such headers, with the id of the schema in one of them."""
    for name, _ in headers:
        if name in CONFLUENT_HEADERS.values():
            return "confluent"
        if name.startswith(APICURIO_HEADERS) and name.endswith(_APICURIO_IDS):
            return "apicurio"
    return None


_APICURIO_IDS = (".globalId", ".contentId", ".contentHash")


def guess(value: bytes, headers: Headers = (), *, wants_json: bool = False) -> str:
    """Say in a sentence what the bytes look like, and what to write; empty where nothing is known of them.

    `wants_json` says that the format is JSON, so that Avro is a mistake. It shows nothing of the bytes.
    """
    if framing := framing_of_headers(headers):
        return (
            f"A header names the schema, as {_NAMES[framing]} serializers write it: set `framing: {framing}`."
        )
    match value[:2]:
        case b"":
            return "Was a tombstone meant? That is null, not zero bytes."
        case b"\xc3\x01" if len(value) >= 10:
            return "Is the producer writing Avro single-object encoding? Then set `framing: single-object`."
        case b"\x03\x00" | b"\x03\x05" if len(value) >= 18:
            return "Is the producer writing AWS Glue framing? Then set `framing: glue`."
    if value.startswith(b"Obj\x01"):
        return (
            "It is a whole Avro container file. Let the producer write each record by itself, with a framing."
        )
    match value[:1]:
        case b"\0" if value[1:5] == b"\0\0\0\0" and len(value) >= 9:
            return "Is the producer writing Apicurio's 8-byte ids? Then set `framing: apicurio`."
        case b"\0" if len(value) >= 5:
            is_json = value[5:6] in {b"{", b"["}
            if wants_json and not is_json:
                return "Is an Avro producer writing to this topic? Then set `format: avro`."
            what = "JSON Schema " if is_json else ""
            return f"Is the producer writing Confluent's {what}framing? Then set `framing: confluent`."
        case b"\x01" if len(value) >= 17:
            return (
                "Is the producer writing Confluent schema GUIDs (framing version 1)? Then set "
                "`framing: confluent`."
            )
        case b"{" | b"[" if not wants_json:
            return "Is a JSON producer writing to this topic? Then set `format: json`."
    return ""


_NAMES = {"confluent": "Confluent's", "apicurio": "Apicurio's"}
