"""Second looks: what two people answered differently, settled; how well people agree."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from services.api.deps import (
    NO_ZERO_BYTE,
    ContextOf,
    Cursor,
    Limit,
    RowId,
    SessionOf,
    ViewOf,
    row_after,
)
from services.api.schemas import Page
from services.api.schemas_looks import GivenOut
from services.api.schemas_tasks import AgreementOut, AgreementPage, LookOut, SettleIn
from services.api.strict import StrictRoute
from services.db import actors
from services.db.tables import SecondLook
from services.errors import Conflict
from services.labeling import outcomes, queue, second_look
from services.labeling.outcomes import Outcome

router = APIRouter(tags=["second looks"], route_class=StrictRoute)


@router.get("/looks", response_model=Page[LookOut])
def list_disputes(session: ViewOf, limit: Limit = 100, cursor: Cursor = None) -> Page[LookOut]:
    """Tasks with two answers that a curator has to settle, by number."""
    query = second_look.to_settle().order_by(SecondLook.task_id).limit(limit + 1)
    after = row_after(cursor)
    if after is not None:
        query = query.where(SecondLook.task_id > after)
    rows = session.scalars(query).all()
    items = [LookOut.model_validate(row) for row in rows[:limit]]
    return Page(items=items, next=str(items[-1].task_id) if len(rows) > limit else None)


@router.get("/looks/{task_id:row}", response_model=LookOut)
def show_look(task_id: RowId, session: ViewOf) -> SecondLook:
    """Both answers, once both are there: nobody sees the first before the second is given."""
    return second_look.find(session, task_id)


@router.post("/looks/{task_id:row}/settle", response_model=LookOut)
def settle_look(
    task_id: RowId, body: SettleIn, session: SessionOf, context: ContextOf
) -> SecondLook:
    """Say which answer is the truth, give another, or reject the image."""
    objects = [entry.model_dump() for entry in body.objects]
    queue.settle(session, context, task_id, body.taken, objects, body.note)
    return second_look.find(session, task_id)


@router.get("/answers", response_model=Page[GivenOut])
def list_answers(
    session: ViewOf,
    author: Annotated[str, Query(max_length=120, pattern=NO_ZERO_BYTE)] = "",
    limit: Limit = 100,
    cursor: Annotated[str | None, Query(pattern=outcomes.CURSOR)] = None,
) -> Page[GivenOut]:
    """What became of somebody's answers, the newest first; without an author: of one's own.

    An answer that waits for a second look is no truth yet. How many boxes it has is told to nobody
    else before the second answer is given.
    """
    own = actors.current()
    mine = own.name if own.user_id is not None else ""
    who = author or mine
    if not who:
        raise Conflict("say whose answers (author=NAME): this token is nobody's")
    before = None if cursor is None else outcomes.read_cursor(cursor)
    rows = outcomes.given_by(session, who, limit + 1, before)
    items = [
        GivenOut.model_validate(row).model_copy(
            update={"boxes": None}
            if row.outcome == Outcome.SECOND_LOOK and who.lower() != mine.lower()
            else {}
        )
        for row in rows[:limit]
    ]
    more = len(rows) > limit
    return Page(items=items, next=outcomes.cursor_of(rows[limit - 1]) if more else None)


@router.get("/agreement", response_model=AgreementPage)
def show_agreement(session: ViewOf) -> AgreementPage:
    """How often people say the same: all of them, by class, by labeller."""
    rows = second_look.agreement(session)
    return AgreementPage(items=[AgreementOut.model_validate(row.to_dict()) for row in rows])
