"""Score the pool: what the champion sees in a batch of pool images, for the policies."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from curation.kernel.types import Detections
from services.models.loaded import detector_of
from services.stages.embed import readable
from services.store.storage import write_npz
from services.units import Claim
from services.units.pipeline import StageContext, Store

logger = logging.getLogger(__name__)

FLOOR = 0.01
"""Weak detections are evidence too: where the class was nearly found."""


def run(stage: StageContext, claim: Claim) -> Store:
    """Detections of ``payload['images']`` into a file of the cycle.

    An image that cannot be read is left out and said: it counts as not looked at.
    """
    context = stage.context
    wanted = claim.payload["images"]
    detector = detector_of(stage, claim.payload["model"])
    images: list[str] = []
    found: list[Detections] = []
    for some in readable(context, wanted):
        images += some
        found += detector.predict(list(some.values()), FLOOR)
    if not images:
        return lambda _session: {"images": 0, "unreadable": len(wanted)}
    file = f"cycle-{claim.cycle_id}/pool-{claim.payload['number']:05d}.npz"
    write_npz(
        context.project.runs / file,
        images=np.array(images),
        counts=np.array([len(one) for one in found], np.int64),
        boxes=np.concatenate([one.boxes_xyxy for one in found]),
        scores=np.concatenate([one.scores for one in found]),
        labels=np.concatenate([one.labels for one in found]),
        default_boxes=np.concatenate([one.default_boxes for one in found]),
    )

    def store(_session: Session) -> dict[str, Any]:
        return {"file": file, "images": len(images), "unreadable": len(wanted) - len(images)}

    return store
