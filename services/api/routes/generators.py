"""Networks that were trained to draw on the project's own pictures, and the next training."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import select

from services.accounts import audit
from services.api.deps import Cursor, Limit, SessionOf, ViewOf, row_after
from services.api.schemas import Page
from services.api.schemas_generated import AskedOut, GeneratorOut, TrainIn
from services.api.strict import StrictRoute
from services.db.tables import GeneratorRow
from services.synthesis import drawers, training

router = APIRouter(tags=["drawn samples"], route_class=StrictRoute)


@router.get("/generators", response_model=Page[GeneratorOut])
def list_generators(
    session: ViewOf, limit: Limit = 100, cursor: Cursor = None
) -> Page[GeneratorOut]:
    """Networks that were trained here, the newest first, and why they are not relied on."""
    query = select(GeneratorRow).order_by(GeneratorRow.number.desc()).limit(limit + 1)
    after = row_after(cursor)
    if after is not None:
        query = query.where(GeneratorRow.number < after)
    rows = session.scalars(query).all()
    items = [GeneratorOut(**drawers.told(row)) for row in rows[:limit]]
    return Page(items=items, next=str(items[-1].number) if len(rows) > limit else None)


@router.post("/generators", response_model=AskedOut, status_code=202)
def train_generator(body: TrainIn, session: SessionOf) -> AskedOut:
    """Have a network trained, or go on with the one of the same pictures."""
    unit = training.request(session, body.steps, body.minutes)
    audit.record(session, "generator.train", f"unit:{unit.id}", steps=body.steps)
    return AskedOut(unit=unit.id)
