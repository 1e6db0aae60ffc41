"""Errors into answers: a status, ``{"code": ..., "message": ...}``, and what to do.

Ours carry their status and code. A database that is busy or out of reach is no fault of the
request: 503, and when to try again. Anything else is a fault of the service, and is answered by
:mod:`services.api.answers`.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Mapping

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy import exc as database
from starlette.exceptions import HTTPException as StarletteHTTPException

from curation.kernel.errors import CurationError
from retrain.errors import RetrainError
from services.db.races import sqlstate
from services.errors import ServiceError
from services.plain import json_text

logger = logging.getLogger(__name__)

RETRY_S = 5
BUSY = ("database_busy", "others write to the database; send the request again in some seconds")
UNAVAILABLE = (
    "database_unavailable",
    "the database is out of reach; see that it runs and that its disk has space, by `e2x doctor`",
)
NO_TABLES = (
    "database_unavailable",
    "the database lacks tables of this version; `e2x init PROJECT` creates or upgrades them",
)
_SQLITE_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_SQLITE_UNAVAILABLE = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
)
_SQLITE_PRIMARY = 0xFF
"""The lower bits of an extended result code."""
_POSTGRES_BUSY = ("40", "55P03", "57014")
"""Beginnings of SQLSTATE: deadlock and the like, a lock that was not had, a statement too long."""
_POSTGRES_UNAVAILABLE = ("08", "53", "57P", "58")
"""Connection lost, no resources (connections, disk), server going down or coming up, its files."""
_POSTGRES_NO_TABLES = ("42P01", "42703", "3D000")


def answer(app: FastAPI) -> None:
    """Make an application answer every error in the one form."""
    for ours in (ServiceError, CurationError, RetrainError):
        app.add_exception_handler(ours, _known)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(StarletteHTTPException, _unserved)
    for theirs in (database.DBAPIError, database.TimeoutError):
        app.add_exception_handler(theirs, _of_the_database)


def answer_of(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """The one form of all errors; messages may quote what was sent, and be read in a terminal."""
    body = json_text({"code": code, "message": message}).encode()
    return Response(body, status, headers, "application/json")


def _known(_request: Request, error: Exception) -> Response:
    status = getattr(error, "status", 422)
    code = getattr(error, "code", "error")
    wait_s = getattr(error, "retry_after_s", None)
    headers = None if wait_s is None else {"Retry-After": str(wait_s)}
    return answer_of(status, code, str(error), headers)


def _unserved(_request: Request, error: Exception) -> Response:
    """No such route, or a body that is not even a form."""
    assert isinstance(error, StarletteHTTPException)
    code = {404: "not_found"}.get(error.status_code, "invalid_request")
    message = "no such address" if error.status_code == 404 else str(error.detail)
    return answer_of(error.status_code, code, message, error.headers)


def wrong_method(method: str, there: Collection[str]) -> Response:
    """What an address understands; asked by ``OPTIONS``, that is the answer."""
    methods = {"OPTIONS", *there}
    if "GET" in methods:
        methods.add("HEAD")
    allowed = {"Allow": ", ".join(sorted(methods))}
    if method == "OPTIONS":
        return Response(status_code=204, headers=allowed)
    told = f"{method[:20]} is not understood here; there is {allowed['Allow']}"
    return answer_of(405, "method_not_allowed", told, allowed)


def _malformed(_request: Request, error: Exception) -> Response:
    """Where in the request, and what is wrong; not the whole input back."""
    assert isinstance(error, RequestValidationError)
    places = [
        f"{'.'.join(str(part) for part in entry['loc'])}: {entry['msg']}"
        for entry in error.errors()[:5]
    ]
    return answer_of(422, "invalid_request", "; ".join(places))


def _of_the_database(request: Request, error: Exception) -> Response:
    """Busy or out of reach; a statement that the database refuses is a fault of the service.

    What the driver says goes to the log only: it may name hosts and folders.
    """
    return of_the_database(request.method, request.url.path, error)


def of_the_database(method: str, path: str, error: Exception) -> Response:
    """The answer to a request that the database keeps from being answered.

    Raises:
        Exception: the error itself, where the database is not to blame.
    """
    said = said_of_the_database(error)
    if said is None:
        raise error
    code, message = said
    logger.warning("%s %s: %s: %s", method, path, code, error)
    return answer_of(503, code, message, {"Retry-After": str(RETRY_S)})


def said_of_the_database(error: Exception) -> tuple[str, str] | None:
    """Code and message, or None where the database is not to blame."""
    if not isinstance(error, database.DBAPIError):
        return BUSY  # all connections of the pool were in use
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return _said_of_sqlite(cause)
    state = sqlstate(cause)
    if state.startswith(_POSTGRES_BUSY):
        return BUSY
    if state.startswith(_POSTGRES_NO_TABLES):
        return NO_TABLES
    lost = error.connection_invalidated or state.startswith(_POSTGRES_UNAVAILABLE)
    unreached = not state and isinstance(error, database.InterfaceError | database.OperationalError)
    return UNAVAILABLE if lost or unreached else None


def _said_of_sqlite(cause: sqlite3.Error) -> tuple[str, str] | None:
    if str(cause).startswith(("no such table", "no such column")):
        return NO_TABLES
    code = getattr(cause, "sqlite_errorcode", 0) & _SQLITE_PRIMARY  # the driver's own have none
    if code in _SQLITE_BUSY:
        return BUSY
    return UNAVAILABLE if code in _SQLITE_UNAVAILABLE else None


def _sqlstate(cause: BaseException | None) -> str:
    """PostgreSQL's five characters, as pg8000 and psycopg hand them on; empty without."""
    first = cause.args[0] if cause is not None and cause.args else None
    state = first.get("C") if isinstance(first, dict) else getattr(cause, "sqlstate", None)
    return str(state or "")
