"""The units of work of a cycle: asked for by its steps, and counted to see whether one is over.

Some belong to a cycle alone: its scores of the pool, its selection, training and gate. The others
(:data:`~services.units.pipeline.FEEDS_SELECTION`) are named by content; the field, the pool and
later cycles need what they make, whoever asked first. A cycle takes those that are open as it
begins for its own, to wait for them, and leaves them behind where it is cancelled.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from services import units
from services.context import Context
from services.db.tables import TERMINAL, Cycle, CycleState, Image, Role, Unit, UnitState
from services.units.batches import enqueue_all
from services.units.pipeline import FEEDS_SELECTION

STATE_OF = {
    "select": CycleState.SELECTING,
    "train": CycleState.TRAINING,
    "gate": CycleState.GATING,
}
"""Kinds of unit that a cycle cannot do without, and its state while it waits for one."""


def ask(session: Session, cycle: Cycle, kind: str, number: int = 0) -> None:
    """Ask for one of the kinds of :data:`STATE_OF`; asking twice for the same is asking once.

    Args:
        session: the caller's transaction.
        cycle: what it is for.
        kind: of the unit.
        number: how often the cycle has asked for this kind before.
    """
    units.enqueue(
        session,
        kind,
        f"{kind}:cycle:{cycle.id}:{number}",
        {"cycle": cycle.id, "round": number},
        cycle_id=cycle.id,
    )


def ask_pool_scores(
    session: Session, context: Context, cycle: Cycle, images: Sequence[str] | None = None
) -> None:
    """Let the champion look at pool images: policies need its detections.

    Args:
        session: the caller's transaction.
        context: wiring.
        cycle: whose champion.
        images: ids; None for the whole pool.
    """
    query = select(Image.id).where(Image.role == Role.POOL).order_by(Image.id)
    pool = list(session.scalars(query)) if images is None else list(images)
    size = context.settings.selection.batch_images
    before = asked(session, cycle, "score_pool")  # numbers name files
    wanted = {
        f"score_pool:{cycle.id}:{number}": {
            "images": pool[first : first + size],
            "model": cycle.champion_id,
            "number": number,
        }
        for number, first in enumerate(range(0, len(pool), size), before)
    }
    enqueue_all(session, "score_pool", wanted, cycle_id=cycle.id)


def shown(session: Session, cycle: Cycle) -> set[str]:
    """Pool images that the champion has been asked to look at for a cycle."""
    query = select(Unit.payload).where(Unit.cycle_id == cycle.id, Unit.kind == "score_pool")
    return {image for payload in session.scalars(query) for image in payload["images"]}


def asked(session: Session, cycle: Cycle, kind: str) -> int:
    """How often a kind of unit was asked for."""
    query = select(func.count()).where(Unit.cycle_id == cycle.id, Unit.kind == kind)
    return session.scalar(query) or 0


def adopt(session: Session, cycle: Cycle) -> None:
    """Let a cycle wait for everything that feeds its selection and was asked for before it.

    What those units ask for in their turn it waits for as well.
    """
    session.flush()
    # By their state first: of all units ever those of a million embedded images are the most.
    open_ones = select(Unit.id).where(Unit.state.in_((UnitState.QUEUED, UnitState.LEASED)))
    session.execute(
        update(Unit)
        .where(Unit.id.in_(open_ones), Unit.kind.in_(FEEDS_SELECTION))
        .values(cycle_id=cycle.id),
        execution_options={"synchronize_session": False},
    )
    units.expire_units(session)


def outstanding(session: Session, cycle: Cycle) -> Sequence[Unit]:
    """Units of a cycle that have not ended."""
    return session.scalars(
        select(Unit).where(Unit.cycle_id == cycle.id, Unit.state.not_in(TERMINAL))
    ).all()


def cancel(session: Session, cycle: Cycle) -> None:
    """Stop the units that only this cycle waits for, and wait no more for the others."""
    for unit in outstanding(session, cycle):
        if unit.kind in FEEDS_SELECTION:
            unit.cycle_id = None
        else:
            units.cancel(session, unit.id)
    session.flush()


def ask_again(session: Session, cycle: Cycle) -> str | None:
    """Ask for the unit of a cycle's step if it is gone or was cancelled; its kind if so."""
    kind = next((kind for kind, state in STATE_OF.items() if state == cycle.state), None)
    if kind is None or trains_drawn(cycle):  # which it can do without
        return None
    query = select(Unit.state).where(Unit.cycle_id == cycle.id, Unit.kind == kind)
    states = session.scalars(query.order_by(Unit.id)).all()
    if set(states) - {UnitState.CANCELLED, UnitState.DONE}:
        return None
    number = len(states) - (states[-1:] == [UnitState.CANCELLED])  # a cancelled one is revived
    ask(session, cycle, kind, number)
    return kind


def dead_unit(session: Session, cycle: Cycle) -> Unit | None:
    """A parked unit that the cycle cannot do without; one bad image is not such a unit."""
    return session.scalar(
        select(Unit)
        .where(
            Unit.cycle_id == cycle.id,
            Unit.state == UnitState.DEAD,
            Unit.kind.in_(STATE_OF),
        )
        .limit(1)
    )


def evidence_waiting(session: Session, cycle: Cycle) -> int:
    """Units that a selection of this cycle waits for."""
    query = select(func.count()).where(Unit.cycle_id == cycle.id, Unit.state.not_in(TERMINAL))
    return session.scalar(query) or 0


def trains_drawn(cycle: Cycle) -> bool:
    """Whether one challenger of a cycle is trained, and another is to be, with drawn samples."""
    return cycle.state == CycleState.TRAINING and cycle.challenger_id is not None


def is_open(session: Session, cycle: Cycle, kind: str) -> bool:
    """Whether a unit of a kind is waited for."""
    query = select(Unit.id).where(
        Unit.cycle_id == cycle.id, Unit.kind == kind, Unit.state.not_in(TERMINAL)
    )
    return session.scalar(query.limit(1)) is not None


def newest(session: Session, cycle: Cycle, kind: str) -> Unit | None:
    """The unit of a kind that a cycle asked for last."""
    query = select(Unit).where(Unit.cycle_id == cycle.id, Unit.kind == kind)
    return session.scalar(query.order_by(Unit.id.desc()).limit(1))


def why_dead(unit: Unit) -> str:
    """Why a unit was parked: its code, and the last line of what it said."""
    lines = (unit.error or "").strip().splitlines()
    return f"{unit.error_code}: {lines[-1] if lines else ''}"
