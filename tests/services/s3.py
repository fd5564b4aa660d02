"""S3 for tests: moto's server behind a door that verifies signatures, and can refuse, hang up, or be late."""

from __future__ import annotations

import calendar
import http.client
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any

import boto3
from botocore.auth import SIGV4_TIMESTAMP, S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.server import ThreadedMotoServer

from connector.sandbox.awsjson import Credential
from connector.sandbox.eventbridge import ACCESS_KEY_ID, SECRET_ACCESS_KEY

BUCKET = "large-events"
REGION = "eu-central-1"
MAX_SKEW_S = 15 * 60
"""https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html: RequestTimeTooSkewed."""
OURS = MappingProxyType({ACCESS_KEY_ID: Credential(SECRET_ACCESS_KEY)})


class S3:
    """A bucket, and what is in it. `url` is for clients, who address it by path."""

    def __init__(self, url: str, moto_url: str) -> None:
        self.url = url
        self.puts = 0
        """Uploads that S3 took."""
        self.fault: tuple[int, str] | None = None
        """Status and code of what uploads get instead; status 0 cuts the connection."""
        self.fault_every = 1
        """One object in so many gets the fault, beginning with the first,"""
        self.fault_tries: int | None = None
        """and only at so many tries; None for all of them."""
        self.faults = 0
        """Uploads that got one."""
        self._tries: dict[str, int] = {}
        self.counting = threading.Lock()
        """Held while one of the counts changes: uploads come side by side."""
        self.credentials: Mapping[str, Credential] = OURS
        """Whose uploads it takes, by access key."""
        self.clock_ahead_s = 0
        """Seconds by which its clock is ahead of this machine's."""
        self.refused = 0
        """Uploads that it refused for their date, credentials or signature."""
        self.client: Any = boto3.client(
            "s3",
            region_name=REGION,
            endpoint_url=moto_url,
            aws_access_key_id=ACCESS_KEY_ID,
            aws_secret_access_key=SECRET_ACCESS_KEY,
        )
        self.client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})

    def calm(self) -> None:
        """Take all that is sent, at the right time, and forget what came before."""
        self.fault, self.fault_every, self.fault_tries, self.clock_ahead_s = None, 1, None, 0
        self.puts = self.refused = self.faults = 0
        self.credentials = OURS
        self._tries.clear()

    def fault_of(self, path: str) -> tuple[int, str] | None:
        """What this try of an upload gets instead, which counts it."""
        with self.counting:
            tries = self._tries[path] = self._tries.get(path, 0) + 1
            number = [*self._tries].index(path)
            if self.fault is None or number % self.fault_every or tries > (self.fault_tries or tries):
                return None
            self.faults += 1
            return self.fault

    def objects(self) -> list[str]:
        """The keys of all objects."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [each["Key"] for page in pages for each in page.get("Contents", [])]

    def get(self, arn: str) -> bytes:
        """The content of an object, as a customer reads it by the ARN in its event."""
        bucket, _, key = arn.removeprefix("arn:aws:s3:::").partition("/")
        body: bytes = self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def head(self, key: str) -> dict[str, Any]:
        """What S3 keeps of an object besides its content."""
        found: dict[str, Any] = self.client.head_object(Bucket=BUCKET, Key=key)
        return found

    def drop(self) -> None:
        """Delete the bucket and all in it; moto would keep it for its next server in this process."""
        for key in self.objects():
            self.client.delete_object(Bucket=BUCKET, Key=key)
        self.client.delete_bucket(Bucket=BUCKET)


@contextmanager
def serving_s3() -> Iterator[S3]:
    """A bucket while the context lasts."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for each request
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            if self.headers.get("Expect", "").lower() == "100-continue":
                self.send_response_only(100)
                self.end_headers()
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if (fault := s3.fault_of(self.path)) is not None:
                status, code = fault
                if status == 0:
                    self.close_connection = True
                else:
                    self._refuse(status, code)
            elif distrust := self._distrust():
                with s3.counting:
                    s3.refused += 1
                self._refuse(*distrust)
            else:
                inner = http.client.HTTPConnection(host, port, timeout=30)
                inner.request("PUT", self.path, body, dict(self.headers.items()))
                answer = inner.getresponse()
                with s3.counting:
                    s3.puts += answer.status == 200
                self._answer(answer.status, answer.read())
                inner.close()

        def _distrust(self) -> tuple[int, str] | None:
            """Status and code of what S3 has against date, credentials or signature."""
            date = self.headers["X-Amz-Date"]
            if abs(calendar.timegm(time.strptime(date, SIGV4_TIMESTAMP)) - self._now_s()) > MAX_SKEW_S:
                return 403, "RequestTimeTooSkewed"
            its = self.headers["Authorization"]
            access_key = its.partition("Credential=")[2].partition("/")[0]
            if (known := s3.credentials.get(access_key)) is None:
                return 403, "InvalidAccessKeyId"
            if known.expired:
                return 400, "ExpiredToken"
            if known.session_token != self.headers["X-Amz-Security-Token"]:
                return 400, "InvalidToken"
            signed = its.partition("SignedHeaders=")[2].partition(",")[0].split(";")
            request = AWSRequest(
                "PUT", f"{s3.url}{self.path}", {name: self.headers[name] for name in signed if name != "host"}
            )
            request.context["timestamp"] = date
            auth = S3SigV4Auth(Credentials(access_key, known.secret), "s3", REGION)
            text = auth.string_to_sign(request, auth.canonical_request(request))
            wanted = auth.signature(text, request)
            return None if its.endswith(f"Signature={wanted}") else (403, "SignatureDoesNotMatch")

        def _now_s(self) -> float:
            return time.time() + s3.clock_ahead_s

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(self._now_s() if timestamp is None else timestamp)

        def _refuse(self, status: int, code: str) -> None:
            said = f"<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>"
            self._answer(status, said.encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    door = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    door.daemon_threads = True
    door.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that are killed
    s3 = S3(f"http://127.0.0.1:{door.server_address[1]}", f"http://{host}:{port}")
    thread = threading.Thread(target=door.serve_forever)
    thread.start()
    try:
        yield s3
    finally:
        s3.drop()
        door.shutdown()
        door.server_close()
        thread.join()
        moto.stop()
