"""The unit tests stand where the code stands: `ls` finds the tests of a file, or a list says who tests it.

A file of `tests/unit/<package>/` is called `test_<module>.py` after a module of `connector/<package>/`, or
`test_<module>_<aspect>.py` where one file would be too long. Nothing else is there, but what pytest needs.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "tests" / "unit"

WITHOUT_UNIT_TEST = {
    "__main__": "tests/bridge_process.py starts it, for every test of a whole process",
    "cli.case_report": "tests/contract/test_workbench_commands.py types its command",
    "cli.dead_letter_report": "tests/integration/test_dead_letters.py reads what `show` prints",
    "cli.dead_letters_output": "tests/integration/test_dead_letters.py reads what it prints",
    "cli.dead_letters_session": "tests/integration/test_dead_letters.py opens it, on real Kafka",
    "cli.demo": "tests/contract/test_demo_command.py types its command",
    "cli.dry_run": "tests/contract/test_dry_run.py types its command",
    "cli.explanations": "tests/contract/test_workbench_commands.py types its command",
    "cli.export": "tests/contract/test_export_command.py types its command",
    "cli.found_events": "tests/contract/test_find_command.py reads what it prints",
    "cli.handover": "tests/contract/test_handover_command.py types its command",
    "cli.redelivery": "tests/integration/test_replay.py stops it, and reads what it prints",
    "cli.replay": "tests/integration/test_replay.py types its command, on real Kafka",
    "cli.resend": "tests/integration/test_resend.py types its command, on real Kafka",
    "cli.sandbox": "tests/contract/test_sandbox_commands.py types its commands",
    "cli.sandbox_start": "tests/contract/test_sandbox_commands.py starts it",
    "cli.source_health": "tests/contract/test_source_health.py reads what it prints",
    "cli.sources": "tests/contract/test_source_commands.py runs it on a control plane",
    "cli.workbench": "tests/contract/test_workbench_commands.py types its commands",
    "dead_letters.redelivery": "tests/unit/dead_letters/test_replay.py runs it",
    "dead_letters.redelivery_group": "tests/integration/test_replay.py has members come and go",
    "dead_letters.topics": "tests/integration/test_dead_letters.py reads and creates topics, on real Kafka",
    "dead_letters.writer": "tests/contract/test_sandbox_letters.py writes with it, to a broker",
    "delivery_log.log": "tests/integration/test_find.py searches with it, on real Kafka",
    "delivery_log.receipts": "tests/integration/test_find.py finds deliveries with it, on real Kafka",
    "delivery.pending": "it holds values; tests/unit/delivery/test_queue.py handles them",
    "delivery.targets": "tests/unit/test_bridge.py has one target, and several",
    "errors": "it holds names; tests/contract/test_verdicts.py finds one for each error of botocore",
    "eventbridge.claim_store": "tests/contract/test_claim_store.py uploads with it, to moto's S3",
    "eventbridge.client": "tests/contract/test_eventbridge.py calls with it, over HTTP",
    "eventbridge.credentials": "tests/contract/test_signing.py has boto3's chain find and renew them",
    "eventbridge.http": "tests/contract/test_connections.py breaks its connections in every way",
    "eventbridge.session": "tests/unit/cli/test_check_targets.py makes each mistake that it finds",
    "eventbridge.signer": "tests/contract/test_wire.py compares its signatures with boto3's",
    "formats.glue_registry": "tests/contract/test_glue_registry.py has moto play the registry",
    "formats.references": "tests/unit/formats/test_confluent_registry.py has schemas refer to others",
    "formats.diagnosis": "tests/unit/formats/test_unframed.py has it name each framing",
    "kafka.reader": "tests/integration/test_dead_letters.py reads with it, on real Kafka",
    "kafka.shadow_consumer": "tests/contract/test_dry_run.py reads with it, from a broker",
    "mapping.calls": "tests/unit/mapping/test_results.py calls every function on every kind of value",
    "model": "it holds values; every test handles them",
    "receipts.topic": "tests/contract/test_receipts.py reads with it, on a broker",
    "sandbox.awsjson": "tests/contract/test_fake_eventbridge.py has boto3 read its answers",
    "sandbox.bridge": "tests/integration/test_sandbox.py starts, stops and kills it",
    "sandbox.broker": "tests/contract/test_sandbox_broker.py runs a consumer group on it",
    "sandbox.control": "tests/contract/test_fake_eventbridge.py controls the fake through it",
    "sandbox.entries": "tests/contract/test_fake_eventbridge.py sends it entries with boto3",
    "sandbox.eventbridge": "tests/contract/test_fake_eventbridge.py judges it by boto3",
    "sandbox.pytest_plugin": "tests/integration/test_sandbox.py has pytest find its fixture",
    "sandbox.relay": "tests/contract/test_sandbox_broker.py runs a consumer group through it",
    "sandbox.server": "tests/contract/test_fake_eventbridge.py serves with it",
    "sandbox.sources": "tests/contract/test_fake_eventbridge.py changes sources with boto3",
    "sandbox.testing": "tests/integration/test_sandbox.py runs the examples with it",
    "service": "tests/integration/test_stopping.py runs it, as a process on real Kafka",
    "sources.admin": "tests/contract/test_source_commands.py runs it on a control plane",
    "sources.lookup": "tests/contract/test_lookups.py looks up sources with it, on a control plane",
    "telemetry.page.contents": "it holds values; tests/unit/telemetry/page/test_render.py shows them",
    "workbench.cluster": "tests/unit/workbench/test_first_configuration.py reads one, of the sandbox",
    "workbench.configuration_text": "tests/unit/workbench/test_first_configuration.py loads what it writes",
    "workbench.json_forms": "tests/unit/workbench/test_encoding.py has it read each form",
    "workbench.shadow_run": "tests/contract/test_dry_run.py runs it in a sandbox",
    "workbench.topic_records": "tests/contract/test_workbench_commands.py reads with it, from a broker",
}
"""Modules of `connector/` that no file of `tests/unit` is called after, each with who tests it instead."""


def modules() -> list[str]:
    """As `dead_letters.replay`; a package's `__init__` has nothing to test."""
    code = ROOT / "connector"
    files = [file for file in code.rglob("*.py") if file.name != "__init__.py"]
    return sorted(".".join(file.relative_to(code).with_suffix("").parts) for file in files)


def module_of(test: Path) -> str | None:
    """The module that a file of tests is called after: the one with the longest name, if any."""
    *package, name = test.relative_to(UNIT).with_suffix("").parts
    words = name.removeprefix("test_").split("_")
    for count in range(len(words), 0, -1):
        module = ".".join([*package, "_".join(words[:count])])
        if module in modules():
            return module
    return None


def unit_tests() -> list[Path]:
    return sorted(UNIT.rglob("test_*.py"))


def test_each_unit_test_is_called_after_a_module() -> None:
    """A module that moves or gets another name takes its tests along."""
    strays = [str(test.relative_to(ROOT)) for test in unit_tests() if module_of(test) is None]

    assert [] == strays


def test_nothing_else_is_among_the_unit_tests() -> None:
    """Rigs and fakes are in `tests/`, where every test finds them; fixtures of one folder in its conftest."""
    allowed = {"__init__.py", "conftest.py", *(test.name for test in unit_tests())}
    others = [
        str(file.relative_to(ROOT))
        for file in UNIT.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.name not in allowed
    ]

    assert [] == sorted(others)


def test_each_module_has_a_unit_test_or_a_reason() -> None:
    """The list above is neither short of a module nor longer than it must be."""
    tested = {module_of(test) for test in unit_tests()}
    untested = {module for module in modules() if module not in tested}

    assert [] == sorted(untested - WITHOUT_UNIT_TEST.keys()), "they have neither a unit test nor a reason"
    assert [] == sorted(WITHOUT_UNIT_TEST.keys() - untested), "they have a unit test, or are gone"


def test_each_reason_names_a_file_that_exists() -> None:
    """A test that moved must not leave a dead reason behind."""
    named = {
        file for reason in WITHOUT_UNIT_TEST.values() for file in re.findall(r"tests/[\w/]+\.py", reason)
    }

    assert [] == sorted(file for file in named if not (ROOT / file).exists())
