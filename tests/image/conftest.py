"""The image, built once. Where that cannot be, `make test` leaves it out and says so; `make image` fails."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit, urlunsplit

import pytest

from connector import __version__
from tests.conftest import PARTS
from tests.image import engine as engines
from tests.image.engine import Engine
from tests.services import MissingServiceError

ROOT = Path(__file__).parents[2]
TAG = f"localhost/partner-bridge:{__version__}"


@dataclass(frozen=True, slots=True)
class Bases:
    """The images that the Dockerfile starts from."""

    final: str
    build: str

    @property
    def arguments(self) -> dict[str, str]:
        return {"BASE_IMAGE": self.final, "BUILD_IMAGE": self.build}


@dataclass(frozen=True, slots=True)
class Image:
    """A built image and the engine that runs it."""

    engine: Engine
    tag: str


@pytest.fixture(scope="session")
def bases() -> Bases:
    """`$BASE_IMAGE` or the Dockerfile's own base, and `$BUILD_IMAGE` where that is another one."""
    final = os.environ.get("BASE_IMAGE") or _default_base()
    return Bases(final, os.environ.get("BUILD_IMAGE") or final)


@pytest.fixture(scope="session")
def engine(pytestconfig: pytest.Config, bases: Bases) -> Engine:
    """The engine at hand, which has the bases."""
    try:
        return engines.able(engines.find(), bases.build, bases.final)
    except MissingServiceError as error:
        pytestconfig.stash[PARTS]["Image"] = f"left out: {error}"
        _left_out(f"the image was left out: {error}")


@pytest.fixture(scope="session")
def image(pytestconfig: pytest.Config, engine: Engine, bases: Bases) -> Image:
    """The image of this checkout."""
    engine.build(ROOT, TAG, arguments(bases), secrets=secrets())
    size_mb = engine.inspect(TAG)["Size"] / 1e6
    base_mb = engine.inspect(bases.final)["Size"] / 1e6
    pytestconfig.stash[PARTS]["Image"] = (
        f"{TAG}, built and run by {engine.name}: {size_mb:.0f} MB, "
        f"of which {base_mb:.0f} MB are {bases.final}"
    )
    return Image(engine, TAG)


def arguments(bases: Bases) -> Mapping[str, str]:
    """The build arguments: what is built, from what, and the mirror of the environment."""
    given = {
        "VERSION": __version__,
        "REVISION": _git("rev-parse", "HEAD") or "unknown",
        "SOURCE": _without_credentials(_git("remote", "get-url", "origin")),
        "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct") or "0",
        "PIP_INDEX_URL": os.environ.get("PIP_INDEX_URL", ""),
    }
    return {**bases.arguments, **{name: value for name, value in given.items() if value}}


def secrets() -> dict[str, Path]:
    """The files of pip's own variables, which the build may read and the image never holds."""
    found = {"pip.conf": os.environ.get("PIP_CONFIG_FILE"), "ca.pem": os.environ.get("PIP_CERT")}
    return {name: Path(file) for name, file in found.items() if file and Path(file).is_file()}


def _left_out(message: str) -> NoReturn:
    if os.environ.get("IMAGE_TESTS") == "required":
        pytest.exit(message, returncode=2)
    pytest.skip(message)


def _default_base() -> str:
    (base,) = re.findall(r"^ARG BASE_IMAGE=(\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return str(base)


def _git(*arguments: str) -> str:
    asked = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return asked.stdout.strip()


def _without_credentials(url: str) -> str:
    """Of a web address, so that a token of a clone is on no label; nothing of another kind of address."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        return ""
    host = parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"
    return urlunsplit((parts.scheme, host, parts.path.removesuffix(".git"), "", ""))
