"""Second looks: what two people answered differently, settled; how well people agree."""

from __future__ import annotations

from fastapi import APIRouter

from services.api.deps import ContextOf, Cursor, Limit, RowId, SessionOf, ViewOf, row_after
from services.api.schemas import AgreementOut, AgreementPage, LookOut, Page, SettleIn
from services.api.strict import StrictRoute
from services.db.tables import SecondLook
from services.labeling import queue, second_look

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


@router.get("/agreement", response_model=AgreementPage)
def show_agreement(session: ViewOf) -> AgreementPage:
    """How often people say the same: all of them, by class, by labeller."""
    rows = second_look.agreement(session)
    return AgreementPage(items=[AgreementOut.model_validate(row.to_dict()) for row in rows])
