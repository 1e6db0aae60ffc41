"""A real Label Studio server, people in it, and a line to it that can be cut."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import socketserver
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.common.waiting import PATIENCE, wait_until

DATABASE = "label_studio.sqlite3"
PASSWORD = "a-walk-along-the-river"
START_S = 500.0
"""The first start makes its tables, which takes minutes on a machine that has much to do."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where it listens, the token of its first user, its database, that user."""

    url: str
    token: str
    database: Path
    user: str = ""
    """The mail address that the first user signs in with."""

    def client(self, token: str | None = None) -> httpx.Client:
        """A client of somebody."""
        headers = {"Authorization": f"Token {token or self.token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60 * PATIENCE)

    def person(self, email: str) -> httpx.Client:
        """Sign somebody up, as the page does; a client with their own token."""
        with httpx.Client(base_url=self.url, timeout=60 * PATIENCE) as browser:
            browser.get("/user/signup/")
            form = {
                "email": email,
                "password": PASSWORD,
                "csrfmiddlewaretoken": browser.cookies["csrftoken"],
            }
            answer = browser.post("/user/signup/", data=form, headers={"Referer": self.url})
            assert answer.status_code == 302, answer.text[:500]
            token = browser.get("/api/current-user/token").json()["token"]
        return self.client(token)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Its database, held by somebody else."""
        with closing(sqlite3.connect(self.database, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            try:
                yield
            finally:
                other.execute("ROLLBACK")


def executable() -> str:
    """The program; the test is skipped where there is none."""
    found = os.environ.get("E2X_LABEL_STUDIO") or shutil.which("label-studio")
    if not found:
        pytest.skip(
            "NO TEST WITH LABEL STUDIO RUNS: set E2X_LABEL_STUDIO to its program, from an "
            "environment of its own (pip install label-studio)"
        )
    return found


@pytest.fixture(scope="session")
def label_studio_server(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Server]:
    """A server with a database of its own; its tables are kept for the next session."""
    program, folder = executable(), tmp_path_factory.mktemp("label-studio")
    template = Path(pytestconfig.cache.mkdir("label-studio")) / DATABASE  # type: ignore[union-attr]
    if template.is_file():
        shutil.copy(template, folder / DATABASE)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    token = secrets.token_hex(20)
    # of a known one the token stays
    user = f"admin-{token[:8]}@example.com"
    server = Server(f"http://127.0.0.1:{port}", token, folder / DATABASE, user)
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [program, "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)],
            env=_environment(folder, server),
            stdout=out,
            stderr=out,
            cwd=folder,
        )

    def answers() -> bool:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            return httpx.get(f"{server.url}/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, START_S, "Label Studio is ready")
        if not template.is_file():
            _keep(server.database, template)
        yield server
    finally:
        process.terminate()
        process.wait(60 * PATIENCE)


@pytest.fixture(scope="session")
def people(label_studio_server: Server) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Two who label."""
    server = label_studio_server
    with server.person("anna@example.com") as anna, server.person("bert@example.com") as bert:
        yield anna, bert


def _environment(folder: Path, server: Server) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "LABEL_STUDIO_USERNAME": server.user,
        "LABEL_STUDIO_PASSWORD": PASSWORD,
        "LABEL_STUDIO_USER_TOKEN": server.token,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "SSRF_PROTECTION_ENABLED": "false",
        "LATEST_VERSION_CHECK": "0",
        "COLLECT_ANALYTICS": "0",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "FEATURE_FLAGS_OFFLINE": "true",
    }


def _keep(database: Path, template: Path) -> None:
    """Copy the tables of a new server."""
    part = template.with_suffix(f".{os.getpid()}")
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(part)) as copy:
        source.backup(copy)
    part.replace(template)


class Line(socketserver.ThreadingTCPServer):
    """A line to a server, which can be cut, or lose an answer on its way back.

    Args:
        server: to whom.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, server: str) -> None:
        self.far = httpx.URL(server)
        self.cut = False
        self.lose = ""
        """Of the request that begins so, the answer is lost."""
        super().__init__(("127.0.0.1", 0), _Carry)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Carry(socketserver.BaseRequestHandler):
    """One connection: what comes is passed on, and what is answered comes back."""

    server: Line

    def handle(self) -> None:
        if self.server.cut:
            return
        far = (self.server.far.host, self.server.far.port)
        with socket.create_connection(far) as other:  # type: ignore[arg-type]
            back = threading.Thread(target=self._back, args=(other,), daemon=True)
            back.start()
            self.head = b""
            while data := self.request.recv(65536):
                self.head = data[:200] if data[:1] in b"GPD" else self.head
                if self.server.cut:
                    break
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
            back.join(60 * PATIENCE)

    def _back(self, other: socket.socket) -> None:
        while data := other.recv(65536):
            lost = self.server.lose
            if lost and lost.encode() in self.head:
                break
            self.request.sendall(data)
        self.request.shutdown(socket.SHUT_RDWR)


@contextmanager
def line_to(server: Server) -> Iterator[Line]:
    """A line, up until the block ends."""
    line = Line(server.url)
    thread = threading.Thread(target=line.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield line
    finally:
        line.shutdown()
        line.server_close()


def boxes(*objects: dict[str, Any], size: tuple[int, int], **more: Any) -> list[dict[str, Any]]:
    """Objects as the editor hands them in."""
    width, height = size
    return [
        {
            "id": secrets.token_hex(5),
            "type": "rectanglelabels",
            "from_name": "label",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "origin": "manual",
            "value": {
                "x": 100 * one["box"][0] / width,
                "y": 100 * one["box"][1] / height,
                "width": 100 * (one["box"][2] - one["box"][0]) / width,
                "height": 100 * (one["box"][3] - one["box"][1]) / height,
                "rotation": 0,
                "rectanglelabels": [one["label"]],
                **more,
            },
        }
        for one in objects
    ]


def tasks_of(client: httpx.Client, project: str) -> dict[int, dict[str, Any]]:
    """The tasks of a project by our numbers."""
    found = client.get(
        "/api/tasks",
        params={"project": project, "fields": "all", "page_size": 500, "query": json.dumps({})},
    )
    assert found.status_code == 200, found.text[:500]
    return {one["data"]["e2x_task"]: one for one in found.json()["tasks"]}


def hand_in(
    client: httpx.Client, remote: dict[str, Any], result: list[dict[str, Any]], **more: Any
) -> dict[str, Any]:
    """Look at the picture and answer, as the editor does."""
    picture = httpx.get(remote["data"]["image"], headers={"Origin": "http://labels.example"})
    assert picture.status_code == 200, picture.text
    assert picture.headers["access-control-allow-origin"] == "*"
    return answer(client, remote, result, lead_time=4.2, **more)


def answer(
    client: httpx.Client, remote: dict[str, Any], result: list[dict[str, Any]], **more: Any
) -> dict[str, Any]:
    """Answer without a look at anything."""
    body = {"result": result, "was_cancelled": False, **more}
    done = client.post(f"/api/tasks/{remote['id']}/annotations/", json=body)
    assert done.status_code == 201, done.text[:500]
    return dict(done.json())
