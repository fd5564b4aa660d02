"""Everything that a run of the benchmark measured, as it is kept in JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from tests.bench.runs import Throughput
from tests.bench.stages import Stage

FOLDER = Path(__file__).parents[2] / "docs" / "performance"
"""The figures and plots that `docs/performance.md` shows."""
FILE = FOLDER / "bench.json"


@dataclass(slots=True)
class Figure:
    """What the rounds measured of one figure, in order."""

    bridge: list[float] = field(default_factory=list)
    against: list[float] = field(default_factory=list)
    """What it is compared with, if anything."""
    others: list[float] = field(default_factory=list)
    """The share of the machine that other work took meanwhile."""


@dataclass(slots=True)
class Results:
    """A run of the benchmark; what was left out is empty."""

    command: str
    machine: dict[str, str]
    figures: dict[str, Figure] = field(default_factory=dict)
    runs: list[Throughput] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """Runs that lost events, or did not end well."""

    def note(self, figure: str, bridge: float, *, against: float | None = None, others: float = 0.0) -> None:
        """Adds what a round measured."""
        noted = self.figures.setdefault(figure, Figure())
        noted.bridge.append(bridge)
        noted.others.append(others)
        if against is not None:
            noted.against.append(against)


_JSON = TypeAdapter(Results)


def save(results: Results, file: Path) -> None:
    file.write_bytes(_JSON.dump_json(results, indent=2) + b"\n")


def load(file: Path = FILE) -> Results:
    return _JSON.validate_json(file.read_bytes())
