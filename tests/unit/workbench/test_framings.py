"""What the sandbox's producer writes is what the bridge reads, in each framing."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any, get_args

import pytest

from connector.workbench.framings import RegisteredSchema, WrittenFraming, framed
from tests.decoding import Registry, decode_with

GUID = str(uuid.UUID("89791762-2336-4186-9674-299b90a802e2"))


@pytest.mark.parametrize("framing", get_args(WrittenFraming))
def test_what_is_framed_is_read(tmp_path: Path, framing: WrittenFraming) -> None:
    """Ids, GUIDs, versions and fingerprints, before the value and in headers."""
    (tmp_path / "a.avsc").write_text(json.dumps("string"))
    value, headers = framed(framing, RegisteredSchema("string", 7, GUID), b"\x04hi")
    read = framing.partition("-header")[0].partition("-zlib")[0]
    keys: dict[str, Any] = {"schema": tmp_path / "a.avsc"} if read in {"single-object", "none"} else {}
    decode = decode_with(Registry({7: "string", GUID: "string"}), format="avro", framing=read, **keys)

    assert "hi" == decode(value, tuple(headers.items()))
