"""People's decisions about modes: merge, split, rename, and undo of any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Form, Path, Query, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.context import Context
from services.db.engine import reading
from services.db.tables import TAKEN_BACK, FailureRow, ModeMember, ModeRow, ModeSighting
from services.modes import decisions, trends
from services.web import cursors, render, session
from services.web.cursors import MAX_ROW

router = APIRouter()
PAGE, MERGEABLE = 60, 200
Number = Annotated[int, Path(ge=1, le=MAX_ROW)]
Note = Annotated[str, Form(max_length=2000)]
After = Annotated[str, Query(max_length=64, pattern="^[0-9a-f]*$")]


@router.post("/decisions/{number}/undo")
def undo(
    request: Request,
    user: session.SenderOf,
    number: Number,
    back: Annotated[str, Form(max_length=300)] = "/modes",
) -> Response:
    """Take a decision back."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        decisions.undo(opened, number)
    return RedirectResponse(session.local(back, "/modes"), 303)


@router.post("/modes/{mode_id}/rename")
def rename_mode(
    request: Request,
    user: session.SenderOf,
    mode_id: Number,
    name: Annotated[str, Form(min_length=1, max_length=160)],
    note: Note = "",
) -> Response:
    """Call it otherwise."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        decisions.rename(opened, mode_id, name, note)
    return RedirectResponse(f"/modes/{mode_id}", 303)


@router.post("/modes/{mode_id}/merge")
def merge_mode(
    request: Request,
    user: session.SenderOf,
    mode_id: Number,
    other: Annotated[int, Form(ge=1, le=MAX_ROW)],
    note: Note = "",
) -> Response:
    """Make another mode part of this one."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        decisions.merge(opened, mode_id, [other], note)
    return RedirectResponse(f"/modes/{mode_id}", 303)


@router.get("/modes/{mode_id}/split")
def split_page(
    request: Request, user: session.UserOf, mode_id: Number, after: After = ""
) -> Response:
    """Failures of a mode to choose from."""
    context: Context = request.app.state.context
    with reading(context.sessions) as opened:
        mode = trends.find(opened, mode_id)
        found = _members(opened, mode_id, after)
    shown = found[:PAGE]
    more = ""
    if len(found) > PAGE:
        more = cursors.address(f"/modes/{mode_id}/split", {}, after=shown[-1].id)
    values = {"mode": mode, "failures": shown, "more": more}
    return render.page(request, "split.html", values, user)


@router.post("/modes/{mode_id}/split")
def split_mode(
    request: Request,
    user: session.SenderOf,
    mode_id: Number,
    failure: Annotated[list[str], Form(max_length=1000)] = [],  # noqa: B006 - read, never changed
    name: Annotated[str, Form(max_length=160)] = "",
    note: Note = "",
) -> Response:
    """Make the chosen failures a mode of their own."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        decisions.split(opened, mode_id, failure, name, note)
    return RedirectResponse(f"/modes/{mode_id}", 303)


def mergeable(opened: Session, mode: ModeRow, merged: Mapping[int, int]) -> list[ModeRow]:
    """Modes that could become part of one, the newest first, but those that are part already."""
    query = (
        select(ModeRow)
        .where(ModeRow.family == mode.family, ModeRow.label == mode.label, ModeRow.id != mode.id)
        .order_by(ModeRow.id.desc())
        .limit(MERGEABLE)
    )
    return [row for row in opened.scalars(query) if row.id not in merged]


def _members(opened: Session, mode_id: int, after: str) -> list[FailureRow]:
    """Failures that the newest cycle with it saw in a mode, by id."""
    newest = (
        select(ModeSighting.id)
        .where(ModeSighting.mode_id == mode_id)
        .order_by(ModeSighting.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = (
        select(FailureRow)
        .join(ModeMember, ModeMember.failure_id == FailureRow.id)
        .where(
            ModeMember.sighting_id == newest,
            FailureRow.state.not_in(TAKEN_BACK),
            FailureRow.id > after,
        )
        .order_by(FailureRow.id)
        .limit(PAGE + 1)
    )
    return list(opened.scalars(query))
