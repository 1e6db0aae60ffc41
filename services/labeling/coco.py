"""Label tasks out to other tools as COCO, and their answers back."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.errors import AnnotationsInvalid, CurationError
from curation.formats import Problem
from curation.formats.coco_document import (
    check_document,
    doubt_of_boxes,
    doubt_of_ids,
    identity_of,
)
from services.classes import class_names
from services.context import Context
from services.db.engine import reading
from services.db.races import in_transaction
from services.db.tables import OPEN_TASKS, Annotation, Image, LabelTask, TaskState
from services.errors import Conflict, NotFound, ServiceError
from services.labeling import answers, entries, queue
from services.rows import latest_annotations


@dataclass(slots=True)
class LabelImport:
    """What an import of labels did.

    Attributes:
        submitted: tasks that were answered.
        boxes: objects in these answers and in those that replace others.
        late: of both, those whose cycle had gone on without them; they count for the next dataset
            version.
        replaced: answers that were put in the place of others, which stay as older revisions.
        unchanged: answers that were stored before, word for word.
        problems: answers that were left out, and why.
    """

    submitted: int = 0
    boxes: int = 0
    late: int = 0
    replaced: int = 0
    unchanged: int = 0
    problems: list[Problem] = field(default_factory=list)

    def leave_out(self, where: str, why: object) -> None:
        """Note an answer that is not stored."""
        self.problems.append(Problem(where, f"left out: {why}"))

    def to_dict(self) -> dict[str, Any]:
        """As API and command line print it."""
        return {
            "submitted": self.submitted,
            "boxes": self.boxes,
            "late": self.late,
            "replaced": self.replaced,
            "unchanged": self.unchanged,
            "problems": [{"where": one.where, "message": one.message} for one in self.problems],
        }


@dataclass(frozen=True, slots=True)
class _Answer:
    """An entry that is fit to be stored: where it stood, the task that asked, its objects."""

    where: str
    task_id: int
    objects: list[dict[str, Any]]


def export_coco(
    session: Session, cycle_id: int | None = None
) -> tuple[dict[str, Any], list[Image]]:
    """Open tasks as a COCO document with the champion's detections as pre-labels.

    Images carry ``e2x_task`` and ``e2x_image``, which an answer may keep or drop: file names
    are content hashes and suffice.

    Returns:
        The document, and the images that it names, to be copied beside it.
    """
    query = (
        select(LabelTask, Image)
        .join(Image, Image.id == LabelTask.image_id)
        .where(LabelTask.state.in_(OPEN_TASKS))
        .order_by(LabelTask.priority.desc(), LabelTask.id)
    )
    if cycle_id is not None:
        query = query.where(LabelTask.cycle_id == cycle_id)
    names = class_names(session)[1:]
    number = {name: index for index, name in enumerate(names, 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    rows = session.execute(query).all()
    for task, image in rows:
        images.append(
            {
                "id": task.id,
                "file_name": Path(image.file).name,
                "width": image.width_px,
                "height": image.height_px,
                "e2x_task": task.id,
                "e2x_image": image.id,
                "e2x_name": image.name,
                "e2x_reason": task.reason.get("text", ""),
            }
        )
        for entry in task.prelabels:
            x1, y1, x2, y2 = entry["box"]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": task.id,
                    "category_id": number[entry["label"]],
                    "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
                    "area": round((x2 - x1) * (y2 - y1), 2),
                    "iscrowd": 0,
                    "score": entry["score"],
                }
            )
    categories = [{"id": index, "name": name} for name, index in number.items()]
    document = {"images": images, "categories": categories, "annotations": annotations}
    return document, [image for _, image in rows]


def import_coco(context: Context, document: Any, author: str, replace: bool = False) -> LabelImport:
    """Answer label tasks from a COCO document, all in one transaction.

    Nothing goes on before every answer is in: a cycle whose budget the first ones spend would close
    the tasks of the others. :func:`services.labeling.entries.image_of` says how images are found.
    An answer to a task that the loop has closed already is kept (see
    :mod:`services.labeling.answers`). One whose boxes are wrong, or to a task that somebody else
    has or has ended, becomes a problem and costs the others nothing; no label is stored twice.

    Args:
        context: wiring.
        document: with images and their annotations.
        author: who answers.
        replace: whether another answer to a task that is answered already takes the place of the
            first, also after its cycle has gone on.

    Raises:
        AnnotationsInvalid: this is not a COCO document, or it is wrong as a whole.
    """
    read = LabelImport()
    found = _read_answers(context, document, read)

    def store(session: Session) -> LabelImport:
        report = LabelImport(problems=list(read.problems))  # anew, should this be done again
        queue.moved(session, context, *_store(session, found, author, replace, report))
        return report

    return in_transaction(context.sessions, store)


def _read_answers(context: Context, document: Any, report: LabelImport) -> list[_Answer]:
    """What a document says, checked; a long one must not keep others from writing meanwhile."""
    lists = check_document(document, "labels")
    if wrong := doubt_of_ids(lists, "categories") or doubt_of_boxes(lists):
        raise AnnotationsInvalid(f"labels: {wrong}; nothing of them was stored")
    names = {identity_of(entry.get("id")): entry.get("name") for entry in lists["categories"]}
    objects: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for entry in lists["annotations"]:
        objects[identity_of(entry.get("image_id"))].append(entry)
    times = Counter(identity_of(image.get("id")) for image in lists["images"])
    found = []
    most = context.settings.ingest.max_objects
    with reading(context.sessions) as session:
        for image in lists["images"]:
            identity = identity_of(image.get("id"))
            where = f"image {image.get('file_name', identity)!r}"
            if times[identity] > 1 or identity is None:
                report.leave_out(where, "it needs an `id` of its own")
                continue
            try:
                found.append(_read_answer(session, where, image, objects[identity], names, most))
            except (CurationError, ServiceError) as error:
                report.leave_out(where, error)
            except (TypeError, ValueError, KeyError, ArithmeticError) as error:
                report.leave_out(where, f"malformed annotation ({error!r})")
    for identity in objects.keys() - times.keys():
        report.leave_out(f"annotations of image {identity!r}", "the document has no such image")
    return found


def _read_answer(
    session: Session,
    where: str,
    image: dict[str, Any],
    annotations: list[dict[str, Any]],
    names: dict[Any, Any],
    most: int,
) -> _Answer:
    """One image of a document.

    Raises:
        NotFound: no label task asked for it.
        AnnotationsInvalid: it may be several images, or is another picture.
        InvalidBoxes: a box is inverted, empty or outside the image.
        InvalidRequest: a class is unknown, or there are more than ``most`` objects.
    """
    objects = [_object(entry, names) for entry in annotations]
    image_id = entries.image_of(session, image)
    task_id = session.scalar(
        select(LabelTask.id)
        .where(LabelTask.image_id == image_id)
        .order_by(LabelTask.state.in_(OPEN_TASKS).desc(), LabelTask.id.desc())
        .limit(1)
    )
    if image_id is None or task_id is None:
        raise NotFound("no label task asked for it")
    clean = answers.checked_objects(session, image_id, objects, f"task {task_id}", most)
    return _Answer(where, task_id, clean)


def _object(entry: dict[str, Any], names: dict[Any, Any]) -> dict[str, Any]:
    x, y, width, height = (float(value) for value in entry["bbox"])
    return {
        "box": [x, y, x + width, y + height],
        "label": names.get(identity_of(entry.get("category_id"))),
        "ignore": bool(entry.get("iscrowd")),
    }


def _store(
    session: Session, found: Sequence[_Answer], author: str, replace: bool, report: LabelImport
) -> Collection[LabelTask]:
    """Store the answers that are new and to tasks that may be answered; all tasks of the file."""
    tasks = {task.id: task for task in queue.hold(session, [one.task_id for one in found])}
    stored = _stored(session, tasks.values())
    new: dict[int, list[dict[str, Any]]] = {}
    other: dict[int, list[dict[str, Any]]] = {}
    for one in found:
        task = tasks[one.task_id]
        said = new.get(task.id, other.get(task.id))
        if one.objects == (stored.get(task.id) if said is None else said):
            report.unchanged += 1
        elif said is not None:
            report.leave_out(one.where, f"the file answers task {task.id} twice")
        elif task.id not in stored:
            _take(task, one, new, report)
        elif replace:
            other[task.id] = one.objects
        else:
            report.leave_out(one.where, f"task {task.id} is {queue.ANSWERED}")
    answers.store(session, [(tasks[number], objects) for number, objects in new.items()], author)
    answers.correct(session, [(tasks[number], one) for number, one in other.items()], author)
    report.submitted, report.replaced = len(new), len(other)
    for number, objects in [*new.items(), *other.items()]:
        report.boxes += len(objects)
        report.late += answers.is_late(tasks[number])
    return tasks.values()


def _stored(session: Session, tasks: Collection[LabelTask]) -> dict[int, list[dict[str, Any]]]:
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
    task: LabelTask, one: _Answer, new: dict[int, list[dict[str, Any]]], report: LabelImport
) -> None:
    """Keep an answer for storing, unless its task is not to be answered."""
    try:
        queue.require_free(task)
    except Conflict as error:
        report.leave_out(one.where, error)
        return
    task.token += 1  # a lease that was over is over now
    new[task.id] = one.objects
