"""What is put right and put away every few minutes, while everything else goes on.

Rows are deleted in small transactions: SQLite has one writer at a time, and PostgreSQL's lock what
they touch.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from services import units
from services.accounts import audit
from services.context import Context
from services.cycle import dismissals
from services.db.base import utc_now
from services.db.engine import reading
from services.db.patience import CLOCKS_DIFFER
from services.db.tables import TERMINAL, FailureRow, FailureState, Outbox, Unit
from services.models import holding, registry
from services.modes import recognise
from services.units.counting import forget, forgettable

logger = logging.getLogger(__name__)

BATCH = 200
"""Rows a transaction: some 10 ms of SQLite's write lock."""
BATCHES = 250
"""In one run at most; the next goes on."""
KEEP_PUBLISHED_S = 3600.0


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What one run did.

    Attributes:
        messages: rows of the outbox that were deleted.
        units: units that were deleted.
        frames: frames that are explained again.
        audit: rows of the audit trail that were deleted.
    """

    messages: int
    units: int
    frames: int
    audit: int


def run(context: Context) -> Upkeep:
    """Delete what nobody needs, ask for what is missing, and judge the failure recognise."""
    judge_modes(context)
    done = Upkeep(
        forget_published(context),
        forget_units(context),
        explain_again(context) + holding.let_go(context),
        audit.forget(context, BATCHES),
    )
    if done != Upkeep(0, 0, 0, 0):
        logger.info("upkeep: %s", done)
    return done


def forget_published(context: Context, keep: timedelta | None = None) -> int:
    """Delete messages that were sent long ago, and those that a unit that has ended waits for.

    A unit that still waits is announced anew by the reconciler.

    Args:
        context: wiring.
        keep: how long; None: as long as the reconciler may still look at it.

    Returns:
        How many rows were deleted.
    """
    if keep is None:
        resend_s = context.settings.workers.resend_after_s
        keep = timedelta(seconds=max(KEEP_PUBLISHED_S, 2 * resend_s))

    total = 0
    for _ in range(BATCHES):
        with context.sessions.begin() as session:
            done = _forget_messages(session, keep)
        total += done
        if done < BATCH:
            break
    return total


def _forget_messages(session: Session, keep: timedelta) -> int:
    now = utc_now()
    needless = or_(
        Outbox.published_at < now - keep,
        Outbox.published_at > now + CLOCKS_DIFFER,  # by a clock that was ahead
        Outbox.published_at.is_(None) & Unit.state.in_(TERMINAL),
    )
    query = select(Outbox.id).join(Unit, Unit.id == Outbox.unit_id).where(needless).limit(BATCH)
    ids = session.scalars(query).all()
    session.execute(delete(Outbox).where(Outbox.id.in_(ids)))
    return len(ids)


def forget_units(context: Context) -> int:
    """Delete units that ended long ago, or of which there are too many; how many."""
    workers = context.settings.workers
    before = utc_now() - timedelta(days=workers.keep_days)
    with reading(context.sessions) as session:
        found = forgettable(session, before, workers.keep_units, BATCHES * BATCH)
    total = 0
    for start in range(0, len(found), BATCH):
        with context.sessions.begin() as session:
            total += forget(session, found[start : start + BATCH])
    return total


def explain_again(context: Context) -> int:
    """Open failures that are explained and have no explanation, and explain the champion's.

    Returns:
        Frames that were asked for.
    """
    lost = (FailureRow.state == FailureState.EXPLAINED, ~registry.has_explanation())
    with context.sessions.begin() as session:
        champion = registry.champion(session)
        frames: dict[str, list[str]] = defaultdict(list)
        for row in session.scalars(select(FailureRow).where(*lost).order_by(FailureRow.id)):
            row.state = FailureState.FOUND
            if champion is not None and row.model_id == champion.id:
                frames[row.image_id].append(row.id)
        for image_id, names in frames.items():
            newest = select(Unit.id).order_by(Unit.id.desc()).limit(1)  # a key of its own
            words = ",".join([*names, str(session.scalar(newest))])
            units.enqueue(
                session,
                "explain",
                f"explain:{image_id}:{hashlib.sha256(words.encode()).hexdigest()[:32]}",
                {"image": image_id, "model": str(champion and champion.id)},
            )
    if frames:
        logger.warning("%d frames had failures without their explanation", len(frames))
    return len(frames)


def judge_modes(context: Context) -> None:
    """Let the modes follow what scans have found since a cycle ended or a champion came back."""
    with context.sessions.begin() as session:
        if not dismissals.is_under_way(session):
            recognise.settle(session, context.settings)
