"""What the database says: all that must still be known when workers have died.

Two sorts of figures. What is open (units, messages, label tasks) is read at each look, by indexes,
and costs as much as there is open. Totals (images, failures, embeddings, units that have ended)
cost a walk over a table or its index, and are read again once in a while only.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import case, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from curation.modes.states import ModeState
from services.context import Context
from services.db.base import utc_now
from services.db.engine import reading
from services.db.patience import Patience
from services.db.tables import (
    FINISHED_CYCLES,
    OPEN_TASKS,
    Cycle,
    CycleState,
    Embedding,
    FailureRow,
    FailureState,
    Image,
    LabelTask,
    Model,
    ModeRow,
    Outbox,
    Pointer,
    Role,
    TaskState,
    Unit,
    UnitState,
)
from services.drift import days
from services.telemetry import catalogue as of
from services.telemetry.catalogue import OTHER, Figures, Samples
from services.units.pipeline import STAGES
from services.units.requests import CHAMPION

OPEN = (UnitState.QUEUED, UnitState.LEASED, UnitState.DEAD)
ENDED = (UnitState.DONE, UnitState.CANCELLED)
COST = 20
"""Totals are not read again before so many times what reading them took: a twentieth of one core,
however large the project is."""
VERSION_CHARS = 12
DRIFT_FIGURES = ("embedding", "classes", "sizes", "empty")
"""As :mod:`curation.drift.compare` names them, which is not loaded for that."""
VERDICTS = {True: "promoted", False: "not_promoted"}


class DatabaseReader:
    """Reads one database again and again.

    Args:
        context: of the project.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._totals: Samples = {}
        self._not_before = 0.0

    def read(self) -> Samples:
        """All figures, of one state of the database; the totals may be older.

        Raises:
            SQLAlchemyError: it does not answer.
        """
        with reading(self._context.sessions) as session:
            if time.monotonic() >= self._not_before:
                started = time.monotonic()
                self._totals = totals(session)
                ended = time.monotonic()
                interval_s = self._context.settings.telemetry.totals_interval_s
                self._not_before = ended + wait_s(interval_s, ended - started)
            found = live(session, utc_now())
        for name, values in self._totals.items():
            found[name] = {**values, **found.get(name, {})}
        return found


def wait_s(interval_s: float, took_s: float) -> float:
    """How long totals hold that took so long to read; 0 where the interval is 0."""
    return max(interval_s, COST * took_s) if interval_s else 0.0


def live(session: Session, now: datetime) -> Samples:
    """What is open: six statements."""
    return {
        **_units(session, now),
        **_outbox(session, now),
        **_cycles(session, now),
        **_tasks(session, now),
        of.MODES.name: _by_state(session, ModeRow.state, ModeState),
        **_champion(session),
    }


def totals(session: Session) -> Samples:
    """What there is in all: five statements."""
    failures = _by_state(session, FailureRow.state, FailureState)
    ended: Figures = {(*_kind(kind), str(state)): 0.0 for kind in _kinds() for state in ENDED}
    query = select(Unit.kind, Unit.state, func.count()).where(Unit.state.in_(ENDED))
    for kind, state, count in session.execute(query.group_by(Unit.kind, Unit.state)):
        _add(ended, (*_kind(kind), state), count)
    return {
        of.UNITS.name: ended,
        of.FAILURES.name: failures,
        of.FAILURES_FOUND.name: {(): sum(failures.values())},
        of.IMAGES.name: _by_state(session, Image.role, Role),
        **_index(session),
        **_drift(session),
    }


def _units(session: Session, now: datetime) -> Samples:
    units: Figures = {(*_kind(kind), str(state)): 0.0 for kind in _kinds() for state in OPEN}
    ages: Figures = {_kind(kind): 0.0 for kind in _kinds()}
    leases: Figures = {(kind, state): 0.0 for kind in _kinds() for state in ("live", "expired")}
    abandoned = Patience.of(session).is_abandoned(now)
    query = (
        select(
            Unit.kind,
            Unit.state,
            func.count(),
            func.min(Unit.not_before),
            func.sum(case((abandoned, 1), else_=0)),
        )
        .where(Unit.state.in_(OPEN))
        .group_by(Unit.kind, Unit.state)
    )
    for name, state, count, first, expired in session.execute(query):
        kind = _kind(name)
        _add(units, (*kind, state), count)
        if state == UnitState.QUEUED:
            ages[kind] = max(ages.get(kind, 0.0), _age_s(first, now))
        elif state == UnitState.LEASED:
            _add(leases, (kind[0], "expired"), expired)
            _add(leases, (kind[0], "live"), count - expired)
    return {
        of.UNITS.name: units,
        of.OLDEST_UNIT.name: ages,
        of.LEASES.name: leases,
    }


def _outbox(session: Session, now: datetime) -> Samples:
    """Messages as the relay looks for them: of units that are due and that nobody has taken."""
    since = case((Unit.not_before > Outbox.created_at, Unit.not_before), else_=Outbox.created_at)
    query = (
        select(func.count(), func.min(since))
        .select_from(Outbox)
        .join(Unit, Unit.id == Outbox.unit_id)
        .where(Outbox.published_at.is_(None), Patience.of(session).is_due(now))
    )
    count, oldest = session.execute(query).one()
    return {of.OUTBOX.name: {(): count}, of.OUTBOX_AGE.name: {(): _age_s(oldest, now)}}


def _cycles(session: Session, now: datetime) -> Samples:
    states: Figures = {(str(state),): 0.0 for state in CycleState}
    verdicts: Figures = {(verdict,): 0.0 for verdict in VERDICTS.values()}
    age = 0.0
    query = select(Cycle.state, Cycle.promoted, func.count(), func.min(Cycle.created_at))
    for state, promoted, count, oldest in session.execute(
        query.group_by(Cycle.state, Cycle.promoted)
    ):
        _count(states, state, count)
        if promoted is not None:
            _add(verdicts, (VERDICTS[promoted],), count)
        if state not in FINISHED_CYCLES:
            age = max(age, _age_s(oldest, now))
    return {
        of.CYCLES.name: states,
        of.VERDICTS.name: verdicts,
        of.CYCLE_AGE.name: {(): age},
    }


def _tasks(session: Session, now: datetime) -> Samples:
    states: Figures = {(str(state),): 0.0 for state in TaskState}
    age = 0.0
    query = select(LabelTask.state, func.count(), func.min(LabelTask.created_at))
    for state, count, oldest in session.execute(query.group_by(LabelTask.state)):
        _count(states, state, count)
        if state in OPEN_TASKS:
            age = max(age, _age_s(oldest, now))
    return {of.TASKS.name: states, of.TASK_AGE.name: {(): age}}


def _champion(session: Session) -> Samples:
    query = (
        select(Model.number, Model.id)
        .join(Pointer, Pointer.target == Model.id)
        .where(Pointer.name == CHAMPION)
    )
    row = session.execute(query).one_or_none()
    info: Figures = {} if row is None else {(str(row.number), row.id[:VERSION_CHARS]): 1.0}
    return {of.CHAMPION.name: info, of.CHAMPION_PRESENT.name: {(): float(len(info))}}


def _index(session: Session) -> Samples:
    images: Figures = {("indexed",): 0.0, ("waiting",): 0.0}
    regions = 0.0
    query = select(Embedding.indexed, func.count(), func.sum(Embedding.regions))
    for indexed, count, held in session.execute(query.group_by(Embedding.indexed)):
        images[("indexed",) if indexed else ("waiting",)] = float(count)
        regions += float(held) if indexed else 0.0
    return {of.INDEX_IMAGES.name: images, of.INDEX_REGIONS.name: {(): regions}}


def _drift(session: Session) -> Samples:
    row = next(iter(days.latest(session, 1)), None)
    figures = {} if row is None else row.figures
    return {
        of.DRIFT.name: {(): float(row is not None and row.drifted)},
        of.DRIFT_DISTANCE.name: {
            (name,): float(figures.get(name, {}).get("distance", 0.0)) for name in DRIFT_FIGURES
        },
        of.DRIFT_AGE.name: {(): _age_s(None if row is None else row.created_at, utc_now())},
    }


def _by_state(
    session: Session, column: InstrumentedAttribute[str], known: Iterable[str]
) -> Figures:
    """Rows of a table counted by one column; a value that has none is 0."""
    counted: Figures = {(str(value),): 0.0 for value in known}
    for value, count in session.execute(select(column, func.count()).group_by(column)):
        _count(counted, str(value), count)
    return counted


def _kinds() -> list[str]:
    return [*STAGES]


def _kind(name: str) -> tuple[str, str]:
    """Kind and queue of a unit as labels."""
    return (name, STAGES[name].queue) if name in STAGES else (OTHER, OTHER)


def _add(counted: Figures, labels: tuple[str, ...], count: float) -> None:
    counted[labels] = counted.get(labels, 0.0) + float(count)


def _count(states: Figures, state: str, count: float) -> None:
    """Add to a state that is known, or to :data:`OTHER`."""
    _add(states, (state,) if (state,) in states else (OTHER,), count)


def _age_s(since: datetime | None, now: datetime) -> float:
    """Seconds since then; 0 where that is nothing, or still to come."""
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
