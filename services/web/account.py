"""One's own account: password, logins, and tokens for scripts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from services.accounts import login, tokens
from services.accounts.identity import Identity
from services.context import Context
from services.db.engine import reading
from services.db.tables import User, UserRole
from services.errors import Forbidden
from services.web import render, session
from services.web.cursors import MAX_ROW
from services.web.session import Cookies

router = APIRouter()
MAX_TEXT = 300


@router.get("/account")
def account_page(request: Request, user: session.UserOf) -> Response:
    """Who one is, and what opens the service in one's name."""
    return _page(request, user)


@router.post("/account/password")
async def change_password(
    request: Request,
    user: session.SenderOf,
    old: Annotated[str, Form(max_length=MAX_TEXT)],
    new: Annotated[str, Form(max_length=MAX_TEXT)],
) -> Response:
    """Set another password; every login ends, this one too."""
    context: Context = request.app.state.context
    cookies: Cookies = request.app.state.cookies
    async with cookies.places:
        await run_in_threadpool(
            login.change_password,
            context.sessions,
            context.settings,
            _logged_in(user),
            old,
            new,
            cookies.address_of(request),
        )
    return _out(cookies)


@router.post("/account/everywhere")
def sign_out_everywhere(request: Request, user: session.SenderOf) -> Response:
    """End all logins, on every device; tokens stay."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        login.end_all(opened, _logged_in(user))
    return _out(request.app.state.cookies)


@router.post("/account/tokens")
def make_token(
    request: Request,
    user: session.SenderOf,
    name: Annotated[str, Form(min_length=1, max_length=80)],
    role: Annotated[UserRole, Form()],
    days: Annotated[float, Form(gt=0, le=3650)],
) -> Response:
    """Make a token, which this answer shows, and nothing shows again."""
    context: Context = request.app.state.context
    who = _logged_in(user)
    with context.sessions.begin() as opened:
        owner = opened.get_one(User, who.user_id)
        _, token = tokens.issue(opened, context.settings, owner, name, role, days)
    return _page(request, user, token)


@router.post("/account/tokens/{token_id}/revoke")
def revoke_token(
    request: Request, user: session.SenderOf, token_id: Annotated[int, Path(ge=1, le=MAX_ROW)]
) -> Response:
    """End a token at once."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        tokens.revoke(opened, opened.get_one(User, _logged_in(user).user_id), token_id)
    return RedirectResponse("/account", 303)


def _page(request: Request, user: session.User, made: str = "") -> Response:
    context: Context = request.app.state.context
    with reading(context.sessions) as opened:
        own = tokens.of_user(opened, user.who.user_id)
    values = {
        "tokens": own,
        "made": made,
        "roles": [role for role in UserRole if user.who.role.may(role)],
        "days": context.settings.accounts.token_days,
        "is_login": user.who.via == "session",
    }
    return render.page(request, "account.html", values, user)


def _logged_in(user: session.User) -> Identity:
    """Who has signed in: whoever finds a token must not make more of it.

    Raises:
        Forbidden: it was a token.
    """
    if user.who.via != "session":
        raise Forbidden("this takes a login, not a token")
    return user.who


def _out(cookies: Cookies) -> Response:
    answer = RedirectResponse("/login", 303)
    cookies.take(answer)
    return answer
