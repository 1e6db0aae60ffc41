"""Field frames coming in, one at a time: with their truth, or with an operator's words.

All that takes time happens before the transaction: the picture is decoded, the words are checked
and the file is kept. A file without a row is harmless: the next sender of the frame takes it up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from services import tracing
from services.accounts import audit
from services.config import builders
from services.context import Context
from services.db import revisions
from services.db.convert import latest_annotations
from services.db.engine import reading
from services.db.races import in_transaction, insert_new
from services.db.tables import Annotation, Image, Observation, Role, TruthSource
from services.errors import Conflict, InvalidRequest
from services.intake.objects import (
    clean_objects,
    once,
    plain_text,
    require_size,
    with_small_ignored,
)
from services.models.classes import class_names
from services.store.storage import StoredImage, check_image, keep_image
from services.units.requests import request_scan

REPORT_KINDS = ("missed", "false")


@dataclass(frozen=True, slots=True)
class _Frame:
    """A frame that is fit to be stored.

    Attributes:
        image: in the store.
        name: what the sender calls it.
        truth: its objects; None: nothing is said about them.
        reports: an operator's words.
        reporter: who sent it.
        group: such as the drive that it comes from.
        source: the door it came through.
    """

    image: StoredImage
    name: str
    truth: list[dict[str, Any]] | None
    reports: list[dict[str, Any]]
    reporter: str
    group: str
    source: str


def ingest_frame(
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

    Stored in a transaction of its own, which only writes rows.

    Args:
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
        InvalidRequest: neither truth nor report, another size, an unknown class or kind, or too
            many of them.
        Conflict: the image serves another purpose in this project.
        DiskFull: there is no space; StoreUnavailable: the bucket does not answer.
    """
    if objects is None and not reports:
        raise InvalidRequest(
            "send `objects` (the frame's truth, [] if it is empty) or `reports` "
            '([{"kind": "missed", "box": [x1, y1, x2, y2], "label": "car"}])'
        )
    name = plain_text(name, 300) or "frame"
    wanted = context.settings.ingest
    _refuse_more_reports(len(reports or ()), wanted.max_reports, name)
    image = check_image(data, builders.image_limits(context.settings), name)
    size_wh = (image.width_px, image.height_px)
    require_size(said_wh, size_wh, name)
    with reading(context.sessions) as session:
        _require_field(session.get(Image, image.id), name)
        names = class_names(session)[1:]
    truth = once(clean_objects(objects or (), size_wh, names, name, wanted.max_objects), name)
    truth = with_small_ignored(truth, wanted.ignore_below_px)
    said = once(clean_objects(reports or (), size_wh, names, name, wanted.max_objects), name)
    for report in said:
        if report.get("kind") not in REPORT_KINDS:
            raise InvalidRequest(f"{name}: kind {report.get('kind')!r}, expected {REPORT_KINDS}")
    keep_image(context, image, data)
    frame = _Frame(
        image=image,
        name=name,
        truth=None if objects is None else _only(truth, ("box", "label", "ignore")),
        reports=_only(said, ("kind", "box", "label")),
        reporter=plain_text(reporter, 120),
        group=plain_text(group, 120),
        source=source,
    )
    return in_transaction(
        context.sessions, lambda session: _store(session, frame, wanted.max_reports)
    )


def _only(entries: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[dict[str, Any]]:
    return [{key: entry[key] for key in keys} for entry in entries]


def _store(session: Session, frame: _Frame, most_reports: int) -> Observation:
    """The rows of a frame, and the scan that it asks for; nothing slow belongs here."""
    _hold_image(session, frame)
    revision = _store_truth(session, frame)
    observation = _observe(session, frame, most_reports)
    request_scan(session, frame.image.id, _digest(revision, observation.reports))
    audit.record(
        session,
        "frame.report",
        f"image:{frame.image.id}",
        frame=observation.id,
        truth=frame.truth is not None,
        reports=len(frame.reports),
        reporter=frame.reporter,
    )
    return observation


def _digest(revision: int, reports: list[Any]) -> str:
    """Of all that is said; never that of before, or truth that is put back would not be seen."""
    said = json.dumps([revision, reports], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _hold_image(session: Session, frame: _Frame) -> None:
    """The image's row, made where it is missing, and locked: two senders follow each other."""
    row = {
        "id": frame.image.id,
        "role": Role.FIELD,
        "file": frame.image.file,
        "name": frame.name,
        "width_px": frame.image.width_px,
        "height_px": frame.image.height_px,
        "perceptual_hash": frame.image.perceptual_hash,
        "group": frame.group,
        "source": frame.source,
    }
    insert_new(session, Image, [row], ("id",))
    held = revisions.hold_images(session, [frame.image.id])
    _require_field(held[frame.image.id], frame.name)


def _require_field(known: Image | None, name: str) -> None:
    """Refuse an image that is in the project for another purpose.

    Raises:
        Conflict: it is.
    """
    if known is not None and known.role != Role.FIELD:
        raise Conflict(f"{name}: this image is in role {known.role}, it cannot be a field frame")


def _store_truth(session: Session, frame: _Frame) -> int:
    """Store truth as a revision, unless none was sent or it is what counts already.

    Returns:
        The revision that counts now, 0 where there is none.
    """
    latest = latest_annotations(session, [frame.image.id]).get(frame.image.id)
    revision = 0 if latest is None else latest.revision
    if frame.truth is None or (latest is not None and latest.objects == frame.truth):
        return revision
    said = Annotation(
        image_id=frame.image.id,
        objects=frame.truth,
        author=frame.reporter or "ingest",
        source=TruthSource.PERSON,
    )
    revisions.add(session, [said])
    return said.revision


def _observe(session: Session, frame: _Frame, most_reports: int) -> Observation:
    observation = session.scalar(select(Observation).where(Observation.image_id == frame.image.id))
    if observation is None:
        observation = Observation(image_id=frame.image.id, reports=[], reporter=frame.reporter)
        session.add(observation)
    observation.has_truth = bool(observation.has_truth) or frame.truth is not None
    known = list(observation.reports or [])
    said = {_key(report) for report in known}  # what was dismissed is not said again either
    fresh = [report for report in frame.reports if _key(report) not in said]
    _refuse_more_reports(len(known) + len(fresh) if fresh else 0, most_reports, frame.name)
    observation.reports = known + fresh
    observation.traceparent = tracing.current() or observation.traceparent
    session.flush()
    return observation


def _key(report: dict[str, Any]) -> tuple[str, str, tuple[float, ...]]:
    return report["kind"], report["label"], tuple(report["box"])


def _refuse_more_reports(count: int, most: int, name: str) -> None:
    """Refuse what would pile up: each report of a frame is compared with what a model shows.

    Raises:
        InvalidRequest: there would be more than ``most``.
    """
    if count > most:
        raise InvalidRequest(
            f"{name}: {count} reports would be on this frame, at most {most} are taken "
            "(setting ingest.max_reports): send the frame's truth as `objects` instead"
        )
