"""A first configuration and its fixtures, written from what a running cluster has."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import yaml

from connector import config
from connector.errors import ConfigError, DecodeError, Problem, why_failed
from connector.formats.avro_types import Forms
from connector.formats.decoder import decoder
from connector.formats.diagnosis import CONFLUENT_HEADERS
from connector.formats.registries import Registries, registry_of
from connector.formats.schema_cache import NotFoundError, Registry, with_schema
from connector.kafka.reader import Reader
from connector.mapping.event_code import header_texts
from connector.model import Decode, Headers, Json, Record, iso
from connector.workbench.cases import Rehearsal
from connector.workbench.cluster import AVRO, Cluster, TopicSample, cluster_settings, sample, topics_to_map
from connector.workbench.configuration_text import Choices, MappedTopic, configuration_text
from connector.workbench.fixtures import parse_fixture
from connector.workbench.json_schema import ValueSchema, json_schema
from connector.workbench.masking import MASKED_S, masked
from connector.workbench.proposal import fields_of_schema, fields_of_values, in_both, proposal

CONFIGURATION = Path("bridge.yaml")

_TYPE = re.compile("[A-Za-z][A-Za-z0-9_.:-]{0,63}")
"""What types of events are called. They stay as they are, since they tell nothing of a customer."""
_OF_FRAMINGS = frozenset(CONFLUENT_HEADERS.values())
"""Headers that are written anew with each record."""


class FirstConfiguration(NamedTuple):
    """What to write, and what to say."""

    files: Mapping[Path, str]
    """By their paths below a folder: the configuration, the first, and a fixture for each topic."""
    notes: Sequence[str]
    """What is left out, and why."""


class _Decoded(NamedTuple):
    """A record, and what it holds."""

    record: Record
    key: Json
    value: Json


class _KnownTopic(NamedTuple):
    """A topic, and all that is known of it."""

    mapped: MappedTopic
    records: Sequence[_Decoded]
    """Those that can be decoded, the newest first."""
    schema: ValueSchema | None


def first_configuration(
    cluster: Cluster, topics: Sequence[str], choices: Choices, *, folder: Path, keep_values: bool
) -> FirstConfiguration:
    """Look at a cluster and make a configuration for its topics, or for some; changes nothing there.

    Fixtures hold masked values, or those of the records. Sign-in to brokers and registry is taken from the
    environment, as by every command.

    Raises:
        ConfigError: `folder` has a configuration already, an address cannot be used, a topic does not exist,
            or nothing is known of any.
        ConnectorError: the brokers or the registry do not answer, or refuse us.
    """
    _check_absent([folder / CONFIGURATION])
    with ExitStack() as stack:
        settings = cluster_settings(cluster, region=choices.region)
        reader = stack.enter_context(closing(Reader(settings)))
        registries = stack.enter_context(closing(Registries.of(settings)))
        registry = registry_of(settings, config.DEFAULT_REGISTRY) if cluster.schema_registry else None
        if registry is not None:
            registry.check()
        names, brokers = topics_to_map(reader, topics)
        found = {name: _known(sample(reader, name, registry), registry, registries) for name in names}
        known = [each for each in found.values() if each is not None]
        unknown = [name for name, each in found.items() if each is None]
        if not known:
            raise _problem(f"no record with a value, and no schema, is to be found for {', '.join(unknown)}")
        mapped = [each.mapped for each in known]
        text = configuration_text(cluster._replace(brokers=brokers), mapped, unknown, choices)
        rehearsal = stack.enter_context(Rehearsal(_loaded(text)))
        fixtures = {
            each.mapped.sample.topic: _fixture(each, rehearsal, keep_values=keep_values) for each in known
        }
    untested = [name for name, made in fixtures.items() if made is None]
    notes = [f"{name} is left out: it has no record with a value, and no schema." for name in unknown]
    notes += [f"{name} has no test: no record of it could be one." for name in untested]
    files = {Path("tests", f"{name}.yaml"): made for name, made in fixtures.items() if made}
    return FirstConfiguration({CONFIGURATION: text, **files}, notes)


def write(made: FirstConfiguration, folder: Path) -> Sequence[Path]:
    """Write the files into a folder, none where one of them is there already, and give their paths.

    Raises:
        ConfigError: one is there, or cannot be written.
    """
    files = {folder / path: text for path, text in made.files.items()}
    _check_absent(files)
    for file, text in files.items():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as opened:
                opened.write(text)
        except OSError as error:
            raise _problem(f"{file} cannot be written: {why_failed(error)}") from None
    return list(files)


def _check_absent(files: Iterable[Path]) -> None:
    if there := [str(file) for file in files if file.exists()]:
        said = f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} there already"
        raise _problem(f"{said}, and nothing is overwritten; choose another --out")


def _problem(text: str) -> ConfigError:
    return ConfigError([Problem("", text)])


def _loaded(text: str) -> config.Settings:
    try:
        made = tempfile.TemporaryDirectory()
    except OSError as error:
        said = f"there is no temporary folder to try it in: {error.strerror or error}"
        raise _problem(f"{said}; name one with TMPDIR") from None
    with made as folder:
        file = Path(folder, CONFIGURATION)
        file.write_text(text)
        return config.load(file)


def _known(found: TopicSample, registry: Registry | None, registries: Registries) -> _KnownTopic | None:
    schemas, record_name = _schemas(found.topic, registry) if found.value in (None, AVRO) else ([], None)
    if found.value is None and not schemas:
        return None
    records = list(_decoded(found, registries))
    contents = [value for _, _, value in records]
    if schemas:
        fields, *earlier = [fields_of_schema(schema) for schema in schemas]
        for each in earlier:
            fields = in_both(fields, each)
    else:
        fields = fields_of_values(contents)
    proposed = proposal(found.topic, fields, contents, record_name=record_name)
    return _KnownTopic(MappedTopic(found, proposed), records, schemas[0] if schemas else None)


def _schemas(topic: str, registry: Registry | None) -> tuple[list[ValueSchema], str | None]:
    """The schemas of a topic's last two versions, and the name of its records."""
    try:
        versions = registry.versions(topic, "value", count=2) if registry else []
        documents = [[orjson.loads(text) for text in each.schemas.texts] for each in versions]
        schemas = [json_schema(each, Forms()) for each in documents]
    except (NotFoundError, DecodeError):
        return [], None
    return schemas, next(map(_record_name, documents), None)


def _record_name(documents: Sequence[Any]) -> str | None:
    """The short name of the one record that a schema is, or that it may be beside others."""
    branches = documents[-1] if isinstance(documents[-1], list) else [documents[-1]]
    match [branch for branch in branches if branch != "null"]:
        case [{"type": "record", "name": str(name)}]:
            return name.rpartition(".")[2]
    return None


def _decoded(found: TopicSample, registries: Registries) -> Iterator[_Decoded]:
    path = f"topics.{found.topic}"
    decode_value = decoder(
        config.Format.model_validate(found.value or AVRO), registries, path=f"{path}.value"
    )
    decode_key = decoder(config.Format.model_validate(found.key), registries, path=f"{path}.key")

    for record in found.records:
        try:
            value = _waited_for(decode_value, record.value, record.headers)
        except DecodeError:
            continue
        try:
            key = _waited_for(decode_key, record.key, record.headers)
        except DecodeError:  # no template needs it
            key = None
        yield _Decoded(record, key, value)


def _waited_for(decode: Decode, content: bytes | None, headers: Headers) -> Json:
    return None if content is None else with_schema(lambda: decode(content, headers))


def _fixture(known: _KnownTopic, rehearsal: Rehearsal, *, keep_values: bool) -> str | None:
    """Write a fixture of the last record that becomes an event, or of the last there is; None without any."""
    topic = known.mapped.sample.topic
    found: str | None = None
    for each in known.records:
        case: dict[str, Any] = {
            "name": "a recorded one",
            "record": _record(each, known, keep_values=keep_values),
        }
        text = _dumped({"topic": topic, "cases": [case]})
        fixture, _ = parse_fixture(Path(), text.encode(), to_update=True)
        if fixture is None:
            continue
        try:
            (result,) = rehearsal.run(fixture)
        except ConfigError:  # it was written with an earlier schema, and the latest one does not take it
            continue
        outcome = result.explanation.outcome
        case[outcome] = rehearsal.without_metadata(topic, result.came)
        if outcome == "event" or found is None:
            found = _dumped({"topic": topic, "cases": [case]})
        if outcome == "event":
            break
    if found is None:
        return None
    masking = "as it was" if keep_values else "with masked values, but for a type of event"
    return f"""\
# A record of {topic}, {masking}, and what becomes of it. Run it: partner-bridge test
# Write more of them, with values as `partner-bridge explain` shows them, and of the event only what matters;
# `partner-bridge test --update` writes what came.
{found}"""


def _dumped(fixture: dict[str, Any]) -> str:
    return yaml.safe_dump(fixture, sort_keys=False, allow_unicode=True, width=100)


def _record(found: _Decoded, known: _KnownTopic, *, keep_values: bool) -> dict[str, Json]:
    """A record as a fixture has it."""
    record, key, value = found
    headers = {name: text for name, text in header_texts(record.headers).items() if name not in _OF_FRAMINGS}
    at_ms = record.timestamp_ms
    if not keep_values:
        kind = known.mapped.proposal.detail_type
        type_ = kind.of(value) if kind else None
        kept = [type_] if isinstance(type_, str) and _TYPE.fullmatch(type_) else []
        key, value = masked(key), masked(value, known.schema, kept=kept)
        headers = {name: masked(text) for name, text in headers.items()}
        at_ms = None if at_ms is None else MASKED_S * 1000
    whole: dict[str, Json] = {"key": key, "value": value, "headers": headers}
    return {**whole, "timestamp": None if at_ms is None else iso(at_ms)}
