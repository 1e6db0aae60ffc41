"""What people decide about images and failure modes; each holds until it is undone."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from services.api.deps import Cursor, Limit, RowId, SessionOf, ViewOf, row_after
from services.api.schemas import Page
from services.api.schemas_decisions import DecisionIn, DecisionOut
from services.api.strict import StrictRoute
from services.db.tables import Decision
from services.modes import decision_rows, decisions

router = APIRouter(tags=["decisions"], route_class=StrictRoute)


@router.get("/decisions", response_model=Page[DecisionOut])
def list_decisions(
    session: ViewOf,
    limit: Limit = 100,
    cursor: Cursor = None,
    holding: Annotated[bool, Query(description="Without those that were undone.")] = False,
) -> Page[DecisionOut]:
    """Decisions, the newest first."""
    rows = decision_rows.listed(session, limit + 1, row_after(cursor), holding)
    items = [DecisionOut.model_validate(row) for row in rows[:limit]]
    return Page(items=items, next=str(items[-1].id) if len(rows) > limit else None)


@router.post("/decisions", status_code=201, response_model=DecisionOut)
def decide(body: DecisionIn, session: SessionOf) -> Decision:
    """Strike an image or a mode, merge modes, split or rename one.

    Strikes and names count at once; modes are merged and split in the next plan and at every later
    cycle, also for failures that come in then.
    """
    return decisions.make(session, **body.model_dump())


@router.post("/decisions/{number:row}/undo", response_model=DecisionOut)
def undo_decision(number: RowId, session: SessionOf) -> Decision:
    """Take a decision back; it stays in the list with who did, and when."""
    return decisions.undo(session, number)
