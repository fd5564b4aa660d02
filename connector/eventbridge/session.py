"""botocore's session for a target, and what decides each thing that AWS's tools let people decide.

That is a setting of ours, a variable of the environment, or a profile of AWS's configuration files, in the
order of boto3. Each value comes with the name of what decided it, for `check` and for messages.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from botocore import exceptions as boto
from botocore.config import Config
from botocore.httpsession import get_cert_path
from botocore.session import Session

from connector import config
from connector.config.problems import did_you_mean
from connector.errors import ConfigError, Problem

_PROFILE_VARIABLES = ("AWS_DEFAULT_PROFILE", "AWS_PROFILE")
_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_EVENTBRIDGE", "AWS_ENDPOINT_URL")

T = TypeVar("T")


class Choice(NamedTuple, Generic[T]):
    """A value in force, and the name of the setting, variable or profile that decided it.

    The name is empty where nobody did.
    """

    value: T
    by: str = ""


OFF = Choice(False)  # noqa: FBT003


class Profile(NamedTuple):
    """What AWS's configuration files say to a target."""

    name: str = "default"
    values: Mapping[str, Any] = {}
    services: Mapping[str, Any] = {}
    """The sections `[services …]` of the files, by name."""

    def names(self, key: str) -> str:
        """How a key of it is named where it decides, as in `use_fips_endpoint of AWS profile default`."""
        return f"{key} of AWS profile {self.name}"


def session(target: config.Target, at: str = "eventbridge", *, with_clients: bool = True) -> Session:
    """botocore's session for a target: profile, Region, CAs and time limits.

    `at` is where the target's settings are. Nothing is called and nothing is asked of a person. One that need
    make no clients, as of STS, is made in a tenth of the time.

    Raises:
        ConfigError: the profile does not exist, asks for the code of an MFA device, or AWS's own
            configuration file is broken.
    """
    try:
        made = Session(profile=target.profile, include_builtin_handlers=with_clients)
        made.set_config_variable("region", target.region)
        profile = profile_of(made)
    except boto.ProfileNotFound as error:
        raise ConfigError([_missing_profile(target, at)]) from error
    except boto.ConfigParseError as error:
        raise ConfigError([_broken_file(error)]) from error
    if serial := _prompting_profile(made, target):
        text = (
            f"AWS profile {serial} has an mfa_serial, so that somebody would have to type a code each time; "
            "use a role that needs none"
        )
        raise ConfigError([Problem(_profile_by(target, at), text)])
    # What the chain itself calls, as STS, trusts the same CAs.
    made.set_config_variable("ca_bundle", str(ca_of(target, profile, at).value))
    # For the chain's own calls to STS. boto3's defaults would hold a renewal for minutes.
    made.set_default_client_config(
        Config(
            connect_timeout=target.timeouts.connect,
            read_timeout=target.timeouts.read,
            retries={"mode": "standard", "total_max_attempts": 2},
        )
    )
    return made


def profile_of(made: Session) -> Profile:
    """The profile in force."""
    return Profile(
        made.get_config_variable("profile") or "default",
        made.get_scoped_config(),
        made.full_config.get("services", {}),
    )


def ca_of(target: config.Target, profile: Profile, at: str) -> Choice[Path]:
    """The CAs to trust, a PEM file or a folder of them; by the last resort those of boto3."""
    if target.ca_bundle:
        return Choice(target.ca_bundle, f"{at}.ca_bundle")
    path: str | None
    for path, by in (
        (os.environ.get("AWS_CA_BUNDLE"), "AWS_CA_BUNDLE"),
        (profile.values.get("ca_bundle"), profile.names("ca_bundle")),
        (os.environ.get("REQUESTS_CA_BUNDLE"), "REQUESTS_CA_BUNDLE"),
    ):
        if path and path.strip():
            return Choice(Path(path), by)
    return Choice(Path(str(get_cert_path(verify=True))))


def given_url(target: config.Target, profile: Profile, at: str) -> Choice[str | None]:
    """The endpoint that somebody set instead of the Region's own; None where nobody did.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html

    Raises:
        ConfigError: the profile names a section of services that does not exist.
    """
    if target.endpoint_url:
        return Choice(target.endpoint_url, f"{at}.endpoint_url")
    if flag(None, "", profile, "ignore_configured_endpoint_urls").value:
        return Choice(None)
    for variable in _ENDPOINT_VARIABLES:
        if url := os.environ.get(variable):
            return Choice(url, variable)
    if name := profile.values.get("services"):
        if name not in profile.services:
            known = did_you_mean(name, profile.services)
            text = f"there is no section [services {name}] in {' or '.join(_files())}{known}"
            raise ConfigError([Problem(profile.names("services"), text)])
        of_service = profile.services[name].get("eventbridge")
        if isinstance(of_service, dict) and (url := of_service.get("endpoint_url")):
            return Choice(url, f"endpoint_url of AWS services section {name}")
    if url := profile.values.get("endpoint_url"):
        return Choice(url, profile.names("endpoint_url"))
    return Choice(None)


def flag(setting: bool | None, by_setting: str, profile: Profile, key: str) -> Choice[bool]:  # noqa: FBT001
    """Whether something is on: by our setting, by `AWS_` and the key as a variable, or by the profile's key.

    Raises:
        ConfigError: it is written as neither true nor false. boto3 would take that for false.
    """
    if setting is not None:
        return Choice(setting, by_setting)
    variable = f"AWS_{key.upper()}"
    for text, by in ((os.environ.get(variable), variable), (profile.values.get(key), profile.names(key))):
        if text is not None:
            if text.lower() not in {"true", "false", ""}:
                raise ConfigError([Problem(by, "must be true or false")])
            return Choice(text.lower() == "true", by)
    return OFF


def _profile_by(target: config.Target, at: str) -> str:
    """The setting or variable that chooses the profile."""
    chosen = [name for name in _PROFILE_VARIABLES if os.environ.get(name)]
    return f"{at}.profile" if target.profile or not chosen else chosen[0]


def _files() -> list[str]:
    """AWS's configuration files, whether they are there or not."""
    return [
        os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config",
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials",
    ]


def _missing_profile(target: config.Target, at: str) -> Problem:
    by = _profile_by(target, at)
    name = target.profile or os.environ.get(by, "")
    known = Session().available_profiles
    hint = did_you_mean(name, known) or (f"; known: {', '.join(known)}" if known else "")
    return Problem(by, f"there is no profile {name} in {' or '.join(_files())}{hint}")


def _broken_file(error: boto.ConfigParseError) -> Problem:
    """Which file, and which line; never its text, which may be a secret key."""
    cause = error.kwargs.get("error")
    lines = list(_lines(cause))
    where = f" from line {lines[0]} on" if lines else ""
    if isinstance(cause, UnicodeDecodeError):
        where = ", since it is not UTF-8"
    return Problem(
        str(error.kwargs.get("path")),
        f"cannot be read as a configuration file of AWS{where}; it holds [sections] of `key = value`",
    )


def _lines(cause: object) -> Iterator[int]:
    match cause:
        case configparser.MissingSectionHeaderError(lineno=int(number)):
            yield number
        case configparser.ParsingError(errors=errors):
            yield from (number for number, _ in errors)
        case configparser.DuplicateSectionError(lineno=int(number)):
            yield number
        case configparser.DuplicateOptionError(lineno=int(number)):
            yield number


def _prompting_profile(made: Session, target: config.Target) -> str | None:
    """The profile for whose role boto3 would ask for the code of an MFA device on the terminal.

    It goes from profile to profile as botocore's AssumeRoleProvider does.
    """
    if target.profile is None and os.environ.get("AWS_ACCESS_KEY_ID"):
        return None  # these come first
    profiles: Mapping[str, Mapping[str, str]] = made.full_config.get("profiles", {})
    name: str | None = made.get_config_variable("profile") or "default"
    seen: set[str] = set()
    while name is not None and name not in seen:
        profile = profiles.get(name, {})
        has_keys = "aws_access_key_id" in profile or "aws_secret_access_key" in profile
        if "role_arn" not in profile or "web_identity_token_file" in profile or (seen and has_keys):
            return None
        if "mfa_serial" in profile:
            return name
        seen.add(name)
        name = profile.get("source_profile")
    return None
