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
from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from services import units
from services.context import Context
from services.cycle import after_unit
from services.db.base import utc_now
from services.db.engine import reading
from services.db.patience import CLOCKS_DIFFER, Patience
from services.db.tables import Outbox, Unit, UnitState
from services.worker import redis_server

logger = logging.getLogger(__name__)

BATCH = 500
"""Units a look at most; the next look, seconds later, goes on."""

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
                after_unit.after(session, context, claim)
                parked += 1
    resent = 0
    for queue, priority in _waiting(context):
        resent += _resend(context, queue, priority, empty=depth(queue) == 0)
    done = Reconciled(requeued, parked, resent)
    if requeued or parked or resent:
        logger.warning("reconciled: %s", done)
    return done


def _expired(context: Context) -> Sequence[int]:
    with reading(context.sessions) as session:
        patience = Patience.of(session)
        no_try_left = or_(Unit.attempts >= Unit.max_attempts, Unit.lost >= patience.max_lost)
        return session.scalars(
            select(Unit.id)
            .where(
                or_(
                    patience.is_abandoned(utc_now()),
                    and_(Unit.state == UnitState.QUEUED, no_try_left),
                )
            )
            .order_by(Unit.id)
            .limit(BATCH)
        ).all()


def _waiting(context: Context) -> Sequence[tuple[str, int]]:
    """Queues in which units are due, with the priorities of these."""
    with reading(context.sessions) as session:
        due = Patience.of(session).is_due(utc_now())
        found = session.execute(select(Unit.queue, Unit.priority).where(due).distinct())
        return [(row.queue, row.priority) for row in found]


def _resend(context: Context, queue: str, priority: int, empty: bool) -> int:
    """Announce again what the broker has lost of a queue; how many units.

    An empty queue has lost all that was announced and not taken. Of one that still holds messages
    nothing is known, as long as it may be that a unit only waits its turn: for days, behind a large
    import. But a queue gives out in the order in which it was filled, so that a unit was lost whose
    turn others had that came after it.
    """
    patience = timedelta(seconds=context.settings.workers.resend_after_s)
    before = utc_now() - patience
    with reading(context.sessions) as session:  # mostly there is none, and nobody need wait
        if not _unheard(session, queue, priority, before, 1):
            return 0
        if not empty:
            newest = _newest_taken(session, queue, priority)
            if newest is None:
                return 0
            before = min(before, newest - patience)
    with context.sessions.begin() as session:
        lost = _unheard(session, queue, priority, before, BATCH)
        for unit in lost:
            units.announce(session, unit)
    return len(lost)


def _newest_taken(session: Session, queue: str, priority: int) -> datetime | None:
    """When the youngest unit was due that a worker has had, of those no more urgent than these."""
    return session.scalar(
        select(func.max(Unit.not_before)).where(
            Unit.state.in_((UnitState.LEASED, UnitState.DONE)),
            Unit.not_before <= utc_now(),  # not what a clock that was ahead has said
            Unit.queue == queue,
            Unit.priority <= priority,
        )
    )


def _unheard(
    session: Session, queue: str, priority: int, before: datetime, limit: int
) -> Sequence[Unit]:
    """Queued units that are due, have no message on its way and were last announced long ago."""
    soon = utc_now() + CLOCKS_DIFFER
    recent = (
        select(Outbox.id)
        .where(
            Outbox.unit_id == Unit.id,
            or_(
                Outbox.published_at.is_(None),
                # not what a clock that was ahead has sent, as it says, in the future
                and_(Outbox.published_at > before, Outbox.published_at <= soon),
            ),
        )
        .exists()
    )
    due = Patience.of(session).is_due(before)
    return session.scalars(
        select(Unit)
        .where(Unit.queue == queue, Unit.priority == priority, due, ~recent)
        .order_by(Unit.id)
        .limit(limit)
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
