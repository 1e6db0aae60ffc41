"""What an image will cost to label, before anybody has looked at it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curation.types import Detections
from services.db.tables import Role

MOST = 5.0
"""A detector that finds next to nothing says little about how much there is."""


def boxes_per_detection(reports: Mapping[str, Any] | None) -> float:
    """Objects on the holdout for each detection that a model makes there; 1 if it has none.

    Two objects in three found and no false positive: 1.5. Without this, a budget in boxes buys
    the more labels the more the detector misses, and labelling ends before the plan does.

    Args:
        reports: a model's summaries of its evaluations, by role; at the working threshold.
    """
    report = (reports or {}).get(Role.HOLDOUT)
    if not report or not report["objects"]:
        return 1.0
    detections = report["found"] + report["false_positives"]
    return float(min(MOST, report["objects"] / max(1, detections)))


def boxes_estimate(
    detections: Detections | None, per_detection: float, score_threshold: float
) -> float:
    """Objects that a person would have to box, as expected; 1 where nothing is known.

    Args:
        detections: in the image, all of them above some low score.
        per_detection: see ``boxes_per_detection``.
        score_threshold: the working threshold, in 0..1.
    """
    if detections is None:
        return 1.0
    return per_detection * int((detections.scores >= score_threshold).sum())
