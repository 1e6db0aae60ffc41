"""Score the pool: what the champion sees in a batch of pool images, for the policies."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from curation.kernel.types import Detections
from services.context import Context
from services.models.loaded import detector_of
from services.selection.pool_scores import SECONDS, folder_of_cycle, keep
from services.stages.embed import readable
from services.units import Claim
from services.units.pipeline import StageContext, Store

if TYPE_CHECKING:
    from retrain.detector import SsdDetector

logger = logging.getLogger(__name__)

FLOOR = 0.01
"""Weak detections are evidence too: where the class was nearly found."""


def run(stage: StageContext, claim: Claim) -> Store:
    """Detections of ``payload['images']`` into an object of the cycle.

    An image that cannot be read is left out and said: it counts as not looked at.
    """
    context = stage.context
    wanted = claim.payload["images"]
    detector = detector_of(stage, claim.payload["model"])
    began = time.perf_counter()
    found = looked_at(context, detector, wanted)
    if not found:
        return lambda _session: {"images": 0, "unreadable": len(wanted)}
    folder = folder_of_cycle(claim.cycle_id)
    file = keep(context, folder, f"{claim.payload['number']:05d}", found)
    seconds = round(time.perf_counter() - began, 3)

    def store(_session: Session) -> dict[str, Any]:
        lost = len(wanted) - len(found)
        return {"file": file, "images": len(found), "unreadable": lost, SECONDS: seconds}

    return store


def looked_at(
    context: Context, detector: SsdDetector, images: Sequence[str]
) -> dict[str, Detections]:
    """What a detector sees in pool images; one that cannot be read is left out."""
    found = dict[str, Detections]()
    for some in readable(context, images):
        found |= zip(some, detector.predict(list(some.values()), FLOOR), strict=True)
    return found
