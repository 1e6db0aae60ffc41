"""E2X: which superpixels raise and which lower the score of one default box.

Read :meth:`E2X.explain`: it is equation 5. :func:`sample_levels` draws the dimming levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np

from curation import superpixels
from curation.explain.base import check_segments, end_scores, segment_gradients
from curation.kernel.detector import Detector, ScoreKind
from curation.kernel.types import Attribution, FloatArray, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray

Levels: TypeAlias = Literal["grid", "midpoint", "jittered", "iid"]


@dataclass(frozen=True, slots=True)
class E2X:
    """Average gradient by the dimming of each superpixel, all others dimmed at random.

    Args:
        num_samples: K, perturbed images; at least 2.
        kind: unit of the explained score. The paper takes the probability; log-odds are
            estimated far better by as many samples.
        levels: how dimming levels are drawn, see :func:`sample_levels`.
        batch_size: perturbed images a forward pass; bounds memory, changes no value. None
            takes what suits the device.
        seed: of the levels. Two model versions explained under one seed share their noise.

    Source:
        E2X, equation 5, as its published code computes it: a segment's value is the sum over
        its pixels, not the mean, and each segment gets its own permutation of the levels. Its
        settings are ``levels="grid", kind="probability"``. We divide by K, as the equation does
        and the code does not.
    """

    num_samples: int = 32
    kind: ScoreKind = ScoreKind.LOG_ODDS
    levels: Levels = "grid"
    batch_size: int | None = None
    seed: int = 0

    name: ClassVar[str] = "e2x"

    def __post_init__(self) -> None:
        if self.num_samples < 2 or (self.batch_size is not None and self.batch_size < 1):
            raise ValueError("num_samples must be at least 2 and batch_size at least 1")
        if self.levels not in get_args(Levels):
            raise ValueError(f"levels is {self.levels!r}, expected one of {get_args(Levels)}")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on; the batch size is not part of it."""
        return {
            "num_samples": self.num_samples,
            "kind": str(self.kind),
            "levels": self.levels,
            "seed": self.seed,
        }

    def weights(self, num_segments: int) -> FloatArray:
        """The dimming levels [K, S], the same for every image of S segments."""
        rng = np.random.default_rng(self.seed)
        return sample_levels(self.levels, self.num_samples, num_segments, rng)

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Equation 5 for all targets of an image, with standard errors sd / sqrt(K)."""
        check_segments(segments, detector.input_size_hw)
        if not targets:
            return []
        x = detector.preprocess([image])  # [1, 3, h, w]
        w = self.weights(superpixels.count(segments))  # [K, S]
        # For segment i and sample u(k) = w(k) x:  sum over the pixels p of i of x_p df/du_p
        samples = segment_gradients(
            detector, x, segments, w, targets, self.kind, self.batch_size
        )  # [T, K, S]
        phi = samples.mean(axis=1)  # [T, S]
        error = samples.std(axis=1, ddof=1) / np.sqrt(self.num_samples)  # [T, S]
        score, baseline = end_scores(detector, x, targets, self.kind)  # [T], [T]
        return [
            Attribution(
                target=target,
                segments=segments,
                values=phi[t],
                standard_errors=error[t].astype(np.float32),
                score=float(score[t]),
                baseline_score=float(baseline[t]),
                method=self.name,
                parameters=self.parameters,
            )
            for t, target in enumerate(targets)
        ]


def sample_levels(
    levels: Levels, num_samples: int, num_segments: int, rng: np.random.Generator
) -> FloatArray:
    """Dimming levels in 0..1, stratified for each segment on its own.

    Args:
        levels: "grid" takes k / (K - 1), as published: both ends included, variance (K + 1) /
            (K - 1) times that of the uniform distribution. "midpoint" takes (k + 1/2) / K.
            "jittered" draws one uniform level in each of K strata, which is unbiased. "iid"
            draws all independently.
        num_samples: K.
        num_segments: S.
        rng: source of the permutations and draws.

    Returns:
        [K, S] float32; each column is its own random permutation of the K levels.
    """
    shape = (num_samples, num_segments)
    if levels == "iid":
        return rng.random(shape, np.float32)
    rank = np.broadcast_to(np.arange(num_samples)[:, None], shape)
    rank = rng.permuted(rank, axis=0)  # [K, S]
    if levels == "grid":
        return (rank / (num_samples - 1)).astype(np.float32)
    offset = 0.5 if levels == "midpoint" else rng.random(shape)
    return ((rank + offset) / num_samples).astype(np.float32)
