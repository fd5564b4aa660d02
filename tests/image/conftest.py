"""The image, built once. Where that cannot be, `make test` leaves it out and says so; `make image` fails."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from connector import __version__
from tests.conftest import PARTS
from tests.image import engine as engines
from tests.image.engine import Engine
from tests.services import MissingServiceError

ROOT = Path(__file__).parents[2]
TAG = f"localhost/partner-bridge:{__version__}"


@dataclass(frozen=True, slots=True)
class Image:
    """A built image and the engine that runs it."""

    engine: Engine
    tag: str


@pytest.fixture(scope="session")
def image(pytestconfig: pytest.Config) -> Image:
    """The image of this checkout, on `$BASE_IMAGE` or the Dockerfile's own base."""
    base = os.environ.get("BASE_IMAGE") or _default_base()
    try:
        engine = engines.find()
        engine = engines.able(engine, base)
    except MissingServiceError as error:
        pytestconfig.stash[PARTS]["Image"] = f"left out: {error}"
        _left_out(f"the image was left out: {error}")
    engine.build(ROOT, TAG, {"BASE_IMAGE": base, "VERSION": __version__, "REVISION": _revision()})
    size_mb = engine.inspect(TAG)["Size"] / 1e6
    base_mb = engine.inspect(base)["Size"] / 1e6
    pytestconfig.stash[PARTS]["Image"] = (
        f"{TAG}, built and run by {engine.name}: {size_mb:.0f} MB, of which {base_mb:.0f} MB are {base}"
    )
    return Image(engine, TAG)


def _left_out(message: str) -> NoReturn:
    if os.environ.get("IMAGE_TESTS") == "required":
        pytest.exit(message, returncode=2)
    pytest.skip(message)


def _default_base() -> str:
    (base,) = re.findall(r"^ARG BASE_IMAGE=(\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return str(base)


def _revision() -> str:
    asked = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"
