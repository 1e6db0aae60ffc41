"""The figures that the demo ends with, read from the database."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from retrain.report import EvaluationReport
from services.context import Context
from services.db import sides
from services.db.engine import reading
from services.db.tables import (
    TAKEN_BACK,
    Annotation,
    Cycle,
    FailureRow,
    GeneratedRow,
    Image,
    Model,
    Role,
)
from services.models import datasets, registry
from services.models.evaluation import evaluate_model


@dataclass(frozen=True, slots=True)
class Figures:
    """What the loop did. A failure is a missed object or a false detection.

    Attributes:
        failures_before: of the first detector on the reported field frames that judge.
        failures_after: of the last champion on the same frames.
        siblings_failed_before: of the first detector on frames with the same causes, never
            trained on.
        siblings_failed_after: of the last champion.
        map50_before: AP50 of the first detector on the holdout, 0..1.
        map50_after: of the last champion.
        negative_flips: share of the holdout objects that the first detector found and the last
            champion misses, 0..1.
        boxes_labelled: over all cycles.
        images_labelled: over all cycles.
        promoted: how many challengers the gate let through.
        cycles: how many there were.
        samples_drawn: for modes of which the pool had nothing, over all cycles.
        samples_kept: of these, by the checks.
        seconds: of this policy's run, with what it shares with the others, without the report.
        peak_rss_gib: of all processes together; 0 where it was not measured.
    """

    failures_before: int
    failures_after: int
    siblings_failed_before: int
    siblings_failed_after: int
    map50_before: float
    map50_after: float
    negative_flips: float
    boxes_labelled: int
    images_labelled: int
    promoted: int
    cycles: int
    seconds: float
    peak_rss_gib: float
    samples_drawn: int = 0
    samples_kept: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def read_figures(context: Context, seconds: float, peak_rss_gib: float) -> Figures:
    """Compare the first model with the champion."""
    with reading(context.sessions) as session:
        first = session.scalars(select(Model).order_by(Model.number).limit(1)).one()
        last = registry.require_champion(session)
        holdout = datasets.labelled_set(session, Role.HOLDOUT)
        siblings = datasets.labelled_set(session, Role.SIBLINGS)
        before, after = _field_failures(session, first), _field_failures(session, last)
        cycles = session.scalars(select(Cycle).order_by(Cycle.id)).all()
        images = _labelled_images(session)
        drawn, kept = _samples(session)
    reports = {
        (side, name): evaluate_model(context, model.id, manifest)
        for side, model in (("before", first), ("after", last))
        for name, manifest in (("holdout", holdout), ("siblings", siblings))
    }
    return Figures(
        failures_before=before,
        failures_after=after,
        siblings_failed_before=failed(reports["before", "siblings"]),
        siblings_failed_after=failed(reports["after", "siblings"]),
        map50_before=round(reports["before", "holdout"].map50 or 0.0, 4),
        map50_after=round(reports["after", "holdout"].map50 or 0.0, 4),
        negative_flips=round(_flips(reports["before", "holdout"], reports["after", "holdout"]), 4),
        boxes_labelled=sum(cycle.boxes_labelled for cycle in cycles),
        images_labelled=images,
        promoted=sum(bool(cycle.promoted) for cycle in cycles),
        cycles=len(cycles),
        samples_drawn=drawn,
        samples_kept=kept,
        seconds=round(seconds, 1),
        peak_rss_gib=round(peak_rss_gib, 2),
    )


def failed(report: EvaluationReport) -> int:
    """Missed objects and false detections."""
    return sum(not outcome.found for outcome in report.objects) + report.false_positives


def _field_failures(session: Session, model: Model) -> int:
    """Of frames that judge: one that taught says nothing about what was learnt."""
    query = (
        select(func.count())
        .select_from(FailureRow)
        .join(Image, Image.id == FailureRow.image_id)
        .where(
            FailureRow.model_id == model.id,
            FailureRow.state.not_in(TAKEN_BACK),
            sides.is_judged(),
        )
    )
    return session.scalar(query) or 0


def _samples(session: Session) -> tuple[int, int]:
    """How many were drawn, and how many of them are kept or were until the gate withdrew them."""
    passed = func.count(GeneratedRow.image_id)
    drawn, kept = session.execute(select(func.count(), passed)).one()
    return int(drawn), int(kept)


def _labelled_images(session: Session) -> int:
    return (
        session.scalar(
            select(func.count(func.distinct(Annotation.image_id)))
            .join(Image, Image.id == Annotation.image_id)
            .where(Image.role == Role.POOL)
        )
        or 0
    )


def _flips(before: EvaluationReport, after: EvaluationReport) -> float:
    pairs = list(zip(before.objects, after.objects, strict=True))
    found = sum(old.found for old, _ in pairs)
    return sum(old.found and not new.found for old, new in pairs) / max(found, 1)
