"""Request size: counted while it streams in, since a sender may lie about the length."""

from __future__ import annotations

from collections.abc import Collection

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FRAMED_TWICE = (
    "send either Content-Length or Transfer-Encoding: with both, two readers may see two requests"
)
STRANGERS_BYTES = 16 * 2**10
"""A name and a password of a thousand characters, each escaped."""


class BodyLimit:
    """Answers 413 when a body exceeds its bound; the application never sees more than that.

    What comes beyond the bound is the connection's affair (:mod:`services.api.protocol`): it lets
    an honest sender finish, and read why.

    Args:
        app: the next application.
        max_bytes: largest body of the paths that take files.
        large: these paths.
        small_bytes: largest body of the others.
        strangers: paths whose bodies are read of anybody.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        large: Collection[str],
        small_bytes: int,
        strangers: Collection[str] = (),
    ) -> None:
        self._app, self._max_bytes, self._strangers = app, max_bytes, strangers
        self._large, self._small_bytes = large, min(small_bytes, max_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its body counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if b"content-length" in headers and b"transfer-encoding" in headers:
            body = {"code": "invalid_request", "message": FRAMED_TWICE}
            await JSONResponse(body, 400, {"Connection": "close"})(scope, receive, send)
            return
        large = scope["path"] in self._large
        limit = self._max_bytes if large else self._small_bytes
        if scope["path"] in self._strangers:
            limit = min(limit, STRANGERS_BYTES)
        refusal = _refusal(limit, "max_request_bytes" if large else "max_json_bytes")
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared[:20]) > limit:
            await refusal(scope, receive, send)
            return
        seen, answered = 0, False

        async def counted() -> Message:
            nonlocal seen, answered
            if answered:
                return {"type": "http.disconnect"}
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                answered = True
                await refusal(scope, receive, send)
                return {"type": "http.disconnect"}
            return message

        async def once(message: Message) -> None:
            if not answered:
                await send(message)

        try:
            await self._app(scope, counted, once)
        except Exception:
            # A request that breaks off is an error to the application; the sender has its answer.
            if not answered:
                raise


def _refusal(limit: int, setting: str) -> JSONResponse:
    told = "" if limit == STRANGERS_BYTES else f" (setting api.{setting})"
    text = f"the request is over {limit} bytes{told}"
    return JSONResponse({"code": "too_large", "message": text}, 413, {"Connection": "close"})
