"""An explanation says what the pipeline does: each template's result, the outcome, and what is misspelt."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from connector.formats.registries import Registries
from connector.model import Json, Partition, Record
from connector.pipeline import Pipeline
from connector.workbench.explanation import Explanation, TemplateResult, explain
from tests.configuration import Written, with_settings

EVENT: dict[str, Json] = {
    "source": "aws.partner/example.com/${value.tenant}",
    "detail_type": "Order ${value.status}",
    "resources": ["order/${value.id}"],
    "detail": {"total": "${value.total}", "fixed": 1},
}
ORDER: dict[str, Json] = {"tenant": "acme", "status": "PAID", "id": 7, "total": 12.5}
KEYS = [
    *("position", "outcome", "code", "message", "decoded", "templates", "entry", "size_bytes", "limit_bytes"),
    *("billed_chunks", "claim_check", "warnings"),
]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


def explained(
    written: Written,
    value: Json | bytes,
    *,
    event: dict[str, Json] | None = None,
    eventbridge: dict[str, Json] | None = None,
    **topic: Json,
) -> Explanation:
    settings = written.load(
        with_settings(
            eventbridge=eventbridge or {},
            topics={"orders.v1": {"value": {"format": "json"}, "event": {**EVENT, **(event or {})}, **topic}},
        )
    )
    content = value if isinstance(value, bytes) else None if value is None else orjson.dumps(value)
    record = Record(Partition("orders.v1", 3), 1042, 1_795_000_000_000, b"k", content, (("h", b"x"),))
    return explain(Pipeline(settings, Registries()), record)


CLAIM_CHECK: dict[str, Json] = {"bucket": "large", "prefix": "events", "path": "$.detail.lines"}
LINES: list[Json] = ["line " * 10] * 100


@pytest.mark.parametrize("target", ["default", "${value.target}"])
def test_an_event_over_the_limit_goes_by_reference(written: Written, target: str) -> None:
    """What goes to S3, under which key; the event that is sent says where it is, and counts what it holds."""
    found = explained(
        written,
        {**ORDER, "lines": LINES, "target": "default"},
        event={"detail": {"total": "${value.total}", "lines": "${value.lines}"}},
        eventbridge={"max_event_bytes": 1024, "claim_check": CLAIM_CHECK},
        target=target,
    )
    key = "events/aws.partner/example.com/acme/unknown/orders.v1/3/1042/1795000000000"

    assert "event" == found.outcome
    assert {"path": "$.detail.lines", "bytes": len(orjson.dumps(LINES)), "key": key} == found.claim_check
    assert found.entry is not None
    detail = found.entry["Detail"]
    assert isinstance(detail, dict)
    assert f"arn:aws:s3:::large/{key}" == detail["dataref"]
    assert {"total", "_kafka"} < detail.keys()
    assert (found.size_bytes or 0) < 1024


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"text": LINES}, "it has nothing at $.detail.lines that could go to S3"),
        ({"lines": [1], "text": LINES}, "3 bytes of it at $.detail.lines would go to S3"),
        ({"lines": LINES, "dataref": "mine"}, "or a `dataref…` of its own"),
    ],
)
def test_what_is_too_large_all_the_same_is_dead_lettered(
    written: Written, value: dict[str, Json], said: str
) -> None:
    """The letter says what the claim check did not do, and which setting to change."""
    found = explained(
        written,
        {**ORDER, **value},
        event={"detail": "${value}"},
        eventbridge={"max_event_bytes": 1024, "claim_check": CLAIM_CHECK},
    )

    assert ("dead_letter", "event_too_large") == (found.outcome, found.code)
    assert said in str(found.message)
    assert "name another part of it as `claim_check.path`" in str(found.message)


def test_without_a_claim_check_an_event_that_is_too_large_names_it(written: Written) -> None:
    """Whoever reads the letter learns that there is a way for such events."""
    found = explained(
        written,
        {**ORDER, "lines": LINES},
        event={"detail": "${value}"},
        eventbridge={"max_event_bytes": 1024},
    )

    assert "event_too_large" == found.code
    assert "Or set `claim_check`" in str(found.message)


def test_the_claim_check_may_begin_below_the_limit(written: Written) -> None:
    """To pay for fewer chunks; what has nothing at the path is sent as it is up to the limit."""
    eventbridge: dict[str, Json] = {"claim_check": {**CLAIM_CHECK, "above": 1024}}
    by_reference = explained(
        written, {**ORDER, "lines": LINES}, event={"detail": "${value}"}, eventbridge=eventbridge
    )
    whole = explained(
        written, {**ORDER, "text": LINES}, event={"detail": "${value}"}, eventbridge=eventbridge
    )

    assert by_reference.claim_check is not None
    assert whole.claim_check is None
    assert "event" == whole.outcome


def test_a_record_that_becomes_an_event(written: Written) -> None:
    """The entry as it would be sent, its size, and every template with its place and result."""
    found = explained(written, ORDER, filter="value.status != 'DRAFT'", event={"metadata": None})

    assert ("orders.v1[3]@1042", "event", None, None) == (
        found.position,
        found.outcome,
        found.code,
        found.message,
    )
    assert found.entry is not None
    assert {"total": 12.5, "fixed": 1} == found.entry["Detail"]
    assert ["order/7"] == found.entry["Resources"]
    assert found.templates[:2] == [
        TemplateResult("topics.orders.v1.filter", "value.status != 'DRAFT'", result=True),
        TemplateResult("topics.orders.v1.event.source", EVENT["source"], "aws.partner/example.com/acme"),  # type: ignore[arg-type]
    ]
    assert TemplateResult("topics.orders.v1.event.detail.total", "${value.total}", 12.5) in found.templates
    texts = ("aws.partner/example.com/acme", "Order PAID", "order/7", '{"total":12.5,"fixed":1}')
    assert 14 + sum(map(len, texts)) == found.size_bytes
    assert 1 == found.billed_chunks


def test_the_keys_of_its_json(written: Written) -> None:
    """They are a promise to scripts; and all of it is JSON."""
    shown = explained(written, ORDER).as_json()

    assert KEYS == list(shown)
    assert shown == orjson.loads(orjson.dumps(shown))


def test_a_record_that_is_dropped(written: Written) -> None:
    """The rule that drops it is its code: the filter or a tombstone."""
    filtered = explained(written, {**ORDER, "status": "DRAFT"}, filter="value.status != 'DRAFT'")
    tombstone = explained(written, None)

    assert ("filtered", "filter", None) == (filtered.outcome, filtered.code, filtered.entry)
    assert ("filtered", "tombstone", None) == (tombstone.outcome, tombstone.code, tombstone.entry)


def test_a_record_that_is_dead_lettered(written: Written) -> None:
    """With its code and message; the template that fails has null, the others have what they yield."""
    found = explained(written, {**ORDER, "tenant": None})

    assert ("dead_letter", "template_null", None) == (found.outcome, found.code, found.entry)
    assert found.message is not None
    assert "event.source" in found.message
    assert [None, "Order PAID"] == [each.result for each in found.templates[:2]]


def test_a_record_that_cannot_be_read(written: Written) -> None:
    """No template was evaluated, and what could be read is shown."""
    found = explained(written, b"{")

    assert ("dead_letter", "json_invalid", []) == (found.outcome, found.code, found.templates)
    assert isinstance(found.decoded, dict)
    assert (None, "k", {"h": "x"}) == tuple(found.decoded[name] for name in ("value", "key", "headers"))


def test_an_event_that_is_too_large_has_its_size(written: Written) -> None:
    """So that it can be compared with the limit; AWS would bill it in chunks."""
    found = explained(written, {**ORDER, "total": "x" * 300_000})

    assert "event_too_large" == found.code
    assert found.size_bytes is not None
    assert found.size_bytes > found.limit_bytes
    assert 5 == found.billed_chunks


@pytest.mark.parametrize(
    ("template", "wrong"),
    [
        ("${value.totl}", "totl"),
        ("${value.totl || 'none'}", "totl"),
        ("a ${value.lines[0].prise} b", "prise"),
        ("${value.lines[*].price | [?@ == value.totl]}", None),
        ("${length(value.lines) == `1` && value.lines[0].prise}", "prise"),
        ("${value.unrelated || 'none'}", None),
        ("${value.total}", None),
        ("${value.lines[*].prise}", None),
    ],
)
def test_a_misspelt_field(written: Written, template: str, wrong: str | None) -> None:
    """It is named with its template and what may be meant, wherever it begins at the record."""
    value: Json = {**ORDER, "lines": [{"price": 1}]}
    found = explained(written, value, event={"detail": {"x": template}})

    if wrong is None:
        assert [] == found.misspelt
    else:
        (problem,) = found.misspelt
        assert "topics.orders.v1.event.detail.x" == problem.path
        assert f"no field '{wrong}'; did you mean '" in problem.message
        assert str(problem) in found.warnings


def test_what_is_doubtful_in_the_event_is_among_the_warnings(written: Written) -> None:
    """Only of an event: what is dropped reaches nobody."""
    big = {**ORDER, "total": 2**53 + 1}

    assert any("2^53" in warning for warning in explained(written, big).warnings)
    assert [] == explained(written, big, filter="value.status == 'DRAFT'").warnings
