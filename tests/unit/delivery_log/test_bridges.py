"""What running bridges say of records that wait."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from connector.delivery_log.bridges import BridgeEvidence, Readiness, ask
from connector.sandbox.server import free_port

ACME, BLUE = "aws.partner/example.com/acme", "aws.partner/example.com/blue"
READY = {"ready": True, "reasons": {}, "targets_down": {}, "first_lookups": {}, "sources_failing": []}


def ready(**says: object) -> Readiness:
    """What a bridge says of itself."""
    return Readiness.model_validate({**READY, **says})


@contextmanager
def answering(answers: Mapping[str, tuple[int, object]]) -> Iterator[str]:
    """A server with an answer for each path; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers[self.path]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_unready_bridge_says_why() -> None:
    """Its answer has the status 503, and is read all the same."""
    unready = {**READY, "ready": False, "reasons": {"kafka": "broker 1 does not answer"}}
    with answering({"/sources": (200, {"sources": []}), "/readyz": (503, unready)}) as url:
        answers = ask([f"{url}/"], {})

    assert "broker 1 does not answer" == answers.why_waiting(["orders"], "default", ACME)
    assert {} == answers.silent


def test_a_bridge_that_does_not_answer_is_silent() -> None:
    """So is one that answers something else."""
    nothing = f"http://127.0.0.1:{free_port()}"
    with answering({"/sources": (200, []), "/readyz": (200, READY)}) as other:
        assert [nothing, other] == list(ask([nothing, other], {}).silent)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"state": "ACTIVE", "since": "x"}, None),
        (
            {"state": "PENDING", "since": "2026-11-22T10:00:00Z"},
            f"{ACME} is PENDING since 2026-11-22T10:00:00Z: ",
        ),
        ({"state": "OTHER", "reason": "HIDDEN"}, f"{ACME} is OTHER: HIDDEN"),
        ({"state": "ACTIVE", "paused": {"until": None}}, f"{ACME} is paused until it is resumed"),
    ],
)
def test_why_a_source_is_held(said: Mapping[str, object], expected: str | None) -> None:
    """Only of the source and target that are asked for."""
    answers = BridgeEvidence(sources=[{"source": ACME, "target": "default", **said}])
    why = answers.why_held("default", ACME, holds_inactive=True)

    assert why is None if expected is None else (why or "").startswith(expected)
    assert answers.why_held("default", BLUE, holds_inactive=True) is None
    assert answers.why_held("other", ACME, holds_inactive=True) is None


def test_reasons_to_wait_are_of_its_own_target_and_source() -> None:
    failing = [{"source": ACME, "target": "default", "reason": "refused"}]
    says = ready(targets_down={"west": "it answers 503"}, sources_failing=failing)
    answers = BridgeEvidence(ready=[says, says])

    assert "refused" == answers.why_waiting(["orders"], "default", ACME)
    assert "it answers 503" == answers.why_waiting(["orders"], "west", ACME)
    assert answers.why_waiting(["orders"], "default", BLUE) is None


def test_what_is_paused_is_held_whatever_the_policy() -> None:
    """What is not ACTIVE is held by policy only."""
    source = {"source": ACME, "target": "default", "state": "PENDING"}
    paused = {**source, "paused": {"kind": "source", "name": ACME, "until": "2026-11-22T12:00:00Z"}}

    assert BridgeEvidence(sources=[source]).why_held("default", ACME, holds_inactive=False) is None
    assert f"{ACME} is paused until 2026-11-22T12:00:00Z" == (
        BridgeEvidence(sources=[paused]).why_held("default", ACME, holds_inactive=False)
    )


def test_records_of_a_paused_topic_or_target_wait() -> None:
    """A topic is also paused by its pattern."""
    pauses = [
        {"kind": "topic", "name": "orders", "until": None},
        {"kind": "topic", "name": "^ord.+", "until": None},
        {"kind": "target", "name": "west", "until": "2026-11-22T12:00:00Z"},
    ]
    answers = BridgeEvidence(ready=[ready(pauses=pauses)])

    assert "the topic orders is paused until it is resumed" == answers.why_waiting(
        ["orders"], "default", ACME
    )
    assert "the topic ^ord.+ is paused until it is resumed" == answers.why_waiting(
        ["orders.v1", "^ord.+"], "default", ACME
    )
    assert "the target west is paused until 2026-11-22T12:00:00Z" == answers.why_waiting(
        ["notes"], "west", ACME
    )
    assert answers.why_waiting(["notes"], "default", ACME) is None
