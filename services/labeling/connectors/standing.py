"""How the exchange with each tool stands, for people."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.db.tables import Connection, SentTask
from services.labeling.connectors import connections

SHOWN = ("id", "kind", "url", "project", "adopted", "at_once", "pictures_url", "cursor")
TIMES = ("tried_at", "synced_at", "checked_at", "created_at")


def of_all(session: Session) -> list[dict[str, Any]]:
    """Each tool that is connected; nothing of it is secret."""
    return [_of(session, row) for row in connections.active(session)]


def _of(session: Session, row: Connection) -> dict[str, Any]:
    here = SentTask.connection_id == row.id
    counts = session.execute(select(SentTask.state, func.count()).where(here).group_by("state"))
    troubled = session.scalar(select(func.count()).where(here, SentTask.problem.is_not(None)))
    return {
        **{name: getattr(row, name) for name in (*SHOWN, *TIMES, "failures", "error")},
        "notes": list(row.notes),
        "counts": {found[0]: found[1] for found in counts},
        "troubled": troubled or 0,
    }


def told(session: Session, number: int, limit: int = 50) -> list[dict[str, Any]]:
    """Tasks of which there is something to say: answers that are not stored come first."""
    said = SentTask.problem.is_not(None) | SentTask.note.is_not(None)
    rows = session.scalars(
        select(SentTask)
        .where(SentTask.connection_id == number, said)
        .order_by(SentTask.problem.is_(None), SentTask.task_id)
        .limit(limit)
    )
    return [
        {
            "task": row.task_id,
            "remote": row.remote_id,
            "state": row.state,
            "problem": row.problem,
            "note": row.note,
        }
        for row in rows
    ]
