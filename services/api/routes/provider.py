"""Logging in through the OpenID Connect provider; for browsers, which read pages."""

from __future__ import annotations

import html
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from services.accounts import login, provided
from services.accounts.oidc import Provider
from services.api import app_errors
from services.api.auth import LOGIN_PAGE, is_secure, session_cookie
from services.api.deps import IN_A_PLACE_AT_THE_PROVIDER, ContextOf
from services.api.routes.account import address_of, set_cookie
from services.config.settings import Settings
from services.errors import ServiceError

router = APIRouter(include_in_schema=False, dependencies=[IN_A_PLACE_AT_THE_PROVIDER])
TRY_S = 600
"""How long somebody may take to show the provider who they are."""
_PAGE = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Login</title>"
    "<h1>You are not logged in</h1><p>{why}</p><p><a href={back}>Back to the login</a></p></html>"
)


def _cookie(settings: Settings) -> str:
    return "__Host-e2x_oidc" if is_secure(settings) else "e2x_oidc"


@router.get("/login/oidc")
def begin(
    request: Request, context: ContextOf, following: Annotated[str, Query(alias="next")] = "/"
) -> Response:
    """Send the browser to the provider."""
    provider: Provider = request.app.state.provider
    try:
        url, kept = provider.begin(following)
    except ServiceError as error:
        return _told(request, error)
    answer = RedirectResponse(url, 303)
    answer.set_cookie(
        _cookie(context.settings),
        kept,
        max_age=TRY_S,
        path="/",
        secure=is_secure(context.settings),
        httponly=True,
        samesite="lax",  # the provider sends the browser back from its own site
    )
    return answer


@router.get("/login/oidc/callback")
def come_back(request: Request, context: ContextOf) -> Response:
    """Take the browser back: what the provider says of it becomes a login.

    Its query is read as it comes: providers add fields of their own.
    """
    settings, provider = context.settings, request.app.state.provider
    try:
        kept = request.cookies.get(_cookie(settings), "")
        claims, following = provider.finish(kept, request.query_params)
        before = request.cookies.get(session_cookie(settings), "")
        with context.sessions.begin() as session:
            user = provided.user_of(session, settings, claims)
            made = login.begin(session, settings, user, "oidc", address_of(request), before)
    except ServiceError as error:
        answer = _told(request, error)
    else:
        answer = RedirectResponse(following, 303)
        set_cookie(answer, settings, made.session_id)
    answer.delete_cookie(
        _cookie(settings), path="/", secure=is_secure(settings), httponly=True, samesite="lax"
    )
    return answer


def _told(request: Request, error: ServiceError) -> Response:
    """What went wrong: a page for a browser, or else as any error."""
    if "text/html" not in request.headers.get("accept", ""):
        return app_errors.answer_of(error.status, error.code, str(error))
    page = _PAGE.format(why=html.escape(str(error)), back=LOGIN_PAGE)
    return HTMLResponse(page, error.status)
