"""How many units there are and were, and the deletion of those that have ended long ago.

A unit that has ended is of no use but to be seen, for its key (the same work is not done twice) and
as a record that a model has looked at a frame. What is deleted leaves its count, and a scan a row
of :class:`~services.db.tables.Look`. Never deleted is:

- what is parked: somebody must see it;
- what belongs to a cycle that runs;
- scans that the champion was asked for since it became that: their keys hold back second ones.

Other work that is asked for again by content finds its results stored and does nothing: frames
whose failures are explained, and images that are embedded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from services.db.tables import (
    FINISHED_CYCLES,
    Cycle,
    Look,
    Outbox,
    Pointer,
    Unit,
    UnitState,
    UnitTotal,
)

DELETED = (UnitState.DONE, UnitState.CANCELLED)
NO_CYCLE = 0


def counts(session: Session, cycle_id: int | None = None) -> dict[str, int]:
    """How many units came to each state, of one cycle or of all; a state without any is 0.

    Those that were deleted since are counted.
    """
    units = select(Unit.state, func.count()).group_by(Unit.state)
    gone = select(UnitTotal.state, func.sum(UnitTotal.count)).group_by(UnitTotal.state)
    if cycle_id is not None:
        units = units.where(Unit.cycle_id == cycle_id)
        gone = gone.where(UnitTotal.cycle_id == cycle_id)
    found: Counter[str] = Counter()
    for query in (units, gone):
        for state, count in session.execute(query):
            found[state] += int(count)
    return {state.value: found[state.value] for state in UnitState}


def forgettable(session: Session, before: datetime, keep: int, limit: int) -> Sequence[int]:
    """Units that may be deleted, the oldest first.

    Args:
        session: only read from: a long look must not hold up others' writing.
        before: what ended earlier goes.
        keep: of those that have ended, so many of the newest stay if they are young enough.
        limit: numbers at most.
    """
    ended = Unit.state.in_(DELETED)
    newest_gone = session.scalar(
        select(Unit.id).where(ended).order_by(Unit.id.desc()).offset(keep).limit(1)
    )
    old = Unit.finished_at < before
    if newest_gone is not None:
        old = or_(old, Unit.id <= newest_gone)
    query = select(Unit.id).where(ended, old, _needed_by_none(session))
    return session.scalars(query.order_by(Unit.id).limit(limit)).all()


def forget(session: Session, unit_ids: Sequence[int]) -> int:
    """Delete units, but for those that somebody has revived meanwhile; their counts stay.

    Args:
        session: the caller's transaction, which should hold nothing else.
        unit_ids: some hundreds at most.

    Returns:
        How many were deleted.
    """
    rows = session.execute(
        select(Unit.id, Unit.kind, Unit.state, Unit.cycle_id, Unit.payload)
        .where(Unit.id.in_(unit_ids), Unit.state.in_(DELETED))
        .with_for_update(skip_locked=True)  # who holds one may be reviving it
    ).all()
    ids = [row.id for row in rows]
    session.execute(delete(Outbox).where(Outbox.unit_id.in_(ids)))
    session.execute(delete(Unit).where(Unit.id.in_(ids)))
    _add_totals(session, Counter((row.cycle_id or NO_CYCLE, row.state) for row in rows))
    looks = {
        (str(row.payload["model"]), str(row.payload["image"]))
        for row in rows
        if row.kind == "scan" and row.state == UnitState.DONE
    }
    if looks:
        values = [{"model_id": model, "image_id": image} for model, image in sorted(looks)]
        dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
        session.execute(dialect.insert(Look).values(values).on_conflict_do_nothing())
    return len(ids)


def _needed_by_none(session: Session) -> ColumnElement[bool]:
    running = select(Cycle.id).where(Cycle.state.not_in(FINISHED_CYCLES))
    free = or_(Unit.cycle_id.is_(None), Unit.cycle_id.not_in(running))
    newest_training = select(func.max(Unit.id)).where(Unit.kind == "train").scalar_subquery()
    kept = [and_(Unit.kind == "train", Unit.id == newest_training)]  # when labels were last used
    champion = session.get(Pointer, "champion")
    if champion is not None:
        of_champion = f"scan:%:{champion.target}:{champion.version}%"
        kept.append(and_(Unit.kind == "scan", Unit.key.like(of_champion)))
    return and_(free, ~or_(*kept))


def _add_totals(session: Session, counted: Counter[tuple[int, str]]) -> None:
    for (cycle_id, state), count in sorted(counted.items()):  # in one order: no deadlock
        row = session.get(UnitTotal, (cycle_id, state), with_for_update=True)
        if row is None:
            session.add(UnitTotal(cycle_id=cycle_id, state=state, count=count))
        else:
            row.count += count
    session.flush()
