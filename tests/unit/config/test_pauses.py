"""The file of pauses: what may stand in it, and what is said of mistakes."""

from __future__ import annotations

import pytest

from connector.config.pauses import doubts, parse_pauses
from connector.errors import ConfigError
from connector.model import Pause
from tests.configuration import MINIMAL, Written, with_settings

ACME = "aws.partner/example.com/acme"
SIX_MS = 1_796_018_400_000


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_pauses(text, name="YAML")
    return list(map(str, caught.value.problems))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"sources: [{ACME}]\ntargets: [us]\nuntil: 2026-11-30T06:00Z\n", id="a rule"),
        pytest.param(
            f"- sources: [{ACME}]\n  targets: [us]\n  until: '2026-11-30T07:00:00+01:00'\n", id="a list"
        ),
        pytest.param(
            f'[{{"sources": ["{ACME}"], "targets": ["us"], "until": "2026-11-30T06:00:00Z"}}]', id="JSON"
        ),
    ],
)
def test_a_rule_or_a_list_of_rules_in_yaml_or_json(text: str) -> None:
    """Everything a rule names is paused until the same moment, in whatever zone that is written."""
    assert [Pause("source", ACME, SIX_MS), Pause("target", "us", SIX_MS)] == parse_pauses(text, name="YAML")


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "[]", "{}", "sources: []\n", "- until: 2026-11-30T06:00Z\n"]
)
def test_a_file_without_names_pauses_nothing(text: str) -> None:
    """An empty file resumes everything."""
    assert [] == parse_pauses(text, name="YAML")


def test_without_an_end_it_lasts() -> None:
    """It is over when it is taken out of the file."""
    assert [Pause("topic", "orders.v1", None)] == parse_pauses("topics: [orders.v1]", name="YAML")


def test_every_mistake_is_named_with_its_line_and_what_to_write() -> None:
    """All at once, as those of the configuration."""
    text = (
        f"- source: [{ACME}]\n- topics: orders.v1\n  until: 2026-11-30T06:00\n"
        "- targets: [us]\n  until: noon\n"
    )

    assert [
        "pauses[0].source: unknown key; did you mean 'sources'? (line 1)",
        'pauses[1].topics: must be a list; an example is ["orders.v1"] (line 2)',
        "pauses[1].until: names no zone: write 2026-11-30T06:00Z if it is UTC (line 3)",
        "pauses[2].until: is not a moment: write date, time and zone, as 2026-11-30T06:00Z (line 5)",
    ] == problems(text)


def test_a_mistake_in_a_single_rule_is_named_by_its_key() -> None:
    """There is no list in the file to count in."""
    assert ["until: names no zone: write 2026-11-30T00:00Z if it is UTC (line 2)"] == problems(
        "topics: [orders.v1]\nuntil: 2026-11-30\n"
    )


@pytest.mark.parametrize("text", ["sources: [", "just text", "- just text", "[1]"])
def test_what_is_no_rule_is_a_problem(text: str) -> None:
    """Nothing that somebody wrote is ignored in silence."""
    assert 1 == len(problems(text))


def test_a_name_that_pauses_nothing_is_doubted_and_the_others_count(written: Written) -> None:
    """A mistyped name must not void the rest, nor pass for a pause."""
    settings = written.load(with_settings(targets={"us": {"region": "us-east-1"}}))
    pauses = parse_pauses(
        f"sources: [{ACME}, 'aws.partner/*/blue', '*', acme]\n"
        "topics: [orders.v1, order.v1]\ntargets: [us, su]",
        name="YAML",
    )

    assert [
        "no source has the name acme: names begin with aws.partner/, and a glob with * where it leaves that "
        "out. This pauses nothing; the others count",
        "the topic order.v1 is not in the configuration; did you mean 'orders.v1'?. This pauses nothing; the "
        "others count",
        "there is no target su; did you mean 'us'?. This pauses nothing; the others count",
    ] == [doubt.message for doubt in doubts(pauses, settings)]


def test_a_pattern_of_the_configuration_and_a_topic_of_it_are_known(written: Written) -> None:
    """Another pattern is not: it would have to be compared with every topic there may be."""
    settings = written.load(MINIMAL.replace("orders.v1:", "^orders[.]:"))
    pauses = parse_pauses("topics: ['^orders[.]', orders.v2, '^orders']", name="YAML")

    assert ["^orders"] == [doubt.message.split()[2] for doubt in doubts(pauses, settings)]
