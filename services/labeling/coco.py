"""Label tasks out to other tools as COCO, and their answers back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from curation.formats import Problem
from services.config.setting_groups import LabelSettings
from services.context import Context
from services.db.convert import latest_annotations
from services.db.races import in_transaction
from services.db.tables import Annotation, LabelTask, TaskState
from services.errors import Conflict
from services.labeling import answers, coco_answers, queue, second_look
from services.labeling.coco_answers import Answer, How
from services.labeling.coco_export import export_coco as export_coco


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
        notes: what was taken otherwise than it stands in the file.
    """

    submitted: int = 0
    boxes: int = 0
    empty: int = 0
    late: int = 0
    replaced: int = 0
    unchanged: int = 0
    left_empty: list[str] = field(default_factory=list)
    left_untouched: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: tuple[str, ...] = ()

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
            "left_empty": self.left_empty,
            "left_untouched": self.left_untouched,
            "problems": [{"where": one.where, "message": one.message} for one in self.problems],
            "notes": list(self.notes),
        }


def import_coco(
    context: Context,
    document: Any,
    author: str,
    replace: bool = False,
    *,
    enclose_rotated: bool = False,
    take_empty: bool = False,
    take_untouched: bool = False,
) -> LabelImport:
    """Answer label tasks from a COCO document, all in one transaction.

    Nothing goes on before every answer is in: a cycle whose budget the first ones spend would close
    the tasks of the others. :func:`services.labeling.entries.image_of` says how images are found,
    :mod:`services.labeling.coco_answers` what counts as an answer. An answer to a task that the
    loop has closed already is kept (see :mod:`services.labeling.answers`). One whose boxes are
    wrong, or to a task that somebody else has or has ended, becomes a problem and costs the others
    nothing; no label is stored twice.

    Args:
        context: wiring.
        document: with images and their annotations.
        author: who answers.
        replace: whether another answer to a task that is answered already takes the place of the
            first, also after its cycle has gone on.
        enclose_rotated: whether the upright box around a rotated rectangle will do.
        take_empty: whether images without objects say that nothing is there.
        take_untouched: whether images with the pre-labels as they were exported say that these
            are right.

    Raises:
        AnnotationsInvalid: this is not a COCO document, or it is wrong as a whole.
    """
    how = How(enclose_rotated, take_empty, take_untouched)
    read = coco_answers.read(context, document, how)

    def store(session: Session) -> LabelImport:
        # Anew, should this be done again.
        report = LabelImport(problems=list(read.problems), notes=read.mended.notes())
        if not (read.found or read.problems):
            report.notes += ("nothing to import: the file has no image",)
        settings = context.settings.labels
        held = _store(session, settings, read.found, author, replace, report)
        queue.moved(session, context, *held)
        return report

    return in_transaction(context.sessions, store)


def _store(
    session: Session,
    settings: LabelSettings,
    found: Sequence[Answer],
    author: str,
    replace: bool,
    report: LabelImport,
) -> Collection[LabelTask]:
    """Store the answers that are new and to tasks that may be answered; all tasks of the file."""
    tasks = {task.id: task for task in queue.hold(session, [one.task_id for one in found])}
    stored = _stored(session, tasks.values())
    new: dict[int, list[dict[str, Any]]] = {}
    other: dict[int, list[dict[str, Any]]] = {}
    for one in _one_each(found, report):
        task = tasks[one.task_id]
        if one.objects == stored.get(task.id):
            report.unchanged += 1
        elif one.unsaid:
            left = report.left_empty if one.unsaid == "empty" else report.left_untouched
            left.append(one.where)
        elif task.id not in stored:
            _take(session, task, one, author, new, report)
        elif replace:
            other[task.id] = one.objects
        else:
            report.leave_out(one.where, f"task {task.id} is {queue.ANSWERED}")
    for number, objects in new.items():
        answers.truth_of(session, settings, tasks[number], objects, author)
    answers.correct(session, [(tasks[number], one) for number, one in other.items()], author)
    report.submitted, report.replaced = len(new), len(other)
    for number, objects in [*new.items(), *other.items()]:
        report.boxes += len(objects)
        report.empty += not objects
        report.late += answers.is_late(tasks[number])
    return tasks.values()


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
    session: Session,
    task: LabelTask,
    one: Answer,
    author: str,
    new: dict[int, list[dict[str, Any]]],
    report: LabelImport,
) -> None:
    """Keep an answer for storing, unless its task is not to be answered."""
    look = second_look.of(session, task)
    if look is not None and second_look.has_said(look, author, one.objects):
        report.unchanged += 1
        return
    try:
        queue.require_free(task)
        if look is not None:
            second_look.refuse_same(look, author)
    except Conflict as error:
        report.leave_out(one.where, error)
        return
    task.token += 1  # a lease that was over is over now
    new[task.id] = one.objects
