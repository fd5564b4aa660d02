"""A mistake about a target as a shell sees it: exit code 2, one line, and no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.aws_environment import clear_aws
from tests.configuration import EVENT, with_settings


@pytest.fixture(autouse=True)
def _without_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clear_aws(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("command", "variable", "value"),
    [("check", "https_proxy", "http://ann:pa55[wOrd@proxy:3128"), ("run", "AWS_DEFAULT_PROFILE", "nobody")],
)
def test_a_mistake_about_a_target_ends_the_process(
    tmp_path: Path, command: str, variable: str, value: str
) -> None:
    """Whoever checks sees what whoever runs would, and nothing is started."""
    (tmp_path / "bridge.yaml").write_text(with_settings(), "utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "connector", command],
        cwd=tmp_path,
        env={**os.environ, variable: value},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert (2, "") == (ran.returncode, ran.stdout)
    assert 2 == len(ran.stderr.splitlines())
    assert f"1. {variable}: " in ran.stderr
    assert "wOrd" not in ran.stderr


def test_a_start_warns_of_what_is_probably_not_meant(tmp_path: Path) -> None:
    """The log names it, for each target, and the bridge starts all the same."""
    settings = with_settings(
        eventbridge={"role_arn": "arn:aws-cn:iam::123456789012:role/x"},
        targets={"us": {"region": "us-east-9"}},
        schema_registry=None,
        http={"host": "127.0.0.1", "port": 0},
        kafka={"bootstrap.servers": "127.0.0.1:1"},
        topics={"orders": {"value": {"format": "json"}, "event": EVENT}},
    )
    (tmp_path / "bridge.yaml").write_text(settings, "utf-8")
    with subprocess.Popen(
        [sys.executable, "-m", "connector", "run"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stderr
            lines = []
            for line in child.stderr:
                lines.append(json.loads(line))
                if lines[-1]["event"] == "started":
                    break
        finally:
            child.terminate()

    warned = [line["path"] for line in lines if line["event"] == "configuration_warning"]
    assert ["eventbridge.role_arn", "targets.us.region"] == warned
    assert "started" == lines[-1]["event"]
