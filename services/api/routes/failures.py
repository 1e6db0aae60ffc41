"""Failures, why they happened, and which are none."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy import select

from services.api.deps import (
    IN_A_PLACE_TO_DRAW,
    MAX_ROW,
    ContextOf,
    Day,
    IdCursor,
    Limit,
    SessionOf,
    ViewOf,
    Word,
)
from services.api.schemas import DismissIn, ExplanationOut, FailureDetail, FailureOut, Page
from services.api.strict import StrictRoute
from services.cycle import dismissals
from services.db import actors
from services.db.tables import Explanation, FailureRow
from services.errors import NotFound
from services.failures import listing
from services.store import drawings

router = APIRouter(tags=["failures"], route_class=StrictRoute)


@router.get("/failures", response_model=Page[FailureOut])
def list_failures(
    session: ViewOf,
    limit: Limit = 100,
    cursor: IdCursor = None,
    state: Word = None,
    kind: Word = None,
    label: Word = None,
    mechanism: Annotated[Word, Query(description="How the object was lost.")] = None,
    mode: Annotated[
        int | None, Query(ge=0, le=MAX_ROW, description="Of this failure mode; 0: of none.")
    ] = None,
    model: Annotated[Word, Query(description="Made by this model.")] = None,
    drive: Annotated[Word, Query(description="In frames that came in with this group.")] = None,
    since: Annotated[Day | None, Query(description="Found on this day, in UTC, or later.")] = None,
    until: Annotated[Day | None, Query(description="Found on this day, or before.")] = None,
) -> Page[FailureOut]:
    """Failures by id; those that were withdrawn or dismissed only where `state` names them."""
    wanted = listing.Wanted(
        state or "", kind or "", label or "", mechanism or "", mode,
        drive=drive or "", since=since, until=until,
    )  # fmt: skip
    query = select(FailureRow).where(*listing.conditions(wanted))
    query = query.order_by(FailureRow.id).limit(limit + 1)
    if model is not None:
        query = query.where(FailureRow.model_id == model)
    if cursor is not None:
        query = query.where(FailureRow.id > cursor)
    rows = session.scalars(query).all()
    items = [FailureOut.model_validate(row) for row in rows[:limit]]
    return Page(items=items, next=items[-1].id if len(rows) > limit else None)


@router.get("/failures/{failure_id}", response_model=FailureDetail)
def show_failure(failure_id: str, session: ViewOf) -> FailureDetail:
    """One failure with its explanations."""
    row = _find(session, failure_id)
    explanations = session.scalars(
        select(Explanation)
        .where(Explanation.failure_id == row.id)
        .order_by(Explanation.created_at.desc())
    ).all()
    return FailureDetail(
        **FailureOut.model_validate(row).model_dump(),
        explanations=[ExplanationOut.model_validate(one) for one in explanations],
        overlay=f"/v1/failures/{row.id}/overlay.png" if explanations else None,
    )


@router.get(
    "/failures/{failure_id}/overlay.png",
    response_class=Response,
    dependencies=[IN_A_PLACE_TO_DRAW],
)
def draw_failure(failure_id: str, session: ViewOf, context: ContextOf) -> Response:
    """The frame with the box, what supports it in red and what hurts it in blue."""
    row = _find(session, failure_id)
    return Response(drawings.overlay_png(session, context, row), media_type="image/png")


@router.post("/failures/{failure_id}/dismiss", response_model=FailureOut)
def dismiss_failure(
    failure_id: str, session: SessionOf, context: ContextOf, body: DismissIn | None = None
) -> FailureRow:
    """Say that it is none, whatever truth and reports say; dismissing it again is harmless.

    The operator's report that gave it is taken back with it, and later scans do not bring it back.
    A new report with another box does. The audit trail keeps who dismissed it, and why.
    """
    note = "" if body is None else body.note
    dismissals.dismiss(session, context.settings, [failure_id], actors.current().name, note)
    return _find(session, failure_id)


def _find(session: SessionOf, failure_id: str) -> FailureRow:
    row = session.get(FailureRow, failure_id)
    if row is None:
        raise NotFound(f"no failure {failure_id}")
    return row
