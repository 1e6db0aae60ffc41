"""Exact Shapley values from all coalitions of few segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import factorial
from typing import Any, ClassVar

import numpy as np

from curation import superpixels
from curation.explain import coalitions
from curation.explain.base import check_segments, masked_scores, rows_per_pass
from curation.explain.coalitions import DoubleArray
from curation.kernel.detector import Detector, ScoreKind
from curation.kernel.errors import ExplanationFailed
from curation.kernel.types import Attribution, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray

MAX_SEGMENTS = 14
"""More segments are refused: 16 384 forward rows."""

_PIXELS = 2**16  # of a pass


@dataclass(frozen=True, slots=True)
class ExactShapley:
    """Shapley values by their definition, from all 2^S coalitions.

    Its forward rows serve all targets; standard errors are 0.

    Args:
        kind: unit of the explained score.
        batch_size: masked images a forward pass; bounds memory, changes no value.

    Source:
        Shapley, 1953.
    """

    kind: ScoreKind = ScoreKind.LOG_ODDS
    batch_size: int | None = None

    name: ClassVar[str] = "exact_shapley"

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError("batch_size must be at least 1")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on."""
        return {"kind": str(self.kind)}

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Exact values of all targets.

        Raises:
            ExplanationFailed: there are more than 14 segments.
        """
        check_segments(segments, detector.input_size_hw)
        num_segments = superpixels.count(segments)
        if num_segments > MAX_SEGMENTS:
            raise ExplanationFailed(
                f"{num_segments} segments have 2^{num_segments} coalitions: ask for at most "
                f"{MAX_SEGMENTS} segments, or use kernel_shap"
            )
        if not targets:
            return []
        masks = all_masks(num_segments)  # [2^S, S]
        inputs = detector.preprocess([image])  # [1, 3, h, w]
        # so many passes of a small input would cost their overhead: no fewer pixels than this
        rows = max(rows_per_pass(inputs), _PIXELS // segments.size)
        scores = masked_scores(
            detector,
            inputs,
            segments,
            masks.astype(np.float32),
            targets,
            self.kind,
            self.batch_size or rows,
        ).astype(np.float64)  # [2^S, T]
        values = (coefficients(masks).T @ scores).T  # [T, S]
        found = coalitions.Fit(values, np.zeros_like(values))
        return coalitions.attributions(self, segments, targets, found, scores[-1], scores[0])


def all_masks(num_segments: int) -> DoubleArray:
    """[2^S, S] of zeros and ones, counting up: the first is empty, the last full."""
    codes = np.arange(2**num_segments)[:, None]
    return (codes >> np.arange(num_segments) & 1).astype(np.float64)


def coefficients(masks: DoubleArray) -> DoubleArray:
    """[2^S, S]: what the score of each coalition adds to the value of each segment.

    A coalition z of size k enters the value of its member with (k-1)! (S-k)! / S!, that of
    another segment with -k! (S-k-1)! / S!.
    """
    size = masks.shape[1]
    weight = [factorial(k) * factorial(size - k - 1) / factorial(size) for k in range(size)]
    present = np.array([0.0, *weight])[masks.sum(axis=1).astype(int)]
    absent = np.array([*weight, 0.0])[masks.sum(axis=1).astype(int)]
    result: DoubleArray = np.where(masks > 0, present[:, None], -absent[:, None])
    return result
