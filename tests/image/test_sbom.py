"""`make sbom` lists what the image holds of Python: the product and every locked package, with licenses."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from connector import __version__

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(300)
def test_the_sbom_has_every_locked_package_and_the_product() -> None:
    """Neither more nor less, of the locked versions; with licenses, where a package names its own."""
    made = subprocess.run(["make", "sbom"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert 0 == made.returncode, made.stderr
    listed = json.loads((ROOT / "dist" / "sbom.cdx.json").read_text())["components"]

    lock = (ROOT / "requirements.lock").read_text()
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\$", lock, re.MULTILINE))
    assert {**locked, "kafka-partner-bridge": __version__} == {
        re.sub(r"[-_.]+", "-", each["name"]).lower(): each["version"] for each in listed
    }
    assert {"aiofastnet", "protobuf"} >= {each["name"] for each in listed if not each.get("licenses")}
