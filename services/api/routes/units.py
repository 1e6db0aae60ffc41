"""Units of work: how many there are, which are parked and why."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import select

from services import units
from services.api.deps import Cursor, Limit, OfCycle, RowId, SessionOf, ViewOf, Word, row_after
from services.api.schemas import Page, UnitOut
from services.api.strict import StrictRoute
from services.cycle import redrive
from services.db.tables import Unit

router = APIRouter(tags=["units"], route_class=StrictRoute)


@router.get("/units/counts")
def count_units(session: ViewOf, cycle_id: OfCycle = None) -> dict[str, int]:
    """Units by state."""
    return units.counts(session, cycle_id)


@router.get("/units", response_model=Page[UnitOut])
def list_units(
    session: ViewOf,
    limit: Limit = 100,
    cursor: Cursor = None,
    state: Word = None,
    kind: Word = None,
) -> Page[UnitOut]:
    """Units by number; `state=dead` lists the dead letters."""
    query = select(Unit).order_by(Unit.id).limit(limit + 1)
    if state is not None:
        query = query.where(Unit.state == state)
    if kind is not None:
        query = query.where(Unit.kind == kind)
    after = row_after(cursor)
    if after is not None:
        query = query.where(Unit.id > after)
    rows = session.scalars(query).all()
    items = [UnitOut.model_validate(row) for row in rows[:limit]]
    return Page(items=items, next=str(items[-1].id) if len(rows) > limit else None)


@router.post("/units/{unit_id:row}/redrive", response_model=UnitOut)
def redrive_unit(unit_id: RowId, session: SessionOf) -> Unit:
    """Try a parked unit again; a cycle that failed with it goes on, unless another one runs."""
    redrive.redrive(session, unit_id)
    session.flush()
    return session.get_one(Unit, unit_id, populate_existing=True)
