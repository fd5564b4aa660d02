"""Options that several commands have, and the settings that they name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from connector.errors import ConfigError, Problem

if TYPE_CHECKING:
    from connector.config.settings import Settings

DEFAULT_FILE = Path("bridge.yaml")

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="BRIDGE_CONFIG",
        metavar="FILE",
        help=f"The YAML file. Without it, ./{DEFAULT_FILE} if there is one, else BRIDGE_ variables alone.",
    ),
]
Execute = Annotated[
    bool, typer.Option("--execute", help="Do it. Without this, only show what would be done.")
]
Bridges = Annotated[
    list[str] | None,
    typer.Option(
        "--bridge",
        metavar="URL",
        help="A running bridge to ask, for each replica; or dns:NAME:PORT, all of a headless Service. "
        "Default: the one on this machine.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write the result as JSON, for machines.")]


def examples(*commands: str) -> str:
    """Format example commands for the end of a help text."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)


def duration_s(text: str) -> float:
    """Parse a duration such as `90s` or `2h`."""
    from connector.config.units import seconds  # noqa: PLC0415

    try:
        return cast("float", seconds(text))
    except ValueError as error:
        raise typer.BadParameter(f"{text}: {error}") from None


def bridges_to_ask(settings: Settings, named: Sequence[str] | None) -> Sequence[str]:
    """Give what `--bridge` names, else the bridge on this machine; none where that picks its port itself.

    Raises:
        typer.BadParameter: one cannot be meant.
    """
    from connector.sources.replicas import bridge_problem  # noqa: PLC0415

    for bridge in named or ():
        if problem := bridge_problem(bridge):
            raise typer.BadParameter(f"{bridge} {problem}", param_hint="--bridge")
    port = settings.http.port
    return named or ([f"http://127.0.0.1:{port}"] if port else [])


def file_of(config: Path | None) -> Path | None:
    """Choose the file to load; None to load the environment alone.

    Raises:
        ConfigError: there is neither.
    """
    if config is None and DEFAULT_FILE.exists():
        return DEFAULT_FILE
    if config is None and not any(
        name.upper().startswith(("BRIDGE_", "PARTNER_BRIDGE_")) for name in os.environ
    ):
        hint = f"no configuration: write ./{DEFAULT_FILE}, or name a file with --config or $BRIDGE_CONFIG"
        raise ConfigError([Problem("", hint)])
    return config


def settings_of(config: Path | None, *, to_send: bool = True) -> Settings:
    """Load the settings and check them as far as possible without connecting.

    Not `to_send`, what only sending needs is not checked: that would take most of the command's time.
    """
    file = file_of(config)
    from connector.cli import problems  # noqa: PLC0415
    from connector.config.load import load  # noqa: PLC0415

    return load(file, also=problems.problems if to_send else problems.reading_problems)


def settings_to_test(config: Path | None) -> Settings:
    """Load the settings and check what mapping records takes: no client of Kafka or AWS, and no password."""
    file = file_of(config)
    from connector.cli import problems  # noqa: PLC0415
    from connector.config.load import load  # noqa: PLC0415

    return load(file, also=problems.mapping_problems)
