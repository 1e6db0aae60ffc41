"""Work: queues, who holds which image, and what is parked, with its traceback and a new try."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import func, select

from services import units
from services.context import Context
from services.cycle import redrive
from services.db.engine import reading
from services.db.tables import LabelTask, TaskState, Unit, UnitState
from services.web import cursors, render, session
from services.web.cursors import MAX_ROW
from services.worker import readiness

router = APIRouter()
PAGE = 50
HELD = 50
Word = Annotated[str, Query(max_length=40, pattern="^[a-z_]*$")]


@router.get("/work")
def work_page(
    request: Request,
    user: session.UserOf,
    state: Word = "",
    kind: Word = "",
    before: Annotated[int, Query(ge=0, le=MAX_ROW)] = 0,
) -> Response:
    """Units by state, open ones by kind, and a page of them, the newest first."""
    context: Context = request.app.state.context
    query = select(Unit).order_by(Unit.id.desc()).limit(PAGE + 1)
    if state:
        query = query.where(Unit.state == state)
    if kind:
        query = query.where(Unit.kind == kind)
    if before:
        query = query.where(Unit.id < before)
    waiting = (
        select(Unit.queue, Unit.kind, Unit.state, func.count())
        .where(Unit.state.in_((UnitState.QUEUED, UnitState.LEASED, UnitState.DEAD)))
        .group_by(Unit.queue, Unit.kind, Unit.state)
        .order_by(Unit.queue, Unit.kind, Unit.state)
    )
    held = (
        select(LabelTask)
        .where(LabelTask.state == TaskState.LEASED)
        .order_by(LabelTask.lease_until)
        .limit(HELD)
    )
    with reading(context.sessions) as opened:
        found = list(opened.scalars(query))
        counts = units.counts(opened)
        queues = opened.execute(waiting).all()
        leased = list(opened.scalars(held))
    shown = found[:PAGE]
    more = ""
    if len(found) > PAGE:
        more = cursors.address("/work", {"state": state, "kind": kind}, before=shown[-1].id)
    values = {
        "units": shown, "counts": counts, "queues": queues, "leased": leased,
        "state": state, "kind": kind, "more": more,
    }  # fmt: skip
    return render.page(request, "work.html", values, user)


@router.get("/work/parts")
def parts(request: Request, user: session.UserOf) -> Response:
    """Database, broker, relay and workers; apart, since one that hangs takes its time."""
    seen = readiness.look(request.app.state.context)
    return render.page(request, "parts.html", {"seen": seen}, user)


@router.post("/work/{unit_id}/redrive")
def try_again(
    request: Request,
    user: session.SenderOf,
    unit_id: Annotated[int, Path(ge=1, le=MAX_ROW)],
) -> Response:
    """Try a parked unit again."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        redrive.redrive(opened, unit_id)
    return RedirectResponse("/work?state=dead", 303)
