"""What strangers can do to the server with connections alone: slow ones, many, endless, malformed.

Real sockets against the real server; waiting is for what the server does, never for time.
"""

from __future__ import annotations

import json
import logging
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from benchmarks.common.projects import make_context
from benchmarks.common.waiting import PATIENCE, wait_until
from services.api.app import create_app
from services.api.door import Door, client_of
from tests.services.api_process import api_process
from tests.services.api_server import error_of, serving

TOKEN = b"Authorization: Bearer secret\r\n"
SLOW_HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "
Start = Callable[..., "Running"]


class Running:
    """A server of its own, and sockets to it that are closed at the end."""

    def __init__(self, url: str, server: uvicorn.Server, sockets: ExitStack) -> None:
        self.url, self._server, self._sockets = url, server, sockets
        host, port = url.removeprefix("http://").split(":")
        self.address = (host, int(port))

    @property
    def open(self) -> int:
        door: Door = self._server.config.http_protocol_class.door  # type: ignore[attr-defined]
        return len(door)

    @property
    def answering(self) -> int:
        return len(self._server.server_state.tasks)

    def connect(self, *said: bytes, source: str = "127.0.0.1") -> socket.socket:
        sock = socket.create_connection(
            self.address, timeout=30 * PATIENCE, source_address=(source, 0)
        )
        self._sockets.enter_context(sock)
        for part in said:
            sock.sendall(part)
        return sock

    def at_work(self, head: bytes) -> socket.socket:
        """A connection whose request is being served: its body is awaited."""
        sock = self.connect(head + b"Expect: 100-continue\r\n\r\n")
        assert sock.recv(2**16).startswith(b"HTTP/1.1 100")
        return sock


@pytest.fixture
def start(tmp_path: Path, sqlite_url: str) -> Iterator[Start]:
    """Starts the API with bounds."""
    with ExitStack() as stack:

        def run(**settings: Any) -> Running:
            api = {**settings, "token": "secret"}
            context = make_context(tmp_path / "project", sqlite_url, api=api)
            stack.callback(context.engine.dispose)
            url, server = stack.enter_context(serving(create_app(context), **settings))
            sockets = stack.enter_context(ExitStack())
            return Running(url, server, sockets)

        yield run


def rest_of(sock: socket.socket) -> bytes:
    """What comes until the other side closes, also by a reset."""
    parts = []
    try:
        while part := sock.recv(2**16):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


def trickle(sock: socket.socket) -> bytes:
    """What is answered to a sender of a byte every now and then, each of which is in time."""
    sock.settimeout(0.05)
    while True:
        try:
            return sock.recv(2**16)
        except TimeoutError:
            sock.sendall(b"x")


def flood(sock: socket.socket, part: bytes, most: int | None = None) -> int:
    """Send until the other side has closed, or so much is sent; bytes that were taken."""
    sent = 0
    try:
        while most is None or sent < most:
            sent += sock.send(part)
    except ConnectionError:
        pass
    return sent


# --- how many


def test_two_hundred_slow_connections_leave_room_for_a_request(start: Start) -> None:
    api = start(max_connections=40)
    slow = [api.connect(SLOW_HEAD) for _ in range(200)]

    answer = httpx.get(f"{api.url}/healthz", timeout=30 * PATIENCE)

    assert answer.json() == {"status": "ok"}
    assert api.open <= 40
    assert [rest_of(sock) for sock in slow[:100]] == [b""] * 100  # the oldest had to go


def test_who_has_the_token_is_not_sent_away(start: Start) -> None:
    api = start(max_connections=8)
    body = b'{"owner": "anna"}'
    head = b"POST /v1/tasks/lease HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    said = head + TOKEN + b"Connection: close\r\nContent-Length: %d\r\n" % len(body)
    known = api.at_work(said)
    known.sendall(body[:5])
    for _ in range(50):
        api.connect(SLOW_HEAD)
    httpx.get(f"{api.url}/healthz")

    known.sendall(body[5:])

    assert rest_of(known).startswith(b"HTTP/1.1 200")


def test_where_all_are_at_work_the_next_one_is_told(start: Start) -> None:
    api = start(max_connections=1)
    head = b"POST /v1/tasks/lease HTTP/1.1\r\nHost: x\r\n" + TOKEN
    api.at_work(head + b"Content-Length: 9\r\n")

    answer = rest_of(api.connect())

    assert b"Retry-After: 1" in answer or b"retry-after: 1" in answer
    assert json.loads(answer.split(b"\r\n\r\n")[1])["code"] == "too_many_connections"


def test_one_address_costs_its_neighbours_nothing(start: Start) -> None:
    api = start(max_connections=100, max_connections_per_client=5)
    neighbour = api.connect(SLOW_HEAD)
    greedy = [api.connect(SLOW_HEAD, source="127.0.0.2") for _ in range(30)]

    assert [rest_of(sock) for sock in greedy[:25]] == [b""] * 25
    neighbour.sendall(b"\r\nConnection: close\r\n\r\n")
    assert rest_of(neighbour).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("10.1.2.3", "10.1.2.3"), ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"), ("fe80::1%eth0", "fe80::/64"), ("", ""),
    ],
)  # fmt: skip
def test_a_network_of_ipv6_is_one_client(address: str, client: str) -> None:
    assert client_of(address) == client


def test_open_files_are_raised_to_what_the_connections_need() -> None:
    code = (
        "import resource; from services.api.server import room_for\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (300, 700))\n"
        "print(room_for(50), resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
        "print(room_for(1000), resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert said.stdout.split() == ["50", "370", "380", "700"]
    assert "only 380 connections at once, not 1000" in said.stderr
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 700


# --- how slowly


def test_a_head_that_does_not_come_in_time_is_ended(start: Start) -> None:
    api = start(header_timeout_s=0.3)
    begun, silent, trickling = api.connect(SLOW_HEAD), api.connect(), api.connect(SLOW_HEAD)

    assert trickle(trickling).startswith(b"HTTP/1.1 408")
    assert rest_of(begun).startswith(b"HTTP/1.1 408")
    assert rest_of(silent) == b""


def test_so_is_the_next_one_on_a_connection_that_is_kept(start: Start) -> None:
    api = start(header_timeout_s=0.3, keep_alive_s=60)
    kept = api.connect(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET ")

    answers = rest_of(kept)

    assert answers.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in answers


def test_a_body_that_stands_still_is_ended(start: Start) -> None:
    api = start(stall_timeout_s=0.3)
    head = b"POST /v1/cycles HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + TOKEN

    answer = rest_of(api.connect(head + b"Content-Length: 99\r\n\r\n{"))

    assert answer.startswith(b"HTTP/1.1 408")
    assert b"500 bytes a second" in answer


def test_an_answer_that_nobody_reads_is_ended(start: Start) -> None:
    api = start(stall_timeout_s=0.3)
    api.connect(b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n" * 40)

    wait_until(lambda: api.open == 1, 30, "it is being answered")
    wait_until(lambda: api.open == 0, 30, "it is given up")


# --- how much


def test_a_body_without_the_token_is_not_read(start: Start) -> None:
    api = start()
    size = 64 * 2**20
    kind = b"Content-Type: application/json\r\n"
    head = b"POST /v1/cycles HTTP/1.1\r\nHost: x\r\n" + kind + b"Content-Length: %d\r\n\r\n" % size
    sock = api.connect(head)

    sent = flood(sock, b"[]," * 2**16, size)

    assert rest_of(sock).startswith(b"HTTP/1.1 401")
    assert sent < 48 * 2**20  # what two sockets hold, and a little


def test_an_endless_body_after_an_early_answer_is_cut(start: Start) -> None:
    api = start()
    head = b"POST /v1/nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    sock = api.connect(head)

    flood(sock, b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n")

    answer = rest_of(sock)
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"connection: close" in answer.lower()


def test_who_breaks_off_is_no_fault_of_the_service(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    api = start()
    kinds = (b"application/json", b"multipart/form-data; boundary=x")
    for path, kind in zip((b"/v1/cycles", b"/v1/frames"), kinds, strict=True):
        head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\n" % (path, kind) + TOKEN
        api.at_work(head + b"Content-Length: 99\r\n").close()

    wait_until(lambda: api.open == 0, 30, "they are gone")
    wait_until(lambda: api.answering == 0, 30, "their requests have ended")
    assert [line for line in caplog.records if line.levelno >= logging.ERROR] == []


def test_a_small_body_and_its_error_leave_the_connection_open(start: Start) -> None:
    api = start()
    with httpx.Client(base_url=api.url, headers={"Authorization": "Bearer secret"}) as client:
        answer = client.post("/v1/cycles", json={"budget_boxes": 0})

    error_of(answer, 422, "invalid_request")
    assert "Connection" not in answer.headers


def test_json_may_be_smaller_than_files(start: Start) -> None:
    api = start(max_json_bytes=2000)
    with httpx.Client(base_url=api.url, headers={"Authorization": "Bearer secret"}) as client:
        lease = client.post("/v1/tasks/lease", json={"owner": "x" * 2000})
        labels = client.post("/v1/labels/import", json={"images": ["x" * 2000]})

    assert "api.max_json_bytes" in error_of(lease, 413, "too_large")
    assert labels.status_code == 422


# --- how it is written


def test_a_body_that_is_framed_twice_closes_the_connection(start: Start) -> None:
    api = start()
    head = b"POST /v1/cycles HTTP/1.1\r\nHost: x\r\n" + TOKEN
    framed = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"

    answer = rest_of(api.connect(head + framed + smuggled))

    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"Content-Length or Transfer-Encoding" in answer


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x02\x00", b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 2**17,
        b"POST /v1/cycles HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/cycles HTTP/1.1\r\nHost: x\r\n" + TOKEN
        + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["tls", "no-host", "no-colon", "long-head", "two-lengths", "bad-chunk"],
)  # fmt: skip
def test_what_is_no_http_has_an_error_of_the_same_form(start: Start, said: bytes) -> None:
    answer = rest_of(start().connect(said))

    head, body = answer.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(body)["code"] == "invalid_request"


def test_the_log_counts_what_strangers_repeat(tmp_path: Path, sqlite_url: str) -> None:
    """The process itself, which writes the log."""
    with api_process(tmp_path, sqlite_url) as api:
        with httpx.Client(base_url=api.url) as client:
            for number in range(100):
                assert client.get(f"/v1/models/{number}").status_code == 401
        for _ in range(100):
            with socket.create_connection(api.address, timeout=30 * PATIENCE) as sock:
                sock.sendall(b"nonsense\r\n\r\n")
                rest_of(sock)

    lines = api.lines()
    assert len(lines) < 60
    assert sum(line.get("repeated", 0) for line in lines) > 150
