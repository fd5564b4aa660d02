"""Credentials by boto3's chain: found and renewed off the loop, once for all who wait."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import itertools
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from connector import config
from connector.errors import NotAuthorizedError, UnavailableError
from connector.eventbridge import credentials
from connector.eventbridge.client import Publisher
from connector.eventbridge.credentials import CredentialProvider
from connector.eventbridge.signer import Signer
from connector.model import Answer
from tests.aws_environment import clear_aws
from tests.endpoint import Endpoint, Play, Proxy, answer
from tests.services.certificates import Authority

DEADLINE_S = 5.0
ROLE = "arn:aws:iam::123456789012:role/partner-bridge"


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment in which no credentials can be found."""
    clear_aws(monkeypatch, tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return monkeypatch


def signers(*, step_s: float = 60.0, **settings: Any) -> CredentialProvider:
    """Whose clock moves by a step whenever it is read."""
    target = config.Target(region="eu-central-1", **settings)
    url = "https://events.eu-central-1.amazonaws.com/"
    return CredentialProvider(target, url=url, clock=itertools.count(0, step_s).__next__)


async def until(ask: Callable[[], Awaitable[object]], expected: object) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while await ask() != expected:  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.005)


class Source:
    """Where credentials come from: a `credential_process` of AWS's configuration, read from a file."""

    def __init__(self, folder: Path) -> None:
        self._offer = folder / "offer.json"
        self._asked = folder / "asked"
        process = self._process = folder / "process"
        self._hang = folder / "hang"
        # It hangs until it is released, and for 20 s if nobody does.
        process.write_text(f"""#!/bin/sh
echo >> {self._asked}
hang={self._hang}-$(wc -l < {self._asked}) left=400
while [ -e "$hang" ] && [ $left -gt 0 ]; do sleep 0.05; left=$((left - 1)); done
cat {self._offer}
""")
        process.chmod(0o700)
        (folder / "config").write_text(f"[default]\ncredential_process = {process}\n")

    def offer(self, key: str, *, minutes: float) -> None:
        expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)
        offer = {
            "Version": 1,
            "AccessKeyId": key,
            "SecretAccessKey": "secret",
            "SessionToken": f"token-of-{key}",
        }
        self._offer.write_text(json.dumps(offer | {"Expiration": expires.isoformat()}))
        if (away := self._process.with_suffix(".away")).exists():
            away.rename(self._process)

    def fail(self) -> None:
        self._offer.unlink()

    def print(self, text: str | None) -> None:
        """Print this instead of credentials; None for no such program."""
        if text is None:
            self._process.rename(self._process.with_suffix(".away"))
        else:
            self._offer.write_text(text)

    def hang(self, *runs: int) -> None:
        """Do not answer when run for the nth time, until released."""
        for run in runs:
            self._hang.with_name(f"hang-{run}").touch()

    def release(self, *runs: int) -> None:
        for run in runs:
            self._hang.with_name(f"hang-{run}").unlink(missing_ok=True)

    @property
    def asked(self) -> int:
        """How often the process was run."""
        return len(self._asked.read_text()) if self._asked.exists() else 0


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    made = Source(tmp_path)
    yield made
    made.release(*range(10))


async def key_of(one: CredentialProvider) -> str:
    return (await one.current()).access_key


def test_credentials_are_looked_up_once_for_all_who_wait(source: Source) -> None:
    """Sixteen first requests make one look-up, and sign with what it found."""
    source.offer("AKIDONE", minutes=60)

    async def run() -> list[Signer]:
        one = signers()
        return await asyncio.gather(*[one.current() for _ in range(16)])

    got = asyncio.run(run())

    assert {"AKIDONE"} == {signer.access_key for signer in got}
    assert "token-of-AKIDONE" == got[0].headers(b"", 0)["X-Amz-Security-Token"]
    assert 1 == source.asked


def test_credentials_are_found_before_the_first_event(source: Source) -> None:
    """A start looks for them while it waits for Kafka; an event meanwhile makes no second look-up."""
    source.offer("AKIDONE", minutes=60)

    async def run() -> None:
        publisher = Publisher(config.Target(region="eu-central-1", endpoint_url="http://127.0.0.1:1"))
        await asyncio.gather(publisher.find_credentials(), publisher.publish(()))

    asyncio.run(run())

    assert 1 == source.asked


def test_a_start_without_credentials_goes_on() -> None:
    """The first event says what is wrong, and whether to stop for it."""

    async def run() -> Answer:
        publisher = Publisher(config.Target(region="eu-central-1", endpoint_url="http://127.0.0.1:1"))
        await publisher.find_credentials()
        return await publisher.publish(())

    assert isinstance(asyncio.run(run()).error, NotAuthorizedError)


def test_credentials_are_renewed_behind_the_scenes_before_they_expire(source: Source) -> None:
    """While the old ones are good nobody waits for the new ones; boto renews in the last 15 minutes."""
    source.offer("AKIDOLD", minutes=14)

    async def run() -> str:
        one = signers()
        await one.current()
        source.offer("AKIDNEW", minutes=60)
        first = await key_of(one)
        await until(lambda: key_of(one), "AKIDNEW")
        return first

    assert "AKIDOLD" == asyncio.run(run())


def test_a_failed_renewal_goes_unnoticed_while_the_old_credentials_are_good(source: Source) -> None:
    """A source of credentials that is down for minutes must not stop the bridge."""
    source.offer("AKIDOLD", minutes=5)

    async def run() -> str:
        one = signers()
        await one.current()
        source.fail()
        asked = source.asked

        async def was_asked() -> bool:
            await one.current()
            return source.asked > asked

        await until(was_asked, expected=True)
        return await key_of(one)

    assert "AKIDOLD" == asyncio.run(run())


def test_expired_credentials_are_not_used_while_new_ones_cannot_be_had(source: Source) -> None:
    """A refusal for expired credentials would stop the bridge; a source that is down must not."""
    source.offer("AKIDOLD", minutes=0.4)

    async def run() -> str:
        one = signers(step_s=0)
        await one.current()
        source.fail()
        for _ in range(3):
            with pytest.raises(UnavailableError) as caught:
                await one.current()
            assert "credentials" == caught.value.code
        source.offer("AKIDNEW", minutes=60)
        return await key_of(one)

    assert "AKIDNEW" == asyncio.run(run())


def test_refused_credentials_are_replaced_once_for_all_who_were_refused(source: Source) -> None:
    """Requests that were refused together share one look-up, and a late one takes what it found."""
    source.offer("AKIDOLD", minutes=60)

    async def run() -> list[Signer]:
        one = signers()
        refused = await one.current()
        source.offer("AKIDNEW", minutes=60)
        together = await asyncio.gather(*[one.replace(refused) for _ in range(8)])
        return [*together, await one.replace(refused)]

    assert {"AKIDNEW"} == {signer.access_key for signer in asyncio.run(run())}
    assert 2 == source.asked


def test_a_cancelled_request_does_not_take_the_look_up_from_the_others(source: Source) -> None:
    """A request that runs out of time was not the only one to wait."""
    source.offer("AKIDONE", minutes=60)

    async def run() -> str:
        one = signers()
        first = asyncio.create_task(one.current())
        second = asyncio.create_task(key_of(one))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert "AKIDONE" == asyncio.run(run())


def test_a_source_that_is_down_at_start_is_waited_for(source: Source) -> None:
    """Where credentials ought to come from is known, so their absence is an outage."""

    async def run() -> str:
        one = signers()
        with pytest.raises(UnavailableError):
            await one.current()
        source.offer("AKIDONE", minutes=60)
        return await key_of(one)

    assert "AKIDONE" == asyncio.run(run())


LIMIT_S = 0.4


async def key_or_none(one: CredentialProvider) -> str | None:
    with contextlib.suppress(UnavailableError):
        return await key_of(one)
    return None


def test_a_source_that_hangs_is_an_outage_and_asked_again(aws: pytest.MonkeyPatch, source: Source) -> None:
    """Whoever waits is told where to look, and a later request finds what was mended meanwhile."""
    aws.setattr(credentials, "LOOK_UP_LIMIT_S", LIMIT_S)
    source.offer("AKIDONE", minutes=60)
    source.hang(1)

    async def run() -> UnavailableError:
        one = signers()
        async with asyncio.timeout(DEADLINE_S):
            with pytest.raises(UnavailableError) as caught:
                await one.current()
        await until(lambda: key_or_none(one), "AKIDONE")
        return caught.value

    error = asyncio.run(run())

    assert "credentials" == error.code
    assert "credential_process" in str(error)


def test_credentials_are_awaited_while_nothing_can_be_signed_without(source: Source) -> None:
    """So that it is said whom requests wait for."""
    source.offer("AKIDONE", minutes=60)
    source.hang(1)

    async def run() -> list[bool]:
        one = signers()
        seen = [one.are_awaited]
        waiting = asyncio.create_task(one.current())
        await asyncio.sleep(0)
        seen.append(one.are_awaited)
        source.release(1)
        await waiting
        return [*seen, one.are_awaited]

    assert [False, True, False] == asyncio.run(run())


def test_only_so_many_look_ups_hang_and_what_a_late_one_finds_is_used(
    aws: pytest.MonkeyPatch, source: Source
) -> None:
    """Each costs a thread and a process, so that no other is started beside three of them."""
    aws.setattr(credentials, "LOOK_UP_LIMIT_S", LIMIT_S)
    source.offer("AKIDLATE", minutes=60)
    source.hang(1, 2, 3, 4)

    async def run() -> None:
        one = signers()
        for _ in range(3):
            with pytest.raises(UnavailableError, match="has not ended"):
                await one.current()
        with pytest.raises(UnavailableError, match="3 look-ups of them hang"):
            await one.current()
        source.release(1)
        await until(lambda: key_or_none(one), "AKIDLATE")

    asyncio.run(run())

    assert 3 == source.asked


def test_nobody_waits_for_a_source_that_hangs_while_the_credentials_are_good(
    aws: pytest.MonkeyPatch, source: Source
) -> None:
    """One look-up hangs behind the scenes, and no second one is started beside it."""
    source.offer("AKIDOLD", minutes=10)

    async def run() -> tuple[set[str], float]:
        one = signers()
        await one.current()
        found = source.asked  # more than once: boto renews at once what expires soon
        source.hang(found + 1)
        aws.setattr(credentials, "LOOK_UP_LIMIT_S", LIMIT_S)

        async def asked() -> int:
            await one.current()
            return source.asked

        await until(asked, found + 1)
        keys, longest_s = set(), 0.0
        ends_s = time.monotonic() + 3 * LIMIT_S
        while (began_s := time.monotonic()) < ends_s:
            keys.add(await key_of(one))
            assert not one.are_awaited
            longest_s = max(longest_s, time.monotonic() - began_s)
            await asyncio.sleep(0.01)
        assert found + 1 == source.asked
        return keys, longest_s

    keys, longest_s = asyncio.run(run())

    assert {"AKIDOLD"} == keys
    assert longest_s < LIMIT_S / 2


def test_a_pod_identity_is_used(aws: pytest.MonkeyPatch) -> None:
    """EKS Pod Identity and ECS offer credentials over HTTP, to whoever shows the pod's token."""
    offer = {
        "AccessKeyId": "AKIDPOD",
        "SecretAccessKey": "secret",
        "Token": "token",
        "Expiration": "2199-01-01T00:00:00Z",
    }

    async def run() -> tuple[str, str]:
        async with Endpoint(answer(200, offer)) as server:
            aws.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/v1/credentials")
            aws.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "pod")
            return await key_of(signers()), server.received[0].headers["authorization"]

    assert ("AKIDPOD", "pod") == asyncio.run(run())


# --- Odd sources --------------------------------------------------------------------------------


def offered(aws: pytest.MonkeyPatch, key: str, secret: str, token: str) -> Signer:
    """The signer of credentials that the environment gives."""
    aws.setenv("AWS_ACCESS_KEY_ID", key)
    aws.setenv("AWS_SECRET_ACCESS_KEY", secret)
    aws.setenv("AWS_SESSION_TOKEN", token)
    return asyncio.run(signers().current())


def test_white_space_around_credentials_is_taken_away(aws: pytest.MonkeyPatch) -> None:
    """As a secret has it that was written with `echo`; the signature is that of what is left."""
    plain = offered(aws, "AKID", "secret", "token").headers(b"", 0)

    assert plain == offered(aws, " AKID\n", "secret\r\n", "\ttoken\n").headers(b"", 0)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    ("character", "kind"),
    [
        ("\n", "a control character"),
        ("\u200b", "an invisible character"),
        ("\ufeff", "an invisible character"),
        ("\udcff", "bytes that are not UTF-8"),
        ("\u00a0", "a space"),
        (" ", "a space"),
        ("é", "a character that is not ASCII"),
    ],
)
def test_a_credential_that_cannot_be_signed_with_is_named(
    aws: pytest.MonkeyPatch, place: int, character: str, kind: str
) -> None:
    """Which one, and what kind of character it holds; and none of its value."""
    values = ["AKIDVALUE", "SECRETVALUE", "TOKENVALUE"]
    values[place] = values[place].replace("VALUE", f"{character}VALUE")
    with pytest.raises(NotAuthorizedError) as caught:
        offered(aws, *values)

    name = ("access key id", "secret access key", "session token")[place]
    assert f"The AWS {name} holds {kind}" in str(caught.value)
    assert "VALUE" not in str(caught.value)


@pytest.mark.parametrize("character", ["\n", "\u200b"])
def test_odd_credentials_of_the_environment_assume_no_role(aws: pytest.MonkeyPatch, character: str) -> None:
    """boto3's own message would quote the session token."""
    aws.setenv("AWS_SESSION_TOKEN", f"TOKEN{character}VALUE")
    with pytest.raises(NotAuthorizedError, match="session token holds") as caught:
        with_sts(aws, answer(200, ASSUMED))

    assert "VALUE" not in str(caught.value)


@pytest.mark.parametrize(
    "printed", [None, "", "no JSON", "[1]", '{"Version": 1}', '{"Version": 1, "AccessKeyId": 5}']
)
def test_whatever_a_program_prints_later_is_no_answer_and_asked_again(
    source: Source, printed: str | None
) -> None:
    """At the start it may be a mistake of configuration; once it worked, it is mended where it runs."""
    source.offer("AKIDOLD", minutes=60)

    async def run() -> str:
        one = signers()
        refused = await one.current()
        source.print(printed)
        for _ in range(3):
            with pytest.raises(UnavailableError) as caught:
                await one.replace(refused)
            assert "credentials" == caught.value.code
        source.offer("AKIDNEW", minutes=60)
        return await key_of(one)

    assert "AKIDNEW" == asyncio.run(run())


def test_a_configuration_that_is_replaced_is_waited_for(source: Source, tmp_path: Path) -> None:
    """For a moment the file is not there, and no credentials are anywhere."""
    source.offer("AKIDOLD", minutes=60)
    away = tmp_path / "away"

    async def run() -> str:
        one = signers()
        refused = await one.current()
        (tmp_path / "config").rename(away)
        with pytest.raises(UnavailableError, match="No AWS credentials were found"):
            await one.replace(refused)
        away.rename(tmp_path / "config")
        return await key_of(one)

    assert "AKIDOLD" == asyncio.run(run())


def test_a_token_file_that_is_away_and_a_page_of_html_are_waited_for(
    aws: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A pod's identity: its token is being rotated, and then a proxy answers in STS's place."""
    token, away = tmp_path / "token", tmp_path / "away"
    token.write_text("token")
    identity = ASSUMED.replace(b"AssumeRole", b"AssumeRoleWithWebIdentity")

    async def run() -> str:
        async with Endpoint(
            answer(200, identity), answer(200, b"<html>It works!</html>"), answer(200, identity)
        ) as sts:
            aws.setenv("AWS_ENDPOINT_URL_STS", sts.url)
            aws.setenv("AWS_ROLE_ARN", ROLE)
            aws.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
            one = signers()
            refused = await one.current()
            token.rename(away)
            with pytest.raises(UnavailableError):
                await one.replace(refused)
            away.rename(token)
            with pytest.raises(UnavailableError):
                await one.replace(refused)
            return await key_of(one)

    assert "AKIDROLE" == asyncio.run(run())


def test_a_system_without_threads_is_an_outage(aws: pytest.MonkeyPatch, source: Source) -> None:
    """The look-up that could not begin is made again."""
    source.offer("AKIDONE", minutes=60)

    async def run() -> str:
        one = signers()
        with aws.context() as patched:
            patched.setattr(threading.Thread, "start", no_thread)
            with pytest.raises(UnavailableError):
                await one.current()
        return await key_of(one)

    assert "AKIDONE" == asyncio.run(run())


def no_thread(_: object) -> None:
    raise RuntimeError("can't start new thread")


# --- Roles --------------------------------------------------------------------------------------

ASSUMED = b"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/partner-bridge/x</Arn><AssumedRoleId>A:x</AssumedRoleId>
</AssumedRoleUser><Credentials><AccessKeyId>AKIDROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
<SessionToken>t</SessionToken><Expiration>2199-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>
</AssumeRoleResponse>"""


def denied(code: str) -> bytes:
    return f"<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>".encode()


def with_sts(aws: pytest.MonkeyPatch, *script: Play, **settings: Any) -> tuple[str, dict[str, list[str]]]:
    """The access key that assuming a role comes to, and what STS was asked."""

    async def run() -> tuple[str, dict[str, list[str]]]:
        async with Endpoint(*script) as server:
            aws.setenv("AWS_ENDPOINT_URL_STS", server.url)
            aws.setenv("AWS_ACCESS_KEY_ID", "AKIDUSER")
            aws.setenv("AWS_SECRET_ACCESS_KEY", "secret")
            signer = await signers(role_arn=ROLE, **settings).current()
            return signer.access_key, parse_qs(server.received[0].body.decode())

    return asyncio.run(run())


def test_a_role_is_assumed_with_its_external_id(aws: pytest.MonkeyPatch) -> None:
    """Requests are signed as the role, and the external id guards against the confused deputy."""
    key, asked = with_sts(aws, answer(200, ASSUMED), external_id="customer-7")

    assert "AKIDROLE" == key
    assert ([ROLE], ["customer-7"]) == (asked["RoleArn"], asked["ExternalId"])


def test_sts_is_reached_by_the_same_proxy_and_cas(aws: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A private CA that signs the proxy and the endpoint is named once, and counts for the chain too."""
    authority = Authority(tmp_path)
    tls = authority.issue("server").server_context()

    async def run() -> tuple[str, list[str]]:
        async with Proxy(tls=tls) as proxy, Endpoint(answer(200, ASSUMED), tls=tls) as sts:
            aws.setenv("AWS_ENDPOINT_URL_STS", sts.url)
            aws.setenv("AWS_ACCESS_KEY_ID", "AKIDUSER")
            aws.setenv("AWS_SECRET_ACCESS_KEY", "secret")
            aws.setenv("HTTPS_PROXY", f"https://{proxy.address}")
            aws.delenv("NO_PROXY")
            signer = await signers(role_arn=ROLE, ca_bundle=authority.file).current()
            return signer.access_key, [asked.method for asked in proxy.asked]

    assert ("AKIDROLE", ["CONNECT"]) == asyncio.run(run())


def test_a_role_that_may_not_be_assumed_stops_the_bridge(aws: pytest.MonkeyPatch) -> None:
    """A trust policy is not mended by waiting; the message says where to look."""
    with pytest.raises(NotAuthorizedError, match="trust policy"):
        with_sts(aws, answer(403, denied("AccessDenied")))


def test_a_role_is_assumed_with_the_session_keys_that_replaced_expired_ones(
    aws: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Those in the shared credentials file are written anew by somebody else while the bridge runs."""
    soon = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=20)).isoformat()
    short = ASSUMED.replace(b"2199-01-01T00:00:00Z", soon.encode())
    file = tmp_path / "credentials"

    def write(key: str) -> None:
        file.write_text(
            f"[default]\naws_access_key_id = {key}\naws_secret_access_key = s\naws_session_token = t\n"
        )

    async def run() -> list[str]:
        async with Endpoint(
            answer(200, short), answer(400, denied("ExpiredToken")), answer(200, ASSUMED)
        ) as server:
            aws.setenv("AWS_ENDPOINT_URL_STS", server.url)
            write("AKIDOLD")
            one = signers(role_arn=ROLE)
            first = await asyncio.to_thread(one.resolve)
            write("AKIDNEW")
            second = await asyncio.to_thread(one.resolve, first)
            assert "AKIDROLE" == second.signer.access_key
            return [str(asked.headers) for asked in server.received]

    asked = asyncio.run(run())
    assert ["AKIDOLD" in asked[0], "AKIDOLD" in asked[1], "AKIDNEW" in asked[2]] == [True] * 3
    assert 3 == len(asked)


@pytest.mark.parametrize(
    "play", [answer(503, denied("ServiceUnavailable")), answer(400, denied("Throttling"))]
)
def test_an_outage_of_sts_is_waited_for(aws: pytest.MonkeyPatch, play: Play) -> None:
    """Credentials that cannot be had now are an outage, not a mistake."""
    with pytest.raises(UnavailableError):
        with_sts(aws, play)


def by_web_identity(aws: pytest.MonkeyPatch, tmp_path: Path, play: Play) -> None:
    """Find credentials with a token that STS answers so."""
    token = tmp_path / "token"
    token.write_text("token")

    async def run() -> None:
        async with Endpoint(play) as sts:
            aws.setenv("AWS_ENDPOINT_URL_STS", sts.url)
            aws.setenv("AWS_ROLE_ARN", ROLE)
            aws.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
            await signers().current()

    asyncio.run(run())


def refused_token(text: str) -> Play:
    error = f"<Error><Code>InvalidIdentityToken</Code><Message>{text}</Message></Error>"
    return answer(400, f"<ErrorResponse>{error}</ErrorResponse>".encode())


def test_an_identity_provider_that_sts_cannot_ask_is_waited_for(
    aws: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """STS calls the token invalid, and means that it could not fetch the key to verify it with."""
    said = (
        "Couldn't retrieve verification key from your identity provider, please reference "
        "AssumeRoleWithWebIdentity documentation for requirements"
    )
    with pytest.raises(UnavailableError):
        by_web_identity(aws, tmp_path, refused_token(said))


def test_a_token_that_sts_refuses_stops_the_bridge(aws: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same code for another reason is for good: no waiting makes that provider known."""
    with pytest.raises(NotAuthorizedError):
        by_web_identity(aws, tmp_path, refused_token("No OpenIDConnect provider found in your account"))


@pytest.mark.parametrize("explicit", [True, False])
def test_nobody_is_asked_for_the_code_of_a_device(
    aws: pytest.MonkeyPatch, tmp_path: Path, *, explicit: bool
) -> None:
    """Not even where the profile got its `mfa_serial` after the start; the profile is named."""
    (tmp_path / "config").write_text(
        f"[profile ops]\nrole_arn = {ROLE}\nsource_profile = base\nmfa_serial = arn:aws:iam::1:mfa/ann\n"
        "[profile base]\naws_access_key_id = AKID\naws_secret_access_key = secret\n"
    )
    if not explicit:
        aws.setenv("AWS_PROFILE", "ops")
    with pytest.raises(NotAuthorizedError, match="AWS profile ops has an mfa_serial"):
        asyncio.run(signers(profile="ops" if explicit else None).current())


SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (
            "[default]\nrole_arn = short\nsource_profile = base\n"
            "[profile base]\naws_access_key_id = AKID\naws_secret_access_key = secret\n",
            "Parameter validation failed: Invalid length for parameter RoleArn, value: 5, valid min",
        ),
        (
            f"[default]\nrole_arn = {ROLE}\nsource_profile = gone\n",
            'The source_profile "gone" referenced in the profile "default" does not exist',
        ),
        (
            "[default]\ncredential_process = sh -c 'echo one >&2; echo \"role x: denied\" >&2; exit 1'\n",
            "from custom-process: one; role x: denied",
        ),
    ],
)
def test_what_is_wrong_with_local_configuration_is_said_whole(tmp_path: Path, file: str, said: str) -> None:
    """It holds no record, and its second line or quoted name is what somebody needs to mend it."""
    (tmp_path / "config").write_text(file)
    with pytest.raises((NotAuthorizedError, UnavailableError)) as caught:
        asyncio.run(signers().current())

    assert said in str(caught.value)


@pytest.mark.parametrize(
    "printed",
    [
        f"aws_secret_access_key = {SECRET_KEY}",
        f'{{"SecretAccessKey": "{SECRET_KEY}"}}',
        f"AWS_SESSION_TOKEN=IQoJb3JpZ2luX2Vj{SECRET_KEY}",
        f"signing with {SECRET_KEY} failed",
        "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl",
    ],
)
def test_a_key_that_a_program_prints_is_not_said(tmp_path: Path, printed: str) -> None:
    """Whatever else its lines say is."""
    (tmp_path / "printed").write_text(f"cannot go on\n{printed}\n")
    (tmp_path / "config").write_text(
        f"[default]\ncredential_process = sh -c 'cat {tmp_path / 'printed'} >&2; exit 1'\n"
    )
    with pytest.raises(UnavailableError, match="cannot go on") as caught:
        asyncio.run(signers().current())

    for secret in (SECRET_KEY, "IQoJ", "eyJz"):
        assert secret not in str(caught.value)


def test_a_profile_that_vanished_stops_the_bridge(tmp_path: Path) -> None:
    """A profile that is not there any more is a mistake of configuration."""
    with pytest.raises(NotAuthorizedError, match="nobody"):
        asyncio.run(signers(profile="nobody").current())
