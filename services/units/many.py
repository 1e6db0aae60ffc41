"""What :mod:`services.units.leases` does with one unit, done with many in one statement.

A unit that takes a millisecond spends ten on its claim and its end: transactions, each written
through to the disk. So quick units are claimed, renewed and ended many at a time. Each keeps a
token of its own: where one claim holds no longer, that unit is left out and the others go on.

Only units that were never tried are claimed together. A worker that dies takes all that it holds
with it, so that one unit which kills its worker each time would use up the tries of its
neighbours; so they lose one at most, and go on alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import JSON, case, literal, select, update
from sqlalchemy.orm import Session

from services.db.base import utc_now
from services.db.patience import Patience
from services.db.tables import Unit, UnitState
from services.units.rows import (
    Claim,
    announce_all,
    ending,
    expire_units,
    fenced_all,
    waiting,
)


def claim_all(
    session: Session, unit_ids: Collection[int], owner: str, lease_s: float
) -> list[Claim]:
    """Take those of some units that are free and were never tried.

    Args:
        session: the caller's transaction.
        unit_ids: the rows; a hundred or so.
        owner: name of the process, for people.
        lease_s: how long the claims hold unless they are renewed.

    Returns:
        The claims, by number of the unit. What another worker is taking at this moment is left to
        it.
    """
    now, patience = utc_now(), Patience.of(session)
    session.flush()
    free = (
        select(Unit.id)
        .where(Unit.id.in_(unit_ids), patience.is_due(now), Unit.attempts == 0, Unit.lost == 0)
        .order_by(Unit.id)
        .with_for_update(skip_locked=True)
        .correlate(None)
    )
    taken = session.execute(
        update(Unit)
        .where(Unit.id.in_(free))
        .values(
            state=UnitState.LEASED,
            attempts=1,
            token=Unit.token + 1,
            owner=owner,
            lease_until=now + timedelta(seconds=lease_s),
        )
        .returning(
            Unit.id,
            Unit.token,
            Unit.kind,
            Unit.payload,
            Unit.cycle_id,
            Unit.max_attempts,
            Unit.not_before,
            Unit.traceparent,
        ),
        execution_options={"synchronize_session": False},
    ).all()
    expire_units(session)
    return [
        Claim(
            unit_id=row.id,
            token=row.token,
            kind=row.kind,
            payload=dict(row.payload),
            attempt=1,
            cycle_id=row.cycle_id,
            max_attempts=row.max_attempts,
            waited_s=max(0.0, (now - row.not_before).total_seconds()),
            traceparent=row.traceparent,
        )
        for row in sorted(taken, key=lambda row: row.id)
    ]


def renew_all(session: Session, claims: Sequence[Claim], lease_s: float) -> set[int]:
    """Hold claims for ``lease_s`` more seconds from now; numbers of the units that are held."""
    return fenced_all(session, claims, lease_until=utc_now() + timedelta(seconds=lease_s))


def finish_all(session: Session, claims: Sequence[Claim]) -> set[int]:
    """Mark units done, with an empty result; their rows stay locked until the transaction ends.

    Returns:
        Numbers of the units that are done now. Of the others somebody else is the owner: nothing
        may be stored of them.
    """
    done = ending(UnitState.DONE)
    return fenced_all(session, claims, **done, result={}, error_code=None, error=None)


def record_results(session: Session, results: Mapping[int, dict[str, Any]]) -> None:
    """Replace the results of units that :func:`finish_all` marked in this same transaction.

    Args:
        session: the caller's transaction.
        results: by number of the unit.
    """
    told = {number: literal(result, JSON()) for number, result in results.items() if result}
    if told:
        session.execute(
            update(Unit).where(Unit.id.in_(told)).values(result=case(told, value=Unit.id)),
            execution_options={"synchronize_session": False},
        )
        expire_units(session)


def release_all(session: Session, claims: Sequence[Claim]) -> set[int]:
    """Give units back unharmed; their tries are not counted. Numbers of those that were ours."""
    held = fenced_all(session, claims, **waiting(0.0), attempts=Unit.attempts - 1)
    announce_all(session, held)
    return held
