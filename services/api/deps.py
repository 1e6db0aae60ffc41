"""What handlers are given: the wiring and a transaction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, TypeAlias

from fastapi import Depends, Path, Query, Request
from sqlalchemy.orm import Session

from services.context import Context
from services.errors import InvalidRequest

MAX_PAGE = 500
MAX_ROW = 2**63 - 1
"""Databases count rows in 64 bits."""


def get_context(request: Request) -> Context:
    """The wiring of the process."""
    context: Context = request.app.state.context
    return context


ContextOf: TypeAlias = Annotated[Context, Depends(get_context)]


def get_session(context: ContextOf) -> Iterator[Session]:
    """A transaction: committed before the answer is sent, rolled back if the handler fails."""
    with context.sessions.begin() as session:
        yield session


SessionOf: TypeAlias = Annotated[Session, Depends(get_session, scope="function")]
RowId: TypeAlias = Annotated[int, Path(ge=1, le=MAX_ROW)]
OfCycle: TypeAlias = Annotated[int | None, Query(ge=1, le=MAX_ROW, description="Of this cycle.")]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Rows at most.")]
Cursor: TypeAlias = Annotated[
    str | None, Query(description="`next` of the page before; leave out for the first page.")
]


def row_after(cursor: str | None) -> int | None:
    """The row number that a cursor of a numbered list means.

    Raises:
        InvalidRequest: it is not one of ours.
    """
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal() and int(cursor[:20]) <= MAX_ROW):
        raise InvalidRequest("cursor: send `next` of the page before")
    return int(cursor[:20])
