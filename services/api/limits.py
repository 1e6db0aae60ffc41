"""Request size: counted while it streams in, since a sender may lie about the length."""

from __future__ import annotations

import asyncio
import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_DRAIN_FACTOR, _DRAIN_S = 4, 10.0


class BodyLimit:
    """Answers 413 when a body exceeds its bound; the application never sees more than that.

    What comes beyond the bound is read and thrown away for a while: a connection that is closed
    under a sender is reset, and the sender may lose the answer that says what is wrong.

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
        headers = dict(scope["headers"])
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            if b"expect" not in headers:  # such a sender waits for the answer before the body
                await self._drain(receive)
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
                if message.get("more_body"):
                    await self._drain(receive)
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

    async def _drain(self, receive: Receive) -> None:
        """Read on until the body ends, or has been too long or too slow for an honest sender."""
        seen = 0
        try:
            async with asyncio.timeout(_DRAIN_S):
                while seen <= _DRAIN_FACTOR * self._max_bytes:
                    message = await receive()
                    seen += len(message.get("body", b""))
                    if not message.get("more_body"):
                        return
        except TimeoutError:
            return

    async def _refuse(self, send: Send) -> None:
        text = f"the request is over {self._max_bytes} bytes (setting api.max_request_bytes)"
        body = json.dumps({"code": "too_large", "message": text}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})
