"""Between rows and the types of the science."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from curation.kernel.manifest import Manifest, ManifestItem
from curation.kernel.types import Box, Detections, Failure, FailureKind, Mechanism, Truth
from services.db.tables import Annotation, FailureRow, Image


def latest_annotations(session: Session, image_ids: Iterable[str]) -> dict[str, Annotation]:
    """The greatest revision of each image that has one."""
    found: dict[str, Annotation] = {}
    ids = list(image_ids)
    for start in range(0, len(ids), 500):  # databases bound the number of parameters
        newest = (
            select(Annotation.image_id, func.max(Annotation.revision).label("revision"))
            .where(Annotation.image_id.in_(ids[start : start + 500]))
            .group_by(Annotation.image_id)
            .subquery()
        )
        rows = session.scalars(
            select(Annotation).join(
                newest,
                (newest.c.image_id == Annotation.image_id)
                & (newest.c.revision == Annotation.revision),
            )
        )
        found.update({row.image_id: row for row in rows})
    return found


def truth_of(objects: Sequence[dict[str, Any]], class_names: Sequence[str]) -> Truth:
    """Stored objects as boxes [M, 4] and labels [M]; names outside the classes are ignored."""
    if not objects:
        return Truth.empty()
    index = {name: number for number, name in enumerate(class_names)}
    known = [entry["label"] in index for entry in objects]
    return Truth(
        np.asarray([entry["box"] for entry in objects], np.float32).reshape(-1, 4),
        np.asarray([index.get(entry["label"], 1) for entry in objects], np.int64),
        np.asarray(
            [
                bool(entry.get("ignore")) or not named
                for entry, named in zip(objects, known, strict=True)
            ],
            np.bool_,
        ),
    )


def manifest_item(image: Image, annotation: Annotation) -> ManifestItem:
    """One labelled image of a dataset version."""
    return ManifestItem(
        image=image.id,
        file=image.file,
        width_px=image.width_px,
        height_px=image.height_px,
        boxes_xyxy=tuple(_box(entry["box"]) for entry in annotation.objects),
        labels=tuple(entry["label"] for entry in annotation.objects),
        ignore=tuple(bool(entry.get("ignore")) for entry in annotation.objects),
        revision=annotation.revision,
        group=image.group,
        origin=annotation.origin,
    )


def manifest_of(
    session: Session,
    images: Sequence[Image],
    class_names: tuple[str, ...],
    parent: str | None = None,
) -> Manifest:
    """The labelled ones of these images as a dataset version; the others are left out."""
    annotations = latest_annotations(session, [image.id for image in images])
    items = tuple(
        manifest_item(image, annotations[image.id]) for image in images if image.id in annotations
    )
    return Manifest(class_names=class_names, items=items, parent=parent)


def failure_of(row: FailureRow, class_names: Sequence[str]) -> Failure:
    """A stored failure as the science knows it."""
    return Failure(
        kind=FailureKind(row.kind),
        box_xyxy=_box(row.box),
        label=class_names.index(row.label),
        predicted_label=None
        if row.predicted_label is None
        else class_names.index(row.predicted_label),
        score=row.score,
        default_box=row.default_box,
        iou=row.iou,
        truth_index=row.truth_index,
        mechanism=None if row.mechanism is None else Mechanism(row.mechanism),
        proposed=row.proposed,
    )


def detections_as_json(
    detections: Detections, class_names: Sequence[str], threshold: float
) -> list[dict[str, Any]]:
    """Detections above a threshold, as a label tool is handed them."""
    kept = detections.above(threshold)
    return [
        {
            "box": [round(float(value), 2) for value in box],
            "label": class_names[label],
            "score": round(float(score), 4),
        }
        for box, label, score in zip(kept.boxes_xyxy, kept.labels, kept.scores, strict=True)
    ]


def _box(values: Sequence[float]) -> Box:
    x1, y1, x2, y2 = (float(value) for value in values)
    return (x1, y1, x2, y2)
