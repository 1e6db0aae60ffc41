"""The API on a real socket, SQLite behind it, and how tests talk to it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import func, select
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.common.projects import make_context
from benchmarks.common.waiting import PATIENCE, wait_until
from services.api import server as serve
from services.api.app import create_app
from services.config.setting_groups import ApiSettings
from services.context import Context
from services.db.tables import Image, Observation, Role
from services.intake.imports import import_dataset
from tests.services.datasets_on_disk import pictures, write_coco

MAX_BYTES = 64 * 1024
CAR = {"box": [2, 3, 12, 11], "label": "car"}


@pytest.fixture
def api(tmp_path: Path, sqlite_url: str) -> Iterator[Context]:
    """A project with a seed image, so that its classes are bus and car."""
    context = make_context(
        tmp_path / "project", sqlite_url, api={"token": "secret", "max_request_bytes": MAX_BYTES}
    )
    import_dataset(context, write_coco(tmp_path / "seed", pictures(100)), Role.SEED)
    yield context
    context.engine.dispose()


class Switch:
    """One server for all tests; each test puts its own application in."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)


@contextmanager
def serving(app: ASGIApp, **settings: Any) -> Iterator[tuple[str, uvicorn.Server]]:
    """A server with these settings in a thread: where it listens, and itself."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = serve.server(app, ApiSettings(**settings))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_until(lambda: server.started, 30, "the API listens")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", server
    finally:
        server.should_exit = True
        thread.join(30 * PATIENCE)
        listener.close()


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Switch, str]]:
    """A server, and where it listens."""
    switch = Switch()
    with serving(switch, max_request_bytes=MAX_BYTES) as (url, _):
        yield switch, url


@pytest.fixture
def address(api: Context, served: tuple[Switch, str]) -> str:
    """Where the API of this test's project listens."""
    switch, url = served
    switch.app = create_app(api)
    return url


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    """A client with the right token."""
    headers = {"Authorization": "Bearer secret"}
    with httpx.Client(base_url=f"{address}/v1", headers=headers, timeout=30 * PATIENCE) as opened:
        yield opened


def error_of(answer: httpx.Response, status: int, code: str) -> str:
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    message: str = answer.json()["message"]
    return message


def send_frame(
    client: httpx.Client, data: bytes, name: str = "a.png", **fields: Any
) -> httpx.Response:
    said = {key: json.dumps(value) for key, value in fields.items()}
    return client.post("/frames", files={"file": (name, data)}, data=said)


def stored(context: Context) -> tuple[int, int, int]:
    """Field images, frames and files; the seed image is left out."""
    with context.sessions() as session:
        images = session.scalar(select(func.count()).select_from(Image)) or 0
        frames = session.scalar(select(func.count()).select_from(Observation)) or 0
    files = sum(path.is_file() for path in context.project.images.rglob("*"))
    return images - 1, frames, files - 1
