"""The loop's machinery: nothing waits for nothing, and nobody holds anything for ever."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session

from services.context import Context
from services.cycle import cycle_units, label_tasks
from services.db.base import utc_now
from services.db.engine import reading
from services.db.tables import (
    FINISHED_CYCLES,
    OPEN_TASKS,
    TERMINAL,
    Annotation,
    CandidateRow,
    Cycle,
    CycleState,
    LabelTask,
    TaskState,
    Unit,
    UnitState,
)
from services.labeling import answers
from services.units.pipeline import FEEDS_SELECTION, STAGES, load_extra_stages
from services.upkeep.invariants.finding import Finding

LATE = 10
"""Leases may run out, and the reconciler takes them up; after so many of them none has run."""
SCHEDULER = "`e2x up`: its scheduler moves the cycle on at its next look"
NEW_CYCLE = "`e2x cycle cancel NUMBER`, then `e2x cycle run`"


def units(context: Context) -> Iterator[Finding]:
    """Nobody holds a unit for ever, and a worker knows every kind of unit that waits."""
    workers = context.settings.workers
    now = utc_now()
    load_extra_stages()
    with reading(context.sessions) as session:
        nobodys = _ids(
            session,
            Unit.state == UnitState.LEASED,
            or_(Unit.owner.is_(None), Unit.lease_until.is_(None)),
        )
        patience = timedelta(seconds=LATE * max(workers.lease_s, workers.reconcile_interval_s))
        silent = _ids(session, Unit.state == UnitState.LEASED, Unit.lease_until < now - patience)
        unknown = session.execute(
            select(Unit.kind, func.count())
            .where(Unit.state.not_in(TERMINAL), Unit.kind.not_in(STAGES))
            .group_by(Unit.kind)
        ).all()
        orphans = _ids(
            session,
            Unit.state.not_in(TERMINAL),
            Unit.kind.not_in(FEEDS_SELECTION),
            Unit.cycle_id.in_(select(Cycle.id).where(Cycle.state == CycleState.CANCELLED)),
        )
    for unit_id in nobodys:
        yield Finding("units", "fail", f"unit {unit_id} is leased by nobody", "`e2x up` frees it")
    for unit_id in silent:
        yield Finding(
            "units", "warn", f"unit {unit_id} is held by a worker that fell silent", "`e2x up`"
        )
    for kind, count in unknown:
        yield Finding(
            "units",
            "fail",
            f"{count} units of kind {kind!r} wait, which no worker knows",
            "E2X_EXTRA_STAGES must name the module of that stage",
        )
    for unit_id in orphans:
        yield Finding(
            "units",
            "warn",
            f"unit {unit_id} works for a cycle that was cancelled",
            "it ends by itself: what it makes is refused",
        )


def cycles(context: Context) -> Iterator[Finding]:
    """One runs at most, and it waits for something that comes."""
    with reading(context.sessions) as session:
        running = session.scalars(
            select(Cycle).where(Cycle.state.not_in(FINISHED_CYCLES)).order_by(Cycle.id)
        ).all()
        if len(running) > 1:
            numbers = ", ".join(str(cycle.id) for cycle in running)
            yield Finding("cycles", "fail", f"cycles {numbers} run at once", "`e2x cycle cancel`")
        for cycle in running:
            why = _waits_for_nothing(session, cycle)
            if why:
                advice = SCHEDULER if cycle.state not in _NEEDS_UNIT else NEW_CYCLE
                found = f"cycle {cycle.id} is {cycle.state} and {why}"
                yield Finding("cycles", "fail", found, advice)


_NEEDS_UNIT = {state: kind for kind, state in cycle_units.STATE_OF.items()}


def _waits_for_nothing(session: Session, cycle: Cycle) -> str:
    """What is wrong with what a cycle waits for; "" where it will come."""
    if cycle.state in _NEEDS_UNIT:
        kind = _NEEDS_UNIT[CycleState(cycle.state)]
        if cycle_units.trains_drawn(cycle):
            kind = "train_drawn"
        mine = (Unit.cycle_id == cycle.id, Unit.kind == kind)
        if _ids(session, *mine, Unit.state.not_in(TERMINAL)):
            return ""
        states = session.scalars(select(Unit.state).where(*mine).order_by(Unit.id.desc())).all()
        return f"its unit {kind!r} is {states[0]}" if states else f"has no unit {kind!r}"
    if cycle.state == CycleState.EXPLAINING:
        waits = cycle_units.evidence_waiting(session, cycle)
        return "" if waits else "no evidence is waited for"
    if cycle.state == CycleState.VERIFYING:
        return "" if cycle_units.outstanding(session, cycle) else "nothing is verified any more"
    if cycle_units.is_open(session, cycle, "synthesize"):
        return ""
    if not label_tasks.open_tasks(session, cycle):
        return "no label task is open"
    if label_tasks.boxes(session, cycle) >= cycle.budget_boxes:
        return "its budget is spent"
    return ""


def labels(context: Context) -> Iterator[Finding]:
    """Open tasks belong to a cycle that waits for them; counters are what was answered."""
    asks_still = select(Cycle.id).where(Cycle.state == CycleState.LABELLING)
    with reading(context.sessions) as session:
        unwanted = session.scalars(
            select(LabelTask.id).where(
                LabelTask.state.in_(OPEN_TASKS),
                LabelTask.cycle_id.is_not(None),
                LabelTask.cycle_id.not_in(asks_still),
            )
        ).all()
        unheld = session.scalars(
            select(LabelTask.id).where(
                LabelTask.state == TaskState.LEASED,
                or_(LabelTask.owner.is_(None), LabelTask.lease_until.is_(None)),
            )
        ).all()
        lost = session.scalars(_without_answer()).all()
        unasked = session.scalars(_without_candidate()).all()
        miscounted = list(_miscounted(session))
    for task_id in unwanted:
        yield Finding(
            "labels",
            "fail",
            f"task {task_id} is open, its cycle waits for no label",
            "skip it on the label page",
        )
    for task_id in unheld:
        yield Finding("labels", "fail", f"task {task_id} is leased by nobody", "`e2x up`")
    for task_id in lost:
        found = f"task {task_id} is submitted, its answer is missing or of another image"
        yield Finding("labels", "fail", found, "`e2x labels import --replace`")
    for task_id in unasked:
        found = f"task {task_id} asks for an image that its cycle has not selected"
        yield Finding("labels", "warn", found, "skip it on the label page")
    for cycle, counted in miscounted:
        found = f"cycle {cycle.id} says {cycle.boxes_labelled} boxes, its answers hold {counted}"
        yield Finding("labels", "warn", found, "nothing is lost: the answers are what is trained")


def _without_answer() -> Select[int]:
    return (
        select(LabelTask.id)
        .outerjoin(Annotation, Annotation.id == LabelTask.annotation_id)
        .where(
            LabelTask.state == TaskState.SUBMITTED,
            or_(Annotation.id.is_(None), Annotation.image_id != LabelTask.image_id),
        )
    )


def _without_candidate() -> Select[int]:
    asked = (
        select(CandidateRow.id)
        .where(
            CandidateRow.cycle_id == LabelTask.cycle_id,
            CandidateRow.image_id == LabelTask.image_id,
        )
        .exists()
    )
    return select(LabelTask.id).where(
        LabelTask.state.in_(OPEN_TASKS), LabelTask.cycle_id.is_not(None), ~asked
    )


def _miscounted(session: Session) -> Iterator[tuple[Cycle, int]]:
    """Cycles past their labelling whose counter is not what was answered in time.

    Answers that were corrected afterwards hold what nobody counted; such cycles are left out.
    """
    past = (CycleState.TRAINING, CycleState.GATING, CycleState.VERIFYING, CycleState.DONE)
    for cycle in session.scalars(select(Cycle).where(Cycle.state.in_(past)).order_by(Cycle.id)):
        rows = session.execute(
            select(LabelTask.note, Annotation.objects)
            .join(Annotation, Annotation.id == LabelTask.annotation_id)
            .where(LabelTask.cycle_id == cycle.id)
        ).all()
        counted = sum(len(objects) for note, objects in rows if note != answers.LATE)
        corrected = any(note == answers.CORRECTED for note, _objects in rows)
        if not corrected and counted != cycle.boxes_labelled:
            yield cycle, counted


def _ids(session: Session, *conditions: ColumnElement[bool]) -> list[int]:
    return list(session.scalars(select(Unit.id).where(*conditions).order_by(Unit.id)))
