"""The pages as an application of their own, and who gets a request: they or the API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import TypeAlias

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy import exc as database
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from curation.kernel.errors import CurationError
from retrain.errors import RetrainError
from services.accounts.identity import WHO, Identity
from services.context import Context
from services.errors import ServiceError
from services.web import (
    about,
    account,
    assets,
    data,
    decisions,
    explanations,
    failures,
    label,
    live,
    login,
    looks,
    models,
    modes,
    near,
    paths,
    people,
    pictures,
    plan,
    render,
    samples,
    session,
    start,
    turns,
    work,
)

DRAWN_AT_ONCE = 2
RETRY_S = 5
Said: TypeAlias = Callable[[Exception], tuple[str, str] | None]
"""Code and message where the database fails; None: it is not to blame."""
ROUTES = (
    *(about, account, assets, data, decisions, explanations, failures, label, live, login),
    *(looks, models, modes, near, people, pictures, plan, samples, start, turns, work),
)


def create_pages(context: Context, cookies: session.Cookies, said: Said) -> FastAPI:
    """The pages of one project; whoever comes to them has been let in.

    Args:
        context: wiring.
        cookies: how a browser is given its session.
        said: what an error of the database means.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.context = context
    app.state.cookies = cookies
    app.state.drawing = asyncio.Semaphore(DRAWN_AT_ONCE)
    app.state.hub = live.Hub(lambda: start.figures(context))
    for module in ROUTES:
        app.include_router(module.router)
    _answer_errors(app, said)
    return app


def pages_of() -> list[BaseRoute]:
    """The routes of the pages, each of which needs a role."""
    return [route for module in ROUTES for route in module.router.routes]


class Split:
    """Gives pages to the one application, everything else to the other.

    Args:
        app: the API.
        pages: the pages.
    """

    def __init__(self, app: ASGIApp, pages: ASGIApp) -> None:
        self._api, self._pages = app, pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        ours = scope["type"] == "http" and paths.is_page(scope["path"])
        await (self._pages if ours else self._api)(scope, receive, send)


def _answer_errors(app: FastAPI, said: Said) -> None:
    """Errors as a page for people, as JSON for scripts of a page."""

    def known(request: Request, error: Exception) -> Response:
        status = getattr(error, "status", 422)
        return _told(request, status, getattr(error, "code", "error"), str(error))

    def unserved(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        words = "no such page" if error.status_code == 404 else str(error.detail)
        code = "not_found" if error.status_code == 404 else "invalid_request"
        return _told(request, error.status_code, code, words)

    def malformed(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        places = [f"{entry['loc'][-1]}: {entry['msg']}" for entry in error.errors()[:5]]
        return _told(request, 422, "invalid_request", "; ".join(places))

    def of_the_database(request: Request, error: Exception) -> Response:
        meaning = said(error)
        if meaning is None:
            raise error
        answer = _told(request, 503, *meaning)
        answer.headers["Retry-After"] = str(RETRY_S)
        return answer

    for ours in (ServiceError, CurationError, RetrainError):
        app.add_exception_handler(ours, known)
    app.add_exception_handler(HTTPException, unserved)
    app.add_exception_handler(RequestValidationError, malformed)
    for theirs in (database.DBAPIError, database.TimeoutError):
        app.add_exception_handler(theirs, of_the_database)


def refused(scope: Scope, who: Identity, status: int, code: str, message: str) -> Response:
    """What somebody is answered whose request goes no further, as a page or as JSON."""
    request = Request({**scope, "state": {**scope.get("state", {}), WHO: who}})
    return _told(request, status, code, message)


def _told(request: Request, status: int, code: str, message: str) -> Response:
    if not _is_for_a_person(request):
        return JSONResponse({"code": code, "message": message}, status)
    title = HTTPStatus(status).phrase
    values = {"title": title, "status": status, "message": message}
    return render.page(request, "error.html", values, session.current_user(request), status)


def _is_for_a_person(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")
