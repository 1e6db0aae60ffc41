"""Fixtures that services' tests and integration tests share: databases, wiring, processes."""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu.transport import memory

from benchmarks.common.buckets import MISSING, Seaweed, weed
from benchmarks.common.databases import Postgres, migrated, run_postgres
from benchmarks.common.projects import make_context
from services.context import Context
from services.worker import redis_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL cluster; its database ``template_e2x`` has all tables."""
    for server in run_postgres():
        migrated(server.create_database("template_e2x"))
        yield server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with all tables, to be copied."""
    file = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrated(f"sqlite:///{file}")
    return file


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """An SQLite database with all tables and no rows."""
    file = tmp_path / "e2x.db"
    shutil.copy(sqlite_template, file)
    return f"sqlite:///{file}"


@pytest.fixture
def memory_broker() -> str:
    """The URL of a broker within this process, empty.

    All who use that transport in one process share its queues: what the test of another file
    sent and nobody took would be delivered to this one.
    """
    memory.Channel.queues.clear()
    memory.Transport.global_state.clear()
    return "memory://"


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """A PostgreSQL database with all tables and no rows."""
    name = f"e2x_{secrets.token_hex(6)}"
    yield postgres.create_database(name, "template_e2x")
    postgres.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A database with all tables and no rows, of each kind."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture
def context(tmp_path: Path, database_url: str) -> Iterator[Context]:
    """A new project on a database of each kind; nothing runs in it."""
    wired = make_context(tmp_path / "project", database_url)
    yield wired
    wired.engine.dispose()


@pytest.fixture
def sqlite_context(tmp_path: Path, sqlite_url: str) -> Iterator[Context]:
    """A new project on SQLite; nothing runs in it."""
    wired = make_context(tmp_path / "project", sqlite_url)
    yield wired
    wired.engine.dispose()


@pytest.fixture
def broker(sqlite_context: Context) -> Iterator[str]:
    """The project's own Redis, running; its URL."""
    project = sqlite_context.project
    process = subprocess.Popen(
        redis_server.command(project), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = redis_server.broker_url(sqlite_context.settings, project)
    redis_server.wait_ready(url)
    yield url
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A real S3 server; tests that kill or stop it start their own."""
    yield from run_seaweed(tmp_path_factory.mktemp("seaweed"))


def run_seaweed(folder: Path) -> Iterator[Seaweed]:
    """Run a server for as long as the generator lives; skips where there is none."""
    if weed() is None:
        pytest.skip(MISSING)
    server = Seaweed(folder)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def bucket_context(tmp_path: Path, sqlite_url: str, seaweed: Seaweed) -> Iterator[Context]:
    """A new project whose files lie in a bucket, on SQLite; nothing runs in it."""
    wired = make_context(tmp_path / "project", sqlite_url, storage=seaweed.settings())
    yield wired
    wired.engine.dispose()
