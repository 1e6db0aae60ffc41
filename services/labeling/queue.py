"""Label tasks: leased with a token, answered once, every answer kept as a revision."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from services import cycles
from services.classes import class_names
from services.context import Context
from services.db.base import utc_now
from services.db.tables import (
    OPEN_TASKS,
    Annotation,
    Cycle,
    CycleState,
    Image,
    LabelTask,
    TaskState,
)
from services.errors import Conflict, LeaseLost, NotFound
from services.objects import clean_objects, plain_text
from services.rows import latest_annotations


def lease(
    session: Session, owner: str, count: int, lease_s: float, cycle_id: int | None = None
) -> list[LabelTask]:
    """Reserve the most urgent open tasks for somebody.

    Args:
        session: the caller's transaction.
        owner: who answers.
        count: tasks at most.
        lease_s: seconds until they go back to the queue.
        cycle_id: only of this cycle; None: of any.

    Returns:
        The tasks, the most urgent first; each ``token`` must be sent with the answer.
    """
    now = utc_now()
    free = or_(
        LabelTask.state == TaskState.WAITING,
        and_(LabelTask.state == TaskState.LEASED, LabelTask.lease_until < now),
    )
    query = select(LabelTask.id, LabelTask.token).where(free)
    if cycle_id is not None:
        query = query.where(LabelTask.cycle_id == cycle_id)
    query = query.order_by(LabelTask.priority.desc(), LabelTask.id).limit(count)
    if session.get_bind().dialect.name == "postgresql":
        query = query.with_for_update(skip_locked=True)
    taken = []
    for task_id, token in session.execute(query).all():
        won = session.execute(
            update(LabelTask)
            .where(LabelTask.id == task_id, LabelTask.token == token)
            .values(
                state=TaskState.LEASED,
                owner=plain_text(owner, 120),
                token=token + 1,
                lease_until=now + timedelta(seconds=lease_s),
            )
        )
        if won.rowcount == 1:  # type: ignore[attr-defined]
            taken.append(task_id)
    session.expire_all()
    return [session.get_one(LabelTask, task_id) for task_id in taken]


def find(session: Session, task_id: int) -> LabelTask:
    """A task by number.

    Raises:
        NotFound: there is none.
    """
    task = session.get(LabelTask, task_id, with_for_update=True)
    if task is None:
        raise NotFound(f"no label task {task_id}")
    return task


def submit(
    session: Session,
    context: Context,
    task_id: int,
    token: int,
    objects: Sequence[dict[str, Any]],
    author: str,
) -> Annotation:
    """Answer a task with the objects of its image; an empty list says that there are none.

    The same answer sent again is the same answer. Another answer by the same owner, while the
    cycle still waits for labels, is a new revision.

    Raises:
        LeaseLost: the task is somebody else's by now, or closed.
        InvalidBoxes: a box is inverted, empty or outside the image.
        InvalidRequest: a class is unknown.
    """
    task = find(session, task_id)
    clean = checked_objects(session, task.image_id, objects, f"task {task_id}")
    if task.state == TaskState.SUBMITTED and task.token == token:
        return _revise(session, task, clean, author)
    _require_lease(task, token)
    return _store(session, context, task, clean, author)


def answer_unleased(
    session: Session,
    context: Context,
    task: LabelTask,
    objects: Sequence[dict[str, Any]],
    author: str,
) -> Annotation:
    """Answer an open task without a lease, as an import of labels does.

    Raises:
        Conflict: it is closed, or somebody else has it right now.
        InvalidBoxes: a box is inverted, empty or outside the image.
        InvalidRequest: a class is unknown.
    """
    if task.state not in OPEN_TASKS:
        raise Conflict(f"task {task.id} is {task.state} already")
    if task.state == TaskState.LEASED and task.lease_until and task.lease_until > utc_now():
        raise Conflict(f"task {task.id} is leased by {task.owner}")
    clean = checked_objects(session, task.image_id, objects, f"task {task.id}")
    task.token += 1
    return _store(session, context, task, clean, author)


def skip(session: Session, context: Context, task_id: int, token: int, note: str = "") -> LabelTask:
    """Leave a task unanswered; its image stays in the pool and may be asked for again."""
    return _close(session, context, task_id, token, TaskState.SKIPPED, note)


def reject(
    session: Session, context: Context, task_id: int, token: int, note: str = ""
) -> LabelTask:
    """Say that an image is unusable; it is never asked for again."""
    return _close(session, context, task_id, token, TaskState.REJECTED, note)


def release(session: Session, task_id: int, token: int) -> LabelTask:
    """Give a leased task back to the queue."""
    task = find(session, task_id)
    _require_lease(task, token)
    task.state, task.owner, task.lease_until = TaskState.WAITING, None, None
    task.token += 1
    return task


def checked_objects(
    session: Session, image_id: str, objects: Sequence[dict[str, Any]], where: str
) -> list[dict[str, Any]]:
    """Objects with clean boxes and known classes, as they are stored.

    Raises:
        InvalidBoxes: a box is inverted, empty or outside the image.
        InvalidRequest: a class is unknown.
    """
    image = session.get_one(Image, image_id)
    names = class_names(session)[1:]
    clean = clean_objects(objects, (image.width_px, image.height_px), names, where)
    return [{key: entry[key] for key in ("box", "label", "ignore")} for entry in clean]


def _require_lease(task: LabelTask, token: int) -> None:
    if task.state != TaskState.LEASED or task.token != token:
        raise LeaseLost(
            f"task {task.id} is {task.state} and your lease is over: lease it again, "
            "nothing of this answer was stored"
        )


def _store(
    session: Session,
    context: Context,
    task: LabelTask,
    objects: list[dict[str, Any]],
    author: str,
) -> Annotation:
    annotation = _add_revision(session, task, objects, author)
    task.state, task.finished_at, task.lease_until = TaskState.SUBMITTED, utc_now(), None
    session.flush()
    _moved(session, context, task)
    return annotation


def _revise(
    session: Session, task: LabelTask, objects: list[dict[str, Any]], author: str
) -> Annotation:
    stored = session.get_one(Annotation, task.annotation_id)
    if stored.objects == objects:
        return stored
    cycle = None if task.cycle_id is None else session.get_one(Cycle, task.cycle_id)
    if cycle is not None and cycle.state != CycleState.LABELLING:
        raise Conflict(f"task {task.id}: its cycle is {cycle.state}, labels are closed")
    return _add_revision(session, task, objects, author)


def _add_revision(
    session: Session, task: LabelTask, objects: list[dict[str, Any]], author: str
) -> Annotation:
    latest = latest_annotations(session, [task.image_id]).get(task.image_id)
    annotation = Annotation(
        image_id=task.image_id,
        revision=1 if latest is None else latest.revision + 1,
        objects=objects,
        author=plain_text(author, 120),
        cycle_id=task.cycle_id,
        origin=task.reason.get("failure"),
    )
    session.add(annotation)
    session.flush()
    task.annotation_id = annotation.id
    return annotation


def _close(
    session: Session, context: Context, task_id: int, token: int, state: TaskState, note: str
) -> LabelTask:
    task = find(session, task_id)
    if task.state == state and task.token == token:
        return task
    _require_lease(task, token)
    task.state, task.finished_at, task.lease_until = state, utc_now(), None
    task.note = plain_text(note, 2000) or None
    session.flush()
    _moved(session, context, task)
    return task


def _moved(session: Session, context: Context, task: LabelTask) -> None:
    if task.cycle_id is not None:
        cycles.advance(session, context, task.cycle_id)
