"""Field frames coming in, one at a time: with their truth, or with an operator's words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.boxes import require_valid_boxes
from services import science
from services.classes import class_names
from services.context import Context
from services.db.tables import Annotation, Image, Observation, Role
from services.errors import Conflict, InvalidRequest
from services.rows import latest_annotations
from services.stages.requests import request_scan
from services.storage import StoredImage, put_image

REPORT_KINDS = ("missed", "false")


def ingest_frame(
    session: Session,
    context: Context,
    data: bytes,
    name: str,
    *,
    objects: Sequence[dict[str, Any]] | None = None,
    reports: Sequence[dict[str, Any]] | None = None,
    reporter: str = "",
    group: str = "",
    source: str = "ingest",
) -> Observation:
    """Take in one field frame and ask for a look at it; the same frame again is the same frame.

    Args:
        session: the caller's transaction.
        context: wiring.
        data: bytes of the image file.
        name: what the sender calls it.
        objects: its truth, ``[{"box": [x1, y1, x2, y2], "label": name}]``; an empty list says
            that nothing is there; None says nothing.
        reports: an operator's words, ``[{"kind": "missed" | "false", "box": …, "label": …}]``;
            new ones are added to those that are there.
        reporter: who sent it.
        group: such as the drive that it comes from.
        source: the door it came through.

    Raises:
        ImageUnreadable: the image cannot be used.
        InvalidBoxes: a box is inverted, empty or outside the image.
        InvalidRequest: neither truth nor report, or an unknown class or kind.
        Conflict: the image serves another purpose in this project.
    """
    if objects is None and not reports:
        raise InvalidRequest(
            "send `objects` (the frame's truth, [] if it is empty) or `reports` "
            '([{"kind": "missed", "box": [x1, y1, x2, y2], "label": "car"}])'
        )
    stored = put_image(context.project, data, science.image_limits(context.settings), name)
    names = class_names(session)[1:]
    checked = _checked(objects or (), stored, names, name)
    said = _checked(reports or (), stored, names, name)
    for report in said:
        if report.get("kind") not in REPORT_KINDS:
            raise InvalidRequest(f"{name}: kind {report.get('kind')!r}, expected {REPORT_KINDS}")
    _require_field(session, stored, name, group, source)
    if objects is not None:
        truth = [{k: entry[k] for k in ("box", "label", "ignore")} for entry in checked]
        _store_truth(session, stored.id, truth, reporter)
    observation = _observe(session, stored.id, objects is not None, said, reporter)
    request_scan(session, stored.id, _digest(objects, observation.reports))
    return observation


def _digest(objects: Sequence[dict[str, Any]] | None, reports: list[Any]) -> str:
    said = json.dumps([None if objects is None else list(objects), reports], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _checked(
    entries: Sequence[dict[str, Any]], image: StoredImage, names: Sequence[str], where: str
) -> list[dict[str, Any]]:
    """Entries with clean boxes and known classes."""
    for entry in entries:
        if entry.get("label") not in names:
            raise InvalidRequest(
                f"{where}: unknown class {entry.get('label')!r}; this project knows "
                f"{', '.join(names) or 'none yet: import a seed set first'}"
            )
    boxes = np.array([entry.get("box", [0, 0, 0, 0]) for entry in entries], np.float32)
    clean = require_valid_boxes(boxes.reshape(-1, 4), image.width_px, image.height_px, where)
    return [
        {**entry, "box": [round(float(v), 2) for v in box], "ignore": bool(entry.get("ignore"))}
        for entry, box in zip(entries, clean, strict=True)
    ]


def _require_field(
    session: Session, stored: StoredImage, name: str, group: str, source: str
) -> None:
    known = session.get(Image, stored.id)
    if known is None:
        session.add(
            Image(
                id=stored.id,
                role=Role.FIELD,
                file=stored.file,
                name=name[-300:],
                width_px=stored.width_px,
                height_px=stored.height_px,
                perceptual_hash=stored.perceptual_hash,
                group=group[:120],
                source=source,
            )
        )
        session.flush()
    elif known.role != Role.FIELD:
        raise Conflict(f"{name}: this image is in role {known.role}, it cannot be a field frame")


def _store_truth(
    session: Session, image_id: str, objects: list[dict[str, Any]], author: str
) -> None:
    latest = latest_annotations(session, [image_id]).get(image_id)
    if latest is not None and latest.objects == objects:
        return
    revision = 1 if latest is None else latest.revision + 1
    session.add(
        Annotation(image_id=image_id, revision=revision, objects=objects, author=author or "ingest")
    )


def _observe(
    session: Session,
    image_id: str,
    has_truth: bool,
    reports: list[dict[str, Any]],
    reporter: str,
) -> Observation:
    observation = session.scalar(select(Observation).where(Observation.image_id == image_id))
    if observation is None:
        observation = Observation(image_id=image_id, reports=[], reporter=reporter)
        session.add(observation)
    observation.has_truth = bool(observation.has_truth) or has_truth
    kept = [{k: report[k] for k in ("kind", "box", "label")} for report in reports]
    known = list(observation.reports or [])
    observation.reports = known + [report for report in kept if report not in known]
    session.flush()
    return observation
