"""Single writes to rows of units; :mod:`services.units` says what they are for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, insert, literal, select, tuple_, update
from sqlalchemy.orm import Session

from services.db.base import UtcDateTime, utc_now
from services.db.engine import DEFAULT_ATTEMPTS
from services.db.tables import Outbox, Unit, UnitState
from services.errors import LeaseLost, NotFound


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a unit until the lease runs out.

    Attributes:
        unit_id: the row.
        token: fencing token; the row's token while this claim holds.
        kind: name of the stage.
        payload: what to work on.
        attempt: 1 for the first try.
        cycle_id: the cycle that the unit belongs to.
        max_attempts: tries before the unit is parked.
        waited_s: how long the unit could have been taken before it was.
        traceparent: the span that asked for the unit; None where nothing is traced.
    """

    unit_id: int
    token: int
    kind: str
    payload: dict[str, Any]
    attempt: int
    cycle_id: int | None
    max_attempts: int = DEFAULT_ATTEMPTS
    waited_s: float = 0.0
    traceparent: str | None = None


def announce(session: Session, unit: Unit) -> None:
    """Put a message for a unit into the outbox of this transaction."""
    session.add(Outbox(unit_id=unit.id, queue=unit.queue, priority=unit.priority))


def announce_all(session: Session, unit_ids: Collection[int]) -> None:
    """The same for those of many units that wait to be taken."""
    waiting_ones = (
        select(Unit.id, Unit.queue, Unit.priority, literal(utc_now(), UtcDateTime()))
        .where(Unit.id.in_(unit_ids), Unit.state == UnitState.QUEUED)
        .order_by(Unit.id)
    )
    columns = ["unit_id", "queue", "priority", "created_at"]
    session.execute(insert(Outbox).from_select(columns, waiting_ones))


def find(session: Session, unit_id: int) -> Unit:
    """A unit by number.

    Raises:
        NotFound: there is none.
    """
    unit = session.get(Unit, unit_id)
    if unit is None:
        raise NotFound(f"no unit {unit_id}")
    return unit


def expire_units(session: Session) -> None:
    """Have units read anew that a statement over many rows may have changed."""
    for known in list(session.identity_map.values()):
        if isinstance(known, Unit):
            session.expire(known)


def ending(state: UnitState) -> dict[str, Any]:
    """Columns of a unit that ends now."""
    return {"state": state, "owner": None, "lease_until": None, "finished_at": utc_now()}


def waiting(delay_s: float) -> dict[str, Any]:
    """Columns of a unit that is queued now, to be taken after so many seconds."""
    now = utc_now()
    return {
        "state": UnitState.QUEUED,
        "owner": None,
        "lease_until": None,
        "queued_at": now,
        "not_before": now + timedelta(seconds=delay_s),
    }


def fenced(session: Session, claim: Claim, **values: Any) -> None:
    """Change the unit of a claim.

    Raises:
        LeaseLost: the claim holds no longer.
    """
    mine = (Unit.token == claim.token, Unit.state == UnitState.LEASED)
    if not change(session, claim.unit_id, mine, **values):
        raise LeaseLost(f"unit {claim.unit_id} is no longer held by token {claim.token}")


def fenced_all(session: Session, claims: Sequence[Claim], **values: Any) -> set[int]:
    """Change the units of those claims that hold, in one statement.

    The rows are locked in the order of their numbers, as by all who lock many of them: nobody
    waits in a ring.

    Returns:
        Numbers of the units whose claims hold; nothing of the others was changed.
    """
    session.flush()
    ids = [claim.unit_id for claim in claims]
    mine = (
        select(Unit.id)
        .where(
            Unit.id.in_(ids),  # by this they are found, by the next they are ours
            tuple_(Unit.id, Unit.token).in_([(one.unit_id, one.token) for one in claims]),
            Unit.state == UnitState.LEASED,
        )
        .order_by(Unit.id)
        .with_for_update()
        .correlate(None)
    )
    done = session.execute(
        update(Unit).where(Unit.id.in_(mine)).values(**values).returning(Unit.id),
        execution_options={"synchronize_session": False},
    )
    held = set(done.scalars())
    expire_units(session)
    return held


def change(
    session: Session, unit_id: int, where: Sequence[ColumnElement[bool]], **values: Any
) -> bool:
    """Change one row if the condition holds, in one statement, so that nobody comes between."""
    session.flush()
    done = session.execute(
        update(Unit).where(Unit.id == unit_id, *where).values(**values),
        execution_options={"synchronize_session": False},
    )
    seen = session.identity_map.get(session.identity_key(Unit, unit_id))
    if seen is not None:
        session.expire(seen)
    return isinstance(done, CursorResult) and done.rowcount == 1


def read(session: Session, unit_id: int) -> Unit:
    """A unit as it is now."""
    return session.get_one(Unit, unit_id, populate_existing=True)


def claim_of(unit: Unit) -> Claim:
    """The claim that a leased unit is held by."""
    return Claim(
        unit_id=unit.id,
        token=unit.token,
        kind=unit.kind,
        payload=dict(unit.payload),
        attempt=unit.attempts,
        cycle_id=unit.cycle_id,
        max_attempts=unit.max_attempts,
        traceparent=unit.traceparent,
    )
