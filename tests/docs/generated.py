"""The tables that cog writes into the pages, taken from the code itself."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer
import yaml
from prometheus_client.parser import text_string_to_metric_families

from connector import config
from connector.cli import app
from connector.errors import MEANINGS
from connector.eventbridge.claim_check import ClaimCheck
from connector.model import Entry, FailingSource, Json, Partition, Position, SourceReport, SourceStatus
from connector.telemetry import spans
from connector.telemetry.metrics import Telemetry
from connector.workbench import handover
from connector.workbench.shadow_metrics import ShadowMetrics
from connector.workbench.shadow_report import PartitionReading, ShadowReport
from tests.chart.values_schema import VALUES, values_schema

CONNECTOR = Path(__file__).parents[2] / "connector"
RECIPES = Path(__file__).parents[2] / "helm" / "recipes"


def _table(*rows: Iterable[str]) -> str:
    head, *body = [f"| {' | '.join(row)} |\n" for row in rows]
    return head + "|---" * head.count(" | ") + "|---|\n" + "".join(body)


def commands() -> str:
    """Every command with its options and what it does."""

    def row(command: Any, name: str) -> tuple[str, str]:
        options = " ".join(f"[{option.opts[0]}]" for option in command.params if option.opts)
        summary = (command.help or "").split("\n\n")[0].replace("\n", " ")
        return f"`{name} {options}`".replace(" `", "`"), summary

    def rows(group: typer.core.TyperGroup, prefix: str) -> Iterable[tuple[str, str]]:
        for name in group.list_commands(typer.Context(group)):
            command = group.commands[name]
            if isinstance(command, typer.core.TyperGroup):
                if command.invoke_without_command:
                    yield row(command, f"{prefix} {name}")
                yield from rows(command, f"{prefix} {name}")
                continue
            yield row(command, f"{prefix} {name}")

    root = typer.main.get_command(app.app)
    assert isinstance(root, typer.core.TyperGroup)
    return _table(("command", "does"), *rows(root, "partner-bridge"))


def metrics() -> str:
    """Every metric of the bridge with its labels, and those of a dry run."""
    telemetry = Telemetry()
    show_every_series(telemetry)
    text = telemetry.render()[0].decode() + dry_run_metrics().render()[0].decode()
    rows = []
    for family in text_string_to_metric_families(text):
        if family.name.startswith("partner_bridge_"):
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            name = f"{family.name}_total" if family.type == "counter" else family.name
            shown = f"`{name}{{{','.join(sorted(labels))}}}`" if labels else f"`{name}`"
            rows.append((shown, family.type, family.documentation))
    return _table(("metric", "type", "meaning"), *rows)


def span_attributes() -> str:
    """What the span of a request says."""
    fixed = [(f"`{name}`", f"`{value}`") for name, value in spans.FIXED.items()]
    rest = [(f"`{name}`", text) for name, text in spans.ATTRIBUTES.items()]
    return _table(("attribute", "value"), *fixed, *rest)


def codes() -> str:
    """Every dead-letter code and its meaning."""
    return _table(("code", "meaning"), *((f"`{code}`", text) for code, text in MEANINGS.items()))


def recipe(name: str) -> str:
    """A file of `helm/recipes/`, and where it is."""
    text = (RECIPES / name).read_text()
    return f"[`helm/recipes/{name}`](../helm/recipes/{name}):\n\n```yaml\n{text}```\n\n"


CLAIM_CHECK = ClaimCheck(
    config.Target(region="eu-central-1"),
    config.ClaimCheckSettings(
        bucket="example-large-events",
        prefix="events",
        kms_key_id="arn:aws:kms:eu-central-1:444455556666:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    ),
)
"""That of docs/claim-check.md."""


def bucket_policy() -> str:
    """What `source handover` says that the policy of the bucket needs for one customer."""
    return _statement(
        handover.bucket_permission(CLAIM_CHECK, "aws.partner/example.com/acme", account="111122223333")
    )


def key_policy() -> str:
    """The same for the policy of the bucket's KMS key."""
    return _statement(handover.key_permission("111122223333"))


def _statement(statement: dict[str, Json]) -> str:
    first, *rest = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in statement.items())
    return "\n```json\n{" + ",\n ".join([first, *rest]) + "}\n```\n\n"


def chart_values() -> str:
    """Every value of the chart: key, type, default, meaning."""
    defaults = yaml.safe_load(VALUES.read_text())

    def rows(schema: dict[str, Any], path: str) -> Iterable[tuple[str, ...]]:
        for key, value in schema["properties"].items():
            if value.get("additionalProperties") is False and "default" not in value and key != "resources":
                yield from rows(value, f"{path}{key}.")
                continue
            default = defaults
            for part in f"{path}{key}".split("."):
                default = default[part]
            yield f"`{path}{key}`", f"`{json.dumps(default)}`".replace("|", r"\|"), value["description"]

    return _table(("value", "default", "meaning"), *rows(json.loads(values_schema()), ""))


def files() -> str:
    """Every file of every package, with the first line of its docstring."""

    def section(init: Path, title: str) -> str:
        paths = sorted(path for path in init.parent.glob("*.py") if path != init)
        rows = ((f"`{path.name}`", summary(path).replace("|", r"\|")) for path in paths)
        return f"### {title}\n\n{summary(init)}\n\n{_table(('file', 'is'), *rows)}"

    packages = sorted(path for path in CONNECTOR.rglob("*/__init__.py") if path.parent != CONNECTOR)
    sections = [section(CONNECTOR / "__init__.py", "connector/")]
    sections += [section(init, f"connector/{init.parent.relative_to(CONNECTOR)}/") for init in packages]
    return "\n" + "\n".join(sections) + "\n"


def summary(file: Path) -> str:
    """The first paragraph of a file's docstring, on one line."""
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    return " ".join(text.partition("\n\n")[0].split())


def show_every_series(telemetry: Telemetry) -> None:
    """Let everything happen once, so that every metric has a series with its labels."""
    partition = Partition("orders", 0)
    telemetry.records_consumed("orders", 1)
    telemetry.record_filtered("orders", "filter")
    telemetry.record_dead_lettered(Position(partition, 0), code="avro_invalid", message="", target=None)
    telemetry.events_delivered("orders", "default", [0.1], billed_chunks=1)
    telemetry.claim_stored("default", 1)
    telemetry.entries_retried("default", "ThrottlingException", 1)
    telemetry.request_finished("default", outcome="ok", seconds=0.1, entries=1, size_bytes=1)
    telemetry.target_state("default", 0, "up", reason="")
    telemetry.dead_letters_open({"avro_invalid": 0})
    pending = SourceReport(
        "aws.partner/a/b", "PENDING", 0, None, 0, None, held=0, delivered=0, billed_chunks=0
    )
    telemetry.source_changed("default", pending.source, was="ACTIVE", now=SourceStatus("PENDING"), unsure=1)
    telemetry.sources("default", [pending])
    telemetry.sources_failing("default", [FailingSource(pending.source, 0, "", 1)])
    telemetry.held("default", 0)
    telemetry.source_looked_up("default", "ok")
    telemetry.lag(partition, 0)
    telemetry.oldest_unsettled(partition, 0.0)
    telemetry.held_by_pauses([partition])
    telemetry.offsets_reset(partition, from_offset=0, to_offset=1)


def dry_run_metrics() -> ShadowMetrics:
    """The metrics of a dry run in which everything happened once."""
    report = ShadowReport(max_consecutive=100)
    report.event("orders", Entry("aws.partner/a/b", "Order", b"{}", 20))
    report.partitions[Partition("orders", 0)] = PartitionReading(0, left=0)
    return ShadowMetrics(report, {})


def example(name: str, language: str) -> str:
    """A file of examples/, as a block of code."""
    text = (CONNECTOR.parent / "examples" / name).read_text()
    return f"\n```{language}\n{text}```\n\n"
