"""For admins: accounts, and who changed what."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from services.accounts import audit, users
from services.context import Context
from services.db.engine import reading
from services.db.tables import UserRole
from services.errors import InvalidRequest
from services.web import cursors, render, session
from services.web.cursors import MAX_ROW
from services.web.failures import Text

router = APIRouter()
PAGE = 50
Name = Annotated[str, Form(min_length=1, max_length=120)]
CHANGES = ("viewer", "labeller", "curator", "admin", "disable", "enable")


@router.get("/users")
def users_page(request: Request, user: session.UserOf) -> Response:
    """All accounts."""
    with reading(request.app.state.context.sessions) as opened:
        everybody = users.everybody(opened)
    values = {"everybody": everybody, "roles": list(UserRole)}
    return render.page(request, "users.html", values, user)


@router.post("/users")
async def add_user(
    request: Request,
    user: session.SenderOf,
    name: Name,
    role: Annotated[UserRole, Form()],
    password: Annotated[str, Form(max_length=300)],
) -> Response:
    """Make an account."""
    context: Context = request.app.state.context

    def add() -> None:
        with context.sessions.begin() as opened:
            users.add(opened, context.settings, name, role, password)

    async with request.app.state.cookies.places:  # a password is hashed
        await run_in_threadpool(add)
    return RedirectResponse("/users", 303)


@router.post("/users/change")
def change_user(
    request: Request, user: session.SenderOf, name: Name, change: Annotated[str, Form()]
) -> Response:
    """Give another role, disable or enable; it counts from that user's next request on."""
    if change not in CHANGES:
        raise InvalidRequest(f"change: one of {', '.join(CHANGES)}")
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        found = users.find(opened, name)
        if change in ("disable", "enable"):
            users.set_disabled(opened, found, change == "disable")
        else:
            users.set_role(opened, found, UserRole(change))
    return RedirectResponse("/users", 303)


@router.get("/audit")
def audit_page(
    request: Request,
    user: session.UserOf,
    who: Text = "",
    action: Text = "",
    subject: Text = "",
    before: Annotated[int, Query(ge=0, le=MAX_ROW)] = 0,
) -> Response:
    """Who changed what, when, through which door; the newest first."""
    with reading(request.app.state.context.sessions) as opened:
        found = audit.rows(
            opened,
            PAGE + 1,
            user=who or None,
            action=action or None,
            subject=subject or None,
            before=before or None,
        )
    wanted = {"who": who, "action": action, "subject": subject}
    more = ""
    if len(found) > PAGE:
        more = cursors.address("/audit", wanted, before=found[PAGE - 1].id)
    return render.page(request, "audit.html", {**wanted, "rows": found[:PAGE], "more": more}, user)
