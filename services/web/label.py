"""The page to label on; its script talks to the API, so that all answers have one reader."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.context import Context
from services.db.engine import reading
from services.db.tables import LabelTask, TaskState
from services.labeling import outcomes, second_look
from services.labeling.outcomes import WORDS, Outcome
from services.models.classes import class_names
from services.web import cursors, render, session

router = APIRouter()
PAGE = 50
NO_ZERO_BYTE = r"^[^\x00]*$"
UNDECIDED = (Outcome.SECOND_LOOK, Outcome.UNDECIDED)
"""Of these nothing is the truth yet."""


@router.get("/label")
def label_page(request: Request, user: session.UserOf) -> Response:
    """The page; it asks for a task when it is there, since a look at an address takes nothing."""
    context: Context = request.app.state.context
    with reading(context.sessions) as opened:
        names = class_names(opened)[1:]
        waiting = _waiting(opened, user.name)
    values = {
        "classes": names,
        "waiting": waiting,
        "lease_s": context.settings.labels.lease_s,
        "words": WORDS,
    }
    return render.page(request, "label.html", values, user)


@router.get("/label/waiting")
def waiting_tasks(request: Request, user: session.UserOf) -> Response:
    """How many images nobody has begun, of those that one may have."""
    with reading(request.app.state.context.sessions) as opened:
        return JSONResponse({"waiting": _waiting(opened, user.name)})


@router.get("/label/answers")
def answers_page(
    request: Request,
    user: session.UserOf,
    before: Annotated[str, Query(max_length=80, pattern=NO_ZERO_BYTE)] = "",
) -> Response:
    """What became of one's own answers, the newest first."""
    cursor = outcomes.read_cursor(before) if before else None
    with reading(request.app.state.context.sessions) as opened:
        found = outcomes.given_by(opened, user.name, PAGE + 1, cursor)
    shown = found[:PAGE]
    more = ""
    if len(found) > PAGE:
        more = cursors.address("/label/answers", {}, before=outcomes.cursor_of(shown[-1]))
    values = {"rows": shown, "more": more, "undecided": UNDECIDED}
    return render.page(request, "answers.html", values, user)


def _waiting(opened: Session, name: str) -> int:
    mine = second_look.mine(name)
    query = select(func.count()).where(LabelTask.state == TaskState.WAITING, ~mine)
    return opened.scalar(query) or 0
