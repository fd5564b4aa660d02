"""`check` builds its targets without connecting: each mistake is said, with its place and what to write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest

from tests.terminal import Terminal

SECRET = "pa55wOrd"
ROLE = "role_arn = arn:aws:iam::123456789012:role/x\n"
DEVICE = "mfa_serial = arn:aws:iam::123456789012:mfa/ann\n"
ESCAPED = "in its user name and password write / as %2F, @ as %40"


OTHERS = """
kafka: {bootstrap.servers: "localhost:9092", group.id: orders}
dead_letter: {topic: orders.dlt}
topics:
  orders:
    value: {format: json}
    event: {source: aws.partner/example.com/a, detail_type: Order}
"""


class Mistake(NamedTuple):
    """What somebody set, and where `check` says that it is, which rule it breaks, and what to do."""

    path: str
    rule: str
    advice: str = ""
    settings: str = ""
    """Lines under `eventbridge`, from line 3 on, or from line 2 where they begin with the Region."""
    environ: Mapping[str, str] = MappingProxyType({})
    aws_config: str = ""


def proxy(path: str, value: str, rule: str, advice: str = "") -> Mistake:
    return Mistake(path, rule, advice, environ={path: value})


MISTAKES = {
    "a profile of ours that does not exist": Mistake(
        "eventbridge.profile",
        "there is no profile wrok in",
        "did you mean 'work'? (line 3)",
        settings="profile: wrok",
        aws_config="[profile work]\n",
    ),
    "a profile of the environment that does not exist": Mistake(
        "AWS_PROFILE",
        "there is no profile nobody in",
        "known: work",
        environ={"AWS_PROFILE": "nobody"},
        aws_config="[profile work]\n",
    ),
    "boto3's older variable comes first": Mistake(
        "AWS_DEFAULT_PROFILE",
        "there is no profile nobody in",
        environ={"AWS_DEFAULT_PROFILE": "nobody", "AWS_PROFILE": "other"},
    ),
    "a configuration file of AWS that is none": Mistake(
        "/config",
        "cannot be read as a configuration file of AWS from line 2 on",
        "[sections] of `key = value`",
        aws_config=f"[default]\naws_secret_access_key {SECRET}\n",
    ),
    "a key of AWS's configuration file before any section": Mistake(
        "/config",
        "cannot be read as a configuration file of AWS from line 1 on",
        "[sections] of `key = value`",
        aws_config=f"aws_secret_access_key = {SECRET}\n",
    ),
    "a section of services that does not exist": Mistake(
        "services of AWS profile default",
        "there is no section [services locl] in",
        "did you mean 'local'?",
        aws_config="[default]\nservices = locl\n[services local]\neventbridge =\n  endpoint_url = https://x\n",
    ),
    "a profile that asks for a code": Mistake(
        "AWS_PROFILE",
        "AWS profile ops has an mfa_serial",
        "use a role that needs none",
        environ={"AWS_PROFILE": "ops"},
        aws_config=f"[profile ops]\n{ROLE}source_profile = base\n{DEVICE}[profile base]\n",
    ),
    "a profile whose source asks for a code": Mistake(
        "eventbridge.profile",
        "AWS profile middle has an mfa_serial",
        "use a role that needs none (line 3)",
        settings="profile: ops",
        environ={"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": SECRET},
        aws_config=f"[profile ops]\n{ROLE}source_profile = middle\n"
        f"[profile middle]\n{ROLE}source_profile = base\n{DEVICE}[profile base]\n",
    ),
    "CAs of ours that are not there": Mistake(
        "eventbridge.ca_bundle",
        "none.pem cannot be used as a PEM file of CAs: No such file",
        "(line 3)",
        settings="ca_bundle: none.pem",
    ),
    "CAs of the environment that are not there": Mistake(
        "AWS_CA_BUNDLE",
        "/none.pem cannot be used as a PEM file of CAs: No such file",
        environ={"AWS_CA_BUNDLE": "/none.pem"},
    ),
    "CAs of the environment that are none": Mistake(
        "REQUESTS_CA_BUNDLE",
        "config cannot be used as a PEM file of CAs: it holds no certificate",
        environ={"REQUESTS_CA_BUNDLE": "config"},
        aws_config="[default]\n",
    ),
    "CAs of a profile that are not there": Mistake(
        "ca_bundle of AWS profile default",
        "/none.pem cannot be used as a PEM file of CAs",
        aws_config="[default]\nca_bundle = /none.pem\n",
    ),
    "an endpoint in the clear by environment": Mistake(
        "AWS_ENDPOINT_URL",
        "http:// would send events in the clear",
        "use https://, or set eventbridge.allow_insecure: true",
        environ={"AWS_ENDPOINT_URL": "http://events.example.com"},
    ),
    "an endpoint in the clear by service": Mistake(
        "endpoint_url of AWS services section local",
        "http:// would send events in the clear",
        "use https://",
        aws_config="[default]\nservices = local\n[services local]\neventbridge =\n  endpoint_url = http://events.example.com\n",
    ),
    "an endpoint that is no URL": Mistake(
        "AWS_ENDPOINT_URL_EVENTBRIDGE",
        "its URL begins neither with http:// nor with https://",
        environ={"AWS_ENDPOINT_URL_EVENTBRIDGE": "events.example.com"},
    ),
    "an endpoint with a bracket": Mistake(
        "AWS_ENDPOINT_URL",
        "its URL cannot be read",
        environ={"AWS_ENDPOINT_URL": "https://[events.example.com"},
    ),
    "an endpoint with a password": Mistake(
        "AWS_ENDPOINT_URL",
        "its URL must hold no user name, password",
        environ={"AWS_ENDPOINT_URL": f"https://ann:{SECRET}@events.example.com"},
    ),
    "a flag that boto3 would take for false": Mistake(
        "AWS_USE_FIPS_ENDPOINT",
        "must be true or false",
        environ={"AWS_USE_FIPS_ENDPOINT": "1"},
    ),
    "a flag of ours that is none": Mistake(
        "eventbridge.use_fips",
        "must be true or false",
        "(line 3)",
        settings="use_fips: 2",
    ),
    "a flag of a profile": Mistake(
        "use_dualstack_endpoint of AWS profile default",
        "must be true or false",
        aws_config="[default]\nuse_dualstack_endpoint = yes\n",
    ),
    "a Region that is misspelt": Mistake(
        "eventbridge.region",
        "AWS has no Region eu-centrl-1",
        "did you mean 'eu-central-1'? (line 2)",
        settings="region: eu-centrl-1",
    ),
    "a Region that is misspelt, beside an endpoint": Mistake(
        "eventbridge.region",
        "AWS has no Region us-eats-1",
        "did you mean 'us-east-1'? (line 2)",
        settings="region: us-eats-1\nendpoint_url: http://localhost:4566",
    ),
    "a proxy with a / in its password": proxy(
        "HTTPS_PROXY", f"http://ann:{SECRET}/x@proxy:3128", "its URL cannot be read", ESCAPED
    ),
    "a proxy with a / in its user name": proxy(
        "HTTPS_PROXY", f"http://{SECRET}/x:y@proxy:3128", "a character before the @ must be escaped", ESCAPED
    ),
    "a proxy with a number before the /": proxy(
        "HTTPS_PROXY", "http://ann:12/34@proxy:3128", "a character before the @ must be escaped", ESCAPED
    ),
    "a proxy with a # in its password": proxy(
        "https_proxy", f"http://ann:{SECRET}#x@proxy:3128", "its URL cannot be read", ESCAPED
    ),
    "a proxy with a [ in its password": proxy(
        "HTTPS_PROXY", f"http://ann:{SECRET}[x@proxy:3128", "its URL cannot be read", ESCAPED
    ),
    "a proxy with a space in its password": proxy(
        "HTTPS_PROXY", f"http://ann:{SECRET} x@proxy:3128", "its URL holds a space", ESCAPED
    ),
    "a proxy with a letter in its password that is not ASCII": proxy(
        "HTTPS_PROXY",
        f"http://ann:{SECRET}é@proxy:3128",
        "its URL holds a character that is not ASCII",
        ESCAPED,
    ),
    "a proxy with an invisible character": proxy(
        "HTTPS_PROXY", "http://pro\u200bxy:3128", "its URL holds an invisible character"
    ),
    "a proxy whose port is none": proxy(
        "HTTPS_PROXY", f"http://ann:{SECRET}@proxy:80a", "its port is no number up to 65535"
    ),
    "a proxy of SOCKS": proxy(
        "HTTPS_PROXY",
        f"socks5://ann:{SECRET}@proxy:1080",
        "its URL begins neither with http:// nor with https://",
    ),
    "a proxy of SOCKS in lower case": proxy(
        "https_proxy", "socks5h://proxy:1080", "its URL begins neither with http:// nor with https://"
    ),
    "a proxy without a host": proxy("HTTPS_PROXY", "http://", "its URL names no host"),
    "a proxy for an endpoint without TLS": Mistake(
        "http_proxy",
        "its URL begins neither with http:// nor with https://",
        settings="endpoint_url: http://127.0.0.1:4566",
        environ={"http_proxy": "socks5://proxy:1080"},
    ),
}


def write(folder: Path, mistake: Mistake) -> Mapping[str, str]:
    """Write `bridge.yaml` and AWS's configuration file; returns the environment that belongs to them."""
    lines = mistake.settings.splitlines()
    if not mistake.settings.startswith("region:"):
        lines.insert(0, "region: eu-central-1")
    under = "".join(f"  {line}\n" for line in lines)
    (folder / "bridge.yaml").write_text(f"eventbridge:\n{under}{OTHERS}", "utf-8")
    (folder / "config").write_text(mistake.aws_config, "utf-8")
    return mistake.environ


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_each_mistake_about_a_target_is_said(
    terminal: Terminal, folder: Path, monkeypatch: pytest.MonkeyPatch, mistake: Mistake
) -> None:
    """The one problem there is, at the setting or variable that is wrong, without the value of a secret."""
    for name, value in write(folder, mistake).items():
        monkeypatch.setenv(name, value)
    ran = terminal.run("check")

    assert (2, "") == (ran.code, ran.out)
    (said,) = ran.err.splitlines()[1:]
    path, _, text = said.strip().removeprefix("1. ").partition(": ")
    assert path.endswith(mistake.path)
    assert mistake.rule in text
    assert mistake.advice in text
    assert SECRET not in ran.err


def test_mistakes_about_targets_are_said_together_with_all_others(
    terminal: Terminal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run shows them all, for each target, and once what is wrong for every target."""
    write(folder, Mistake("", ""))
    with (folder / "bridge.yaml").open("a") as file:
        file.write("    tombstones: no\ntargets:\n  us: {region: us-eats-1, ca_bundle: none.pem}\n")
    for name, value in (
        ("AWS_PROFILE", "nobody"),
        ("AWS_ENDPOINT_URL", "http://events.example.com"),
        ("HTTPS_PROXY", f"http://ann:{SECRET}/x@proxy:3128"),
    ):
        monkeypatch.setenv(name, value)
    ran = terminal.run("check")

    assert 2 == ran.code
    assert sorted(line.split(". ", 1)[1].split(": ")[0] for line in ran.err.splitlines()[1:]) == [
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL",
        "AWS_PROFILE",
        "HTTPS_PROXY",
        "targets.us.ca_bundle",
        "targets.us.region",
        "topics.orders.tombstones",
    ]
    assert "set targets.us.allow_insecure: true" in ran.err


def test_keys_of_the_environment_come_before_a_profile_that_asks_for_a_code(
    terminal: Terminal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 never comes to the profile then, so nobody is asked anything."""
    mistake = MISTAKES["a profile that asks for a code"]
    for name, value in write(folder, mistake).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)

    assert 0 == terminal.run("check").code


def test_check_shows_what_is_in_force_and_who_said_so(
    terminal: Terminal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Endpoint, FIPS, dual stack, proxy and CAs, each with what decided it."""
    write(
        folder,
        Mistake("", "", settings="use_dualstack: true", aws_config="[default]\nuse_fips_endpoint = true\n"),
    )
    monkeypatch.setenv("HTTPS_PROXY", f"http://ann:{SECRET}@proxy:3128")
    plain = json.loads(terminal.run("check", "--json").out)["plan"]["EventBridge"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://events.eu-west-1.amazonaws.com")
    monkeypatch.setenv("NO_PROXY", "*")
    ran = terminal.run("check", "--json")
    given = json.loads(ran.out)["plan"]

    assert {
        "region": "eu-central-1",
        "endpoint": "https://events-fips.eu-central-1.api.aws/, the Region's own",
        "FIPS": "yes (use_fips_endpoint of AWS profile default)",
        "dual-stack": "yes (eventbridge.use_dualstack)",
        "proxy": "http://proxy:3128, with a user name (HTTPS_PROXY)",
        "CAs": "boto3's own",
        "credentials": "the usual chain of AWS credentials",
    } == plain
    assert {
        "endpoint": "https://events.eu-west-1.amazonaws.com/ (AWS_ENDPOINT_URL)",
        "FIPS": "as AWS_ENDPOINT_URL says",
        "proxy": "not for this endpoint (NO_PROXY)",
    }.items() <= given["EventBridge"].items()
    assert ["AWS_ENDPOINT_URL", "eventbridge.use_dualstack", "use_fips_endpoint of AWS profile default"] == (
        sorted(given["warnings"])
    )
    assert (0, SECRET in ran.out) == (ran.code, False)
