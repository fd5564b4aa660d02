"""Every package of the image has a wheel for each platform that the image is built for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = ROOT / ".venv" / "bin" / "uv"
MACHINES = {"x86_64": 0x3E, "aarch64": 0xB7}
"""As the header of an ELF file names them."""


@pytest.mark.parametrize("python", ["3.11", "3.13"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_lock_installs_on(machine: str, python: str, tmp_path: Path) -> None:
    """On glibc 2.28 or newer, from wheels whose hashes are in the lock; nothing of them is run."""
    installed = subprocess.run(
        [
            *(UV, "pip", "install", "--quiet", "--target", tmp_path, "--only-binary", ":all:"),
            *(
                "--require-hashes",
                "--python-platform",
                f"{machine}-manylinux_2_28",
                "--python-version",
                python,
            ),
            *("--requirement", ROOT / "requirements.lock"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert 0 == installed.returncode, installed.stderr
    modules = [path for path in tmp_path.rglob("*.so*") if path.read_bytes()[:4] == b"\x7fELF"]
    assert modules
    assert {MACHINES[machine]} == {int.from_bytes(path.read_bytes()[18:20], "little") for path in modules}
