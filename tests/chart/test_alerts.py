"""Each alert fires when it should and is silent when it should not, by Prometheus' own test runner."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from connector.eventbridge.errors import ENTRY_RETRIED, ENTRY_THROTTLED, REQUEST
from tests.chart import tools
from tests.chart.render import CHART
from tests.conftest import PARTS, started
from tests.monitoring import queries

TESTS = sorted(Path(__file__).parent.glob("alerts_*test.yaml"))


@pytest.mark.parametrize("tests", TESTS, ids=lambda path: path.stem)
def test_alerts(tests: Path, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """`promtool test rules` over every case of a file."""
    prometheus = started(pytestconfig, "Prometheus", tools.prometheus)
    pytestconfig.stash[PARTS]["Prometheus"] = f"{prometheus}/promtool"
    written = tmp_path / tests.name
    written.write_text(tests.read_text().replace("[ALERTS]", f"[{CHART / 'files' / 'alerts.yaml'}]"))

    ran = subprocess.run(
        [prometheus / "promtool", "test", "rules", str(written)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == ran.returncode, f"{ran.stdout}{ran.stderr}"


def test_throttled_entries_are_known_by_every_code_that_they_have() -> None:
    """`PartnerBridgeThrottled` calls throttled what the bridge does, and nothing else."""
    (pattern,) = re.findall(r'code=~"([^"]*)"', queries.alerts()["PartnerBridgeThrottled"])

    assert {code for code in {*REQUEST, *ENTRY_RETRIED} if re.fullmatch(pattern, code)} == ENTRY_THROTTLED
