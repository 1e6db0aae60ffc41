"""What handlers are given: the wiring, a transaction or a view, a place to decode in."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from datetime import date
from typing import Annotated, TypeAlias

from fastapi import Depends, Path, Query, Request
from pydantic import BeforeValidator
from sqlalchemy.orm import Session
from starlette.convertors import Convertor, register_url_convertor

from services.context import Context
from services.db.engine import reading
from services.errors import InvalidRequest

MAX_PAGE = 500
MAX_ROW = 2**53 - 1
"""Databases count further, but beyond it readers of JSON take two numbers for one."""
DECODED_AT_ONCE = 2
"""Uploads: the largest image that is taken needs under 500 MB for a moment, a WebP 800 MB."""
LOGINS_AT_ONCE = 2
"""Passwords that are looked at; who waits for their place waits without a thread."""


def get_context(request: Request) -> Context:
    """The wiring of the process."""
    context: Context = request.app.state.context
    return context


ContextOf: TypeAlias = Annotated[Context, Depends(get_context)]


def get_session(context: ContextOf) -> Iterator[Session]:
    """A transaction: committed before the answer is sent, rolled back if the handler fails.

    It begins with the first statement; until then it keeps nobody waiting.
    """
    with context.sessions.begin() as session:
        yield session


def get_view(context: ContextOf) -> Iterator[Session]:
    """A session for handlers that only read: it neither waits for writers nor holds them up."""
    with reading(context.sessions) as session:
        yield session


async def place_to_decode(request: Request) -> AsyncIterator[None]:
    """One of a few places; who waits here for one holds neither a thread nor a transaction."""
    async with request.app.state.decoding:
        yield


async def place_to_draw(request: Request) -> AsyncIterator[None]:
    """The same for pictures that are only looked at: they do not wait for uploads to be stored."""
    async with request.app.state.drawing:
        yield


async def place_to_log_in(request: Request) -> AsyncIterator[None]:
    """The same for passwords: each takes a quarter of a second and 64 MB to look at."""
    async with request.app.state.logging_in:
        yield


async def place_at_the_provider(request: Request) -> AsyncIterator[None]:
    """The same for logins that wait for another server: apart, so that passwords do not."""
    async with request.app.state.at_the_provider:
        yield


SessionOf: TypeAlias = Annotated[Session, Depends(get_session, scope="function")]
ViewOf: TypeAlias = Annotated[Session, Depends(get_view, scope="function")]
IN_A_PLACE_TO_DECODE = Depends(place_to_decode, scope="function")
IN_A_PLACE_TO_DRAW = Depends(place_to_draw, scope="function")
IN_A_PLACE_AT_THE_PROVIDER = Depends(place_at_the_provider, scope="function")
IN_A_PLACE_TO_LOG_IN = Depends(place_to_log_in, scope="function")


class RowConvertor(Convertor[int]):
    """``{task_id:row}`` in a path: digits; anything else is another address, and not found."""

    regex = "[0-9]{1,20}"

    def convert(self, value: str) -> int:
        """The number."""
        return int(value)

    def to_string(self, value: int) -> str:
        """Its digits."""
        return str(value)


register_url_convertor("row", RowConvertor())
RowId: TypeAlias = Annotated[int, Path(ge=1, le=MAX_ROW)]
OfCycle: TypeAlias = Annotated[int | None, Query(ge=1, le=MAX_ROW, description="Of this cycle.")]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Rows at most.")]
Cursor: TypeAlias = Annotated[
    str | None,
    Query(
        pattern="^[0-9]{1,15}$",
        description="`next` of the page before; leave out for the first page.",
    ),
]
NO_ZERO_BYTE = r"^[^\x00]*$"
"""PostgreSQL cannot compare with a text that has one."""
Word: TypeAlias = Annotated[str | None, Query(pattern=NO_ZERO_BYTE)]


_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _written_out(day: object) -> object:
    """Only as the description has it: pydantic takes numbers of seconds for a day too."""
    if isinstance(day, str) and not _DAY.fullmatch(day):
        raise ValueError("a day, such as 2026-01-31")
    return day


Day: TypeAlias = Annotated[date, BeforeValidator(_written_out)]
IdCursor: TypeAlias = Annotated[
    str | None,
    Query(
        pattern="^[0-9a-f]{64}$",
        description="`next` of the page before; leave out for the first page.",
    ),
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
