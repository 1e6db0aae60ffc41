"""The application: wiring, routes, what is done to every request."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from services import context as wiring
from services.api import app_errors, schemas
from services.api.auth import project_token, require_token
from services.api.deps import DECODED_AT_ONCE
from services.api.limits import BodyLimit
from services.api.routes import (
    cycles,
    failures,
    frames,
    health,
    images,
    labels,
    models,
    modes,
    tasks,
)
from services.api.routes import units as unit_routes
from services.context import Context

logger = logging.getLogger(__name__)

DESCRIPTION = """\
Report field frames, read why the detector failed on them, label what was missing, promote models.
Every request but the health checks needs the project's bearer token.

**Sending again is safe**, and no idempotency key is needed. A frame is known by the hash of its
bytes: the same frame is the same row, and what was said about it before is not said twice. A label
task is leased with a token: the same answer under the same token is the same annotation, and an
answer under an old token changes nothing. Only one cycle runs at a time, so that a second start
answers 409.

**Errors** are `{"code": ..., "message": ...}`: the code is stable, the message is for people. A 503
says that the database is busy or out of reach; `Retry-After` says when to send the request again.
"""
ERRORS = (401, 404, 409, 413, 422, 500, 503)
ROUTES = (frames, images, failures, modes, cycles, tasks, labels, models, unit_routes)


def create_app(context: Context | None = None) -> FastAPI:
    """The API of one project.

    Args:
        context: wiring; None: of the project that the settings name.
    """
    context = context or wiring.build()
    app = FastAPI(
        title="Explain-to-Fix",
        version="1",
        description=DESCRIPTION,
        responses={status: {"model": schemas.Error} for status in ERRORS},
    )
    app.state.context, app.state.token = context, project_token(context)
    app.state.decoding = asyncio.Semaphore(DECODED_AT_ONCE)
    app.state.drawing = asyncio.Semaphore(DECODED_AT_ONCE)
    app.include_router(health.router)
    for module in ROUTES:
        app.include_router(module.router, prefix="/v1", dependencies=[Depends(require_token)])
    app_errors.answer(app)
    app.middleware("http")(_refuse_zero_bytes)
    app.middleware("http")(_log_request)
    app.add_middleware(BodyLimit, max_bytes=context.settings.api.max_request_bytes)
    return app


async def _refuse_zero_bytes(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    """PostgreSQL cannot compare with a text that has one."""
    if "\0" in request.url.path or "%00" in request.url.query:
        body = {"code": "invalid_request", "message": "a zero byte in the address"}
        return JSONResponse(body, status_code=422)
    return await call_next(request)


async def _log_request(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    started_s = time.monotonic()
    identity = uuid.uuid4().hex[:16]
    response = await call_next(request)
    response.headers["X-Request-Id"] = identity
    logger.info(
        "%s %s",
        request.method,
        request.url.path,
        extra={
            "request": identity,
            "status": response.status_code,
            "seconds": round(time.monotonic() - started_s, 4),
        },
    )
    return response
