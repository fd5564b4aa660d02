"""Which configuration file a command reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.terminal import EXAMPLE, Terminal


def test_the_file_is_the_option_then_the_variable_then_bridge_yaml(
    terminal: Terminal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--config wins over $BRIDGE_CONFIG, which wins over ./bridge.yaml."""
    example = Path(EXAMPLE).read_text("utf-8")
    for name in ("bridge", "variable", "option"):
        (folder / f"{name}.yaml").write_text(example.replace("name: orders-bridge", f"name: {name}"), "utf-8")

    assert "name: bridge\n" in terminal.run("config", "show").out
    monkeypatch.setenv("BRIDGE_CONFIG", "variable.yaml")
    assert "name: variable\n" in terminal.run("config", "show").out
    assert "name: option\n" in terminal.run("config", "show", "--config", "option.yaml").out


def test_no_configuration_at_all_says_what_to_do(terminal: Terminal) -> None:
    """A first start in an empty folder is told where a configuration is looked for."""
    ran = terminal.run("run")

    assert 2 == ran.code
    assert "no configuration: write ./bridge.yaml, or name a file with --config or $BRIDGE_CONFIG" in ran.err
