"""Request size: counted while it streams in, since a sender may lie about the length."""

from __future__ import annotations

import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Answers 413 as soon as a body exceeds its bound.

    Args:
        app: the next application.
        max_bytes: largest body.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its body counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            await self._refuse(send)
            return
        seen, answered = 0, False

        async def counted() -> Message:
            nonlocal seen, answered
            if answered:
                return {"type": "http.disconnect"}
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                answered = True
                await self._refuse(send)
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

    async def _refuse(self, send: Send) -> None:
        text = f"the request is over {self._max_bytes} bytes (setting api.max_request_bytes)"
        body = json.dumps({"code": "too_large", "message": text}).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})
