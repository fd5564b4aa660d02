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


@pytest.mark.parametrize("variable", ["bridge_kafka__group_id", "PARTNER_BRIDGE_KAFKA__GROUP_ID"])
def test_a_variable_in_other_letters_is_heard_of_without_a_file(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Whoever configures by environment alone is not told that there is no configuration."""
    monkeypatch.setenv(variable, "orders")
    ran = terminal.run("check")

    assert 2 == ran.code
    assert f"{variable}: is not read: names are in capitals and begin with BRIDGE_; write BRIDGE_" in ran.err


def test_no_configuration_at_all_says_what_to_do(terminal: Terminal) -> None:
    """A first start in an empty folder is told where a configuration is looked for."""
    ran = terminal.run("run")

    assert 2 == ran.code
    assert "no configuration: write ./bridge.yaml, or name a file with --config or $BRIDGE_CONFIG" in ran.err
