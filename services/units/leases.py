"""A worker's claim on a unit: taken, renewed, ended, or found abandoned.

:mod:`services.units` has the whole state machine; it is the door to these functions.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import and_, case, func, or_
from sqlalchemy.orm import Session

from services import tracing
from services.db.base import utc_now
from services.db.patience import Patience
from services.db.tables import Unit, UnitState
from services.units.rows import Claim, announce, change, claim_of, ending, fenced, read, waiting

MAX_ERROR_CHARS = 20_000
"""A traceback through a network is about 5,000 characters; the end is the telling part."""


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
    taken = change(
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
    if not taken:
        return None
    unit = read(session, unit_id)
    waited_s = max(0.0, (now - unit.not_before).total_seconds())
    return replace(claim_of(unit), waited_s=waited_s)


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
    parked = change(
        session,
        unit_id,
        (
            or_(
                and_(patience.is_due(now), no_try_left),
                and_(abandoned, Unit.lost + 1 >= patience.max_lost),
            ),
        ),
        **ending(UnitState.DEAD),
        attempts=case((abandoned, Unit.attempts - 1), else_=Unit.attempts),
        lost=case((abandoned, Unit.lost + 1), else_=Unit.lost),
        token=Unit.token + 1,
        error_code="worker_lost",
        error=func.coalesce(Unit.error + "\n\n", "") + text,
    )
    return claim_of(read(session, unit_id)) if parked else None


def requeue_expired(session: Session, unit_id: int) -> bool:
    """Free a unit whose lease ran out and that has a try left; True if it was such a unit."""
    patience = Patience.of(session)
    freed = change(
        session,
        unit_id,
        (patience.is_abandoned(utc_now()), Unit.lost + 1 < patience.max_lost),
        **waiting(0.0),
        attempts=Unit.attempts - 1,
        lost=Unit.lost + 1,
        token=Unit.token + 1,
    )
    if freed:
        announce(session, read(session, unit_id))
    return freed


def renew(session: Session, claim: Claim, lease_s: float) -> None:
    """Hold a claim for ``lease_s`` more seconds from now.

    Raises:
        LeaseLost: somebody else owns the unit now, or it has ended.
    """
    fenced(session, claim, lease_until=utc_now() + timedelta(seconds=lease_s))


def finish(session: Session, claim: Claim, result: dict[str, Any]) -> None:
    """Mark a unit done; the row stays locked until the caller's transaction ends.

    Raises:
        LeaseLost: somebody else owns the unit now; the caller must roll back.
    """
    fenced(session, claim, **ending(UnitState.DONE), result=result, error_code=None, error=None)


def record_result(session: Session, claim: Claim, result: dict[str, Any]) -> None:
    """Replace the result of a unit that :func:`finish` marked in this same transaction."""
    change(
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
        fenced(session, claim, **ending(UnitState.DEAD), **error, **_same_trace())
        return UnitState.DEAD
    delay_s = backoff_s * 2 ** (claim.attempt - 1)
    fenced(session, claim, **waiting(delay_s), **error, **_same_trace())
    announce(session, read(session, claim.unit_id))
    return UnitState.QUEUED


def release(session: Session, claim: Claim) -> None:
    """Give a unit back unharmed, as a worker that is told to stop does; the try is not counted.

    Raises:
        LeaseLost: somebody else owns the unit now.
    """
    fenced(session, claim, **waiting(0.0), **_same_trace(), attempts=Unit.attempts - 1)
    announce(session, read(session, claim.unit_id))


def _same_trace() -> dict[str, Any]:
    """Have the next try in the trace of this one, where nobody's trace asked for the unit."""
    now = tracing.current()
    return {} if now is None else {"traceparent": func.coalesce(Unit.traceparent, now)}
