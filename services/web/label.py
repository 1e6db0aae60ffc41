"""The page to label on; its script talks to the API, so that all answers have one reader."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.context import Context
from services.db.engine import reading
from services.db.tables import LabelTask, TaskState
from services.labeling import second_look
from services.models.classes import class_names
from services.web import render, session

router = APIRouter()


@router.get("/label")
def label_page(request: Request, user: session.UserOf) -> Response:
    """The page; it asks for a task when it is there, since a look at an address takes nothing."""
    context: Context = request.app.state.context
    with reading(context.sessions) as opened:
        names = class_names(opened)[1:]
        waiting = _waiting(opened, user.name)
    values = {"classes": names, "waiting": waiting, "lease_s": context.settings.labels.lease_s}
    return render.page(request, "label.html", values, user)


@router.get("/label/waiting")
def waiting_tasks(request: Request, user: session.UserOf) -> Response:
    """How many images nobody has begun, of those that one may have."""
    with reading(request.app.state.context.sessions) as opened:
        return JSONResponse({"waiting": _waiting(opened, user.name)})


def _waiting(opened: Session, name: str) -> int:
    mine = second_look.mine(name)
    query = select(func.count()).where(LabelTask.state == TaskState.WAITING, ~mine)
    return opened.scalar(query) or 0
