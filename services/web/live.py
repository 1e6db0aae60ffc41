"""Figures that stay alive: one look at the database in a few seconds for all who watch.

Server-sent events. Nobody watches, nothing is asked; many watch, each look and each rendering is
done once and sent to all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TypeAlias

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from sqlalchemy.exc import SQLAlchemyError

from services.web import session, start

logger = logging.getLogger(__name__)
router = APIRouter()

EVERY_S = 3.0
"""Between two looks."""
ALIVE_S = 15.0
"""A line that says nothing, sent so often: what stands between may cut a silent connection."""
LONGEST_S = 600.0
"""A watcher is sent away after this and connects again: who was signed out stays outside."""
Figures: TypeAlias = Callable[[], Mapping[str, str]]
"""Makes what is sent, by what a watcher may do; called in a thread."""


class Hub:
    """Looks while somebody watches, and tells all of them what has changed.

    Args:
        figures: makes the texts that are sent.
        every_s: seconds between two looks.
    """

    def __init__(self, figures: Figures, every_s: float = EVERY_S) -> None:
        self._figures, self._every_s = figures, every_s
        self._watching = 0
        self._texts: Mapping[str, str] = {}
        self._looks: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()

    async def watch(self, what: str) -> AsyncGenerator[str, None]:
        """A text now, and each time it is another one; an empty one where nothing changes.

        Args:
            what: which of the texts.
        """
        self._watching += 1
        if self._looks is None:
            self._texts = {}
            self._looks = asyncio.create_task(self._look())
        seen = ""
        try:
            while True:
                now = await self._newer(what, seen)
                yield "" if now == seen else now
                seen = now
        finally:
            self._watching -= 1
            if not self._watching and self._looks is not None:
                self._looks.cancel()
                self._looks = None

    async def _newer(self, what: str, seen: str) -> str:
        """Another text than the one that was seen, or the same where none comes in a while."""
        async with self._changed:
            with contextlib.suppress(TimeoutError):
                changed = self._changed.wait_for(lambda: self._texts.get(what, "") != seen)
                await asyncio.wait_for(changed, ALIVE_S)
            return self._texts.get(what, "")

    async def _look(self) -> None:
        while True:
            try:
                texts = await run_in_threadpool(self._figures)
            except SQLAlchemyError as error:  # busy, or away for a while: the next look sees
                logger.warning("no live figures: %s", error)
            else:
                async with self._changed:
                    self._texts = texts
                    self._changed.notify_all()
            await asyncio.sleep(self._every_s)


@router.get("/events")
async def events(request: Request, user: session.UserOf) -> StreamingResponse:
    """What the start page shows, whenever it changes."""
    hub: Hub = request.app.state.hub
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        _stream(request, hub, start.kind_of(user)), 200, headers, "text/event-stream"
    )


async def _stream(request: Request, hub: Hub, what: str) -> AsyncGenerator[str, None]:
    """Events until the watcher leaves."""
    until = asyncio.get_running_loop().time() + LONGEST_S
    watching = hub.watch(what)
    try:
        async for text in watching:
            yield as_event(text) if text else ": still here\n\n"
            if asyncio.get_running_loop().time() > until or await request.is_disconnected():
                return
    finally:
        await watching.aclose()


def as_event(text: str) -> str:
    """A text as an event; each of its lines is one of the event's."""
    lines = "".join(f"data: {line}\n" for line in text.splitlines())
    return f"event: figures\nretry: 3000\n{lines}\n"
