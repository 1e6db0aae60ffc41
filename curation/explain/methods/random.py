"""Attribution by chance: the control that every method has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from curation import superpixels
from curation.explain.base import check_segments, end_scores
from curation.kernel.detector import Detector, ScoreKind
from curation.kernel.types import Attribution, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray


@dataclass(frozen=True, slots=True)
class RandomAttribution:
    """Normal values, independent of the image; costs one forward pass for the two end scores.

    Args:
        kind: unit in which the end scores are stated.
        seed: of the values; two targets of one image get different ones.
    """

    kind: ScoreKind = ScoreKind.LOG_ODDS
    seed: int = 0

    name: ClassVar[str] = "random"

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on."""
        return {"kind": str(self.kind), "seed": self.seed}

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Random values for every target; the same target always gets the same ones."""
        check_segments(segments, detector.input_size_hw)
        if not targets:
            return []
        score, baseline = end_scores(detector, detector.preprocess([image]), targets, self.kind)
        num_segments = superpixels.count(segments)
        return [
            Attribution(
                target=target,
                segments=segments,
                values=self._values(target, num_segments),
                standard_errors=np.full(num_segments, np.nan, np.float32),
                score=float(score[t]),
                baseline_score=float(baseline[t]),
                method=self.name,
                parameters=self.parameters,
            )
            for t, target in enumerate(targets)
        ]

    def _values(self, target: ScoreTarget, num_segments: int) -> np.ndarray[Any, Any]:
        rng = np.random.default_rng([self.seed, target.default_box, target.label])
        return rng.standard_normal(num_segments, np.float32)
