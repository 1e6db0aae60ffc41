"""Failure modes: what failures have in common, over the cycles."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import select

from curation.modes.states import ModeState
from services.api.deps import Cursor, Limit, RowId, ViewOf, Word, row_after
from services.api.schemas import FailureOut, ModeChangeOut, ModeDetail, ModeOut, Page
from services.api.strict import StrictRoute
from services.db.tables import ModeRow
from services.modes import trends

router = APIRouter(tags=["failure modes"], route_class=StrictRoute)


@router.get("/modes", response_model=Page[ModeOut])
def list_modes(
    session: ViewOf,
    limit: Limit = 100,
    cursor: Cursor = None,
    state: ModeState | None = None,
    label: Word = None,
) -> Page[ModeOut]:
    """Failure modes by number, with their size in each cycle."""
    query = select(ModeRow).order_by(ModeRow.id).limit(limit + 1)
    if state is not None:
        query = query.where(ModeRow.state == state)
    if label is not None:
        query = query.where(ModeRow.label == label)
    after = row_after(cursor)
    if after is not None:
        query = query.where(ModeRow.id > after)
    rows = session.scalars(query).all()
    found = trends.trends(session, rows[:limit])
    items = [ModeOut.model_validate(one.to_dict()) for one in found]
    return Page(items=items, next=str(rows[limit - 1].id) if len(rows) > limit else None)


@router.get("/modes/{mode_id:row}", response_model=ModeDetail)
def show_mode(mode_id: RowId, session: ViewOf) -> ModeDetail:
    """One failure mode: the failures that show it best, and how it came to its state."""
    (found,) = trends.trends(session, [trends.find(session, mode_id)])
    typical = trends.exemplars(session, found.last)
    steps = trends.changes(session, mode_id)
    return ModeDetail(
        **found.to_dict(),
        failures=[FailureOut.model_validate(row) for row in typical],
        overlays=[f"/v1/failures/{row.id}/overlay.png" for row in typical],
        changes=[ModeChangeOut.model_validate(step.to_dict()) for step in steps],
    )
