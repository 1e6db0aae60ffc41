"""Whether a model still makes the failures that an earlier one made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from curation.boxes import pairwise_iou
from curation.types import Detections, FailureKind
from services.db.tables import FailureRow, Image
from services.pipeline import StageContext
from services.stages.resident import detector_of
from services.storage import open_image


def still_failing(stage: StageContext, model_id: str, rows: Iterable[FailureRow]) -> set[str]:
    """Ids of those failures that the model makes too; one forward pass an image."""
    by_image: dict[str, list[FailureRow]] = defaultdict(list)
    for row in rows:
        by_image[row.image_id].append(row)
    detector = detector_of(stage, model_id)
    rules = stage.context.settings.failures
    failing: set[str] = set()
    for image_id, members in by_image.items():
        with stage.context.sessions() as session:
            image = session.get_one(Image, image_id)
        found = detector.predict([open_image(stage.context.project, image)])[0]
        shown = found.above(rules.score_threshold)
        failing |= {
            row.id
            for row in members
            if is_wrong(row, shown, detector.class_names, rules.iou_threshold)
        }
    return failing


def is_wrong(
    row: FailureRow, shown: Detections, class_names: Sequence[str], iou_threshold: float
) -> bool:
    """A false positive is wrong while it is shown; anything else until its object is found.

    A model that does not know the class never shows it.
    """
    false_positive = row.kind == FailureKind.FALSE_POSITIVE
    if row.label not in class_names:
        return not false_positive
    label = class_names.index(row.label)
    overlap = pairwise_iou(shown.boxes_xyxy, np.asarray([row.box], np.float32))  # [N, 1]
    there = bool(((shown.labels == label) & (overlap[:, 0] >= iou_threshold)).any())
    return there is false_positive
