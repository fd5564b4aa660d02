"""`partner-bridge source` against the fake of EventBridge: what people type, and what they read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from connector.sandbox.eventbridge import FakeEventBridge
from connector.sources import admin
from tests.terminal import Ran, Terminal

PREFIX = "aws.partner/example.com"
ACME, BLUE = f"{PREFIX}/acme", f"{PREFIX}/blue"
ACCOUNT = "111122223333"
EU, US = "eu-central-1", "us-east-1"


Run = Callable[..., Ran]


@pytest.fixture
def run(
    aws: FakeEventBridge,
    aws_environ: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Runs `partner-bridge source …` with two targets."""
    monkeypatch.setattr(admin, "PATIENCE_S", 5.0)
    monkeypatch.setattr(admin, "CALLS_PER_SECOND", 100.0)
    file = tmp_path / "bridge.yaml"
    file.write_text(
        f"""
kafka: {{bootstrap.servers: localhost:1, group.id: test}}
eventbridge: {{region: {EU}, endpoint_url: "{aws.url}"}}
targets:
  us: {{region: {US}, endpoint_url: "{aws.url}"}}
dead_letter: {{topic: dlt}}
http: {{port: 1}}
topics:
  orders:
    value: {{format: json}}
    event: {{source: "{PREFIX}/${{value.tenant}}", detail_type: Order}}
"""
    )

    terminal = Terminal(capsys)
    return lambda *arguments: terminal.run("source", *arguments, "--config", str(file))


def states(aws: FakeEventBridge) -> dict[tuple[object, object], object]:
    return {(each["Region"], each["Name"]): each["State"] for each in aws.sources()}


def test_create_is_idempotent_and_refuses_a_source_of_another_account(run: Run, aws: FakeEventBridge) -> None:
    """Twice is as once; somebody else's source is told, not taken."""
    assert (0, 0) == (
        run("create", ACME, "--account", ACCOUNT).code,
        run("create", ACME, "--account", ACCOUNT).code,
    )
    other = run("create", ACME, "--account", "999922223333")

    assert 4 == other.code
    assert f"it belongs to account {ACCOUNT}, not 999922223333" in other.err
    assert {(EU, ACME): "PENDING"} == states(aws)


def test_create_goes_to_the_region_that_was_asked_for(run: Run, aws: FakeEventBridge) -> None:
    """The customer chooses the Region; one that the bridge does not serve gets a note."""
    assert "" == run("create", ACME, "--account", ACCOUNT, "--region", US).err
    assert (
        "no target of this bridge is in eu-west-1"
        in run("create", ACME, "--account", ACCOUNT, "--region", "eu-west-1").err
    )

    assert {(US, ACME): "PENDING", ("eu-west-1", ACME): "PENDING"} == states(aws)


REGIONAL = (
    ("list",),
    ("status", ACME),
    ("create", ACME, "--account", ACCOUNT),
    ("delete", ACME),
    ("ping", ACME),
)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("create", "acme", "--account", ACCOUNT), "is not a source's name"),
        (("create", ACME, "--account", "12345"), "which has 12 digits"),
        (("create", ACME, "--account", ACCOUNT, "--target", "mars"), "known: default, us"),
        (("list", "--state", "SLEEPING"), "none of ACTIVE, PENDING, DELETED"),
        (("list", "--prefix", "acme"), "is not how sources' names begin"),
        *(((each, *arguments, "--region", "mars"), "mars is not a Region") for each, *arguments in REGIONAL),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_call(
    run: Run, aws: FakeEventBridge, arguments: tuple[str, ...], problem: str
) -> None:
    ran = run(*arguments)

    assert 2 == ran.code
    assert problem in " ".join(ran.err.replace("│", " ").split())
    assert {} == aws.counts().requests


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("LimitExceededException", "as many partner event sources in this Region as AWS allows"),
        ("OperationDisabledException", "This Region has no partner event sources"),
        ("AccessDeniedException", "Allow events:ListPartnerEventSources"),
        ("ConcurrentModificationException", "Somebody else is changing this source"),
    ],
)
def test_refusals_are_told_in_words(run: Run, aws: FakeEventBridge, code: str, words: str) -> None:
    """With what to do, and with EventBridge's own words."""
    fault = {
        "kind": "error",
        "code": code,
        "message": "said so",
        "status": 400,
        "operation": "CreatePartnerEventSource",
    }
    aws.script({"faults": [fault]})
    ran = run("create", ACME, "--account", ACCOUNT)

    assert 4 == ran.code
    assert words in ran.err
    assert code in ran.err


def test_throttles_and_concurrent_changes_are_waited_out(run: Run, aws: FakeEventBridge) -> None:
    """EventBridge asks for patience, and a command has it."""
    faults = [
        {"kind": "throttle", "operation": "*", "times": 3},
        {
            "kind": "error", "code": "ConcurrentModificationException", "status": 400,
            "operation": "CreatePartnerEventSource", "times": 1,
        },
    ]  # fmt: skip
    aws.script({"faults": faults})

    assert 0 == run("create", ACME, "--account", ACCOUNT).code
    assert {(EU, ACME): "PENDING"} == states(aws)


def test_list_shows_every_source_of_every_target(run: Run, aws: FakeEventBridge) -> None:
    """Over pages of a hundred, as people and as machines read it."""
    for number in range(120):
        aws.set_source(EU, f"{PREFIX}/customer-{number:03}", "ACTIVE")
    aws.set_source(US, BLUE, "PENDING", account="999922223333")
    listed = json.loads(run("list", "--json").out)["sources"]

    assert 121 == len(listed)
    assert (BLUE, "us", US, "PENDING", "999922223333") == tuple(
        listed[-1][key] for key in ("source", "target", "region", "state", "account")
    )
    assert listed[-1]["expires"] > listed[-1]["created"]
    pending = run("list", "--state", "pending").out
    assert BLUE in pending
    assert "customer" not in pending


def test_a_region_that_does_not_answer_hides_no_other(run: Run, aws: FakeEventBridge) -> None:
    aws.set_source(EU, ACME, "ACTIVE")
    aws.script({"faults": [{"kind": "operation_disabled", "operation": "*", "region": US}]})
    ran = run("list")

    assert 4 == ran.code
    assert ACME in ran.out
    assert "us: This Region has no partner event sources" in ran.err


def test_status_says_what_a_state_means(run: Run, aws: FakeEventBridge) -> None:
    """Exit 0 only where somebody receives what is sent."""
    aws.set_source(EU, ACME, "PENDING")
    pending = run("status", ACME)
    aws.set_source(EU, ACME, "ACTIVE")

    assert 4 == pending.code
    assert "PENDING: its customer has not associated it" in pending.out
    assert 0 == run("status", ACME).code


def test_delete_shows_its_plan_and_does_it_once(run: Run, aws: FakeEventBridge) -> None:
    aws.set_source(EU, ACME, "ACTIVE")
    plan = run("delete", ACME)

    assert "Nothing was changed" in plan.out
    assert {(EU, ACME): "ACTIVE"} == states(aws)

    assert "Deleted." in run("delete", ACME, "--execute").out
    assert {(EU, ACME): "DELETED"} == states(aws)
    assert (0, True) == ((again := run("delete", ACME, "--execute")).code, "Nothing to delete" in again.out)


def test_sync_adds_and_only_with_prune_removes(run: Run, aws: FakeEventBridge, tmp_path: Path) -> None:
    """The plan first; then as often as one likes."""
    customers = tmp_path / "customers.csv"
    customers.write_text(f"source,account,region\n{ACME},{ACCOUNT},{EU}\n{BLUE},{ACCOUNT},{US}\n")
    aws.set_source(EU, f"{PREFIX}/old", "ACTIVE")
    plan = run("sync", str(customers))

    assert "2 to create, 1 to leave" in plan.out
    assert {(EU, f"{PREFIX}/old"): "ACTIVE"} == states(aws)

    run("sync", str(customers), "--execute")
    assert {(EU, f"{PREFIX}/old"): "ACTIVE", (EU, ACME): "PENDING", (US, BLUE): "PENDING"} == states(aws)

    run("sync", str(customers), "--prune", "--execute")
    assert {(EU, f"{PREFIX}/old"): "DELETED", (EU, ACME): "PENDING", (US, BLUE): "PENDING"} == states(aws)
    assert "2 to keep" in run("sync", str(customers), "--prune").out


def test_a_sync_that_fails_halfway_says_what_is_not_done(
    run: Run, aws: FakeEventBridge, tmp_path: Path
) -> None:
    """And goes on from there the next time."""
    customers = tmp_path / "customers.csv"
    rows = [f"{PREFIX}/customer-{number},{ACCOUNT}" for number in range(5)]
    customers.write_text("\n".join(["source,account", *rows]))
    limit = {
        "kind": "error",
        "code": "LimitExceededException",
        "status": 400,
        "operation": "CreatePartnerEventSource",
    }
    aws.script({"faults": [{**limit, "after": 3}]})
    ran = run("sync", str(customers), "--execute")

    assert (4, True) == (ran.code, "Done: 3 of 5 changes." in ran.out)
    assert f"{PREFIX}/customer-3: The account has as many" in ran.err
    aws.calm()
    assert "Done: 2 of 2 changes." in run("sync", str(customers), "--execute").out
    assert 5 == len(states(aws))


def test_sync_prunes_nothing_that_it_could_not_see_and_not_everything(
    run: Run, aws: FakeEventBridge, tmp_path: Path
) -> None:
    customers = tmp_path / "customers.csv"
    customers.write_text("source,account\n")
    aws.set_source(EU, ACME, "ACTIVE")
    emptied = run("sync", str(customers), "--prune", "--execute")

    assert (2, {(EU, ACME): "ACTIVE"}) == (emptied.code, states(aws))

    customers.write_text(f"source,account,region\n{BLUE},{ACCOUNT},{US}\n")
    aws.script({"faults": [{"kind": "access_denied", "operation": "ListPartnerEventSources", "region": EU}]})
    unseen = run("sync", str(customers), "--prune", "--execute")

    assert 4 == unseen.code
    assert {(EU, ACME): "ACTIVE", (US, BLUE): "PENDING"} == states(aws)


def test_ping_sends_one_marked_event_and_says_whether_anybody_gets_it(run: Run, aws: FakeEventBridge) -> None:
    """For the call with a customer who sees nothing."""
    aws.set_source(EU, ACME, "ACTIVE")
    well = json.loads(run("ping", ACME, "--json").out)
    (event,) = aws.events()

    assert (well["event_id"], "Partner Bridge Ping") == (event.event_id, event.detail_type)
    assert (well["id"], True) == ((detail := json.loads(event.detail))["id"], detail["test"])

    aws.set_source(EU, ACME, "PENDING")
    dropped = run("ping", ACME)
    assert (4, True) == (dropped.code, "answered success and nobody gets it" in dropped.out)
    refused = run("ping", BLUE)
    assert (4, True) == (refused.code, "EventBridge refused it" in refused.out)
