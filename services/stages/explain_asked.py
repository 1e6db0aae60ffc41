"""Explain asked: the questions that a person asked about one failure → their answers."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from curation.explain import answers as told
from curation.explain.hurting import hurting_regions
from curation.explain.questions import Question, answers
from curation.explain.what import What
from curation.kernel.types import Attribution, Box, FailureKind, Region
from services.config import builders, explainers
from services.db.base import utc_now
from services.db.convert import failure_of
from services.db.engine import reading
from services.db.tables import AskedExplanation, Explanation, FailureRow, Image, Model
from services.models import features
from services.models.loaded import detector_of
from services.store import drawings
from services.store.project_store import store_of
from services.store.storage import key_of, open_image, write_arrays
from services.store.superpixels import segments_of, shared_by_hosts
from services.units import Claim
from services.units.pipeline import StageContext, Store

logger = logging.getLogger(__name__)
TOLD_EVERY_S = 1.0


def run(stage: StageContext, claim: Claim) -> Store:
    """Answer the questions ``payload['asked']`` about ``payload['failure']``, all from one run.

    The superpixels are those of the failure's own explanation where there is one, so that the
    maps can be laid beside each other.
    """
    began = time.monotonic()
    context, settings = stage.context, stage.context.settings
    with reading(context.sessions) as session:
        rows = _asked(session, claim)
        if not rows:
            return lambda _session: {"explained": 0}
        failure = session.get_one(FailureRow, rows[0].failure_id)
        image = session.get_one(Image, failure.image_id)
        model = session.get_one(Model, failure.model_id)
        own = drawings.newest_explanation(session, failure.id)
    explainer = features.with_features(
        context, model, explainers.make(rows[0].method, rows[0].parameters, settings.explanation)
    )
    detector = detector_of(stage, failure.model_id)
    pixels = open_image(context, image)
    standard = _own(stage, failure, own, detector.input_size_hw)
    segments = (
        segments_of(
            context.project.segments,
            image.id,
            pixels,
            detector.input_size_hw,
            settings.explanation.num_segments,
            settings.explanation.segmentation,
            shared_by_hosts(context),
        )
        if standard is None
        else standard.segments
    )
    questions = [_question(row, failure.default_box, detector.class_names) for row in rows]
    progress = _Progress(stage, [row.id for row in rows])
    found = answers(explainer, detector, pixels, questions, segments, progress)
    (proposals,) = detector.propose([pixels])
    boxes = told.Boxes(
        _box(proposals.default_boxes_xyxy[failure.default_box]),
        _box(proposals.boxes_xyxy[failure.default_box]),
        None if failure.kind == FailureKind.FALSE_POSITIVE else drawings.box_of(failure),
    )
    seconds = time.monotonic() - began
    size_wh = (image.width_px, image.height_px)
    values: dict[str, dict[str, Any]] = {}
    for row, question, one in zip(rows, questions, found, strict=True):
        positive = told.hurts_positive(
            question, boxes, failure_of(failure, detector.class_names).hurts_positive
        )
        focus = drawings.box_of(failure)
        rules = builders.region_rules(settings)
        regions = hurting_regions(one, positive, size_wh, rules, focus)
        words = told.words(question, one, boxes, detector.class_names, regions)
        values[row.id] = {
            **_write(stage, row, one, regions, boxes),
            "words": [*words, *one.notes],
            "agreement": _agreement(row, failure, one, own, standard, positive),
            "seconds": seconds,
            "scored": progress.scored or row.scored,
            "finished_at": utc_now(),
        }
    return lambda session: _store(stage, session, values)


def _asked(session: Session, claim: Claim) -> Sequence[AskedExplanation]:
    """Those that nobody has deleted meanwhile."""
    return session.scalars(
        select(AskedExplanation)
        .where(
            AskedExplanation.id.in_(claim.payload["asked"]),
            AskedExplanation.unit_id == claim.unit_id,
            AskedExplanation.file.is_(None),
        )
        .order_by(AskedExplanation.created_at, AskedExplanation.id)
    ).all()


def _own(
    stage: StageContext, failure: FailureRow, own: Explanation | None, size_hw: tuple[int, int]
) -> Attribution | None:
    """What the loop works with; None where there is none, or its file is lost or does not fit."""
    if own is None:
        return None
    try:
        kept = drawings.attribution_of(stage.context, failure, own)
    except (OSError, KeyError) as error:
        logger.warning("the failure's own explanation cannot be compared with: %s", error)
        return None
    return kept if kept.segments.shape == size_hw else None


def _question(row: AskedExplanation, default_box: int, names: Sequence[str]) -> Question:
    rival = None if row.rival is None else names.index(row.rival)
    return Question(What(row.question), default_box, names.index(row.label), rival)


class _Progress:
    """Writes down, once a second, how many images have been scored."""

    def __init__(self, stage: StageContext, ids: Sequence[str]) -> None:
        self._stage, self._ids = stage, ids
        self._last_s = time.monotonic()
        self.scored = 0

    def __call__(self, scored: int) -> None:
        """So many so far.

        Raises:
            LeaseLost: whoever asked wants it no more, or another worker has it.
        """
        self.scored = scored
        now = time.monotonic()
        if now - self._last_s < TOLD_EVERY_S:
            return
        self._last_s = now
        self._stage.heartbeat()
        mine = update(AskedExplanation).where(
            AskedExplanation.id.in_(self._ids), AskedExplanation.file.is_(None)
        )
        try:
            with self._stage.context.sessions.begin() as session:
                session.execute(mine.values(scored=scored))
        except SQLAlchemyError as error:  # it is told again in a second
            logger.warning("progress could not be told: %s", error)


def _write(
    stage: StageContext,
    row: AskedExplanation,
    found: Attribution,
    regions: Sequence[Region],
    boxes: told.Boxes,
) -> dict[str, Any]:
    """The arrays to a file, and the columns that describe them."""
    file = f"asked/{row.id[:2]}/{row.id}.npz"
    context = stage.context
    write_arrays(
        context,
        key_of(context, context.project.explanations, file),
        **drawings.stored_arrays(found),
        boxes=np.array([boxes.placed, boxes.decoded], np.float32),
    )
    return {
        "file": file,
        "regions": drawings.stored_regions(regions),
        "score": found.score,
        "baseline_score": found.baseline_score,
    }


def _agreement(
    row: AskedExplanation,
    failure: FailureRow,
    found: Attribution,
    own: Explanation | None,
    standard: Attribution | None,
    positive: bool,
) -> dict[str, Any] | None:
    """With the loop's own, where both are about the same number."""
    same = row.question == What.CLASS and row.label == failure.label
    if own is None or standard is None or not same:
        return None
    agreed = told.agreement(found, standard, positive)
    if agreed is None:
        return None
    return {"with": own.id, "method": own.method, "spearman": agreed.spearman, "top": agreed.top}


def _store(
    stage: StageContext, session: Session, values: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Fill the rows; the file of one that was deleted meanwhile goes."""
    there = session.scalars(
        select(AskedExplanation).where(AskedExplanation.id.in_(values)).with_for_update()
    ).all()
    for row in there:
        for name, value in values[row.id].items():
            setattr(row, name, value)
    for gone in set(values) - {row.id for row in there}:
        store_of(stage.context).delete(
            key_of(stage.context, stage.context.project.explanations, values[gone]["file"])
        )
    return {"explained": len(there)}


def _box(row: Any) -> Box:
    x1, y1, x2, y2 = (float(value) for value in row)
    return (x1, y1, x2, y2)
