"""The audit trail: who did what, when, through which door, about what.

A row is written in the transaction of the change that it tells of: there is neither one without
the other. Who it was stands in :mod:`services.db.actors`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from services.context import Context
from services.db import actors
from services.db.base import utc_now
from services.db.tables import Audit

KEPT = ("promote", "rollback", "mode", "dismiss")
"""Actions that the loop or its pages read again: what came before a champion, how a mode came to
its state, why something is no failure."""
BATCH = 200
"""Rows a transaction: some 10 ms of SQLite's write lock."""
MAX_SUBJECT = 120


def record(session: Session, action: str, subject: str, **detail: Any) -> None:
    """Write down what a person changes; what the service does by itself is no row.

    Args:
        session: the transaction of the change.
        action: what, such as ``cycle.start``.
        subject: about what: ``kind:id``.
        detail: what else is worth knowing; JSON, and never a secret.
    """
    who = actors.current()
    if not who.is_person:
        return
    session.add(
        Audit(
            actor=who.name,
            door=who.door,
            user_id=who.user_id,
            action=action,
            subject=subject[:MAX_SUBJECT],
            detail=detail,
        )
    )


def rows(
    session: Session,
    limit: int,
    *,
    user: str | None = None,
    since: datetime | None = None,
    action: str | None = None,
    subject: str | None = None,
    before: int | None = None,
) -> list[Audit]:
    """Rows of the trail, the newest first.

    Args:
        session: to read in.
        limit: rows at most.
        user: only by this one, whatever the case.
        since: only of then and later.
        action: only this one.
        subject: only about this.
        before: only rows with a lower number: the last one of the page before.
    """
    query = select(Audit).order_by(Audit.id.desc()).limit(limit)
    if user is not None:
        from services.accounts.users import key_of, lookup

        found = lookup(session, user)
        same_name = Audit.actor.in_({user, key_of(user), *([found.name] if found else [])})
        query = query.where(same_name if found is None else same_name | (Audit.user_id == found.id))
    if since is not None:
        query = query.where(Audit.at >= since)
    if action is not None:
        query = query.where(Audit.action == action)
    if subject is not None:
        query = query.where(Audit.subject == subject)
    if before is not None:
        query = query.where(Audit.id < before)
    return list(session.scalars(query))


def forget(context: Context, batches: int = 250) -> int:
    """Delete rows that are older than the setting says, but those that are read again; how many.

    Args:
        context: wiring.
        batches: transactions at most; the next call goes on.
    """
    days = context.settings.accounts.audit_keep_days
    if not days:
        return 0
    old = (Audit.at < utc_now() - timedelta(days=days), Audit.action.not_in(KEPT))
    total = 0
    for _ in range(batches):
        with context.sessions.begin() as session:
            ids = session.scalars(select(Audit.id).where(*old).limit(BATCH)).all()
            session.execute(delete(Audit).where(Audit.id.in_(ids)))
        total += len(ids)
        if len(ids) < BATCH:
            break
    return total
