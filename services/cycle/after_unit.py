"""What follows a unit that has ended: the cycles that may have waited for it move."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.orm import Session

from services.context import Context
from services.cycle import cycles
from services.units import Claim
from services.units.pipeline import FEEDS_SELECTION


def after(session: Session, context: Context, claim: Claim) -> None:
    """Move the cycles that may have waited for this unit; called when it is done or parked."""
    after_all(session, context, (claim,))


def after_all(session: Session, context: Context, claims: Iterable[Claim]) -> None:
    """The same for units that ended in one transaction; each cycle is looked at once."""
    feeding = False
    waiting: set[int] = set()
    for claim in claims:
        if claim.kind in FEEDS_SELECTION:  # another cycle may wait for it by now
            feeding = True
        elif claim.cycle_id is not None:
            waiting.add(claim.cycle_id)
    if feeding:
        cycles.advance_waiting(session, context)
    for cycle_id in sorted(waiting):  # in one order: no deadlock
        cycles.advance(session, context, cycle_id)
