"""Failures: a list with filters, one with why it happened, where it came from, what came of it."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from services.context import Context
from services.cycle import dismissals
from services.db.engine import reading
from services.db.tables import FailureState
from services.errors import InvalidRequest
from services.failures import listing, neighbours
from services.web import cursors, explanations, failure_rows, lineage, render, session

router = APIRouter()
MAX_NOTE = 2000
Text = Annotated[str, Query(max_length=300, pattern=r"^[^\x00]*$")]


@router.get("/failures")
def failures_page(
    request: Request,
    user: session.UserOf,
    state: Text = "",
    kind: Text = "",
    label: Text = "",
    mechanism: Text = "",
    mode: Text = "",
    model: Text = "",
    drive: Text = "",
    since: Text = "",
    until: Text = "",
    before: Text = "",
) -> Response:
    """A page of the list; a form sends an empty field for what it does not filter by."""
    wanted = listing.Wanted(
        state, kind, label, mechanism, _number("mode", mode), _number("model", model),
        drive, _day("since", since), _day("until", until),
    )  # fmt: skip
    context: Context = request.app.state.context
    with reading(context.sessions) as opened:
        lines, cursor = failure_rows.listed(opened, wanted, before)
        offered = failure_rows.choices(opened)
    more = cursors.address("/failures", wanted.to_dict(), before=cursor) if cursor else ""
    values = {
        "lines": lines,
        "wanted": wanted,
        "choices": offered,
        "states": list(FailureState),
        "more": more,
        "is_first": not before,
    }
    return render.page(request, "failures.html", values, user)


@router.get("/failures/{failure_id}")
def failure_page(request: Request, user: session.UserOf, failure_id: str) -> Response:
    """One failure."""
    context: Context = request.app.state.context
    with reading(context.sessions) as opened:
        found = lineage.whole(opened, failure_id)
        part = explanations.section(opened, context, found.row)
        near = neighbours.of_failure(opened, found.row.id)
    is_open = found.row.state != FailureState.DISMISSED
    values = {"found": found, "row": found.row, "is_open": is_open, "near": near, **part}
    values["is_explained"] = bool(found.explanations)
    return render.page(request, "failure.html", values, user)


@router.post("/failures/{failure_id}/dismiss")
def dismiss_failure(
    request: Request,
    user: session.SenderOf,
    failure_id: str,
    note: Annotated[str, Form(min_length=1, max_length=MAX_NOTE)],
) -> Response:
    """Say that it is none, and why."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        dismissals.dismiss(opened, context.settings, [failure_id], user.name, note)
    return RedirectResponse(f"/failures/{failure_id}", 303)


def _number(name: str, text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and int(text[:20]) <= cursors.MAX_ROW):
        raise InvalidRequest(f"{name}: a number")
    return int(text)


def _day(name: str, text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise InvalidRequest(f"{name}: a day, such as 2026-01-31") from error
