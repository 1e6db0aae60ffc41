"""Scan: one field image, one model → its failures; earlier failures are settled."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.failures import (
    FailureRules,
    OperatorReport,
    failure_key,
    find_failures,
    from_report,
)
from curation.kernel.boxes import pairwise_iou
from curation.kernel.types import Detections, Failure, Proposals
from services import units
from services.config import builders
from services.db.convert import truth_of
from services.db.engine import reading
from services.db.tables import TERMINAL, FailureRow, FailureState, Image, Unit
from services.failures.findings import OPERATOR, Words, keep_own, settle_earlier, words_of
from services.models import registry
from services.models.loaded import detector_of
from services.store.storage import open_image
from services.units import Claim
from services.units.pipeline import StageContext, Store

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Look:
    """What a model sees in a frame, to be compared with what is said about it.

    Attributes:
        image_id: the frame.
        model_id: the model.
        names: its classes, background first.
        detections: what it shows.
        proposals: all its default boxes.
        rules: when a detection is wrong.
        max_explained: failures of a frame that are explained.
    """

    image_id: str
    model_id: str
    names: tuple[str, ...]
    detections: Detections
    proposals: Proposals
    rules: FailureRules
    max_explained: int

    def failures(self, words: Words) -> list[FailureRow]:
        """What it gets wrong, by truth and by report; what it has no class for is passed over."""
        found: list[tuple[Failure, str]] = []
        if words.objects is not None:
            truth = truth_of(words.objects, self.names)
            by_truth = find_failures(self.detections, self.proposals, truth, self.rules)
            found += [(failure, "truth") for failure in by_truth]
        for report in words.reports:
            if report["label"] not in self.names:
                continue
            wanted = _report_of(report, self.names)
            if _still_wrong(wanted, self.detections, self.rules):
                failure = from_report(wanted, self.detections, self.proposals, self.rules)
                found.append((failure, OPERATOR))
        return [self._row(failure, source) for failure, source in found]

    def passed_over(self, words: Words) -> dict[str, int]:
        """Objects and reports of classes that it does not know, by class."""
        return dict(Counter(label for label in words.labels() if label not in self.names))

    def _row(self, failure: Failure, source: str) -> FailureRow:
        predicted = failure.predicted_label
        return FailureRow(
            id=failure_key(self.image_id, self.model_id, failure),
            image_id=self.image_id,
            model_id=self.model_id,
            state=FailureState.FOUND,
            kind=failure.kind,
            label=self.names[failure.label],
            predicted_label=None if predicted is None else self.names[predicted],
            mechanism=failure.mechanism,
            box=[round(value, 2) for value in failure.box_xyxy],
            score=failure.score,
            iou=failure.iou,
            default_box=failure.default_box,
            truth_index=failure.truth_index,
            proposed=failure.proposed,
            source=source,
        )


def run(stage: StageContext, claim: Claim) -> Store:
    """Find the failures of ``payload['model']`` in ``payload['image']``.

    Objects and reports of classes that the model does not know wait for a champion that does.
    """
    context, image_id, model_id = stage.context, claim.payload["image"], claim.payload["model"]
    detector = detector_of(stage, model_id)
    with reading(context.sessions) as session:
        image = session.get_one(Image, image_id)
        said = words_of(session, image_id)
    pixels = open_image(context, image)
    detections, proposals = detector.look([pixels])[0]
    look = _Look(
        image_id=image_id,
        model_id=model_id,
        names=detector.class_names,
        detections=detections,
        proposals=proposals,
        rules=builders.failure_rules(context.settings),
        max_explained=context.settings.explanation.max_failures_per_image,
    )
    found = look.failures(said)

    def store(session: Session) -> dict[str, Any]:
        # Locked, so that scans and senders of one frame follow each other: what is stored last
        # follows from what was said last, and the champion's judgement from its being one.
        session.get_one(Image, image_id, with_for_update=True)
        words = words_of(session, image_id)
        rows = found if words == said else look.failures(words)
        return _store(session, claim, look, words, rows)

    return store


def _store(
    session: Session, claim: Claim, look: _Look, words: Words, rows: list[FailureRow]
) -> dict[str, Any]:
    own = keep_own(session, look.image_id, look.model_id, rows)
    counted = {"failures": len(rows), "fixed": 0, "reopened": 0, **own}
    champion = registry.champion(session)
    if champion is not None and champion.id == look.model_id:  # a late scan judges itself alone
        others = settle_earlier(session, look.image_id, look.model_id, rows, words, look.names)
        counted |= {**others, "withdrawn": own["withdrawn"] + others["withdrawn"]}
    if rows:
        _ask_for_explanations(session, claim, look, rows, again=bool(own["returned"]))
    passed_over = look.passed_over(words)
    if passed_over:
        logger.warning(
            "passed over what is said of classes that the model does not know, until a champion "
            "knows them: %s",
            ", ".join(f"{count} {label}" for label, count in sorted(passed_over.items())),
        )
        return {**counted, "passed_over": passed_over}
    return counted


def _ask_for_explanations(
    session: Session, claim: Claim, look: _Look, rows: list[FailureRow], again: bool
) -> None:
    """A frame with failures that nobody has explained is explained, and one without is not."""
    names = sorted(row.id for row in rows)
    states = session.execute(select(FailureRow.state).where(FailureRow.id.in_(names))).scalars()
    counted = Counter(states)
    if not counted[FailureState.FOUND]:
        return
    key = _explain_key(look, names)
    asked = session.scalar(select(Unit.state).where(Unit.key == key))
    wanted = min(len(names), look.max_explained)
    if again or (asked in TERMINAL and counted[FailureState.EXPLAINED] < wanted):
        # They were asked for when they were none, or were fixed before they were explained.
        key = _explain_key(look, [*names, str(claim.unit_id)])
    units.enqueue(
        session,
        "explain",
        key,
        {"image": look.image_id, "model": look.model_id},
        cycle_id=units.cycle_of(session, claim),
    )


def _explain_key(look: _Look, names: Sequence[str]) -> str:
    digest = hashlib.sha256(",".join(names).encode()).hexdigest()[:32]
    return f"explain:{look.image_id}:{digest}"


def _report_of(report: dict[str, Any], class_names: tuple[str, ...]) -> OperatorReport:
    x1, y1, x2, y2 = (float(value) for value in report["box"])
    return OperatorReport(
        kind=report["kind"],
        box_xyxy=(x1, y1, x2, y2),
        label=class_names.index(report["label"]),
    )


def _still_wrong(report: OperatorReport, detections: Detections, rules: FailureRules) -> bool:
    """Whether this model makes the reported failure: a later one may have outgrown it."""
    shown = detections.above(rules.score_threshold)
    overlap = pairwise_iou(shown.boxes_xyxy, np.asarray([report.box_xyxy], np.float32))  # [N, 1]
    there = (shown.labels == report.label) & (overlap[:, 0] >= rules.iou_threshold)
    return bool(there.any()) is (report.kind == "false")
