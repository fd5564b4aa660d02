"""The schema registry's client, against a real HTTP server on this machine."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from connector import config
from connector.errors import ConfigError, DecodeError, NotAuthorizedError, UnavailableError
from connector.formats import registry_http, schema_registry
from connector.formats.schema_registry import SchemaRegistryClient, Schemas
from tests.scripted_registry import Respond, ScriptedRegistry, not_found, says

DEADLINE_S = 5.0


@pytest.fixture
def server() -> Iterator[ScriptedRegistry]:
    running = ScriptedRegistry()
    yield running
    running.close()


@contextmanager
def registry_at(url: str, **keys: Any) -> Iterator[SchemaRegistryClient]:
    client = SchemaRegistryClient(config.SchemaRegistry(url=url, **keys))
    try:
        yield client
    finally:
        client.close()


def eventually(attempt: Callable[[], Any]) -> Any:
    """What `attempt` gives once it raises UnavailableError no more."""
    until_s = time.monotonic() + DEADLINE_S
    while True:
        try:
            return attempt()
        except UnavailableError:
            if time.monotonic() > until_s:
                raise
            threading.Event().wait(0.005)


def fetched(client: SchemaRegistryClient, schema_id: int) -> list[Any]:
    """The JSON of a schema, and of those that it refers to."""
    schemas: Schemas = eventually(lambda: client.get(schema_id))
    return [json.loads(schema) for schema in schemas]


def refusal(client: SchemaRegistryClient, schema_id: int) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        fetched(client, schema_id)
    return caught.value


def failure(client: SchemaRegistryClient, schema_id: int = 1) -> str:
    """The reason why a schema is not to be had, once the first attempt has ended."""
    until_s = time.monotonic() + DEADLINE_S
    while client.problem() is None and time.monotonic() < until_s:
        with pytest.raises(UnavailableError):
            client.get(schema_id)
        threading.Event().wait(0.005)
    with pytest.raises(UnavailableError) as caught:
        client.get(schema_id)
    assert "schema_registry" == caught.value.code
    assert client.problem() == str(caught.value)
    return str(caught.value)


def test_a_schema_is_asked_for_once(server: ScriptedRegistry) -> None:
    """The first `get` says that it is not here yet; then it is, and for ever, even with the registry gone."""
    server.schema(7, "string")
    with registry_at(server.url) as registry:
        with pytest.raises(UnavailableError, match=r"schema 7 is being fetched from http://127\.0\.0\.1"):
            registry.get(7)
        fetched(registry, 7)
        server.answers.clear()

        assert [b'"string"'] == registry.get(7)
        assert ["/schemas/ids/7"] == server.requests
        assert registry.problem() is None


def test_get_never_waits_for_the_network(server: ScriptedRegistry) -> None:
    """With a registry that does not answer, `get` comes back at once."""
    release = threading.Event()
    server.answers["/schemas/ids/1"] = lambda _: (release.wait(DEADLINE_S), None)[1]
    with registry_at(server.url, timeout=DEADLINE_S) as registry:
        started_s = time.monotonic()
        for _ in range(100):
            with pytest.raises(UnavailableError):
                registry.get(1)
        release.set()

        assert time.monotonic() - started_s < 0.5
        assert len(server.requests) <= 1


def test_a_url_may_have_a_path_and_credentials_go_along(server: ScriptedRegistry) -> None:
    """A base path, basic authentication, and a bearer token."""
    server.answers["/apis/ccompat/v7/schemas/ids/1"] = says(200, {"schema": '"string"'})
    credentials = {"username": "user", "password": "pass word"}
    with registry_at(f"{server.url}/apis/ccompat/v7/", basic_auth=credentials) as registry:
        fetched(registry, 1)
        assert f"Basic {base64.b64encode(b'user:pass word').decode()}" == server.authorization
    with registry_at(f"{server.url}/apis/ccompat/v7", bearer_token="t0k3n") as registry:
        fetched(registry, 1)
        assert "Bearer t0k3n" == server.authorization


def test_references_are_fetched_innermost_first(server: ScriptedRegistry) -> None:
    """A schema may use types of other subjects, and those of more; each version is fetched once."""
    a_money = {"type": "record", "name": "shop.Money", "fields": []}
    server.version("money", 2, a_money)
    money = {"name": "shop.Money", "subject": "money", "version": 2}
    line = {"type": "record", "name": "shop.Line", "fields": [{"name": "price", "type": "Money"}]}
    server.version("line%2Fv1", 1, line, references=[money])
    order = {"type": "record", "name": "shop.Order", "fields": [{"name": "line", "type": "Line"}]}
    server.schema(1, order, references=[{"name": "x", "subject": "line/v1", "version": 1}, money])
    with registry_at(server.url) as registry:
        schemas = fetched(registry, 1)

    assert [a_money, line, order] == schemas
    assert [
        "/schemas/ids/1",
        "/subjects/line%2Fv1/versions/1",
        "/subjects/money/versions/2",
    ] == server.requests


def test_an_unknown_id_gets_one_grace_then_is_remembered(
    server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schema just registered may not be everywhere yet; after a second look the record is refused."""
    monkeypatch.setattr(schema_registry, "GRACE_S", 0.05)
    with registry_at(server.url) as registry:
        first = refusal(registry, 8)
        again = refusal(registry, 8)

        assert ["schema_unknown"] * 2 == [first.code, again.code]
        assert "schema 8 is not in the registry at http://127.0.0.1" in str(first)
        assert 2 == len(server.requests)
        assert registry.problem() is None

        monkeypatch.setattr("connector.formats.schema_registry.time.monotonic", later(30.1))
        server.schema(8, "int")

        assert ["int"] == fetched(registry, 8)


def later(seconds: float) -> Callable[[], float]:
    real = time.monotonic
    return lambda: real() + seconds


def test_unknown_ids_in_a_row_get_no_grace(server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that only look like ids do not stop their partition with every record, but new schemas have time.

    The grace is back once a schema was found, and after half a minute without unknown ids.
    """
    monkeypatch.setattr(schema_registry, "GRACE_S", 0.05)
    server.schema(1, "int")

    def looks(registry: SchemaRegistryClient, *schema_ids: int) -> list[int]:
        for schema_id in schema_ids:
            assert "schema_unknown" == refusal(registry, schema_id).code
        return [server.requests.count(f"/schemas/ids/{schema_id}") for schema_id in schema_ids]

    with registry_at(server.url) as registry:
        assert [2, 2, 2, 1, 1, 1] == looks(registry, 10, 11, 12, 13, 14, 15)
        fetched(registry, 1)
        assert [2, 2, 2, 1] == looks(registry, 20, 21, 22, 23)
        monkeypatch.setattr("connector.formats.schema_registry.time.monotonic", later(30.1))
        assert [2, 2, 2, 1] == looks(registry, 30, 31, 32, 33)


def test_a_schema_that_appears_within_the_grace_is_used(
    server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two looks the schema arrives: no record is lost."""
    monkeypatch.setattr(schema_registry, "GRACE_S", 0.05)

    def appears(request: BaseHTTPRequestHandler) -> None:
        server.schema(8, "int")
        not_found(request)

    server.answers["/schemas/ids/8"] = appears
    with registry_at(server.url) as registry:
        assert ["int"] == fetched(registry, 8)


def test_what_is_remembered_is_bounded(server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that only look like ids cannot fill memory."""
    monkeypatch.setattr(schema_registry, "GRACE_S", 0.0)
    monkeypatch.setattr(schema_registry, "MAX_TRACKED", 3)
    with registry_at(server.url) as registry:
        for schema_id in range(10, 20):
            refusal(registry, schema_id)

        assert 3 == len(registry._attempts)


@pytest.mark.parametrize(("bound", "most"), [("MAX_KNOWN", 2), ("MAX_KNOWN_BYTES", 20)])
def test_schemas_beyond_the_bound_are_fetched_anew(
    server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    """A producer that registers a schema with every start must not fill memory, nor lose a record by it."""
    monkeypatch.setattr(schema_registry, bound, most)
    for schema_id in (1, 2, 3):
        server.schema(schema_id, "string")
    with registry_at(server.url) as registry:
        for schema_id in (1, 2, 3, 1):
            assert ["string"] == fetched(registry, schema_id)

        assert [f"/schemas/ids/{schema_id}" for schema_id in (1, 2, 3, 1)] == server.requests
        assert 2 == len(registry._known)


def test_an_id_that_no_registry_gives_out_is_not_asked_for(server: ScriptedRegistry) -> None:
    """Four bytes can hold more than a registry's ids: such a record is refused at once."""
    with registry_at(server.url) as registry, pytest.raises(DecodeError) as caught:
        registry.get(2**31)

    assert "schema_unknown" == caught.value.code
    assert [] == server.requests


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (
            {"schema": "{}", "schemaType": "PROTOBUF"},
            "schema 1 is a PROTOBUF schema, and the format says avro",
        ),
        ({"schema": "no json"}, "schema 1 is not a usable Avro schema"),
        ({"schema": "[" * 5000}, "schema 1 is not a usable Avro schema"),
    ],
)
def test_a_schema_that_is_not_avro_costs_its_records(
    server: ScriptedRegistry, answer: object, rule: str
) -> None:
    """What is registered under an id never changes, so its records are refused, and it is asked for once."""
    server.answers["/schemas/ids/1"] = says(200, answer)
    with registry_at(server.url) as registry:
        error = refusal(registry, 1)
        refusal(registry, 1)

    assert "schema_invalid" == error.code
    assert rule in str(error)
    assert 1 == len(server.requests)


def test_references_are_bounded(server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Schemas that refer to each other without end are refused, or to too much, or to what is missing."""
    monkeypatch.setattr(schema_registry, "GRACE_S", 0.0)
    monkeypatch.setattr(schema_registry, "MAX_REFERENCES_BYTES", 1_000)
    for version in range(1, 120):
        next_one = [{"name": "n", "subject": "s", "version": version + 1}]
        server.version("s", version, "int", references=next_one)
    server.schema(1, "int", references=[{"name": "n", "subject": "s", "version": 1}])
    server.schema(2, "int", references=[{"name": "n", "subject": "gone", "version": 4}])
    server.version("long", 1, "x" * 600)
    server.version("longer", 1, "x" * 600, references=[{"name": "n", "subject": "long", "version": 1}])
    server.schema(3, "int", references=[{"name": "n", "subject": "longer", "version": 1}])
    with registry_at(server.url) as registry:
        endless, missing, large = refusal(registry, 1), refusal(registry, 2), refusal(registry, 3)

    assert ("schema_invalid", "schema_unknown") == (endless.code, missing.code)
    assert "schema_invalid" == large.code
    assert "more than 1,000 bytes together" in str(large)
    assert "more than 100 other schemas" in str(endless)
    assert "version 4 of gone" in str(missing)


@pytest.mark.parametrize(
    ("respond", "reason"),
    [
        (says(401, {}), "answers 401: check basic_auth"),
        (says(403, {}), "answers 403: check basic_auth"),
        (says(500, {}), "answers 500"),
        (says(429, {}), "answers 429"),
        (says(301, {}, Location="http://127.0.0.1:1/"), "a redirect, which is not followed"),
        (says(404, b"<html>"), "is the path of its url right?"),
        (says(404, {"error_code": 404, "message": "HTTP 404 Not Found"}), "is the path of its url right?"),
        (says(200, b"<html>please log in</html>"), "it holds no schema"),
        (says(200, {"id": 1}), "it holds no schema"),
        (says(200, {"schema": '"int"', "references": [{"subject": "s"}]}), "has no subject or version"),
        (says(200, b"{" * (registry_http.MAX_ANSWER_BYTES + 1)), "over 1,048,576 bytes"),
        (says(500, b"{" * (registry_http.MAX_ANSWER_BYTES + 1)), "over 1,048,576 bytes"),
        (lambda request: request.connection.close(), "the schema registry at http://127.0.0.1"),
        (lambda request: request.wfile.write(b"nonsense\r\n\r\n"), "breaks off its answer (BadStatusLine)"),
    ],
)  # fmt: skip
def test_a_registry_in_trouble_is_nobodys_fault(
    server: ScriptedRegistry, respond: Respond, reason: str
) -> None:
    """Nothing is refused for it: the reason says what the registry did, and heals by itself."""
    server.answers["/schemas/ids/1"] = respond
    with registry_at(server.url, bearer_token="t0k3n") as registry:
        shown = failure(registry)
        server.schema(1, "int")

        assert shown.startswith("the schema registry at http://127.0.0.1:")
        assert reason in shown
        assert "t0k3n" not in shown
        assert ["int"] == fetched(registry, 1)
        assert registry.problem() is None


def test_a_registry_that_is_not_there_is_said_so() -> None:
    """Nobody listens: the reason is the operating system's."""
    with registry_at("http://127.0.0.1:1") as registry:
        assert "cannot be reached (Connection refused)" in failure(registry)


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b""])
def test_an_answer_that_drips_in_is_cut_at_the_deadline(server: ScriptedRegistry, start: bytes) -> None:
    """The timeout is for the whole answer, headers and body: a byte now and then does not prolong it."""
    stopped = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(start)
        try:
            while not stopped.wait(0.02):
                request.wfile.write(b"x")
        except OSError:
            stopped.set()  # the other side hung up

    server.answers["/schemas/ids/1"] = drip
    with registry_at(server.url, timeout=0.2) as registry:
        started_s = time.monotonic()

        assert "gives no whole answer within 0.2 s" in failure(registry)
        assert time.monotonic() - started_s < 2.0
        assert stopped.wait(DEADLINE_S)


def test_silence_is_a_timeout(server: ScriptedRegistry) -> None:
    """A registry that accepts and says nothing costs one timeout, not for ever."""
    release = threading.Event()
    server.answers["/schemas/ids/1"] = lambda _: (release.wait(DEADLINE_S), None)[1]
    with registry_at(server.url, timeout=0.1) as registry:
        shown = failure(registry)
        release.set()

        assert "within 0.1 s; see schema_registry.timeout" in shown


def test_retries_back_off(server: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is asked for, a schema that fails is fetched ever more rarely."""
    monkeypatch.setattr(schema_registry, "FIRST_PAUSE_S", 0.02)
    server.answers["/schemas/ids/1"] = says(500, {})
    with registry_at(server.url) as registry:
        until_s = time.monotonic() + 0.2
        while time.monotonic() < until_s:
            with pytest.raises(UnavailableError):
                registry.get(1)
            threading.Event().wait(0.001)

        # After pauses of 0.02, 0.04 and 0.08 s; the next would end after the deadline.
        assert 2 <= len(server.requests) <= 4


def test_check_asks_what_is_asked_for_real(server: ScriptedRegistry) -> None:
    """Reachable and permitted is enough; refused credentials and silence are told apart."""
    with registry_at(server.url) as registry:
        registry.check()
        server.schema(1, "int")
        registry.check()
        server.answers["/schemas/ids/1"] = says(401, {})
        with pytest.raises(NotAuthorizedError, match="answers 401"):
            registry.check()
        server.answers["/schemas/ids/1"] = says(503, {})
        with pytest.raises(UnavailableError, match="answers 503"):
            registry.check()


# TLS


def certificate(
    folder: Path, name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None
) -> Any:
    """Writes `name.pem` and `name.key`; signed by the issuer, or by itself, as a CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(issuer[1] if issuer else key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    (folder / f"{name}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    return signed, key


def test_tls_with_an_own_ca_and_a_client_certificate(tmp_path: Path) -> None:
    """The registry is verified against `ca`, and our certificate is shown; without them nothing is sent."""
    ca = certificate(tmp_path, "ca", None)
    certificate(tmp_path, "server", ca)
    certificate(tmp_path, "client", ca)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tmp_path / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    server = ScriptedRegistry(context)
    server.schema(1, "int")
    own = {"certificate": tmp_path / "client.pem", "private_key": tmp_path / "client.key"}
    try:
        with registry_at(server.url, ca=tmp_path / "ca.pem", **own) as registry:
            assert ["int"] == fetched(registry, 1)
        with registry_at(server.url, ca=tmp_path / "ca.pem") as registry:
            assert "the schema registry at https://127.0.0.1" in failure(registry)
        with registry_at(server.url, **own) as registry:
            assert "set schema_registry.ca to its CA" in failure(registry)
    finally:
        server.close()

    assert ["/schemas/ids/1"] == server.requests


def test_files_for_tls_that_are_none_are_problems_of_the_configuration(tmp_path: Path) -> None:
    """A CA or certificate that cannot be used is found at the start."""
    certificate(tmp_path, "ca", None)
    (tmp_path / "empty").touch()
    for keys, path in (
        ({"ca": tmp_path / "empty"}, "schema_registry.ca"),
        (
            {"certificate": tmp_path / "ca.pem", "private_key": tmp_path / "empty"},
            "schema_registry.certificate",
        ),
        ({"bearer_token": "a\nb"}, "schema_registry.bearer_token"),
    ):
        with pytest.raises(ConfigError) as caught, registry_at("https://127.0.0.1:1", **keys):
            pass

        assert [path] == [problem.path for problem in caught.value.problems]
        assert "a\nb" not in str(caught.value)
