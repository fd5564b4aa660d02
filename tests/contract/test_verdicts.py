"""No error that botocore knows of is without a verdict."""

from __future__ import annotations

import json
import re
from typing import Any

import botocore.loaders
import botocore.model
import pytest
from botocore import exceptions
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker

from connector import config
from connector.errors import TransientError, UnavailableError, Verdict
from connector.eventbridge.credentials import PERMANENT
from connector.eventbridge.endpoint import transport_error
from connector.eventbridge.errors import (
    DETAIL_TYPE_NOT_AUTHORIZED,
    ENTRY_FORBIDDEN,
    ENTRY_REFUSED,
    ENTRY_RETRIED,
    ENTRY_THROTTLED,
    REQUEST,
    SOURCE_NOT_AUTHORIZED,
    refusal,
)

# https://docs.aws.amazon.com/eventbridge/latest/APIReference/CommonErrors.html, today's and the older list
COMMON = """
    AccessDeniedException ExpiredTokenException IncompleteSignature InternalFailure
    MalformedHttpRequestException NotAuthorized OptInRequired RequestAbortedException
    RequestEntityTooLargeException RequestExpired
    RequestTimeoutException ServiceUnavailable ThrottlingException UnrecognizedClientException
    UnknownOperationException ValidationError ValidationException
    InvalidAction InvalidClientTokenId InvalidParameterCombination InvalidParameterValue InvalidQueryParameter
    MalformedQueryString MissingAction MissingAuthenticationToken MissingParameter
""".split()  # noqa: SIM905 - as it is copied from there

# https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html
ENTRY = """
    ThrottlingException InternalFailure
    AccessDeniedException InvalidAccountIdException InvalidArgument MalformedDetail RedactionFailure
    NotAuthorizedForDetailTypeException NotAuthorizedForSourceException
""".split()  # noqa: SIM905


def modelled() -> list[str]:
    model = botocore.loaders.Loader().load_service_model("events", "service-2")
    service = botocore.model.ServiceModel(model)
    return [shape.name for shape in service.operation_model("PutPartnerEvents").error_shapes]


def test_every_error_of_the_service_model_has_a_verdict() -> None:
    """A new botocore that knows a new error must not meet a bridge that shrugs."""
    assert modelled()
    assert set() == set(modelled()) - REQUEST.keys()


def test_every_common_error_has_a_verdict() -> None:
    """Any service may answer these."""
    assert set() == set(COMMON) - REQUEST.keys()


def test_what_botocore_takes_for_throttling_we_do_too() -> None:
    """An error that asks for less must never count against a record."""
    checker: Any = ThrottledRetryableChecker
    codes = checker._THROTTLED_ERROR_CODES

    assert dict.fromkeys(codes, Verdict.THROTTLED) == {code: REQUEST.get(code, (None,))[0] for code in codes}
    assert set(codes) <= ENTRY_THROTTLED


def test_what_botocore_takes_for_transient_we_do_too() -> None:
    """Whatever botocore would send again is nobody's fault."""
    checker: Any = TransientRetryableChecker
    codes, statuses = checker._TRANSIENT_ERROR_CODES, checker._TRANSIENT_STATUS_CODES

    for code in codes:
        assert isinstance(refusal(400, {}, json.dumps({"__type": code}).encode()).error, TransientError)
    for status in statuses:
        assert isinstance(refusal(status, {}, b"").error, UnavailableError)


def test_every_documented_error_of_an_entry_has_one_verdict() -> None:
    """The tables cover what AWS documents, and none contradicts another."""
    of_sources = [SOURCE_NOT_AUTHORIZED, DETAIL_TYPE_NOT_AUTHORIZED]
    tables = [ENTRY_THROTTLED, ENTRY_RETRIED, ENTRY_REFUSED, ENTRY_FORBIDDEN, *of_sources]

    assert set() == set(ENTRY) - frozenset().union(*tables)
    assert sum(map(len, tables)) == len(frozenset().union(*tables))


def descendants(base: type[Exception]) -> set[type[Exception]]:
    return {base}.union(*(descendants(child) for child in base.__subclasses__()))


@pytest.mark.parametrize("kind", sorted(descendants(OSError), key=str))
def test_every_error_of_a_connection_leaves_the_outcome_unknown(kind: type[OSError]) -> None:
    """No answer came that can be trusted: never the record's fault, never success."""
    silent: Any = {"__init__": lambda _: None, "__str__": lambda _: "what the client says"}
    error: OSError = type(kind.__name__, (kind,), silent)()

    assert transport_error(error, config.Target(region="eu-central-1")).code in {
        "tls", "proxy", "timeout", "answer_invalid", "connection"
    }  # fmt: skip


def test_every_failure_to_get_credentials_was_thought_of() -> None:
    """What a person must mend stops the bridge; what passes by itself does not."""
    about = re.compile("Credential|Token|Auth|Profile|Config|SSO|Login|IMDS|Metadata|MFA")
    passing = {"CredentialRetrievalError", "MetadataRetrievalError"}
    elsewhere = {
        "WaiterConfigError", "InvalidRetryConfigurationError", "InvalidEndpointDiscoveryConfigurationError",
        "InvalidEndpointConfigurationError", "InvalidChecksumConfigError", "InvalidProxiesConfigError",
        "InvalidSTSRegionalEndpointsConfigError", "InvalidS3UsEast1RegionalEndpointConfigError",
        "UnsupportedS3ConfigurationError", "UnsupportedS3ControlConfigurationError",
        "UnsupportedS3AccesspointConfigurationError",
    }  # fmt: skip
    kinds = [
        kind for kind in vars(exceptions).values() if isinstance(kind, type) and about.search(kind.__name__)
    ]
    kinds = [kind for kind in kinds if issubclass(kind, exceptions.BotoCoreError)]

    assert passing | elsewhere == {kind.__name__ for kind in kinds if not issubclass(kind, PERMANENT)}
