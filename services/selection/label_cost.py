"""What an image will cost to label, before anybody has looked at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curation.kernel.types import Detections
from services.db.tables import Role

MOST = 5.0
"""A detector that finds next to nothing says little about how much there is."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How many objects stand behind what a detector shows.

    Attributes:
        per_detection: for each detection.
        unseen: in an image where it detects nothing; 0 where that is not known.
    """

    per_detection: float
    unseen: float = 0.0


def rate_of(reports: Mapping[str, Any] | None) -> Rate:
    """Objects on the holdout for each detection that a model makes there; 1 if it has none.

    Two objects in three found and no false positive: 1.5. Without this, a budget in boxes buys
    the more labels the more the detector misses, and labelling ends before the plan does. Where it
    detects nothing, it is expected to miss what it misses in an image of the holdout on average:
    next to nothing if it is good, all that is there if it is not.

    Args:
        reports: a model's summaries of its evaluations, by role; at the working threshold.
    """
    report = (reports or {}).get(Role.HOLDOUT)
    if not report or not report["objects"]:
        return Rate(1.0)
    detections = report["found"] + report["false_positives"]
    unseen = report.get("missed", 0) / max(1, report.get("images", 0))
    return Rate(float(min(MOST, report["objects"] / max(1, detections))), float(unseen))


def boxes_estimate(detections: Detections | None, rate: Rate, score_threshold: float) -> float:
    """Objects that a person would have to box, as expected; 1 where nothing is known.

    Args:
        detections: in the image, all of them above some low score.
        rate: see ``rate_of``.
        score_threshold: the working threshold, in 0..1.
    """
    if detections is None:
        return 1.0
    shown = int((detections.scores >= score_threshold).sum())
    return rate.per_detection * shown if shown else rate.unseen
