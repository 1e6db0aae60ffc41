"""Score the pool: what the champion sees in a batch of pool images, for the policies."""

from __future__ import annotations

import logging
import time
from typing import Any

from sqlalchemy.orm import Session

from curation.kernel.types import Detections
from services.models.loaded import detector_of
from services.selection.pool_scores import SECONDS, write
from services.stages.embed import readable
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
    began, found = time.perf_counter(), dict[str, Detections]()
    for some in readable(context, wanted):
        seen = detector.predict(list(some.values()), FLOOR)
        found |= zip(some, seen, strict=True)
    if not found:
        return lambda _session: {"images": 0, "unreadable": len(wanted)}
    file = f"cycle-{claim.cycle_id}/pool-{claim.payload['number']:05d}.npz"
    write(context.project.runs / file, found)
    seconds = round(time.perf_counter() - began, 3)

    def store(_session: Session) -> dict[str, Any]:
        lost = len(wanted) - len(found)
        return {"file": file, "images": len(found), "unreadable": lost, SECONDS: seconds}

    return store
