"""Units of work: the state machine whose truth is a row.

::

    enqueue ──► QUEUED ──claim──► LEASED ──finish──► DONE
                  ▲  ▲              │ │
                  │  └─ fail/release┘ └─fail, or lease run out too often──► DEAD
                  └──────────────────── redrive ───────────────────────────┘
    QUEUED, LEASED ──cancel──► CANCELLED

Each claim raises ``token``; every later write of that claim says ``WHERE token = mine``, so that a
worker that was thought dead writes nothing. A message is put into the outbox in the transaction
that makes a unit claimable; it may be lost or come three times, since only a claim starts work.
All functions take the caller's open transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, and_, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.db.base import utc_now
from services.db.engine import DEFAULT_ATTEMPTS, MAX_ATTEMPTS_INFO
from services.db.tables import TERMINAL, Outbox, Unit, UnitState
from services.errors import Conflict, InvalidRequest, LeaseLost, NotFound
from services.pipeline import STAGES

MAX_ERROR_CHARS = 20_000
"""A traceback through a network is about 5,000 characters; the end is the telling part."""


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
    """

    unit_id: int
    token: int
    kind: str
    payload: dict[str, Any]
    attempt: int
    cycle_id: int | None
    max_attempts: int = DEFAULT_ATTEMPTS


def enqueue(
    session: Session,
    kind: str,
    key: str,
    payload: dict[str, Any],
    *,
    cycle_id: int | None = None,
    priority: int = 0,
) -> Unit:
    """Ask for a piece of work, once.

    Args:
        session: the caller's transaction; the message is committed with it.
        kind: a stage of :data:`services.pipeline.STAGES`.
        key: made of the content; the same key gives the same row, in whatever state it is.
        payload: JSON that the stage reads.
        cycle_id: the cycle that waits for the unit.
        priority: greater is published earlier.

    Returns:
        The new row, or the one that has this key already.

    Raises:
        InvalidRequest: there is no such stage.
    """
    existing = session.scalar(select(Unit).where(Unit.key == key))
    if existing is not None:
        return existing
    if kind not in STAGES:
        raise InvalidRequest(f"no stage {kind!r}: there are {', '.join(sorted(STAGES))}")
    stage = STAGES[kind]
    unit = Unit(
        kind=kind,
        key=key,
        queue=stage.queue,
        payload=payload,
        cycle_id=cycle_id,
        priority=priority,
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
        return existing
    announce(session, unit)
    return unit


def announce(session: Session, unit: Unit) -> None:
    """Put a message for a unit into the outbox of this transaction."""
    session.add(Outbox(unit_id=unit.id, queue=unit.queue, priority=unit.priority))


def claim(session: Session, unit_id: int, owner: str, lease_s: float) -> Claim | None:
    """Take a unit, if it is free and has a try left.

    Args:
        session: the caller's transaction.
        unit_id: the row.
        owner: name of the process, for people.
        lease_s: how long the claim holds unless it is renewed.

    Returns:
        The claim; None if the unit is taken, finished, not due yet, unknown or out of tries.
    """
    now = utc_now()
    taken = _update(
        session,
        unit_id,
        (_free(now), Unit.attempts < Unit.max_attempts),
        state=UnitState.LEASED,
        attempts=Unit.attempts + 1,
        token=Unit.token + 1,
        owner=owner,
        lease_until=now + timedelta(seconds=lease_s),
    )
    return _claim_of(_read(session, unit_id)) if taken else None


def park_exhausted(session: Session, unit_id: int) -> Claim | None:
    """Park a unit whose workers died with every one of its tries.

    Returns:
        The claim that it last had, for those who wait for it; None if it is not such a unit.
    """
    text = (
        "the worker died or lost its lease on every try (killed, out of memory, or stuck): look "
        "at the worker's log, then redrive the unit"
    )
    parked = _update(
        session,
        unit_id,
        (_free(utc_now()), Unit.attempts >= Unit.max_attempts),
        **_ending(UnitState.DEAD),
        token=Unit.token + 1,
        error_code="worker_lost",
        error=func.coalesce(Unit.error + "\n\n", "") + text,
    )
    return _claim_of(_read(session, unit_id)) if parked else None


def requeue_expired(session: Session, unit_id: int) -> bool:
    """Free a unit whose lease ran out and that has a try left; True if it was such a unit."""
    freed = _update(
        session,
        unit_id,
        (
            Unit.state == UnitState.LEASED,
            Unit.lease_until < utc_now(),
            Unit.attempts < Unit.max_attempts,
        ),
        **_waiting(0.0),
        token=Unit.token + 1,
    )
    if freed:
        announce(session, _read(session, unit_id))
    return freed


def renew(session: Session, claim: Claim, lease_s: float) -> None:
    """Hold a claim for ``lease_s`` more seconds from now.

    Raises:
        LeaseLost: somebody else owns the unit now, or it has ended.
    """
    _fenced(session, claim, lease_until=utc_now() + timedelta(seconds=lease_s))


def finish(session: Session, claim: Claim, result: dict[str, Any]) -> None:
    """Mark a unit done; the row stays locked until the caller's transaction ends.

    Raises:
        LeaseLost: somebody else owns the unit now; the caller must roll back.
    """
    _fenced(session, claim, **_ending(UnitState.DONE), result=result, error_code=None, error=None)


def record_result(session: Session, claim: Claim, result: dict[str, Any]) -> None:
    """Replace the result of a unit that :func:`finish` marked in this same transaction."""
    _update(
        session,
        claim.unit_id,
        (Unit.token == claim.token, Unit.state == UnitState.DONE),
        result=result,
    )


def fail(
    session: Session, claim: Claim, code: str, text: str, retryable: bool, backoff_s: float
) -> UnitState:
    """Give a unit back after a failed try: queued again with a delay, or parked.

    Args:
        session: the caller's transaction.
        claim: what failed.
        code: stable name of the error.
        text: message and traceback, for people.
        retryable: whether trying the same again can help.
        backoff_s: wait before the next try; doubled with each try by this function.

    Returns:
        QUEUED, or DEAD where no try is left or none would help.

    Raises:
        LeaseLost: somebody else owns the unit now.
    """
    error = {"error_code": code, "error": text[-MAX_ERROR_CHARS:]}
    if not retryable or claim.attempt >= claim.max_attempts:
        _fenced(session, claim, **_ending(UnitState.DEAD), **error)
        return UnitState.DEAD
    _fenced(session, claim, **_waiting(backoff_s * 2 ** (claim.attempt - 1)), **error)
    announce(session, _read(session, claim.unit_id))
    return UnitState.QUEUED


def release(session: Session, claim: Claim) -> None:
    """Give a unit back unharmed, as a worker that is told to stop does; the try is not counted.

    Raises:
        LeaseLost: somebody else owns the unit now.
    """
    _fenced(session, claim, **_waiting(0.0), attempts=Unit.attempts - 1)
    announce(session, _read(session, claim.unit_id))


def redrive(session: Session, unit_id: int) -> Unit:
    """Try a parked unit again, with all its tries; the only way out of a terminal state.

    Raises:
        NotFound: there is no such unit.
        Conflict: it is not parked.
    """
    unit = find(session, unit_id)
    revived = _update(
        session,
        unit_id,
        (Unit.state == UnitState.DEAD,),
        **_waiting(0.0),
        attempts=0,
        token=Unit.token + 1,
        error_code=None,
        error=None,
        finished_at=None,
    )
    unit = _read(session, unit_id)
    if not revived:
        raise Conflict(f"unit {unit_id} is {unit.state}: only a dead unit can be redriven")
    announce(session, unit)
    return unit


def cancel(session: Session, unit_id: int) -> bool:
    """Stop a unit; a worker that has it loses its lease. False if it had ended already."""
    return _update(
        session,
        unit_id,
        (Unit.state.not_in(TERMINAL),),
        **_ending(UnitState.CANCELLED),
        token=Unit.token + 1,
    )


def find(session: Session, unit_id: int) -> Unit:
    """A unit by number.

    Raises:
        NotFound: there is none.
    """
    unit = session.get(Unit, unit_id)
    if unit is None:
        raise NotFound(f"no unit {unit_id}")
    return unit


def parked(session: Session, limit: int = 100) -> Sequence[Unit]:
    """The units that were given up, newest first."""
    return session.scalars(
        select(Unit).where(Unit.state == UnitState.DEAD).order_by(Unit.id.desc()).limit(limit)
    ).all()


def counts(session: Session, cycle_id: int | None = None) -> dict[str, int]:
    """How many units are in each state, of one cycle or of all; a state without any is 0."""
    query = select(Unit.state, func.count()).group_by(Unit.state)
    if cycle_id is not None:
        query = query.where(Unit.cycle_id == cycle_id)
    found = {row[0]: row[1] for row in session.execute(query)}
    return {state.value: found.get(state.value, 0) for state in UnitState}


def _free(now: Any) -> ColumnElement[bool]:
    return or_(
        and_(Unit.state == UnitState.QUEUED, Unit.not_before <= now),
        and_(Unit.state == UnitState.LEASED, Unit.lease_until < now),
    )


def _ending(state: UnitState) -> dict[str, Any]:
    return {"state": state, "owner": None, "lease_until": None, "finished_at": utc_now()}


def _waiting(delay_s: float) -> dict[str, Any]:
    return {
        "state": UnitState.QUEUED,
        "owner": None,
        "lease_until": None,
        "not_before": utc_now() + timedelta(seconds=delay_s),
    }


def _fenced(session: Session, claim: Claim, **values: Any) -> None:
    mine = (Unit.token == claim.token, Unit.state == UnitState.LEASED)
    if not _update(session, claim.unit_id, mine, **values):
        raise LeaseLost(f"unit {claim.unit_id} is no longer held by token {claim.token}")


def _update(
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


def _read(session: Session, unit_id: int) -> Unit:
    return session.get_one(Unit, unit_id, populate_existing=True)


def _claim_of(unit: Unit) -> Claim:
    return Claim(
        unit_id=unit.id,
        token=unit.token,
        kind=unit.kind,
        payload=dict(unit.payload),
        attempt=unit.attempts,
        cycle_id=unit.cycle_id,
        max_attempts=unit.max_attempts,
    )
