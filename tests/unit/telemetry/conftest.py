"""A clock that stands still, and telemetry and a log that go by it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from connector.telemetry.health import Health
from connector.telemetry.log import configure_logging
from connector.telemetry.metrics import Telemetry
from tests.fakes import FakeClock
from tests.logs import Logs


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    names = ["", "connector", "botocore"]
    before = [(name, logging.getLogger(name).level, logging.getLogger(name).handlers[:]) for name in names]
    yield
    logging.captureWarnings(capture=False)
    for name, level, handlers in before:
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).handlers[:] = handlers


@pytest.fixture
def logs() -> Logs:
    stream = Logs()
    configure_logging("info", "json", stream=stream)
    return stream


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def telemetry(clock: FakeClock) -> Telemetry:
    return Telemetry(librdkafka="2.16.0", clock_s=clock)


@pytest.fixture
def running(clock: FakeClock) -> Health:
    """A bridge that has its partitions and beats."""
    state = Health(clock_s=clock)
    state.assigned(3)
    return state
