"""`partner-bridge source handover` against the fake of EventBridge, and where nothing answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from connector.cli import handover
from connector.sandbox.eventbridge import FakeEventBridge
from tests.aws_environment import clear_aws
from tests.handovers import calls, patterns
from tests.terminal import Ran, Terminal

ACME = "aws.partner/example.com/acme"
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
    """Types `partner-bridge source …` with two targets and two topics."""
    monkeypatch.setattr(handover, "PATIENCE_S", 0.0)
    file = tmp_path / "bridge.yaml"
    file.write_text(
        f"""
kafka: {{bootstrap.servers: localhost:1, group.id: test}}
schema_registry: {{url: "http://127.0.0.1:1"}}
eventbridge: {{region: {EU}, endpoint_url: "{aws.url}"}}
targets:
  us: {{region: {US}, endpoint_url: "{aws.url}"}}
dead_letter: {{topic: dlt}}
topics:
  orders:
    value: {{format: json}}
    event: {{source: "aws.partner/example.com/${{value.tenant}}", detail_type: 'Order "new" \\${{x}}'}}
  avro:
    event: {{source: "aws.partner/example.com/${{value.tenant}}", detail_type: "${{value.kind}} happened"}}
"""
    )
    terminal = Terminal(capsys)
    return lambda *arguments: terminal.run("source", *arguments, "--config", str(file))


def test_what_is_known_of_the_offer_is_in_it(run: Run, tmp_path: Path) -> None:
    """Account, Region, and when it expires; the script refuses to run elsewhere."""
    run("create", ACME, "--account", ACCOUNT, "--region", US)
    ran = run("handover", ACME, "--topic", "orders")
    script = run("handover", ACME, "--topic", "orders", "--as", "cli")

    assert (0, 0) == (ran.code, script.code)
    assert f"in AWS account {ACCOUNT}, Region {US}" in ran.out
    assert "The source was offered on 2" in ran.out
    assert "and expires on 2" in " ".join(ran.out.split())
    assert "" == script.err
    assert [] == [complaint for call in calls(script.out, tmp_path) for complaint in call.complaints]


def test_the_bucket_of_a_claim_check_is_ours_to_open(run: Run, tmp_path: Path) -> None:
    """To the customer's account, and for their objects alone; it is said to us, and not in what they run."""
    file = tmp_path / "bridge.yaml"
    region = f"region: {EU}"
    file.write_text(
        file.read_text().replace(region, f"{region}, claim_check: {{bucket: large, prefix: v1}}", 1)
    )
    run("create", ACME, "--account", ACCOUNT)
    ran = run("handover", ACME, "--topic", "orders", "--as", "cli")
    said = " ".join(ran.err.split())
    statement = {
        "Effect": "Allow",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::large/v1/{ACME}/*",
        "Principal": {"AWS": ACCOUNT},
    }

    assert f"the policy of the bucket large needs {json.dumps(statement)}" in said
    assert "Principal" not in ran.out.split("put-resource-policy")[0]
    assert [] == [complaint for call in calls(ran.out, tmp_path) for complaint in call.complaints]


@pytest.mark.parametrize(
    ("kms_key_id", "to_fill_in"),
    [
        ("arn:aws:kms:eu-central-1:111122223333:key/1", None),
        ("1234-ab", f"arn:aws:kms:{EU}:KEY_ACCOUNT:key/1234-ab"),
        ("alias/large", f"arn:aws:kms:{EU}:KEY_ACCOUNT:key/KEY"),
    ],
)
def test_the_policy_of_a_key_is_said_whole(
    run: Run, tmp_path: Path, kms_key_id: str, to_fill_in: str | None
) -> None:
    """In it a statement is about the key that has it. What we have to complete for the customer is said."""
    file = tmp_path / "bridge.yaml"
    region = f"region: {EU}"
    claim_check = f"claim_check: {{bucket: large, kms_key_id: '{kms_key_id}'}}"
    file.write_text(file.read_text().replace(region, f"{region}, {claim_check}", 1))
    run("create", ACME, "--account", ACCOUNT)
    ran = run("handover", ACME, "--topic", "orders", "--as", "cli")
    said = " ".join(ran.err.split())
    statement = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*", "Principal": {"AWS": ACCOUNT}}

    assert f"the policy of its KMS key needs {json.dumps(statement)}" in said
    assert (to_fill_in is not None) == ("before you hand it over" in said)
    assert (to_fill_in or kms_key_id) in ran.out
    assert to_fill_in is None or to_fill_in in said


@pytest.mark.parametrize("form", ["text", "cli", "terraform", "cloudformation"])
def test_every_form_has_the_pattern_of_the_topics(run: Run, form: str, tmp_path: Path) -> None:
    """Texts of the configuration to the letter, and the detail type of the test event."""
    run("create", ACME, "--account", ACCOUNT)
    written = run("handover", ACME, "--as", form).out

    assert {
        "source": [ACME],
        "detail-type": ['Order "new" ${x}', {"suffix": " happened"}, "Partner Bridge Ping"],
    } == patterns(form, written, tmp_path)


def test_it_works_where_nothing_answers(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither EventBridge nor the registry is needed; what is missing is told on stderr."""
    clear_aws(monkeypatch, tmp_path)
    ran = run("handover", ACME, "--as", "terraform")

    assert 0 == ran.code
    assert 'resource "aws_cloudwatch_event_bus"' in ran.out
    assert "the source cannot be looked up, so when it expires is not known" in ran.err
    assert "topics.avro.value: " in ran.err
    assert "Detail types are known as far as the mapping says them" in ran.err
    assert "Accept it within 7 days" in ran.out


def test_a_source_that_does_not_exist_is_told(run: Run) -> None:
    """There is nothing to accept yet; what to do then is written all the same."""
    ran = run("handover", ACME, "--topic", "orders", "--target", "us")

    assert 0 == ran.code
    assert f"there is no source {ACME} in {US} now; offer it with `partner-bridge source create`" in ran.err
    assert f"Region {US}" in ran.out


def test_a_source_that_no_topic_has_gets_whatever_comes(run: Run, tmp_path: Path) -> None:
    written = run("handover", "aws.partner/example.net/acme", "--as", "cli")

    assert {"source": ["aws.partner/example.net/acme"]} == patterns("cli", written.out, tmp_path)
    assert "no topic has events of aws.partner/example.net/acme" in written.err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("acme",), "is not a source's name"),
        ((ACME, "--topic", "order"), "did you mean 'orders'?"),
        (("aws.partner/example.net/acme", "--topic", "orders"), "is not a source of orders, whose"),
        ((ACME, "--as", "pulumi"), "'pulumi' is not one of"),
        ((ACME, "--target", "mars"), "known: default, us"),
        ((ACME, "--region", "mars"), "mars is not a Region"),
    ],
)
def test_what_cannot_be_meant_is_exit_2(run: Run, arguments: tuple[str, ...], problem: str) -> None:
    ran = run("handover", *arguments)

    assert 2 == ran.code
    assert problem in " ".join(ran.err.replace("│", " ").split())
    assert "" == ran.out


def test_stdout_is_a_file(run: Run, tmp_path: Path) -> None:
    """What is said besides goes to stderr."""
    out = run("handover", ACME, "--topic", "orders", "--as", "cloudformation").out

    assert f"# Receives the events of {ACME}" == out.splitlines()[0]
    assert out.endswith("\n")
    assert "note:" not in out
