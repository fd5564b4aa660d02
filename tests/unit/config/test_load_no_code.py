"""The configuration is data: no YAML, template or librdkafka key can make the bridge run code."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector import config
from connector.errors import ConfigError, MappingError
from connector.mapping.event import Mapping
from connector.model import Partition, Record

SETTINGS = """
kafka: {{bootstrap.servers: "localhost:1", group.id: g{kafka}}}
eventbridge: {{region: eu-central-1}}
dead_letter: {{topic: letters}}
topics:
  notes:
    value: {{format: json}}
    event: {{source: "{source}", detail_type: {detail_type}}}
"""


def load(folder: Path, *, kafka: str = "", source: str = "a", detail_type: str = "Note") -> config.Settings:
    file = folder / "bridge.yaml"
    file.write_text(SETTINGS.format(kafka=kafka, source=source, detail_type=detail_type))
    return config.load(file, {})


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch {file}']",
        "!!python/object/apply:subprocess.check_call [[touch, {file}]]",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/object/new:os.system ['touch {file}']",
        "!Ref x",
    ],
)
def test_yaml_makes_no_objects(tmp_path: Path, tag: str) -> None:
    """A tag that names Python is a mistake in the file, and nothing is imported or called for it."""
    file = tmp_path / "made-by-yaml"
    with pytest.raises(ConfigError):
        load(tmp_path, detail_type=tag.format(file=file))

    assert not file.exists()


@pytest.mark.parametrize(
    "expression",
    [
        "value.__class__.__mro__",
        "value.__init__.__globals__",
        "headers.__class__",
        "value.items",
        "headers.format",
        "value.\\\"__import__('os').system('true')\\\"",
    ],
)
def test_templates_see_fields_and_no_attributes(tmp_path: Path, expression: str) -> None:
    """What Python has behind a value is not there for a template: the field is missing."""
    settings = load(tmp_path, source=f"${{{expression}}}")
    mapping = Mapping(settings.topics["notes"], path="topics.notes")
    record = Record(Partition("notes", 0), 0, 0, b"k", b"{}", ())
    with pytest.raises(MappingError) as raised:
        mapping.event(record, "k", {}, "id")

    assert "template_null" == raised.value.code


@pytest.mark.parametrize(
    "call", ["__import__('os')", "eval('1')", "value.system('true')", "open('/etc/passwd')", "lambda: 1"]
)
def test_templates_call_jmespath_functions_only(tmp_path: Path, call: str) -> None:
    """Everything else is no function, which is said at start."""
    settings = load(tmp_path, source=f"${{{call}}}")
    with pytest.raises(ConfigError):
        Mapping(settings.topics["notes"], path="topics.notes")


@pytest.mark.parametrize(
    "key",
    [
        "plugin.library.paths",
        "ssl.engine.location",
        "ssl.engine.id",
        "ssl.providers",
        "sasl.kerberos.kinit.cmd",
        "sasl.kerberos.keytab",
        "sasl.kerberos.principal",
        "error_cb",
        "oauth_cb",
        "interceptors",
    ],
)
def test_librdkafka_loads_no_code_and_runs_no_command(tmp_path: Path, key: str) -> None:
    """Keys that take code, load libraries or get into a shell are refused by name."""
    with pytest.raises(ConfigError, match=rf"kafka\.{key}: cannot be set here: "):
        load(tmp_path, kafka=f", {key}: /tmp/x")


def test_a_key_does_not_end_where_librdkafka_thinks_it_does(tmp_path: Path) -> None:
    """In C text ends at a NUL: what stands behind one would hide from us which key librdkafka gets."""
    with pytest.raises(ConfigError, match="is no key of librdkafka"):
        load(tmp_path, kafka=', "plugin.library.paths\\0x": /tmp/x.so')
