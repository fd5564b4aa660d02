"""Writes the lock of each service that comes from Maven Central; `make lock` does.

A lock that has the service's version is left as it is: what was released does not change, and finding all
that Kafka depends on takes minutes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from jgo.maven import Dependency

from tests.services import event_ruler, kafka, maven, registry

LOCKS: Mapping[Path, tuple[str, ...]] = {
    event_ruler.LOCK: event_ruler.ARTIFACTS,
    kafka.LOCK: kafka.ARTIFACTS,
    registry.LOCK: registry.ARTIFACTS,
}
"""By lock, the artifacts that it has with all that they depend on."""


def main() -> None:
    for lock, roots in LOCKS.items():
        if not lock.exists() or not current(lock, roots):
            lock.write_text(locked(roots))


def current(lock: Path, roots: tuple[str, ...]) -> bool:
    """Whether a lock was written for these."""
    return set(roots) <= maven.read(lock).keys()


def locked(roots: tuple[str, ...]) -> str:
    """The text of a lock: each artifact with its SHA-256, as fetched now."""
    with maven.central() as context:
        # Raw: not lists of versions for the others to follow.
        named = [Dependency(maven.artifact(context, root), raw=True) for root in roots]
        jars = [each for each in named if each.type == "jar"]
        needed = context.resolver.resolve(jars)[1] if jars else []
        lines = sorted(f"{_coordinates(each)} {_sha256(each)}\n" for each in (*named, *needed))
    return "# Written by `make lock`: an artifact of Maven Central and its SHA-256.\n" + "".join(lines)


def _coordinates(dependency: Dependency) -> str:
    parts = (
        dependency.groupId,
        dependency.artifactId,
        dependency.version,
        dependency.type,
        dependency.classifier,
    )
    return ":".join(parts).removesuffix(":").removesuffix(":jar")


def _sha256(dependency: Dependency) -> str:
    return hashlib.sha256(dependency.artifact.resolve().read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
