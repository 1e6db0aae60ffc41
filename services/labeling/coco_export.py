"""Label tasks out to other tools, as COCO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.db.tables import ASKED_TASKS, Image, LabelTask
from services.models.classes import class_names

DONE = "e2x_done"
"""Key of an image that says whether somebody has looked at it, whatever else is said of it."""


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
        .where(LabelTask.state.in_(ASKED_TASKS))
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
                DONE: False,
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
