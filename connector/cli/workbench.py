"""The commands of the workbench: `explain`, `test`, `init` and `export`."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from connector.cli.options import AsJson, ConfigFile, examples, file_of, settings_of, settings_to_test
from connector.cli.output import print_text
from connector.process import EXIT_USAGE

app = typer.Typer(rich_markup_mode=None)

DEFAULT_REGION = "eu-central-1"

ConfiguredTopic = Annotated[
    str, typer.Option("--topic", metavar="TOPIC", help="A topic that the configuration has a mapping for.")
]


class ExportFormat(StrEnum):
    """What `export` writes."""

    JSON_SCHEMA = "json-schema"
    OPENAPI = "openapi"
    SAMPLE = "sample"
    PATTERN = "pattern"


@app.command(
    epilog=examples(
        "partner-bridge explain --topic orders.v1 --partition 3 --offset 1042",
        "partner-bridge explain --topic orders.v1 --last 3",
        "partner-bridge explain --topic orders.v1 --file record.yaml --json",
    )
)
def explain(
    *,
    config: ConfigFile = None,
    topic: ConfiguredTopic,
    partition: Annotated[
        int | None, typer.Option(min=0, help="With --offset: the record at this position.")
    ] = None,
    offset: Annotated[int | None, typer.Option(min=0, help="With --partition: its offset.")] = None,
    last: Annotated[int | None, typer.Option(min=1, help="The last records of the topic, so many.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A record's value as it is, or a fixture's `record`."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what becomes of a record, and why.

    Each template with its result, the event, and what is doubtful in it. Sends nothing, and joins no group.
    With --json an object a line, for each record.

    Exit code 4: a record would be dead-lettered. Exit code 2: there is no such record, or no answer.
    """
    if (partition is None) != (offset is None):
        raise typer.BadParameter("give both: a position is a partition and an offset", param_hint="--offset")
    if [partition, last, file].count(None) != 2:
        raise typer.BadParameter("say which record: --partition and --offset, --last, or --file; one of them")
    settings = settings_of(config, to_send=False) if file is None else settings_to_test(config)
    from connector.cli.explanations import ExplainRequest, explain_records  # noqa: PLC0415
    from connector.model import Partition, Position  # noqa: PLC0415

    at = None if partition is None or offset is None else Position(Partition(topic, partition), offset)
    request = ExplainRequest(topic, at, last, file)
    raise typer.Exit(explain_records(settings, request, config_file=file_of(config), as_json=as_json))


@app.command(
    "test",
    epilog=examples(
        "partner-bridge test",
        "partner-bridge test tests/orders.yaml --update",
        "partner-bridge test --junit report.xml",
    ),
)
def run_tests(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILES]…", help="Fixtures. Without them, tests/*.yaml beside the configuration."
        ),
    ] = None,
    *,
    config: ConfigFile = None,
    update: Annotated[bool, typer.Option("--update", help="Write what came as what is expected.")] = False,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a report for CI, in JUnit's XML.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Test mappings: records, and the events they become.

    Each case has a record, and what it must become. Needs no Kafka, and a registry only where no file has
    the schema.

    Exit code 4: a case failed. Exit code 2: a fixture cannot be used, and everything wrong is listed.
    """
    if update and junit is not None:
        raise typer.BadParameter("give --update or --junit, not both", param_hint="--junit")
    settings = settings_to_test(config)
    from connector.cli.case_report import run_cases  # noqa: PLC0415

    config_file = file_of(config)
    folder = (config_file.parent if config_file else Path()) / "tests"
    chosen = files or sorted(folder.glob("*.yaml"))
    if not chosen:
        hint = f"write {folder / 'orders.yaml'}, or name a file"
        print_text(f"There are no fixtures in {folder}: {hint}.", err=True)
        raise typer.Exit(EXIT_USAGE)
    code = run_cases(settings, chosen, config_file=config_file, update=update, junit=junit, as_json=as_json)
    raise typer.Exit(code)


@app.command(
    epilog=examples(
        "partner-bridge init --bootstrap-servers kafka:9092 --schema-registry http://registry:8081",
        "partner-bridge init --bootstrap-servers kafka:9092 --topic orders.v1 --out orders-bridge",
    )
)
def init(
    *,
    bootstrap_servers: Annotated[str, typer.Option(metavar="HOST:PORT,…", help="Kafka's brokers.")],
    schema_registry: Annotated[
        str | None, typer.Option(metavar="URL", help="A registry with Confluent's API.")
    ] = None,
    topic: Annotated[
        list[str] | None, typer.Option(metavar="TOPIC", help="Only these. Without it, every topic.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to write.")] = Path(),
    keep_values: Annotated[
        bool, typer.Option("--keep-values", help="Record values as they are, instead of masked ones.")
    ] = False,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Of the bridge, its group and its dead-letter topic.")
    ] = "partner-bridge",
    region: Annotated[
        str | None,
        typer.Option(
            metavar="REGION",
            help=f"Of the partner event sources. Default: $AWS_REGION, else {DEFAULT_REGION}.",
        ),
    ] = None,
    partner: Annotated[
        str, typer.Option(metavar="NAME", help="What the sources' names begin with, after `aws.partner/`.")
    ] = "example.com",
) -> None:
    """Write a first configuration for a running cluster.

    With tests. Reads topics, schemas and a record of each; changes nothing there. Overwrites no file. Sign-in
    is taken from the environment, as BRIDGE_KAFKA__SASL_PASSWORD.

    Exit code 2: the brokers or the registry do not answer, or a file is there already.
    """
    from connector.errors import ConfigError, ConnectorError, Problem  # noqa: PLC0415
    from connector.workbench.cluster import Cluster  # noqa: PLC0415
    from connector.workbench.configuration_text import Choices  # noqa: PLC0415
    from connector.workbench.first_configuration import first_configuration, write  # noqa: PLC0415

    choices = Choices(name, region or os.environ.get("AWS_REGION") or DEFAULT_REGION, partner)
    try:
        made = first_configuration(
            Cluster(bootstrap_servers, schema_registry),
            topic or [],
            choices,
            folder=out,
            keep_values=keep_values,
        )
    except ConfigError:
        raise
    except ConnectorError as error:
        raise ConfigError([Problem("", str(error))]) from None
    for note in made.notes:
        print_text(note, err=True)
    for file in write(made, out):
        print_text(f"Wrote {file}")


@app.command(
    epilog=examples(
        "partner-bridge export --topic orders.v1 --out orders",
        "partner-bridge export --topic orders.v1 --out orders --format pattern",
    )
)
def export(
    *,
    config: ConfigFile = None,
    topic: ConfiguredTopic,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to write.")],
    format: Annotated[  # noqa: A002
        list[ExportFormat] | None, typer.Option(help="Only this; may be repeated. Without it, all.")
    ] = None,
    schema: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Avro schema of the topic's values. Default: its own setting, or the registry's latest.",
        ),
    ] = None,
) -> None:
    """Write schema, sample and pattern of a topic's events.

    For customers and catalogues: JSON Schema, OpenAPI, an event as it arrives, and a rule that matches it.
    The sample is what the mapping makes of a record that the schema allows. Files that exist are overwritten.

    Exit code 4: no sample could be made; the rest is written.
    """
    from connector.cli.export import write_export  # noqa: PLC0415

    settings = settings_of(config, to_send=False)
    raise typer.Exit(write_export(settings, topic, out, formats=format or list(ExportFormat), schema=schema))
