"""Integrated gradients summed over superpixels: the paper's ablation, where all segments dim alike.

It differs from E2X in one line: one level for the whole image instead of one for each segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from curation import superpixels
from curation.detector import Detector, ScoreKind
from curation.explain.base import check_segments, end_scores, segment_gradients
from curation.superpixels import SegmentArray
from curation.types import Attribution, ImageArray, ScoreTarget


@dataclass(frozen=True, slots=True)
class IntegratedGradients:
    """Path integral from the mean colour to the image, by the midpoint rule.

    Args:
        num_samples: K, steps of the rule.
        kind: unit of the explained score.
        batch_size: perturbed images a forward pass; bounds memory, changes no value. None
            takes what suits the device.

    Source:
        Sundararajan et al., 2017. The values sum to score minus baseline as K grows.
    """

    num_samples: int = 32
    kind: ScoreKind = ScoreKind.LOG_ODDS
    batch_size: int | None = None

    name: ClassVar[str] = "integrated_gradients"

    def __post_init__(self) -> None:
        if self.num_samples < 1 or (self.batch_size is not None and self.batch_size < 1):
            raise ValueError("num_samples and batch_size must be at least 1")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on; the batch size is not part of it."""
        return {"num_samples": self.num_samples, "kind": str(self.kind)}

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Integrated gradients of all targets; a quadrature, so without standard errors."""
        check_segments(segments, detector.input_size_hw)
        if not targets:
            return []
        x = detector.preprocess([image])  # [1, 3, h, w]
        level = (np.arange(self.num_samples) + 0.5) / self.num_samples  # [K]
        w = np.repeat(level[:, None], superpixels.count(segments), axis=1)  # [K, S]
        samples = segment_gradients(
            detector, x, segments, w.astype(np.float32), targets, self.kind, self.batch_size
        )  # [T, K, S]
        phi = samples.mean(axis=1)  # [T, S]
        score, baseline = end_scores(detector, x, targets, self.kind)  # [T], [T]
        return [
            Attribution(
                target=target,
                segments=segments,
                values=phi[t],
                standard_errors=np.full_like(phi[t], np.nan),
                score=float(score[t]),
                baseline_score=float(baseline[t]),
                method=self.name,
                parameters=self.parameters,
            )
            for t, target in enumerate(targets)
        ]
