"""The fixtures of examples/ pass, cover the mapping beside them, and are what schemas/fixture.json says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from connector import config
from connector.workbench.cases import CaseResult, Rehearsal
from connector.workbench.fixtures import read_fixture
from tests.docs.fixture_schema import fixture_schema
from tests.terminal import Terminal

ROOT = Path(__file__).parents[2]
BRIDGES = [ROOT / "examples" / "bridge.yaml", ROOT / "examples" / "sandbox" / "bridge.yaml"]
FIXTURES = [file for bridge in BRIDGES for file in sorted(bridge.parent.glob("tests/*.yaml"))]
SCHEMA = ROOT / "schemas" / "fixture.json"


@pytest.mark.parametrize("bridge", BRIDGES, ids=lambda file: file.parent.name)
def test_the_fixtures_of_an_example_pass(bridge: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As CI of a user would run them: no Kafka, no registry, no password."""
    ran = Terminal(capsys).run("test", "--config", str(bridge))

    assert 0 == ran.code, ran.out + ran.err
    assert "failed" not in ran.out


@pytest.mark.parametrize("bridge", BRIDGES, ids=lambda file: file.parent.name)
def test_the_fixtures_of_an_example_cover_its_mapping(bridge: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each topic every template yields something in some case, and every outcome that its rules allow."""
    monkeypatch.setenv("BRIDGE_KAFKA__SASL_PASSWORD", "secret")
    settings = config.load(bridge)
    results: dict[str, list[CaseResult]] = {name: [] for name in settings.topics}
    with Rehearsal(settings) as rehearsal:
        for file in sorted(bridge.parent.glob("tests/*.yaml")):
            fixture, _ = read_fixture(file)
            assert fixture is not None
            path = rehearsal.pipeline.route(fixture.fixture.topic).path
            results[path.removeprefix("topics.")] += rehearsal.run(fixture)

    for name, of_topic in results.items():
        explained = [result.explanation for result in of_topic]
        templates = {each.path for one in explained for each in one.templates}
        used = {each.path for one in explained for each in one.templates if each.result is not None}
        assert templates == used
        outcomes = {(one.outcome, one.code if one.outcome == "filtered" else None) for one in explained}
        assert {("event", None), ("filtered", "tombstone")} <= outcomes
        assert settings.topics[name].filter is None or ("filtered", "filter") in outcomes


def test_the_schema_of_fixtures_is_current() -> None:
    """`make docs` was run after the last change of what a fixture may say."""
    assert fixture_schema() == SCHEMA.read_text("utf-8")


@pytest.mark.parametrize("file", FIXTURES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_fixture_is_what_its_schema_says(file: Path) -> None:
    """An editor that completes by the schema marks nothing in them."""
    Draft202012Validator(json.loads(SCHEMA.read_text("utf-8"))).validate(
        yaml.safe_load(file.read_text("utf-8"))
    )


@pytest.mark.parametrize(
    "case",
    [
        {"name": "a", "record": {"value": 1}},
        {"name": "a", "record": {"value": 1}, "event": {}, "filtered": "filter"},
        {"name": "a", "record": {}, "filtered": "filter"},
        {"name": "a", "record": {"value": 1}, "dead_letter": "nonsense"},
        {"name": "a", "record": {"value": 1}, "event": {"sorce": "x"}},
    ],
)
def test_the_schema_refuses_what_the_command_refuses(case: object) -> None:
    """No outcome and two, no value, an unknown code and an unknown key."""
    schema = Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))

    assert not schema.is_valid({"topic": "a", "cases": [case]})
