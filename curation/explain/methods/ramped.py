"""Shapley values from gradients: segments brighten one after another, in random order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from curation import superpixels
from curation.explain import coalitions
from curation.explain.base import check_segments, end_scores, segment_gradients
from curation.explain.e2x import sample_levels
from curation.kernel.detector import Detector, ScoreKind
from curation.kernel.types import Attribution, FloatArray, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray


@dataclass(frozen=True, slots=True)
class Ramped:
    """Random orders of segments whose dimming is lifted over a while, seen at random times.

    Segment i starts at s_i, uniform in 0..1, and at time t has the level clip((t - s_i) /
    duration, 0, 1). Every path leads from the mean colour to the image, so the values sum to
    score minus baseline on average. Short durations give Shapley values, long ones integrated
    gradients. A sample costs what one of E2X does; E2X is nearer at few samples.

    Args:
        num_samples: K, perturbed images; at least 2.
        kind: unit of the explained score.
        duration: of a segment's brightening, as a share of the span of starts.
        batch_size: perturbed images a forward pass; bounds memory, changes no value.
        seed: of starts and times. Two model versions explained under one seed share them.

    Source:
        Ours: a path between Aumann-Shapley (Sundararajan et al., 2017) and random orders
        (Castro et al., 2009).
    """

    num_samples: int = 256
    kind: ScoreKind = ScoreKind.LOG_ODDS
    duration: float = 1.0
    batch_size: int | None = None
    seed: int = 0

    name: ClassVar[str] = "ramped"

    def __post_init__(self) -> None:
        if self.num_samples < 2 or (self.batch_size is not None and self.batch_size < 1):
            raise ValueError("num_samples must be at least 2 and batch_size at least 1")
        if not 0 < self.duration < np.inf:
            raise ValueError(f"duration is {self.duration}, expected above 0 and finite")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on; the batch size is not part of it."""
        return {
            "num_samples": self.num_samples,
            "kind": str(self.kind),
            "duration": self.duration,
            "seed": self.seed,
        }

    def levels(self, num_segments: int) -> tuple[FloatArray, FloatArray]:
        """Levels [K, S] in 0..1, and d level / d time over the density of the time, [K, S]."""
        rng = np.random.default_rng(self.seed)
        span = 1 + self.duration
        times = (np.arange(self.num_samples) + rng.random(self.num_samples)) / self.num_samples
        starts = sample_levels("jittered", self.num_samples, num_segments, rng)  # [K, S]
        level = (times[:, None] * span - starts) / self.duration
        slope = np.where((level > 0) & (level < 1), span / self.duration, 0)
        return level.clip(0, 1).astype(np.float32), slope.astype(np.float32)

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Values of all targets, with standard errors sd / sqrt(K).

        These overlook that times and starts are spread evenly: too large rather than too small.
        """
        check_segments(segments, detector.input_size_hw)
        if not targets:
            return []
        inputs = detector.preprocess([image])  # [1, 3, h, w]
        levels, slopes = self.levels(superpixels.count(segments))
        gradients = segment_gradients(
            detector, inputs, segments, levels, targets, self.kind, self.batch_size
        )  # [T, K, S]
        samples = gradients.astype(np.float64) * slopes
        errors = samples.std(axis=1, ddof=1) / np.sqrt(self.num_samples)
        found = coalitions.Fit(samples.mean(axis=1), errors)
        full, empty = end_scores(detector, inputs, targets, self.kind)
        ends = full.astype(np.float64), empty.astype(np.float64)
        return coalitions.attributions(self, segments, targets, found, *ends)
