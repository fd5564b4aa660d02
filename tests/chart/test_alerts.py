"""Each alert fires when it should and is silent when it should not, by Prometheus' own test runner."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.chart import tools
from tests.chart.render import CHART
from tests.conftest import PARTS, started

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
