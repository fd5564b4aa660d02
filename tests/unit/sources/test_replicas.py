"""What several bridges say of one source, added."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.model import STATES, iso_second
from connector.sources.replicas import SourceHealth, added, ask, bridge_problem, json_of, of_each

ACME = "aws.partner/example.com/acme"

counts = st.none() | st.integers(0, 10**12)
times = st.none() | st.integers(0, 2 * 10**12).map(iso_second)
happened = st.none() | st.builds(lambda at, code: {"at": at, "code": code}, times.filter(bool), st.text())
reports = st.builds(
    SourceHealth,
    source=st.just(ACME),
    target=st.just("default"),
    state=st.sampled_from(STATES),
    since=times,
    looked_up=times,
    delivered=counts,
    dead_lettered=counts,
    held=counts,
    oldest_waiting=times,
    last_delivered=happened,
    last_error=happened,
    paused=st.none() | st.just({"kind": "source", "name": "*", "until": None}),
    bytes=counts,
    billed_chunks=counts,
)


def report(state: str = "ACTIVE", **figures: object) -> SourceHealth:
    return SourceHealth.model_validate({"source": ACME, "target": "default", "state": state, **figures})


def total(*parts: SourceHealth, state: str = "ACTIVE") -> SourceHealth:
    return added(ACME, "default", state, parts)


def test_counts_are_summed_and_times_chosen() -> None:
    """The last delivery and error are the latest of any replica, and what waits longest is the oldest."""
    one = report(
        since="2026-11-01T00:00:00Z",
        delivered=3,
        dead_lettered=1,
        held=0,
        bytes=700,
        billed_chunks=4,
        oldest_waiting="2026-11-29T10:00:00Z",
        last_delivered={"at": "2026-11-29T10:00:01Z", "event_id": "a", "eventbridge_id": "b"},
        last_error={"at": "2026-11-28T00:00:00Z", "code": "InternalFailure", "text": "no"},
    )
    two = report(
        since="2026-11-02T00:00:00Z",
        delivered=4,
        dead_lettered=0,
        held=2,
        bytes=300,
        billed_chunks=4,
        oldest_waiting="2026-11-29T09:00:00Z",
        last_error={"at": "2026-11-28T00:00:01Z", "code": "source_unknown", "text": "gone"},
    )

    assert total(one, two) == report(
        since="2026-11-01T00:00:00Z",
        delivered=7,
        dead_lettered=1,
        held=2,
        bytes=1000,
        billed_chunks=8,
        oldest_waiting="2026-11-29T09:00:00Z",
        last_delivered=one.last_delivered,
        last_error=two.last_error,
    )


@given(parts=st.lists(reports, max_size=6), cut=st.integers(0, 6), state=st.sampled_from(STATES))
def test_it_does_not_matter_in_which_order_or_groups_replicas_are_added(
    parts: list[SourceHealth], cut: int, state: str
) -> None:
    """A partner may add bridges, and again what was added."""
    times_of = [{(e or {}).get("at") for e in (p.last_delivered, p.last_error)} for p in parts]
    whole = total(*parts, state=state)
    grouped = total(total(*parts[:cut], state=state), total(*parts[cut:], state=state), state=state)
    backwards = total(*reversed(parts), state=state)

    assert _shape(whole) == _shape(backwards)
    assert _figures(whole) == _figures(grouped)
    assert whole.last_delivered is None or any(whole.last_delivered["at"] in times for times in times_of)


def _figures(health: SourceHealth) -> Sequence[object]:
    """All that is summed or chosen, without what was said at the same time by two."""
    return [
        health.delivered, health.dead_lettered, health.held, health.bytes, health.billed_chunks,
        health.oldest_waiting, health.looked_up, health.since,
        (health.last_delivered or {}).get("at"), (health.last_error or {}).get("at"),
    ]  # fmt: skip


def _shape(health: SourceHealth) -> Sequence[object]:
    return [*_figures(health), health.other_states]


def test_replicas_that_see_another_state_are_told_apart() -> None:
    """It is in its state since the first that agrees saw it, and the states of the others are named."""
    pending = report("PENDING", since="2026-11-01T00:00:00Z")
    active = report("ACTIVE", since="2026-11-29T10:00:00Z")
    found = total(pending, active, report("LOOKING", since="2026-11-29T11:00:00Z"))

    assert ("2026-11-29T10:00:00Z", ("PENDING",)) == (found.since, found.other_states)
    assert total(pending).since is None


def test_what_no_bridge_says_is_not_known() -> None:
    """None rather than 0, which would say that nothing was delivered."""
    assert total() == SourceHealth(source=ACME, target="default", state="ACTIVE")


@pytest.mark.parametrize(
    "bridge",
    ["http://pod-0:8080", "https://bridge.example.com/a/", "dns:bridge.default:8080", "http://[::1]:80"],
)
def test_where_bridges_may_be_asked(bridge: str) -> None:
    assert bridge_problem(bridge) is None


@pytest.mark.parametrize(
    "bridge",
    ["pod-0:8080", "ftp://pod-0", "http://", "http://pod:99999", "dns:bridge", "dns:bridge:0", "dns::8080",
     "dns:bridge:65536", "dns:http://bridge:8080", ""],
)  # fmt: skip
def test_what_is_no_place_of_a_bridge_is_refused_with_the_form(bridge: str) -> None:
    assert "dns:NAME:PORT" in str(bridge_problem(bridge))


def test_a_name_that_does_not_resolve_is_silent() -> None:
    """A Service without a ready pod has no addresses, and is said."""
    answers = ask(["dns:bridge.invalid:8080"], {})

    assert ({}, []) == (answers.sources, answers.answered)
    assert "the name does not resolve" in answers.silent["dns:bridge.invalid:8080"]


def test_bridges_are_asked_at_the_same_time() -> None:
    """Else a dozen that do not answer would take half a minute."""
    all_asked = threading.Barrier(8, timeout=10)
    answers = of_each([f"http://pod-{number}:8080/" for number in range(8)], lambda _: all_asked.wait())

    assert ({f"http://pod-{number}:8080" for number in range(8)}, {}) == ({*answers.said}, answers.silent)


def test_what_does_not_speak_http_is_silent() -> None:
    """As a port of Kafka."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        answering = threading.Thread(target=_say_hello, args=[server])
        answering.start()
        answers = of_each([url], lambda url: json_of(url, {}))
        answering.join()

    assert {url: "what answers there is no bridge: its answer is not HTTP"} == answers.silent


def _say_hello(server: socket.socket) -> None:
    client, _ = server.accept()
    with client:
        client.recv(4096)
        client.sendall(b"hello\r\n\r\n")
