"""Signing in and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from services.accounts import login
from services.context import Context
from services.errors import Forbidden, NotAllowed, ServiceError
from services.web import paths, render, session
from services.web.session import Cookies

router = APIRouter()
MAX_NAME, MAX_PASSWORD, MAX_PATH = 120, 300, 2000


@router.get("/login")
def login_page(request: Request, next: str = "/") -> Response:
    """The form; whoever is signed in already goes on."""
    target = next if paths.is_local(next) else "/"
    if session.current_user(request) is not None:
        return RedirectResponse(target, 303)
    return _form(request, target)


@router.post("/login")
async def sign_in(
    request: Request,
    name: Annotated[str, Form(max_length=MAX_NAME)],
    password: Annotated[str, Form(max_length=MAX_PASSWORD)],
    next: Annotated[str, Form(max_length=MAX_PATH)] = "/",
) -> Response:
    """Begin a session, or say that the words do not fit."""
    target = next if paths.is_local(next) else "/"
    context: Context = request.app.state.context
    cookies: Cookies = request.app.state.cookies
    try:
        async with cookies.places:  # it takes a quarter of a second, and much memory
            made = await run_in_threadpool(
                login.by_password,
                context.sessions,
                context.settings,
                name,
                password,
                cookies.address_of(request),
                request.cookies.get(cookies.name, ""),
            )
    except (NotAllowed, Forbidden) as error:
        return _form(request, target, name, error)
    answer = RedirectResponse(target, 303)
    cookies.give(answer, made.session_id)
    return answer


@router.post("/logout")
def sign_out(request: Request, user: session.SenderOf) -> Response:
    """End the session."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        login.end(opened, user.who)
    answer = RedirectResponse("/login", 303)
    request.app.state.cookies.take(answer)
    return answer


def _form(
    request: Request, target: str, name: str = "", error: ServiceError | None = None
) -> Response:
    accounts = request.app.state.context.settings.accounts
    said = "" if error is None else str(error)
    values = {"next": target, "name": name, "error": said, "by_provider": accounts.oidc_issuer}
    status = 200 if error is None else error.status
    return render.page(request, "login.html", values, status=status)
