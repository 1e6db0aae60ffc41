"""The label tasks of a cycle: what still waits, what was answered, what is not asked any more."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.db.base import utc_now
from services.db.tables import OPEN_TASKS, Annotation, Cycle, LabelTask, TaskState

CLOSED = "closed: "
"""How the note of a task begins that the loop closed; a person's skip has the person's words."""


def open_tasks(session: Session, cycle: Cycle) -> int:
    """How many tasks of a cycle wait for an answer."""
    query = select(func.count()).where(
        LabelTask.cycle_id == cycle.id, LabelTask.state.in_(OPEN_TASKS)
    )
    return session.scalar(query) or 0


def answers(session: Session, cycle: Cycle) -> Sequence[Annotation]:
    """The answers to the tasks of a cycle, as they stand."""
    return session.scalars(
        select(Annotation)
        .join(LabelTask, LabelTask.annotation_id == Annotation.id)
        .where(LabelTask.cycle_id == cycle.id)
    ).all()


def boxes(session: Session, cycle: Cycle) -> int:
    """How many boxes the answers hold."""
    return sum(len(annotation.objects) for annotation in answers(session, cycle))


def close_tasks(session: Session, cycle: Cycle, why: str) -> None:
    """Ask no more for the open tasks of a cycle.

    Whoever has leased one may still answer under the token of the lease; see
    :func:`services.labeling.answers.is_closed`.

    Args:
        session: the caller's transaction, which holds the cycle.
        cycle: whose tasks.
        why: for people.
    """
    query = (
        select(LabelTask)
        .where(LabelTask.cycle_id == cycle.id, LabelTask.state.in_(OPEN_TASKS))
        .order_by(LabelTask.id)  # as who answers several: neither waits for the other
        .with_for_update()
    )
    for task in session.scalars(query):
        if task.state == TaskState.WAITING:  # nobody works on it
            task.token += 1
        task.state, task.finished_at, task.note = TaskState.SKIPPED, utc_now(), f"{CLOSED}{why}"


def any_asked(session: Session, cycle: Cycle) -> bool:
    """Whether a cycle asks for labels at all."""
    query = select(LabelTask.id).where(LabelTask.cycle_id == cycle.id).limit(1)
    return session.scalar(query) is not None
