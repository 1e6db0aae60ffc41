"""Field frames coming in, one at a time: with their truth, or with an operator's words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services import science
from services.classes import class_names
from services.context import Context
from services.db.tables import Annotation, Image, Observation, Role
from services.errors import Conflict, InvalidRequest
from services.objects import clean_objects, plain_text, require_size, with_small_ignored
from services.rows import latest_annotations
from services.stages.requests import request_scan
from services.storage import StoredImage, check_image, keep_image

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
    said_wh: tuple[int, int] | None = None,
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
            new ones are added to those that are there. One that was dismissed stays dismissed
            when it is sent again; another box is another report.
        reporter: who sent it.
        group: such as the drive that it comes from.
        source: the door it came through.
        said_wh: size of the picture that the boxes were drawn in, px, where the sender says it.

    Raises:
        ImageUnreadable: the image cannot be used.
        InvalidBoxes: a box is inverted, empty or outside the image, or looks like a share of it.
        InvalidRequest: neither truth nor report, an unknown class or kind, or another size.
        Conflict: the image serves another purpose in this project.
    """
    if objects is None and not reports:
        raise InvalidRequest(
            "send `objects` (the frame's truth, [] if it is empty) or `reports` "
            '([{"kind": "missed", "box": [x1, y1, x2, y2], "label": "car"}])'
        )
    name = plain_text(name, 300) or "frame"
    reporter = plain_text(reporter, 120)
    stored = check_image(data, science.image_limits(context.settings), name)
    size_wh = (stored.width_px, stored.height_px)
    require_size(said_wh, size_wh, name)
    names = class_names(session)[1:]
    checked = clean_objects(objects or (), size_wh, names, name)
    said = clean_objects(reports or (), size_wh, names, name)
    for report in said:
        if report.get("kind") not in REPORT_KINDS:
            raise InvalidRequest(f"{name}: kind {report.get('kind')!r}, expected {REPORT_KINDS}")
    _require_field(session, stored, name, plain_text(group, 120), source)
    keep_image(context.project, stored, data)
    checked = with_small_ignored(checked, context.settings.ingest.ignore_below_px)
    truth = [{k: entry[k] for k in ("box", "label", "ignore")} for entry in checked]
    revision = _store_truth(session, stored.id, None if objects is None else truth, reporter)
    observation = _observe(session, stored.id, objects is not None, said, reporter)
    request_scan(session, stored.id, _digest(revision, observation.reports))
    return observation


def _digest(revision: int, reports: list[Any]) -> str:
    """Of all that is said; never that of before, or truth that is put back would not be seen."""
    said = json.dumps([revision, reports], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _require_field(
    session: Session, stored: StoredImage, name: str, group: str, source: str
) -> None:
    row = Image(
        id=stored.id,
        role=Role.FIELD,
        file=stored.file,
        name=name,
        width_px=stored.width_px,
        height_px=stored.height_px,
        perceptual_hash=stored.perceptual_hash,
        group=group,
        source=source,
    )
    # Locked, so that two senders of one frame follow each other.
    known = session.get(Image, stored.id, with_for_update=True)
    if known is None:
        try:
            with session.begin_nested():
                session.add(row)
            return
        except IntegrityError:  # another transaction was faster between our look and our insert
            known = session.get_one(Image, stored.id, with_for_update=True)
    if known.role != Role.FIELD:
        raise Conflict(f"{name}: this image is in role {known.role}, it cannot be a field frame")


def _store_truth(
    session: Session, image_id: str, objects: list[dict[str, Any]] | None, author: str
) -> int:
    """Store truth as a revision, unless it is None or what counts already.

    Returns:
        The revision that counts now, 0 where there is none.
    """
    latest = latest_annotations(session, [image_id]).get(image_id)
    revision = 0 if latest is None else latest.revision
    if objects is None or (latest is not None and latest.objects == objects):
        return revision
    session.add(
        Annotation(
            image_id=image_id, revision=revision + 1, objects=objects, author=author or "ingest"
        )
    )
    return revision + 1


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
    kept = [_essence(report) for report in reports]
    known = list(observation.reports or [])
    said = [_essence(report) for report in known]  # what was dismissed is not said again either
    observation.reports = known + [report for report in kept if report not in said]
    session.flush()
    return observation


def _essence(report: dict[str, Any]) -> dict[str, Any]:
    return {key: report[key] for key in ("kind", "box", "label")}
