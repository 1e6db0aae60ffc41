"""Signing in and out."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from services.web import paths, render, session

router = APIRouter()
MAX_FIELD = 300


@router.get("/login")
def login_page(request: Request, next: str = "/") -> Response:
    """The form; whoever is signed in already goes on."""
    target = next if paths.is_local(next) else "/"
    if session.current_user(request) is not None:
        return RedirectResponse(target, 303)
    return render.page(request, "login.html", {"next": target, "error": "", "name": ""})


@router.post("/login")
def sign_in(
    request: Request,
    name: Annotated[str, Form(max_length=MAX_FIELD)],
    password: Annotated[str, Form(max_length=MAX_FIELD)],
    next: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Begin a session, or say that the words do not fit."""
    target = next if paths.is_local(next) else "/"
    token: str = request.app.state.token
    if not secrets.compare_digest(password.encode(), token.encode()):
        values = {"next": target, "name": name, "error": "Name and password do not fit."}
        return render.page(request, "login.html", values, status=401)
    key = request.app.state.people.begin(name or "admin", "admin")
    answer = RedirectResponse(target, 303)
    answer.set_cookie(session.COOKIE, key, httponly=True, samesite="lax", path="/")
    return answer


@router.post("/logout")
def sign_out(
    request: Request, user: session.UserOf, csrf: Annotated[str, Form(max_length=MAX_FIELD)]
) -> Response:
    """End the session."""
    session.require_form(user, csrf)
    request.app.state.people.end(request.cookies.get(session.COOKIE))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(session.COOKIE)
    return answer
