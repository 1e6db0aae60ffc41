"""Cycles: start, follow, cancel."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import select

from services.api.deps import ContextOf, Cursor, Limit, RowId, SessionOf, ViewOf, row_after
from services.api.schemas import CycleIn, CycleOut, Page
from services.api.strict import StrictRoute
from services.api.without import cycle_told
from services.cycle import cycles
from services.db import actors
from services.db.tables import Cycle

router = APIRouter(tags=["cycles"], route_class=StrictRoute)


@router.post("/cycles", status_code=201, response_model=CycleOut)
def start_cycle(body: CycleIn, session: SessionOf, context: ContextOf) -> CycleOut:
    """Begin a cycle: select what to label, or retrain on the labels that are there."""
    return cycle_told(session, cycles.start(session, context, **body.model_dump()))


@router.get("/cycles", response_model=Page[CycleOut])
def list_cycles(session: ViewOf, limit: Limit = 100, cursor: Cursor = None) -> Page[CycleOut]:
    """Cycles, the newest first."""
    query = select(Cycle).order_by(Cycle.id.desc()).limit(limit + 1)
    after = row_after(cursor)
    if after is not None:
        query = query.where(Cycle.id < after)
    rows = session.scalars(query).all()
    items = [CycleOut.model_validate(row) for row in rows[:limit]]
    return Page(items=items, next=str(items[-1].id) if len(rows) > limit else None)


@router.get("/cycles/{cycle_id:row}", response_model=CycleOut)
def show_cycle(cycle_id: RowId, session: ViewOf) -> CycleOut:
    """One cycle with the gate's decision."""
    return cycle_told(session, cycles.find(session, cycle_id))


@router.post("/cycles/{cycle_id:row}/cancel", response_model=CycleOut)
def cancel_cycle(cycle_id: RowId, session: SessionOf, context: ContextOf) -> CycleOut:
    """Stop a cycle; its labels and models stay."""
    cancelled = cycles.cancel(session, context, cycle_id, actors.current().name)
    return cycle_told(session, cancelled)


@router.post("/cycles/{cycle_id:row}/train", response_model=CycleOut)
def train_cycle(cycle_id: RowId, session: SessionOf, context: ContextOf) -> CycleOut:
    """Close the open label tasks and retrain with what is there."""
    cycles.train_with_what_is_there(session, context, cycle_id)
    return cycle_told(session, cycles.find(session, cycle_id))
