"""The part of a failure's page on what its regions resemble in the pool."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from services.context import Context
from services.db.engine import reading
from services.db.tables import FailureRow
from services.errors import NotFound
from services.failures import neighbours
from services.web import render, session

router = APIRouter()


@router.get("/failures/{failure_id}/neighbours")
def neighbours_part(request: Request, user: session.UserOf, failure_id: str) -> Response:
    """By itself, for as long as a look is waited for."""
    context: Context = request.app.state.context
    with reading(context.sessions) as opened:
        row = opened.get(FailureRow, failure_id)
        if row is None:
            raise NotFound(f"no failure {failure_id}")
        looked = neighbours.of_failure(opened, failure_id)
    values = {"row": row, "near": looked, "is_explained": True}
    return render.page(request, "neighbours.html", values, user)


@router.post("/failures/{failure_id}/neighbours")
def look_up(request: Request, user: session.SenderOf, failure_id: str) -> Response:
    """Have a worker look through the pool."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        neighbours.ask(opened, failure_id)
    return RedirectResponse(f"/failures/{failure_id}#near", 303)
