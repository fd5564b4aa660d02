"""Lookups of sources that fail, in every way: nothing is sent to a customer who is not there to get it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connector.model import Json, Position
from connector.sandbox.awsjson import Credential
from connector.sandbox.eventbridge import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from tests.bridge_process import BridgeProcess
from tests.replaying import Replays
from tests.services.child import wait_until
from tests.topics import Sent
from tests.world import NOTES, REGION, World, note

LOOKUP = "ListPartnerEventSourceAccounts"
PREFIX = "aws.partner/example.com/"
BLUE = f"{PREFIX}blue"
SOON: dict[str, Json] = {"refresh_interval": "1s", "lookups_per_second": 50}


@pytest.fixture
def replays(world: World, tmp_path: Path) -> Iterator[Replays]:
    made = Replays(world, tmp_path)
    yield made
    made.close()


def holding(world: World, records: int) -> tuple[BridgeProcess, dict[Position, bytes | None]]:
    """A bridge that holds so many notes of blue, which is PENDING."""
    (partition,) = world.topic("notes")
    world.aws.set_source(REGION, BLUE, "PENDING")
    produced = world.produce([Sent(partition.topic, note(n, tenant="blue"), b"k") for n in range(records)])
    bridge = world.bridge(
        world.settings({partition.topic: {**NOTES, "on_inactive_source": "hold"}}, sources=SOON)
    )
    return bridge, produced


def wait_looked(bridge: BridgeProcess, more: int, **labels: str) -> None:
    """Waits for so many further lookups with this outcome."""
    before = bridge.metric("source_lookups_total", **labels)
    wait_until(
        lambda: bridge.metric("source_lookups_total", **labels) >= before + more,
        what=lambda: f"{more} lookups {labels}\n{bridge.log()}",
    )


# Nothing closed is opened by a failure -----------------------------------------------------------


def test_no_refusal_of_a_lookup_sends_what_is_held(world: World) -> None:
    """Expired, denied, unknown, broken: what was seen PENDING stays closed until a lookup says ACTIVE."""
    bridge, produced = holding(world, 400)
    bridge.start()
    bridge.wait_metric("held_records", 400)
    for code, status in (
        ("ExpiredTokenException", 403),
        ("RequestExpired", 400),
        ("InvalidSignatureException", 403),
        ("UnrecognizedClientException", 403),
        ("AccessDeniedException", 400),
        ("BrandNewException", 400),
        ("InternalException", 500),
    ):
        fault = {"kind": "error", "code": code, "message": "no", "status": status, "operation": LOOKUP}
        world.aws.script({"faults": [fault]})
        wait_looked(bridge, 1, outcome="unavailable" if code[0] in "BI" and code[2] != "v" else "denied")
        assert 1 == bridge.metric("source_state", source=BLUE, state="PENDING")
    assert (0, 0) == (world.aws.counts().accepted, world.aws.counts().dropped)

    world.aws.calm()
    world.aws.set_source(REGION, BLUE, "ACTIVE")
    world.wait_accepted(400)
    bridge.sigterm()

    assert 400 == world.balance(produced, order="key").delivered
    assert 0 == world.aws.counts().dropped


def test_a_customer_who_leaves_in_an_outage_gets_no_event_after_it(world: World) -> None:
    """Both planes are down. What waits is sent once a lookup says that somebody is there to get it."""
    (partition,) = world.topic("notes")
    mapping: dict[str, Json] = {**NOTES, "on_inactive_source": "hold"}
    bridge = world.bridge(world.settings({partition.topic: mapping}, sources=SOON))
    bridge.start()
    produced = world.produce([Sent(partition.topic, note(n, tenant="blue"), b"k") for n in range(20)])
    world.wait_settled([partition])

    world.aws.script({"down": True})
    world.aws.set_source(REGION, BLUE, "PENDING")
    produced |= world.produce([Sent(partition.topic, note(n, tenant="blue"), b"k") for n in range(20, 200)])
    bridge.wait_metric("target_state", 2)
    bridge.wait_metric("held_records", 180)  # what is known of the source is too old by now
    world.aws.script({"down": False})
    bridge.wait_metric("source_state", 1, source=BLUE, state="PENDING")
    assert (20, 0) == (world.aws.counts().accepted, world.aws.counts().dropped)
    world.aws.set_source(REGION, BLUE, "ACTIVE")
    world.wait_settled([partition])
    bridge.sigterm()

    assert 200 == world.balance(produced, order="key").delivered
    assert 0 == world.aws.counts().dropped


# One path for both planes ------------------------------------------------------------------------


class Keys:
    """AWS's shared credentials file with session keys, as somebody rotates them."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world = world
        self.file = folder / "credentials"
        self._known: dict[str, Credential] = {}
        self.number = 0
        self.rotate()

    def rotate(self) -> None:
        """The keys up to now have expired, and new ones are in the file."""
        self.number += 1
        key, secret, token = f"ASIA{self.number}", f"secret-{self.number}", f"token-{self.number}"
        self._known = {each: known._replace(expired=True) for each, known in self._known.items()}
        self._known[key] = Credential(secret, session_token=token)
        self._world.aws.set_credentials(self._known)
        new = self.file.with_suffix(".new")
        new.write_text(
            f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
            f"aws_session_token = {token}\n"
        )
        new.replace(self.file)

    def environ(self) -> dict[str, str]:
        return {
            "AWS_SHARED_CREDENTIALS_FILE": str(self.file),
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def test_lookups_go_on_after_session_keys_were_rotated(world: World, tmp_path: Path) -> None:
    """No event is sent meanwhile that could notice: the lookup renews the credentials itself."""
    keys = Keys(world, tmp_path)
    bridge, produced = holding(world, 20)
    bridge.environ = keys.environ()
    bridge.start()
    bridge.wait_metric("held_records", 20)
    keys.rotate()
    world.aws.set_source(REGION, BLUE, "ACTIVE")
    world.wait_accepted(20)
    bridge.sigterm()

    assert 20 == world.balance(produced).delivered
    assert 0 == bridge_denials(bridge)


def bridge_denials(bridge: BridgeProcess) -> int:
    return len([line for line in bridge.lines() if line.get("event") == "sources_unseen"])


def test_a_wrong_clock_makes_no_lookup_fail(world: World) -> None:
    """Twenty minutes off: the first lookup corrects the clock, and the bridge holds what it must."""
    world.aws.script({"clock_skew_s": -1_200})
    bridge, _ = holding(world, 20)
    bridge.start()
    bridge.wait_metric("held_records", 20)
    bridge.wait_metric("source_state", 1, source=BLUE, state="PENDING")
    bridge.sigterm()

    assert (0, 0, 0) == (world.aws.counts().accepted, world.aws.counts().dropped, bridge_denials(bridge))


def test_whatever_a_source_of_credentials_does_lookups_go_on_once_it_is_well(
    world: World, tmp_path: Path
) -> None:
    """The program is gone, prints no JSON, fails, prints half of it: each is no answer, and asked again."""
    program, offer = tmp_path / "program", tmp_path / "offer"
    known: dict[str, Credential] = {}

    def renew(number: int) -> None:
        for each, credential in known.items():
            known[each] = credential._replace(expired=True)
        known[f"ASIA{number}"] = Credential("secret", session_token="token")
        world.aws.set_credentials(known)
        offer.write_text(
            json.dumps(
                {
                    "Version": 1,
                    "AccessKeyId": f"ASIA{number}",
                    "SecretAccessKey": "secret",
                    "SessionToken": "token",
                    "Expiration": "2199-01-01T00:00:00Z",
                }
            )
        )

    def write(script: str) -> None:
        new = tmp_path / "program.new"
        new.write_text(f"#!/bin/sh\n{script}\n")
        new.chmod(0o700)
        new.replace(program)

    def vanish() -> None:
        program.unlink()

    renew(0)
    write(f"cat {offer}")
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {program}\n")
    bridge, produced = holding(world, 20)
    bridge.environ = {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    bridge.start()
    bridge.wait_metric("held_records", 20)
    ways: list[Callable[[], None]] = [
        vanish,
        lambda: write("echo '<html>It works!</html>'"),
        lambda: write("echo '[1, 2]'"),
        lambda: write("exit 7"),
        lambda: write('echo \'{"Version": 1, "AccessKeyId": 5}\''),
    ]
    for number, fails in enumerate(ways, 1):
        fails()
        renew(number)
        wait_looked(bridge, 1, outcome="unavailable")
        write(f"cat {offer}")
        wait_looked(bridge, 1, outcome="ok")
    assert (0, 0) == (world.aws.counts().accepted, world.aws.counts().dropped)
    world.aws.set_source(REGION, BLUE, "ACTIVE")
    world.wait_accepted(20)
    bridge.sigterm()

    assert 20 == world.balance(produced).delivered


# Odd credentials ---------------------------------------------------------------------------------


def test_a_session_token_that_ends_in_a_line_break_is_signed_with(world: World) -> None:
    """As a secret has it that was written with `echo`."""
    world.aws.set_credentials({ACCESS_KEY_ID: Credential(SECRET_ACCESS_KEY, session_token="token")})
    (partition,) = world.topic("notes")
    world.produce([Sent(partition.topic, note(n)) for n in range(10)])
    bridge = world.bridge(world.settings({partition.topic: NOTES}))
    bridge.environ |= {"AWS_SESSION_TOKEN": "token\n", "AWS_ACCESS_KEY_ID": f" {ACCESS_KEY_ID}\r\n"}
    bridge.start()
    world.wait_settled([partition])
    bridge.sigterm()

    assert 10 == world.aws.counts().accepted


def test_a_session_token_that_no_request_can_carry_halts_and_is_named(world: World) -> None:
    """With what kind of character it holds, and without its value; nothing was asked of anybody."""
    (partition,) = world.topic("notes")
    world.produce([Sent(partition.topic, note(0))])
    bridge = world.bridge(world.settings({partition.topic: NOTES}))
    bridge.environ |= {"AWS_SESSION_TOKEN": "tok\u200ben"}
    bridge.start(ready=False)

    assert 3 == bridge.wait_exit()
    assert "The AWS session token holds an invisible character" in bridge.log()
    assert "tok" not in bridge.log().replace("token", "")
    assert {} == world.aws.counts().requests


# Replay ------------------------------------------------------------------------------------------


def test_a_replay_sends_nothing_unseen_though_lookups_are_throttled(replays: Replays) -> None:
    """Sixty letters of sixty customers who did not accept, and a control plane that is busy."""
    aws, customers = replays.world.aws, 60
    for n in range(customers):
        aws.set_source(REGION, f"{PREFIX}late-{n}", "PENDING")
    replays.settings["sources"] = {"lookups_per_second": 50}
    replays.write(replays.letter(n, value=note(n, tenant=f"late-{n}")) for n in range(customers))
    aws.script({"control_rate": {"requests_per_second": 20}})

    plan = replays.run(code=4)
    assert f"Left open: {customers} letters: its source is PENDING" in plan

    executed = replays.execute(code=4)
    assert f"Left open: {customers} letters: its source is PENDING" in executed
    assert "letters wait for lookups of their sources" in executed
    assert 0 < aws.counts().faults["rate"]
    assert (0, 0) == (aws.counts().accepted, aws.counts().dropped)
    assert [] == replays.states()


def test_failed_lookups_are_no_reason_to_send(replays: Replays) -> None:
    """The first three come to nothing, each in its own way; two hundred letters wait for the fourth."""
    aws = replays.world.aws
    aws.set_source(REGION, BLUE, "PENDING")
    replays.settings["eventbridge"]["timeouts"] = {"connect": "1s", "read": "1s"}
    replays.write(replays.letter(n, value=note(n, tenant="blue")) for n in range(200))
    faults: list[dict[str, Json]] = [{"kind": "throttle"}, {"kind": "internal_error"}, {"kind": "hang"}]
    aws.script({"faults": [{**fault, "operation": LOOKUP, "times": 1} for fault in faults]})

    assert "Left open: 200 letters: its source is PENDING" in replays.execute(code=4)
    assert {"throttle": 1, "internal_error": 1, "hang": 1} == aws.counts().faults
    assert (0, 0) == (aws.counts().accepted, aws.counts().dropped)


def test_a_replay_leaves_letters_open_where_nothing_can_be_looked_up(replays: Replays) -> None:
    """Both say why, and agree: what the plan says, and what is done."""
    aws = replays.world.aws
    replays.settings["sources"] = {"first_lookup_timeout": "2s"}
    replays.write(replays.letter(n) for n in range(20))
    replays.write(replays.letter(20 + n, code="source_inactive") for n in range(10))
    aws.script({"faults": [{"kind": "unavailable", "operation": LOOKUP}]})
    unseen = "Left open: 30 letters: its source is UNKNOWN: no lookup of it was answered in time"

    assert unseen in replays.run(code=4)
    assert unseen in replays.execute(code=4)
    assert 0 == aws.counts().accepted

    aws.script({"faults": [{"kind": "access_denied", "operation": LOOKUP}]})
    closed = "Left open: 10 letters: its source was not ACTIVE when it was written"
    plan, executed = replays.run(code=4), replays.execute(code=4)
    assert closed in plan
    assert closed in executed
    assert 1 == plan.count("Of these, 20 would be sent without a lookup of their source")
    assert 1 == executed.count("Of these, 20 delivered without a lookup of their source")
    assert (20, 0) == (aws.counts().accepted, aws.counts().dropped)


def test_a_customer_who_leaves_in_an_outage_gets_no_letter_after_it(replays: Replays) -> None:
    """Both planes are down; hundreds of letters were taken when the source was ACTIVE."""
    aws = replays.world.aws
    aws.set_source(REGION, BLUE, "ACTIVE")
    replays.settings["sources"] = SOON
    replays.settings["eventbridge"] |= {"max_in_flight": 1}
    replays.write(replays.letter(n, value=note(n, tenant="blue")) for n in range(900))
    aws.script({"latency_ms": 100})
    child = replays.start("--execute", "--rate", "0")
    replays.wait_accepted(100, child)
    aws.script({"down": True})
    aws.set_source(REGION, BLUE, "PENDING")
    accepted = aws.counts().accepted
    over_s = time.monotonic() + 4
    wait_until(lambda: time.monotonic() > over_s, what="the outage is over")
    aws.script({"down": False})

    assert 4 == child.wait(timeout_s=60), child.tail()
    assert "its source is PENDING" in child.output()
    assert (accepted, 0) == (aws.counts().accepted, aws.counts().dropped)
    assert len(replays.resolutions()) in range(accepted - 20, accepted + 1)
