"""When a cycle has samples drawn, how long it waits for them, and what it goes on without.

Drawing is asked for when the selection is stored, and done while people label. A repair never waits
for it in vain: a cycle goes on without what is parked, cancelled or late, and says so.
"""

from __future__ import annotations

import logging

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services import units
from services.context import Context
from services.cycle import cycle_units
from services.db.base import utc_now
from services.db.tables import (
    TERMINAL,
    Cycle,
    CycleState,
    GeneratedRow,
    SampleState,
    Unit,
    UnitState,
)
from services.errors import Conflict
from services.models import registry

logger = logging.getLogger(__name__)

KIND, TRAINING = "synthesize", "train_drawn"
_LOST = {
    KIND: "without drawn samples",
    TRAINING: "without a model that was trained on drawn samples",
}


def ask(session: Session, context: Context, cycle: Cycle) -> None:
    """Have samples drawn for a cycle, where the settings say so."""
    if context.settings.synthesis.enabled:
        _enqueue(session, context, cycle)


def ask_by_hand(session: Session, context: Context, cycle: Cycle) -> Unit:
    """Have samples drawn for a cycle that labels or has ended; they join its training, or the next.

    Raises:
        Conflict: it does something else just now, is drawn for already, or another model has
            become the champion since.
    """
    settled = (CycleState.LABELLING, CycleState.DONE)
    if cycle.state not in settled:
        raise Conflict(
            f"cycle {cycle.id} is {cycle.state}: samples are drawn while one waits for labels, "
            "or when it is done"
        )
    champion = registry.require_champion(session)
    if champion.id != cycle.champion_id:
        raise Conflict(
            f"cycle {cycle.id} looked at what another model missed: `e2x cycle run` finds what "
            f"model {champion.number} does"
        )
    if cycle_units.is_open(session, cycle, KIND):
        raise Conflict(f"samples are being drawn for cycle {cycle.id}: see `e2x units`")
    return _enqueue(session, context, cycle)


def _enqueue(session: Session, context: Context, cycle: Cycle) -> Unit:
    asks_pool = context.settings.synthesis.harm_from != "field"
    number = cycle_units.asked(session, cycle, KIND)
    return units.enqueue(
        session,
        KIND,
        f"{KIND}:cycle:{cycle.id}:{number}",
        {"cycle": cycle.id, "round": number},
        cycle_id=cycle.id,
        queue="index" if asks_pool else None,  # the index of the pool lies with these workers
    )


def ask_training(session: Session, cycle: Cycle, version_id: str) -> None:
    """Have a second challenger trained, on a dataset version with drawn samples."""
    units.enqueue(
        session,
        TRAINING,
        f"{TRAINING}:cycle:{cycle.id}",
        {"cycle": cycle.id, "version": version_id},
        cycle_id=cycle.id,
    )


def holds_up(session: Session, context: Context, cycle: Cycle) -> bool:
    """Whether samples are being drawn for a cycle whose labels are in, and may still come in time.

    What is late is cancelled. A unit that its worker is just about to end is left to it: to wait
    for its row here, with the cycle locked, would be to wait for each other.
    """
    query = select(Unit).where(
        Unit.cycle_id == cycle.id, Unit.kind == KIND, Unit.state.not_in(TERMINAL)
    )
    unit = session.scalar(query.order_by(Unit.id.desc()).limit(1))
    if unit is None:
        return False
    waited_s = (utc_now() - unit.created_at).total_seconds()
    if 0 <= waited_s < context.settings.synthesis.wait_s:
        return True
    free = select(Unit.id).where(Unit.id == unit.id).with_for_update(skip_locked=True)
    if session.scalar(free) is None:
        return True
    return not units.cancel(session, unit.id)


def stop(session: Session, cycle: Cycle) -> None:
    """Wait no more for samples of a cycle; call it before the cycle is locked."""
    for unit in cycle_units.outstanding(session, cycle):
        if unit.kind == KIND:
            units.cancel(session, unit.id)
    session.flush()


def go_on_without(session: Session, cycle: Cycle, kind: str) -> None:
    """Write down why a cycle goes on without what a unit was to make; nothing where it did."""
    unit = cycle_units.newest(session, cycle, kind)
    if unit is None or unit.state == UnitState.DONE:
        return
    why = "it took too long, or somebody stopped it"
    if unit.state == UnitState.DEAD:
        why = cycle_units.why_dead(unit)
    note(cycle, f"{_LOST[kind]} ({why}; unit {unit.id})")
    logger.warning("cycle %d goes on %s", cycle.id, cycle.note)


def note(cycle: Cycle, text: str) -> None:
    """Add to what a cycle has gone on without."""
    cycle.note = f"{cycle.note}; {text}" if cycle.note else text


def nothing_to_train(session: Session, cycle: Cycle) -> str:
    """Why a cycle that asked for no label ends without a training."""
    told = [cycle.note or "nothing to label"]
    waiting = select(func.count()).where(
        GeneratedRow.cycle_id == cycle.id, GeneratedRow.state == SampleState.DRAWN
    )
    count = session.scalar(waiting) or 0
    if count:
        told.append(
            f"{count} drawn samples wait for a person: `e2x synthesis accept`, then "
            "`e2x cycle run --kind retrain`"
        )
    elif cycle.drawing is not None:
        told.append(f"no drawn sample is kept: {cycle.drawing['why'] or 'the checks refused all'}")
    cycle.note = None  # it is the cycle's whole story, and not beside it
    return "; ".join(told)
