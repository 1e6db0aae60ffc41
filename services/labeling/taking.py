"""What becomes of answers that another tool has: stored, put in the place of others, or left out.

Files and connected tools come here alike. Nothing is stored twice, none that might be no answer is
taken for one, and one that is wrong costs the others nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from sqlalchemy.orm import Session

from curation.formats import Problem
from services.config.setting_groups import LabelSettings
from services.db import actors
from services.db.actors import Actor, Door
from services.db.convert import latest_annotations
from services.db.tables import Annotation, LabelTask, SecondLook, TaskState
from services.errors import Conflict
from services.labeling import answers, queue, second_look

Given: TypeAlias = Sequence[tuple[LabelTask, list[dict[str, Any]]]]
"""Tasks and what they are answered with."""
Unsaid: TypeAlias = Literal["", "empty", "untouched"]
ROUNDING_PX = 0.05
"""How far boxes may move on their way to a tool and back."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is fit to be stored.

    Attributes:
        where: it stood.
        task_id: of the task that asked.
        objects: as they are stored.
        unsaid: why it may be no answer; "" for one that is.
        author: who answered; "": whoever hands it in.
        token: of the lease under which it was given; None: without one.
        corrects: the answer whose place it may take; None: of none but what ``replace`` allows.
    """

    where: str
    task_id: int
    objects: list[dict[str, Any]]
    unsaid: Unsaid = ""
    author: str = ""
    token: int | None = None
    corrects: int | None = None


@dataclass(slots=True)
class LabelImport:
    """What an import of labels did.

    Attributes:
        submitted: tasks that were answered.
        boxes: objects in these answers and in those that replace others.
        empty: of both, those that say that nothing is there.
        late: of both, those whose cycle had gone on without them; they count for the next dataset
            version.
        replaced: answers that were put in the place of others, which stay as older revisions.
        unchanged: answers that were stored before, word for word.
        left_empty: images without objects, which were left as they are.
        left_untouched: images as they were exported, which were left as they are.
        problems: answers that were left out, and why.
        undecided: of those that were answered, the ones that are no truth yet: a second person, or
            a curator, has to say so too.
        notes: what was taken otherwise than it stands in the file.
        answered: the tasks of ``submitted``; two people may answer one.
    """

    submitted: int = 0
    boxes: int = 0
    empty: int = 0
    late: int = 0
    replaced: int = 0
    unchanged: int = 0
    undecided: int = 0
    left_empty: list[str] = field(default_factory=list)
    left_untouched: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    answered: set[int] = field(default_factory=set)

    def leave_out(self, where: str, why: object) -> None:
        """Note an answer that is not stored."""
        self.problems.append(Problem(where, f"left out: {why}"))

    @property
    def is_whole(self) -> bool:
        """Whether everything in the file is stored now, and it has something.

        Importing again what is stored is a success; a file of nothing is none.
        """
        some = self.submitted or self.replaced or self.unchanged
        return bool(some) and not (self.problems or self.left_empty or self.left_untouched)

    def to_dict(self) -> dict[str, Any]:
        """As API and command line print it."""
        return {
            "submitted": self.submitted,
            "boxes": self.boxes,
            "empty": self.empty,
            "late": self.late,
            "replaced": self.replaced,
            "unchanged": self.unchanged,
            "undecided": self.undecided,
            "left_empty": self.left_empty,
            "left_untouched": self.left_untouched,
            "problems": [{"where": one.where, "message": one.message} for one in self.problems],
            "notes": list(self.notes),
        }


def store(
    session: Session,
    settings: LabelSettings,
    found: Sequence[Answer],
    author: str,
    replace: bool,
    report: LabelImport,
) -> Collection[LabelTask]:
    """Store the answers that are new and to tasks that may be answered.

    Args:
        session: the caller's transaction, which must also let the cycles of the tasks go on.
        settings: of second looks: an answer of a task that two have to agree on is kept beside
            the truth until they do.
        found: what is there.
        author: of answers that name none.
        replace: whether other answers to tasks that are answered take the place of the first.
        report: told of what is done.

    Returns:
        All tasks that were named, held.
    """
    tasks = {task.id: task for task in queue.hold(session, [one.task_id for one in found])}
    stored = _stored(session, tasks.values())
    looks = second_look.of_all(session, tasks)
    new: dict[int, Answer] = {}
    other: dict[int, Answer] = {}
    for one in _one_each(found, report):
        task = tasks[one.task_id]
        look = looks.get(task.id)
        who = one.author or author
        if one.objects == stored.get(task.id) or (
            look is not None and second_look.has_said(look, who, one.objects)
        ):
            report.unchanged += 1
        elif one.unsaid:
            left = report.left_empty if one.unsaid == "empty" else report.left_untouched
            left.append(one.where)
        elif task.id not in stored:
            _take(look, task, one, who, new, report)
        elif replace or one.corrects == task.annotation_id:
            other[task.id] = one
        else:
            report.leave_out(one.where, f"task {task.id} is {queue.ANSWERED}")

    def is_for_two(task: LabelTask) -> bool:
        return second_look.is_for_two(settings, task, looks.get(task.id))

    def first(session: Session, given: Given, author: str) -> None:
        alone = [one for one in given if not is_for_two(one[0])]
        answers.store(session, alone, author)
        for task, objects in given:
            if is_for_two(task):
                answers.truth_of(session, settings, task, objects, author)

    _by_author(session, new, tasks, author, first)
    _by_author(session, other, tasks, author, answers.correct)
    report.answered |= set(new)
    report.submitted, report.replaced = len(report.answered), report.replaced + len(other)
    report.undecided = sum(
        session.get_one(LabelTask, number).state != TaskState.SUBMITTED
        for number in report.answered
    )
    for number, one in [*new.items(), *other.items()]:
        report.boxes += len(one.objects)
        report.empty += not one.objects
        report.late += answers.is_late(tasks[number])
    return tasks.values()


def _by_author(
    session: Session,
    said: Mapping[int, Answer],
    tasks: Mapping[int, LabelTask],
    author: str,
    put: Callable[[Session, Given, str], object],
) -> None:
    """Store the answers of each author at once; the trail names those who are named."""
    of_author: dict[str, list[tuple[LabelTask, list[dict[str, Any]]]]] = defaultdict(list)
    for number, one in said.items():
        of_author[one.author].append((tasks[number], one.objects))
    for name, given in of_author.items():
        with actors.acting(Actor(name, Door.TOOL) if name else actors.current()):
            put(session, given, name or author)


def _one_each(found: Sequence[Answer], report: LabelImport) -> list[Answer]:
    """One answer to each task; of several that contradict each other neither is right for sure."""
    of_task: dict[int, list[Answer]] = defaultdict(list)
    for one in found:
        of_task[one.task_id].append(one)
    good = []
    for task_id, several in of_task.items():
        said = [one for one in several if not one.unsaid] or several
        report.unchanged += len(said) - 1
        if all(_rows(one) == _rows(said[0]) for one in said):
            good.append(said[0])
            continue
        report.unchanged -= len(said) - 1
        for one in said:
            report.leave_out(
                one.where,
                f"the file answers task {task_id} {len(said)} times, with other objects each "
                "time: join them",
            )
    return good


def _rows(answer: Answer) -> set[tuple[Any, ...]]:
    return {(*one["box"], one["label"], one["ignore"]) for one in answer.objects}


def _stored(session: Session, tasks: Collection[LabelTask]) -> Mapping[int, list[dict[str, Any]]]:
    """The objects that tasks are answered with, of those that are."""
    known = latest_annotations(session, {task.image_id for task in tasks})
    objects = {annotation.id: annotation.objects for annotation in known.values()}
    return {
        task.id: objects[task.annotation_id]
        if task.annotation_id in objects
        else session.get_one(Annotation, task.annotation_id).objects
        for task in tasks
        if task.state == TaskState.SUBMITTED
    }


def _take(
    look: SecondLook | None,
    task: LabelTask,
    one: Answer,
    author: str,
    new: dict[int, Answer],
    report: LabelImport,
) -> None:
    """Keep an answer for storing, unless its task is not to be answered, or not by this person."""
    open_to_it = task.state == TaskState.LEASED or answers.is_closed(task)
    is_free = not open_to_it or task.token != one.token
    try:
        if is_free:
            queue.require_free(task)
        if look is not None:
            second_look.refuse_same(look, author)
    except Conflict as error:
        report.leave_out(one.where, error)
        return
    if is_free:
        task.token += 1  # a lease that was over is over now
    new[task.id] = one


def same_boxes(
    objects: Sequence[Mapping[str, Any]], prelabels: Sequence[Mapping[str, Any]]
) -> bool:
    """Whether objects are the pre-labels as they were sent, scores or not."""
    if len(objects) != len(prelabels):
        return False
    first, second = (
        sorted((one["label"], *map(float, one["box"])) for one in several)
        for several in (objects, prelabels)
    )
    return all(
        one[0] == other[0] and np.allclose(one[1:], other[1:], rtol=0, atol=ROUNDING_PX)
        for one, other in zip(first, second, strict=True)
    )
