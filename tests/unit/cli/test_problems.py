"""Mistakes that matter to a command that only reads, found without what it takes to send."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from connector import config
from connector.cli.problems import reading_problems
from tests.terminal import EXAMPLE, FIVE_MISTAKES, Terminal


def test_a_registry_certificate_that_cannot_be_used_hides_nothing(folder: Path) -> None:
    """The CA is one problem; a broken filter is still found next to it."""
    text = (
        Path(EXAMPLE).read_text("utf-8").replace("url: http://registry:8081", "url: https://r\n  ca: no.pem")
    )
    (folder / "bridge.yaml").write_text(text.replace("value.status != 'DRAFT'", "value.status !="), "utf-8")
    settings = config.load(Path("bridge.yaml"), {})

    assert ["schema_registry.ca", "topics.orders.v1.filter"] == [
        each.path for each in reading_problems(settings)
    ]


def test_a_command_that_reads_lists_the_same_mistakes(terminal: Terminal, folder: Path) -> None:
    """A broken mapping is exit code 2, and no dead letter is looked at with it."""
    (folder / "bridge.yaml").write_text(FIVE_MISTAKES, "utf-8")

    assert terminal.run("check") == terminal.run("dead-letters", "list")


def test_reading_dead_letters_imports_no_client_of_aws(folder: Path) -> None:
    """botocore, rich and the metrics take longer to import than `list` takes to answer."""
    (folder / "bridge.yaml").write_text(Path(EXAMPLE).read_text("utf-8"), "utf-8")
    code = (
        "import sys; from pathlib import Path; from connector.cli import dead_letters_output;"
        "from connector.cli.options import settings_of; settings_of(Path('bridge.yaml'), to_send=False);"
        "print([m for m in sys.argv[1:] if m in sys.modules])"
    )
    heavy = ["boto3", "botocore", "aiohttp", "rich", "prometheus_client"]
    ran = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)

    assert "[]\n" == ran.stdout
