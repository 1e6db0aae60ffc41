"""Label tasks out to other tools as COCO, and their answers back."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.errors import AnnotationsInvalid, CurationError
from curation.formats import Problem
from curation.formats.coco import check_document
from services.classes import class_names
from services.context import Context
from services.db.tables import OPEN_TASKS, Image, LabelTask
from services.errors import ServiceError
from services.labeling import queue
from services.objects import plain_text

_IMAGE_ID = re.compile("[0-9a-f]{64}")


@dataclass(slots=True)
class LabelImport:
    """What an import of labels did."""

    submitted: int = 0
    boxes: int = 0
    problems: list[Problem] = field(default_factory=list)


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


def import_coco(context: Context, document: Any, author: str) -> LabelImport:
    """Answer open tasks from a COCO document, each in its own transaction.

    An image is found by ``e2x_image``, by its exported file name, which is its content hash, or by
    the name that it was imported with, if only one image that was asked for has it. One that is
    closed already, or whose boxes are wrong, becomes a problem; no label is stored twice.

    Raises:
        AnnotationsInvalid: this is not a COCO document.
    """
    lists = check_document(document, "labels")
    names = {_key(entry.get("id")): entry.get("name") for entry in lists["categories"]}
    objects: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for entry in lists["annotations"]:
        objects[_key(entry.get("image_id"))].append(entry)
    times = Counter(_key(image.get("id")) for image in lists["images"])
    report = LabelImport()
    for image in lists["images"]:
        identity = _key(image.get("id"))
        if times[identity] > 1 or identity is None:
            what = f"image {image.get('file_name', identity)!r}"
            report.problems.append(Problem(what, "left out: it needs an `id` of its own"))
            continue
        _answer(context, image, objects[identity], names, author, report)
    for identity in objects.keys() - times.keys():
        what = f"annotations of image {identity!r}"
        report.problems.append(Problem(what, "left out: the document has no such image"))
    return report


def _key(value: Any) -> Any:
    """An id that can be looked up; None where it is something else."""
    return value if isinstance(value, int | str) else None


def _answer(
    context: Context,
    image: dict[str, Any],
    entries: list[dict[str, Any]],
    names: dict[Any, Any],
    author: str,
    report: LabelImport,
) -> None:
    where = f"image {image.get('file_name', image.get('id'))!r}"
    try:
        answer = [_object(entry, names) for entry in entries]
        with context.sessions.begin() as session:
            task = session.scalar(
                select(LabelTask)
                .where(LabelTask.image_id == _image_id(session, image))
                .order_by(LabelTask.state.in_(OPEN_TASKS).desc(), LabelTask.id.desc())
                .limit(1)
                .with_for_update()
            )
            if task is None:
                report.problems.append(Problem(where, "left out: no label task asked for it"))
                return
            queue.answer_unleased(session, context, task, answer, author)
    except (CurationError, ServiceError) as error:
        report.problems.append(Problem(where, f"left out: {error}"))
        return
    except (TypeError, ValueError, KeyError, ArithmeticError) as error:
        report.problems.append(Problem(where, f"left out: malformed annotation ({error!r})"))
        return
    report.submitted += 1
    report.boxes += len(answer)


def _image_id(session: Session, image: dict[str, Any]) -> str | None:
    """The image that an entry means; None where no task ever asked for one of that name.

    Raises:
        AnnotationsInvalid: several images have that name, or this one has another size.
    """
    name = plain_text(PureWindowsPath(str(image.get("file_name", ""))).name, 300)  # / and \\
    told = str(image.get("e2x_image") or Path(name).stem)
    if _IMAGE_ID.fullmatch(told):
        return told
    for state in (LabelTask.state.in_(OPEN_TASKS), LabelTask.state.not_in(OPEN_TASKS)):
        asked = select(LabelTask.image_id).where(state)
        found = session.scalars(select(Image).where(Image.name == name, Image.id.in_(asked))).all()
        if len(found) > 1:
            raise AnnotationsInvalid(
                f"{len(found)} images that labels were asked for have this name: use the file "
                "names of `e2x labels export`, or keep its `e2x_image`"
            )
        if found:
            _same_size(image, found[0])
            return found[0].id
    return None


def _same_size(entry: dict[str, Any], image: Image) -> None:
    """A name may be given twice, a picture of another size is certainly another one."""
    told = (entry.get("width"), entry.get("height"))
    if all(told) and told != (image.width_px, image.height_px):
        raise AnnotationsInvalid(
            f"the image that labels were asked for is {image.width_px} x {image.height_px} px, "
            f"this one {told[0]} x {told[1]}"
        )


def _object(entry: dict[str, Any], names: dict[Any, Any]) -> dict[str, Any]:
    x, y, width, height = (float(value) for value in entry["bbox"])
    return {
        "box": [x, y, x + width, y + height],
        "label": names.get(_key(entry.get("category_id"))),
        "ignore": bool(entry.get("iscrowd")),
    }
