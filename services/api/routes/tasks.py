"""Label tasks: lease, renew, answer, skip, reject, give back."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.api.deps import (
    ContextOf,
    Cursor,
    Limit,
    OfCycle,
    RowId,
    SessionOf,
    ViewOf,
    Word,
    row_after,
)
from services.api.schemas import Page
from services.api.schemas_tasks import (
    AnnotationOut,
    CloseIn,
    LeaseIn,
    RenewIn,
    SubmitIn,
    TaskOut,
)
from services.api.strict import StrictRoute
from services.db import actors
from services.db.actors import Door
from services.db.tables import LabelTask
from services.labeling import answers, outcomes, queue, second_look

router = APIRouter(tags=["label tasks"], route_class=StrictRoute)


@router.post("/tasks/lease", response_model=Page[TaskOut])
def lease_tasks(body: LeaseIn, session: SessionOf, context: ContextOf) -> Page[TaskOut]:
    """Reserve the most urgent tasks; an unanswered one goes back when its lease ends."""
    lease_s = body.lease_s or context.settings.labels.lease_s
    tasks = queue.lease(session, _name(body.owner), body.count, lease_s, body.cycle_id)
    return Page(items=_shown(session, tasks))


@router.get("/tasks", response_model=Page[TaskOut])
def list_tasks(
    session: ViewOf,
    limit: Limit = 100,
    cursor: Cursor = None,
    state: Word = None,
    cycle_id: OfCycle = None,
) -> Page[TaskOut]:
    """Tasks by number."""
    query = select(LabelTask).order_by(LabelTask.id).limit(limit + 1)
    if state is not None:
        query = query.where(LabelTask.state == state)
    if cycle_id is not None:
        query = query.where(LabelTask.cycle_id == cycle_id)
    after = row_after(cursor)
    if after is not None:
        query = query.where(LabelTask.id > after)
    rows = session.scalars(query).all()
    items = _shown(session, rows[:limit])
    return Page(items=items, next=str(items[-1].id) if len(rows) > limit else None)


@router.get("/tasks/{task_id:row}", response_model=TaskOut)
def show_task(task_id: RowId, session: ViewOf) -> TaskOut:
    """One task."""
    return _one(session, queue.find(session, task_id))


@router.post("/tasks/{task_id:row}/submit", response_model=AnnotationOut)
def submit_task(
    task_id: RowId, body: SubmitIn, session: SessionOf, context: ContextOf
) -> AnnotationOut:
    """Answer with the objects of the image; sending the same answer again is harmless.

    The loop closes tasks when the budget is spent. Whoever has leased one by then may answer it
    still: the answer is `late`. Of a share of the tasks, `labels.second_look`, a second person is
    asked too: the answer is `undecided` until both say the same or a curator has settled it.
    """
    objects = [entry.model_dump() for entry in body.objects]
    author = _name(body.author)
    stored = queue.submit(session, context, task_id, body.token, objects, author)
    task = queue.find(session, task_id)
    outcome = _one(session, task).outcome
    if stored is None:
        return AnnotationOut(
            id=None,
            image_id=task.image_id,
            revision=None,
            objects=objects,
            author=author,
            undecided=True,
            outcome=outcome,
        )
    return AnnotationOut(
        id=stored.id,
        image_id=stored.image_id,
        revision=stored.revision,
        objects=stored.objects,
        author=stored.author,
        late=answers.is_late(task),
        outcome=outcome,
    )


@router.post("/tasks/{task_id:row}/skip", response_model=TaskOut)
def skip_task(task_id: RowId, body: CloseIn, session: SessionOf, context: ContextOf) -> TaskOut:
    """Leave it unanswered; the image stays in the pool."""
    return _one(session, queue.skip(session, context, task_id, body.token, body.note))


@router.post("/tasks/{task_id:row}/reject", response_model=TaskOut)
def reject_task(task_id: RowId, body: CloseIn, session: SessionOf, context: ContextOf) -> TaskOut:
    """Say that the image is unusable; it is never asked for again."""
    return _one(session, queue.reject(session, context, task_id, body.token, body.note))


@router.post("/tasks/{task_id:row}/renew", response_model=TaskOut)
def renew_task(task_id: RowId, body: RenewIn, session: SessionOf, context: ContextOf) -> TaskOut:
    """Keep it for longer while somebody works on it; one that another has leased is lost."""
    lease_s = body.lease_s or context.settings.labels.lease_s
    return _one(session, queue.renew(session, task_id, body.token, lease_s))


@router.post("/tasks/{task_id:row}/release", response_model=TaskOut)
def release_task(task_id: RowId, body: CloseIn, session: SessionOf) -> TaskOut:
    """Give it back to the queue."""
    return _one(session, queue.release(session, task_id, body.token))


def _shown(session: Session, tasks: Sequence[LabelTask]) -> list[TaskOut]:
    """Tasks with what became of them, which their rows alone do not tell."""
    looks = second_look.of_all(session, [task.id for task in tasks])
    return [
        TaskOut.model_validate(
            {
                **{name: getattr(task, name) for name in TaskOut.model_fields if name != "outcome"},
                "outcome": outcomes.of(task, looks.get(task.id)),
            }
        )
        for task in tasks
    ]


def _one(session: Session, task: LabelTask) -> TaskOut:
    return _shown(session, [task])[0]


def _name(said: str) -> str:
    """Who answers: whoever is logged in, whatever the body says; else as a tool says it.

    A tool that says nothing answers as the account of its token; the project's token is nobody's.
    """
    actor = actors.current()
    if actor.door == Door.WEB:
        return actor.name
    return said or (actor.name if actor.user_id is not None else "")
