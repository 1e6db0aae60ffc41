"""Drawn samples: who made them, from what, why they were kept; accepted, refused, withdrawn."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy import select

from services.api.deps import (
    MAX_ROW,
    ContextOf,
    Cursor,
    Limit,
    OfCycle,
    RowId,
    SessionOf,
    ViewOf,
    Word,
    row_after,
)
from services.api.schemas import Page
from services.api.schemas_generated import (
    ChangedOut,
    DecideIn,
    GeneratedDetail,
    GeneratedOut,
    WithdrawIn,
)
from services.api.strict import StrictRoute
from services.db import actors
from services.db.tables import GeneratedRow, SampleState
from services.synthesis import samples

router = APIRouter(tags=["drawn samples"], route_class=StrictRoute)


@router.get("/generated", response_model=Page[GeneratedOut])
def list_generated(
    session: ViewOf,
    limit: Limit = 100,
    cursor: Cursor = None,
    state: SampleState | None = None,
    cycle: OfCycle = None,
    mode: Annotated[
        int | None, Query(ge=1, le=MAX_ROW, description="Of this failure mode.")
    ] = None,
    generator: Word = None,
) -> Page[GeneratedOut]:
    """Drawn samples, the newest first."""
    query = select(GeneratedRow).order_by(GeneratedRow.id.desc()).limit(limit + 1)
    wanted = (
        (GeneratedRow.state, state),
        (GeneratedRow.cycle_id, cycle),
        (GeneratedRow.mode_id, mode),
        (GeneratedRow.generator, generator),
    )
    for column, value in wanted:
        if value is not None:
            query = query.where(column == value)
    after = row_after(cursor)
    if after is not None:
        query = query.where(GeneratedRow.id < after)
    rows = session.scalars(query).all()
    items = [GeneratedOut.model_validate(row) for row in rows[:limit]]
    return Page(items=items, next=str(items[-1].id) if len(rows) > limit else None)


@router.get("/generated/{sample_id:row}", response_model=GeneratedDetail)
def show_generated(sample_id: RowId, session: ViewOf) -> GeneratedDetail:
    """One sample: who made it, from what, with which seed, and why it was kept."""
    row = samples.find(session, sample_id)
    picture = None if row.image_id is None else f"/v1/generated/{row.id}/picture.png"
    return GeneratedDetail(**samples.told(session, row), picture=picture)


@router.get("/generated/{sample_id:row}/picture.png", response_class=Response)
def draw_generated(sample_id: RowId, session: ViewOf, context: ContextOf) -> Response:
    """The picture; its text chunks say who made it, from what, and with which seed."""
    row = samples.find(session, sample_id)
    return Response(samples.picture(context, session, row), media_type="image/png")


@router.post("/generated/{sample_id:row}/accept", response_model=GeneratedOut)
def accept_generated(
    sample_id: RowId, session: SessionOf, body: DecideIn | None = None
) -> GeneratedRow:
    """Keep a sample: it joins the next dataset version."""
    samples.accept(session, [sample_id], actors.current().name, body.note if body else "")
    return samples.find(session, sample_id)


@router.post("/generated/{sample_id:row}/refuse", response_model=GeneratedOut)
def refuse_generated(
    sample_id: RowId, session: SessionOf, body: DecideIn | None = None
) -> GeneratedRow:
    """Refuse a sample that passed the checks."""
    samples.refuse(session, [sample_id], actors.current().name, body.note if body else "")
    return samples.find(session, sample_id)


@router.post("/generated/withdraw", response_model=ChangedOut)
def withdraw_generated(body: WithdrawIn, session: SessionOf) -> ChangedOut:
    """Take samples, those of a cycle or those of a generator out of further dataset versions.

    Models that have learned from them keep their own.
    """
    changed = samples.withdraw(
        session,
        actors.current().name,
        body.note,
        ids=body.ids,
        cycle=body.cycle,
        generator=body.generator,
    )
    return ChangedOut(changed=changed)
