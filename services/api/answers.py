"""What every request is given, whoever answers it: a number, a line in the log, safe headers.

Outermost of all, so that a refusal, an error and a fault have them too. A fault of ours ends here
as a 500 that says nothing but that; the traceback goes to the log with the request's number.
"""

from __future__ import annotations

import logging
import re
import time
import uuid

from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.accounts.identity import WHO
from services.api.protocol import TRUSTED
from services.intake.objects import plain_text
from services.telemetry.requests import Requests

logger = logging.getLogger(__name__)
strangers = logging.getLogger(f"{__name__}.strangers")
"""Requests without the token: anybody can fill a log with them, so that they are counted in it
(:mod:`services.api.log_repeats`)."""

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
MAX_PATH = 200
SAFE = {
    "X-Content-Type-Options": "nosniff",  # a stranger chose the bytes of an image
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",  # answers are the project's, and change
}
"""Headers of every answer, unless the route has set them."""
FAULT = {
    "code": "internal_error",
    "message": "a fault of the service, not of the request; its log says more",
}


class Answers:
    """Gives every answer its headers and every request its line.

    ``HEAD`` is answered as ``GET`` without its body. An answer that comes before the body of its
    request has ended closes the connection, and says so.

    Args:
        app: the next application.
        requests: counts them; what it is told of a request is the route that was found for it.
    """

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app, self._requests = app, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s, identity = time.monotonic(), _identity(scope)
        status, unread = 0, _has_body(scope)

        async def read() -> Message:
            nonlocal unread
            message = await receive()
            unread = unread and bool(message.get("more_body"))
            return message

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = identity
                for name, value in SAFE.items():
                    headers.setdefault(name, value)
                if unread:
                    headers["Connection"] = "close"
            await send(message)

        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        try:
            await self._app(inner, read, answer)
        except Exception:
            logger.exception("%s %s", *_named(scope), extra={"request": identity})
            if status:
                raise  # the answer has begun: all that is left is to cut it off
            await JSONResponse(FAULT, 500)(scope, receive, answer)
        state = scope.get("state", {})
        trusted, who = state.get(TRUSTED), state.get(WHO)
        seconds = time.monotonic() - started_s
        self._requests.observe({**inner, "method": scope["method"]}, status, seconds)
        (logger if trusted else strangers).info(
            "%s %s",
            *_named(scope),
            extra={
                "request": identity,
                "status": status,
                **({"user": who.name} if who is not None else {}),
                "seconds": round(seconds, 4),
            },
        )


def _named(scope: Scope) -> tuple[str, str]:
    return plain_text(scope["method"], 20), plain_text(scope["path"][:MAX_PATH], MAX_PATH)


def _identity(scope: Scope) -> str:
    """The sender's number where it is fit for a log and a header, or else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value.decode("latin-1")):
            return str(value.decode("ascii"))
    return uuid.uuid4().hex[:16]


def _has_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
