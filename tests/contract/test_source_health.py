"""The health of customers as data: of bridges that run, of several together, and of one that is gone."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import urllib3
import yaml
from jsonschema import Draft202012Validator

from connector.model import STATES, LastDelivery, LastError, SourceReport
from connector.sandbox.bridge import SandboxBridge
from connector.sandbox.eventbridge import FakeEventBridge
from connector.sandbox.testing import LocalSandbox
from connector.telemetry.health import Health
from connector.telemetry.metrics import Telemetry
from connector.telemetry.server import Server
from tests.services.child import wait_until
from tests.terminal import Ran, Terminal, screen

PREFIX = "aws.partner/example.com"
ACME, BLUE, SLOW = f"{PREFIX}/acme", f"{PREFIX}/blue", f"{PREFIX}/slow"
EU = "eu-central-1"
NOON_MS = 1_795_348_800_000
NOON = "2026-11-22T12:00:00Z"
CANARY = "canary-card"

SCHEMAS = Path(__file__).parents[2] / "schemas"
SCHEMA = json.loads((SCHEMAS / "source-health.json").read_text())


def closed(schema: Any) -> Any:
    """The same schema, for what we write ourselves: nothing is in it that it does not describe."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(each) for name, each in schema.items()}
    return {**inner, "additionalProperties": False} if inner.get("type") == "object" else inner


VALIDATOR = Draft202012Validator(closed(SCHEMA))


def valid(written: Any) -> Any:
    """What was written, which is as the schema says."""
    assert [] == [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(written)]
    return written


def report(**figures: Any) -> SourceReport:
    """acme as one bridge sees it."""
    known = SourceReport(ACME, "ACTIVE", NOON_MS, None, None, None, held=0, delivered=3, billed_chunks=4)
    return known._replace(delivered_bytes=900, dead_lettered=1, looked_up_ms=NOON_MS, **figures)


class Bridges:
    """Bridges that only answer HTTP."""

    def __init__(self) -> None:
        self._running = ExitStack()
        self.close = self._running.close

    def start(self, *reports: SourceReport, host: str = "127.0.0.1", port: int = 0) -> str:
        """One that says this of its sources; returns its URL."""
        health = Health()
        health.sources("default", reports)
        server = self._running.enter_context(closing(Server(health, Telemetry(), host=host, port=port)))
        return f"http://{host}:{server.port}"

    def start_other(self, answer: object) -> str:
        """Something else that answers, with any JSON."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *_: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, daemon=True).start()
        self._running.callback(server.server_close)
        self._running.callback(server.shutdown)
        return f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def bridges() -> Iterator[Bridges]:
    with closing(Bridges()) as bridges:
        yield bridges


@pytest.fixture
def aws(aws: FakeEventBridge) -> FakeEventBridge:
    """EventBridge with two customers."""
    aws.set_source(EU, ACME, "ACTIVE")
    aws.set_source(EU, BLUE, "ACTIVE")
    return aws


Run = Callable[..., Ran]


@pytest.fixture
def run(aws: FakeEventBridge, aws_environ: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Types `partner-bridge source …`; nothing answers on this machine's own port."""
    file = tmp_path / "bridge.yaml"
    file.write_text(
        f"""
kafka: {{bootstrap.servers: localhost:1, group.id: test}}
eventbridge: {{region: {EU}, endpoint_url: "{aws.url}"}}
dead_letter: {{topic: dlt}}
http: {{port: 1}}
topics:
  orders:
    value: {{format: json}}
    event: {{source: "{PREFIX}/${{value.tenant}}", detail_type: Order}}
"""
    )
    terminal = Terminal(capsys)
    return lambda *arguments: terminal.run("source", *arguments, "--config", str(file))


def at(*urls: str) -> list[str]:
    return [argument for url in urls for argument in ("--bridge", url)]


def of_acme(ran: Ran) -> Mapping[str, Any]:
    found = valid(json.loads(ran.out))["sources"]
    return next(each for each in found if each["source"] == ACME)


def test_replicas_are_added(run: Run, bridges: Bridges) -> None:
    """Counts are sums; the last of all replicas counts, and what has waited longest."""
    first = bridges.start(
        report(
            held=2,
            oldest_waiting_ms=NOON_MS + 5_000,
            last_delivery=LastDelivery(NOON_MS, "c/orders/0/1", "id-1"),
            last_error=LastError(NOON_MS, "InternalFailure", "an earlier one"),
        )
    )
    second = bridges.start(
        report(
            since_ms=NOON_MS - 60_000,
            oldest_waiting_ms=NOON_MS,
            last_delivery=LastDelivery(NOON_MS + 1_000, "c/orders/1/9", "id-9"),
            last_error=LastError(NOON_MS + 1_000, "source_unknown", "the last one"),
        )
    )
    ran = run("list", "--json", *at(first, second))
    later = "2026-11-22T12:00:01Z"

    assert of_acme(ran) == {
        "source": ACME, "target": "default", "region": EU, "state": "ACTIVE",
        "since": "2026-11-22T11:59:00Z", "other_states": [],
        "account": "111122223333", "created": of_acme(ran)["created"], "expires": None,
        "delivered": 6, "dead_lettered": 2, "held": 2, "oldest_waiting": NOON,
        "last_delivered": {"at": later, "event_id": "c/orders/1/9", "eventbridge_id": "id-9"},
        "last_error": {"at": later, "code": "source_unknown", "text": "the last one"},
        "paused": None, "bytes": 1800, "billed_chunks": 8,
    }  # fmt: skip
    found = json.loads(ran.out)
    assert ({"answered": [first, second], "silent": []}, None) == (found["bridges"], found["receipts"])
    assert [None] * 7 == [found["sources"][1][name] for name in (
        "since", "delivered", "dead_lettered", "held", "bytes", "last_delivered", "last_error"
    )]  # fmt: skip
    assert 6 == of_acme(run("status", ACME, "--json", *at(first, second)))["delivered"]
    assert 3 == of_acme(run("list", "--json", *at(first, first)))["delivered"], "one bridge counts once"


def test_a_replica_that_does_not_answer_is_named_and_the_others_count(run: Run, bridges: Bridges) -> None:
    """Also something else that answers there. Neither is a failure of the command."""
    well, other = bridges.start(report()), bridges.start_other({"sources": [{"name": "of another kind"}]})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gone = f"http://127.0.0.1:{taken.getsockname()[1]}"
    ran = run("list", "--json", *at(well, other, gone))
    silent = json.loads(ran.out)["bridges"]["silent"]
    told = run("list", *at(well, other, gone)).err

    assert (0, 3, [other, gone]) == (ran.code, of_acme(ran)["delivered"], silent)
    assert f"no bridge answers at {other}, so the figures are without it" in told
    assert "what answers there is no bridge" in told
    assert f"no bridge answers at {gone}, so the figures are without it" in told
    assert "Connection refused" in told


def test_an_older_bridge_counts_for_what_it_says(run: Run, bridges: Bridges) -> None:
    """During a rolling update both answer. So does a later one, with more to say."""
    old = {"source": ACME, "target": "default", "state": "ACTIVE", "since": NOON, "held": 1, "delivered": 10}
    pause = {"kind": "source", "name": BLUE, "until": None}
    new = {**old, "source": BLUE, "weather": "fine", "paused": pause}
    ran = run("list", "--json", *at(bridges.start(report()), bridges.start_other({"sources": [old, new]})))

    found = of_acme(ran)
    assert (13, 1, 1, 4) == tuple(
        found[name] for name in ("delivered", "held", "dead_lettered", "billed_chunks")
    )
    written = json.loads(ran.out)
    assert ([], pause) == (written["bridges"]["silent"], written["sources"][1]["paused"])


def test_replicas_that_disagree_about_a_state_are_told(run: Run, bridges: Bridges) -> None:
    """What EventBridge lists now counts; a bridge that looked earlier may still see another."""
    before = bridges.start(report(state="PENDING", since_ms=NOON_MS - 5_000))
    ran = run("list", "--json", *at(before, bridges.start(report())))

    assert ("ACTIVE", NOON, ["PENDING"]) == tuple(
        of_acme(ran)[name] for name in ("state", "since", "other_states")
    )
    assert (
        f"last saw 1 source in another state, as {ACME}: ACTIVE now, and PENDING there"
        in run("list", *at(before)).err
    )


def test_a_headless_service_is_every_address_of_its_name(
    run: Run, bridges: Bridges, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One name in place of the URL of each pod."""
    first = bridges.start(report())
    port = int(first.rpartition(":")[2])
    second = bridges.start(report(), host="127.0.0.2", port=port)
    assert 3 == of_acme(run("list", "--json", *at(f"dns:localhost:{port}")))["delivered"]

    resolve = socket.getaddrinfo

    def both(name: str, *arguments: Any, **options: Any) -> Any:
        if name != "bridge.default.svc":
            return resolve(name, *arguments, **options)
        return [
            found
            for host in ("127.0.0.1", "127.0.0.2")
            for found in resolve(host, port, type=socket.SOCK_STREAM)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    ran = run("list", "--json", *at(f"dns:bridge.default.svc:{port}"))

    assert (6, [first, second]) == (of_acme(ran)["delivered"], json.loads(ran.out)["bridges"]["answered"])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--bridge", "pod-0:8080"), "pod-0:8080 is not a URL, as http://pod-0:8080, and not dns:NAME:PORT"),
        (("--bridge", "dns:pod-0"), "dns:pod-0 is not dns:NAME:PORT, as dns:bridge.default:8080"),
        (("--since", "2h"), "the configuration has none; set `receipts`, or leave it out"),
    ],
)
def test_what_cannot_be_meant_is_refused(run: Run, arguments: tuple[str, ...], problem: str) -> None:
    """With the form that would be right."""
    ran = run("list", *arguments)

    assert 2 == ran.code
    assert problem in " ".join(ran.err.replace("│", " ").split())


def test_the_table_fits_the_terminal(run: Run, bridges: Bridges, monkeypatch: pytest.MonkeyPatch) -> None:
    """What support asks first is in the first columns; the rest goes on in further lines."""
    url = bridges.start(
        report(
            oldest_waiting_ms=NOON_MS,
            last_delivery=LastDelivery(NOON_MS, "c/orders/0/1", "id-1"),
            last_error=LastError(NOON_MS, "InternalFailure", "no"),
        )
    )
    for columns, first_line in ((80, 4), (120, 7)):
        with screen(monkeypatch, columns) as shown:
            run("list", *at(url))
        header = next(line for line in shown.lines if line.startswith("source "))  # below any note
        titles = ("source", "state", "account", "region", "last delivered", "oldest waiting", "last error")
        assert [] == shown.too_long
        assert all(title in header for title in titles[:first_line]), header
    whole = run("list", *at(url)).out.splitlines()
    assert re.search(r"ACTIVE +\d{12} +eu-central-1 +2026-11-22 12:00 +\S+ h +InternalFailure", whole[1])
    status = run("status", ACME, *at(url)).out
    assert re.search(rf"last delivered: +{NOON} \(c/orders/0/1, EventId id-1\)\n", status)
    assert re.search(rf"last error: +{NOON} InternalFailure: no\n", status)
    assert re.search(r"dead-lettered: +1\n.*bytes: +900\nchunks billed: +4\n", status, re.DOTALL)


def test_the_schema_knows_every_state_and_its_example_is_valid() -> None:
    """A state that it does not know would break whoever validates."""
    assert list(STATES) == SCHEMA["$defs"]["state"]["enum"]
    valid(json.loads((SCHEMAS / "source-health.example.json").read_text()))


@pytest.mark.long
def test_receipts_that_cannot_be_read_are_told_and_bridges_count(
    run: Run, bridges: Bridges, tmp_path: Path
) -> None:
    """What is there is shown, and what is missing is a problem, with exit code 4."""
    with (tmp_path / "bridge.yaml").open("a") as file:
        file.write("receipts: {topic: receipts}\n")
    ran = run("list", "--json", *at(bridges.start(report())))
    written = json.loads(ran.out)

    figures = tuple(of_acme(ran)[name] for name in ("delivered", "dead_lettered", "billed_chunks"))
    receipts, letters = written["problems"]
    assert (4, (3, 1, 4), None, None) == (ran.code, figures, written["receipts"], written["dead_letters"])
    assert "Receipts are not counted, nor what bridges delivered that are gone: Kafka" in receipts
    assert "Dead letters are counted as running bridges say, without those that are gone: Kafka" in letters


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[LocalSandbox]:
    with LocalSandbox(tmp_path) as sandbox:
        sandbox.create_topic("orders", 4)
        yield sandbox


def told_by(bridge: SandboxBridge, source: str) -> Mapping[str, Any]:
    """What `/sources` says of one."""
    answer = valid(urllib3.request("GET", f"{bridge.url}/sources", timeout=5).json())
    return next((each for each in answer["sources"] if each["source"] == source), {})


@pytest.mark.long
def test_what_a_replica_said_that_is_gone_is_not_lost(
    sandbox: LocalSandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two bridges deliver, dead-letter and hold; the one that dead-lettered is killed. Receipts and letters
    know what it delivered and dead-lettered, and all counts are since the same time."""
    settings: dict[str, Any] = {
        "name": "health",
        "kafka": {"bootstrap.servers": "x:1", "group.id": "health"},
        "eventbridge": {"region": EU, "retry": {"max_interval": "200ms"}},
        "dead_letter": {"topic": "dlt", "create": True},
        "receipts": {"topic": "receipts", "create": True},
        "topics": {
            "orders": {
                "value": {"format": "json"},
                "on_inactive_source": "hold",
                "event": {"source": PREFIX + "/${value.tenant}", "detail_type": "Order"},
            }
        },
    }
    sandbox.set_source(SLOW, "PENDING", region=EU)
    sandbox.fault(
        "entry_error", source=BLUE, code="MalformedDetail", message=f"Detail '{CANARY}' is malformed."
    )
    one, two = sandbox.start_bridge(settings), sandbox.start_bridge(settings)

    def is_shared() -> bool:
        ready = [urllib3.request("GET", f"{bridge.url}/readyz", timeout=5).json() for bridge in (one, two)]
        return [2, 2] == [each["partitions_assigned"] for each in ready]

    wait_until(is_shared, what="both have partitions", timeout_s=60)
    for number in range(40):
        sandbox.produce("orders", {"tenant": "acme", "card": CANARY}, key=str(number))
    sandbox.produce("orders", {"tenant": "blue", "card": CANARY}, {"tenant": "slow"}, key="1")
    sandbox.wait_for_events(40, source=ACME)

    def counted() -> dict[str, int]:
        found = [told_by(bridge, name) for bridge in (one, two) for name in (ACME, BLUE, SLOW)]
        names = ("delivered", "dead_lettered", "held")
        return {name: sum(each.get(name, 0) for each in found) for name in names}

    expected = {"delivered": 40, "dead_lettered": 1, "held": 1}
    wait_until(lambda: counted() == expected, what=lambda: str(counted()), timeout_s=30)

    for name, value in sandbox.addresses()["environment"].items():
        monkeypatch.setenv(name, value)
    terminal = Terminal(capsys)
    plain = one.config.with_name("plain.yaml")
    plain.write_text(
        yaml.safe_dump({k: v for k, v in json.loads(one.config.read_text()).items() if k != "receipts"})
    )

    def listed(config: Path, *arguments: str) -> tuple[dict[str, Any], dict[str, Any]]:
        ran = terminal.run(
            "source", "list", "--json", "--config", str(config), *at(one.url, two.url), *arguments
        )
        assert CANARY not in ran.out
        written = valid(json.loads(ran.out))
        assert (0, []) == (ran.code, written["problems"])
        return {each["source"].rpartition("/")[2]: each for each in written["sources"]}, written

    found, written = listed(plain)
    assert (40, 40, None) == (found["acme"]["delivered"], found["acme"]["billed_chunks"], written["receipts"])
    assert (1, "entry_refused") == (found["blue"]["dead_lettered"], found["blue"]["last_error"]["code"])
    assert "MalformedDetail" in found["blue"]["last_error"]["text"]
    assert ("PENDING", 1) == (found["slow"]["state"], found["slow"]["held"])
    assert found["slow"]["oldest_waiting"] is not None
    assert found["acme"]["oldest_waiting"] is None
    theirs = found["acme"]["last_delivered"]["eventbridge_id"]
    assert theirs in {event["id"] for event in sandbox.events(source=ACME)}

    known = ("delivered", "bytes", "billed_chunks", "dead_lettered", "last_error")
    before = {name: figures for name, figures in found.items() if name != "slow"}
    wait_until(lambda: 40 == listed(one.config)[0]["acme"]["delivered"], what="all receipts", timeout_s=30)
    gone, left = (one, two) if told_by(one, BLUE).get("dead_lettered") else (two, one)
    lost = told_by(gone, ACME)["delivered"]
    assert 0 < lost < 40
    gone.kill()

    found, written = listed(plain)
    assert (40 - lost, [gone.url]) == (found["acme"]["delivered"], written["bridges"]["silent"])
    assert (40 - lost, None) == (found["acme"]["billed_chunks"], written["dead_letters"])
    assert not found["blue"]["dead_lettered"]
    found, written = listed(one.config, "--since", "1h")
    for name, figures in before.items():
        assert [figures[each] for each in known] == [found[name][each] for each in known]
    assert ("receipts", "dlt") == (written["receipts"]["topic"], written["dead_letters"]["topic"])
    assert written["receipts"]["since"] == written["dead_letters"]["since"]
    assert [0, 0, 0, 0] == [found["slow"][each] for each in known[:4]]
    assert found["acme"]["last_delivered"]["event_id"].split("/")[1] == "orders"
    status = terminal.run("source", "status", BLUE, "--config", str(one.config), *at(left.url))
    assert re.search(
        r"last error: +\S+ entry_refused: .*delivered: +0\ndead-lettered: +1\n", status.out, re.DOTALL
    )
    assert "also of bridges that are gone" in " ".join(status.err.split())
