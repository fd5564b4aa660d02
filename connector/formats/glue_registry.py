"""AWS Glue's schema registry: versions of schemas by their UUID.

https://docs.aws.amazon.com/glue/latest/webapi/API_GetSchemaVersion.html
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from botocore import exceptions as boto

from connector import config
from connector.errors import ConnectorError, DecodeError, NotAuthorizedError, UnavailableError
from connector.eventbridge.credentials import chain, credential_error
from connector.eventbridge.session import session
from connector.formats.schema_cache import (
    NotFoundError,
    SchemaId,
    Schemas,
    SchemaVersion,
    Side,
    avro_text,
)

_NO_SUCH = {"EntityNotFoundException", "InvalidInputException"}
_PASSES = {"Throttling", "ThrottlingException", "TooManyRequestsException", "InternalServiceException"}
_DEFAULT_REGISTRY = "default-registry"
_NO_VERSION = "00000000-0000-0000-0000-000000000000"


class GlueRegistry:
    """AWS Glue's schema registry of a Region, asked with the credentials of a target."""

    def __init__(self, settings: config.SchemaRegistry, *, path: str, target: config.Target) -> None:
        region = settings.region or target.region
        self._target = target.model_copy(update={"region": region})
        self._url = settings.url
        self._setting = path
        self._made: Any = None
        self.shown = f"AWS Glue's schema registry in {region}"

    def fetch(self, schema_id: SchemaId) -> Schemas:
        """Ask for a schema, see `Registry.fetch`. One in Glue refers to no other."""
        name = str(schema_id)
        try:
            answer = self._get(SchemaVersionId=str(schema_id.value))
        except NotFoundError:
            raise NotFoundError(f"{name} is not in {self.shown}") from None
        return self._schemas(answer, name)

    def versions(self, topic: str, _side: Side, *, count: int) -> Sequence[SchemaVersion]:
        """Ask for the last versions of the schema that is called as the topic, see `Registry.versions`.

        It is called so for keys as for values. GetSchemaVersion, which the bridge may call anyway, does it.
        https://github.com/awslabs/aws-glue-schema-registry/blob/master/common/src/main/java/com/amazonaws/services/schemaregistry/common/AWSSchemaNamingStrategyDefaultImpl.java
        """
        schema = {"SchemaName": topic, "RegistryName": _DEFAULT_REGISTRY}
        found: list[SchemaVersion] = []
        try:
            answer = self._get(SchemaId=schema, SchemaVersionNumber={"LatestVersion": True})
        except NotFoundError:
            where = f"{self.shown}, registry {_DEFAULT_REGISTRY}"
            raise NotFoundError(f"the schema {topic} is not in {where}") from None
        for number in range(int(answer.get("VersionNumber", 0)), 0, -1):
            with contextlib.suppress(NotFoundError):  # it may have been deleted
                shown = f"version {number} of {topic}"
                answer = self._get(SchemaId=schema, SchemaVersionNumber={"VersionNumber": number})
                found.append(SchemaVersion(shown, self._schemas(answer, shown)))
            if len(found) == count:
                break
        return found

    def _schemas(self, answer: dict[str, Any], name: str) -> Schemas:
        match answer.get("Status"):
            case "PENDING":
                raise UnavailableError(
                    f"{name} is still being checked by {self.shown}", code="schema_registry"
                )
            case "FAILURE":
                raise DecodeError("schema_invalid", f"{name} was refused by {self.shown}")
        if answer.get("DataFormat") != "AVRO":
            rule = f"{name} is a {answer.get('DataFormat')} schema, and the format says avro"
            raise DecodeError("schema_invalid", rule)
        return Schemas([avro_text(str(answer.get("SchemaDefinition", "")).encode(), name)])

    def check(self) -> None:
        """Ask for something, see `Registry.check`. Any version will do."""
        with contextlib.suppress(NotFoundError):
            self._get(SchemaVersionId=_NO_VERSION)

    def _get(self, **which: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self._client().get_schema_version(**which)
        except boto.ClientError as error:
            raise self._refusal(error) from None
        except ConnectorError:
            raise
        except (boto.HTTPClientError, boto.ConnectionError) as error:
            said = f"cannot be reached ({type(error).__name__}); it is asked again until it recovers"
            raise UnavailableError(f"{self.shown} {said}", code="schema_registry") from error
        except boto.BotoCoreError as error:
            raise credential_error(error) from error
        return answer

    def _client(self) -> Any:
        if self._made is None:
            made = session(self._target)
            vars(made)["_credentials"] = chain(self._target)  # with the role, kept fresh
            self._made = made.create_client("glue", endpoint_url=self._url)
        return self._made

    def _refusal(self, error: boto.ClientError) -> Exception:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in _NO_SUCH:
            return NotFoundError()
        if code in _PASSES or status in {429, *range(500, 600)}:
            said = f"{self.shown} answers {code}; it is asked again until it recovers"
            return UnavailableError(said, code="schema_registry")
        return NotAuthorizedError(
            f"{self.shown} answers {code}: allow this identity glue:GetSchemaVersion on the registry and its "
            f"schemas, and check {self._setting}.region"
        )
