"""Engines and sessions for SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import Session, sessionmaker

from services.config.project import Project
from services.config.settings import Settings
from services.db import label_uses, tls

Sessions: TypeAlias = sessionmaker[Session]

MAX_ATTEMPTS_INFO = "max_attempts"
"""Key of ``Session.info``: tries of a unit whose stage names no number."""
DEFAULT_ATTEMPTS = 3

READ_ONLY = "e2x_read_only"
"""Execution option of a connection that will not write."""

SQLITE_BUSY_MS = 30_000
"""How long a writer waits for another; a unit's write takes milliseconds."""
_ONE_STATE = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
NO_BOUND = -1
WAL_RETRY_S = 0.02
"""Between two tries to switch to the write-ahead log."""


def database_url(settings: Settings, project: Project) -> str:
    """The configured URL, or the embedded database's."""
    return settings.database_url or f"sqlite:///{project.state / 'e2x.db'}"


def sqlite_file(engine: Engine) -> str | None:
    """Path of the database's file; None where it is no SQLite file."""
    return engine.url.database if engine.dialect.name == "sqlite" else None


def make_engine(url: str) -> Engine:
    """An engine with what each database needs for several writing processes."""
    if not url.startswith("sqlite"):
        bare, arguments = tls.connecting(url)
        engine = create_engine(
            bare, pool_pre_ping=True, pool_size=5, max_overflow=10, connect_args=arguments
        )
        event.listen(engine, "do_connect", tls.connect)
        return engine
    # As many connections as threads ask for: they cost a file handle each, and a reader must not
    # queue behind writers that wait for each other.
    engine = create_engine(
        url, connect_args={"timeout": SQLITE_BUSY_MS / 1000}, max_overflow=NO_BOUND
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction control is off: it would begin late and as a reader, and a
    # reader that turns writer meets "database is locked" without any waiting.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_MS}")
    _write_ahead(cursor)
    cursor.execute("PRAGMA synchronous=FULL")  # a finished unit survives a power cut
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Switch a database to its write-ahead log; several processes may open a new one at once.

    Nothing waits for the lock of that switch: SQLite answers "locked" at once, whatever its busy
    timeout.
    """
    deadline = time.monotonic() + SQLITE_BUSY_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(WAL_RETRY_S)


def _begin(connection: Any) -> None:
    reads = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def make_sessions(
    engine: Engine, max_attempts: int = DEFAULT_ATTEMPTS, info: Mapping[str, Any] | None = None
) -> Sessions:
    """A factory of sessions whose objects stay readable after a commit.

    With annotations they write what is derived from them (:mod:`services.db.label_uses`).

    Args:
        engine: the database.
        max_attempts: tries of a unit whose stage names no number.
        info: what else ``Session.info`` holds.
    """
    told = {MAX_ATTEMPTS_INFO: max_attempts, **(info or {})}
    sessions = sessionmaker(engine, expire_on_commit=False, info=told)
    label_uses.follow(sessions)
    return sessions


@contextmanager
def reading(sessions: Sessions) -> Iterator[Session]:
    """A session that only reads: it neither waits for writers nor holds them up.

    What it reads is one consistent state, and stays readable afterwards. A write in it is refused
    by PostgreSQL, and may meet "database is locked" in SQLite.
    """
    with sessions() as session:
        connection = session.connection(execution_options={READ_ONLY: True})
        if connection.dialect.name == "postgresql":  # where each statement would see another state
            connection.exec_driver_sql(_ONE_STATE)
        yield session
