"""The file of pauses is followed: what it says counts, and what it said while it cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from connector import config
from connector.delivery.pauses import PauseFile
from connector.model import Pause
from connector.telemetry.metrics import Telemetry
from tests.configuration import Written, with_settings

ACME, BLUE = "aws.partner/example.com/acme", "aws.partner/example.com/blue"


class Said(Telemetry):
    """Records what it is told about pauses."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def pauses_awaited(self, file: str) -> None:
        self.said.append("awaited")

    def pauses_readable(self, problem: str | None) -> None:
        self.said += [problem] if problem else []

    def doubted(self, warnings: object) -> None:
        self.said += [each.message for each in warnings]  # type: ignore[attr-defined]


class Followed:
    """A file of pauses, and who follows it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "pauses.yaml"
        self.now_ms = 1_000_000
        self.telemetry = Said()
        self.pauses = PauseFile(self.settings(folder), telemetry=self.telemetry, clock_ms=lambda: self.now_ms)

    def settings(self, folder: Path) -> config.Settings:
        return Written(folder).load(
            with_settings(
                pauses="pauses.yaml",
                topics={"^orders": {"event": {"source": ACME, "detail_type": "Order"}}},
                targets={"us": {"region": "us-east-1"}},
            )
        )

    def write(self, text: str) -> bool:
        self.file.write_text(text)
        return self.pauses.follow()


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path)


def test_a_file_that_comes_later_counts_from_then_on(followed: Followed) -> None:
    """Missing at the start it pauses nothing, and that is said once."""
    assert not followed.pauses.follow()
    assert not followed.pauses.follow()
    assert (["awaited"], None) == (followed.telemetry.said, followed.pauses.problem)

    assert followed.write(f"sources: [{ACME}]")
    assert Pause("source", ACME, None) == followed.pauses.of_source(ACME, "default")
    assert followed.pauses.of_source(BLUE, "default") is None


def test_without_the_setting_nothing_is_paused(tmp_path: Path) -> None:
    """And nothing is looked for."""
    pauses = PauseFile(Written(tmp_path).load(with_settings()), telemetry=Telemetry())

    assert not pauses.follow()
    assert pauses.of_source(ACME, "default") is None


@pytest.mark.parametrize("breaks", ["text", "missing", "folder"])
def test_what_cannot_be_read_leaves_in_force_what_was(followed: Followed, breaks: str) -> None:
    """It is said once."""
    followed.write(f"sources: [{ACME}]")
    followed.telemetry.said.clear()
    followed.file.unlink()
    if breaks == "text":
        assert not followed.write("sorces: [x]")
    elif breaks == "folder":
        followed.file.mkdir()
    for _ in range(3):
        assert not followed.pauses.follow()

    assert followed.pauses.of_source(ACME, "default") is not None
    assert 1 == len(followed.telemetry.said)
    assert followed.pauses.problem is not None
    assert f"{followed.file} cannot be used, and what was in force stays so: " in followed.pauses.problem

    if breaks == "folder":
        followed.file.rmdir()
    assert followed.write("")
    assert followed.pauses.problem is None
    assert followed.pauses.of_source(ACME, "default") is None


def test_a_link_that_is_swapped_is_another_file(followed: Followed, tmp_path: Path) -> None:
    """So does Kubernetes change a ConfigMap that is mounted; size and time may be the same."""
    for name, source in (("..1", ACME), ("..2", BLUE)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pauses.yaml").write_text(f"sources: [{source}]")
        os.utime(tmp_path / name / "pauses.yaml", ns=(0, 0))
    (tmp_path / "..data").symlink_to("..1")
    followed.file.symlink_to("..data/pauses.yaml")
    assert followed.pauses.follow()
    assert followed.pauses.of_source(ACME, "default")

    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert followed.pauses.follow()
    assert followed.pauses.of_source(ACME, "default") is None
    assert followed.pauses.of_source(BLUE, "default")


def test_an_end_comes_by_itself(followed: Followed) -> None:
    """At that very moment, without a change of the file; the rest of the rule's file stays."""
    followed.write(f"- sources: [{ACME}]\n  until: 1970-01-01T00:17Z\n- sources: [{BLUE}]\n")
    followed.now_ms = 17 * 60_000 - 1
    assert not followed.pauses.follow()
    followed.now_ms += 1
    assert followed.pauses.follow()

    assert followed.pauses.of_source(ACME, "default") is None
    assert followed.pauses.of_source(BLUE, "default")


def test_of_several_pauses_the_one_that_ends_last_is_told(followed: Followed) -> None:
    """A name, a glob and the target: whichever is longest counts."""
    followed.write(
        f"- sources: [{ACME}]\n  until: 1970-01-02T00:00Z\n"
        "- sources: ['aws.partner/*']\n  until: 1970-01-03T00:00Z\n"
        "- targets: [us]\n"
    )

    assert "aws.partner/*" == getattr(followed.pauses.of_source(ACME, "default"), "name", None)
    assert Pause("target", "us", None) == followed.pauses.of_source(ACME, "us")


def test_a_topic_is_paused_by_name_or_by_the_pattern_of_the_configuration(followed: Followed) -> None:
    """A name pauses no other topic of its pattern."""
    followed.write("topics: [orders.v1]")
    assert followed.pauses.of_topic("orders.v1")
    assert followed.pauses.of_topic("orders.v2") is None
    followed.write("topics: ['^orders']")
    assert followed.pauses.of_topic("orders.v2")


def test_a_name_that_pauses_nothing_is_told(followed: Followed) -> None:
    """With the names that there are; the others count."""
    followed.write(f"sources: [{ACME}]\ntargets: [su]")

    assert "did you mean 'us'?" in followed.telemetry.said[-1]
    assert followed.pauses.of_source(ACME, "default")
