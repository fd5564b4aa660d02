"""Where a target is: its endpoint, TLS and proxy, and what a failure to reach it means."""

from __future__ import annotations

import difflib
import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies

import botocore
from botocore import exceptions as boto
from botocore.endpoint_provider import EndpointProvider
from botocore.loaders import create_loader
from botocore.utils import get_environ_proxies

from connector import config
from connector.errors import ConfigError, Problem, UnavailableError
from connector.eventbridge import errors
from connector.eventbridge.credentials import kind_of
from connector.eventbridge.http import Endpoint, ProxyError, ReplyError
from connector.eventbridge.session import OFF, Choice, Profile, ca_of, flag, given_url, profile_of, session
from connector.eventbridge.signer import SERVICE

NO_PROXY = "NO_PROXY"
_DIRECTIONS = frozenset(
    ("central", "north", "south", "east", "west", "northeast", "northwest", "southeast", "southwest")
)
"""The word before the number of every Region that AWS has."""


class Route(NamedTuple):
    """Where a target's requests go and by which way, and what decided it."""

    endpoint: Endpoint
    url_by: str
    """Empty for the Region's own endpoint."""
    fips: Choice[bool]
    dualstack: Choice[bool]
    proxy_by: str
    """The variable that names the proxy, `NO_PROXY` where that spares the endpoint one; empty for neither."""
    ca: Choice[Path]
    warnings: list[Problem]
    """What is allowed, and probably not meant."""


def route(target: config.Target, at: str = "eventbridge") -> Route:
    """Where boto3 would send a target's requests, by which way, and whose certificates it would trust.

    From the settings, which are at `at`, AWS's own configuration files and the environment. Connects to
    nothing.

    Raises:
        ConfigError: everything that is wrong with profile, Region, endpoint, proxy and CAs.
    """
    problems: list[Problem] = []
    profile, given, fips, dualstack = Profile(), Choice[str | None](None), OFF, OFF
    url, proxy, tls = "https://", Choice[str | None](None), None
    with _gathering(problems):
        profile = profile_of(session(target, at, with_clients=False))
    with _gathering(problems):
        given = given_url(target, profile, at)
    with _gathering(problems):
        fips = flag(target.use_fips, f"{at}.use_fips", profile, "use_fips_endpoint")
    with _gathering(problems):
        dualstack = flag(target.use_dualstack, f"{at}.use_dualstack", profile, "use_dualstack_endpoint")
    with _gathering(problems):
        url = region_url(target.region, at, fips=fips.value, dualstack=dualstack.value)
    with _gathering(problems):
        url = _usable(given, target, at) or url
    with _gathering(problems):
        proxy = _proxy_for(url)
    ca = ca_of(target, profile, at)
    is_encrypted = urlsplit(url).scheme == "https"
    if is_encrypted or urlsplit(proxy.value or "").scheme == "https" or ca.by:
        with _gathering(problems):
            tls = _tls(ca)
    warnings: list[Problem] = []
    with _gathering(problems):
        warnings += _warnings(target, at, Choice(url, given.by), fips, dualstack)
    if problems:
        raise ConfigError(problems)
    way = Endpoint(url, proxy=proxy.value, tls=tls if is_encrypted else None, proxy_tls=tls)
    return Route(way, given.by, fips, dualstack, proxy.by, ca, warnings)


def routes(settings: config.Settings) -> dict[str, Route]:
    """The route of each target, by its name.

    Raises:
        ConfigError: as `route`, for every target.
    """
    found: dict[str, Route] = {}
    problems: list[Problem] = []
    for name, target in settings.all_targets.items():
        with _gathering(problems):
            found[name] = route(target, settings.path_of_target(name))
    if problems:
        # A variable that is wrong is wrong for every target.
        raise ConfigError(list(dict.fromkeys(problems)))
    return found


@contextmanager
def _gathering(problems: list[Problem]) -> Iterator[None]:
    """Note a ConfigError and go on: all problems are reported at once."""
    try:
        yield
    except ConfigError as error:
        problems += error.problems


# Regions ------------------------------------------------------------------------------------------


@cache
def _rules() -> tuple[EndpointProvider, dict[str, Any]]:
    """botocore's rules for EventBridge's endpoints, and its partitions."""
    loader = create_loader()
    partitions = loader.load_data("partitions")
    return EndpointProvider(
        ruleset_data=loader.load_service_model(SERVICE, "endpoint-rule-set-1"), partition_data=partitions
    ), partitions


def region_url(region: str, at: str, *, fips: bool = False, dualstack: bool = False) -> str:
    """The Region's own endpoint, by botocore's rules.

    Raises:
        ConfigError: it has none of this kind.
    """
    try:
        found = _rules()[0].resolve_endpoint(Region=region, UseFIPS=fips, UseDualStack=dualstack)
    except boto.EndpointProviderError as error:
        raise ConfigError([Problem(f"{at}.region", f"{region} has no such endpoint: {error}")]) from error
    return f"{found.url.rstrip('/')}/"


def _partition_of(region: str) -> str | None:
    """The partition of a Region, as `aws-cn`, also of one that is newer than this botocore."""
    for partition in _rules()[1]["partitions"]:
        if region in partition["regions"] or re.match(partition["regionRegex"], region):
            return str(partition["id"])
    return None


@cache
def _known_regions() -> frozenset[str]:
    names = {region for each in _rules()[1]["partitions"] for region in each["regions"]}
    return frozenset(name for name in names if not name.endswith("-global"))


def _region_warning(region: str, at: str, *, is_given: bool) -> Iterator[Problem]:
    """Doubts about a Region that botocore does not know: it may be newer, or misspelt, or a stand-in's.

    Raises:
        ConfigError: it is misspelt, or no partition of AWS can have it.
    """
    if region in _known_regions():
        return
    close = difflib.get_close_matches(region, _known_regions(), n=1, cutoff=0.75)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    if _partition_of(region) and region.split("-")[-2] in _DIRECTIONS:
        text = f"botocore {botocore.__version__} does not know the Region {region}, which may be newer{hint}"
    elif is_given and not close:
        text = f"AWS has no Region {region}; requests to this endpoint are signed for it all the same"
    else:
        example = hint or "; an example is eu-central-1"
        raise ConfigError([Problem(f"{at}.region", f"AWS has no Region {region}{example}")])
    yield Problem(f"{at}.region", text)


def _warnings(
    target: config.Target, at: str, url: Choice[str], fips: Choice[bool], dualstack: Choice[bool]
) -> Iterator[Problem]:
    """What is allowed, and probably not meant.

    Raises:
        ConfigError: the Region is misspelt.
    """
    region = target.region
    yield from _region_warning(region, at, is_given=bool(url.by))
    role = (target.role_arn or "").split(":")
    partition = _partition_of(region)
    if partition and len(role) > 1 and role[1] != partition:
        text = f"is of the partition {role[1]}, and {region} is in {partition}, whose STS does not know it"
        yield Problem(f"{at}.role_arn", text)
    if not url.by:
        return
    labels = (urlsplit(url.value).hostname or "").split(".")
    for other in [label for label in labels if label in _known_regions() - {region}]:
        text = f"names the Region {other}, and requests are signed for {region}; correct one of the two"
        yield Problem(url.by, text)
    for choice, kind in ((fips, "FIPS"), (dualstack, "dual-stack")):
        if choice.value:
            text = f"has no effect: {url.by} decides the endpoint, so name the {kind} one there"
            yield Problem(choice.by, text)


# URLs ---------------------------------------------------------------------------------------------


def _usable(given: Choice[str | None], target: config.Target, at: str) -> str | None:
    """The endpoint that somebody set, with a slash at its end.

    Raises:
        ConfigError: nothing can be reached there, or events would go there in the clear unnoticed.
    """
    if given.value is None:
        return None
    url = given.value.strip()
    if problem := _url_problem(url):
        raise ConfigError([Problem(given.by, problem)])
    parts = urlsplit(url)
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigError([Problem(given.by, "its URL must hold no user name, password, query or fragment")])
    if parts.scheme == "http" and not target.allow_insecure and not config.is_loopback(parts.hostname or ""):
        text = f"http:// would send events in the clear; use https://, or set {at}.allow_insecure: true"
        raise ConfigError([Problem(given.by, text)])
    return f"{url.rstrip('/')}/"


def _proxy_for(url: str) -> Choice[str | None]:
    """The proxy that Python's and AWS's tools would use for a URL, and the variable that names it.

    Raises:
        ConfigError: nothing can be reached there.
    """
    scheme = urlsplit(url).scheme
    proxy = (getproxies().get(scheme) or "").strip()
    if not proxy:
        return Choice(None)
    if not get_environ_proxies(url):
        return Choice(None, NO_PROXY)
    # In lower case it wins, as in Python and curl.
    names = [f"{scheme}_proxy", *(name for name in os.environ if name.lower() == f"{scheme}_proxy")]
    by = next((name for name in names if os.environ.get(name)), "the proxy of this system")
    if "://" not in proxy:
        proxy = f"http://{proxy.removeprefix('//')}"
    if problem := _url_problem(proxy):
        escape = "; in its user name and password write / as %2F, @ as %40, : as %3A, # as %23, ? as %3F"
        raise ConfigError([Problem(by, f"{problem}{escape if '@' in proxy else ''}")])
    return Choice(proxy, by)


def _url_problem(url: str) -> str | None:
    """Why nothing can be reached at a URL; without its value, which may hold a password."""
    if bad := next((each for each in url if not "!" <= each <= "~"), None):
        return f"its URL holds {kind_of(bad)}; escape it with %"
    if not url.lower().startswith(("http://", "https://")):
        return "its URL begins neither with http:// nor with https://"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return (
            "its URL cannot be read: a character in it must be escaped, or its port is no number up to 65535"
        )
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":
        return "its URL cannot be read: a character before the @ must be escaped"
    if port == 0:
        return "the port in its URL must not be 0"
    return None if parts.hostname else "its URL names no host"


def shown(url: str) -> str:
    """A URL without user name and password."""
    parts: SplitResult = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _tls(ca: Choice[Path]) -> ssl.SSLContext:
    """Verifies certificates of endpoint and proxy.

    Raises:
        ConfigError: the CAs cannot be read.
    """
    try:
        return _trusting(ca.value, ca.value.stat().st_mtime_ns)
    except OSError as error:
        is_content = isinstance(error, ssl.SSLError)  # of OpenSSL's own, none of which names what is missing
        why = "it holds no certificate" if is_content else error.strerror or type(error).__name__
        text = f"{ca.value} cannot be used as a PEM file of CAs: {why}"
        raise ConfigError([Problem(ca.by or str(ca.value), text)]) from error


@lru_cache(maxsize=8)
def _trusting(cas: Path, changed_ns: int) -> ssl.SSLContext:  # noqa: ARG001 - a new file is read anew
    """Reading them takes 30 ms, and they take 1 MB: targets with the same CAs share them."""
    if cas.is_dir():
        return ssl.create_default_context(capath=str(cas))
    return ssl.create_default_context(cafile=str(cas))


# Failures -----------------------------------------------------------------------------------------


def drop_frames(error: BaseException | None) -> None:
    """Take the tracebacks from an error and from what led to it.

    Their frames hold the request, and refer back to the error: 0.6 MB for each failed call, until Python
    looks for cycles. What happened is in the messages.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def transport_error(error: OSError, target: config.Target) -> UnavailableError:
    """The error for no answer, or only a part of one: the outcome is unknown.

    Codes: tls, proxy, timeout, answer_invalid, connection.
    """
    said = errors.redacted(str(error)) or type(error).__name__
    match error:
        case ssl.SSLError():
            said = getattr(error, "verify_message", "") or said
            text = f"TLS to EventBridge fails ({said}). If a private CA signs, set `eventbridge.ca_bundle`"
            return UnavailableError(text, code="tls")
        case ProxyError():
            text = (
                f"the proxy to EventBridge fails ({said}). Check HTTPS_PROXY, its credentials, and NO_PROXY"
            )
            if isinstance(error.__cause__, ssl.SSLError):
                text += ". If a private CA signs the proxy's certificate, set `eventbridge.ca_bundle`"
            return UnavailableError(text, code="proxy")
        case TimeoutError():
            limits = f"{target.timeouts.connect:g} s to connect, {target.timeouts.read:g} s to answer"
            text = f"EventBridge took too long (`eventbridge.timeouts` allows {limits})"
            return UnavailableError(text, code="timeout")
        case ReplyError():
            text = (
                f"what came back is no answer of EventBridge ({said}), so what became of the request is not "
                "known; it will be sent again"
            )
            return UnavailableError(text, code="answer_invalid")
    return UnavailableError(
        f"no connection to EventBridge ({said}); it will be tried again", code="connection"
    )
