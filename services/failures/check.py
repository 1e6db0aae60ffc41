"""Whether a model still makes the failures that an earlier one made.

Judged as the scan judges that found them, so that the model that made a failure is wrong on it:
detections find the objects of a frame one to one, and an operator's word is about a place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy.orm import Session

from curation.kernel.boxes import pairwise_iou
from curation.kernel.matching import UNMATCHED, match
from curation.kernel.types import Detections
from services.db.convert import truth_of
from services.db.engine import reading
from services.db.tables import FailureRow, Image
from services.failures.findings import OPERATOR, Words, overlap_of, words_of
from services.failures.places import SAME_IOU, is_false
from services.models.loaded import detector_of
from services.store.storage import open_image
from services.units.pipeline import StageContext


def words_about(session: Session, rows: Iterable[FailureRow]) -> dict[str, Words]:
    """What is said now about the frames of these failures, by image."""
    return {image_id: words_of(session, image_id) for image_id in {row.image_id for row in rows}}


def still_failing(
    stage: StageContext, model_id: str, rows: Iterable[FailureRow], said: Mapping[str, Words]
) -> set[str]:
    """Ids of those failures that the model makes too; one forward pass an image.

    Args:
        stage: wiring, and models that stay loaded.
        model_id: the model.
        rows: failures of any model.
        said: see :func:`words_about`; the same for all models that are compared.
    """
    by_image: dict[str, list[FailureRow]] = defaultdict(list)
    for row in rows:
        by_image[row.image_id].append(row)
    detector = detector_of(stage, model_id)
    rules = stage.context.settings.failures
    failing: set[str] = set()
    for image_id, members in by_image.items():
        with reading(stage.context.sessions) as session:
            image = session.get_one(Image, image_id)
        found = detector.predict([open_image(stage.context, image)])[0]
        shown = found.above(rules.score_threshold)
        failing |= {
            row.id
            for row in members
            if is_wrong(row, said[image_id], shown, detector.class_names, rules.iou_threshold)
        }
    return failing


def is_wrong(
    row: FailureRow,
    said: Words,
    shown: Detections,
    class_names: Sequence[str],
    iou_threshold: float,
) -> bool:
    """Whether a model that shows this makes the failure.

    A false detection is wrong while one is shown there that is of no object; anything else until
    its object is found. A model that does not know the class never shows it.

    Args:
        row: the failure, of any model.
        said: about its frame.
        shown: detections in the frame, above the working threshold.
        class_names: of the model, background first.
        iou_threshold: in (0, 1], from which a detection finds an object.
    """
    if row.label not in class_names:
        return not is_false(row)
    label = class_names.index(row.label)
    if row.source == OPERATOR:
        there = _at(_reported_box(row, said), label, shown, iou_threshold)
        return bool(there.any()) is is_false(row)
    matching = match(shown, truth_of(said.objects or [], class_names), iou_threshold)
    there = _at(row.box, label, shown, iou_threshold)
    if is_false(row):
        return bool((there & (matching.truth_of_detection == UNMATCHED)).any())
    index = _object_of(row, said.objects or [])
    if index is None:  # the truth was corrected, and the scan that withdraws the failure waits
        return not there.any()
    return bool(matching.detection_of_truth[index] == UNMATCHED)


def _at(
    box: Sequence[float], label: int, shown: Detections, iou_threshold: float
) -> npt.NDArray[np.bool_]:
    """Which detections are of this class and at this place, [N]."""
    overlap = pairwise_iou(shown.boxes_xyxy, np.asarray([box], np.float32))[:, 0]  # [N]
    there: npt.NDArray[np.bool_] = (shown.labels == label) & (overlap >= iou_threshold)
    return there


def _reported_box(row: FailureRow, said: Words) -> Sequence[float]:
    """What the operator drew: the failure itself may lie at the detection that was meant."""
    kind = "false" if is_false(row) else "missed"
    boxes = [
        report["box"]
        for report in said.reports
        if report["kind"] == kind and report["label"] == row.label
    ]
    drawn = max(boxes, key=lambda box: overlap_of(box, row.box), default=row.box)
    return drawn if overlap_of(drawn, row.box) >= SAME_IOU else row.box


def _object_of(row: FailureRow, objects: Sequence[dict[str, Any]]) -> int | None:
    """Row of the object that was not found, among those that count; None: it is none any more."""
    overlaps = {
        index: overlap_of(entry["box"], row.box)
        for index, entry in enumerate(objects)
        if entry["label"] == row.label and not entry.get("ignore")
    }
    best = max(overlaps, key=lambda n: (overlaps[n], n == row.truth_index), default=None)
    return best if best is not None and overlaps[best] >= SAME_IOU else None
