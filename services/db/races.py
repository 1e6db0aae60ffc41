"""What two processes may do at once on PostgreSQL; SQLite lets one write at a time.

Three means, by what there is to hold:

* rows that are there are locked (``with_for_update``), images in the order of their ids;
* what has no row yet, such as the next number of a model, is held by name (:func:`hold_name`);
* what is decided by a unique key is inserted where it is free (:func:`insert_new`).

Whatever loses in spite of them is done again (:func:`in_transaction`).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from services.db.batches import in_batches

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

TRIES = 5
"""Each loss means that somebody else got on, so that losing five times in a row means a fault."""
LOST = ("23505", "40001", "40P01")
"""SQLSTATE: a unique key that another has taken, a serialisation failure, a deadlock."""


def in_transaction(
    sessions: sessionmaker[Session], work: Callable[[Session], Result], tries: int = TRIES
) -> Result:
    """Do something in a transaction of its own, again where another process was faster.

    Args:
        sessions: of the database.
        work: is handed the session; all it does is undone before it is called again, so that it
            must keep nothing outside of the session.
        tries: at most.

    Returns:
        What ``work`` returned in the transaction that was committed.
    """
    for left in reversed(range(tries)):
        try:
            with sessions.begin() as session:
                return work(session)
        except DBAPIError as error:
            if not left or not has_lost(error):
                raise
            logger.info("another process was faster, once more: %s", error.orig)
    raise AssertionError("no try at all")


def has_lost(error: DBAPIError) -> bool:
    """Whether a transaction failed only because another one was faster."""
    return sqlstate(error.orig) in LOST


def sqlstate(cause: BaseException | None) -> str:
    """PostgreSQL's five characters, as pg8000 and psycopg hand them on; empty without."""
    first = cause.args[0] if cause is not None and cause.args else None
    state = first.get("C") if isinstance(first, dict) else getattr(cause, "sqlstate", None)
    return str(state or "")


def hold_name(session: Session, name: str) -> None:
    """Hold a name until the transaction ends; who wants it meanwhile waits.

    Taken before any lock on rows but those of a unit of work, so that nobody waits in a ring.
    """
    if session.get_bind().dialect.name == "postgresql":
        digest = hashlib.sha256(f"e2x {name}".encode()).digest()
        key = int.from_bytes(digest[:8], "big", signed=True)
        session.execute(select(func.pg_advisory_xact_lock(key)))


def insert_new(
    session: Session,
    table: type[DeclarativeBase],
    rows: Sequence[Mapping[str, Any]],
    key: Sequence[str],
) -> list[tuple[Any, ...]]:
    """Insert rows whose key is free; the others are there already, or are by the time we look.

    Args:
        session: the caller's transaction; another one that inserts the same key is waited for.
        table: the table.
        rows: columns and values, the same columns in each; sorted by their keys here, so that two
            who insert the same rows wait for each other in one order.
        key: columns that are unique together.

    Returns:
        The keys of those that were inserted.
    """
    make = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    columns = [getattr(table, name) for name in key]
    ordered = sorted(rows, key=lambda row: tuple(row[name] for name in key))
    inserted: list[tuple[Any, ...]] = []
    for part in in_batches(ordered):
        statement = make(table).values(part)
        statement = statement.on_conflict_do_nothing(index_elements=key)
        done = session.execute(statement.returning(*columns))
        inserted += [tuple(row) for row in done]
    return inserted
