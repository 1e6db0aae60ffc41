"""The API while others write, and while its database is out of reach."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy.engine import make_url

from benchmarks.common.databases import Postgres
from benchmarks.common.projects import make_context
from benchmarks.common.waiting import PATIENCE, wait_until
from services.api.app import create_app
from services.context import Context
from services.db import engine as databases
from tests.services.api_server import Switch, error_of

PATIENCE_MS = round(3000 * PATIENCE)
AT_ONCE_S = PATIENCE_MS / 1000 - 0.5
LEASE = {"owner": "anna"}
UNREACHABLE = {
    "no server": "postgresql+pg8000://nobody@127.0.0.1:1/none",
    "no folder": "sqlite:////nowhere/e2x.db",
}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that are opened from now on wait seconds for a lock, not half a minute."""
    monkeypatch.setattr(databases, "SQLITE_BUSY_MS", PATIENCE_MS)


@pytest.fixture
def locked(impatient: None, api: Context) -> Iterator[Context]:
    """Another process writes and does not end."""
    api.engine.dispose()
    file = make_url(str(api.engine.url)).database
    assert file is not None
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield api
    other.execute("ROLLBACK")
    other.close()


def _readable(context: Context) -> list[str]:
    """Addresses of everything that can be asked for by GET, with 1 for whatever they name."""
    paths = create_app(context).openapi()["paths"]
    return [
        "/".join("1" if part.startswith("{") else part for part in path.split("/"))
        for path, methods in paths.items()
        if "get" in methods
    ]


def test_whatever_only_reads_does_not_wait_for_writers(
    locked: Context, client: httpx.Client, address: str
) -> None:
    addresses = _readable(locked)
    assert len(addresses) > 12
    for path in addresses:
        started_s = time.monotonic()
        answer = client.get(f"{address}{path}")
        if path == "/readyz":  # there is no broker here, and that is said
            assert answer.json()["parts"]["database"]["ready"]
        else:
            assert answer.status_code < 500, f"{path}: {answer.text}"
        assert time.monotonic() - started_s < AT_ONCE_S, path


def test_a_database_that_stays_locked_is_said_to_be_busy(
    locked: Context, client: httpx.Client
) -> None:
    answer = client.post("/tasks/lease", json=LEASE)

    assert "again" in error_of(answer, 503, "database_busy")
    assert int(answer.headers["retry-after"]) > 0


def test_readers_do_not_queue_behind_writers_that_wait(
    locked: Context, client: httpx.Client, address: str
) -> None:
    """More writers than SQLAlchemy's pool has connections when nobody asks for more: 15."""
    count = 25
    with ThreadPoolExecutor(count) as threads:
        waiting = [threads.submit(client.post, "/tasks/lease", json=LEASE) for _ in range(count)]
        wait_until(lambda: locked.engine.pool.checkedout() > 15, 20, "writers wait")  # type: ignore[attr-defined]
        started_s = time.monotonic()
        assert httpx.get(f"{address}/readyz").json()["parts"]["database"]["ready"]
        assert time.monotonic() - started_s < AT_ONCE_S
        answers = {answer.result().status_code for answer in waiting}
    assert answers == {503}


@pytest.mark.parametrize("url", UNREACHABLE.values(), ids=UNREACHABLE)
def test_a_database_out_of_reach_is_an_answer_that_says_what_to_do(
    url: str, tmp_path: Path, served: tuple[Switch, str]
) -> None:
    answer = _asked(served, tmp_path, url, "/readyz")
    message = error_of(answer, 503, "database_unavailable")
    assert "e2x doctor" in message
    assert "127.0.0.1" not in message  # no token was asked for


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of each kind without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    yield server.create_database("empty_e2x")
    server.drop_database("empty_e2x")


def test_tables_that_are_missing_are_an_answer_that_says_what_to_do(
    empty_url: str, tmp_path: Path, served: tuple[Switch, str]
) -> None:
    answer = _asked(served, tmp_path, empty_url, "/v1/tasks")
    assert "e2x init" in error_of(answer, 503, "database_unavailable")


def _asked(served: tuple[Switch, str], folder: Path, url: str, path: str) -> httpx.Response:
    """What the API says to a GET when its database is at a URL."""
    switch, address = served
    context = make_context(folder / "project", url, api={"token": "secret"})
    switch.app = create_app(context)
    try:
        headers = {"Authorization": "Bearer secret"} if path.startswith("/v1/") else {}
        return httpx.get(f"{address}{path}", headers=headers)
    finally:
        context.engine.dispose()


def test_a_fault_of_the_service_has_the_form_of_every_error(
    api: Context, client: httpx.Client, served: tuple[Switch, str]
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("secret detail")

    app = create_app(api)
    app.router.routes.insert(0, APIRoute("/v1/models", broken))
    served[0].app = app

    answer = client.get("/models")

    message = error_of(answer, 500, "internal_error")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Request-Id"]
    assert "log" in message
    assert "secret" not in message
