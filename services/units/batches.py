"""Asking for much work at once: a scan of each field frame, a look at the whole pool.

One at a time, as :func:`services.units.enqueue` does it, ten thousand take ten seconds, in which
nobody else writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from services.db.engine import DEFAULT_ATTEMPTS, MAX_ATTEMPTS_INFO
from services.db.parts import in_parts
from services.db.races import insert_new
from services.db.tables import Outbox, Unit
from services.errors import InvalidRequest
from services.units.pipeline import STAGES


def enqueue_all(
    session: Session,
    kind: str,
    wanted: Mapping[str, dict[str, Any]],
    *,
    cycle_id: int | None = None,
    traces: Mapping[str, str] | None = None,
) -> int:
    """Ask for pieces of work of one kind, each once; as :func:`services.units.enqueue` one.

    Args:
        session: the caller's transaction; the messages are committed with it.
        kind: a stage of :data:`services.units.pipeline.STAGES`.
        wanted: payloads by key; those whose key is known stay as they are.
        cycle_id: the cycle that waits for them.
        traces: ``traceparent`` by key; the others begin traces of their own, since one that holds
            ten thousand looks shows none of them.

    Returns:
        How many are new.

    Raises:
        InvalidRequest: there is no such stage.
    """
    if kind not in STAGES:
        raise InvalidRequest(f"no stage {kind!r}: there are {', '.join(sorted(STAGES))}")
    stage = STAGES[kind]
    tries = stage.max_attempts or session.info.get(MAX_ATTEMPTS_INFO, DEFAULT_ATTEMPTS)
    session.flush()  # a row that these refer to may still be pending
    rows = [
        {
            "kind": kind,
            "key": key,
            "queue": stage.queue,
            "payload": payload,
            "cycle_id": cycle_id,
            "max_attempts": tries,
            "traceparent": (traces or {}).get(key),
        }
        for key, payload in wanted.items()
    ]
    keys = [key for (key,) in insert_new(session, Unit, rows, ("key",))]
    for part in in_parts(keys):
        query = select(Unit.id).where(Unit.key.in_(part)).order_by(Unit.id)
        announced = [{"unit_id": number, "queue": stage.queue} for number in session.scalars(query)]
        session.execute(insert(Outbox), announced)
    return len(keys)
