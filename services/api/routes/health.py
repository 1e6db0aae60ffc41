"""Whether the API lives, and whether it can do its work; no token needed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from services.worker import readiness

router = APIRouter(tags=["health"])
FRESH_S = 1.0
"""How long an answer about readiness holds: whoever watches asks every few seconds, and a stranger,
who needs no token for it, must not load the database and the broker by asking."""


Seen = TypeVar("Seen")


class Look(Generic[Seen]):
    """What was last seen of the parts; one request looks at a time, others take what it saw.

    They wait in the event loop: a part that hangs takes one thread and not all.

    Args:
        look: asks all parts.
    """

    def __init__(self, look: Callable[[], Seen]) -> None:
        self._look = look
        self._lock = asyncio.Lock()
        self._seen: Seen | None = None
        self._looked = 0.0

    async def seen(self) -> Seen:
        """The parts as they were at most ``FRESH_S`` ago."""
        async with self._lock:
            if self._seen is None or time.monotonic() - self._looked >= FRESH_S:
                self._seen = await run_in_threadpool(self._look)
                self._looked = time.monotonic()  # after it: to look may take seconds
            return self._seen


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """The process answers; it waits for no thread, which others may have taken."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"model": readiness.Readiness}})
async def ready(request: Request) -> JSONResponse:
    """Database, broker, relay and workers do their part; 503 says which does not.

    An answer is at most a second old.
    """
    look: Look[readiness.Readiness] = request.app.state.look
    seen = await look.seen()
    return JSONResponse(readiness.as_json(seen), status_code=200 if seen.ready else 503)
