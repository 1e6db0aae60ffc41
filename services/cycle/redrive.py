"""Trying units again that were parked or cancelled, without two cycles at a time.

A cycle fails with the unit that it cannot do without. Redriving that unit opens the cycle again,
where it stood; any other unit is tried again by itself. What was cancelled with its cycle stays so.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from services import units
from services.accounts import audit
from services.cycle import cycles
from services.cycle.cycle_units import STATE_OF
from services.db.tables import Cycle, CycleState, Unit, UnitState
from services.errors import Conflict
from services.models import registry
from services.units.pipeline import FEEDS_SELECTION


def redrive(session: Session, unit_id: int) -> Unit:
    """Try a unit again, with all its tries, and go on with the cycle that failed with it.

    Raises:
        NotFound: there is no such unit.
        Conflict: it is neither parked nor cancelled, its cycle has ended otherwise, or another
            cycle runs.
    """
    unit = units.find(session, unit_id)
    if (
        unit.state == UnitState.CANCELLED
        and unit.cycle_id is not None
        and unit.kind not in FEEDS_SELECTION
    ):
        raise Conflict(f"unit {unit_id} was cancelled with cycle {unit.cycle_id}")
    if unit.state == UnitState.DEAD and unit.kind in STATE_OF and unit.cycle_id is not None:
        registry.require_champion(session, hold=True)  # or another cycle may begin meanwhile
        _open_again(session, cycles.hold(session, unit.cycle_id), unit.kind)
    audit.record(session, "unit.redrive", f"unit:{unit_id}", kind=unit.kind, was=unit.state)
    return units.redrive(session, unit_id)


def _open_again(session: Session, cycle: Cycle, kind: str) -> None:
    if cycle.state in (CycleState.DONE, CycleState.CANCELLED):
        raise Conflict(
            f"cycle {cycle.id} is {cycle.state} and does not go on: `e2x cycle run` starts another"
        )
    if cycle.state != CycleState.FAILED:
        return
    other = cycles.running(session)
    if other is not None:
        raise Conflict(
            f"cycle {other} is running, and cycle {cycle.id} would go on beside it: wait for it or "
            "cancel it, then redrive"
        )
    cycle.state, cycle.error, cycle.finished_at = STATE_OF[kind], None, None
    session.flush()
