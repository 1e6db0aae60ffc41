"""Decisions that hold, and which modes are part of which by them."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.db.tables import Decision, DecisionKind


def active(session: Session, *kinds: DecisionKind) -> list[Decision]:
    """Decisions that hold, the oldest first."""
    query = select(Decision).where(Decision.undone_at.is_(None), Decision.kind.in_(kinds))
    return list(session.scalars(query.order_by(Decision.id)))


def merged_into(session: Session) -> dict[int, int]:
    """Modes that are part of another, and of which in the end."""
    direct = {
        other: row.mode_id
        for row in active(session, DecisionKind.MERGE)
        for other in row.detail["modes"]
        if row.mode_id is not None
    }
    undone = select(Decision).where(
        Decision.kind == DecisionKind.SPLIT, Decision.undone_at.is_not(None)
    )
    for row in session.scalars(undone):  # what the split has made is known, and part of it again
        if row.mode_id is not None and row.detail.get("made"):
            direct[row.detail["made"]] = row.mode_id
    return {one: _root(one, direct) for one in direct}


def _root(one: int, direct: Mapping[int, int]) -> int:
    while one in direct:
        one = direct[one]
    return one
