"""The list of customers: what is wrong with it, what it asks to be changed, and when it is read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector import config
from connector.errors import ConfigError
from connector.model import SourceStatus
from connector.sources.customers import Customers, changes, read_customers

ACME = "aws.partner/example.com/acme"
BLUE = "aws.partner/example.com/blue"

SETTINGS = """
kafka: {bootstrap.servers: localhost:1, group.id: test}
eventbridge: {region: eu-central-1}
targets:
  us: {region: us-east-1}
dead_letter: {topic: orders.dlt}
topics:
  orders:
    value: {format: json}
    event: {source: "aws.partner/example.com/${value.tenant}", detail_type: Order}
"""


@pytest.fixture
def settings(tmp_path: Path) -> config.Settings:
    file = tmp_path / "bridge.yaml"
    file.write_text(SETTINGS)
    return config.load(file, {})


def problems_of(text: str, settings: config.Settings, tmp_path: Path) -> list[str]:
    file = tmp_path / "customers.csv"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_customers(file, settings)
    return [str(problem) for problem in caught.value.problems]


def test_everything_that_is_wrong_with_a_list_is_told_with_its_line(
    settings: config.Settings, tmp_path: Path
) -> None:
    """One correction, not one for each run; and nothing of a broken list is used."""
    found = problems_of(
        "# customers\n"
        "source,account,region\n"
        f"{ACME},111122223333,eu-central-1\n"
        f"{ACME},11112222333,eu-central-1\n"
        f"{ACME},111122223333,us-east-1\n"
        "acme,111122223333,us-east-1\n"
        f"{BLUE},111122223333,ap-east-1\n"
        f"{BLUE}\n"
        f"{BLUE},ABCDEFGHIJKL,us-east-1\n",
        settings,
        tmp_path,
    )

    assert 6 == len(found)
    assert "line 4: 11112222333 is not an AWS account" in found[0]
    assert "leading zeros" in found[0]
    assert f"line 4: {ACME} is in line 3 already for another account, 111122223333" in found[1]
    assert "line 6: acme is not a source's name" in found[2]
    assert "line 7: no target of this bridge is in Region ap-east-1; its Regions: " in found[3]
    assert "line 8: 1 values for 3 columns" in found[4]
    assert "line 9: ABCDEFGHIJKL is not an AWS account" in found[5]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("source,acount\n", "unknown column 'acount'; did you mean 'account'?"),
        ("source,account,target,region\n", "give `target` or `region`, not both"),
        ("source,source,account\n", "column `source` is there twice"),
        (
            f"source,account,target\n{ACME},111122223333,uss\n",
            "no target uss; known: default, us; did you mean 'us'?",
        ),
    ],
)
def test_a_list_that_is_no_list_of_customers(
    settings: config.Settings, tmp_path: Path, text: str, problem: str
) -> None:
    assert problem in "\n".join(problems_of(text, settings, tmp_path))


def test_a_list_of_a_spreadsheet_is_read(settings: config.Settings, tmp_path: Path) -> None:
    """With a byte order mark, quotes, spaces and capitals in the header, as spreadsheets write it."""
    file = tmp_path / "customers.csv"
    file.write_bytes(
        b'\xef\xbb\xbfSource, Account ,Region\r\n"' + ACME.encode() + b'",012345678901,us-east-1\r\n'
    )

    assert [(ACME, "012345678901", "us")] == read_customers(file, settings)


def test_what_must_change(settings: config.Settings, tmp_path: Path) -> None:
    """A missing or deleted source is created; one of another account is left alone, and told."""
    file = tmp_path / "customers.csv"
    rows = [f"aws.partner/example.com/{name},111122223333" for name in ("a", "b", "c", "d")]
    file.write_text("\n".join(["source,account", *rows]))
    existing = {
        ("default", "aws.partner/example.com/a"): SourceStatus("ACTIVE", account="111122223333"),
        ("default", "aws.partner/example.com/b"): SourceStatus("DELETED", account="111122223333"),
        ("default", "aws.partner/example.com/c"): SourceStatus("PENDING", account="999922223333"),
        ("us", "aws.partner/example.com/a"): SourceStatus("ACTIVE", account="111122223333"),
    }
    customers = read_customers(file, settings)

    def planned(*, prune: bool) -> list[str]:
        return [f"{c.action} {c.source[-1]} {c.target}" for c in changes(customers, existing, prune=prune)]

    listed = ["keep a default", "create b default", "conflict c default", "create d default"]
    assert [*listed, "leave a us"] == planned(prune=False)
    assert [*listed, "delete a us"] == planned(prune=True)


def test_customers_are_read_again_when_their_file_changes(settings: config.Settings, tmp_path: Path) -> None:
    """A new customer needs no restart; a list that is broken for a moment forgets nobody."""
    file = tmp_path / "customers.csv"
    file.write_text(f"source,account\n{ACME},111122223333\n")
    sources = settings.sources.model_copy(update={"customers": file, "create_missing": True})
    customers = Customers(settings.model_copy(update={"sources": sources}))

    assert {ACME: "111122223333"} == customers.accounts("default")
    file.write_text("what?\n")
    assert {ACME: "111122223333"} == customers.accounts("default")
    file.write_text(f"source,account,target\n{BLUE},111122223333,us\n")
    assert ({}, {BLUE: "111122223333"}) == (customers.accounts("default"), customers.accounts("us"))
