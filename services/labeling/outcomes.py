"""What became of a task, and of one's answers: a first answer is not the truth yet.

Every door says it in these words, so that nobody takes what waits for another person for finished.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.orm import Session, aliased

from services.db.tables import (
    ASKED_TASKS,
    Annotation,
    Image,
    LabelTask,
    LookState,
    SecondLook,
    TaskState,
)
from services.errors import InvalidRequest
from services.labeling import answers

CURSOR = "^[0-9]{1,16}~[1-9][0-9]{0,14}$"
"""Microseconds since 1970 and the number of a task: whatever fits it can be read."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Outcome(StrEnum):
    """Where a task stands for those who answer it."""

    OPEN = "open"
    """Nobody has answered."""
    SECOND_LOOK = "second_look"
    UNDECIDED = "undecided"
    AGREED = "agreed"
    SETTLED = "settled"
    TAKEN = "taken"
    """The answer is the truth; nobody else was asked."""
    SKIPPED = "skipped"
    REJECTED = "rejected"


WORDS: Mapping[Outcome, str] = {
    Outcome.OPEN: "waits for an answer",
    Outcome.SECOND_LOOK: "waits for a second look",
    Outcome.UNDECIDED: "undecided: a curator settles it",
    Outcome.AGREED: "taken: two people say the same",
    Outcome.SETTLED: "settled by a curator",
    Outcome.TAKEN: "taken",
    Outcome.SKIPPED: "skipped",
    Outcome.REJECTED: "rejected: the image is unusable",
}


def of(task: LabelTask, look: SecondLook | None) -> Outcome:
    """Where a task stands, by its row and its second look if there is one."""
    return by_states(task.state, None if look is None else look.state)


def by_states(task: str | None, look: str | None) -> Outcome:
    """The same by the states of both; a task that is not there yet is open."""
    if task in (TaskState.SKIPPED, TaskState.REJECTED) and look not in (
        LookState.WAITING,
        LookState.DISPUTED,
    ):
        return Outcome(task)
    if look is None:
        return Outcome.TAKEN if task == TaskState.SUBMITTED else Outcome.OPEN
    if look == LookState.WAITING and task in ASKED_TASKS:
        return Outcome.SECOND_LOOK
    decided = {LookState.AGREED: Outcome.AGREED, LookState.SETTLED: Outcome.SETTLED}
    return decided.get(LookState(look), Outcome.UNDECIDED)


def words_of(task: str | None, look: str | None) -> str:
    """What has become of an image that was asked for, by the states of its task and second look."""
    if task is None:
        return "not asked yet"
    if task == TaskState.LEASED and look is None:
        return "is being labelled"
    return WORDS[by_states(task, look)]


@dataclass(frozen=True, slots=True)
class Given:
    """An answer that somebody gave.

    Attributes:
        task_id: of the task.
        image_id: of the image.
        image_name: that it came in with.
        cycle_id: that asked; None: no cycle.
        boxes: in the answer.
        at: when it was given; of several to one task the latest.
        outcome: what became of the task.
        words: what became of this answer.
    """

    task_id: int
    image_id: str
    image_name: str
    cycle_id: int | None
    boxes: int
    at: datetime
    outcome: Outcome
    words: str


def cursor_of(last: Given) -> str:
    """Where the next page of a list begins."""
    return f"{(last.at - _EPOCH) // timedelta(microseconds=1)}~{last.task_id}"


def read_cursor(cursor: str) -> tuple[datetime, int]:
    """Time and task of the last answer of a page.

    Raises:
        InvalidRequest: it is not one of ours.
    """
    if not re.fullmatch(CURSOR, cursor):
        raise InvalidRequest("cursor: hand in what `next` of the page before says")
    microseconds, task = map(int, cursor.split("~"))
    return _EPOCH + timedelta(microseconds=microseconds), task


def given_by(
    session: Session, person: str, limit: int, before: tuple[datetime, int] | None = None
) -> list[Given]:
    """The answers of one person, the newest first, one a task; skips are none.

    Args:
        session: of the caller.
        person: whose; case does not count.
        limit: answers at most.
        before: time and task of the last one that is known; None: from the newest.
    """
    name = func.lower(person)  # by the database, as what it is compared with
    newest = (
        select(
            Annotation.image_id, Annotation.cycle_id, func.max(Annotation.id).label("annotation_id")
        )
        .where(func.lower(Annotation.author) == name)
        .group_by(Annotation.image_id, Annotation.cycle_id)
        .subquery()
    )
    mine = aliased(Annotation)
    is_first = func.lower(SecondLook.first_author) == name
    is_second = and_(func.lower(SecondLook.second_author) == name, SecondLook.second.is_not(None))
    at = case(
        (is_first, SecondLook.first_at), (is_second, SecondLook.second_at), else_=mine.created_at
    )
    query = (
        select(LabelTask, Image.name, SecondLook, mine, at)
        .join(Image, Image.id == LabelTask.image_id)
        .outerjoin(SecondLook, SecondLook.task_id == LabelTask.id)
        .outerjoin(
            newest,
            and_(
                newest.c.image_id == LabelTask.image_id,
                newest.c.cycle_id.is_not_distinct_from(LabelTask.cycle_id),
            ),
        )
        .outerjoin(mine, mine.id == newest.c.annotation_id)
        .where(or_(is_first, is_second, mine.id.is_not(None)))
        .order_by(at.desc(), LabelTask.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(or_(at < before[0], and_(at == before[0], LabelTask.id < before[1])))
    return [_given(person.lower(), *row) for row in session.execute(query)]


def _given(
    person: str,
    task: LabelTask,
    image_name: str,
    look: SecondLook | None,
    stored: Annotation | None,
    at: datetime,
) -> Given:
    objects: list[Any] | None = None
    side = ""
    if look is not None and look.first_author.lower() == person:
        side, objects = "first", look.first
    elif look is not None and (look.second_author or "").lower() == person:
        side, objects = "second", look.second
    if objects is None:
        objects = [] if stored is None else stored.objects
    outcome = of(task, look)
    return Given(
        task.id,
        task.image_id,
        image_name,
        task.cycle_id,
        len(objects),
        at,
        outcome,
        _words(task, look, stored, side, outcome),
    )


def _words(
    task: LabelTask, look: SecondLook | None, stored: Annotation | None, side: str, outcome: Outcome
) -> str:
    if outcome == Outcome.SETTLED and look is not None and side:
        taken = "yours was taken" if look.taken == side else "another answer was taken"
        return f"{WORDS[outcome]}: {taken}"
    if task.state == TaskState.SUBMITTED and not side:
        if stored is not None and stored.id != task.annotation_id:
            return "corrected by a later answer"
        if answers.is_late(task):
            return "taken late: the next dataset version has it"
    return WORDS[outcome]
