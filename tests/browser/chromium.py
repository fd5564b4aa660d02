"""A real browser: Chromium from the path, or Debian's package, which apt fetches without root."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Error, sync_playwright

from tests.services import MissingServiceError, cache

NAMES = ("chromium-headless-shell", "chromium", "google-chrome-stable", "google-chrome")
PACKAGE = "chromium-headless-shell"
FONTS = ("fonts-dejavu-core", "fontconfig-config")
"""Without a font a page has no letters, and no contrast to judge."""


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser without a window.

    Raises:
        MissingServiceError: none is there, and none can be had.
    """
    program, environment = _program()
    with sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(
                executable_path=program,
                env={**os.environ, **environment},
                chromium_sandbox=os.geteuid() != 0,  # its sandbox refuses root
                args=["--disable-dev-shm-usage"],
            )
        except Error as error:
            raise MissingServiceError(f"Chromium does not start: {str(error).splitlines()[0]}") from error
        with started:
            yield started


def _program() -> tuple[Path, dict[str, str]]:
    """The browser's file, and what it needs in its environment."""
    for name in NAMES:
        if found := shutil.which(name):
            return Path(found), {}
    root = cache.folder("chromium-debian", _fill)
    libraries = root / "usr" / "lib" / f"{os.uname().machine}-linux-gnu"
    paths = [libraries, libraries / "pulseaudio"]
    environment = {"LD_LIBRARY_PATH": ":".join(map(str, paths)), "XDG_DATA_HOME": str(root / "usr" / "share")}
    if not Path("/etc/fonts/fonts.conf").exists():
        environment["FONTCONFIG_PATH"] = str(root / "etc" / "fonts")
    return root / "usr" / "lib" / "chromium" / PACKAGE, environment


def _fill(into: Path) -> None:
    """Chromium, and what it needs that this machine lacks.

    With lists of packages of its own: those of the machine may be missing, or older than Debian's last fix of
    Chromium, and only root may renew them.
    """
    lists, kept = into / "lists", into / "cache"
    for folder in (lists / "partial", kept / "archives" / "partial"):
        folder.mkdir(parents=True)
    apt = ("apt-get", "-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={kept}")
    _run(*apt, "update", folder=into)
    without = ("--print-uris", "--yes", "--no-install-recommends")
    wanted = _run(*apt, "install", *without, PACKAGE, *FONTS, folder=into)
    names = re.findall(r"^'\S+' ([^_\s]+)_", wanted, re.MULTILINE)
    _run(*apt, "download", *names, folder=into)
    for package in into.glob("*.deb"):
        _run("dpkg", "-x", str(package), str(into), folder=into)
        package.unlink()
    shutil.rmtree(lists)
    shutil.rmtree(kept)


def _run(*command: str, folder: Path) -> str:
    if shutil.which(command[0]) is None:
        raise MissingServiceError(f"`{command[0]}` is not installed, and no Chromium is on the path")
    try:
        ran = subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True, timeout=cache.FETCH_TIMEOUT_S
        )
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:]
        raise MissingServiceError(f"`{' '.join(command[:2])} …` failed: {' '.join(last)}") from error
    except subprocess.TimeoutExpired as error:
        raise MissingServiceError(
            f"`{' '.join(command[:2])} …` took over {cache.FETCH_TIMEOUT_S:.0f} s"
        ) from error
    return ran.stdout
