"""The arguments of `events`: what is wrong with them is said in one sentence, before anything connects."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from connector.cli.app import app
from tests.replay_rig import SETTINGS

TIMES = ("--since", "2026-11-22T10:00Z", "--until", "2026-11-22T11:00Z")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "a resend needs a range: --since and --until, or --partition with --offset"),
        (TIMES[:2], "a resend needs a range"),
        (TIMES[2:], "a resend needs a range"),
        (("--partition", "3"), "a resend needs a range"),
        (("--offset", "7"), "say of which partition, with --partition"),
        (("--partition", "3", "--offset", "7-"), "7- is neither an offset, as 1042, nor a range"),
        (("--partition", "3", "--offset", "9" * 19), "is neither an offset"),
        (("--partition", "3", "--offset", "7-5"), "7-5 ends before it begins; write 5-7"),
        (("--since", TIMES[3], "--until", TIMES[1]), "is not before --until 2026-11-22T10:00Z: swap them"),
        (("--since", TIMES[1], "--until", TIMES[1]), "is not before --until"),
        (("--since", "2026-11-22T10:00", "--until", TIMES[3]), "names no zone. Write 2026-11-22T10:00Z"),
        (("--since", "1h", "--until", "2h"), "1h is not before --until 2h: swap them"),
        ((*TIMES, "--topic", "ordres"), "ordres: no entry under `topics` matches it; did you mean 'orders'?"),
        ((*TIMES, "--topic", "orders.dlt"), "orders.dlt: it is the dead-letter topic"),
        ((*TIMES, "--max", "0"), "Input should be greater than or equal to 1"),
    ],
)
def test_bad_input_of_resend(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """Exit code 2, what is wrong, and what to do."""
    file = tmp_path / "bridge.yaml"
    file.write_text(SETTINGS)
    topic = () if "--topic" in arguments else ("--topic", "orders")
    given = ["events", "resend", "--config", str(file), *topic, *arguments]

    ran = CliRunner().invoke(app, given, env={"AWS_EC2_METADATA_DISABLED": "true"})

    assert 2 == ran.exit_code, ran.output
    assert said in " ".join(ran.output.replace("│", " ").split())
