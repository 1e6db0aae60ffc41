"""Cycles by hand: begin one, train with the labels that are there, stop."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import RedirectResponse

from services.context import Context
from services.cycle import cycles
from services.web import session
from services.web.cursors import MAX_ROW

router = APIRouter()
Number = Annotated[int, Path(ge=1, le=MAX_ROW)]


@router.post("/cycles/start")
def start_cycle(request: Request, user: session.SenderOf) -> Response:
    """Begin a cycle with the policy and the budget of the settings."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        cycles.start(opened, context)
    return RedirectResponse("/", 303)


@router.post("/cycles/{cycle_id}/train")
def train_cycle(request: Request, user: session.SenderOf, cycle_id: Number) -> Response:
    """Close the open label tasks and retrain with what is there."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        cycles.train_with_what_is_there(opened, context, cycle_id)
    return RedirectResponse("/", 303)


@router.post("/cycles/{cycle_id}/cancel")
def cancel_cycle(request: Request, user: session.SenderOf, cycle_id: Number) -> Response:
    """Stop a cycle; its labels and models stay."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        cycles.cancel(opened, context, cycle_id, user.name)
    return RedirectResponse("/", 303)
