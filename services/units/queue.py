"""Units of work: the state machine whose truth is a row.

::

    enqueue ──► QUEUED ──claim──► LEASED ──finish──► DONE
                  ▲  ▲              │ │
                  │  └─ fail/release┘ └─fail, or lease run out too often──► DEAD
                  └──────────────────── redrive ───────────────────────────┘
    QUEUED, LEASED ──cancel──► CANCELLED ──enqueue, redrive──► QUEUED

Tries are counted in two ways. ``attempts`` counts those that ended by themselves, most often in an
error; ``max_attempts`` of them park a unit. A worker that vanishes (SIGKILL, a power cut, out of
memory) leaves a lease that runs out, and may not be the unit's fault: such a try counts as ``lost``
instead. A unit that takes its worker down each time is parked after ``workers.max_lost`` of them.

Each claim raises ``token``; every later write of that claim says ``WHERE token = mine``, so that a
worker that was thought dead writes nothing. A message is put into the outbox in the transaction
that makes a unit claimable; it may be lost or come three times, since only a claim starts work.
All functions take the caller's open transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services import tracing
from services.db.engine import DEFAULT_ATTEMPTS, MAX_ATTEMPTS_INFO
from services.db.tables import TERMINAL, Unit, UnitState
from services.errors import Conflict, InvalidRequest
from services.units.pipeline import STAGES
from services.units.rows import Claim, announce, change, ending, expire_units, find, read, waiting


def enqueue(
    session: Session,
    kind: str,
    key: str,
    payload: dict[str, Any],
    *,
    cycle_id: int | None = None,
    priority: int = 0,
    queue: str | None = None,
) -> Unit:
    """Ask for a piece of work, once.

    Args:
        session: the caller's transaction; the message is committed with it.
        kind: a stage of :data:`services.units.pipeline.STAGES`.
        key: made of the content; the same key gives the same row. One that was cancelled is queued
            again; one that is done or dead stays so.
        payload: JSON that the stage reads.
        cycle_id: the cycle that waits for the unit.
        priority: greater is published earlier.
        queue: another than the stage's usual one, for what needs other hardware this time.

    Returns:
        The new row, or the one that has this key already.

    Raises:
        InvalidRequest: there is no such stage.
    """
    existing = session.scalar(select(Unit).where(Unit.key == key))
    if existing is not None:
        return _asked_again(session, existing, cycle_id)
    if kind not in STAGES:
        raise InvalidRequest(f"no stage {kind!r}: there are {', '.join(sorted(STAGES))}")
    stage = STAGES[kind]
    unit = Unit(
        kind=kind,
        key=key,
        queue=queue or stage.queue,
        payload=payload,
        cycle_id=cycle_id,
        priority=priority,
        traceparent=tracing.current(),
        max_attempts=stage.max_attempts or session.info.get(MAX_ATTEMPTS_INFO, DEFAULT_ATTEMPTS),
    )
    try:
        with session.begin_nested():
            session.add(unit)
    except IntegrityError:
        # Another transaction inserted the key between our look and our insert.
        existing = session.scalar(select(Unit).where(Unit.key == key))
        if existing is None:
            raise
        return _asked_again(session, existing, cycle_id)
    announce(session, unit)
    return unit


def _asked_again(session: Session, unit: Unit, cycle_id: int | None) -> Unit:
    """A unit that somebody asks for once more: revived if it was cancelled, as nobody wanted it.

    A cycle that asks waits for it from now on; whoever asked before has ended, or waits for
    everything of its kind.
    """
    if unit.state == UnitState.CANCELLED:
        _revive(session, unit.id, (UnitState.CANCELLED,), cycle_id=cycle_id)
    elif cycle_id is not None and unit.cycle_id != cycle_id and unit.state not in TERMINAL:
        change(session, unit.id, (Unit.state.not_in(TERMINAL),), cycle_id=cycle_id)
    return read(session, unit.id)


def redrive(session: Session, unit_id: int) -> Unit:
    """Try a unit again that was parked or cancelled, with all its tries.

    Raises:
        NotFound: there is no such unit.
        Conflict: it is neither.
    """
    find(session, unit_id)
    if not _revive(session, unit_id, (UnitState.DEAD, UnitState.CANCELLED)):
        state = read(session, unit_id).state
        raise Conflict(f"unit {unit_id} is {state}: only a dead unit can be redriven")
    return read(session, unit_id)


def _revive(session: Session, unit_id: int, of: Sequence[UnitState], **values: Any) -> bool:
    """Queue a unit that has ended, as if it were new; False if it is in no such state."""
    revived = change(
        session,
        unit_id,
        (Unit.state.in_(of),),
        **waiting(0.0),
        **values,
        attempts=0,
        lost=0,
        token=Unit.token + 1,
        error_code=None,
        error=None,
        finished_at=None,
    )
    if revived:
        announce(session, read(session, unit_id))
    return revived


def cancel(session: Session, unit_id: int) -> bool:
    """Stop a unit; a worker that has it loses its lease. False if it had ended already."""
    return change(
        session,
        unit_id,
        (Unit.state.not_in(TERMINAL),),
        **ending(UnitState.CANCELLED),
        token=Unit.token + 1,
    )


def cancel_all(session: Session, *conditions: ColumnElement[bool]) -> int:
    """Stop many units in one statement, as :func:`cancel` does; how many."""
    session.flush()
    running = (  # locked in one order: a worker may be ending many of them at this moment
        select(Unit.id)
        .where(Unit.state.not_in(TERMINAL), *conditions)
        .order_by(Unit.id)
        .with_for_update()
        .correlate(None)
    )
    done = session.execute(
        update(Unit)
        .where(Unit.id.in_(running), Unit.state.not_in(TERMINAL))
        .values(**ending(UnitState.CANCELLED), token=Unit.token + 1),
        execution_options={"synchronize_session": False},
    )
    expire_units(session)
    return done.rowcount if isinstance(done, CursorResult) else 0


def cycle_of(session: Session, claim: Claim) -> int | None:
    """The cycle that waits for a unit now; another than at the claim, if that was cancelled."""
    return session.scalar(select(Unit.cycle_id).where(Unit.id == claim.unit_id))


def parked(session: Session, limit: int = 100) -> Sequence[Unit]:
    """The units that were given up, newest first."""
    return session.scalars(
        select(Unit).where(Unit.state == UnitState.DEAD).order_by(Unit.id.desc()).limit(limit)
    ).all()
