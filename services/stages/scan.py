"""Scan: one field image, one model → its failures; earlier failures are marked fixed or open."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.boxes import pairwise_iou
from curation.failures import (
    FailureRules,
    OperatorReport,
    failure_key,
    find_failures,
    from_report,
)
from curation.types import Detections, Failure, FailureKind
from services import science
from services.db import units
from services.db.tables import FailureRow, FailureState, Image, Observation
from services.db.units import Claim
from services.pipeline import StageContext, Store
from services.rows import latest_annotations, truth_of
from services.stages.resident import detector_of
from services.storage import open_image

FIXED_IOU = 0.5
"""Two failures are the same one if class and family agree and their boxes overlap so much."""


def run(stage: StageContext, claim: Claim) -> Store:
    """Find the failures of ``payload['model']`` in ``payload['image']``."""
    image_id, model_id = claim.payload["image"], claim.payload["model"]
    context = stage.context
    detector = detector_of(stage, model_id)
    with context.sessions() as session:
        image = session.get_one(Image, image_id)
        observation = session.scalar(select(Observation).where(Observation.image_id == image_id))
        annotation = latest_annotations(session, [image_id]).get(image_id)
    pixels = open_image(context.project, image)
    detections = detector.predict([pixels])[0]
    proposals = detector.propose([pixels])[0]
    rules = science.failure_rules(context.settings)
    failures: list[tuple[Failure, str]] = []
    if annotation is not None:
        truth = truth_of(annotation.objects, detector.class_names)
        found = find_failures(detections, proposals, truth, rules)
        failures += [(failure, "truth") for failure in found]
    for report in observation.reports if observation else []:
        wanted = _report_of(report, detector.class_names)
        if _still_wrong(wanted, detections, rules):
            failures.append((from_report(wanted, detections, proposals, rules), "operator"))
    names = detector.class_names

    def store(session: Session) -> dict[str, Any]:
        rows = [_row(image_id, model_id, failure, source, names) for failure, source in failures]
        fresh = _insert(session, image_id, rows)
        fixed, reopened = _settle_earlier(session, image_id, model_id, rows)
        if rows:
            units.enqueue(
                session,
                "explain",
                f"explain:{image_id}:{_digest([row.id for row in rows])}",
                {"image": image_id, "model": model_id},
                cycle_id=claim.cycle_id,
            )
        return {"failures": len(rows), "new": fresh, "fixed": fixed, "reopened": reopened}

    return store


def _report_of(report: dict[str, Any], class_names: tuple[str, ...]) -> OperatorReport:
    x1, y1, x2, y2 = (float(value) for value in report["box"])
    return OperatorReport(
        kind=report["kind"],
        box_xyxy=(x1, y1, x2, y2),
        label=class_names.index(report["label"]),
    )


def _digest(failure_ids: list[str]) -> str:
    """So that a frame with new failures is explained again, and one without is not."""
    return hashlib.sha256(",".join(sorted(failure_ids)).encode()).hexdigest()[:32]


def _still_wrong(report: OperatorReport, detections: Detections, rules: FailureRules) -> bool:
    """Whether this model makes the reported failure: a later one may have outgrown it."""
    shown = detections.above(rules.score_threshold)
    overlap = pairwise_iou(shown.boxes_xyxy, np.asarray([report.box_xyxy], np.float32))  # [N, 1]
    there = (shown.labels == report.label) & (overlap[:, 0] >= rules.iou_threshold)
    return bool(there.any()) is (report.kind == "false")


def _row(
    image_id: str, model_id: str, failure: Failure, source: str, names: tuple[str, ...]
) -> FailureRow:
    predicted = failure.predicted_label
    return FailureRow(
        id=failure_key(image_id, model_id, failure),
        image_id=image_id,
        model_id=model_id,
        state=FailureState.FOUND,
        kind=failure.kind,
        label=names[failure.label],
        predicted_label=None if predicted is None else names[predicted],
        mechanism=failure.mechanism,
        box=[round(value, 2) for value in failure.box_xyxy],
        score=failure.score,
        iou=failure.iou,
        default_box=failure.default_box,
        truth_index=failure.truth_index,
        proposed=failure.proposed,
        source=source,
    )


def _insert(session: Session, image_id: str, rows: list[FailureRow]) -> int:
    """Add what is new, each at the place of the first failure that was the same."""
    earlier = session.scalars(
        select(FailureRow)
        .where(FailureRow.image_id == image_id)
        .order_by(FailureRow.created_at, FailureRow.id)
    ).all()
    known = {row.id for row in earlier}
    fresh = {row.id: row for row in rows if row.id not in known}
    for row in fresh.values():
        row.place = next((other.place for other in earlier if _same(row, other)), row.id)
    session.add_all(fresh.values())
    session.flush()
    return len(fresh)


def _settle_earlier(
    session: Session, image_id: str, model_id: str, now: list[FailureRow]
) -> tuple[int, int]:
    """Compare what earlier models got wrong here with what this one gets wrong."""
    earlier = session.scalars(
        select(FailureRow).where(FailureRow.image_id == image_id, FailureRow.model_id != model_id)
    ).all()
    fixed = reopened = 0
    for row in earlier:
        still = any(_same(row, other) for other in now)
        if not still and row.state != FailureState.FIXED:
            row.state, row.fixed_by = FailureState.FIXED, model_id
            fixed += 1
        elif still and row.state == FailureState.FIXED:
            row.state, row.fixed_by = FailureState.EXPLAINED, None
            reopened += 1
    return fixed, reopened


def _same(first: FailureRow, second: FailureRow) -> bool:
    if first.truth_index is not None or second.truth_index is not None:
        return first.truth_index == second.truth_index
    if first.label != second.label or _is_false(first) is not _is_false(second):
        return False
    return _overlap(first.box, second.box) >= FIXED_IOU


def _is_false(row: FailureRow) -> bool:
    return row.kind == FailureKind.FALSE_POSITIVE


def _overlap(first: list[float], second: list[float]) -> float:
    one, other = np.asarray([first], np.float32), np.asarray([second], np.float32)
    return float(pairwise_iou(one, other)[0, 0])
