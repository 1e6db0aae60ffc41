"""What handlers are given: the wiring and a transaction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, TypeAlias

from fastapi import Depends, Query, Request
from sqlalchemy.orm import Session

from services.context import Context

MAX_PAGE = 500


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
Limit: TypeAlias = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Rows at most.")]
Cursor: TypeAlias = Annotated[
    str | None, Query(description="`next` of the page before; leave out for the first page.")
]
