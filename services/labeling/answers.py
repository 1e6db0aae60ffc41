"""Answers to label tasks: how they are stored, and what their cycle counts.

The loop closes tasks when the boxes that were paid for are in, or when it is told to go on. Work
that somebody had begun by then is not thrown away: an answer to such a task is *late*. It is stored
like any other and is part of the next dataset version, but its cycle does not wait for it.

A wrong answer is *corrected* by another, at any time: the new one is a revision of its own, with
its author, and counts from then on. What was trained on the old one stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy.orm import Session

from services.accounts import audit
from services.config.setting_groups import LabelSettings
from services.cycle.label_tasks import CLOSED
from services.db import actors, revisions
from services.db.base import utc_now
from services.db.tables import (
    Annotation,
    Cycle,
    CycleState,
    Image,
    LabelTask,
    LookState,
    TaskState,
    TruthSource,
)
from services.errors import Conflict
from services.intake.objects import clean_objects, once, plain_text
from services.labeling import second_look
from services.models.classes import class_names

LATE = "answered late: the cycle went on without it, the next dataset version has it"
"""Note of a task that was answered after that."""
CORRECTED = "corrected late: the cycle had the answer before, the next dataset version has this one"
"""Note of a task whose answer was replaced after its cycle had used it."""

HOW_TO_CORRECT = "a wrong answer is corrected by `e2x labels import --replace`"


def is_closed(task: LabelTask) -> bool:
    """Whether the loop has closed a task before anybody answered; an answer is welcome still."""
    return task.state == TaskState.SKIPPED and (task.note or "").startswith(CLOSED)


def is_late(task: LabelTask) -> bool:
    """Whether the answer that counts came after the cycle had gone on without it."""
    return task.state == TaskState.SUBMITTED and task.note in (LATE, CORRECTED)


def read(
    session: Session, image_id: str, objects: Sequence[dict[str, Any]], where: str, most: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What somebody says is in an image, read alike whatever door it comes through.

    Args:
        session: of the caller.
        image_id: which image.
        objects: ``[{"box": [x1, y1, x2, y2] px, "label": name, "ignore": flag}]``.
        where: what to call the place in messages.
        most: objects at most.

    Returns:
        The objects with clean boxes and known classes, as many as were given, and the same
        without repeats, as they are stored.

    Raises:
        InvalidBoxes: a box is inverted, empty or outside the image.
        InvalidRequest: a class is unknown, or there are more than ``most``.
    """
    image = session.get_one(Image, image_id)
    names = class_names(session)[1:]
    clean = clean_objects(objects, (image.width_px, image.height_px), names, where, most)
    kept = [{key: entry[key] for key in ("box", "label", "ignore")} for entry in clean]
    return kept, once(kept, where)


def store(
    session: Session, given: Sequence[tuple[LabelTask, list[dict[str, Any]]]], author: str
) -> list[Annotation]:
    """Store answers to tasks that the caller holds and may answer, a statement each.

    Args:
        session: the caller's transaction, which must also let their cycles go on.
        given: distinct tasks, open or closed by the loop, with objects as
            :func:`read` gives them.
        author: who answers.
    """
    stored = _add_revisions(session, given, author)
    for task, _ in given:
        if is_closed(task):
            task.note = LATE
        task.state, task.finished_at, task.lease_until = TaskState.SUBMITTED, utc_now(), None
    session.flush()
    return stored


def truth_of(
    session: Session,
    settings: LabelSettings,
    task: LabelTask,
    objects: list[dict[str, Any]],
    author: str,
    person: str = "",
) -> Annotation | None:
    """Store an answer to a task that the caller holds and may answer, unless two have to agree.

    Args:
        session: the caller's transaction, which must also let the cycle go on.
        settings: of second looks.
        task: see above.
        objects: as :func:`read` gives them.
        author: who answers, as it is stored.
        person: who has leased it; "": the author.

    Returns:
        What is the truth now; None while a second person, or a curator, has to say.

    Raises:
        Conflict: a second person has to answer, and this is the first again.
    """
    closed = is_closed(task)
    decided = second_look.take(session, settings, task, objects, person or author, closed)
    if decided is None:
        return None
    truth, first = decided
    return store(session, [(task, list(truth))], first or author)[0]


def settle(
    session: Session,
    task: LabelTask,
    taken: Literal["first", "second", "other", "reject"],
    objects: list[dict[str, Any]],
    note: str,
) -> Annotation | None:
    """Decide between two answers; the caller holds the task.

    Args:
        session: the caller's transaction, which must also let the cycle go on.
        task: that two people have answered differently, or that nobody has answered twice before
            its cycle went on.
        taken: whose answer is the truth; ``other``: the reviewer's own; ``reject``: the image is
            unusable.
        objects: of ``other``, as :func:`read` gives them.
        note: why.

    Returns:
        The truth; None where the image was rejected.

    Raises:
        NotFound: there is nothing to settle.
        Conflict: it is settled already, by one of the two who differ, or there is no second answer.
    """
    look = second_look.find(session, task.id)
    reviewer = actors.current().name
    second_look.require_open(look, reviewer, taken)
    look.state, look.taken = LookState.SETTLED, taken
    look.settled_by, look.settled_at = reviewer, utc_now()
    look.note = plain_text(note, 2000, lines=True) or look.note
    audit.record(session, "task.settle", f"task:{task.id}", taken=taken, note=look.note)
    if taken == "reject":
        task.state, task.finished_at, task.note = TaskState.REJECTED, utc_now(), look.note or None
        session.flush()
        return None
    told = {
        "first": (look.first, look.first_author),
        "second": (look.second or [], look.second_author or ""),
        "other": (objects, reviewer),
    }[taken]
    return store(session, [(task, list(told[0]))], told[1])[0]


def correct(
    session: Session, given: Sequence[tuple[LabelTask, list[dict[str, Any]]]], author: str
) -> list[Annotation]:
    """Put answers in the place of others; those stay as older revisions.

    Args:
        session: the caller's transaction, which must also let their cycles go on.
        given: distinct tasks that are answered, held, with objects as
            :func:`read` gives them.
        author: who corrects.
    """
    stored = _add_revisions(session, given, author)
    for task, _ in given:
        task.token += 1  # the old answer, sent once more by mistake, must not undo this one
        if not is_late(task) and not counts_now(session, task):
            task.note = CORRECTED
    session.flush()
    return stored


def revise(
    session: Session, task: LabelTask, objects: list[dict[str, Any]], author: str
) -> Annotation:
    """Store another answer of the same owner; the same one again is stored already.

    Raises:
        Conflict: the cycle does not wait for labels any more.
    """
    stored = session.get_one(Annotation, task.annotation_id)
    if stored.objects == objects:
        return stored
    if not counts_now(session, task):
        raise Conflict(f"task {task.id}: labels are closed for its cycle; {HOW_TO_CORRECT}")
    return _add_revisions(session, [(task, objects)], author)[0]


def counts_now(session: Session, task: LabelTask) -> bool:
    """Whether what is answered now is what the cycle of a task trains on."""
    cycle = None if task.cycle_id is None else session.get_one(Cycle, task.cycle_id)
    return cycle is None or cycle.state == CycleState.LABELLING


def _add_revisions(
    session: Session, given: Sequence[tuple[LabelTask, list[dict[str, Any]]]], author: str
) -> list[Annotation]:
    added = [
        Annotation(
            image_id=task.image_id,
            objects=objects,
            author=plain_text(author, 120),
            source=TruthSource.PERSON,
            cycle_id=task.cycle_id,
            origin=task.reason.get("failure"),
        )
        for task, objects in given
    ]
    revisions.add(session, added)
    for (task, _), annotation in zip(given, added, strict=True):
        task.annotation_id = annotation.id
        audit.record(
            session,
            "task.answer",
            f"task:{task.id}",
            image=task.image_id,
            revision=annotation.revision,
            objects=len(annotation.objects),
            author=annotation.author,
        )
    return added
