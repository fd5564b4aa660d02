"""Why a record could not be delivered, as most tests want it: a template found nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from connector.dead_letters.format import Failure


def failed(*, at_ms: int, event_id: str, **other: Any) -> Failure:
    """A failure at this moment; `other` are fields of `Failure` with another value."""
    found_nothing = Failure(
        code="template_null",
        stage="TRANSFORMATION",
        message="a template found nothing",
        exception_class="MappingError",
        attempts=0,
        first_failure_ms=at_ms,
        last_failure_ms=at_ms,
        request_id=None,
        target=None,
        source=None,
        detail_type=None,
        event_id=event_id,
    )
    return replace(found_nothing, **other)
