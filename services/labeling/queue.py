"""Label tasks: leased with a token, answered once, every answer kept as a revision.

A task that the loop has closed may still be answered, under the token of its lease or by an import
(:mod:`services.labeling.answers` says what becomes of such an answer).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

from services.accounts import audit
from services.context import Context
from services.cycle import cycles
from services.db import actors
from services.db.actors import Door
from services.db.base import utc_now
from services.db.parts import in_parts
from services.db.patience import CLOCKS_DIFFER
from services.db.tables import ASKED_TASKS, Annotation, LabelTask, TaskState
from services.errors import Conflict, LeaseLost, NotFound
from services.intake.objects import plain_text
from services.labeling import answers, second_look

LONGEST_LEASE = timedelta(days=2)
"""Twice what the API lets people ask for."""
ANSWERED = f"submitted already, with another answer; {answers.HOW_TO_CORRECT}"


def lease(
    session: Session,
    owner: str,
    count: int,
    lease_s: float,
    cycle_id: int | None = None,
    among: ColumnElement[bool] | None = None,
) -> list[LabelTask]:
    """Reserve the most urgent open tasks for somebody.

    Args:
        session: the caller's transaction.
        owner: who answers.
        count: tasks at most.
        lease_s: seconds until they go back to the queue.
        cycle_id: only of this cycle; None: of any.
        among: only those of which this holds; None: all.

    Returns:
        The tasks, the most urgent first; each ``token`` must be sent with the answer.
    """
    now = utc_now()
    free = or_(
        LabelTask.state == TaskState.WAITING,
        and_(LabelTask.state == TaskState.LEASED, _is_over(now)),
    )
    query = select(LabelTask.id, LabelTask.token).where(free, ~second_look.mine(owner))
    if cycle_id is not None:
        query = query.where(LabelTask.cycle_id == cycle_id)
    if among is not None:
        query = query.where(among)
    query = query.order_by(LabelTask.priority.desc(), LabelTask.id).limit(count)
    if session.get_bind().dialect.name == "postgresql":
        # Each of two annotators is given other tasks, and neither waits.
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
                leased_at=now,
                lease_until=now + timedelta(seconds=lease_s),
            )
        )
        if won.rowcount == 1:  # type: ignore[attr-defined]
            taken.append(task_id)
    if taken:
        audit.record(session, "task.lease", "tasks", tasks=taken, owner=plain_text(owner, 120))
        session.flush()  # what is read anew would forget it
    session.expire_all()
    return [session.get_one(LabelTask, task_id) for task_id in taken]


def find(session: Session, task_id: int) -> LabelTask:
    """A task by number.

    Raises:
        NotFound: there is none.
    """
    task = session.get(LabelTask, task_id)
    if task is None:
        raise NotFound(f"no label task {task_id}")
    return task


def hold(session: Session, task_ids: Sequence[int]) -> list[LabelTask]:
    """Tasks as they are now, locked until the caller's transaction ends.

    Their cycles are locked before them, as by those who close tasks: who takes them the other way
    round waits for somebody who waits for him.
    """
    session.flush()  # what is read anew would overwrite it
    ids = sorted(task_ids)
    parts = [LabelTask.id.in_(part) for part in in_parts(ids)]
    of_cycles: set[int | None] = set()
    for part in parts:
        of_cycles.update(session.scalars(select(LabelTask.cycle_id).where(part).distinct()))
    for cycle_id in sorted(filter(None, of_cycles)):
        cycles.hold(session, cycle_id)
    fresh = select(LabelTask).with_for_update().execution_options(populate_existing=True)
    return [
        task for part in parts for task in session.scalars(fresh.where(part).order_by(LabelTask.id))
    ]


def submit(
    session: Session,
    context: Context,
    task_id: int,
    token: int,
    objects: Sequence[dict[str, Any]],
    author: str,
) -> Annotation | None:
    """Answer a task with the objects of its image; an empty list says that there are none.

    The same answer sent again is the same answer. Another answer by the same owner, while the
    cycle still waits for labels, is a new revision. Where the loop has closed the task under its
    owner, the answer is late. Of a task that two people look at, the truth is known when they
    agree or a curator has settled it: None until then.

    Raises:
        NotFound: there is no such task.
        LeaseLost: the task is somebody else's by now, or ended.
        InvalidBoxes: a box is inverted, empty or outside the image.
        InvalidRequest: a class is unknown.
    """
    task = _held(session, task_id)
    most = context.settings.ingest.max_objects
    where = f"task {task_id}"
    clean = answers.read(session, task.image_id, objects, where, most)[1]
    look = second_look.of(session, task)
    if look is not None and second_look.said_again(look, token, clean):
        return session.get(Annotation, task.annotation_id or 0)
    if task.state == TaskState.SUBMITTED and task.token == token:
        return answers.revise(session, task, clean, author)
    _require_turn(session, task, token)
    annotation = answers.truth_of(
        session, context.settings.labels, task, clean, author, task.owner or ""
    )
    moved(session, context, task)
    return annotation


def settle(
    session: Session,
    context: Context,
    task_id: int,
    taken: Literal["first", "second", "other", "reject"],
    objects: Sequence[dict[str, Any]] = (),
    note: str = "",
) -> Annotation | None:
    """Decide between the two answers of a second look; the cycle goes on if it waited for that.

    Raises:
        NotFound: there is no such task, or nothing to settle.
        Conflict: see :func:`services.labeling.answers.settle`.
        InvalidBoxes: a box is inverted, empty or outside the image.
        InvalidRequest: a class is unknown.
    """
    task, most = _held(session, task_id), context.settings.ingest.max_objects
    clean = answers.read(session, task.image_id, objects, f"task {task_id}", most)[1]
    stored = answers.settle(session, task, taken, clean, note)
    moved(session, context, task)
    return stored


def require_free(task: LabelTask) -> None:
    """Refuse a task that cannot be answered without a lease, as an import of labels does.

    Raises:
        Conflict: it has ended, but not by the loop, or somebody else has it right now.
    """
    open_still = task.state in ASKED_TASKS or answers.is_closed(task)
    if open_still and _is_held(task, utc_now()):
        raise Conflict(
            f"task {task.id} is leased by {task.owner}: import again when it is given back or the "
            "lease is over"
        )
    if task.state == TaskState.DISPUTED:
        raise Conflict(f"task {task.id} has two answers that differ: a curator settles it")
    if not open_still:
        raise Conflict(f"task {task.id} is {task.state} already")


def _is_over(now: datetime) -> ColumnElement[bool]:
    """Leases whose end has come, or cannot be right: a clock was ahead when they were given."""
    return or_(
        LabelTask.lease_until.is_(None),
        LabelTask.lease_until < now,
        LabelTask.lease_until > now + LONGEST_LEASE,
        LabelTask.leased_at > now + CLOCKS_DIFFER,
    )


def _is_held(task: LabelTask, now: datetime) -> bool:
    """Whether somebody has a lease of this task that counts: the opposite of :func:`_is_over`."""
    given, end = task.leased_at or now, task.lease_until
    return end is not None and now < end <= now + LONGEST_LEASE and given <= now + CLOCKS_DIFFER


def skip(session: Session, context: Context, task_id: int, token: int, note: str = "") -> LabelTask:
    """Leave a task unanswered; its image stays in the pool and may be asked for again."""
    return _close(session, context, task_id, token, TaskState.SKIPPED, note)


def reject(
    session: Session, context: Context, task_id: int, token: int, note: str = ""
) -> LabelTask:
    """Say that an image is unusable; it is never asked for again."""
    return _close(session, context, task_id, token, TaskState.REJECTED, note)


def renew(session: Session, task_id: int, token: int, lease_s: float) -> LabelTask:
    """Keep a leased task for longer: somebody works on it.

    A lease that is over is renewed as well, unless somebody else has the task by now. One that the
    loop has closed meanwhile stays closed, and may still be answered.

    Args:
        session: the caller's transaction.
        task_id: of the task.
        token: of the lease.
        lease_s: seconds from now.

    Raises:
        NotFound: there is no such task.
        LeaseLost: it is not his turn.
    """
    task = _held(session, task_id)
    _require_turn(session, task, token)
    now = utc_now()
    task.leased_at, task.lease_until = now, now + timedelta(seconds=lease_s)
    return task


def release(session: Session, task_id: int, token: int) -> LabelTask:
    """Give a leased task back to the queue; one that the loop has closed meanwhile stays closed."""
    task = _held(session, task_id)
    _require_turn(session, task, token)
    if not answers.is_closed(task):
        task.state = TaskState.WAITING
    task.owner, task.lease_until = None, None
    task.token += 1
    audit.record(session, "task.release", f"task:{task.id}", image=task.image_id)
    return task


def _held(session: Session, task_id: int) -> LabelTask:
    """A task, held.

    Raises:
        NotFound: there is none.
    """
    find(session, task_id)
    (task,) = hold(session, [task_id])
    return task


def _require_turn(session: Session, task: LabelTask, token: int) -> None:
    """Refuse whoever has not leased a task, or had it before somebody else.

    Raises:
        LeaseLost: it is not his turn.
    """
    open_still = task.state == TaskState.LEASED
    if task.token == token and (
        open_still or (answers.is_closed(task) and not _asked_again(session, task))
    ):
        return
    if answers.is_closed(task):
        raise LeaseLost(f"task {task.id} needs no answer any more; it was {task.note}")
    if task.state == TaskState.SUBMITTED:
        raise LeaseLost(f"task {task.id} is submitted already; {answers.HOW_TO_CORRECT}")
    raise LeaseLost(
        f"task {task.id} is {task.state} and your lease is over: lease it again, "
        "nothing of this answer was stored"
    )


def _close(
    session: Session, context: Context, task_id: int, token: int, state: TaskState, note: str
) -> LabelTask:
    task = _held(session, task_id)
    if task.state == state and task.token == token and not answers.is_closed(task):
        return task
    _require_turn(session, task, token)
    closed = answers.is_closed(task)
    # What a tool has leased was skipped by somebody there, and not by the tool.
    actor = actors.current()
    person = actor.name if actor.door == Door.TOOL else task.owner or ""
    if second_look.left(session, task, person, f"{state.value}: {note}", closed):
        return task
    task.state, task.finished_at, task.lease_until = state, utc_now(), None
    task.note = plain_text(note, 2000, lines=True) or None
    action = "task.skip" if state == TaskState.SKIPPED else "task.reject"
    audit.record(session, action, f"task:{task.id}", image=task.image_id, note=task.note)
    session.flush()
    moved(session, context, task)
    return task


def _asked_again(session: Session, task: LabelTask) -> bool:
    """Whether a later cycle asks for the image, or has its answer: an older one is not wanted."""
    later = select(LabelTask.id).where(
        LabelTask.image_id == task.image_id,
        LabelTask.id > task.id,
        LabelTask.state != TaskState.SKIPPED,
    )
    return session.scalar(later.limit(1)) is not None


def moved(session: Session, context: Context, *tasks: LabelTask) -> None:
    """Let the cycles of tasks that have ended go on if they waited for nothing else."""
    for cycle_id in sorted({task.cycle_id for task in tasks if task.cycle_id is not None}):
        cycles.advance(session, context, cycle_id)
