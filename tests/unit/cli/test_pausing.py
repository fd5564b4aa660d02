"""`source pause` and `source resume`: what they make of a file of pauses."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from connector.cli.sources import app
from connector.config.pauses import parse_pauses
from connector.model import Pause

ACME, BLUE, CORP = (f"aws.partner/example.com/{name}" for name in ("acme", "blue", "corp"))
Run = Callable[..., Result]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pauses.yaml"


def run(file: Path, command: str, source: str, *options: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [command, source, "--file", str(file), *options])
    assert code == result.exit_code, result.output
    return result


def paused(file: Path) -> list[Pause]:
    return parse_pauses(file.read_text(), name="YAML")


def test_a_missing_file_is_created_and_emptied_again(file: Path) -> None:
    """The bridge reads an empty file as: nothing is paused."""
    assert f"{ACME} is paused in {file} until it is resumed." in run(file, "pause", ACME).output
    assert [Pause("source", ACME, None)] == paused(file)
    assert "is taken out of" in run(file, "resume", ACME).output
    assert "" == file.read_text()


def test_an_end_is_written_in_utc(file: Path) -> None:
    """Given as a moment with a zone, or as how long from now."""
    run(file, "pause", ACME, "--until", "2999-11-30T07:00+01:00")
    assert "2999-11-30T06:00Z" in file.read_text()

    run(file, "pause", ACME, "--for", "2h")
    ((_, _, until_ms),) = paused(file)
    assert until_ms is not None
    assert timedelta(seconds=10) > abs(
        datetime.fromtimestamp(until_ms / 1000, UTC) - datetime.now(UTC) - timedelta(hours=2)
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--until", "2999-11-30T07:00"], "names no zone: write 2999-11-30T07:00Z if it is UTC"),
        (["--until", "noon"], "is not a moment"),
        (["--until", "2020-01-01T00:00Z"], "is over"),
        (["--for", "2"], "2: a duration needs a unit"),
        (["--for", "0s"], "is over"),
        (["--for", "90000000h"], "would end after the year 9999: without --for it lasts until `resume`"),
        (["--for", "100000000000000h"], "would end after the year 9999"),
        (["--for", "2h", "--until", "2999-11-30T07:00Z"], "give one"),
    ],
)
def test_an_end_that_cannot_be_meant_changes_nothing(file: Path, options: list[str], text: str) -> None:
    """One sentence says what to write."""
    output = run(file, "pause", ACME, *options, code=2).output

    assert text in " ".join(output.split())
    assert not file.exists()


def test_comments_and_other_rules_stay(file: Path) -> None:
    """Only the lines that are meant change."""
    before = (
        "# Ask integration@example.com before you change this.\n"
        "- topics: [orders.v1]  # migration\n"
        "  until: 2999-11-30T06:00Z\n"
        "# blue asked for it\n"
        f"- sources:\n    - {BLUE}  # since May\n    - {CORP}\n"
        "# the end\n"
    )
    file.write_text(before)
    run(file, "pause", ACME)
    assert f"{before}- sources: [{ACME}]\n" == file.read_text()
    run(file, "resume", ACME)
    assert before == file.read_text()


def test_a_rule_that_pauses_nothing_any_more_goes(file: Path) -> None:
    """One with a topic beside the source stays, without the source."""
    file.write_text(
        f"- sources: [{ACME}]\n  until: 2999-11-30T06:00Z\n- sources: [{ACME}]\n  topics: [orders.v1]\n"
    )
    run(file, "resume", ACME)

    assert [Pause("topic", "orders.v1", None)] == paused(file)
    assert "until" not in file.read_text()


def test_a_source_that_is_paused_again_has_the_new_end_alone(file: Path) -> None:
    """Of two ends the later one would count."""
    run(file, "pause", ACME, "--until", "2999-11-30T06:00Z")
    run(file, "pause", ACME, "--until", "2998-11-30T06:00Z")

    assert 1 == len(paused(file))
    assert "2998" in file.read_text()


def test_json_stays_json(file: Path) -> None:
    """For who writes it with another program."""
    file.write_text(json.dumps({"sources": [BLUE], "until": "2999-11-30T06:00Z"}))
    run(file, "pause", ACME)

    assert [{"sources": [BLUE], "until": "2999-11-30T06:00Z"}, {"sources": [ACME]}] == json.loads(
        file.read_text()
    )


def test_a_single_rule_becomes_a_list_and_lost_comments_are_told(file: Path) -> None:
    """They cannot be kept there; that is said, and so are those of a list never."""
    file.write_text(f"# ours\nsources: [{BLUE}]\n")

    assert "comments in it are lost" in run(file, "pause", ACME).output
    assert {ACME, BLUE} == {pause.name for pause in paused(file)}


def test_a_source_that_a_glob_covers_cannot_be_resumed_by_name(file: Path) -> None:
    """It is said which glob, and what to do; exit code 4."""
    file.write_text("- sources: ['aws.partner/example.com/*']\n")
    result = run(file, "resume", ACME, code=4)

    assert f"{ACME} stays paused: aws.partner/example.com/* in {file} covers it." in result.output
    assert "- sources: ['aws.partner/example.com/*']\n" == file.read_text()
    assert "aws.partner/example.com/*" in run(file, "pause", ACME).output
    assert "is taken out" in run(file, "resume", ACME, code=4).output


def test_a_source_that_is_not_paused_is_no_mistake(file: Path) -> None:
    """Nothing is written."""
    assert "is not paused" in run(file, "resume", ACME).output
    assert not file.exists()


def test_a_file_that_the_bridge_could_not_use_is_left_alone(file: Path) -> None:
    """Every problem is named with its line."""
    file.write_text("- sorces: [x]\n")
    output = " ".join(run(file, "pause", ACME, code=2).output.split())

    assert "did you mean 'sources'? (line 1)" in output
    assert "- sorces: [x]\n" == file.read_text()


def test_a_link_stays_one_and_nobody_sees_half_a_file(file: Path, tmp_path: Path) -> None:
    """The file that it leads to gets another inode, with the rights of the old one."""
    real = tmp_path / "real.yaml"
    real.write_text("")
    real.chmod(0o640)
    before = real.stat()
    file.symlink_to(real)
    run(file, "pause", ACME)

    assert file.is_symlink()
    assert (0o640, True) == (real.stat().st_mode & 0o777, real.stat().st_ino != before.st_ino)
    assert ["pauses.yaml", "real.yaml"] == sorted(path.name for path in tmp_path.iterdir())


names = st.lists(st.sampled_from([ACME, BLUE, CORP, "aws.partner/*"]), max_size=3, unique=True)
rules = st.lists(
    st.fixed_dictionaries({"sources": names}, optional={"topics": st.just(["orders"])}), max_size=4
)


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rules=rules,
    style=st.sampled_from(["block", "flow", "json"]),
    commands=st.lists(
        st.tuples(st.sampled_from(["pause", "resume"]), st.sampled_from([ACME, BLUE, CORP])), max_size=4
    ),
)
def test_whatever_is_in_the_file_only_the_source_that_is_named_changes(
    file: Path, rules: list[dict[str, list[str]]], style: str, commands: list[tuple[str, str]]
) -> None:
    """And whatever it looks like."""
    text = "".join(_block(rule) for rule in rules) if style == "block" else json.dumps(rules)
    file.write_text(text if style != "flow" else text.replace('"', ""))
    for command, source in commands:
        before = {pause for pause in paused(file) if pause.name != source}
        CliRunner().invoke(app, [command, source, "--file", str(file)])
        after = paused(file)

        assert before == {pause for pause in after if pause.name != source}
        assert (command == "pause") == (source in {pause.name for pause in after})


def _block(rule: dict[str, list[str]]) -> str:
    lines = [f"  {kind}:\n" + "".join(f"    - {each}\n" for each in named) for kind, named in rule.items()]
    return "# a comment\n-" + "".join(lines)[1:]
