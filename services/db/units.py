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
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, and_, case, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.db.base import utc_now
from services.db.engine import DEFAULT_ATTEMPTS, MAX_ATTEMPTS_INFO
from services.db.patience import Patience
from services.db.tables import TERMINAL, Outbox, Unit, UnitState
from services.db.unit_counts import counts as counts  # one door to all that is known of units
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
        key: made of the content; the same key gives the same row. One that was cancelled is queued
            again; one that is done or dead stays so.
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
        return _asked_again(session, existing, cycle_id)
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
        _update(session, unit.id, (Unit.state.not_in(TERMINAL),), cycle_id=cycle_id)
    return _read(session, unit.id)


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
    now, patience = utc_now(), Patience.of(session)
    abandoned = patience.is_abandoned(now)
    free = or_(
        and_(
            patience.is_due(now), Unit.attempts < Unit.max_attempts, Unit.lost < patience.max_lost
        ),
        and_(abandoned, Unit.lost + 1 < patience.max_lost),
    )
    taken = _update(
        session,
        unit_id,
        (free,),
        state=UnitState.LEASED,
        attempts=case((abandoned, Unit.attempts), else_=Unit.attempts + 1),
        lost=case((abandoned, Unit.lost + 1), else_=Unit.lost),
        token=Unit.token + 1,
        owner=owner,
        lease_until=now + timedelta(seconds=lease_s),
    )
    return _claim_of(_read(session, unit_id)) if taken else None


def park_exhausted(session: Session, unit_id: int) -> Claim | None:
    """Park a unit that has no try left: too many workers vanished with it.

    Returns:
        The claim that it last had, for those who wait for it; None if it is not such a unit.
    """
    now, patience = utc_now(), Patience.of(session)
    no_try_left = or_(Unit.attempts >= Unit.max_attempts, Unit.lost >= patience.max_lost)
    abandoned = patience.is_abandoned(now)
    text = (
        "the worker died or lost its lease on every try (killed, out of memory, or stuck): look "
        "at the worker's log, then redrive the unit"
    )
    parked = _update(
        session,
        unit_id,
        (
            or_(
                and_(patience.is_due(now), no_try_left),
                and_(abandoned, Unit.lost + 1 >= patience.max_lost),
            ),
        ),
        **_ending(UnitState.DEAD),
        attempts=case((abandoned, Unit.attempts - 1), else_=Unit.attempts),
        lost=case((abandoned, Unit.lost + 1), else_=Unit.lost),
        token=Unit.token + 1,
        error_code="worker_lost",
        error=func.coalesce(Unit.error + "\n\n", "") + text,
    )
    return _claim_of(_read(session, unit_id)) if parked else None


def requeue_expired(session: Session, unit_id: int) -> bool:
    """Free a unit whose lease ran out and that has a try left; True if it was such a unit."""
    patience = Patience.of(session)
    freed = _update(
        session,
        unit_id,
        (patience.is_abandoned(utc_now()), Unit.lost + 1 < patience.max_lost),
        **_waiting(0.0),
        attempts=Unit.attempts - 1,
        lost=Unit.lost + 1,
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
    """Try a unit again that was parked or cancelled, with all its tries.

    Raises:
        NotFound: there is no such unit.
        Conflict: it is neither.
    """
    find(session, unit_id)
    if not _revive(session, unit_id, (UnitState.DEAD, UnitState.CANCELLED)):
        state = _read(session, unit_id).state
        raise Conflict(f"unit {unit_id} is {state}: only a dead unit can be redriven")
    return _read(session, unit_id)


def _revive(session: Session, unit_id: int, of: Sequence[UnitState], **values: Any) -> bool:
    """Queue a unit that has ended, as if it were new; False if it is in no such state."""
    revived = _update(
        session,
        unit_id,
        (Unit.state.in_(of),),
        **_waiting(0.0),
        **values,
        attempts=0,
        lost=0,
        token=Unit.token + 1,
        error_code=None,
        error=None,
        finished_at=None,
    )
    if revived:
        announce(session, _read(session, unit_id))
    return revived


def cancel(session: Session, unit_id: int) -> bool:
    """Stop a unit; a worker that has it loses its lease. False if it had ended already."""
    return _update(
        session,
        unit_id,
        (Unit.state.not_in(TERMINAL),),
        **_ending(UnitState.CANCELLED),
        token=Unit.token + 1,
    )


def cancel_all(session: Session, *conditions: ColumnElement[bool]) -> int:
    """Stop many units in one statement, as :func:`cancel` does; how many."""
    session.flush()
    done = session.execute(
        update(Unit)
        .where(Unit.state.not_in(TERMINAL), *conditions)
        .values(**_ending(UnitState.CANCELLED), token=Unit.token + 1),
        execution_options={"synchronize_session": False},
    )
    expire_units(session)
    return done.rowcount if isinstance(done, CursorResult) else 0


def expire_units(session: Session) -> None:
    """Have units read anew that a statement over many rows may have changed."""
    for known in list(session.identity_map.values()):
        if isinstance(known, Unit):
            session.expire(known)


def cycle_of(session: Session, claim: Claim) -> int | None:
    """The cycle that waits for a unit now; another than at the claim, if that was cancelled."""
    return session.scalar(select(Unit.cycle_id).where(Unit.id == claim.unit_id))


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


def _ending(state: UnitState) -> dict[str, Any]:
    return {"state": state, "owner": None, "lease_until": None, "finished_at": utc_now()}


def _waiting(delay_s: float) -> dict[str, Any]:
    now = utc_now()
    return {
        "state": UnitState.QUEUED,
        "owner": None,
        "lease_until": None,
        "queued_at": now,
        "not_before": now + timedelta(seconds=delay_s),
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
