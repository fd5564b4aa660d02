"""What the commands share: exit codes, the options for configuration and JSON, and how settings are found."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from connector.errors import ConfigError, Problem

if TYPE_CHECKING:
    from connector.config.settings import Settings

EXIT_DONE = 0
"""Done; for `run` and `sandbox`, which run until told to stop, also stopped by SIGTERM or SIGINT."""
EXIT_BUG = 1
"""A bug, with a traceback; Python's own code for one."""
EXIT_USAGE = 2
"""The configuration or the command line cannot be used; typer's own code for the latter."""
EXIT_HALTED = 3
"""Going on would lose or flood."""
EXIT_CHECK_FAILED = 4
"""The command worked, and what it checked is not well."""

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
Execute = Annotated[bool, typer.Option("--execute", help="Do it. Without this, only say what would be done.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write the result as JSON, for machines.")]


def examples(*commands: str) -> str:
    """The end of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)


def file_of(config: Path | None) -> Path | None:
    """The file to load; None to load the environment alone.

    Raises:
        ConfigError: there is neither.
    """
    if config is None and DEFAULT_FILE.exists():
        return DEFAULT_FILE
    if config is None and not any(name.startswith("BRIDGE_") for name in os.environ):
        hint = f"no configuration: write ./{DEFAULT_FILE}, or name a file with --config or $BRIDGE_CONFIG"
        raise ConfigError([Problem("", hint)])
    return config


def settings_of(config: Path | None) -> Settings:
    """The settings, checked as far as possible without connecting to anything."""
    file = file_of(config)
    from connector.cli import check  # noqa: PLC0415
    from connector.config.load import load  # noqa: PLC0415

    return load(file, also=check.problems)


def print_json(result: object) -> None:
    """Write a result for machines to stdout."""
    typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
