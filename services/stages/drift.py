"""Drift: a day of field frames, and what it comes to against the reference."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

import numpy as np
from sqlalchemy import delete
from sqlalchemy.orm import Session

from curation.drift.compare import Drift, compare
from curation.drift.sums import Frame
from curation.kernel.types import Detections, ImageArray
from services.db.base import utc_now
from services.db.engine import reading
from services.db.races import insert_new
from services.db.tables import DriftDay, DriftView
from services.drift import frames
from services.drift.frames import Chosen
from services.models.loaded import detector_of, embedder_of
from services.stages.embed import readable
from services.units import Claim
from services.units.pipeline import StageContext, Store

logger = logging.getLogger(__name__)

DIGITS = 4


def run(stage: StageContext, claim: Claim) -> Store:
    """Judge ``payload['day']``; what an image shows is computed once for each model."""
    context, day, model_id = stage.context, claim.payload["day"], claim.payload["model"]
    settings, encoder = context.settings.drift, embedder_of(stage).version
    with reading(context.sessions) as session:
        chosen = frames.choose(session, date.fromisoformat(day), settings)
        known = frames.views(session, chosen.ids, model_id, encoder)
    missing = [image_id for image_id in chosen.ids if image_id not in known]
    fresh = list(_looked_at(stage, model_id, missing))
    seen = {**known, **{row["image_id"]: DriftView(**row) for row in fresh}}
    sides = _sides(chosen, seen)
    if not all(sides):
        told = "the day" if not sides[0] else "the reference"
        logger.warning("drift of %s cannot be judged: %s has no image", day, told)
        return lambda _session: {"judged": False}
    rng = np.random.default_rng([context.settings.seed, *day.encode()])
    found = compare(*sides, rng, level=settings.level, frames_per_group=settings.frames_per_group)

    def store(session: Session) -> dict[str, Any]:
        session.execute(delete(DriftView).where(DriftView.model_id != model_id))  # asked no more
        keys = ("image_id", "model_id", "encoder_version")
        for row in fresh:
            insert_new(session, DriftView, [row], keys)
        session.execute(delete(DriftDay).where(DriftDay.day == day, DriftDay.model_id == model_id))
        session.add(row_of(day, model_id, found))
        return {"judged": True, "drifted": found.drifted, "looked_at": len(fresh)}

    return store


def row_of(day: str, model_id: str, found: Drift) -> DriftDay:
    """What is kept of a comparison."""
    figures = {
        one.name: {key: value for key, value in asdict(one).items() if key != "name"}
        for one in found.figures
    }
    return DriftDay(
        day=day,
        model_id=model_id,
        frames=found.frames,
        groups=found.groups,
        reference_groups=found.reference_groups,
        can_tell=found.can_tell,
        drifted=found.drifted,
        empty_share=found.empty_share,
        reference_empty_share=found.reference_empty_share,
        figures=figures,
    )


def _sides(chosen: Chosen, seen: dict[str, DriftView]) -> tuple[list[Frame], list[Frame]]:
    """Day and reference, without what could not be read."""
    day, reference = (
        [frames.frame_of(seen[name], group) for name, group in side.items() if name in seen]
        for side in (chosen.day, chosen.reference)
    )
    return day, reference


def _looked_at(
    stage: StageContext, model_id: str, images: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Rows of what encoder and model see; an image that cannot be read is left out and said."""
    embedder, detector = embedder_of(stage), detector_of(stage, model_id)
    threshold = stage.context.settings.failures.score_threshold
    for some in readable(stage.context, images):
        pixels = list(some.values())
        embedded = embedder.embed_pool(pixels)
        detected = detector.predict(pixels, threshold)
        for name, image, one, shown in zip(some, pixels, embedded, detected, strict=True):
            if not np.isfinite(one.whole).all():
                logger.error("image %s is left out: its vector is not finite", name)
                continue
            yield {
                "image_id": name,
                "model_id": model_id,
                "encoder_version": embedder.version,
                "vector": one.whole.astype(frames.VECTOR).tobytes(),
                "labels": [detector.class_names[label] for label in shown.labels],
                "sides": _shares(shown, image),
                "created_at": utc_now(),
            }
        stage.heartbeat()


def _shares(shown: Detections, image: ImageArray) -> list[float]:
    boxes = shown.boxes_xyxy
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    share = np.sqrt(np.clip(areas / (image.shape[0] * image.shape[1]), 0, 1))
    return [round(float(one), DIGITS) for one in share]
