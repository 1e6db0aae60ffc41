"""Which days are judged, when, and what came of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from services import units
from services.context import Context
from services.db.base import utc_now
from services.db.engine import reading
from services.db.tables import DriftDay
from services.drift import frames
from services.models import registry

logger = logging.getLogger(__name__)

LOOK_BACK_DAYS = 7
"""Days that a service may have been down for; older ones nobody waits for any more."""


def ask(context: Context, now: datetime | None = None) -> list[str]:
    """Have the days judged that are over and were not judged.

    Once, and only when it is over: a day that is looked at again and again as it fills up would
    alarm by chance as often as it is looked at.

    Args:
        context: wiring.
        now: the current time; given by tests.

    Returns:
        The days.
    """
    settings, today = context.settings.drift, (now or utc_now()).date()
    if not settings.daily:
        return []
    with reading(context.sessions) as session:
        champion = registry.champion(session)
        if champion is None:
            return []
        days = [today - timedelta(days=back) for back in range(LOOK_BACK_DAYS, 0, -1)]
        judged = set(session.scalars(select(DriftDay.day).where(DriftDay.day >= str(days[0]))))
        due = [
            day
            for day in days
            if str(day) not in judged and frames.count(session, day) >= settings.min_frames
        ]
    for day in due:
        with context.sessions.begin() as session:
            request(session, day, champion.id)
    return [str(day) for day in due]


def request(session: Session, day: date, model_id: str) -> None:
    """Ask for the unit that judges a day, once."""
    payload = {"day": str(day), "model": model_id}
    units.enqueue(session, "drift", f"drift:{day}:{model_id[:32]}", payload)


def latest(session: Session, most: int = 14) -> Sequence[DriftDay]:
    """The newest days that were judged, the newest first."""
    query = select(DriftDay).order_by(DriftDay.day.desc(), DriftDay.created_at.desc())
    return session.scalars(query.limit(most)).all()


def has_drifted(session: Session, since: datetime | None) -> bool:
    """Whether a day was judged to have drifted after a time; None: ever."""
    query = select(DriftDay.day).where(DriftDay.drifted, DriftDay.created_at <= utc_now())
    if since is not None:
        query = query.where(DriftDay.created_at > since)
    return session.scalar(query.limit(1)) is not None
