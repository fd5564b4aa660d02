"""Where a target is: its endpoint, TLS and proxy, and what a failure to reach it means."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import boto3
from botocore import UNSIGNED
from botocore import exceptions as boto
from botocore.config import Config
from botocore.httpsession import ProxyConfiguration, get_cert_path
from botocore.utils import get_environ_proxies

from connector import config
from connector.errors import ConfigError, Problem, UnavailableError
from connector.eventbridge import errors
from connector.eventbridge.credentials import kind_of, session
from connector.eventbridge.http import Endpoint, ProxyError, ReplyError
from connector.eventbridge.signer import SERVICE


def endpoint(target: config.Target) -> Endpoint:
    """Where boto3 would send a target's requests, by which way, and whose certificates it would trust.

    From the settings, AWS's own configuration files and the environment.

    Raises:
        ConfigError: profile, CA bundle, Region or endpoint cannot be used.
    """
    made = session(target)
    try:
        client = made.client(
            SERVICE,
            endpoint_url=target.endpoint_url,
            config=Config(
                # Asking for the address must not set the credential chain in motion.
                signature_version=UNSIGNED,
                # None leaves the word to the environment, as boto3 users know it.
                use_fips_endpoint=target.use_fips or None,
                use_dualstack_endpoint=target.use_dualstack or None,
            ),
        )
    except (boto.BotoCoreError, ValueError) as error:
        raise ConfigError([Problem("eventbridge", f"there is no endpoint to use: {error}")]) from error
    url = client.meta.endpoint_url.rstrip("/") + "/"
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    if (
        not is_tls
        and not target.endpoint_url
        and not target.allow_insecure
        and not config.is_loopback(parts.hostname or "")
    ):
        text = (
            "the endpoint that AWS's own configuration names is http://, which would send events in the clear"
        )
        raise ConfigError(
            [Problem("eventbridge.allow_insecure", f"{text}; use https://, or set this to true")]
        )
    proxy = (ProxyConfiguration(get_environ_proxies(url)).proxy_url_for(url) or "").strip()
    for name, each in (("endpoint", url), ("proxy of the environment (HTTPS_PROXY or HTTP_PROXY)", proxy)):
        if each and (problem := _url_problem(each)):
            raise ConfigError([Problem("eventbridge", f"the {name} cannot be used: {problem}")])
    return Endpoint(url, proxy=proxy or None, tls=_tls(made) if is_tls else None)


def _url_problem(url: str) -> str | None:
    """Why nothing can be reached at a URL; without its value, which may hold a password."""
    if bad := next((each for each in url if not "!" <= each <= "~"), None):
        return f"its URL holds {kind_of(bad)}"
    parts = urlsplit(url)
    try:
        _ = parts.port
    except ValueError:
        return "the port in its URL is no number up to 65535"
    # botocore writes http:// before another scheme, so that this stands in the place of the host.
    if parts.scheme not in {"http", "https"} or parts.path.startswith("//"):
        return "its URL begins neither with http:// nor with https://"
    return None if parts.hostname else "its URL names no host"


def _tls(made: boto3.Session) -> ssl.SSLContext:
    """Verifies certificates against `ca_bundle`, AWS_CA_BUNDLE, or what boto3 trusts, in this order."""
    trusted = Path(made._session.get_config_variable("ca_bundle") or str(get_cert_path(verify=True)))  # noqa: SLF001
    try:
        if trusted.is_dir():
            return ssl.create_default_context(capath=str(trusted))
        return ssl.create_default_context(cafile=str(trusted))
    except OSError as error:  # ssl.SSLError, of a file that holds no certificate, is one
        raise ConfigError(
            [Problem("eventbridge.ca_bundle", f"{trusted} cannot be used as a PEM file of CAs: {error}")]
        ) from error


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
