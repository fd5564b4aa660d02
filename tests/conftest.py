"""Fixtures that start the real parts, and the summary that says which of them were real.

A part that cannot be had is skipped over with one line on a developer's machine, and fails with CI=true.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from typing import NoReturn, Protocol, TypeVar, runtime_checkable

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from xdist.workermanage import WorkerController

from tests.services import MissingServiceError
from tests.services import event_ruler as event_ruler_service
from tests.services import kafka as kafka_service
from tests.services import registry as registry_service

PARTS = pytest.StashKey[dict[str, str]]()

T = TypeVar("T")


@runtime_checkable
class Logged(Protocol):
    """A fixture whose end of log belongs next to a failure."""

    def log(self) -> str: ...


# How long an example takes says more of what else the machine does than of the code.
hypothesis_settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
hypothesis_settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[PARTS] = {}


def pytest_collection_finish() -> None:
    """Let no collection of garbage walk what collecting the tests has made.

    A bridge under test collects garbage twice in each minute of its clock. With a million objects of ours to
    walk that was three quarters of what such a test took.
    """
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    # With several processes, what each of them started is told by the first one.
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["parts"] = session.config.stash[PARTS]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: WorkerController) -> None:
    node.config.stash[PARTS].update(node.workeroutput.get("parts", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[PARTS]:
        terminalreporter.section("which parts were real")
        for part, what in config.stash[PARTS].items():
            terminalreporter.write_line(f"{part}: {what}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for name, fixture in item.funcargs.items():
            if isinstance(fixture, Logged) and callable(fixture.log):
                report.sections.append((f"log of {name}", fixture.log()))
    return report


def started(config: pytest.Config, part: str, start: Callable[[], T]) -> T:
    """Starts a real part and notes it for the summary; skips or fails the test where it cannot be had."""
    try:
        return start()
    except MissingServiceError as error:
        config.stash[PARTS][part] = f"not available, its tests were skipped: {error}"
        missing(f"no {part}: {error}")


def missing(message: str) -> NoReturn:
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@pytest.fixture(autouse=True)
def hooks_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest's own ways to see what fails in a thread, which a command run in this process replaces."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config) -> Iterator[kafka_service.Kafka]:
    """The Kafka all tests share: use topics and groups of your own, and do not stop it."""
    service = started(pytestconfig, "Kafka", kafka_service.shared)
    pytestconfig.stash[PARTS]["Kafka"] = service.description
    yield service
    service.close()


@pytest.fixture
def own_kafka(pytestconfig: pytest.Config) -> Iterator[kafka_service.KafkaCluster]:
    """A Kafka of the test's own, to stop, kill and start."""
    service = started(pytestconfig, "Kafka", lambda: kafka_service.KafkaCluster().start())
    pytestconfig.stash[PARTS].setdefault("Kafka", service.description)
    yield service
    service.close()


@pytest.fixture(scope="session")
def registry(pytestconfig: pytest.Config) -> Iterator[registry_service.Registry]:
    """The schema registry all tests share: use subjects of your own, and do not stop it."""
    service = started(pytestconfig, "Registry", registry_service.shared)
    pytestconfig.stash[PARTS]["Registry"] = service.description
    yield service
    service.close()


@pytest.fixture
def own_registry(pytestconfig: pytest.Config) -> Iterator[registry_service.Apicurio]:
    """A schema registry of the test's own, to stop and start."""
    service = started(pytestconfig, "Registry", lambda: registry_service.Apicurio().start())
    pytestconfig.stash[PARTS].setdefault("Registry", service.description)
    yield service
    service.close()


@pytest.fixture(scope="session")
def event_ruler(pytestconfig: pytest.Config) -> Iterator[event_ruler_service.EventRuler]:
    """AWS's own matcher of rule patterns."""
    service = started(pytestconfig, "Event Ruler", event_ruler_service.EventRuler)
    pytestconfig.stash[PARTS]["Event Ruler"] = service.description
    yield service
    service.close()
