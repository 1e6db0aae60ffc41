"""One's own account: log in and out, who one is, password, tokens."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Request, Response

from services.accounts import login, tokens
from services.accounts.identity import Identity
from services.api.auth import WHO, is_secure, session_cookie
from services.api.deps import IN_A_PLACE_TO_LOG_IN, ContextOf, RowId, SessionOf, ViewOf
from services.api.door import client_of
from services.api.schemas import Error, Page
from services.api.schemas_accounts import (
    LoginIn,
    LoginOut,
    MeOut,
    NewTokenOut,
    OwnPasswordIn,
    TokenIn,
    TokenOut,
)
from services.api.strict import StrictRoute
from services.config.settings import Settings
from services.db.tables import ApiToken, User, UserRole
from services.errors import Forbidden, NotAllowed

router = APIRouter(tags=["account"], route_class=StrictRoute)
LOCKED: dict[int | str, dict[str, Any]] = {
    429: {
        "model": Error,
        "description": "Too many wrong passwords; `Retry-After` says for how long",
    }
}
own = APIRouter(tags=["account"], route_class=StrictRoute)


def get_who(request: Request) -> Identity:
    """Who asks; the middleware has looked."""
    who: Identity | None = getattr(request.state, WHO, None)
    if who is None:
        raise NotAllowed("log in first")
    return who


WhoOf: TypeAlias = Annotated[Identity, Depends(get_who)]


def logged_in(who: WhoOf) -> Identity:
    """The same, where a token is not enough: who finds one must not make more of it."""
    if who.via != "session":
        raise Forbidden("this takes a login by POST /v1/login, not a token")
    return who


LoggedIn: TypeAlias = Annotated[Identity, Depends(logged_in)]


def address_of(request: Request) -> str:
    """Where a request comes from, as lockouts count it."""
    return client_of(request.client.host) if request.client else ""


def set_cookie(response: Response, settings: Settings, session_id: str) -> None:
    """Give the browser its session: no script reads it, and no other site's form sends it."""
    response.set_cookie(
        session_cookie(settings),
        session_id,
        max_age=int(settings.accounts.session_max_s),
        path="/",
        secure=is_secure(settings),
        httponly=True,
        samesite="lax",
    )


def drop_cookie(response: Response, settings: Settings) -> None:
    """Take it back."""
    response.delete_cookie(
        session_cookie(settings),
        path="/",
        secure=is_secure(settings),
        httponly=True,
        samesite="lax",
    )


@router.post(
    "/login",
    response_model=LoginOut,
    dependencies=[IN_A_PLACE_TO_LOG_IN],
    responses={**LOCKED, 403: {"model": Error, "description": "The account is disabled"}},
)
def log_in(body: LoginIn, request: Request, response: Response, context: ContextOf) -> LoginOut:
    """Log in with name and password: the answer sets a cookie, and has the CSRF token beside it.

    After too many wrong passwords the name, or the address that they came from, is locked for a
    while (429).
    """
    settings = context.settings
    before = request.cookies.get(session_cookie(settings), "")
    made = login.by_password(
        context.sessions, settings, body.name, body.password, address_of(request), before
    )
    set_cookie(response, settings, made.session_id)
    return LoginOut(name=made.user.name, role=UserRole(made.user.role), csrf=made.csrf)


@own.post("/logout", status_code=204)
def log_out(who: LoggedIn, session: SessionOf, context: ContextOf, response: Response) -> None:
    """End this login."""
    login.end(session, who)
    drop_cookie(response, context.settings)


@own.post("/logout/everywhere", status_code=204)
def log_out_everywhere(
    who: LoggedIn, session: SessionOf, context: ContextOf, response: Response
) -> None:
    """End all logins of this user, on every device; tokens stay."""
    login.end_all(session, who)
    drop_cookie(response, context.settings)


@own.get("/me", response_model=MeOut)
def show_me(who: WhoOf) -> MeOut:
    """Who one is here, and what one may do."""
    return MeOut(name=who.name, role=who.role, via=who.via, csrf=who.csrf or None)


@own.post("/me/password", status_code=204, dependencies=[IN_A_PLACE_TO_LOG_IN], responses=LOCKED)
def change_password(
    body: OwnPasswordIn, request: Request, who: LoggedIn, context: ContextOf, response: Response
) -> None:
    """Set another password; every login of this user ends, this one too."""
    login.change_password(
        context.sessions, context.settings, who, body.old, body.new, address_of(request)
    )
    drop_cookie(response, context.settings)


@own.get("/me/tokens", response_model=Page[TokenOut])
def list_tokens(who: WhoOf, session: ViewOf) -> Page[TokenOut]:
    """One's tokens that were not revoked; what they are is shown once only, when they are made."""
    rows = tokens.of_user(session, who.user_id)
    return Page(items=[TokenOut.model_validate(row) for row in rows])


@own.post("/me/tokens", status_code=201, response_model=NewTokenOut)
def make_token(body: TokenIn, who: LoggedIn, session: SessionOf, context: ContextOf) -> NewTokenOut:
    """Make a token for scripts; its role is never above that of its owner.

    Only by a login: a token makes no tokens.
    """
    user = session.get_one(User, who.user_id)
    row, token = tokens.issue(session, context.settings, user, body.name, body.role, body.days)
    return NewTokenOut(**TokenOut.model_validate(row).model_dump(), token=token)


@own.delete("/me/tokens/{token_id:row}", response_model=TokenOut)
def revoke_token(token_id: RowId, who: LoggedIn, session: SessionOf) -> ApiToken:
    """End a token at once; once more is harmless."""
    return tokens.revoke(session, session.get_one(User, who.user_id), token_id)
