"""The units of work of a cycle: asked for by its steps, and counted to see whether one is over."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from services.context import Context
from services.db import units
from services.db.tables import TERMINAL, Cycle, CycleState, Image, Role, Unit, UnitState
from services.db.unit_batches import enqueue_all
from services.pipeline import FEEDS_SELECTION

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


def ask_pool_scores(session: Session, context: Context, cycle: Cycle) -> None:
    """Let the champion look at every pool image: policies need its detections."""
    pool = list(session.scalars(select(Image.id).where(Image.role == Role.POOL).order_by(Image.id)))
    size = context.settings.selection.batch_images
    wanted = {
        f"score_pool:{cycle.id}:{number}": {
            "images": pool[first : first + size],
            "model": cycle.champion_id,
            "number": number,
        }
        for number, first in enumerate(range(0, len(pool), size))
    }
    enqueue_all(session, "score_pool", wanted, cycle_id=cycle.id)


def rounds(session: Session, cycle: Cycle) -> int:
    """How often the selection was asked for."""
    query = select(func.count()).where(Unit.cycle_id == cycle.id, Unit.kind == "select")
    return session.scalar(query) or 0


def outstanding(session: Session, cycle: Cycle) -> Sequence[Unit]:
    """Units of a cycle that have not ended."""
    return session.scalars(
        select(Unit).where(Unit.cycle_id == cycle.id, Unit.state.not_in(TERMINAL))
    ).all()


def cancel(session: Session, cycle: Cycle) -> None:
    """Stop the units that a cycle still waits for."""
    for unit in outstanding(session, cycle):
        units.cancel(session, unit.id)


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
    """Units that a selection of this cycle waits for: its own, and older ones that feed it."""
    return (
        session.scalar(
            select(func.count()).where(
                Unit.state.not_in(TERMINAL),
                or_(
                    Unit.cycle_id == cycle.id,
                    and_(Unit.kind.in_(FEEDS_SELECTION), Unit.created_at <= cycle.created_at),
                ),
            )
        )
        or 0
    )
