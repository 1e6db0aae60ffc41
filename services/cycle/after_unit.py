"""What follows a unit that has ended: the cycles that may have waited for it move."""

from __future__ import annotations

from sqlalchemy.orm import Session

from services.context import Context
from services.cycle import cycles
from services.units import Claim
from services.units.pipeline import FEEDS_SELECTION


def after(session: Session, context: Context, claim: Claim) -> None:
    """Move the cycles that may have waited for this unit; called when it is done or parked."""
    if claim.kind in FEEDS_SELECTION:  # another cycle may wait for it by now
        cycles.advance_waiting(session, context)
    elif claim.cycle_id is not None:
        cycles.advance(session, context, claim.cycle_id)
