"""Where requests go: the URL is boto3's own, and whoever decided something is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import certifi
import pytest

from connector import config
from connector.errors import ConfigError, Problem
from connector.eventbridge.endpoint import route, shown


def target(**settings: Any) -> config.Target:
    return config.Target(**{"region": "eu-central-1", **settings})


def refusals(**settings: Any) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        route(target(**settings))
    return list(caught.value.problems)


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("url", "settings"),
    [
        ("https://events.us-gov-west-1.amazonaws.com/", {"region": "us-gov-west-1", "use_fips": True}),
        (
            "https://events.us-gov-west-1.api.aws/",
            {"region": "us-gov-west-1", "use_fips": True, "use_dualstack": True},
        ),
        (
            "https://events-fips.us-iso-east-1.api.aws.ic.gov/",
            {"region": "us-iso-east-1", "use_fips": True, "use_dualstack": True},
        ),
        (
            "https://events.eu-isoe-west-1.api.cloud-aws.adc-e.uk/",
            {"region": "eu-isoe-west-1", "use_dualstack": True},
        ),
        ("https://events.cn-north-1.amazonaws.com.cn/", {"region": "cn-north-1"}),
        ("https://events.eusc-de-east-1.amazonaws.eu/", {"region": "eusc-de-east-1"}),
    ],
)
def test_the_endpoints_that_names_alone_do_not_tell(url: str, settings: dict[str, Any]) -> None:
    """A few in full, so that a change in botocore's rules is noticed."""
    assert url == route(target(**settings)).endpoint.url


ALL = {"AWS_ENDPOINT_URL": "https://all.example.com"}
OWN = {"AWS_ENDPOINT_URL_EVENTBRIDGE": "https://own.example.com"}
IN_PROFILE = "endpoint_url = https://profile.example.com\n"
BY_SERVICE = "services = local\n"
SERVICES = "[services local]\neventbridge =\n  endpoint_url = https://services.example.com\n"
REGION_S_OWN = "https://events.eu-central-1.amazonaws.com/"


@pytest.mark.parametrize(
    ("environ", "file", "decided"),
    [
        ({}, "", (REGION_S_OWN, "")),
        (ALL, f"[default]\n{BY_SERVICE}{SERVICES}", ("https://all.example.com/", "AWS_ENDPOINT_URL")),
        (ALL | OWN, "", ("https://own.example.com/", "AWS_ENDPOINT_URL_EVENTBRIDGE")),
        (
            {},
            f"[default]\n{IN_PROFILE}{BY_SERVICE}{SERVICES}",
            ("https://services.example.com/", "endpoint_url of AWS services section local"),
        ),
        (
            {"AWS_PROFILE": "work"},
            f"[profile work]\n{IN_PROFILE}",
            ("https://profile.example.com/", "endpoint_url of AWS profile work"),
        ),
        (ALL | {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, "", (REGION_S_OWN, "")),
    ],
)
def test_who_says_where_the_endpoint_is(
    aws: pytest.MonkeyPatch, tmp_path: Path, environ: dict[str, str], file: str, decided: tuple[str, str]
) -> None:
    """The first that says something wins, as for boto3, and is named; a setting comes before them all."""
    (tmp_path / "config").write_text(file)
    for name, value in environ.items():
        aws.setenv(name, value)
    theirs = boto3.Session().client("events", region_name="eu-central-1").meta.endpoint_url
    way, set_by_us = route(target()), route(target(endpoint_url="https://set.example.com"))

    assert decided == (way.endpoint.url, way.url_by)
    assert f"{theirs}/" == way.endpoint.url
    assert ("https://set.example.com/", "eventbridge.endpoint_url") == (
        set_by_us.endpoint.url,
        set_by_us.url_by,
    )


@pytest.mark.parametrize(
    ("setting", "variable", "in_file", "decided"),
    [
        (None, None, None, (False, "")),
        (None, None, "true", (True, "use_fips_endpoint of AWS profile default")),
        (None, "False", "true", (False, "AWS_USE_FIPS_ENDPOINT")),
        (None, "true", "false", (True, "AWS_USE_FIPS_ENDPOINT")),
        (False, "true", "true", (False, "eventbridge.use_fips")),
        (True, "false", None, (True, "eventbridge.use_fips")),
    ],
)
def test_who_says_whether_the_endpoint_is_fips(
    aws: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    setting: bool | None,
    variable: str | None,
    in_file: str | None,
    decided: tuple[bool, str],
) -> None:
    """A setting of true or false is the last word; without one, the environment and then the profile."""
    if variable:
        aws.setenv("AWS_USE_FIPS_ENDPOINT", variable)
    if in_file:
        (tmp_path / "config").write_text(f"[default]\nuse_fips_endpoint = {in_file}\n")
    way = route(target(use_fips=setting))

    assert decided == way.fips
    assert decided[0] is ("events-fips." in way.endpoint.url)


def test_cas_come_from_the_first_that_names_them(aws: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Setting, AWS_CA_BUNDLE, profile, REQUESTS_CA_BUNDLE, boto3's own; an empty variable names none."""
    files = {name: tmp_path / f"{name}.pem" for name in ("requests", "profile", "aws", "set")}
    for file in files.values():
        file.write_bytes(Path(certifi.where()).read_bytes())
    aws.setenv("AWS_CA_BUNDLE", "")

    def chosen(**settings: Any) -> tuple[Path, str]:
        return route(target(**settings)).ca

    assert "" == chosen()[1]
    aws.setenv("REQUESTS_CA_BUNDLE", str(files["requests"]))
    assert (files["requests"], "REQUESTS_CA_BUNDLE") == chosen()
    (tmp_path / "config").write_text(f"[default]\nca_bundle = {files['profile']}\n")
    assert (files["profile"], "ca_bundle of AWS profile default") == chosen()
    aws.setenv("AWS_CA_BUNDLE", str(files["aws"]))
    assert (files["aws"], "AWS_CA_BUNDLE") == chosen()
    assert (files["set"], "eventbridge.ca_bundle") == chosen(ca_bundle=files["set"])


@pytest.mark.parametrize(
    ("environ", "proxy", "by"),
    [
        ({}, None, ""),
        ({"HTTPS_PROXY": "http://proxy:3128\n"}, "http://proxy:3128", "HTTPS_PROXY"),
        ({"HTTPS_PROXY": "proxy:3128"}, "http://proxy:3128", "HTTPS_PROXY"),
        ({"Https_Proxy": "HTTP://proxy"}, "HTTP://proxy", "Https_Proxy"),
        ({"HTTPS_PROXY": "http://one", "https_proxy": "http://two"}, "http://two", "https_proxy"),
        ({"HTTP_PROXY": "http://proxy", "ALL_PROXY": "socks5://proxy"}, None, ""),
        ({"HTTPS_PROXY": "socks5://proxy", "NO_PROXY": ".amazonaws.com"}, None, "NO_PROXY"),
    ],
)
def test_the_proxy_is_that_of_the_environment(
    aws: pytest.MonkeyPatch, environ: dict[str, str], proxy: str | None, by: str
) -> None:
    """By the rules of Python and boto3; what spares the endpoint a proxy is named too."""
    for name, value in environ.items():
        aws.setenv(name, value)
    way = route(target())

    assert (proxy, by) == (way.endpoint.proxy, way.proxy_by)


def test_a_proxy_is_shown_without_its_password() -> None:
    assert "https://proxy:3128" == shown("https://user:p%40ss@proxy:3128")


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("settings", "path", "text"),
    [
        ({"region": "eu-central-9"}, "eventbridge.region", "does not know the Region eu-central-9, which"),
        (
            {"region": "local-dev-1", "endpoint_url": "http://localhost:4566"},
            "eventbridge.region",
            "AWS has no Region local-dev-1; requests to this endpoint are signed for it all the same",
        ),
        (
            {"role_arn": "arn:aws-cn:iam::123456789012:role/x"},
            "eventbridge.role_arn",
            "is of the partition aws-cn, and eu-central-1 is in aws",
        ),
        (
            {"endpoint_url": "https://events.eu-west-1.amazonaws.com"},
            "eventbridge.endpoint_url",
            "names the Region eu-west-1, and requests are signed for eu-central-1",
        ),
        (
            {"endpoint_url": "https://vpce-1a.events.eu-west-1.vpce.amazonaws.com"},
            "eventbridge.endpoint_url",
            "names the Region eu-west-1",
        ),
        (
            {"endpoint_url": "https://events.example.com", "use_fips": True},
            "eventbridge.use_fips",
            "has no effect: eventbridge.endpoint_url decides the endpoint, so name the FIPS one there",
        ),
        (
            {"endpoint_url": "https://events.example.com", "use_dualstack": True},
            "eventbridge.use_dualstack",
            "has no effect",
        ),
    ],
)  # fmt: skip
def test_what_is_probably_not_meant_is_a_warning(settings: dict[str, Any], path: str, text: str) -> None:
    """It may be right all the same, so the bridge starts."""
    ((at, said),) = route(target(**settings)).warnings

    assert path == at
    assert text in said


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"region": "us-gov-west-1", "role_arn": "arn:aws-us-gov:iam::123456789012:role/x", "use_fips": True},
        {"endpoint_url": "https://vpce-1a.events.eu-central-1.vpce.amazonaws.com"},
        {"endpoint_url": "http://localhost:4566", "use_fips": False},
        {"endpoint_url": "HTTPS://events.example.com"},
    ],
)
def test_what_is_meant_has_no_warning(settings: dict[str, Any]) -> None:
    """The log of a normal start holds none."""
    assert [] == route(target(**settings)).warnings


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("endpoint", [{}, {"endpoint_url": "http://localhost:4566"}])
def test_a_misspelt_region_is_refused(endpoint: dict[str, str]) -> None:
    """Also beside an endpoint of one's own: AWS refuses every signature for it, at run time."""
    assert [Problem("eventbridge.region", "AWS has no Region eu-centrl-1; did you mean 'eu-central-1'?")] == (
        refusals(region="eu-centrl-1", **endpoint)
    )


@pytest.mark.usefixtures("aws")
def test_a_region_that_no_partition_can_have_needs_an_endpoint() -> None:
    """botocore would guess an address for it."""
    assert [Problem("eventbridge.region", "AWS has no Region local-dev-1; an example is eu-central-1")] == (
        refusals(region="local-dev-1")
    )


def test_sending_in_the_clear_takes_the_setting(aws: pytest.MonkeyPatch) -> None:
    """Whoever names an http:// endpoint by AWS's own variable is asked whether that is meant."""
    aws.setenv("AWS_ENDPOINT_URL", "http://events.example.com")

    ((path, said),) = refusals()
    assert ("AWS_ENDPOINT_URL", True) == (path, "set eventbridge.allow_insecure: true" in said)
    assert "http://events.example.com/" == route(target(allow_insecure=True)).endpoint.url
