"""A span around every request, in the trace that its sender has begun where it names one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services import tracing
from services.telemetry.requests import METHODS, UNROUTED

QUIET = ("/healthz", "/readyz", "/metrics")
"""Asked every few seconds by programs, and of no interest."""


class Traced:
    """Stands outermost, so that the line of a request in the log is in its span too.

    Args:
        app: the next application.
        template: the route's template of a scope that was answered.
    """

    def __init__(self, app: ASGIApp, template: Callable[[Any], str]) -> None:
        self._app, self._template = app, template

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or scope["path"] in QUIET:
            await self._app(scope, receive, send)
            return
        parent, status = _parent(scope), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        with tracing.span(method, parent=parent, kind="server") as span:
            try:
                await self._app(scope, receive, answer)
            finally:
                route = self._template(scope)
                if route != UNROUTED:  # never the path that somebody sent
                    span.rename(f"{method} {route}")
                    span.set("http.route", route)
                span.set("http.request.method", method)
                span.set("http.response.status_code", status or None)
                if status >= 500:
                    span.fail(str(status))


def _parent(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"traceparent":
            return tracing.of_header(value.decode("latin-1"))
    return None
