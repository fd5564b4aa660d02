"""`partner-bridge sandbox` as a user meets it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import urllib3
import yaml


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "connector", "sandbox", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_stdout_is_a_configuration_and_sigterm_ends_it_with_0() -> None:
    """`partner-bridge sandbox > bridge.yaml` works, and the addresses in it answer."""
    with start() as child:
        try:
            assert child.stdout
            assert child.stderr
            lines = []
            for line in child.stdout:
                lines.append(line)
                if "resources:" in line:
                    break
            settings = yaml.safe_load("".join(lines))
            state = urllib3.request("GET", f"{settings['eventbridge']['endpoint_url']}/_sandbox/state")
            subjects = urllib3.request("GET", f"{settings['schema_registry']['url']}/subjects").json()
        finally:
            child.send_signal(signal.SIGTERM)
        talk = child.stderr.read()

    assert 0 == child.returncode
    assert 200 == state.status
    assert ["orders.v1-value"] == subjects
    assert settings["kafka"]["bootstrap.servers"] in talk


def test_a_port_that_is_taken_is_exit_2_with_a_reason() -> None:
    """Nothing runs, nothing is on stdout, and the message names the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        child = start("--registry-port", str(port))
        out, talk = child.communicate(timeout=30)

    assert 2 == child.returncode
    assert "" == out
    assert str(port) in talk
