"""What a label tool's COCO file says, checked entry by entry.

An image without objects may say that nothing is there, or that nobody has looked: Label Studio
lists the images of a project that is half done. One whose objects are the pre-labels with their
scores has been through no tool: a person's boxes have none. Such an entry is an answer only if it
is marked as done, or if the whole file is said to be answers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.formats import Problem
from curation.formats.base import Mended
from curation.formats.coco_annotations import is_ignored, shape_of
from curation.formats.coco_document import (
    Twice,
    check_document,
    doubt_of_boxes,
    doubt_of_ids,
    identity_of,
)
from curation.formats.flags import flag
from curation.formats.numbers import number
from curation.kernel.class_names import clean_class_name
from curation.kernel.errors import AnnotationsInvalid, CurationError
from services.context import Context
from services.db.engine import reading
from services.db.tables import OPEN_TASKS, Image, LabelTask
from services.errors import NotFound, ServiceError
from services.labeling import answers, entries
from services.labeling.coco_export import DONE
from services.labeling.cvat_xml import BY_PROGRAM, SOURCE
from services.labeling.taking import ROUNDING_PX, Answer, Unsaid, same_boxes


@dataclass(frozen=True, slots=True)
class How:
    """What a person said of a file of answers.

    Attributes:
        enclose_rotated: the upright box around a rotated rectangle will do.
        take_empty: images without objects say that nothing is there.
        take_untouched: images with the pre-labels as they were exported say that these are right.
    """

    enclose_rotated: bool = False
    take_empty: bool = False
    take_untouched: bool = False


@dataclass(slots=True)
class Answers:
    """What a file says.

    Attributes:
        found: entries that are fit to be stored.
        problems: the others.
        mended: counts what is not as it stands in the file.
    """

    found: list[Answer] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    mended: Mended = field(default_factory=Mended)

    def leave_out(self, where: str, why: object) -> None:
        """Note an entry that cannot be stored."""
        self.problems.append(Problem(where, f"left out: {why}"))


@dataclass(frozen=True, slots=True)
class _Asked:
    """An image of the file that labels were asked for."""

    where: str
    entry: Mapping[str, Any]
    image: Image
    task: LabelTask


def read(context: Context, document: Any, how: How) -> Answers:
    """What a document says, checked; a long one must not keep others from writing meanwhile.

    Raises:
        AnnotationsInvalid: this is not a COCO document, or it is wrong as a whole.
    """
    lists = check_document(document, "labels")
    result = Answers()
    objects: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for entry in lists["annotations"]:
        objects[identity_of(entry.get("image_id"))].append(entry)
    with reading(context.sessions) as session:
        asked = _asked(session, lists["images"], result)
        sizes = {
            identity: (one.image.width_px, one.image.height_px) for identity, one in asked.items()
        }
        if wrong := doubt_of_ids(lists, "categories") or doubt_of_boxes(lists, sizes):
            raise AnnotationsInvalid(f"labels: {wrong}; nothing of them was stored")
        names = {identity_of(entry.get("id")): entry.get("name") for entry in lists["categories"]}
        names.pop(None, None)  # no class for objects that name none
        for identity, one in asked.items():
            try:
                most = context.settings.ingest.max_objects
                answer = _answer(session, one, objects[identity], names, how, result.mended, most)
                result.found.append(answer)
            except (CurationError, ServiceError) as error:
                result.leave_out(one.where, error)
    for identity in objects.keys() - {identity_of(one.get("id")) for one in lists["images"]}:
        result.leave_out(f"annotations of image {identity!r}", "the document has no such image")
    return result


def _asked(
    session: Session, images: Sequence[dict[str, Any]], result: Answers
) -> dict[Any, _Asked]:
    """The images that labels were asked for, by their ids in the file."""
    times = Counter(identity_of(image.get("id")) for image in images)
    found = {}
    for image in images:
        identity = identity_of(image.get("id"))
        where = f"image {image.get('file_name', identity)!r}"
        if times[identity] > 1 or identity is None:
            result.leave_out(where, "it needs an `id` of its own")
            continue
        if isinstance(image, Twice):
            result.leave_out(where, f"`{image.key}` appears twice in it")
            continue
        try:
            stored = entries.image_of(session, image)
            task = None if stored is None else _task_of(session, stored)
            if stored is None or task is None:
                raise NotFound("no label task asked for it")
            found[identity] = _Asked(where, image, stored, task)
        except (CurationError, ServiceError) as error:
            result.leave_out(where, error)
    return found


def _task_of(session: Session, image: Image) -> LabelTask | None:
    return session.scalar(
        select(LabelTask)
        .where(LabelTask.image_id == image.id)
        # An answer is to what was asked last, and a task that is open was asked for certain.
        .order_by(LabelTask.state.in_(OPEN_TASKS).desc(), LabelTask.id.desc())
        .limit(1)
    )


def _answer(
    session: Session,
    asked: _Asked,
    annotations: Sequence[Mapping[str, Any]],
    names: Mapping[Any, Any],
    how: How,
    mended: Mended,
    most: int,
) -> Answer:
    """One image of a document.

    Raises:
        AnnotationsInvalid: an object has no box, or a flag says nothing.
        InvalidBoxes: a box is inverted, empty or outside the image.
        InvalidRequest: a class is unknown, or there are more than ``most`` objects.
    """
    size = (asked.image.width_px, asked.image.height_px)
    read = []
    for entry in annotations:
        if isinstance(entry, Twice):
            raise AnnotationsInvalid(f"`{entry.key}` appears twice in an object of it")
        shape = shape_of(entry, size, how.enclose_rotated)
        label = names.get(identity_of(entry.get("category_id")))
        clean = clean_class_name(label) if isinstance(label, str) else label
        read.append({"box": shape.box_xyxy, "label": clean, "ignore": is_ignored(entry)})
        shape.count(mended)
    where = f"task {asked.task.id}"
    objects, once = answers.read(session, asked.image.id, read, where, most)
    mended.repeated += len(objects) - len(once)
    unsaid: Unsaid = ""
    if not flag(asked.entry.get(DONE), DONE):
        if not once and not how.take_empty:
            unsaid = "empty"
        elif not how.take_untouched and _is_untouched(annotations, objects, asked.task.prelabels):
            unsaid = "untouched"
    return Answer(asked.where, asked.task.id, once, unsaid)


def _is_untouched(
    annotations: Sequence[Mapping[str, Any]],
    objects: Sequence[Mapping[str, Any]],
    prelabels: Sequence[Mapping[str, Any]],
) -> bool:
    """Whether objects are the pre-labels as they were exported, by their scores or as CVAT says."""
    if not prelabels or len(objects) != len(prelabels):
        return False
    if all(entry.get(SOURCE) in BY_PROGRAM for entry in annotations):
        return same_boxes(objects, prelabels)
    scores = [number(entry.get("score")) for entry in annotations]
    said = sorted(
        (one["label"], score, *one["box"])
        for one, score in zip(objects, scores, strict=True)
        if score is not None
    )
    exported = sorted((one["label"], float(one["score"]), *one["box"]) for one in prelabels)
    return len(said) == len(exported) and all(
        first[:2] == second[:2] and np.allclose(first[2:], second[2:], rtol=0, atol=ROUNDING_PX)
        for first, second in zip(said, exported, strict=True)
    )
