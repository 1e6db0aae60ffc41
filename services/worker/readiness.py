"""Whether the service can do its work now: its database, its broker, and those who work."""

from __future__ import annotations

from typing import Any

import redis
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from services.context import Context
from services.db.engine import reading
from services.units.pipeline import QUEUES
from services.worker import alive, redis_server


class Component(BaseModel):
    """One component that work needs.

    Attributes:
        ready: whether it does its part.
        detail: what was seen; what to do where it is not ready.
    """

    ready: bool
    detail: str


class Readiness(BaseModel):
    """All parts, by name.

    Attributes:
        status: ``ready``, or ``not ready`` where one part is not.
        parts: ``database``, ``broker``, ``relay`` and ``workers``.
    """

    status: str
    parts: dict[str, Component]

    @property
    def ready(self) -> bool:
        """Whether every part is."""
        return all(part.ready for part in self.parts.values())


def look(context: Context) -> Readiness:
    """Ask every part; each may take some seconds to be silent."""
    parts = {"database": _database(context), **_broker_and_workers(context)}
    ready = all(part.ready for part in parts.values())
    return Readiness(status="ready" if ready else "not ready", parts=parts)


def _database(context: Context) -> Component:
    try:
        with reading(context.sessions) as session:
            session.execute(text("SELECT 1"))
    except (SQLAlchemyError, OSError):  # its words hold the address
        return Component(ready=False, detail="does not answer: `e2x doctor` says why")
    return Component(ready=True, detail="answers")


def _broker_and_workers(context: Context) -> dict[str, Component]:
    url = redis_server.broker_url(context.settings, context.project)
    try:
        signs = alive.signs(url)
    except (redis.RedisError, OSError, ValueError):
        unknown = Component(ready=False, detail="unknown while the broker does not answer")
        silent = Component(
            ready=False, detail="does not answer: `e2x up` runs it, or look at broker_url"
        )
        return {"broker": silent, "relay": unknown, "workers": unknown}
    relays = [sign for sign in signs if sign.kind == alive.RELAY]
    workers = [sign for sign in signs if sign.kind == alive.WORKER]
    return {
        "broker": Component(ready=True, detail="answers"),
        "relay": _counted(len(relays), "no relay: nothing is sent to workers"),
        "workers": _served(workers),
    }


def _counted(count: int, lack: str) -> Component:
    silence = f"{lack}; none has given a sign of life for {alive.KEEP_S} s: is `e2x up` running?"
    return Component(ready=count > 0, detail=f"{count} alive" if count else silence)


def _served(workers: list[alive.Sign]) -> Component:
    part = _counted(len(workers), "no worker: nothing is worked on")
    served = {queue for worker in workers for queue in worker.queues}
    waiting = ", ".join(queue for queue in QUEUES if queue not in served)
    if workers and waiting:
        part.detail += f"; nobody serves {waiting}"
    return part


def as_json(readiness: Readiness) -> dict[str, Any]:
    """What the API answers; where a part is not ready, in the form of every error too."""
    body: dict[str, Any] = readiness.model_dump()
    for name, part in readiness.parts.items():
        if not part.ready:
            body |= {"code": f"{name}_unavailable", "message": f"{name}: {part.detail}"}
            break
    return body
