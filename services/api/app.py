"""The application: wiring, routes, what is done to every request."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

from fastapi import APIRouter, Depends, FastAPI, params
from starlette.types import ASGIApp, Receive, Scope, Send

from services import context as wiring
from services.accounts import oidc
from services.api import app_errors, describe, docs, schemas
from services.api.answers import Answers
from services.api.auth import Authenticate, described, session_cookie
from services.api.deps import DECODED_AT_ONCE, LOGINS_AT_ONCE
from services.api.limits import BodyLimit
from services.api.roles import LEAST, Roles
from services.api.routes import (
    account,
    cycles,
    decisions,
    explanations,
    exports,
    failures,
    frames,
    generated,
    generators,
    health,
    images,
    label_tools,
    labels,
    looks,
    metrics,
    models,
    modes,
    neighbours,
    plan,
    provider,
    tasks,
    users,
)
from services.api.routes import units as unit_routes
from services.api.traced import Traced
from services.context import Context
from services.telemetry.requests import Requests
from services.web.app import Split, create_pages, pages_of
from services.web.roles import LEAST_OF_PAGES
from services.web.session import Cookies
from services.worker import readiness, watched

DESCRIPTION = """\
Report field frames, read why the detector failed on them, label what was missing, promote models.
Every request but the health checks and the login needs a bearer token, a personal one or outside
of production the project's, or the cookie of a login; changes by cookie need the header
`X-CSRF-Token` too. **What one may do** is said by one's role: viewer, labeller, curator, admin,
each of which may do what those before it may. Every route names its least role (`x-least-role`);
below it the answer is 403.

**Sending again is safe**, and no idempotency key is needed. A frame is known by the hash of its
bytes: the same frame is the same row, and what was said about it before is not said twice. A label
task is leased with a token: the same answer under the same token is the same annotation, and an
answer under an old token changes nothing. Only one cycle runs at a time, so that a second start
answers 409.

**Errors** are `{"code": ..., "message": ...}`: the code is stable, the message is for people. A 503
says that the database is busy or out of reach; `Retry-After` says when to send the request again.
A field that is sent twice, or that no route knows, is an error too.

**Every answer** has a number, `X-Request-Id`, under which the log has its request; one that you
send is taken. What is slow or too large is cut off: 408, 413.
"""
ERRORS = (400, 401, 404, 405, 408, 409, 413, 422, 500, 503, 507)
ROUTES = (
    *(frames, images, failures, explanations, neighbours, modes, decisions, plan, generated),
    generators,
    *(cycles, tasks, looks, labels, label_tools, models, exports, unit_routes, users),
)
LOGIN = "/v1/login"
"""The one body of strangers that is read; a name and a password."""
PREFIX = "/v1"
LARGE = ("/v1/frames", "/v1/labels/import")
"""Paths whose bodies may be as large as files are."""


def create_app(context: Context | None = None) -> FastAPI:
    """The API of one project.

    Args:
        context: wiring; None: of the project that the settings name.
    """
    context = context or wiring.build()
    settings = context.settings.api
    app = FastAPI(
        title="Explain-to-Fix",
        version="1",
        description=DESCRIPTION,
        responses={status: {"model": schemas.Error} for status in ERRORS},
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # another address is another address; none is made from a header
    )
    app.state.context = context
    requests = Requests(PREFIX)
    exposed = watched.exposition(context, {"requests": requests.read}, process=True)
    app.state.look = health.Look(partial(readiness.look, context))
    app.state.exposed = health.Look(exposed.text)
    app.state.decoding = asyncio.Semaphore(DECODED_AT_ONCE)
    app.state.drawing = asyncio.Semaphore(DECODED_AT_ONCE)
    app.state.logging_in = asyncio.Semaphore(LOGINS_AT_ONCE)
    app.state.at_the_provider = asyncio.Semaphore(LOGINS_AT_ONCE)
    app.state.provider = oidc.Provider(context.settings)
    roles = Roles({**LEAST, **LEAST_OF_PAGES})
    for router, prefix, needs in _routers():
        roles.check(prefix, router.routes)
        app.include_router(router, prefix=prefix, dependencies=needs)
    app.openapi = describe.with_roles(app, roles)  # type: ignore[method-assign]
    app_errors.answer(app)
    cookies = Cookies(
        session_cookie(context.settings),
        lambda answer, value: account.set_cookie(answer, context.settings, value),
        lambda answer: account.drop_cookie(answer, context.settings),
        account.address_of,
        app.state.logging_in,
    )
    pages = create_pages(context, cookies, app_errors.said_of_the_database)
    roles.check("", pages_of())
    # The last one stands in front: a span and a number for all, then the token, then the bounds.
    app.add_middleware(Split, pages=pages)
    app.add_middleware(NoZeroBytes)
    app.add_middleware(
        BodyLimit,
        max_bytes=settings.max_request_bytes,
        large=LARGE,
        small_bytes=settings.max_json_bytes,
        strangers=(LOGIN, "/login"),
    )
    app.add_middleware(Authenticate, context=context, roles=roles)
    app.add_middleware(Answers, requests=requests)
    app.add_middleware(Traced, template=requests.template)
    return app


def _routers() -> Iterator[tuple[APIRouter, str, list[params.Depends]]]:
    """All routers, what they are included under, and what their description says they need."""
    yield health.router, "", []
    yield metrics.router, "", [Depends(described)]
    yield docs.router, "", []
    yield account.router, PREFIX, []
    yield provider.router, PREFIX, []
    yield label_tools.pictures, "", []
    yield account.own, PREFIX, [Depends(described)]
    for module in ROUTES:
        yield module.router, PREFIX, [Depends(described)]


class NoZeroBytes:
    """Refuses an address with a zero byte: PostgreSQL cannot compare with a text that has one.

    Args:
        app: the next application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        answer = None
        if scope["type"] == "http" and "\0" in scope["path"]:
            answer = app_errors.answer_of(404, "not_found", "no address has a zero byte")
        elif scope["type"] == "http" and b"%00" in scope["query_string"]:
            answer = app_errors.answer_of(422, "invalid_request", "query: it has a zero byte")
        await (answer or self._app)(scope, receive, send)
