"""The reconciler: it finds what messages and workers have left behind.

It looks only at rows, so that losing the whole broker loses nothing. It may run twice at once and
on any machine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import redis
from sqlalchemy import and_, delete, or_, select
from sqlalchemy.orm import Session

from services import pipeline
from services.context import Context
from services.db import units
from services.db.base import utc_now
from services.db.engine import reading
from services.db.tables import TERMINAL, Outbox, Unit, UnitState
from services.worker import redis_server

logger = logging.getLogger(__name__)

BATCH = 500
LONG_QUEUE_FACTOR = 20
"""A unit in a queue that still holds messages most likely only waits its turn; it is sent again
after so many times the usual delay, since its own message may be lost among the others."""
KEEP_PUBLISHED = timedelta(hours=1)

Depth = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What one run of the reconciler did.

    Attributes:
        requeued: units whose worker fell silent, queued again.
        parked: units whose workers fell silent too often.
        resent: units whose message got lost.
    """

    requeued: int
    parked: int
    resent: int


def reconcile(context: Context, depth: Depth | None = None) -> Reconciled:
    """Queue again what a dead worker held, and send again what no worker has heard of.

    Args:
        context: wiring.
        depth: number of messages that wait in a queue; None: ask the broker.
    """
    depth = depth or broker_depth(context)
    requeued = parked = 0
    for unit_id in _expired(context):
        with context.sessions.begin() as session:  # one unit a transaction: short write locks
            if units.requeue_expired(session, unit_id):
                requeued += 1
            elif (claim := units.park_exhausted(session, unit_id)) is not None:
                pipeline.after(session, context, claim)
                parked += 1
    resent = 0
    for queue in _waiting_queues(context):
        resent += _resend(context, queue, empty=depth(queue) == 0)
    done = Reconciled(requeued, parked, resent)
    if requeued or parked or resent:
        logger.warning("reconciled: %s", done)
    return done


def _expired(context: Context) -> Sequence[int]:
    now = utc_now()
    with reading(context.sessions) as session:
        return session.scalars(
            select(Unit.id)
            .where(
                or_(
                    and_(Unit.state == UnitState.LEASED, Unit.lease_until < now),
                    and_(Unit.state == UnitState.QUEUED, Unit.attempts >= Unit.max_attempts),
                )
            )
            .order_by(Unit.id)
            .limit(BATCH)
        ).all()


def _waiting_queues(context: Context) -> Sequence[str]:
    with reading(context.sessions) as session:
        return session.scalars(
            select(Unit.queue)
            .where(Unit.state == UnitState.QUEUED, Unit.not_before <= utc_now())
            .distinct()
        ).all()


def _resend(context: Context, queue: str, empty: bool) -> int:
    patience_s = context.settings.workers.resend_after_s * (1 if empty else LONG_QUEUE_FACTOR)
    before = utc_now() - timedelta(seconds=patience_s)
    with reading(context.sessions) as session:  # mostly there is none, and nobody need wait
        if not _unheard(session, queue, before):
            return 0
    with context.sessions.begin() as session:
        lost = _unheard(session, queue, before)
        for unit in lost:
            units.announce(session, unit)
    return len(lost)


def _unheard(session: Session, queue: str, before: datetime) -> Sequence[Unit]:
    """Queued units that are due, have no message on its way and were last announced long ago."""
    recent = (
        select(Outbox.id)
        .where(
            Outbox.unit_id == Unit.id,
            or_(Outbox.published_at.is_(None), Outbox.published_at > before),
        )
        .exists()
    )
    return session.scalars(
        select(Unit)
        .where(
            Unit.queue == queue,
            Unit.state == UnitState.QUEUED,
            Unit.not_before <= before,
            ~recent,
        )
        .order_by(Unit.id)
        .limit(BATCH)
    ).all()


def broker_depth(context: Context) -> Depth:
    """A function that counts the waiting messages of a queue.

    A broker that cannot be reached has all the messages that it may have: nothing is sent again
    in haste.
    """
    url = redis_server.broker_url(context.settings, context.project)

    def depth(queue: str) -> int:
        connection = redis_server.client(url)
        try:
            # kombu keeps one list a priority step; the first has the bare name
            names = [queue, *(f"{queue}\x06\x16{step}" for step in (3, 6, 9))]
            return sum(int(str(connection.llen(name))) for name in names)
        except redis.RedisError as error:
            logger.warning("the broker is away: %s", error)
            return 1
        finally:
            connection.close()

    return depth


def forget_published(context: Context, keep: timedelta = KEEP_PUBLISHED) -> int:
    """Delete outbox rows that were sent long ago and whose unit has ended.

    Returns:
        How many rows were deleted.
    """
    with context.sessions.begin() as session:
        old = (
            select(Outbox.id)
            .join(Unit, Unit.id == Outbox.unit_id)
            .where(Outbox.published_at < utc_now() - keep, Unit.state.in_(TERMINAL))
            .limit(10_000)
        )
        done = session.execute(delete(Outbox).where(Outbox.id.in_(old.scalar_subquery())))
        return int(getattr(done, "rowcount", 0))
