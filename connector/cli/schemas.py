"""What `partner-bridge check --schemas` asks for and prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from connector.cli.output import plural, print_text
from connector.config.yaml_file import Written
from connector.model import Json

if TYPE_CHECKING:
    from connector.workbench.schema_check import TopicCheck


def schema_files(options: Iterable[str]) -> dict[str, list[Path]]:
    """Read `TOPIC=FILE`, each as often as a topic has schemas.

    Raises:
        BadParameter: an option has another form.
    """
    files: dict[str, list[Path]] = {}
    for option in options:
        topic, _, file = option.partition("=")
        if not topic or not file:
            raise typer.BadParameter(f"{option!r} is not TOPIC=FILE, as orders.v1=schemas/order.avsc")
        files.setdefault(topic, []).append(Path(file))
    return files


def print_checks(checks: Sequence[TopicCheck], written: Written) -> None:
    """Print every finding with its place, and which schemas were looked at."""
    typer.echo()
    print_text("schemas", bold=True)
    for topic, schemas, findings, remark in checks:
        for schema, path, message in findings:
            origin = written.origin(path)
            place = f" ({origin})" if origin else ""
            _print("failed", f"{path}{place}, by {schema}: {message}")
        if schemas and not findings:
            _print("ok", f"topic {topic}: every path is in {' and in '.join(schemas)}")
        if remark:
            _print("note", f"topic {topic}: {remark}")
    count = sum(len(check.findings) for check in checks)
    if count:
        typer.echo()
        print_text(f"{plural(count, 'finding')} in the schemas.")


def findings_as_json(checks: Iterable[TopicCheck], written: Written) -> list[dict[str, Json]]:
    """Give every finding as `--json` shows it."""
    found: list[dict[str, Json]] = []
    for topic, _, findings, _ in checks:
        for schema, path, message in findings:
            place, _, line = (written.origin(path) or "").partition(" ")
            of_file: dict[str, Json] = {"line": int(line)} if place == "line" else {}
            found.append({"topic": topic, "schema": schema, "path": path, **of_file, "message": message})
    return found


_COLOURS = {"failed": "red", "ok": "green"}


def _print(mark: str, text: str) -> None:
    styled = typer.style(f"{mark:<6}", fg=_COLOURS.get(mark), bold=mark == "failed")
    print_text(text, indent=f"  {styled}  ", hanging=" " * 10)
